// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Files by name: rename, unlink, link, symlink, mkdir, mknod, truncate, chmod, chown; and io_uring. */
#include "opens.h"
#include "syscalls.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

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

/* What a call named: a string and what it is relative to. */
struct operand {
	const void *string;
	__s32 dirfd;
	__u32 is_kernel; /* 1: the string is in kernel memory */
};

struct path_request {
	struct operand first, second; /* second.string 0: none */
	__u64 argument;
	__u32 type;
	__u32 call_flags;
	__u32 flags; /* enum mt_flag */
	__u32 literal; /* 1: second is text, not a path to be resolved */
};

/* Adds one operand: the string as given, and the directory that it starts from. Returns the directory's id. */
static __always_inline __u64 add_operand(struct record *record, struct task_struct *task, const struct operand *operand,
					 __u16 path_id, __u16 directory_id, __u16 job, struct introduced *introduced)
{
	struct path from = {};
	char first = 0;

	introduced->entry = 0;
	if (operand->is_kernel) {
		bpf_probe_read_kernel(&first, 1, operand->string);
		add_kernel_string(record, path_id, operand->string, MT_PATH_MAX);
	} else {
		bpf_probe_read_user(&first, 1, operand->string);
		add_user_string(record, path_id, operand->string, MT_PATH_MAX);
	}
	if (first == '/') {
		from.mnt = READ(task->fs, struct fs_struct, root.mnt);
		from.dentry = READ(task->fs, struct fs_struct, root.dentry);
		if (!has_own_root(&from))
			return 0;
	} else if (operand->dirfd == AT_FDCWD) {
		from.mnt = READ(task->fs, struct fs_struct, pwd.mnt);
		from.dentry = READ(task->fs, struct fs_struct, pwd.dentry);
	} else {
		struct file *file = file_of(task, operand->dirfd);

		if (!file)
			return 0;
		from.mnt = READ(file, struct file, f_path.mnt);
		from.dentry = READ(file, struct file, f_path.dentry);
	}
	return add_directory(record, directory_id, from.mnt, from.dentry, job, introduced);
}

static __always_inline void send_path_op(struct task_struct *task, const struct actor *actor,
					 const struct path_request *request)
{
	struct introduced first = {}, second = {};
	struct mt_path_op *body;
	struct record record;

	COUNT(request->type, seen);
	if (!begin(&record, request->type, MT_BULK, sizeof(*body), actor))
		return;
	record.flags = request->flags;
	body = BODY(&record, struct mt_path_op);
	body->argument = request->argument;
	body->call_flags = request->call_flags;
	body->fd = -1;
	body->dir = add_operand(&record, task, &request->first, MT_STR_PATH, MT_STR_DIR, actor->job, &first);
	if (request->call_flags & AT_EMPTY_PATH) {
		/* What is meant is the descriptor itself: a file without a name that is given one by linkat. */
		struct file *file = file_of(task, request->first.dirfd);

		if (file) {
			body->file = identity_of(READ(file, struct file, f_inode));
			body->fd = request->first.dirfd;
		}
	}
	if (request->second.string && request->literal)
		add_user_string(&record, MT_STR_PATH2, request->second.string, MT_PATH_MAX);
	else if (request->second.string)
		body->dir2 = add_operand(&record, task, &request->second, MT_STR_PATH2, MT_STR_DIR2, actor->job,
					 &second);
	if (send(&record)) {
		remember(&first);
		remember(&second);
	}
}

