/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What leaves of watched sockets: names that are asked for, and the host that a connection's first bytes name (TLS,
 * HTTP/1).
 */
#include "server_names.h"

#define PATIENCE 4 /* tries of what goes no further: some three seconds */

/* How many names a job has asked for by each wildcard; and which, so that none is counted twice. */
struct asked_key {
	__u64 job;
	__u64 name;  /* 0: the number of them */
	__u32 set;
	__u32 slot;
};
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1);
	__type(key, struct asked_key);
	__type(value, __u64);
} asked_names SEC(".maps");

/* Copies a message to where it is looked at; of none, or a long one, what is looked at. */
static __always_inline int copy_message(struct __sk_buff *skb, __u32 from, __u32 bytes, struct inspection *in)
{
	__u64 length = bytes - 1;

	in->length = 0;
	if (!bytes)
		return 1;
	if (length >= MT_INSPECTED_MAX)
		length = MT_INSPECTED_MAX - 1;
	asm volatile("%0 &= %1" : "+r"(length) : "i"(MT_INSPECTED_MAX - 1));
	if (bpf_skb_load_bytes(skb, from, in->bytes, length + 1))
		return 0;
	in->length = length + 1;
	return 1;
}

static __always_inline struct peer peer_of(const struct watched *watched, const struct mt_policy *policy)
{
	struct peer peer = {
		.key = {.prefix = WHOLE_ADDRESS},
		.subjects = watched->subjects,
		.places = policy ? places_of(policy, watched->step) : 0,
		.port = watched->port,
		.protocol = watched->protocol,
	};

	__builtin_memcpy(peer.key.address, watched->remote, sizeof(peer.key.address));
	return peer;
}

/* Which connection it is, for user space to end it: the packet may have other addresses than the socket by now. */
static __always_inline void add_connection(struct mt_denial *body, struct __sk_buff *skb, const struct bpf_sock *sk)
{
	body->cookie = bpf_get_socket_cookie(skb);
	body->local_port = sk->src_port;
	body->family = sk->family;
	if (sk->family == AF_INET) {
		*(__u32 *)body->local = sk->src_ip4;
	} else {
		((__u32 *)body->local)[0] = sk->src_ip6[0];
		((__u32 *)body->local)[1] = sk->src_ip6[1];
		((__u32 *)body->local)[2] = sk->src_ip6[2];
		((__u32 *)body->local)[3] = sk->src_ip6[3];
	}
}

/*
 * Tells of a name that is not allowed, in the record that was begun to have a place to look at it. `sk`: the connection
 * that it was said on, or 0.
 */
static __always_inline void tell_name(struct record *record, struct inspection *in, struct watched *watched,
				      __u32 operation, const struct verdict *verdict, struct __sk_buff *skb,
				      const struct bpf_sock *sk)
{
	__u64 hash = denial_hash(&watched->actor, operation, verdict);
	struct mt_denial *body;

	/* Of a connection that is to be ended each is told. */
	hash = hash_word(hash, in->to ? in->hash : watched->sock);
	hash = hash_end(hash_word(hash, sk ? bpf_get_socket_cookie(skb) : 0));
	if (was_denied(&watched->actor, hash)) {
		release(record);
		return;
	}
	body = describe_denial(record, MT_SECTION_NETWORK, operation, verdict, effect_of(verdict));
	body->port = watched->port;
	body->protocol = watched->protocol;
	body->sock = watched->sock;
	__builtin_memcpy(body->remote, watched->remote, sizeof(body->remote));
	if (sk)
		add_connection(body, skb, sk);
	if (in->to)
		add_name(record, in);
	if (send(record))
		remember_open(hash);
}

/* Begins a record before it is known whether there is something to tell: for the place that comes with it. */
static __always_inline int begin_denial(struct record *record, const struct watched *watched)
{
	if (begin(record, MT_DENIAL, MT_CRITICAL, sizeof(struct mt_denial), &watched->actor))
		return 1;
	COUNT(MT_DENIAL, seen);
	return 0;
}

/* Whether a job may ask for one more name by this wildcard. */
static __always_inline int may_ask(const struct watched *watched, __u32 set, __u64 name)
{
	struct asked_key key = {.job = watched->job, .name = name, .set = set, .slot = watched->actor.job};
	__u64 one = 1, *count;

	if (bpf_map_lookup_elem(&asked_names, &key))
		return 1;
	key.name = 0;
	count = bpf_map_lookup_elem(&asked_names, &key);
	if (count) {
		if (*count >= MT_NAMES_PER_RULE)
			return 0;
		ADD(count, 1);
	} else {
		bpf_map_update_elem(&asked_names, &key, &one, BPF_ANY);
	}
	key.name = name;
	bpf_map_update_elem(&asked_names, &key, &one, BPF_ANY);
	return 1;
}

/*
 * A question to a resolver: what asks for a name that is not allowed does not leave. Global, for one look at it: a packet
 * of TCP can hold several.
 */
