/*
 * Everything at once on every CPU: opens, renames, programs with long arguments, connections. Each name and argument
 * repeats what it was made from, so that a reader can tell whole ones from torn ones.
 */
#include "actor.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define ARGUMENTS 6

/*
 * A text of `length` characters, at least 17: 16 hexadecimal digits of a seed, then letters drawn from it by
 * xorshift64*. SelfTellingText in StormTests.swift is the other side.
 */
static void self_telling(char *text, size_t length, uint64_t seed)
{
	uint64_t state = seed;

	snprintf(text, 17, "%016llx", (unsigned long long)seed);
	for (size_t i = 16; i < length; i++) {
		state ^= state >> 12;
		state ^= state << 25;
		state ^= state >> 27;
		text[i] = 'a' + (state * 2685821657736338717ull >> 33) % 26;
	}
	text[length] = 0;
}

static uint64_t seed_of(unsigned worker, unsigned round, unsigned what)
{
	return ((uint64_t)worker + 1) << 48 | (uint64_t)round << 16 | what;
}

static void name_of(char *name, unsigned worker, unsigned round, unsigned what)
{
	self_telling(name, 17 + (worker * 31 + round * 7 + what * 101) % 230, seed_of(worker, round, what));
}

static void run_program(unsigned worker, unsigned round)
{
	static char texts[ARGUMENTS][2401];
	char *arguments[ARGUMENTS + 3] = {(char *)self_path, "storm-end"};
	extern char **environ;
	pid_t child;

	for (unsigned i = 0; i < ARGUMENTS; i++) {
		self_telling(texts[i], 100 + (round * 37 + i * 411) % 2300, seed_of(worker, round, 16 + i));
		arguments[2 + i] = texts[i];
	}
	child = check(fork(), "fork");
	if (child == 0) {
		execve(self_path, arguments, environ);
		_exit(72);
	}
	if (reap(child) != 0)
		fail("storm-end");
}

static void connect_once(int server, const struct sockaddr_in *address)
{
	int client = check(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket"), accepted;

	check(connect(client, (const struct sockaddr *)address, sizeof *address), "connect");
	accepted = check(accept4(server, NULL, NULL, SOCK_CLOEXEC), "accept4");
	close(client);
	close(accepted);
}

static void work(unsigned worker, unsigned rounds, unsigned programs)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t size = sizeof address;
	char directory[256], first[256], second[256];
	int server = check(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket");

	check(bind(server, (struct sockaddr *)&address, size), "bind");
	check(listen(server, 8), "listen");
	check(getsockname(server, (struct sockaddr *)&address, &size), "getsockname");
	name_of(directory, worker, 0, 3);
	make_directory(directory);
	check(chdir(directory), "chdir");
	for (unsigned round = 0; round < rounds; round++) {
		name_of(first, worker, round, 1);
		name_of(second, worker, round, 2);
		close(check(open(first, O_RDWR | O_CREAT | O_CLOEXEC, 0600), "open"));
		check(rename(first, second), "rename");
		if (round % 8 == 0)
			connect_once(server, &address);
		if (round % (rounds / programs) == 0)
			run_program(worker, round);
		check(unlink(second), "unlink");
	}
}

/* storm WORKERS ROUNDS PROGRAMS: of each worker */
static void storm(int argc, char **argv)
{
	unsigned workers = argc > 2 ? atoi(argv[0]) : 0, rounds = argc > 2 ? atoi(argv[1]) : 0;
	pid_t children[64];

	if (workers < 1 || workers > 64 || rounds < 1) {
		errno = EINVAL;
		fail("storm");
	}
	for (unsigned i = 0; i < workers; i++) {
		children[i] = check(fork(), "fork");
		if (children[i] == 0) {
			work(i, rounds, atoi(argv[2]));
			_exit(0);
		}
	}
	for (unsigned i = 0; i < workers; i++)
		if (reap(children[i]) != 0)
			fail("a worker");
}

static void end(int argc, char **argv)
{
	(void)argc;
	(void)argv;
}

const struct verb storm_verbs[] = {{"storm", storm}, {"storm-end", end}, {0}};
