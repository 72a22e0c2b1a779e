/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What of martlet no process of a job may get at, whatever its policy says and without one: martlet's own process, the
 * evidence and what else it needs of files, and its programs, maps and links. Where deeds can be refused they are
 * (families/guard_self.h); elsewhere who does them is killed when they are done (the ends of system calls).
 */
#ifndef MARTLET_SHIELD_H
#define MARTLET_SHIELD_H

#include "guards.h"

#define BPF_PROG_GET_FD_BY_ID 13
#define BPF_MAP_GET_FD_BY_ID 14
#define BPF_LINK_UPDATE 29
#define BPF_LINK_GET_FD_BY_ID 30
#define BPF_LINK_DETACH 34

/* By process: when its leader was started, as it is nobody else's number for as long as what is here holds. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__type(key, __u32);
	__type(value, __u64);
} shield_processes SEC(".maps");

/* enum mt_shield, by file. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, struct mt_inode_key);
	__type(value, __u32);
} shield_files SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 2048);
	__type(key, struct mt_bpf_object);
	__type(value, __u32);
} shield_objects SEC(".maps");

/* Which numbers of inodes `shield_files` may have, by their lowest bits: most files are told by this alone. */
static volatile __u64 shield_inodes;

#define SHIELD_DEPTH 6 /* below a directory of martlet's nobody makes deeper ones */

/* Whether the current task is a job's, and not martlet itself: an agent may have been started by a job. */
static __always_inline struct mt_tag *shielded_from(struct task_struct *task)
{
	__u32 tgid = TASK(task, tgid);
	struct mt_tag *tag = tag_of(task);

	return tag && tag->job && !bpf_map_lookup_elem(&shield_processes, &tgid) ? tag : 0;
}

static __always_inline int is_shielded(const struct target *target)
{
	__u64 *start = bpf_map_lookup_elem(&shield_processes, &target->tgid);

	return start && *start == target->start;
}

/* Refuses, or tells, what the current task does to another process, if that is martlet. */
__noinline int shield_process(__u64 other, __u32 operation, __u32 how)
{
	const struct verdict verdict = {.action = MT_DENY};
	struct task_struct *task = current_task();
	struct mt_denial *body;
	struct target target;
	struct record record;
	struct actor actor;
	struct mt_tag *tag;
	__u32 effect;
	__u64 hash;

	if (!other)
		return 0;
	target = target_of((struct task_struct *)other);
	if (!is_shielded(&target))
		return 0;
	tag = shielded_from(task);
	if (!tag)
		return 0;
	actor = actor_of(task, tag);
	effect = carry_out(&verdict, how);
	hash = hash_word(denial_hash(&actor, operation, &verdict), MT_SECTION_SELF);
	hash = hash_end(hash_word(hash, target.tgid));
	body = deny(&record, &actor, hash, MT_SECTION_SELF, operation, &verdict, effect);
	if (body) {
		body->target_tgid = target.tgid;
		body->target_start = target.start;
		if (send(&record))
			remember_open(hash);
	}
	return effect == MT_EFFECT_PREVENTED;
}

/* Likewise of a program, map or link of martlet's. */
__noinline int shield_object(__u32 kind, __u32 id, __u32 how)
{
	const struct mt_bpf_object object = {.kind = kind, .id = id};
	const struct verdict verdict = {.action = MT_DENY};
	struct task_struct *task = current_task();
	struct record record;
	struct actor actor;
	struct mt_tag *tag;
	__u32 effect;
	__u64 hash;

	if (!bpf_map_lookup_elem(&shield_objects, &object))
		return 0;
	tag = shielded_from(task);
	if (!tag)
		return 0;
	actor = actor_of(task, tag);
	effect = carry_out(&verdict, how);
	/* Whoever goes through all of them is told of once. */
	hash = hash_end(hash_word(denial_hash(&actor, MT_OP_OBJECT, &verdict), kind));
	if (deny(&record, &actor, hash, MT_SECTION_SELF, MT_OP_OBJECT, &verdict, effect) && send(&record))
		remember_open(hash);
	return effect == MT_EFFECT_PREVENTED;
}

/* A link: `first` is what its call begins with, a descriptor or an id. */
__noinline int shield_link_object(__u32 command, __u32 first, __u32 how)
{
	__u32 id = first;
	struct file *file;

	if (command != BPF_LINK_GET_FD_BY_ID) {
		file = file_of(current_task(), first);
		if (!file)
			return 0;
		id = READ((struct bpf_link *)READ(file, struct file, private_data), struct bpf_link, id);
	}
	return shield_object(MT_OBJECT_LINK, id, how);
}

/* Whether a file is martlet's, or lies below what is; or, if it is to be renamed, above. */
static __always_inline int is_shielded_file(struct dentry *dentry, __u32 renames)
{
#pragma unroll
	for (int depth = 0; depth < SHIELD_DEPTH; depth++) {
		struct inode *inode = READ(dentry, struct dentry, d_inode);
		struct dentry *parent = READ(dentry, struct dentry, d_parent);

		if (inode && shield_inodes >> (READ(inode, struct inode, i_ino) & 63) & 1) {
			struct mt_inode_key key = inode_key(0, inode);
			__u32 *what = bpf_map_lookup_elem(&shield_files, &key);

			if (what && (*what == MT_SHIELD_BELOW || (!depth && (*what == MT_SHIELD_FILE || renames))))
				return 1;
		}
		if (parent == dentry)
			return 0;
		dentry = parent;
	}
	return 0;
}

/* Refuses, or tells, what the current task, which has a tag, does to a file of martlet's. */
__noinline int shield_file(__u64 mnt, __u64 address, __u32 how)
{
	const struct verdict verdict = {.action = MT_DENY};
	struct dentry *dentry = (struct dentry *)address;
	struct task_struct *task = current_task();
	struct record record;
	struct actor actor;
	struct mt_tag *tag;

	if (!is_shielded_file(dentry, (how & (GUARD_REFUSES - 1)) == MT_OP_RENAME))
		return 0;
	tag = shielded_from(task);
	if (!tag)
		return 0;
	actor = actor_of(task, tag);
	if (!look(&record, &actor))
		return (how & GUARD_REFUSES) != 0;
	build_path(record.slot, mnt, address);
	return settle_file(&record, &actor, MT_SECTION_SELF, &verdict, how, dentry, READ(dentry, struct dentry, d_inode));
}

/* Likewise of a file that is open for writing: what it says in /proc of martlet's process is its, too. */
__noinline int shield_open(__u64 address, __u32 how)
{
	struct file *file = (struct file *)address;
	struct super_block *sb = READ(READ(file, struct file, f_inode), struct inode, i_sb);
	__u32 operation = READ(file, struct file, f_mode) & MT_FMODE_CREATED ? MT_OP_CREATE : MT_OP_WRITE;

	if (READ(sb, struct super_block, s_magic) == PROC_SUPER_MAGIC)
		return shield_process((__u64)proc_task(file), MT_OP_WRITE, how);
	return shield_file((__u64)READ(file, struct file, f_path.mnt), (__u64)READ(file, struct file, f_path.dentry),
			   how | operation);
}

#endif
