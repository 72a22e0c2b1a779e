/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Whom a connection's first bytes name: TLS, HTTP/1. */
#ifndef MARTLET_FIRST_BYTES_H
#define MARTLET_FIRST_BYTES_H

#include "inspection.h"

#define TLS_HANDSHAKE 22
#define TLS_CLIENT_HELLO 1
#define TLS_EXTENSIONS 64
#define TLS_ENCRYPTED_HELLO 0xfe0d /* RFC 9849 */

/* The extension of a ClientHello at `in->at`; the last ends at `in->left`. Returns what was found, or -1: it goes on. */
__noinline int look_at_extension(__u32 slot)
{
	struct inspection *in = inspection_of(slot);
	__u32 at, kind, length;

	if (!in)
		return FOUND_HIDDEN;
	at = in->at;
	if (at + 4 > in->left)
		return FOUND_NONE;
	if (at + 4 > in->length)
		return FOUND_PART;
	kind = u16_at(in, at);
	length = u16_at(in, at + 2);
	in->at = at + 4 + length;
	if (kind == TLS_ENCRYPTED_HELLO)
		in->is_hello_encrypted = 1;
	if (kind)
		return -1;
	/* A list's length 2, the type 1, the name's length 2. */
	length = u16_at(in, at + 7);
	if (at + 9 + length > in->length)
		return FOUND_PART;
	if (in->bytes[IN(at + 6)] || !length || length > MT_HOST_MAX)
		return FOUND_NONE;
	in->from = at + 9;
	in->to = at + 9 + length;
	in->separator = '.';
	return FOUND_NAME;
}

/* Finds the server's name in a ClientHello: RFC 8446, 4.1.2 and RFC 6066, 3. */
__noinline int find_server_name(__u32 slot)
{
	struct inspection *in = inspection_of(slot);
	__u32 at;
	int found;

	if (!in)
		return FOUND_HIDDEN;
	if (in->length < 9)
		return FOUND_PART;
	if (in->bytes[1] != 3 || in->bytes[5] != TLS_CLIENT_HELLO)
		return FOUND_NONE;
	/* Records may cut a message anywhere: nobody does who has nothing to hide. */
	if (in->bytes[6] || u16_at(in, 7) + 4 > u16_at(in, 3))
		return FOUND_HIDDEN;
	/* Record header 5, handshake header 4, version 2, random 32. */
	at = 43;
	if (at >= in->length)
		return FOUND_PART;
	at += 1 + in->bytes[IN(at)];
	if (at + 2 > in->length)
		return FOUND_PART;
	at += 2 + u16_at(in, at);
	if (at + 1 > in->length)
		return FOUND_PART;
	at += 1 + in->bytes[IN(at)];
	if (at + 2 > in->length)
		return FOUND_PART;
	in->left = at + 2 + u16_at(in, at);
	in->at = at + 2;
	for (int i = 0; i < TLS_EXTENSIONS; i++) {
		found = look_at_extension(slot);
		if (found >= 0)
			return found;
	}
	return FOUND_PART;
}

#define HTTP_LOOKED_AT 2048
#define HOST_FIELD 0x2a686f73743aull /* "\nhost:", each byte with 0x20 */
#define HTTP_VERSION 0x20687474702full /* " http/", likewise */
#define SIX_BYTES 0xffffffffffffull
#define LOOKED_AT_ONCE 32

/* What an HTTP/1 request is known by, at this byte. Returns what was found, or -1: it goes on. */
static __always_inline int look_at_byte(struct inspection *in, __u32 at, __u8 c, __u64 window)
{
	__u32 is_empty;

	if (window == HTTP_VERSION) {
		in->is_done = in->is_request = 1;
		return -1;
	}
	if (window == HOST_FIELD) {
		if (in->bytes[IN(at - 5)] != '\n' || !in->is_done)
			return -1;
		return FOUND_NAME;
	}
	if (c != '\n')
		return in->is_done || c >= ' ' || c == '\t' || c == '\r' ? -1 : FOUND_NONE;
	is_empty = at == in->left || (at == in->left + 1 && in->bytes[IN(at - 1)] == '\r');
	in->left = at + 1;
	/* An empty line may come before a request, and comes behind its head, which then names nobody. */
	return is_empty == in->is_done ? FOUND_NONE : -1;
}

