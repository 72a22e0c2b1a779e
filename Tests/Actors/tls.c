/*
 * A TLS library in name only: functions with the names and the ways of OpenSSL's and GnuTLS', which a sensor finds in this
 * program. What they send looks like records of TLS, and nobody could tell what is in them.
 */
#include "actor.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#define HEAD 5
#define NONCE 8
#define TAG 16
#define EXPORTED __attribute__((noinline, used))

/* A connection; for the kernel side a place in memory. */
struct ssl_st {
	int fd;
	int keeps;  /* what is written is kept, for somebody else to send */
	int fails;  /* so many calls, as if there were no room */
	size_t kept;
	uint8_t bytes[32768];
};

int SSL_write(struct ssl_st *ssl, const void *bytes, int length);
int SSL_write_ex(struct ssl_st *ssl, const void *bytes, size_t length, size_t *written);
int BIO_write(struct ssl_st *bio, const void *bytes, int length);
void SSL_free(struct ssl_st *ssl);
ssize_t gnutls_record_send(struct ssl_st *session, const void *bytes, size_t length);
void gnutls_deinit(struct ssl_st *session);

static size_t seal(uint8_t *record, const void *bytes, size_t length)
{
	size_t whole = NONCE + length + TAG;

	record[0] = 0x17;
	record[1] = record[2] = 3;
	record[3] = whole >> 8;
	record[4] = whole;
	check(getrandom(record + HEAD, whole, 0), "getrandom");
	for (size_t i = 0; i < length; i++)
		record[HEAD + NONCE + i] ^= ((const uint8_t *)bytes)[i];
	return HEAD + whole;
}

static void put(int fd, const void *bytes, size_t length)
{
	if (write(fd, bytes, length) != (ssize_t)length)
		fail("write");
}

EXPORTED int BIO_write(struct ssl_st *bio, const void *bytes, int length)
{
	if (!bio->keeps) {
		put(bio->fd, bytes, length);
	} else {
		memcpy(bio->bytes + bio->kept, bytes, length);
		bio->kept += length;
	}
	return length;
}

EXPORTED int SSL_write(struct ssl_st *ssl, const void *bytes, int length)
{
	static __thread uint8_t record[20480];

	if (ssl->fails) {
		ssl->fails--;
		return -1;
	}
	BIO_write(ssl, record, seal(record, bytes, length));
	return length;
}

EXPORTED int SSL_write_ex(struct ssl_st *ssl, const void *bytes, size_t length, size_t *written)
{
	uint8_t record[4096];

	if (ssl->fails) {
		ssl->fails--;
		return 0;
	}
	BIO_write(ssl, record, seal(record, bytes, length));
	*written = length;
	return 1;
}

EXPORTED void SSL_free(struct ssl_st *ssl)
{
	ssl->kept = 0;
}

EXPORTED ssize_t gnutls_record_send(struct ssl_st *session, const void *bytes, size_t length)
{
	uint8_t record[4096];

	if (session->fails) {
		session->fails--;
		return -28; /* GNUTLS_E_AGAIN */
	}
	put(session->fd, record, seal(record, bytes, length));
	return length;
}

EXPORTED void gnutls_deinit(struct ssl_st *session)
{
	session->kept = 0;
}

static struct ssl_st one, two;

