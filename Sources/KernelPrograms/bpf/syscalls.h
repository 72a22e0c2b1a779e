/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Which system calls are looked at, by number, for each architecture: here arch/x86/entry/syscalls/syscall_64.tbl
 * and syscall_32.tbl. The numbers are ABI; from 424 on all tables agree.
 */
#ifndef MARTLET_SYSCALLS_H
#define MARTLET_SYSCALLS_H

#include "compat.h"
#include "martlet_abi.h"

#define MT_SYSCALLS 512

/* What a path call does, for the one handler that serves them all. */
enum path_call {
	CALL_NONE,
	CALL_RENAME, CALL_RENAMEAT, CALL_RENAMEAT2,
	CALL_UNLINK, CALL_UNLINKAT, CALL_RMDIR,
	CALL_LINK, CALL_LINKAT, CALL_SYMLINK, CALL_SYMLINKAT,
	CALL_MKDIR, CALL_MKDIRAT, CALL_MKNOD, CALL_MKNODAT,
	CALL_TRUNCATE, CALL_TRUNCATE64,
	CALL_CHMOD, CALL_FCHMODAT, CALL_FCHMODAT2,
	CALL_CHOWN, CALL_LCHOWN, CALL_FCHOWNAT,
	CALL_PATHS_END,
	/* by descriptor */
	CALL_FTRUNCATE, CALL_FTRUNCATE64, CALL_FCHMOD, CALL_FCHOWN,
	/* opens */
	CALL_OPEN, CALL_OPENAT, CALL_OPENAT2, CALL_CREAT, CALL_OPEN_BY_HANDLE, CALL_MEMFD,
	/* descriptors */
	CALL_CLOSE, CALL_CLOSE_RANGE, CALL_DUP, CALL_DUP2, CALL_FCNTL,
	CALL_MMAP, CALL_MMAP_OLD, CALL_SENDFILE, CALL_SPLICE, CALL_TEE, CALL_COPY_FILE_RANGE, CALL_IOCTL,
	CALL_PIPE, CALL_SOCKETPAIR, CALL_RECVMSG, CALL_RECVMMSG, CALL_PIDFD_GETFD,
	CALL_CONNECT, CALL_ACCEPT, CALL_SOCKET, CALL_SOCKETCALL,
	/* what concerns security; mounts can make a known path another one */
	CALL_MOUNT_OTHER, CALL_MOUNT, CALL_MOVE_MOUNT, CALL_UMOUNT, CALL_OLD_UMOUNT, CALL_PIVOT_ROOT,
	CALL_PTRACE, CALL_VM_READ, CALL_VM_WRITE,
	CALL_MPROTECT,
	CALL_SETUID, CALL_SETREUID, CALL_SETRESUID, CALL_SETFSUID,
	CALL_SETGID, CALL_SETREGID, CALL_SETRESGID, CALL_SETFSGID,
	CALL_CAPSET,
	CALL_INIT_MODULE, CALL_FINIT_MODULE,
	CALL_BPF,
	CALL_UNSHARE, CALL_SETNS,
	CALL_IO_URING,
	CALL_COUNT,
};

