/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Policies where no function has hooks: what is not allowed is seen when its system call ends, and the process killed
 * before it goes on. The call itself has been done. An open file has its own path and identity; what calls on names did
 * is told by the names that they were given, which a symbolic link may lead elsewhere.
 */
#include "guards.h"

#define GUARD_KERNEL_NAME 0x40000u /* in `how`: the name is in the kernel's memory */
#define GUARD_ANY                                                                                                      \
	(MT_POLICY_EXEC | MT_POLICY_WRITTEN | MT_POLICY_WRITES | MT_POLICY_READS | MT_POLICY_MEMORY | MT_POLICY_SYSTEM)

/* Decides on the file that a call of the current task named. */
__noinline int judge_named(__u64 string, __s32 dirfd, __u32 how)
{
	struct task_struct *task = current_task();
	struct mt_tag *tag = tag_of(task);
	const struct mt_policy *policy;
	struct record record;
	struct actor actor;

	if (!tag || !string)
		return 0;
	policy = policy_of(tag->job, MT_SECTION_FILES);
	if (!policy)
		return 0;
	actor = actor_of(task, tag);
	if (!look(&record, &actor))
		return refuse_unseen(how);
	record.work->first = (struct operand){
		.string = (const void *)string, .dirfd = dirfd, .is_kernel = (how & GUARD_KERNEL_NAME) != 0};
	build_named(record.slot, 0);
	match_path(record.slot, policy->id);
	return judge_matched(&record, &actor, policy, 0, 0, how & (GUARD_KERNEL_NAME - 1));
}

/* By record type: what a call does to its first name, and to its second. */
static const __u8 named_operations[64][2] = {
	[MT_RENAME] = {MT_OP_RENAME, MT_OP_RENAME}, [MT_UNLINK] = {MT_OP_UNLINK}, [MT_RMDIR] = {MT_OP_UNLINK},
	[MT_LINK] = {MT_OP_LINK, MT_OP_CREATE},     [MT_SYMLINK] = {MT_OP_CREATE}, [MT_MKDIR] = {MT_OP_CREATE},
	[MT_MKNOD] = {MT_OP_CREATE},                [MT_TRUNCATE] = {MT_OP_TRUNCATE},
	[MT_CHMOD] = {MT_OP_ATTRIBUTES},            [MT_CHOWN] = {MT_OP_ATTRIBUTES},
};
_Static_assert(MT_TYPE_COUNT <= 64, "a record's type is an index");

static __always_inline void guard_names(const struct done *done, __u32 call)
{
	__u32 type = call_types[BOUNDED(call, 31)];
	const struct shape *shape = &shapes[BOUNDED(call, 31)];
	struct task_struct *task = current_task();
	struct mt_tag *tag = tag_of(task);
	__u64 first, second;
	__s32 dir, dir2;
	struct record record;
	struct actor actor;

	if (!tag)
		return;
	actor = actor_of(task, tag);
	if (!look(&record, &actor))
		return;
	record.work->arguments[0] = argument(done, 0);
	record.work->arguments[1] = argument(done, 1);
	record.work->arguments[2] = argument(done, 2);
	record.work->arguments[3] = argument(done, 3);
	record.work->arguments[4] = argument(done, 4);
	record.work->arguments[CURRENT] = AT_FDCWD;
	record.work->arguments[ABSENT] = 0;
	barrier();
	first = record.work->arguments[shape->path & 7];
	dir = record.work->arguments[shape->directory & 7];
	second = shape->literal ? 0 : record.work->arguments[shape->path2 & 7];
	dir2 = record.work->arguments[shape->directory2 & 7];
	release(&record);
	judge_named(first, dir, named_operations[type & 63][0]);
	if (second)
		judge_named(second, dir2, named_operations[type & 63][1]);
}

static __always_inline void guard_descriptor(struct file *file, __u32 call)
{
	__u32 truncates = call == CALL_FTRUNCATE || call == CALL_FTRUNCATE64;

	if (file)
		judge_file((__u64)READ(file, struct file, f_path.mnt), (__u64)READ(file, struct file, f_path.dentry),
			   truncates ? MT_OP_TRUNCATE : MT_OP_ATTRIBUTES);
}

