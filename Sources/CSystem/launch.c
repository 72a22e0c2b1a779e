#define _GNU_SOURCE
#include "include/launch.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/capability.h>
#include <linux/sched.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef CLOSE_RANGE_CLOEXEC
#define CLOSE_RANGE_CLOEXEC (1U << 2)
#endif

#define LAST_SIGNAL 64
#define MAX_DESCRIPTORS 1024

struct mt_inherited {
	sigset_t mask;
	uint64_t ignored; /* bit n - 1: signal n was ignored */
	struct rlimit limits[RLIM_NLIMITS];
	int descriptors[MAX_DESCRIPTORS]; /* sorted; those without close-on-exec */
	size_t descriptor_count;
	bool descriptors_known; /* false: no /proc, or more than fit */
};

extern char **environ;

char **mt_environment(void)
{
	return environ;
}

/* 32 and 33 are the C library's own and cannot be asked about through it. */
static bool is_settable(int number)
{
	return number != SIGKILL && number != SIGSTOP && number != 32 && number != 33;
}

static int compare_descriptors(const void *a, const void *b)
{
	int left = *(const int *)a, right = *(const int *)b;

	return (left > right) - (left < right);
}

static void read_descriptors(struct mt_inherited *inherited)
{
	DIR *directory = opendir("/proc/self/fd");
	struct dirent *entry;

	inherited->descriptor_count = 0;
	inherited->descriptors_known = directory != NULL;
	if (!directory)
		return;
	while ((entry = readdir(directory))) {
		char *end;
		long number = strtol(entry->d_name, &end, 10);
		int flags;

		if (end == entry->d_name || *end || number < 0 || number > INT_MAX || number == dirfd(directory))
			continue;
		flags = fcntl((int)number, F_GETFD);
		if (flags < 0 || flags & FD_CLOEXEC)
			continue;
		if (inherited->descriptor_count == MAX_DESCRIPTORS) {
			inherited->descriptors_known = false;
			break;
		}
		inherited->descriptors[inherited->descriptor_count++] = (int)number;
	}
	closedir(directory);
	qsort(inherited->descriptors, inherited->descriptor_count, sizeof(int), compare_descriptors);
}

const struct mt_inherited *mt_inherited_read(void)
{
	static struct mt_inherited inherited;
	struct sigaction action;

	if (pthread_sigmask(SIG_SETMASK, NULL, &inherited.mask))
		return NULL;
	for (int number = 1; number <= LAST_SIGNAL; number++)
		if (is_settable(number) && !sigaction(number, NULL, &action) && action.sa_handler == SIG_IGN)
			inherited.ignored |= 1ULL << (number - 1);
	for (int resource = 0; resource < RLIM_NLIMITS; resource++)
		if (getrlimit(resource, &inherited.limits[resource]))
			return NULL;
	read_descriptors(&inherited);
	for (;;) {
		int descriptor = open("/dev/null", O_RDWR | O_CLOEXEC);

		/* An empty root has no devices; this cannot be read or written either. */
		if (descriptor < 0)
			descriptor = epoll_create1(EPOLL_CLOEXEC);
		if (descriptor < 0)
			return NULL;
		if (descriptor > STDERR_FILENO) {
			close(descriptor);
			return &inherited;
		}
	}
}

long mt_inherited_descriptors(const struct mt_inherited *inherited, const int **descriptors)
{
	*descriptors = inherited->descriptors;
	return inherited->descriptors_known ? (long)inherited->descriptor_count : -EBADF;
}

bool mt_inherited_ignores(const struct mt_inherited *inherited, int signal)
{
	return signal >= 1 && signal <= LAST_SIGNAL && inherited->ignored & 1ULL << (signal - 1);
}

int mt_signals_take(int *descriptor)
{
	/* A fault must still end the process that commits it. */
	static const int left[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS, SIGKILL, SIGSTOP};
	struct sigaction action = {.sa_handler = SIG_DFL};
	sigset_t taken;
	int signals;

	sigfillset(&taken);
	for (size_t i = 0; i < sizeof(left) / sizeof(left[0]); i++)
		sigdelset(&taken, left[i]);
	/* Ignored, children would vanish without a status. */
	if (sigaction(SIGCHLD, &action, NULL))
		return -errno;
	if (pthread_sigmask(SIG_BLOCK, &taken, NULL))
		return -EINVAL;
	signals = signalfd(-1, &taken, SFD_CLOEXEC | SFD_NONBLOCK);
	if (signals < 0)
		return -errno;
	*descriptor = signals;
	return 0;
}

