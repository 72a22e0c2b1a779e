/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What a policy says of a peer: by its address, and by the names that resolvers gave it. Of all rules that hold the one
 * with the least rank decides.
 */
#ifndef MARTLET_HOSTS_H
#define MARTLET_HOSTS_H

#include "network_types.h"
#include "policy.h"
#include "sockets.h"

#define IPPROTO_ICMP 1
#define IPPROTO_UDP 17
#define IPPROTO_ICMPV6 58
#define IPPROTO_UDPLITE 136
#define SOCK_RAW 3
#define PORT_DNS 53
#define PORT_HTTP 80

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct mt_network_key);
	__type(value, __u32);
} networks SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct mt_name_key);
	__type(value, struct mt_name);
} names SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, struct mt_network_set);
} network_sets SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct mt_resolver_key);
	__type(value, __u32);
} resolvers SEC(".maps");

/* The names that a job was told for an address, as far as rules know them; until when. */
struct lease {
	__u64 name;    /* its hash */
	__u64 expires; /* ns of CLOCK_BOOTTIME */
	__u32 set;     /* 0: this place is free */
	__u32 reserved;
};
#define LEASES 4
struct lease_key {
	__u64 job;     /* when it began: another job of this slot has nothing of it */
	__u32 slot;
	__u32 reserved;
	__u8 address[16];
};
struct leases {
	struct lease leases[LEASES];
};
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1);
	__type(key, struct lease_key);
	__type(value, struct leases);
} leases SEC(".maps");

/* To whom a process wants to speak; in the order in which the maps' keys have it. */
struct peer {
	struct mt_network_key key;
	__u64 subjects;
	__u64 places;
	__u16 port;
	__u16 protocol; /* enum mt_protocol */
	__u32 is_name;  /* 1: a name is asked for: it may be if anything may be done with it */
};
/* Protocol, port and whether a name is asked for: a function takes five arguments. */
#define ASKED_FOR(protocol, port, is_name) ((__u64)(is_name) << 32 | (__u32)(protocol) << 16 | (port))
#define WHOLE_ADDRESS 160 /* bits of a key: the policy and the address */

/*
 * What a rule says, as one number: rank, action and number of the rule, the rank first, so that of two the smaller one
 * decides. The verifier follows a number where it would follow each way to fill a structure.
 */
#define RULING(rank, action, rule) ((__u64)(rank) << 48 | (__u64)(action) << 40 | (rule))
#define RANK(ruling) ((ruling) >> 48)
#define NO_RULING (~0ull)

/* What a rule says of it, or NO_RULING. */
static __always_inline __u64 ruling_by(const struct mt_network_rule *rule, __u64 subjects, __u64 places,
				       __u64 asked_for)
{
	__u32 port = (__u16)asked_for, protocol = (__u16)(asked_for >> 16), is_name = asked_for >> 32;

	if (!(rule->protocols & protocol) || !is_in_scope(subjects, rule->scope) ||
	    !is_in_scope(places, rule->places))
		return NO_RULING;
	/* What denies a name denies all that can be sent to it. */
	if (is_name ? rule->action >= MT_DENY && (rule->low || rule->high != 0xffff || (protocol & ~rule->protocols)) :
		      port < rule->low || port > rule->high)
		return NO_RULING;
	return RULING(rule->rank, rule->action, rule->rule);
}

#define RULES_AT_ONCE 4

static __always_inline __u64 ruling_by_some(const struct mt_network_set *set, __u32 from, __u64 subjects, __u64 places,
					    __u64 asked_for)
{
	__u64 best = NO_RULING, ruling;

	for (__u32 i = 0; i < RULES_AT_ONCE; i++) {
		__u64 place = from + i;

		barrier_var(place);
		if (place >= MT_SET_RULES || place >= set->count)
			break;
		ruling = ruling_by(&set->rules[place], subjects, places, asked_for);
		if (ruling < best)
			best = ruling;
	}
	return best;
}

