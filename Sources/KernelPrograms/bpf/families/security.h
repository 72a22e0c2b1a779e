/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What tasks do to other processes, and memory that they execute. The hooks of the security modules see every way into
 * an action, but before it is decided; the ends of system calls see how it ended, but only these ways. What the latter
 * read is in `done`, what the former read in `arguments`.
 */
#include "shield.h"

#define PTRACE_MODE_ATTACH 2
#define PTRACE_MODE_FSCREDS 8

/* From include/uapi/linux/bpf.h: the helpers exist where these do. */
enum bpf_func_id___known { BPF_FUNC_task_pt_regs___known = 175, BPF_FUNC_find_vma___known = 180 };
#define HAVE_TASK_PT_REGS bpf_core_enum_value_exists(enum bpf_func_id___known, BPF_FUNC_task_pt_regs___known)
#define HAVE_FIND_VMA bpf_core_enum_value_exists(enum bpf_func_id___known, BPF_FUNC_find_vma___known)

/* access to another process */

static __always_inline void tell_access(struct task_struct *task, struct mt_tag *tag, __u32 kind,
					const struct target *target, const struct outcome *outcome)
{
	struct actor actor = actor_of(task, tag);
	struct mt_security *body;
	struct record record;
	__u64 hash;

	hash = hash_word(action_hash(&actor, kind, outcome), target->start);
	hash = hash_end(hash_word(hash, target->tgid));
	if (was_told(&actor, hash))
		return;
	body = tell(&record, kind, &actor, outcome);
	if (!body)
		return;
	body->target_tgid = target->tgid;
	body->target_start = target->start;
	if (target->is_number)
		body->security_flags |= MT_SECURITY_BY_NUMBER;
	if (send(&record))
		remember_open(hash);
}

#ifndef MARTLET_OLD /* those lack what tells the way; the end of the call knows it */
/* Which way a task is going: the security modules are not told, but its system call is. */
static __always_inline __u32 access_kind(struct task_struct *task, __u32 mode, struct outcome *outcome)
{
	struct pt_regs *regs;
	struct done done;

	if (!HAVE_TASK_PT_REGS)
		return MT_SECURITY_ACCESS;
	regs = (struct pt_regs *)bpf_task_pt_regs(task);
	done = done_of(regs, task);
	if (done.compat)
		outcome->flags |= MT_FLAG_COMPAT;
	switch (done.call.call) {
	case CALL_PTRACE:
		if ((__u32)argument(&done, 0) == PTRACE_ATTACH)
			return MT_SECURITY_PTRACE_ATTACH;
		return (__u32)argument(&done, 0) == PTRACE_SEIZE ? MT_SECURITY_PTRACE_SEIZE : MT_SECURITY_ACCESS;
	case CALL_VM_READ: return MT_SECURITY_VM_READ;
	case CALL_VM_WRITE: return MT_SECURITY_VM_WRITE;
	case CALL_PIDFD_GETFD: return MT_SECURITY_PIDFD_GETFD;
	case CALL_IO_URING: outcome->flags |= MT_FLAG_URING;
	/* Of the files of /proc, mem is the one whose open asks for this. */
	case CALL_OPEN:
	case CALL_OPENAT:
	case CALL_OPENAT2: return mode & PTRACE_MODE_FSCREDS ? MT_SECURITY_PROC_MEM : MT_SECURITY_ACCESS;
	default: return MT_SECURITY_ACCESS;
	}
}

static __always_inline void asked_for_access(const __u64 *arguments)
{
	struct task_struct *task = current_task();
	__u32 mode = ARGUMENT(arguments, 1, __u32), kind;
	struct outcome outcome = {};
	struct target target;
	struct mt_tag *tag;

	/* PTRACE_MODE_READ is what ps(1) asks for. */
	if (!(mode & PTRACE_MODE_ATTACH))
		return;
	tag = own_tag(task);
	if (tag) {
		kind = access_kind(task, mode, &outcome);
	} else {
		/* A worker of io_uring makes no system call. */
		tag = tag_of(task);
		if (!tag)
			return;
		outcome.flags = MT_FLAG_URING;
		kind = mode & PTRACE_MODE_FSCREDS ? MT_SECURITY_PROC_MEM : MT_SECURITY_ACCESS;
	}
	target = target_of(ARGUMENT(arguments, 0, struct task_struct *));
	if (target.tgid != (__u32)TASK(task, tgid))
		tell_access(task, tag, kind, &target, &outcome);
}
ON_SECURITY(ptrace_access_check, asked_for_access)

