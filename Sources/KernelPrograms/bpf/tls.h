/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Writes of plain text to TLS: which of them may have requests, and the records that tell them. */
#ifndef MARTLET_TLS_H
#define MARTLET_TLS_H

#include "hooks.h"
#include "sends.h"
#include "opens.h"


#define FRAME_STEPS 128       /* frames of a write */
#define FRAME_HEAD_REST 5     /* flags and stream, behind a length and the type */
#define FRAME_HEADERS 1
#define FRAME_CONTINUATION 9
#define PREFACE_BYTES 24
enum tls_kind {
	TLS_OTHER = 0,
	TLS_HTTP1 = 1,
	TLS_PREFACE = 2,
	TLS_FRAMES = 3,
	TLS_HIDDEN = 4,
};

struct tls_stream_key {
	__u64 pointer;
	__u32 tgid;
	__u32 reserved;
};

/* A connection that speaks HTTP/2. */
struct tls_stream {
	struct mt_tls_place place;
	__u32 parts;   /* records of it so far */
	__u32 is_lost; /* a write had more frames than were looked at: where one begins is not known any more */
};
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1);
	__type(key, struct tls_stream_key);
	__type(value, struct tls_stream);
} tls_streams SEC(".maps");

/* What a thread, of Go a goroutine, is in the middle of writing. */
struct tls_call {
	__u64 stream;
	__u64 bytes;
	__u64 length;
	__u64 written; /* where the library says how much it took, 0: it returns that */
	__u64 write;   /* id */
	__u64 cipher;  /* fingerprint of its first record, 0: not known */
	__u64 sock;    /* id of the socket that it was sent by, 0: none yet */
	__u32 library;
	__u16 kind;
	__u16 nested;  /* other writes that are under way within this one */
};
struct tls_call_key {
	__u64 who;     /* the thread, or the goroutine's address */
	__u32 tgid;    /* of a goroutine */
	__u32 reserved;
};
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1);
	__type(key, struct tls_call_key);
	__type(value, struct tls_call);
} tls_calls SEC(".maps");

/* Records that were made and not yet sent, by their fingerprints: the write that each belongs to. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1);
	__type(key, __u64);
	__type(value, __u64);
} tls_ciphers SEC(".maps");

static __always_inline struct tls_call_key thread_key(void)
{
	struct tls_call_key key = {.who = bpf_get_current_pid_tgid()};

	return key;
}

static __always_inline __u64 stream_id(const struct actor *actor, __u64 pointer)
{
	return hash_end(hash_word(hash_word(hash_begin('s'), actor->tgid), pointer));
}

/* Methods by their first four letters. */
static __always_inline int is_method(__u32 word)
{
	switch (word) {
	case METHOD('G', 'E', 'T', ' '):
	case METHOD('P', 'O', 'S', 'T'):
	case METHOD('P', 'U', 'T', ' '):
	case METHOD('H', 'E', 'A', 'D'):
	case METHOD('D', 'E', 'L', 'E'):
	case METHOD('O', 'P', 'T', 'I'):
	case METHOD('P', 'A', 'T', 'C'):
	case METHOD('C', 'O', 'N', 'N'):
	case METHOD('T', 'R', 'A', 'C'):
	case METHOD('P', 'R', 'O', 'P'):
	case METHOD('R', 'E', 'P', 'O'):
	case METHOD('S', 'E', 'A', 'R'):
	case METHOD('M', 'K', 'C', 'O'):
	case METHOD('M', 'O', 'V', 'E'):
	case METHOD('C', 'O', 'P', 'Y'):
	case METHOD('L', 'O', 'C', 'K'):
		return 1;
	}
	return 0;
}

/* A write that is of no interest begins within one that is. */
static __always_inline void nest_call(const struct tls_call_key *key)
{
	struct tls_call *call = bpf_map_lookup_elem(&tls_calls, key);

	if (call)
		call->nested++;
}

/*
 * Whether a write to a connection that nobody saw begin is HTTP/2 and opens a stream: HEADERS whose block begins with
 * :method or :authority, as those of clients do. Those of servers begin with :status.
 */