/* What further rules of a set say. */
__noinline __u64 ruling_of_more(__u32 id, __u32 from, __u64 subjects, __u64 places, __u64 asked_for)
{
	/* Up to 6.7 what is global is verified whether it is called or not: here nothing that a sensor does without. */
	const struct mt_network_set *set = config.enforces || config.names ? bpf_map_lookup_elem(&network_sets, &id) : 0;

	return set ? ruling_by_some(set, from, subjects, places, asked_for) : NO_RULING;
}

/*
 * What the rules of a set say, or NO_RULING. Global, and told numbers only: verified once.
 */
__noinline __u64 ruling_of(__u32 id, __u64 subjects, __u64 places, __u64 asked_for)
{
	const struct mt_network_set *set = config.enforces || config.names ? bpf_map_lookup_elem(&network_sets, &id) : 0;
	__u64 best, ruling;

	if (!set)
		return NO_RULING;
	best = ruling_by_some(set, 0, subjects, places, asked_for);
	for (__u32 from = RULES_AT_ONCE; from < MT_SET_RULES; from += RULES_AT_ONCE) {
		if (from >= set->count)
			break;
		ruling = ruling_of_more(id, from, subjects, places, asked_for);
		if (ruling < best)
			best = ruling;
	}
	return best;
}

static __always_inline __u64 ruling_for(__u32 set, const struct peer *peer)
{
	return ruling_of(set, peer->subjects, peer->places, ASKED_FOR(peer->protocol, peer->port, peer->is_name));
}

static __always_inline struct lease_key lease_key(__u32 slot, const __u8 address[16])
{
	struct lease_key key = {.job = incarnation_of(slot), .slot = slot};

	__builtin_memcpy(key.address, address, sizeof(key.address));
	return key;
}

/* What the rules say of an address, and of what names a job's resolvers gave it; whether it is a name that decided. */
static __always_inline __u64 judge(const struct peer *peer, const struct mt_policy *policy, __u32 slot, int *by_name)
{
	__u64 best = NO_RULING, ruling, now;
	struct lease_key key;
	struct leases *found;
	__u32 *set;

	*by_name = 0;
	set = bpf_map_lookup_elem(&networks, &peer->key);
	if (set)
		best = ruling_for(*set, peer);
	/* Then no name has a say. */
	if (RANK(best) < policy->first_name)
		return best;
	key = lease_key(slot, peer->key.address);
	found = bpf_map_lookup_elem(&leases, &key);
	if (!found)
		return best;
	now = bpf_ktime_get_boot_ns();
	for (int i = 0; i < LEASES; i++) {
		struct lease *lease = &found->leases[i];

		if (!lease->set || lease->expires <= now)
			continue;
		ruling = ruling_for(lease->set, peer);
		if (ruling < best) {
			best = ruling;
			*by_name = 1;
		}
	}
	return best;
}

/* Whether the policy, or the machine where it names none, has its names from there. */
static __always_inline int is_resolver(__u32 policy, const __u8 address[16])
{
	struct mt_resolver_key key = {.policy = policy};

	__builtin_memcpy(key.address, address, sizeof(key.address));
	return bpf_map_lookup_elem(&resolvers, &key) != 0;
}

static __always_inline struct verdict verdict_of(__u64 ruling, const struct mt_policy *policy)
{
	if (ruling == NO_RULING)
		return default_of(policy, MT_SECTION_NETWORK);
	return (struct verdict){.rule = ruling, .action = (__u8)(ruling >> 40)};
}

static __always_inline int is_same_address(const __u8 a[16], const __u8 b[16])
{
	return ((const __u64 *)a)[0] == ((const __u64 *)b)[0] && ((const __u64 *)a)[1] == ((const __u64 *)b)[1];
}

/* IPv4 as IPv6. */
static __always_inline void set_v4(__u8 to[16], __u32 address)
{
	__builtin_memset(to, 0, 16);
	to[10] = to[11] = 0xff;
	*(__u32 *)(to + 12) = address;
}

/*
 * What is looked at of a socket's packets, in its own storage: it goes when the last packet has. All other sockets have
 * none.
 */