/* The bytes from `in->at` on, not all of them: a function of its own, which the verifier looks at once. */
__noinline int look_at_bytes(__u32 slot)
{
	struct inspection *in = inspection_of(slot);
	int found;

	if (!in)
		return FOUND_HIDDEN;
	for (int i = 0; i < LOOKED_AT_ONCE; i++) {
		__u32 at = in->at;
		__u8 c;

		if (at >= in->length)
			return FOUND_PART;
		c = in->bytes[IN(at)];
		in->at = at + 1;
		in->matched = (in->matched << 8 | c | 0x20) & SIX_BYTES;
		found = look_at_byte(in, at, c, in->matched);
		if (found >= 0)
			return found;
	}
	return -1;
}

/*
 * Finds where the Host field of an HTTP/1 request has its value: RFC 9112, 2.2 and 3.2. What is text and no request in
 * its first line names nobody.
 */
__noinline int find_field(__u32 slot)
{
	struct inspection *in = inspection_of(slot);
	int found;

	if (!in)
		return FOUND_HIDDEN;
	in->is_done = 0; /* a version was seen: it is a request */
	in->left = 0;    /* where the line begins */
	in->at = 0;
	in->matched = 0;
	for (int i = 0; i < HTTP_LOOKED_AT / LOOKED_AT_ONCE; i++) {
		found = look_at_bytes(slot);
		if (found >= 0)
			return found;
	}
	return FOUND_HIDDEN;
}

/* Some bytes of a name that begins behind spaces, from `in->at` on. Returns 1 behind the last, or 2 if they end before. */
__noinline int take_on(__u32 slot)
{
	struct inspection *in = inspection_of(slot);
	__u32 at;
	__u8 c;

	if (!in)
		return 2;
	for (int i = 0; i < AT_ONCE; i++) {
		at = in->at;
		if (at >= in->length)
			return 2;
		c = in->bytes[IN(at)];
		if (in->from && !letters[c] && c != '.')
			return 1;
		if (!in->from && c != ' ' && c != '\t')
			in->from = at;
		in->at = at + 1;
	}
	return 0;
}

/* Takes the name that begins there, and the port that it comes with. */
__noinline int take_authority(__u32 slot)
{
	struct inspection *in = inspection_of(slot);
	__u32 at, port = 0;
	int end = 0;
	__u8 c;

	if (!in)
		return FOUND_HIDDEN;
	in->from = 0;
	for (int i = 0; i < NAME_BYTES / AT_ONCE + 1; i++) {
		end = take_on(slot);
		if (end)
			break;
	}
	if (end == 2)
		return FOUND_PART;
	if (!end || !in->from || in->at == in->from)
		return FOUND_HIDDEN;
	c = in->bytes[IN(in->at)];
	in->to = in->at;
	in->separator = '.';
	in->port = 0;
	if (c != ':')
		/* What comes before an @ is no name. */
		return c == '@' ? FOUND_HIDDEN : FOUND_NAME;
	for (int i = 1; i < 8; i++) {
		at = in->to + i;
		if (at >= in->length)
			return FOUND_PART;
		c = in->bytes[IN(at)] - '0';
		if (c > 9)
			break;
		port = port * 10 + c;
	}
	c += '0';
	in->port = port;
	return port && port <= 0xffff && c != '@' && c != ':' && !letters[c] ? FOUND_NAME : FOUND_HIDDEN;
}

#define CONN 0x434f4e4eu /* as a request to a proxy begins */
#define ECT_ 0x45435420u

/*
 * Finds the authority in a request's target, where it has one: what is asked of proxies. Returns FOUND_NONE if the
 * target is a path, or none.
 */
