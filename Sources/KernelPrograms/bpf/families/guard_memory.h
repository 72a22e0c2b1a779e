/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Processes whose memory, registers, descriptors and environment nobody else in the job may get at. The kernel asks one
 * security function for all of them with the mode of an attachment; the environment it asks for as ps(1) asks for what
 * everybody may see, so that is told by the file that is opened. What only reads /proc otherwise is left alone, and so is
 * who reads itself, or what is not protected: a debugger and its own child.
 */
#include "guards.h"

/* Signals that leave a core: memory in a file. A set, a bit each: QUIT ILL TRAP ABRT BUS FPE SEGV XCPU XFSZ SYS. */
#define DUMPING ((__u64)(1ull << 3 | 1ull << 4 | 1ull << 5 | 1ull << 6 | 1ull << 7 | 1ull << 8 | 1ull << 11 |           \
			 1ull << 24 | 1ull << 25 | 1ull << 31))

/* The rules that protect a process by its name, which is left in `key`. */
static __always_inline __u64 *rules_protecting(const struct mt_policy *policy, struct task_struct *task,
					       struct mt_word_key *key)
{
	struct task_struct *leader = READ(task, struct task_struct, group_leader);

	key->policy = policy->id;
	bpf_probe_read_kernel_str(key->text, MT_COMM_MAX,
				  (const __u8 *)leader + bpf_core_field_offset(struct task_struct, comm));
	return bpf_map_lookup_elem(&policy_words, key);
}

/* Tells of what is done to a protected process, which is called `comm`. */
static __always_inline void tell_of_memory(const struct actor *actor, const struct target *target, __u32 operation,
					   const struct verdict *verdict, __u32 effect, const void *comm)
{
	__u64 hash = hash_word(denial_hash(actor, operation, verdict), target->start);
	struct mt_denial *body;
	struct record record;

	hash = hash_end(hash_word(hash, target->tgid));
	body = deny(&record, actor, hash, MT_SECTION_MEMORY, operation, verdict, effect);
	if (!body)
		return;
	body->target_tgid = target->tgid;
	body->target_start = target->start;
	add_kernel_string(&record, MT_STR_COMM, comm, MT_COMM_MAX);
	if (send(&record))
		remember_open(hash);
}

/* Decides on what the current task does to another, `kind` as of MT_SECURITY. */
__noinline int judge_memory(__u64 other, __u32 kind, __u32 how)
{
	struct task_struct *task = current_task();
	struct mt_word_key key = {.list = MT_RULES_MEMORY};
	struct mt_tag *tag = tag_of(task);
	const struct mt_policy *policy;
	struct verdict verdict = {};
	struct target target;
	struct actor actor;
	__u32 effect;
	__u64 *mask;

	if (!tag || !other)
		return 0;
	policy = policy_of(tag->job, MT_SECTION_MEMORY);
	if (!policy)
		return 0;
	target = target_of((struct task_struct *)other);
	if (target.tgid == (__u32)TASK(task, tgid))
		return 0;
	mask = rules_protecting(policy, (struct task_struct *)other, &key);
	if (!mask)
		return 0;
	actor = actor_of(task, tag);
	verdict = rule_verdict(policy, MT_RULES_MEMORY, *mask, process_of(actor.tgid), verdict);
	if (verdict.action == MT_ALLOW)
		return 0;
	effect = carry_out(&verdict, how);
	tell_of_memory(&actor, &target, MT_OP_SECURITY + kind, &verdict, effect, key.text);
	return effect == MT_EFFECT_PREVENTED;
}

/*
 * A protected process is about to leave a core, by a fault of its own or whoever had it make one: a signal that ends it
 * before that is seen when the core would be written. Global, for one look at it.
 */
__noinline int judge_dump(void)
{
	const struct mt_policy *policy = guarding(MT_POLICY_MEMORY);
	struct task_struct *task = current_task();
	struct mt_word_key key = {.list = MT_RULES_MEMORY};
	struct mt_tag *tag = tag_of(task);
	struct verdict verdict = {};
	struct target target = {};
	struct actor actor;
	__u32 effect;
	__u64 *mask;

	if (!tag || !policy)
		return 0;
	mask = rules_protecting(policy, task, &key);
	if (!mask)
		return 0;
	actor = actor_of(task, tag);
	verdict = rule_verdict(policy, MT_RULES_MEMORY, *mask, process_of(actor.tgid), verdict);
	if (verdict.action == MT_ALLOW)
		return 0;
	effect = carry_out(&verdict, 0) == MT_EFFECT_KILLED ? MT_EFFECT_PREVENTED : MT_EFFECT_TOLD;
	target.tgid = actor.tgid;
	target.start = actor.leader_start;
	tell_of_memory(&actor, &target, MT_OP_CORE_DUMP, &verdict, effect, key.text);
	return 0;
}

