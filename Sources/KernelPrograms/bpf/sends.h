/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What a task is sending, by the registers that it entered its system call with: wherever in the call it is looked at. */
#ifndef MARTLET_SENDS_H
#define MARTLET_SENDS_H

#include "syscalls.h"

#define THREAD_SIZE 16384 /* on x86-64, and on arm64 with pages of 4 KiB */
#define METHOD(a, b, c, d) ((__u32)(a) | (__u32)(b) << 8 | (__u32)(c) << 16 | (__u32)(d) << 24)

struct task_struct___stacked {
	void *stack;
} __attribute__((preserve_access_index));

/* The registers that a task entered its system call with. */
static __always_inline struct pt_regs *call_registers(struct task_struct *task)
{
#ifndef MARTLET_OLD
	return (struct pt_regs *)bpf_task_pt_regs(task);
#else
	return (struct pt_regs *)((__u8 *)READ(task, struct task_struct___stacked, stack) + THREAD_SIZE -
				  bpf_core_type_size(struct pt_regs));
#endif
}

struct piece {
	const void *bytes;
	__u64 length;
	__u64 whole;
};

/* What a call sends: a list of struct iovec, or the one piece itself. */
struct parts {
	__u64 list;  /* 0: `piece` is all */
	__u64 count; /* of those that were not taken yet */
	struct piece piece;
};

/* What the current task's call is sending. Returns 0 if that cannot be told. */
static __always_inline int find_parts(struct task_struct *task, struct parts *parts)
{
	struct done done = {.regs = call_registers(task)};
	__u64 words[2] = {};

	if (is_compat_task(task))
		return 0;
	switch (call_number_at(done.regs)) {
	case NR_WRITE:
	case NR_SENDTO:
		parts->list = 0;
		parts->count = 1;
		parts->piece.bytes = (const void *)call_argument(&done, 1);
		parts->piece.length = call_argument(&done, 2);
		return 1;
	case NR_SENDMSG:
		/* struct msghdr: name, its length, iov, iovlen */
		if (bpf_probe_read_user(words, sizeof(words), (const void *)(call_argument(&done, 1) + 16)))
			return 0;
		parts->list = words[0];
		parts->count = words[1];
		return 1;
	case NR_WRITEV:
		parts->list = call_argument(&done, 1);
		parts->count = call_argument(&done, 2);
		return 1;
	default:
		return 0;
	}
}

/* Takes the next one. Returns 0 when there is none. */
static __always_inline int next_piece(struct parts *parts, struct piece *piece)
{
	__u64 words[2] = {};

	if (!parts->count)
		return 0;
	parts->count--;
	if (!parts->list) {
		*piece = parts->piece;
		return 1;
	}
	if (bpf_probe_read_user(words, sizeof(words), (const void *)parts->list))
		return 0;
	parts->list += sizeof(words);
	piece->bytes = (const void *)words[0];
	piece->length = words[1];
	return 1;
}

/* What the current task's call is sending: of several parts the first. Returns 0 if that cannot be told. */
static __always_inline int find_piece(struct task_struct *task, struct piece *piece)
{
	struct parts parts = {};

	if (!find_parts(task, &parts) || !next_piece(&parts, piece))
		return 0;
	/* More than there is, if there are other parts: it is told as cut. */
	piece->whole = piece->length + (parts.count > 0);
	return 1;
}

#endif
