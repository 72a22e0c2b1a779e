/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Files by name: rename, unlink, link, symlink, mkdir, mknod, truncate, chmod, chown; and io_uring. */
#include "opens.h"
#include "syscalls.h"

/* From include/uapi/linux/io_uring.h. */
enum {
	IORING_OP_ACCEPT = 13,
	IORING_OP_CONNECT = 16,
	IORING_OP_OPENAT = 18,
	IORING_OP_CLOSE = 19,
	IORING_OP_OPENAT2 = 28,
	IORING_OP_SPLICE = 30,
	IORING_OP_TEE = 33,
	IORING_OP_RENAMEAT = 35,
	IORING_OP_UNLINKAT = 36,
	IORING_OP_MKDIRAT = 37,
	IORING_OP_SYMLINKAT = 38,
	IORING_OP_LINKAT = 39,
};
#define AT_REMOVEDIR 0x200
#define AT_EMPTY_PATH 0x1000
#define AT_SYMLINK_NOFOLLOW 0x100

/* The workspace, ready for what a call names. */
static __always_inline struct workspace *clear(struct workspace *work)
{
	work->first = (struct operand){.dirfd = AT_FDCWD};
	work->second = (struct operand){.dirfd = AT_FDCWD};
	work->argument = 0;
	work->call_flags = 0;
	work->literal = 0;
	return work;
}

static __always_inline struct operand *operand_of(struct workspace *work, __u32 second)
{
	return second ? &work->second : &work->first;
}

/*
 * Locates what an operand is relative to, in the workspace of `slot`: the working directory, a descriptor's
 * directory, or the root of a task that has its own. Leaves directory 0 where the path says it all.
 */
__noinline int locate_base(__u32 slot, __u32 second, __u32 job)
{
	struct task_struct *task = current_task();
	struct workspace *work = bpf_map_lookup_elem(&workspaces, &slot);
	struct operand *operand;
	struct path from = {};
	char first = 0;

	if (!work)
		return 0;
	work->directory = 0;
	work->entry = 0;
	operand = operand_of(work, second);
	if (operand->is_kernel)
		bpf_probe_read_kernel(&first, 1, operand->string);
	else
		bpf_probe_read_user(&first, 1, operand->string);
	if (first == '/') {
		from.mnt = READ(TASK(task, fs), struct fs_struct, root.mnt);
		from.dentry = READ(TASK(task, fs), struct fs_struct, root.dentry);
		if (!has_own_root(&from))
			return 0;
	} else if (operand->dirfd == AT_FDCWD) {
		from.mnt = READ(TASK(task, fs), struct fs_struct, pwd.mnt);
		from.dentry = READ(TASK(task, fs), struct fs_struct, pwd.dentry);
	} else {
		struct file *file = file_of(task, operand->dirfd);

		if (!file)
			return 0;
		from.mnt = READ(file, struct file, f_path.mnt);
		from.dentry = READ(file, struct file, f_path.dentry);
	}
	work->base = (__u64)from.dentry;
	work->base_mount = (__u64)from.mnt;
	locate(slot, (__u64)from.mnt, (__u64)from.dentry, job);
	return 0;
}

/*
 * Adds one operand to the record of `slot`: the string as given, and the directory that it starts from. Global, as
 * the verifier would otherwise follow what comes after it in each state in which it can end.
 */
__noinline int write_operand(__u32 slot, __u32 second, __u32 job)
{
	struct record record = {.slot = slot};
	struct operand operand;

	record.buffer = bpf_map_lookup_elem(&scratch, &slot);
	record.work = bpf_map_lookup_elem(&workspaces, &slot);
	if (!record.buffer || !record.work)
		return 0;
	record.size = record.work->size;
	operand = *operand_of(record.work, second);
	if (operand.is_kernel)
		add_kernel_string(&record, second ? MT_STR_PATH2 : MT_STR_PATH, operand.string, MT_PATH_MAX + 1);
	else
		add_user_string(&record, second ? MT_STR_PATH2 : MT_STR_PATH, operand.string, MT_PATH_MAX + 1);
	locate_base(slot, second, job);
	if (record.work->entry)
		add_path(&record, second ? MT_STR_DIR2 : MT_STR_DIR, (struct vfsmount *)record.work->base_mount,
			 (struct dentry *)record.work->base);
	record.work->size = record.size;
	return 0;
}