SEC("tp_btf/sys_exit")
int BPF_PROG(on_path, struct pt_regs *regs, long ret)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct done done = done_of(regs, task);
	struct mt_tag *tag = tag_of(task);
	struct path_request request = {.first.dirfd = AT_FDCWD, .second.dirfd = AT_FDCWD};
	struct actor actor;
	__u32 at = 0; /* the first argument is a directory's descriptor */

	if (!tag)
		return 0;
	actor = actor_of(task, tag);
	request.flags = done.compat ? MT_FLAG_COMPAT : 0;
	switch (done.call.call) {
	case CALL_RENAMEAT:
	case CALL_RENAMEAT2:
	case CALL_UNLINKAT:
	case CALL_LINKAT:
	case CALL_MKDIRAT:
	case CALL_MKNODAT:
	case CALL_FCHMODAT:
	case CALL_FCHMODAT2:
	case CALL_FCHOWNAT:
		at = 1;
	}
	if (at)
		request.first.dirfd = argument(&done, 0);
	request.first.string = at ? pointer_argument(&done, 1) : pointer_argument(&done, 0);
	switch (done.call.call) {
	case CALL_RENAMEAT2:
		request.call_flags = argument(&done, 4);
		/* fall through */
	case CALL_RENAMEAT:
		request.second.dirfd = argument(&done, 2);
		request.second.string = pointer_argument(&done, 3);
		request.type = MT_RENAME;
		break;
	case CALL_RENAME:
		request.second.string = pointer_argument(&done, 1);
		request.type = MT_RENAME;
		break;
	case CALL_UNLINKAT:
		request.call_flags = argument(&done, 2);
		request.type = request.call_flags & AT_REMOVEDIR ? MT_RMDIR : MT_UNLINK;
		break;
	case CALL_UNLINK:
		request.type = MT_UNLINK;
		break;
	case CALL_RMDIR:
		request.type = MT_RMDIR;
		break;
	case CALL_LINKAT:
		request.second.dirfd = argument(&done, 2);
		request.second.string = pointer_argument(&done, 3);
		request.call_flags = argument(&done, 4);
		request.type = MT_LINK;
		break;
	case CALL_LINK:
		request.second.string = pointer_argument(&done, 1);
		request.type = MT_LINK;
		break;
	case CALL_SYMLINKAT: /* text, directory, link */
		request.second.string = pointer_argument(&done, 0);
		request.first.dirfd = argument(&done, 1);
		request.first.string = pointer_argument(&done, 2);
		request.literal = 1;
		request.type = MT_SYMLINK;
		break;
	case CALL_SYMLINK: /* text, link */
		request.second.string = pointer_argument(&done, 0);
		request.first.string = pointer_argument(&done, 1);
		request.literal = 1;
		request.type = MT_SYMLINK;
		break;
	case CALL_MKDIRAT:
		request.argument = argument(&done, 2);
		request.type = MT_MKDIR;
		break;
	case CALL_MKDIR:
		request.argument = argument(&done, 1);
		request.type = MT_MKDIR;
		break;
	case CALL_MKNODAT:
		request.argument = argument(&done, 2);
		request.type = MT_MKNOD;
		break;
	case CALL_MKNOD:
		request.argument = argument(&done, 1);
		request.type = MT_MKNOD;
		break;
	case CALL_TRUNCATE64:
		request.argument = argument(&done, 1) | argument(&done, 2) << 32;
		request.type = MT_TRUNCATE;
		break;
	case CALL_TRUNCATE:
		request.argument = argument(&done, 1);
		request.type = MT_TRUNCATE;
		break;
	case CALL_FCHMODAT2:
		request.call_flags = argument(&done, 3);
		/* fall through */
	case CALL_FCHMODAT:
		request.argument = argument(&done, 2);
		request.type = MT_CHMOD;
		break;
	case CALL_CHMOD:
		request.argument = argument(&done, 1);
		request.type = MT_CHMOD;
		break;
	case CALL_FCHOWNAT:
		request.argument = argument(&done, 2) << 32 | (__u32)argument(&done, 3);
		request.call_flags = argument(&done, 4);
		request.type = MT_CHOWN;
		break;
	case CALL_LCHOWN:
		request.call_flags = 0x100; /* AT_SYMLINK_NOFOLLOW */
		/* fall through */
	case CALL_CHOWN:
		request.argument = argument(&done, 1) << 32 | (__u32)argument(&done, 2);
		request.type = MT_CHOWN;
		break;
	default:
		return 0;
	}
	send_path_op(task, &actor, &request);
	return 0;
}

SEC("tp_btf/sys_exit")
int BPF_PROG(on_descriptor, struct pt_regs *regs, long ret)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct done done = done_of(regs, task);
	struct mt_tag *tag = tag_of(task);
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
		value |= argument(&done, 2) << 32;
	}
	COUNT(type, seen);
	file = file_of(task, (__s32)argument(&done, 0));
	if (!file) {
		/* Closed by another thread already. */
		COUNT(type, lost);
		return 0;
	}
	if (!begin(&record, type, MT_BULK, sizeof(*body), &actor))
		return 0;
	record.flags = done.compat ? MT_FLAG_COMPAT : 0;
	body = BODY(&record, struct mt_path_op);
	body->file = identity_of(READ(file, struct file, f_inode));
	body->argument = value;
	body->fd = argument(&done, 0);
	body->dir = add_location(&record, file, actor.job, &introduced);
	if (send(&record))
		remember(&introduced);
	return 0;
}

static __always_inline const void *name_of(struct filename *filename)
{
	return READ(filename, struct filename, name);
}

/*
 * What a task gives to io_uring. Operations on names are recorded here, as asked for, since their strings are
 * gone when they are done; an open is recorded when its descriptor is there.
 */
