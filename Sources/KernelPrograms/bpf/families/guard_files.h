/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Files that may not be changed or read: by their path, and, as a file has other names by bind mounts and hard links, by
 * what user space found under the paths when the policy was put in force. Either is enough.
 */
#include "guards.h"

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__type(key, struct mt_inode_key);
	__type(value, struct mt_inode_masks);
} policy_inodes SEC(".maps");

#define GUARD_READS 0x20000u /* in `how`: what is decided on is reading */

static __always_inline struct verdict graver(struct verdict a, struct verdict b)
{
	return b.action > a.action ? b : a;
}

/* Decides on a file whose path has been built and matched. */
static __always_inline int judge_matched(struct record *record, const struct actor *actor,
					 const struct mt_policy *policy, struct dentry *dentry, struct inode *inode,
					 __u32 how)
{
	__u32 reads = how & GUARD_READS, operation = how & (GUARD_REFUSES - 1), list;
	struct mt_process *process = process_of(actor->tgid);
	struct mt_path_masks *matched = &record->work->matched;
	struct verdict verdict, other = {};
	struct mt_inode_masks *known = 0;
	struct mt_inode_key key = {};
	__u64 mask;

	list = reads ? MT_RULES_READ : MT_RULES_WRITE;
	mask = reads ? matched->lists[MT_RULES_READ] : matched->lists[MT_RULES_WRITE];
	if (operation == MT_OP_RENAME || operation == MT_OP_UNLINK)
		mask |= record->work->matched_above.lists[MT_RULES_WRITE];
	verdict = rule_verdict(policy, list, mask, process, other);
	if (inode) {
		key = inode_key(policy->id, inode);
		known = bpf_map_lookup_elem(&policy_inodes, &key);
	}
	if (known) {
		mask = reads ? known->read : known->write;
		other = rule_verdict(policy, list, mask, process, other);
		/* A file that may go, goes: what gets its number is another one. */
		if (other.action == MT_ALLOW && verdict.action == MT_ALLOW && operation == MT_OP_UNLINK &&
		    READ(inode, struct inode, i_nlink) == 1)
			bpf_map_delete_elem(&policy_inodes, &key);
	}
	verdict = graver(verdict, other);
	return settle_file(record, actor, MT_SECTION_FILES, &verdict, how & (GUARD_READS - 1), dentry, inode);
}

/* Decides on what lies at (mnt, dentry), which may be about to be made. Global: many programs call it. */
__noinline int judge_file(__u64 mnt, __u64 address, __u32 how)
{
	struct dentry *dentry = (struct dentry *)address;
	struct task_struct *task = current_task();
	struct mt_tag *tag = tag_of(task);
	const struct mt_policy *policy;
	struct record record;
	struct actor actor;

	if (!tag)
		return 0;
	policy = policy_of(tag->job, MT_SECTION_FILES);
	if (!policy)
		return 0;
	actor = actor_of(task, tag);
	if (!look(&record, &actor))
		return refuse_unseen(how);
	build_path(record.slot, mnt, address);
	match_path(record.slot, policy->id);
	return judge_matched(&record, &actor, policy, dentry, READ(dentry, struct dentry, d_inode), how);
}

/* Decides on an open file: reading and writing, and whether it is a protected process' environment. */
__noinline int judge_open(__u64 address, __u32 how)
{
	const struct mt_policy *policy = guarding(MT_POLICY_WRITES | MT_POLICY_READS | MT_POLICY_WRITTEN | MT_POLICY_MEMORY);
	struct file *file = (struct file *)address;
	struct dentry *dentry = READ(file, struct file, f_path.dentry);
	struct vfsmount *mnt = READ(file, struct file, f_path.mnt);
	struct inode *inode = READ(file, struct file, f_inode);
	__u32 mode = READ(file, struct file, f_mode), type = READ(inode, struct inode, i_mode) & S_IFMT, operation;

	if (!policy || type == S_IFDIR)
		return 0;
	if ((mode & MT_FMODE_WRITE) && (policy->flags & MT_POLICY_WRITES)) {
		operation = mode & MT_FMODE_CREATED ? MT_OP_CREATE : MT_OP_WRITE;
		if (judge_file((__u64)mnt, (__u64)dentry, how | operation))
			return 1;
	}
	if ((mode & MT_FMODE_READ) && (policy->flags & MT_POLICY_READS) &&
	    judge_file((__u64)mnt, (__u64)dentry, how | GUARD_READS | MT_OP_READ))
		return 1;
	if ((mode & MT_FMODE_WRITE) && (policy->flags & MT_POLICY_WRITTEN) && type == S_IFREG)
		note_written(policy, inode);
	if ((policy->flags & MT_POLICY_MEMORY) && is_environment(file))
		return judge_memory((__u64)proc_task(file), MT_SECURITY_ACCESS, how);
	return 0;
}

static __always_inline int opening(const __u64 *arguments, __u32 how)
{
	if (!guarding(MT_POLICY_WRITES | MT_POLICY_READS | MT_POLICY_WRITTEN | MT_POLICY_MEMORY))
		return 0;
	return judge_open(number_of(ARGUMENT(arguments, 0, const void *)), how);
}
GUARD(file_open, opening)

