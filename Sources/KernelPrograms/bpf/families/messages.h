/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The packets of watched sockets: names that are asked for, the answers, and the host that a connection's first bytes
 * name (TLS, HTTP/1). All of it is an attacker's: a message is copied to a place of its own and looked at there by
 * functions that the verifier sees once each, which keep what they know in that place.
 */
#include "hosts.h"

#define PASS 1
#define DROP 0
#define ETH_P_IP 0x0800
#define ETH_P_IPV6 0x86dd

#define DNS_HEADER 12
#define DNS_LABELS 128
#define DNS_ANSWERS 64
#define TYPE_A 1
#define TYPE_AAAA 28
#define SECOND 1000000000ull
#define LEASE_LIMIT (24 * 3600ull * SECOND)

#define TLS_HANDSHAKE 22
#define TLS_CLIENT_HELLO 1
#define TLS_EXTENSIONS 64

/* Marks where a label of a message begins: no name that a rule has holds this byte. */
#define LABEL 1

enum found {
	FOUND_NONE = 0,
	FOUND_NAME = 1,
	FOUND_PART = 2, /* the message goes on where it is not seen */
};

/* Where a message is looked at; one for each scratch slot, which the caller has. */
struct inspection {
	__u8 bytes[MT_INSPECTED_MAX + 512]; /* behind the message the verifier wants room */
	__u32 length;
	__u32 at;
	__u32 from, to;     /* of the name; labels are separated by `separator` */
	__u32 is_done;
	__u32 separator;
	__u32 exact_at, one_at, any_at; /* where the ends of the name begin that were found, 0: nowhere */
	__u32 is_wild;      /* the set is a wildcard's */
	__u64 hash, exact, one, any; /* of the name, and of these ends */
	__u64 matched;      /* while text is compared */
	__u32 left;
};
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, MT_SLOTS);
	__type(key, __u32);
	__type(value, struct inspection);
} inspections SEC(".maps");

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

static __always_inline struct inspection *inspection_of(__u32 slot)
{
	return bpf_map_lookup_elem(&inspections, &slot);
}

/* An index into the message that the verifier believes. */
#define IN(number)                                                                                                     \
	({                                                                                                             \
		__u64 index_ = (number);                                                                               \
		asm volatile("%0 &= %1" : "+r"(index_) : "i"(MT_INSPECTED_MAX - 1));                                   \
		index_;                                                                                                \
	})

static __always_inline __u32 u16_at(const struct inspection *in, __u32 at)
{
	__u64 index = IN(at);

	return (__u32)in->bytes[index] << 8 | in->bytes[index + 1];
}

static __always_inline __u32 u32_at(const struct inspection *in, __u32 at)
{
	return u16_at(in, at) << 16 | u16_at(in, at + 2);
}

/* What a byte is in a name, in lower case; 0: no name has it. A table, as the verifier would follow every comparison. */
static const __u8 letters[256] = {
	['-'] = '-', ['_'] = '_', ['0'] = '0', '1', '2', '3', '4', '5', '6', '7', '8', '9',
	['A'] = 'a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i', 'j', 'k', 'l', 'm',
	'n', 'o', 'p', 'q', 'r', 's', 't', 'u', 'v', 'w', 'x', 'y', 'z',
	['a'] = 'a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i', 'j', 'k', 'l', 'm',
	'n', 'o', 'p', 'q', 'r', 's', 't', 'u', 'v', 'w', 'x', 'y', 'z',
};

/* Finds the question's name, and marks where its labels begin. The name of a question is never compressed. */
__noinline int find_question(__u32 slot)
{
	struct inspection *in = inspection_of(slot);

	if (!in)
		return FOUND_NONE;
	in->at = DNS_HEADER;
	in->is_done = 0;
	for (int i = 0; i < DNS_LABELS; i++) {
		__u32 at = in->at;
		__u8 length;

		if (at >= in->length)
			break;
		length = in->bytes[IN(at)];
		if (!length) {
			in->is_done = 1;
			break;
		}
		if (length > 63)
			break;
		in->bytes[IN(at)] = LABEL;
		in->at = at + length + 1;
	}
	if (!in->is_done || in->at + 5 > in->length || in->at > DNS_HEADER + 255 || in->at == DNS_HEADER)
		return FOUND_NONE;
	in->from = DNS_HEADER + 1;
	in->to = in->at;
	in->separator = LABEL;
	in->at += 5;
	return FOUND_NAME;
}

