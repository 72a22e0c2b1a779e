/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* TCP flows of a job: what is known of each while it is open, and the one record that tells all of it in the end. */
#ifndef MARTLET_SOCKETS_H
#define MARTLET_SOCKETS_H

#include "opens.h"

#define IPPROTO_TCP 6
#define TCP_ESTABLISHED 1
#define TCP_CLOSE 7
#define TCP_LISTEN 10

#define MT_FLOW_COUNT_BITS 14
#define MT_FLOW_COUNTS (1 << MT_FLOW_COUNT_BITS)

#define SOCK_DONE (1 << 1) /* sk_flags: a FIN has come */

/* How far it is known whom a connection names in its first bytes. */
enum said { SAID_NOTHING, SAID_PART, SAID_ALL };

struct flow {
	struct actor actor;  /* who connected or accepted: most of the rest happens without them */
	__u64 sock;          /* its id */
	__u64 started;
	__u64 established;   /* 0: not yet; of what was accepted, when that was */
	__u8 remote[16];     /* as connect was given it: what fails early leaves none in the socket */
	__u16 remote_port;
	__u8 inbound;
	__u8 said;           /* enum said */
	__u32 flags;         /* enum mt_flag, of the call that accepted */
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__type(key, __u64);
	__type(value, struct flow);
} sockets SEC(".maps");

/* How many entries of `sockets` share a place: nearly every change of a state is known to be no flow's without a look. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MT_FLOW_COUNTS);
	__type(key, __u32);
	__type(value, __u64);
} flow_counts SEC(".maps");

static __always_inline __u64 *flow_count(__u64 sock)
{
	__u32 place = sock * 0x9e3779b97f4a7c15ull >> (64 - MT_FLOW_COUNT_BITS);

	return bpf_map_lookup_elem(&flow_counts, &place);
}

/* Whether the socket with this number may be a flow's. If not, it is none's. */
static __always_inline int may_be_flow(__u64 sock)
{
	__u64 *count = flow_count(sock);

	return !count || *(volatile __u64 *)count;
}

/* A pointer that the verifier knows as one, as a number: through memory, since it lets no pointer be calculated with. */
static __always_inline __u64 number_of(const void *pointer)
{
	__u64 from = (__u64)pointer, to = 0;

	bpf_probe_read_kernel(&to, sizeof(to), &from);
	return to;
}

/* The addresses of a socket as the kernel has them now. */
static __always_inline void describe(struct mt_sock *body, struct sock *sk)
{
	body->family = READ(sk, struct sock, __sk_common.skc_family);
	body->protocol = READ(sk, struct sock, sk_protocol);
	body->type = READ(sk, struct sock, sk_type);
	/* Not skc_num, which is given back before the last change of state is told. */
	body->local_port = __builtin_bswap16(READ(sk, struct inet_sock, inet_sport));
	body->remote_port = __builtin_bswap16(READ(sk, struct sock, __sk_common.skc_dport));
	if (body->family == AF_INET6) {
		bpf_probe_read_kernel(body->local, 16,
				      (__u8 *)sk + bpf_core_field_offset(struct sock, __sk_common.skc_v6_rcv_saddr));
		bpf_probe_read_kernel(body->remote, 16,
				      (__u8 *)sk + bpf_core_field_offset(struct sock, __sk_common.skc_v6_daddr));
	} else {
		*(__u32 *)body->local = READ(sk, struct sock, __sk_common.skc_rcv_saddr);
		*(__u32 *)body->remote = READ(sk, struct sock, __sk_common.skc_daddr);
	}
}

/*
 * Sends what is known of a flow: at its end, or when nothing will tell of its end. `is_left`: the socket may be another one
 * by now, with an address and counts that are not this flow's, and perhaps another job's. It is of the same protocol.
 */
static __always_inline void tell_flow(__u32 type, struct sock *sk, const struct flow *flow, int is_left)
{
	struct actor actor = flow->actor;
	struct record record;
	struct mt_sock *body;

	COUNT(type, seen);
	/* A socket can outlive its job, and then another one has the slot: nobody's rather than that one's. */
	if (flow->started < incarnation_of(actor.job))
		actor.job = 0;
	if (!begin(&record, type, MT_CRITICAL, sizeof(*body), &actor))
		return;
	HEADER(&record)->flags = flow->flags;
	body = BODY(&record, struct mt_sock);
	describe(body, sk);
	body->sock = flow->sock;
	body->duration = TIME(&record) - flow->started;
	body->inbound = flow->inbound;
	if (is_left) {
		__builtin_memset(body->local, 0, sizeof(body->local));
		body->local_port = body->remote_port = 0;
	} else {
		body->error = READ(sk, struct sock, sk_err);
	}
	if (flow->established) {
		body->established = 1;
		body->handshake = flow->established - flow->started;
	}
	if (!body->remote_port) {
		__builtin_memcpy(body->remote, flow->remote, sizeof(body->remote));
		body->remote_port = flow->remote_port;
	}
	if (body->protocol == IPPROTO_TCP && !is_left) {
		body->sent = READ(sk, struct tcp_sock, bytes_sent) - READ(sk, struct tcp_sock, bytes_retrans);
		body->received = READ(sk, struct tcp_sock, bytes_received);
		/* The peer's FIN counts as a byte. */
		if (body->received && (READ(sk, struct sock, __sk_common.skc_flags) & SOCK_DONE))
			body->received--;
	}
	send(&record);
}

/* Forgets a flow. Returns 0 to others if two see its end: only one deletes. */
static __always_inline int forget_flow(__u64 sock)
{
	__u64 *count;

	if (bpf_map_delete_elem(&sockets, &sock))
		return 0;
	count = flow_count(sock);
	if (count)
		ADD(count, -1);
	count_used(MT_MAP_SOCKETS, -1);
	return 1;
}

/* Ends the flow of the socket with this number: of two that see its end only one deletes, and tells. */
static __always_inline void end_flow(__u64 sock, struct sock *sk, const struct flow *found, int is_left)
{
	struct flow flow = *found;

	if (forget_flow(sock))
		tell_flow(MT_TCP_CLOSE, sk, &flow, is_left);
}

/* Remembers a flow until its end. Returns 0, counted, if there is no room for it. */
static __always_inline int remember_flow(__u64 sock, const struct flow *flow)
{
	__u64 *count = flow_count(sock);
	struct flow *last;
	int failed; /* not the helper's long: before 6.4 the kernel's function returns an int, the upper half not its sign */

	/* Before the flow can be found. */
	if (count)
		add_fully(count, 1);
	failed = bpf_map_update_elem(&sockets, &sock, flow, BPF_NOEXIST);
	if (failed == -EEXIST) {
		/* An attempt to connect that never got as far as a state that could end; or the end of another one was not seen. */
		last = bpf_map_lookup_elem(&sockets, &sock);
		if (last)
			end_flow(sock, (struct sock *)sock, last, 1);
		failed = bpf_map_update_elem(&sockets, &sock, flow, BPF_NOEXIST);
	}
	if (!failed) {
		count_used(MT_MAP_SOCKETS, 1);
		return 1;
	}
	count_full(MT_MAP_SOCKETS);
	if (count)
		ADD(count, -1);
	return 0;
}

#endif
