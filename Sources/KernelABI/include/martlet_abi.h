// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * The contract between martlet's kernel programs and its user space: records,
 * map keys and values, limits. Included by the BPF C and imported by Swift, so
 * it holds nothing but fixed-width fields, enumerations and constants.
 *
 * A record is a 40-byte header, a body that is fixed for its type, then strings.
 * Each string is {u16 id, u16 length} followed by its bytes, the whole padded
 * with zeros to a multiple of 8. All integers are in the byte order of the host.
 * Times are nanoseconds of CLOCK_BOOTTIME unless a field says otherwise.
 */
#ifndef MARTLET_ABI_H
#define MARTLET_ABI_H

#ifdef __bpf__
typedef unsigned char mt_u8;
typedef unsigned short mt_u16;
typedef short mt_s16;
typedef unsigned int mt_u32;
typedef int mt_s32;
typedef unsigned long long mt_u64;
typedef long long mt_s64;
#else
#include <stdint.h>
typedef uint8_t mt_u8;
typedef uint16_t mt_u16;
typedef int16_t mt_s16;
typedef uint32_t mt_u32;
typedef int32_t mt_s32;
typedef uint64_t mt_u64;
typedef int64_t mt_s64;
#endif

#define MT_ABI_VERSION 1

/* Limits. A string that is longer is cut, keeps its tail if it is a path, and sets MT_FLAG_TRUNCATED. */
#define MT_PATH_MAX 4096       /* bytes of one path, without a terminating zero */
#define MT_NAME_MAX 255        /* bytes of one path component */
#define MT_ARGV_MAX 16384      /* bytes of argv, NUL-separated */
#define MT_COMM_MAX 16
#define MT_FD_TRACKED 256      /* descriptors 0-255 are followed across exec, fork and exit */
#define MT_RECORD_MAX 28672    /* bytes of one record */
#define MT_SLOTS 4             /* scratch slots of one CPU: task, softirq, irq, and one to spare */
#define MT_MAX_JOBS 1024       /* job slots; slot 0 means "no job" */

enum mt_class {
	MT_CRITICAL = 0, /* one ring for all CPUs: processes, network, what concerns security */
	MT_BULK = 1,     /* one ring per CPU: files */
};

/*
 * Record types. Comments name the ring class. A number is never reused: 23 and 26 were a connection that was
 * established, and one that was accepted.
 */
