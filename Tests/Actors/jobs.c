#include "actor.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

/* as NAME VERB [ARGUMENT]...: the rest, executed by a name of its own in the start directory. */
static void as(int argc, char **argv)
{
	char path[8192];

	if (argc < 2)
		fail("as");
	snprintf(path, sizeof path, "%s/%s", start_directory, argv[0]);
	if (symlink(self_path, path) < 0 && errno != EEXIST)
		fail(path);
	argv[0] = (char *)self_path;
	execve(path, argv, environ);
	fail("execve");
}

/* copied PATH VERB [ARGUMENT]...: the rest, as an image with a path of its own below the start directory. */
static void copied(int argc, char **argv)
{
	char path[8192], bytes[65536];
	ssize_t count;

	if (argc < 2)
		fail("copied");
	snprintf(path, sizeof path, "%s/%s", start_directory, argv[0]);
	for (char *at = strchr(path + strlen(start_directory) + 1, '/'); at != NULL; at = strchr(at + 1, '/')) {
		*at = 0;
		if (mkdir(path, 0755) < 0 && errno != EEXIST)
			fail(path);
		*at = '/';
	}
	int from = check(open(self_path, O_RDONLY | O_CLOEXEC), self_path);
	int to = check(open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0755), path);
	while ((count = check(read(from, bytes, sizeof bytes), "read")) > 0)
		if (write(to, bytes, count) != count)
			fail("write");
	close(from);
	close(to);
	argv[0] = path;
	execve(path, argv, environ);
	fail("execve");
}

/* with NAME=VALUE... -- VERB [ARGUMENT]...: the rest, with these in the environment and nothing else. */
static void with(int argc, char **argv)
{
	int end = 0;

	while (end < argc && strcmp(argv[end], "--") != 0)
		end++;
	if (end >= argc)
		fail("with");
	argv[end] = NULL;
	char **variables = argv;
	char **arguments = argv + end;
	/* Where the dashes were: the name of the program, behind the end of the variables. */
	char **copied = calloc(argc - end + 2, sizeof *copied);
	if (copied == NULL)
		fail("calloc");
	copied[0] = (char *)self_path;
	for (int i = 1; i < argc - end; i++)
		copied[i] = arguments[i];
	execve(self_path, copied, variables);
	fail("execve");
}

static char *text(size_t length, const char *begin)
{
	char *string = malloc(length + 1);

	if (string == NULL)
		fail("malloc");
	memset(string, 'x', length);
	memcpy(string, begin, strlen(begin));
	string[length] = 0;
	return string;
}

/*
 * The environment of that KIND: with the variable as the first of 100, the 400th of 500, behind ones of 12 KiB and
 * 100 KiB, or as the last of 2 MiB; or with a value of 5,000 bytes; or with 60,000 before it.
 */
static char **fill(const char *kind, char *variable)
{
	static char *variables[70000];
	size_t count = 0, before = 0, after = 10;

	if (strcmp(kind, "first") == 0) {
		after = 99;
	} else if (strcmp(kind, "400th") == 0) {
		before = 399;
		after = 100;
	} else if (strcmp(kind, "behind-long") == 0) {
		variables[count++] = text(12 << 10, "LONG=");
		variables[count++] = text(100 << 10, "LONGER=");
	} else if (strcmp(kind, "huge") == 0) {
		for (int i = 0; i < 20; i++)
			variables[count++] = text(100 << 10, "HUGE=");
	} else if (strcmp(kind, "too-many") == 0) {
		before = 60000;
	} else if (strcmp(kind, "long") != 0) {
		errno = EINVAL;
		fail(kind);
	}
	for (size_t i = 0; i < before; i++) {
		char name[64];

		snprintf(name, sizeof name, "V%zu=%zu", i, i);
		variables[count++] = strdup(name);
	}
	variables[count++] = strcmp(kind, "long") == 0 ? text(5000, variable) : variable;
	for (size_t i = 0; i < after; i++)
		variables[count++] = "AFTER=1";
	return variables;
}

/* environment KIND NAME=VALUE VERB [ARGUMENT]...: the rest, with an environment of that kind. */
static void environment(int argc, char **argv)
{
	struct rlimit stack = {64 << 20, RLIM_INFINITY};

	if (argc < 3)
		fail("environment");
	char **variables = fill(argv[0], argv[1]);
	check(setrlimit(RLIMIT_STACK, &stack), "setrlimit");
	argv[1] = (char *)self_path;
	execve(self_path, argv + 1, variables);
	fail("execve");
}

