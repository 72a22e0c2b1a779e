/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What is done about what a policy does not allow. A guard is a body on one of the kernel's security functions, which is
 * asked before the deed. As a program of the security modules, or as one that changes what the function returns, it
 * refuses; as a kprobe it cannot, and has the process killed. User space chooses one (HookTable+Guard.swift).
 */
#ifndef MARTLET_GUARDS_H
#define MARTLET_GUARDS_H

#include "actions.h"
#include "policy.h"

#define GUARD_REFUSES 0x10000u /* in what a body is told: what it returns is the answer; below it enum mt_operation */

/* The answer as each kernel's verifier takes it: a choice between two numbers becomes arithmetic that 6.12 refuses. */
#define REFUSE_IF(refused)                                                                                             \
	do {                                                                                                           \
		if (refused) {                                                                                         \
			asm volatile("");                                                                              \
			return -EPERM;                                                                                 \
		}                                                                                                      \
		return 0;                                                                                              \
	} while (0)

/*
 * guard_lsm_HOOK, guard_fmod_HOOK and guard_kprobe_HOOK: `body(arguments, how)` tells whether to refuse. `function` is
 * the kernel's security function that calls the hook, with the same arguments.
 */
#define GUARD_WITH(hook, function, body)                                                                               \
	SEC("lsm/" #hook)                                                                                              \
	int guard_lsm_##hook(__u64 *context)                                                                           \
	{                                                                                                              \
		REFUSE_IF(body(context, GUARD_REFUSES));                                                               \
	}                                                                                                              \
	GUARD_FUNCTION(hook, function, body)
#define GUARD_FUNCTION(hook, function, body)                                                                           \
	SEC("fmod_ret/" #function)                                                                                     \
	int guard_fmod_##hook(__u64 *context)                                                                          \
	{                                                                                                              \
		REFUSE_IF(body(context, GUARD_REFUSES));                                                               \
	}                                                                                                              \
	SEC("kprobe/" #function)                                                                                       \
	int guard_kprobe_##hook(struct pt_regs *regs)                                                                  \
	{                                                                                                              \
		const __u64 arguments[] = REGISTER_ARGUMENTS(regs);                                                    \
                                                                                                                       \
		body(arguments, 0);                                                                                    \
		return 0;                                                                                              \
	}
#define GUARD(hook, body) GUARD_WITH(hook, security_##hook, body)

/* The policy that the current task is under, if it wants any of these looked at. */
static __always_inline const struct mt_policy *guarding(__u32 flags)
{
	struct mt_tag *tag = tag_of(current_task());
	__u32 job = tag ? tag->job : 0;
	const struct mt_policy *policy = job ? bpf_map_lookup_elem(&policies, &job) : 0;

	return policy && policy->id && (policy->flags & flags) ? policy : 0;
}

static __always_inline struct mt_inode_key inode_key(__u32 whose, struct inode *inode)
{
	struct super_block *sb = READ(inode, struct inode, i_sb);

	return (struct mt_inode_key){
		.ino = READ(inode, struct inode, i_ino),
		.dev = READ(sb, struct super_block, s_dev),
		.policy = whose,
	};
}

/*
 * Takes a scratch slot to look at paths in, and for the record that may come of it: it is to be sent or released. If
 * there is none that is counted as a denial lost, as one may be.
 */
static __always_inline int look(struct record *record, const struct actor *actor)
{
	if (begin(record, MT_DENIAL, MT_CRITICAL, sizeof(struct mt_denial), actor))
		return 1;
	COUNT(MT_DENIAL, seen);
	return 0;
}

/*
 * What becomes of a deed that there is no slot to judge in: it is not allowed. Before Linux 6.15 tasks that are preempted
 * can have all of a CPU's, and would by design of whoever tries what is denied; by chance it takes four at once.
 */
static __always_inline int refuse_unseen(__u32 how)
{
	if (how & GUARD_REFUSES)
		return 1;
	bpf_send_signal(SIGKILL);
	return 0;
}

/*
 * Does what a verdict that does not allow says, and returns what that is, enum mt_effect. A process that cannot be
 * killed, as the kernel says, is told of.
 */
static __always_inline __u32 carry_out(const struct verdict *verdict, __u32 how)
{
	__u32 refuses = how & GUARD_REFUSES;

	if (verdict->action < MT_DENY)
		return MT_EFFECT_TOLD;
	if ((verdict->action == MT_KILL || !refuses) && bpf_send_signal(SIGKILL) && !refuses)
		return MT_EFFECT_TOLD;
	return refuses ? MT_EFFECT_PREVENTED : MT_EFFECT_KILLED;
}

/*
 * Settles what concerns a file whose path is in the record's workspace: `record` was begun by look(), and is over then.
 * Returns whether to refuse.
 */
static __always_inline int settle_file(struct record *record, const struct actor *actor, __u32 section,
				       const struct verdict *verdict, __u32 how, struct dentry *dentry,
				       struct inode *inode)
{
	__u32 operation = how & (GUARD_REFUSES - 1), effect;
	struct mt_denial *body;
	__u64 hash;

	if (verdict->action == MT_ALLOW) {
		release(record);
		return 0;
	}
	effect = carry_out(verdict, how);
	hash = hash_word(denial_hash(actor, operation, verdict), (__u64)dentry);
	hash = hash_word(hash, dentry ? READ(dentry, struct dentry, d_name.hash_len) : record->work->path_at);
	hash = hash_end(hash_word(hash, inode ? READ(inode, struct inode, i_ino) : 0));
	if (was_denied(actor, hash)) {
		release(record);
		return effect == MT_EFFECT_PREVENTED;
	}
	body = describe_denial(record, section, operation, verdict, effect);
	if (inode)
		body->file = identity_of(inode);
	add_built_path(record, MT_STR_PATH, dentry);
	if (send(record))
		remember_open(hash);
	return effect == MT_EFFECT_PREVENTED;
}

#endif
