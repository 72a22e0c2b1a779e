/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Which policy a job is under, and the record of what it does not allow. Loaded where a policy may be in force only. */
#ifndef MARTLET_POLICY_H
#define MARTLET_POLICY_H

#include "opens.h"

#ifndef EPERM
#define EPERM 1
#endif
#ifndef SIGKILL
#define SIGKILL 9
#endif
#define SIGSTOP 19

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MT_MAX_JOBS);
	__type(key, __u32);
	__type(value, struct mt_policy);
} policies SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MT_RULE_POLICIES);
	__type(key, __u32);
	__type(value, struct mt_policy);
} rule_policies SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, struct mt_step_key);
	__type(value, __u32);
} policy_steps SEC(".maps");

/* Puts a job under the policy of the rule that makes it: before anybody can be in the job. */
static __always_inline void begin_policy(__u32 slot, __u32 rule)
{
	__u32 index = rule == MT_CONTAINER_RULE ? MT_POLICY_OF_CONTAINERS : rule;
	struct mt_policy *given, *policy;

	if (!config.enforces)
		return;
	given = bpf_map_lookup_elem(&rule_policies, &index);
	policy = bpf_map_lookup_elem(&policies, &slot);
	if (!given || !policy)
		return;
	*policy = *given;
	policy->writer = slot;
}

/* What a policy says of something. */
struct verdict {
	__u32 rule;   /* 0: the section's default */
	__u32 action; /* enum mt_action */
};

/* The policy of a job, or 0: none is in force for this section. */
static __always_inline const struct mt_policy *policy_of(__u32 slot, __u32 section)
{
	const struct mt_policy *policy = config.enforces ? bpf_map_lookup_elem(&policies, &slot) : 0;

	return policy && policy->id && (policy->sections & 1 << section) ? policy : 0;
}

/* Whether images with these `subjects` are in the scope that a rule's `mask` says. */
static __always_inline int is_in_scope(__u64 subjects, __u64 mask)
{
	__u32 own = mask, above = mask >> 32;

	return (!own || ((__u32)subjects & own)) && (!above || ((__u32)(subjects >> 32) & above));
}

/* Which step and image of the policy's rules a process of a step called so is in. Not inlined, for its stack. */
static __noinline __u64 find_places(const struct mt_policy *policy, __u64 step)
{
	struct mt_step_key key = {.policy = policy->id};
	__u64 bits = 0;
	__u32 *found;

	key.name = step ? step : policy->step;
	if (!key.name) {
		bits = MT_PLACE_UNKNOWN;
	} else if (key.name != MT_NO_STEP) {
		found = bpf_map_lookup_elem(&policy_steps, &key);
		if (found)
			bits = *found;
	}
	return bits | (__u64)policy->images << 32;
}

static __always_inline __u64 places_of(const struct mt_policy *policy, __u64 step)
{
	return policy->flags & MT_POLICY_PLACES ? find_places(policy, step) : 0;
}

/* Of a process; one that is not known is in a step that is not known. */
static __always_inline __u64 places_of_process(const struct mt_policy *policy, const struct mt_process *process)
{
	return places_of(policy, process ? process->step : 0);
}

/* What a section says of what no rule matches. */
static __always_inline struct verdict default_of(const struct mt_policy *policy, __u32 section)
{
	return (struct verdict){.action = policy->defaults[section % MT_SECTION_COUNT]};
}

/* Names what was not allowed, for telling it once: the caller adds the target, and ends the hash. */
static __always_inline __u64 denial_hash(const struct actor *actor, __u32 operation, const struct verdict *verdict)
{
	__u64 hash = hash_word(hash_begin('D'), actor->image ^ actor->tgid);

	return hash_word(hash, (__u64)verdict->rule << 32 | verdict->action << 16 | operation);
}

/* Whether this was told before, which is counted: it is not told again. */
static __always_inline int was_denied(const struct actor *actor, __u64 hash)
{
	COUNT(MT_DENIAL, seen);
	if (!was_sent(hash))
		return 0;
	COUNT(MT_DENIAL, deduplicated);
	COUNT_JOB(actor->job, deduplicated);
	return 1;
}

/* Fills the body of a denial's record, which has been begun. */
static __always_inline struct mt_denial *describe_denial(struct record *record, __u32 section, __u32 operation,
							 const struct verdict *verdict, __u32 effect)
{
	struct mt_denial *body = BODY(record, struct mt_denial);

	body->rule = verdict->rule;
	body->operation = operation;
	body->section = section;
	body->action = verdict->action;
	body->effect = effect;
	return body;
}

/*
 * Starts the record of a denial, or returns 0: it was told before, which is counted, or is lost. The caller adds what it
 * is about, sends it, and remembers the hash.
 */
static __always_inline struct mt_denial *deny(struct record *record, const struct actor *actor, __u64 hash, __u32 section,
					      __u32 operation, const struct verdict *verdict, __u32 effect)
{
	if (was_denied(actor, hash) || !begin(record, MT_DENIAL, MT_CRITICAL, sizeof(struct mt_denial), actor))
		return 0;
	return describe_denial(record, section, operation, verdict, effect);
}

#endif
