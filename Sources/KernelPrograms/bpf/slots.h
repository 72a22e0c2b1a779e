/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* How a process that a rule claims comes into a job: one that there is, with its key, or a new one in a free slot. */
#ifndef MARTLET_SLOTS_H
#define MARTLET_SLOTS_H

#include "rules.h"
#include "filters.h"
#include "policy.h"

#define IS_NEW 0x10000u  /* beside a slot: nobody had it */
#define IS_LEFT 0x20000u /* instead of one: who takes over from this agent begins the job */

/* Joins a job unless it is closed, or the slot has become another's by now. */
static __always_inline int join(__u32 slot, __u32 rule, __u64 hash, int any)
{
	struct mt_job *job = job_of(slot);

	if (!job)
		return 0;
	add_live(job, 1);
	if (*(volatile __u64 *)&job->closed || (!any && (job->key != hash || job->rule != rule))) {
		add_live(job, -1);
		return 0;
	}
	return 1;
}

static __always_inline void give_back(__u32 slot)
{
	count_used(MT_MAP_JOBS, -1);
	bpf_map_push_elem(&free_jobs, &slot, BPF_ANY);
}

/*
 * Whether jobs are left to another agent to begin: its program comes after this one at the same exec, and finds in `processes`
 * whom this one has taken. What a daemon has started may be of an old job or of a new one, so both take that, and whose it is
 * is told.
 */
static __always_inline int is_left(__u32 rule)
{
	const struct mt_rule_filter *filter = current_filter();

	return filter && (*(volatile __u32 *)&filter->kinds & MT_RULES_JOIN) && rule != MT_CONTAINER_RULE;
}

/*
 * A place in the job that has this key (0: none), joined; or a slot for a job, with IS_NEW: nobody knows of it until
 * begin_job. IS_LEFT: another agent begins it. 0, counted, if there is none.
 */
__noinline int take_slot(__u32 rule, __u64 hash)
{
	struct mt_job_key key = {.hash = hash, .rule = rule};
	__u32 slot = 0, left = is_left(rule), *found;
	struct mt_job *nobodys = job_of(0);

	/* First the one, then the other, as begin_job has it the other way round: of two with a key at most one is left. */
	if (left && nobodys)
		add_live(nobodys, 0);
	found = hash ? bpf_map_lookup_elem(&job_keys, &key) : 0;
	if (found) {
		slot = *found;
		if (join(slot, rule, hash, 0))
			return slot;
	}
	if (left)
		return IS_LEFT;
	if (bpf_map_pop_elem(&free_jobs, &slot)) {
		count_full(MT_MAP_JOBS);
		return 0;
	}
	count_used(MT_MAP_JOBS, 1);
	return slot | IS_NEW;
}

/* Gives back what take_slot took. */
static __always_inline void leave(__u32 slot)
{
	struct mt_job *job = job_of(slot);

	if (slot & IS_NEW)
		give_back(slot & ~IS_NEW);
	else if (job)
		add_live(job, -1);
}

/* Takes back a job that was just begun. Returns 0 if somebody else is in it. */
static __always_inline int withdraw(__u32 slot, struct mt_job *job)
{
	/* Closed first, as always, so that nobody comes unseen. */
	*(volatile __u64 *)&job->closed = 1;
	add_live(job, 0);
	if (*(volatile __u64 *)&job->live == 1) {
		add_live(job, -1);
		give_back(slot);
		return 1;
	}
	*(volatile __u64 *)&job->closed = 0;
	return 0;
}

/*
 * Begins a job in a slot that was taken, and joins it. Returns the slot with IS_NEW; or another's, joined, if a job with
 * the key was begun meanwhile; or IS_LEFT.
 */
__noinline int begin_job(__u32 slot, __u32 rule, __u64 hash)
{
	struct mt_job_key key = {.hash = hash, .rule = rule};
	struct mt_job *job = job_of(slot);
	__u32 *found, other;

	if (!job)
		return 0;
	job->started = bpf_ktime_get_boot_ns();
	job->key = hash;
	job->rule = rule;
	job->steps = 0;
	begin_policy(slot, rule);
	begin_filter(slot, rule);
	/* Somebody who wanted the slot's last job may be about to find out that it is gone. */
	add_live(job, 1);
	*(volatile __u64 *)&job->closed = 0;
	/* Directories were explained to the slot's last job. */
	next_epoch();
	if (!hash)
		return slot | IS_NEW;
	if (bpf_map_update_elem(&job_keys, &key, &slot, BPF_NOEXIST) == 0) {
		/* Who has been left to another agent meanwhile, with this very key, had not found it yet: both go there. */
		add_live(job, 0);
		if (!is_left(rule))
			return slot | IS_NEW;
		bpf_map_delete_elem(&job_keys, &key);
		if (withdraw(slot, job))
			return IS_LEFT;
		bpf_map_update_elem(&job_keys, &key, &slot, BPF_NOEXIST);
		return slot | IS_NEW;
	}
	/*
	 * Another one with the key came first. The slot goes back only if nobody is in it: whoever looked for its last job,
	 * which may have had this key, too, has joined this one.
	 */
	found = bpf_map_lookup_elem(&job_keys, &key);
	other = found ? *found : 0;
	if (other && join(other, rule, hash, 0)) {
		if (withdraw(slot, job))
			return other;
		leave(other);
	}
	COUNT_RECOGNITION(unkeyed);
	return slot | IS_NEW;
}

#endif
