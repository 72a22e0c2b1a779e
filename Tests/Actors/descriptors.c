/* Descriptors: copying, closing and passing them, and moving data between them inside the kernel. */
#include "actor.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

static int writable(const char *name)
{
	return check(open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0644), name);
}

/* dup KIND: copies one descriptor of a file open for writing. */
static void duplicate(int argc, char **argv)
{
	const char *kind = argc > 0 ? argv[0] : "";
	int fd = writable("file"), copy = -1;

	if (strcmp(kind, "dup") == 0)
		copy = syscall(SYS_dup, fd);
	else if (strcmp(kind, "dup2") == 0)
		copy = syscall(SYS_dup2, fd, 50);
	else if (strcmp(kind, "dup3") == 0)
		copy = syscall(SYS_dup3, fd, 51, O_CLOEXEC);
	else if (strcmp(kind, "fcntl") == 0)
		copy = syscall(SYS_fcntl, fd, F_DUPFD, 60);
	else if (strcmp(kind, "fcntl-cloexec") == 0)
		copy = syscall(SYS_fcntl, fd, F_DUPFD_CLOEXEC, 70);
	else
		errno = EINVAL;
	check(copy, kind);
	fact_file("file", fd);
	fact("copy", copy);
}

/* close KIND: each way in which a descriptor of a written file goes away. */
static void close_verb(int argc, char **argv)
{
	const char *kind = argc > 0 ? argv[0] : "";
	int fd = writable("file");

	if (write(fd, "0123456789", 10) != 10)
		fail("write");
	fact_file("file", fd);
	fact_path("path", "file");
	if (strcmp(kind, "call") == 0) {
		check(syscall(SYS_close, fd), "close");
	} else if (strcmp(kind, "range") == 0) {
		int other = writable("other");
		fact_file("other", other);
		check(syscall(SYS_close_range, fd, ~0U, 0), "close_range");
	} else if (strcmp(kind, "range-cloexec") == 0) {
		check(syscall(SYS_close_range, fd, ~0U, 1 << 2 /* CLOSE_RANGE_CLOEXEC */), "close_range");
		run_self("exit", "0", NULL);
	} else if (strcmp(kind, "replaced") == 0) {
		int other = writable("other");
		check(syscall(SYS_dup2, other, fd), "dup2");
	} else if (strcmp(kind, "exec") == 0) {
		run_self("exit", "0", NULL);
	} else if (strcmp(kind, "high") == 0) {
		check(syscall(SYS_dup3, fd, 300, O_CLOEXEC), "dup3"); /* above MT_FD_TRACKED */
		check(syscall(SYS_close, fd), "close");
		check(syscall(SYS_close, 300), "close");
	} else if (strcmp(kind, "read-only") == 0) {
		close(fd);
		check(syscall(SYS_close, check(open("file", O_RDONLY), "open")), "close");
	} else if (strcmp(kind, "exit") != 0) {
		errno = EINVAL;
		fail(kind);
	}
}

static void run_child(const char *key)
{
	pid_t child = check(fork(), "fork");

	if (child == 0)
		run_self("exit", "0", NULL);
	fact(key, child);
	reap(child);
}

/* inherited: new images that find a file open for writing, and a pipe; the third one only one end of it. */
static void inherited(int argc, char **argv)
{
	int fd = check(open("file", O_RDWR | O_CREAT, 0644), "open"), ends[2];

	(void)argc, (void)argv;
	check(pipe(ends), "pipe");
	fact_file("file", fd);
	fact_file("pipe", ends[1]);
	fact_path("path", "file");
	run_child("child");
	run_child("second");
	close(ends[0]);
	run_child("third");
}

/* mmap KIND: maps a file of a page. */
static void map(int argc, char **argv)
{
	const char *kind = argc > 0 ? argv[0] : "";
	int fd = writable("file"), private = strcmp(kind, "private") == 0, readable = strcmp(kind, "read-only") == 0;

	check(ftruncate(fd, 8192), "ftruncate");
	if (readable)
		fd = check(open("file", O_RDONLY), "open");
	void *address = mmap(NULL, 8192, readable ? PROT_READ : PROT_READ | PROT_WRITE, private ? MAP_PRIVATE : MAP_SHARED,
		fd, 0);
	if (address == MAP_FAILED)
		fail("mmap");
	fact_file("file", fd);
	fact("length", 8192);
	fact("prot", readable ? PROT_READ : PROT_READ | PROT_WRITE);
	fact("flags", private ? MAP_PRIVATE : MAP_SHARED);
}

