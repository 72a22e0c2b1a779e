/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What rules say, and what the environment of a process that execs has of it. */
#ifndef MARTLET_RULES_H
#define MARTLET_RULES_H

#include "looks.h"

#define ENVIRONMENT_STEPS 512    /* what comes behind so many of 32 each is not looked at, and counted */
#define ENVIRONMENT_WALKED 16384 /* variables, and chunks of long ones, where there is no list of them */
#define HASHED_WORDS 31          /* of a key's value in one step */
#define HASHED_BYTES (HASHED_WORDS * 8)
#define HASHED_STEPS 640         /* enough for the 128 KiB that the kernel takes */

/* In old kernels the verifier goes through a loop step by step; there a step has several variables. */
#ifndef MARTLET_OLD
#define ENVIRONMENT_GROUP 1
#else
#define ENVIRONMENT_GROUP 8
#endif

struct mm_struct___environment {
	unsigned long start_stack, env_start, env_end;
} __attribute__((preserve_access_index));

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct mt_rule_filter);
} rule_filter SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MT_MAX_RULES);
	__type(key, __u32);
	__type(value, struct mt_rule);
} rules SEC(".maps");

/* The rules that are for tasks of this name, a bit each. */
struct comm {
	__u64 words[MT_COMM_MAX / 8];
};
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MT_MAX_RULES);
	__type(key, struct comm);
	__type(value, __u64);
} rule_comms SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 512);
	__type(key, struct mt_variable_name);
	__type(value, struct mt_variable);
} rule_variables SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, __u64);
	__type(value, struct mt_cgroup);
} rule_cgroups SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct mt_recognition);
} recognition SEC(".maps");

#define COUNT_RECOGNITION(member)                                                                                      \
	({                                                                                                             \
		__u32 zero_ = 0;                                                                                       \
		struct mt_recognition *counts_ = bpf_map_lookup_elem(&recognition, &zero_);                            \
		if (counts_)                                                                                           \
			ADD(&counts_->member, 1);                                                                      \
	})

/* Which bytes of a word are 0: its highest bit of each; behind the first one, of others, too. */
static __always_inline __u64 zeros_of(__u64 word)
{
	return (word - 0x0101010101010101ull) & ~word & 0x8080808080808080ull;
}

struct looking {
	struct look *look;
};

/* Takes the name that the chunk begins with. Returns its length, 0: it has none that a rule could mean. */
__noinline int take_name(void)
{
	struct look *look = current_look();
	__u32 length;

	if (!look)
		return 0;
	__builtin_memset(&look->name, 0, sizeof(look->name));
	for (length = 0; length <= MT_VARIABLE_NAME_MAX; length++) {
		char byte = look->chunk[length];

		if (byte == '=')
			return length;
		if (!byte || length == MT_VARIABLE_NAME_MAX)
			return 0;
		look->name.bytes[length] = byte;
	}
	return 0;
}

/* Adds the variable in the chunk to the record, `name` bytes of it and `length` in all. */
__noinline int add_variable(__u32 name, __u32 length)
{
	struct look *look = current_look();
	struct record record = {};

	if (!look)
		return 0;
	record.slot = look->slot;
	record.buffer = bpf_map_lookup_elem(&scratch, &record.slot);
	record.work = bpf_map_lookup_elem(&workspaces, &record.slot);
	if (!record.buffer || !record.work)
		return 0;
	record.size = record.work->size;
	if (length > name + 1 + MT_VARIABLE_VALUE_MAX) {
		length = name + 1 + MT_VARIABLE_VALUE_MAX;
		HEADER(&record)->flags |= MT_FLAG_TRUNCATED;
	}
	add_kernel_bytes(&record, MT_STR_VARIABLE, look->chunk, length,
			 MT_VARIABLE_NAME_MAX + 1 + MT_VARIABLE_VALUE_MAX);
	record.work->size = record.size;
	return 0;
}

