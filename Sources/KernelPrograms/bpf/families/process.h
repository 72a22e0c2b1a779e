/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Processes: fork, exec, exit. The tag is inherited here, and nothing else ever removes it. */
#include "hooks.h"
#include "opens.h"
#include "policy.h"

#define SIGNAL_GROUP_EXIT 4
#if defined(__TARGET_ARCH_x86)
#define PAGE_SIZE 4096
#else
#define PAGE_SIZE config.page_size
#endif
#define TMPFS_MAGIC 0x01021994
#define EXEC_STRINGS (MT_ARGV_MAX + 3 * MT_PATH_MAX)
_Static_assert(sizeof(struct mt_header) + sizeof(struct mt_exec) + EXEC_STRINGS < MT_RECORD_MAX + 512,
	       "the longest exec is close to the limit");

/* A child that has its own copy of the descriptor table holds what its parent holds. */
struct inherit {
	struct fd_set left;
	struct mt_process *to;
	__u32 parent, child;
};

static long inherit_writer(__u32 index, struct inherit *inherit)
{
	struct mt_process *to = LOOP_POINTER(inherit->to, process_of(inherit->child));
	struct mt_writer_key key = {.tgid = inherit->parent};
	struct mt_writer *found, copy;

	key.fd = take_descriptor(&inherit->left);
	if (key.fd >= MT_FD_TRACKED)
		return 1;
	found = bpf_map_lookup_elem(&writers, &key);
	if (!found)
		return 0;
	copy = *found;
	add_writer(inherit->child, to, key.fd, &copy);
	return 0;
}
LOOP_STEP(struct inherit, inherit_writer)

static __always_inline void inherit_writers(struct mt_process *from, __u32 parent, __u32 child)
{
	struct inherit inherit = {.parent = parent, .child = child, .to = process_of(child)};

	if (!from || !inherit.to)
		return;
	inherit.left = writing_of(from);
	if (!is_empty(&inherit.left))
		LOOP(MT_FD_TRACKED, inherit_writer, &inherit);
}

/* Makes the child a member of its parent's job. Returns its tag; 0, not counted, if there is no memory for one. */
static __always_inline struct mt_tag *inherit_job(struct mt_tag *tag, struct task_struct *parent,
						  struct task_struct *child)
{
	__u32 tgid = parent->tgid, child_tgid = child->tgid;
	struct mt_process *process, fresh = {};
	struct mt_tag *made = make_tag(child);

	if (!made)
		return 0;
	count_used(MT_MAP_TAGS, 1);
	*made = *tag;
	process = process_of(tgid);
	if (child_tgid == tgid) {
		if (process)
			ADD(&process->threads, 1);
		return made;
	}
	made->tgid = child_tgid;
	made->leader_start = child->start_boottime;
	made->depth = tag->depth + 1;
	made->image = made->leader_start;
	inherit_step(made, tag);
	fresh.image = made->image;
	fresh.leader_start = made->leader_start;
	fresh.job = tag->job;
	fresh.subjects = process ? process->subjects : 0;
	/* A step has no name before its first exec. */
	fresh.step = process && !(tag->flags & MT_TAG_RUNNER) ? process->step : 0;
	list_process(child_tgid, &fresh);
	return made;
}

/*
 * Where tasks are preempted, in a program of its own that is over soon: what is left out here is in no job, and could be
 * brought about by forking a lot. What is left out below is only not told. It is tried there again, and counted, if there is no
 * memory here.
 */
static __always_inline void joined(struct task_struct *parent, struct task_struct *child)
{
	struct mt_tag *tag = own_tag(parent);

	if (tag)
		inherit_job(tag, parent, child);
}
IN_TURNS("tp_btf/sched_process_fork", inherit_tag, MT_TURN_INHERIT,
     joined(ARGUMENT(context, 0, struct task_struct *), ARGUMENT(context, 1, struct task_struct *)))

