// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Ways to see a fork that no kernel can go, each for another reason: tests put them before the sensor's own. */
#include "../../../Sources/KernelPrograms/bpf/core_types.h"
#include "martlet_abi.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* No kernel has so many types. */
struct {
	__uint(type, 999);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} unheard_of SEC(".maps");

SEC("tp_btf/sched_process_fork")
int BPF_PROG(unknown_map, void *anything)
{
	__u32 key = 0;

	return bpf_map_lookup_elem(&unheard_of, &key) != 0;
}

SEC("tp_btf/sched_process_fork")
int BPF_PROG(unacceptable, void *anything)
{
	return *(volatile int *)8;
}

SEC("fentry/martlet_has_no_such_function")
int BPF_PROG(missing_function, void *anything)
{
	return 0;
}

SEC("tp_btf/martlet_has_no_such_tracepoint")
int BPF_PROG(missing_tracepoint, void *anything)
{
	return 0;
}
