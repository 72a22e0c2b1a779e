/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What may be executed: asked of each file that the kernel is about to load, a script first and then its interpreter,
 * and of what an explicit ld.so maps to be executed, which no exec tells. Where nothing can be refused, the process is
 * killed when its new image is there: before the first instruction of it.
 */
#include "guards.h"

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 2048);
	__type(key, __u32);
	__type(value, struct mt_exec_needs);
} policy_needs SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, struct mt_word_key);
	__type(value, __u64);
} policy_words SEC(".maps");

/* Files that jobs have opened for writing, where a rule asks for it. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__type(key, struct mt_inode_key);
	__type(value, __u32); /* i_generation */
} policy_writes SEC(".maps");

static __always_inline void note_written(const struct mt_policy *policy, struct inode *inode)
{
	struct mt_inode_key key = inode_key(policy->writer, inode);
	__u32 generation = READ(inode, struct inode, i_generation), *known = bpf_map_lookup_elem(&policy_writes, &key);

	if (known && *known == generation)
		return;
	if (bpf_map_update_elem(&policy_writes, &key, &generation, BPF_ANY))
		count_full(MT_MAP_WRITTEN);
	else if (!known)
		count_used(MT_MAP_WRITTEN, 1);
}

static __always_inline int was_written(const struct mt_policy *policy, struct inode *inode)
{
	struct mt_inode_key key = inode_key(policy->writer, inode);
	__u32 *known = bpf_map_lookup_elem(&policy_writes, &key);

	return known && *known == READ(inode, struct inode, i_generation);
}

/* Whether a file has no place: it lives in memory, or has no name any more. */
static __always_inline int has_no_place(struct dentry *dentry, struct vfsmount *mnt, struct inode *inode)
{
	if (dentry == READ(dentry, struct dentry, d_parent))
		return dentry != READ(mnt, struct vfsmount, mnt_root);
	return !READ(inode, struct inode, i_nlink) || !READ(dentry, struct dentry, d_hash.pprev);
}

/* Decides on an open file; `digest` has the rules that its contents match. Global: it is called from many programs. */
__noinline int judge_image(__u64 address, __u32 how, __u64 digest)
{
	struct task_struct *task = current_task();
	struct mt_tag *tag = tag_of(task);
	struct file *file = (struct file *)address;
	const struct mt_policy *policy;
	struct mt_process *process;
	struct mt_exec_needs *needs;
	struct verdict verdict;
	struct dentry *dentry;
	struct vfsmount *mnt;
	struct record record;
	struct actor actor;
	struct inode *inode;
	__u64 holds;
	__u32 id;

	if (!tag)
		return 0;
	policy = policy_of(tag->job, MT_SECTION_EXEC);
	if (!policy)
		return 0;
	id = policy->id;
	needs = bpf_map_lookup_elem(&policy_needs, &id);
	if (!needs)
		return 0;
	actor = actor_of(task, tag);
	process = process_of(actor.tgid);
	inode = READ(file, struct file, f_inode);
	dentry = READ(file, struct file, f_path.dentry);
	mnt = READ(file, struct file, f_path.mnt);
	if (!look(&record, &actor))
		return refuse_unseen(how);
	build_path(record.slot, (__u64)mnt, (__u64)dentry);
	match_path(record.slot, id);
	holds = record.work->matched.lists[MT_RULES_EXEC] | ~needs->path;
	holds &= needs->rules & (digest | ~needs->digest);
	if ((holds & needs->memfd) && !has_no_place(dentry, mnt, inode))
		holds &= ~needs->memfd;
	if ((holds & needs->written) && !was_written(policy, inode))
		holds &= ~needs->written;
	verdict = rule_verdict(policy, MT_RULES_EXEC, holds, process, default_of(policy, MT_SECTION_EXEC));
	return settle_file(&record, &actor, MT_SECTION_EXEC, &verdict, how, dentry, inode);
}

/* security_bprm_check(bprm) */
static __always_inline int executing(const __u64 *arguments, __u32 how)
{
	const struct mt_policy *policy = guarding(MT_POLICY_EXEC);
	struct file *file;

	/* Of those with digests the program below decides. */
	if (!policy || (policy->flags & MT_POLICY_DIGESTS))
		return 0;
	file = READ(ARGUMENT(arguments, 0, struct linux_binprm *), struct linux_binprm, file);
	return judge_image((__u64)file, how | MT_OP_EXEC, 0);
}
GUARD_WITH(bprm_check_security, security_bprm_check, executing)

#ifndef MARTLET_OLD
/* Refused by the verifier where there is no bpf_ima_file_hash, before 5.18. */
SEC("lsm.s/bprm_check_security")
int guard_digest(__u64 *context)
{
	struct linux_binprm *bprm = ARGUMENT(context, 0, struct linux_binprm *);
	const struct mt_policy *policy = guarding(MT_POLICY_DIGESTS);
	struct mt_word_key key = {.list = MT_RULES_EXEC};
	/* The kernel writes at most 64 bytes: of SHA-512. */
	__u64 digest[8] = {}, *found = 0;

	if (!policy)
		return 0;
	key.policy = policy->id;
	if (bpf_ima_file_hash(bprm->file, digest, sizeof(digest)) == MT_HASH_SHA256) {
		__builtin_memcpy(key.text, digest, sizeof(key.text));
		found = bpf_map_lookup_elem(&policy_words, &key);
	}
	REFUSE_IF(judge_image(number_of(bprm->file), GUARD_REFUSES | MT_OP_EXEC, found ? *found : 0));
}
#endif

