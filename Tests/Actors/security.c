/* What concerns security: other processes, the kernel, mounts, namespaces, rights, memory that is executed. */
#include "actor.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/bpf.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

static int word = 7;
static char stack[65536] __attribute__((aligned(16)));

/* A child that waits for its end; it has a descriptor 0 like its parent. */
static pid_t waiting_child(void)
{
	pid_t child = check(fork(), "fork");

	if (child == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;)
			pause();
	}
	return child;
}

static void end_child(pid_t child)
{
	kill(child, SIGKILL);
	reap(child);
}

static void become_nobody(void)
{
	check(setgid(65534), "setgid");
	check(setuid(65534), "setuid");
}

/* Reaches `target` in a way, and says how it went; the result is an errno. */
static int reach(const char *how, pid_t target)
{
	int copy = 0, result, fd;
	struct iovec there = {.iov_base = &word, .iov_len = sizeof(word)};
	struct iovec here = {.iov_base = &copy, .iov_len = sizeof(copy)};
	char path[64];

	if (strcmp(how, "attach") == 0 || strcmp(how, "seize") == 0) {
		result = ptrace(how[0] == 'a' ? PTRACE_ATTACH : PTRACE_SEIZE, target, 0, 0);
		if (result < 0)
			return errno;
		if (how[0] == 'a') {
			waitpid(target, NULL, __WALL);
			ptrace(PTRACE_DETACH, target, 0, 0);
		}
		return 0;
	}
	if (strcmp(how, "vm-read") == 0)
		return process_vm_readv(target, &here, 1, &there, 1, 0) < 0 ? errno : 0;
	if (strcmp(how, "vm-write") == 0)
		return process_vm_writev(target, &there, 1, &there, 1, 0) < 0 ? errno : 0;
	if (strcmp(how, "mem") == 0 || strcmp(how, "task-mem") == 0) {
		snprintf(path, sizeof path, how[0] == 'm' ? "/proc/%d/mem" : "/proc/%d/task/%d/mem", target, target);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			return errno;
		close(fd);
		return 0;
	}
	if (strcmp(how, "getfd") == 0) {
		int pidfd = check(syscall(SYS_pidfd_open, target, 0), "pidfd_open");
		fd = syscall(SYS_pidfd_getfd, pidfd, 0, 0);
		result = fd < 0 ? errno : 0;
		close(fd);
		close(pidfd);
		return result;
	}
	errno = EINVAL;
	fail(how);
}

/* access HOW: to a child. access HOW PID: to that process, as nobody. */
static void access_process(int argc, char **argv)
{
	const char *how = argc > 0 ? argv[0] : "";

	if (argc > 1) {
		become_nobody();
		fact("error", reach(how, atoi(argv[1])));
		fact("target", atoi(argv[1]));
		return;
	}
	pid_t child = waiting_child();
	fact("target", child);
	fact("error", reach(how, child));
	if (strcmp(how, "vm-read") == 0)
		reach(how, child); /* the same again is told once */
	end_child(child);
}

/* own-memory: nothing that concerns another process. */
static void own_memory(int argc, char **argv)
{
	(void)argc, (void)argv;
	if (reach("vm-read", getpid()) || reach("mem", getpid()))
		fail("own memory");
	int fd = check(open("/proc/self/mem", O_RDONLY), "/proc/self/mem");
	close(fd);
}

static void traceme(int argc, char **argv)
{
	(void)argc, (void)argv;
	pid_t child = check(fork(), "fork");
	if (child == 0)
		_exit(ptrace(PTRACE_TRACEME, 0, 0, 0) != 0);
	fact("child", child);
	fact("status", reap(child));
}

