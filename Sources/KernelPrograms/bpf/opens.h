/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The record of a descriptor that a process got: by opening, from its parent at exec, from another process. */
#ifndef MARTLET_OPENS_H
#define MARTLET_OPENS_H

#include "syscalls.h"
#include "writers.h"

#define O_CREAT 0100
#define O_TRUNC 01000
#define AF_UNIX 1
#define AF_INET 2
#define AF_INET6 10
#define AF_NETLINK 16
#define SOCK_STREAM 1
#define SOCK_DGRAM 2
#define SOCK_TYPE_MASK 0xf

/* The numbering of records. arm64 has four flags in other places: two pairs of bits change sides. */
static __always_inline __u32 open_flags_of_x86(__u32 flags)
{
#if defined(__TARGET_ARCH_arm64)
	/* O_DIRECTORY, O_NOFOLLOW, O_DIRECT, O_LARGEFILE from 040000 on; on x86-64 the latter two come first. */
	return (flags & ~0740000u) | (flags & 0140000) << 2 | (flags & 0600000) >> 2;
#else
	return flags;
#endif
}

/* The socket behind an open file, or 0. */
static __always_inline struct sock *sock_of(struct file *file)
{
	struct inode *inode = READ(file, struct file, f_inode);
	struct socket *socket;

	if ((READ(inode, struct inode, i_mode) & S_IFMT) != S_IFSOCK)
		return 0;
	socket = READ(file, struct file, private_data);
	return READ(socket, struct socket, sk);
}

static __always_inline __u16 family_of(struct sock *sk)
{
	return READ(sk, struct sock, __sk_common.skc_family);
}

/* The unix socket behind an open file, or 0. */
static __always_inline struct sock *unix_socket(struct file *file)
{
	struct sock *sk = file ? sock_of(file) : 0;

	return sk && family_of(sk) == AF_UNIX ? sk : 0;
}

/* Whether a socket is of a kind that no other hook tells of; netlink's reach the kernel only. `type` as in socket(2). */
static __always_inline int is_other_socket(__u32 family, __u32 type)
{
	type &= SOCK_TYPE_MASK;
	if (family == AF_INET || family == AF_INET6)
		return type != SOCK_STREAM && type != SOCK_DGRAM;
	return family != AF_UNIX && family != AF_NETLINK;
}

static __always_inline void count_failed_open(__u32 tgid)
{
	struct mt_process *process = process_of(tgid);

	if (process)
		ADD(&process->failed_opens, 1);
}

/* Whether what has this fingerprint was sent before and is still remembered. */
static __always_inline int was_sent(__u64 fingerprint)
{
	__u32 index = fingerprint >> 8 & (MT_OPENS - 1);
	__u64 *entry = bpf_map_lookup_elem(&opens, &index);

	return entry && *(volatile __u64 *)entry == fingerprint;
}

static __always_inline void remember_open(__u64 fingerprint)
{
	__u32 index = fingerprint >> 8 & (MT_OPENS - 1);
	__u64 *entry = bpf_map_lookup_elem(&opens, &index);

	if (entry)
		*(volatile __u64 *)entry = fingerprint;
}

/* Whether this image has opened this file by this name in this way before; if not, the place to remember it. */
static __always_inline int opened_before(const struct actor *actor, struct file *file, struct inode *inode,
					 __u32 fmode, __u64 *fingerprint)
{
	struct dentry *dentry = READ(file, struct file, f_path.dentry);
	__u64 hash = hash_begin('f');

	hash = hash_word(hash, actor->image ^ actor->tgid);
	hash = hash_word(hash, (__u64)inode);
	hash = hash_word(hash, READ(inode, struct inode, i_ino));
	hash = hash_word(hash, READ(inode, struct inode, i_generation));
	hash = hash_word(hash, (__u64)dentry);
	hash = hash_word(hash, READ(dentry, struct dentry, d_name.hash_len));
	hash = hash_word(hash, (__u64)READ(file, struct file, f_path.mnt) ^ (fmode & 3));
	*fingerprint = hash_end(hash);
	return was_sent(*fingerprint);
}

struct open_request {
	struct file *file;
	__u32 type;       /* MT_OPEN or MT_PASS_FD */
	__s32 fd;
	__u32 open_flags; /* as given */
	__u32 flags;      /* enum mt_flag */
	__u16 how;        /* enum mt_open_how */
	__u16 installed;  /* fd_install told of it: what else there is to know of it is looked up only if it is told */
};

/* Returns 1 when what became of the descriptor is known in user space. */
static __always_inline int send_open(const struct actor *actor, const struct open_request *request)
{
	struct file *file = request->file;
	struct inode *inode = READ(file, struct file, f_inode);
	__u32 fmode = READ(file, struct file, f_mode);
	__u32 open_flags = request->open_flags, flags = request->flags;
	struct introduced introduced = {};
	__u64 fingerprint = 0;
	struct record record;
	struct mt_open *body;
	struct dentry *dentry;
	enum begun begun;
	__u32 event;
	int once;

	event = request->type;
	if (event == MT_OPEN && ((fmode & (MT_FMODE_WRITE | MT_FMODE_CREATED)) || (open_flags & O_TRUNC)))
		event = MT_FILTERED_WRITES;
	if (is_filtered(actor->job, event))
		return 1;
	/* What may change the file, or may find another one under the name, always travels. */
	once = request->how == MT_OPEN_CALL && !(fmode & (MT_FMODE_WRITE | MT_FMODE_CREATED)) &&
	       !(open_flags & O_TRUNC);
	if (once && opened_before(actor, file, inode, fmode, &fingerprint)) {
		COUNT_DEDUPLICATED(request->type, actor->job);
		return 1;
	}
	dentry = READ(file, struct file, f_path.dentry);
	if (request->installed) {
		if ((fmode & MT_FMODE_CREATED) || dentry == READ(dentry, struct dentry, d_parent))
			open_flags |= O_CREAT;
		flags |= compat_flag();
	}
	begun = begin_of(&record, request->type, event, sizeof(*body), actor, file);
	if (begun != BEGUN)
		return begun == BEGUN_NOTHING;
	HEADER(&record)->flags = flags;
	body = BODY(&record, struct mt_open);
	body->file = identity_of(inode);
	body->size = READ(inode, struct inode, i_size);
	body->fd = request->fd;
	body->open_flags = open_flags_of_x86(open_flags);
	body->fmode = fmode;
	body->how = request->how;
	body->deleted = !READ(dentry, struct dentry, d_hash.pprev) && dentry != READ(dentry, struct dentry, d_parent);
	if ((body->file.mode & S_IFMT) == S_IFSOCK) {
		struct sock *sk = sock_of(file);

		body->sock = opaque(sk);
		if (family_of(sk) == AF_UNIX)
			body->peer = opaque(READ(sk, struct unix_sock, peer));
	}
	/* What is not kept here has no close that would be told. */
	if ((body->file.mode & S_IFMT) == S_IFREG && (fmode & MT_FMODE_WRITE) &&
	    (event != MT_PASS_FD || !is_filtered(actor->job, MT_CLOSE))) {
		struct mt_writer writer = {.inode = (__u64)inode, .file = body->file};

		add_writer(actor->tgid, process_of(actor->tgid), request->fd, &writer);
	}
	body->dir = add_location(&record, file, actor->job, &introduced);
	if (!send(&record))
		return 0;
	remember(&introduced);
	if (once)
		remember_open(fingerprint);
	return 1;
}

#endif