__noinline int question_leaves(struct __sk_buff *skb, __u32 from, __u32 length)
{
	struct bpf_sock *sk = skb->sk;
	const struct mt_policy *policy;
	struct watched *watched;
	struct inspection *in;
	struct verdict verdict;
	struct record record;
	struct query *query;
	struct peer peer;
	__u32 set = 0;

	sk = sk ? bpf_sk_fullsock(sk) : 0;
	watched = sk ? bpf_sk_storage_get(&watched_sockets, sk, 0, 0) : 0;
	policy = watched ? policy_of(watched->actor.job, MT_SECTION_NETWORK) : 0;
	if (!watched || !policy)
		return PASS;
	peer = peer_of(watched, policy);
	if (!begin_denial(&record, watched))
		return DROP;
	in = inspection_of(record.slot);
	if (!in || !copy_message(skb, from, length, in)) {
		release(&record);
		return DROP;
	}
	in->to = 0;
	/* A query, of one question; else it is nothing that a resolver is asked. */
	if (in->length >= DNS_HEADER + 5 && !(in->bytes[2] & 0x80) && u16_at(in, 4) == 1 &&
	    find_question(record.slot) == FOUND_NAME) {
		set = named_set(record.slot, policy);
		query = &watched->queries[watched->next++ & (QUERIES - 1)];
		query->is_asked = 0;
		query->id = u16_at(in, 0);
		query->name = in->hash;
		query->set = set;
		query->is_asked = 1;
		peer.is_name = 1;
		peer.protocol = MT_PROTOCOL_TCP | MT_PROTOCOL_UDP;
	} else {
		in->to = 0;
	}
	verdict = default_of(policy, MT_SECTION_NETWORK);
	if (set)
		verdict = verdict_of(ruling_for(set, &peer), policy);
	if (set && in->is_wild && set != policy->other_names && verdict.action < MT_DENY && !may_ask(watched, set, in->hash))
		verdict.action = MT_DENY;
	if (verdict.action == MT_ALLOW) {
		release(&record);
		return PASS;
	}
	tell_name(&record, in, watched, MT_OP_QUERY, &verdict, skb, watched->protocol & MT_PROTOCOL_TCP ? sk : 0);
	return verdict.action == MT_OBSERVE ? PASS : DROP;
}

/*
 * Whether there is more to come of what decides. Dropped it stays in the socket's queue, and goes out again together
 * with what is written next, or by itself after a while.
 */
static __always_inline int may_wait(struct watched *watched, __u32 length)
{
	if (length <= watched->part)
		return watched->waited++ < PATIENCE;
	watched->part = length;
	watched->waited = 0;
	return 1;
}

/* The first bytes of a connection to an address that is allowed for the name it was given. Not inlined, for its stack. */
static __noinline int first_bytes_leave(struct __sk_buff *skb, const struct bpf_sock *sk, struct packet *packet,
					struct watched *watched, const struct mt_policy *policy)
{
	__u32 set, operation = MT_OP_SERVER_NAME, found;
	struct peer peer = peer_of(watched, policy);
	struct verdict verdict = {};
	struct inspection *in;
	struct record record;
	__u64 ruling;

	if (!begin_denial(&record, watched))
		return DROP;
	in = inspection_of(record.slot);
	if (!in || !copy_message(skb, packet->payload, skb->len - packet->payload, in)) {
		release(&record);
		return DROP;
	}
	in->to = in->port = 0;
	if (in->bytes[0] == TLS_HANDSHAKE) {
		found = find_server_name(record.slot);
	} else {
		operation = MT_OP_HOST;
		found = find_host(record.slot);
	}
	if (found == FOUND_PART && skb->len - packet->payload == in->length && may_wait(watched, in->length)) {
		release(&record);
		return DROP;
	}
	if (found == FOUND_NAME) {
		/* What a proxy is asked for is somebody else's port. */
		if (in->port)
			peer.port = in->port;
		set = named_set(record.slot, policy);
		ruling = set ? ruling_for(set, &peer) : NO_RULING;
		verdict = verdict_of(ruling < watched->ruling ? ruling : watched->ruling, policy);
	} else if (found != FOUND_NONE) {
		in->to = 0;
		/* It may be for a host that is denied. */
		verdict.action = MT_DENY;
		if (!(policy->flags & MT_POLICY_DENIES_NAMES))
			verdict = verdict_of(watched->ruling, policy);
	}
	if (verdict.action < MT_DENY)
		watched->watch &= ~WATCH_NAME;
	else
		watched->watch |= WATCH_DENIED;
	if (verdict.action == MT_ALLOW) {
		release(&record);
		return PASS;
	}
	tell_name(&record, in, watched, operation, &verdict, skb, verdict.action < MT_DENY ? 0 : sk);
	return verdict.action == MT_OBSERVE ? PASS : DROP;
}

#define MESSAGES 4 /* of a packet that are looked at */