/* The record that a call leads to, or that counts its failure. */
static const __u8 call_types[CALL_COUNT] = {
	[CALL_RENAME] = MT_RENAME, [CALL_RENAMEAT] = MT_RENAME, [CALL_RENAMEAT2] = MT_RENAME,
	[CALL_UNLINK] = MT_UNLINK, [CALL_UNLINKAT] = MT_UNLINK, [CALL_RMDIR] = MT_RMDIR,
	[CALL_LINK] = MT_LINK, [CALL_LINKAT] = MT_LINK,
	[CALL_SYMLINK] = MT_SYMLINK, [CALL_SYMLINKAT] = MT_SYMLINK,
	[CALL_MKDIR] = MT_MKDIR, [CALL_MKDIRAT] = MT_MKDIR, [CALL_MKNOD] = MT_MKNOD, [CALL_MKNODAT] = MT_MKNOD,
	[CALL_TRUNCATE] = MT_TRUNCATE, [CALL_TRUNCATE64] = MT_TRUNCATE,
	[CALL_CHMOD] = MT_CHMOD, [CALL_FCHMODAT] = MT_CHMOD, [CALL_FCHMODAT2] = MT_CHMOD,
	[CALL_CHOWN] = MT_CHOWN, [CALL_LCHOWN] = MT_CHOWN, [CALL_FCHOWNAT] = MT_CHOWN,
	[CALL_FTRUNCATE] = MT_TRUNCATE, [CALL_FTRUNCATE64] = MT_TRUNCATE,
	[CALL_FCHMOD] = MT_CHMOD, [CALL_FCHOWN] = MT_CHOWN,
	[CALL_OPEN] = MT_OPEN, [CALL_OPENAT] = MT_OPEN, [CALL_OPENAT2] = MT_OPEN, [CALL_CREAT] = MT_OPEN,
	[CALL_OPEN_BY_HANDLE] = MT_OPEN, [CALL_MEMFD] = MT_OPEN,
	[CALL_MMAP] = MT_MMAP_SHARED, [CALL_MMAP_OLD] = MT_MMAP_SHARED,
	[CALL_SENDFILE] = MT_COPY, [CALL_SPLICE] = MT_COPY, [CALL_TEE] = MT_COPY, [CALL_COPY_FILE_RANGE] = MT_COPY,
	[CALL_IOCTL] = MT_COPY, [CALL_PIPE] = MT_PIPE, [CALL_SOCKETPAIR] = MT_SOCKETPAIR,
	[CALL_PIDFD_GETFD] = MT_PASS_FD, [CALL_CONNECT] = MT_UNIX_CONNECT, [CALL_SOCKET] = MT_SOCKET,
};

struct call {
	__u8 handler; /* enum mt_handler */
	__u8 call;    /* enum path_call */
};

#define BOTH_FROM_424                                                                                                  \
	[426] = {MT_HANDLER_NONE, CALL_IO_URING},                                                                      \
	[428] = {MT_HANDLER_NONE, CALL_MOUNT_OTHER},                /* open_tree */                                    \
	[429] = {MT_HANDLER_MOUNT, CALL_MOVE_MOUNT},                                                                   \
	[436] = {MT_HANDLER_CLOSE_RANGE, CALL_CLOSE_RANGE},                                                            \
	[437] = {MT_HANDLER_OPEN, CALL_OPENAT2},                                                                       \
	[438] = {MT_HANDLER_RECEIVE, CALL_PIDFD_GETFD},                                                                \
	[442] = {MT_HANDLER_NONE, CALL_MOUNT_OTHER},                /* mount_setattr */                                \
	[452] = {MT_HANDLER_PATH, CALL_FCHMODAT2}