enum mt_type {
	MT_NONE = 0,
	MT_FORK = 1,         /* critical; mt_fork */
	MT_EXEC = 2,         /* critical; mt_exec; EXE, FILENAME, CWD, ARGV, COMM */
	MT_EXIT = 3,         /* critical; mt_exit; the last thread of a process */
	MT_OPEN = 4,         /* bulk; mt_open; NAME and DIR, or PATH */
	MT_CLOSE = 5,        /* bulk; mt_close; only descriptors that could write a regular file */
	MT_DUP = 6,          /* bulk; mt_dup; likewise */
	MT_RENAME = 7,       /* bulk; mt_path_op; PATH -> PATH2 */
	MT_UNLINK = 8,       /* bulk; mt_path_op */
	MT_RMDIR = 9,        /* bulk; mt_path_op */
	MT_LINK = 10,        /* bulk; mt_path_op; existing PATH, new PATH2 */
	MT_SYMLINK = 11,     /* bulk; mt_path_op; PATH is the link made, PATH2 its text */
	MT_MKDIR = 12,       /* bulk; mt_path_op */
	MT_MKNOD = 13,       /* bulk; mt_path_op */
	MT_TRUNCATE = 14,    /* bulk; mt_path_op */
	MT_CHMOD = 15,       /* bulk; mt_path_op */
	MT_CHOWN = 16,       /* bulk; mt_path_op */
	MT_MMAP_SHARED = 17, /* bulk; mt_mmap; a shared mapping of a file opened for writing */
	MT_COPY = 18,        /* bulk; mt_copy; data moved between descriptors inside the kernel */
	MT_PIPE = 19,        /* bulk; mt_pair */
	MT_SOCKETPAIR = 20,  /* bulk; mt_pair */
	MT_PASS_FD = 21,     /* bulk; mt_open; a descriptor that arrived by SCM_RIGHTS or pidfd_getfd */
	MT_CONNECT = 22,     /* critical; mt_sock; asked for, before any policy or packet */
	MT_BIND = 24,        /* critical; mt_sock */
	MT_LISTEN = 25,      /* critical; mt_sock */
	MT_UDP_SEND = 27,    /* critical; mt_sock; the first datagram of (image, socket, destination) */
	MT_TCP_CLOSE = 28,   /* critical; mt_sock; the end of a connection, made or accepted */
	MT_UNIX_CONNECT = 29,/* critical; mt_unix; PATH (a leading NUL: abstract) */
	MT_UNIX_ACCEPT = 30, /* critical; mt_unix */
	MT_SOCKET = 31,      /* critical; mt_sock; a socket that is neither TCP, UDP, unix nor netlink */
	MT_URING = 32,       /* bulk; mt_uring; PATH, PATH2: an operation given to io_uring */
	MT_FLOW_OPEN = 33,   /* critical; mt_sock; a connection that is open when the sensor goes, or whose end it cannot see */
	MT_SECURITY = 34,    /* critical; mt_security; PATH, PATH2, DETAIL, by kind */
	MT_IO = 35,          /* bulk; mt_io; bytes that an image read and wrote through an open file; only if asked for */
	MT_CLAIM = 36,       /* critical; mt_claim; COMM, VARIABLE…: a process was recognised as a job's */
	MT_STEP = 37,        /* critical; mt_step; VARIABLE…: an exec of the process that a step began with */
	MT_DIGEST = 38,      /* critical; mt_digest; what a file's contents hash to, or why that is not known; only if asked for */
	MT_DAEMON = 39,      /* critical; mt_daemon; BYTES: what a job's process and a daemon that is in no job tell each other */
	MT_CGROUP = 40,      /* critical; mt_cgroup_change; PATH, ARGV: a container's cgroup was made, or has gone; of no job */
	MT_DENIAL = 41,      /* critical; mt_denial; NAME, PATH, COMM: something that the policy does not allow, or only observes */
	MT_ANSWER = 42,      /* critical; mt_answer; BYTES: what a resolver told a process of the job */
	MT_TLS_WRITE = 43,   /* critical; mt_tls_write; BYTES: a job's process hands a request to TLS; only if asked for */
	MT_TLS_SENT = 44,    /* critical; mt_tls_sent: the connection that such a write was sent by */
	MT_REQUEST = 45,     /* critical; mt_request; DETAIL, NAME, PATH: user space makes these of the two before */
	MT_SERVER_NAME = 46, /* critical; mt_server_name; NAME: whom a connection names in its first bytes */
	MT_TYPE_COUNT = 47,
};

enum mt_flag {
	MT_FLAG_TRUNCATED = 1,  /* a string was cut, or a path's head is missing */
	MT_FLAG_UNREADABLE = 2, /* memory that the record should quote could not be read */
	MT_FLAG_COMPAT = 4,     /* a 32-bit system call */
	MT_FLAG_URING = 8,      /* done by io_uring, not by a system call */
	MT_FLAG_CONTINUED = 16, /* MT_CONNECT: MT_TCP_CLOSE or MT_FLOW_OPEN follows, and tells all of this again */
};

enum mt_string {
	MT_STR_EXE = 1,      /* path of the image, in the mount namespace's root */
	MT_STR_FILENAME = 2, /* as given to exec: the script, where EXE is its interpreter */
	MT_STR_CWD = 3,
	MT_STR_ARGV = 4,
	MT_STR_COMM = 5,
	MT_STR_NAME = 6,     /* last component of an opened file */
	MT_STR_DIR = 7,      /* path of `dir`, in the record that is the first to use it */
	MT_STR_DIR2 = 8,     /* likewise of `dir2` */
	MT_STR_PATH = 9,     /* raw as the program gave it (relative to `dir`), or a whole path where dir is 0 */
	MT_STR_PATH2 = 10,   /* likewise, relative to `dir2` */
	MT_STR_DETAIL = 11,  /* of MT_SECURITY: a file system's type, or the name that a BPF object was given */
	MT_STR_VARIABLE = 12, /* "NAME=value", any number of them */
	MT_STR_BYTES = 13,
};

