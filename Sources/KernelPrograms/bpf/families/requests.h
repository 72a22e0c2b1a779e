/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What processes of a job hand to their TLS library, by uprobes on the functions that take it; loaded only if asked for.
 * User space attaches these programs to the libraries and executables that jobs use, where it finds the functions; a
 * uprobe is met by every process that runs the file, and who is in no job is let go at the tag.
 *
 * By which connection a write is sent is never concluded from a descriptor or from a library's own structures. What is
 * compared is the ciphertext: the beginning of the TLS record that OpenSSL gives to its BIO within the call is what a
 * system call then sends, at once by the same thread, or later by another, as where a program keeps TLS in memory
 * (node, asyncio). GnuTLS does not show its records before they are sent, but sends them within the call. Go sends within
 * the call, too, and may meanwhile change the thread: there it is the goroutine that is the same.
 */
#include "sockets.h"
#include "tls.h"

#define TLS_DATA 0x17         /* the type of a record with data, in front of version 3.x and a length of two bytes */
#define TLS_RECORD_HEAD 5
#define CIPHER_BYTES 24       /* compared of what follows: an explicit nonce and a block, or nothing but ciphertext */
#define SENT_STEPS 24         /* records and parts of a message that are looked at */

SEC("uprobe")
int tls_openssl_write(struct pt_regs *regs)
{
	struct tls_call call = {
		.stream = PT_REGS_PARM1(regs), .bytes = PT_REGS_PARM2(regs), .length = (__u32)PT_REGS_PARM3(regs),
		.library = MT_TLS_OPENSSL};

	write_begins(&call);
	return 0;
}

SEC("uprobe")
int tls_openssl_write_ex(struct pt_regs *regs)
{
	struct tls_call call = {
		.stream = PT_REGS_PARM1(regs), .bytes = PT_REGS_PARM2(regs), .length = PT_REGS_PARM3(regs),
		.written = PT_REGS_PARM4(regs), .library = MT_TLS_OPENSSL};

	write_begins(&call);
	return 0;
}

SEC("uprobe")
int tls_gnutls_send(struct pt_regs *regs)
{
	struct tls_call call = {
		.stream = PT_REGS_PARM1(regs), .bytes = PT_REGS_PARM2(regs), .length = PT_REGS_PARM3(regs),
		.library = MT_TLS_GNUTLS};

	write_begins(&call);
	return 0;
}

/* The end of any of the three. */
SEC("uretprobe")
int tls_written(struct pt_regs *regs)
{
	struct tls_call_key key = thread_key();
	struct tls_call *found, call;
	struct task_struct *task;
	struct actor actor;
	struct mt_tag *tag;
	__s64 taken;

	found = bpf_map_lookup_elem(&tls_calls, &key);
	if (!found)
		return 0;
	if (found->nested) {
		found->nested--;
		return 0;
	}
	call = *found;
	bpf_map_delete_elem(&tls_calls, &key);
	task = current_task();
	tag = own_tag(task);
	taken = (__s32)PT_REGS_RC(regs);
	if (!tag || taken <= 0)
		return 0;
	if (call.written && bpf_probe_read_user(&taken, sizeof(taken), (const void *)call.written))
		return 0;
	if ((__u64)taken > call.length)
		return 0;
	actor = actor_of(task, tag);
	/* Before others can know that there is something to send. */
	if (!call.sock && call.cipher)
		bpf_map_update_elem(&tls_ciphers, &call.cipher, &call.write, BPF_ANY);
	tell_write(&actor, &call, taken);
	return 0;
}

/* Stands for the beginning of a TLS record with data; 0: it is none. */
static __always_inline __u64 fingerprint(const __u64 words[4])
{
	__u64 hash = hash_begin('t');

	/* Version 3.x, as all have it from SSL 3 to TLS 1.3. */
	if ((words[0] & 0xffff) != (0x300 | TLS_DATA))
		return 0;
	hash = hash_word(hash, words[0]);
	hash = hash_word(hash, words[1]);
	hash = hash_word(hash, words[2]);
	return hash_end(hash_word(hash, words[3]));
}