/* narrow KIND NAME=VALUE: a program of 32 bits that ends at once, with an environment of that kind. */
static void narrow(int argc, char **argv)
{
	/* ELF header, program header; mov $1,%eax; xor %ebx,%ebx; int $0x80. */
	static const unsigned char image[] = {
		0x7f, 'E', 'L', 'F', 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 3, 0, 1, 0, 0, 0, 0x54, 0x80, 0x04, 0x08,
		0x34, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x34, 0, 0x20, 0, 1, 0, 0, 0, 0, 0, 0, 0,
		1, 0, 0, 0, 0, 0, 0, 0, 0, 0x80, 0x04, 0x08, 0, 0x80, 0x04, 0x08, 0x5d, 0, 0, 0, 0x5d, 0, 0, 0, 5, 0, 0, 0,
		0, 0x10, 0, 0,
		0xb8, 1, 0, 0, 0, 0x31, 0xdb, 0xcd, 0x80,
	};
	char path[8192];
	char *arguments[] = {path, NULL};
	struct rlimit stack = {64 << 20, RLIM_INFINITY};

	if (argc < 2)
		fail("narrow");
	snprintf(path, sizeof path, "%s/narrow", start_directory);
	int file = check(open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0755), path);
	if (write(file, image, sizeof image) != sizeof image)
		fail("write");
	close(file);
	char **variables = fill(argv[0], argv[1]);
	check(setrlimit(RLIMIT_STACK, &stack), "setrlimit");
	execve(path, arguments, variables);
	if (errno != ENOEXEC)
		fail("execve");
	fact("no-32-bits", 1);
	exit(0);
}

static void touch(const char *name)
{
	close(check(open(name, O_WRONLY | O_CREAT | O_CLOEXEC, 0644), name));
}

/* in-cgroup NAME GROUP: touches the file, and takes the group away that it is in. */
static void in_cgroup(int argc, char **argv)
{
	char top[4096];

	if (argc < 2 || !find_cgroups(top, sizeof top))
		fail("in-cgroup");
	touch(argv[0]);
	move_to(top);
	check(rmdir(argv[1]), argv[1]);
}

/* enter GROUP VERB [ARGUMENT]...: the rest, in another cgroup. */
static void enter(int argc, char **argv)
{
	if (argc < 2)
		fail("enter");
	move_to(argv[0]);
	argv[0] = (char *)self_path;
	execve(self_path, argv, environ);
	fail("execve");
}

/* enter-as GROUP NAME NAME=VALUE VERB [ARGUMENT]...: likewise, executed by that name and with the variable. */
static void enter_as(int argc, char **argv)
{
	if (argc < 4)
		fail("enter-as");
	move_to(argv[0]);
	putenv(argv[2]);
	argv[2] = argv[1];
	as(argc - 2, argv + 2);
}

/* Two forks away, in a session of its own and where it can in another cgroup. */
static void leave(const char *id, const char *step)
{
	char key[128], name[256], top[4096], group[4300];

	if (check(fork(), "fork") != 0)
		return;
	setsid();
	if (check(fork(), "fork") != 0)
		_exit(0);
	snprintf(key, sizeof key, "%s.%s.daemon", id, step);
	fact(key, getpid());
	snprintf(name, sizeof name, "%s-%s-daemon", id, step);
	if (!find_cgroups(top, sizeof top))
		run_self("touch", name, NULL);
	snprintf(group, sizeof group, "%s/martlet-test-%d", top, getpid());
	check(mkdir(group, 0755), group);
	move_to(group);
	run_self("in-cgroup", name, group);
}

static void touch_file(int argc, char **argv)
{
	if (argc < 1)
		fail("touch");
	touch(argv[0]);
}

/* step ID NUMBER: what a runner starts. */
static void step(int argc, char **argv)
{
	char key[128], name[256];

	if (argc < 2)
		fail("step");
	snprintf(key, sizeof key, "%s.%s", argv[0], argv[1]);
	fact(key, getpid());
	snprintf(name, sizeof name, "%s-%s", argv[0], argv[1]);
	touch(name);
	leave(argv[0], argv[1]);
	pid_t child = check(fork(), "fork");
	if (child == 0) {
		snprintf(name, sizeof name, "%s-%s-child", argv[0], argv[1]);
		run_self("touch", name, NULL);
	}
	snprintf(key, sizeof key, "%s.%s.child", argv[0], argv[1]);
	fact(key, child);
	reap(child);
}

struct order {
	const char *id;
	char number[16];
};

static void *start_step(void *argument)
{
	struct order *order = argument;
	pid_t child = check(fork(), "fork");

	if (child == 0) {
		setenv("STEP_NAME", order->number, 1);
		run_self("step", order->id, order->number);
	}
	reap(child);
	return NULL;
}