/* Adds one operand. Returns the id of the directory that it starts from. */
static __always_inline __u64 add_operand(struct record *record, __u32 second, __u16 job, struct introduced *introduced)
{
	record->work->size = record->size;
	write_operand(record->slot, second, job);
	record->size = record->work->size;
	introduced->entry = record->work->entry;
	introduced->index = record->work->directory & (MT_DIRECTORIES - 1);
	return record->work->directory;
}

/* Completes and sends a record that was begun for a mt_path_op. */
static __always_inline void send_path_op(struct record *record, struct task_struct *task, __u16 job)
{
	struct workspace *request = record->work;
	struct introduced first = {}, second = {};
	struct mt_path_op *body = BODY(record, struct mt_path_op);

	/* Or the compiler would carry what it knows of each way into a copy of this for each. */
	barrier();
	body->argument = request->argument;
	body->call_flags = request->call_flags;
	body->fd = -1;
	body->dir = add_operand(record, 0, job, &first);
	if (request->call_flags & AT_EMPTY_PATH) {
		/* What is meant is the descriptor itself: a file without a name that is given one by linkat. */
		struct file *file = file_of(task, request->first.dirfd);

		if (file) {
			body->file = identity_of(READ(file, struct file, f_inode));
			body->fd = request->first.dirfd;
		}
	}
	if (request->second.string && request->literal)
		add_user_string(record, MT_STR_PATH2, request->second.string, MT_PATH_MAX + 1);
	else if (request->second.string)
		body->dir2 = add_operand(record, 1, job, &second);
	if (send(record)) {
		remember(&first);
		remember(&second);
	}
}

/*
 * What each argument of a path call is, by number: a table and not a switch, since the verifier would follow every
 * case to the end of the program.
 */
#define CURRENT 6 /* stands for AT_FDCWD */
#define ABSENT 7  /* stands for 0 */
struct shape {
	__u8 directory, path;
	__u8 directory2, path2;
	__u8 argument, argument_high; /* the number that goes with it, and its upper half */
	__u8 call_flags;
	__u8 literal;
	__u32 added_flags;
};
#define ONE(directory, path, argument, high, flags) {directory, path, CURRENT, ABSENT, argument, high, flags, 0, 0}
#define TWO(directory, path, directory2, path2, flags) {directory, path, directory2, path2, ABSENT, ABSENT, flags, 0, 0}
#define TEXT(directory, path, text) {directory, path, CURRENT, text, ABSENT, ABSENT, ABSENT, 1, 0}

_Static_assert(CALL_PATHS_END <= 32, "on_path takes five bits of it");

static const struct shape shapes[32] = {
	[CALL_RENAME] = TWO(CURRENT, 0, CURRENT, 1, ABSENT),
	[CALL_RENAMEAT] = TWO(0, 1, 2, 3, ABSENT),
	[CALL_RENAMEAT2] = TWO(0, 1, 2, 3, 4),
	[CALL_UNLINK] = ONE(CURRENT, 0, ABSENT, ABSENT, ABSENT),
	[CALL_UNLINKAT] = ONE(0, 1, ABSENT, ABSENT, 2),
	[CALL_RMDIR] = ONE(CURRENT, 0, ABSENT, ABSENT, ABSENT),
	[CALL_LINK] = TWO(CURRENT, 0, CURRENT, 1, ABSENT),
	[CALL_LINKAT] = TWO(0, 1, 2, 3, 4),
	[CALL_SYMLINK] = TEXT(CURRENT, 1, 0),
	[CALL_SYMLINKAT] = TEXT(1, 2, 0),
	[CALL_MKDIR] = ONE(CURRENT, 0, 1, ABSENT, ABSENT),
	[CALL_MKDIRAT] = ONE(0, 1, 2, ABSENT, ABSENT),
	[CALL_MKNOD] = ONE(CURRENT, 0, 1, ABSENT, ABSENT),
	[CALL_MKNODAT] = ONE(0, 1, 2, ABSENT, ABSENT),
	[CALL_TRUNCATE] = ONE(CURRENT, 0, 1, ABSENT, ABSENT),
	[CALL_TRUNCATE64] = ONE(CURRENT, 0, COMPAT_LENGTH, COMPAT_LENGTH + 1, ABSENT),
	[CALL_CHMOD] = ONE(CURRENT, 0, 1, ABSENT, ABSENT),
	[CALL_FCHMODAT] = ONE(0, 1, 2, ABSENT, ABSENT),
	[CALL_FCHMODAT2] = ONE(0, 1, 2, ABSENT, 3),
	[CALL_CHOWN] = ONE(CURRENT, 0, 2, 1, ABSENT),
	[CALL_LCHOWN] = {CURRENT, 0, CURRENT, ABSENT, 2, 1, ABSENT, 0, AT_SYMLINK_NOFOLLOW},
	[CALL_FCHOWNAT] = ONE(0, 1, 3, 2, 4),
};

