/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Whom the connections of a job name in their first bytes, once each. Nothing is held back for it: what comes in pieces is
 * put together from copies.
 */
#ifndef MARTLET_SERVER_NAMES_H
#define MARTLET_SERVER_NAMES_H

#include "callers.h"
#include "first_bytes.h"

#define PIECE 512
#define PARTS 8 /* packets that are looked at */

/* Of flows that have said something, and not yet whom they mean. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1);
	__type(key, __u64);
	__type(value, struct inspection);
} beginnings SEC(".maps");

/* Adds what a packet has from `at` on to what is looked at. Returns 0 if it cannot be read. */
__noinline int take_bytes(struct __sk_buff *skb, __u32 slot, __u32 at)
{
	struct inspection *in = inspection_of(slot);
	__u32 end = skb->len;
	__u64 count;

	if (!in)
		return 0;
	for (int i = 0; i < MT_INSPECTED_MAX / PIECE; i++) {
		if (in->length >= MT_INSPECTED_MAX || at >= end)
			break;
		count = end - at - 1;
		if (count >= PIECE)
			count = PIECE - 1;
		asm volatile("%0 &= %1" : "+r"(count) : "i"(PIECE - 1));
		if (bpf_skb_load_bytes(skb, at, in->bytes + IN(in->length), count + 1))
			return 0;
		in->length += count + 1;
		at += count + 1;
	}
	if (in->length > MT_INSPECTED_MAX)
		in->length = MT_INSPECTED_MAX;
	return 1;
}

/* Looks at what is left of a ClientHello's extensions, for the one that hides another ClientHello. */
__noinline int look_at_rest(__u32 slot)
{
	for (int i = 0; i < TLS_EXTENSIONS; i++)
		if (look_at_extension(slot) == FOUND_NONE)
			break;
	return 0;
}

/* Whether no more is looked at. */
static __always_inline int is_last(const struct inspection *in)
{
	return in->length >= MT_INSPECTED_MAX || in->parts >= PARTS;
}

/* What the bytes say, and by which protocol. A field that holds an address in brackets names nobody. */
static __always_inline int find_named(__u32 slot, struct inspection *in, __u32 *by)
{
	__u32 from, to;
	int found;

	in->from = in->to = in->port = in->is_request = in->is_hello_encrypted = 0;
	if (in->bytes[0] != TLS_HANDSHAKE) {
		*by = MT_NAMED_BY_HTTP;
		found = find_host(slot);
		if (found == FOUND_HIDDEN && in->bytes[IN(in->from)] == '[')
			return FOUND_NONE;
		/* Of what goes on and on it is said only here that it is no request. */
		if (found != FOUND_NAME && !in->is_request && (found != FOUND_PART || is_last(in)))
			return FOUND_NONE;
		return found;
	}
	*by = MT_NAMED_BY_TLS;
	found = find_server_name(slot);
	if (found != FOUND_NAME)
		return found;
	from = in->from;
	to = in->to;
	look_at_rest(slot);
	in->from = from;
	in->to = to;
	return FOUND_NAME;
}

/* What a flow has said before, and this packet. Returns 0 if something is missing in between. */
static __always_inline int gather(struct __sk_buff *skb, __u32 slot, struct inspection *in, const struct packet *packet,
				  __u64 sock, const struct flow *flow)
{
	struct inspection *before;
	__u32 known;

	if (flow->said == SAID_PART) {
		before = bpf_map_lookup_elem(&beginnings, &sock);
		if (!before || bpf_probe_read_kernel(in, sizeof(*in), before))
			return 0;
	} else {
		in->length = in->parts = 0;
		in->next = packet->sequence;
	}
	known = in->next - packet->sequence;
	in->parts++;
	if (known >> 31)
		return 0;
	/* Sent again, all of it or its beginning. */
	if (known >= skb->len - packet->payload)
		return 1;
	in->next = packet->sequence + (skb->len - packet->payload);
	return take_bytes(skb, slot, packet->payload + known);
}

/* A packet with a payload leaves. Global, for one look at it by each program. */
__noinline int tell_server_name(struct __sk_buff *skb)
{
	struct bpf_sock *sk = skb->sk;
	struct mt_server_name *body;
	struct packet packet = {};
	struct inspection *in;
	struct record record;
	struct actor actor;
	struct flow *flow;
	__u32 by = 0;
	__u64 sock;
	int found;

	sk = sk ? bpf_sk_fullsock(sk) : 0;
	if (!sk)
		return PASS;
	sock = number_of(sk);
	flow = may_be_flow(sock) ? bpf_map_lookup_elem(&sockets, &sock) : 0;
	if (!flow || flow->inbound || flow->said == SAID_ALL)
		return PASS;
	if (!open_packet(skb, &packet) || packet.protocol != IPPROTO_TCP || skb->len <= packet.payload)
		return PASS;
	actor = flow->actor;
	/* A socket can outlive its job. */
	if (flow->started < incarnation_of(actor.job)) {
		flow->said = SAID_ALL;
		return PASS;
	}
	/* For the place that comes with it. */
	if (!begin(&record, MT_SERVER_NAME, MT_CRITICAL, sizeof(*body), &actor)) {
		COUNT(MT_SERVER_NAME, seen);
		flow->said = SAID_ALL;
		return PASS;
	}
	in = inspection_of(record.slot);
	if (!in) {
		release(&record);
		return PASS;
	}
	found = FOUND_HIDDEN;
	if (gather(skb, record.slot, in, &packet, sock, flow)) {
		found = find_named(record.slot, in, &by);
		barrier_var(found);
		if (found == FOUND_PART && !is_last(in)) {
			flow->said = SAID_PART;
			bpf_map_update_elem(&beginnings, &sock, in, BPF_ANY);
			release(&record);
			return PASS;
		}
	}
	if (flow->said == SAID_PART)
		bpf_map_delete_elem(&beginnings, &sock);
	flow->said = SAID_ALL;
	if (found == FOUND_NONE) {
		release(&record);
		return PASS;
	}
	COUNT(MT_SERVER_NAME, seen);
	body = BODY(&record, struct mt_server_name);
	body->sock = flow->sock;
	body->by = by;
	if (found == FOUND_NAME) {
		body->port = in->port;
		body->is_hello_encrypted = in->is_hello_encrypted;
		add_name(&record, in);
	} else {
		body->is_hidden = 1;
	}
	send(&record);
	return PASS;
}

#endif
