/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "storm.h"

extern char **environ;

static const struct {
	const char *name;
	int (*run)(int argc, char **argv);
	const char *usage;
} verbs[] = {
	{"spawn", verb_spawn, "N [PROGRAM]: start and wait for N processes that do nothing"},
	{"prepare", verb_prepare, "DIR FILES BYTES: make FILES files, 200 to a directory"},
	{"open", verb_open, "DIR FILES COUNT: COUNT times open, read, close, in turn over FILES prepared files"},
	{"distinct", verb_distinct, "DIR FILES: open, read, close each prepared file once"},
	{"connect", verb_connect, "N: connect, accept, close on loopback, both ends here"},
	{"write", verb_write, "FILE MIB CHUNK-KIB TOTAL-MIB: rewrite FILE until TOTAL-MIB are written"},
	{"read", verb_read, "FILE MIB CHUNK-KIB TOTAL-MIB: reread FILE until TOTAL-MIB are read"},
	{"rate", verb_rate, "FILE SECONDS MIB-PER-SECOND read|write: prints \"begin\", then the rate reached; 0 is as fast as it goes"},
	{"causal", verb_causal, "DIR PAIRS: causes and effects on different CPUs; see causal.c"},
	{"overload", verb_overload, "DIR FILES: as distinct, with an exec and a connect in the middle; waits for a byte on stdin"},
	{"job", verb_job, "NUMBER DIR ROUNDS PAUSE-US OUTPUT PROGRAM: a job of many kinds of events, each with its number; see jobs.c"},
	{"measure", verb_measure, "OUTPUT COMMAND…: write the CPU and wall time of COMMAND to OUTPUT"},
	{"twice", verb_twice, "VERB…: the same verb in two processes, each on its own CPU"},
};

void die(const char *what)
{
	fprintf(stderr, "storm: %s: %s\n", what, strerror(errno));
	exit(1);
}

void fail(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	fputs("storm: ", stderr);
	vfprintf(stderr, format, arguments);
	fputc('\n', stderr);
	va_end(arguments);
	exit(1);
}

uint64_t number(const char *text, const char *name, uint64_t limit)
{
	char *end;
	unsigned long long value;

	errno = 0;
	value = strtoull(text, &end, 10);
	if (errno || end == text || *end || *text == '-' || value > limit) {
		fprintf(stderr, "storm: %s must be a number from 0 to %llu, not \"%s\"\n", name,
			(unsigned long long)limit, text);
		exit(64);
	}
	return value;
}

uint64_t now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

unsigned nth_cpu(unsigned nth)
{
	cpu_set_t allowed;
	unsigned cpu;

	if (sched_getaffinity(0, sizeof(allowed), &allowed) || !CPU_COUNT(&allowed))
		die("sched_getaffinity");
	nth %= (unsigned)CPU_COUNT(&allowed);
	for (cpu = 0; cpu < CPU_SETSIZE; cpu++)
		if (CPU_ISSET(cpu, &allowed) && !nth--)
			break;
	return cpu;
}

void use_cpu(unsigned cpu)
{
	cpu_set_t one;

	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	if (sched_setaffinity(0, sizeof(one), &one))
		die("sched_setaffinity");
}

const char *self(void)
{
	static char path[4096];
	ssize_t length;

	if (*path)
		return path;
	length = readlink("/proc/self/exe", path, sizeof(path) - 1);
	if (length <= 0)
		die("/proc/self/exe");
	path[length] = 0;
	return path;
}

int start(const char *program, const char *first, const char *second)
{
	char *argv[] = {(char *)program, (char *)first, (char *)second, NULL};
	pid_t pid;
	int error = posix_spawn(&pid, program, NULL, NULL, argv, environ);

	if (error) {
		errno = error;
		die(program);
	}
	return pid;
}

void finish(int pid)
{
	int status;

	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			die("waitpid");
	if (!WIFEXITED(status) || WEXITSTATUS(status))
		fail("process %d ended with wait status 0x%x", pid, status);
}

/* Digits of `value`, `width` of them, so that making a name costs nothing beside opening it. */
static char *digits(char *to, uint64_t value, unsigned width)
{
	unsigned place;

	for (place = width; place--; value /= 10)
		to[place] = (char)('0' + value % 10);
	return to + width;
}

const char *file_name(const char *root, uint64_t index)
{
	static char name[4096];
	static const char *held;
	static size_t length;
	char *end;

	if (held != root) {
		held = root;
		length = strlen(root);
		if (length > sizeof(name) - 32)
			fail("the directory's name is too long");
		memcpy(name, root, length);
	}
	memcpy(name + length, "/d", 2);
	end = digits(name + length + 2, index / STORM_DIRECTORY_FILES, 5);
	memcpy(end, "/f", 2);
	*digits(end + 2, index, 7) = 0;
	return name;
}

void write_all(int fd, const void *bytes, uint64_t count)
{
	const char *next = bytes;

	while (count) {
		ssize_t done = write(fd, next, count);

		if (done < 0 && errno == EINTR)
			continue;
		if (done <= 0)
			die("write");
		next += done;
		count -= (uint64_t)done;
	}
}

int main(int argc, char **argv)
{
	size_t verb;

	/* The process that a spawn storm starts: it must cost as little as a process can. */
	if (argc >= 2 && !strcmp(argv[1], "nothing"))
		_exit(0);
	for (verb = 0; argc >= 2 && verb < sizeof(verbs) / sizeof(*verbs); verb++)
		if (!strcmp(argv[1], verbs[verb].name)) {
			int status = verbs[verb].run(argc - 2, argv + 2);

			if (status == 64)
				fprintf(stderr, "usage: storm %s %s\n", verbs[verb].name, verbs[verb].usage);
			return status;
		}
	fputs("usage: storm VERB ARGUMENT…\n", stderr);
	for (verb = 0; verb < sizeof(verbs) / sizeof(*verbs); verb++)
		fprintf(stderr, "  %s %s\n", verbs[verb].name, verbs[verb].usage);
	return 64;
}
