/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * One body, several ways to have it called. A body takes the arguments of the kernel's function as numbers, whatever
 * the way: those of a fentry or LSM program lie in its context, those of a kprobe in registers. User space chooses one
 * way of each (HookTable.swift), so only one of the programs that these macros make is ever loaded.
 */
#ifndef MARTLET_HOOKS_H
#define MARTLET_HOOKS_H

#include "core_types.h"

/* Where a body finds argument `n` of the function, from 0. */
#define ARGUMENT(arguments, n, type) ((type)(arguments)[n])

#define REGISTER_ARGUMENTS(regs)                                                                                       \
	{                                                                                                              \
		PT_REGS_PARM1(regs), PT_REGS_PARM2(regs), PT_REGS_PARM3(regs), PT_REGS_PARM4(regs), PT_REGS_PARM5(regs) \
	}

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
		__u64 result = 0;                                                                                      \
                                                                                                                       \
		bpf_get_func_ret(context, &result);                                                                    \
		body(context, result);                                                                                 \
		return 0;                                                                                              \
	}

/* Whether a function failed that returns an int, a long or a pointer: an int's upper half may be anything but a pointer's. */
static __always_inline int has_failed(__u64 result)
{
	return result >= -4095ull || (result >> 32 == 0 && (__s32)result < 0);
}

#endif
