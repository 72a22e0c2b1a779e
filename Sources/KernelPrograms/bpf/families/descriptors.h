/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Descriptors, without a hook on the end of every system call: the functions of the kernel through which a file gets
 * its number, and loses it. They see every route there is, io_uring among them, and files as they are, where a hook on
 * the calls sees what was asked for.
 */
#include "hooks.h"
#include "syscalls.h"

#define O_LARGEFILE 0100000 /* set by the kernel for every 64-bit program */
#define CLOSE_RANGE_UNSHARE 2
#define FMODE_NOACCOUNT 0x20000000 /* opened by a file system for itself: the file behind one of overlayfs */

static __always_inline int is_only_reference(struct file *file)
{
	if (bpf_core_field_exists(struct file, f_ref))
		return READ(file, struct file, f_ref.refcnt.counter) == 0;
	return READ(file, struct file___counted, f_count.counter) == 1;
}

/* Global functions, as these ways are rare and the verifier need not follow each with all that comes before it. */

/* A descriptor of a file that others hold too: received, or a duplicate. */
__noinline int shared_installed(__u64 address, __s32 fd)
{
	struct task_struct *task = current_task();
	struct open_request request = {.type = MT_PASS_FD, .file = (struct file *)address, .fd = fd};
	struct mt_tag *tag = tag_of(task);
	struct mt_writer writer;
	struct actor actor;

	if (!tag)
		return 0;
	actor = actor_of(task, tag);
	if (tag->flags & (MT_TAG_RECEIVES | MT_TAG_RECEIVES_PIDFD)) {
		request.how = tag->flags & MT_TAG_RECEIVES_PIDFD ? MT_OPEN_PIDFD : MT_OPEN_SCM_RIGHTS;
		request.open_flags = 0;
		request.flags = compat_flag();
		tag->flags &= ~(MT_TAG_RECEIVES | MT_TAG_RECEIVES_PIDFD);
		if (config.typed & MT_TYPED_RECEIVE)
			send_open(&actor, &request);
	} else if ((config.typed & MT_TYPED_DUP) && may_write_through(request.file)) {
		writer = writer_of(request.file);
		duplicated(&actor, process_of(actor.tgid), request.file, &writer, -1, fd, compat_flag());
	}
	return 0;
}

/* A descriptor of a socket that is new. Returns the socket's family, or 0 where nobody has to look at it. */
__noinline int socket_installed(__u64 address, __s32 fd)
{
	struct task_struct *task = current_task();
	struct file *file = (struct file *)address;
	struct mt_tag *tag = tag_of(task);
	struct sock *sk = sock_of(file);
	struct actor actor;
	int is_accepted;
	__u32 family;

	if (!tag || !sk)
		return 0;
	family = family_of(sk);
	if (family == AF_UNIX)
		/* A pair has no address; what listened has, and those that it accepts have it too. */
		is_accepted = READ(sk, struct unix_sock, peer) && READ(sk, struct unix_sock, addr);
	else if (family == AF_INET || family == AF_INET6)
		is_accepted = READ(sk, struct sock, __sk_common.skc_dport) != 0;
	else
		is_accepted = READ(sk, struct sock, __sk_common.skc_state) == TCP_ESTABLISHED;
	actor = actor_of(task, tag);
	if (is_accepted) {
		if (config.typed & MT_TYPED_ACCEPT)
			accepted(&actor, sk, file, fd, compat_flag());
	} else if ((config.typed & MT_TYPED_SOCKET) && is_other_socket(family, READ(sk, struct sock, sk_type))) {
		socket_made(&actor, opaque(sk), family, READ(sk, struct sock, sk_type),
			    READ(sk, struct sock, sk_protocol), compat_flag());
	}
	return family;
}