static __always_inline void guard_deed(const struct done *done)
{
	__u32 call = done->call.call, deed = MT_WORD_MOUNT, kind = MT_SECURITY_MOUNT;

	switch (call) {
	case CALL_INIT_MODULE:
	case CALL_FINIT_MODULE:
		deed = MT_WORD_MODULE;
		kind = MT_SECURITY_MODULE_LOAD;
		break;
	case CALL_BPF:
		deed = MT_WORD_BPF;
		kind = (__u32)argument(done, 0) == BPF_MAP_CREATE ? MT_SECURITY_BPF_MAP : MT_SECURITY_BPF_PROGRAM;
		break;
	case CALL_UNSHARE:
		if (!(argument(done, 0) & CLONE_NEW_ALL))
			return;
		deed = MT_WORD_NAMESPACE;
		kind = MT_SECURITY_UNSHARE;
		break;
	case CALL_SETNS:
		deed = MT_WORD_NAMESPACE;
		kind = MT_SECURITY_SETNS;
		break;
	case CALL_MOVE_MOUNT: kind = MT_SECURITY_MOVE_MOUNT; break;
	case CALL_UMOUNT:
	case CALL_OLD_UMOUNT: kind = MT_SECURITY_UMOUNT; break;
	case CALL_PIVOT_ROOT: kind = MT_SECURITY_PIVOT_ROOT; break;
	}
	judge_deed(deed, kind, 0);
}

#if defined(__TARGET_ARCH_x86)
#define NR_CLONE 56
#else
#define NR_CLONE 220
#endif
#define NR_CLONE3 435

/*
 * Whether who has just been born got namespaces of its own, or -1: its parent is gone. What clone3 was given does not tell: it
 * lies in memory that the parent of a thread has used for something else since, and could have changed on purpose.
 */
static __always_inline int is_born_apart(struct task_struct *task)
{
	struct task_struct *leader = LOOSE(task)->group_leader;
	struct task_struct *from = leader == task ? LOOSE(task)->real_parent : leader;
	struct nsproxy *old = READ(from, struct task_struct, nsproxy);

	if (!old)
		return -1;
	return old != LOOSE(task)->nsproxy || READ(READ(from, struct task_struct, cred), struct cred, user_ns) !=
						      READ(LOOSE(task)->cred, struct cred, user_ns);
}

/* The end of a birth, as the child has it, before its first instruction: it is killed, and its parent goes on. */
static __always_inline void guard_birth(const struct done *done, __u64 number, struct task_struct *task)
{
	__u64 flags = argument(done, 0);
	int is_apart;

	if (!guarding(MT_POLICY_SYSTEM))
		return;
	if (number == NR_CLONE3) {
		is_apart = is_born_apart(task);
		if (!is_apart || (is_apart < 0 && bpf_probe_read_user(&flags, sizeof(flags), pointer_argument(done, 0))))
			return;
		if (is_apart > 0)
			flags = CLONE_NEW_BORN;
	}
	if (flags & CLONE_NEW_BORN)
		judge_if(MT_WORD_NAMESPACE, MT_SECURITY_CLONE, 0);
}

/* Not part of the program below: what it needs on the stack would leave too little for what judges names. */
static __noinline void guard_mapping_call(const struct done *done)
{
	__u32 values[5] = {};

	if (!mmap_arguments(done, values) && !(values[3] & MAP_ANONYMOUS))
		judge_mapping((__u64)file_of(current_task(), (__s32)values[4]), values[2], values[3], 0);
}

