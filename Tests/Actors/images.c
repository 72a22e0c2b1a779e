/* Running programs: by every call, from every kind of file, with any arguments. */
#include "actor.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

/* A copy of this program, closed for writing, so that it can be run. */
static int copy_self(const char *name)
{
	int from = check(open(self_path, O_RDONLY | O_CLOEXEC), "open self");
	int to = check(open(name, O_WRONLY | O_CREAT | O_CLOEXEC, 0755), name);
	struct stat status;

	check(fstat(from, &status), "fstat");
	for (off_t left = status.st_size; left > 0;)
		left -= check(sendfile(to, from, NULL, left), "sendfile");
	close(from);
	close(to);
	return check(open(name, O_RDONLY | O_CLOEXEC), name);
}

static void *exec_from_thread(void *argument)
{
	(void)argument;
	fact("tid", gettid());
	run_self("exit", "7", NULL);
}

static void run_as(const char *path, const char *name)
{
	char *arguments[] = {(char *)name, "exit", "0", NULL};

	execve(path, arguments, environ);
	fail("execve");
}

#define STARTED 9 /* where a program says that it runs */

/* Runs NAME in a child that lives until `gate` is closed; returns when it runs. */
static pid_t run_child(const char *name, int gate[2])
{
	char *arguments[] = {(char *)self_path, "image", "until-end", NULL};
	int started[2];
	char byte;
	pid_t child;

	check(pipe2(gate, O_CLOEXEC), "pipe2");
	check(pipe2(started, O_CLOEXEC), "pipe2");
	child = check(fork(), "fork");
	if (!child) {
		check(dup2(gate[0], STDIN_FILENO), "dup2");
		check(dup2(started[1], STARTED), "dup2");
		execve(name, arguments, environ);
		fail("execve");
	}
	close(gate[0]);
	close(started[1]);
	/* Not when the descriptor is closed: that is in the middle of the exec. */
	if (read(started[0], &byte, 1) != 1)
		fail("read");
	close(started[0]);
	return child;
}

/*
 * Three files have the name, one after the other: the first is replaced while it runs, the second when its process is
 * over. All are older than a tick when they are executed.
 */
static void replaced(void)
{
	const struct timespec tick = {.tv_nsec = 50000000}, moment = {.tv_nsec = 5000000};
	int other, third, gate[2];
	pid_t child;

	fact_file("image", copy_self("victim"));
	other = copy_self("other");
	third = check(open("other", O_WRONLY | O_APPEND | O_CLOEXEC), "other");
	check(write(third, "x", 1), "write");
	close(third);
	fact_file("other", other);
	make_file("third", "no program\n");
	nanosleep(&tick, NULL);

	child = run_child("victim", gate);
	check(rename("other", "victim"), "rename");
	/* The test makes a file when it has what it wants to know. */
	fact_path("until-hashed", "victim");
	for (int i = 0; access("hashed", F_OK) < 0 && i < 4000; i++)
		nanosleep(&moment, NULL);
	close(gate[1]);
	reap(child);
	child = run_child("victim", gate);
	close(gate[1]);
	reap(child);
	check(rename("third", "victim"), "rename");
}

