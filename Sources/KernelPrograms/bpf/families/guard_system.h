/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What may be done to the system: modules, bpf(2), mounts, namespaces, and the daemons that start containers. */
#include "guards.h"

#define CLONE_NEW_BORN ((__u64)(CLONE_NEW_ALL & ~CLONE_NEWTIME)) /* of clone, whose lowest byte is a signal */

enum kernel_read_file_id { READING_MODULE = 2 };
enum kernel_load_data_id { LOADING_MODULE = 2 };

/* Decides by a word, `operation` as of mt_denial. */
static __always_inline int judge_word(const struct mt_word_key *word, const struct mt_policy *policy,
				      struct task_struct *task, struct mt_tag *tag, __u32 operation, __u32 how)
{
	__u64 *mask = bpf_map_lookup_elem(&policy_words, word), hash;
	struct actor actor = actor_of(task, tag);
	struct mt_denial *body;
	struct verdict verdict;
	struct record record;
	__u32 effect;

	verdict = rule_verdict(policy, MT_RULES_SYSTEM, mask ? *mask : 0, process_of(actor.tgid),
			     default_of(policy, MT_SECTION_SYSTEM));
	if (verdict.action == MT_ALLOW)
		return 0;
	effect = carry_out(&verdict, how);
	hash = hash_end(hash_word(denial_hash(&actor, operation, &verdict), MT_SECTION_SYSTEM));
	body = deny(&record, &actor, hash, MT_SECTION_SYSTEM, operation, &verdict, effect);
	if (body) {
		if (operation == MT_OP_CONNECT)
			add_kernel_string(&record, MT_STR_NAME, word->text, sizeof(word->text));
		if (send(&record))
			remember_open(hash);
	}
	return effect == MT_EFFECT_PREVENTED;
}

/* A deed, enum mt_system_word, that would be told as MT_SECURITY of this kind. */
__noinline int judge_deed(__u32 deed, __u32 kind, __u32 how)
{
	struct mt_word_key key = {.list = MT_RULES_SYSTEM};
	struct task_struct *task = current_task();
	struct mt_tag *tag = tag_of(task);
	const struct mt_policy *policy = tag ? policy_of(tag->job, MT_SECTION_SYSTEM) : 0;

	if (!policy)
		return 0;
	key.policy = policy->id;
	key.text[0] = deed;
	return judge_word(&key, policy, task, tag, MT_OP_SECURITY + kind, how);
}

/* A connection to a listening unix socket: what it is called in its directory, if it is a daemon's. */
__noinline int judge_daemon(__u64 sock, __u32 how)
{
	struct mt_word_key key = {.list = MT_RULES_SYSTEM};
	struct task_struct *task = current_task();
	struct mt_tag *tag = tag_of(task);
	const struct mt_policy *policy = tag ? policy_of(tag->job, MT_SECTION_SYSTEM) : 0;
	struct dentry *dentry;

	if (!policy || !sock)
		return 0;
	dentry = READ((struct unix_sock *)sock, struct unix_sock, path.dentry);
	if (!dentry || READ(dentry, struct dentry, d_name.len) >= sizeof(key.text))
		return 0;
	key.policy = policy->id;
	bpf_probe_read_kernel_str(key.text, sizeof(key.text), READ(dentry, struct dentry, d_name.name));
	/* Other sockets are nobody's concern, whatever the default is. */
	if (!bpf_map_lookup_elem(&policy_words, &key))
		return 0;
	return judge_word(&key, policy, task, tag, MT_OP_CONNECT, how);
}

static __always_inline int judge_if(__u32 deed, __u32 kind, __u32 how)
{
	return guarding(MT_POLICY_SYSTEM) ? judge_deed(deed, kind, how) : 0;
}

static __always_inline int reading_file(const __u64 *arguments, __u32 how)
{
	if (ARGUMENT(arguments, 1, __u32) != bpf_core_enum_value(enum kernel_read_file_id, READING_MODULE))
		return 0;
	return judge_if(MT_WORD_MODULE, MT_SECURITY_MODULE_LOAD, how);
}
GUARD(kernel_read_file, reading_file)

static __always_inline int loading_data(const __u64 *arguments, __u32 how)
{
	if (ARGUMENT(arguments, 0, __u32) != bpf_core_enum_value(enum kernel_load_data_id, LOADING_MODULE))
		return 0;
	return judge_if(MT_WORD_MODULE, MT_SECURITY_MODULE_LOAD, how);
}
GUARD(kernel_load_data, loading_data)

