/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Jobs: the slots' state, and what becomes of each one's events. The ABI's comments say who may change what. */
#ifndef MARTLET_JOBS_H
#define MARTLET_JOBS_H

#include "compat.h"

#define BPF_MAP_TYPE_QUEUE 22

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MT_MAX_JOBS);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct mt_job);
} jobs SEC(".maps");

/* Slots that no job has. */
struct {
	__uint(type, BPF_MAP_TYPE_QUEUE);
	__uint(max_entries, MT_MAX_JOBS);
	__uint(key_size, 0);
	__type(value, __u32);
} free_jobs SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MT_MAX_JOBS);
	__type(key, struct mt_job_key);
	__type(value, __u32);
} job_keys SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, MT_MAX_JOBS);
	__type(key, __u32);
	__type(value, struct mt_job_counts);
} job_counts SEC(".maps");

/*
 * The maps `processes` of agents that this one takes over from, or that take over from it: who is in one of them is in a job of
 * theirs. Of an entry nothing is asked but whether it is there, so that they may be of any version.
 */
struct other_processes {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct mt_process);
};
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, MT_MAX_OTHERS);
	__type(key, __u32);
	__array(values, struct other_processes);
} others SEC(".maps");

static __always_inline int is_anothers(__u32 tgid)
{
	void *map;

#pragma unroll
	for (__u32 i = 0; i < MT_MAX_OTHERS; i++) {
		__u32 index = i;

		map = bpf_map_lookup_elem(&others, &index);
		if (map && bpf_map_lookup_elem(map, &tgid))
			return 1;
	}
	return 0;
}

static __always_inline struct mt_job *job_of(__u32 slot)
{
	return bpf_map_lookup_elem(&jobs, &slot);
}

/* Counts processes of a job that live: a full barrier, see mt_job. */
static __always_inline void add_live(struct mt_job *job, __s64 change)
{
	add_fully(&job->live, change);
}

/* Without rules there is one job, and the counts of all events are its own. */
#define COUNT_JOB(slot, member)                                                                                        \
	({                                                                                                             \
		__u32 slot_ = (slot);                                                                                  \
		struct mt_job_counts *counts_ = config.counts_by_job ? bpf_map_lookup_elem(&job_counts, &slot_) : 0;   \
		if (counts_)                                                                                           \
			ADD(&counts_->member, 1);                                                                      \
	})

/* What two jobs that have the same slot, one after the other, do not have in common. */
static __always_inline __u64 incarnation_of(__u32 slot)
{
	struct mt_job *job = job_of(slot);

	return job ? job->started : 0;
}

#endif
