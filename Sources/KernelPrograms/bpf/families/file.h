/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Files by descriptor: the one hook on the end of system calls, and opens, closes, copies of descriptors. */
#include "opens.h"
#include "shield.h"

#define F_DUPFD 0
#define F_DUPFD_CLOEXEC 1030
#define MAP_SHARED 1
#define MAP_TYPE 0xf
#define MAP_ANONYMOUS 0x20
#define PROT_WRITE 2
#define PROT_EXEC 4
#define PTRACE_TRACEME 0
#define PTRACE_ATTACH 16
#define PTRACE_SEIZE 0x4206
#define EPERM 1
#define EACCES 13
#define FICLONE 0x40049409
#define FICLONERANGE 0x4020940d
#define CLOSE_RANGE_CLOEXEC 4

/* Most calls of a kind that is looked at are of no interest: what the registers alone can tell is told first. */
static __always_inline int is_of_interest(const struct done *done)
{
	__u32 command;

	switch (done->call.call) {
	case CALL_MMAP:
		return (argument(done, 3) & (MAP_ANONYMOUS | MAP_SHARED)) == MAP_SHARED ||
		       (argument(done, 2) & PROT_EXEC);
	case CALL_MPROTECT:
		return (argument(done, 2) & PROT_EXEC) != 0;
	case CALL_PTRACE:
		command = argument(done, 0);
		return command == PTRACE_TRACEME || command == PTRACE_ATTACH || command == PTRACE_SEIZE;
	case CALL_FCNTL:
		command = argument(done, 1);
		return command == F_DUPFD || command == F_DUPFD_CLOEXEC;
	case CALL_IOCTL:
		command = argument(done, 1);
		return command == FICLONE || command == FICLONERANGE;
	case CALL_SOCKET:
		return is_other_socket(argument(done, 0), argument(done, 1));
	default:
		return 1;
	}
}

static __always_inline void count_failure(struct task_struct *task, struct mt_tag *tag, const struct done *done)
{
	__u32 call = done->call.call, type;

	if (call >= CALL_COUNT)
		return;
	type = call_types[call];
	if (type == MT_NONE || (type == MT_OPEN && (config.typed & MT_TYPED_OPEN)))
		return;
	COUNT(type, failed);
	COUNT_JOB(tag->job, failed);
	if (type == MT_OPEN)
		count_failed_open(TASK(task, tgid));
}

/* The handler that a call goes to before, or instead of, its own: for what of it concerns security. */
static __always_inline __u32 security_handler(const struct done *done, long ret)
{
	switch (done->call.call) {
	case CALL_MMAP:
	case CALL_MMAP_OLD:
		return MT_HANDLER_MEMORY;
	case CALL_PIDFD_GETFD:
		return MT_HANDLER_ACCESS;
	case CALL_OPEN:
	case CALL_OPENAT:
	case CALL_OPENAT2:
		/* Most opens that fail have no file to find. */
		return ret == -EACCES || ret == -EPERM ? MT_HANDLER_ACCESS : MT_HANDLER_NONE;
	default:
		return done->call.handler >= MT_HANDLER_ACCESS ? done->call.handler : MT_HANDLER_NONE;
	}
}

/* Whether an open file may be called "mem": told without looking at more of it. */
static __always_inline int may_be_memory(struct file *file)
{
	return READ(READ(file, struct file, f_path.dentry), struct dentry, d_name.len) == 3;
}

/* Returns the file, or 0. */
static __always_inline struct file *opened(struct task_struct *task, struct mt_tag *tag, const struct done *done,
					   long ret)
{
	struct open_request request = {.type = MT_OPEN, .fd = ret};
	struct actor actor = actor_of(task, tag);
	__u64 how = 0;

	request.file = file_of(task, (__u32)ret);
	if (!request.file) {
		/* Closed by another thread already. */
		if (is_filtered(tag->job, MT_OPEN))
			return 0;
		COUNT(MT_OPEN, seen);
		COUNT(MT_OPEN, lost);
		COUNT_JOB(tag->job, lost_bulk);
		return 0;
	}
	request.flags = flags_of(done);
	switch (done->call.call) {
	case CALL_OPEN:
		request.open_flags = argument(done, 1);
		break;
	case CALL_CREAT:
		request.open_flags = O_CREAT | O_TRUNC | 1;
		break;
	case CALL_OPENAT2:
		if (bpf_probe_read_user(&how, sizeof(how), pointer_argument(done, 2)))
			request.flags |= MT_FLAG_UNREADABLE;
		request.open_flags = how;
		break;
	case CALL_MEMFD:
		request.open_flags = O_CREAT | 2;
		break;
	default:
		request.open_flags = argument(done, 2);
	}
	send_open(&actor, &request);
	return request.file;
}

