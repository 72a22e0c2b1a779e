// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* The body of MT_SECURITY. A part of martlet_abi.h, which is to be included instead. */
#ifndef MARTLET_ABI_SECURITY_H
#define MARTLET_ABI_SECURITY_H

#ifndef MARTLET_ABI_H
#include "martlet_abi.h"
#else

/* What a task did, or tried to do, to the system's or another process' security. Numbers are never reused. */
enum mt_security_kind {
	/* Access to another process' memory, registers or descriptors; `target` is that process. */
	MT_SECURITY_ACCESS = 1,         /* by none of the ways below: /proc/PID/stack, kcmp… */
	MT_SECURITY_PTRACE_ATTACH = 2,
	MT_SECURITY_PTRACE_SEIZE = 3,
	MT_SECURITY_PTRACE_TRACEME = 4, /* the acting process offers itself; `target` is the tracer */
	MT_SECURITY_PROC_MEM = 5,       /* /proc/PID/mem, opened */
	MT_SECURITY_VM_READ = 6,        /* process_vm_readv */
	MT_SECURITY_VM_WRITE = 7,       /* process_vm_writev */
	MT_SECURITY_PIDFD_GETFD = 8,
	/* Code for the kernel. */
	MT_SECURITY_MODULE_LOAD = 9,    /* argument: bytes given to init_module; PATH and file: of finit_module */
	MT_SECURITY_BPF_MAP = 10,       /* argument: enum bpf_map_type; DETAIL */
	MT_SECURITY_BPF_PROGRAM = 11,   /* argument: enum bpf_prog_type; DETAIL */
	/* Mounts: PATH is where, PATH2 what, DETAIL the type of file system. */
	MT_SECURITY_MOUNT = 12,         /* argument: MS_* */
	MT_SECURITY_MOVE_MOUNT = 13,
	MT_SECURITY_UMOUNT = 14,        /* argument: MNT_* and UMOUNT_* */
	MT_SECURITY_PIVOT_ROOT = 15,    /* PATH is the new root, PATH2 where the old one is put */
	/* Namespaces; argument: CLONE_NEW*. */
	MT_SECURITY_UNSHARE = 16,
	MT_SECURITY_CLONE = 17,         /* `target` is the new process */
	MT_SECURITY_SETNS = 18,         /* file.ino: the namespace's number; 0 where it is taken from a process */
	/* Credentials: `before` and `after`. */
	MT_SECURITY_SETUID = 19,        /* real | effective << 32, saved | file system << 32 */
	MT_SECURITY_SETGID = 20,
	MT_SECURITY_CAPSET = 21,        /* effective, permitted, inheritable */
	/* Memory that can be executed and is not a plain file's; argument: PROT_*. */
	MT_SECURITY_EXEC_MEMORY = 22,
	MT_SECURITY_KIND_COUNT = 23,
};

enum mt_security_flag {
	MT_SECURITY_HAS_OUTCOME = 1, /* seen when it was over: `error` is valid */
	MT_SECURITY_HAS_BEFORE = 2,
	MT_SECURITY_HAS_AFTER = 4,
	MT_SECURITY_ASKED = 8,       /* `after` is what was asked for, all ones where nothing was: it was not granted */
	MT_SECURITY_BY_NUMBER = 16,  /* target_tgid is the number that the caller gave, in its own pid namespace */
	/* MT_SECURITY_EXEC_MEMORY: what the memory is. None: that was not to be found out. */
	MT_SECURITY_ANONYMOUS = 32,
	MT_SECURITY_MEMFD = 64,
	MT_SECURITY_DELETED = 128,
	MT_SECURITY_WRITABLE = 256,  /* a file's memory that can be written as well */
	MT_SECURITY_MODIFIED = 512,  /* a file's memory that was written before */
	MT_SECURITY_PROTECT = 1024,  /* by mprotect, not by mmap */
};

struct mt_security {
	mt_u64 target_start; /* of the other process' leader; 0: unknown, or no other process */
	mt_u32 target_tgid;  /* 0: no other process, or it is not to be found */
	mt_u16 kind;         /* enum mt_security_kind */
	mt_u16 security_flags; /* enum mt_security_flag */
	mt_s32 error;        /* errno, positive, 0: done; valid with MT_SECURITY_HAS_OUTCOME */
	mt_u32 reserved;
	mt_u64 argument;     /* by kind */
	mt_u64 dir, dir2;    /* what PATH and PATH2 are relative to, as ids; 0: nothing */
	struct mt_file file;
	mt_u64 before[3], after[3];
};

#ifndef __cplusplus
_Static_assert(sizeof(struct mt_security) == 120, "security layout");
#endif

#endif
#endif
