/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * One body, several ways to have it called. A body takes the arguments of the kernel's function as numbers, whatever
 * the way: those of a fentry or LSM program lie in its context, those of a kprobe in registers. User space chooses one
 * way of each (HookTable.swift), so only one of the programs that these macros make is ever loaded.
 */
#ifndef MARTLET_HOOKS_H
#define MARTLET_HOOKS_H

#include "maps.h"

/* Where a body finds argument `n` of the function, from 0. */
#define ARGUMENT(arguments, n, type) ((type)(arguments)[n])

#define REGISTER_ARGUMENTS(regs)                                                                                       \
	{                                                                                                              \
		PT_REGS_PARM1(regs), PT_REGS_PARM2(regs), PT_REGS_PARM3(regs), PT_REGS_PARM4(regs), PT_REGS_PARM5(regs) \
	}

/* The verifier lets nobody calculate with a pointer that it knows as one, but add it to what lies in memory. */
static __always_inline __u64 address_of(const void *pointer)
{
	__u64 address = 0;

	asm volatile("lock *(u64 *)(%[to] + 0) += %[from]" : : [to] "r"(&address), [from] "r"(pointer) : "memory");
	return address;
}

/*
 * Turns. The kernel runs no tracing program while another run of it is under way on that CPU, be it that an interrupt
 * has come between or that its task was preempted: in fentry and fexit programs wherever preemption is full or lazy,
 * on tracepoints from Linux 7 on. While that task waits for its CPU, everybody else's calls are left out. No program can
 * keep its task from being preempted: what bpf_preempt_disable puts off comes with bpf_preempt_enable, within the same
 * run. So where it matters the program that does the deed is not attached: a row of small ones is, and the first of
 * them that the kernel runs jumps to it. A call is left out only if as many tasks wait within the deed on that CPU.
 *
 * That the deed is done is marked where the others look: at a place that belongs to the caller's stack, with the
 * address of its arguments, which tells nested calls apart. The last of the row takes the mark away. If the kernel leaves
 * the last out, the mark stays, and hides the task's next call from all but the first. The kernel counts what it leaves
 * out; whoever reads that takes off what the others did instead of the first. Only where two stacks have one place
 * can a deed be done twice: one task has to be preempted between two of the row, and the other to come just then.
 *
 * Tracepoints run programs in the order in which they were attached, functions in the opposite one. User space attaches
 * them accordingly, and looks whether it holds.
 */
#ifndef MARTLET_OLD
#define MARKS 1024
static volatile struct mark {
	__u64 address;
} __attribute__((aligned(64))) marks[MARKS]; /* a cache line for each, as stacks are of several CPUs */

static __always_inline volatile __u64 *mark_of(__u64 address)
{
	/* Stacks have 16 KiB. */
	return &marks[(address >> 14) * 0x9e3779b97f4a7c15ull >> 54].address;
}

/* Behind a deed: none that comes after in the row is to do it again. */
static __always_inline void mark_done(void *context)
{
	volatile __u64 *mark;
	__u64 address;

	if (!config.preemptible)
		return;
	address = address_of(context);
	mark = mark_of(address);
	*mark = *mark == (address | 1) ? 0 : address;
}

/* Whether the program at `place` is to do the deed. If it is the last, nobody is there to take the mark away. */
static __always_inline int has_turn(void *context, __u32 place, struct mt_turn *turn)
{
	volatile __u64 *mark;
	__u64 address;

	if (place == 0)
		return 1;
	address = address_of(context);
	mark = mark_of(address);
	if (*mark == address) {
		if (place == MT_TURNS - 1)
			*mark = 0;
		return 0;
	}
	if (place == MT_TURNS - 1)
		*mark = address | 1;
	ADD(&turn->stood_in, 1);
	return 1;
}

