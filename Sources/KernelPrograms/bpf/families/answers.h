/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What arrives: resolvers' answers, which are told and give leases, and who connects to a job. */
/* Starts the record of an answer, with the message in it. Returns 0 if it is from nobody whose answers are believed. */
static __always_inline int begin_answer(struct record *record, struct __sk_buff *skb, const struct watched *watched,
					__u32 policy, __u32 from, __u32 length)
{
	struct packet packet = {};
	struct inspection *in;
	struct mt_answer *body;

	if (!open_packet(skb, &packet) || !is_resolver(policy, (__u8 *)packet.from))
		return 0;
	COUNT(MT_ANSWER, seen);
	if (!begin(record, MT_ANSWER, MT_CRITICAL, sizeof(*body), &watched->actor))
		return 0;
	body = BODY(record, struct mt_answer);
	body->sock = watched->sock;
	body->bytes = length;
	__builtin_memcpy(body->server, packet.from, 16);
	in = inspection_of(record->slot);
	if (!in || !length || !copy_message(skb, from, length, in)) {
		HEADER(record)->flags |= MT_FLAG_UNREADABLE;
		send(record);
		return 0;
	}
	add_kernel_bytes(record, MT_STR_BYTES, in->bytes, in->length, MT_INSPECTED_MAX);
	return 1;
}

/* What a socket that asks a resolver is told; nothing of other sockets' packets, which come by here all the same. */
static __always_inline struct watched *asking(struct bpf_sock *sk)
{
	struct watched *watched = bpf_sk_storage_get(&watched_sockets, sk, 0, 0);

	return watched && (watched->watch & WATCH_QUERIES) ? watched : 0;
}

static __always_inline struct watched *asking_one(struct __sk_buff *skb)
{
	struct bpf_sock *sk = skb->sk;

	sk = sk ? bpf_sk_fullsock(sk) : 0;
	return sk ? asking(sk) : 0;
}

/* Global, as what follows: a packet of TCP can hold several answers. No bytes: one that cannot be read. */
__noinline int tell_answer(struct __sk_buff *skb, __u32 from, __u32 length)
{
	struct watched *watched = asking_one(skb);
	struct record record;

	if (watched && begin_answer(&record, skb, watched, 0, from, length))
		send(&record);
	return PASS;
}

/* An answer counts if it comes from whom names are had from, to a question that this socket asked. */
__noinline int answer_arrives(struct __sk_buff *skb, __u32 from, __u32 length)
{
	struct watched *watched = asking_one(skb);
	__u32 set = 0, asked = 0, next;
	const struct mt_policy *policy;
	struct inspection *in;
	struct record record;

	if (!watched)
		return PASS;
	policy = policy_of(watched->actor.job, MT_SECTION_NETWORK);
	if (!begin_answer(&record, skb, watched, policy ? policy->id : 0, from, length))
		return PASS;
	in = inspection_of(record.slot);
	if (in && in->length >= DNS_HEADER + 5 && (in->bytes[2] & 0x80) && u16_at(in, 4) == 1 &&
	    find_question(record.slot) == FOUND_NAME) {
		next = in->at;
		set = named_set(record.slot, policy);
		for (int i = 0; i < QUERIES; i++) {
			struct query *query = &watched->queries[i];

			if (query->is_asked && query->id == (__u16)u16_at(in, 0) && query->name == in->hash)
				asked = query->set;
		}
		in->at = next;
		if (set && asked == set) {
			lease_answers(record.slot, watched->actor.job, watched->job, set, in->hash);
			BODY(&record, struct mt_answer)->set = set;
		}
	}
	send(&record);
	return PASS;
}

static __always_inline void take_answer(struct __sk_buff *skb, __u32 from, __u32 length, int leases)
{
	if (leases)
		answer_arrives(skb, from, length);
	else
		tell_answer(skb, from, length);
}

/* One answer by UDP; those by TCP that lie whole in a packet. */
static __always_inline int answers_arrive(struct __sk_buff *skb, struct watched *watched, int leases)
{
	__u32 end = skb->len, at, length, before;
	struct packet packet = {};

	if (!open_packet(skb, &packet) || packet.source != PORT_DNS || end <= packet.payload)
		return PASS;
	at = packet.payload;
	if (packet.protocol == IPPROTO_UDP) {
		take_answer(skb, at, end - at, leases);
		return PASS;
	}
	if (packet.protocol != IPPROTO_TCP)
		return PASS;
	before = before_message(&watched->answered, &packet, end - at);
	if (before == MISSED) {
		/* Of the rest it is not known where anything begins. */
		watched->watch &= ~WATCH_QUERIES;
		take_answer(skb, at, 0, leases);
		return PASS;
	}
	at += before;
	for (int i = 0; i < MESSAGES && at < end; i++) {
		if (!message_length(skb, at, &length))
			length = 0;
		at += 2;
		take_answer(skb, at, at + length > end ? 0 : length, leases);
		at += length;
	}
	watched->answered.next = packet.sequence + (at - packet.payload);
	return PASS;
}

/* Answers that come by TCP have to be told from other packets by where they come from. */
static __always_inline int is_answer(const struct glance *glance)
{
	return __builtin_bswap16(glance->source) == PORT_DNS;
}

/* Where no policy is in force, names are only told. */
SEC("cgroup_skb/ingress")
int names_arrive(struct __sk_buff *skb)
{
	struct watched *watched;
	struct glance glance;

	if (glance_at(skb, &glance) && !is_answer(&glance))
		return PASS;
	watched = asking_one(skb);
	return watched ? answers_arrive(skb, watched, 0) : PASS;
}

SEC("cgroup_skb/ingress")
int messages_arrive(struct __sk_buff *skb)
{
	struct bpf_sock *sk = skb->sk;
	struct watched *watched;
	struct glance glance;

	if (glance_at(skb, &glance) && !is_call(glance.flags) && !is_answer(&glance))
		return PASS;
	sk = sk ? bpf_sk_fullsock(sk) : 0;
	if (!sk)
		return PASS;
	if (sk->protocol == IPPROTO_TCP && sk->state == TCP_LISTEN)
		return caller_arrives(skb, number_of(sk), sk->src_port);
	watched = asking(sk);
	return watched ? answers_arrive(skb, watched, 1) : PASS;
}