/* Reads the variable at look->at into the chunk. Returns its length with its zero, as far as it fits; 0: unreadable. */
__noinline int read_variable(void)
{
	struct look *look = current_look();
	long length;

	if (!look)
		return 0;
	length = bpf_probe_read_user_str(look->chunk, ENVIRONMENT_CHUNK, (const void *)look->at);
	if (length < 0) {
		look->is_unreadable = 1;
		return 0;
	}
	/* Up to 6.12 an empty string has no length, not even that of its zero. */
	return length ? length : 1;
}

/* Notes what rules want to know of the variable in the chunk, `length` bytes of it. Global: the verifier looks at it once. */
__noinline int note_variable(__u32 length)
{
	const struct mt_variable *variable;
	struct look *look = current_look();
	int name = take_name();

	if (!look || name <= 0)
		return 0;
	variable = bpf_map_lookup_elem(&rule_variables, &look->name);
	if (!variable)
		return 0;
	look->found |= variable->marker;
	if ((variable->key & look->keyed) && !look->key)
		look->key = look->at + name + 1;
	if ((variable->step & look->named) && (!look->key || variable->rank < look->rank)) {
		look->key = look->at + name + 1;
		look->rank = variable->rank;
	}
	if (look->collects && variable->identity)
		add_variable(name, length - 1);
	return 0;
}

static __always_inline struct mt_rule_filter *current_filter(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&rule_filter, &zero);
}

/* Whether names are looked for that begin like this. */
static __always_inline int may_be_wanted(const struct look *look, const struct mt_rule_filter *filter, const __u8 *start)
{
	return filter->starts[MT_START(*(const __u32 *)start)] & look->wanted;
}

/* Has the window show what begins at `at`. Returns 1 if it cannot be read. */
__noinline int move_window(__u64 at)
{
	struct look *look = current_look();
	__u64 length;

	if (!look)
		return 1;
	look->window_at = at;
	length = look->end - at;
	if (length > ENVIRONMENT_WINDOW)
		length = ENVIRONMENT_WINDOW;
	look->is_unreadable = at >= look->end || bpf_probe_read_user(look->window, length, (const void *)at);
	return look->is_unreadable != 0;
}

/* Looks at the variable at `at`. Returns 1 if it cannot be read. */
__noinline int look_at_listed(__u64 at)
{
	struct look *look = current_look();
	int length;

	if (!look)
		return 1;
	look->at = at;
	length = read_variable();
	if (length <= 0)
		return 1;
	note_variable(length);
	return 0;
}

/* Looks at the next variables of the list. Returns 1 when there is nothing more. */
static long look_on(__u32 index, struct looking *looking)
{
	struct look *look = LOOP_POINTER(looking->look, current_look());
	const struct mt_rule_filter *filter = current_filter();
	__u32 count = ENVIRONMENT_LISTED;
	__u64 at, place;

	if (LOOP_MISSING(look) || !filter || !look->rest)
		return 1;
	if (look->rest < count)
		count = look->rest;
	if (bpf_probe_read_user(look->listed, count * sizeof(look->listed[0]), (const void *)look->list) ||
	    (!look->window_at && look->listed[0] != look->at)) {
		if (look->window_at)
			look->is_unreadable = 1;
		else
			look->list = 0;
		return 1;
	}
	for (__u32 i = 0; i < ENVIRONMENT_LISTED; i++) {
		if (i >= count)
			break;
		at = look->listed[i];
		place = at - look->window_at;
		if (place > ENVIRONMENT_WINDOW - 4) {
			if (move_window(at))
				return 1;
			place = 0;
		}
		if (may_be_wanted(look, filter, look->window + place) && look_at_listed(at))
			return 1;
	}
	look->list += count * sizeof(look->listed[0]);
	look->rest -= count;
	return 0;
}
LOOP_STEP(struct looking, look_on)

