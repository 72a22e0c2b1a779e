// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * What processes of a job hand to their TLS library, of which nothing but the requests is kept. A part of martlet_abi.h,
 * which is to be included instead.
 *
 * The bytes of an MT_TLS_WRITE are in plain text, with whatever a request holds: passwords, cookies, bodies. Whoever
 * reads the ring makes MT_REQUEST of them at once; nothing else may see them.
 */
#ifndef MARTLET_ABI_REQUESTS_H
#define MARTLET_ABI_REQUESTS_H

#ifndef MARTLET_ABI_H
#include "martlet_abi.h"
#else

#define MT_TLS_HEAD_MAX 4096    /* bytes of a write that begins an HTTP/1 request */
#define MT_TLS_FRAMES_MAX 16384 /* bytes of a write with frames of HTTP/2 that open a stream: what a TLS record holds */

enum mt_tls_library {
	MT_TLS_OPENSSL = 1,
	MT_TLS_GNUTLS = 2,
	MT_TLS_GO = 3,
};

enum mt_tls_flag {
	MT_TLS_FOLLOWS = 1, /* what connection it is for may be told later, by MT_TLS_SENT */
	MT_TLS_BEGINS = 2,  /* HTTP/2: the connection begins with this write */
	MT_TLS_FRAMES = 4,  /* HTTP/2: frames, the first of them as `place` says; else HTTP/1 */
	MT_TLS_HIDDEN = 8,  /* HTTP/2: requests that nobody can read, since the connection's beginning was not seen */
};

/* Where in HTTP/2's frames a write begins or ends. A frame's first four bytes tell its length and type. */
struct mt_tls_place {
	mt_u32 left;         /* bytes that follow of the frame begun, the last five of its head among them */
	mt_u32 head;         /* the first `have` bytes of a frame's head, the first the lowest */
	mt_u8 have;          /* 0…3 */
	mt_u8 opens;         /* the frame begun opens a stream: HEADERS or CONTINUATION */
	mt_u8 reserved[6];
};

/* BYTES: what was written, from its beginning. */
struct mt_tls_write {
	mt_u64 stream;       /* id of the TLS connection, as its library has it: opaque, may come again for another one */
	mt_u64 write;        /* id of this write */
	mt_u64 sock;         /* the connection that it was sent by; 0: not known, or not yet */
	mt_u64 bytes;        /* that were written */
	mt_u32 part;         /* HTTP/2: number of this record in its connection, from 1 */
	mt_u16 library;      /* enum mt_tls_library */
	mt_u16 flags;        /* enum mt_tls_flag */
	struct mt_tls_place place;
};

struct mt_tls_sent {
	mt_u64 write;
	mt_u64 sock;
};

enum mt_request_flag {
	MT_REQUEST_HIDDEN = 1,  /* there was one, or more, and nothing of it is known */
	MT_REQUEST_HTTP2 = 2,
};

/* Made by user space. DETAIL: the method; NAME: the host; PATH: the path, without its query. */
struct mt_request {
	mt_u64 sock;         /* 0: not known */
	mt_u16 library;      /* enum mt_tls_library */
	mt_u16 flags;        /* enum mt_request_flag */
	mt_u32 reserved;
};

_Static_assert(sizeof(struct mt_tls_place) == 16, "TLS place layout");
_Static_assert(sizeof(struct mt_tls_write) == 56, "TLS write layout");
_Static_assert(sizeof(struct mt_tls_sent) == 16, "TLS sent layout");
_Static_assert(sizeof(struct mt_request) == 16, "request layout");

#endif
#endif