/* A descriptor of a file that is nobody else's: one that was opened. Not a global function: this is the usual way. */
static __noinline void file_installed(struct task_struct *task, struct mt_tag *tag, struct file *file, __s32 fd)
{
	struct open_request request = {.type = MT_OPEN, .file = file, .fd = fd, .installed = 1};
	struct pending *pending;
	struct actor actor;

	request.open_flags = READ(file, struct file, f_flags) & ~O_LARGEFILE;
	if (tag->flags & MT_TAG_TRUNCATED) {
		tag->flags &= ~MT_TAG_TRUNCATED;
		pending = bpf_task_storage_get(&pendings, task, 0, 0);
		if (pending && pending->dentry == (__u64)READ(file, struct file, f_path.dentry))
			request.open_flags |= O_TRUNC;
	}
	actor = actor_of(task, tag);
	send_open(&actor, &request);
}

/*
 * fd_install(fd, file): every new descriptor but those of dup2 and dup3, just before others can see it. What there is to do
 * is done in functions that this one calls one after the other, as their stacks are too much for one below another.
 */
static __always_inline void installed(const __u64 *arguments)
{
	struct task_struct *task = current_task();
	struct file *file = ARGUMENT(arguments, 1, struct file *);
	__s32 fd = ARGUMENT(arguments, 0, __s32);
	struct mt_tag *tag = tag_of(task);
	struct inode *inode;
	__u32 type;

	if (!tag)
		return;
	if (!is_only_reference(file)) {
		shared_installed(number_of(file), fd);
		return;
	}
	tag->flags &= ~(MT_TAG_RECEIVES | MT_TAG_RECEIVES_PIDFD);
	inode = READ(file, struct file, f_inode);
	type = READ(inode, struct inode, i_mode) & S_IFMT;
	if (type == S_IFSOCK) {
		if (socket_installed(number_of(file), fd) == AF_PACKET && config.enforces)
			packet_socket_made(number_of(sock_of(file)));
		return;
	}
	/* Event counters, epoll sets and the like have no type, and pipes a hook of their own. */
	if (!type || (tag->flags & MT_TAG_PIPES) || !(config.typed & MT_TYPED_OPEN))
		return;
	if (READ(READ(inode, struct inode, i_sb), struct super_block, s_magic) == PID_FS_MAGIC)
		return;
	file_installed(task, tag, file, fd);
}
ON_BUSY_ENTRY(fd_install, MT_TURN_INSTALL, installed)

/* put_unused_fd(fd): a number is given back, since there was nothing to open. */
static __always_inline void given_back(const __u64 *arguments)
{
	struct task_struct *task = current_task();
	struct mt_tag *tag = own_tag(task);

	if (!tag)
		return;
	COUNT(MT_OPEN, failed);
	COUNT_JOB(tag->job, failed);
	count_failed_open(task->tgid);
}
ON_ENTRY(put_unused_fd, given_back)

/* Notes what the current task is in the middle of. */
static __always_inline void note(enum mt_tag_flag flag)
{
	struct mt_tag *tag = tag_of(current_task());

	if (tag)
		tag->flags |= flag;
}

/* (file, where its number is to be stored, flags): pidfd_getfd stores it nowhere. */
static __always_inline void receiving(const __u64 *arguments)
{
	note(arguments[1] ? MT_TAG_RECEIVES : MT_TAG_RECEIVES_PIDFD);
}
ON_ENTRY(receive_fd, receiving)

/* Up to 6.7 that is __receive_fd, and receive_fd(file, flags) a function for pidfd_getfd, which may contain it. */
ON_ENTRY(__receive_fd, receiving)

SEC("fentry/receive_fd")
int fentry_receive_pidfd(void *context)
{
	note(MT_TAG_RECEIVES_PIDFD);
	return 0;
}

SEC("kprobe/receive_fd")
int kprobe_receive_pidfd(void *context)
{
	note(MT_TAG_RECEIVES_PIDFD);
	return 0;
}