enum watch {
	WATCH_QUERIES = 1, /* it has spoken to a resolver */
	WATCH_NAME = 2,    /* its first bytes have to name a host that is allowed */
	WATCH_ANSWERS = 4, /* it is bound to port 53 */
	WATCH_DENIED = 8,  /* nothing of it leaves any more */
	WATCH_DATAGRAM = 16, /* it may go on speaking to `remote` */
	/* Threads that share a socket cannot rid each other of these. */
	WATCH_STAYS = WATCH_QUERIES | WATCH_ANSWERS,
};

struct query {
	__u64 name; /* its hash */
	__u16 id;
	__u16 is_asked;
	__u32 set;
};
#define QUERIES 8

/* Messages one behind the other, each behind its length. */
struct stream {
	__u32 next; /* where the next begins, as TCP numbers bytes */
	__u32 is_known;
};

struct watched {
	struct actor actor;
	__u64 subjects;
	__u64 step;
	__u64 sock;
	__u64 job;       /* when it began */
	__u64 ruling;    /* what allows the address whatever it is called, or NO_RULING */
	__u32 watch;     /* enum watch */
	__u16 port;
	__u16 protocol;
	__u32 part;      /* bytes of what waits for the rest */
	__u16 next;      /* place in `queries` */
	__u16 waited;    /* how often it was tried without more of it */
	struct stream asked, answered; /* by TCP */
	__u8 remote[16];
	struct query queries[QUERIES];
};
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct watched);
} watched_sockets SEC(".maps");

/* Has the packets of a socket looked at from now on. Returns 0, counted, if there is no memory for it. */
static __always_inline int watch(struct bpf_sock *sk, __u32 what, const struct actor *actor, const struct peer *peer,
				 __u64 step, __u64 ruling)
{
	struct watched *watched = sk ? bpf_sk_storage_get(&watched_sockets, sk, 0, BPF_SK_STORAGE_GET_F_CREATE) : 0;

	if (!watched) {
		count_full(MT_MAP_WATCHED);
		return 0;
	}
	watched->actor = *actor;
	watched->subjects = peer->subjects;
	watched->step = step;
	watched->sock = opaque((const void *)number_of(sk));
	watched->job = incarnation_of(actor->job);
	watched->ruling = ruling;
	watched->port = peer->port;
	watched->protocol = peer->protocol;
	watched->part = watched->waited = 0;
	watched->asked.is_known = watched->answered.is_known = 0;
	__builtin_memcpy(watched->remote, peer->key.address, sizeof(watched->remote));
	watched->watch = (watched->watch & WATCH_STAYS) | what;
	return 1;
}

/* What becomes of what a verdict is about, where it is asked before the deed. */
static __always_inline __u32 effect_of(const struct verdict *verdict)
{
	return verdict->action == MT_OBSERVE ? MT_EFFECT_TOLD : MT_EFFECT_PREVENTED;
}

/* What a socket may not do. */
struct socket_denial {
	__u64 sock;
	__u32 family, type;
	__u32 operation, effect;
	struct verdict verdict;
};

/* Tells of it. A function of its own, for its stack is not needed by who decides. */
static __noinline int tell_denied(const struct actor *actor, const struct peer *peer, const struct socket_denial *denial)
{
	__u64 hash = denial_hash(actor, denial->operation, &denial->verdict);
	struct mt_denial *body;
	struct record record;

	hash = hash_word(hash, ((const __u64 *)peer->key.address)[0] ^ peer->port);
	hash = hash_end(hash_word(hash, ((const __u64 *)peer->key.address)[1] ^ (__u64)peer->protocol << 32));
	body = deny(&record, actor, hash, MT_SECTION_NETWORK, denial->operation, &denial->verdict, denial->effect);
	if (!body)
		return 0;
	body->family = denial->family;
	body->type = denial->type;
	body->protocol = peer->protocol;
	body->port = peer->port;
	body->sock = denial->sock;
	__builtin_memcpy(body->remote, peer->key.address, sizeof(body->remote));
	if (send(&record))
		remember_open(hash);
	return 0;
}

#endif
