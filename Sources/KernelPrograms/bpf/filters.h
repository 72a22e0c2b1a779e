/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What a job's configuration leaves out of its evidence. Asked before there is any work with an event; but where it lies in
 * the file system has to be found out first, once for each directory. Without filters nothing of this is in the programs:
 * `config` is known to the verifier.
 */
#ifndef MARTLET_FILTERS_H
#define MARTLET_FILTERS_H

#include "files.h"
#include "network_types.h"

#define FILTER_PLACES 65536 /* entries of the direct-mapped cache of directories, a power of two */

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MT_MAX_JOBS);
	__type(key, __u32);
	__type(value, struct mt_filter);
} filters SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MT_RULE_FILTERS);
	__type(key, __u32);
	__type(value, struct mt_filter);
} given_filters SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 2 * MT_RULE_FILTERS * MT_FILTER_PREFIXES);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct mt_filter_path);
	__type(value, struct mt_filter_place);
} filter_paths SEC(".maps");

/* What was found out of a directory: its fingerprint, and in the two lowest bits an enum place. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, FILTER_PLACES);
	__type(key, __u32);
	__type(value, __u64);
} filter_places SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, MT_MAX_JOBS);
	__type(key, __u32);
	__type(value, struct mt_filtered);
} filtered SEC(".maps");

/* What is looked up in the trie, with room behind it for a name that is too long for any prefix. */
struct filter_key {
	struct mt_filter_path path;
	__u8 room[MT_NAME_MAX + 1];
};
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, MT_SLOTS);
	__type(key, __u32);
	__type(value, struct filter_key);
} filter_keys SEC(".maps");

enum place {
	PLACE_UNKNOWN = 0,
	PLACE_TOLD = 1,
	PLACE_LEFT_OUT = 2,
	PLACE_DEPENDS = 3, /* on the name of what is in it */
};

/* Puts a job under the filter of the rule that makes it: before anybody can be in the job. */
static __always_inline void begin_filter(__u32 slot, __u32 rule)
{
	__u32 index = rule == MT_CONTAINER_RULE ? MT_FILTER_OF_CONTAINERS : rule;
	struct mt_filter *given, *filter;

	if (!config.filters)
		return;
	given = bpf_map_lookup_elem(&given_filters, &index);
	filter = bpf_map_lookup_elem(&filters, &slot);
	if (given && filter)
		*filter = *given;
}

__noinline int count_filtered(__u32 job, __u32 event)
{
	struct mt_filtered *counts;

	if (!config.filters)
		return 0;
	counts = bpf_map_lookup_elem(&filtered, &job);
	barrier_var(event);
	if (counts && event < MT_FILTERED_COUNT)
		ADD(&counts->events[event], 1);
	return 0;
}

/* Whether an event of any task of a job is left out; counts it. Global functions, as the verifier looks at them once. */
__noinline int event_filtered(__u32 job, __u32 event)
{
	const struct mt_filter *filter;

	if (!config.filters)
		return 0;
	filter = bpf_map_lookup_elem(&filters, &job);
	if (!filter || !(filter->events >> (event & 63) & 1))
		return 0;
	count_filtered(job, event);
	return 1;
}

/* Whether what the current task does is left out for the user that it acts as; counts it. */
__noinline int user_filtered(__u32 job, __u32 event)
{
	const struct mt_filter *filter;
	struct task_struct *task;
	__u64 uid, is_named = 0;

	if (!(config.filters & MT_FILTERS_USERS))
		return 0;
	filter = bpf_map_lookup_elem(&filters, &job);
	if (!filter || filter->users == MT_USERS_ANY)
		return 0;
	task = (struct task_struct *)bpf_get_current_task();
	uid = READ(READ(task, struct task_struct, cred), struct cred, euid.val);
	/* Without a branch: the verifier would go both ways of each. */
#pragma unroll
	for (int i = 0; i < MT_FILTER_USERS; i++)
		is_named |= ((uid ^ filter->uids[i]) - 1) >> 63;
	if (is_named != (filter->users == MT_USERS_EXCEPT))
		return 0;
	count_filtered(job, event);
	return 1;
}

