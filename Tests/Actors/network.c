/* TCP, UDP and raw sockets, on the loopback interface only. Client and server are one process. */
#include "actor.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define SOCKETCALL_ACCEPT 5

union address {
	struct sockaddr any;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
	struct sockaddr_storage storage;
};

static union address address_of(const char *text, in_port_t port, socklen_t *length)
{
	union address result = {0};

	if (strchr(text, ':') != NULL) {
		result.v6.sin6_family = AF_INET6;
		result.v6.sin6_port = htons(port);
		inet_pton(AF_INET6, text, &result.v6.sin6_addr);
		*length = sizeof result.v6;
	} else {
		result.v4.sin_family = AF_INET;
		result.v4.sin_port = htons(port);
		inet_pton(AF_INET, text, &result.v4.sin_addr);
		*length = sizeof result.v4;
	}
	return result;
}

static int new_socket(const char *address, int type)
{
	int fd = socket(strchr(address, ':') != NULL ? AF_INET6 : AF_INET, type | SOCK_CLOEXEC, 0);

	if (fd < 0 && errno == EAFNOSUPPORT)
		unsupported("socket");
	return check(fd, "socket");
}

static in_port_t local_port(int fd)
{
	union address name;
	socklen_t length = sizeof name;

	check(getsockname(fd, &name.any, &length), "getsockname");
	return ntohs(name.any.sa_family == AF_INET6 ? name.v6.sin6_port : name.v4.sin_port);
}

static void bind_to(int fd, const char *address)
{
	socklen_t length;
	union address name = address_of(address, 0, &length);

	if (bind(fd, &name.any, length) < 0 && errno == EADDRNOTAVAIL)
		unsupported("bind");
	check(local_port(fd) != 0 ? 0 : -1, "bind");
}

static int listener(const char *address)
{
	int fd = new_socket(address, SOCK_STREAM);

	bind_to(fd, address);
	check(listen(fd, 8), "listen");
	fact("server-port", local_port(fd));
	return fd;
}

/* Both directions, then both ends closed, the client first. */
static void talk(int client, int server)
{
	char buffer[64];

	check(send(client, "0123456789", 10, 0), "send");
	check(recv(server, buffer, 10, MSG_WAITALL), "recv");
	check(send(server, "abcd", 4, 0), "send");
	check(recv(client, buffer, sizeof buffer, 0), "recv");
	check(shutdown(client, SHUT_WR), "shutdown");
	check(recv(server, buffer, sizeof buffer, 0), "recv");
	close(server);
	check(recv(client, buffer, sizeof buffer, 0), "recv");
	close(client);
}

/* tcp LISTEN-ADDRESS CONNECT-ADDRESS */
static void tcp(int argc, char **argv)
{
	const char *local = argc > 0 ? argv[0] : "127.0.0.1", *remote = argc > 1 ? argv[1] : local;
	int server = listener(local), client = new_socket(remote, SOCK_STREAM);
	socklen_t length;
	union address name = address_of(remote, local_port(server), &length);

	check(connect(client, &name.any, length), "connect");
	fact("client-port", local_port(client));
	fact("sent", 10);
	fact("received", 4);
	talk(client, check(accept4(server, NULL, NULL, SOCK_CLOEXEC), "accept4"));
	close(server);
}

/* refused-tcp ADDRESS: nothing listens on a port that was just given back. */
static void refused(int argc, char **argv)
{
	const char *address = argc > 0 ? argv[0] : "127.0.0.1";
	int reserved = new_socket(address, SOCK_STREAM), client = new_socket(address, SOCK_STREAM);
	socklen_t length;

	bind_to(reserved, address);
	in_port_t port = local_port(reserved);
	close(reserved);
	union address name = address_of(address, port, &length);
	fact("port", port);
	if (connect(client, &name.any, length) == 0)
		fail("connect");
	fact("error", errno);
	close(client);
}

/* fast-open: the first bytes go with the call that connects. */
static void fast_open(int argc, char **argv)
{
	int server = listener("127.0.0.1"), client = new_socket("127.0.0.1", SOCK_STREAM), backlog = 8;
	char buffer[16];
	socklen_t length;
	union address name = address_of("127.0.0.1", local_port(server), &length);

	(void)argc, (void)argv;
	setsockopt(server, IPPROTO_TCP, TCP_FASTOPEN, &backlog, sizeof backlog);
	if (sendto(client, "0123456789", 10, MSG_FASTOPEN, &name.any, length) < 0)
		unsupported("MSG_FASTOPEN");
	fact("client-port", local_port(client));
	int accepted = check(accept(server, NULL, NULL), "accept");
	check(recv(accepted, buffer, sizeof buffer, 0), "recv");
	close(accepted);
	close(client);
	close(server);
}