static __always_inline int opens_unseen(const __u8 *bytes)
{
	__u8 first = bytes[4] & 0x20 ? bytes[14] : bytes[9];

	if (bytes[0] || bytes[1] > 0x40 || bytes[3] != FRAME_HEADERS || bytes[5] >> 7 || !(bytes[8] & 1))
		return 0;
	return first == 0x82 || first == 0x83 || first == 0x41 || first == 0x11 || first == 0x01;
}

/* What a write is of, by its beginning and by what came before it. */
static __always_inline __u32 kind_of(const struct tls_call *call, __u32 tgid)
{
	struct tls_stream_key key = {.pointer = call->stream, .tgid = tgid};
	struct tls_stream *stream;
	__u32 words[4] = {};

	if (call->length >= sizeof(words))
		bpf_probe_read_user(words, sizeof(words), (const void *)call->bytes);
	if (words[0] == METHOD('P', 'R', 'I', ' ') && words[1] == METHOD('*', ' ', 'H', 'T') &&
	    words[2] == METHOD('T', 'P', '/', '2'))
		return call->length >= PREFACE_BYTES ? TLS_PREFACE : TLS_OTHER;
	stream = bpf_map_lookup_elem(&tls_streams, &key);
	if (stream) {
		if (stream->place.left || stream->place.have || !is_method(words[0]))
			return stream->is_lost ? TLS_OTHER : TLS_FRAMES;
		/* No frame is as long as these letters would say: it is another connection in the same place. */
		bpf_map_delete_elem(&tls_streams, &key);
	}
	if (is_method(words[0]))
		return TLS_HTTP1;
	return opens_unseen((const __u8 *)words) ? TLS_HIDDEN : TLS_OTHER;
}

struct frames {
	__u64 at, end;
	struct mt_tls_place place;
	__u32 opens;
	__u32 reserved;
};

static long frame_step(__u32 index, struct frames *frames)
{
	__u64 rest = frames->end - frames->at;
	__u32 have, take, word = 0;

	if (!rest)
		return 1;
	if (frames->place.left) {
		frames->opens |= frames->place.opens;
		if (rest > frames->place.left)
			rest = frames->place.left;
		frames->place.left -= rest;
		frames->at += rest;
		return 0;
	}
	frames->place.opens = 0;
	have = frames->place.have & 3;
	take = 4 - have;
	if (take > rest)
		take = rest;
	barrier_var(take);
	if (take < 1 || take > 4)
		return 1;
	if (bpf_probe_read_user(&word, take, (const void *)frames->at))
		return 1;
	frames->place.head |= word << 8 * have;
	frames->place.have = have + take;
	frames->at += take;
	if (frames->place.have < 4)
		return 0;
	word = frames->place.head;
	frames->place.have = frames->place.head = 0;
	frames->place.left = ((word & 0xff) << 16 | (word & 0xff00) | (word >> 16 & 0xff)) + FRAME_HEAD_REST;
	frames->place.opens = word >> 24 == FRAME_HEADERS || word >> 24 == FRAME_CONTINUATION;
	frames->opens |= frames->place.opens;
	return 0;
}
LOOP_STEP(struct frames, frame_step)

/* Begins the record of a write. */
static __always_inline struct mt_tls_write *begin_write(struct record *record, const struct actor *actor,
							const struct tls_call *call, __u64 taken)
{
	struct mt_tls_write *body;

	if (is_filtered(actor->job, MT_TLS_WRITE))
		return 0;
	COUNT(MT_TLS_WRITE, seen);
	if (!begin(record, MT_TLS_WRITE, MT_CRITICAL, sizeof(*body), actor))
		return 0;
	body = BODY(record, struct mt_tls_write);
	body->stream = stream_id(actor, call->stream);
	body->write = call->write;
	body->sock = call->sock;
	body->bytes = taken;
	body->library = call->library;
	if (!call->sock && (call->cipher || call->library == MT_TLS_GO))
		body->flags = MT_TLS_FOLLOWS;
	return body;
}

/* Not inlined: what is done on the way would not fit one stack. Returns 1 if the write was told. */
static __noinline int tell_head(const struct actor *actor, const struct tls_call *call, __u64 taken)
{
	struct mt_tls_write *body;
	struct record record;

	body = begin_write(&record, actor, call, taken);
	if (!body)
		return 0;
	if (call->kind == TLS_HIDDEN) {
		body->flags |= MT_TLS_HIDDEN;
	} else {
		if (taken > MT_TLS_HEAD_MAX)
			taken = MT_TLS_HEAD_MAX;
		add_user_bytes(&record, MT_STR_BYTES, (const void *)call->bytes, taken, MT_TLS_HEAD_MAX);
	}
	return send(&record);
}

