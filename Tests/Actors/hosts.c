/*
 * A toy resolver with listeners that count, and a client that tries ways to get to them: on the loopback interface only.
 * The server is not meant to be watched.
 */
#include "actor.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/ip_icmp.h>
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif
#define SERVERS 8
#define ZONE 256
#define PATIENCE 700 /* ms, after which an answer does not come any more */

struct sockaddr_in address_v4(const char *address, unsigned port)
{
	struct sockaddr_in result = {.sin_family = AF_INET, .sin_port = htons(port)};

	if (inet_pton(AF_INET, address, &result.sin_addr) != 1) {
		errno = EINVAL;
		fail(address);
	}
	return result;
}

static struct sockaddr_in6 mapped(const char *address, unsigned port)
{
	struct sockaddr_in6 result = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
	char text[64];

	snprintf(text, sizeof text, "::ffff:%s", address);
	inet_pton(AF_INET6, text, &result.sin6_addr);
	return result;
}

/* A query's or an answer's name as text; returns what lies behind it, or 0. */
size_t dns_name_at(const unsigned char *message, size_t size, char *text, size_t room)
{
	size_t at = 12, length = 0;

	while (at < size && message[at]) {
		if (at + 1 + message[at] >= size || length + message[at] + 2 > room)
			return 0;
		if (length)
			text[length++] = '.';
		memcpy(text + length, message + at + 1, message[at]);
		length += message[at];
		at += message[at] + 1;
	}
	text[length] = 0;
	return at + 5;
}

size_t dns_query(unsigned char *message, const char *name, unsigned id)
{
	size_t at = 12;

	memset(message, 0, 12);
	message[0] = id >> 8;
	message[1] = id;
	message[2] = 1;
	message[5] = 1;
	while (*name) {
		size_t length = strcspn(name, ".");

		message[at++] = length;
		memcpy(message + at, name, length);
		at += length;
		name += length + (name[length] == '.');
	}
	message[at++] = 0;
	memcpy(message + at, "\0\1\0\1", 4);
	return at + 4;
}

/* "name=1.2.3.4", or "name=alias>1.2.3.4" with a chain of aliases; the TTL behind a '/'. */
size_t dns_answer(unsigned char *message, size_t end, const char *value)
{
	char copy[256], *part, *rest;
	unsigned ttl = 60, count = 0;

	snprintf(copy, sizeof copy, "%s", value);
	if ((part = strchr(copy, '/'))) {
		*part = 0;
		ttl = strtoul(part + 1, 0, 10);
	}
	message[2] |= 0x80;
	for (part = strtok_r(copy, ">", &rest); part; part = strtok_r(0, ">", &rest)) {
		struct in_addr address;
		int is_address = inet_pton(AF_INET, part, &address) == 1;
		unsigned char name[270];
		size_t size = is_address ? 4 : dns_query(name, part, 0) - 12 - 4;

		memcpy(message + end, "\xc0\x0c\0\0\0\1\0\0\0\0\0\0", 12);
		message[end + 3] = is_address ? 1 : 5;
		message[end + 8] = ttl >> 8;
		message[end + 9] = ttl;
		message[end + 10] = size >> 8;
		message[end + 11] = size;
		memcpy(message + end + 12, is_address ? (void *)&address : (void *)(name + 12), size);
		end += 12 + size;
		count++;
	}
	message[7] = count;
	return end;
}

size_t dns_answer_of(unsigned char *message, size_t length, char **zone, int count)
{
	char text[300];
	size_t end = length > 17 ? dns_name_at(message, length, text, sizeof text) : 0;

	for (int i = 0; end && i < count; i++) {
		size_t known = strcspn(zone[i], "=");

		if (!strncasecmp(zone[i], text, known) && !text[known])
			return dns_answer(message, end, zone[i] + known + 1);
	}
	return 0;
}

/* An abstract name that goes with the port. */
static socklen_t meeting_place(struct sockaddr_un *name, unsigned port)
{
	memset(name, 0, sizeof *name);
	name->sun_family = AF_UNIX;
	return offsetof(struct sockaddr_un, sun_path) + 1 + snprintf(name->sun_path + 1, 64, "martlet-hosts-%u", port);
}

