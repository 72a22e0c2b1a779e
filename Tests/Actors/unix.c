/* Unix sockets with a path, an abstract name, and none. Client and server are one process. */
#include "actor.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static void unix_socket(int argc, char **argv)
{
	const char *kind = argc > 0 ? argv[0] : "";
	int type = strcmp(kind, "seqpacket") == 0 ? SOCK_SEQPACKET : strcmp(kind, "datagram") == 0 ? SOCK_DGRAM : SOCK_STREAM;
	int server = check(socket(AF_UNIX, type | SOCK_CLOEXEC, 0), "socket"), client = check(socket(AF_UNIX, type, 0), "socket");
	struct sockaddr_un name = {.sun_family = AF_UNIX};
	socklen_t length;

	if (strcmp(kind, "abstract") == 0) {
		int text = snprintf(name.sun_path + 1, sizeof name.sun_path - 1, "martlet-test-%d", getpid());
		length = offsetof(struct sockaddr_un, sun_path) + 1 + text;
		fact_bytes("path", name.sun_path, 1 + text);
	} else {
		make_directory("sub");
		strcpy(name.sun_path, "sub/socket");
		length = sizeof name;
		fact_path("path", "sub/socket");
	}
	check(bind(server, (struct sockaddr *)&name, length), "bind");
	if (type != SOCK_DGRAM)
		check(listen(server, 4), "listen");
	check(connect(client, (struct sockaddr *)&name, length), "connect");
	fact("type", type);
	fact_file("client", client);
	if (type != SOCK_DGRAM) {
		int accepted = check(accept4(server, NULL, NULL, SOCK_CLOEXEC), "accept4");
		fact_file("accepted", accepted);
	}
}

/* unix-refused: nobody listens at a path that is there. */
static void unix_refused(int argc, char **argv)
{
	int client = check(socket(AF_UNIX, SOCK_STREAM, 0), "socket");
	struct sockaddr_un name = {.sun_family = AF_UNIX, .sun_path = "file"};

	(void)argc, (void)argv;
	make_file("file", "");
	if (connect(client, (struct sockaddr *)&name, sizeof name) == 0)
		fail("connect");
	fact("error", errno);
}

const struct verb unix_verbs[] = {{"unix", unix_socket}, {"unix-refused", unix_refused}, {0}};