/* image KIND: this process becomes another program. */
static void image(int argc, char **argv)
{
	const char *kind = argc > 0 ? argv[0] : "";
	int fd;

	if (strcmp(kind, "thread") == 0) {
		pthread_t thread;
		if (pthread_create(&thread, NULL, exec_from_thread, NULL) != 0)
			fail("pthread_create");
		for (;;)
			pause();
	} else if (strcmp(kind, "arguments") == 0) {
		char *arguments[24] = {(char *)self_path, "exit", "0"};
		size_t bytes = strlen(self_path) + 1 + 5 + 2;
		for (int i = 3; i < 23; i++) {
			arguments[i] = malloc(1025);
			memset(arguments[i], 'a' + i, 1024);
			arguments[i][1024] = 0;
			bytes += 1025;
		}
		fact("count", 23);
		fact("bytes", (long long)bytes);
		execve(self_path, arguments, environ);
		fail("execve");
	} else if (strcmp(kind, "odd-arguments") == 0) {
		char *arguments[] = {(char *)self_path, "exit", "0", "", "\xff\xfe", "a\nb", "--password=hunter2", NULL};
		execve(self_path, arguments, environ);
		fail("execve");
	} else if (strcmp(kind, "no-arguments") == 0) {
		/* Newer kernels put an empty argv[0] in place of none: this program then fails, and that is fine. */
		char *arguments[] = {NULL};
		execve(self_path, arguments, environ);
		fail("execve");
	} else if (strcmp(kind, "memfd") == 0) {
		int from = check(open(self_path, O_RDONLY | O_CLOEXEC), "open self");
		struct stat status;
		fd = check(memfd_create("martlet-image", MFD_CLOEXEC), "memfd_create");
		check(fstat(from, &status), "fstat");
		for (off_t left = status.st_size; left > 0;)
			left -= check(sendfile(fd, from, NULL, left), "sendfile");
		fact_file("image", fd);
		char *arguments[] = {(char *)self_path, "exit", "0", NULL};
		fexecve(fd, arguments, environ);
		fail("fexecve");
	} else if (strcmp(kind, "deleted") == 0) {
		fd = copy_self("gone");
		check(unlink("gone"), "unlink");
		fact_file("image", fd);
		fact_path("exe", "gone");
		char *arguments[] = {(char *)self_path, "exit", "0", NULL};
		fexecve(fd, arguments, environ);
		fail("fexecve");
	} else if (strcmp(kind, "relative") == 0) {
		make_directory("bin");
		fact_file("image", copy_self("bin/copy"));
		fact_path("exe", "bin/copy");
		fact_text("filename", "./bin/../bin/copy");
		run_as("./bin/../bin/copy", self_path);
	} else if (strcmp(kind, "symlink") == 0) {
		fact_file("image", copy_self("copy"));
		check(symlink("copy", "alias"), "symlink");
		fact_path("exe", "copy");
		fact_text("filename", "alias");
		run_as("alias", self_path);
	} else if (strcmp(kind, "script") == 0) {
		char text[4200];
		fact_file("image", copy_self("interpreter"));
		snprintf(text, sizeof text, "#!%s/interpreter exit\n", start_directory);
		make_file("script", text);
		check(chmod("script", 0755), "chmod");
		fact_path("exe", "interpreter");
		fact_text("filename", "./script");
		run_as("./script", "ignored");
	} else if (strcmp(kind, "chroot") == 0) {
		make_directory("jail");
		fact_file("image", copy_self("jail/copy"));
		fact_path("exe", "jail/copy");
		fact_path("cwd", "jail");
		check(chroot("jail"), "chroot");
		check(chdir("/"), "chdir");
		run_as("/copy", "/copy");
	} else if (strcmp(kind, "namespace") == 0) {
		if (unshare(CLONE_NEWNS) < 0)
			unsupported("unshare");
		run_self("exit", "0", NULL);
	} else if (strcmp(kind, "directory") == 0) {
		make_directory("where");
		check(chdir("where"), "chdir");
		fact_path("cwd", "where");
		run_self("exit", "0", NULL);
	} else if (strcmp(kind, "replaced") == 0) {
		replaced();
	} else if (strcmp(kind, "until-end") == 0) {
		char byte = 0;
		check(write(STARTED, &byte, 1), "write");
		while (read(STDIN_FILENO, &byte, 1) > 0)
			;
		_exit(0);
	} else if (strcmp(kind, "many") == 0) {
		/* As many execs as the next argument says, one after the other in one process. */
		int count = argc > 1 ? atoi(argv[1]) : 0;
		char next[16];
		snprintf(next, sizeof next, "%d", count - 1);
		char *arguments[] = {(char *)self_path, "image", "many", next, NULL};
		if (count <= 0)
			_exit(0);
		execve(self_path, arguments, environ);
		fail("execve");
	} else if (strcmp(kind, "refused") == 0) {
		char *arguments[] = {"data", NULL};
		make_file("data", "\1 is not a program\n");
		check(chmod("data", 0755), "chmod");
		if (execve("data", arguments, environ) == 0)
			fail("execve");
		fact("error", errno);
	} else {
		errno = EINVAL;
		fail(kind);
	}
}

const struct verb image_verbs[] = {{"image", image}, {0}};
