/*
 * What a job may try against the process that watches it: `attack WAY PID ADDRESS`, which is
 * that of a word that may be written. Done by a child, whose end the parent tells as
 * guard.c does. The signal is one that the process under attack ignores.
 */
#include "actor.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

static int refused(long result)
{
	return result < 0 ? errno : 0;
}

static int write_in_proc(pid_t pid, const char *file)
{
	char path[64];
	int fd;

	snprintf(path, sizeof path, "/proc/%d/%s", pid, file);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	return fd < 0 ? errno : 0;
}

/* Takes hold of all of a kind, in turn, as bpftool does. */
static int hold(int next, int get)
{
	union bpf_attr attributes = {0};
	unsigned int id = 0;
	int seen = 0, error = ENOENT;

	for (;;) {
		memset(&attributes, 0, sizeof attributes);
		attributes.start_id = id;
		if (syscall(SYS_bpf, next, &attributes, sizeof attributes) < 0)
			return seen == 0 ? errno : error;
		id = attributes.next_id;
		memset(&attributes, 0, sizeof attributes);
		attributes.prog_id = id;
		seen++;
		int fd = syscall(SYS_bpf, get, &attributes, sizeof attributes);
		if (fd < 0) {
			error = errno;
			if (error == EPERM)
				return EPERM;
		} else {
			close(fd);
			error = 0;
		}
	}
}

static int attack(const char *way, pid_t pid, void *address)
{
	unsigned long word = 0;
	struct iovec own = {&word, sizeof word}, other = {address, sizeof word};
	struct rlimit limit = {0};
	siginfo_t info = {.si_signo = SIGSYS, .si_code = SI_QUEUE};

	info.si_pid = getpid();
	if (strcmp(way, "kill") == 0)
		return refused(kill(pid, SIGSYS));
	if (strcmp(way, "tgkill") == 0)
		return refused(syscall(SYS_tgkill, pid, pid, SIGSYS));
	if (strcmp(way, "sigqueue") == 0)
		return refused(syscall(SYS_rt_sigqueueinfo, pid, SIGSYS, &info));
	if (strcmp(way, "pidfd") == 0) {
		int fd = check(syscall(SYS_pidfd_open, pid, 0), "pidfd_open");
		return refused(syscall(SYS_pidfd_send_signal, fd, SIGSYS, NULL, 0));
	}
	if (strcmp(way, "there") == 0)
		return refused(kill(pid, 0));
	if (strcmp(way, "seize") == 0)
		return refused(ptrace(PTRACE_SEIZE, pid, 0, 0));
	if (strcmp(way, "vm-write") == 0)
		return refused(process_vm_writev(pid, &own, 1, &other, 1, 0));
	if (strcmp(way, "vm-read") == 0)
		return refused(process_vm_readv(pid, &own, 1, &other, 1, 0));
	if (strcmp(way, "getfd") == 0) {
		int fd = check(syscall(SYS_pidfd_open, pid, 0), "pidfd_open");
		return refused(syscall(SYS_pidfd_getfd, fd, 0, 0));
	}
	if (strcmp(way, "mem") == 0)
		return write_in_proc(pid, "mem");
	if (strcmp(way, "adjust") == 0)
		return write_in_proc(pid, "oom_score_adj");
	if (strcmp(way, "limit") == 0) {
		check(prlimit(pid, RLIMIT_CORE, NULL, &limit), "prlimit");
		return refused(prlimit(pid, RLIMIT_CORE, &limit, NULL));
	}
	if (strcmp(way, "programs") == 0)
		return hold(BPF_PROG_GET_NEXT_ID, BPF_PROG_GET_FD_BY_ID);
	if (strcmp(way, "maps") == 0)
		return hold(BPF_MAP_GET_NEXT_ID, BPF_MAP_GET_FD_BY_ID);
	if (strcmp(way, "links") == 0)
		return hold(BPF_LINK_GET_NEXT_ID, BPF_LINK_GET_FD_BY_ID);
	errno = EINVAL;
	fail(way);
}

static void attack_verb(int argc, char **argv)
{
	if (argc < 3)
		fail("attack WAY PID ADDRESS");
	pid_t child = check(fork(), "fork");
	if (child == 0)
		_exit(attack(argv[0], atoi(argv[1]), (void *)strtoul(argv[2], NULL, 10)));
	int status = reap(child);
	fact("doer", child);
	fact("outcome", WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status));
}

const struct verb shield_verbs[] = {{"attack", attack_verb}, {0}};
