/* Deeds that concern security. None changes anything: they are refused, ask for what is there already, or are a child's. */
#define _GNU_SOURCE
#include "include/probe.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

/* A copy of this process that runs `body` and ends with its result. Without a signal at its end. */
static int in_child(int (*body)(void))
{
	int status;
	pid_t pid = syscall(SYS_clone, 0, 0, 0, 0, 0);

	if (pid == 0) {
		/* What fails in there leaves no core behind, and nobody alone. */
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		prctl(PR_SET_DUMPABLE, 0);
		_exit(body());
	}
	if (pid < 0)
		return -errno;
	while (waitpid(pid, &status, __WALL) != pid)
		if (errno != EINTR)
			return -errno;
	return WIFEXITED(status) ? -WEXITSTATUS(status) : -EINTR;
}

/* A child of the child, so that no signal of a tracee reaches the process that asked. */
static int look_into_own_child(void)
{
	int word = 1, copy = 0, gate[2], error = 0;
	struct iovec there = {.iov_base = &word, .iov_len = sizeof(word)};
	struct iovec here = {.iov_base = &copy, .iov_len = sizeof(copy)};
	pid_t pid;

	if (pipe(gate))
		return errno;
	pid = syscall(SYS_clone, 0, 0, 0, 0, 0);
	if (pid < 0)
		return errno;
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(gate[1]);
		if (read(gate[0], &copy, 1) == 0)
			ptrace(PTRACE_TRACEME, 0, 0, 0);
		_exit(0);
	}
	if (process_vm_readv(pid, &here, 1, &there, 1, 0) != sizeof(word))
		error = errno;
	close(gate[1]);
	while (waitpid(pid, NULL, __WALL) != pid)
		if (errno != EINTR)
			return errno;
	return error;
}

static int map_memory(void)
{
	void *memory = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int error = 0;

	if (memory == MAP_FAILED)
		return -errno;
	if (mprotect(memory, 4096, PROT_READ))
		error = -errno;
	munmap(memory, 4096);
	return error;
}

/* By system calls alone: those of the library speak to all threads. */
static int set_own_rights(void)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct sets[2];

	if (syscall(SYS_setgid, syscall(SYS_getgid)) || syscall(SYS_setuid, syscall(SYS_getuid)))
		return errno;
	return syscall(SYS_capget, &header, sets) || syscall(SYS_capset, &header, sets) ? errno : 0;
}

/* No module is loaded from nothing, and no namespace is made or entered. */
static int ask_for_modules_and_namespaces(void)
{
	syscall(SYS_init_module, NULL, 0UL, "");
	syscall(SYS_finit_module, -1, "", 0);
	syscall(SYS_setns, -1, 0);
	return syscall(SYS_unshare, 0) ? -errno : 0;
}

static int signal_oneself(void)
{
	struct rlimit limit;
	int ends[2];

	signal(SIGURG, SIG_IGN);
	if (kill(getpid(), SIGURG) || getrlimit(RLIMIT_CORE, &limit) || setrlimit(RLIMIT_CORE, &limit))
		return errno;
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends))
		return errno;
	if (fcntl(ends[0], F_SETOWN, getpid()) || fcntl(ends[0], F_SETSIG, SIGURG) || fcntl(ends[0], F_SETFL, O_ASYNC))
		return errno;
	return write(ends[1], "", 1) == 1 ? 0 : errno;
}

static int make_program(void)
{
	/* r0 = 0; exit */
	static const struct bpf_insn nothing[] = {{.code = BPF_ALU64 | BPF_MOV | BPF_K}, {.code = BPF_JMP | BPF_EXIT}};
	union bpf_attr attributes = {
		.prog_type = BPF_PROG_TYPE_SOCKET_FILTER,
		.insns = (unsigned long)nothing,
		.insn_cnt = sizeof(nothing) / sizeof(nothing[0]),
		.license = (unsigned long)"GPL",
	};
	int program = syscall(SYS_bpf, BPF_PROG_LOAD, &attributes, sizeof(attributes));

	return program < 0 ? -errno : close(program);
}

static int make_map(void)
{
	union bpf_attr attributes = {
		.map_type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = 8, .max_entries = 1,
	};
	int map = syscall(SYS_bpf, BPF_MAP_CREATE, &attributes, sizeof(attributes));

	return map < 0 || close(map) ? -errno : make_program();
}

/*
 * In a namespace of the child's own, which ends with it. A root may be locked, so what is taken away is put there first;
 * and it can neither be moved into itself nor exchanged with itself.
 */
static int use_mounts(void)
{
	if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL))
		return errno;
	syscall(SYS_move_mount, AT_FDCWD, "/", AT_FDCWD, "/", 0);
	syscall(SYS_pivot_root, "/", "/");
	return mount("martlet", "/proc", "tmpfs", 0, NULL) || umount2("/proc", MNT_DETACH) ? errno : 0;
}

#if defined(__x86_64__)
static long call32(long number, long a, long b)
{
	long result;

	__asm__ volatile("int $0x80"
			 : "=a"(result)
			 : "a"(number), "b"(a), "c"(b), "d"(0L), "S"(0L), "D"(0L)
			 : "memory", "cc", "r8", "r9", "r10", "r11");
	return (int)result;
}

/* Nothing is loaded, made, entered, closed or moved. Without 32-bit calls the first one ends the child. */
static int ask_by_32_bit_calls(void)
{
	if (call32(20 /* getpid */, 0, 0) != getpid())
		return ENOSYS;
	call32(128 /* init_module */, 0, 0);
	call32(350 /* finit_module */, -1, 0);
	call32(346 /* setns */, -1, 0);
	call32(436 /* close_range */, 2, 1);
	call32(429 /* move_mount */, -1, 0);
	call32(217 /* pivot_root */, 0, 0);
	return call32(310 /* unshare */, 0, 0) ? EINVAL : 0;
}
#else
static int ask_by_32_bit_calls(void)
{
	return ENOSYS;
}
#endif

int mt_deed_security(enum mt_deed deed)
{
	switch (deed) {
	case MT_DEED_ACCESS: return in_child(look_into_own_child);
	case MT_DEED_SIGNAL: return in_child(signal_oneself);
	case MT_DEED_MEMORY: return map_memory();
	case MT_DEED_RIGHTS: return in_child(set_own_rights);
	case MT_DEED_SYSTEM: return ask_for_modules_and_namespaces();
	case MT_DEED_BPF: return make_map();
	case MT_DEED_MOUNT: return in_child(use_mounts);
	case MT_DEED_COMPAT: return in_child(ask_by_32_bit_calls);
	default: return -EINVAL;
	}
}