/* module HOW [nobody]: what is no module, so that none is loaded whoever asks. */
static void module(int argc, char **argv)
{
	static char nothing[256];
	long result;
	int fd;

	if (argc > 1)
		become_nobody();
	if (argc > 0 && strcmp(argv[0], "init") == 0) {
		result = syscall(SYS_init_module, nothing, sizeof nothing, "");
	} else {
		fd = check(open("file", O_RDONLY | O_CLOEXEC), "file");
		fact_file("file", fd);
		fact_path("path", "file");
		result = syscall(SYS_finit_module, fd, "", 0);
	}
	fact("error", result < 0 ? errno : 0);
}

static void use_bpf(int argc, char **argv)
{
	union bpf_attr attributes = {
		.map_type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = 8, .max_entries = 1,
		.map_name = "martlet_actor",
	};
	struct bpf_insn code[] = {{.code = BPF_ALU64 | BPF_MOV | BPF_K}, {.code = BPF_JMP | BPF_EXIT}};
	long result;

	if (argc > 0 && strcmp(argv[0], "program") == 0) {
		memset(&attributes, 0, sizeof attributes);
		attributes.prog_type = BPF_PROG_TYPE_SOCKET_FILTER;
		attributes.insns = (uintptr_t)code;
		attributes.insn_cnt = 2;
		attributes.license = (uintptr_t) "GPL";
		strcpy(attributes.prog_name, "martlet_actor");
		result = syscall(SYS_bpf, BPF_PROG_LOAD, &attributes, sizeof attributes);
	} else {
		result = syscall(SYS_bpf, BPF_MAP_CREATE, &attributes, sizeof attributes);
	}
	fact("error", result < 0 ? errno : 0);
}

static void own_mounts(void)
{
	check(unshare(CLONE_NEWNS), "unshare");
	check(mount("", "/", NULL, MS_REC | MS_PRIVATE, NULL), "mount /");
}

/* mounts: in a namespace of its own; where each is and what. */
static void mounts(int argc, char **argv)
{
	(void)argc, (void)argv;
	make_directory("at");
	make_directory("to");
	own_mounts();
	check(mount("some-device", "at", "tmpfs", MS_NOSUID, "size=1m"), "mount");
	fact_path("at", "at");
	fact_path("to", "to");
	int tree = check(syscall(SYS_open_tree, AT_FDCWD, "at", 1 /* OPEN_TREE_CLONE */), "open_tree");
	check(syscall(SYS_move_mount, tree, "", AT_FDCWD, "to", 4 /* MOVE_MOUNT_F_EMPTY_PATH */), "move_mount");
	check(umount2("to", MNT_DETACH), "umount2");
	if (mount("nothing", "at", "no-such-type", 0, NULL) == 0)
		fail("mount");
	fact("error", errno);
}

static int exit_at_once(void *argument)
{
	(void)argument;
	_exit(0);
}

/* namespaces HOW */
static void namespaces(int argc, char **argv)
{
	const char *how = argc > 0 ? argv[0] : "";
	struct stat status;
	int fd;

	if (strcmp(how, "unshare") == 0) {
		check(unshare(CLONE_NEWNS | CLONE_NEWUTS), "unshare");
	} else if (strcmp(how, "refused") == 0) {
		become_nobody();
		fact("error", unshare(CLONE_NEWNET) ? errno : 0);
	} else if (strcmp(how, "clone") == 0) {
		const int flags = CLONE_NEWUTS | CLONE_NEWUSER | SIGCHLD;
		pid_t child = check(clone(exit_at_once, stack + sizeof stack, flags, NULL), "clone");
		fact("child", child);
		reap(child);
	} else if (strcmp(how, "setns") == 0) {
		fd = check(open("/proc/self/ns/uts", O_RDONLY | O_CLOEXEC), "open");
		check(fstat(fd, &status), "fstat");
		fact("inode", status.st_ino);
		check(setns(fd, 0), "setns");
	} else if (strcmp(how, "unshare32") == 0) {
		check(compat(310, CLONE_NEWUTS, 0, 0, 0), "unshare");
	} else {
		errno = EINVAL;
		fail(how);
	}
}

