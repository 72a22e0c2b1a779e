#define _GNU_SOURCE
#include "kernel_test_support.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static void close_both(const int *ends)
{
	close(ends[0]);
	close(ends[1]);
}

int mt_test_spawn(const char *program, char *const *arguments, const char *directory, struct mt_test_child *child)
{
	static char *const environment[] = {"PATH=/usr/bin:/bin", NULL};
	posix_spawn_file_actions_t actions;
	int gate[2], output[2], error;

	if (pipe2(gate, O_CLOEXEC) < 0)
		return errno;
	if (pipe2(output, O_CLOEXEC) < 0) {
		error = errno;
		close_both(gate);
		return error;
	}
	error = posix_spawn_file_actions_init(&actions);
	if (error == 0) {
		if ((error = posix_spawn_file_actions_adddup2(&actions, gate[0], STDIN_FILENO)) == 0 &&
		    (error = posix_spawn_file_actions_adddup2(&actions, output[1], STDOUT_FILENO)) == 0 &&
		    (error = posix_spawn_file_actions_addchdir_np(&actions, directory)) == 0)
			error = posix_spawn(&child->pid, program, &actions, NULL, arguments, environment);
		posix_spawn_file_actions_destroy(&actions);
	}
	if (error == 0) {
		child->pidfd = (int)syscall(SYS_pidfd_open, child->pid, 0);
		if (child->pidfd < 0) {
			error = errno;
			kill(child->pid, SIGKILL);
			waitpid(child->pid, NULL, 0);
		}
	}
	if (error != 0) {
		close_both(gate);
		close_both(output);
		return error;
	}
	close(gate[0]);
	close(output[1]);
	child->gate = gate[1];
	child->output = output[0];
	return 0;
}