/* What is done to a name in a directory. */
static __always_inline int judge_entry(const struct path *dir, const struct dentry *dentry, __u32 how)
{
	if (!guarding(MT_POLICY_WRITES))
		return 0;
	return judge_file((__u64)READ(dir, struct path, mnt), number_of(dentry), how);
}

/* What is done to a file that was found. */
static __always_inline int judge_path(const struct path *path, __u32 how)
{
	if (!guarding(MT_POLICY_WRITES))
		return 0;
	return judge_file((__u64)READ(path, struct path, mnt), (__u64)READ(path, struct path, dentry), how);
}

/* GUARD_ENTRY: (directory, entry, …) */
#define GUARD_ENTRY(hook, operation)                                                                                   \
	static __always_inline int entry_##hook(const __u64 *arguments, __u32 how)                                     \
	{                                                                                                              \
		return judge_entry(ARGUMENT(arguments, 0, const struct path *),                                        \
				   ARGUMENT(arguments, 1, const struct dentry *), how | (operation));                  \
	}                                                                                                              \
	GUARD(hook, entry_##hook)
#define GUARD_PATH(hook, operation)                                                                                    \
	static __always_inline int path_##hook(const __u64 *arguments, __u32 how)                                      \
	{                                                                                                              \
		return judge_path(ARGUMENT(arguments, 0, const struct path *), how | (operation));                     \
	}                                                                                                              \
	GUARD(hook, path_##hook)

GUARD_ENTRY(path_unlink, MT_OP_UNLINK)
GUARD_ENTRY(path_rmdir, MT_OP_UNLINK)
GUARD_ENTRY(path_mkdir, MT_OP_CREATE)
GUARD_ENTRY(path_mknod, MT_OP_CREATE)
GUARD_ENTRY(path_symlink, MT_OP_CREATE)
GUARD_PATH(path_truncate, MT_OP_TRUNCATE)
GUARD_PATH(path_chmod, MT_OP_ATTRIBUTES)
GUARD_PATH(path_chown, MT_OP_ATTRIBUTES)

/* (directory, entry, directory, entry, …): what was there goes, be it by an exchange. */
static __always_inline int guard_rename(const __u64 *arguments, __u32 how)
{
	how |= MT_OP_RENAME;
	return judge_entry(ARGUMENT(arguments, 0, const struct path *), ARGUMENT(arguments, 1, const struct dentry *), how) ||
	       judge_entry(ARGUMENT(arguments, 2, const struct path *), ARGUMENT(arguments, 3, const struct dentry *), how);
}
GUARD(path_rename, guard_rename)

/* (existing entry, directory, new entry): a link to what is protected would be another name for it. */
static __always_inline int guard_link(const __u64 *arguments, __u32 how)
{
	const struct path *dir = ARGUMENT(arguments, 1, const struct path *);

	return judge_entry(dir, ARGUMENT(arguments, 0, const struct dentry *), how | MT_OP_LINK) ||
	       judge_entry(dir, ARGUMENT(arguments, 2, const struct dentry *), how | MT_OP_CREATE);
}
GUARD(path_link, guard_link)

/* By descriptor, from 6.2 on. */
static __always_inline int guard_file_truncate(const __u64 *arguments, __u32 how)
{
	__u64 file = number_of(ARGUMENT(arguments, 0, const void *));

	return judge_path((const struct path *)(file + bpf_core_field_offset(struct file, f_path)), how | MT_OP_TRUNCATE);
}
GUARD(file_truncate, guard_file_truncate)

/* What is mapped to be executed, or to be written: a descriptor may have come from outside of the job. */
__noinline int judge_mapping(__u64 file, __u64 prot, __u64 flags, __u32 how)
{
	struct path *path = (struct path *)(file + bpf_core_field_offset(struct file, f_path));

	if (!file)
		return 0;
	if (loading(file, prot, how))
		return 1;
	if ((flags & MAP_TYPE) == 2 /* MAP_PRIVATE */ || !guarding(MT_POLICY_WRITES) ||
	    !(READ((struct file *)file, struct file, f_mode) & MT_FMODE_WRITE))
		return 0;
	return judge_path(path, how | MT_OP_MAP);
}

/* The hook has what was asked for and what is given, the function only the former. */
static __always_inline int guard_mapping(__u64 file, __u64 prot, __u64 flags, __u32 how)
{
	if (!file || !guarding(MT_POLICY_WRITES | MT_POLICY_EXEC))
		return 0;
	return judge_mapping(file, prot, flags, how);
}

SEC("lsm/mmap_file")
int guard_lsm_mmap_file(__u64 *context)
{
	REFUSE_IF(guard_mapping(number_of((const void *)context[0]), context[1], context[3], GUARD_REFUSES));
}

static __always_inline int mapping_function(const __u64 *arguments, __u32 how)
{
	return guard_mapping(number_of(ARGUMENT(arguments, 0, const void *)), arguments[1], arguments[2], how);
}
GUARD_FUNCTION(mmap_file, security_mmap_file, mapping_function)