/* rights HOW */
static void rights(int argc, char **argv)
{
	const char *how = argc > 0 ? argv[0] : "";
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct sets[2];

	if (strcmp(how, "setuid") == 0) {
		check(syscall(SYS_setresuid, -1, 1234, -1), "setresuid");
	} else if (strcmp(how, "setgid") == 0) {
		check(syscall(SYS_setgid, 4321), "setgid");
	} else if (strcmp(how, "refused") == 0) {
		become_nobody();
		fact("error", syscall(SYS_setuid, 0) ? errno : 0);
	} else if (strcmp(how, "capset") == 0) {
		check(syscall(SYS_capget, &header, sets), "capget");
		fact("effective", sets[0].effective | (long long)sets[1].effective << 32);
		sets[0].effective &= ~(1u << CAP_CHOWN);
		check(syscall(SYS_capset, &header, sets), "capset");
	} else {
		errno = EINVAL;
		fail(how);
	}
}

/* code HOW: memory that could be executed. */
static void code(int argc, char **argv)
{
	const char *how = argc > 0 ? argv[0] : "";
	const int both = PROT_READ | PROT_EXEC;
	char *memory;
	int fd;

	if (strcmp(how, "mmap") == 0) {
		for (int i = 0; i < 3; i++)
			if (mmap(NULL, 4096, both | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED)
				fail("mmap");
	} else if (strcmp(how, "mprotect") == 0) {
		memory = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		check(mprotect(memory, 4096, both), "mprotect");
	} else if (strcmp(how, "memfd") == 0) {
		fd = check(memfd_create("code", MFD_CLOEXEC), "memfd_create");
		check(ftruncate(fd, 4096), "ftruncate");
		if (mmap(NULL, 4096, both, MAP_PRIVATE, fd, 0) == MAP_FAILED)
			fail("mmap");
	} else if (strcmp(how, "deleted") == 0) {
		fd = check(open("file", O_RDONLY | O_CLOEXEC), "file");
		fact_file("file", fd);
		check(unlink("file"), "unlink");
		if (mmap(NULL, 4096, both, MAP_PRIVATE, fd, 0) == MAP_FAILED)
			fail("mmap");
	} else if (strcmp(how, "written") == 0) {
		fd = check(open("file", O_RDONLY | O_CLOEXEC), "file");
		fact_file("file", fd);
		memory = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
		memory[0] = 1;
		check(mprotect(memory, 4096, both), "mprotect");
	} else if (strcmp(how, "plain") == 0) {
		fd = check(open("file", O_RDONLY | O_CLOEXEC), "file");
		memory = mmap(NULL, 4096, both, MAP_PRIVATE, fd, 0);
		check(mprotect(memory, 4096, PROT_READ), "mprotect");
		check(mprotect(memory, 4096, both), "mprotect");
	} else {
		errno = EINVAL;
		fail(how);
	}
}

/* tmpfs-program: a copy of this program in a tmpfs of its own. */
static void tmpfs_program(int argc, char **argv)
{
	(void)argc, (void)argv;
	make_directory("shm");
	own_mounts();
	check(mount("none", "shm", "tmpfs", 0, NULL), "mount");
	int from = check(open(self_path, O_RDONLY | O_CLOEXEC), "open");
	int to = check(open("shm/program", O_WRONLY | O_CREAT | O_CLOEXEC, 0755), "create");
	struct stat status;
	check(fstat(from, &status), "fstat");
	check(sendfile(to, from, NULL, status.st_size), "sendfile");
	close(to);
	char path[8192];
	snprintf(path, sizeof path, "%s/shm/program", start_directory);
	fact_text("program", path);
	execl(path, path, "exit", "0", NULL);
	fail("execl");
}

const struct verb security_verbs[] = {
	{"access", access_process}, {"own-memory", own_memory}, {"traceme", traceme}, {"module", module},
	{"bpf", use_bpf},	{"mounts", mounts}, {"namespaces", namespaces}, {"rights", rights}, {"code", code},
	{"tmpfs-program", tmpfs_program}, {0},
};