static __always_inline void forked(struct task_struct *parent, struct task_struct *child)
{
	struct mt_tag *tag = own_tag(parent), *made = 0;
	struct record record;
	struct mt_fork *body;
	struct pid *pid;
	__u32 child_tgid, level;
	struct actor actor;

	if (!tag)
		return;
	actor = actor_of(parent, tag);
	child_tgid = child->tgid;
	if (config.preemptible)
		made = own_tag(child);
	if (!made)
		made = inherit_job(tag, parent, child);
	if (!made) {
		/* The child goes unwatched, which nothing later can repair. */
		COUNT(MT_FORK, seen);
		COUNT(MT_FORK, lost);
		COUNT_JOB(tag->job, lost_critical);
		count_full(MT_MAP_TAGS);
		return;
	}
	if (child_tgid == actor.tgid)
		return;
	COUNT(MT_FORK, seen);
	inherit_writers(process_of(actor.tgid), actor.tgid, child_tgid);

	if (!begin(&record, MT_FORK, MT_CRITICAL, sizeof(*body), &actor))
		return;
	body = BODY(&record, struct mt_fork);
	body->child_tgid = child_tgid;
	body->child_start = made->leader_start;
	body->real_parent_tgid = LOOSE(child)->real_parent->tgid;
	body->step = made->step;
	body->shares_files = LOOSE(child)->files == LOOSE(parent)->files;
	pid = READ(child, struct task_struct, thread_pid);
	level = READ(pid, struct pid, level);
	body->child_ns_tgid = READ((__u8 *)pid + level * bpf_core_type_size(struct upid), struct pid, numbers[0].nr);
	send(&record);
}
IN_TURNS("tp_btf/sched_process_fork", sched_process_fork, MT_TURN_FORK,
     forked(ARGUMENT(context, 0, struct task_struct *), ARGUMENT(context, 1, struct task_struct *)))

static __always_inline __u32 exec_flags(struct task_struct *task, struct file *file, __u32 nlink)
{
	struct dentry *dentry = READ(file, struct file, f_path.dentry);
	struct vfsmount *mnt = READ(file, struct file, f_path.mnt);
	struct path root = {};
	__u32 flags = 0;

	root.mnt = READ(LOOSE(task)->fs, struct fs_struct, root.mnt);
	root.dentry = READ(LOOSE(task)->fs, struct fs_struct, root.dentry);

	if (dentry == READ(dentry, struct dentry, d_parent) && dentry != READ(mnt, struct vfsmount, mnt_root))
		flags |= MT_EXEC_MEMFD;
	else if (READ(READ(mnt, struct vfsmount, mnt_sb), struct super_block, s_magic) == TMPFS_MAGIC)
		flags |= MT_EXEC_TMPFS;
	if (!nlink || !READ(dentry, struct dentry, d_hash.pprev))
		flags |= MT_EXEC_DELETED;
	if (has_own_root(&root))
		flags |= MT_EXEC_CHROOT;
	if (LOOSE(task)->nsproxy->mnt_ns->ns.inum != config.mount_namespace)
		flags |= MT_EXEC_OTHER_MNTNS;
	return flags;
}

/* The descriptors that a new image finds open. */
struct given {
	struct fd_set left;
	struct actor actor;
	struct mt_process *process;
	__u64 slots;
	__u64 hash;
};

static __always_inline struct given given_to(struct task_struct *task, const struct actor *actor)
{
	struct fdtable *table = LOOSE(task)->files->fdt;
	struct given given = {.actor = *actor};

	given.left = open_of(table);
	given.slots = (__u64)READ(table, struct fdtable, fd);
	given.hash = hash_word(hash_word(hash_begin('s'), actor->job), incarnation_of(actor->job));
	return given;
}

static __always_inline struct file *given_file(const struct given *given, __u32 fd)
{
	return (struct file *)read_word((struct file **)given->slots + fd);
}

static long hash_given(__u32 index, struct given *given)
{
	__u32 fd = take_descriptor(&given->left);
	struct dentry *dentry;
	struct inode *inode;
	struct file *file;
	__u64 hash = given->hash;

	if (fd >= MT_FD_TRACKED)
		return 1;
	file = given_file(given, fd);
	if (!file)
		return 0;
	inode = READ(file, struct file, f_inode);
	dentry = READ(file, struct file, f_path.dentry);
	hash = hash_word(hash, (__u64)READ(file, struct file, f_mode) << 32 | fd);
	hash = hash_word(hash, (__u64)READ(file, struct file, f_flags) << 32 | READ(inode, struct inode, i_generation));
	hash = hash_word(hash, (__u64)inode);
	hash = hash_word(hash, READ(inode, struct inode, i_ino));
	hash = hash_word(hash, (__u64)dentry);
	hash = hash_word(hash, READ(dentry, struct dentry, d_name.hash_len));
	given->hash = hash_word(hash, (__u64)READ(file, struct file, f_path.mnt));
	return 0;
}
LOOP_STEP(struct given, hash_given)

