/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Which job a task belongs to, and what is kept for its process. */
#ifndef MARTLET_SCOPE_H
#define MARTLET_SCOPE_H

#include "record.h"

/* The tag of a task that runs a program of its own: one that ends a system call, forks or execs. None: in no job. */
static __always_inline struct mt_tag *own_tag(struct task_struct *task)
{
	return find_tag(task);
}

/* The tag of any task. */
static __always_inline struct mt_tag *tag_of(struct task_struct *task)
{
	struct mt_tag *tag = own_tag(task);

	/* io_uring's threads are born without a fork event: they act, and end, for the process that they belong to. */
	if (!tag && TASK(task, pid) != TASK(task, tgid))
		tag = find_leaders_tag(task);
	return tag;
}

static __always_inline struct mt_process *process_of(__u32 tgid)
{
	return bpf_map_lookup_elem(&processes, &tgid);
}

/*
 * Puts a process that is new to its job into `processes`, and counts it as one that lives. Returns 0 if it was there:
 * who is born while all tasks are looked at may be seen twice.
 */
static __always_inline int list_process(__u32 tgid, const struct mt_process *fresh)
{
	struct mt_job *job = job_of(fresh->job), *last;
	struct mt_process *known;

	if (!job)
		return 1;
	ADD(&job->born, 1);
	if (bpf_map_update_elem(&processes, &tgid, fresh, BPF_NOEXIST) == 0) {
		count_used(MT_MAP_PROCESSES, 1);
		add_live(job, 1);
		return 1;
	}
	known = process_of(tgid);
	if (!known) {
		count_full(MT_MAP_PROCESSES);
		ADD(&job->unlisted, 1);
		return 1;
	}
	if (!known->leader_start || known->leader_start == fresh->leader_start)
		return 0;
	/* One of that number whose end was not seen. */
	last = job_of(known->job);
	if (last)
		add_live(last, -1);
	bpf_map_update_elem(&processes, &tgid, fresh, BPF_EXIST);
	add_live(job, 1);
	return 1;
}

/* Takes a process that has ended out of `processes`: of all who see its end, one gets a 1. */
static __always_inline int unlist_process(__u32 tgid, __u32 slot)
{
	struct mt_job *job = job_of(slot);

	if (bpf_map_delete_elem(&processes, &tgid))
		return 0;
	count_used(MT_MAP_PROCESSES, -1);
	if (job)
		add_live(job, -1);
	return 1;
}

/* What a process gets from the one that started it: runners' children begin a step each. */
static __always_inline void inherit_step(struct mt_tag *made, const struct mt_tag *tag)
{
	struct mt_job *job;

	made->flags = 0;
	if (tag->flags & MT_TAG_RUNNER) {
		job = job_of(tag->job);
		made->step = job ? next_number(&job->steps) : 0;
		made->flags = MT_TAG_STEP;
	} else if (tag->image == tag->leader_start) {
		/* A step's first process that has not execed yet: the exec may as well be its child's. */
		made->flags = tag->flags & MT_TAG_STEP;
	}
}

static __always_inline struct actor actor_of(struct task_struct *task, struct mt_tag *tag)
{
	struct actor actor = {};

	/* User space cannot know the kernel's start time of the first process to the nanosecond. */
	if (!tag->leader_start) {
		struct mt_process *process = process_of(TASK(task, tgid));

		tag->leader_start = leader_start_of(task);
		if (process)
			process->leader_start = tag->leader_start;
	}
	actor.leader_start = tag->leader_start;
	actor.image = tag->image;
	actor.tgid = TASK(task, tgid);
	actor.tid = TASK(task, pid);
	actor.job = tag->job;
	return actor;
}

/* Descriptors below MT_FD_TRACKED, a bit each. */
struct fd_set {
	__u64 words[MT_FD_TRACKED / 64];
};

/* Where the only bit of a number is, by its product with a de Bruijn sequence: there is no instruction for it. */
static const __u8 bit_places[64] = {
	0,  1,  2,  53, 3,  7,  54, 27, 4,  38, 41, 8,  34, 55, 48, 28, 62, 5,  39, 46, 44, 42,
	22, 9,  24, 35, 59, 56, 49, 18, 29, 11, 63, 52, 6,  26, 37, 40, 33, 47, 61, 45, 43, 21,
	23, 58, 17, 10, 51, 25, 36, 32, 60, 20, 57, 16, 50, 31, 19, 15, 30, 14, 13, 12,
};

static __always_inline __u32 take_bit(__u64 *word)
{
	__u64 bits = *word;

	*word = bits & (bits - 1);
	return bit_places[(bits & -bits) * 0x022fdd63cc95386dull >> 58];
}

/*
 * Takes the lowest descriptor out of `set`. Returns MT_FD_TRACKED if there is none. Word by word: an index
 * into the stack is refused before 5.12.
 */
static __always_inline __u32 take_descriptor(struct fd_set *set)
{
	if (set->words[0])
		return take_bit(&set->words[0]);
	if (set->words[1])
		return 64 + take_bit(&set->words[1]);
	if (set->words[2])
		return 128 + take_bit(&set->words[2]);
	if (set->words[3])
		return 192 + take_bit(&set->words[3]);
	return MT_FD_TRACKED;
}
_Static_assert(MT_FD_TRACKED == 256, "take_descriptor names the words");

static __always_inline int is_empty(const struct fd_set *set)
{
	return !(set->words[0] | set->words[1] | set->words[2] | set->words[3]);
}

static __always_inline struct fd_set writing_of(struct mt_process *process)
{
	struct fd_set set = {{process->writing[0], process->writing[1], process->writing[2], process->writing[3]}};

	return set;
}

static __always_inline void set_writing(struct mt_process *process, __u32 fd, int on)
{
	__u64 bit = 1ull << (fd & 63), word = fd >> 6;

	if (fd >= MT_FD_TRACKED)
		return;
	asm volatile("%0 &= 3" : "+r"(word)); /* where the compiler cannot reason it away */
	if (on)
		set_bits(&process->writing[word], bit);
	else
		clear_bits(&process->writing[word], bit);
}

/* cgroup programs cannot reach task storage before 6.18: the job is found by process. */
static __always_inline struct mt_process *current_process(struct actor *actor)
{
	struct mt_process *process;
	struct task_struct *task;

	if (is_outside(current_task()))
		return 0;
	task = (struct task_struct *)bpf_get_current_task();
	actor->tgid = READ(task, struct task_struct, tgid);
	process = process_of(actor->tgid);
	if (!process)
		return 0;
	actor->tid = READ(task, struct task_struct, pid);
	actor->leader_start = process->leader_start;
	actor->image = process->image;
	actor->job = process->job;
	return process;
}

#endif