/*
 * Hashes the name from its end and looks at each label whether a rule has that end. What is found is only taken down:
 * the text is compared when it is known which of them decides. Returns 0 if it is no name that a rule could have.
 */
__noinline int find_ends(__u32 slot, __u32 policy)
{
	struct inspection *in = inspection_of(slot);
	int is_name = 1;

	if (!in)
		return 0;
	in->exact = in->one = in->any = 0;
	in->exact_at = in->one_at = in->any_at = 0;
	in->hash = hash_begin('h');
	in->at = in->to;
	in->is_done = 0;
	for (int i = 0; i < 256; i++) {
		__u32 at = in->at;
		struct mt_name_key key = {.policy = policy};
		struct mt_name *found;
		__u8 c;

		if (at <= in->from) {
			in->is_done = 1;
			break;
		}
		at--;
		in->at = at;
		c = in->bytes[IN(at)];
		if (c == in->separator) {
			key.hash = hash_end(in->hash);
			found = bpf_map_lookup_elem(&names, &key);
			/* Of names with one more label only the last end that is looked at can speak. */
			in->one_at = 0;
			if (found && found->one) {
				in->one = key.hash;
				in->one_at = at + 1;
			}
			if (found && found->any) {
				in->any = key.hash;
				in->any_at = at + 1;
			}
			in->bytes[IN(at)] = '.';
			in->hash = hash_word(in->hash, '.');
			continue;
		}
		c = letters[c];
		if (!c) {
			is_name = 0;
			break;
		}
		in->bytes[IN(at)] = c;
		in->hash = hash_word(in->hash, c);
	}
	in->hash = hash_end(in->hash);
	if (!is_name || !in->is_done)
		return 0;
	in->exact = in->hash;
	in->exact_at = in->from;
	return 1;
}

/* Whether the name's end that begins there is, letter by letter, the one that the map has. */
__noinline int is_same(__u32 slot, __u32 policy, __u64 hash, __u32 at)
{
	struct inspection *in = inspection_of(slot);
	struct mt_name_key key = {.hash = hash, .policy = policy};
	struct mt_name *name = bpf_map_lookup_elem(&names, &key);

	if (!in || !name || in->to - at != name->length || name->length > MT_HOST_MAX)
		return 0;
	in->matched = 0;
	for (int i = 0; i < MT_HOST_MAX; i++) {
		if ((__u32)i >= name->length)
			break;
		if (in->bytes[IN(at + i)] != name->text[i])
			return 0;
		in->matched++;
	}
	return in->matched == name->length;
}

/* The set of rules that the name leads to, 0: none. The nearest entry says all, also what more general ones say. */
__noinline int set_of_name(__u32 slot, __u32 policy)
{
	struct inspection *in = inspection_of(slot);
	struct mt_name_key key = {.policy = policy};
	struct mt_name *name;

	if (!in)
		return 0;
	in->is_wild = 0;
	if (!find_ends(slot, policy))
		return 0;
	key.hash = in->exact;
	name = bpf_map_lookup_elem(&names, &key);
	if (name && name->exact)
		return is_same(slot, policy, in->exact, in->exact_at) ? name->exact : 0;
	in->is_wild = 1;
	if (in->one_at) {
		key.hash = in->one;
		name = bpf_map_lookup_elem(&names, &key);
		return name && is_same(slot, policy, in->one, in->one_at) ? name->one : 0;
	}
	if (in->any_at) {
		key.hash = in->any;
		name = bpf_map_lookup_elem(&names, &key);
		return name && is_same(slot, policy, in->any, in->any_at) ? name->any : 0;
	}
	return 0;
}

/* Goes over an answer's owner, the question's name or what an alias leads to: labels, with a 0 or a pointer behind them. */
__noinline int skip_name(__u32 slot)
{
	struct inspection *in = inspection_of(slot);

	if (!in)
		return 0;
	for (int i = 0; i < DNS_LABELS; i++) {
		__u32 at = in->at;
		__u8 label;

		if (at >= in->length)
			return 0;
		label = in->bytes[IN(at)];
		in->at = at + (label >= 0xc0 ? 2 : label + 1);
		if (label >= 0xc0 || !label)
			return 1;
	}
	return 0;
}

