/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Which job a task belongs to, and what is kept for its process. */
#ifndef MARTLET_SCOPE_H
#define MARTLET_SCOPE_H

#include "record.h"

#define PROCESS_EXITED 0x80000000u /* in mt_process.threads: its end has been recorded */

/* The tag of a task that runs a program of its own: one that ends a system call, forks or execs. None: in no job. */
static __always_inline struct mt_tag *own_tag(struct task_struct *task)
{
	return bpf_task_storage_get(&tags, task, 0, 0);
}

/* The tag of any task. */
static __always_inline struct mt_tag *tag_of(struct task_struct *task)
{
	struct mt_tag *tag = own_tag(task);

	/* io_uring's threads are born without a fork event: they act, and end, for the process that they belong to. */
	if (!tag && task->pid != task->tgid)
		tag = bpf_task_storage_get(&tags, task->group_leader, 0, 0);
	return tag;
}

static __always_inline struct mt_process *process_of(__u32 tgid)
{
	return bpf_map_lookup_elem(&processes, &tgid);
}

static __always_inline struct actor actor_of(struct task_struct *task, struct mt_tag *tag)
{
	struct actor actor = {};

	/* User space cannot know the kernel's start time of the first process to the nanosecond. */
	if (!tag->leader_start) {
		struct mt_process *process = process_of(task->tgid);

		tag->leader_start = LOOSE(task)->group_leader->start_boottime;
		if (process)
			process->leader_start = tag->leader_start;
	}
	actor.leader_start = tag->leader_start;
	actor.image = tag->image;
	actor.tgid = task->tgid;
	actor.tid = task->pid;
	actor.job = tag->job;
	return actor;
}

/* The word of `writing` that has the bit of descriptor `fd`, masked where the compiler cannot reason it away. */
static __always_inline __u64 *writing_word(struct mt_process *process, __u32 fd)
{
	__u64 word = fd >> 6;

	asm volatile("%0 &= 3" : "+r"(word));
	return &process->writing[word];
}

static __always_inline int is_writing(struct mt_process *process, __u32 fd)
{
	return fd < MT_FD_TRACKED && (*writing_word(process, fd) & (1ull << (fd & 63)));
}

static __always_inline void set_writing(struct mt_process *process, __u32 fd, int on)
{
	__u64 bit = 1ull << (fd & 63);

	if (fd >= MT_FD_TRACKED)
		return;
	if (on)
		__sync_fetch_and_or(writing_word(process, fd), bit);
	else
		__sync_fetch_and_and(writing_word(process, fd), ~bit);
}

#endif