struct mt_header {
	mt_u32 length;       /* of the whole record, a multiple of 8 */
	mt_u16 type;         /* enum mt_type */
	mt_u8 ring_class;    /* enum mt_class */
	mt_u8 flags;         /* enum mt_flag */
	mt_u32 sequence;     /* per CPU and class, from 1; advanced for a lost record too */
	mt_u16 cpu;
	mt_u16 job;          /* job slot */
	mt_u64 time;
	mt_u32 tgid;         /* in the initial pid namespace */
	mt_u32 tid;
	mt_u64 leader_start; /* start of the thread group's leader: {tgid, leader_start} is unique until reboot */
};

/* A file's identity. dev is the superblock's s_dev (major << 20 | minor). */
struct mt_file {
	mt_u64 ino;
	mt_u32 dev;
	mt_u32 generation;
	mt_u32 mode;         /* i_mode: type and permissions */
	mt_u32 nlink;        /* 0: deleted */
};

struct mt_fork { /* header: the creator */
	mt_u32 child_tgid;
	mt_u32 real_parent_tgid; /* differs from the creator with CLONE_PARENT */
	mt_u64 child_start;
	mt_u32 shares_files;     /* 1: CLONE_FILES, one descriptor table for both */
	mt_u32 child_ns_tgid;    /* pid as the child itself sees it */
	mt_u32 step;             /* of the child; 0: none */
	mt_u32 reserved;
};

enum mt_exec_flag {
	MT_EXEC_DELETED = 1,   /* the image's file has no name any more */
	MT_EXEC_MEMFD = 2,     /* the image lives in a memfd or another file that never had a path */
	MT_EXEC_CHROOT = 4,    /* the task's root is not its mount namespace's root */
	MT_EXEC_OTHER_MNTNS = 8, /* the task's mount namespace is not martlet's */
	MT_EXEC_DESCRIPTORS_FOLLOW = 16, /* each descriptor of the set `descriptors` has a record behind this one */
	MT_EXEC_TMPFS = 32,    /* the image's file has a path, in memory: a tmpfs such as /dev/shm */
	MT_EXEC_HELD = 64,     /* the process is stopped until somebody sends it a SIGCONT */
};

struct mt_exec {
	struct mt_file file;
	mt_u64 size;         /* of the file, bytes */
	mt_s64 ctime;        /* nanoseconds of CLOCK_REALTIME; likewise below */
	mt_s64 mtime;
	mt_u32 parent_tgid;
	mt_u32 old_tid;      /* the thread that called exec; the header has the leader's */
	mt_u32 uid, gid;     /* effective, in the initial user namespace */
	mt_u32 exec_flags;   /* enum mt_exec_flag */
	mt_u32 argc;
	mt_u64 argv_bytes;   /* full length; larger than the string ARGV where that was cut */
	mt_u64 cgroup;       /* id in the v2 hierarchy */
	mt_u64 descriptors;  /* id of the set of descriptors 0-255 that the image found open */
};

struct mt_exit {
	mt_u32 status;       /* as wait(2) gives it */
	mt_u32 threads;      /* that the process has started besides its first */
	mt_u64 user_ns, system_ns;
	mt_u64 read_bytes, written_bytes; /* through system calls: rchar and wchar */
	mt_u64 peak_rss;     /* bytes */
	mt_u64 failed_opens;
};

enum mt_open_how {
	MT_OPEN_CALL = 0,      /* open, openat, openat2, creat, open_by_handle_at, memfd_create */
	MT_OPEN_INHERITED = 1, /* found open when a new image started; told for the first image with that set */
	MT_OPEN_SCM_RIGHTS = 2,
	MT_OPEN_PIDFD = 3,     /* pidfd_getfd */
};

/* Of fmode: what the kernel's struct file says. */
#define MT_FMODE_READ 1u
#define MT_FMODE_WRITE 2u
#define MT_FMODE_CREATED 0x100000u

struct mt_open {
	struct mt_file file; /* mode says whether it is a regular file, a pipe, a socket… */
	mt_u64 dir;          /* directory's id within the job, 0: the string PATH is whole */
	mt_u64 size;         /* bytes */
	mt_s32 fd;
	mt_u32 open_flags;   /* O_* in the numbering of x86-64: as given, or with MT_TYPED_OPEN as the file has them and
			      * O_CREAT, O_TRUNC if that was done */
	mt_u32 fmode;
	mt_u16 how;          /* enum mt_open_how */
	mt_u16 deleted;      /* 1: the name is gone */
	mt_u64 sock;         /* for a socket: its id, as in mt_sock and mt_unix */
	mt_u64 peer;         /* for a unix socket: its peer's */
};

