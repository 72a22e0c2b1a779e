/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The kernel types that the programs touch, and only their fields that are read.
 * CO-RE relocates every access to the running kernel's layout, so order and
 * neighbours mean nothing here. `___old` names are earlier layouts of a type.
 */
#ifndef MARTLET_CORE_TYPES_H
#define MARTLET_CORE_TYPES_H

typedef unsigned char __u8;
typedef signed char __s8;
typedef unsigned short __u16;
typedef short __s16;
typedef unsigned int __u32;
typedef int __s32;
typedef unsigned long long __u64;
typedef long long __s64;
typedef __u16 __be16;
typedef __u32 __be32;
typedef __u32 __wsum;
typedef _Bool bool;

/* From include/uapi/linux/bpf.h; the values are ABI. */
enum bpf_map_type {
	BPF_MAP_TYPE_HASH = 1,
	BPF_MAP_TYPE_ARRAY = 2,
	BPF_MAP_TYPE_PROG_ARRAY = 3,
	BPF_MAP_TYPE_PERCPU_ARRAY = 6,
	BPF_MAP_TYPE_ARRAY_OF_MAPS = 12,
	BPF_MAP_TYPE_RINGBUF = 27,
	BPF_MAP_TYPE_TASK_STORAGE = 29,
};
enum {
	BPF_ANY = 0,
	BPF_NOEXIST = 1,
	BPF_EXIST = 2,
	BPF_F_NO_PREALLOC = 1,
	BPF_F_MMAPABLE = 1 << 10,
	BPF_LOCAL_STORAGE_GET_F_CREATE = 1,
	BPF_RB_NO_WAKEUP = 1,
	BPF_RB_FORCE_WAKEUP = 2,
};

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

#if defined(__TARGET_ARCH_arm64)
struct user_pt_regs {
	__u64 regs[31];
	__u64 sp, pc, pstate;
};
struct pt_regs {
	__u64 regs[31];
	__u64 sp, pc;
	__u64 orig_x0;
	__s32 syscallno;
};

struct thread_info {
	unsigned long flags;
};
#else
struct pt_regs {
	unsigned long r14, bp, bx, r9, r8, r10, ax, cx, dx, si, di, orig_ax;
};

struct thread_info {
	__u32 status;
};
#endif

typedef struct {
	int counter;
} atomic_t;

struct qstr {
	union {
		struct {
			__u32 hash;
			__u32 len;
		};
		__u64 hash_len;
	};
	const unsigned char *name;
};

struct super_block {
	__u32 s_dev;
	unsigned long s_magic;
	struct file_system_type *s_type;
};

struct timespec64 {
	__s64 tv_sec;
	long tv_nsec;
};

struct inode {
	__u16 i_mode;
	struct super_block *i_sb;
	unsigned long i_ino;
	unsigned int i_nlink;
	__s64 i_size;
	__u32 i_generation;
	void *i_private;
	/* 6.11 and later */
	__s64 i_mtime_sec, i_ctime_sec;
	__u32 i_mtime_nsec, i_ctime_nsec;
};
/* 6.6 to 6.10 */
struct inode___stamped {
	struct timespec64 __i_mtime, __i_ctime;
};
/* up to 6.5 */
struct inode___plain {
	struct timespec64 i_mtime, i_ctime;
};

struct hlist_bl_node {
	struct hlist_bl_node **pprev;
};

struct dentry {
	struct hlist_bl_node d_hash;
	struct dentry *d_parent;
	struct qstr d_name;
	struct inode *d_inode;
};

struct vfsmount {
	struct dentry *mnt_root;
	struct super_block *mnt_sb;
	int mnt_flags;
};

struct mount {
	struct mount *mnt_parent;
	struct dentry *mnt_mountpoint;
	struct vfsmount mnt;
	int mnt_id;
};
/* 6.8 and later: never reused, unlike mnt_id */
struct mount___unique {
	__u64 mnt_id_unique;
};

struct path {
	struct vfsmount *mnt;
	struct dentry *dentry;
};

typedef struct {
	__s64 counter;
} atomic64_t;

/* 6.13 and later: 0 is one reference. */
typedef struct {
	atomic64_t refcnt;
} file_ref_t;

struct file {
	__u32 f_mode;
	void *private_data;
	struct inode *f_inode;
	unsigned int f_flags;
	struct path f_path;
	file_ref_t f_ref;
};
/* up to 6.12 */
struct file___counted {
	atomic64_t f_count;
};