/* The same for any policy, or none; the name is hashed in any case. */
static __always_inline __u32 named_set(__u32 slot, const struct mt_policy *policy)
{
	__u32 set = set_of_name(slot, policy ? policy->id : 0);

	return set || !policy ? set : policy->other_names;
}

/* What remains of the answers: the addresses, for which the job is given a lease. */
__noinline int lease_answers(__u32 slot, __u32 job, __u64 incarnation, __u32 set, __u64 name)
{
	struct inspection *in = inspection_of(slot);
	__u64 now = bpf_ktime_get_boot_ns();

	if (!in)
		return 0;
	in->left = u16_at(in, 6);
	for (int i = 0; i < DNS_ANSWERS; i++) {
		struct lease_key key = {.job = incarnation, .slot = job};
		struct leases *found, none = {};
		__u32 at = in->at, type, length, place = 0;
		__u64 expires, oldest = ~0ull;

		if (!in->left || at + 12 > in->length)
			break;
		in->left--;
		if (!skip_name(slot))
			break;
		at = in->at;
		if (at + 10 > in->length)
			break;
		type = u16_at(in, at);
		length = u16_at(in, at + 8);
		expires = u32_at(in, at + 4) * SECOND;
		at += 10;
		in->at = at + length;
		if (in->at > in->length)
			break;
		if (type == TYPE_A && length == 4) {
			key.address[10] = key.address[11] = 0xff;
			__builtin_memcpy(key.address + 12, &in->bytes[IN(at)], 4);
		} else if (type == TYPE_AAAA && length == 16) {
			__builtin_memcpy(key.address, &in->bytes[IN(at)], 16);
		} else {
			continue;
		}
		expires = now + (expires < LEASE_LIMIT ? expires : LEASE_LIMIT) + config.lease_grace;
		found = bpf_map_lookup_elem(&leases, &key);
		if (!found) {
			bpf_map_update_elem(&leases, &key, &none, BPF_NOEXIST);
			found = bpf_map_lookup_elem(&leases, &key);
			if (!found)
				continue;
		}
		/* In the name's own place, else in that which ends first. */
		for (int j = 0; j < LEASES; j++) {
			__u64 until = found->leases[j].name == name ? 0 : found->leases[j].expires;

			if (until < oldest) {
				oldest = until;
				place = j;
			}
		}
		place &= LEASES - 1;
		*(volatile __u32 *)&found->leases[place].set = 0;
		*(volatile __u64 *)&found->leases[place].name = name;
		*(volatile __u64 *)&found->leases[place].expires = expires;
		*(volatile __u32 *)&found->leases[place].set = set;
	}
	return 0;
}

/* Finds the server's name in a ClientHello: RFC 8446, 4.1.2 and RFC 6066, 3. */
__noinline int find_server_name(__u32 slot)
{
	struct inspection *in = inspection_of(slot);
	__u32 at, end, kind, length;

	if (!in || in->length < 6 || in->bytes[0] != TLS_HANDSHAKE || in->bytes[1] != 3)
		return FOUND_NONE;
	if (in->bytes[5] != TLS_CLIENT_HELLO)
		return FOUND_NONE;
	/* Record header 5, handshake header 4, version 2, random 32. */
	at = 43;
	if (at >= in->length)
		return FOUND_PART;
	at += 1 + in->bytes[IN(at)];
	if (at + 2 > in->length)
		return FOUND_PART;
	at += 2 + u16_at(in, at);
	if (at + 1 > in->length)
		return FOUND_PART;
	at += 1 + in->bytes[IN(at)];
	if (at + 2 > in->length)
		return FOUND_PART;
	end = at + 2 + u16_at(in, at);
	in->at = at + 2;
	for (int i = 0; i < TLS_EXTENSIONS; i++) {
		at = in->at;
		if (at + 4 > end)
			return FOUND_NONE;
		if (at + 4 > in->length)
			return FOUND_PART;
		kind = u16_at(in, at);
		length = u16_at(in, at + 2);
		in->at = at + 4 + length;
		if (kind)
			continue;
		/* A list's length 2, the type 1, the name's length 2. */
		length = u16_at(in, at + 7);
		if (at + 9 + length > in->length)
			return FOUND_PART;
		if (in->bytes[IN(at + 6)] || !length || length > MT_HOST_MAX)
			return FOUND_NONE;
		in->from = at + 9;
		in->to = at + 9 + length;
		in->separator = '.';
		return FOUND_NAME;
	}
	return FOUND_PART;
}