static __always_inline void asked_to_be_traced(const __u64 *arguments)
{
	struct task_struct *task = current_task();
	struct mt_tag *tag = own_tag(task);
	struct outcome outcome = {};
	struct target target;

	if (!tag)
		return;
	target = target_of(ARGUMENT(arguments, 0, struct task_struct *));
	tell_access(task, tag, MT_SECURITY_PTRACE_TRACEME, &target, &outcome);
}
ON_SECURITY(ptrace_traceme, asked_to_be_traced)
#endif

static __always_inline int is_memory_file(struct file *file)
{
	struct inode *inode = READ(file, struct file, f_inode);
	struct super_block *sb = READ(inode, struct inode, i_sb);
	struct dentry *dentry = READ(file, struct file, f_path.dentry);
	char name[4] = {};

	if (READ(sb, struct super_block, s_magic) != PROC_SUPER_MAGIC)
		return 0;
	bpf_probe_read_kernel(name, sizeof(name), READ(dentry, struct dentry, d_name.name));
	return name[0] == 'm' && name[1] == 'e' && name[2] == 'm' && !name[3];
}

/*
 * The number in "/proc/NUMBER/mem" or "/proc/NUMBER/task/…/mem", or 0. Global, as the verifier would follow all that
 * comes after it for each number of digits.
 */
__noinline int number_in_path(__u64 address)
{
	const void *path = (const void *)address;
	char text[40] = {};
	__u32 number = 0, digits = 0;
	long length = bpf_probe_read_user_str(text, sizeof(text), path);

	if (length < 11 || length >= (long)sizeof(text))
		return 0;
	if (text[0] != '/' || text[1] != 'p' || text[2] != 'r' || text[3] != 'o' || text[4] != 'c' || text[5] != '/')
		return 0;
#pragma unroll
	for (int i = 6; i < 13; i++) {
		if (text[i] < '0' || text[i] > '9')
			break;
		number = number * 10 + (text[i] - '0');
		digits++;
	}
	if (!digits)
		return 0;
	bpf_probe_read_user(text, 4, path + length - 5);
	return text[0] == '/' && text[1] == 'm' && text[2] == 'e' && text[3] == 'm' ? number : 0;
}

/*
 * An access that is over, to the task `other` or to the one that the caller calls `number`. Global, as there are many
 * ways to get here.
 */
__noinline int access_ended(__u32 kind, __u32 number, __u64 other, long result, __u32 compat)
{
	struct outcome outcome = {.result = result, .is_known = 1, .flags = compat ? MT_FLAG_COMPAT : 0};
	struct task_struct *task = current_task();
	struct mt_tag *tag = own_tag(task);
	struct target target = {};

	if (!tag)
		return 0;
	if (number)
		other = (__u64)find_task(task, number);
	if (other) {
		target = target_of((struct task_struct *)other);
		if (target.tgid == (__u32)TASK(task, tgid))
			return 0;
	} else {
		target.tgid = number;
		target.is_number = number != 0;
	}
	/* It may be here for the shield alone. */
	if (!(config.typed & MT_TYPED_ACCESS))
		tell_access(task, tag, kind, &target, &outcome);
	if (!(config.typed & MT_TYPED_SHIELD_PROCESS) && other && !error_of(&outcome))
		shield_process(other, MT_OP_SECURITY + kind, 0);
	return 0;
}

