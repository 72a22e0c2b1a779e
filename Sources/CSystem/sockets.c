#define _GNU_SOURCE
#include "include/sockets.h"

#include "include/daemon.h"
#include "include/launch.h"
#include "include/resolve.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static void set_v4(uint8_t *to, const void *address)
{
	memset(to, 0, 16);
	to[10] = to[11] = 0xff;
	memcpy(to + 12, address, 4);
}

/* Whether it is one that a policy can say something of. */
static int describe(int descriptor, struct mt_socket *out)
{
	struct sockaddr_storage peer;
	socklen_t size = sizeof(int);

	memset(out, 0, sizeof(*out));
	out->descriptor = descriptor;
	if (getsockopt(descriptor, SOL_SOCKET, SO_DOMAIN, &out->family, &size))
		return 0;
	if (out->family != AF_INET && out->family != AF_INET6 && out->family != AF_PACKET)
		return 0;
	size = sizeof(int);
	getsockopt(descriptor, SOL_SOCKET, SO_TYPE, &out->type, &size);
	size = sizeof(int);
	getsockopt(descriptor, SOL_SOCKET, SO_ACCEPTCONN, &out->is_listening, &size);
	size = sizeof(peer);
	if (getpeername(descriptor, (struct sockaddr *)&peer, &size))
		return 1;
	if (peer.ss_family == AF_INET) {
		out->remote_port = ntohs(((struct sockaddr_in *)&peer)->sin_port);
		set_v4(out->remote, &((struct sockaddr_in *)&peer)->sin_addr);
	} else if (peer.ss_family == AF_INET6) {
		out->remote_port = ntohs(((struct sockaddr_in6 *)&peer)->sin6_port);
		memcpy(out->remote, &((struct sockaddr_in6 *)&peer)->sin6_addr, 16);
	}
	return 1;
}

long mt_inherited_sockets(const struct mt_inherited *inherited, struct mt_socket *out, long room)
{
	const int *descriptors;
	long all = mt_inherited_descriptors(inherited, &descriptors), count = 0;
	struct mt_socket one;

	if (all < 0)
		return all;
	for (long i = 0; i < all; i++) {
		if (!describe(descriptors[i], &one))
			continue;
		if (count < room)
			out[count] = one;
		count++;
	}
	return count;
}

/* What inet_diag(7) is asked: struct inet_diag_req_v2 behind the message's head. */
static int destroy(const struct mt_connection *connection)
{
	struct {
		struct nlmsghdr head;
		struct inet_diag_req_v2 body;
	} request = {
		.head = {.nlmsg_len = sizeof(request), .nlmsg_type = SOCK_DESTROY, .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK},
		.body = {.sdiag_family = (uint8_t)connection->family, .sdiag_protocol = IPPROTO_TCP,
			 .idiag_states = ~0u},
	};
	struct {
		struct nlmsghdr head;
		struct nlmsgerr error;
		char rest[256];
	} answer;
	size_t size = connection->family == AF_INET ? 4 : 16;
	int netlink = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC, NETLINK_SOCK_DIAG), result = 0;

	if (netlink < 0)
		return -errno;
	request.body.id.idiag_sport = htons(connection->local_port);
	request.body.id.idiag_dport = htons(connection->remote_port);
	memcpy(request.body.id.idiag_src, connection->local, size);
	memcpy(request.body.id.idiag_dst, connection->remote, size);
	request.body.id.idiag_cookie[0] = (uint32_t)connection->cookie;
	request.body.id.idiag_cookie[1] = (uint32_t)(connection->cookie >> 32);
	if (send(netlink, &request, sizeof(request), 0) < 0)
		result = -errno;
	else if (recv(netlink, &answer, sizeof(answer), 0) < (ssize_t)(sizeof(answer.head) + sizeof(answer.error)))
		result = -EPROTO;
	else
		result = answer.head.nlmsg_type == NLMSG_ERROR ? answer.error.error : -EPROTO;
	close(netlink);
	return result;
}

int mt_connection_end(const struct mt_connection *connection)
{
	int namespace = mt_network_of_process(connection->pid, connection->start);
	struct stat theirs, own;
	int result = 0;

	if (namespace < 0)
		return namespace;
	/* Who may not enter others may still be in the right one. */
	if (fstat(namespace, &theirs) || stat("/proc/thread-self/ns/net", &own) || theirs.st_ino != own.st_ino)
		result = setns(namespace, CLONE_NEWNET) ? -errno : 0;
	close(namespace);
	return result ? result : destroy(connection);
}

int mt_process_kill(uint32_t pid, uint64_t start)
{
	int pidfd = mt_pidfd_open((pid_t)pid), directory, result;

	if (pidfd < 0)
		return pidfd;
	/* It is of whoever has the number now, which is found out with it in hand. */
	directory = mt_root_of_process(pid, start);
	if (directory < 0) {
		close(pidfd);
		return directory;
	}
	close(directory);
	result = mt_pidfd_signal(pidfd, SIGKILL);
	close(pidfd);
	return result;
}
