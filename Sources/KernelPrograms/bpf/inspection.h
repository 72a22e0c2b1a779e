/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What a message says: names, and DNS. All of it is an attacker's: it is copied to a place of its own and looked at there by
 * functions that the verifier sees once each, which keep what they know in that place.
 */
#ifndef MARTLET_INSPECTION_H
#define MARTLET_INSPECTION_H

#include "hosts.h"

#define DNS_HEADER 12
#define DNS_LABELS 128
#define NAME_BYTES 256
#define AT_ONCE 16 /* steps that a function takes which the verifier looks at once, and not at every turn of a loop */
#define DNS_ANSWERS 64
#define TYPE_A 1
#define TYPE_AAAA 28
#define SECOND 1000000000ull
#define LEASE_LIMIT (24 * 3600ull * SECOND)

/* Marks where a label of a message begins: no name that a rule has holds this byte. */
#define LABEL 1

enum found {
	FOUND_NONE = 0,
	FOUND_NAME = 1,
	FOUND_PART = 2,   /* what decides has not been said yet */
	FOUND_HIDDEN = 3, /* it may be for whomever: nobody can see it */
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
	__u32 port;         /* that the name came with; 0: none */
	__u64 hash, exact, one, any; /* of the name, and of these ends */
	__u64 matched;      /* while text is compared */
	__u32 left;
	__u32 is_request;   /* the version of HTTP/1 was seen */
	__u32 is_hello_encrypted; /* a ClientHello that may hold another one, which is meant */
	__u32 next;         /* TCP's number of the byte behind what was taken */
	__u32 parts;        /* packets that it was taken from */
};
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, MT_SLOTS);
	__type(key, __u32);
	__type(value, struct inspection);
} inspections SEC(".maps");

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

/* The name that was found, as a string of a record. */
static __always_inline void add_name(struct record *record, struct inspection *in)
{
	__u32 length = in->to - in->from;

	if (in->from < 1 || length > MT_HOST_MAX || in->to > MT_INSPECTED_MAX)
		return;
	add_kernel_bytes(record, MT_STR_NAME, in->bytes + IN(in->from), length, 256);
}

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

/* Some labels of a question's name, from `in->at` on. Returns 1 if there are no more. */
__noinline int mark_labels(__u32 slot)
{
	struct inspection *in = inspection_of(slot);

	if (!in)
		return 1;
	for (int i = 0; i < AT_ONCE; i++) {
		__u32 at = in->at;
		__u8 length;

		if (at >= in->length)
			return 1;
		length = in->bytes[IN(at)];
		if (!length) {
			in->is_done = 1;
			return 1;
		}
		if (length > 63)
			return 1;
		in->bytes[IN(at)] = LABEL;
		in->at = at + length + 1;
	}
	return 0;
}

/* Finds the question's name, and marks where its labels begin. The name of a question is never compressed. */
__noinline int find_question(__u32 slot)
{
	struct inspection *in = inspection_of(slot);

	if (!in)
		return FOUND_NONE;
	in->at = DNS_HEADER;
	in->is_done = 0;
	for (int i = 0; i < DNS_LABELS / AT_ONCE; i++)
		if (mark_labels(slot))
			break;
	if (!in->is_done || in->at + 5 > in->length || in->at > DNS_HEADER + 255 || in->at == DNS_HEADER)
		return FOUND_NONE;
	in->from = DNS_HEADER + 1;
	in->to = in->at;
	in->separator = LABEL;
	in->at += 5;
	return FOUND_NAME;
}

/* Some bytes of a name, from `in->at` back. Returns 1 if there are no more, or 2 if it is no name that a rule could have. */
__noinline int hash_back(__u32 slot, __u32 policy)
{
	struct inspection *in = inspection_of(slot);

	if (!in)
		return 2;
	for (int i = 0; i < AT_ONCE; i++) {
		__u32 at = in->at;
		struct mt_name_key key = {.policy = policy};
		struct mt_name *found;
		__u8 c;

		if (at <= in->from)
			return 1;
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
		if (!c)
			return 2;
		in->bytes[IN(at)] = c;
		in->hash = hash_word(in->hash, c);
	}
	return 0;
}

/*
 * Hashes the name from its end and looks at each label whether a rule has that end. What is found is only taken down:
 * the text is compared when it is known which of them decides. Returns 0 if it is no name that a rule could have.
 */
__noinline int find_ends(__u32 slot, __u32 policy)
{
	struct inspection *in = inspection_of(slot);
	int end = 0;

	if (!in)
		return 0;
	in->exact = in->one = in->any = 0;
	in->exact_at = in->one_at = in->any_at = 0;
	in->hash = hash_begin('h');
	in->at = in->to;
	for (int i = 0; i < NAME_BYTES / AT_ONCE; i++) {
		end = hash_back(slot, policy);
		if (end)
			break;
	}
	in->hash = hash_end(in->hash);
	if (end != 1)
		return 0;
	in->exact = in->hash;
	in->exact_at = in->from;
	return 1;
}