SEC("tp_btf/sys_exit")
int BPF_PROG(on_access, struct pt_regs *regs, long ret)
{
	struct task_struct *task = current_task(), *other = 0;
	struct done done = done_of(regs, task);
	struct outcome outcome = ended(&done, ret);
	__u32 number = 0, kind, failed = error_of(&outcome);
	struct file *file;

	switch (done.call.call) {
	case CALL_PTRACE:
		kind = (__u32)argument(&done, 0) == PTRACE_SEIZE ? MT_SECURITY_PTRACE_SEIZE : MT_SECURITY_PTRACE_ATTACH;
		number = argument(&done, 1);
		if ((__u32)argument(&done, 0) == PTRACE_TRACEME) {
			kind = MT_SECURITY_PTRACE_TRACEME;
			number = 0;
			other = READ(task, struct task_struct, real_parent);
		}
		break;
	case CALL_VM_READ:
	case CALL_VM_WRITE:
		kind = done.call.call == CALL_VM_READ ? MT_SECURITY_VM_READ : MT_SECURITY_VM_WRITE;
		number = argument(&done, 0);
		break;
	case CALL_PIDFD_GETFD:
		kind = MT_SECURITY_PIDFD_GETFD;
		other = pidfd_task(file_of(task, (__s32)argument(&done, 0)));
		break;
	default: /* an open that succeeded, or was refused */
		kind = MT_SECURITY_PROC_MEM;
		if (!failed) {
			file = file_of(task, (__u32)ret);
			if (!file || !is_memory_file(file))
				return 0;
			other = proc_task(file);
		} else {
			number = number_in_path(argument(&done, done.call.call == CALL_OPEN ? 0 : 1));
			if (!number)
				return 0;
		}
	}
	access_ended(kind, number, (__u64)other, ret, done.compat);
	if (done.call.call == CALL_PIDFD_GETFD && !failed)
		bpf_tail_call(ctx, &handlers, MT_HANDLER_RECEIVE);
	return 0;
}

/* memory that is executed */

/* What the memory is, as MT_SECURITY_…; 0: a plain file's, as all programs and libraries have it. */
static __always_inline __u32 backing_of(struct file *file, __u64 prot, __u32 is_modified)
{
	struct dentry *dentry;
	struct vfsmount *mnt;
	struct inode *inode;
	__u32 flags = 0;

	if (!file)
		return MT_SECURITY_ANONYMOUS;
	dentry = READ(file, struct file, f_path.dentry);
	mnt = READ(file, struct file, f_path.mnt);
	inode = READ(file, struct file, f_inode);
	if (dentry == READ(dentry, struct dentry, d_parent) && dentry != READ(mnt, struct vfsmount, mnt_root))
		flags |= MT_SECURITY_MEMFD;
	else if (!READ(inode, struct inode, i_nlink))
		flags |= MT_SECURITY_DELETED;
	if (prot & PROT_WRITE)
		flags |= MT_SECURITY_WRITABLE;
	if (is_modified)
		flags |= MT_SECURITY_MODIFIED;
	return flags;
}

static __always_inline void tell_memory(struct task_struct *task, struct mt_tag *tag, struct file *file, __u64 prot,
					__u32 flags, const struct outcome *outcome)
{
	struct actor actor = actor_of(task, tag);
	struct mt_security *body;
	struct record record;
	struct inode *inode;
	__u64 hash;

	inode = file ? READ(file, struct file, f_inode) : 0;
	hash = hash_word(action_hash(&actor, MT_SECURITY_EXEC_MEMORY, outcome), prot << 32 | flags);
	hash = hash_end(hash_word(hash, (__u64)inode));
	if (was_told(&actor, hash))
		return;
	body = tell(&record, MT_SECURITY_EXEC_MEMORY, &actor, outcome);
	if (!body)
		return;
	body->security_flags |= flags;
	body->argument = prot;
	if (file) {
		body->file = identity_of(inode);
		add_path(&record, MT_STR_PATH, READ(file, struct file, f_path.mnt),
			 READ(file, struct file, f_path.dentry));
	}
	if (send(&record))
		remember_open(hash);
}