static int connected(const char *key)
{
	static int listener = -1;
	static struct sockaddr_in server;
	socklen_t length = sizeof server;
	struct sockaddr_in own;
	int fd;

	if (listener < 0) {
		listener = check(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket");
		server.sin_family = AF_INET;
		server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
		check(bind(listener, (struct sockaddr *)&server, sizeof server), "bind");
		check(listen(listener, 8), "listen");
		check(getsockname(listener, (struct sockaddr *)&server, &length), "getsockname");
	}
	fd = check(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket");
	check(connect(fd, (struct sockaddr *)&server, sizeof server), "connect");
	length = sizeof own;
	check(getsockname(fd, (struct sockaddr *)&own, &length), "getsockname");
	fact(key, ntohs(own.sin_port));
	return fd;
}

static int request(char *text, const char *path)
{
	return sprintf(text, "GET %s?hunter2 HTTP/1.1\r\nCookie: hunter2\r\nHost: a.example\r\n\r\n", path);
}

static void ask(struct ssl_st *ssl, const char *path)
{
	char text[512];

	SSL_write(ssl, text, request(text, path));
}

static void *send_kept(void *context)
{
	struct ssl_st *ssl = context;

	put(ssl->fd, ssl->bytes, ssl->kept);
	ssl->kept = 0;
	return 0;
}

static void direct(void)
{
	char text[8192];
	size_t written = 0;

	ask(&one, "/direct/1");
	ask(&two, "/direct/2");
	/* What has to be tried again is one request. */
	one.fails = 2;
	for (int i = 0; i < 3; i++)
		ask(&one, "/again");
	SSL_write_ex(&two, text, request(text, "/ex"), &written);
	two.fails = 1;
	for (int i = 0; i < 2; i++)
		SSL_write_ex(&two, text, request(text, "/ex/again"), &written);
	/* No requests, though the first begins as one may. */
	SSL_write(&one, "GET lost, all of you who read this\n", 35);
	SSL_write(&one, "HTTP/1.1 200 OK\r\nHost: none\r\n\r\n", 31);
	/* The descriptor is another connection's meanwhile. */
	close(one.fd);
	one.fd = connected("reused");
	ask(&one, "/reused");
}

static void kept(void)
{
	uint8_t alert[HEAD + 2] = {0x15, 3, 3, 0, 2, 1, 0};
	struct iovec parts[3];
	pthread_t thread;

	one.keeps = two.keeps = 1;
	ask(&one, "/kept/1");
	ask(&two, "/kept/2");
	/* In the other order; and something else of the first one's thread in between. */
	send_kept(&two);
	put(two.fd, "nothing of TLS is in here, and it is longer than a head", 55);
	send_kept(&one);
	/* By another thread. */
	ask(&one, "/kept/thread");
	check(-pthread_create(&thread, 0, send_kept, &one), "pthread_create");
	pthread_join(thread, 0);
	/* Behind an alert, in parts, two at once. */
	ask(&two, "/kept/3");
	parts[0] = (struct iovec){alert, sizeof alert};
	parts[1] = (struct iovec){two.bytes, two.kept};
	ask(&two, "/kept/4");
	parts[2] = (struct iovec){two.bytes + parts[1].iov_len, two.kept - parts[1].iov_len};
	if (writev(two.fd, parts, 3) < 0)
		fail("writev");
	two.kept = 0;
	ask(&two, "/kept/5");
	ask(&two, "/kept/6");
	send_kept(&two);
	/* Never sent, and by something that is no connection. */
	ask(&one, "/never");
	one.kept = 0;
	ask(&one, "/pair");
	int pair[2];
	check(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), "socketpair");
	put(pair[0], one.bytes, one.kept);
}

static void gnutls(void)
{
	char text[512];

	gnutls_record_send(&one, text, request(text, "/gnutls/1"));
	/* That one has no room says nothing about the other. */
	one.fails = 1;
	for (int i = 0; i < 2; i++)
		gnutls_record_send(&two, text, request(text, "/gnutls/2"));
	for (int i = 0; i < 2; i++)
		gnutls_record_send(&one, text, request(text, "/gnutls/3"));
	/* Not within a call. */
	one.keeps = 1;
	SSL_write(&one, "no request, but a record", 24);
	send_kept(&one);
}

static size_t frame(uint8_t *to, uint8_t kind, uint8_t flags, const void *payload, size_t length)
{
	const uint8_t head[] = {length >> 16, length >> 8, length, kind, flags, 0, 0, 0, 1};

	memcpy(to, head, sizeof head);
	memcpy(to + sizeof head, payload, length);
	return sizeof head + length;
}

static void frames(void)
{
	static uint8_t data[16384];
	static const uint8_t first[] = "\x82\x04\x06/first\x41\x09" "a.example";
	static const uint8_t second[] = "\x83\x04\x07/second\xbe";
	static const uint8_t third[] = "\x82\x04\x06/third\xbe";
	uint8_t text[17000];
	size_t length;

	/* Nobody saw this one begin. */
	length = frame(text, 1, 5, first, sizeof first - 1);
	SSL_write(&two, text, length);
	memcpy(text, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 24);
	length = 24 + frame(text + 24, 4, 0, "", 0);
	SSL_write(&one, text, length);
	/* A block in two frames, in writes that are cut anywhere. */
	length = frame(text, 1, 1, first, 4);
	length += frame(text + length, 9, 4, first + 4, sizeof first - 1 - 4);
	for (size_t i = 0; i < length; i += 5)
		SSL_write(&one, text + i, length - i < 5 ? length - i : 5);
	/* A long body, whose writes end within a head; then the next request behind its end. */
	length = frame(text, 0, 0, data, 16000);
	SSL_write(&one, text, 9000);
	length += frame(text + length, 0, 1, data, 100);
	SSL_write(&one, text + 9000, 16009 - 9000 + 3);
	length += frame(text + length, 1, 5, second, sizeof second - 1);
	SSL_write(&one, text + 16012, length - 16012);
	/* Another connection in the same place. */
	SSL_free(&one);
	ask(&one, "/other");
	memcpy(text, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 24);
	length = 24 + frame(text + 24, 4, 0, "", 0);
	length += frame(text + length, 1, 5, first, sizeof first - 1);
	length += frame(text + length, 1, 5, third, sizeof third - 1);
	SSL_write(&one, text, length);
}

static void tls(int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*run)(void);
	} ways[] = {{"direct", direct}, {"kept", kept}, {"gnutls", gnutls}, {"frames", frames}};

	one.fd = connected("one");
	two.fd = connected("two");
	for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
		if (argc > 0 && strcmp(argv[0], ways[i].name) == 0)
			ways[i].run();
	}
	close(one.fd);
	close(two.fd);
}

const struct verb tls_verbs[] = {{"tls", tls}, {0}};