/* What 32-bit programs have in common on x86 and ARM. */
#define BOTH_OF_32_BIT												       \
	[5] = {MT_HANDLER_OPEN, CALL_OPEN},									       \
	[6] = {MT_HANDLER_CLOSE, CALL_CLOSE},									       \
	[8] = {MT_HANDLER_OPEN, CALL_CREAT},									       \
	[9] = {MT_HANDLER_PATH, CALL_LINK},									       \
	[10] = {MT_HANDLER_PATH, CALL_UNLINK},									       \
	[14] = {MT_HANDLER_PATH, CALL_MKNOD},									       \
	[15] = {MT_HANDLER_PATH, CALL_CHMOD},									       \
	[16] = {MT_HANDLER_PATH, CALL_LCHOWN},									       \
	[21] = {MT_HANDLER_MOUNT, CALL_MOUNT},									       \
	[23] = {MT_HANDLER_CREDENTIAL, CALL_SETUID},								       \
	[26] = {MT_HANDLER_ACCESS, CALL_PTRACE},								       \
	[38] = {MT_HANDLER_PATH, CALL_RENAME},									       \
	[39] = {MT_HANDLER_PATH, CALL_MKDIR},									       \
	[40] = {MT_HANDLER_PATH, CALL_RMDIR},									       \
	[41] = {MT_HANDLER_DUP, CALL_DUP},									       \
	[42] = {MT_HANDLER_PAIR, CALL_PIPE},									       \
	[46] = {MT_HANDLER_CREDENTIAL, CALL_SETGID},								       \
	[52] = {MT_HANDLER_MOUNT, CALL_UMOUNT},									       \
	[54] = {MT_HANDLER_COPY, CALL_IOCTL},									       \
	[55] = {MT_HANDLER_DUP, CALL_FCNTL},									       \
	[63] = {MT_HANDLER_DUP, CALL_DUP2},									       \
	[70] = {MT_HANDLER_CREDENTIAL, CALL_SETREUID},								       \
	[71] = {MT_HANDLER_CREDENTIAL, CALL_SETREGID},								       \
	[83] = {MT_HANDLER_PATH, CALL_SYMLINK},									       \
	[92] = {MT_HANDLER_PATH, CALL_TRUNCATE},								       \
	[93] = {MT_HANDLER_DESCRIPTOR, CALL_FTRUNCATE},								       \
	[94] = {MT_HANDLER_DESCRIPTOR, CALL_FCHMOD},								       \
	[95] = {MT_HANDLER_DESCRIPTOR, CALL_FCHOWN},								       \
	[125] = {MT_HANDLER_MEMORY, CALL_MPROTECT},								       \
	[128] = {MT_HANDLER_MODULE, CALL_INIT_MODULE},								       \
	[138] = {MT_HANDLER_CREDENTIAL, CALL_SETFSUID},								       \
	[139] = {MT_HANDLER_CREDENTIAL, CALL_SETFSGID},								       \
	[164] = {MT_HANDLER_CREDENTIAL, CALL_SETRESUID},							       \
	[170] = {MT_HANDLER_CREDENTIAL, CALL_SETRESGID},							       \
	[182] = {MT_HANDLER_PATH, CALL_CHOWN},									       \
	[185] = {MT_HANDLER_CREDENTIAL, CALL_CAPSET},								       \
	[187] = {MT_HANDLER_COPY, CALL_SENDFILE},								       \
	[192] = {MT_HANDLER_MMAP, CALL_MMAP},									       \
	[193] = {MT_HANDLER_PATH, CALL_TRUNCATE64},								       \
	[194] = {MT_HANDLER_DESCRIPTOR, CALL_FTRUNCATE64},							       \
	[198] = {MT_HANDLER_PATH, CALL_LCHOWN},									       \
	[203] = {MT_HANDLER_CREDENTIAL, CALL_SETREUID},								       \
	[204] = {MT_HANDLER_CREDENTIAL, CALL_SETREGID},								       \
	[207] = {MT_HANDLER_DESCRIPTOR, CALL_FCHOWN},								       \
	[208] = {MT_HANDLER_CREDENTIAL, CALL_SETRESUID},							       \
	[210] = {MT_HANDLER_CREDENTIAL, CALL_SETRESGID},							       \
	[212] = {MT_HANDLER_PATH, CALL_CHOWN},									       \
	[213] = {MT_HANDLER_CREDENTIAL, CALL_SETUID},								       \
	[214] = {MT_HANDLER_CREDENTIAL, CALL_SETGID},								       \
	[215] = {MT_HANDLER_CREDENTIAL, CALL_SETFSUID},								       \
	[216] = {MT_HANDLER_CREDENTIAL, CALL_SETFSGID},								       \
	[221] = {MT_HANDLER_DUP, CALL_FCNTL},									       \
	[239] = {MT_HANDLER_COPY, CALL_SENDFILE},								       \
	[417] = {MT_HANDLER_RECEIVE, CALL_RECVMMSG}

#if defined(__TARGET_ARCH_x86)

