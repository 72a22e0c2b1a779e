/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What is noted of a process while rules are asked about it. */
#ifndef MARTLET_LOOKS_H
#define MARTLET_LOOKS_H

#include "files.h"

#define ENVIRONMENT_LISTED 32    /* variables that are looked for in one step */
#define ENVIRONMENT_WINDOW 256   /* bytes that are looked at to find how variables begin; long ones are jumped over */
#define ENVIRONMENT_CHUNK 1024   /* bytes of a variable that is looked at */
#define CGROUP_PATH 1024         /* bytes of a cgroup's path that are looked at, a power of two; below them is room for a name */

/* On kernels that need the old programs no task is preempted in one: one process at a time is looked at on a CPU. */
#ifndef MARTLET_OLD
#define LOOKS MT_TURNS
#else
#define LOOKS 1
#endif

/* The path of its cgroup, built from its end. */
struct cgroup_walk {
	__u64 node;
	__u32 at;             /* the path is path[at ..) */
	__u32 is_complete;
	__u8 name[MT_NAME_MAX + 1];
	__u8 path[CGROUP_PATH + MT_NAME_MAX + 1];
	struct mt_cgroup_path key;
};

/*
 * One process that is looked at: in a map, as the verifier forgets what lies there. Nothing interrupts it but interrupts, and
 * where tasks are preempted others of their CPU: of those that take turns each has a look of its own.
 */
struct look {
	__u64 owner;          /* the task that is looked at, where there are several; 0: nobody has it */
	__u64 at, end;        /* of the environment, in the process */
	__u64 list;           /* where the addresses of the variables are that come next, 0: unknown */
	__u64 rest;           /* what has not been looked at: variables, without a list bytes */
	__u64 window_at;      /* what the window shows, 0: nothing yet */
	__u64 found;          /* markers that are there */
	__u64 keyed;          /* rules whose key is looked for… */
	__u64 named;          /* …or the names of whose steps */
	__u64 key;            /* where its value is, 0: not found */
	__u64 hash, hashed;   /* of the value, so far; and its bytes */
	__u64 candidates;     /* rules that may hold */
	struct mt_variable_name name;
	__u32 argc, envc;     /* as the kernel counted them */
	__u32 wanted;         /* enum mt_start: of the variables that are looked for */
	__u32 is_inside;      /* what comes next belongs to a variable that is longer than a chunk */
	__u32 is_unreadable;
	__u32 uid;
	__u32 rule;           /* that holds */
	__u32 slot;           /* of the record */
	__u32 collects;       /* what may be sent is added to it */
	__u32 rank;           /* of the variable at `key`, if it names a step */
	__u32 reserved;
	__u64 listed[ENVIRONMENT_LISTED];
	__u8 window[ENVIRONMENT_WINDOW];
	__u8 chunk[ENVIRONMENT_CHUNK];
	struct cgroup_walk walk;
};
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, LOOKS);
	__type(key, __u32);
	__type(value, struct look);
} looks SEC(".maps");

static __always_inline struct look *look_at_place(__u32 place)
{
	return bpf_map_lookup_elem(&looks, &place);
}

#ifndef MARTLET_OLD
#define OWNER(look) (*(volatile __u64 *)&(look)->owner)

/* The look that this task has taken. Inline: a call more would be too many for the stack. */
static __always_inline struct look *current_look(void)
{
	struct look *look = look_at_place(0);
	__u64 task;

	if (!config.preemptible || !look)
		return look;
	task = bpf_get_current_task();
#pragma unroll
	for (__u32 place = 1; place < LOOKS; place++) {
		if (OWNER(look) == task)
			break;
		look = look_at_place(place);
		if (!look)
			break;
	}
	return look;
}

/* Takes a look for this task, until drop_look. Returns 0 if others have all, which are more than can take turns. */
static __always_inline int take_look(void)
{
	struct look *look;
	__u64 task;

	if (!config.preemptible)
		return 1;
	task = bpf_get_current_task();
#pragma unroll
	for (__u32 place = 0; place < LOOKS; place++) {
		look = look_at_place(place);
		if (look && __sync_val_compare_and_swap(&look->owner, 0, task) == 0)
			return 1;
	}
	return 0;
}

static __always_inline void drop_look(void)
{
	struct look *look = config.preemptible ? current_look() : 0;

	if (look)
		OWNER(look) = 0;
}
#else
#define current_look() look_at_place(0)
#define take_look() 1
#define drop_look() ((void)0)
#endif

#endif
