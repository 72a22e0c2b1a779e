/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* How data and descriptors get from file to file and from process to process. */
#include "control_messages.h"
#include "packets.h"

#define SOCKETCALL_ACCEPT 5
#define SOCKETCALL_ACCEPT4 18
#define UNIX_PATH_MAX 108

/* Data that went from one open file to another inside the kernel; what is not known is 0, of descriptors -1. */
struct transfer {
	struct file *from, *to;
	__u64 bytes;
	__s32 in, out;
	__u32 kind; /* enum mt_copy_kind */
	__u32 flags;
};

static __always_inline void transferred(struct task_struct *task, struct mt_tag *tag, const struct transfer *transfer)
{
	struct actor actor = actor_of(task, tag);
	struct file *from = transfer->from, *to = transfer->to;
	__u64 hash = hash_begin('c');
	struct record record;
	struct mt_copy *body;

	if (is_filtered(actor.job, MT_COPY))
		return;
	COUNT(MT_COPY, seen);
	hash = hash_word(hash, actor.image ^ actor.tgid);
	hash = hash_word(hash, READ(READ(from, struct file, f_inode), struct inode, i_ino) ^ transfer->kind);
	hash = hash_word(hash, (__u64)READ(from, struct file, f_inode));
	hash = hash_word(hash, READ(READ(to, struct file, f_inode), struct inode, i_ino));
	hash = hash_end(hash_word(hash, (__u64)READ(to, struct file, f_inode)));
	if (was_sent(hash)) {
		COUNT(MT_COPY, deduplicated);
		COUNT_JOB(actor.job, deduplicated);
		return;
	}
	if (!begin(&record, MT_COPY, MT_BULK, sizeof(*body), &actor))
		return;
	HEADER(&record)->flags = transfer->flags;
	if (!from || !to)
		HEADER(&record)->flags |= MT_FLAG_UNREADABLE;
	body = BODY(&record, struct mt_copy);
	if (from)
		body->from = identity_of(READ(from, struct file, f_inode));
	if (to)
		body->to = identity_of(READ(to, struct file, f_inode));
	body->bytes = transfer->bytes;
	body->from_fd = transfer->in;
	body->to_fd = transfer->out;
	body->kind = transfer->kind;
	if (send(&record))
		remember_open(hash);
}

SEC("tp_btf/sys_exit")
int BPF_PROG(on_copy, struct pt_regs *regs, long ret)
{
	struct task_struct *task = current_task();
	struct done done = done_of(regs, task);
	struct mt_tag *tag = own_tag(task);
	struct transfer transfer = {.bytes = ret, .flags = flags_of(&done)};
	__s64 clone_source = 0;

	if (!tag)
		return 0;
	switch (done.call.call) {
	case CALL_SENDFILE:
		transfer.kind = MT_COPY_SENDFILE;
		transfer.out = argument(&done, 0);
		transfer.in = argument(&done, 1);
		break;
	case CALL_SPLICE:
	case CALL_COPY_FILE_RANGE:
		transfer.kind = done.call.call == CALL_SPLICE ? MT_COPY_SPLICE : MT_COPY_RANGE;
		transfer.in = argument(&done, 0);
		transfer.out = argument(&done, 2);
		break;
	case CALL_TEE:
		transfer.kind = MT_COPY_TEE;
		transfer.in = argument(&done, 0);
		transfer.out = argument(&done, 1);
		break;
	default:
		transfer.kind = MT_COPY_REFLINK;
		transfer.out = argument(&done, 0);
		transfer.in = argument(&done, 2);
		if ((__u32)argument(&done, 1) == FICLONERANGE) {
			/* struct file_clone_range begins with the source's descriptor. */
			bpf_probe_read_user(&clone_source, sizeof(clone_source), pointer_argument(&done, 2));
			transfer.in = clone_source;
		}
	}
	if (transfer.kind != MT_COPY_REFLINK && !transfer.bytes)
		return 0;
	transfer.from = file_of(task, transfer.in);
	transfer.to = file_of(task, transfer.out);
	transferred(task, tag, &transfer);
	return 0;
}

/* A pipe or a pair of sockets; `numbers` is where the caller has its two descriptors. */
static __always_inline void pair_made(struct task_struct *task, struct mt_tag *tag, __u32 type, const void *numbers,
				      __u32 family, __u32 flags)
{
	struct actor actor = actor_of(task, tag);
	__s32 fds[2] = {-1, -1};
	struct record record;
	struct mt_pair *body;
	struct file *a, *b;

	if (is_filtered(actor.job, type))
		return;
	COUNT(type, seen);
	if (!begin(&record, type, MT_BULK, sizeof(*body), &actor))
		return;
	HEADER(&record)->flags = flags;
	if (bpf_probe_read_user(fds, sizeof(fds), numbers))
		HEADER(&record)->flags |= MT_FLAG_UNREADABLE;
	a = file_of(task, fds[0]);
	b = file_of(task, fds[1]);
	body = BODY(&record, struct mt_pair);
	body->a_fd = fds[0];
	body->b_fd = fds[1];
	if (a && b) {
		body->a_ino = READ(READ(a, struct file, f_inode), struct inode, i_ino);
		body->b_ino = READ(READ(b, struct file, f_inode), struct inode, i_ino);
		if (type == MT_SOCKETPAIR) {
			body->a_sock = opaque(sock_of(a));
			body->b_sock = opaque(sock_of(b));
			body->family = family;
		}
	} else {
		HEADER(&record)->flags |= MT_FLAG_UNREADABLE;
	}
	send(&record);
}

