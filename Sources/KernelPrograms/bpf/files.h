/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* From descriptors to files: identity, state, path. */
#ifndef MARTLET_FILES_H
#define MARTLET_FILES_H

#include "scope.h"

#define S_IFMT 0170000
#define S_IFSOCK 0140000
#define S_IFREG 0100000
#define S_IFDIR 0040000
#define S_IFIFO 0010000
#define PID_FS_MAGIC 0x50494446
#define AT_FDCWD -100
#define WALK_STEPS 2100 /* components of a 4,096-byte path, and mounts on the way */

/* The open file behind a descriptor of the current task, or 0. */
static __always_inline struct file *file_of(struct task_struct *task, __s64 fd)
{
	struct files_struct *files = TASK(task, files);
	struct fdtable *table;
	struct file **slots;

	if (!files || fd < 0)
		return 0;
	table = FDTABLE(files);
	if (fd >= READ(table, struct fdtable, max_fds))
		return 0;
	slots = READ(table, struct fdtable, fd);
	return (struct file *)read_word(slots + fd);
}

static __always_inline struct mt_file identity_of(struct inode *inode)
{
	struct mt_file file = {};
	struct super_block *sb;

	if (!inode)
		return file;
	sb = READ(inode, struct inode, i_sb);
	file.ino = READ(inode, struct inode, i_ino);
	file.dev = READ(sb, struct super_block, s_dev);
	file.generation = READ(inode, struct inode, i_generation);
	file.mode = READ(inode, struct inode, i_mode);
	file.nlink = READ(inode, struct inode, i_nlink);
	return file;
}

static __always_inline int same_inode(struct inode *inode, const struct mt_file *file)
{
	struct super_block *sb = READ(inode, struct inode, i_sb);

	return READ(inode, struct inode, i_ino) == file->ino &&
	       READ(inode, struct inode, i_generation) == file->generation &&
	       READ(sb, struct super_block, s_dev) == file->dev;
}

#define NANOSECONDS(time) ((time).tv_sec * 1000000000ll + (time).tv_nsec)

#define CTIME_NANOSECONDS 0x7fffffff /* from 6.13 on the bit above them says whether somebody has asked for the time */

/* i_ctime and i_mtime have had three layouts. */
static __always_inline void times_of(struct inode *inode, __s64 *ctime, __s64 *mtime)
{
	if (bpf_core_field_exists(struct inode, i_ctime_sec)) {
		*ctime = READ(inode, struct inode, i_ctime_sec) * 1000000000ll +
			 (READ(inode, struct inode, i_ctime_nsec) & CTIME_NANOSECONDS);
		*mtime = READ(inode, struct inode, i_mtime_sec) * 1000000000ll +
			 READ(inode, struct inode, i_mtime_nsec);
	} else if (bpf_core_field_exists(struct inode___stamped, __i_ctime)) {
		*ctime = READ(inode, struct inode___stamped, __i_ctime.tv_sec) * 1000000000ll +
			 READ(inode, struct inode___stamped, __i_ctime.tv_nsec);
		*mtime = READ(inode, struct inode___stamped, __i_mtime.tv_sec) * 1000000000ll +
			 READ(inode, struct inode___stamped, __i_mtime.tv_nsec);
	} else {
		*ctime = READ(inode, struct inode___plain, i_ctime.tv_sec) * 1000000000ll +
			 READ(inode, struct inode___plain, i_ctime.tv_nsec);
		*mtime = READ(inode, struct inode___plain, i_mtime.tv_sec) * 1000000000ll +
			 READ(inode, struct inode___plain, i_mtime.tv_nsec);
	}
}

/* The mount that a vfsmount is part of. */
static __always_inline struct mount *mount_of(struct vfsmount *mnt)
{
	return (struct mount *)((__u8 *)mnt - bpf_core_field_offset(struct mount, mnt));
}

/* Where a walk from a name to the root of its mount namespace stands. */
struct walk {
	struct workspace *work;
	OLD_ONLY(__u32 slot;)
	__u64 dentry;
	__u64 mount;
	__u64 mount_root;
};

static __always_inline void enter_mount(struct walk *walk, struct mount *mount)
{
	walk->mount = (__u64)mount;
	walk->mount_root = (__u64)READ(mount, struct mount, mnt.mnt_root);
}

#define WALKED LOOP_POINTER(walk->work, work)

