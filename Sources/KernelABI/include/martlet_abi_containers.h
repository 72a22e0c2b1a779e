// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Containers that a daemon starts for a job: they are not below the job's processes. A part of martlet_abi.h, which is
 * to be included instead.
 *
 * A job's process asks a daemon over a unix socket, in HTTP; the daemon makes a cgroup for the container; what execs in
 * that gets a slot of its own. Whose container it is user space finds out from what the daemon told whom.
 */
#ifndef MARTLET_ABI_CONTAINERS_H
#define MARTLET_ABI_CONTAINERS_H

#ifndef MARTLET_ABI_H
#include "martlet_abi.h"
#else

#define MT_REQUEST_MAX 256      /* bytes of a request that are sent… */
#define MT_CREATE_MAX 4096      /* …and of one whose answer is listened to: it may say which image and name are wanted */
#define MT_ANSWER_MAX 8192      /* bytes of each piece of an answer */
#define MT_RUNTIME_ARGV 2048    /* bytes of the arguments of who makes a container's cgroup */
#define MT_CONTAINER_DIGITS 25  /* so many letters and digits in a row make a container's name */
#define MT_CONTAINER_RULE 0xffffffffu /* of the claims of a container's processes: no rule's number */
#define MT_LATE_ANSWER 1000000000ull /* ns after the next request in which an answer can be told */
#define MT_ASKED_FOR 60000000000ull /* ns after what a job last told a daemon in which cgroups are looked at */

/* Header: the job's process. A request is any piece that begins with a method; its answers those to the last such. */
struct mt_daemon {
	mt_u64 sock;         /* id of the daemon's socket, see mt_unix */
	mt_u64 bytes;        /* in all; more than BYTES has where that was cut */
	mt_u32 is_answer;
	mt_u32 reserved;
};

/* Hash by the daemon's socket: whom it answers. User space takes entries out when that process has ended. */
struct mt_talk {
	mt_u64 leader_start;
	mt_u64 since;        /* ns of CLOCK_BOOTTIME */
	mt_u64 over;         /* likewise, when the process asked for something else; 0: it has not */
	mt_u32 tgid;
	mt_u16 job;
	mt_u16 reserved;
};

struct mt_cgroup_change {
	mt_u64 cgroup;       /* id in the v2 hierarchy */
	mt_u32 is_gone;
	mt_u32 reserved;
};

/* The one element of the mmapable array `container_state`. */
struct mt_container_state {
	mt_u64 asked;        /* when a job's process last told a daemon something; 0: never */
	mt_u64 held;         /* 1: user space knows of a process that may still be waiting for an answer */
};

_Static_assert(sizeof(struct mt_daemon) == 24, "daemon layout");
_Static_assert(sizeof(struct mt_talk) == 32, "talk layout");
_Static_assert(sizeof(struct mt_cgroup_change) == 16, "cgroup change layout");
_Static_assert(sizeof(struct mt_container_state) == 16, "container state layout");

#endif
#endif
