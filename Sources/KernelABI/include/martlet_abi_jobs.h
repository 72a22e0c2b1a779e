// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * How jobs are recognised: rules, slots, steps, and the records that tell of them. A part of martlet_abi.h, which is
 * to be included instead.
 *
 * A task without a tag that execs is asked about: its name, its cgroup, then its environment. A rule holds if all that
 * it names is so. What a rule claims gets a slot of its own, or joins the job that has the same key.
 */
#ifndef MARTLET_ABI_JOBS_H
#define MARTLET_ABI_JOBS_H

#ifndef MARTLET_ABI_H
#include "martlet_abi.h"
#else

#define MT_MAX_RULES 64
#define MT_RULE_PATH_MAX 256     /* bytes of a rule's path */
#define MT_VARIABLE_NAME_MAX 47  /* bytes of the name of a variable that a rule names, or that is sent */
#define MT_VARIABLE_VALUE_MAX 512 /* bytes of a value that is sent; what is longer is cut at its end */
#define MT_RULE_CGROUP_MAX 252   /* bytes of a rule's cgroup, with the slash behind it: a trie's keys have 256 */
#define MT_ANY_USER 0xffffffffu

/* Whose environment names what: which rules ask for it, and what becomes of its value. */
struct mt_variable {
	mt_u64 marker;   /* its bit in the sets of markers, 0: no rule asks whether it is there */
	mt_u64 key;      /* the rules whose jobs its value tells apart, a bit each */
	mt_u64 step;     /* the rules of whose jobs its value names steps, a bit each */
	mt_u32 identity; /* 1: its value may be sent */
	mt_u32 rank;     /* of several that name a step the one with the least counts */
};
struct mt_variable_name {
	char bytes[MT_VARIABLE_NAME_MAX + 1]; /* filled up with zeros */
};

enum mt_rule_flag {
	MT_RULE_STEPS = 1,      /* each child of the first process begins a step */
	MT_RULE_COMM = 2,       /* for tasks whose comm leads to it in `rule_comms` alone */
	MT_RULE_PATH = 4,       /* for images with this path… */
	MT_RULE_WHOLE_PATH = 8, /* …that is the whole path, not its end */
	MT_RULE_KEY = 16,       /* has a variable that tells its jobs apart */
	MT_RULE_CGROUP = 32,    /* its cgroup is all that it asks for beside the user: each is one job */
};

/* Array: what a rule asks for beside the name. The path lies at the end, so that two ends are compared word by word. */
struct mt_rule {
	mt_u64 markers;      /* variables that all have to be there, by their bits */
	mt_u32 flags;        /* enum mt_rule_flag */
	mt_u32 uid;          /* effective, MT_ANY_USER: any */
	mt_u32 path_length;
	mt_u32 reserved;
	mt_u8 path[MT_RULE_PATH_MAX];
	mt_u8 mask[MT_RULE_PATH_MAX]; /* 0xff where the path has a byte */
};

/*
 * Whose names begin like this, enum mt_start: by a hash of three bytes, the lower ones of a little-endian word. Behind a
 * variable's name comes its '=', behind a comm zeros.
 */
#define MT_STARTS 1024
#define MT_START(word) (((mt_u32)(word) * 0x3779b100u) >> 22)
enum mt_start {
	MT_START_MARKER = 1,
	MT_START_VARIABLE = 2,   /* markers, keys, and what may be sent */
	MT_START_COMM = 4,
};

enum mt_rule_kind {
	MT_RULES_BY_COMM = 1,
	MT_RULES_BY_CGROUP = 2,
	MT_RULES_BY_MARKER = 4,
	MT_RULES_NAME_STEPS = 8, /* there are variables that name steps */
	MT_RULES_BESIDE = 16,    /* `others` has something */
	MT_RULES_JOIN = 32,      /* no job is begun any more: who has the key of one that there is still joins it */
	MT_RULES_BY_CGROUP_PATH = 64,
};
#define MT_MAX_OTHERS 4          /* sensors of other agents that one knows of: entries of `others` */

/* The one element of the array `rule_filter`: all zeros, and nothing else is looked at. */
struct mt_rule_filter {
	mt_u32 kinds;            /* enum mt_rule_kind */
	mt_u32 count;            /* of rules */
	mt_u64 by_comm;          /* rules that need no marker… */
	mt_u64 by_marker;        /* …and those that do, a bit each */
	mt_u64 nameless;         /* rules that are for tasks of any comm */
	mt_u64 in_cgroups;       /* rules that are for tasks in some cgroups alone… */
	mt_u64 cgroups_alone;    /* …and those that ask for nothing else but the user */
	mt_u8 starts[MT_STARTS]; /* enum mt_start, by MT_START */
};

/* LPM trie: how paths in the v2 hierarchy begin, to the rules that are for tasks there, a bit each. */
struct mt_cgroup_path {
	mt_u32 prefix;       /* bits that count, from `path` on */
	mt_u8 path[MT_RULE_CGROUP_MAX];
};