SEC("tp_btf/sys_exit")
int BPF_PROG(on_path, struct pt_regs *regs, long ret)
{
	struct task_struct *task = current_task();
	struct done done = done_of(regs, task);
	struct mt_tag *tag = own_tag(task);
	__u32 type, call = done.call.call;
	const struct shape *shape;
	struct workspace *work;
	struct record record;
	struct actor actor;
	__u64 low;

	if (!tag || call >= CALL_PATHS_END)
		return 0;
	actor = actor_of(task, tag);
	type = call_types[call];
	if (call == CALL_UNLINKAT && (argument(&done, 2) & AT_REMOVEDIR))
		type = MT_RMDIR;
	if (is_filtered(actor.job, type))
		return 0;
	COUNT(type, seen);
	if (!begin(&record, type, MT_BULK, sizeof(struct mt_path_op), &actor))
		return 0;
	HEADER(&record)->flags = flags_of(&done);
	work = record.work;
	work->arguments[0] = argument(&done, 0);
	work->arguments[1] = argument(&done, 1);
	work->arguments[2] = argument(&done, 2);
	work->arguments[3] = argument(&done, 3);
	work->arguments[4] = argument(&done, 4);
	work->arguments[CURRENT] = AT_FDCWD;
	work->arguments[ABSENT] = 0;
	barrier();
	shape = &shapes[BOUNDED(call, 31)];
	work->first.string = (const void *)work->arguments[shape->path & 7];
	work->first.dirfd = work->arguments[shape->directory & 7];
	work->first.is_kernel = 0;
	work->second.string = (const void *)work->arguments[shape->path2 & 7];
	work->second.dirfd = work->arguments[shape->directory2 & 7];
	work->second.is_kernel = 0;
	low = work->arguments[shape->argument & 7];
	if (type == MT_CHOWN)
		low = (__u32)low;
	work->argument = low | work->arguments[shape->argument_high & 7] << 32;
	work->call_flags = work->arguments[shape->call_flags & 7] | shape->added_flags;
	work->literal = shape->literal;
	send_path_op(&record, task, actor.job);
	return 0;
}

SEC("tp_btf/sys_exit")
int BPF_PROG(on_descriptor, struct pt_regs *regs, long ret)
{
	struct task_struct *task = current_task();
	struct done done = done_of(regs, task);
	struct mt_tag *tag = own_tag(task);
	struct introduced introduced = {};
	__u64 value = argument(&done, 1);
	__u32 type = MT_TRUNCATE;
	struct mt_path_op *body;
	struct record record;
	struct actor actor;
	struct file *file;

	if (!tag)
		return 0;
	actor = actor_of(task, tag);
	if (done.call.call == CALL_FCHMOD) {
		type = MT_CHMOD;
	} else if (done.call.call == CALL_FCHOWN) {
		type = MT_CHOWN;
		value = value << 32 | (__u32)argument(&done, 2);
	} else if (done.call.call == CALL_FTRUNCATE64) {
		if (COMPAT_LENGTH != 1)
			value = argument(&done, COMPAT_LENGTH);
		value |= argument(&done, COMPAT_LENGTH + 1) << 32;
	}
	if (is_filtered(actor.job, type))
		return 0;
	file = file_of(task, (__s32)argument(&done, 0));
	if (!file) {
		/* Closed by another thread already. */
		COUNT(type, seen);
		COUNT(type, lost);
		COUNT_JOB(actor.job, lost_bulk);
		return 0;
	}
	if (begin_of(&record, type, type, sizeof(*body), &actor, file) != BEGUN)
		return 0;
	HEADER(&record)->flags = flags_of(&done);
	body = BODY(&record, struct mt_path_op);
	body->file = identity_of(READ(file, struct file, f_inode));
	body->argument = value;
	body->fd = argument(&done, 0);
	body->dir = add_location(&record, file, actor.job, &introduced);
	if (send(&record))
		remember(&introduced);
	return 0;
}

