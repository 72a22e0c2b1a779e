/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Linked into a program, this counts every allocation of it and of the libraries that it loads: the C
 * library's functions are replaced by ones that count and hand on to the originals.
 */
#ifndef ALLOCATION_COUNTER_H
#define ALLOCATION_COUNTER_H

#include <stdint.h>

/* Calls of malloc, calloc, realloc and their aligned kin that returned memory, of all threads. */
uint64_t allocation_count(void);

/* Calls of free with something to free. */
uint64_t deallocation_count(void);

#endif
