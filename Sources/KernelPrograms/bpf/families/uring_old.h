/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * io_uring in Linux 5.15, and in 5.10 from 5.10.162 on, which has it from there. Its tracepoint at submission gives the
 * request behind the ring; that at completion gives none. So opens are told as asked for, and how they end is not known.
 */

/* One word: whether anybody on the machine ever asked for a rename. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} uring_renames SEC(".maps");

SEC("tp_btf/io_uring_submit_sqe")
int BPF_PROG(uring_submit_ring, void *ring, struct io_kiocb *request)
{
	__u32 zero = 0;
	__u64 *renames = bpf_map_lookup_elem(&uring_renames, &zero);

	if (renames && READ(request, struct io_kiocb, opcode) == IORING_OP_RENAMEAT)
		*(volatile __u64 *)renames = 1;
	return submitted(request, 0);
}

/* What is done may be a rename, after which a known path may be another. */
SEC("tp_btf/io_uring_complete")
int BPF_PROG(uring_complete_any)
{
	__u32 zero = 0;
	__u64 *renames = bpf_map_lookup_elem(&uring_renames, &zero);

	if (renames && *(volatile __u64 *)renames)
		next_epoch();
	return 0;
}
