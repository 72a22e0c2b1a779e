/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Files by name, without a hook on the end of every system call. The hook before the deed (security_path_*) has the
 * mount and the names that the kernel found; whether it was done is told by the function of the file-system layer that
 * does it. In between it waits in the task's `pendings`. What a file system does below itself, as overlayfs does,
 * never comes by the first and is not told.
 */
#include "hooks.h"

#define ATTR_OPEN (1 << 15) /* iattr.ia_valid: truncated by open(2) */

/* Not by kprobes: what tells of the outcome has no arguments there, and could not be told from what lies below. */
#define ON_NAME(hook, body) ON_LSM(hook, body) ON_FENTRY(security_##hook, body)

struct pending {
	__u64 dentry;     /* that is acted on: where there are two, the existing one */
	__u64 mnt;
	__u64 dir, dir2;  /* dentries of directories */
	__u64 argument;
	__u64 text;       /* a symbolic link's, in the kernel's memory while it is made */
	struct mt_file file;
	__u32 type;       /* MT_NONE: nothing is pending */
	__u32 call_flags;
	__u32 length, length2;
	__u8 name[MT_NAME_MAX + 1], name2[MT_NAME_MAX + 1];
};

struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct pending);
} pendings SEC(".maps");

static __always_inline __u32 copy_name(__u8 *to, struct dentry *dentry)
{
	__u32 length = READ(dentry, struct dentry, d_name.len);

	barrier_var(length);
	if (length > MT_NAME_MAX)
		return 0;
	bpf_probe_read_kernel(to, length, READ(dentry, struct dentry, d_name.name));
	return length;
}

/* What a task of a job is about to do to `dentry`; 0 if it is in none. */
static __always_inline struct pending *pend(__u32 type, struct dentry *dentry, struct path *dir)
{
	struct task_struct *task = current_task();
	struct mt_tag *tag = tag_of(task);
	struct pending *pending;

	if (!tag)
		return 0;
	pending = bpf_task_storage_get(&pendings, task, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!pending) {
		COUNT(type, seen);
		COUNT(type, lost);
		COUNT_JOB(tag->job, lost_bulk);
		return 0;
	}
	pending->type = type;
	pending->dentry = (__u64)dentry;
	pending->mnt = (__u64)READ(dir, struct path, mnt);
	pending->dir = (__u64)READ(dir, struct path, dentry);
	pending->dir2 = 0;
	pending->argument = 0;
	pending->text = 0;
	pending->call_flags = 0;
	pending->file.ino = 0;
	pending->length = copy_name(pending->name, dentry);
	return pending;
}

/* (directory, entry): unlink and rmdir. */
static __always_inline void unlinking(const __u64 *arguments)
{
	pend(MT_UNLINK, ARGUMENT(arguments, 1, struct dentry *), ARGUMENT(arguments, 0, struct path *));
}
ON_NAME(path_unlink, unlinking)

static __always_inline void removing_directory(const __u64 *arguments)
{
	pend(MT_RMDIR, ARGUMENT(arguments, 1, struct dentry *), ARGUMENT(arguments, 0, struct path *));
}
ON_NAME(path_rmdir, removing_directory)

/* (directory, entry, mode) */
static __always_inline void making_directory(const __u64 *arguments)
{
	struct pending *pending = pend(MT_MKDIR, ARGUMENT(arguments, 1, struct dentry *),
				       ARGUMENT(arguments, 0, struct path *));

	if (pending)
		pending->argument = arguments[2];
}
ON_NAME(path_mkdir, making_directory)

/* (directory, entry, mode, device); also before an open that may create, which then never gets to vfs_create. */
static __always_inline void making_node(const __u64 *arguments)
{
	struct pending *pending = pend(MT_MKNOD, ARGUMENT(arguments, 1, struct dentry *),
				       ARGUMENT(arguments, 0, struct path *));

	if (pending)
		pending->argument = arguments[2];
}
ON_NAME(path_mknod, making_node)

/* (directory, entry, text) */
static __always_inline void making_symlink(const __u64 *arguments)
{
	struct pending *pending = pend(MT_SYMLINK, ARGUMENT(arguments, 1, struct dentry *),
				       ARGUMENT(arguments, 0, struct path *));

	if (pending)
		pending->text = number_of(ARGUMENT(arguments, 2, const void *));
}
ON_NAME(path_symlink, making_symlink)

/* (directory, entry, directory, entry, flags) */
static __always_inline void renaming(const __u64 *arguments)
{
	struct path *to = ARGUMENT(arguments, 2, struct path *);
	struct pending *pending = pend(MT_RENAME, ARGUMENT(arguments, 1, struct dentry *),
				       ARGUMENT(arguments, 0, struct path *));

	if (!pending)
		return;
	pending->dir2 = (__u64)READ(to, struct path, dentry);
	pending->length2 = copy_name(pending->name2, ARGUMENT(arguments, 3, struct dentry *));
	pending->call_flags = arguments[4];
}
ON_NAME(path_rename, renaming)