/* nonblocking: a connect that answers EINPROGRESS or at once, and is used later. */
static void nonblocking(int argc, char **argv)
{
	int server = listener("127.0.0.1"), client = new_socket("127.0.0.1", SOCK_STREAM | SOCK_NONBLOCK);
	socklen_t length;
	union address name = address_of("127.0.0.1", local_port(server), &length);

	(void)argc, (void)argv;
	if (connect(client, &name.any, length) < 0 && errno != EINPROGRESS)
		fail("connect");
	int accepted = check(accept(server, NULL, NULL), "accept");
	fact("client-port", local_port(client));
	close(accepted);
	close(client);
	close(server);
}

/* refused-later: a connect that does not wait, and that nobody answers; the socket tells afterwards. */
static void refused_later(int argc, char **argv)
{
	int reserved = new_socket("127.0.0.1", SOCK_STREAM);
	int client = new_socket("127.0.0.1", SOCK_STREAM | SOCK_NONBLOCK), error = 0;
	socklen_t length, size = sizeof error;

	(void)argc, (void)argv;
	bind_to(reserved, "127.0.0.1");
	in_port_t port = local_port(reserved);
	close(reserved);
	union address name = address_of("127.0.0.1", port, &length);
	fact("port", port);
	if (connect(client, &name.any, length) < 0) {
		struct pollfd writable = {.fd = client, .events = POLLOUT};
		error = errno;
		if (error == EINPROGRESS) {
			check(poll(&writable, 1, -1), "poll");
			check(getsockopt(client, SOL_SOCKET, SO_ERROR, &error, &size), "getsockopt");
		}
	}
	fact("error", error);
	close(client);
}

/* tries: one socket that is refused early, then by its peer, then connects. */
static void tries(int argc, char **argv)
{
	int reserved = new_socket("127.0.0.1", SOCK_STREAM), client = new_socket("127.0.0.1", SOCK_STREAM);
	int server = listener("127.0.0.1");
	socklen_t length;

	(void)argc, (void)argv;
	/* From a loopback address there is no way to another one: no packet leaves. */
	bind_to(client, "127.0.0.1");
	union address name = address_of("192.0.2.1", 9, &length);
	if (connect(client, &name.any, length) == 0)
		fail("connect");
	bind_to(reserved, "127.0.0.1");
	name = address_of("127.0.0.1", local_port(reserved), &length);
	fact("refused-port", local_port(reserved));
	close(reserved);
	if (connect(client, &name.any, length) == 0)
		fail("connect");
	fact("error", errno);
	name = address_of("127.0.0.1", local_port(server), &length);
	check(connect(client, &name.any, length), "connect");
	close(check(accept(server, NULL, NULL), "accept"));
	close(client);
	close(server);
}

/* accept HOW: by another process than the listener's, or by a 32-bit call. */
static void accept_verb(int argc, char **argv)
{
	const char *how = argc > 0 ? argv[0] : "";
	int server = listener("127.0.0.1"), client = new_socket("127.0.0.1", SOCK_STREAM), accepted = -1;
	socklen_t length;
	union address name = address_of("127.0.0.1", local_port(server), &length);
	uint32_t words[4] = {server};

	check(connect(client, &name.any, length), "connect");
	fact("client-port", local_port(client));
	if (strcmp(how, "child") == 0) {
		pid_t child = check(fork(), "fork");
		if (child == 0) {
			accepted = check(accept(server, NULL, NULL), "accept");
			/* Its end comes with another image, and with the end of the process. */
			fcntl(accepted, F_SETFD, 0);
			run_self("exit", "0", NULL);
		}
		fact("child", child);
		reap(child);
	} else if (strcmp(how, "accept4") == 0) {
		accepted = check(compat(364, server, 0, 0, 0), "accept4");
	} else {
		accepted = check(compat(102, SOCKETCALL_ACCEPT, low_copy(words, sizeof words), 0, 0), "socketcall");
	}
	close(accepted);
	close(client);
	close(server);
}

/*
 * held: connections that stay. A child accepts and keeps one, and accepts and closes another; one is never
 * accepted, and the last gets no answer, as the queue is full.
 */
