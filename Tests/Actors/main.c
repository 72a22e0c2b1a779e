#include "actor.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

const char *self_path;
char start_directory[4096];

/* One write a line: lines of several threads or processes do not mix. */
static void put(const char *line, size_t length)
{
	if (write(STDOUT_FILENO, line, length) != (ssize_t)length)
		_exit(71);
}

void fact(const char *key, long long value)
{
	char line[256];
	put(line, snprintf(line, sizeof line, "%s=%lld\n", key, value));
}

void fact_bytes(const char *key, const void *bytes, size_t length)
{
	static __thread char line[20480];
	size_t at = snprintf(line, 256, "%s=", key);

	if (length > 8192)
		fail("fact_bytes");
	for (size_t i = 0; i < length; i++)
		at += snprintf(line + at, 3, "%02x", ((const uint8_t *)bytes)[i]);
	line[at++] = '\n';
	put(line, at);
}

void fact_text(const char *key, const char *text)
{
	fact_bytes(key, text, strlen(text));
}

void fact_path(const char *key, const char *name)
{
	char path[8192];

	if (name[0] == '/')
		snprintf(path, sizeof path, "%s", name);
	else
		snprintf(path, sizeof path, "%s/%s", start_directory, name);
	fact_text(key, path);
}

void fact_file(const char *key, int fd)
{
	struct stat status;
	char name[64];

	check(fstat(fd, &status), "fstat");
	const struct { const char *field; long long value; } facts[] = {
		{"fd", fd},
		{"device", (long long)major(status.st_dev) << 20 | minor(status.st_dev)},
		{"inode", (long long)status.st_ino},
		{"mode", status.st_mode},
		{"links", (long long)status.st_nlink},
		{"size", (long long)status.st_size},
	};
	for (size_t i = 0; i < sizeof facts / sizeof *facts; i++) {
		snprintf(name, sizeof name, "%s.%s", key, facts[i].field);
		fact(name, facts[i].value);
	}
}

void fail(const char *what)
{
	char text[256];

	snprintf(text, sizeof text, "%s: %s", what, strerror(errno));
	fact_text("failed", text);
	_exit(70);
}

void unsupported(const char *what)
{
	char text[256];

	snprintf(text, sizeof text, "%s: %s", what, strerror(errno));
	fact_text("unsupported", text);
	_exit(75);
}

long check(long result, const char *what)
{
	if (result < 0)
		fail(what);
	return result;
}

static long call32(long number, long a, long b, long c, long d)
{
	long result;

	__asm__ volatile("int $0x80"
			 : "=a"(result)
			 : "a"(number), "b"(a), "c"(b), "d"(c), "S"(d)
			 : "memory", "cc", "r8", "r9", "r10", "r11");
	return (int)result;
}

long low_copy(const void *bytes, size_t size)
{
	char *low = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);

	if (low == MAP_FAILED)
		fail("mmap");
	memcpy(low, bytes, size);
	return (long)low;
}

int compat(long number, long a, long b, long c, long d)
{
	/* getpid first: without 32-bit calls the interrupt is a fault, and the kernel says so by a signal. */
	if (call32(20, 0, 0, 0, 0) != getpid())
		unsupported("int 0x80");
	long result = call32(number, a, b, c, d);
	if (result < 0)
		errno = (int)-result;
	return (int)(result < 0 ? -1 : result);
}

void make_file(const char *name, const char *text)
{
	int fd = check(open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644), name);

	if (write(fd, text, strlen(text)) != (ssize_t)strlen(text))
		fail("write");
	close(fd);
}

void make_directory(const char *name)
{
	check(mkdir(name, 0755), name);
}

int reap(pid_t pid)
{
	int status = 0;

	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			fail("waitpid");
	return status;
}

void run_self(const char *verb, const char *first, const char *second)
{
	const char *arguments[] = {self_path, verb, first, second, NULL};
	extern char **environ;

	execve(self_path, (char **)arguments, environ);
	fail("execve");
}

/* Blocks until the test has put this process into its job, then becomes a new image with the rest. */
static void wait_then(int argc, char **argv)
{
	char byte;
	extern char **environ;

	fact("waiting", 1);
	if (argc < 1 || read(STDIN_FILENO, &byte, 1) != 1)
		fail("wait-then");
	argv[-1] = (char *)self_path;
	execve(self_path, argv - 1, environ);
	fail("execve");
}

static void exit_with(int argc, char **argv)
{
	_exit(argc > 0 ? atoi(argv[0]) : 0);
}

static const struct verb main_verbs[] = {{"wait-then", wait_then}, {"exit", exit_with}, {0}};

int main(int argc, char **argv)
{
	const struct verb *const tables[] = {main_verbs, file_verbs, path_verbs, descriptor_verbs, process_verbs,
		image_verbs, network_verbs, unix_verbs, uring_verbs, storm_verbs, security_verbs, byte_verbs,
		job_verbs, container_verbs, host_verbs, guard_verbs, tls_verbs, benign_verbs, shield_verbs, dump_verbs,
		filter_verbs};

	if (argc < 2 || argv[0][0] != '/') {
		fprintf(stderr, "usage: /path/to/martlet-actor VERB [ARGUMENT]...\n");
		return 64;
	}
	self_path = argv[0];
	if (getcwd(start_directory, sizeof start_directory) == NULL)
		start_directory[0] = 0;
	for (size_t i = 0; i < sizeof tables / sizeof *tables; i++)
		for (const struct verb *verb = tables[i]; verb->name != NULL; verb++)
			if (strcmp(verb->name, argv[1]) == 0) {
				verb->run(argc - 2, argv + 2);
				return 0;
			}
	errno = EINVAL;
	fail(argv[1]);
}
