/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Packet sockets, which the cgroup's hook on new sockets is not asked about: they speak to the wire itself. */
#ifndef MARTLET_PACKETS_H
#define MARTLET_PACKETS_H

#include "guards.h"
#include "hosts.h"

#define AF_PACKET 17

static __always_inline struct verdict packet_verdict(const struct actor *actor, struct peer *peer)
{
	const struct mt_policy *policy = policy_of(actor->job, MT_SECTION_NETWORK);
	const struct mt_process *process = policy ? process_of(actor->tgid) : 0;
	int by_name;

	if (!process)
		return (struct verdict){};
	peer->key.prefix = WHOLE_ADDRESS;
	peer->key.policy = policy->id;
	peer->protocol = MT_PROTOCOL_RAW;
	peer->subjects = process->subjects;
	peer->places = places_of_process(policy, process);
	return verdict_of(judge(peer, policy, actor->job, &by_name), policy);
}

/* Returns whether it is refused. */
static __always_inline int look_at_packet_socket(__u32 type, __u64 sock, __u32 how)
{
	struct task_struct *task = current_task();
	struct mt_tag *tag = own_tag(task);
	struct socket_denial denial = {
		.sock = sock, .family = AF_PACKET, .type = type, .operation = MT_OP_SOCKET};
	struct peer peer = {};
	struct actor actor;

	if (!tag)
		return 0;
	actor = actor_of(task, tag);
	denial.verdict = packet_verdict(&actor, &peer);
	if (denial.verdict.action == MT_ALLOW)
		return 0;
	denial.effect = carry_out(&denial.verdict, how);
	tell_denied(&actor, &peer, &denial);
	return denial.effect == MT_EFFECT_PREVENTED;
}

/* Where a socket is seen when it is made: who may not have it does not get to use it. Global, for one look at it. */
__noinline int packet_socket_made(__u64 socket)
{
	struct sock *sk = (struct sock *)socket;

	if (family_of(sk) != AF_PACKET)
		return 0;
	return look_at_packet_socket(READ(sk, struct sock, sk_type), opaque(sk), 0);
}

#endif