/* Bytes in front of the next message of a stream; as many as there are if none begins here, and MISSED if one began before. */
#define MISSED (~0u)
static __always_inline __u32 before_message(struct stream *stream, const struct packet *packet, __u32 length)
{
	__u32 before;

	if (!stream->is_known) {
		stream->is_known = 1;
		stream->next = packet->sequence;
	}
	before = stream->next - packet->sequence;
	if (before >> 31)
		return MISSED;
	return before < length ? before : length;
}

/* The length that is in front of a message. */
static __always_inline int message_length(struct __sk_buff *skb, __u32 at, __u32 *length)
{
	__u8 word[2] __attribute__((aligned(8)));

	if (bpf_skb_load_bytes(skb, at, word, sizeof(word)))
		return 0;
	*length = word[0] << 8 | word[1];
	return 1;
}

/* Questions by TCP. What has left was judged, so that nothing leaves but whole ones. */
static __noinline int questions_leave(struct __sk_buff *skb, struct packet *packet, struct watched *watched)
{
	__u32 end = skb->len, at, length, before = before_message(&watched->asked, packet, end - packet->payload);

	if (before == MISSED)
		return DROP;
	at = packet->payload + before;
	for (int i = 0; i < MESSAGES && at < end; i++) {
		if (!message_length(skb, at, &length) || at + 2 + length > end) {
			if (may_wait(watched, end - packet->payload))
				return DROP;
			length = 0;
		}
		if (question_leaves(skb, at + 2, length) == DROP) {
			watched->watch |= WATCH_DENIED;
			return DROP;
		}
		if (!length)
			break;
		at += 2 + length;
	}
	if (at < end)
		return DROP;
	watched->asked.next = packet->sequence + (end - packet->payload);
	return PASS;
}

/* A process of the job speaks as a resolver does. */
static __noinline int answer_leaves(struct packet *packet, struct watched *watched)
{
	struct socket_denial denial = {
		.sock = watched->sock, .family = AF_INET6, .type = SOCK_DGRAM, .operation = MT_OP_ANSWER,
		.effect = MT_EFFECT_PREVENTED, .verdict = {.action = MT_DENY}};
	struct peer peer = peer_of(watched, 0);

	__builtin_memcpy(peer.key.address, packet->to, 16);
	peer.port = packet->destination;
	tell_denied(&watched->actor, &peer, &denial);
	return DROP;
}

static __noinline int judge_message(struct __sk_buff *skb)
{
	struct bpf_sock *sk = skb->sk;
	const struct mt_policy *policy;
	struct packet packet = {};
	struct watched *watched;
	int course;

	sk = sk ? bpf_sk_fullsock(sk) : 0;
	watched = sk ? bpf_sk_storage_get(&watched_sockets, sk, 0, 0) : 0;
	if (!watched || !watched->watch || !open_packet(skb, &packet) || skb->len <= packet.payload)
		return PASS;
	policy = policy_of(watched->actor.job, MT_SECTION_NETWORK);
	if (!policy)
		return PASS;
	if (watched->watch & WATCH_DENIED)
		return DROP;
	/* Behind options, which root may put in front, nobody looks. */
	if (packet.protocol != sk->protocol)
		return watched->watch & (WATCH_NAME | WATCH_QUERIES) ? DROP : PASS;
	if (packet.protocol == IPPROTO_TCP)
		return watched->watch & WATCH_NAME    ? first_bytes_leave(skb, sk, &packet, watched, policy) :
		       watched->watch & WATCH_QUERIES ? questions_leave(skb, &packet, watched) :
							PASS;
	if (packet.protocol != IPPROTO_UDP)
		return PASS;
	if ((watched->watch & WATCH_ANSWERS) && packet.source == PORT_DNS)
		return answer_leaves(&packet, watched);
	/* By its address: its port may have been translated by now, as that of Docker's resolver is. */
	if (!(watched->watch & WATCH_QUERIES) || !is_resolver(policy->id, (__u8 *)packet.to))
		return PASS;
	course = question_leaves(skb, packet.payload, skb->len - packet.payload);
	/* The compiler knows what it returns, and the verifier does not. */
	barrier_var(course);
	return course == DROP ? DROP : PASS;
}

/* Whether it is TCP with nothing in it, as most packets of short connections are. */
static __always_inline int has_no_payload(struct __sk_buff *skb)
{
	struct glance glance;

	return glance_at(skb, &glance) && skb->len <= glance.payload;
}

SEC("cgroup_skb/egress")
int messages_leave(struct __sk_buff *skb)
{
	if (has_no_payload(skb))
		return PASS;
	if (judge_message(skb) == DROP)
		return DROP;
	tell_server_name(skb);
	return PASS;
}

/* Where no policy is in force, names are only told. */
SEC("cgroup_skb/egress")
int names_leave(struct __sk_buff *skb)
{
	if (!has_no_payload(skb))
		tell_server_name(skb);
	return PASS;
}