SEC("tp_btf/signal_deliver")
int BPF_PROG(guard_core_dump, int signal, struct kernel_siginfo *info, struct k_sigaction *action)
{
	/* A handler may make no core of it. */
	if ((__u32)signal <= 31 && (DUMPING >> signal & 1) && !READ(action, struct k_sigaction, sa.sa_handler))
		judge_dump();
	return 0;
}

/* security_ptrace_access_check(child, mode) */
static __always_inline int accessing(const __u64 *arguments, __u32 how)
{
	__u32 mode = ARGUMENT(arguments, 1, __u32), kind = MT_SECURITY_ACCESS;

	if (!(mode & PTRACE_MODE_ATTACH) || !guarding(MT_POLICY_MEMORY))
		return 0;
#ifndef MARTLET_OLD
	struct outcome outcome = {};

	/* A worker of io_uring makes no system call. */
	if (own_tag(current_task()))
		kind = access_kind(current_task(), mode, &outcome);
	else if (mode & PTRACE_MODE_FSCREDS)
		kind = MT_SECURITY_PROC_MEM;
#endif
	return judge_memory(number_of(ARGUMENT(arguments, 0, const void *)), kind, how);
}
GUARD(ptrace_access_check, accessing)

/* security_task_kill(target, info, signal, credentials): asked for signals that processes send. */
static __always_inline int signalling(const __u64 *arguments, __u32 how)
{
	__u32 signal = ARGUMENT(arguments, 2, __u32);

	if (signal > 31 || !(DUMPING >> signal & 1) || !guarding(MT_POLICY_MEMORY))
		return 0;
	return judge_memory(number_of(ARGUMENT(arguments, 0, const void *)), MT_SECURITY_ACCESS, how);
}
GUARD(task_kill, signalling)

/* Whether an open file is /proc/PID/environ. */
static __always_inline int is_environment(struct file *file)
{
	struct dentry *dentry = READ(file, struct file, f_path.dentry);
	struct super_block *sb = READ(READ(file, struct file, f_inode), struct inode, i_sb);
	char name[8] = {};

	if (READ(dentry, struct dentry, d_name.len) != 7 || READ(sb, struct super_block, s_magic) != PROC_SUPER_MAGIC)
		return 0;
	bpf_probe_read_kernel(name, sizeof(name), READ(dentry, struct dentry, d_name.name));
	return name[0] == 'e' && name[1] == 'n' && name[2] == 'v' && name[3] == 'i';
}

/*
 * Where nothing can be refused: a signal that is there when a call begins ends it before it has read. Attached when a
 * policy asks for it, since every call of the machine comes by here.
 */
SEC("tp_btf/sys_enter")
int BPF_PROG(guard_sys_enter, struct pt_regs *regs, long id)
{
	struct task_struct *task = current_task(), *other;
	struct done done = done_of(regs, task);
	__u32 kind, call = done.call.call;
	struct file *file;

	switch (call) {
	case CALL_PTRACE:
		kind = (__u32)argument(&done, 0) == PTRACE_SEIZE ? MT_SECURITY_PTRACE_SEIZE : MT_SECURITY_PTRACE_ATTACH;
		if (kind == MT_SECURITY_PTRACE_ATTACH && (__u32)argument(&done, 0) != PTRACE_ATTACH)
			return 0;
		break;
	case CALL_VM_READ: kind = MT_SECURITY_VM_READ; break;
	case CALL_VM_WRITE: kind = MT_SECURITY_VM_WRITE; break;
	case CALL_PIDFD_GETFD: kind = MT_SECURITY_PIDFD_GETFD; break;
	default: return 0;
	}
	if (!guarding(MT_POLICY_MEMORY))
		return 0;
	if (call == CALL_PIDFD_GETFD) {
		file = file_of(task, (__s32)argument(&done, 0));
		other = pidfd_task(file);
	} else {
		other = find_task(task, argument(&done, call == CALL_PTRACE ? 1 : 0));
	}
	judge_memory((__u64)other, kind, 0);
	return 0;
}