/* (existing entry, directory, new entry) */
static __always_inline void linking(const __u64 *arguments)
{
	struct dentry *existing = ARGUMENT(arguments, 0, struct dentry *);
	struct pending *pending = pend(MT_LINK, existing, ARGUMENT(arguments, 1, struct path *));

	if (!pending)
		return;
	/* One mount holds both, or it would not be allowed. */
	pending->dir2 = pending->dir;
	pending->dir = (__u64)READ(existing, struct dentry, d_parent);
	pending->length2 = copy_name(pending->name2, ARGUMENT(arguments, 2, struct dentry *));
	pending->file = identity_of(READ(existing, struct dentry, d_inode));
}
ON_NAME(path_link, linking)

/* Changes of a file itself: by name or by descriptor, it is the same hook. */
static __always_inline struct pending *pend_change(__u32 type, struct path *path)
{
	struct dentry *dentry = READ(path, struct path, dentry);
	struct pending *pending = pend(type, dentry, path);

	if (pending)
		pending->file = identity_of(READ(dentry, struct dentry, d_inode));
	return pending;
}

/* (path, mode) */
static __always_inline void changing_mode(const __u64 *arguments)
{
	struct pending *pending = pend_change(MT_CHMOD, ARGUMENT(arguments, 0, struct path *));

	if (pending)
		pending->argument = (__u16)arguments[1];
}
ON_NAME(path_chmod, changing_mode)

/* (path, user, group) */
static __always_inline void changing_owner(const __u64 *arguments)
{
	struct pending *pending = pend_change(MT_CHOWN, ARGUMENT(arguments, 0, struct path *));

	if (pending)
		pending->argument = arguments[1] << 32 | (__u32)arguments[2];
}
ON_NAME(path_chown, changing_owner)

static __always_inline void truncating(const __u64 *arguments)
{
	pend_change(MT_TRUNCATE, ARGUMENT(arguments, 0, struct path *));
}
ON_NAME(path_truncate, truncating)

/* By descriptor, from 6.2 on. */
static __always_inline void truncating_file(const __u64 *arguments)
{
	struct file *file = ARGUMENT(arguments, 0, struct file *);

	pend_change(MT_TRUNCATE, (struct path *)(number_of(file) + bpf_core_field_offset(struct file, f_path)));
}
ON_NAME(file_truncate, truncating_file)

/* What the current task has pending on one of these; 0 if that is nothing. */
static __always_inline struct pending *pending_on(const void *a, const void *b, const void *c)
{
	struct pending *pending = bpf_task_storage_get(&pendings, current_task(), 0, 0);
	__u64 dentry;

	if (!pending || !pending->type)
		return 0;
	dentry = pending->dentry;
	return dentry == (__u64)a || dentry == (__u64)b || dentry == (__u64)c ? pending : 0;
}

/*
 * Whether the job's filter leaves out what is pending: where there are two names, only if it leaves out both. The workspace is
 * that of a record that was begun.
 */
static __always_inline int pending_left_out(__u32 slot, __u32 job, const struct pending *pending)
{
	struct dentry *dentry = (struct dentry *)pending->dentry;

	if (pending->dir == pending->dentry)
		return place_left_out(slot, job, (struct vfsmount *)pending->mnt, dentry);
	if (!entry_left_out(slot, job, pending->mnt, pending->dir, number_of(pending->name), pending->length))
		return 0;
	return !pending->dir2 ||
	       entry_left_out(slot, job, pending->mnt, pending->dir2, number_of(pending->name2), pending->length2);
}

