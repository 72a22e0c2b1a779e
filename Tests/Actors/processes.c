/* Processes and threads: how they start, and how they end. */
#include "actor.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static char stack[65536] __attribute__((aligned(16)));

static int cloned(void *argument)
{
	(void)argument;
	_exit(6);
}

/* spawn KIND: one child, which ends with a status of its own. */
static void spawn(int argc, char **argv)
{
	const char *kind = argc > 0 ? argv[0] : "";
	extern char **environ;
	pid_t child;

	if (strcmp(kind, "fork") == 0) {
		child = check(fork(), "fork");
		if (child == 0)
			_exit(3);
	} else if (strcmp(kind, "vfork") == 0) {
		child = check(vfork(), "vfork");
		if (child == 0) {
			execl(self_path, self_path, "exit", "4", NULL);
			_exit(99);
		}
	} else if (strcmp(kind, "posix-spawn") == 0) {
		char *arguments[] = {(char *)self_path, "exit", "5", NULL};
		errno = posix_spawn(&child, self_path, NULL, NULL, arguments, environ);
		if (errno != 0)
			fail("posix_spawn");
	} else if (strcmp(kind, "clone-parent") == 0) {
		/* The child is its grandparent's: only the end of this pipe says that it has ended. */
		int ends[2];
		char byte;
		check(pipe(ends), "pipe");
		child = check(clone(cloned, stack + sizeof stack, CLONE_PARENT | SIGCHLD, NULL), "clone");
		fact("child", child);
		fact("parent", getppid());
		close(ends[1]);
		if (read(ends[0], &byte, 1) != 0)
			fail("read");
		return;
	} else if (strcmp(kind, "clone-files") == 0) {
		child = check(clone(cloned, stack + sizeof stack, CLONE_FILES | SIGCHLD, NULL), "clone");
	} else {
		errno = EINVAL;
		fail(kind);
	}
	fact("child", child);
	fact("status", reap(child));
}

/* daemon: double fork and setsid; the last one is nobody's child, and opens a file. */
static void become_daemon(int argc, char **argv)
{
	pid_t child = check(fork(), "fork");

	(void)argc, (void)argv;
	if (child == 0) {
		check(setsid(), "setsid");
		pid_t grandchild = check(fork(), "fork");
		if (grandchild == 0) {
			while (getppid() == getsid(0)) /* until adopted */
				sched_yield();
			int fd = check(open("late", O_WRONLY | O_CREAT, 0644), "open");
			fact_file("file", fd);
			fact_path("path", "late");
			_exit(0);
		}
		fact("grandchild", grandchild);
		_exit(0);
	}
	fact("child", child);
	reap(child);
}

/* end KIND: how this process ends. */
static void *end_group(void *argument)
{
	(void)argument;
	fact("tid", gettid());
	syscall(SYS_exit_group, 9);
	return NULL;
}

static void *end_thread(void *argument)
{
	(void)argument;
	fact("tid", gettid());
	syscall(SYS_exit, 0);
	return NULL;
}

static void *linger(void *argument)
{
	pthread_join(*(pthread_t *)argument, NULL);
	syscall(SYS_exit, 12);
	return NULL;
}

static void end(int argc, char **argv)
{
	const char *kind = argc > 0 ? argv[0] : "";
	pthread_t thread;

	if (strcmp(kind, "status") == 0) {
		_exit(42);
	} else if (strcmp(kind, "signal") == 0) {
		kill(getpid(), SIGKILL);
	} else if (strcmp(kind, "abort") == 0) {
		signal(SIGABRT, SIG_DFL);
		abort();
	} else if (strcmp(kind, "group") == 0) {
		if (pthread_create(&thread, NULL, end_group, NULL) != 0)
			fail("pthread_create");
		for (;;)
			pause();
	} else if (strcmp(kind, "threads") == 0) {
		for (int i = 0; i < 3; i++)
			if (pthread_create(&thread, NULL, end_thread, NULL) != 0 || pthread_join(thread, NULL) != 0)
				fail("pthread_create");
	} else if (strcmp(kind, "leader-first") == 0) {
		/* The leader ends while a thread lives on: the process ends with the thread. */
		static pthread_t leader;
		leader = pthread_self();
		if (pthread_create(&thread, NULL, linger, &leader) != 0)
			fail("pthread_create");
		syscall(SYS_exit, 11);
	} else {
		errno = EINVAL;
		fail(kind);
	}
}

