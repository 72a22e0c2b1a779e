/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Building a record in per-CPU scratch and sending it. */
#ifndef MARTLET_RECORD_H
#define MARTLET_RECORD_H

#include "jobs.h"

/* The header, in the map: flags collect there, since on the stack each combination would be a state of its own. */
#define HEADER(record) ((struct mt_header *)(record)->buffer->bytes)

struct record {
	struct record_buffer *buffer;
	struct workspace *work;
	struct mt_inflight *inflight;
	struct cpu_state *cpu;
	__u64 size;  /* bytes so far, a multiple of 8 */
	__u32 slot;
	__u32 type;
	__u32 ring_class;
};

/* Who did it: from the tag of the running task, or from what a socket remembers of its owner. */
struct actor {
	__u64 leader_start;
	__u64 image;
	__u32 tgid, tid;
	__u16 job;
};

static __always_inline void count_lost(__u32 ring_class, __u32 job)
{
	if (ring_class == MT_BULK)
		COUNT_JOB(job, lost_bulk);
	else
		COUNT_JOB(job, lost_critical);
}

static __always_inline void release(struct record *record)
{
	unclaim(record->inflight);
	let_go_of_cpu();
}

/* Takes slot `slot` of `cpu` if it is free, with `since` as a lower bound of its record's time; a full barrier. */
static __always_inline struct mt_inflight *take(__u32 cpu, __u32 slot, __u64 since)
{
	__u32 key = cpu * MT_SLOTS + slot;
	struct mt_inflight *entry = bpf_map_lookup_elem(&inflight, &key);

	return entry && claim(entry, since) ? entry : 0;
}

/* The slots behind the first are for what interrupts the building of a record. Returns the one taken, or MT_SLOTS. */
static __noinline __u32 take_spare(__u32 cpu, __u64 since)
{
	if (take(cpu, 1, since))
		return 1;
	if (take(cpu, 2, since))
		return 2;
	if (take(cpu, 3, since))
		return 3;
	return MT_SLOTS;
}
_Static_assert(MT_SLOTS == 4, "take_spare names them");

/*
 * Takes a scratch slot and starts a record of `type` whose body has `body` bytes, zeroed. Returns 0 with the
 * record counted as lost when all slots of the CPU are taken. From here until `send` or `release` no later
 * record can be handed on in user space, however long this takes: `inflight` says that one is being built.
 */
static __always_inline int begin(struct record *record, __u32 type, __u32 ring_class, __u32 body,
				 const struct actor *actor)
{
	__u32 zero = 0, slot = 0, key, cpu = bpf_get_smp_processor_id();
	struct mt_inflight *entry;
	struct mt_header *header;
	__u64 since;

	record->cpu = bpf_map_lookup_elem(&cpu_states, &zero);
	if (!record->cpu)
		return 0;
	hold_cpu();
	/* Odd, so never 0, and not above the time that this record will get. */
	since = record->cpu->last_time ? (record->cpu->last_time - 1) | 1 : 1;
	entry = take(cpu, 0, since);
	if (!entry) {
		slot = take_spare(cpu, since);
		key = cpu * MT_SLOTS + slot;
		entry = slot < MT_SLOTS ? bpf_map_lookup_elem(&inflight, &key) : 0;
	}
	record->inflight = entry;
	record->buffer = bpf_map_lookup_elem(&scratch, &slot);
	record->work = bpf_map_lookup_elem(&workspaces, &slot);
	if (!entry || !record->buffer || !record->work) {
		let_go_of_cpu();
		ADD(&record->cpu->sequence[ring_class & 1], 1);
		COUNT(type, lost);
		count_lost(ring_class, actor->job);
		return 0;
	}
	record->slot = slot;
	record->type = type;
	record->ring_class = ring_class;
	record->size = sizeof(struct mt_header) + body;

	header = HEADER(record);
	header->time = bpf_ktime_get_boot_ns();
	*(volatile __u64 *)&entry->since = header->time;
	record->cpu->last_time = header->time;
	header->type = type;
	header->ring_class = ring_class;
	header->flags = 0;
	header->cpu = cpu;
	header->job = actor->job;
	header->tgid = actor->tgid;
	header->tid = actor->tid;
	header->leader_start = actor->leader_start;
	__builtin_memset(record->buffer->bytes + sizeof(struct mt_header), 0, body);
	return 1;
}

#define BODY(record, type) ((type *)((record)->buffer->bytes + sizeof(struct mt_header)))
#define TIME(record) (HEADER(record)->time)