/* In 7.3 what comes in messages does not go through receive_fd; this is asked of all that is received. */
static __always_inline void receiving_any(const __u64 *arguments)
{
	note(MT_TAG_RECEIVES);
}
ON_ENTRY(security_file_receive, receiving_any)

/* close(2), by number; nearly all are of no interest. */
static __always_inline void closing_one(const __u64 *arguments)
{
	struct task_struct *task = current_task();
	__u32 fd = ARGUMENT(arguments, 0, __u32);
	struct mt_tag *tag;
	struct actor actor;

	if (is_outside(task) || !may_write(task->tgid, fd))
		return;
	tag = own_tag(task);
	if (!tag)
		return;
	actor = actor_of(task, tag);
	drop_writer(&actor, process_of(task->tgid), fd, MT_CLOSE_CALL);
}
ON_BUSY_ENTRY(file_close_fd, MT_TURN_CLOSE, closing_one)
/* up to 6.6 */
ON_BUSY_ENTRY(close_fd, MT_TURN_CLOSE, closing_one)

/* do_dup2(files, file, fd, flags): dup2 and dup3. What the number stood for is closed. */
static __always_inline void replacing(const __u64 *arguments)
{
	struct task_struct *task = current_task();
	struct file *file = ARGUMENT(arguments, 1, struct file *);
	__u32 fd = ARGUMENT(arguments, 2, __u32);
	int is_writer = may_write_through(file);
	struct mt_process *process;
	struct mt_writer writer;
	struct mt_tag *tag;
	struct actor actor;

	if (!is_writer && !may_write(task->tgid, fd))
		return;
	tag = own_tag(task);
	if (!tag)
		return;
	actor = actor_of(task, tag);
	process = process_of(actor.tgid);
	drop_writer(&actor, process, fd, MT_CLOSE_REPLACED);
	if (!is_writer)
		return;
	writer = writer_of(file);
	duplicated(&actor, process, file, &writer, -1, fd, compat_flag());
}
ON_BUSY_ENTRY(do_dup2, MT_TURN_DUP, replacing)

#ifdef bpf_target_x86
static __always_inline void closing_range(const __u64 *arguments, __u8 compat)
{
	const struct done call = {.regs = ARGUMENT(arguments, 0, struct pt_regs *), .compat = compat};
	__u32 first = call_argument(&call, 0), last = call_argument(&call, 1), flags = call_argument(&call, 2);

	if (first <= last && !(flags & ~(CLOSE_RANGE_UNSHARE | CLOSE_RANGE_CLOEXEC)))
		close_between(current_task(), first, last, flags);
}

static __always_inline void closing_range_64(const __u64 *arguments)
{
	closing_range(arguments, 0);
}
ON_ENTRY(__x64_sys_close_range, closing_range_64)

static __always_inline void closing_range_32(const __u64 *arguments)
{
	closing_range(arguments, 1);
}
ON_ENTRY(__ia32_sys_close_range, closing_range_32)
#endif

/* Shared mappings. The LSM hook has the protection that was asked for in front of the one that is given. */
static __always_inline void mapping(struct file *file, __u32 prot, __u32 map_flags)
{
	struct task_struct *task;
	struct mt_tag *tag;
	struct actor actor;

	if ((map_flags & (MAP_ANONYMOUS | MAP_SHARED)) != MAP_SHARED || !may_write_through(file))
		return;
	task = current_task();
	tag = own_tag(task);
	if (!tag)
		return;
	actor = actor_of(task, tag);
	mapped(&actor, file, 0, prot, map_flags, compat_flag());
}

SEC("lsm/mmap_file")
int lsm_mmap_file(__u64 *context)
{
	mapping(ARGUMENT(context, 0, struct file *), context[1], context[3]);
	return 0;
}

static __always_inline void mapping_file(const __u64 *arguments)
{
	mapping(ARGUMENT(arguments, 0, struct file *), arguments[1], arguments[2]);
}
ON_ENTRY(security_mmap_file, mapping_file)

