// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* What `martlet bench` measures: programs that do nothing, one for each way to be called, and ways to send a record. */
#include "core_types.h"
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#define EMPTY(section, name)                                                                                           \
	SEC(section) int name(void *context)                                                                           \
	{                                                                                                              \
		return 0;                                                                                              \
	}

/* A task gets another name, by a write to /proc/thread-self/comm. */
EMPTY("tracepoint/task/task_rename", rename_tracepoint)
EMPTY("raw_tracepoint/task_rename", rename_raw_tracepoint)
EMPTY("tp_btf/task_rename", rename_tp_btf)
EMPTY("fentry/__set_task_comm", rename_fentry)
EMPTY("fexit/__set_task_comm", rename_fexit)
EMPTY("kprobe/__set_task_comm", rename_kprobe)
EMPTY("kretprobe/__set_task_comm", rename_kretprobe)

/* Eight bytes are read from /dev/urandom. Its tracepoint of old is gone, so here are those of the system call. */
EMPTY("tracepoint/syscalls/sys_enter_read", random_tracepoint)
EMPTY("raw_tracepoint/sys_enter", random_raw_tracepoint)
EMPTY("tp_btf/sys_enter", random_tp_btf)
EMPTY("fentry/urandom_read_iter", random_fentry)
EMPTY("fexit/urandom_read_iter", random_fexit)
EMPTY("kprobe/urandom_read_iter", random_kprobe)
EMPTY("kretprobe/urandom_read_iter", random_kretprobe)

/* Both. User space says which of its functions the probe is for. */
EMPTY("lsm/file_permission", both_lsm)
EMPTY("uprobe", both_uprobe)
EMPTY("uretprobe", both_uretprobe)

#define RECORD_BYTES 64
#define FORCE_BYTES (64 << 10)
#define BPF_MAP_TYPE_PERF_EVENT_ARRAY 4
#define BPF_F_CURRENT_CPU 0xffffffffull

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 16 << 20);
} shared SEC(".maps");

struct cpu_ring {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
};
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, __u32);
	__array(values, struct cpu_ring);
} cpu_rings SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
	__uint(max_entries, 0);
	__type(key, __u32);
	__type(value, __u32);
} perf SEC(".maps");

struct tally {
	__u64 sent, lost, unsignalled;
};
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct tally);
} tallies SEC(".maps");

enum wakeup { BY_DEFAULT, NEVER, FORCED };

static __always_inline int transport(void *context, int per_cpu, int use_perf, enum wakeup wakeup)
{
	__u64 record[RECORD_BYTES / 8] = {}, flags = 0;
	__u32 zero = 0, cpu = bpf_get_smp_processor_id();
	struct tally *tally = bpf_map_lookup_elem(&tallies, &zero);
	void *ring;
	long failed;

	if (!tally)
		return 0;
	if (wakeup != BY_DEFAULT)
		flags = BPF_RB_NO_WAKEUP;
	if (wakeup == FORCED) {
		tally->unsignalled += RECORD_BYTES;
		if (tally->unsignalled >= FORCE_BYTES) {
			tally->unsignalled = 0;
			flags = BPF_RB_FORCE_WAKEUP;
		}
	}
	record[0] = bpf_ktime_get_ns();
	if (use_perf) {
		failed = bpf_perf_event_output(context, &perf, BPF_F_CURRENT_CPU, record, sizeof(record));
	} else if (per_cpu) {
		ring = bpf_map_lookup_elem(&cpu_rings, &cpu);
		failed = ring ? bpf_ringbuf_output(ring, record, sizeof(record), flags) : 1;
	} else {
		failed = bpf_ringbuf_output(&shared, record, sizeof(record), flags);
	}
	if (failed)
		tally->lost++;
	else
		tally->sent++;
	return 0;
}

#define TRANSPORT(name, per_cpu, use_perf, wakeup)                                                                     \
	SEC("tc") int name(void *context)                                                                              \
	{                                                                                                              \
		return transport(context, per_cpu, use_perf, wakeup);                                                  \
	}

TRANSPORT(shared_default, 0, 0, BY_DEFAULT)
TRANSPORT(shared_timer, 0, 0, NEVER)
TRANSPORT(shared_forced, 0, 0, FORCED)
TRANSPORT(cpu_default, 1, 0, BY_DEFAULT)
TRANSPORT(cpu_timer, 1, 0, NEVER)
TRANSPORT(cpu_forced, 1, 0, FORCED)
TRANSPORT(perf_default, 0, 1, BY_DEFAULT)