/* Looks at one variable, or passes over a chunk of one. Returns 1 when there is nothing more. */
static __always_inline long walk(struct look *look, const struct mt_rule_filter *filter)
{
	__u32 is_inside = look->is_inside;
	int length;

	if (!look->rest)
		return 1;
	length = read_variable();
	if (length <= 0)
		return 1;
	look->is_inside = length == ENVIRONMENT_CHUNK;
	if (!is_inside && may_be_wanted(look, filter, look->chunk))
		note_variable(length);
	length -= look->is_inside;
	look->at += length;
	look->rest -= (__u64)length < look->rest ? length : look->rest;
	return 0;
}

static long walk_on(__u32 index, struct looking *looking)
{
	struct look *look = LOOP_POINTER(looking->look, current_look());
	const struct mt_rule_filter *filter = current_filter();

	if (LOOP_MISSING(look) || !filter)
		return 1;
#pragma unroll
	for (int i = 0; i < ENVIRONMENT_GROUP; i++)
		if (walk(look, filter))
			return 1;
	return 0;
}
LOOP_STEP(struct looking, walk_on)

/*
 * Goes through the environment of the current task, which has just execed: the kernel has put a list of its variables'
 * addresses on the stack, behind that of its arguments. A program of 32 bits has another list: there one variable is
 * found behind the other. Global: the verifier looks at it once.
 */
__noinline int look_through(void)
{
	struct looking looking = {.look = current_look()};
	struct task_struct *task = current_task();
	struct mm_struct *mm = TASK(task, mm);
	struct look *look = looking.look;

	if (!look)
		return 0;
	look->at = READ(mm, struct mm_struct___environment, env_start);
	look->end = READ(mm, struct mm_struct___environment, env_end);
	look->list = READ(mm, struct mm_struct___environment, start_stack) + (look->argc + 2ull) * sizeof(__u64);
	look->rest = look->envc;
	look->window_at = 0;
	look->is_inside = 0;
	look->is_unreadable = 0;
	look->found = 0;
	look->key = 0;
	LOOP(ENVIRONMENT_STEPS, look_on, &looking);
	if (!look->list) {
		look->rest = look->end > look->at ? look->end - look->at : 0;
		LOOP(ENVIRONMENT_WALKED / ENVIRONMENT_GROUP, walk_on, &looking);
	}
	if (look->is_unreadable)
		COUNT_RECOGNITION(unreadable);
	else if (look->rest)
		COUNT_RECOGNITION(unfinished);
	return 0;
}

static long hash_on(__u32 index, struct looking *looking)
{
	struct look *look = LOOP_POINTER(looking->look, current_look());
	__u64 hash, word;
	long length;

	if (LOOP_MISSING(look))
		return 1;
	__builtin_memset(look->chunk, 0, HASHED_BYTES + 8);
	length = bpf_probe_read_user_str(look->chunk, HASHED_BYTES + 1, (const void *)look->key);
	if (length < 0) {
		look->is_unreadable = 1;
		return 1;
	}
	if (length > 0)
		length--;
	hash = look->hash;
	for (__u32 i = 0; i < HASHED_WORDS; i++) {
		if (i * 8 >= length)
			break;
		word = ((__u64 *)look->chunk)[i];
		hash = hash_word(hash, word);
	}
	look->hash = hash;
	look->hashed += length;
	look->key += HASHED_BYTES;
	return length < HASHED_BYTES;
}
LOOP_STEP(struct looking, hash_on)

/*
 * Looks for the key of a rule, or for the name that its jobs' steps have, and hashes the value: look->hash is 0 if the
 * environment does not have it. Both are sets of one.
 */
__noinline int take_value(__u64 keyed, __u64 named)
{
	struct looking looking = {.look = current_look()};
	struct look *look = looking.look;

	if (!look)
		return 0;
	look->wanted = MT_START_VARIABLE;
	look->collects = 0;
	look->hash = 0;
	look->keyed = keyed;
	look->named = named;
	look_through();
	look->named = 0;
	if (!look->key)
		return 0;
	look->hash = hash_begin('k');
	look->hashed = 0;
	LOOP(HASHED_STEPS, hash_on, &looking);
	look->hash = look->is_unreadable ? 0 : hash_end(hash_word(look->hash, look->hashed));
	return 0;
}

#endif
