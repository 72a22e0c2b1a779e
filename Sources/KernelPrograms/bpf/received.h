/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Sockets that somebody outside a job hands to it, in a message or by pidfd_getfd: no hook asks about these again. */
#ifndef MARTLET_RECEIVED_H
#define MARTLET_RECEIVED_H

#include "packets.h"

/* Whom it speaks to. Returns 0 if that is nobody yet: it is asked about when it connects. Not inlined, for its stack. */
static __noinline int describe_peer(struct sock *sk, struct peer *peer)
{
	__u32 family = READ(sk, struct sock, __sk_common.skc_family), type = READ(sk, struct sock, sk_type);
	struct mt_sock ends = {};

	peer->key.prefix = WHOLE_ADDRESS;
	peer->protocol = MT_PROTOCOL_RAW;
	if (family == AF_PACKET)
		return 1;
	if (family != AF_INET && family != AF_INET6)
		return 0;
	if (type != SOCK_STREAM && type != SOCK_DGRAM)
		return 1;
	describe(&ends, sk);
	if (!ends.remote_port)
		return 0;
	if (family == AF_INET)
		set_v4(peer->key.address, *(__u32 *)ends.remote);
	else
		__builtin_memcpy(peer->key.address, ends.remote, sizeof(ends.remote));
	peer->port = ends.remote_port;
	peer->protocol = type == SOCK_STREAM ? MT_PROTOCOL_TCP : MT_PROTOCOL_UDP;
	return 1;
}

/* Global, for one look at it. Returns whether it is refused. */
__noinline int socket_received(__u64 number, __u32 how)
{
	struct sock *sk = (struct sock *)number;
	struct task_struct *task = current_task();
	struct socket_denial denial = {.operation = MT_OP_RECEIVE};
	const struct mt_process *process;
	const struct mt_policy *policy;
	struct peer peer = {};
	struct actor actor;
	struct mt_tag *tag;
	struct flow *flow;
	int by_name;

	if (!config.enforces)
		return 0;
	tag = tag_of(task);
	policy = tag ? policy_of(tag->job, MT_SECTION_NETWORK) : 0;
	if (!policy || !describe_peer(sk, &peer))
		return 0;
	/* A connection of the job's own was judged when it was made. */
	flow = bpf_map_lookup_elem(&sockets, &number);
	if (flow && flow->actor.job == tag->job && flow->started >= incarnation_of(tag->job))
		return 0;
	actor = actor_of(task, tag);
	process = process_of(actor.tgid);
	peer.subjects = process ? process->subjects : 0;
	peer.places = places_of_process(policy, process);
	peer.key.policy = policy->id;
	denial.verdict = verdict_of(judge(&peer, policy, actor.job, &by_name), policy);
	if (denial.verdict.action == MT_ALLOW)
		return 0;
	denial.sock = opaque((const void *)number);
	denial.family = READ(sk, struct sock, __sk_common.skc_family);
	denial.type = READ(sk, struct sock, sk_type);
	denial.effect = carry_out(&denial.verdict, how);
	tell_denied(&actor, &peer, &denial);
	return denial.effect == MT_EFFECT_PREVENTED;
}

#endif
