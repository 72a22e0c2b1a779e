/* What tests need of C: counted allocations, and a process to watch. Never part of a shipped target. */
#ifndef TEST_SUPPORT_H
#define TEST_SUPPORT_H

#include <stdbool.h>
#include <stdint.h>

/* Allocations of the calling thread since it began, counted by standing in front of the C library's
 * functions. Not counted in a program that is built with a sanitizer, which does the same. */
uint64_t allocations_of_this_thread(void);
bool allocations_are_counted(void);

/* pidfd_open(2): a descriptor, or a negative errno. */
int open_pidfd(int pid);

#endif