enum mt_close_why {
	MT_CLOSE_CALL = 0,
	MT_CLOSE_REPLACED = 1, /* dup2 and dup3 onto it */
	MT_CLOSE_EXEC = 2,     /* close-on-exec */
	MT_CLOSE_EXIT = 3,
};

struct mt_close {
	struct mt_file file;
	mt_u64 size;         /* bytes, valid if has_state */
	mt_s64 ctime, mtime; /* valid if has_state */
	mt_s32 fd;
	mt_u16 why;          /* enum mt_close_why */
	mt_u16 has_state;    /* 0: the inode was gone or reused when we looked */
};

enum mt_io_why {
	MT_IO_CLOSED = 0,    /* the last descriptor of the open file, whoever had it, is gone: no more will come */
	MT_IO_SHARED = 1,    /* its place was needed for another image that uses the same open file */
	MT_IO_OPEN = 2,      /* open still when the sensor went */
	MT_IO_UNKNOWN = 3,   /* there is more than was counted: these numbers, and all others of the file, are not to be used */
};

/* Bytes since the image's last record of the same open file. The header has the image's process, which may be over. */
struct mt_io {
	struct mt_file file;
	mt_u64 open_file;    /* id of the open file: opaque, the same for its whole life */
	mt_u64 image;        /* time of the exec or fork that made the image */
	mt_u64 read, written;
	mt_u32 why;          /* enum mt_io_why */
	mt_u32 reserved;
};

enum mt_digest_of {
	MT_DIGEST_IMAGE = 1,   /* a program's image, when it was executed; header: the process */
	MT_DIGEST_WRITTEN = 2, /* a file that the job wrote, when the job had ended; header: nobody */
};

enum mt_digest_how {
	MT_DIGEST_KERNEL = 1, /* by the kernel's integrity module, before the program's first instruction */
	MT_DIGEST_USER = 2,   /* by martlet, a little later. User space makes these records itself */
};

enum mt_digest_why {
	MT_DIGEST_TAKEN = 0,      /* `sha256` is it; of the others there is none */
	MT_DIGEST_CHANGED = 1,    /* the file was changed before or while it was read */
	MT_DIGEST_GONE = 2,       /* there is no such file any more where it was */
	MT_DIGEST_UNREADABLE = 3, /* an error in opening or reading it */
	MT_DIGEST_FOREIGN = 4,    /* in a file system that somebody may hold up, such as FUSE or NFS */
	MT_DIGEST_TOO_LARGE = 5,
	MT_DIGEST_SHED = 6,       /* no time or place for it */
	MT_DIGEST_RECENT = 7,     /* changed so shortly before it was executed that a later change need not show */
	MT_DIGEST_OPEN = 8,       /* a process can still write it */
	MT_DIGEST_OTHER = 9,      /* MT_DIGEST_KERNEL: the kernel uses another algorithm, or none: `algorithm` */
};

#define MT_HASH_SHA256 4 /* HASH_ALGO_SHA256 of linux/hash_info.h */
#define MT_DIGEST_KERNEL_MAX (64 << 20) /* bytes of a file that an exec waits for; larger ones are left to user space */

struct mt_digest {
	struct mt_file file;
	mt_u64 size;         /* bytes; with ctime: the version of the file */
	mt_s64 ctime;
	mt_u8 sha256[32];
	mt_u16 of;           /* enum mt_digest_of */
	mt_u16 how;          /* enum mt_digest_how */
	mt_u16 why;          /* enum mt_digest_why */
	mt_s16 algorithm;    /* MT_DIGEST_KERNEL: as numbered by linux/hash_info.h, or a negative errno */
};

struct mt_dup {
	struct mt_file file;
	mt_s32 old_fd, new_fd;
};

struct mt_path_op {
	struct mt_file file; /* of descriptor-based calls; ino 0 where only a path is known */
	mt_u64 dir, dir2;    /* what PATH and PATH2 are relative to, as ids */
	mt_u64 argument;     /* truncate: length; chmod, mkdir, mknod: mode; chown: uid << 32 | gid */
	mt_u32 call_flags;   /* AT_* or RENAME_* */
	mt_s32 fd;           /* of descriptor-based calls, else -1; always with MT_TYPED_PATH */
};

struct mt_mmap {
	struct mt_file file;
	mt_u64 length;       /* bytes */
	mt_u32 prot, map_flags;
};

