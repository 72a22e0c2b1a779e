/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The record of an action that concerns security, and the processes that one can be done to. */
#ifndef MARTLET_ACTIONS_H
#define MARTLET_ACTIONS_H

#include "hooks.h"
#include "opens.h"
#include "security_types.h"
#include "syscalls.h"

#define PROC_SUPER_MAGIC 0x9fa0

/* How an action ended, where that is known. */
struct outcome {
	long result;
	__u8 is_known;
	__u8 flags; /* enum mt_flag */
};

static __always_inline struct outcome ended(const struct done *done, long result)
{
	return (struct outcome){.result = result, .is_known = 1, .flags = flags_of(done)};
}

/* The positive errno that a call returned, or 0: an address may be any number that is not one of the last 4,095. */
static __always_inline __u32 error_of(const struct outcome *outcome)
{
	__u32 low = outcome->result;

	if (!outcome->is_known || low <= 0xfffff000u)
		return 0;
	return outcome->result < 0 || (outcome->flags & MT_FLAG_COMPAT) ? -low : 0;
}

/* Starts the record of an action. Its event is counted as seen already. */
static __always_inline struct mt_security *tell(struct record *record, __u32 kind, const struct actor *actor,
						const struct outcome *outcome)
{
	struct mt_security *body;

	if (!begin(record, MT_SECURITY, MT_CRITICAL, sizeof(*body), actor))
		return 0;
	HEADER(record)->flags = outcome->flags;
	body = BODY(record, struct mt_security);
	body->kind = kind;
	body->security_flags = outcome->is_known ? MT_SECURITY_HAS_OUTCOME : 0;
	body->error = error_of(outcome);
	return body;
}

/* Counts an action that is told each time, and starts its record; 0, too, if it is left out. */
static __always_inline struct mt_security *tell_each_time(struct record *record, __u32 kind, const struct actor *actor,
							  const struct outcome *outcome)
{
	if (is_filtered(actor->job, MT_SECURITY))
		return 0;
	COUNT(MT_SECURITY, seen);
	return tell(record, kind, actor, outcome);
}

/* The same action by the same image, with the same end, is told once and then counted: debuggers and JITs storm. */
static __always_inline __u64 action_hash(const struct actor *actor, __u32 kind, const struct outcome *outcome)
{
	__u64 hash = hash_word(hash_begin('S'), actor->image ^ actor->tgid);

	return hash_word(hash, (__u64)error_of(outcome) << 32 | outcome->is_known << 16 | kind);
}

/* Whether it was told before, or is left out; counts it. */
static __always_inline int was_told(const struct actor *actor, __u64 hash)
{
	if (is_filtered(actor->job, MT_SECURITY))
		return 1;
	COUNT(MT_SECURITY, seen);
	if (!was_sent(hash))
		return 0;
	COUNT(MT_SECURITY, deduplicated);
	COUNT_JOB(actor->job, deduplicated);
	return 1;
}

/* Another process, as far as it can be found. */
struct target {
	__u64 start;
	__u32 tgid;
	__u32 is_number; /* 1: tgid is what the caller gave */
};

static __always_inline struct target target_of(struct task_struct *task)
{
	struct task_struct *leader = READ(task, struct task_struct, group_leader);
	struct target target = {.tgid = READ(task, struct task_struct, tgid)};

	target.start = READ(leader, struct task_struct, start_boottime);
	return target;
}

/* The task that a struct pid stands for, or 0: it has ended. */
static __always_inline struct task_struct *task_of(struct pid *pid)
{
	struct hlist_node *node = pid ? READ(pid, struct pid, tasks[0].first) : 0;

	return node ? (struct task_struct *)((__u8 *)node - bpf_core_field_offset(struct task_struct, pid_links)) : 0;
}

/* The process whose file of /proc this is. */
static __always_inline struct task_struct *proc_task(struct file *file)
{
	__u8 *inode = (__u8 *)READ(file, struct file, f_inode);

	return task_of(READ(inode - bpf_core_field_offset(struct proc_inode, vfs_inode), struct proc_inode, pid));
}

/* One step down the kernel's table of a pid namespace, a tree of nodes with 64 places each. */
static __always_inline __u64 descend(__u64 entry, __u64 index)
{
	struct xa_node *node = (struct xa_node *)(entry - 2);
	__u64 place;

	if ((entry & 3) != 2)
		return entry;
	place = index >> (READ(node, struct xa_node, shift) & 63);
	return read_word((__u8 *)node + bpf_core_field_offset(struct xa_node, slots) + (place & 63) * sizeof(__u64));
}

/* The task that `task` calls by this number. There is a helper for it only in later kernels. */
static __always_inline struct task_struct *find_task(struct task_struct *task, __u32 number)
{
	struct pid *own = READ(task, struct task_struct, thread_pid), *found;
	__u32 level = READ(own, struct pid, level);
	__u64 place = (__u64)level * bpf_core_type_size(struct upid);
	struct pid_namespace *space = READ((__u8 *)own + place, struct pid, numbers[0].ns);
	__u64 index = number - READ(space, struct pid_namespace, idr.idr_base), entry;

	entry = (__u64)READ(space, struct pid_namespace, idr.idr_rt.xa_head);
	/* Pids have at most 22 bits, and each level takes 6. */
	entry = descend(descend(descend(descend(entry, index), index), index), index);
	if (!entry || (entry & 3))
		return 0;
	found = (struct pid *)entry;
	/* A number above all that are taken leads to another's place. */
	if (READ((__u8 *)found + place, struct pid, numbers[0].nr) != (int)number)
		return 0;
	return task_of(found);
}

/* The process behind a descriptor of pidfd_open. */
static __always_inline struct task_struct *pidfd_task(struct file *file)
{
	struct inode *inode;
	struct super_block *sb;

	if (!file)
		return 0;
	inode = READ(file, struct file, f_inode);
	sb = READ(inode, struct inode, i_sb);
	/* From 6.9 on, pidfds have a file system of their own. */
	if (READ(sb, struct super_block, s_magic) == PID_FS_MAGIC)
		return task_of(READ(inode, struct inode, i_private));
	return task_of(READ(file, struct file, private_data));
}

#endif