SEC("tp_btf/sys_exit")
int BPF_PROG(on_pair, struct pt_regs *regs, long ret)
{
	struct task_struct *task = current_task();
	struct done done = done_of(regs, task);
	struct mt_tag *tag = own_tag(task);
	int is_pipe = done.call.call == CALL_PIPE;

	if (tag)
		pair_made(task, tag, is_pipe ? MT_PIPE : MT_SOCKETPAIR,
			  is_pipe ? pointer_argument(&done, 0) : pointer_argument(&done, 3), argument(&done, 0),
			  flags_of(&done));
	return 0;
}

/* Records one descriptor that arrived. A global function: the verifier looks at it once, not in every state of a loop. */
__noinline int pass_descriptor(__s32 fd, __u32 flags, __u32 how)
{
	struct task_struct *task = current_task();
	struct open_request request = {.type = MT_PASS_FD, .how = how, .flags = flags, .fd = fd};
	struct mt_tag *tag = own_tag(task);
	struct actor actor;

	if (!tag)
		return 0;
	actor = actor_of(task, tag);
	request.file = file_of(task, fd);
	if (request.file)
		send_open(&actor, &request);
	return 0;
}

static long receive_step(__u32 index, struct received *received)
{
	__s32 fd = -1;
	int found = next_descriptor(received, &fd);

	if (found == RECEIVED_FD)
		pass_descriptor(fd, compat_flag(), MT_OPEN_SCM_RIGHTS);
	return found == RECEIVED_ALL;
}
LONG_LOOP_STEP(struct received, receive_step)

SEC("tp_btf/sys_exit")
int BPF_PROG(on_receive, struct pt_regs *regs, long ret)
{
	struct task_struct *task = current_task();
	struct done done = done_of(regs, task);
	struct mt_tag *tag = own_tag(task);
	struct received received = {};

	if (!tag)
		return 0;
	if (done.call.call == CALL_PIDFD_GETFD) {
		pass_descriptor(ret, flags_of(&done), MT_OPEN_PIDFD);
		return 0;
	}
	if (!begin_received(&received, &done, ret))
		return 0;
	if (LOOP(RECEIVE_STEPS, receive_step, &received) == RECEIVE_STEPS) {
		/* Descriptors in the rest, if any, go unseen: say so. */
		if (is_filtered(tag->job, MT_PASS_FD))
			return 0;
		COUNT(MT_PASS_FD, seen);
		COUNT(MT_PASS_FD, lost);
		COUNT_JOB(tag->job, lost_bulk);
	}
	return 0;
}

static __always_inline void describe_unix(struct mt_unix *body, struct sock *sk, struct file *file, __s32 fd)
{
	body->sock = opaque(sk);
	body->peer = opaque(READ(sk, struct unix_sock, peer));
	body->ino = READ(READ(file, struct file, f_inode), struct inode, i_ino);
	body->type = READ(sk, struct sock, sk_type);
	body->fd = fd;
}

SEC("tp_btf/sys_exit")
int BPF_PROG(on_connect, struct pt_regs *regs, long ret)
{
	struct task_struct *task = current_task();
	struct done done = done_of(regs, task);
	struct mt_tag *tag = own_tag(task);
	struct introduced introduced = {};
	struct record record;
	struct mt_unix *body;
	struct actor actor;
	struct file *file;
	struct sock *sk;
	__u64 length;
	__u8 first = 0;
	__s32 fd;

	if (!tag)
		return 0;
	fd = argument(&done, 0);
	file = file_of(task, fd);
	sk = unix_socket(file);
	if (!sk)
		return 0;
	actor = actor_of(task, tag);
	if (is_filtered(actor.job, MT_UNIX_CONNECT))
		return 0;
	COUNT(MT_UNIX_CONNECT, seen);
	if (!begin(&record, MT_UNIX_CONNECT, MT_CRITICAL, sizeof(*body), &actor))
		return 0;
	HEADER(&record)->flags = flags_of(&done);
	body = BODY(&record, struct mt_unix);
	describe_unix(body, sk, file, fd);
	/* struct sockaddr_un: a family of two bytes, then the path, zero-terminated unless it is abstract. */
	length = argument(&done, 2) - 2;
	bpf_probe_read_user(&first, 1, pointer_argument(&done, 1) + 2);
	if (first) {
		add_user_string(&record, MT_STR_PATH, pointer_argument(&done, 1) + 2, UNIX_PATH_MAX + 1);
		if (first != '/')
			body->dir = add_directory(&record, MT_STR_DIR, READ(TASK(task, fs), struct fs_struct, pwd.mnt),
						  READ(TASK(task, fs), struct fs_struct, pwd.dentry), actor.job, &introduced);
	} else if (length <= UNIX_PATH_MAX) {
		add_user_bytes(&record, MT_STR_PATH, pointer_argument(&done, 1) + 2, length, UNIX_PATH_MAX);
	}
	if (send(&record))
		remember(&introduced);
	return 0;
}

