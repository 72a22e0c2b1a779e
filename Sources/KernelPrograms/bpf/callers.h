/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Packets, and those by which somebody connects to a job. */
#ifndef MARTLET_CALLERS_H
#define MARTLET_CALLERS_H

#include "hosts.h"
#include "listeners.h"

#define PASS 1
#define DROP 0
#define TCP_SYN 0x02
#define TCP_ACK 0x10
#define IPV4_HEADER 20 /* without options */
#define IPV6_HEADER 40
#define TCP_HEADER 20 /* without options */

/* Where a packet's payload begins, and its ports. */
struct packet {
	__u64 from[2], to[2]; /* as IPv6 */
	__u32 payload;
	__u32 sequence; /* of TCP: the number of the payload's first byte */
	__u16 source, destination;
	__u8 protocol;
	__u8 is_v4;
	__u8 flags; /* of TCP */
};

static __always_inline int open_packet(struct __sk_buff *skb, struct packet *packet)
{
	__u8 head[40] __attribute__((aligned(8))) = {}, words[2] = {};
	__u32 at;

	if (bpf_skb_load_bytes(skb, 0, head, 20))
		return 0;
	if (head[0] >> 4 == 4) {
		at = (head[0] & 15) * 4;
		packet->is_v4 = 1;
		packet->protocol = head[9];
		set_v4((__u8 *)packet->from, *(__u32 *)(head + 12));
		set_v4((__u8 *)packet->to, *(__u32 *)(head + 16));
	} else {
		if (bpf_skb_load_bytes(skb, 0, head, 40))
			return 0;
		at = 40;
		packet->protocol = head[6];
		__builtin_memcpy(packet->from, head + 8, 16);
		__builtin_memcpy(packet->to, head + 24, 16);
	}
	if (bpf_skb_load_bytes(skb, at, head, 8))
		return 0;
	packet->source = head[0] << 8 | head[1];
	packet->destination = head[2] << 8 | head[3];
	if (packet->protocol == IPPROTO_TCP) {
		if (bpf_skb_load_bytes(skb, at + 12, words, 2))
			return 0;
		at += (words[0] >> 4) * 4;
		packet->flags = words[1];
		packet->sequence = (__u32)head[4] << 24 | head[5] << 16 | head[6] << 8 | head[7];
		if (packet->flags & TCP_SYN)
			packet->sequence++;
	} else {
		at += 8;
	}
	packet->payload = at;
	return 1;
}

/* What most packets are told by: TCP directly behind IP, read where it lies. */
struct glance {
	__u32 payload; /* where it begins */
	__u16 source;  /* its port, as it is on the wire */
	__u8 flags;
};

/* Returns 0 where that is not to be had so: it is another protocol, or has to be looked at piece by piece. */
static __always_inline int glance_at(struct __sk_buff *skb, struct glance *glance)
{
	const __u8 *data = (const __u8 *)(long)skb->data, *end = (const __u8 *)(long)skb->data_end;

	if (data + IPV4_HEADER + TCP_HEADER > end)
		return 0;
	if (data[0] == (4 << 4 | IPV4_HEADER / 4)) {
		if (data[9] != IPPROTO_TCP)
			return 0;
		glance->source = *(const __u16 *)(data + IPV4_HEADER);
		glance->flags = data[IPV4_HEADER + 13];
		glance->payload = IPV4_HEADER + (data[IPV4_HEADER + 12] >> 4) * 4;
		return 1;
	}
	if (data[0] >> 4 != 6 || data[6] != IPPROTO_TCP || data + IPV6_HEADER + TCP_HEADER > end)
		return 0;
	glance->source = *(const __u16 *)(data + IPV6_HEADER);
	glance->flags = data[IPV6_HEADER + 13];
	glance->payload = IPV6_HEADER + (data[IPV6_HEADER + 12] >> 4) * 4;
	return 1;
}

/* How a connection begins: who is not answered then has none. */
static __always_inline int is_call(__u8 flags)
{
	return (flags & (TCP_SYN | TCP_ACK)) == TCP_SYN;
}

/* Whether who connects is a socket of the same job here, which has been judged: both ends need not be allowed. */
static __always_inline int is_own_job(struct __sk_buff *skb, struct packet *packet, __u32 job)
{
	struct bpf_sock_tuple tuple = {};
	struct bpf_sock *caller;
	struct flow *flow;
	__u64 sock;

	/* As a packet to the caller has it. */
	if (packet->is_v4) {
		tuple.ipv4.saddr = packet->to[1] >> 32;
		tuple.ipv4.daddr = packet->from[1] >> 32;
		tuple.ipv4.sport = __builtin_bswap16(packet->destination);
		tuple.ipv4.dport = __builtin_bswap16(packet->source);
		caller = bpf_skc_lookup_tcp(skb, &tuple, sizeof(tuple.ipv4), BPF_F_CURRENT_NETNS, 0);
	} else {
		__builtin_memcpy(tuple.ipv6.saddr, packet->to, 16);
		__builtin_memcpy(tuple.ipv6.daddr, packet->from, 16);
		tuple.ipv6.sport = __builtin_bswap16(packet->destination);
		tuple.ipv6.dport = __builtin_bswap16(packet->source);
		caller = bpf_skc_lookup_tcp(skb, &tuple, sizeof(tuple.ipv6), BPF_F_CURRENT_NETNS, 0);
	}
	if (!caller)
		return 0;
	sock = number_of(caller);
	bpf_sk_release(caller);
	flow = bpf_map_lookup_elem(&sockets, &sock);
	return flow && flow->actor.job == job && flow->started >= incarnation_of(job);
}

/* Somebody connects to a socket at which a process of a job listens. */
static __noinline int caller_arrives(struct __sk_buff *skb, __u64 sock, __u32 port)
{
	struct listener *listener = bpf_map_lookup_elem(&listeners, &sock);
	struct socket_denial denial = {
		.family = AF_INET6, .type = SOCK_STREAM, .operation = MT_OP_ACCEPT};
	struct peer peer = {.key = {.prefix = WHOLE_ADDRESS}, .port = port, .protocol = MT_PROTOCOL_TCP};
	const struct mt_policy *policy;
	struct packet packet = {};
	int by_name;

	/* A socket can outlive its job. */
	if (!listener || listener->job != incarnation_of(listener->actor.job))
		return PASS;
	policy = policy_of(listener->actor.job, MT_SECTION_NETWORK);
	/* With something in front of TCP, which hardly anybody has, it is judged whatever its flags are. */
	if (!policy || !open_packet(skb, &packet) || (packet.protocol == IPPROTO_TCP && !is_call(packet.flags)))
		return PASS;
	__builtin_memcpy(peer.key.address, packet.from, 16);
	peer.key.policy = policy->id;
	peer.subjects = listener->subjects;
	peer.places = places_of(policy, listener->step);
	denial.verdict = verdict_of(judge(&peer, policy, listener->actor.job, &by_name), policy);
	if (denial.verdict.action == MT_ALLOW || is_own_job(skb, &packet, listener->actor.job))
		return PASS;
	denial.sock = opaque((const void *)sock);
	denial.effect = effect_of(&denial.verdict);
	tell_denied(&listener->actor, &peer, &denial);
	return denial.verdict.action == MT_OBSERVE ? PASS : DROP;
}

#endif