/* Reads the beginning of a record. */
static __always_inline int read_record(__u64 words[4], __u64 address)
{
	words[3] = 0;
	return !bpf_probe_read_user(words, TLS_RECORD_HEAD + CIPHER_BYTES, (const void *)address);
}

/* BIO_write(bio, bytes, length): what a thread gives on within its SSL_write is the ciphertext. */
SEC("uprobe")
int tls_openssl_cipher(struct pt_regs *regs)
{
	struct tls_call_key key = thread_key();
	struct tls_call *call = bpf_map_lookup_elem(&tls_calls, &key);
	__u64 words[4] = {};

	if (!call || call->cipher || call->nested || call->library != MT_TLS_OPENSSL ||
	    (__s32)PT_REGS_PARM3(regs) < TLS_RECORD_HEAD + CIPHER_BYTES)
		return 0;
	if (read_record(words, PT_REGS_PARM2(regs)))
		call->cipher = fingerprint(words);
	return 0;
}

/* SSL_free(ssl), gnutls_deinit(session): the next connection in this place is another. */
SEC("uprobe")
int tls_free(struct pt_regs *regs)
{
	struct tls_stream_key key = {.pointer = PT_REGS_PARM1(regs), .tgid = bpf_get_current_pid_tgid() >> 32};

	if (own_tag(current_task()))
		bpf_map_delete_elem(&tls_streams, &key);
	return 0;
}

#if defined(__TARGET_ARCH_arm64)
#define GO_ARGUMENT_1(regs) (regs)->regs[0]
#define GO_ARGUMENT_2(regs) (regs)->regs[1]
#define GO_ARGUMENT_3(regs) (regs)->regs[2]
#define GO_ROUTINE(GET, from) GET(from, regs[28])
#else
#define GO_ARGUMENT_1(regs) (regs)->ax
#define GO_ARGUMENT_2(regs) (regs)->bx
#define GO_ARGUMENT_3(regs) (regs)->cx
#define GO_ROUTINE(GET, from) GET(from, r14)
#endif

/*
 * crypto/tls.(*Conn).Write(bytes), of Go 1.17 and later. Nothing tells of its end: a probe on a return would be taken for
 * a corrupt stack by Go, which moves stacks. When one has to be moved the function is begun again.
 */
SEC("uprobe")
int tls_go_write(struct pt_regs *regs)
{
	struct tls_call call = {
		.stream = GO_ARGUMENT_1(regs), .bytes = GO_ARGUMENT_2(regs), .length = GO_ARGUMENT_3(regs),
		.library = MT_TLS_GO};
	struct tls_call_key key = {.who = GO_ROUTINE(LOADED, regs)};
	struct tls_call *last;
	struct actor actor;

	if (!begin_call(&call, &actor))
		return 0;
	key.tgid = actor.tgid;
	last = bpf_map_lookup_elem(&tls_calls, &key);
	if (last && last->stream == call.stream && last->bytes == call.bytes && last->length == call.length)
		return 0;
	bpf_map_update_elem(&tls_calls, &key, &call, BPF_ANY);
	tell_write(&actor, &call, call.length);
	return 0;
}

/* A global function, so that the loop over what is sent stays small. */
__noinline int tell_sent(__u64 write, __u64 sock)
{
	struct task_struct *task = current_task();
	struct mt_tag *tag = own_tag(task);
	struct mt_tls_sent *body;
	struct record record;
	struct actor actor;

	if (!tag)
		return 0;
	actor = actor_of(task, tag);
	COUNT(MT_TLS_SENT, seen);
	if (!begin(&record, MT_TLS_SENT, MT_CRITICAL, sizeof(*body), &actor))
		return 0;
	body = BODY(&record, struct mt_tls_sent);
	body->write = write;
	body->sock = sock;
	send(&record);
	return 0;
}

/* Records that are being sent, those of one part after the other. */
struct sent {
	__u64 at, end;
	struct parts parts;
	__u64 sock; /* id */
};