SEC("tp_btf/sys_exit")
int BPF_PROG(guard_sys_exit, struct pt_regs *regs, long ret)
{
	struct task_struct *task = current_task();
	struct done done = done_of(regs, task);
	__u32 call = done.call.call;
	const struct mt_policy *policy;
	struct sock *sk;
	struct file *file;

	if (ret == 0 && !done.compat) {
		__u64 number = call_number(regs);

		if (number == NR_CLONE || number == NR_CLONE3)
			guard_birth(&done, number, task);
	}
	if (call == CALL_NONE || call == CALL_CLOSE || !is_of_interest(&done))
		return 0;
	if (ret < 0 && ret >= -4095)
		return 0;
	policy = guarding(GUARD_ANY);
	if (!policy)
		return 0;
	if (call >= CALL_OPEN && call <= CALL_MEMFD) {
		file = file_of(task, (__u32)ret);
		if (!file)
			return 0;
		judge_open((__u64)file, 0);
		if ((policy->flags & MT_POLICY_MEMORY) && is_memory_file(file))
			judge_memory((__u64)proc_task(file), MT_SECURITY_PROC_MEM, 0);
	} else if (call == CALL_MMAP || call == CALL_MMAP_OLD) {
		guard_mapping_call(&done);
	} else if (call == CALL_CONNECT) {
		sk = unix_socket(file_of(task, (__s32)argument(&done, 0)));
		if (sk && (policy->flags & MT_POLICY_SYSTEM))
			judge_daemon((__u64)READ(sk, struct unix_sock, peer), 0);
	} else if (call < CALL_PATHS_END) {
		if (policy->flags & MT_POLICY_WRITES)
			guard_names(&done, call);
	} else if (call <= CALL_FCHOWN) {
		if (policy->flags & MT_POLICY_WRITES)
			guard_descriptor(file_of(task, (__s32)argument(&done, 0)), call);
	} else if ((call >= CALL_MOUNT && call <= CALL_PIVOT_ROOT) || (call >= CALL_INIT_MODULE && call <= CALL_SETNS)) {
		if (policy->flags & MT_POLICY_SYSTEM)
			guard_deed(&done);
	}
	return 0;
}

#ifndef MARTLET_OLD
/* What is given to io_uring: the process is killed before, or while, it is done. */
static __always_inline void guard_submission(struct io_kiocb *io)
{
	__u32 opcode = READ(io, struct io_kiocb, opcode), type;
	struct task_struct *task = current_task();
	struct operand first, second;
	struct mt_tag *tag;
	struct record record;
	struct actor actor;

	type = uring_types[opcode & 63];
	if (opcode > 63 || type == MT_NONE || type == MT_URING || !guarding(MT_POLICY_WRITES))
		return;
	tag = tag_of(task);
	if (!tag)
		return;
	actor = actor_of(task, tag);
	if (!look(&record, &actor))
		return;
	request_of(record.work, io, opcode);
	barrier();
	first = record.work->first;
	second = record.work->second;
	release(&record);
	judge_named((__u64)first.string, first.dirfd, GUARD_KERNEL_NAME | named_operations[type & 63][0]);
	if (second.string)
		judge_named((__u64)second.string, second.dirfd, GUARD_KERNEL_NAME | named_operations[type & 63][1]);
}

SEC("tp_btf/io_uring_submit_req")
int BPF_PROG(guard_uring_submit_req, struct io_kiocb *request)
{
	guard_submission(request);
	return 0;
}

SEC("tp_btf/io_uring_submit_sqe")
int BPF_PROG(guard_uring_submit_sqe, struct io_kiocb *request)
{
	guard_submission(request);
	return 0;
}

/* An open that is done. */
static __always_inline void guard_completion(struct io_kiocb *request, __s32 result)
{
	__u32 opcode = request ? READ(request, struct io_kiocb, opcode) : 0;
	const struct mt_policy *policy;
	struct file *file;

	if (result < 0 || (opcode != IORING_OP_OPENAT && opcode != IORING_OP_OPENAT2))
		return;
	policy = guarding(GUARD_ANY);
	if (!policy || READ(request, struct io_open, file_slot))
		return;
	file = file_of(current_task(), result);
	if (!file)
		return;
	judge_open((__u64)file, 0);
	if ((policy->flags & MT_POLICY_MEMORY) && is_memory_file(file))
		judge_memory((__u64)proc_task(file), MT_SECURITY_PROC_MEM, 0);
}

SEC("tp_btf/io_uring_complete")
int BPF_PROG(guard_uring_complete, void *ring, struct io_kiocb *request, struct io_uring_cqe *entry)
{
	guard_completion(request, READ(entry, struct io_uring_cqe, res));
	return 0;
}

SEC("tp_btf/io_uring_complete")
int guard_uring_complete_result(__u64 *arguments)
{
	guard_completion((struct io_kiocb *)arguments[1], (__s32)arguments[3]);
	return 0;
}
#endif