#define TURN(section, name, row, place)                                                                                \
	SEC(section)                                                                                                   \
	int turn##place##_##name(__u64 *context)                                                                       \
	{                                                                                                              \
		__u32 index = row;                                                                                     \
		struct mt_turn *turn = bpf_map_lookup_elem(&turns, &index);                                            \
                                                                                                                       \
		if (turn && has_turn(context, place, turn)) {                                                          \
			bpf_tail_call(context, &deed_##name, 0);                                                       \
			ADD(&turn->failed, 1);                                                                         \
		}                                                                                                      \
		return 0;                                                                                              \
	}

/* A program array for each, as one takes only programs that are called with the same arguments. */
#define TURNS(section, name, row)                                                                                      \
	struct {                                                                                                       \
		__uint(type, BPF_MAP_TYPE_PROG_ARRAY);                                                                 \
		__uint(max_entries, 1);                                                                                \
		__type(key, __u32);                                                                                    \
		__type(value, __u32);                                                                                  \
	} deed_##name SEC(".maps");                                                                                    \
	TURN(section, name, row, 0)                                                                                    \
	TURN(section, name, row, 1)                                                                                    \
	TURN(section, name, row, 2)                                                                                    \
	TURN(section, name, row, 3)
_Static_assert(MT_TURNS == 4, "as many as TURNS makes");

/* For those of a row that do the deed themselves: whether none before has done it. */
static __always_inline int comes_first(void *context, __u32 row, __u32 place)
{
	__u64 address = address_of(context);
	volatile __u64 *mark = mark_of(address);
	struct mt_turn *turn;

	if (place && *mark == address) {
		if (place == MT_TURNS - 1)
			*mark = 0;
		return 0;
	}
	if (place < MT_TURNS - 1)
		*mark = address;
	turn = place ? bpf_map_lookup_elem(&turns, &row) : 0;
	if (turn)
		ADD(&turn->stood_in, 1);
	return 1;
}

/*
 * From 6.13 on a program that is not run again while it is under way has one stack for each CPU. Of who is jumped to by
 * several the kernel does not know that it is, and has several tasks destroy each other's. A program that might jump
 * itself gets none; this one never does.
 */
#define KEEP_OFF_PRIVATE_STACK(context, name)                                                                          \
	do {                                                                                                           \
		if (!config.cpu_count)                                                                                 \
			bpf_tail_call(context, &deed_##name, 0);                                                       \
	} while (0)
#else
#define mark_done(context) ((void)0)
#define KEEP_OFF_PRIVATE_STACK(context, name) ((void)0)
#define TURNS(section, name, row)
#endif

/* A program, and those that take turns at it. `deed` is a statement, which finds the arguments in `context`. */
#define IN_TURNS(section, name, row, deed)                                                                             \
	TURNS(section, name, row)                                                                                      \
	SEC(section)                                                                                                   \
	int name(__u64 *context)                                                                                       \
	{                                                                                                              \
		deed;                                                                                                  \
		mark_done(context);                                                                                    \
		KEEP_OFF_PRIVATE_STACK(context, name);                                                                 \
		return 0;                                                                                              \
	}

/*
 * For deeds that are small, and called so often that to jump to them is most of what they cost: each of the row does it
 * itself, and the program is its own first. Where tasks are not preempted there are two, one for a task's call and one
 * for that of an interrupt which comes within it; interrupts do not come within each other. So none is ever left out by
 * both, and neither looks what the other did: the second calls `body(context, 1)`, which may be again.
 */
#define ITS_TURN(section, program, row, place, body)                                                                   \
	SEC(section)                                                                                                   \
	int program(__u64 *context)                                                                                    \
	{                                                                                                              \
		if (!config.preemptible || comes_first(context, row, place))                                           \
			body(context, !config.preemptible && place);                                                   \
		return 0;                                                                                              \
	}
#ifndef MARTLET_OLD
#define EACH_IN_TURN(section, name, row, body)                                                                         \
	ITS_TURN(section, name, row, 0, body)                                                                          \
	ITS_TURN(section, turn1_##name, row, 1, body)                                                                  \
	ITS_TURN(section, turn2_##name, row, 2, body)                                                                  \
	ITS_TURN(section, turn3_##name, row, 3, body)
#else
#define comes_first(context, row, place) 1
#define EACH_IN_TURN(section, name, row, body) ITS_TURN(section, name, row, 0, body)
#endif

/* fentry_NAME and kprobe_NAME on the kernel's function NAME. */
#define ON_FENTRY(function, body)                                                                                      \
	SEC("fentry/" #function)                                                                                       \
	int fentry_##function(__u64 *context)                                                                          \
	{                                                                                                              \
		body(context);                                                                                         \
		return 0;                                                                                              \
	}
#define ON_KPROBE(function, body)                                                                                      \
	SEC("kprobe/" #function)                                                                                       \
	int kprobe_##function(struct pt_regs *regs)                                                                    \
	{                                                                                                              \
		const __u64 arguments[] = REGISTER_ARGUMENTS(regs);                                                    \
                                                                                                                       \
		body(arguments);                                                                                       \
		return 0;                                                                                              \
	}
#define ON_ENTRY(function, body) ON_FENTRY(function, body) ON_KPROBE(function, body)
/* Likewise; of the fentry program there are turns. */
#define ON_BUSY_ENTRY(function, row, body)                                                                             \
	IN_TURNS("fentry/" #function, fentry_##function, row, body(context)) ON_KPROBE(function, body)

/*
 * lsm_HOOK, fentry_security_HOOK and kprobe_security_HOOK, where they see the same arguments: the kernel's function
 * security_HOOK calls the LSM hook HOOK. All come before the deed, which may yet fail, or be refused by others.
 */
#define ON_LSM(hook, body)                                                                                             \
	SEC("lsm/" #hook)                                                                                              \
	int lsm_##hook(__u64 *context)                                                                                 \
	{                                                                                                              \
		body(context);                                                                                         \
		return 0;                                                                                              \
	}
#define ON_SECURITY(hook, body) ON_LSM(hook, body) ON_ENTRY(security_##hook, body)

/*
 * fexit_NAME: `body(arguments, result)` when the kernel's function NAME has returned. Where its result lies in the
 * context depends on the number of its arguments, which kernels change: the helper (5.17) knows.
 */
#define ON_RETURN(function, body)                                                                                      \
	SEC("fexit/" #function)                                                                                        \
	int fexit_##function(__u64 *context)                                                                           \
	{                                                                                                              \
		body(context, result_of(context));                                                                     \
		return 0;                                                                                              \
	}
/* Likewise, in turns. */
#define ON_BUSY_RETURN(function, row, body)                                                                            \
	IN_TURNS("fexit/" #function, fexit_##function, row, body(context, result_of(context)))

static __always_inline __u64 result_of(__u64 *context)
{
	__u64 result = 0;

	bpf_get_func_ret(context, &result);
	return result;
}

/* Whether a function failed that returns an int, a long or a pointer: an int's upper half may be anything but a pointer's. */
static __always_inline int has_failed(__u64 result)
{
	return result >= -4095ull || (result >> 32 == 0 && (__s32)result < 0);
}

#endif
