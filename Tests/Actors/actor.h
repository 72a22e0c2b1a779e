/*
 * martlet-actor does one real thing and says what it did, so that a test can
 * compare what the sensor saw with what the system itself says.
 *
 * Facts go to standard output, a line each: a key, "=", and a number in decimal
 * or bytes in hexadecimal. Paths are those that the kernel uses: absolute, from
 * the root of the mount namespace.
 */
#ifndef MARTLET_ACTOR_H
#define MARTLET_ACTOR_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct sockaddr_in;

struct verb {
	const char *name;
	void (*run)(int argc, char **argv); /* argv[0] is the first argument after the name */
};

extern const struct verb file_verbs[], path_verbs[], descriptor_verbs[], process_verbs[], image_verbs[],
	network_verbs[], unix_verbs[], uring_verbs[], storm_verbs[], security_verbs[], byte_verbs[],
	job_verbs[], container_verbs[], host_verbs[], guard_verbs[], tls_verbs[], benign_verbs[], shield_verbs[], dump_verbs[],
	filter_verbs[];

/* Where this program's file is, and the working directory that it was started in. */
extern const char *self_path;
extern char start_directory[4096];

void fact(const char *key, long long value);
void fact_bytes(const char *key, const void *bytes, size_t length);
void fact_text(const char *key, const char *text);
/* "KEY.fd", "KEY.device" (major << 20 | minor), "KEY.inode", "KEY.mode", "KEY.links", "KEY.size" */
void fact_file(const char *key, int fd);
/* NAME, made absolute by the directory that the actor was started in. */
void fact_path(const char *key, const char *name);

/* Both end the actor: something failed, or this kernel has no such thing. */
_Noreturn void fail(const char *what);
_Noreturn void unsupported(const char *what);
/* The result, unless it is negative. */
long check(long result, const char *what);

void make_file(const char *name, const char *text);
void make_directory(const char *name);
/* Where the v2 hierarchy is mounted; 0 if it is not. And into one of its groups. */
int find_cgroups(char *path, size_t size);
void move_to(const char *group);
/* Reaps and returns the status as wait(2) gives it. */
int reap(pid_t pid);
/* Runs this program's own file with a verb and up to two arguments; does not return. */
_Noreturn void run_self(const char *verb, const char *first, const char *second);
/* A 32-bit system call: pointers must lie below 4 GiB, where low_copy puts up to 4 KiB. */
int compat(long number, long a, long b, long c, long d);
long low_copy(const void *bytes, size_t size);
/* Opens through io_uring; flags of io_uring_setup. */
int uring_open(const char *name, int flags, mode_t mode, unsigned setup_flags);
/* Reads or writes at an offset through io_uring, flags of the entry; the result. */
int uring_transfer(int fd, void *bytes, unsigned length, long offset, int writes, unsigned entry_flags);

/* A deed of guard.c. */
int race(char **argv);

/* What a connection says first, as `what` has it; `first`: how much of it in a piece of its own, 0: all. */
size_t first_bytes(unsigned char *to, size_t room, const char *what, size_t *first);

/* Of DNS: the name of a question as text, and what lies behind the question, or 0; a question for A; its answer. */
size_t dns_name_at(const unsigned char *message, size_t size, char *text, size_t room);
size_t dns_query(unsigned char *message, const char *name, unsigned id);
size_t dns_answer(unsigned char *message, size_t end, const char *value);
/* Turns a question into its answer, by one of the NAME=VALUE; its length, 0: there is none. */
size_t dns_answer_of(unsigned char *message, size_t length, char **zone, int count);
struct sockaddr_in address_v4(const char *address, unsigned port);

/* By TCP: answers what has come, and returns how many questions it was, or -1 at the end. */
struct dns_stream {
	int fd;
	size_t held;
	unsigned char bytes[2048];
};
int stream_answer(struct dns_stream *stream, char **zone, int count);
/* Asks for names, separated by commas, all at once. `how`: "pieces": the first message in two. */
void stream_ask(char *outcome, size_t room, const char *resolver, char *names, const char *how);

#endif