/* runner ID: starts three steps one after the other, two of them from threads of its own. */
static void runner(int argc, char **argv)
{
	char name[256];
	pthread_t thread;

	if (argc < 1)
		fail("runner");
	snprintf(name, sizeof name, "%s-runner", argv[0]);
	fact(name, getpid());
	touch(name);
	for (int i = 1; i <= 3; i++) {
		struct order order = {.id = argv[0]};

		snprintf(order.number, sizeof order.number, "%d", i);
		if (i == 1) {
			start_step(&order);
			continue;
		}
		errno = pthread_create(&thread, NULL, start_step, &order);
		if (errno != 0)
			fail("pthread_create");
		pthread_join(thread, NULL);
	}
}

/* two-runners: two of the same name at once, neither started by the other. */
static void two_runners(int argc, char **argv)
{
	pid_t children[2];

	(void)argc, (void)argv;
	for (int i = 0; i < 2; i++) {
		children[i] = check(fork(), "fork");
		if (children[i] == 0) {
			char *arguments[] = {"Runner.Worker", "runner", i ? "B" : "A", NULL};
			as(3, arguments);
		}
	}
	reap(children[0]);
	reap(children[1]);
}

/* crowd WORKERS PROGRAMS: of each worker, one after the other, of a runner's name. None does anything. */
static void crowd(int argc, char **argv)
{
	if (argc < 2)
		fail("crowd");
	for (int i = atoi(argv[0]); i > 0; i--) {
		if (check(fork(), "fork") != 0)
			continue;
		for (int round = atoi(argv[1]); round > 0; round--) {
			pid_t child = check(fork(), "fork");
			if (child == 0) {
				char *arguments[] = {"Runner.Worker", "exit", "0", NULL};
				as(3, arguments);
			}
			reap(child);
		}
		_exit(0);
	}
	while (wait(NULL) > 0 || errno == EINTR)
		;
}

static int ready[2];

static void *wait_forever(void *gate)
{
	char byte;

	/* The end of the pipe comes when the tree is to go on. */
	if (read(*(int *)gate, &byte, 1) < 0)
		fail("read");
	return NULL;
}

static void *forks_and_waits(void *gate)
{
	pid_t child = check(fork(), "fork");

	if (child == 0) {
		close(((int *)gate)[1]);
		fact("threads-child", getpid());
		check(write(ready[1], "", 1), "write");
		wait_forever(gate);
		run_self("touch", "threads-child", NULL);
	}
	wait_forever(gate);
	touch("thread");
	reap(child);
	return NULL;
}

/*
 * tree: threads, children of threads, grandchildren, and one that its parent left behind to this process, which takes
 * in orphans. All wait for a byte on standard input, and then touch a file of their name each.
 */
static void tree(int argc, char **argv)
{
	int pipes[2];
	pthread_t threads[2];
	char byte = 0;

	pid_t root = getpid();

	(void)argc, (void)argv;
	check(prctl(PR_SET_CHILD_SUBREAPER, 1), "prctl");
	check(pipe(pipes), "pipe");
	check(pipe(ready), "pipe");
	for (int i = 0; i < 2; i++) {
		errno = pthread_create(&threads[i], NULL, i ? forks_and_waits : wait_forever, pipes);
		if (errno != 0)
			fail("pthread_create");
	}
	pid_t child = check(fork(), "fork");
	if (child == 0) {
		close(pipes[1]);
		fact("child", getpid());
		pid_t grandchild = check(fork(), "fork");
		if (grandchild == 0) {
			fact("grandchild", getpid());
			check(write(ready[1], &byte, 1), "write");
			wait_forever(&pipes[0]);
			run_self("touch", "grandchild", NULL);
		}
		wait_forever(&pipes[0]);
		reap(grandchild);
		run_self("touch", "child", NULL);
	}
	pid_t between = check(fork(), "fork");
	if (between == 0) {
		close(pipes[1]);
		if (check(fork(), "fork") != 0)
			_exit(0);
		while (getppid() != root)
			usleep(1000);
		fact("orphan", getpid());
		check(write(ready[1], &byte, 1), "write");
		wait_forever(&pipes[0]);
		run_self("touch", "orphan", NULL);
	}
	reap(between);
	for (int i = 0; i < 3; i++)
		check(read(ready[0], &byte, 1), "read");
	fact("ready", 1);
	if (read(STDIN_FILENO, &byte, 1) < 0)
		fail("read");
	close(pipes[1]);
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	while (wait(NULL) > 0 || errno == EINTR)
		;
	touch("root");
}

const struct verb job_verbs[] = {
	{"as", as}, {"copied", copied}, {"with", with}, {"environment", environment}, {"touch", touch_file},
	{"narrow", narrow}, {"in-cgroup", in_cgroup}, {"enter", enter}, {"enter-as", enter_as},
	{"step", step}, {"runner", runner}, {"two-runners", two_runners},
	{"crowd", crowd}, {"tree", tree}, {0},
};