__noinline int find_target(__u32 slot)
{
	struct inspection *in = inspection_of(slot);
	__u32 at, is_tunnel;
	__u8 c;

	if (!in)
		return FOUND_HIDDEN;
	in->at = 0;
	for (int i = 0; i < 16; i++) {
		c = in->bytes[IN(in->at)];
		if (c != '\r' && c != '\n')
			break;
		in->at++;
	}
	is_tunnel = u32_at(in, in->at) == CONN && u32_at(in, in->at + 4) == ECT_;
	in->is_done = 0;
	for (int i = 0; i < 32; i++) {
		at = in->at;
		in->at = at + 1;
		if (in->bytes[IN(at)] == ' ') {
			in->is_done = 1;
			break;
		}
	}
	c = in->bytes[IN(in->at)];
	if (!in->is_done)
		return FOUND_HIDDEN;
	if (is_tunnel)
		return take_authority(slot);
	if (c == '/' || c == '*')
		return FOUND_NONE;
	in->is_done = 0;
	for (int i = 0; i < 16; i++) {
		at = in->at;
		in->at = at + 1;
		c = in->bytes[IN(at)];
		if (c == '/' && in->bytes[IN(at + 1)] == '/') {
			in->at = at + 2;
			in->is_done = 1;
			break;
		}
		/* What is none of the forms that there are is left to who has to make something of it. */
		if (c == ' ')
			return FOUND_NONE;
	}
	if (!in->is_done)
		return FOUND_HIDDEN;
	c = take_authority(slot);
	if (c == FOUND_NAME && !in->port)
		in->port = PORT_HTTP;
	return c;
}

/*
 * Compares some bytes, from `in->matched` on, of what begins at `at` with the name that was found, in any case. Returns 1
 * if they differ or there are no more: then `in->is_done` says whether all are the same.
 */
__noinline int compare_named(__u32 slot, __u32 at)
{
	struct inspection *in = inspection_of(slot);

	if (!in)
		return 1;
	for (int i = 0; i < AT_ONCE; i++) {
		__u64 place = in->matched;
		__u8 c = in->bytes[IN(at + place)], other = in->bytes[IN(in->from + place)];

		if (in->from + place >= in->to) {
			in->is_done = !letters[c] && (c != '.' || !letters[in->bytes[IN(at + place + 1)]]);
			return 1;
		}
		if (c != other && (!letters[c] || letters[c] != letters[other]))
			return 1;
		in->matched = place + 1;
	}
	return 0;
}

/* Whether the name that begins at `at` is the one that was found. */
__noinline int is_named_again(__u32 slot, __u32 at)
{
	struct inspection *in = inspection_of(slot);

	if (!in)
		return 0;
	in->is_done = 0;
	in->matched = 0;
	for (int i = 0; i < NAME_BYTES / AT_ONCE; i++)
		if (compare_named(slot, at))
			break;
	return in->is_done;
}

/* A name may be written with the root's dot at its end. */
static __always_inline int without_dot(struct inspection *in, int found)
{
	if (found == FOUND_NAME && in->bytes[IN(in->to - 1)] == '.')
		in->to--;
	return found;
}

/*
 * Finds the host that an HTTP/1 request is for: what its target says, which the Host field has to say, too; else that
 * field.
 */
__noinline int find_host(__u32 slot)
{
	struct inspection *in = inspection_of(slot);
	__u32 field;
	int found;

	if (!in)
		return FOUND_HIDDEN;
	found = find_field(slot);
	if (found != FOUND_NAME)
		return found;
	field = in->at;
	found = find_target(slot);
	if (found == FOUND_NONE) {
		in->at = field;
		found = take_authority(slot);
		in->port = 0;
		return without_dot(in, found);
	}
	if (found != FOUND_NAME)
		return FOUND_HIDDEN;
	for (int i = 0; i < 8; i++) {
		if (in->bytes[IN(field)] != ' ' && in->bytes[IN(field)] != '\t')
			break;
		field++;
	}
	return without_dot(in, is_named_again(slot, field) ? FOUND_NAME : FOUND_HIDDEN);
}

#endif