/* Sends what the current task has pending. */
__noinline int send_pending(void)
{
	struct task_struct *task = current_task();
	struct introduced first = {}, second = {};
	struct mt_tag *tag = tag_of(task);
	struct pending *pending;
	struct mt_path_op *body;
	struct record record;
	struct actor actor;
	__u32 type;

	if (!tag)
		return 0;
	pending = bpf_task_storage_get(&pendings, task, 0, 0);
	if (!pending)
		return 0;
	type = pending->type;
	if (type >= MT_TYPE_COUNT)
		return 0;
	actor = actor_of(task, tag);
	if (is_filtered(actor.job, type))
		return 0;
	if (!begin(&record, type, MT_BULK, sizeof(*body), &actor)) {
		COUNT(type, seen);
		return 0;
	}
	if ((config.filters & MT_FILTERS_PATHS) && pending_left_out(record.slot, actor.job, pending)) {
		release(&record);
		count_filtered(actor.job, type);
		return 0;
	}
	COUNT(type, seen);
	HEADER(&record)->flags = compat_flag();
	body = BODY(&record, struct mt_path_op);
	body->file = pending->file;
	body->argument = pending->argument;
	body->call_flags = pending->call_flags;
	body->fd = -1;
	if (pending->dir == pending->dentry) {
		body->dir = add_place(&record, (struct vfsmount *)pending->mnt, (struct dentry *)pending->dentry,
				      actor.job, &first);
	} else {
		add_kernel_bytes(&record, pending->file.ino ? MT_STR_NAME : MT_STR_PATH, pending->name, pending->length,
				 MT_NAME_MAX);
		body->dir = add_directory(&record, MT_STR_DIR, (struct vfsmount *)pending->mnt,
					  (struct dentry *)pending->dir, actor.job, &first);
	}
	if (pending->dir2) {
		add_kernel_bytes(&record, MT_STR_PATH2, pending->name2, pending->length2, MT_NAME_MAX);
		body->dir2 = add_directory(&record, MT_STR_DIR2, (struct vfsmount *)pending->mnt,
					   (struct dentry *)pending->dir2, actor.job, &second);
	} else if (pending->text) {
		add_kernel_string(&record, MT_STR_PATH2, (const void *)pending->text, MT_PATH_MAX + 1);
	}
	if (send(&record)) {
		remember(&first);
		remember(&second);
	}
	return 0;
}

static __always_inline void count_failure_of_name(__u32 type)
{
	struct mt_tag *tag = config.counts_by_job ? tag_of(current_task()) : 0;

	COUNT(type, failed);
	if (tag)
		COUNT_JOB(tag->job, failed);
}

static __always_inline void settle(struct pending *pending, __u64 result)
{
	__u32 type;

	if (!pending)
		return;
	type = pending->type;
	if (!has_failed(result))
		send_pending();
	else if (type < MT_TYPE_COUNT)
		count_failure_of_name(type);
	pending->type = MT_NONE;
}

/* The entry is one of the first three arguments, which one depends on the kernel. */
static __always_inline void name_changed(const __u64 *arguments, __u64 result)
{
	settle(pending_on(ARGUMENT(arguments, 0, const void *), ARGUMENT(arguments, 1, const void *),
			  ARGUMENT(arguments, 2, const void *)),
	       result);
}
ON_BUSY_RETURN(vfs_unlink, MT_TURN_UNLINK, name_changed)
ON_RETURN(vfs_rmdir, name_changed)
ON_BUSY_RETURN(vfs_mkdir, MT_TURN_MKDIR, name_changed)
ON_RETURN(vfs_mknod, name_changed)
ON_RETURN(vfs_create, name_changed)
ON_BUSY_RETURN(vfs_symlink, MT_TURN_SYMLINK, name_changed)
ON_BUSY_RETURN(vfs_link, MT_TURN_LINK, name_changed)

/* Names of everybody's files change by everybody's renames. */
static __always_inline void renamed(const __u64 *arguments, __u64 result)
{
	const void *what = ARGUMENT(arguments, 0, const void *);

	if (!has_failed(result))
		next_epoch();
	settle(pending_on((const void *)READ(what, struct renamedata, old_dentry), 0, 0), result);
}
ON_BUSY_RETURN(vfs_rename, MT_TURN_RENAME, renamed)

/* (mapping of users, entry, attributes, …) */
static __always_inline void attributes_changed(const __u64 *arguments, __u64 result)
{
	const void *attributes = ARGUMENT(arguments, 2, const void *);
	struct pending *pending = pending_on(ARGUMENT(arguments, 1, const void *), 0, 0);
	struct mt_tag *tag;

	if (!pending)
		return;
	if (pending->type == MT_TRUNCATE) {
		if (READ(attributes, struct iattr, ia_valid) & ATTR_OPEN) {
			tag = tag_of(current_task());
			if (tag && !has_failed(result))
				tag->flags |= MT_TAG_TRUNCATED;
			pending->type = MT_NONE;
			return;
		}
		pending->argument = READ(attributes, struct iattr, ia_size);
	}
	settle(pending, result);
}
ON_BUSY_RETURN(notify_change, MT_TURN_ATTRIBUTES, attributes_changed)

/* What moves mounts, and with them what lies under a name. */
static __always_inline void mounts_changed(const __u64 *arguments, __u64 result)
{
	if (!has_failed(result))
		next_epoch();
}
ON_RETURN(path_mount, mounts_changed)
#ifdef bpf_target_x86
ON_RETURN(__x64_sys_move_mount, mounts_changed)
ON_RETURN(__ia32_sys_move_mount, mounts_changed)
ON_RETURN(__x64_sys_pivot_root, mounts_changed)
ON_RETURN(__ia32_sys_pivot_root, mounts_changed)
#endif
