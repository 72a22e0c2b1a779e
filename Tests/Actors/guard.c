/*
 * Deeds that a policy may not allow. Each is done by a child, which may not survive it; the parent then says how that
 * ended ("outcome": the errno with which it was refused, 0: it was done, or the negative number of a signal) and what is
 * there afterwards.
 */
#include "actor.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define CANARY 0x6372616e79626972ull

extern char **environ;

static uint64_t canary = CANARY;
static pid_t decoy;
static uint64_t *seen; /* shared: what a child read is still there when it has been killed */
static int gate[2];

/* What the child does: 0, or an errno. */
static int refused(long result)
{
	return result < 0 ? errno : 0;
}

static void copy_self(const char *name)
{
	char bytes[65536];
	ssize_t count;
	int from = check(open(self_path, O_RDONLY | O_CLOEXEC), self_path);
	int to = check(open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0755), name);

	while ((count = check(read(from, bytes, sizeof bytes), "read")) > 0)
		if (write(to, bytes, count) != count)
			fail("write");
	close(from);
	close(to);
}

/* execution: what runs leaves a file */

static void leave_effect(int argc, char **argv)
{
	(void)argc, (void)argv;
	make_file("effect", "done");
}

static int execute(const char *path)
{
	char *arguments[] = {(char *)path, "guard-effect", NULL};

	execve(path, arguments, environ);
	return errno;
}

/* An absolute path: an actor wants to be called by one. */
static const char *in_start(const char *name)
{
	static char path[4200];

	snprintf(path, sizeof path, "%s/%s", start_directory, name);
	return path;
}

static int exec_file(char **argv)
{
	copy_self(argv[1]);
	return execute(argv[1][0] == '/' ? argv[1] : in_start(argv[1]));
}

static int exec_memory(char **argv)
{
	char bytes[65536], *arguments[] = {"/memory", "guard-effect", NULL};
	int from = check(open(self_path, O_RDONLY | O_CLOEXEC), self_path);
	int to = check(memfd_create("program", MFD_CLOEXEC), "memfd_create");
	ssize_t count;

	(void)argv;
	while ((count = read(from, bytes, sizeof bytes)) > 0)
		if (write(to, bytes, count) != count)
			fail("write");
	fexecve(to, arguments, environ);
	return errno;
}

static int exec_deleted(char **argv)
{
	char *arguments[] = {"/deleted", "guard-effect", NULL};

	copy_self(argv[1]);
	int fd = check(open(argv[1], O_RDONLY | O_CLOEXEC), argv[1]);
	check(unlink(argv[1]), "unlink");
	fexecve(fd, arguments, environ);
	return errno;
}

/* exec-script SCRIPT INTERPRETER */
static int exec_script(char **argv)
{
	char text[8192];

	copy_self(argv[2]);
	snprintf(text, sizeof text, "#!%s guard-effect\n", in_start(argv[2]));
	make_file(argv[1], text);
	check(chmod(argv[1], 0755), "chmod");
	return execute(in_start(argv[1]));
}

/* exec-copy NAME: of a program that is there */
static int exec_there(char **argv)
{
	return execute(argv[1][0] == '/' ? argv[1] : in_start(argv[1]));
}

/* Maps a file to be executed, as the image that it is called by. */
static void map_executable(int argc, char **argv)
{
	int fd = check(open(argv[0], O_RDONLY | O_CLOEXEC), argv[0]);

	(void)argc;
	if (mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0) == MAP_FAILED)
		_exit(errno);
	make_file("effect", "done");
	_exit(0);
}

/* exec-loader LOADER PROGRAM */
static int exec_loader(char **argv)
{
	char *arguments[] = {(char *)in_start(argv[1]), "guard-map", argv[2], NULL};

	copy_self(argv[1]);
	copy_self(argv[2]);
	execve(arguments[0], arguments, environ);
	return errno;
}

/* Says which of two programs it is, by a file. */
static void leave_name(int argc, char **argv)
{
	char path[4200] = {0};

	(void)argc, (void)argv;
	check(readlink("/proc/self/exe", path, sizeof path - 1), "readlink");
	make_file(strstr(path, "/denied/") != NULL ? "effect" : "fine", "done");
}

