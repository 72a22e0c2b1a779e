/*
 * Becoming a process of the background, and the sockets by which it is spoken to. Functions
 * return 0 or what they open, else a negative errno.
 */
#ifndef MARTLET_DAEMON_H
#define MARTLET_DAEMON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct mt_daemon_plan {
	const char *executable;
	char *const *arguments;   /* ended by NULL; the last is the text of a descriptor, which `report_argument` is */
	char *const *environment; /* ended by NULL: all that it gets */
	int output;               /* becomes its standard output and error; -1: /dev/null */
	int report;               /* what it tells its start by: stays open as this number, everything else is closed */
};

/*
 * Starts it in a session of its own that has no terminal and that it does not lead, and returns when it is on its way.
 * By exec, not by fork alone: what /proc/PID/environ shows is what a process was executed with, and by that the
 * clean-up of CI systems finds what a job left behind.
 */
int mt_daemon_start(const struct mt_daemon_plan *plan);

/* A socket of that name that takes connections; `backlog` of them wait. A socket that nobody listens on is replaced. */
int mt_local_listen(const char *path, mode_t mode, int backlog);

/* Connects to it. -EAGAIN if too many are waiting. Does not block afterwards. */
int mt_local_connect(const char *path);

/* The next connection, which does not block; -EAGAIN if there is none. */
int mt_local_accept(int socket);

struct mt_peer {
	pid_t pid; /* 0: of a pid namespace that ours does not know */
	uid_t uid;
	gid_t gid;
};

/* Who is at the other end: who connected, or who listens. */
int mt_local_peer(int socket, struct mt_peer *peer);

/* From now on each message to this end is known by its sender, see mt_local_receive(). */
int mt_local_tell_senders(int socket);

/* As many descriptors as one message may carry. */
#define MT_LOCAL_DESCRIPTORS 8

struct mt_local_message {
	pid_t sender; /* of the process that sent it, whatever that says; 0: not told */
	int descriptors[MT_LOCAL_DESCRIPTORS];
	int count;
};

/*
 * What one sender has sent, at most `size` bytes: of a stream, messages of two senders never come together. Returns the
 * number of bytes, 0 at the end. The descriptors are close-on-exec and the caller's, also if it is an error that returns.
 */
long mt_local_receive(int socket, void *bytes, size_t size, struct mt_local_message *message);

/* Sends as much as goes at once, with the descriptors, which go if anything does. */
long mt_local_send(int socket, const void *bytes, size_t size, const int *descriptors, int count);

/* One datagram to a socket by name, as sd_notify(3) sends it: '@' stands for an abstract name's NUL. */
int mt_local_notify(const char *name, const char *message);

/* From now on no program that this process and its children execute gives them what they have not got. */
int mt_gain_no_privileges(void);

/* Locks the file for this process; -EWOULDBLOCK if another has it. */
int mt_lock_file(int descriptor);

/* Lets the process have as many descriptors as it may, and returns how many. */
uint64_t mt_raise_descriptor_limit(void);

/*
 * From now on memory that is freed at the end of a thread's heap goes back to the system where it is more than 128 KiB, and
 * what is larger than that has pages of its own. Else the C library raises both limits to what it has seen freed, up to
 * 64 MiB, and mt_trim_memory leaves the ends of all heaps but one alone.
 */
void mt_keep_little_memory(void);

/* Gives memory that nobody uses any more back to the system. */
void mt_trim_memory(void);

/* A descriptor of the process; -ESRCH if there is none. Close-on-exec. */
int mt_pidfd_open(pid_t pid);

/* A file in memory with these bytes, which nobody can change any more; close-on-exec. */
int mt_sealed_file(const void *bytes, size_t size);

/*
 * Another process' descriptor of such a file, as one of our own; -EPERM if it could still be changed. What it leads to is what
 * that process has opened: no path is followed.
 */
int mt_take_sealed_file(int pidfd, int descriptor);

#endif