#define GUARD_DEED(hook, deed, kind)                                                                                   \
	static __always_inline int deed_of_##hook(const __u64 *arguments, __u32 how)                                   \
	{                                                                                                              \
		return judge_if(deed, kind, how);                                                                      \
	}                                                                                                              \
	GUARD(hook, deed_of_##hook)

GUARD_DEED(sb_mount, MT_WORD_MOUNT, MT_SECURITY_MOUNT)
GUARD_DEED(sb_umount, MT_WORD_MOUNT, MT_SECURITY_UMOUNT)
GUARD_DEED(move_mount, MT_WORD_MOUNT, MT_SECURITY_MOVE_MOUNT)
GUARD_DEED(sb_pivotroot, MT_WORD_MOUNT, MT_SECURITY_PIVOT_ROOT)

/* security_bpf(command, …) */
static __always_inline int using_bpf(const __u64 *arguments, __u32 how)
{
	__u32 is_map = ARGUMENT(arguments, 0, __u32) == BPF_MAP_CREATE;

	return judge_if(MT_WORD_BPF, is_map ? MT_SECURITY_BPF_MAP : MT_SECURITY_BPF_PROGRAM, how);
}
GUARD(bpf, using_bpf)

/* security_task_alloc(task, flags of clone): a kprobe would have the parent killed, and not who is born. */
static __always_inline int cloning(const __u64 *arguments, __u32 how)
{
	if (!(arguments[1] & CLONE_NEW_BORN))
		return 0;
	return judge_if(MT_WORD_NAMESPACE, MT_SECURITY_CLONE, how);
}

SEC("lsm/task_alloc")
int guard_lsm_task_alloc(__u64 *context)
{
	REFUSE_IF(cloning(context, GUARD_REFUSES));
}

SEC("fmod_ret/security_task_alloc")
int guard_fmod_task_alloc(__u64 *context)
{
	REFUSE_IF(cloning(context, GUARD_REFUSES));
}

/* security_unix_stream_connect(socket, listening socket, …) */
static __always_inline int calling_daemon(const __u64 *arguments, __u32 how)
{
	if (!guarding(MT_POLICY_SYSTEM))
		return 0;
	return judge_daemon(number_of(ARGUMENT(arguments, 1, const void *)), how);
}
GUARD(unix_stream_connect, calling_daemon)

#ifdef bpf_target_x86
static __always_inline int entering_namespaces(const struct pt_regs *regs, int compat, int enters, __u32 how)
{
	struct done done = {.regs = (struct pt_regs *)regs, .compat = compat};

	/* unshare(2) is also for descriptors and the working directory. */
	if (!enters && !(call_argument(&done, 0) & CLONE_NEW_ALL))
		return 0;
	return judge_if(MT_WORD_NAMESPACE, enters ? MT_SECURITY_SETNS : MT_SECURITY_UNSHARE, how);
}

/* No security function is asked for these alone; of a system call's own function the result can be changed as well: a long. */
#define GUARD_CALL(name, enters)                                                                                       \
	SEC("fmod_ret/__x64_sys_" #name)                                                                               \
	long guard_fmod_##name(__u64 *context)                                                                          \
	{                                                                                                              \
		REFUSE_IF(entering_namespaces((const struct pt_regs *)context[0], 0, enters, GUARD_REFUSES));          \
	}                                                                                                              \
	SEC("fmod_ret/__ia32_sys_" #name)                                                                              \
	long guard_fmod_compat_##name(__u64 *context)                                                                   \
	{                                                                                                              \
		REFUSE_IF(entering_namespaces((const struct pt_regs *)context[0], 1, enters, GUARD_REFUSES));          \
	}                                                                                                              \
	SEC("kprobe/__x64_sys_" #name)                                                                                 \
	int guard_kprobe_##name(struct pt_regs *regs)                                                                  \
	{                                                                                                              \
		entering_namespaces((const struct pt_regs *)PT_REGS_PARM1(regs), 0, enters, 0);                        \
		return 0;                                                                                              \
	}                                                                                                              \
	SEC("kprobe/__ia32_sys_" #name)                                                                                \
	int guard_kprobe_compat_##name(struct pt_regs *regs)                                                           \
	{                                                                                                              \
		entering_namespaces((const struct pt_regs *)PT_REGS_PARM1(regs), 1, enters, 0);                        \
		return 0;                                                                                              \
	}
GUARD_CALL(unshare, 0)
GUARD_CALL(setns, 1)
#endif