SEC("tp_btf/sys_exit")
int BPF_PROG(sys_exit, struct pt_regs *regs, long ret)
{
	struct task_struct *task = current_task();
	struct done done = done_of(regs, task);
	__u8 handler = done.call.handler;
	struct file *file;
	struct mt_tag *tag;
	__u32 security;
	int is_failure;

	if (done.call.call == CALL_NONE || !is_of_interest(&done))
		return 0;
	/* Names of everybody's files change by everybody's renames. */
	if (ret == 0 && (done.call.call <= CALL_RENAMEAT2 ||
			 (done.call.call >= CALL_MOUNT_OTHER && done.call.call <= CALL_PIVOT_ROOT)))
		next_epoch();
	if (handler == MT_HANDLER_NONE)
		return 0;
	/* The commonest of all, and of no interest nearly always, is told before the tag is looked for. */
	if (handler == MT_HANDLER_CLOSE && !may_write(TASK(task, tgid), argument(&done, 0)))
		return 0;
	/* Connects of other families are told by the network's side. Their descriptor costs less than the tag. */
	if (handler == MT_HANDLER_CONNECT && !unix_socket(file_of(task, (__s32)argument(&done, 0))))
		return 0;
	tag = own_tag(task);
	if (!tag)
		return 0;
	/* 32-bit calls leave their result in 32 bits. A close that fails has closed all the same. */
	is_failure = (ret < 0 || (done.compat && (__s32)ret < 0 && handler != MT_HANDLER_MMAP)) &&
		     handler != MT_HANDLER_CLOSE;
	if (is_failure)
		count_failure(task, tag, &done);
	/* Goes on where nobody is there: then another hook tells what concerns security. */
	security = security_handler(&done, done.compat ? (__s32)ret : ret);
	if (security != MT_HANDLER_NONE)
		bpf_tail_call(ctx, &handlers, security);
	if (is_failure || handler >= MT_HANDLER_ACCESS)
		return 0;
	if (handler != MT_HANDLER_OPEN) {
		bpf_tail_call(ctx, &handlers, handler);
		return 0;
	}
	file = config.typed & MT_TYPED_OPEN ? file_of(task, (__u32)ret) : opened(task, tag, &done, ret);
	if (!(config.typed & MT_TYPED_SHIELD_FILES) && file && (READ(file, struct file, f_mode) & MT_FMODE_WRITE))
		shield_open((__u64)file, 0);
	if (file && may_be_memory(file))
		bpf_tail_call(ctx, &handlers, MT_HANDLER_ACCESS);
	return 0;
}

SEC("tp_btf/sys_exit")
int BPF_PROG(on_close, struct pt_regs *regs, long ret)
{
	struct task_struct *task = current_task();
	struct done done = done_of(regs, task);
	struct mt_tag *tag = own_tag(task);
	struct actor actor;

	if (!tag)
		return 0;
	actor = actor_of(task, tag);
	drop_writer(&actor, process_of(TASK(task, tgid)), argument(&done, 0), MT_CLOSE_CALL);
	return 0;
}

/* The descriptors of word `word` that lie in `first` to `last`. */
static __always_inline __u64 bits_between(__u32 word, __u32 first, __u32 last)
{
	__u32 base = word * 64;
	__u64 bits = ~0ull;

	if (first > base + 63 || last < base)
		return 0;
	if (first > base)
		bits &= ~0ull << (first & 63);
	if (last < base + 63)
		bits &= ~0ull >> (63 - (last & 63));
	return bits;
}

static __always_inline void close_between(struct task_struct *task, __u32 first, __u32 last, __u32 flags)
{
	struct closing closing = {.why = MT_CLOSE_CALL};
	struct mt_tag *tag = own_tag(task);

	if (!tag || (flags & CLOSE_RANGE_CLOEXEC))
		return;
	closing.process = process_of(TASK(task, tgid));
	if (!closing.process)
		return;
	closing.actor = actor_of(task, tag);
	closing.left = writing_of(closing.process);
	closing.left.words[0] &= bits_between(0, first, last);
	closing.left.words[1] &= bits_between(1, first, last);
	closing.left.words[2] &= bits_between(2, first, last);
	closing.left.words[3] &= bits_between(3, first, last);
	close_all(&closing);
}