/* Whether the current image is a dynamic loader that runs by itself: `ld-linux-x86-64.so.2 PROGRAM`. */
static __always_inline int is_loader(struct task_struct *task)
{
	struct file *file = READ(TASK(task, mm), struct mm_struct, exe_file);
	struct dentry *dentry = READ(file, struct file, f_path.dentry);
	char name[8] = {};

	bpf_probe_read_kernel(name, sizeof(name), READ(dentry, struct dentry, d_name.name));
	if (name[0] == 'l' && name[1] == 'd')
		return name[2] == '-' || name[2] == '.';
	/* musl's is its libc. */
	return name[0] == 'l' && name[1] == 'i' && name[2] == 'b' && name[3] == 'c' && name[4] == '.';
}

/* A file that is about to be mapped, or is. */
static __always_inline int loading(__u64 file, __u64 prot, __u32 how)
{
	if (!(prot & PROT_EXEC) || !file || !guarding(MT_POLICY_EXEC) || !is_loader(current_task()))
		return 0;
	return judge_image(file, how | MT_OP_EXEC, 0);
}

/* Decides on what a path in the workspace says alone, where there is no file: a script that was loaded. */
static __always_inline void judge_script(struct task_struct *task, struct mt_tag *tag, const char *name)
{
	const struct mt_policy *policy = policy_of(tag->job, MT_SECTION_EXEC);
	struct mt_exec_needs *needs;
	struct verdict verdict;
	struct record record;
	struct actor actor;
	__u64 holds;
	__u32 id;

	if (!policy)
		return;
	id = policy->id;
	needs = bpf_map_lookup_elem(&policy_needs, &id);
	if (!needs)
		return;
	actor = actor_of(task, tag);
	if (!look(&record, &actor))
		return;
	record.work->first = (struct operand){.string = name, .dirfd = AT_FDCWD, .is_kernel = 1};
	build_named(record.slot, 0);
	match_path(record.slot, id);
	holds = record.work->matched.lists[MT_RULES_EXEC] | ~needs->path;
	holds &= needs->rules & ~(needs->digest | needs->memfd | needs->written);
	verdict = rule_verdict(policy, MT_RULES_EXEC, holds, process_of(actor.tgid), default_of(policy, MT_SECTION_EXEC));
	settle_file(&record, &actor, MT_SECTION_EXEC, &verdict, MT_OP_EXEC, 0, 0);
}

/* A new image, whose first instruction is yet to come. Of a script there is only the name that was given. */
static __always_inline void executed_image(struct linux_binprm *bprm)
{
	struct task_struct *task = current_task();
	struct mt_tag *tag = own_tag(task);
	const char *filename, *interpreter;

	if (!tag || !guarding(MT_POLICY_EXEC))
		return;
	judge_image((__u64)READ(TASK(task, mm), struct mm_struct, exe_file), MT_OP_EXEC, 0);
	filename = READ(bprm, struct linux_binprm, filename);
	interpreter = READ(bprm, struct linux_binprm, interp);
	if (filename != interpreter)
		judge_script(task, tag, filename);
}
IN_TURNS("tp_btf/sched_process_exec", guard_exec, MT_TURN_GUARD_EXEC,
     executed_image(ARGUMENT(context, 2, struct linux_binprm *)))

/*
 * What the image is, rules' scopes know from here on. Behind the program above, which decides for the image that was
 * there before, and behind the one that tells of execs: those of one tracepoint run in the order of the object.
 */
static __always_inline void find_scopes(void)
{
	struct task_struct *task = current_task();
	struct mt_tag *tag = own_tag(task);
	const struct mt_policy *policy;
	struct mt_process *process;
	struct record record;
	struct actor actor;
	struct file *file;
	__u64 own;

	if (!tag)
		return;
	policy = any_policy(tag->job, MT_POLICY_SCOPES);
	process = policy ? process_of(TASK(task, tgid)) : 0;
	if (!process)
		return;
	actor = actor_of(task, tag);
	if (!look(&record, &actor))
		return;
	file = READ(TASK(task, mm), struct mm_struct, exe_file);
	build_path(record.slot, (__u64)READ(file, struct file, f_path.mnt), (__u64)READ(file, struct file, f_path.dentry));
	match_path(record.slot, policy->id);
	own = record.work->matched.lists[MT_RULES_SCOPES] & 0xffffffff;
	release(&record);
	process->subjects = (process->subjects & ~0xffffffffull) | own << 32 | own;
}
IN_TURNS("tp_btf/sched_process_exec", guard_scope, MT_TURN_SCOPE, find_scopes())
