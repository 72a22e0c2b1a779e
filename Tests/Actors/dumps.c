/* Cores: the memory of a process in a file of the working directory, where /proc/sys/kernel/core_pattern has it there. */
#include "actor.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static long long size_of_core(void)
{
	DIR *directory = opendir(".");
	long long size = 0;
	struct dirent *entry;
	struct stat found;

	while (directory && (entry = readdir(directory)))
		if (!strncmp(entry->d_name, "core", 4) && !stat(entry->d_name, &found))
			size += found.st_size;
	if (directory)
		closedir(directory);
	return size;
}

/* Whether that is where cores go: not to a program, or to another directory. */
static int is_here(void)
{
	int fd = open("/proc/sys/kernel/core_pattern", O_RDONLY | O_CLOEXEC);
	char pattern[4] = "";

	if (fd >= 0) {
		check(read(fd, pattern, sizeof pattern), "read");
		close(fd);
	}
	return !memcmp(pattern, "core", 4);
}

/* NAME HOW: a process that is called NAME has a core made of it, by itself ("abort", "fault") or by another ("sent"). */
static void dump(int argc, char **argv)
{
	struct rlimit all = {RLIM_INFINITY, RLIM_INFINITY};
	volatile int *nowhere = 0;
	sigset_t none;
	int status, sent = 0, started[2];
	char ready;
	pid_t pid;

	if (argc < 2)
		errno = EINVAL, fail("dump");
	check(pipe(started), "pipe");
	pid = check(fork(), "fork");
	if (pid == 0) {
		check(prctl(PR_SET_NAME, argv[0]), "PR_SET_NAME");
		check(setrlimit(RLIMIT_CORE, &all), "RLIMIT_CORE");
		/* Whoever started the test may have blocked some. */
		sigemptyset(&none);
		check(sigprocmask(SIG_SETMASK, &none, 0), "sigprocmask");
		check(write(started[1], "1", 1), "write");
		if (argv[1][0] == 'a')
			abort();
		if (argv[1][0] == 'f')
			*nowhere = 1;
		for (;;)
			pause();
	}
	check(read(started[0], &ready, 1), "read");
	if (argv[1][0] == 's') {
		sent = kill(pid, SIGQUIT) < 0 ? errno : 0;
		if (sent)
			kill(pid, SIGKILL);
	}
	status = reap(pid);
	fact("target", pid);
	fact("sent", sent);
	fact("signal", status & 0x7f);
	fact("dumped", (status & 0x80) != 0);
	fact("here", is_here());
	fact("core", size_of_core());
}

const struct verb dump_verbs[] = {{"dump", dump}, {0}};
