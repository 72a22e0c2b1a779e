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

/*
 * Spares. The kernel runs no tracing program while another run of it is under way on that CPU, be it that an interrupt
 * has come between or that its task was preempted: in fentry and fexit programs wherever preemption is full or lazy,
 * on tracepoints from Linux 7 on. While that task waits for its CPU, everybody else's calls are left out. No program can
 * keep its task from being preempted: what bpf_preempt_disable puts off comes with bpf_preempt_enable, within the same
 * run. So where it matters two more programs sit on the same hook, behind the first. Each does the deed if those
 * before it are under way when it is called, since then they were not run just before. If somebody is preempted within
 * the first during a hundredth of the calls, about a millionth is left out in the end.
 *
 * A task that is preempted between two of them, and finds the first under way by another task, does the deed twice; that
 * takes two preemptions, one of them within a dozen instructions. The kernel counts what it leaves out, and whoever
 * reads that takes off what the spares did.
 */
#ifndef MARTLET_OLD
static __always_inline void set_under_way(__u32 pair, __u32 place, __u64 value)
{
	struct mt_turn *turn;

	if (!config.preemptible && pair != MT_SPARE_TCP_STATE)
		return;
	turn = bpf_map_lookup_elem(&turns, &pair);
	if (turn)
		*(volatile __u64 *)&turn->under_way[place] = value;
}

/* Whether the programs before the spare at `place`, 1 or 2, were left out just now. */
static __always_inline int stands_in(__u32 pair, __u32 place)
{
	struct mt_turn *turn = bpf_map_lookup_elem(&turns, &pair);

	if (!turn || !*(volatile __u64 *)&turn->under_way[0] || (place == 2 && !*(volatile __u64 *)&turn->under_way[1]))
		return 0;
	if (place == 1)
		*(volatile __u64 *)&turn->under_way[1] = 1;
	ADD(&turn->stood_in, 1);
	return 1;
}

#define SPARES(section, name, pair, deed)                                                                              \
	SEC(section)                                                                                                   \
	int spare_##name(__u64 *context)                                                                               \
	{                                                                                                              \
		if (stands_in(pair, 1)) {                                                                              \
			deed;                                                                                          \
			set_under_way(pair, 1, 0);                                                                     \
		}                                                                                                      \
		return 0;                                                                                              \
	}                                                                                                              \
	SEC(section)                                                                                                   \
	int spare2_##name(__u64 *context)                                                                              \
	{                                                                                                              \
		if (stands_in(pair, 2)) {                                                                              \
			deed;                                                                                          \
		}                                                                                                      \
		return 0;                                                                                              \
	}
#else
#define set_under_way(pair, place, value) ((void)0)
#define SPARES(section, name, pair, deed)
#endif

/* A program with spares. `deed` is a statement, which finds the arguments in `context`. */
#define WITH_SPARES(section, name, pair, deed)                                                                         \
	SEC(section)                                                                                                   \
	int name(__u64 *context)                                                                                       \
	{                                                                                                              \
		set_under_way(pair, 0, 1);                                                                             \
		deed;                                                                                                  \
		set_under_way(pair, 0, 0);                                                                             \
		return 0;                                                                                              \
	}                                                                                                              \
	SPARES(section, name, pair, deed)

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
/* Likewise, with spares of the fentry program. */
#define ON_BUSY_ENTRY(function, pair, body)                                                                            \
	WITH_SPARES("fentry/" #function, fentry_##function, pair, body(context)) ON_KPROBE(function, body)

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
/* Likewise, with spares. */
#define ON_BUSY_RETURN(function, pair, body)                                                                           \
	WITH_SPARES("fexit/" #function, fexit_##function, pair, body(context, result_of(context)))

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