/*
 * Whether something that the current task does, enum mt_type or MT_FILTERED_WRITES, is left out. To be asked before it is
 * counted as seen.
 */
static __always_inline int is_filtered(__u32 job, __u32 event)
{
	if (!config.filters)
		return 0;
	return event_filtered(job, event) || ((config.filters & MT_FILTERS_USERS) && user_filtered(job, event));
}

static __always_inline __u64 *filter_place(__u64 fingerprint)
{
	__u32 index = fingerprint >> 8 & (FILTER_PLACES - 1);

	return bpf_map_lookup_elem(&filter_places, &index);
}

static __always_inline __u64 place_fingerprint(const struct workspace *work)
{
	/* The directory's id is of one job, and the epoch grows when another one begins in its slot. */
	return hash_end(hash_word(hash_word(hash_begin('x'), work->directory), current_epoch()));
}

/* What is known of the directory that was located last in the workspace of `slot`: an enum place. */
__noinline int known_place(__u32 slot, __u32 job)
{
	const struct mt_filter *filter;
	struct workspace *work;
	__u64 fingerprint, *entry;

	if (!(config.filters & MT_FILTERS_PATHS))
		return PLACE_TOLD;
	filter = bpf_map_lookup_elem(&filters, &job);
	work = workspace_of(slot);
	if (!filter || !work || !filter->paths)
		return PLACE_TOLD;
	fingerprint = place_fingerprint(work);
	entry = filter_place(fingerprint);
	if (!entry || (*(volatile __u64 *)entry ^ fingerprint) > 3)
		return PLACE_UNKNOWN;
	return (*(volatile __u64 *)entry ^ fingerprint) & 3;
}

/*
 * Adds a name to the directory's path of `size` bytes that is to be looked up, and returns how many these are then. A function
 * of its own, where all bounds have a register: what is on the stack, old verifiers know nothing of.
 */
__noinline __u32 add_entry(__u32 slot, __u32 size, __u64 name, __u32 length)
{
	__u64 at = size, more = length;
	struct filter_key *key;
	__u8 *end;

	if (!(config.filters & MT_FILTERS_PATHS))
		return size;
	key = bpf_map_lookup_elem(&filter_keys, &slot);
	if (!key)
		return size;
	barrier_var(at);
	barrier_var(more);
	if (at > MT_FILTER_PATH_MAX || more > MT_NAME_MAX)
		return size;
	end = (__u8 *)key + __builtin_offsetof(struct mt_filter_path, path) + at;
	bpf_probe_read_kernel(end, more, (const void *)name);
	end[more] = '/';
	return size + length + 1;
}

/*
 * What the job's prefixes say of the path that build_path has built in the workspace of `slot`, or of the entry of that
 * directory that has a name of `length` bytes at this address of the kernel's: an enum place. What no prefix can be known
 * to hold for is told.
 */
__noinline int match_place(__u32 slot, __u32 job, __u64 name, __u32 length)
{
	const struct mt_filter_place *found;
	const struct mt_filter *filter;
	struct workspace *work;
	struct filter_key *key;
	__u64 size;
	__u32 from;

	if (!(config.filters & MT_FILTERS_PATHS))
		return PLACE_TOLD;
	filter = bpf_map_lookup_elem(&filters, &job);
	work = workspace_of(slot);
	key = bpf_map_lookup_elem(&filter_keys, &slot);
	if (!filter || !work || !key || !work->path_complete)
		return PLACE_TOLD;
	from = work->path_at;
	size = MT_PATH_MAX - from;
	if (size > MT_FILTER_PATH_MAX + 1)
		size = MT_FILTER_PATH_MAX + 1;
	barrier_var(size);
	if (size > MT_FILTER_PATH_MAX + 1)
		return PLACE_TOLD;
	bpf_probe_read_kernel(key->path.path, size, &work->path[from & (MT_PATH_MAX - 1)]);
	/* What is longer is cut where no prefix reaches, and not where a component would seem to end. */
	if (size <= MT_FILTER_PATH_MAX) {
		key->path.path[size] = '/';
		size++;
	}
	if (length)
		size = add_entry(slot, size, name, length);
	if (size > MT_FILTER_PATH_MAX + 1)
		size = MT_FILTER_PATH_MAX + 1;
	key->path.filter = filter->paths;
	key->path.prefix = 8 * (sizeof(key->path.filter) + size);
	found = bpf_map_lookup_elem(&filter_paths, &key->path);
	if (!found)
		return PLACE_TOLD;
	if (!length && found->has_others && found->length == size)
		return PLACE_DEPENDS;
	return found->is_left_out ? PLACE_LEFT_OUT : PLACE_TOLD;
}

