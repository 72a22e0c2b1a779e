/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Descriptors that came with messages, as recvmsg and recvmmsg have left them in the process' memory. */
#ifndef MARTLET_CONTROL_MESSAGES_H
#define MARTLET_CONTROL_MESSAGES_H

#include "syscalls.h"

#define SOL_SOCKET 1
#define SCM_RIGHTS 1
#define RECEIVE_STEPS 4096

/*
 * One flat walk, a step for each message, control message and descriptor:
 * nested loops would be nested calls, and all frames of a chain share 512 bytes of stack.
 */
struct received {
	__u64 message;              /* the next message */
	__u64 control, control_end; /* the next control message of this one */
	__u64 fds;                  /* the next descriptor of this one */
	__u32 messages_left, fds_left;
};

/*
 * Asked anew in each round, and not kept in `received`: before 6.7 the verifier takes two states that differ in a
 * number on the caller's stack for one, and drops the code that only the other needs.
 */
static __always_inline __u32 is_compat(void)
{
	return is_compat_task(current_task());
}

/* Takes up a message: struct msghdr is name, namelen, iov, iovlen, control, controllen, flags. */
static __always_inline void next_message(struct received *received)
{
	__u32 compat = is_compat(), narrow[2] = {};
	__u64 wide[2] = {};

	if (compat) {
		bpf_probe_read_user(narrow, sizeof(narrow), (const void *)(received->message + 16));
		wide[0] = narrow[0];
		wide[1] = narrow[1];
	} else {
		bpf_probe_read_user(wide, sizeof(wide), (const void *)(received->message + 32));
	}
	received->control = wide[0];
	received->control_end = wide[0] + wide[1];
	received->message += compat ? 32 : 64; /* in recvmmsg's array each has its length behind it */
	received->messages_left--;
}

/* Takes up a control message: struct cmsghdr is len, level, type. Returns 0 when there is no more. */
static __always_inline int next_control(struct received *received)
{
	__u32 compat = is_compat(), header_size = compat ? 12 : 16, kind[2] = {};
	__u64 at = received->control, length = 0;

	received->control = 0;
	if (!at || at + header_size + sizeof(__s32) > received->control_end ||
	    bpf_probe_read_user(&length, compat ? 4 : 8, (const void *)at) ||
	    bpf_probe_read_user(kind, sizeof(kind), (const void *)(at + header_size - sizeof(kind))))
		return 0;
	if (length < header_size || length > 65536)
		return 0;
	if (kind[0] == SOL_SOCKET && kind[1] == SCM_RIGHTS) {
		received->fds = at + header_size;
		received->fds_left = (length - header_size) / sizeof(__s32);
	}
	received->control = at + (compat ? (length + 3) & ~3ull : (length + 7) & ~7ull);
	return 1;
}

enum { RECEIVED_NONE = 0, RECEIVED_FD = 1, RECEIVED_ALL = 2 };

/* A step of the walk. */
static __always_inline int next_descriptor(struct received *received, __s32 *fd)
{
	if (!received->fds_left) {
		if (next_control(received))
			return RECEIVED_NONE;
		if (!received->messages_left)
			return RECEIVED_ALL;
		next_message(received);
		return RECEIVED_NONE;
	}
	received->fds_left--;
	bpf_probe_read_user(fd, sizeof(*fd), (const void *)received->fds);
	received->fds += sizeof(*fd);
	return RECEIVED_FD;
}

/*
 * Before 6.7 the verifier looks at a loop's body once, in the state of its first round, and takes for dead what a known 0
 * excludes there. So no field that the loop changes may begin with a value that it knows.
 */
static __always_inline int begin_received(struct received *received, const struct done *done, long ret)
{
	struct cpu_state *cpu;
	__u32 zero = 0;

	cpu = bpf_map_lookup_elem(&cpu_states, &zero);
	if (!cpu)
		return 0;
	received->control = received->control_end = received->fds = cpu->zero;
	received->fds_left = cpu->zero;
	received->message = argument(done, 1);
	received->messages_left = (done->call.call == CALL_RECVMMSG ? ret : 1) + cpu->zero;
	return 1;
}

#endif