static __noinline int tell_part(const struct actor *actor, const struct tls_call *call, __u64 taken,
				const struct tls_stream *before)
{
	struct mt_tls_write *body;
	struct record record;

	body = begin_write(&record, actor, call, taken);
	if (!body)
		return 0;
	body->part = before->parts + 1;
	body->flags |= call->kind == TLS_PREFACE ? MT_TLS_FRAMES | MT_TLS_BEGINS : MT_TLS_FRAMES;
	body->place = before->place;
	if (taken > MT_TLS_FRAMES_MAX)
		taken = MT_TLS_FRAMES_MAX;
	add_user_bytes(&record, MT_STR_BYTES, (const void *)call->bytes, taken, MT_TLS_FRAMES_MAX);
	return send(&record);
}

/* Follows the frames of a write, and tells it if one of them opens a stream. */
static __noinline int tell_frames(const struct actor *actor, const struct tls_call *call, __u64 taken)
{
	struct tls_stream_key key = {.pointer = call->stream, .tgid = actor->tgid};
	struct tls_stream *known, stream = {};
	struct frames frames = {};
	struct cpu_state *cpu;
	__u32 zero = 0;
	int told = 0;

	cpu = bpf_map_lookup_elem(&cpu_states, &zero);
	if (!cpu)
		return 0;
	if (call->kind == TLS_PREFACE) {
		/* See on_receive about numbers that a loop changes. */
		stream.place.left = stream.place.head = cpu->zero;
		stream.place.have = stream.place.opens = cpu->zero;
	} else {
		known = bpf_map_lookup_elem(&tls_streams, &key);
		if (!known)
			return 0;
		stream = *known;
	}
	frames.place = stream.place;
	frames.opens = cpu->zero;
	frames.at = call->bytes + (call->kind == TLS_PREFACE ? PREFACE_BYTES : 0);
	frames.end = call->bytes + taken;
	if (taken >= PREFACE_BYTES || call->kind != TLS_PREFACE)
		LOOP(FRAME_STEPS, frame_step, &frames);
	if (frames.opens || call->kind == TLS_PREFACE) {
		told = tell_part(actor, call, taken, &stream);
		stream.parts++;
	}
	stream.place = frames.place;
	if (frames.at != frames.end) {
		/* Its requests are not to be read from here on. */
		struct tls_call hidden = *call;

		stream.is_lost = 1;
		hidden.kind = TLS_HIDDEN;
		tell_head(actor, &hidden, taken);
	}
	bpf_map_update_elem(&tls_streams, &key, &stream, BPF_ANY);
	return told;
}

static __always_inline int tell_write(const struct actor *actor, const struct tls_call *call, __u64 taken)
{
	if (call->kind == TLS_HTTP1 || call->kind == TLS_HIDDEN)
		return tell_head(actor, call, taken);
	return tell_frames(actor, call, taken);
}

/* Names a write, if it is one that may have requests. Returns 0 for others, and for processes that are in no job. */
static __always_inline int begin_call(struct tls_call *call, struct actor *actor)
{
	struct task_struct *task = current_task();
	struct mt_tag *tag = own_tag(task);

	if (!tag || !call->length || call->length > 0x7fffffff)
		return 0;
	*actor = actor_of(task, tag);
	call->kind = kind_of(call, actor->tgid);
	if (call->kind == TLS_OTHER)
		return 0;
	call->write = hash_end(hash_word(hash_word(hash_begin('w'), bpf_get_current_pid_tgid()), bpf_ktime_get_boot_ns()));
	return 1;
}

/* A thread begins to write; what it returns tells how much was taken, so that what has to be tried again is told once. */
static __always_inline void write_begins(struct tls_call *call)
{
	struct tls_call_key key = thread_key();
	struct actor actor;

	if (begin_call(call, &actor))
		bpf_map_update_elem(&tls_calls, &key, call, BPF_ANY);
	else if (own_tag(current_task()))
		/* Of TLS within TLS the inner one is still under way: its end is not this one's. */
		nest_call(&key);
}

#endif
