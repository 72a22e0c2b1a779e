/* DNS by TCP: messages one behind the other, each behind its length (RFC 1035, 4.2.2). */
#include "actor.h"

#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define PATIENCE 700 /* ms, after which an answer does not come any more */

/* The first message's bytes with their length, if it is whole. */
static size_t whole(const unsigned char *bytes, size_t size)
{
	size_t length = size < 2 ? 0 : 2 + (bytes[0] << 8 | bytes[1]);

	return length <= size ? length : 0;
}

int stream_answer(struct dns_stream *stream, char **zone, int count)
{
	ssize_t got = recv(stream->fd, stream->bytes + stream->held, sizeof stream->bytes - stream->held, 0);
	unsigned char answers[4096];
	size_t size, at = 0, answered;
	int questions = 0;

	if (got <= 0)
		return -1;
	stream->held += got;
	/* All that is there is answered at once. */
	while ((size = whole(stream->bytes, stream->held)) && at + 1024 < sizeof answers) {
		memcpy(answers + at + 2, stream->bytes + 2, size - 2);
		answered = dns_answer_of(answers + at + 2, size - 2, zone, count);
		answers[at] = answered >> 8;
		answers[at + 1] = answered;
		at += answered ? 2 + answered : 0;
		stream->held -= size;
		memmove(stream->bytes, stream->bytes + size, stream->held);
		questions++;
	}
	if (at)
		send(stream->fd, answers, at, MSG_NOSIGNAL);
	return questions;
}

void stream_ask(char *outcome, size_t room, const char *resolver, char *names, const char *how)
{
	struct sockaddr_in to = address_v4(resolver, 53);
	unsigned char message[4096], name[512];
	struct pollfd ready = {.fd = check(socket(AF_INET, SOCK_STREAM, 0), "socket"), .events = POLLIN};
	size_t length = 0, size, held = 0, first;
	unsigned asked = 0, answered = 0, addresses = 0;
	char *rest;
	ssize_t got;

	for (char *one = strtok_r(names, ",", &rest); one; one = strtok_r(0, ",", &rest)) {
		size = dns_query(name, one, ++asked);
		message[length] = size >> 8;
		message[length + 1] = size;
		memcpy(message + length + 2, name, size);
		length += 2 + size;
	}
	/* In two pieces, the first one with less than a message in it. */
	first = how && !strcmp(how, "pieces") ? 7 : length;
	if (connect(ready.fd, (void *)&to, sizeof to) < 0 || send(ready.fd, message, first, MSG_NOSIGNAL) < 0) {
		snprintf(outcome, room, "%s", strerror(errno));
		close(ready.fd);
		return;
	}
	if (first < length) {
		poll(&ready, 1, PATIENCE / 7);
		send(ready.fd, message + first, length - first, MSG_NOSIGNAL);
	}
	while (answered < asked && poll(&ready, 1, PATIENCE) > 0) {
		got = recv(ready.fd, message + held, sizeof message - held, 0);
		if (got <= 0)
			break;
		held += got;
		for (; (size = whole(message, held)); memmove(message, message + size, held)) {
			addresses += message[2 + 7];
			held -= size;
			answered++;
		}
	}
	close(ready.fd);
	snprintf(outcome, room, "%u of %u: %u", answered, asked, addresses);
}
