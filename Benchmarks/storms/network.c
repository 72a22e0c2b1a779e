/* SPDX-License-Identifier: Apache-2.0 */
/* Connections on loopback, and the storm that outruns a sensor that was stopped. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "storm.h"

#define LISTENERS 8 /* so that ports in TIME_WAIT never run short */

int listen_on(struct sockaddr_in *address)
{
	socklen_t length = sizeof(*address);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), yes = 1;

	/* What connections of an earlier run have left behind is in nobody's way. */
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes))
	    || bind(fd, (struct sockaddr *)address, length) || listen(fd, 16)
	    || getsockname(fd, (struct sockaddr *)address, &length))
		die("listen");
	return fd;
}

static int listen_on_loopback(struct sockaddr_in *address)
{
	memset(address, 0, sizeof(*address));
	address->sin_family = AF_INET;
	address->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	return listen_on(address);
}

void connect_accept_close(int listener, const struct sockaddr_in *address, const struct sockaddr_in *from)
{
	int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int server, yes = 1;

	if (client < 0)
		die("socket");
	if (from) {
		struct sockaddr_in source = *from;

		/* A port is chosen at the connect, where those that wait for nobody any more can be taken again. */
		source.sin_port = 0;
		if (setsockopt(client, SOL_IP, IP_BIND_ADDRESS_NO_PORT, &yes, sizeof(yes))
		    || bind(client, (struct sockaddr *)&source, sizeof(source)))
			die("bind");
	}
	if (connect(client, (const struct sockaddr *)address, sizeof(*address)))
		die("connect");
	server = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	if (server < 0)
		die("accept");
	close(client);
	close(server);
}

int verb_connect(int argc, char **argv)
{
	struct sockaddr_in addresses[LISTENERS];
	int listeners[LISTENERS];
	uint64_t count, index;

	if (argc != 1)
		return 64;
	count = number(argv[0], "N", 100000);
	for (index = 0; index < LISTENERS; index++)
		listeners[index] = listen_on_loopback(&addresses[index]);
	for (index = 0; index < count; index++)
		connect_accept_close(listeners[index % LISTENERS], &addresses[index % LISTENERS], NULL);
	return 0;
}

/*
 * Prints "ready PORT", waits for a byte, opens each prepared file once with an exec ("nothing
 * overload-marker") and a connect to PORT after half of them, and prints "opened N": every open that it
 * made between the two lines. With 0 files it does the rest, for calibration.
 */
int verb_overload(int argc, char **argv)
{
	struct sockaddr_in address;
	uint64_t files, index, opened = 0;
	char byte;
	int listener;

	if (argc != 2)
		return 64;
	files = number(argv[1], "FILES", 2000000);
	listener = listen_on_loopback(&address);
	printf("ready %u\n", ntohs(address.sin_port));
	fflush(stdout);
	if (read(0, &byte, 1) != 1)
		fail("no byte on standard input");
	for (index = 0; index <= files; index++) {
		int fd;

		if (index == files / 2) {
			finish(start(self(), "nothing", "overload-marker"));
			connect_accept_close(listener, &address, NULL);
		}
		if (index == files)
			break;
		fd = open(file_name(argv[0], index), O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			die("open");
		opened++;
		close(fd);
	}
	printf("opened %llu\n", (unsigned long long)opened);
	return 0;
}