static __always_inline int submitted(struct io_kiocb *request)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct mt_tag *tag = tag_of(task);
	struct path_request op = {.flags = MT_FLAG_URING, .first.is_kernel = 1, .second.is_kernel = 1};
	struct mt_process *process;
	struct introduced introduced = {};
	struct operand operand = {.is_kernel = 1};
	struct record record;
	struct mt_uring *body;
	struct actor actor;
	__u32 opcode;

	if (!tag)
		return 0;
	opcode = READ(request, struct io_kiocb, opcode);
	actor = actor_of(task, tag);
	switch (opcode) {
	case IORING_OP_RENAMEAT:
		op.type = MT_RENAME;
		op.first.dirfd = READ(request, struct io_rename, old_dfd);
		op.first.string = name_of(READ(request, struct io_rename, oldpath));
		op.second.dirfd = READ(request, struct io_rename, new_dfd);
		op.second.string = name_of(READ(request, struct io_rename, newpath));
		op.call_flags = READ(request, struct io_rename, flags);
		break;
	case IORING_OP_LINKAT:
		op.type = MT_LINK;
		op.first.dirfd = READ(request, struct io_link, old_dfd);
		op.first.string = name_of(READ(request, struct io_link, oldpath));
		op.second.dirfd = READ(request, struct io_link, new_dfd);
		op.second.string = name_of(READ(request, struct io_link, newpath));
		op.call_flags = READ(request, struct io_link, flags);
		break;
	case IORING_OP_SYMLINKAT: /* the same structure: oldpath is the text */
		op.type = MT_SYMLINK;
		op.first.dirfd = READ(request, struct io_link, new_dfd);
		op.first.string = name_of(READ(request, struct io_link, newpath));
		break;
	case IORING_OP_UNLINKAT:
		op.call_flags = READ(request, struct io_unlink, flags);
		op.type = op.call_flags & AT_REMOVEDIR ? MT_RMDIR : MT_UNLINK;
		op.first.dirfd = READ(request, struct io_unlink, dfd);
		op.first.string = name_of(READ(request, struct io_unlink, filename));
		break;
	case IORING_OP_MKDIRAT:
		op.type = MT_MKDIR;
		op.first.dirfd = READ(request, struct io_mkdir, dfd);
		op.first.string = name_of(READ(request, struct io_mkdir, filename));
		op.argument = READ(request, struct io_mkdir, mode);
		break;
	case IORING_OP_CLOSE:
		if (READ(request, struct io_close, file_slot))
			return 0;
		process = process_of(task->tgid);
		drop_writer(&actor, process, READ(request, struct io_close, fd), MT_CLOSE_CALL);
		return 0;
	case IORING_OP_OPENAT:
	case IORING_OP_OPENAT2:
		/* A direct descriptor never enters the table: this is all there will be. */
		if (!READ(request, struct io_open, file_slot))
			return 0;
		break;
	case IORING_OP_SPLICE:
	case IORING_OP_TEE:
	case IORING_OP_ACCEPT:
	case IORING_OP_CONNECT:
		break;
	default:
		return 0;
	}
	if (op.type) {
		send_path_op(task, &actor, &op);
		return 0;
	}
	COUNT(MT_URING, seen);
	if (!begin(&record, MT_URING, MT_BULK, sizeof(*body), &actor))
		return 0;
	record.flags = MT_FLAG_URING;
	body = BODY(&record, struct mt_uring);
	body->opcode = opcode;
	if (opcode == IORING_OP_OPENAT || opcode == IORING_OP_OPENAT2) {
		body->open_flags = READ(request, struct io_open, how.flags);
		operand.dirfd = READ(request, struct io_open, dfd);
		operand.string = name_of(READ(request, struct io_open, filename));
		body->dir = add_operand(&record, task, &operand, MT_STR_PATH, MT_STR_DIR, actor.job, &introduced);
	}
	if (send(&record))
		remember(&introduced);
	return 0;
}

SEC("tp_btf/io_uring_submit_req")
int BPF_PROG(uring_submit_req, struct io_kiocb *request)
{
	return submitted(request);
}

/* The same point up to 6.2, where the request comes second. */
SEC("tp_btf/io_uring_submit_sqe")
int BPF_PROG(uring_submit_sqe, void *ring, struct io_kiocb *request)
{
	return submitted(request);
}

static __always_inline void completed(struct io_kiocb *request, __s32 result)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct mt_tag *tag = tag_of(task);
	struct open_request opened = {.type = MT_OPEN, .flags = MT_FLAG_URING, .fd = result};
	struct actor actor;
	__u32 opcode;

	if (!request)
		return;
	opcode = READ(request, struct io_kiocb, opcode);
	if (opcode == IORING_OP_RENAMEAT)
		next_epoch();
	if (!tag)
		return;
	if (opcode != IORING_OP_OPENAT && opcode != IORING_OP_OPENAT2)
		return;
	if (result < 0) {
		COUNT(MT_OPEN, failed);
		return;
	}
	if (READ(request, struct io_open, file_slot))
		return;
	actor = actor_of(task, tag);
	opened.file = file_of(task, result);
	opened.open_flags = READ(request, struct io_open, how.flags);
	if (opened.file)
		send_open(&actor, process_of(actor.tgid), &opened);
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
