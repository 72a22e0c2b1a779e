/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Sockets of a job: who owns them, remembered for events that come without the owner, from the network's side. */
#ifndef MARTLET_SOCKETS_H
#define MARTLET_SOCKETS_H

#include "opens.h"

#define IPPROTO_TCP 6
#define TCP_ESTABLISHED 1
#define TCP_SYN_SENT 2
#define TCP_CLOSE 7
#define TCP_LISTEN 10

struct socket_state {
	struct actor actor;
	__u64 started;
	__u32 established;
	__u32 inbound;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__type(key, __u64);
	__type(value, struct socket_state);
} sockets SEC(".maps");

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

#endif