enum mt_copy_kind {
	MT_COPY_SENDFILE = 1,
	MT_COPY_SPLICE = 2,
	MT_COPY_TEE = 3,
	MT_COPY_RANGE = 4,   /* copy_file_range */
	MT_COPY_REFLINK = 5, /* FICLONE, FICLONERANGE */
};

struct mt_copy {         /* the first of (image, kind, from, to) */
	struct mt_file from, to;
	mt_u64 bytes;
	mt_s32 from_fd, to_fd;
	mt_u32 kind;         /* enum mt_copy_kind */
	mt_u32 reserved;
};

struct mt_pair {         /* pipe: a reads, b writes */
	mt_u64 a_ino, b_ino; /* of pipefs or sockfs; equal for a pipe */
	mt_u64 a_sock, b_sock; /* socket ids of a pair, 0 for a pipe */
	mt_s32 a_fd, b_fd;
	mt_u32 family, reserved;
};

/* Addresses are in network byte order, IPv4 in the first four bytes; ports in host order. */
struct mt_sock {
	mt_u64 sock;         /* id of the socket: opaque, the same for its whole life */
	mt_u64 duration;     /* ns from connect or accept to this record; this and what follows up to `received` of
			      * MT_TCP_CLOSE and MT_FLOW_OPEN only */
	mt_u64 handshake;    /* of it, ns from connect until the connection was established */
	mt_u64 sent, received; /* payload bytes of TCP */
	mt_u8 local[16], remote[16];
	mt_u16 local_port, remote_port;
	mt_u16 family;       /* AF_* */
	mt_u16 protocol;     /* IPPROTO_* */
	mt_u32 type;         /* SOCK_* */
	mt_s32 error;        /* errno of a connection that failed, positive */
	mt_u32 established;  /* MT_TCP_CLOSE, MT_FLOW_OPEN: 1 if it ever was */
	mt_u32 inbound;      /* 1: accepted */
};

struct mt_unix {
	mt_u64 sock, peer;   /* ids, as above; a connect's peer is the accept's sock */
	mt_u64 ino;          /* of sockfs */
	mt_u64 dir;          /* what a relative PATH is relative to */
	mt_s32 fd;
	mt_u32 type;
};

struct mt_uring {
	mt_u64 dir, dir2;
	mt_u32 opcode;       /* IORING_OP_* */
	mt_u32 open_flags;
	mt_u64 argument;
};

#include "martlet_abi_security.h"
#include "martlet_abi_jobs.h"
#include "martlet_abi_containers.h"
#include "martlet_abi_policy.h"
#include "martlet_abi_network.h"
#include "martlet_abi_requests.h"
#include "martlet_abi_filters.h"

/* What became of the events of one type on one CPU. seen = deduplicated + aggregated + sent + lost. */
struct mt_counters {
	mt_u64 seen;
	mt_u64 deduplicated; /* the same (image, file, mode) again */
	mt_u64 aggregated;   /* folded into another record */
	mt_u64 sent;
	mt_u64 lost;         /* no space in the ring, or no scratch slot */
	mt_u64 truncated;    /* sent with MT_FLAG_TRUNCATED */
	mt_u64 unreadable;   /* sent with MT_FLAG_UNREADABLE */
	mt_u64 failed;       /* calls that returned an error: counted, not part of seen */
};

/* Maps that can refuse an entry, for `map_full` and `map_used`. */
enum mt_map {
	MT_MAP_TAGS = 0,
	MT_MAP_PROCESSES = 1,
	MT_MAP_WRITERS = 2,
	MT_MAP_SOCKETS = 3,
	MT_MAP_DIRECTORIES = 4,
	MT_MAP_OPEN_FILES = 5,
	MT_MAP_JOBS = 6,         /* slots of jobs */
	MT_MAP_TALKS = 7,        /* requests to daemons whose answers are listened to */
	MT_MAP_CGROUPS = 8,
	MT_MAP_WATCHED = 9,      /* sockets whose packets are looked at */
	MT_MAP_WRITTEN = 10,      /* files that a job has written and may not execute */
	MT_MAP_INODES = 11,      /* files that a policy protects whatever they are called */
	MT_MAP_LISTENERS = 12,   /* sockets at which processes listen */
	MT_MAP_COUNT = 13,
};