static const struct call native_calls[MT_SYSCALLS] = {
	[2] = {MT_HANDLER_OPEN, CALL_OPEN},
	[3] = {MT_HANDLER_CLOSE, CALL_CLOSE},
	[9] = {MT_HANDLER_MMAP, CALL_MMAP},
	[10] = {MT_HANDLER_MEMORY, CALL_MPROTECT},
	[16] = {MT_HANDLER_COPY, CALL_IOCTL},
	[22] = {MT_HANDLER_PAIR, CALL_PIPE},
	[32] = {MT_HANDLER_DUP, CALL_DUP},
	[33] = {MT_HANDLER_DUP, CALL_DUP2},
	[40] = {MT_HANDLER_COPY, CALL_SENDFILE},
	[41] = {MT_HANDLER_SOCKET, CALL_SOCKET},
	[42] = {MT_HANDLER_CONNECT, CALL_CONNECT},
	[43] = {MT_HANDLER_ACCEPT, CALL_ACCEPT},
	[47] = {MT_HANDLER_RECEIVE, CALL_RECVMSG},
	[53] = {MT_HANDLER_PAIR, CALL_SOCKETPAIR},
	[72] = {MT_HANDLER_DUP, CALL_FCNTL},
	[76] = {MT_HANDLER_PATH, CALL_TRUNCATE},
	[77] = {MT_HANDLER_DESCRIPTOR, CALL_FTRUNCATE},
	[82] = {MT_HANDLER_PATH, CALL_RENAME},
	[83] = {MT_HANDLER_PATH, CALL_MKDIR},
	[84] = {MT_HANDLER_PATH, CALL_RMDIR},
	[85] = {MT_HANDLER_OPEN, CALL_CREAT},
	[86] = {MT_HANDLER_PATH, CALL_LINK},
	[87] = {MT_HANDLER_PATH, CALL_UNLINK},
	[88] = {MT_HANDLER_PATH, CALL_SYMLINK},
	[90] = {MT_HANDLER_PATH, CALL_CHMOD},
	[91] = {MT_HANDLER_DESCRIPTOR, CALL_FCHMOD},
	[92] = {MT_HANDLER_PATH, CALL_CHOWN},
	[93] = {MT_HANDLER_DESCRIPTOR, CALL_FCHOWN},
	[94] = {MT_HANDLER_PATH, CALL_LCHOWN},
	[101] = {MT_HANDLER_ACCESS, CALL_PTRACE},
	[105] = {MT_HANDLER_CREDENTIAL, CALL_SETUID},
	[106] = {MT_HANDLER_CREDENTIAL, CALL_SETGID},
	[113] = {MT_HANDLER_CREDENTIAL, CALL_SETREUID},
	[114] = {MT_HANDLER_CREDENTIAL, CALL_SETREGID},
	[117] = {MT_HANDLER_CREDENTIAL, CALL_SETRESUID},
	[119] = {MT_HANDLER_CREDENTIAL, CALL_SETRESGID},
	[122] = {MT_HANDLER_CREDENTIAL, CALL_SETFSUID},
	[123] = {MT_HANDLER_CREDENTIAL, CALL_SETFSGID},
	[126] = {MT_HANDLER_CREDENTIAL, CALL_CAPSET},
	[133] = {MT_HANDLER_PATH, CALL_MKNOD},
	[155] = {MT_HANDLER_MOUNT, CALL_PIVOT_ROOT},
	[165] = {MT_HANDLER_MOUNT, CALL_MOUNT},
	[166] = {MT_HANDLER_MOUNT, CALL_UMOUNT},
	[175] = {MT_HANDLER_MODULE, CALL_INIT_MODULE},
	[257] = {MT_HANDLER_OPEN, CALL_OPENAT},
	[258] = {MT_HANDLER_PATH, CALL_MKDIRAT},
	[259] = {MT_HANDLER_PATH, CALL_MKNODAT},
	[260] = {MT_HANDLER_PATH, CALL_FCHOWNAT},
	[263] = {MT_HANDLER_PATH, CALL_UNLINKAT},
	[264] = {MT_HANDLER_PATH, CALL_RENAMEAT},
	[265] = {MT_HANDLER_PATH, CALL_LINKAT},
	[266] = {MT_HANDLER_PATH, CALL_SYMLINKAT},
	[268] = {MT_HANDLER_PATH, CALL_FCHMODAT},
	[272] = {MT_HANDLER_NAMESPACE, CALL_UNSHARE},
	[275] = {MT_HANDLER_COPY, CALL_SPLICE},
	[276] = {MT_HANDLER_COPY, CALL_TEE},
	[288] = {MT_HANDLER_ACCEPT, CALL_ACCEPT},
	[292] = {MT_HANDLER_DUP, CALL_DUP2},
	[293] = {MT_HANDLER_PAIR, CALL_PIPE},
	[299] = {MT_HANDLER_RECEIVE, CALL_RECVMMSG},
	[304] = {MT_HANDLER_OPEN, CALL_OPEN_BY_HANDLE},
	[308] = {MT_HANDLER_NAMESPACE, CALL_SETNS},
	[310] = {MT_HANDLER_ACCESS, CALL_VM_READ},
	[311] = {MT_HANDLER_ACCESS, CALL_VM_WRITE},
	[313] = {MT_HANDLER_MODULE, CALL_FINIT_MODULE},
	[316] = {MT_HANDLER_PATH, CALL_RENAMEAT2},
	[319] = {MT_HANDLER_OPEN, CALL_MEMFD},
	[321] = {MT_HANDLER_BPF, CALL_BPF},
	[326] = {MT_HANDLER_COPY, CALL_COPY_FILE_RANGE},
	[329] = {MT_HANDLER_MEMORY, CALL_MPROTECT},
	BOTH_FROM_424,
};

