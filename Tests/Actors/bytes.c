/* Known amounts, read and written by every route. */
#include "actor.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <linux/io_uring.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SIZE = 10000, PART = 4096 };

static char memory[3 * PART] __attribute__((aligned(PART)));

static void expect(long result, long expected, const char *what)
{
	if (result == expected)
		return;
	if (result >= 0)
		errno = EIO;
	fail(what);
}

/* A file of SIZE bytes that were written by pwrite through its descriptor. */
static int filled(const char *name)
{
	int fd = check(open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0644), name);

	expect(pwrite(fd, memory, SIZE, 0), SIZE, "pwrite");
	return fd;
}

/* What is expected of a file besides its filling: "KEY.bytes-read" and "KEY.bytes-written", and the file itself. */
static void told(const char *key, int fd, long read, long written)
{
	char name[64];

	fact_file(key, fd);
	snprintf(name, sizeof name, "%s.bytes-read", key);
	fact(name, read);
	snprintf(name, sizeof name, "%s.bytes-written", key);
	fact(name, written);
}

static long aio(int fd, int opcode, long length)
{
	struct iocb block = {.aio_lio_opcode = opcode, .aio_fildes = fd, .aio_buf = (uintptr_t)memory, .aio_nbytes = length};
	struct iocb *blocks = &block;
	struct io_event event = {};
	aio_context_t context = 0;

	if (syscall(SYS_io_setup, 1, &context))
		unsupported("io_setup");
	expect(syscall(SYS_io_submit, context, 1, &blocks), 1, "io_submit");
	expect(syscall(SYS_io_getevents, context, 1, 1, &event, NULL), 1, "io_getevents");
	syscall(SYS_io_destroy, context);
	return event.res;
}