/* work: uses up a tenth of a second of one CPU, and moves bytes. */
static void work(int argc, char **argv)
{
	struct timespec used = {0};
	char buffer[4096] = {0};

	(void)argc, (void)argv;
	int fd = check(open("file", O_RDWR | O_CREAT, 0600), "open");
	check(write(fd, buffer, sizeof buffer), "write");
	check(pread(fd, buffer, sizeof buffer, 0), "pread");
	fact("bytes", sizeof buffer);
	while (used.tv_sec == 0 && used.tv_nsec < 100 * 1000 * 1000)
		check(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used), "clock_gettime");
}

static void *open_numbered(void *argument)
{
	char name[64], key[64];
	int number = (int)(intptr_t)argument;

	snprintf(name, sizeof name, "file-%02d", number);
	int fd = check(open(name, O_WRONLY | O_CREAT, 0644), name);
	snprintf(key, sizeof key, "file-%02d", number);
	fact_file(key, fd);
	snprintf(key, sizeof key, "tid-%02d", number);
	fact(key, gettid());
	return NULL;
}

/* threads: 64 of them, each of which opens a file of its own. */
static void threads(int argc, char **argv)
{
	pthread_t all[64];

	(void)argc, (void)argv;
	for (intptr_t i = 0; i < 64; i++)
		if (pthread_create(&all[i], NULL, open_numbered, (void *)i) != 0)
			fail("pthread_create");
	for (int i = 0; i < 64; i++)
		pthread_join(all[i], NULL);
}

int find_cgroups(char *path, size_t size)
{
	char line[8192], mount_point[4096];
	FILE *mounts = fopen("/proc/self/mountinfo", "re");
	int found = 0;

	while (mounts != NULL && !found && fgets(line, sizeof line, mounts) != NULL)
		if (strstr(line, " - cgroup2 ") != NULL && sscanf(line, "%*s %*s %*s %*s %4095s", mount_point) == 1) {
			snprintf(path, size, "%s", mount_point);
			found = 1;
		}
	if (mounts != NULL)
		fclose(mounts);
	return found;
}

void move_to(const char *group)
{
	char path[4300], text[32];
	int length = snprintf(text, sizeof text, "%d\n", getpid());

	snprintf(path, sizeof path, "%s/cgroup.procs", group);
	int fd = check(open(path, O_WRONLY | O_CLOEXEC), path);
	check(write(fd, text, length), "cgroup.procs");
	close(fd);
}

/* cgroup: a child that moves to another group, and then is another program. */
static void cgroup(int argc, char **argv)
{
	char top[4096] = "", group[4200];
	struct stat status;

	(void)argc, (void)argv;
	if (!find_cgroups(top, sizeof top)) {
		errno = ENOENT;
		unsupported("no cgroup2 hierarchy");
	}
	snprintf(group, sizeof group, "%s/martlet-test-%d", top, getpid());
	if (mkdir(group, 0755) < 0)
		unsupported("mkdir in cgroup2");
	check(stat(group, &status), "stat");
	fact("cgroup", (long long)status.st_ino);
	pid_t child = check(fork(), "fork");
	if (child == 0) {
		move_to(group);
		run_self("open", "open", NULL);
	}
	fact("child", child);
	fact("status", reap(child));
	check(rmdir(group), "rmdir of the cgroup");
}

const struct verb process_verbs[] = {
	{"spawn", spawn}, {"daemon", become_daemon}, {"end", end}, {"threads", threads}, {"cgroup", cgroup},
	{"work", work}, {0},
};