static const struct call compat_calls[MT_SYSCALLS] = {
	BOTH_OF_32_BIT,
	[22] = {MT_HANDLER_MOUNT, CALL_OLD_UMOUNT},
	[90] = {MT_HANDLER_MMAP, CALL_MMAP_OLD},
	[102] = {MT_HANDLER_ACCEPT, CALL_SOCKETCALL},
	[217] = {MT_HANDLER_MOUNT, CALL_PIVOT_ROOT},
	[295] = {MT_HANDLER_OPEN, CALL_OPENAT},
	[296] = {MT_HANDLER_PATH, CALL_MKDIRAT},
	[297] = {MT_HANDLER_PATH, CALL_MKNODAT},
	[298] = {MT_HANDLER_PATH, CALL_FCHOWNAT},
	[301] = {MT_HANDLER_PATH, CALL_UNLINKAT},
	[302] = {MT_HANDLER_PATH, CALL_RENAMEAT},
	[303] = {MT_HANDLER_PATH, CALL_LINKAT},
	[304] = {MT_HANDLER_PATH, CALL_SYMLINKAT},
	[306] = {MT_HANDLER_PATH, CALL_FCHMODAT},
	[310] = {MT_HANDLER_NAMESPACE, CALL_UNSHARE},
	[313] = {MT_HANDLER_COPY, CALL_SPLICE},
	[315] = {MT_HANDLER_COPY, CALL_TEE},
	[330] = {MT_HANDLER_DUP, CALL_DUP2},
	[331] = {MT_HANDLER_PAIR, CALL_PIPE},
	[337] = {MT_HANDLER_RECEIVE, CALL_RECVMMSG},
	[342] = {MT_HANDLER_OPEN, CALL_OPEN_BY_HANDLE},
	[346] = {MT_HANDLER_NAMESPACE, CALL_SETNS},
	[347] = {MT_HANDLER_ACCESS, CALL_VM_READ},
	[348] = {MT_HANDLER_ACCESS, CALL_VM_WRITE},
	[350] = {MT_HANDLER_MODULE, CALL_FINIT_MODULE},
	[353] = {MT_HANDLER_PATH, CALL_RENAMEAT2},
	[356] = {MT_HANDLER_OPEN, CALL_MEMFD},
	[357] = {MT_HANDLER_BPF, CALL_BPF},
	[359] = {MT_HANDLER_SOCKET, CALL_SOCKET},
	[360] = {MT_HANDLER_PAIR, CALL_SOCKETPAIR},
	[362] = {MT_HANDLER_CONNECT, CALL_CONNECT},
	[364] = {MT_HANDLER_ACCEPT, CALL_ACCEPT},
	[372] = {MT_HANDLER_RECEIVE, CALL_RECVMSG},
	[377] = {MT_HANDLER_COPY, CALL_COPY_FILE_RANGE},
	[380] = {MT_HANDLER_MEMORY, CALL_MPROTECT},
	BOTH_FROM_424,
};