/* From here to mt_launch_start: the child's code, after fork. Raw system calls where the C
 * library would want to tell the other threads, which do not exist here. */

static void leave(int failure, int stage)
{
	struct mt_launch_failure message = {.stage = stage, .error = errno};
	ssize_t written;

	do
		written = write(failure, &message, sizeof(message));
	while (written < 0 && errno == EINTR);
	_exit(125);
}

static void hide_descriptors(const struct mt_inherited *inherited)
{
	unsigned int next = 0;

	if (!inherited->descriptors_known)
		return;
	/* All of martlet's are close-on-exec; this makes sure, as one of them could switch the sensor
	 * off. A kernel before 5.11 does not know the flag. */
	for (size_t i = 0; i < inherited->descriptor_count; i++) {
		unsigned int kept = (unsigned int)inherited->descriptors[i];

		if (kept > next)
			syscall(SYS_close_range, next, kept - 1, CLOSE_RANGE_CLOEXEC);
		next = kept + 1;
	}
	syscall(SYS_close_range, next, ~0U, CLOSE_RANGE_CLOEXEC);
}

static void restore_limits(const struct mt_inherited *inherited, int failure)
{
	struct rlimit now;

	for (int resource = 0; resource < RLIM_NLIMITS; resource++) {
		const struct rlimit *was = &inherited->limits[resource];

		if (!getrlimit(resource, &now) && now.rlim_cur == was->rlim_cur && now.rlim_max == was->rlim_max)
			continue;
		if (setrlimit(resource, was))
			leave(failure, MT_LAUNCH_LIMITS);
	}
}

static void drop_privileges(const struct mt_launch_plan *plan, int failure)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct none[2] = {{0}};

	if (syscall(SYS_setgroups, plan->group_count, plan->groups) ||
	    syscall(SYS_setresgid, plan->gid, plan->gid, plan->gid))
		leave(failure, MT_LAUNCH_GROUPS);
	if (syscall(SYS_setresuid, plan->uid, plan->uid, plan->uid))
		leave(failure, MT_LAUNCH_USER);
	if (plan->uid == 0)
		return;
	/* The kernel cleared the permitted set; ambient and inheritable ones would outlive the exec. */
	prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	if (syscall(SYS_capset, &header, none))
		leave(failure, MT_LAUNCH_CAPABILITIES);
}

static void restore_signals(const struct mt_inherited *inherited)
{
	struct sigaction action = {.sa_handler = SIG_DFL};

	for (int number = 1; number <= LAST_SIGNAL; number++) {
		if (!is_settable(number))
			continue;
		action.sa_handler = inherited->ignored & 1ULL << (number - 1) ? SIG_IGN : SIG_DFL;
		sigaction(number, &action, NULL);
	}
	/* Last: a signal that waited strikes here, with the disposition that the command would have. */
	sigprocmask(SIG_SETMASK, &inherited->mask, NULL);
}

static void execute(const struct mt_launch_plan *plan)
{
	bool denied = false;

	for (char *const *candidate = plan->candidates; *candidate; candidate++) {
		execve(*candidate, plan->arguments, plan->environment);
		if (errno == ENOEXEC) {
			/* A script without an interpreter line: the shell's, as in execvp(3). */
			plan->script_arguments[1] = *candidate;
			execve(plan->script_arguments[0], plan->script_arguments, plan->environment);
			errno = ENOEXEC;
			return;
		}
		if (errno == EACCES)
			denied = true;
		else if (errno != ENOENT && errno != ENOTDIR && errno != ESTALE && errno != ENODEV && errno != ETIMEDOUT)
			return;
	}
	if (denied)
		errno = EACCES;
}

static void be_command(const struct mt_launch_plan *plan, int gate, int failure)
{
	char byte;
	ssize_t count;

	do
		count = read(gate, &byte, 1);
	while (count < 0 && errno == EINTR);
	if (count != 1)
		_exit(125); /* martlet is gone: what it cannot watch must not run */
	hide_descriptors(plan->inherited);
	restore_limits(plan->inherited, failure);
	if (plan->changes_user)
		drop_privileges(plan, failure);
	restore_signals(plan->inherited);
	execute(plan);
	leave(failure, MT_LAUNCH_EXEC);
}

static pid_t fork_with_pidfd(int *pidfd)
{
	struct clone_args arguments = {
		.flags = CLONE_PIDFD,
		.pidfd = (uint64_t)(uintptr_t)pidfd,
		.exit_signal = SIGCHLD,
	};
	long pid = syscall(SYS_clone3, &arguments, sizeof(arguments));

	if (pid >= 0 || (errno != ENOSYS && errno != EPERM))
		return (pid_t)pid;
	/* A container's seccomp filter may not know clone3. */
	pid = fork();
	if (pid > 0)
		*pidfd = (int)syscall(SYS_pidfd_open, (pid_t)pid, 0);
	return (pid_t)pid;
}

