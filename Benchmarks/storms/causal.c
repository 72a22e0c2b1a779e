/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Causes on one CPU, effects on another, told from the event log alone by names and process ids:
 *
 * - files: a writer creates, writes and closes DIR/p/NNNNNNNN and says so through a pipe; a reader on the
 *   other CPU opens, closes and unlinks it. open(write) < close < open(read) < unlink. One pair each,
 *   the pipe being the second way from the one to the other.
 * - processes: for one in 250 pairs a child is started, which moves to the other CPU, creates DIR/s/NNNNNNNN
 *   and ends; the parent waits and opens that file. fork < exec < the child's open and close < exit, and
 *   the child's close < the parent's open.
 *
 * Benchmarks/honesty checks the order.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "storm.h"

#define PAIRS_A_PROCESS 250

static void create(const char *name)
{
	int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	if (fd < 0)
		die(name);
	write_all(fd, "c", 1);
	close(fd);
}

static void consume(const char *name)
{
	int fd = open(name, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		die(name);
	close(fd);
	if (unlink(name))
		die(name);
}

static void make_directory(const char *name)
{
	if (mkdir(name, 0755) && errno != EEXIST)
		die(name);
}

static void read_and_consume(int pipe, unsigned cpu)
{
	uint32_t indices[512];
	char name[32];
	ssize_t length;
	size_t held = 0, item;

	use_cpu(cpu);
	while ((length = read(pipe, (char *)indices + held, sizeof(indices) - held)) > 0) {
		held += (size_t)length;
		for (item = 0; item < held / sizeof(*indices); item++) {
			snprintf(name, sizeof(name), "p/%08u", indices[item]);
			consume(name);
		}
		memmove(indices, indices + item, held - item * sizeof(*indices));
		held -= item * sizeof(*indices);
	}
	if (length < 0)
		die("pipe");
	_exit(0);
}

int verb_causal(int argc, char **argv)
{
	unsigned here = nth_cpu(0), other = nth_cpu(1);
	char name[32], number_of_other[16];
	uint64_t pairs, index;
	int ends[2], reader;

	if (argc == 3 && !strcmp(argv[0], "child")) {
		/* The child of a process pair. */
		use_cpu((unsigned)number(argv[1], "CPU", 1u << 16));
		create(argv[2]);
		return 0;
	}
	if (argc != 2)
		return 64;
	pairs = number(argv[1], "PAIRS", 10000000);
	make_directory(argv[0]);
	if (chdir(argv[0]))
		die(argv[0]);
	make_directory("p");
	make_directory("s");
	if (pipe2(ends, O_CLOEXEC))
		die("pipe2");
	reader = fork();
	if (reader < 0)
		die("fork");
	if (!reader) {
		close(ends[1]);
		read_and_consume(ends[0], other);
	}
	close(ends[0]);
	use_cpu(here);
	snprintf(number_of_other, sizeof(number_of_other), "%u", other);
	for (index = 0; index < pairs; index++) {
		uint32_t word = (uint32_t)index;

		if (index % PAIRS_A_PROCESS == 0) {
			char *child[] = {(char *)self(), "causal", "child", number_of_other, name, NULL};
			int pid;

			snprintf(name, sizeof(name), "s/%08u", word);
			pid = fork();
			if (pid < 0)
				die("fork");
			if (!pid) {
				execv(child[0], child);
				die(child[0]);
			}
			finish(pid);
			consume(name);
			continue;
		}
		snprintf(name, sizeof(name), "p/%08u", word);
		create(name);
		write_all(ends[1], &word, sizeof(word));
	}
	close(ends[1]);
	finish(reader);
	return 0;
}