/* bytes ROUTE: on a file of SIZE bytes, with requests that want more than there is. */
static void bytes(int argc, char **argv)
{
	const char *route = argc > 0 ? argv[0] : "";
	const struct iovec vectors[2] = {{memory, PART}, {memory + PART, PART}};
	int fd = filled("file"), other, pipes[2];
	loff_t from = 0, to = 0;

	if (strcmp(route, "read") == 0) {
		lseek(fd, 0, SEEK_SET);
		expect(read(fd, memory, PART), PART, "read");
		expect(read(fd, memory, PART), PART, "read");
		expect(read(fd, memory, PART), SIZE - 2 * PART, "read");
		expect(read(fd, memory, PART), 0, "read");
		told("file", fd, SIZE, SIZE);
	} else if (strcmp(route, "pread") == 0) {
		expect(pread(fd, memory, sizeof memory, 1000), SIZE - 1000, "pread");
		told("file", fd, SIZE - 1000, SIZE);
	} else if (strcmp(route, "readv") == 0) {
		lseek(fd, 9000, SEEK_SET);
		expect(readv(fd, vectors, 2), 1000, "readv");
		told("file", fd, 1000, SIZE);
	} else if (strcmp(route, "preadv") == 0) {
		expect(preadv(fd, vectors, 2, 0), 2 * PART, "preadv");
		expect(preadv2(fd, vectors, 2, 9999, 0), 1, "preadv2");
		told("file", fd, 2 * PART + 1, SIZE);
	} else if (strcmp(route, "write") == 0) {
		expect(write(fd, memory, 123), 123, "write");
		expect(write(fd, memory, 0), 0, "write");
		if (syscall(SYS_write, fd, 1L, 10) >= 0)
			fail("write");
		told("file", fd, 0, SIZE + 123);
	} else if (strcmp(route, "writev") == 0) {
		expect(writev(fd, vectors, 2), 2 * PART, "writev");
		told("file", fd, 0, SIZE + 2 * PART);
	} else if (strcmp(route, "pwritev") == 0) {
		expect(pwritev(fd, vectors, 2, 5), 2 * PART, "pwritev");
		expect(pwritev2(fd, vectors, 1, 5, 0), PART, "pwritev2");
		told("file", fd, 0, SIZE + 3 * PART);
	} else if (strcmp(route, "compat") == 0) {
		long low = low_copy("32 bits", 7);
		expect(compat(4, fd, low, 7, 0), 7, "write");
		lseek(fd, 0, SEEK_SET);
		expect(compat(3, fd, low, 4, 0), 4, "read");
		told("file", fd, 4, SIZE + 7);
	} else if (strcmp(route, "sendfile") == 0) {
		other = check(open("other", O_RDWR | O_CREAT, 0644), "open");
		expect(sendfile(other, fd, &from, 2 * SIZE), SIZE, "sendfile");
		told("file", fd, SIZE, SIZE);
		told("other", other, 0, SIZE);
	} else if (strcmp(route, "sendfile-pipe") == 0) {
		check(pipe(pipes), "pipe");
		expect(sendfile(pipes[1], fd, &from, 500), 500, "sendfile");
		told("file", fd, 500, SIZE);
	} else if (strcmp(route, "splice") == 0) {
		other = check(open("other", O_RDWR | O_CREAT, 0644), "open");
		check(pipe(pipes), "pipe");
		expect(splice(fd, &from, pipes[1], NULL, 3000, 0), 3000, "splice");
		expect(splice(pipes[0], NULL, other, &to, 5000, 0), 3000, "splice");
		told("file", fd, 3000, SIZE);
		told("other", other, 0, 3000);
	} else if (strcmp(route, "range") == 0) {
		other = check(open("other", O_RDWR | O_CREAT, 0644), "open");
		expect(copy_file_range(fd, &from, other, &to, 2 * SIZE, 0), SIZE, "copy_file_range");
		told("file", fd, SIZE, SIZE);
		told("other", other, 0, SIZE);
	} else if (strcmp(route, "uring") == 0) {
		expect(uring_transfer(fd, memory, 700, 0, 1, 0), 700, "IORING_OP_WRITE");
		expect(uring_transfer(fd, memory, PART, 9000, 0, 0), 1000, "IORING_OP_READ");
		expect(uring_transfer(fd, memory, 50, 0, 0, IOSQE_ASYNC), 50, "IORING_OP_READ");
		told("file", fd, 1050, SIZE + 700);
	} else if (strcmp(route, "uring-silent") == 0) {
		expect(uring_transfer(fd, memory, 700, 0, 1, IOSQE_CQE_SKIP_SUCCESS), 0, "IORING_OP_WRITE");
		told("file", fd, 0, 0);
	} else if (strcmp(route, "aio") == 0) {
		expect(aio(fd, IOCB_CMD_PWRITE, 900), 900, "IOCB_CMD_PWRITE");
		expect(aio(fd, IOCB_CMD_PREAD, 800), 800, "IOCB_CMD_PREAD");
		told("file", fd, 800, SIZE + 900);
	} else if (strcmp(route, "aio-direct") == 0) {
		close(fd);
		fd = open("file", O_RDWR | O_DIRECT | O_CLOEXEC);
		if (fd < 0)
			unsupported("O_DIRECT");
		expect(aio(fd, IOCB_CMD_PWRITE, PART), PART, "IOCB_CMD_PWRITE");
		expect(aio(fd, IOCB_CMD_PREAD, PART), PART, "IOCB_CMD_PREAD");
		told("file", fd, PART, SIZE + PART);
	} else if (strcmp(route, "mapped") == 0) {
		char *map = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		if (map == MAP_FAILED)
			fail("mmap");
		memset(map, 1, SIZE);
		told("file", fd, 0, SIZE);
	} else if (strcmp(route, "dup") == 0) {
		other = check(dup(fd), "dup");
		expect(write(other, memory, 11), 11, "write");
		told("file", fd, 0, SIZE + 11);
		close(fd);
		expect(write(other, memory, 22), 22, "write");
		fact("file.bytes-written", SIZE + 33);
	} else if (strcmp(route, "fork") == 0) {
		pid_t child = check(fork(), "fork");
		if (child == 0) {
			expect(write(fd, memory, 77), 77, "write");
			_exit(0);
		}
		reap(child);
		fact("child", child);
		expect(write(fd, memory, 11), 11, "write");
		told("file", fd, 0, SIZE + 11);
	} else if (strcmp(route, "exec") == 0) {
		char number[16];
		told("file", fd, 0, SIZE);
		check(fcntl(fd, F_SETFD, 0), "fcntl");
		snprintf(number, sizeof number, "%d", fd);
		run_self("bytes-through", number, NULL);
	} else if (strcmp(route, "many") == 0) {
		/* More users than have places, all alive until the last has written. */
		int gate[2], ready[2];
		char byte;
		check(pipe(gate), "pipe");
		check(pipe(ready), "pipe");
		for (int i = 0; i < 20; i++) {
			pid_t child = check(fork(), "fork");
			if (child == 0) {
				close(gate[1]);
				expect(write(fd, memory, 100 + i), 100 + i, "write");
				expect(write(ready[1], &byte, 1), 1, "write");
				(void)!read(gate[0], &byte, 1);
				expect(write(fd, memory, 1), 1, "write");
				_exit(0);
			}
		}
		close(gate[0]);
		for (int i = 0; i < 20; i++)
			expect(read(ready[0], &byte, 1), 1, "read");
		close(gate[1]);
		while (wait(NULL) > 0)
			;
		told("file", fd, 0, SIZE);
	} else {
		errno = EINVAL;
		fail(route);
	}
}

static void bytes_through(int argc, char **argv)
{
	int fd = argc > 0 ? atoi(argv[0]) : -1;

	expect(write(fd, memory, 55), 55, "write");
	lseek(fd, 0, SEEK_SET);
	expect(read(fd, memory, 66), 66, "read");
	close(fd);
}

const struct verb byte_verbs[] = {{"bytes", bytes}, {"bytes-through", bytes_through}, {0}};
