// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * What is left out of a job's evidence because its configuration says so. A part of martlet_abi.h, which is to be included
 * instead.
 *
 * Processes, claims, steps, hashes and denials are left out by nothing. What is left out is in no other count: `seen` is
 * without it.
 */
#ifndef MARTLET_ABI_FILTERS_H
#define MARTLET_ABI_FILTERS_H

#ifndef MARTLET_ABI_H
#include "martlet_abi.h"
#else

#define MT_FILTER_PATH_MAX 251 /* bytes of a prefix, without the slash behind it: a trie's keys have 256 */
#define MT_FILTER_PREFIXES 32  /* of a filter */
#define MT_FILTER_USERS 16     /* likewise */

/* mt_config.filters: what filters that may be in force ask for. */
enum mt_filters {
	MT_FILTERS_ANY = 1,
	MT_FILTERS_PATHS = 2,
	MT_FILTERS_USERS = 4,
};

/* Events are told apart by their types, enum mt_type; but an open that may change the file is this. */
#define MT_FILTERED_WRITES MT_TYPE_COUNT
#define MT_FILTERED_COUNT (MT_TYPE_COUNT + 1)

enum mt_filter_users {
	MT_USERS_ANY = 0,
	MT_USERS_EXCEPT = 1,
	MT_USERS_ONLY = 2,
};

/* Array by slot, and by the rule that makes a job: all zeros leave out nothing. */
struct mt_filter {
	mt_u64 events;       /* a bit each: those of any file and user */
	mt_u32 paths;        /* its number in the trie of prefixes, 0: it has none */
	mt_u32 users;        /* enum mt_filter_users, of… */
	mt_u32 uids[MT_FILTER_USERS]; /* effective, in the initial user namespace; filled up with MT_ANY_USER */
};

/* Index in the array by rule: a rule's own, then these. */
#define MT_FILTER_OF_ASKED MT_MAX_RULES
#define MT_FILTER_OF_CONTAINERS (MT_MAX_RULES + 1) /* of nobody's yet: nothing is left out */
#define MT_RULE_FILTERS (MT_MAX_RULES + 2)

/* LPM trie: prefixes, each with a slash behind it. */
struct mt_filter_path {
	mt_u32 prefix;       /* bits that count, from `filter` on */
	mt_u32 filter;
	mt_u8 path[MT_FILTER_PATH_MAX + 1];
};
struct mt_filter_place {
	mt_u32 length;       /* bytes of the path, with the slash */
	mt_u16 is_left_out;
	mt_u16 has_others;   /* 1: the prefixes of this filter name files in this very directory, too */
};

/* Per-CPU array by slot. */
struct mt_filtered {
	mt_u64 events[MT_FILTERED_COUNT];
};

_Static_assert(MT_FILTERED_COUNT <= 64, "a bit each");
_Static_assert(sizeof(struct mt_filter) == 80, "filter layout");
_Static_assert(sizeof(struct mt_filter_path) == 260, "filter path layout");
_Static_assert(sizeof(struct mt_filter_place) == 8, "filter place layout");

#endif
#endif