/* One component, or one mount, upwards. Returns 1 when there is nothing more to do. */
static long walk_step(__u32 index, struct walk *walk)
{
	OLD_ONLY(struct workspace *work = workspace_of(walk->slot));
	struct dentry *dentry = (struct dentry *)walk->dentry, *parent;
	const unsigned char *name;
	__u32 length, at;

	if (LOOP_MISSING(work))
		return 1;
	at = WALKED->path_at;
	parent = READ(dentry, struct dentry, d_parent);
	if ((__u64)dentry == walk->mount_root || dentry == parent) {
		struct mount *mount = (struct mount *)walk->mount;
		struct mount *above = READ(mount, struct mount, mnt_parent);

		/* A dentry that is its own parent without being its mount's root is a file without a path. */
		if (above == mount || !above || (__u64)dentry != walk->mount_root) {
			WALKED->path_complete = 1;
			return 1;
		}
		walk->dentry = (__u64)READ(mount, struct mount, mnt_mountpoint);
		enter_mount(walk, above);
		return 0;
	}
	length = READ(dentry, struct dentry, d_name.len);
	name = READ(dentry, struct dentry, d_name.name);
	barrier_var(length);
	if (length > MT_NAME_MAX || at < length + 1 || at > MT_PATH_MAX)
		return 1;
	at -= length + 1;
	barrier_var(at);
	if (at >= MT_PATH_MAX)
		return 1;
	WALKED->path[at] = '/';
	barrier_var(length);
	if (length > MT_NAME_MAX)
		return 1;
	bpf_probe_read_kernel(&WALKED->path[at + 1], length, name);
	WALKED->path_at = at;
	walk->dentry = (__u64)parent;
	return 0;
}

LONG_LOOP_STEP(struct walk, walk_step)

/*
 * Builds the path of (mnt, dentry) up to the root of its mount namespace in the workspace of `slot`. A global
 * function, as is locate: the verifier looks at it once, whoever calls it in whatever state.
 */
__noinline int build_path(__u32 slot, __u64 mnt, __u64 dentry)
{
	struct walk walk = {.dentry = dentry};

	walk.work = bpf_map_lookup_elem(&workspaces, &slot);
	if (!walk.work)
		return 0;
	walk.work->path_at = MT_PATH_MAX;
	walk.work->path_complete = 0;
	enter_mount(&walk, mount_of((struct vfsmount *)mnt));
	OLD_ONLY(walk.slot = slot;)
	LOOP(WALK_STEPS, walk_step, &walk);
	return 0;
}

/* Adds what build_path built from `dentry` as string `id`. */
static __always_inline void add_built_path(struct record *record, __u16 id, struct dentry *dentry)
{
	__u32 from = record->work->path_at;
	__u64 length;
	__u8 *at;

	if (!record->work->path_complete)
		HEADER(record)->flags |= MT_FLAG_TRUNCATED;
	if (from >= MT_PATH_MAX) {
		/* The root itself, or a file that has a name and no parent: a memfd, an anonymous inode. */
		add_kernel_string(record, id, READ(dentry, struct dentry, d_name.name), MT_NAME_MAX + 1);
		return;
	}
	at = room(record, MT_PATH_MAX);
	if (!at)
		return;
	length = MT_PATH_MAX - from;
	barrier_var(length);
	if (length > MT_PATH_MAX)
		return;
	bpf_probe_read_kernel(at + 4, length, &record->work->path[from & (MT_PATH_MAX - 1)]);
	finish(record, at, id, length, MT_PATH_MAX);
}

/* Adds the path of (mnt, dentry) up to the root of its mount namespace as string `id`. */
static __always_inline void add_path(struct record *record, __u16 id, struct vfsmount *mnt, struct dentry *dentry)
{
	build_path(record->slot, (__u64)mnt, (__u64)dentry);
	add_built_path(record, id, dentry);
}

/* Is the task's root another than its mount namespace's? Then its absolute paths start there. */
static __always_inline int has_own_root(struct path *root)
{
	struct mount *mount = mount_of(root->mnt);
	struct mount *above = READ(mount, struct mount, mnt_parent);

	return root->dentry != READ(root->mnt, struct vfsmount, mnt_root) ||
	       above != READ(above, struct mount, mnt_parent);
}

/* The fingerprint of a directory that a record has to explain, to be remembered once the record is sent. */
struct introduced {
	__u64 entry;
	__u32 index;
};