/* do_pipe2(numbers, flags). Between these two the task's new descriptors are the pipe's. */
static __always_inline void making_pipe(const __u64 *arguments)
{
	struct mt_tag *tag = own_tag(current_task());

	if (tag)
		tag->flags |= MT_TAG_PIPES;
}
ON_ENTRY(do_pipe2, making_pipe)

static __always_inline void pipe_made(const __u64 *arguments, __u64 result)
{
	struct task_struct *task = current_task();
	struct mt_tag *tag = own_tag(task);

	if (!tag)
		return;
	tag->flags &= ~MT_TAG_PIPES;
	if (has_failed(result)) {
		COUNT(MT_PIPE, failed);
		COUNT_JOB(tag->job, failed);
	} else {
		pair_made(task, tag, MT_PIPE, ARGUMENT(arguments, 0, const void *), 0, compat_flag());
	}
}
ON_BUSY_RETURN(do_pipe2, MT_TURN_PIPE, pipe_made)

/* A kretprobe has no arguments: with kprobes it is the end of the call that tells of pipes. */
SEC("kretprobe/do_pipe2")
int kretprobe_do_pipe2(void *context)
{
	struct mt_tag *tag = own_tag(current_task());

	if (tag)
		tag->flags &= ~MT_TAG_PIPES;
	return 0;
}

/* __sys_socketpair(family, type, protocol, numbers) */
static __always_inline void socket_pair_made(const __u64 *arguments, __u64 result)
{
	struct task_struct *task = current_task();
	struct mt_tag *tag = own_tag(task);

	if (!tag)
		return;
	if (has_failed(result)) {
		COUNT(MT_SOCKETPAIR, failed);
		COUNT_JOB(tag->job, failed);
	} else {
		pair_made(task, tag, MT_SOCKETPAIR, ARGUMENT(arguments, 3, const void *), arguments[0], compat_flag());
	}
}
ON_RETURN(__sys_socketpair, socket_pair_made)

/* Copies inside the kernel: of each end the file, or 0 and its descriptor. */
static __always_inline void moved(struct file *from, struct file *to, __s32 in, __s32 out, __u32 kind, __u64 result)
{
	struct transfer transfer = {.bytes = result, .in = in, .out = out, .kind = kind};
	struct task_struct *task = current_task();
	struct mt_tag *tag = tag_of(task);

	if (!tag)
		return;
	if (has_failed(result)) {
		COUNT(MT_COPY, failed);
		COUNT_JOB(tag->job, failed);
		return;
	}
	if (kind != MT_COPY_REFLINK && !result)
		return;
	transfer.from = from ? from : file_of(task, in);
	transfer.to = to ? to : file_of(task, out);
	transfer.flags = compat_flag();
	transferred(task, tag, &transfer);
}

/* do_sendfile(out, in, offset, count, limit) */
static __always_inline void sent_file(const __u64 *arguments, __u64 result)
{
	moved(0, 0, ARGUMENT(arguments, 1, __s32), ARGUMENT(arguments, 0, __s32), MT_COPY_SENDFILE, result);
}
ON_RETURN(do_sendfile, sent_file)

/* do_splice(in, offset, out, offset, length, flags) */
static __always_inline void spliced(const __u64 *arguments, __u64 result)
{
	moved(ARGUMENT(arguments, 0, struct file *), ARGUMENT(arguments, 2, struct file *), -1, -1, MT_COPY_SPLICE,
	      result);
}
ON_RETURN(do_splice, spliced)

/* do_tee(in, out, length, flags) */
static __always_inline void teed(const __u64 *arguments, __u64 result)
{
	moved(ARGUMENT(arguments, 0, struct file *), ARGUMENT(arguments, 1, struct file *), -1, -1, MT_COPY_TEE, result);
}
ON_RETURN(do_tee, teed)