/* A socket that was accepted as `fd`. */
static __always_inline void accepted(const struct actor *actor, struct sock *sk, struct file *file, __s32 fd,
				     __u32 flags)
{
	struct flow flow = {.inbound = 1}, *found;
	struct record record;
	struct mt_unix *body;
	__u64 sock;

	if (family_of(sk) == AF_UNIX) {
		if (is_filtered(actor->job, MT_UNIX_ACCEPT))
			return;
		COUNT(MT_UNIX_ACCEPT, seen);
		if (!begin(&record, MT_UNIX_ACCEPT, MT_CRITICAL, sizeof(*body), actor))
			return;
		body = BODY(&record, struct mt_unix);
		describe_unix(body, sk, file, fd);
		HEADER(&record)->flags = flags;
		send(&record);
		return;
	}
	/* What is not remembered has no end that would be told. */
	if (is_filtered(actor->job, MT_TCP_CLOSE))
		return;
	sock = (__u64)sk;
	flow.actor = *actor;
	flow.sock = opaque(sk);
	flow.flags = flags;
	flow.started = flow.established = bpf_ktime_get_boot_ns();
	if (READ(sk, struct sock, sk_protocol) != IPPROTO_TCP || !remember_flow(sock, &flow)) {
		tell_flow(MT_FLOW_OPEN, sk, &flow, 0);
		return;
	}
	/* One that was reset before somebody accepted it has its end behind it. */
	if (READ(sk, struct sock, __sk_common.skc_state) == TCP_CLOSE) {
		found = bpf_map_lookup_elem(&sockets, &sock);
		if (found)
			end_flow(sock, sk, found, 0);
	}
}

SEC("tp_btf/sys_exit")
int BPF_PROG(on_accept, struct pt_regs *regs, long ret)
{
	struct task_struct *task = current_task();
	struct done done = done_of(regs, task);
	struct mt_tag *tag = own_tag(task);
	struct actor actor;
	struct file *file;
	struct sock *sk;
	__u32 kind;

	if (!tag)
		return 0;
	kind = argument(&done, 0);
	if (done.call.call == CALL_SOCKETCALL && kind != SOCKETCALL_ACCEPT && kind != SOCKETCALL_ACCEPT4)
		return 0;
	file = file_of(task, (__s32)ret);
	sk = file ? sock_of(file) : 0;
	if (!sk)
		return 0;
	actor = actor_of(task, tag);
	accepted(&actor, sk, file, ret, flags_of(&done));
	return 0;
}

/* A socket that neither the hooks of TCP and UDP nor those of unix sockets tell of. */
static __always_inline void socket_made(const struct actor *actor, __u64 sock, __u32 family, __u32 type,
					__u32 protocol, __u32 flags)
{
	struct record record;
	struct mt_sock *body;

	if (is_filtered(actor->job, MT_SOCKET))
		return;
	COUNT(MT_SOCKET, seen);
	if (!begin(&record, MT_SOCKET, MT_CRITICAL, sizeof(*body), actor))
		return;
	HEADER(&record)->flags = flags;
	body = BODY(&record, struct mt_sock);
	body->sock = sock;
	body->family = family;
	body->type = type;
	body->protocol = protocol;
	send(&record);
}

SEC("tp_btf/sys_exit")
int BPF_PROG(on_socket, struct pt_regs *regs, long ret)
{
	struct task_struct *task = current_task();
	struct done done = done_of(regs, task);
	struct mt_tag *tag = own_tag(task);
	struct actor actor;
	struct file *file;
	struct sock *sk;

	if (!tag)
		return 0;
	actor = actor_of(task, tag);
	file = file_of(task, (__s32)ret);
	sk = file ? sock_of(file) : 0;
	if (config.enforces && sk)
		packet_socket_made(number_of(sk));
	socket_made(&actor, opaque(sk), argument(&done, 0), argument(&done, 1) & SOCK_TYPE_MASK,
		    argument(&done, 2), flags_of(&done));
	return 0;
}
