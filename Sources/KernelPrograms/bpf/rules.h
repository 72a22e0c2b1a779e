/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What rules say, and what the environment of a process that execs has of it. */
#ifndef MARTLET_RULES_H
#define MARTLET_RULES_H

#include "files.h"

#define ENVIRONMENT_CHUNK 1024   /* bytes of a variable that are looked at; what is longer is passed over in such steps */
#define ENVIRONMENT_STEPS 16384  /* variables, and chunks of long ones */
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
	unsigned long env_start, env_end;
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
	char bytes[MT_COMM_MAX];
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

/* One process that is looked at: in a map, as the verifier forgets what lies there. Nothing interrupts it but interrupts. */
struct look {
	__u64 at, end;        /* of the environment, in the process */
	__u64 starts[4];      /* as in mt_rule_filter: of the variables that are looked for */
	__u64 found;          /* markers that are there */
	__u64 keyed;          /* rules whose key is looked for */
	__u64 key;            /* where its value is, 0: not found */
	__u64 hash, hashed;   /* of the value, so far; and its bytes */
	__u64 candidates;     /* rules that may hold */
	struct mt_variable_name name;
	__u32 is_inside;      /* what comes next belongs to a variable that is longer than a chunk */
	__u32 is_unreadable;
	__u32 uid;
	__u32 rule;           /* that holds */
	__u32 slot;           /* of the record */
	__u32 collects;       /* what may be sent is added to it */
	__u8 chunk[ENVIRONMENT_CHUNK];
};
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct look);
} looks SEC(".maps");

static __always_inline struct look *current_look(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&looks, &zero);
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

/* Looks at one variable, or passes over a chunk of one. Returns 1 when there is nothing more. */
static __always_inline long look_at_variable(struct look *look)
{
	const struct mt_variable *variable;
	__u64 at = look->at;
	__u32 start, is_inside = look->is_inside;
	long length;
	int name;

	if (at >= look->end)
		return 1;
	length = bpf_probe_read_user_str(look->chunk, ENVIRONMENT_CHUNK, (const void *)at);
	if (length < 0) {
		look->is_unreadable = 1;
		return 1;
	}
	/* Up to 6.12 an empty string has no length, not even that of its zero. */
	if (length == 0)
		length = 1;
	look->is_inside = length == ENVIRONMENT_CHUNK;
	look->at = at + length - look->is_inside;
	if (is_inside)
		return 0;
	start = MT_START(look->chunk[0], look->chunk[1], look->chunk[2]);
	if (!(look->starts[start >> 6 & 3] >> (start & 63) & 1))
		return 0;
	name = take_name();
	if (name <= 0)
		return 0;
	variable = bpf_map_lookup_elem(&rule_variables, &look->name);
	if (!variable)
		return 0;
	look->found |= variable->marker;
	if ((variable->key & look->keyed) && !look->key)
		look->key = at + name + 1;
	if (look->collects && variable->identity)
		add_variable(name, length - 1);
	return 0;
}

static long look_on(__u32 index, struct looking *looking)
{
	struct look *look = LOOP_POINTER(looking->look, current_look());

	if (LOOP_MISSING(look))
		return 1;
#pragma unroll
	for (int i = 0; i < ENVIRONMENT_GROUP; i++)
		if (look_at_variable(look))
			return 1;
	return 0;
}
LOOP_STEP(struct looking, look_on)

/* Goes through the environment of the current task. Global: the verifier looks at it once. */
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
	look->is_inside = 0;
	look->is_unreadable = 0;
	look->found = 0;
	look->key = 0;
	LOOP(ENVIRONMENT_STEPS / ENVIRONMENT_GROUP, look_on, &looking);
	if (look->is_unreadable)
		COUNT_RECOGNITION(unreadable);
	else if (look->at < look->end)
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

/* Looks for the key of `rule` and hashes its value: look->hash is 0 if the environment does not have it. */
__noinline int take_key(__u32 rule)
{
	struct looking looking = {.look = current_look()};
	struct look *look = looking.look;

	if (!look)
		return 0;
	look->hash = 0;
	look->keyed = 1ull << (rule & 63);
	look_through();
	if (!look->key)
		return 0;
	look->hash = hash_begin('k');
	look->hashed = 0;
	LOOP(HASHED_STEPS, hash_on, &looking);
	look->hash = look->is_unreadable ? 0 : hash_end(hash_word(look->hash, look->hashed));
	return 0;
}

#endif
