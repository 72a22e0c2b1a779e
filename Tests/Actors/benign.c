/*
 * What builds do all day, very often: names, connections, datagrams, opens and renames, all of which a policy allows, and
 * servers for it. How many were refused is what counts; the loops are as long as they are told to be.
 */
#include "actor.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define NAMES 200      /* h0.NAME…; each address has many */
#define ASKED_EVERY 50 /* connections */
#define UDP_EVERY 10
#define WAITING 5000   /* ms, after which an answer is given up */

static struct {
	long connects, datagrams, questions, opens, renames;
	long refused, failed;
} benign_did;

static int benign_result(long result)
{
	if (result < 0)
		*(errno == EPERM || errno == EACCES ? &benign_did.refused : &benign_did.failed) += 1;
	return result >= 0;
}

/* RESOLVER PORT ADDRESS…: answers every name with one of the addresses, in turn, until the standard input ends. */
static void benign_serve(int argc, char **argv)
{
	struct sockaddr_in name = address_v4(argv[0], 53), from;
	struct pollfd ready[4] = {{.fd = 0, .events = POLLIN}};
	unsigned char message[2048];
	char text[300];
	int on = 1;
	unsigned long turn = 0;

	for (int i = 1; i < 4; i++) {
		int fd = check(socket(AF_INET, (i == 2 ? SOCK_STREAM : SOCK_DGRAM) | SOCK_NONBLOCK, 0), "socket");

		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
		check(bind(fd, (void *)&name, sizeof name), "bind");
		if (i == 2)
			check(listen(fd, 4096), "listen");
		ready[i] = (struct pollfd){.fd = fd, .events = POLLIN};
		name = address_v4("0.0.0.0", strtoul(argv[1], 0, 10));
	}
	fact("waiting", 1);
	while (poll(ready, 4, -1) > 0 && !ready[0].revents) {
		socklen_t size = sizeof from;
		ssize_t length;
		int fd;

		while ((length = recvfrom(ready[1].fd, message, 1024, 0, (void *)&from, &size)) > 0) {
			size_t end = length > 17 ? dns_name_at(message, length, text, sizeof text) : 0;

			if (!end)
				continue;
			end = dns_answer(message, end, argv[2 + turn++ % (argc - 2)]);
			sendto(ready[1].fd, message, end, 0, (void *)&from, size);
		}
		while ((fd = accept(ready[2].fd, 0, 0)) >= 0)
			close(fd);
		while (recv(ready[3].fd, message, sizeof message, 0) >= 0)
			;
	}
}

static int benign_ask(const char *resolver, const char *name, struct in_addr *address)
{
	struct sockaddr_in to = address_v4(resolver, 53);
	struct pollfd ready = {.fd = check(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), "socket"), .events = POLLIN};
	unsigned char message[512];
	size_t size = dns_query(message, name, 0x1234);
	int answered = 0;

	benign_did.questions++;
	if (benign_result(connect(ready.fd, (void *)&to, sizeof to)) && benign_result(send(ready.fd, message, size, 0))) {
		errno = ETIMEDOUT;
		answered = benign_result(poll(&ready, 1, WAITING) == 1 ? recv(ready.fd, message, sizeof message, 0) : -1);
		/* One record behind the question: 12 bytes and the address. */
		memcpy(address, message + size + 12, sizeof *address);
	}
	close(ready.fd);
	return answered;
}

static long long benign_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000ll + now.tv_nsec;
}

static void benign_connect(long i, const char *resolver, unsigned port, const char *parent)
{
	static struct sockaddr_in to;
	struct linger at_once = {.l_onoff = 1};
	char name[300];
	int fd;

	if (i % ASKED_EVERY == 0) {
		snprintf(name, sizeof name, "h%ld.%s", i / ASKED_EVERY % NAMES, parent);
		to = address_v4("0.0.0.0", port);
		if (!benign_ask(resolver, name, &to.sin_addr))
			return;
	}
	if (i % UDP_EVERY == 0) {
		fd = check(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), "socket");
		benign_did.datagrams++;
		benign_result(sendto(fd, "x", 1, 0, (void *)&to, sizeof to));
		close(fd);
	}
	fd = check(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket");
	/* Ends with a reset: no port waits. */
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
	benign_did.connects++;
	benign_result(connect(fd, (void *)&to, sizeof to));
	close(fd);
}

/* In a directory with protected files: writes beside them, and reads of them. */
static void benign_open(long i)
{
	char name[64], other[64];
	int fd;

	snprintf(name, sizeof name, "out/object%ld", i % 500);
	if (i % 4 == 0)
		strcpy(name, "source");
	fd = open(name, i % 4 == 0 ? O_RDONLY | O_CLOEXEC : O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
	benign_did.opens++;
	if (benign_result(fd))
		close(fd);
	if (i % 8 == 7) {
		snprintf(other, sizeof other, "out/renamed%ld", i % 500);
		benign_did.renames++;
		benign_result(rename(name, other));
	}
}

/* COUNT RESOLVER PORT PARENT: as many connections, then as many opens, in the working directory. */
static void benign(int argc, char **argv)
{
	long count = argc == 4 ? strtol(argv[0], 0, 10) : -1;
	long long begun = benign_now(), between;

	if (count <= 0) {
		errno = EINVAL;
		fail("benign");
	}
	for (long i = 0; i < count; i++)
		benign_connect(i, argv[1], strtoul(argv[2], 0, 10), argv[3]);
	between = benign_now();
	for (long i = 0; i < count; i++)
		benign_open(i);
	fact("open-ns", (benign_now() - between) / count);
	fact("connect-ns", (between - begun) / count);
	fact("connects", benign_did.connects);
	fact("datagrams", benign_did.datagrams);
	fact("questions", benign_did.questions);
	fact("opens", benign_did.opens);
	fact("renames", benign_did.renames);
	fact("refused", benign_did.refused);
	fact("failed", benign_did.failed);
}

const struct verb benign_verbs[] = {{"benign", benign}, {"benign-serve", benign_serve}, {0}};
