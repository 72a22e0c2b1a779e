/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What keeps jobs off martlet itself, where deeds can be refused: see shield.h. Always loaded, so that each is as little
 * as it can be: what no job does ends at the tag, and most of what jobs do before it.
 */
#include "shield.h"

/* shield_lsm_HOOK and shield_fmod_HOOK: as GUARD, where a kprobe would come too late. */
#define SHIELD(hook, body)                                                                                             \
	SEC("lsm/" #hook)                                                                                              \
	int shield_lsm_##hook(__u64 *context)                                                                          \
	{                                                                                                              \
		REFUSE_IF(body(context, GUARD_REFUSES));                                                               \
	}                                                                                                              \
	SEC("fmod_ret/security_" #hook)                                                                                \
	int shield_fmod_##hook(__u64 *context)                                                                         \
	{                                                                                                              \
		REFUSE_IF(body(context, GUARD_REFUSES));                                                               \
	}

static __always_inline int is_in_a_job(void)
{
	return tag_of(current_task()) != 0;
}

/* what is done to martlet's process */

/* What martlet leaves to the kernel (mt_signals_take): ILL TRAP BUS FPE KILL SEGV STOP SYS. */
#define LEFT (1u << 4 | 1u << 5 | 1u << 7 | 1u << 8 | 1u << 9 | 1u << 11 | 1u << 19 | 1u << 31)
/* What does nothing to an agent: 0, by which one asks whether it is there; CHLD CONT URG WINCH. */
#define HARMLESS (1u << 0 | 1u << 17 | 1u << 18 | 1u << 23 | 1u << 28)

/*
 * Whether a signal would end or stop martlet. An agent ends by what others than jobs tell it; `run` is in the process
 * group of its job, where a script may well end with `kill 0`, and takes nothing from it.
 */
static __always_inline int is_harmless(__u32 signal)
{
	if (signal < 32 && (LEFT >> signal & 1))
		return 0;
	return !config.counts_by_job || (signal < 32 && (HARMLESS >> signal & 1));
}

/* (target, info, signal, credentials): asked for what processes send, by whatever call. */
static __always_inline int shield_signal(const __u64 *arguments, __u32 how)
{
	if (is_harmless(ARGUMENT(arguments, 2, __u32)) || !is_in_a_job())
		return 0;
	return shield_process(number_of(ARGUMENT(arguments, 0, const void *)), MT_OP_SIGNAL, how);
}
SHIELD(task_kill, shield_signal)

/*
 * (target, owner of a file, signal): who made martlet the owner of a file of its own has it signalled by the file. It
 * comes whenever something happens to the file, so nobody can be told to have done it.
 */
static __always_inline int shield_signal_of_file(const __u64 *arguments, __u32 how)
{
	struct target target = target_of((struct task_struct *)number_of(ARGUMENT(arguments, 0, const void *)));

	return is_shielded(&target);
}
SHIELD(file_send_sigiotask, shield_signal_of_file)

/* (target, mode): ptrace, memory by /proc and process_vm_*, pidfd_getfd. */
static __always_inline int shield_access(const __u64 *arguments, __u32 how)
{
	__u32 mode = ARGUMENT(arguments, 1, __u32), kind = MT_SECURITY_ACCESS;
	__u64 other;

	if (!(mode & PTRACE_MODE_ATTACH) || !is_in_a_job())
		return 0;
	other = number_of(ARGUMENT(arguments, 0, const void *));
#ifndef MARTLET_OLD
	struct outcome outcome = {};

	/* A worker of io_uring makes no system call. */
	if (own_tag(current_task()))
		kind = access_kind(current_task(), mode, &outcome);
#endif
	return shield_process(other, MT_OP_SECURITY + kind, how);
}
SHIELD(ptrace_access_check, shield_access)

/* (target, resource, limit) */
static __always_inline int shield_limit(const __u64 *arguments, __u32 how)
{
	if (!is_in_a_job())
		return 0;
	return shield_process(number_of(ARGUMENT(arguments, 0, const void *)), MT_OP_LIMIT, how);
}
SHIELD(task_setrlimit, shield_limit)

/* Where nothing can be refused: the signal is on its way, and who sent it is killed. */
SEC("tp_btf/signal_generate")
int BPF_PROG(shield_signal_generate, int signal, struct kernel_siginfo *info, struct task_struct *other)
{
	__u64 address = number_of(info);

	/* 0 and 1 stand for what the kernel itself says. */
	if (is_harmless(signal) || address <= 2 || READ((struct kernel_siginfo *)address, struct kernel_siginfo, si_code) > 0)
		return 0;
	if (is_in_a_job())
		shield_process(number_of(other), MT_OP_SIGNAL, 0);
	return 0;
}

/* what is done to its files */

static __always_inline int shield_opening(const __u64 *arguments, __u32 how)
{
	struct file *file = ARGUMENT(arguments, 0, struct file *);

	if (!(READ(file, struct file, f_mode) & MT_FMODE_WRITE) || !is_in_a_job())
		return 0;
	return shield_open(number_of(file), how);
}
SHIELD(file_open, shield_opening)

static __always_inline int shield_entry(const struct path *dir, const struct dentry *dentry, __u32 how)
{
	return shield_file((__u64)READ(dir, struct path, mnt), number_of(dentry), how);
}

/* SHIELD_ENTRY: (directory, entry, …); SHIELD_PATH: (path, …) */
#define SHIELD_ENTRY(hook, operation)                                                                                  \
	static __always_inline int shield_entry_##hook(const __u64 *arguments, __u32 how)                              \
	{                                                                                                              \
		if (!is_in_a_job())                                                                                    \
			return 0;                                                                                      \
		return shield_entry(ARGUMENT(arguments, 0, const struct path *),                                       \
				    ARGUMENT(arguments, 1, const struct dentry *), how | (operation));                 \
	}                                                                                                              \
	SHIELD(hook, shield_entry_##hook)
#define SHIELD_PATH(hook, operation)                                                                                   \
	static __always_inline int shield_path_##hook(const __u64 *arguments, __u32 how)                               \
	{                                                                                                              \
		const struct path *path = ARGUMENT(arguments, 0, const struct path *);                                 \
                                                                                                                       \
		if (!is_in_a_job())                                                                                    \
			return 0;                                                                                      \
		return shield_entry(path, READ(path, struct path, dentry), how | (operation));                         \
	}                                                                                                              \
	SHIELD(hook, shield_path_##hook)

SHIELD_ENTRY(path_unlink, MT_OP_UNLINK)
SHIELD_ENTRY(path_rmdir, MT_OP_UNLINK)
SHIELD_ENTRY(path_mkdir, MT_OP_CREATE)
SHIELD_ENTRY(path_mknod, MT_OP_CREATE)
SHIELD_ENTRY(path_symlink, MT_OP_CREATE)
SHIELD_PATH(path_truncate, MT_OP_TRUNCATE)
SHIELD_PATH(path_chmod, MT_OP_ATTRIBUTES)
SHIELD_PATH(path_chown, MT_OP_ATTRIBUTES)

/* (directory, entry, directory, entry, …) */
static __always_inline int shield_rename(const __u64 *arguments, __u32 how)
{
	how |= MT_OP_RENAME;
	return is_in_a_job() &&
	       (shield_entry(ARGUMENT(arguments, 0, const struct path *), ARGUMENT(arguments, 1, const struct dentry *), how) ||
		shield_entry(ARGUMENT(arguments, 2, const struct path *), ARGUMENT(arguments, 3, const struct dentry *), how));
}
SHIELD(path_rename, shield_rename)

/* (existing entry, directory, new entry) */
static __always_inline int shield_link(const __u64 *arguments, __u32 how)
{
	const struct path *dir = ARGUMENT(arguments, 1, const struct path *);

	return is_in_a_job() &&
	       (shield_entry(dir, ARGUMENT(arguments, 0, const struct dentry *), how | MT_OP_LINK) ||
		shield_entry(dir, ARGUMENT(arguments, 2, const struct dentry *), how | MT_OP_CREATE));
}
SHIELD(path_link, shield_link)

/* By descriptor, from 6.2 on. */
static __always_inline int shield_file_truncate(const __u64 *arguments, __u32 how)
{
	struct file *file = ARGUMENT(arguments, 0, struct file *);

	if (!is_in_a_job())
		return 0;
	return shield_file((__u64)READ(file, struct file, f_path.mnt), (__u64)READ(file, struct file, f_path.dentry),
			   how | MT_OP_TRUNCATE);
}
SHIELD(file_truncate, shield_file_truncate)

/* what is done to its programs, maps and links */

/* (map, mode), (program): by whatever way a descriptor of one is made. */
static __always_inline int shield_map(const __u64 *arguments, __u32 how)
{
	return is_in_a_job() &&
	       shield_object(MT_OBJECT_MAP, READ(ARGUMENT(arguments, 0, struct bpf_map *), struct bpf_map, id), how);
}
SHIELD(bpf_map, shield_map)

static __always_inline int shield_program(const __u64 *arguments, __u32 how)
{
	struct bpf_prog *program = ARGUMENT(arguments, 0, struct bpf_prog *);

	return is_in_a_job() &&
	       shield_object(MT_OBJECT_PROGRAM, READ(READ(program, struct bpf_prog, aux), struct bpf_prog_aux, id), how);
}
SHIELD(bpf_prog, shield_program)

/* (command, attributes, …): nobody is asked about links, so their calls are looked at. */
static __always_inline int shield_bpf(const __u64 *arguments, __u32 how)
{
	__u32 command = ARGUMENT(arguments, 0, __u32), first = 0;

	if ((command != BPF_LINK_GET_FD_BY_ID && command != BPF_LINK_DETACH && command != BPF_LINK_UPDATE) || !is_in_a_job())
		return 0;
	bpf_probe_read_kernel(&first, sizeof(first), ARGUMENT(arguments, 1, const void *));
	return shield_link_object(command, first, how);
}
SHIELD(bpf, shield_bpf)

/* what user space has shielded */

/* Run by martlet: itself. */
SEC("raw_tp")
int shield_self(void *context)
{
	struct task_struct *task = current_task();
	struct target self = target_of(task);

	bpf_map_update_elem(&shield_processes, &self.tgid, &self.start, BPF_ANY);
	return 0;
}

/* Puts a file, or a directory, under the shield; returns whether there is room. */
static __always_inline int shield_inode(struct dentry *dentry, __u32 what)
{
	struct inode *inode = READ(dentry, struct dentry, d_inode);
	struct mt_inode_key key = inode_key(0, inode);
	__u32 *known = bpf_map_lookup_elem(&shield_files, &key);

	if (known && *known >= what)
		return 1;
	if (bpf_map_update_elem(&shield_files, &key, &what, BPF_ANY))
		return 0;
	shield_inodes |= 1ull << (key.ino & 63);
	return 1;
}

#define SHIELD_ABOVE 128 /* directories and mounts that one may lie below */

/* Where a climb to the root stands. */
struct shield_climb {
	struct climb climb;
	__u32 refused;
};

static long shield_step(__u32 index, struct shield_climb *shielding)
{
	__u64 before = shielding->climb.dentry;

	shielding->climb.left = 1;
	if (climb_step(index, &shielding->climb))
		return 1;
	if (shielding->climb.dentry != before && !shield_inode((struct dentry *)shielding->climb.dentry, MT_SHIELD_ABOVE))
		shielding->refused = 1;
	return 0;
}
LOOP_STEP(struct shield_climb, shield_step)

/*
 * Run by martlet: what it has open as the descriptor in the lower half of the first argument, as enum mt_shield in the
 * upper half, and where it lies: up to the root, across mounts. Returns 1 if not all of it found room.
 */
SEC("raw_tp")
int shield_descriptor(__u64 *arguments)
{
	__u32 what = arguments[0] >> 32;
	struct file *file = what ? file_of(current_task(), (__u32)arguments[0]) : 0;
	struct shield_climb shielding = {};
	struct vfsmount *mnt;

	if (!file)
		return what != 0;
	mnt = READ(file, struct file, f_path.mnt);
	shielding.climb.dentry = (__u64)READ(file, struct file, f_path.dentry);
	shielding.climb.mount = (__u64)mount_of(mnt);
	shielding.climb.mount_root = (__u64)READ(mnt, struct vfsmount, mnt_root);
	shielding.refused = !shield_inode((struct dentry *)shielding.climb.dentry, what);
	LOOP(SHIELD_ABOVE, shield_step, &shielding);
	return shielding.refused;
}
