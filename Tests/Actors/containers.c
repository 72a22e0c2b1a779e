/* A daemon in no job, a job's process that asks it, and a container's cgroup. */
#include "actor.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#define ID "0123456789abcdef0123456789abcdef0123456789abcdef0123456789"

static const char request[] = "POST /v1.41/containers/create?name=x HTTP/1.1\r\nHost: docker\r\n\r\n{\"Image\":\"a\"}";
static const char other_request[] = "GET /v1.41/containers/json HTTP/1.1\r\nHost: docker\r\n\r\n";
static const char answer[] = "HTTP/1.1 201 Created\r\n\r\n{\"Id\":\"" ID "\"}\n";
static const char other_answer[] = "HTTP/1.1 200 OK\r\n\r\n[]\n";

static void send_by(const char *way, int fd, const char *text)
{
	struct iovec part = {.iov_base = (void *)text, .iov_len = strlen(text)};
	struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
	ssize_t sent;

	if (strcmp(way, "sendto") == 0)
		sent = sendto(fd, text, part.iov_len, 0, NULL, 0);
	else if (strcmp(way, "sendmsg") == 0)
		sent = sendmsg(fd, &message, 0);
	else if (strcmp(way, "writev") == 0)
		sent = writev(fd, &part, 1);
	else
		sent = write(fd, text, part.iov_len);
	if (sent != (ssize_t)part.iov_len)
		fail(way);
}

static void receive(int fd, const char *expected)
{
	char text[512];
	ssize_t count = check(read(fd, text, sizeof text), "read");

	if (count != (ssize_t)strlen(expected) || memcmp(text, expected, count) != 0)
		fail("what was received");
}

/* ask WAY: what a job's process does. */
static void ask(int argc, char **argv)
{
	int fd = check(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket");
	struct sockaddr_un name = {.sun_family = AF_UNIX, .sun_path = "api.sock"};

	if (argc < 1)
		fail("ask");
	fact("asker", getpid());
	check(connect(fd, (struct sockaddr *)&name, sizeof name), "connect");
	send_by(argv[0], fd, request);
	receive(fd, answer);
	send_by(argv[0], fd, other_request);
	receive(fd, other_answer);
}

static void enter_and_touch(const char *group, const char *name)
{
	pid_t child = check(fork(), "fork");

	if (child == 0) {
		move_to(group);
		run_self("touch", name, NULL);
	}
	fact(name, child);
	if (reap(child) != 0)
		fail("touch");
}

/* container-daemon WAY: and a container, in which two programs are executed one after the other. */
static void container_daemon(int argc, char **argv)
{
	struct sockaddr_un name = {.sun_family = AF_UNIX, .sun_path = "api.sock"};
	int server = check(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket"), accepted;
	char top[4096], group[4300], path[4200];
	struct stat status;
	pid_t child;

	if (argc < 1)
		fail("container-daemon");
	if (!find_cgroups(top, sizeof top))
		unsupported("cgroups");
	check(bind(server, (struct sockaddr *)&name, sizeof name), "bind");
	check(listen(server, 4), "listen");
	child = check(fork(), "fork");
	if (child == 0) {
		snprintf(path, sizeof path, "%s/Runner.Asker", start_directory);
		check(symlink(self_path, path), path);
		execl(path, self_path, "ask", argv[0], (char *)NULL);
		fail("execl");
	}
	accepted = check(accept4(server, NULL, NULL, SOCK_CLOEXEC), "accept4");
	receive(accepted, request);
	send_by(argv[0], accepted, answer);
	receive(accepted, other_request);
	send_by(argv[0], accepted, other_answer);
	if (reap(child) != 0)
		fail("ask");

	snprintf(group, sizeof group, "%s/docker-" ID "%06x.scope", top, getpid() & 0xffffff);
	check(mkdir(group, 0755), group);
	check(stat(group, &status), group);
	fact("cgroup", status.st_ino);
	fact_text("path", group + strlen(top));
	enter_and_touch(group, "first");
	enter_and_touch(group, "second");
	check(rmdir(group), group);
}

const struct verb container_verbs[] = {{"ask", ask}, {"container-daemon", container_daemon}, {0}};
