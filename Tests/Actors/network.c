/* TCP, UDP and raw sockets, on the loopback interface only. Client and server are one process. */
#include "actor.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

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
	{"bind", bind_verb}, {"socket", other_socket}, {0},
};