static void held(int argc, char **argv)
{
	int server = new_socket("127.0.0.1", SOCK_STREAM), clients[4], line[2];
	char byte;

	(void)argc, (void)argv;
	/* Both processes can write it. */
	check(open("kept", O_CREAT | O_WRONLY | O_CLOEXEC, 0600), "open");
	bind_to(server, "127.0.0.1");
	check(listen(server, 0), "listen");
	fact("server-port", local_port(server));
	check(pipe(line), "pipe");
	pid_t child = check(fork(), "fork");
	if (child == 0) {
		check(prctl(PR_SET_PDEATHSIG, SIGKILL), "prctl");
		for (int i = 0; i < 2; i++) {
			int accepted = check(accept(server, NULL, NULL), "accept");
			if (i == 0)
				check(send(accepted, "abc", 3, 0), "send");
			else
				close(accepted);
			check(write(line[1], "x", 1), "write");
		}
		for (;;)
			pause();
	}
	fact("child", child);
	for (int i = 0; i < 4; i++) {
		socklen_t length;
		union address name = address_of("127.0.0.1", local_port(server), &length);
		clients[i] = new_socket("127.0.0.1", SOCK_STREAM | (i == 3 ? SOCK_NONBLOCK : 0));
		if (connect(clients[i], &name.any, length) < 0 && (i < 3 || errno != EINPROGRESS))
			fail("connect");
		if (i < 2)
			check(read(line[0], &byte, 1), "read");
		if (i == 1)
			close(clients[i]);
		else
			fact(i == 0 ? "kept" : i == 2 ? "waiting" : "unanswered", local_port(clients[i]));
	}
	fact("held", 1);
	for (;;)
		pause();
}

/* udp KIND ADDRESS: datagrams by each call, to one destination. */
static void udp(int argc, char **argv)
{
	const char *kind = argc > 0 ? argv[0] : "", *address = argc > 1 ? argv[1] : "127.0.0.1";
	int server = new_socket(address, SOCK_DGRAM), client = new_socket(address, SOCK_DGRAM);
	socklen_t length;

	bind_to(server, address);
	union address name = address_of(address, local_port(server), &length);
	fact("server-port", local_port(server));
	if (strcmp(kind, "sendto") == 0) {
		for (int i = 0; i < 3; i++)
			check(sendto(client, "x", 1, 0, &name.any, length), "sendto");
	} else if (strcmp(kind, "sendmsg") == 0) {
		struct iovec text = {"x", 1};
		struct msghdr message = {.msg_name = &name, .msg_namelen = length, .msg_iov = &text, .msg_iovlen = 1};
		check(sendmsg(client, &message, 0), "sendmsg");
	} else if (strcmp(kind, "sendmmsg") == 0) {
		int other = new_socket(address, SOCK_DGRAM);
		bind_to(other, address);
		union address second = address_of(address, local_port(other), &length);
		struct iovec text = {"x", 1};
		struct mmsghdr messages[2] = {
			{.msg_hdr = {.msg_name = &name, .msg_namelen = length, .msg_iov = &text, .msg_iovlen = 1}},
			{.msg_hdr = {.msg_name = &second, .msg_namelen = length, .msg_iov = &text, .msg_iovlen = 1}},
		};
		fact("other-port", local_port(other));
		if (sendmmsg(client, messages, 2, 0) != 2)
			fail("sendmmsg");
	} else if (strcmp(kind, "connected") == 0) {
		check(connect(client, &name.any, length), "connect");
		check(send(client, "x", 1, 0), "send");
	} else {
		errno = EINVAL;
		fail(kind);
	}
	fact("client-port", local_port(client));
}

/* bind ADDRESS: a TCP socket that is bound, and listens. */
static void bind_verb(int argc, char **argv)
{
	close(listener(argc > 0 ? argv[0] : "127.0.0.1"));
}

/* socket KIND: a socket that is neither TCP, UDP nor unix. */
static void other_socket(int argc, char **argv)
{
	const char *kind = argc > 0 ? argv[0] : "";
	int fd;

	if (strcmp(kind, "raw") == 0) {
		fact("family", AF_INET), fact("type", SOCK_RAW), fact("protocol", IPPROTO_ICMP);
		fd = socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_ICMP);
	} else if (strcmp(kind, "raw6") == 0) {
		fact("family", AF_INET6), fact("type", SOCK_RAW), fact("protocol", IPPROTO_ICMPV6);
		fd = socket(AF_INET6, SOCK_RAW, IPPROTO_ICMPV6);
	} else if (strcmp(kind, "packet") == 0) {
		fact("family", AF_PACKET), fact("type", SOCK_DGRAM), fact("protocol", 0);
		fd = socket(AF_PACKET, SOCK_DGRAM, 0);
	} else if (strcmp(kind, "netlink") == 0) {
		fact("family", AF_NETLINK), fact("type", SOCK_RAW), fact("protocol", 0);
		fd = socket(AF_NETLINK, SOCK_RAW, 0);
	} else {
		errno = EINVAL;
		fail(kind);
	}
	if (fd < 0 && (errno == EAFNOSUPPORT || errno == EPROTONOSUPPORT))
		unsupported(kind);
	check(fd, kind);
}

const struct verb network_verbs[] = {
	{"tcp", tcp}, {"refused-tcp", refused}, {"fast-open", fast_open}, {"nonblocking", nonblocking}, {"udp", udp},
	{"bind", bind_verb}, {"socket", other_socket}, {"refused-later", refused_later}, {"tries", tries},
	{"accept", accept_verb}, {"held", held}, {0},
};
