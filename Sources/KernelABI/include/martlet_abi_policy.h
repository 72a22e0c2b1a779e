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
	/* Of no policy: what keeps jobs off martlet itself. */
	MT_SECTION_SELF = 5,
};

/* What was done about it. */
enum mt_effect {
	MT_EFFECT_TOLD = 0,      /* nothing: it was, or will be, done */
	MT_EFFECT_PREVENTED = 1, /* it was not done; of MT_KILL the process was killed as well */
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
	MT_OP_ACCEPT = 8,        /* somebody connected to where a process of the job listens */
	MT_OP_RECEIVE = 9,       /* a socket came in a message, or by pidfd_getfd */
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
	MT_OP_CORE_DUMP = 42,    /* of memory: a protected process would leave its own in a file */
	MT_OP_SIGNAL = 48,       /* to martlet, as the next two: from here on */
	MT_OP_LIMIT = 49,        /* prlimit */
	MT_OP_OBJECT = 50,       /* hold of a program, map or link */
	MT_OP_SECURITY = 64,
};

/* What a policy wants to be looked at; nothing of it costs a job whose policy does not. */
enum mt_policy_flag {
	MT_POLICY_DENIES_NAMES = 1, /* a connection has to say whom it wants, wherever it goes */
	MT_POLICY_SCOPES = 2,  /* which images rules are for */
	MT_POLICY_EXEC = 4,    /* paths that are executed */
	MT_POLICY_WRITTEN = 8, /* which files the job writes: it may not execute them */
	MT_POLICY_DIGESTS = 16, /* what executed files hash to, which a program that may sleep finds out */
	MT_POLICY_WRITES = 32, /* which files are changed… */
	MT_POLICY_READS = 64,  /* …or read */
	MT_POLICY_MEMORY = 128,
	MT_POLICY_SYSTEM = 256,
	MT_POLICY_PLACES = 512, /* which steps and images rules are for */
	MT_POLICY_HELD = 1024, /* a container that is being made: its first program waits for its policy */
};

/*
 * Steps and images that rules are for: the lower half of a word has a bit for each name of a step that the policy has, the upper
 * one for each pattern of an image. The last bit of a half says that it is not known: rules that deny are for that, too.
 */
#define MT_PLACE_UNKNOWN 0x80000000u
#define MT_PLACES_MAX 31
/* mt_process.step of who is in no step; what names have is odd, too, and never this. */
#define MT_NO_STEP 1

/* Hash: the bits of the steps of this name. */
struct mt_step_key {
	mt_u64 name;             /* as mt_process.step */
	mt_u32 policy;
	mt_u32 reserved;
};

/* Array by job slot: the policy that is in force. */
#define MT_NO_NAMES 0x10000
struct mt_policy {
	mt_u32 id;               /* of its rules in the maps, 0: none is in force */
	mt_u8 defaults[MT_SECTION_COUNT]; /* enum mt_action */
	mt_u8 sections;          /* those that are in force, a bit each */
	mt_u16 flags;            /* enum mt_policy_flag */
	mt_u32 other_names;      /* set of network rules for names that `names` does not have, 0: none */
	mt_u32 first_name;       /* the least rank of a network rule for names; MT_NO_NAMES: there is none */
	mt_u32 writer;           /* whose files count as written by the job: a slot, a container's is its job's */
	mt_u32 images;           /* of the container that the slot is: bits as MT_PLACE_UNKNOWN says, 0: it is none */
	mt_u32 reserved;
	mt_u64 step;             /* of processes that are in a step of whoever had the container made: as mt_process.step */
};

/*
 * Array: the policy that a job gets with its slot, by the number of the rule that makes it; behind these what somebody has
 * asked for, and containers until it is known whose they are.
 */
#define MT_POLICY_OF_ASKED MT_MAX_RULES
#define MT_POLICY_OF_CONTAINERS (MT_MAX_RULES + 1)
#define MT_RULE_POLICIES (MT_MAX_RULES + 2)

/* Lists of at most 64 rules, those that deny before those that allow: a bit each, the first the lowest. */
enum mt_rule_list {
	MT_RULES_SCOPES = 0,   /* no rules, but the patterns of scopes: the lower 32 bits */
	MT_RULES_EXEC = 1,
	MT_RULES_WRITE = 2,
	MT_RULES_READ = 3,
	MT_RULES_WITH_PATHS = 4, /* how many of them have a place in mt_path_masks */
	MT_RULES_MEMORY = 4,
	MT_RULES_SYSTEM = 5,
};

/* The words of MT_RULES_SYSTEM, beside the names of daemons' sockets: the first byte of a text that has no other. */
enum mt_system_word {
	MT_WORD_MODULE = 1,
	MT_WORD_BPF = 2,
	MT_WORD_MOUNT = 3,
	MT_WORD_NAMESPACE = 4,
};

