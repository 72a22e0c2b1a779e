/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shared by the storms: errors, numbers, timing and CPU placement.
 *
 * Every storm is bounded by its arguments and by a limit on each of them, stops by
 * itself, talks to 127.0.0.1 only and writes beneath the directory that it is given.
 */
#ifndef STORM_H
#define STORM_H

#include <stdint.h>

#define STORM_DIRECTORY_FILES 200 /* files that `prepare` puts into one directory */

/* Print "storm: WHAT: strerror" and exit 1. */
__attribute__((noreturn)) void die(const char *what);
__attribute__((noreturn)) void fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* A number between 0 and `limit`, or exit 64. */
uint64_t number(const char *text, const char *name, uint64_t limit);

/* Nanoseconds of CLOCK_MONOTONIC. */
uint64_t now(void);

/* The nth CPU of those that this process may use now, modulo their count. */
unsigned nth_cpu(unsigned nth);

/* Run on this CPU alone. */
void use_cpu(unsigned cpu);

/* Path of this program. */
const char *self(void);

/* Start `program` with up to two arguments; the process id. */
int start(const char *program, const char *first, const char *second);

/* Wait for it, and exit 1 unless it exited 0. */
void finish(int pid);

/* Name of file `index` beneath `root` as `prepare` lays it out, in a static buffer. */
const char *file_name(const char *root, uint64_t index);

/* Write all or die. */
void write_all(int fd, const void *bytes, uint64_t count);

struct sockaddr_in;

/* Listens there; with port 0 the kernel chooses one, which is put into `address`. */
int listen_on(struct sockaddr_in *address);

/* Connects from an address, NULL: from whichever, accepts, and closes both ends. */
void connect_accept_close(int listener, const struct sockaddr_in *address, const struct sockaddr_in *from);

int verb_spawn(int argc, char **argv);
int verb_prepare(int argc, char **argv);
int verb_open(int argc, char **argv);
int verb_distinct(int argc, char **argv);
int verb_connect(int argc, char **argv);
int verb_write(int argc, char **argv);
int verb_read(int argc, char **argv);
int verb_rate(int argc, char **argv);
int verb_causal(int argc, char **argv);
int verb_overload(int argc, char **argv);
int verb_job(int argc, char **argv);
int verb_measure(int argc, char **argv);
int verb_twice(int argc, char **argv);

#endif