/* copy KIND: from one file to another, or by way of a pipe. */
static void copy(int argc, char **argv)
{
	const char *kind = argc > 0 ? argv[0] : "";
	int ends[2], others[2], from, to;
	ssize_t moved = -1;

	make_file("from", "0123456789abcdef");
	from = check(open("from", O_RDONLY), "open");
	to = writable("to");
	if (strcmp(kind, "sendfile") == 0) {
		moved = sendfile(to, from, NULL, 16);
	} else if (strcmp(kind, "range") == 0) {
		moved = copy_file_range(from, NULL, to, NULL, 16, 0);
	} else if (strcmp(kind, "splice") == 0) {
		check(pipe(ends), "pipe");
		to = ends[1];
		moved = splice(from, NULL, to, NULL, 16, 0);
	} else if (strcmp(kind, "tee") == 0) {
		check(pipe(ends), "pipe");
		check(pipe(others), "pipe");
		check(write(ends[1], "0123456789", 10), "write");
		from = ends[0], to = others[1];
		moved = tee(from, to, 10, 0);
	} else {
		errno = EINVAL;
	}
	check(moved, kind);
	fact_file("from", from);
	fact_file("to", to);
	fact("bytes", moved);
	/* The same again: the first of its kind is enough. */
	if (strcmp(kind, "sendfile") == 0)
		check(lseek(from, 0, SEEK_SET) == 0 && sendfile(to, from, NULL, 16) == 16 ? 0 : -1, "sendfile again");
}

/* pair KIND: two descriptors at once. */
static void pair(int argc, char **argv)
{
	const char *kind = argc > 0 ? argv[0] : "";
	int ends[2], result = -1;

	if (strcmp(kind, "pipe") == 0)
		result = syscall(SYS_pipe, ends);
	else if (strcmp(kind, "pipe2") == 0)
		result = syscall(SYS_pipe2, ends, O_CLOEXEC | O_NONBLOCK);
	else if (strcmp(kind, "stream") == 0)
		result = socketpair(AF_UNIX, SOCK_STREAM, 0, ends);
	else if (strcmp(kind, "datagram") == 0)
		result = socketpair(AF_UNIX, SOCK_DGRAM, 0, ends);
	else
		errno = EINVAL;
	check(result, kind);
	fact_file("a", ends[0]);
	fact_file("b", ends[1]);
}

static void send_descriptor(int socket, int fd)
{
	union {
		struct cmsghdr head;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = {0};
	struct iovec text = {"x", 1};
	struct msghdr message = {.msg_iov = &text, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
	struct cmsghdr *head = CMSG_FIRSTHDR(&message);

	head->cmsg_level = SOL_SOCKET;
	head->cmsg_type = SCM_RIGHTS;
	head->cmsg_len = CMSG_LEN(sizeof fd);
	memcpy(CMSG_DATA(head), &fd, sizeof fd);
	check(sendmsg(socket, &message, 0), "sendmsg");
}

static int receive_descriptor(int socket)
{
	union {
		struct cmsghdr head;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control;
	char byte;
	struct iovec text = {&byte, 1};
	struct msghdr message = {.msg_iov = &text, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
	int fd;

	check(recvmsg(socket, &message, 0), "recvmsg");
	if (CMSG_FIRSTHDR(&message) == NULL)
		fail("recvmsg brought no descriptor");
	memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof fd);
	return fd;
}

/* pass KIND: a child gets a descriptor of a file that it never opened. */
static void pass(int argc, char **argv)
{
	const char *kind = argc > 0 ? argv[0] : "";
	int ends[2], writer = strcmp(kind, "read-only") != 0;
	pid_t child;

	check(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), "socketpair");
	child = check(fork(), "fork");
	if (child == 0) {
		char byte;
		if (strcmp(kind, "pidfd") == 0) {
			check(read(ends[1], &byte, 1), "read");
			int parent = check(syscall(SYS_pidfd_open, getppid(), 0), "pidfd_open");
			int fd = syscall(SYS_pidfd_getfd, parent, 100, 0);
			fact_file("received", check(fd, "pidfd_getfd"));
		} else {
			fact_file("received", receive_descriptor(ends[1]));
		}
		_exit(0);
	}
	fact("child", child);
	make_file("file", "text\n");
	int fd = check(open("file", writer ? O_RDWR : O_RDONLY), "open");
	fact_path("path", "file");
	check(dup3(fd, 100, O_CLOEXEC), "dup3");
	if (strcmp(kind, "pidfd") == 0)
		check(write(ends[0], "x", 1), "write");
	else
		send_descriptor(ends[0], fd);
	fact("status", reap(child));
}

const struct verb descriptor_verbs[] = {
	{"dup", duplicate}, {"close", close_verb}, {"inherited", inherited}, {"mmap", map}, {"copy", copy}, {"pair", pair},
	{"pass", pass}, {0},
};