struct fdtable {
	unsigned int max_fds;
	struct file **fd;
	unsigned long *open_fds;
};

struct files_struct {
	struct fdtable *fdt;
};

struct fs_struct {
	struct path root, pwd;
};

struct ns_common {
	unsigned int inum;
	const struct proc_ns_operations *ops;
};

struct mnt_namespace {
	struct ns_common ns;
};

struct nsproxy {
	void *uts_ns, *ipc_ns;
	struct mnt_namespace *mnt_ns;
	void *pid_ns_for_children, *net_ns, *time_ns_for_children, *cgroup_ns;
};

struct mm_struct {
	unsigned long arg_start, arg_end;
	struct file *exe_file;
};

struct kernfs_node {
	__u64 id;
};

struct cgroup {
	struct kernfs_node *kn;
};

struct css_set {
	struct cgroup *dfl_cgrp;
};

typedef struct {
	__u32 val;
} kuid_t, kgid_t;

typedef struct {
	__u64 val;
} kernel_cap_t;
struct user_namespace;

struct cred {
	kuid_t uid, suid, euid, fsuid;
	kgid_t gid, sgid, egid, fsgid;
	kernel_cap_t cap_inheritable, cap_permitted, cap_effective;
	struct user_namespace *user_ns;
};

struct task_io_accounting {
	__u64 rchar, wchar;
};

struct signal_struct {
	atomic_t live;
	int group_exit_code;
	unsigned int flags;
	__u64 utime, stime;
	unsigned long maxrss;
	struct task_io_accounting ioac;
};

struct upid {
	int nr;
	struct pid_namespace *ns;
};

struct hlist_node {
	struct hlist_node *next;
};
struct hlist_head {
	struct hlist_node *first;
};

struct pid {
	unsigned int level;
	struct hlist_head tasks[1];
	struct upid numbers[1];
};

struct task_struct {
	struct thread_info thread_info;
	int exit_code, pid, tgid;
	void *bpf_storage;
	struct task_struct *real_parent, *group_leader;
	struct pid *thread_pid;
	struct hlist_node pid_links[1];
	__u64 utime, stime;
	__u64 start_boottime;
	struct mm_struct *mm;
	const struct cred *cred;
	char comm[16];
	struct fs_struct *fs;
	struct files_struct *files;
	struct nsproxy *nsproxy;
	struct signal_struct *signal;
	struct css_set *cgroups;
	struct task_io_accounting ioac;
};

struct linux_binprm {
	struct file *file;
	const char *filename, *interp;
	int argc, envc;
};

struct in6_addr {
	__u8 s6_addr_bytes[16];
};

struct sock_common {
	__be32 skc_daddr, skc_rcv_saddr;
	__be16 skc_dport;
	__u16 skc_num;
	__u16 skc_family;
	__u8 skc_state;
	unsigned long skc_flags;
	struct in6_addr skc_v6_daddr, skc_v6_rcv_saddr;
};

struct socket;
struct sock {
	struct sock_common __sk_common;
	struct socket *sk_socket;
	__u16 sk_type;
	__u16 sk_protocol;
	int sk_err;
};

struct inet_sock {
	__be16 inet_sport;
};

struct tcp_sock {
	__u64 bytes_sent, bytes_retrans, bytes_received;
};

struct socket {
	short type;
	struct file *file;
	struct sock *sk;
};

struct sockaddr_un {
	__u16 sun_family;
};

struct unix_address {
	int len; /* of the whole address: the family's two bytes and the name */
	struct sockaddr_un name[0];
};

struct unix_sock {
	struct sock sk;
	struct unix_address *addr;
	struct path path;
	struct sock *peer;
};

struct iattr {
	unsigned int ia_valid;
	__s64 ia_size;
};

struct renamedata {
	struct dentry *old_dentry;
};

struct filename {
	const char *name;
};

struct open_how {
	__u64 flags, mode;
};

