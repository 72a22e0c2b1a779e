// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * What programs are told when they are loaded, and how they find each other. A part of martlet_abi.h, which is to be
 * included instead.
 */
#ifndef MARTLET_ABI_PROGRAMS_H
#define MARTLET_ABI_PROGRAMS_H

#ifndef MARTLET_ABI_H
#include "martlet_abi.h"
#else

/*
 * What hooks on the functions that do it see, and not the one on the end of system calls. User space sets the bit once
 * it has chosen the programs, so that nothing is told twice.
 */
enum mt_typed {
	MT_TYPED_OPEN = 1,
	MT_TYPED_DUP = 2,
	MT_TYPED_RECEIVE = 4,
	MT_TYPED_ACCEPT = 8,
	MT_TYPED_SOCKET = 16,
	MT_TYPED_PATH = 32,
	MT_TYPED_SHIELD_PROCESS = 64,
	MT_TYPED_SHIELD_FILES = 128,
	MT_TYPED_SHIELD_OBJECTS = 256,
	MT_TYPED_ACCESS = 512,
	MT_TYPED_BPF = 1024,
};

/* Values in `.rodata.config` of every object, set by user space before the load. */
struct mt_config {
	mt_u64 seed[2];      /* secret: keys the hashes that an attacker could otherwise collide */
	mt_u32 critical_edge, bulk_edge; /* bytes after which a producer wakes the reader itself */
	mt_u32 mount_namespace; /* inode number of martlet's own */
	mt_u32 cpu_count;    /* possible CPUs */
	mt_u32 task_storage; /* 1: these programs may use it */
	mt_u32 page_size;    /* bytes */
	mt_u32 typed;        /* enum mt_typed */
	mt_u32 preemptible;  /* 1: a task may lose its CPU in the middle of a tracing program */
	mt_u32 uncounted;    /* 1: count nothing in `counters` and `map_used`, to measure what that costs */
	mt_u32 counts_by_job; /* 1: what becomes of events is counted in `job_counts` too */
	mt_u32 enforces;     /* 1: policies may be in force */
	mt_u32 names;        /* 1: tell what names addresses were given by */
	mt_u32 wakes_at_exec; /* 1: the reader is woken by each exec, as it has to do with the program that runs */
	mt_u32 filters;      /* enum mt_filters; 0: nothing is left out of any job */
	mt_u32 holds_cpu;    /* 1: a task keeps its CPU while it has a scratch slot of it */
	mt_u32 reserved;
	mt_u64 lease_grace;  /* ns that an answer of a resolver holds longer than it says */
};

/* Index in the map `turns`: programs that several others take turns at, see hooks.h. */
enum mt_turns {
	MT_TURN_FORK = 0,
	MT_TURN_EXEC = 1,
	MT_TURN_EXEC_DESCRIPTORS = 2,
	MT_TURN_EXIT = 3,
	MT_TURN_TCP_STATE = 4,
	MT_TURN_INSTALL = 5,
	MT_TURN_CLOSE = 6,
	MT_TURN_DUP = 7,
	MT_TURN_UNLINK = 8,
	MT_TURN_RENAME = 9,
	MT_TURN_MKDIR = 10,
	MT_TURN_SYMLINK = 11,
	MT_TURN_LINK = 12,
	MT_TURN_ATTRIBUTES = 13,
	MT_TURN_PIPE = 14,
	MT_TURN_RECOGNISE = 15,
	MT_TURN_SCOPE = 16,
	MT_TURN_GUARD_EXEC = 17,
	MT_TURN_INHERIT = 18,
	MT_TURN_COUNT = 19,
};

/* How many take turns: turn0_NAME to turn3_NAME. */
#define MT_TURNS 4

/* One for each CPU. */
struct mt_turn {
	mt_u64 stood_in; /* deeds done by others than the first */
	mt_u64 failed;   /* deeds that could not be jumped to */
};

/* Index in the program array `handlers`: which tail of sys_exit a system call goes to. The
 * program is called "on_" and the name in lower case: MT_HANDLER_CLOSE is on_close. Opens are told by sys_exit itself. */
enum mt_handler {
	MT_HANDLER_NONE = 0,
	MT_HANDLER_OPEN = 1,
	MT_HANDLER_CLOSE = 2,
	MT_HANDLER_CLOSE_RANGE = 3,
	MT_HANDLER_DUP = 4,
	MT_HANDLER_PATH = 5,       /* rename, unlink, link, symlink, mkdir, mknod, truncate, chmod, chown */
	MT_HANDLER_DESCRIPTOR = 6, /* ftruncate, fchmod, fchown */
	MT_HANDLER_MMAP = 7,
	MT_HANDLER_COPY = 8,
	MT_HANDLER_PAIR = 9,       /* pipe, socketpair */
	MT_HANDLER_RECEIVE = 10,   /* recvmsg, pidfd_getfd: descriptors that arrive */
	MT_HANDLER_CONNECT = 11,   /* unix sockets only; the others go by the cgroup hooks */
	MT_HANDLER_ACCEPT = 12,
	MT_HANDLER_SOCKET = 13,
	/* What concerns security is told whether it succeeded or failed. */
	MT_HANDLER_ACCESS = 14,    /* ptrace, process_vm_*, pidfd_getfd, opens of /proc/PID/mem */
	MT_HANDLER_MEMORY = 15,    /* mmap and mprotect that ask for memory to be executed */
	MT_HANDLER_MOUNT = 16,
	MT_HANDLER_CREDENTIAL = 17,
	MT_HANDLER_MODULE = 18,
	MT_HANDLER_BPF = 19,
	MT_HANDLER_NAMESPACE = 20,
	MT_HANDLER_COUNT = 21,
};

#endif
#endif