/* Hash by cgroup id: its tasks belong to a job, or are claimed by a rule. */
struct mt_cgroup {
	mt_u32 rule;
	mt_u32 step;         /* of tasks that join `job` */
	mt_u16 job;          /* 0: the rule makes one */
	mt_u16 is_container; /* 1: its tasks get a job of their own, whatever the rules are */
	mt_u16 reserved[2];
};

/* Hash: the slot of the job that has this key. */
struct mt_job_key {
	mt_u64 hash;         /* of the value, with the sensor's secret */
	mt_u32 rule;
	mt_u32 reserved;
};

/*
 * Mmapable array by slot. Who wants to join a job adds itself to `live` and then looks at `closed`; who closes it sets
 * `closed` and then looks at `live`. Both with full barriers, so that at least one sees the other.
 */
struct mt_job {
	mt_u64 started;      /* ns of CLOCK_BOOTTIME */
	mt_u64 key;          /* as in mt_job_key, 0: none */
	mt_u64 live;         /* processes */
	mt_u64 closed;       /* 1: nothing joins it any more but children */
	mt_u32 rule;
	mt_u32 steps;        /* number of the last */
	mt_u64 unlisted;     /* processes that `processes` had no room for: not in `live`, and their ends are not told */
	mt_u64 tasks;        /* its threads that the last look at all tasks found, see families/adopt.h */
	mt_u64 born;         /* processes that it has ever had */
};

/*
 * Per-CPU array by slot: of the job's events what user space cannot count from records. A job's seen = deduplicated +
 * aggregated + lost + what was received of it.
 */
struct mt_job_counts {
	mt_u64 deduplicated;
	mt_u64 aggregated;
	mt_u64 lost_critical;
	mt_u64 lost_bulk;
	mt_u64 failed;       /* calls that returned an error */
};

/* The one element of the per-CPU array `recognition`: what went wrong with tasks that are in no job. */
struct mt_recognition {
	mt_u64 unfinished;   /* environments with more than was looked at */
	mt_u64 unreadable;   /* environments, or paths, that could not be read */
	mt_u64 unclaimed;    /* a rule held, but there was no slot, or no memory for a tag */
	mt_u64 unkeyed;      /* jobs whose key could not be kept: what comes with it again makes another job */
};

enum mt_claim_reason {
	MT_CLAIM_COMM = 1,
	MT_CLAIM_PATH = 2,        /* and comm */
	MT_CLAIM_CGROUP = 3,
	MT_CLAIM_ENVIRONMENT = 4,
	MT_CLAIM_ADOPTED = 5,     /* by user space: it was there first */
	MT_CLAIM_ASKED = 6,       /* by user space: somebody asked for it */
	MT_CLAIM_CONTAINER = 7,   /* in a container's cgroup: of a slot of its own */
};

/* Comes before the exec's own record. VARIABLE: those of the identity that the environment has. */
struct mt_claim {
	mt_u64 key;          /* as in mt_job_key, 0: none */
	mt_u64 cgroup;       /* id in the v2 hierarchy */
	mt_u32 rule;
	mt_u32 reason;       /* enum mt_claim_reason */
	mt_u32 step;         /* of the process; 0: none */
	mt_u32 is_new;       /* 1: the slot is a new job's */
	mt_u32 parent_tgid;
	mt_u32 uid;          /* effective, in the initial user namespace */
	mt_u32 container;    /* its number in the job, by user space; 0: none */
	mt_u32 reserved;
	mt_u64 name;         /* of its step: as mt_process.step */
};

/*
 * An exec of the process that a step began with: its first, and what it execs after that, as launchers do. Also of its
 * children if it forked before it execed. VARIABLE as above.
 */
struct mt_step {
	mt_u32 step;
	mt_u32 parent_tgid;
	mt_u64 name;         /* as mt_process.step: what the first exec said */
};

_Static_assert(sizeof(struct mt_variable) == 32, "variable layout");
_Static_assert(sizeof(struct mt_rule) == 24 + 2 * MT_RULE_PATH_MAX, "rule layout");
_Static_assert(sizeof(struct mt_rule_filter) == 48 + MT_STARTS, "rule filter layout");
_Static_assert(sizeof(struct mt_cgroup_path) == 256, "cgroup path layout");
_Static_assert(sizeof(struct mt_cgroup) == 16, "cgroup layout");
_Static_assert(sizeof(struct mt_job_key) == 16, "job key layout");
_Static_assert(sizeof(struct mt_job) == 64, "job layout");
_Static_assert(__builtin_offsetof(struct mt_job, live) == 16, "where user space finds a job's fields");
_Static_assert(__builtin_offsetof(struct mt_job, steps) == 36, "likewise");
_Static_assert(__builtin_offsetof(struct mt_job, born) == 56, "likewise");
_Static_assert(sizeof(struct mt_job_counts) == 40, "job counts layout");
_Static_assert(sizeof(struct mt_recognition) == 32, "recognition layout");
_Static_assert(sizeof(struct mt_claim) == 56, "claim layout");
_Static_assert(sizeof(struct mt_step) == 16, "step layout");

#endif
#endif
