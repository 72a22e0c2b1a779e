/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What was there before its job: user space has all tasks looked at, again and again until none is added. */
#include "files.h"

struct bpf_iter_meta {
	struct seq_file *seq;
} __attribute__((preserve_access_index));

struct bpf_iter__task {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
} __attribute__((preserve_access_index));

/* Whether some thread of the task's process lives. */
static __always_inline int lives(struct task_struct *task)
{
	return READ(TASK(task, signal), struct signal_struct, live.counter) > 0;
}

/* The tag of what the task's process is a child of, a thread's or the process'; 0 if that is in no job. */
static __always_inline struct mt_tag *parents_tag(struct task_struct *task)
{
#ifndef MARTLET_OLD
	struct task_struct *parent = task->real_parent;
	struct mt_tag *tag;

	if (!parent)
		return 0;
	tag = bpf_task_storage_get(&tags, parent, 0, 0);
	if (tag)
		return tag;
	parent = parent->group_leader;
	return parent ? bpf_task_storage_get(&tags, parent, 0, 0) : 0;
#else
	struct task_struct *parent = TASK(task, real_parent);
	struct mt_tag *tag;

	if (config.task_storage) {
		tag = bpf_task_storage_get(&tags, task->real_parent, 0, 0);
		return tag ? tag : bpf_task_storage_get(&tags, task->real_parent->group_leader, 0, 0);
	}
	tag = find_thread_tag(parent);
	return tag ? tag : find_thread_tag(READ(parent, struct task_struct, group_leader));
#endif
}

/* The start of a process that user space has added: it cannot know it. */
static __always_inline __u64 start_of_member(struct task_struct *task, struct mt_tag *tag)
{
	struct task_struct *leader = READ(task, struct task_struct, group_leader);
	__u64 start = tag->leader_start;
	struct mt_process *process;

	if (start)
		return start;
	start = READ(leader, struct task_struct, start_boottime);
	process = process_of(READ(task, struct task_struct, tgid));
	tag->leader_start = start;
	if (process)
		process->leader_start = start;
	return start;
}

/* A thread that was started before its process became a job's. Returns 1 if it is now. */
static __always_inline int adopt_thread(struct task_struct *task, struct mt_process *process)
{
	struct mt_tag *leaders = find_leaders_tag(task), *made;

	/* User space may be about to set it, and an exec to say whose it is. */
	if (!leaders || !leaders->job)
		return 0;
	made = make_tag(task);
	if (!made) {
		count_full(MT_MAP_TAGS);
		return 0;
	}
	count_used(MT_MAP_TAGS, 1);
	*made = *leaders;
	made->flags &= MT_TAG_RUNNER | MT_TAG_STEP;
	ADD(&process->threads, 1);
	return 1;
}

/* A process whose parent is a job's. Returns 1 if it is now one of its, too. */
static __always_inline int adopt_process(struct task_struct *task)
{
	struct mt_tag *parents = parents_tag(task), *made;
	struct task_struct *parent = (struct task_struct *)READ(task, struct task_struct, real_parent);
	__u32 tgid = READ(task, struct task_struct, tgid), level;
	struct mt_process fresh = {};
	struct actor actor = {};
	struct record record;
	struct mt_fork *body;
	struct pid *pid;

	/* Without a job, an exec is about to say whose the parent is. */
	if (!parents || !parents->job || !lives(task) || (config.counts_by_job && is_anothers(tgid)))
		return 0;
	actor.job = parents->job;
	actor.leader_start = start_of_member(parent, parents);
	actor.tgid = READ(parent, struct task_struct, tgid);
	actor.tid = READ(parent, struct task_struct, pid);
	fresh.leader_start = READ(task, struct task_struct, start_boottime);
	/* Not its start: it may have execed since. */
	fresh.image = bpf_ktime_get_boot_ns();
	fresh.job = actor.job;
	if (!list_process(tgid, &fresh))
		return 0;
	made = make_tag(task);
	if (!made) {
		/* Counted again with each look, as each one misses it. */
		count_full(MT_MAP_TAGS);
		unlist_process(tgid, actor.job);
		return 0;
	}
	count_used(MT_MAP_TAGS, 1);
	*made = *parents;
	inherit_step(made, parents);
	made->tgid = tgid;
	made->leader_start = fresh.leader_start;
	made->image = fresh.image;
	made->depth = parents->depth + 1;
	/* If it had ended by now, nobody may tell: who deletes the entry does. */
	if (!lives(task)) {
		unlist_process(tgid, actor.job);
		return 0;
	}

	COUNT(MT_FORK, seen);
	if (!begin(&record, MT_FORK, MT_CRITICAL, sizeof(*body), &actor))
		return 1;
	body = BODY(&record, struct mt_fork);
	body->child_tgid = tgid;
	body->real_parent_tgid = actor.tgid;
	body->child_start = fresh.leader_start;
	body->step = made->step;
	pid = READ(task, struct task_struct, thread_pid);
	level = READ(pid, struct pid, level);
	body->child_ns_tgid = READ((__u8 *)pid + level * bpf_core_type_size(struct upid), struct pid, numbers[0].nr);
	send(&record);
	return 1;
}

/* Writes a byte for each task that it adds. */
SEC("iter/task")
int adopt(struct bpf_iter__task *context)
{
	struct task_struct *task = context->task;
	struct seq_file *seq = context->meta->seq;
	struct mt_process *process;
	struct mt_tag *tag;
	struct mt_job *job;
	__u32 tgid;
	int is_added;

	if (!task)
		return 0;
	tag = own_tag(task);
	if (tag) {
		job = job_of(tag->job);
		if (job && lives(task))
			ADD(&job->tasks, 1);
		return 0;
	}
	tgid = READ(task, struct task_struct, tgid);
	process = process_of(tgid);
	if ((__u32)READ(task, struct task_struct, pid) != tgid)
		is_added = process ? adopt_thread(task, process) : 0;
	else
		is_added = adopt_process(task);
	if (is_added)
		bpf_seq_write(seq, ".", 1);
	return 0;
}