static __always_inline __u64 current_epoch(void)
{
	__u32 zero = 0;
	__u64 *epoch = bpf_map_lookup_elem(&rename_epoch, &zero);

	return epoch ? *(volatile __u64 *)epoch : 0;
}

static __always_inline void next_epoch(void)
{
	__u32 zero = 0;
	__u64 *epoch = bpf_map_lookup_elem(&rename_epoch, &zero);

	if (epoch)
		ADD(epoch, 1);
}

static __always_inline __u64 mount_id(struct mount *mount)
{
	if (bpf_core_field_exists(struct mount___unique, mnt_id_unique))
		return READ(mount, struct mount___unique, mnt_id_unique);
	return READ(mount, struct mount, mnt_id);
}

/*
 * Finds the id of a directory, for the workspace of `slot`. Building its path is left to the caller: all frames of a
 * chain of calls share 512 bytes of stack.
 */
__noinline int locate(__u32 slot, __u64 mnt, __u64 directory, __u32 job)
{
	struct workspace *work = bpf_map_lookup_elem(&workspaces, &slot);
	struct dentry *dentry = (struct dentry *)directory;
	struct inode *inode = READ(dentry, struct dentry, d_inode);
	__u64 hash = hash_begin('d'), *entry;
	__u32 index;

	if (!work)
		return 0;
	hash = hash_word(hash, mnt);
	hash = hash_word(hash, directory);
	hash = hash_word(hash, mount_id(mount_of((struct vfsmount *)mnt)) << 16 | job);
	hash = hash_word(hash, READ(dentry, struct dentry, d_name.hash_len));
	hash = hash_word(hash, READ(inode, struct inode, i_ino));
	hash = hash_word(hash, READ(inode, struct inode, i_generation));
	hash = hash_end(hash);
	work->directory = hash;
	work->entry = hash_end(hash_word(hash, current_epoch()));
	index = hash & (MT_DIRECTORIES - 1);
	entry = bpf_map_lookup_elem(&directories, &index);
	if (entry && *(volatile __u64 *)entry == work->entry)
		work->entry = 0;
	return 0;
}

/*
 * The id of a directory within its job. Its path travels in the first record that uses it, as string `id`,
 * and again after any rename or mount. A directory whose memory is used for another one gets another id: the
 * fingerprint holds the name's hash (salted by the kernel with the parent), the inode and its generation.
 */
static __always_inline __u64 add_directory(struct record *record, __u16 id, struct vfsmount *mnt,
					   struct dentry *dentry, __u16 job, struct introduced *introduced)
{
	locate(record->slot, (__u64)mnt, (__u64)dentry, job);
	introduced->entry = record->work->entry;
	introduced->index = record->work->directory & (MT_DIRECTORIES - 1);
	if (introduced->entry)
		add_path(record, id, mnt, dentry);
	return record->work->directory;
}

/* After the record went out: later ones need not explain the directory. */
static __always_inline void remember(struct introduced *introduced)
{
	__u32 index = introduced->index;
	__u64 *entry;

	if (!introduced->entry)
		return;
	entry = bpf_map_lookup_elem(&directories, &index);
	if (entry)
		*(volatile __u64 *)entry = introduced->entry;
}

/* Adds where (mnt, dentry) is: its directory's id and its name, or the whole path where it has no directory. */
static __always_inline __u64 add_place(struct record *record, struct vfsmount *mnt, struct dentry *dentry, __u16 job,
				       struct introduced *introduced)
{
	struct dentry *parent = READ(dentry, struct dentry, d_parent);
	struct dentry *root = READ(mnt, struct vfsmount, mnt_root);

	introduced->entry = 0;
	if (dentry == root || dentry == parent) {
		add_path(record, MT_STR_PATH, mnt, dentry);
		return 0;
	}
	add_kernel_bytes(record, MT_STR_NAME, READ(dentry, struct dentry, d_name.name),
			 READ(dentry, struct dentry, d_name.len), MT_NAME_MAX);
	return add_directory(record, MT_STR_DIR, mnt, parent, job, introduced);
}

/* Adds where an open file is. */
static __always_inline __u64 add_location(struct record *record, struct file *file, __u16 job,
					  struct introduced *introduced)
{
	return add_place(record, READ(file, struct file, f_path.mnt), READ(file, struct file, f_path.dentry), job,
			 introduced);
}

#endif