/* Gives whoever is at the other end a connection to one of the addresses. */
static void hand_over(int to, char **addresses, int count, unsigned port)
{
	union {
		struct cmsghdr head;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = {.head = {.cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS}};
	char index = 0;
	struct iovec piece = {&index, 1};
	struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1, .msg_control = &control,
				 .msg_controllen = sizeof control.bytes};
	struct sockaddr_in name;
	int fd;

	if (recv(to, &index, 1, 0) != 1 || index - '0' >= count)
		return;
	name = address_v4(addresses[index - '0'], port);
	fd = check(socket(AF_INET, SOCK_STREAM, 0), "socket");
	check(connect(fd, (void *)&name, sizeof name), "connect");
	memcpy(CMSG_DATA(&control.head), &fd, sizeof fd);
	sendmsg(to, &message, MSG_NOSIGNAL);
	close(fd);
}

/* A descriptor that comes in a message, or -1. */
static int receive_descriptor(int from)
{
	char control[CMSG_SPACE(sizeof(int))], byte;
	struct iovec piece = {&byte, 1};
	struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
	struct cmsghdr *head;
	int fd = -1;

	if (recvmsg(from, &message, 0) == 1 && (head = CMSG_FIRSTHDR(&message)) && head->cmsg_len == CMSG_LEN(sizeof fd))
		memcpy(&fd, CMSG_DATA(head), sizeof fd);
	return fd;
}

/* Connects from an address to a port of the loopback interface, as it was asked to by a question for "pPORT.INDEX.call…". */
static int call(const char *name, char **addresses, int count)
{
	struct sockaddr_in to, from;
	unsigned port, index;
	int fd;

	if (sscanf(name, "p%u.%u.call", &port, &index) != 2 || index >= (unsigned)count)
		return -1;
	to = address_v4("127.0.0.1", port);
	from = address_v4(addresses[index], 0);
	fd = check(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), "socket");
	check(bind(fd, (void *)&from, sizeof from), "bind");
	if (connect(fd, (void *)&to, sizeof to) < 0 && errno != EINPROGRESS)
		fail("connect");
	return fd;
}