/* The last bit of MT_RULES_WRITE and MT_RULES_READ: what `protect` names, which any rule comes before. */
#define MT_RULE_PROTECTED 63

/* Which rules of a list a word matches: the name of a process, a deed, a digest. */
struct mt_word_key {
	mt_u32 policy;
	mt_u32 list;             /* enum mt_rule_list */
	mt_u8 text[32];          /* zeros behind its end */
};

/* MT_RULES_EXEC: which rules there are, and which of them ask for what; all that a rule asks for has to hold. */
struct mt_exec_needs {
	mt_u64 rules;
	mt_u64 path;
	mt_u64 digest;
	mt_u64 memfd;
	mt_u64 written;
};

/* A file that is protected whatever it is called, by a policy; or that a job has written. */
struct mt_inode_key {
	mt_u64 ino;
	mt_u32 dev;
	mt_u32 policy;           /* of what was written mt_policy.writer */
};

struct mt_inode_masks {
	mt_u64 write, read;      /* of MT_RULES_WRITE and MT_RULES_READ */
};

/* Of what a keyed hash in `policy_paths` is. */
enum mt_path_form {
	MT_PATH_FILE = 0,      /* a whole path */
	MT_PATH_CHILDREN = 1,  /* the path of the directory that a file is in */
	MT_PATH_BELOW = 2,     /* the path of a directory that it is below */
	MT_PATH_NAMED = 3,     /* a last component */
	MT_PATH_ABOVE = 4,     /* a directory that lies above what one of the others may match: it may not be renamed */
};

struct mt_path_key {
	mt_u64 hash;
	mt_u32 policy;
	mt_u32 form;             /* enum mt_path_form */
};

/* Which rules of each list a path matches. */
struct mt_path_masks {
	mt_u64 lists[MT_RULES_WITH_PATHS];
};

struct mt_rule_key {
	mt_u32 policy;
	mt_u16 list;             /* enum mt_rule_list */
	mt_u16 bit;
};

struct mt_policy_rule {
	mt_u64 scope;            /* as mt_process.subjects; in a half with bits one of them has to be set, 0: everyone */
	mt_u64 places;           /* likewise of steps and images */
	mt_u32 number;
	mt_u8 action;            /* enum mt_action */
	mt_u8 reserved[3];
};

/* What a file of martlet's is to the shield; the greater says more. */
enum mt_shield {
	MT_SHIELD_ABOVE = 1, /* a directory that one of the others is below: it may not be renamed */
	MT_SHIELD_FILE = 2,  /* it may not be changed… */
	MT_SHIELD_BELOW = 3, /* …nor what is in it */
};

enum mt_object_kind {
	MT_OBJECT_PROGRAM = 1,
	MT_OBJECT_MAP = 2,
	MT_OBJECT_LINK = 3,
};

/* Something of martlet's in the kernel, by its number there. */
struct mt_bpf_object {
	mt_u32 kind; /* enum mt_object_kind */
	mt_u32 id;
};

/*
 * Something that a policy does not allow, or only observes: told once for each (image, operation, rule, target). NAME:
 * the host, if one is known, or what a daemon's socket is called; PATH: the file, whole; COMM: of a protected process.
 */
struct mt_denial {
	mt_u32 rule;             /* its number in the policy; 0: the section's default */
	mt_u16 operation;        /* enum mt_operation */
	mt_u8 section;           /* enum mt_section */
	mt_u8 action;            /* enum mt_action */
	mt_u8 effect;            /* enum mt_effect */
	mt_u8 reserved;
	mt_u16 local_port;       /* a connection whose first bytes are refused: its own end, and the socket's cookie */
	mt_u16 family;           /* network: as in mt_sock */
	mt_u16 port;
	mt_u16 protocol;
	mt_u16 type;
	mt_u32 target_tgid;      /* memory, and martlet's process: whose */
	mt_u64 target_start;
	mt_u64 sock;
	mt_u8 remote[16];
	mt_u64 dir;              /* what PATH is relative to, as an id; 0: nothing */
	struct mt_file file;
	mt_u64 cookie;
	mt_u8 local[16];         /* as the socket's family has it */
};

_Static_assert(sizeof(struct mt_policy) == 40, "policy layout");
_Static_assert(sizeof(struct mt_denial) == 112, "denial layout");
_Static_assert(sizeof(struct mt_path_key) == 16, "path key layout");
_Static_assert(sizeof(struct mt_path_masks) == 32, "path masks layout");
_Static_assert(sizeof(struct mt_word_key) == 40, "word key layout");
_Static_assert(sizeof(struct mt_exec_needs) == 40, "exec needs layout");
_Static_assert(sizeof(struct mt_inode_key) == 16, "inode key layout");
_Static_assert(sizeof(struct mt_rule_key) == 8, "rule key layout");
_Static_assert(sizeof(struct mt_step_key) == 16, "step key layout");
_Static_assert(sizeof(struct mt_policy_rule) == 24, "rule layout");

#endif
#endif