/* Compares some bytes, from `in->matched` on, of a name in the map with what begins at `at`. Returns 1 if there are no more. */
__noinline int compare_on(__u32 slot, __u32 policy, __u64 hash, __u32 at)
{
	struct inspection *in = inspection_of(slot);
	struct mt_name_key key = {.hash = hash, .policy = policy};
	struct mt_name *name = bpf_map_lookup_elem(&names, &key);

	if (!in || !name)
		return 1;
	for (int i = 0; i < AT_ONCE; i++) {
		__u64 place = in->matched;

		barrier_var(place);
		if (place >= MT_HOST_MAX || place >= name->length || in->bytes[IN(at + place)] != name->text[place])
			return 1;
		in->matched = place + 1;
	}
	return 0;
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
	for (int i = 0; i < NAME_BYTES / AT_ONCE; i++)
		if (compare_on(slot, policy, hash, at))
			break;
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

/* Goes over some labels of a name, from `in->at` on. Returns 1 behind the last, or 2 if there is no end of them. */
__noinline int skip_labels(__u32 slot)
{
	struct inspection *in = inspection_of(slot);

	if (!in)
		return 2;
	for (int i = 0; i < AT_ONCE; i++) {
		__u32 at = in->at;
		__u8 label;

		if (at >= in->length)
			return 2;
		label = in->bytes[IN(at)];
		in->at = at + (label >= 0xc0 ? 2 : label + 1);
		if (label >= 0xc0 || !label)
			return 1;
	}
	return 0;
}

/* Goes over an answer's owner, the question's name or what an alias leads to: labels, with a 0 or a pointer behind them. */
__noinline int skip_name(__u32 slot)
{
	int end;

	for (int i = 0; i < DNS_LABELS / AT_ONCE; i++) {
		end = skip_labels(slot);
		if (end)
			return end == 1;
	}
	return 0;
}

/* The same for any policy, or none; the name is hashed in any case. */
static __always_inline __u32 named_set(__u32 slot, const struct mt_policy *policy)
{
	__u32 set = set_of_name(slot, policy ? policy->id : 0);

	return set || !policy ? set : policy->other_names;
}

/* Puts a name among those that an address has: in the name's own place, else in that which ends first. */
static __always_inline void lease(const struct lease_key *key, __u32 set, __u64 name, __u64 expires)
{
	struct leases *found = bpf_map_lookup_elem(&leases, key), none = {};
	__u64 oldest = ~0ull, until;
	__u32 place = 0;

	if (!found) {
		bpf_map_update_elem(&leases, key, &none, BPF_NOEXIST);
		found = bpf_map_lookup_elem(&leases, key);
		if (!found)
			return;
	}
	for (int i = 0; i < LEASES; i++) {
		until = found->leases[i].name == name ? 0 : found->leases[i].expires;
		if (until < oldest) {
			oldest = until;
			place = i;
		}
	}
	place &= LEASES - 1;
	*(volatile __u32 *)&found->leases[place].set = 0;
	*(volatile __u64 *)&found->leases[place].name = name;
	*(volatile __u64 *)&found->leases[place].expires = expires;
	*(volatile __u32 *)&found->leases[place].set = set;
}

/* One of the answers: if it is an address, the job is given a lease. Returns 1 if no other can follow. */
__noinline int lease_answer(__u32 slot, __u32 job, __u64 incarnation, __u32 set, __u64 name)
{
	struct lease_key key = {.job = incarnation, .slot = job};
	struct inspection *in = inspection_of(slot);
	__u32 at, type, length;
	__u64 expires;

	if (!in || in->at + 12 > in->length || !skip_name(slot))
		return 1;
	at = in->at;
	if (at + 10 > in->length)
		return 1;
	type = u16_at(in, at);
	length = u16_at(in, at + 8);
	expires = u32_at(in, at + 4) * SECOND;
	at += 10;
	in->at = at + length;
	if (in->at > in->length)
		return 1;
	if (type == TYPE_A && length == 4) {
		key.address[10] = key.address[11] = 0xff;
		__builtin_memcpy(key.address + 12, &in->bytes[IN(at)], 4);
	} else if (type == TYPE_AAAA && length == 16) {
		__builtin_memcpy(key.address, &in->bytes[IN(at)], 16);
	} else {
		return 0;
	}
	expires = bpf_ktime_get_boot_ns() + (expires < LEASE_LIMIT ? expires : LEASE_LIMIT) + config.lease_grace;
	lease(&key, set, name, expires);
	return 0;
}

/* What remains of the answers, from `in->at` on. */
__noinline int lease_answers(__u32 slot, __u32 job, __u64 incarnation, __u32 set, __u64 name)
{
	struct inspection *in = inspection_of(slot);
	__u32 left = in ? u16_at(in, 6) : 0;

	for (__u32 i = 0; i < DNS_ANSWERS; i++)
		if (i >= left || lease_answer(slot, job, incarnation, set, name))
			break;
	return 0;
}

#endif
