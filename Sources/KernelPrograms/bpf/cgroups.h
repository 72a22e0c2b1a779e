/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Where a task is in the v2 hierarchy of cgroups, for rules that ask for that. */
#ifndef MARTLET_CGROUPS_H
#define MARTLET_CGROUPS_H

#include "rules.h"
#include "network_types.h"

#define CGROUP_LEVELS 32

struct kernfs_node___named {
	const char *name;
} __attribute__((preserve_access_index));

/* Up to 6.14, and since. */
struct kernfs_node___child {
	struct kernfs_node *parent;
} __attribute__((preserve_access_index));

struct kernfs_node___protected {
	struct kernfs_node *__parent;
} __attribute__((preserve_access_index));

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, MT_MAX_RULES);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct mt_cgroup_path);
	__type(value, __u64);
} cgroup_paths SEC(".maps");

static __always_inline struct cgroup_walk *current_walk(void)
{
	struct look *look = current_look();

	if (!look)
		return 0;
	/* Nothing is added to a pointer before it is known to be one. */
	barrier_var(look);
	return &look->walk;
}

static __always_inline struct kernfs_node *parent_of(struct kernfs_node *node)
{
	if (bpf_core_field_exists(struct kernfs_node___protected, __parent))
		return READ(node, struct kernfs_node___protected, __parent);
	return READ(node, struct kernfs_node___child, parent);
}

struct climbing {
	struct cgroup_walk *walk;
};

static long cgroup_step(__u32 index, struct climbing *climbing)
{
	struct cgroup_walk *walk = LOOP_POINTER(climbing->walk, current_walk());
	struct kernfs_node *node, *parent;
	long length;
	__u32 at;

	if (LOOP_MISSING(walk))
		return 1;
	node = (struct kernfs_node *)walk->node;
	parent = parent_of(node);
	at = walk->at;
	if (!parent) {
		walk->is_complete = 1;
		return 1;
	}
	length = bpf_probe_read_kernel_str(walk->name, sizeof(walk->name), READ(node, struct kernfs_node___named, name));
	barrier_var(length);
	if (length < 1 || length > MT_NAME_MAX + 1 || at < length || at > CGROUP_PATH)
		return 1;
	/* In front of what there is: a slash, and the name without its zero. */
	at -= length;
	barrier_var(at);
	if (at >= CGROUP_PATH)
		return 1;
	walk->path[at] = '/';
	bpf_probe_read_kernel(&walk->path[at + 1], length - 1, walk->name);
	walk->at = at;
	walk->node = (__u64)parent;
	return 0;
}
LOOP_STEP(struct climbing, cgroup_step)

/* The rules that are for tasks in this cgroup, a bit each. What cannot be told counts as none, and is counted. */
__noinline __u64 rules_of_cgroup(__u64 node)
{
	struct cgroup_walk *walk = current_walk();
	struct climbing climbing = {.walk = walk};
	__u64 *rules, size;
	__u32 from;

	if (!walk)
		return 0;
	walk->node = node;
	walk->at = CGROUP_PATH;
	walk->is_complete = 0;
	LOOP(CGROUP_LEVELS, cgroup_step, &climbing);
	if (!walk->is_complete) {
		COUNT_RECOGNITION(unreadable);
		return 0;
	}
	from = walk->at;
	size = CGROUP_PATH - from;
	if (size > MT_RULE_CGROUP_MAX)
		size = MT_RULE_CGROUP_MAX;
	barrier_var(size);
	if (size > MT_RULE_CGROUP_MAX)
		return 0;
	bpf_probe_read_kernel(walk->key.path, size, &walk->path[from & (CGROUP_PATH - 1)]);
	if (size < MT_RULE_CGROUP_MAX) {
		walk->key.path[size] = '/';
		size++;
	}
	walk->key.prefix = 8 * size;
	rules = bpf_map_lookup_elem(&cgroup_paths, &walk->key);
	return rules ? *rules : 0;
}

#endif