struct io_kiocb {
	__u8 opcode;
};
struct io_uring_cqe {
	__s32 res;
};
struct io_open {
	int dfd;
	__u32 file_slot;
	struct filename *filename;
	struct open_how how;
};
struct io_rename {
	int old_dfd, new_dfd;
	struct filename *oldpath, *newpath;
	int flags;
};
struct io_unlink {
	int dfd, flags;
	struct filename *filename;
};
struct io_mkdir {
	int dfd;
	__u16 mode;
	struct filename *filename;
};
struct io_link {
	int old_dfd, new_dfd;
	struct filename *oldpath, *newpath;
	int flags;
};
struct io_close {
	int fd;
	__u32 file_slot;
};
/* In 7.3, names are held in a structure of their own, which says that they are not ready for a look-up. */
struct delayed_filename {
	struct filename *__incomplete_filename;
};
struct io_open___delayed {
	struct delayed_filename filename;
};
struct io_rename___delayed {
	struct delayed_filename oldpath, newpath;
};
struct io_unlink___delayed {
	struct delayed_filename filename;
};
struct io_mkdir___delayed {
	struct delayed_filename filename;
};
struct io_link___delayed {
	struct delayed_filename oldpath, newpath;
};

#pragma clang attribute pop

/* The contexts of cgroup programs: uapi, no relocation. */
struct bpf_sock {
	__u32 bound_dev_if, family, type, protocol, mark, priority;
	__u32 src_ip4;
	__u32 src_ip6[4];
	__u32 src_port;
	__be16 dst_port;
	__u16 : 16;
	__u32 dst_ip4;
	__u32 dst_ip6[4];
	__u32 state;
	__s32 rx_queue_mapping;
};
struct bpf_sock_addr {
	__u32 user_family, user_ip4;
	__u32 user_ip6[4];
	__u32 user_port, family, type, protocol, msg_src_ip4;
	__u32 msg_src_ip6[4];
	union {
		struct bpf_sock *sk;
		__u64 : 64;
	} __attribute__((aligned(8)));
};

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#define __VMLINUX_H__ /* for libbpf: `struct pt_regs` has the kernel's names */
#include <bpf/bpf_tracing.h>

/*
 * Reading kernel memory. From 6.2 on a pointer can be cast to a type and loaded from directly
 * (a fault reads 0); before, each read is a helper call, some 25 ns. The enumeration is the
 * verifier's own list of such functions, so its value exists where the function does.
 */
enum special_kfunc_type { KF_bpf_rcu_read_lock = 7, KF_bpf_rdonly_cast = 10 };
extern void *bpf_rdonly_cast(const void *object, __u32 type) __ksym __weak;

#ifndef MARTLET_OLD
#define HAVE_CAST bpf_core_enum_value_exists(enum special_kfunc_type, KF_bpf_rdonly_cast)
#else
#define HAVE_CAST 0
#endif
#define CAST(pointer, type) ((type *)bpf_rdonly_cast((pointer), bpf_core_type_id_kernel(type)))

/* The 64-bit word stored at `address`. */
static __always_inline __u64 read_word(const void *address)
{
	__u64 value = 0;

	/* Every kernel's timespec64 begins with a 64-bit number, which makes it the type of a bare word. */
	if (HAVE_CAST)
		return CAST(address, struct timespec64)->tv_sec;
	bpf_probe_read_kernel(&value, sizeof(value), address);
	return value;
}

/*
 * READ(p, struct inode, i_ino): the value of a field, 0 where it could not be read. A pointer is read as the
 * number that it is: the verifier lets a number be hashed and compared, and the next READ casts it anyway.
 */
#define IS_POINTER(expression) (__builtin_classify_type(expression) == 5)
#define READ(pointer, type, field)                                                                                     \
	({                                                                                                             \
		typeof(((type *)0)->field) value_ = 0;                                                                 \
		const void *pointer_ = (const void *)(pointer);                                                        \
		if (!HAVE_CAST)                                                                                        \
			bpf_core_read(&value_, sizeof(value_), &((const type *)pointer_)->field);                      \
		else if (IS_POINTER(value_))                                                                           \
			value_ = (typeof(value_))read_word((const __u8 *)pointer_ + bpf_core_field_offset(type, field)); \
		else                                                                                                   \
			value_ = CAST(pointer_, type)->field;                                                          \
		value_;                                                                                                \
	})

/*
 * The same task, to read pointers from: LOOSE(task)->files. For a plain task->files the verifier of 6.3 and later asks
 * whether it can trust the result, and searches all the kernel's types by name for an answer: 2 ms for each state in
 * which it comes by. What was cast it trusts in no case.
 */
#define LOOSE(task) (HAVE_CAST ? CAST(task, struct task_struct) : (task))

#endif
