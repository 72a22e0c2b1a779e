// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * A sensor in small, for tests: sends a record for each write(2) of tagged tasks, every 16th of them to the
 * critical ring. One program is unacceptable to any verifier, one wants a tracepoint that no kernel has.
 */
#include "../../../Sources/KernelPrograms/bpf/core_types.h"
#include "martlet_abi.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

const volatile struct mt_config config SEC(".rodata.config");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
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
	__uint(max_entries, 64);
	__type(key, __u32);
	__type(value, struct mt_process);
} processes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct mt_inflight);
} inflight SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MT_MAX_JOBS);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct mt_job);
} jobs SEC(".maps");

struct state {
	__u32 sequence[2];
};
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct state);
} states SEC(".maps");

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

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, MT_HANDLER_COUNT);
	__type(key, __u32);
	__type(value, __u32);
} handlers SEC(".maps");

struct record {
	struct mt_header header;
	struct mt_close body;
};

SEC("tp_btf/sched_process_fork")
int BPF_PROG(sched_process_fork, struct task_struct *parent, struct task_struct *child)
{
	struct mt_tag *tag = bpf_task_storage_get(&tags, parent, 0, 0), *made;

	if (!tag)
		return 0;
	made = bpf_task_storage_get(&tags, child, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (made)
		*made = *tag;
	return 0;
}

SEC("tp_btf/sys_exit")
int BPF_PROG(sys_exit, void *regs, long ret)
{
	struct mt_tag *tag = bpf_task_storage_get(&tags, bpf_get_current_task_btf(), 0, 0);

	if (tag)
		bpf_tail_call(ctx, &handlers, MT_HANDLER_CLOSE);
	return 0;
}

SEC("tp_btf/sys_exit")
int BPF_PROG(on_close, void *regs, long ret)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct mt_tag *tag = bpf_task_storage_get(&tags, task, 0, 0);
	__u32 zero = 0, type = MT_CLOSE, cpu = bpf_get_smp_processor_id(), slot = cpu * MT_SLOTS, class;
	struct mt_counters *counter = bpf_map_lookup_elem(&counters, &type);
	struct mt_inflight *flying = bpf_map_lookup_elem(&inflight, &slot);
	struct state *state = bpf_map_lookup_elem(&states, &zero);
	struct record record = {};
	void *ring = &critical;
	long failed = 1;

	/* Only what returned one byte: dd bs=1. */
	if (ret != 1 || !tag || !counter || !flying || !state)
		return 0;
	counter->seen++;
	if (__sync_lock_test_and_set(&flying->since, bpf_ktime_get_boot_ns()))
		return 0;
	class = counter->seen % 16 ? MT_BULK : MT_CRITICAL;
	record.header.time = bpf_ktime_get_boot_ns();
	record.header.length = sizeof(record);
	record.header.type = MT_CLOSE;
	record.header.ring_class = class;
	record.header.cpu = cpu;
	record.header.job = tag->job;
	record.header.tgid = task->tgid;
	if (class == MT_BULK) {
		record.header.sequence = ++state->sequence[MT_BULK];
		ring = bpf_map_lookup_elem(&bulk, &cpu);
		if (ring)
			failed = bpf_ringbuf_output(ring, &record, sizeof(record), BPF_RB_NO_WAKEUP);
	} else {
		record.header.sequence = ++state->sequence[MT_CRITICAL];
		failed = bpf_ringbuf_output(&critical, &record, sizeof(record), BPF_RB_NO_WAKEUP);
	}
	*(volatile __u64 *)&flying->since = 0;
	if (failed)
		counter->lost++;
	else
		counter->sent++;
	return 0;
}

SEC("tp_btf/sched_switch")
int BPF_PROG(refused, void *anything)
{
	return *(volatile int *)(config.seed[0] + 8);
}

SEC("tp_btf/martlet_no_such_tracepoint")
int BPF_PROG(absent, void *anything)
{
	return 0;
}

SEC("cgroup/connect4")
int connect4(struct bpf_sock_addr *context)
{
	return 1;
}