static long sent_step(__u32 index, struct sent *sent)
{
	__u64 words[4] = {}, cipher, *write;

	if (sent->at + TLS_RECORD_HEAD + CIPHER_BYTES > sent->end) {
		struct piece piece = {};

		if (!next_piece(&sent->parts, &piece))
			return 1;
		sent->at = (__u64)piece.bytes;
		sent->end = sent->at + piece.length;
		return 0;
	}
	/* Alerts and handshakes may be in between. What is none of TLS begins with no record's head. */
	if (!read_record(words, sent->at) || (words[0] & 0xff00) != 0x300 || (words[0] & 0xff) - 20 > 3)
		return 1;
	cipher = fingerprint(words);
	write = cipher ? bpf_map_lookup_elem(&tls_ciphers, &cipher) : 0;
	if (write) {
		tell_sent(*write, sent->sock);
		bpf_map_delete_elem(&tls_ciphers, &cipher);
	}
	sent->at += TLS_RECORD_HEAD + ((words[0] >> 24 & 0xff) << 8 | (words[0] >> 32 & 0xff));
	return 0;
}
LOOP_STEP(struct sent, sent_step)

/* Bytes of the first record, of what Go is asked to write: it makes the first ones small. */
#define GO_FIRST_MOST 1024

/* A socket is about to send, or has just sent, what the current call says. */
static __always_inline void tcp_sends(struct sock *sk)
{
	struct task_struct *task = current_task();
	struct tls_call_key key;
	struct sent sent = {};
	struct tls_call *call;
	struct piece piece = {};
	__u64 words[4] = {}, length;
	struct cpu_state *cpu;
	__u32 zero = 0;

	if (!own_tag(task) || !find_parts(task, &sent.parts) || !next_piece(&sent.parts, &piece))
		return;
	sent.at = (__u64)piece.bytes;
	sent.end = sent.at + piece.length;
	sent.sock = opaque((const void *)number_of(sk));
	/* A short first part leaves zeros, which are no record's. */
	if (piece.length >= TLS_RECORD_HEAD + CIPHER_BYTES && !read_record(words, sent.at))
		return;
	key = thread_key();
	call = bpf_map_lookup_elem(&tls_calls, &key);
	if (call && !call->sock && !call->nested &&
	    (call->library == MT_TLS_OPENSSL ? call->cipher && call->cipher == fingerprint(words) : fingerprint(words) != 0)) {
		call->sock = sent.sock;
		return;
	}
	key.who = GO_ROUTINE(PROBED, call_registers(task));
	key.tgid = key.who ? bpf_get_current_pid_tgid() >> 32 : 0;
	call = key.who ? bpf_map_lookup_elem(&tls_calls, &key) : 0;
	if (call) {
		length = (words[0] >> 24 & 0xff) << 8 | (words[0] >> 32 & 0xff);
		/* Not a handshake, nor its last message, which has no other type in TLS 1.3. */
		if (!fingerprint(words) || length < (call->length < GO_FIRST_MOST ? call->length : GO_FIRST_MOST))
			return;
		tell_sent(call->write, sent.sock);
		bpf_map_delete_elem(&tls_calls, &key);
		return;
	}
	/* See on_receive about numbers that a loop changes. */
	cpu = bpf_map_lookup_elem(&cpu_states, &zero);
	if (!cpu)
		return;
	sent.parts.list += cpu->zero;
	sent.parts.count += cpu->zero;
	LOOP(SENT_STEPS, sent_step, &sent);
}

static __always_inline void tcp_message_sent(const __u64 *arguments)
{
	tcp_sends(ARGUMENT(arguments, 0, struct sock *));
}
ON_ENTRY(tcp_sendmsg, tcp_message_sent)

/* Of every socket's sends; from Linux 6.3 on. */
SEC("tp_btf/sock_send_length")
int BPF_PROG(tls_sent, struct sock *sk, int sent)
{
	__u16 family = READ(sk, struct sock, __sk_common.skc_family);

	if (sent > 0 && (family == AF_INET || family == AF_INET6) && READ(sk, struct sock, sk_protocol) == IPPROTO_TCP)
		tcp_sends((struct sock *)number_of(sk));
	return 0;
}
