/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Sockets that no hook of the cgroup asks about: packet sockets, and those that come from outside the job. */
#include "control_messages.h"
#include "received.h"

/* Packet sockets, before they are made; not those of the kernel itself. */
static __always_inline int asked_for_socket(const __u64 *arguments, __u32 how)
{
	if (ARGUMENT(arguments, 0, __u32) != AF_PACKET || ARGUMENT(arguments, 3, __u32))
		return 0;
	return look_at_packet_socket(ARGUMENT(arguments, 1, __u32), 0, how);
}
GUARD(socket_create, asked_for_socket)

/* What comes in a message, or by pidfd_getfd. */
static __always_inline int asked_for_received(const __u64 *arguments, __u32 how)
{
	struct sock *sk = tag_of(current_task()) ? sock_of(ARGUMENT(arguments, 0, struct file *)) : 0;

	return sk ? socket_received((__u64)sk, how) : 0;
}
GUARD(file_receive, asked_for_received)

static __always_inline void look_at_descriptor(__s32 fd)
{
	struct file *file = file_of(current_task(), fd);
	struct sock *sk = file ? sock_of(file) : 0;

	if (sk)
		socket_received((__u64)sk, 0);
}

static long guard_step(__u32 index, struct received *received)
{
	__s32 fd = -1;
	int found = next_descriptor(received, &fd);

	if (found == RECEIVED_FD)
		look_at_descriptor(fd);
	return found == RECEIVED_ALL;
}
LONG_LOOP_STEP(struct received, guard_step)

/* Where that cannot be refused: who got a socket that it may not have does not get to use it. */
SEC("tp_btf/sys_exit")
int BPF_PROG(guard_received, struct pt_regs *regs, long ret)
{
	struct done done = done_of(regs, current_task());
	__u32 call = done.call.call;
	struct received received = {};

	if ((call != CALL_RECVMSG && call != CALL_RECVMMSG && call != CALL_PIDFD_GETFD) || ret < 0 ||
	    !own_tag(current_task()))
		return 0;
	if (call == CALL_PIDFD_GETFD)
		look_at_descriptor(ret);
	else if (begin_received(&received, &done, ret) &&
		 LOOP(RECEIVE_STEPS, guard_step, &received) == RECEIVE_STEPS)
		bpf_send_signal(SIGKILL); /* more than can be looked at; the hook that tells of them has counted it */
	return 0;
}