int mt_launch_start(const struct mt_launch_plan *plan, struct mt_child *child)
{
	int gate[2], failure[2], pidfd = -1, error;
	pid_t pid;

	if (pipe2(gate, O_CLOEXEC))
		return -errno;
	if (pipe2(failure, O_CLOEXEC)) {
		error = errno;
		close(gate[0]);
		close(gate[1]);
		return -error;
	}
	pid = fork_with_pidfd(&pidfd);
	if (pid == 0) {
		close(gate[1]); /* else the child would keep its own gate from closing */
		close(failure[0]);
		be_command(plan, gate[0], failure[1]);
	}
	error = errno;
	close(gate[0]);
	close(failure[1]);
	*child = (struct mt_child){.pid = pid, .pidfd = pidfd, .gate = gate[1], .failure = failure[0]};
	if (pid > 0 && pidfd >= 0)
		return 0;
	mt_launch_abandon(child);
	return -error;
}

static void close_once(int *descriptor)
{
	if (*descriptor >= 0)
		close(*descriptor);
	*descriptor = -1;
}

void mt_launch_abandon(struct mt_child *child)
{
	close_once(&child->gate);
	close_once(&child->failure);
	close_once(&child->pidfd);
	if (child->pid > 0)
		while (waitpid(child->pid, NULL, 0) < 0 && errno == EINTR)
			;
	child->pid = -1;
}

int mt_launch_release(struct mt_child *child, struct mt_launch_failure *failure)
{
	ssize_t count;

	*failure = (struct mt_launch_failure){0};
	do
		count = write(child->gate, "", 1);
	while (count < 0 && errno == EINTR);
	/* EPIPE: it was killed at the gate, which its status will tell. */
	close_once(&child->gate);
	do
		count = read(child->failure, failure, sizeof(*failure));
	while (count < 0 && errno == EINTR);
	if (count < 0)
		return -errno;
	if (count != sizeof(*failure))
		*failure = (struct mt_launch_failure){0};
	close_once(&child->failure);
	return 0;
}

int mt_signal_read(int descriptor, struct mt_signal *signal)
{
	struct signalfd_siginfo info;
	ssize_t count;

	do
		count = read(descriptor, &info, sizeof(info));
	while (count < 0 && errno == EINTR);
	if (count < 0)
		return errno == EAGAIN ? 0 : -errno;
	if (count != sizeof(info))
		return -EIO;
	signal->number = (int)info.ssi_signo;
	/* SI_KERNEL, and the positive codes of faults, children and timers. */
	signal->from_kernel = info.ssi_code > 0;
	signal->sender = signal->from_kernel ? 0 : (pid_t)info.ssi_pid;
	return 1;
}

int mt_wait(pid_t pid, int *status)
{
	pid_t changed;

	do
		changed = waitpid(pid, status, WNOHANG | WUNTRACED);
	while (changed < 0 && errno == EINTR);
	return changed < 0 ? -errno : changed == pid;
}

int mt_pidfd_signal(int pidfd, int signal)
{
	return syscall(SYS_pidfd_send_signal, pidfd, signal, NULL, 0) ? -errno : 0;
}

int mt_poll(int signals, int child, int milliseconds)
{
	struct pollfd waiting[2] = {{.fd = signals, .events = POLLIN}, {.fd = child, .events = POLLIN}};
	int count = poll(waiting, 2, milliseconds);

	if (count < 0)
		return errno == EINTR ? 0 : -errno;
	return (waiting[0].revents != 0) | (waiting[1].revents != 0) << 1;
}

void mt_obey(int signal)
{
	struct sigaction by_default = {.sa_handler = SIG_DFL}, before;
	sigset_t one, mask;

	if (sigaction(signal, &by_default, &before))
		return;
	sigemptyset(&one);
	sigaddset(&one, signal);
	raise(signal);
	pthread_sigmask(SIG_UNBLOCK, &one, &mask);
	/* Stopped and continued between these two. */
	pthread_sigmask(SIG_SETMASK, &mask, NULL);
	sigaction(signal, &before, NULL);
}

void mt_thread_describe(const char *name, int nice)
{
	pthread_setname_np(pthread_self(), name);
	/* On Linux this is the thread's alone. Without CAP_SYS_NICE it stays where it is. */
	setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), nice);
}