/* The id of what a new image finds open: processes of one job are given the same over and over. */
static __always_inline __u64 descriptor_set(struct task_struct *task, const struct actor *actor)
{
	struct given given = given_to(task, actor);

	LOOP(MT_FD_TRACKED, hash_given, &given);
	return hash_end(given.hash);
}

/*
 * Whether what is executed has to wait until it is known under which policy: the first program of a container. Who has the
 * mounts of its parent is the runtime, which mounts and takes rights as no job may.
 */
static __always_inline int is_to_wait(struct task_struct *task, const struct actor *actor)
{
	__u32 slot = actor->job;
	struct mt_policy *policy = config.enforces ? bpf_map_lookup_elem(&policies, &slot) : 0;
	struct nsproxy *parents;

	if (!policy || !(policy->flags & MT_POLICY_HELD))
		return 0;
	parents = READ(LOOSE(task)->real_parent, struct task_struct, nsproxy);
	return READ(parents, struct nsproxy, mnt_ns) != LOOSE(task)->nsproxy->mnt_ns;
}

static __always_inline void executed(struct task_struct *task, int old_pid, struct linux_binprm *bprm)
{
	struct mt_tag *tag = own_tag(task);
	__u64 start, length, set, untold;
	struct mt_process *process;
	struct record record;
	struct mt_exec *body;
	struct actor actor;
	struct file *file;
	struct inode *inode;
	int waits;

	if (!tag)
		return;
	COUNT(MT_EXEC, seen);
	actor = actor_of(task, tag);
	/* A thread that execs goes on as the leader. */
	if ((__u32)old_pid != actor.tgid)
		drop_tag(old_pid);
	process = process_of(actor.tgid);
	tag->image = bpf_ktime_get_boot_ns();
	if (process) {
		close_on_exec(task, process, &actor);
		process->image = tag->image;
	}
	/* Asked before the record gets its time: what was told is older. */
	set = descriptor_set(task, &actor);
	untold = was_sent(set) ? 0 : set;
	if (process)
		process->untold = untold;

	if (!begin(&record, MT_EXEC, MT_CRITICAL, sizeof(*body), &actor))
		return;
	body = BODY(&record, struct mt_exec);
	/* What runs: a script's interpreter. The script itself is FILENAME. */
	file = LOOSE(task)->mm->exe_file;
	inode = READ(file, struct file, f_inode);
	body->file = identity_of(inode);
	body->size = READ(inode, struct inode, i_size);
	times_of(inode, &body->ctime, &body->mtime);
	body->parent_tgid = LOOSE(task)->real_parent->tgid;
	body->old_tid = old_pid;
	body->uid = LOOSE(task)->cred->euid.val;
	body->gid = LOOSE(task)->cred->egid.val;
	body->exec_flags = exec_flags(task, file, body->file.nlink);
	if (untold)
		body->exec_flags |= MT_EXEC_DESCRIPTORS_FOLLOW;
	waits = is_to_wait(task, &actor);
	if (waits)
		body->exec_flags |= MT_EXEC_HELD;
	body->descriptors = set;
	body->argc = bprm->argc;
	body->cgroup = LOOSE(task)->cgroups->dfl_cgrp->kn->id;
	start = LOOSE(task)->mm->arg_start;
	length = LOOSE(task)->mm->arg_end - start;
	body->argv_bytes = length;

	add_path(&record, MT_STR_EXE, READ(file, struct file, f_path.mnt), READ(file, struct file, f_path.dentry));
	add_path(&record, MT_STR_CWD, READ(LOOSE(task)->fs, struct fs_struct, pwd.mnt),
		 READ(LOOSE(task)->fs, struct fs_struct, pwd.dentry));
	add_kernel_string(&record, MT_STR_COMM, task->comm, MT_COMM_MAX + 1);
	add_user_bytes(&record, MT_STR_ARGV, (const void *)start, length, MT_ARGV_MAX);
	add_kernel_string(&record, MT_STR_FILENAME, READ(bprm, struct linux_binprm, filename), MT_PATH_MAX + 1);
	if (config.wakes_at_exec || waits)
		record.cpu->unsignalled[MT_CRITICAL] = config.critical_edge;
	/* Nobody would let it go on of whom nobody knows. It stops before its first instruction. */
	if (send(&record) && waits)
		bpf_send_signal(SIGSTOP);
}
IN_TURNS("tp_btf/sched_process_exec", sched_process_exec, MT_TURN_EXEC,
     executed(ARGUMENT(context, 0, struct task_struct *), ARGUMENT(context, 1, int),
	      ARGUMENT(context, 2, struct linux_binprm *)))