#define HTTP_LOOKED_AT 2048
#define HOST_FIELD 0x2a686f73743aull /* "\nhost:", each byte with 0x20 */

/* Finds where the Host field of an HTTP/1 request has its value: RFC 9112, 3.2. */
__noinline int find_field(__u32 slot)
{
	struct inspection *in = inspection_of(slot);
	__u64 window = 0;

	if (!in)
		return FOUND_NONE;
	for (__u32 i = 0; i < HTTP_LOOKED_AT; i++) {
		if (i >= in->length)
			break;
		window = window << 8 | in->bytes[i] | 0x20;
		if ((window & 0xffffffffffffull) == HOST_FIELD && in->bytes[IN(i - 5)] == '\n') {
			in->at = i + 1;
			return FOUND_NAME;
		}
	}
	return FOUND_PART;
}

/* Finds the host that an HTTP/1 request names. */
__noinline int find_host(__u32 slot)
{
	struct inspection *in = inspection_of(slot);
	int found;

	if (!in || in->length < 16 || (__u8)(in->bytes[0] - 'A') >= 26)
		return FOUND_NONE;
	found = find_field(slot);
	if (found != FOUND_NAME)
		return found;
	in->from = 0;
	for (int i = 0; i < MT_HOST_MAX + 16; i++) {
		__u32 at = in->at;
		__u8 c;

		if (at >= in->length)
			return FOUND_PART;
		c = in->bytes[IN(at)];
		if (in->from && !letters[c] && c != '.')
			break;
		if (!in->from && c != ' ' && c != '\t')
			in->from = at;
		in->at = at + 1;
	}
	if (!in->from || in->at == in->from)
		return FOUND_NONE;
	in->to = in->at;
	in->separator = '.';
	return FOUND_NAME;
}

/* The name that was found, as a string of a record. */
static __always_inline void add_name(struct record *record, struct inspection *in)
{
	__u32 length = in->to - in->from;

	if (in->from < 1 || length > MT_HOST_MAX || in->to > MT_INSPECTED_MAX)
		return;
	add_kernel_bytes(record, MT_STR_NAME, in->bytes + IN(in->from), length, 256);
}

/* Where a packet's payload begins, and its ports; 0: it is none that is looked at. */
struct packet {
	__u32 payload;
	__u16 source, destination;
	__u8 protocol;
	__u8 is_reset;
	__u8 from[16], to[16];
};

static __always_inline int open_packet(struct __sk_buff *skb, struct packet *packet)
{
	__u8 head[40] = {}, offset = 0;
	__u32 at;

	if (bpf_skb_load_bytes(skb, 0, head, 20))
		return 0;
	if (head[0] >> 4 == 4) {
		at = (head[0] & 15) * 4;
		packet->protocol = head[9];
		set_v4(packet->from, *(__u32 *)(head + 12));
		set_v4(packet->to, *(__u32 *)(head + 16));
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
		if (bpf_skb_load_bytes(skb, at + 12, &offset, 1))
			return 0;
		at += (offset >> 4) * 4;
	} else {
		at += 8;
	}
	packet->payload = at;
	return skb->len > at;
}

/* Copies a message to where it is looked at. */
static __always_inline int copy_message(struct __sk_buff *skb, __u32 from, struct inspection *in)
{
	__u64 length = skb->len - from - 1;

	if (length >= MT_INSPECTED_MAX)
		length = MT_INSPECTED_MAX - 1;
	asm volatile("%0 &= %1" : "+r"(length) : "i"(MT_INSPECTED_MAX - 1));
	if (bpf_skb_load_bytes(skb, from, in->bytes, length + 1))
		return 0;
	in->length = length + 1;
	return 1;
}

