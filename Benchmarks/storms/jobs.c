/* SPDX-License-Identifier: Apache-2.0 */
/* A job that knows exactly what it did, and whose every name, address and port says whose it is. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "storm.h"

#define FIRST_PORT 20000 /* below those that the kernel gives out by itself */
#define FILES_A_ROUND 2

struct job {
	unsigned number;
	const char *program;
	char canary[16];
	char directory[3072];
	struct sockaddr_in address;
	int listener;
};

static uint64_t clock_now(clockid_t clock)
{
	struct timespec time;

	clock_gettime(clock, &time);
	return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

/* Made under a name and given another, then read under that. */
static void make_and_read(const struct job *job, uint64_t index)
{
	char made[4096], name[4096], bytes[64];
	int fd;

	snprintf(made, sizeof(made), "%s/%s-%06llu.new", job->directory, job->canary, (unsigned long long)index);
	snprintf(name, sizeof(name), "%s/%s-%06llu", job->directory, job->canary, (unsigned long long)index);
	fd = open(made, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	if (fd < 0)
		die(made);
	write_all(fd, job->canary, strlen(job->canary));
	close(fd);
	if (rename(made, name))
		die(name);
	fd = open(name, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || read(fd, bytes, sizeof(bytes)) < 0)
		die(name);
	close(fd);
}

static void round_of(const struct job *job, uint64_t round)
{
	char argument[64];
	unsigned file;

	snprintf(argument, sizeof(argument), "%s-%06llu", job->canary, (unsigned long long)round);
	finish(start(job->program, "nothing", argument));
	for (file = 0; file < FILES_A_ROUND; file++)
		make_and_read(job, round * FILES_A_ROUND + file);
	connect_accept_close(job->listener, &job->address, &job->address);
}

/*
 * Waits for the end of standard input, then goes through ROUNDS rounds, each after a pause. The processes are of PROGRAM, a
 * storm, too, which need not have the name that a job is known by. Writes to OUTPUT what it did, when each round began and
 * ended (CLOCK_BOOTTIME), and, as the last thing that it does, when it was done (CLOCK_REALTIME, as files have it) and how
 * far one clock is before the other.
 */
int verb_job(int argc, char **argv)
{
	static struct job job;
	uint64_t rounds, pause, round, ended, *times;
	char byte;
	FILE *output;

	if (argc != 6)
		return 64;
	job.program = argv[5];
	job.number = (unsigned)number(argv[0], "NUMBER", 9999);
	rounds = number(argv[2], "ROUNDS", 400000);
	pause = number(argv[3], "PAUSE", 10000000);
	snprintf(job.canary, sizeof(job.canary), "canary%04u", job.number);
	if (snprintf(job.directory, sizeof(job.directory), "%s/%s", argv[1], job.canary) >= (int)sizeof(job.directory))
		fail("the directory's name is too long");
	job.address.sin_family = AF_INET;
	job.address.sin_addr.s_addr = htonl((127u << 24) + (1u << 16) + (job.number / 250 << 8) + job.number % 250 + 1);
	job.address.sin_port = htons((uint16_t)(FIRST_PORT + job.number));
	times = calloc(rounds + 1, 2 * sizeof(*times));
	if (!times)
		die("calloc");
	while (read(0, &byte, 1) > 0)
		;
	if (mkdir(job.directory, 0755))
		die(job.directory);
	job.listener = listen_on(&job.address);
	for (round = 0; round < rounds; round++) {
		if (pause)
			usleep((useconds_t)pause);
		times[2 * round] = clock_now(CLOCK_BOOTTIME);
		round_of(&job, round);
		times[2 * round + 1] = clock_now(CLOCK_BOOTTIME);
	}
	output = fopen(argv[4], "wxe");
	if (!output)
		die(argv[4]);
	fprintf(output, "{\"number\":%u,\"canary\":\"%s\",\"directory\":\"%s\",\"address\":\"%s\",\"port\":%u,\"rounds\":%llu,"
		"\"files\":%llu,\"events\":%llu,\"times\":[", job.number, job.canary, job.directory,
		inet_ntoa(job.address.sin_addr), ntohs(job.address.sin_port), (unsigned long long)rounds,
		(unsigned long long)rounds * FILES_A_ROUND,
		/* fork, exec, exit; open, close, rename, open; connect, and the end of either end */
		(unsigned long long)rounds * (3 + FILES_A_ROUND * 4 + 3));
	for (round = 0; round < rounds; round++)
		fprintf(output, "%s[%llu,%llu]", round ? "," : "", (unsigned long long)times[2 * round],
			(unsigned long long)times[2 * round + 1]);
	ended = clock_now(CLOCK_REALTIME);
	fprintf(output, "],\"offset\":%lld,\"ended\":%llu}\n", (long long)(ended - clock_now(CLOCK_BOOTTIME)),
		(unsigned long long)ended);
	if (fclose(output))
		die(argv[4]);
	return 0;
}