/* One per CPU and slot in the mmapable array `inflight`. `since` is 0 when the slot is
 * free, else a lower bound of the time of the record being built: no later record of
 * this CPU can carry an earlier time once `since` is 0 or above it. */
struct mt_inflight {
	mt_u64 since;
	mt_u64 holders;      /* kernels without an atomic exchange: how many programs want the slot */
	mt_u64 pad[6];
};

/* mt_tag.flags: what a task is in the middle of. */
enum mt_tag_flag {
	MT_TAG_RECEIVES = 1,   /* descriptors that come to it now arrive in a message… */
	MT_TAG_RECEIVES_PIDFD = 2, /* …or by pidfd_getfd */
	MT_TAG_TRUNCATED = 4,  /* the file that it is opening: the one that it would last have changed by name */
	MT_TAG_PIPES = 8,      /* its new descriptors are a pipe's */
	/* What it is in its job. */
	MT_TAG_RUNNER = 16,    /* each of its children begins a step */
	MT_TAG_STEP = 32,      /* its step began with it */
};

/* Task storage: what makes a task part of a job. */
struct mt_tag {
	mt_u64 image;        /* time of the exec or fork that made this process image */
	mt_u64 leader_start;
	mt_u32 tgid;
	mt_u16 job;
	mt_u16 flags;
	mt_u32 step;
	mt_u32 depth;        /* forks below the job's first process */
};

/* Hash by thread, where there is no task storage: the tag of the thread that started then. */
struct mt_thread_tag {
	mt_u64 start;        /* 0: not known yet; the first who finds it fills it in */
	struct mt_tag tag;
};

/* Hash by tgid, kept at fork, exec and exit: the state of one process. */
struct mt_process {
	mt_u64 image;
	mt_u64 leader_start;
	mt_u64 failed_opens;
	mt_u64 writing[4];   /* bit fd: descriptor open for writing on a regular file */
	mt_u64 subjects;     /* rules' scopes that it is in: by its own image the lower half, by those it descends from the upper */
	mt_u64 step;         /* the name of its step, by the sensor's keyed hash; 0: not known, MT_NO_STEP: it is in none */
	mt_u64 untold;       /* the set of descriptors that it found open at exec, if that has to be told */
	mt_u32 threads;
	mt_u16 job;
	mt_u16 flags;
};

/* Hash by {tgid, fd}: a descriptor that can write a regular file. */
struct mt_writer_key {
	mt_u32 tgid;
	mt_u32 fd;
};
struct mt_writer {
	mt_u64 inode;        /* kernel address, checked against the identity before it is read */
	struct mt_file file;
};

#include "martlet_abi_programs.h"

#ifndef __cplusplus
_Static_assert(sizeof(struct mt_header) == 40, "header layout");
_Static_assert(sizeof(struct mt_file) == 24, "file layout");
_Static_assert(sizeof(struct mt_fork) == 32, "fork layout");
_Static_assert(sizeof(struct mt_exec) == 96, "exec layout");
_Static_assert(sizeof(struct mt_exit) == 56, "exit layout");
_Static_assert(sizeof(struct mt_open) == 72, "open layout");
_Static_assert(sizeof(struct mt_close) == 56, "close layout");
_Static_assert(sizeof(struct mt_io) == 64, "io layout");
_Static_assert(sizeof(struct mt_digest) == 80, "digest layout");
_Static_assert(sizeof(struct mt_dup) == 32, "dup layout");
_Static_assert(sizeof(struct mt_path_op) == 56, "path_op layout");
_Static_assert(sizeof(struct mt_mmap) == 40, "mmap layout");
_Static_assert(sizeof(struct mt_copy) == 72, "copy layout");
_Static_assert(sizeof(struct mt_pair) == 48, "pair layout");
_Static_assert(sizeof(struct mt_sock) == 96, "sock layout");
_Static_assert(sizeof(struct mt_unix) == 40, "unix layout");
_Static_assert(sizeof(struct mt_uring) == 32, "uring layout");
_Static_assert(sizeof(struct mt_counters) == 64, "counters layout");
_Static_assert(sizeof(struct mt_inflight) == 64, "inflight layout");
_Static_assert(sizeof(struct mt_tag) == 32, "tag layout");
_Static_assert(sizeof(struct mt_process) == 88, "process layout");
_Static_assert(sizeof(struct mt_writer) == 32, "writer layout");
#endif

#endif