/* Sends what was built, counts its fate and frees the slot. Returns 1 when it is in the ring. */
static __always_inline int send(struct record *record)
{
	struct mt_header *header = HEADER(record);
	__u32 ring_class = record->ring_class & 1, edge, cpu = header->cpu;
	__u64 flags = BPF_RB_NO_WAKEUP, size = record->size;
	__u32 marks, job;
	long failed;

	header->length = size;
	header->sequence = next_number(&record->cpu->sequence[ring_class]);
	edge = ring_class == MT_BULK ? config.bulk_edge : config.critical_edge;
	record->cpu->unsignalled[ring_class] += size;
	if (record->cpu->unsignalled[ring_class] >= edge) {
		record->cpu->unsignalled[ring_class] = 0;
		flags = BPF_RB_FORCE_WAKEUP;
	}
	barrier_var(size);
	if (size > MT_RECORD_MAX) {
		failed = 1; /* cannot be; for the verifier */
	} else if (ring_class == MT_BULK) {
		void *ring = bpf_map_lookup_elem(&bulk, &cpu);

		failed = ring ? bpf_ringbuf_output(ring, record->buffer->bytes, size, flags) : 1;
	} else {
		failed = bpf_ringbuf_output(&critical, record->buffer->bytes, size, flags);
	}
	marks = header->flags;
	job = header->job;
	release(record);
	if (failed) {
		COUNT(record->type, lost);
		count_lost(ring_class, job);
		return 0;
	}
	COUNT(record->type, sent);
	if (marks & MT_FLAG_TRUNCATED)
		COUNT(record->type, truncated);
	if (marks & MT_FLAG_UNREADABLE)
		COUNT(record->type, unreadable);
	return 1;
}

/* Where a string of at most `limit` bytes can be written, with its zero and padding; 0 if it no longer fits. */
static __always_inline __u8 *room(struct record *record, __u32 limit)
{
	__u64 at;

	/* By way of the map: what could have been added before would each be a state of its own. */
	*(volatile __u64 *)&record->work->size = record->size;
	at = record->size = *(volatile __u64 *)&record->work->size;
	barrier_var(at);
	if (at > MT_RECORD_MAX - 16 - limit) {
		HEADER(record)->flags |= MT_FLAG_TRUNCATED;
		return 0;
	}
	return record->buffer->bytes + at;
}

/* Closes the string that was written 4 bytes behind `at`. */
static __always_inline void finish(struct record *record, __u8 *at, __u16 id, __u64 length, __u32 limit)
{
	barrier_var(length);
	if (length > limit)
		length = limit;
	barrier_var(length);
	if (length > limit)
		return;
	*(__u16 *)at = id;
	*(__u16 *)(at + 2) = length;
	/* Eight zeros behind the last byte cover the padding, whatever its length; `room` left space for them. */
	*(__u32 *)(at + 4 + length) = 0;
	*(__u32 *)(at + 8 + length) = 0;
	record->size += (4 + length + 7) & ~7ull;
}

/* Adds a zero-terminated string of the kernel. */
static __always_inline void add_kernel_string(struct record *record, __u16 id, const void *source, __u32 limit)
{
	__u8 *at = room(record, limit);
	long length;

	if (!at)
		return;
	length = bpf_probe_read_kernel_str(at + 4, limit, source);
	if (length <= 0) {
		HEADER(record)->flags |= MT_FLAG_UNREADABLE;
		return;
	}
	if (length == limit)
		HEADER(record)->flags |= MT_FLAG_TRUNCATED;
	finish(record, at, id, length - 1, limit);
}

/* Adds a zero-terminated string of the current task's memory. */
static __always_inline void add_user_string(struct record *record, __u16 id, const void *source, __u32 limit)
{
	__u8 *at = room(record, limit);
	long length;

	if (!at)
		return;
	length = bpf_probe_read_user_str(at + 4, limit, source);
	/* Up to 6.12 an empty string has no length, not even that of its zero. */
	if (length < 0) {
		HEADER(record)->flags |= MT_FLAG_UNREADABLE;
		return;
	}
	if (length == limit)
		HEADER(record)->flags |= MT_FLAG_TRUNCATED;
	finish(record, at, id, length > 0 ? length - 1 : 0, limit);
}

/* Adds `length` bytes of the current task's memory, at most `limit`. */
static __always_inline void add_user_bytes(struct record *record, __u16 id, const void *source, __u64 length,
					   __u32 limit)
{
	__u8 *at = room(record, limit);

	if (!at)
		return;
	if (length > limit) {
		length = limit;
		HEADER(record)->flags |= MT_FLAG_TRUNCATED;
	}
	barrier_var(length);
	if (length > limit)
		return;
	if (bpf_probe_read_user(at + 4, length, source)) {
		HEADER(record)->flags |= MT_FLAG_UNREADABLE;
		return;
	}
	finish(record, at, id, length, limit);
}

/* Adds `length` bytes of the kernel's memory, at most `limit`. */
static __always_inline void add_kernel_bytes(struct record *record, __u16 id, const void *source, __u64 length,
					     __u32 limit)
{
	__u8 *at = room(record, limit);

	if (!at)
		return;
	if (length > limit) {
		length = limit;
		HEADER(record)->flags |= MT_FLAG_TRUNCATED;
	}
	barrier_var(length);
	if (length > limit)
		return;
	if (bpf_probe_read_kernel(at + 4, length, source)) {
		HEADER(record)->flags |= MT_FLAG_UNREADABLE;
		return;
	}
	finish(record, at, id, length, limit);
}

#endif