static __always_inline struct peer peer_of(const struct watched *watched)
{
	struct peer peer = {
		.key = {.prefix = WHOLE_ADDRESS},
		.subjects = watched->subjects,
		.port = watched->port,
		.protocol = watched->protocol,
	};

	__builtin_memcpy(peer.key.address, watched->remote, sizeof(peer.key.address));
	return peer;
}

/* Tells of a name that is not allowed, in the record that was begun to have a place to look at it. */
static __always_inline void tell_name(struct record *record, struct inspection *in, struct watched *watched,
				      __u32 operation, const struct verdict *verdict)
{
	__u64 hash = denial_hash(&watched->actor, operation, verdict);
	struct mt_denial *body = BODY(record, struct mt_denial);

	COUNT(MT_DENIAL, seen);
	hash = hash_end(hash_word(hash, in->to ? in->hash : watched->sock));
	if (was_sent(hash)) {
		COUNT(MT_DENIAL, deduplicated);
		COUNT_JOB(watched->actor.job, deduplicated);
		release(record);
		return;
	}
	body->rule = verdict->rule;
	body->operation = operation;
	body->section = MT_SECTION_NETWORK;
	body->action = verdict->action;
	body->effect = effect_of(verdict);
	body->port = watched->port;
	body->protocol = watched->protocol;
	body->sock = watched->sock;
	__builtin_memcpy(body->remote, watched->remote, sizeof(body->remote));
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

/* A datagram to port 53: what asks for a name that is not allowed does not leave. */
static __always_inline int query_leaves(struct __sk_buff *skb, struct packet *packet, struct watched *watched)
{
	const struct mt_policy *policy = policy_of(watched->actor.job, MT_SECTION_NETWORK);
	struct peer peer = peer_of(watched);
	struct verdict verdict = {};
	struct inspection *in;
	struct record record;
	struct query *query;
	__u32 set = 0;

	if (!begin_denial(&record, watched))
		return policy ? DROP : PASS;
	in = inspection_of(record.slot);
	if (!in || !copy_message(skb, packet->payload, in)) {
		release(&record);
		return policy ? DROP : PASS;
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
	if (policy) {
		verdict = default_of(policy, MT_SECTION_NETWORK);
		if (set)
			verdict = verdict_of(ruling_for(set, &peer), policy);
		if (set && in->is_wild && set != policy->other_names && verdict.action < MT_DENY && !may_ask(watched, set, in->hash))
			verdict.action = MT_DENY;
	}
	if (verdict.action == MT_ALLOW) {
		release(&record);
		return PASS;
	}
	tell_name(&record, in, watched, MT_OP_QUERY, &verdict);
	return verdict.action == MT_OBSERVE ? PASS : DROP;
}

/* The first bytes of a connection to an address that is allowed for the name it was given. */
static __always_inline int first_bytes_leave(struct __sk_buff *skb, struct packet *packet, struct watched *watched)
{
	const struct mt_policy *policy = policy_of(watched->actor.job, MT_SECTION_NETWORK);
	struct peer peer = peer_of(watched);
	__u32 set, operation = MT_OP_SERVER_NAME, found;
	struct verdict verdict = {};
	struct inspection *in;
	struct record record;

	if (!policy)
		return PASS;
	if (!begin_denial(&record, watched))
		return DROP;
	in = inspection_of(record.slot);
	if (!in || !copy_message(skb, packet->payload, in)) {
		release(&record);
		return DROP;
	}
	in->to = 0;
	found = find_server_name(record.slot);
	if (found == FOUND_NONE && in->bytes[0] != TLS_HANDSHAKE) {
		operation = MT_OP_HOST;
		found = find_host(record.slot);
	}
	if (found == FOUND_NAME) {
		verdict = default_of(policy, MT_SECTION_NETWORK);
		set = named_set(record.slot, policy);
		if (set)
			verdict = verdict_of(ruling_for(set, &peer), policy);
	} else if (found == FOUND_PART) {
		/* What is not to be seen whole may be anything. */
		in->to = 0;
		verdict = default_of(policy, MT_SECTION_NETWORK);
	}
	if (verdict.action < MT_DENY)
		watched->watch &= ~WATCH_NAME;
	else
		watched->watch |= WATCH_DENIED;
	if (verdict.action == MT_ALLOW) {
		release(&record);
		return PASS;
	}
	tell_name(&record, in, watched, operation, &verdict);
	return verdict.action == MT_OBSERVE ? PASS : DROP;
}

SEC("cgroup_skb/egress")
int messages_leave(struct __sk_buff *skb)
{
	struct bpf_sock *sk = skb->sk;
	struct packet packet = {};
	struct watched *watched;
	struct peer peer;

	sk = sk ? bpf_sk_fullsock(sk) : 0;
	watched = sk ? bpf_sk_storage_get(&watched_sockets, sk, 0, 0) : 0;
	if (!watched || !open_packet(skb, &packet))
		return PASS;
	if (watched->watch & WATCH_DENIED)
		return DROP;
	if (packet.protocol == IPPROTO_TCP)
		return watched->watch & WATCH_NAME ? first_bytes_leave(skb, &packet, watched) : PASS;
	if (packet.protocol != IPPROTO_UDP)
		return PASS;
	if ((watched->watch & WATCH_ANSWERS) && packet.source == PORT_DNS && policy_of(watched->actor.job, MT_SECTION_NETWORK)) {
		peer = peer_of(watched);
		struct socket_denial denial = {
			.sock = watched->sock, .family = AF_INET6, .type = SOCK_DGRAM, .operation = MT_OP_ANSWER,
			.effect = MT_EFFECT_PREVENTED, .verdict = {.action = MT_DENY}};

		__builtin_memcpy(peer.key.address, packet.to, 16);
		peer.port = packet.destination;
		tell_denied(&watched->actor, &peer, &denial);
		return DROP;
	}
	return watched->watch & WATCH_QUERIES ? query_leaves(skb, &packet, watched) : PASS;
}

/* An answer counts if it comes from whom names are had from, to a question that this socket asked. */
SEC("cgroup_skb/ingress")
int messages_arrive(struct __sk_buff *skb)
{
	struct bpf_sock *sk = skb->sk;
	struct packet packet = {};
	struct query *asked = 0;
	struct inspection *in;
	struct watched *watched;
	const struct mt_policy *policy;
	struct mt_answer *body;
	struct record record;
	__u32 set = 0;

	sk = sk ? bpf_sk_fullsock(sk) : 0;
	watched = sk ? bpf_sk_storage_get(&watched_sockets, sk, 0, 0) : 0;
	if (!watched || !(watched->watch & WATCH_QUERIES) || !open_packet(skb, &packet))
		return PASS;
	if (packet.protocol != IPPROTO_UDP || packet.source != PORT_DNS)
		return PASS;
	policy = policy_of(watched->actor.job, MT_SECTION_NETWORK);
	if (!is_resolver(policy ? policy->id : 0, packet.from))
		return PASS;
	COUNT(MT_ANSWER, seen);
	if (!begin(&record, MT_ANSWER, MT_CRITICAL, sizeof(*body), &watched->actor))
		return PASS;
	in = inspection_of(record.slot);
	if (!in || !copy_message(skb, packet.payload, in)) {
		HEADER(&record)->flags |= MT_FLAG_UNREADABLE;
		send(&record);
		return PASS;
	}
	body = BODY(&record, struct mt_answer);
	body->sock = watched->sock;
	body->bytes = skb->len - packet.payload;
	__builtin_memcpy(body->server, packet.from, 16);
	add_kernel_bytes(&record, MT_STR_BYTES, in->bytes, in->length, MT_INSPECTED_MAX);
	if (in->length >= DNS_HEADER + 5 && (in->bytes[2] & 0x80) && u16_at(in, 4) == 1 &&
	    find_question(record.slot) == FOUND_NAME) {
		__u32 next = in->at;

		set = named_set(record.slot, policy);
		for (int i = 0; i < QUERIES; i++) {
			struct query *query = &watched->queries[i];

			if (query->is_asked && query->id == (__u16)u16_at(in, 0) && query->name == in->hash)
				asked = query;
		}
		in->at = next;
		if (asked && set && asked->set == set)
			lease_answers(record.slot, watched->actor.job, watched->job, set, in->hash);
	}
	body->set = asked ? set : 0;
	send(&record);
	return PASS;
}
