/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The maps that the objects share: user space creates each once and gives it to every object by its name. */
#ifndef MARTLET_MAPS_H
#define MARTLET_MAPS_H

#include "core_types.h"
#include "martlet_abi.h"

#define MT_OPENS 131072       /* entries of the direct-mapped cache of opens, a power of two */
#define MT_DIRECTORIES 65536  /* likewise of directories */
#define MT_WRITER_COUNTS 16384 /* a power of two */

const volatile struct mt_config config SEC(".rodata.config");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 8 << 20);
} critical SEC(".maps");

struct bulk_ring {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
};
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, __u32);
	__array(values, struct bulk_ring);
} bulk SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct mt_tag);
} tags SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 32768);
	__type(key, __u32);
	__type(value, struct mt_process);
} processes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__type(key, struct mt_writer_key);
	__type(value, struct mt_writer);
} writers SEC(".maps");

/* How many entries of `writers` share a place: nearly every close finds 0, without asking who closes. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MT_WRITER_COUNTS);
	__type(key, __u32);
	__type(value, __u64);
} writer_counts SEC(".maps");

/*
 * What has been sent before, as 64-bit keyed fingerprints in direct-mapped caches. A collision of two
 * places only sends something again; two different things share a fingerprint once in 2^64, and nobody
 * can search for such a pair without the key.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MT_OPENS);
	__type(key, __u32);
	__type(value, __u64);
} opens SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MT_DIRECTORIES);
	__type(key, __u32);
	__type(value, __u64);
} directories SEC(".maps");

/* One word: grows with every rename and mount on the machine, after which a known path may be another. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} rename_epoch SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct mt_inflight);
} inflight SEC(".maps");

struct record_buffer {
	__u8 bytes[MT_RECORD_MAX];
};
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, MT_SLOTS);
	__type(key, __u32);
	__type(value, struct record_buffer);
} scratch SEC(".maps");

/* What a call named: a string and what it is relative to. */
struct operand {
	const void *string;
	__s32 dirfd;
	__u32 is_kernel; /* 1: the string is in kernel memory */
};

/*
 * Work space of one record beside its bytes. What lies in a map the verifier forgets, so that the many ways to
 * fill it are one state again when it is used; on the stack each way would be followed to the end.
 */
struct workspace {
	__u8 path[MT_PATH_MAX + MT_NAME_MAX + 1]; /* built from the end; behind it the verifier wants room */
	__u32 path_at;        /* the path is path[path_at .. MT_PATH_MAX) */
	__u32 path_complete;  /* it begins at the root */
	__u64 directory;      /* id of the directory looked at last */
	__u64 base, base_mount; /* its dentry and mount */
	__u64 entry;          /* its fingerprint if a record has to explain it, else 0 */
	__u64 arguments[8];
	__u64 size;           /* of the record when something is added to it */
	struct operand first, second; /* second.string 0: none */
	__u64 argument;
	__u32 call_flags;
	__u32 literal;        /* 1: second is text, not a path to be resolved */
	/* Of the path: the policy's rules that it matches, see families/guard_paths.h. */
	struct mt_path_masks matched, matched_above;
	/* Of the look at a name: bytes left of it, where the component in work ends, and how many more are left out. */
	__u32 name_left, name_start, name_skipped, reserved;
};
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, MT_SLOTS);
	__type(key, __u32);
	__type(value, struct workspace);
} workspaces SEC(".maps");

static __always_inline struct workspace *workspace_of(__u32 slot)
{
	return bpf_map_lookup_elem(&workspaces, &slot);
}

struct cpu_state {
	__u64 last_time;
	__u32 sequence[2];
	__u32 unsignalled[2]; /* bytes put into a ring since its reader was last woken */
	__u64 zero;           /* always; but the verifier does not know */
};
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct cpu_state);
} cpu_states SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, MT_TYPE_COUNT);
	__type(key, __u32);
	__type(value, struct mt_counters);
} counters SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, MT_MAP_COUNT);
	__type(key, __u32);
	__type(value, __u64);
} map_full SEC(".maps");

/* Entries that came minus those that went; behind them the same again for user space, which alone writes there. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 2 * MT_MAP_COUNT);
	__type(key, __u32);
	__type(value, __s64);
} map_used SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, MT_HANDLER_COUNT);
	__type(key, __u32);
	__type(value, __u32);
} handlers SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, MT_TURN_COUNT);
	__type(key, __u32);
	__type(value, struct mt_turn);
} turns SEC(".maps");

/* Adds to what others add to. Its result is of no use: before 5.12 there is none, see compat.h. */
#ifndef MARTLET_OLD
#define ADD(word, value) ((void)__sync_fetch_and_add((word), (value)))
#else
#define ADD(word, value) ((void)__atomic_fetch_add((word), (value), __ATOMIC_RELAXED))
#endif

/* The constant is known to the verifier, which leaves out what it excludes. */
#define COUNT(type, member)                                                                                            \
	({                                                                                                             \
		__u32 key_ = (type);                                                                                   \
		struct mt_counters *counters_ = config.uncounted ? 0 : bpf_map_lookup_elem(&counters, &key_);         \
		if (counters_)                                                                                         \
			ADD(&counters_->member, 1);                                                                    \
	})

/* An event that is not sent, as it was told before: the most frequent fate, for one look at the counters. */
#define COUNT_DEDUPLICATED(type, job)                                                                                  \
	({                                                                                                             \
		__u32 key_ = (type);                                                                                   \
		struct mt_counters *counters_ = config.uncounted ? 0 : bpf_map_lookup_elem(&counters, &key_);         \
		if (counters_) {                                                                                       \
			ADD(&counters_->seen, 1);                                                                      \
			ADD(&counters_->deduplicated, 1);                                                              \
		}                                                                                                      \
		COUNT_JOB(job, deduplicated);                                                                          \
	})

static __always_inline void count_full(__u32 map)
{
	__u64 *count = bpf_map_lookup_elem(&map_full, &map);

	if (count)
		ADD(count, 1);
}

/* Tells that an entry of `map` came (1) or went (-1), on whatever CPU: only the sum over all of them means anything. */
static __always_inline void count_used(__u32 map, __s64 change)
{
	__s64 *count = config.uncounted ? 0 : bpf_map_lookup_elem(&map_used, &map);

	if (count)
		ADD(count, change);
}

/* A keyed 64-bit hash: each word is mixed in by a multiply and a rotation, twice over at the end. */
static __always_inline __u64 hash_begin(__u64 domain)
{
	return config.seed[0] ^ (domain * 0x9e3779b97f4a7c15ull);
}

static __always_inline __u64 hash_word(__u64 hash, __u64 word)
{
	hash = (hash ^ word) * 0xff51afd7ed558ccdull;
	return (hash << 29 | hash >> 35) + config.seed[1];
}

static __always_inline __u64 hash_end(__u64 hash)
{
	hash = (hash ^ hash >> 33) * 0xc4ceb9fe1a85ec53ull;
	hash ^= hash >> 29;
	return hash | 1; /* never the empty entry */
}

/* An opaque, stable name for a kernel object, so that no address leaves the kernel. */
static __always_inline __u64 opaque(const void *address)
{
	return address ? hash_end(hash_word(hash_begin('o'), (__u64)address)) : 0;
}

#endif
