// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * What a job may do, as the kernel side holds it, and the records of what it may not. A part of martlet_abi.h, which is
 * to be included instead.
 */
#ifndef MARTLET_ABI_POLICY_H
#define MARTLET_ABI_POLICY_H

#ifndef MARTLET_ABI_H
#include "martlet_abi.h"
#else

enum mt_action {
	MT_ALLOW = 0,
	MT_OBSERVE = 1, /* done, and told */
	MT_DENY = 2,    /* refused where that is possible, else MT_KILL */
	MT_KILL = 3,
};

enum mt_section {
	MT_SECTION_NETWORK = 0,
	MT_SECTION_EXEC = 1,
	MT_SECTION_FILES = 2,
	MT_SECTION_MEMORY = 3,
	MT_SECTION_SYSTEM = 4,
	MT_SECTION_COUNT = 5,
};

/* What was done about it. */
enum mt_effect {
	MT_EFFECT_TOLD = 0,      /* nothing: it was, or will be, done */
	MT_EFFECT_PREVENTED = 1, /* it was not done */
	MT_EFFECT_KILLED = 2,    /* the process was sent SIGKILL when it was done, or being done */
};

/* Of memory and system: 64 and the enum mt_security_kind. */
enum mt_operation {
	MT_OP_CONNECT = 1,
	MT_OP_SEND = 2,          /* a datagram with an address of its own */
	MT_OP_SOCKET = 3,        /* a raw or packet socket, or one of a protocol that no rule can speak of */
	MT_OP_QUERY = 4,         /* a name was asked for */
	MT_OP_SERVER_NAME = 5,   /* TLS to an address that the rule allows for another name */
	MT_OP_HOST = 6,          /* likewise HTTP */
	MT_OP_ANSWER = 7,        /* a process of the job answered as a resolver */
	MT_OP_EXEC = 32,
	MT_OP_READ = 33,         /* files, from here on: opened for reading… */
	MT_OP_WRITE = 34,        /* …or writing */
	MT_OP_CREATE = 35,
	MT_OP_RENAME = 36,
	MT_OP_UNLINK = 37,
	MT_OP_LINK = 38,
	MT_OP_TRUNCATE = 39,
	MT_OP_ATTRIBUTES = 40,   /* mode, owner */
	MT_OP_MAP = 41,          /* mapped to be written */
	MT_OP_SECURITY = 64,
};

enum mt_policy_flag {
	MT_POLICY_DENIES_NAMES = 1, /* a connection has to say whom it wants, wherever it goes */
};

/* Array by job slot: the policy that is in force. */
struct mt_policy {
	mt_u32 id;               /* of its rules in the maps, 0: none is in force */
	mt_u8 defaults[MT_SECTION_COUNT]; /* enum mt_action */
	mt_u8 sections;          /* those that are in force, a bit each */
	mt_u8 flags;             /* enum mt_policy_flag */
	mt_u8 reserved;
	mt_u32 other_names;      /* set of network rules for names that `names` does not have, 0: none */
};

/*
 * Something that a policy does not allow, or only observes: told once for each (image, operation, rule, target). NAME:
 * the host, if one is known; PATH: the file.
 */
struct mt_denial {
	mt_u32 rule;             /* its number in the policy; 0: the section's default */
	mt_u16 operation;        /* enum mt_operation */
	mt_u8 section;           /* enum mt_section */
	mt_u8 action;            /* enum mt_action */
	mt_u8 effect;            /* enum mt_effect */
	mt_u8 reserved[3];
	mt_u16 family;           /* network: as in mt_sock */
	mt_u16 port;
	mt_u16 protocol;
	mt_u16 type;
	mt_u32 target_tgid;      /* memory: whose */
	mt_u64 target_start;
	mt_u64 sock;
	mt_u8 remote[16];
	mt_u64 dir;              /* what PATH is relative to, as an id; 0: nothing */
	struct mt_file file;
};

_Static_assert(sizeof(struct mt_policy) == 16, "policy layout");
_Static_assert(sizeof(struct mt_denial) == 88, "denial layout");

#endif
#endif