SEC("tp_btf/sys_exit")
int BPF_PROG(on_close_range, struct pt_regs *regs, long ret)
{
	struct task_struct *task = current_task();
	struct done done = done_of(regs, task);

	close_between(task, argument(&done, 0), argument(&done, 1), argument(&done, 2));
	return 0;
}

/* A descriptor that stands for the same open file as another one, which can write it. `file` 0: it was told already. */
static __always_inline void duplicated(const struct actor *actor, struct mt_process *process, struct file *file,
				       const struct mt_writer *writer, __s32 old_fd, __u32 fd, __u32 flags)
{
	struct record record;
	struct mt_dup *body;
	enum begun begun;

	if (is_filtered(actor->job, MT_DUP))
		return;
	if (file) {
		begun = begin_of(&record, MT_DUP, MT_DUP, sizeof(*body), actor, file);
	} else {
		COUNT(MT_DUP, seen);
		begun = begin(&record, MT_DUP, MT_BULK, sizeof(*body), actor) ? BEGUN : BEGUN_NOT;
	}
	if (begun == BEGUN_NOTHING)
		return;
	add_writer(actor->tgid, process, fd, writer);
	if (begun != BEGUN)
		return;
	HEADER(&record)->flags = flags;
	body = BODY(&record, struct mt_dup);
	body->file = writer->file;
	body->old_fd = old_fd;
	body->new_fd = fd;
	send(&record);
}

SEC("tp_btf/sys_exit")
int BPF_PROG(on_dup, struct pt_regs *regs, long ret)
{
	struct task_struct *task = current_task();
	struct done done = done_of(regs, task);
	struct mt_tag *tag = own_tag(task);
	struct mt_process *process;
	struct mt_writer_key key;
	struct mt_writer *found, writer;
	struct actor actor;

	if (!tag)
		return 0;
	key.tgid = TASK(task, tgid);
	key.fd = argument(&done, 0);
	if (key.fd == (__u32)ret)
		return 0;
	actor = actor_of(task, tag);
	process = process_of(TASK(task, tgid));
	if (done.call.call == CALL_DUP2)
		drop_writer(&actor, process, ret, MT_CLOSE_REPLACED);
	found = bpf_map_lookup_elem(&writers, &key);
	if (!found)
		return 0;
	writer = *found;
	duplicated(&actor, process, 0, &writer, key.fd, ret, flags_of(&done));
	return 0;
}

/* mmap's arguments; the oldest 32-bit call has them in memory. */
static __always_inline int mmap_arguments(const struct done *done, __u32 values[5])
{
	if (done->call.call == CALL_MMAP_OLD)
		return bpf_probe_read_user(values, 5 * sizeof(__u32), pointer_argument(done, 0));
	values[1] = argument(done, 1);
	values[2] = argument(done, 2);
	values[3] = argument(done, 3);
	values[4] = argument(done, 4);
	return 0;
}

/* Protection can be added later, so every shared mapping of a writable descriptor may write. */
static __always_inline int may_write_through(struct file *file)
{
	return file && (READ(file, struct file, f_mode) & MT_FMODE_WRITE) &&
	       (READ(READ(file, struct file, f_inode), struct inode, i_mode) & S_IFMT) == S_IFREG;
}

static __always_inline void mapped(const struct actor *actor, struct file *file, __u64 length, __u32 prot,
				   __u32 map_flags, __u32 flags)
{
	struct record record;
	struct mt_mmap *body;

	if (is_filtered(actor->job, MT_MMAP_SHARED) ||
	    begin_of(&record, MT_MMAP_SHARED, MT_MMAP_SHARED, sizeof(*body), actor, file) != BEGUN)
		return;
	HEADER(&record)->flags = flags;
	body = BODY(&record, struct mt_mmap);
	body->file = identity_of(READ(file, struct file, f_inode));
	body->length = length;
	body->prot = prot;
	body->map_flags = map_flags;
	send(&record);
}

SEC("tp_btf/sys_exit")
int BPF_PROG(on_mmap, struct pt_regs *regs, long ret)
{
	struct task_struct *task = current_task();
	struct done done = done_of(regs, task);
	struct mt_tag *tag = own_tag(task);
	__u32 values[5] = {};
	struct actor actor;
	struct file *file;

	if (!tag || mmap_arguments(&done, values))
		return 0;
	if (!(values[3] & MAP_SHARED) || (values[3] & MAP_ANONYMOUS))
		return 0;
	file = file_of(task, (__s32)values[4]);
	if (!may_write_through(file))
		return 0;
	actor = actor_of(task, tag);
	mapped(&actor, file, done.compat ? values[1] : argument(&done, 1), values[2], values[3], flags_of(&done));
	return 0;
}