/* A name that leads to one of two programs, and to the other one a moment later, is executed over and over. */
static int exec_race(char **argv)
{
	char *arguments[] = {(char *)in_start("link"), "guard-name", NULL};
	pid_t swapper;

	(void)argv;
	make_directory("allowed");
	make_directory("denied");
	copy_self("allowed/program");
	copy_self("denied/program");
	check(symlink("allowed/program", "link"), "symlink");
	check(symlink("denied/program", "link2"), "symlink");
	swapper = check(fork(), "fork");
	if (swapper == 0)
		for (;;)
			syscall(SYS_renameat2, AT_FDCWD, "link", AT_FDCWD, "link2", 2 /* RENAME_EXCHANGE */);
	for (int i = 0; i < 100; i++) {
		pid_t child = check(fork(), "fork");
		if (child == 0) {
			execve(arguments[0], arguments, environ);
			_exit(errno);
		}
		reap(child);
	}
	kill(swapper, SIGKILL);
	reap(swapper);
	return 0;
}

/* memory */

static int reach_canary(const char *how)
{
	char path[64], text[4096];
	struct iovec there = {.iov_base = &canary, .iov_len = sizeof canary};
	struct iovec here = {.iov_base = seen, .iov_len = sizeof *seen};
	long result;
	int fd;

	if (strcmp(how, "vm-read") == 0)
		return refused(process_vm_readv(decoy, &here, 1, &there, 1, 0));
	if (strcmp(how, "mem") == 0 || strcmp(how, "task-mem") == 0) {
		snprintf(path, sizeof path, how[0] == 'm' ? "/proc/%d/mem" : "/proc/%d/task/%d/mem", decoy, decoy);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		return fd < 0 ? errno : refused(pread(fd, seen, sizeof *seen, (off_t)(uintptr_t)&canary));
	}
	if (strcmp(how, "uring-mem") == 0) {
		snprintf(path, sizeof path, "/proc/%d/mem", decoy);
		fd = uring_open(path, O_RDONLY, 0, 0);
		return refused(pread(fd, seen, sizeof *seen, (off_t)(uintptr_t)&canary));
	}
	if (strcmp(how, "environ") == 0) {
		snprintf(path, sizeof path, "/proc/%d/environ", decoy);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			return errno;
		result = read(fd, text, sizeof text);
		if (result > 0 && memmem(text, result, "PATH=", 5) != NULL)
			*seen = CANARY;
		return refused(result);
	}
	if (strcmp(how, "attach") == 0 || strcmp(how, "seize") == 0) {
		if (ptrace(how[0] == 'a' ? PTRACE_ATTACH : PTRACE_SEIZE, decoy, 0, 0) < 0)
			return errno;
		if (how[0] == 's')
			check(ptrace(PTRACE_INTERRUPT, decoy, 0, 0), "PTRACE_INTERRUPT");
		waitpid(decoy, NULL, __WALL);
		errno = 0;
		*seen = ptrace(PTRACE_PEEKDATA, decoy, &canary, 0);
		return errno;
	}
	if (strcmp(how, "getfd") == 0) {
		int pidfd = check(syscall(SYS_pidfd_open, decoy, 0), "pidfd_open");

		fd = syscall(SYS_pidfd_getfd, pidfd, gate[0], 0);
		if (fd < 0)
			return errno;
		*seen = CANARY;
		return 0;
	}
	if (strcmp(how, "look") == 0) { /* what ps(1) does */
		snprintf(path, sizeof path, "/proc/%d/stat", decoy);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd < 0 || read(fd, text, sizeof text) <= 0)
			return errno;
		snprintf(path, sizeof path, "/proc/%d/exe", decoy);
		return refused(readlink(path, text, sizeof text));
	}
	errno = EINVAL;
	fail(how);
}

/* memory NAME HOW: of a process that is called NAME */
static int memory(char **argv)
{
	return reach_canary(argv[2]);
}

