// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * To whom a job may speak, as the kernel side holds it, and the record of an answer of a resolver. A part of
 * martlet_abi.h, which is to be included instead.
 *
 * Addresses are those of IPv6; IPv4's are ::ffff:a.b.c.d. Each entry of `networks` and `names` leads to a set of rules:
 * all that can hold for what the key stands for, so that the entry found first says everything.
 */
#ifndef MARTLET_ABI_NETWORK_H
#define MARTLET_ABI_NETWORK_H

#ifndef MARTLET_ABI_H
#include "martlet_abi.h"
#else

#define MT_SET_RULES 32     /* rules of a set */
#define MT_HOST_MAX 253     /* bytes of a name */
#define MT_INSPECTED_MAX 4096 /* bytes of a message that are looked at */
#define MT_NAMES_PER_RULE 128 /* names that a job may ask for by one wildcard */

enum mt_protocol {
	MT_PROTOCOL_TCP = 1,
	MT_PROTOCOL_UDP = 2,
	MT_PROTOCOL_ICMP = 4,
	MT_PROTOCOL_RAW = 8, /* raw and packet sockets, and protocols that no rule can speak of */
};

/* LPM trie; the prefix counts the policy's 32 bits, too. */
struct mt_network_key {
	mt_u32 prefix;
	mt_u32 policy;
	mt_u8 address[16];
};

/* Hash by the keyed hash of a name, or of the end of one. The text is compared: a hash never decides alone. */
struct mt_name_key {
	mt_u64 hash;
	mt_u32 policy;
	mt_u32 reserved;
};
struct mt_name {
	mt_u32 exact, one, any; /* sets for it, for names with one more label, and with one or more; 0: none */
	mt_u32 length;
	mt_u8 text[MT_HOST_MAX + 3];
};

struct mt_network_rule {
	mt_u64 scope;        /* as in mt_process.subjects; of each half that is not 0 a bit has to be there */
	mt_u64 places;       /* likewise of steps and images, see mt_policy_rule */
	mt_u32 rule;         /* its number */
	mt_u16 rank;         /* of those that hold the one with the least decides */
	mt_u8 action;        /* enum mt_action */
	mt_u8 protocols;     /* enum mt_protocol */
	mt_u16 low, high;    /* ports */
	mt_u32 reserved;
};
struct mt_network_set {
	mt_u32 count;
	mt_u32 reserved;
	struct mt_network_rule rules[MT_SET_RULES];
};

/* Hash: whose answers are believed. */
struct mt_resolver_key {
	mt_u32 policy;       /* 0: of the machine */
	mt_u32 reserved;
	mt_u8 address[16];
};

/* An answer of a resolver to a process of the job; BYTES: the message. */
struct mt_answer {
	mt_u64 sock;
	mt_u8 server[16];
	mt_u32 bytes;        /* of the message: BYTES has at most MT_INSPECTED_MAX */
	mt_u32 set;          /* of rules that its name leads to, 0: none */
};

enum mt_named_by {
	MT_NAMED_BY_TLS = 1,  /* the server_name of a ClientHello, RFC 6066 */
	MT_NAMED_BY_HTTP = 2, /* a request's target or Host, RFC 9112 */
};

/* Whom a connection names; NAME as it was sent, any bytes. */
struct mt_server_name {
	mt_u64 sock;
	mt_u16 by;           /* enum mt_named_by; 0: the beginning was not seen whole */
	mt_u16 port;         /* that the name came with, of what proxies are asked for; 0: none */
	mt_u8 is_hidden;     /* it names somebody in a way that was not read; there is no NAME */
	mt_u8 is_hello_encrypted; /* NAME may be for show: there is an encrypted_client_hello, RFC 9849, or GREASE that looks like one */
	mt_u8 reserved[2];
};

_Static_assert(sizeof(struct mt_network_key) == 24, "network key layout");
_Static_assert(sizeof(struct mt_name_key) == 16, "name key layout");
_Static_assert(sizeof(struct mt_name) == 272, "name layout");
_Static_assert(sizeof(struct mt_network_rule) == 32, "network rule layout");
_Static_assert(sizeof(struct mt_network_set) == 8 + 32 * MT_SET_RULES, "network set layout");
_Static_assert(sizeof(struct mt_answer) == 32, "answer layout");
_Static_assert(sizeof(struct mt_server_name) == 16, "server name layout");

#endif
#endif