/* vfs_copy_file_range(in, position, out, position, length, flags) */
static __always_inline void range_copied(const __u64 *arguments, __u64 result)
{
	struct file *from = ARGUMENT(arguments, 0, struct file *), *to = ARGUMENT(arguments, 2, struct file *);

	if (!(READ(to, struct file, f_mode) & FMODE_NOACCOUNT))
		moved(from, to, -1, -1, MT_COPY_RANGE, result);
}
ON_RETURN(vfs_copy_file_range, range_copied)

/* ioctl_file_clone(to, descriptor of what to clone, offset, length, offset) */
static __always_inline void cloned(const __u64 *arguments, __u64 result)
{
	moved(0, ARGUMENT(arguments, 0, struct file *), ARGUMENT(arguments, 1, __s32), -1, MT_COPY_REFLINK, result);
}
ON_RETURN(ioctl_file_clone, cloned)

/* Unix sockets: whom one connects to is known here by what it is, and not by the name that was asked for. */
static __always_inline void unix_reached(struct sock *sk, struct sock *other, __u64 peer)
{
	struct task_struct *task = current_task();
	struct socket *socket = READ(sk, struct sock, sk_socket);
	struct unix_address *address;
	struct mt_tag *tag = tag_of(task);
	struct dentry *dentry;
	struct record record;
	struct mt_unix *body;
	struct actor actor;

	if (!tag)
		return;
	actor = actor_of(task, tag);
	if (is_filtered(actor.job, MT_UNIX_CONNECT))
		return;
	COUNT(MT_UNIX_CONNECT, seen);
	if (!begin(&record, MT_UNIX_CONNECT, MT_CRITICAL, sizeof(*body), &actor))
		return;
	HEADER(&record)->flags = compat_flag();
	body = BODY(&record, struct mt_unix);
	describe_unix(body, sk, READ(socket, struct socket, file), -1);
	body->peer = peer;
	dentry = READ(other, struct unix_sock, path.dentry);
	address = READ(other, struct unix_sock, addr);
	if (dentry)
		add_path(&record, MT_STR_PATH, READ(other, struct unix_sock, path.mnt), dentry);
	else if (address)
		add_kernel_bytes(&record, MT_STR_PATH,
				 (__u8 *)address + bpf_core_field_offset(struct unix_address, name) + 2,
				 READ(address, struct unix_address, len) - 2, UNIX_PATH_MAX);
	send(&record);
}

/* (socket, who listens, the socket that it will accept): nothing can fail after this. */
static __always_inline void unix_connecting(const __u64 *arguments)
{
	const void *made = ARGUMENT(arguments, 2, const void *);

	unix_reached((struct sock *)number_of(ARGUMENT(arguments, 0, const void *)),
		     ARGUMENT(arguments, 1, struct sock *), opaque((const void *)number_of(made)));
}
ON_SECURITY(unix_stream_connect, unix_connecting)

/* (socket, to whom): for each datagram, of which the first of (image, socket, receiver) is told. */
static __always_inline void unix_sending(const __u64 *arguments)
{
	struct mt_tag *tag = tag_of(current_task());
	__u64 hash = hash_begin('u');
	struct sock *sk, *other;

	if (!tag)
		return;
	sk = READ(ARGUMENT(arguments, 0, struct socket *), struct socket, sk);
	other = READ(ARGUMENT(arguments, 1, struct socket *), struct socket, sk);
	if (!READ(other, struct unix_sock, addr) || is_filtered(tag->job, MT_UNIX_CONNECT))
		return;
	hash = hash_word(hash, tag->image ^ tag->tgid);
	hash = hash_word(hash, (__u64)sk);
	hash = hash_end(hash_word(hash, (__u64)other));
	if (was_sent(hash)) {
		COUNT_DEDUPLICATED(MT_UNIX_CONNECT, tag->job);
		return;
	}
	remember_open(hash);
	unix_reached(sk, other, opaque(other));
}
ON_SECURITY(unix_may_send, unix_sending)