static void start_decoy(const char *name)
{
	char ready = 0;
	int started[2];

	seen = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	check(pipe(gate), "pipe");
	check(pipe(started), "pipe");
	decoy = check(fork(), "fork");
	if (decoy == 0) {
		check(prctl(PR_SET_NAME, name), "PR_SET_NAME");
		if (write(started[1], "1", 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	if (read(started[0], &ready, 1) != 1)
		fail("decoy");
}

/* files: `file` is protected, `other` is not */

static int file_deed(char **argv)
{
	const char *how = argv[1], *name = argv[2];
	int fd;

	if (strcmp(how, "write") == 0) {
		fd = open(name, O_WRONLY | O_CLOEXEC);
		return fd < 0 ? errno : refused(write(fd, "evil", 4));
	}
	if (strcmp(how, "read") == 0) {
		fd = open(name, O_RDONLY | O_CLOEXEC);
		return refused(fd);
	}
	if (strcmp(how, "uring-write") == 0) {
		fd = uring_open(name, O_WRONLY, 0, 0);
		return refused(write(fd, "evil", 4));
	}
	if (strcmp(how, "open-truncate") == 0)
		return refused(open(name, O_RDONLY | O_TRUNC | O_CLOEXEC));
	if (strcmp(how, "truncate") == 0)
		return refused(truncate(name, 1));
	if (strcmp(how, "chmod") == 0)
		return refused(chmod(name, 0777));
	if (strcmp(how, "chown") == 0)
		return refused(chown(name, 1, 1));
	if (strcmp(how, "rename-over") == 0) {
		make_file("other", "evil");
		return refused(rename("other", name));
	}
	if (strcmp(how, "rename-away") == 0)
		return refused(rename(name, "other"));
	if (strcmp(how, "rename-dotted") == 0) {
		char dotted[4300];

		check(chdir("/tmp"), "chdir");
		snprintf(dotted, sizeof dotted, "..//tmp/./../tmp/%s", in_start(name) + strlen("/tmp/"));
		return refused(rename(dotted, in_start("other")));
	}
	if (strcmp(how, "unlink") == 0)
		return refused(unlink(name));
	if (strcmp(how, "create") == 0)
		return refused(open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644));
	if (strcmp(how, "mkdir") == 0)
		return refused(mkdir(name, 0755));
	if (strcmp(how, "symlink") == 0)
		return refused(symlink("text", name));
	if (strcmp(how, "link") == 0)
		return refused(link(name, "other"));
	if (strcmp(how, "write-link") == 0) { /* made by the test */
		fd = open(argv[3], O_WRONLY | O_CLOEXEC);
		return fd < 0 ? errno : refused(write(fd, "evil", 4));
	}
	if (strcmp(how, "write-bind") == 0) {
		make_file("alias", "");
		check(unshare(CLONE_NEWNS), "unshare");
		check(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), "private");
		check(mount(name, "alias", NULL, MS_BIND, NULL), "bind");
		fd = open("alias", O_WRONLY | O_CLOEXEC);
		return fd < 0 ? errno : refused(write(fd, "evil", 4));
	}
	errno = EINVAL;
	fail(how);
}

static void tell_file(const char *name)
{
	char text[64] = {0};
	struct stat status = {0};
	int fd = open(name, O_RDONLY | O_CLOEXEC);

	if (fd >= 0 && read(fd, text, sizeof text - 1) >= 0)
		fact_text("contents", text);
	if (stat(name, &status) == 0)
		fact("mode", status.st_mode & 07777);
}

/* the system */

static void *do_nothing(void *nothing)
{
	return nothing;
}

/* Fills what was called before had its variables in. */
static __attribute__((noinline)) void scribble(void)
{
	unsigned char rest[4096];
	explicit_bzero(memset(rest, 0xff, sizeof rest), 0);
}

/* Threads, whose creator uses the memory again in which clone3 was told what they are to have. */
static int start_threads(void)
{
	for (int i = 0; i < 200; i++) {
		pthread_t thread;

		errno = pthread_create(&thread, NULL, do_nothing, NULL);
		scribble();
		if (errno != 0 || (errno = pthread_join(thread, NULL)) != 0)
			fail("pthread");
	}
	return 0;
}

static int system_deed(char **argv)
{
	const char *how = argv[1];
	struct sockaddr_un name = {.sun_family = AF_UNIX};
	static const char no_module[256] = "not a module";

	if (strcmp(how, "module") == 0)
		return refused(syscall(SYS_init_module, no_module, sizeof no_module, ""));
	if (strcmp(how, "module-file") == 0) {
		make_file("module.ko", "not a module");
		return refused(syscall(SYS_finit_module, open("module.ko", O_RDONLY | O_CLOEXEC), "", 0));
	}
	if (strcmp(how, "bpf") == 0) {
		union bpf_attr attributes = {.map_type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = 4, .max_entries = 1};

		return refused(syscall(SYS_bpf, BPF_MAP_CREATE, &attributes, sizeof attributes));
	}
	if (strcmp(how, "mount") == 0) {
		mkdir("at", 0755);
		return refused(mount("none", "at", "tmpfs", 0, NULL));
	}
	if (strcmp(how, "unshare") == 0)
		return refused(unshare(CLONE_NEWUTS));
	if (strcmp(how, "unshare-files") == 0)
		return refused(unshare(CLONE_FILES));
	if (strcmp(how, "setns") == 0)
		return refused(setns(open("/proc/self/ns/uts", O_RDONLY | O_CLOEXEC), 0));
	if (strcmp(how, "clone") == 0) {
		pid_t child = syscall(SYS_clone, CLONE_NEWUTS | SIGCHLD, 0, 0, 0, 0);

		if (child == 0)
			_exit(0);
		if (child > 0)
			reap(child);
		return refused(child);
	}
	if (strcmp(how, "clone3") == 0) {
		/* struct clone_args: the first is the flags, the fifth the signal at its end. */
		unsigned long long arguments[8] = {CLONE_NEWUTS, 0, 0, 0, SIGCHLD};
		pid_t child = syscall(SYS_clone3, arguments, sizeof arguments);

		if (child == 0)
			_exit(0);
		return child > 0 ? reap(child), 0 : refused(child);
	}
	if (strcmp(how, "threads") == 0)
		return start_threads();
	if (strcmp(how, "daemon") == 0 || strcmp(how, "service") == 0) {
		strcpy(name.sun_path, how[0] == 'd' ? "docker.sock" : "service.sock");
		return refused(connect(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), (struct sockaddr *)&name, sizeof name));
	}
	errno = EINVAL;
	fail(how);
}

