/* SPDX-License-Identifier: Apache-2.0 */
/* Opens, reads and writes. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "storm.h"

static void open_read_close(const char *name)
{
	char bytes[512];
	int fd = open(name, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		die(name);
	if (read(fd, bytes, sizeof(bytes)) < 0)
		die(name);
	close(fd);
}

int verb_prepare(int argc, char **argv)
{
	static char bytes[65536];
	uint64_t files, size, index;
	char directory[4096];

	if (argc != 3)
		return 64;
	files = number(argv[1], "FILES", 2000000);
	size = number(argv[2], "BYTES", sizeof(bytes));
	memset(bytes, 'm', sizeof(bytes));
	if (mkdir(argv[0], 0755) && errno != EEXIST)
		die(argv[0]);
	for (index = 0; index < files; index++) {
		const char *name = file_name(argv[0], index);
		int fd;

		if (index % STORM_DIRECTORY_FILES == 0) {
			snprintf(directory, sizeof(directory), "%s", name);
			*strrchr(directory, '/') = 0;
			if (mkdir(directory, 0755) && errno != EEXIST)
				die(directory);
		}
		fd = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
		if (fd < 0)
			die(name);
		write_all(fd, bytes, size);
		close(fd);
	}
	return 0;
}

int verb_open(int argc, char **argv)
{
	uint64_t files, count, index;

	if (argc != 3)
		return 64;
	files = number(argv[1], "FILES", 2000000);
	count = number(argv[2], "COUNT", 100000000);
	if (!files)
		return 64;
	for (index = 0; index < count; index++)
		open_read_close(file_name(argv[0], index % files));
	return 0;
}

int verb_distinct(int argc, char **argv)
{
	uint64_t files, index;

	if (argc != 2)
		return 64;
	files = number(argv[1], "FILES", 2000000);
	for (index = 0; index < files; index++)
		open_read_close(file_name(argv[0], index));
	return 0;
}

/* One file of `size` bytes, written or read in calls of `chunk` from its start to its end, over and over. */
struct stream {
	int fd;
	int writes;
	uint64_t size, chunk, offset;
	char *bytes;
};

static void stream_open(struct stream *stream, const char *name, uint64_t mib, uint64_t chunk_kib, int writes)
{
	uint64_t filled;

	stream->writes = writes;
	stream->size = mib << 20;
	stream->chunk = chunk_kib << 10;
	stream->offset = 0;
	stream->bytes = malloc(stream->chunk);
	if (!stream->bytes)
		die("malloc");
	memset(stream->bytes, 'm', stream->chunk);
	stream->fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
	if (stream->fd < 0)
		die(name);
	/* The file has its pages before the storm, so that each round does the same. */
	for (filled = 0; filled < stream->size; filled += stream->chunk)
		if (pwrite(stream->fd, stream->bytes, stream->chunk, (off_t)filled) != (ssize_t)stream->chunk)
			die(name);
}

static void stream_step(struct stream *stream)
{
	ssize_t done;

	if (stream->offset == 0 && lseek(stream->fd, 0, SEEK_SET))
		die("lseek");
	done = stream->writes ? write(stream->fd, stream->bytes, stream->chunk)
			      : read(stream->fd, stream->bytes, stream->chunk);
	if (done != (ssize_t)stream->chunk)
		die(stream->writes ? "write" : "read");
	stream->offset = (stream->offset + stream->chunk) % stream->size;
}

static int transfer(int argc, char **argv, int writes)
{
	struct stream stream;
	uint64_t mib, chunk, total, done;

	if (argc != 4)
		return 64;
	mib = number(argv[1], "MIB", 4096);
	chunk = number(argv[2], "CHUNK-KIB", 16384);
	total = number(argv[3], "TOTAL-MIB", 1u << 20);
	if (!mib || !chunk || (mib << 10) % chunk)
		return 64;
	stream_open(&stream, argv[0], mib, chunk, writes);
	for (done = 0; done < total << 20; done += stream.chunk)
		stream_step(&stream);
	return 0;
}

int verb_write(int argc, char **argv) { return transfer(argc, argv, 1); }
int verb_read(int argc, char **argv) { return transfer(argc, argv, 0); }

int verb_rate(int argc, char **argv)
{
	struct stream stream;
	uint64_t seconds, rate, begin, end, time, steps = 0;

	if (argc != 4 || (strcmp(argv[3], "read") && strcmp(argv[3], "write")))
		return 64;
	seconds = number(argv[1], "SECONDS", 600);
	rate = number(argv[2], "MIB-PER-SECOND", 1u << 20);
	stream_open(&stream, argv[0], 64, 16, !strcmp(argv[3], "write"));
	puts("begin");
	fflush(stdout);
	begin = now();
	end = begin + seconds * 1000000000;
	while ((time = now()) < end) {
		int burst;

		/* Behind schedule or without one: 64 calls between two looks at the clock. */
		for (burst = 0; burst < 64; burst++, steps++)
			stream_step(&stream);
		if (rate) {
			/* 64 chunks of 16 KiB are one MiB. */
			uint64_t due = begin + steps / 64 * 1000000000 / rate;
			struct timespec wait = {0};

			time = now();
			if (due > time) {
				wait.tv_sec = (time_t)((due - time) / 1000000000);
				wait.tv_nsec = (long)((due - time) % 1000000000);
				nanosleep(&wait, NULL);
			}
		}
	}
	time = now();
	printf("%.0f MiB/s\n", (double)steps / 64 / ((double)(time - begin) / 1e9));
	return 0;
}