__noinline int remember_place(__u32 slot, __u32 place)
{
	struct workspace *work;
	__u64 fingerprint, *entry;

	if (!(config.filters & MT_FILTERS_PATHS))
		return 0;
	work = workspace_of(slot);
	if (!work)
		return 0;
	fingerprint = place_fingerprint(work);
	entry = filter_place(fingerprint);
	if (entry)
		*(volatile __u64 *)entry = fingerprint ^ (place & 3);
	return 0;
}

/*
 * Whether the job's filter leaves out the entry of this directory that has the name of `length` bytes at this address. The
 * workspace is that of a record that was begun. One call after the other: their frames share one stack.
 */
static __always_inline int entry_left_out(__u32 slot, __u32 job, __u64 mnt, __u64 directory, __u64 name, __u32 length)
{
	__u32 place;

	locate(slot, mnt, directory, job);
	place = known_place(slot, job);
	if (place == PLACE_UNKNOWN) {
		build_path(slot, mnt, directory);
		place = match_place(slot, job, 0, 0);
		remember_place(slot, place);
	}
	if (place == PLACE_DEPENDS) {
		build_path(slot, mnt, directory);
		place = match_place(slot, job, name, length);
	}
	return place == PLACE_LEFT_OUT;
}

/* Likewise, of what is at (mnt, dentry). */
static __always_inline int place_left_out(__u32 slot, __u32 job, struct vfsmount *mnt, struct dentry *dentry)
{
	struct dentry *parent = READ(dentry, struct dentry, d_parent);
	struct dentry *root = READ(mnt, struct vfsmount, mnt_root);
	struct mount *mount = mount_of(mnt);
	struct mount *above = READ(mount, struct mount, mnt_parent);

	if (dentry == root) {
		/* Its name is that of what it is mounted on; the root of all has none. */
		if (mount == above)
			return 0;
		dentry = READ(mount, struct mount, mnt_mountpoint);
		parent = READ(dentry, struct dentry, d_parent);
		mnt = (struct vfsmount *)((__u8 *)above + bpf_core_field_offset(struct mount, mnt));
	}
	/* Pipes, sockets and memory files have a name and no path. */
	if (dentry == parent)
		return 0;
	return entry_left_out(slot, job, (__u64)mnt, (__u64)parent,
			      (__u64)READ(dentry, struct dentry, d_name.name), READ(dentry, struct dentry, d_name.len));
}

enum begun {
	BEGUN_NOT = 0,     /* lost, and counted */
	BEGUN = 1,
	BEGUN_NOTHING = 2, /* left out, and counted */
};

/*
 * Counts an event as seen and starts its record, see begin; unless the job's filter leaves out what this open file is.
 * `event`: as it is counted then.
 */
static __always_inline enum begun begin_of(struct record *record, __u32 type, __u32 event, __u32 body,
					   const struct actor *actor, struct file *file)
{
	if (!(config.filters & MT_FILTERS_PATHS)) {
		COUNT(type, seen);
		return begin(record, type, MT_BULK, body, actor) ? BEGUN : BEGUN_NOT;
	}
	if (!begin(record, type, MT_BULK, body, actor)) {
		COUNT(type, seen);
		return BEGUN_NOT;
	}
	if (place_left_out(record->slot, actor->job, READ(file, struct file, f_path.mnt),
			   READ(file, struct file, f_path.dentry))) {
		release(record);
		count_filtered(actor->job, event);
		return BEGUN_NOTHING;
	}
	COUNT(type, seen);
	return BEGUN;
}

#endif