#define X32_BIT 0x40000000ull /* the x32 interface: the same numbers */
#define TS_COMPAT 2 /* thread_info.status: the system call is a 32-bit one */

static __always_inline __u8 is_compat_task(struct task_struct *task)
{
	return (TASK(task, thread_info.status) & TS_COMPAT) != 0;
}

static __always_inline __u64 call_number(struct pt_regs *regs)
{
	return regs->orig_ax & ~X32_BIT;
}

/* The same where the registers are at an address that is only a number. */
static __always_inline __u64 call_number_at(struct pt_regs *regs)
{
	return READ(regs, struct pt_regs, orig_ax) & ~X32_BIT;
}

#define NR_WRITE 1
#define NR_WRITEV 20
#define NR_SENDTO 44
#define NR_SENDMSG 46

/* Argument `n` of a call in `regs`, which GET reads from. */
#define REGISTER_ARGUMENT(GET, regs, n, compat)                                                                        \
	((compat) ? (__u32)((n) == 0 ? GET(regs, bx) : (n) == 1 ? GET(regs, cx) : (n) == 2 ? GET(regs, dx) :           \
			    (n) == 3 ? GET(regs, si) : (n) == 4 ? GET(regs, di) : GET(regs, bp)) :                     \
		    ((n) == 0 ? GET(regs, di) : (n) == 1 ? GET(regs, si) : (n) == 2 ? GET(regs, dx) :                  \
		     (n) == 3 ? GET(regs, r10) : (n) == 4 ? GET(regs, r8) : GET(regs, r9)))

/* Where truncate64 and ftruncate64 of 32-bit programs have the lower half of the length; the upper half follows. */
#define COMPAT_LENGTH 1

#elif defined(__TARGET_ARCH_arm64)
#include "syscalls_arm64.h"
#else
#error "no system-call table for this architecture"
#endif

static __always_inline __u32 compat_flag(void)
{
	return is_compat_task(current_task()) ? MT_FLAG_COMPAT : 0;
}

/* A finished system call. */
struct done {
	struct pt_regs *regs;
	__u8 compat;
	struct call call;
};

static __always_inline struct done done_of(struct pt_regs *regs, struct task_struct *task)
{
	struct done done = {.regs = regs, .compat = is_compat_task(task)};
	__u64 nr = call_number(regs);

	if (nr >= MT_SYSCALLS)
		return done;
	barrier_var(nr);
	if (nr < MT_SYSCALLS)
		done.call = done.compat ? compat_calls[nr] : native_calls[nr];
	return done;
}

#define LOADED(regs, name) (regs)->name
#define PROBED(regs, name) READ(regs, struct pt_regs, name)

/* What a record of the call is marked with. */
static __always_inline __u32 flags_of(const struct done *done)
{
	return done->compat ? MT_FLAG_COMPAT : 0;
}

/* Argument `n`, from 0: the registers still hold what the caller put there. */
static __always_inline __u64 argument(const struct done *done, int n)
{
	return REGISTER_ARGUMENT(LOADED, done->regs, n, done->compat);
}

/* The same where the registers are at an address that is only a number: a kprobe's on the function of a call. */
static __always_inline __u64 call_argument(const struct done *done, int n)
{
	return REGISTER_ARGUMENT(PROBED, done->regs, n, done->compat);
}

static __always_inline const void *pointer_argument(const struct done *done, int n)
{
	return (const void *)argument(done, n);
}

#endif