/* The string of a name that a request holds. */
#define REQUEST_NAME(io, type, field)                                                                                  \
	READ(bpf_core_field_exists(struct type, field) ?                                                               \
		     READ(io, struct type, field) :                                                                    \
		     READ(io, struct type##___delayed, field.__incomplete_filename),                                   \
	     struct filename, name)

/*
 * What a task gives to io_uring. Operations on names are recorded here, as asked for, since their strings are
 * gone when they are done; an open is recorded when its descriptor is there.
 */
static const __u8 uring_types[64] = {
	[IORING_OP_RENAMEAT] = MT_RENAME, [IORING_OP_LINKAT] = MT_LINK, [IORING_OP_SYMLINKAT] = MT_SYMLINK,
	[IORING_OP_UNLINKAT] = MT_UNLINK, [IORING_OP_MKDIRAT] = MT_MKDIR,
	[IORING_OP_OPENAT] = MT_URING, [IORING_OP_OPENAT2] = MT_URING, [IORING_OP_SPLICE] = MT_URING,
	[IORING_OP_TEE] = MT_URING, [IORING_OP_ACCEPT] = MT_URING, [IORING_OP_CONNECT] = MT_URING,
};

/* Fills in what an operation on names names. */
static __always_inline void request_of(struct workspace *work, struct io_kiocb *io, __u32 opcode)
{
	struct workspace *request = clear(work);

	request->first.is_kernel = 1;
	request->second.is_kernel = 1;
	switch (opcode) {
	case IORING_OP_RENAMEAT:
		request->first.dirfd = READ(io, struct io_rename, old_dfd);
		request->first.string = REQUEST_NAME(io, io_rename, oldpath);
		request->second.dirfd = READ(io, struct io_rename, new_dfd);
		request->second.string = REQUEST_NAME(io, io_rename, newpath);
		request->call_flags = READ(io, struct io_rename, flags);
		break;
	case IORING_OP_LINKAT:
		OLD_ONLY(if (!bpf_core_type_exists(struct io_link)) break;)
		request->first.dirfd = READ(io, struct io_link, old_dfd);
		request->first.string = REQUEST_NAME(io, io_link, oldpath);
		request->second.dirfd = READ(io, struct io_link, new_dfd);
		request->second.string = REQUEST_NAME(io, io_link, newpath);
		request->call_flags = READ(io, struct io_link, flags);
		break;
	case IORING_OP_SYMLINKAT: /* the same structure: oldpath is the text */
		OLD_ONLY(if (!bpf_core_type_exists(struct io_link)) break;)
		request->first.dirfd = READ(io, struct io_link, new_dfd);
		request->first.string = REQUEST_NAME(io, io_link, newpath);
		break;
	case IORING_OP_UNLINKAT:
		request->call_flags = READ(io, struct io_unlink, flags);
		request->first.dirfd = READ(io, struct io_unlink, dfd);
		request->first.string = REQUEST_NAME(io, io_unlink, filename);
		break;
	default: /* IORING_OP_MKDIRAT */
		OLD_ONLY(if (!bpf_core_type_exists(struct io_mkdir)) break;)
		request->first.dirfd = READ(io, struct io_mkdir, dfd);
		request->first.string = REQUEST_NAME(io, io_mkdir, filename);
		request->argument = READ(io, struct io_mkdir, mode);
	}
}

static __always_inline void submit_other(struct record *record, __u16 job, struct io_kiocb *io, __u32 opcode)
{
	struct workspace *request = clear(record->work);
	struct mt_uring *body = BODY(record, struct mt_uring);
	struct introduced introduced = {};

	body->opcode = opcode;
	if (opcode == IORING_OP_OPENAT || opcode == IORING_OP_OPENAT2) {
		body->open_flags = open_flags_of_x86(READ(io, struct io_open, how.flags));
		request->first.is_kernel = 1;
		request->first.dirfd = READ(io, struct io_open, dfd);
		request->first.string = REQUEST_NAME(io, io_open, filename);
		body->dir = add_operand(record, 0, job, &introduced);
	}
	if (send(record))
		remember(&introduced);
}

/* `ends`: whether this kernel tells which operation is done. */
static __always_inline int submitted(struct io_kiocb *io, int ends)
{
	struct task_struct *task = current_task();
	struct mt_tag *tag = tag_of(task);
	struct record record;
	struct actor actor;
	__u32 opcode, type;

	if (!tag)
		return 0;
	opcode = READ(io, struct io_kiocb, opcode);
	actor = actor_of(task, tag);
	if (opcode == IORING_OP_CLOSE) {
		if (!READ(io, struct io_close, file_slot))
			drop_writer(&actor, process_of(TASK(task, tgid)), READ(io, struct io_close, fd), MT_CLOSE_CALL);
		return 0;
	}
	type = uring_types[opcode & 63];
	if (opcode > 63 || type == MT_NONE || (type != MT_URING && (config.typed & MT_TYPED_PATH)))
		return 0;
	/* An open into the descriptor table is recorded when it is done; a direct descriptor never gets there. */
	if (ends && (opcode == IORING_OP_OPENAT || opcode == IORING_OP_OPENAT2) && !READ(io, struct io_open, file_slot))
		return 0;
	if (opcode == IORING_OP_UNLINKAT && (READ(io, struct io_unlink, flags) & AT_REMOVEDIR))
		type = MT_RMDIR;
	if (is_filtered(actor.job, type))
		return 0;
	COUNT(type, seen);
	if (!begin(&record, type, MT_BULK, sizeof(struct mt_path_op), &actor))
		return 0;
	HEADER(&record)->flags = MT_FLAG_URING;
	if (type == MT_URING) {
		record.size = sizeof(struct mt_header) + sizeof(struct mt_uring);
		submit_other(&record, actor.job, io, opcode);
	} else {
		request_of(record.work, io, opcode);
		send_path_op(&record, task, actor.job);
	}
	return 0;
}

SEC("tp_btf/io_uring_submit_req")
int BPF_PROG(uring_submit_req, struct io_kiocb *request)
{
	return submitted(request, 1);
}

/* The same point in 6.0 to 6.2. */
SEC("tp_btf/io_uring_submit_sqe")
int BPF_PROG(uring_submit_sqe, struct io_kiocb *request)
{
	return submitted(request, 1);
}

static __always_inline void completed(struct io_kiocb *request, __s32 result)
{
	struct task_struct *task = current_task();
	struct mt_tag *tag = tag_of(task);
	struct open_request opened = {.type = MT_OPEN, .flags = MT_FLAG_URING, .fd = result};
	struct actor actor;
	__u32 opcode;

	if (!request)
		return;
	opcode = READ(request, struct io_kiocb, opcode);
	if (opcode == IORING_OP_RENAMEAT)
		next_epoch();
	if (!tag || (config.typed & MT_TYPED_OPEN))
		return;
	if (opcode != IORING_OP_OPENAT && opcode != IORING_OP_OPENAT2)
		return;
	if (result < 0) {
		COUNT(MT_OPEN, failed);
		COUNT_JOB(tag->job, failed);
		return;
	}
	if (READ(request, struct io_open, file_slot))
		return;
	actor = actor_of(task, tag);
	opened.file = file_of(task, result);
	opened.open_flags = READ(request, struct io_open, how.flags);
	if (opened.file)
		send_open(&actor, &opened);
}

/* After 6.12 the result comes as the queue's entry… */
SEC("tp_btf/io_uring_complete")
int BPF_PROG(uring_complete, void *ring, struct io_kiocb *request, struct io_uring_cqe *entry)
{
	completed(request, READ(entry, struct io_uring_cqe, res));
	return 0;
}

/* …and before as arguments: ring, request, user data, result, flags. */
SEC("tp_btf/io_uring_complete")
int uring_complete_result(__u64 *arguments)
{
	completed((struct io_kiocb *)arguments[1], (__s32)arguments[3]);
	return 0;
}
