/*
 * What memory shared with the kernel takes and Swift has no words for: ordered loads, stores and
 * additions; and epoll's packed event.
 */
#ifndef MARTLET_RING_H
#define MARTLET_RING_H

#include <stdbool.h>
#include <stdint.h>

static inline uint64_t mt_load_acquire_u64(const void *address)
{
	return __atomic_load_n((const uint64_t *)address, __ATOMIC_ACQUIRE);
}

static inline uint32_t mt_load_acquire_u32(const void *address)
{
	return __atomic_load_n((const uint32_t *)address, __ATOMIC_ACQUIRE);
}

static inline void mt_store_release_u64(void *address, uint64_t value)
{
	__atomic_store_n((uint64_t *)address, value, __ATOMIC_RELEASE);
}

/* Full barriers, like the kernel side's. */
static inline void mt_add_u64(void *address, uint64_t change)
{
	__atomic_fetch_add((uint64_t *)address, change, __ATOMIC_SEQ_CST);
}

/* Counts up, and returns the new count. */
static inline uint32_t mt_next_u32(void *address)
{
	return __atomic_add_fetch((uint32_t *)address, 1, __ATOMIC_SEQ_CST);
}

/* Orders what was read and written before against what is read and written after. */
static inline void mt_full_fence(void)
{
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

/* Nanoseconds of CLOCK_BOOTTIME. */
uint64_t mt_boottime_ns(void);

/* Returns when no BPF program of a tracepoint runs any more that was running before. */
void mt_wait_for_programs(void);

/* New descriptors, closed on exec; negative with errno set. The eventfd does not block. */
int mt_epoll_create(void);
int mt_eventfd_create(void);

/* Makes the eventfd readable. */
void mt_eventfd_signal(int descriptor);

/* Adds `descriptor` to `epoll` for reading; `edge` asks for edge-triggered delivery.
 * 0, or a negative errno. */
int mt_epoll_add(int epoll, int descriptor, bool edge);

/* Waits until a descriptor reports or `milliseconds` have passed (-1: for ever), and empties
 * the eventfd `interrupt` if that one reported. The number of reports, or a negative errno. */
int mt_epoll_wait(int epoll, int interrupt, int milliseconds);

/* Whether no thread of the process is left: 1 or 0, or a negative errno. */
int mt_pidfd_has_ended(int pidfd);

#endif