static void serve(const char *name)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = check(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket");

	strcpy(address.sun_path, name);
	check(bind(fd, (struct sockaddr *)&address, sizeof address), "bind");
	check(listen(fd, 8), "listen");
}

static const struct {
	const char *name;
	int (*run)(char **argv);
} deeds[] = {
	{"exec-file", exec_file}, {"exec-memory", exec_memory}, {"exec-deleted", exec_deleted},
	{"exec-script", exec_script}, {"exec-loader", exec_loader}, {"exec-race", exec_race}, {"exec-there", exec_there},
	{"memory", memory}, {"file", file_deed}, {"race", race}, {"system", system_deed},
};

/* guarded DEED [ARGUMENT]… */
static void guarded(int argc, char **argv)
{
	const char *deed = argc > 0 ? argv[0] : "";

	if (strcmp(deed, "memory") == 0)
		start_decoy(argv[1]);
	if (strcmp(deed, "system") == 0 && (strcmp(argv[1], "daemon") == 0 || strcmp(argv[1], "service") == 0))
		serve(argv[1][0] == 'd' ? "docker.sock" : "service.sock");
	for (size_t i = 0; i < sizeof deeds / sizeof *deeds; i++) {
		if (strcmp(deeds[i].name, deed) != 0)
			continue;
		pid_t child = check(fork(), "fork");
		if (child == 0)
			_exit(deeds[i].run(argv));
		int status = reap(child);
		fact("doer", child);
		fact("outcome", WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status));
		fact("effect", access("effect", F_OK) == 0);
		if (decoy != 0) {
			fact("target", decoy);
			fact("read", *seen == CANARY);
			kill(decoy, SIGKILL);
			reap(decoy);
		}
		if (strcmp(deed, "file") == 0)
			tell_file(argv[2]);
		return;
	}
	errno = EINVAL;
	fail(deed);
}

const struct verb guard_verbs[] = {
	{"guarded", guarded}, {"guard-effect", leave_effect}, {"guard-map", map_executable},
	{"guard-name", leave_name}, {0}};