/* RESOLVER LISTENERS(comma) NAME=VALUE…: until the gate opens. Each connection that says something is answered a byte. */
static void serve(int argc, char **argv)
{
	struct pollfd ready[5 + 2 * SERVERS + 64] = {{.fd = 0, .events = POLLIN}};
	long received[SERVERS] = {0}, queries = 0;
	int owner[5 + 2 * SERVERS + 64] = {0}, count = 2, servers = 0, on = 1;
	char *addresses[SERVERS], *rest, key[64], text[300];
	unsigned char message[4096];
	struct sockaddr_in name = address_v4(argv[0], 53), from;
	struct sockaddr_un place;
	unsigned port = 0;
	socklen_t size;
	struct dns_stream stream = {0};
	int meeting, streams;

	ready[1] = (struct pollfd){.fd = check(socket(AF_INET, SOCK_DGRAM, 0), "socket"), .events = POLLIN};
	check(bind(ready[1].fd, (void *)&name, sizeof name), "bind to port 53");
	for (char *address = strtok_r(argv[1], ",", &rest); address && servers < SERVERS; address = strtok_r(0, ",", &rest)) {
		for (int kind = 0; kind < 2; kind++) {
			int fd = check(socket(AF_INET, kind ? SOCK_DGRAM : SOCK_STREAM, 0), "socket");

			name = address_v4(address, port);
			setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
			check(bind(fd, (void *)&name, sizeof name), "bind");
			if (!kind)
				check(listen(fd, 64), "listen");
			size = sizeof name;
			getsockname(fd, (void *)&name, &size);
			port = ntohs(name.sin_port);
			owner[count] = servers << 2 | (kind ? 1 : 2);
			ready[count++] = (struct pollfd){.fd = fd, .events = POLLIN};
		}
		addresses[servers++] = address;
	}
	streams = count;
	name = address_v4(argv[0], 53);
	ready[count++] = (struct pollfd){.fd = check(socket(AF_INET, SOCK_STREAM, 0), "socket"), .events = POLLIN};
	setsockopt(ready[streams].fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
	check(bind(ready[streams].fd, (void *)&name, sizeof name), "bind to port 53");
	check(listen(ready[streams].fd, 4), "listen");
	ready[count++] = (struct pollfd){.fd = -1, .events = POLLIN};
	meeting = count;
	ready[count++] = (struct pollfd){.fd = check(socket(AF_UNIX, SOCK_STREAM, 0), "socket"), .events = POLLIN};
	size = meeting_place(&place, port);
	check(bind(ready[meeting].fd, (void *)&place, size), "bind a name");
	check(listen(ready[meeting].fd, 4), "listen");
	fact("port", port);
	fact("waiting", 1);
	for (;;) {
		int now = count;

		if (poll(ready, count, -1) < 0)
			fail("poll");
		if (ready[0].revents)
			break;
		for (int i = 1; i < now; i++) {
			ssize_t length;

			if (!ready[i].revents)
				continue;
			if (i == meeting) {
				int fd = accept(ready[i].fd, 0, 0);

				hand_over(fd, addresses, servers, port);
				close(fd);
			} else if (i == 1) {
				size = sizeof from;
				length = recvfrom(ready[i].fd, message, 2048, 0, (void *)&from, &size);
				size_t end = length > 17 ? dns_name_at(message, length, text, sizeof text) : 0;

				queries++;
				if (end && count < (int)(sizeof ready / sizeof *ready)) {
					int fd = call(text, addresses, servers);

					if (fd >= 0) {
						owner[count] = (int)(strchr(text, '.')[1] - '0') << 2;
						ready[count++] = (struct pollfd){.fd = fd, .events = POLLIN};
						continue;
					}
				}
				end = dns_answer_of(message, length, argv + 2, argc - 2);
				if (end)
					sendto(ready[i].fd, message, end, 0, (void *)&from, size);
			} else if (i == streams) {
				if (stream.fd)
					close(stream.fd);
				stream = (struct dns_stream){.fd = accept(ready[i].fd, 0, 0)};
				ready[streams + 1] = (struct pollfd){.fd = stream.fd, .events = POLLIN};
			} else if (i == streams + 1) {
				int questions = stream_answer(&stream, argv + 2, argc - 2);

				if (questions < 0)
					ready[i].fd = -1;
				else
					queries += questions;
			} else if ((owner[i] & 3) == 2) {
				int fd = accept(ready[i].fd, 0, 0);

				if (fd >= 0 && count < (int)(sizeof ready / sizeof *ready)) {
					owner[count] = owner[i] & ~3;
					ready[count++] = (struct pollfd){.fd = fd, .events = POLLIN};
				}
			} else {
				size = sizeof from;
				length = recvfrom(ready[i].fd, message, sizeof message, 0, (void *)&from, &size);
				if (length > 0)
					received[owner[i] >> 2] += length;
				if (length > 0 && (owner[i] & 3) == 1)
					sendto(ready[i].fd, "!", 1, 0, (void *)&from, size);
				else if (length > 0)
					send(ready[i].fd, "!", 1, MSG_NOSIGNAL);
				else if ((owner[i] & 3) == 0)
					close(ready[i].fd), ready[i].fd = -1;
			}
		}
	}
	for (int i = 0; i < servers; i++) {
		snprintf(key, sizeof key, "received-%s", addresses[i]);
		fact(key, received[i]);
	}
	fact("queries", queries);
}

/* Says it in two pieces, the second after a while. */
static int say(int fd, const unsigned char *message, size_t length, size_t first)
{
	struct pollfd ready = {.fd = fd, .events = POLLIN};

	if (first && first < length) {
		if (send(fd, message, first, MSG_NOSIGNAL) < 0)
			return -1;
		poll(&ready, 1, PATIENCE / 4);
		message += first;
		length -= first;
	}
	return send(fd, message, length, MSG_NOSIGNAL) < 0 ? -1 : 0;
}

/* Says something, and tells whether it is answered. */
static void talk(char *outcome, size_t room, int fd, const char *what)
{
	struct pollfd ready = {.fd = fd, .events = POLLIN};
	unsigned char message[4096];
	size_t first, length = first_bytes(message, sizeof message, what, &first);

	if (say(fd, message, length, first) < 0)
		snprintf(outcome, room, "%s", strerror(errno));
	else
		snprintf(outcome, room, "%s",
			 poll(&ready, 1, PATIENCE) > 0 && recv(fd, message, 1, 0) == 1 ? "answered" : "silence");
}

static void outcome_of(char *outcome, size_t room, long result)
{
	snprintf(outcome, room, "%s", result < 0 ? strerror(errno) : "done");
}

/* One try; its words are separated by spaces. */
static void attempt(char *outcome, size_t room, char *words, const char *resolver, unsigned port)
{
	char *rest, *verb = strtok_r(words, " ", &rest), *target = strtok_r(0, " ", &rest), *what = strtok_r(0, " ", &rest);
	unsigned char message[4096];
	int fd = -1;

	if (!strcmp(verb, "query")) {
		struct sockaddr_in to = address_v4(what ? what : resolver, 53);
		struct pollfd ready;
		size_t length = dns_query(message, target, getpid() & 0xffff);
		ssize_t got = -1;

		fd = check(socket(AF_INET, SOCK_DGRAM, 0), "socket");
		ready = (struct pollfd){.fd = fd, .events = POLLIN};
		if (connect(fd, (void *)&to, sizeof to) < 0 || send(fd, message, length, 0) < 0)
			outcome_of(outcome, room, -1);
		else if (poll(&ready, 1, PATIENCE) > 0 && (got = recv(fd, message, sizeof message, 0)) > 12)
			snprintf(outcome, room, "%u answers", message[7]);
		else
			snprintf(outcome, room, "silence");
	} else if (!strcmp(verb, "ask")) {
		stream_ask(outcome, room, resolver, target, what);
	} else if (!strcmp(verb, "tcp") || !strcmp(verb, "mapped")) {
		struct sockaddr_in to = address_v4(target, port);
		struct sockaddr_in6 to6 = mapped(target, port);
		int is_mapped = verb[0] == 'm';

		fd = socket(is_mapped ? AF_INET6 : AF_INET, SOCK_STREAM, 0);
		if (fd < 0 || connect(fd, is_mapped ? (void *)&to6 : (void *)&to, is_mapped ? sizeof to6 : sizeof to) < 0)
			outcome_of(outcome, room, -1);
		else
			talk(outcome, room, fd, what ? what : "plain");
	} else if (!strcmp(verb, "passed")) {
		/* The server's own connection, to that address. */
		struct sockaddr_un place;
		socklen_t size = meeting_place(&place, port);
		int from = check(socket(AF_UNIX, SOCK_STREAM, 0), "socket");

		check(connect(from, (void *)&place, size), "connect to the server");
		check(send(from, target, 1, 0), "ask for a socket");
		fd = receive_descriptor(from);
		close(from);
		if (fd < 0)
			snprintf(outcome, room, "nothing");
		else
			talk(outcome, room, fd, "plain");
	} else if (!strcmp(verb, "fastopen")) {
		struct sockaddr_in to = address_v4(target, port);

		fd = check(socket(AF_INET, SOCK_STREAM, 0), "socket");
		outcome_of(outcome, room, sendto(fd, "fast", 4, MSG_FASTOPEN | MSG_NOSIGNAL, (void *)&to, sizeof to));
	} else if (!strcmp(verb, "sendto") || !strcmp(verb, "sendmmsg")) {
		struct sockaddr_in to = address_v4(target, port);
		struct iovec piece = {"datagram", 8};
		struct mmsghdr messages[2] = {
			{.msg_hdr = {.msg_name = &to, .msg_namelen = sizeof to, .msg_iov = &piece, .msg_iovlen = 1}},
			{.msg_hdr = {.msg_name = &to, .msg_namelen = sizeof to, .msg_iov = &piece, .msg_iovlen = 1}}};

		fd = check(socket(AF_INET, SOCK_DGRAM, 0), "socket");
		outcome_of(outcome, room, verb[4] == 't' ? sendto(fd, "datagram", 8, 0, (void *)&to, sizeof to) :
							   sendmmsg(fd, messages, 2, 0));
	} else if (!strcmp(verb, "sendto6")) {
		struct sockaddr_in6 to = mapped(target, port);

		fd = socket(AF_INET6, SOCK_DGRAM, 0);
		outcome_of(outcome, room, fd < 0 ? -1 : sendto(fd, "datagram", 8, 0, (void *)&to, sizeof to));
	} else if (!strcmp(verb, "udp")) {
		struct sockaddr_in to = address_v4(target, port);

		fd = check(socket(AF_INET, SOCK_DGRAM, 0), "socket");
		if (connect(fd, (void *)&to, sizeof to) < 0)
			outcome_of(outcome, room, -1);
		else
			talk(outcome, room, fd, "plain");
	} else if (!strcmp(verb, "listen") || !strcmp(verb, "unbound")) {
		/* The server is asked to connect from that address of its own. */
		struct sockaddr_in own = address_v4("127.0.0.1", 0), to = address_v4(resolver, 53);
		int question = check(socket(AF_INET, SOCK_DGRAM, 0), "socket"), caller;
		struct pollfd ready;
		socklen_t size = sizeof own;
		char name[64];
		size_t length;

		fd = check(socket(AF_INET, SOCK_STREAM, 0), "socket");
		if (verb[0] == 'l')
			check(bind(fd, (void *)&own, sizeof own), "bind");
		check(listen(fd, 4), "listen");
		getsockname(fd, (void *)&own, &size);
		snprintf(name, sizeof name, "p%u.%s.call.example.org", ntohs(own.sin_port), target);
		length = dns_query(message, name, 7);
		check(connect(question, (void *)&to, sizeof to), "connect");
		if (send(question, message, length, 0) < 0)
			fail("question");
		close(question);
		ready = (struct pollfd){.fd = fd, .events = POLLIN};
		caller = poll(&ready, 1, PATIENCE) > 0 ? accept(fd, 0, 0) : -1;
		if (caller < 0)
			snprintf(outcome, room, "silence");
		else
			talk(outcome, room, caller, "plain"), close(caller);
	} else if (!strcmp(verb, "answer")) {
		struct sockaddr_in own = address_v4(target, 53), to = address_v4(what, 9);

		fd = check(socket(AF_INET, SOCK_DGRAM, 0), "socket");
		check(bind(fd, (void *)&own, sizeof own), "bind");
		outcome_of(outcome, room, sendto(fd, "answer", 6, 0, (void *)&to, sizeof to));
	} else if (!strcmp(verb, "socket")) {
		if (!strcmp(target, "raw"))
			fd = socket(AF_INET, SOCK_RAW, IPPROTO_ICMP);
		else if (!strcmp(target, "ping"))
			fd = socket(AF_INET, SOCK_DGRAM, IPPROTO_ICMP);
		else if (!strcmp(target, "mptcp"))
			fd = socket(AF_INET, SOCK_STREAM, IPPROTO_MPTCP);
		else
			fd = socket(AF_PACKET, SOCK_RAW, 0);
		outcome_of(outcome, room, fd);
	} else if (!strcmp(verb, "wait")) {
		usleep(strtoul(target, 0, 10) * 1000);
		outcome_of(outcome, room, 0);
	} else {
		errno = EINVAL;
		fail(verb);
	}
	if (fd >= 0)
		close(fd);
}

/* RESOLVER PORT TRY…: tells "0", "1", … as text. */
static void client(int argc, char **argv)
{
	char outcome[256], key[16];

	for (int i = 2; i < argc; i++) {
		attempt(outcome, sizeof outcome, argv[i], argv[0], strtoul(argv[1], 0, 10));
		snprintf(key, sizeof key, "%d", i - 2);
		fact_text(key, outcome);
	}
}

const struct verb host_verbs[] = {{"hosts-server", serve}, {"hosts-client", client}, {0}};
