/* What connections say first, in many ways. */
#include "actor.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static size_t put(unsigned char *to, size_t at, const void *bytes, size_t length)
{
	memcpy(to + at, bytes, length);
	return at + length;
}

#define PADDING 0x15
#define ENCRYPTED_CLIENT_HELLO 0xfe0d

/* A ClientHello with a server name, behind `padding` bytes of another extension. */
static size_t make_hello(unsigned char *to, const char *name, unsigned kind, size_t padding)
{
	size_t length = strlen(name), extensions = 4 + padding + 9 + length, at = 0;
	size_t body = 2 + 32 + 1 + 4 + 2 + 2 + extensions;

	at = put(to, at, "\x16\x03\x01", 3);
	to[at++] = (body + 4) >> 8, to[at++] = body + 4;
	at = put(to, at, "\x01\x00", 2);
	to[at++] = body >> 8, to[at++] = body;
	at = put(to, at, "\x03\x03", 2);
	memset(to + at, 7, 32), at += 32;
	at = put(to, at, "\x00\x00\x02\x13\x01\x01\x00", 7);
	to[at++] = extensions >> 8, to[at++] = extensions;
	to[at++] = kind >> 8, to[at++] = kind;
	to[at++] = padding >> 8, to[at++] = padding;
	memset(to + at, 0, padding), at += padding;
	at = put(to, at, "\0\0", 2);
	to[at++] = (length + 5) >> 8, to[at++] = length + 5;
	to[at++] = (length + 3) >> 8, to[at++] = length + 3;
	to[at++] = 0;
	to[at++] = length >> 8, to[at++] = length;
	return put(to, at, name, length);
}

/*
 * "plain", "tls:NAME", "padded:NAME", "encrypted:NAME", "http:NAME", "proxy:NAME", "tunnel:NAME", "late:NAME" (behind an empty line),
 * "other:NAME" (the target's, with another Host), "records:NAME" (a hello in two records), "nobody:", "ssh:"; with a number
 * and a '/' in front of it the first piece has so many bytes.
 */
size_t first_bytes(unsigned char *to, size_t room, const char *what, size_t *first)
{
	size_t length = 0, size;
	char *text = (char *)to;
	const char *name;

	*first = 0;
	if (what[0] >= '0' && what[0] <= '9') {
		*first = strtoul(what, 0, 10);
		what = strchr(what, '/') + 1;
	}
	name = strchr(what, ':');
	size = name ? name - what : 0;
	name = name ? name + 1 : "";
#define IS(kind) (size == strlen(kind) && !strncmp(what, kind, size))
	if (IS("tls"))
		length = make_hello(to, name, PADDING, 16);
	else if (IS("padded"))
		length = make_hello(to, name, PADDING, 3000);
	else if (IS("encrypted"))
		length = make_hello(to, name, ENCRYPTED_CLIENT_HELLO, 240);
	else if (IS("records")) {
		length = make_hello(to, name, PADDING, 16);
		memmove(to + 25, to + 20, length - 20);
		memcpy(to + 20, to, 3);
		to[23] = (length - 20) >> 8, to[24] = length - 20;
		to[3] = 0, to[4] = 15;
		length += 5;
	} else if (IS("http"))
		length = snprintf(text, room, "GET / HTTP/1.1\r\nAccept: */*\r\nHost: %s\r\n\r\n", name);
	else if (IS("late"))
		length = snprintf(text, room, "\r\nget / HTTP/1.1\r\nhOST:\t%s\r\n\r\n", name);
	else if (IS("proxy"))
		length = snprintf(text, room, "GET http://%s/x HTTP/1.1\r\nHost: %s\r\n\r\n", name, name);
	else if (IS("other"))
		length = snprintf(text, room, "GET http://%s/x HTTP/1.1\r\nHost: good.example.org\r\n\r\n", name);
	else if (IS("tunnel"))
		length = snprintf(text, room, "CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\n", name, name);
	else if (IS("nobody"))
		length = snprintf(text, room, "GET / HTTP/1.0\r\nAccept: */*\r\n\r\n");
	else if (IS("ssh"))
		length = snprintf(text, room, "SSH-2.0-OpenSSH_9.9p2 Debian-1\r\n");
	else
		length = put(to, 0, "hello, world: nobody's name\n", 28);
#undef IS
	return length;
}