static __always_inline void asked_to_map(struct file *file, __u64 prot)
{
	struct task_struct *task = current_task();
	struct outcome outcome = {};
	struct mt_tag *tag;
	__u32 flags;

	if (!(prot & PROT_EXEC))
		return;
	tag = own_tag(task);
	if (!tag)
		return;
	flags = backing_of(file, prot, 0);
	if (flags)
		tell_memory(task, tag, file, prot, flags, &outcome);
}

/* The function's arguments are the file, what was asked for and flags; the hook has what is given in between. */
SEC("lsm/mmap_file")
int lsm_mmap_executable(__u64 *context)
{
	asked_to_map(ARGUMENT(context, 0, struct file *), context[1]);
	return 0;
}

SEC("fentry/security_mmap_file")
int fentry_mmap_executable(__u64 *context)
{
	asked_to_map(ARGUMENT(context, 0, struct file *), context[1]);
	return 0;
}

SEC("kprobe/security_mmap_file")
int kprobe_mmap_executable(struct pt_regs *regs)
{
	asked_to_map((struct file *)PT_REGS_PARM1(regs), PT_REGS_PARM2(regs));
	return 0;
}

static __always_inline void asked_to_protect(const __u64 *arguments)
{
	struct task_struct *task = current_task();
	__u64 prot = ARGUMENT(arguments, 1, __u64);
	struct vm_area_struct *area = ARGUMENT(arguments, 0, struct vm_area_struct *);
	struct outcome outcome = {};
	struct mt_tag *tag;
	struct file *file;
	__u32 flags;

	if (!(prot & PROT_EXEC))
		return;
	tag = own_tag(task);
	if (!tag)
		return;
	file = READ(area, struct vm_area_struct, vm_file);
	flags = backing_of(file, prot, READ(area, struct vm_area_struct, anon_vma) != 0);
	if (flags)
		tell_memory(task, tag, file, prot, flags | MT_SECURITY_PROTECT, &outcome);
}
ON_SECURITY(file_mprotect, asked_to_protect)

/* What is mapped at an address. */
struct mapped {
	__u64 file;
	__u32 is_found, is_modified;
};

#ifndef MARTLET_OLD
static long look_at_area(struct task_struct *task, struct vm_area_struct *area, struct mapped *mapped)
{
	mapped->file = (__u64)READ(area, struct vm_area_struct, vm_file);
	mapped->is_modified = READ(area, struct vm_area_struct, anon_vma) != 0;
	mapped->is_found = 1;
	return 0;
}
#endif

SEC("tp_btf/sys_exit")
int BPF_PROG(on_memory, struct pt_regs *regs, long ret)
{
	struct task_struct *task = current_task();
	struct done done = done_of(regs, task);
	struct outcome outcome = ended(&done, ret);
	struct mt_tag *tag = own_tag(task);
	__u32 values[5] = {}, flags, failed = error_of(&outcome);
	struct mapped mapped = {};

	if (!tag)
		return 0;
	if (done.call.call == CALL_MPROTECT) {
#ifndef MARTLET_OLD /* where a callback is refused wherever it is */
		if (HAVE_FIND_VMA)
			bpf_find_vma(task, argument(&done, 0), look_at_area, &mapped, 0);
#endif
		values[2] = argument(&done, 2);
		/* Another thread may be changing the same memory: then it is not to be looked at. */
		flags = mapped.is_found ? backing_of((struct file *)mapped.file, values[2], mapped.is_modified) : 0;
		if (flags || !mapped.is_found)
			tell_memory(task, tag, (struct file *)mapped.file, values[2], flags | MT_SECURITY_PROTECT, &outcome);
		return 0;
	}
	if (mmap_arguments(&done, values))
		return 0;
	if (values[2] & PROT_EXEC) {
		if (!(values[3] & MAP_ANONYMOUS))
			mapped.file = (__u64)file_of(task, (__s32)values[4]);
		if (mapped.file || (values[3] & MAP_ANONYMOUS)) {
			flags = backing_of((struct file *)mapped.file, values[2], 0);
			if (flags)
				tell_memory(task, tag, (struct file *)mapped.file, values[2], flags, &outcome);
		}
	}
	if (!failed)
		bpf_tail_call(ctx, &handlers, MT_HANDLER_MMAP);
	return 0;
}