static long send_inherited(__u32 index, struct given *given)
{
	struct open_request request = {.type = MT_OPEN, .how = MT_OPEN_INHERITED};
	__u32 fd = take_descriptor(&given->left);
	struct mt_process *process;

	if (fd >= MT_FD_TRACKED)
		return 1;
	request.fd = fd;
	request.file = given_file(given, fd);
	if (!request.file)
		return 0;
	request.open_flags = READ(request.file, struct file, f_flags);
	if (!send_open(&given->actor, &request)) {
		/* Not told after all: the next image with this set is asked again. */
		process = LOOP_POINTER(given->process, process_of(given->actor.tgid));
		if (!LOOP_MISSING(process))
			process->untold = 0;
	}
	return 0;
}
LOOP_STEP(struct given, send_inherited)

/* Runs after the program above, which is attached before it. */
static __always_inline void tell_descriptors(struct task_struct *task)
{
	struct mt_tag *tag = own_tag(task);
	struct mt_process *process;
	struct given given;
	struct actor actor;

	if (!tag)
		return;
	process = process_of(TASK(task, tgid));
	if (!process || !process->untold)
		return;
	actor = actor_of(task, tag);
	given = given_to(task, &actor);
	given.process = process;
	LOOP(MT_FD_TRACKED, send_inherited, &given);
	if (process->untold)
		remember_open(process->untold);
}
IN_TURNS("tp_btf/sched_process_exec", exec_descriptors, MT_TURN_EXEC_DESCRIPTORS,
     tell_descriptors(ARGUMENT(context, 0, struct task_struct *)))

static __always_inline void exited(struct task_struct *task)
{
	struct mt_tag *tag = tag_of(task);
	struct mt_process *process;
	struct signal_struct *signal;
	struct record record;
	struct mt_exit *body;
	struct actor actor;
	__u32 tgid, threads;

	/* The kernel keeps the tag until the task is reaped; nothing looks at it any more. */
	if (own_tag(task))
		count_used(MT_MAP_TAGS, -1);
	/* Only the last thread's end is the process' end, be it one of io_uring's. */
	if (!tag || LOOSE(task)->signal->live.counter > 0) {
		/* The leader's tag is also for threads that have none. */
		if (tag && task->pid != task->tgid)
			drop_tag(task->pid);
		return;
	}
	actor = actor_of(task, tag);
	tgid = actor.tgid;
	drop_tag(actor.tid);
	drop_tag(tgid);
	process = process_of(tgid);
	if (!process)
		return;
	/* Two threads that end at once may both find that none is left. */
	if (!claim_exit(process, tgid, &threads))
		return;
	close_at_exit(process, &actor);

	COUNT(MT_EXIT, seen);
	if (begin(&record, MT_EXIT, MT_CRITICAL, sizeof(*body), &actor)) {
		signal = task->signal;
		body = BODY(&record, struct mt_exit);
		body->status = signal->flags & SIGNAL_GROUP_EXIT ? signal->group_exit_code :
								   LOOSE(task)->group_leader->exit_code;
		body->threads = threads;
		body->user_ns = signal->utime + task->utime;
		body->system_ns = signal->stime + task->stime;
		body->read_bytes = signal->ioac.rchar + task->ioac.rchar;
		body->written_bytes = signal->ioac.wchar + task->ioac.wchar;
		body->peak_rss = signal->maxrss * PAGE_SIZE;
		body->failed_opens = process->failed_opens;
		send(&record);
	}
	unlist_process(tgid, actor.job);
	end_exit(tgid);
}
IN_TURNS("tp_btf/sched_process_exit", sched_process_exit, MT_TURN_EXIT,
     exited(ARGUMENT(context, 0, struct task_struct *)))
