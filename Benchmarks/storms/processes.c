/* SPDX-License-Identifier: Apache-2.0 */
/* Processes: the spawn storm, the meter, and two of a kind. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "storm.h"

extern char **environ;

int verb_spawn(int argc, char **argv)
{
	uint64_t count, index;

	if (argc != 1 && argc != 2)
		return 64;
	count = number(argv[0], "N", 1000000);
	for (index = 0; index < count; index++)
		finish(argc == 2 ? start(argv[1], NULL, NULL) : start(self(), "nothing", NULL));
	return 0;
}

static uint64_t nanoseconds(struct timeval time)
{
	return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_usec * 1000;
}

/*
 * Runs the command and says what it and all descendants that were waited for cost. Used in the same
 * way bare and under a sensor, so that the figure for the workload never depends on the sensor's word.
 */
int verb_measure(int argc, char **argv)
{
	struct rusage usage;
	uint64_t begin, end;
	pid_t pid;
	int status, error, output;
	char line[256];

	if (argc < 2)
		return 64;
	output = open(argv[0], O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (output < 0)
		die(argv[0]);
	begin = now();
	error = posix_spawnp(&pid, argv[1], NULL, NULL, argv + 1, environ);
	if (error) {
		errno = error;
		die(argv[1]);
	}
	while (wait4(pid, &status, 0, &usage) < 0)
		if (errno != EINTR)
			die("wait4");
	end = now();
	snprintf(line, sizeof(line),
		 "{\"user\":%llu,\"system\":%llu,\"wall\":%llu,\"status\":%d,\"minorFaults\":%ld,"
		 "\"voluntarySwitches\":%ld,\"involuntarySwitches\":%ld}\n",
		 (unsigned long long)nanoseconds(usage.ru_utime), (unsigned long long)nanoseconds(usage.ru_stime),
		 (unsigned long long)(end - begin), status, usage.ru_minflt, usage.ru_nvcsw, usage.ru_nivcsw);
	write_all(output, line, strlen(line));
	close(output);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int verb_twice(int argc, char **argv)
{
	unsigned nth;
	int pids[2];

	if (argc < 1)
		return 64;
	for (nth = 0; nth < 2; nth++) {
		pids[nth] = fork();
		if (pids[nth] < 0)
			die("fork");
		if (!pids[nth]) {
			char *arguments[64] = {(char *)self()};

			if (argc > 62)
				fail("too many arguments");
			memcpy(arguments + 1, argv, (size_t)argc * sizeof(*argv));
			use_cpu(nth_cpu(nth));
			execv(arguments[0], arguments);
			die(arguments[0]);
		}
	}
	finish(pids[0]);
	finish(pids[1]);
	return 0;
}
