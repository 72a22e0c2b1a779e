/*
 * The operations of `martlet bench hooks`, in functions of their own that a uprobe can be put on, and
 * what a thread needs that measures.
 */
#ifndef MARTLET_MEASURE_H
#define MARTLET_MEASURE_H

#include <stdint.h>

enum mt_measured {
	MT_MEASURED_RENAME = 0, /* writes to /proc/thread-self/comm */
	MT_MEASURED_RANDOM = 1, /* reads eight bytes of /dev/urandom */
};

/* Does it `count` times on `descriptor`. Nanoseconds of this thread's CPU time that it took; 0 if it failed. */
uint64_t mt_measure(enum mt_measured what, int descriptor, uint64_t count);

/* Where the function begins that is called once for each. */
const void *mt_measured_function(enum mt_measured what);

/* Keeps this thread on one CPU, with -1 on the one that it is on. 0, or a negative errno. */
int mt_thread_pin(int cpu);

#endif
