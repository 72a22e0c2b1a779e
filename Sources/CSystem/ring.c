#define _GNU_SOURCE
#include "ring.h"

#include <errno.h>
#include <linux/membarrier.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

void mt_wait_for_programs(void)
{
	/* Waits for a grace period of RCU, in which each of them runs. Refused where CPUs run without ticks; and of a single CPU
	 * nothing is waited for, although a program of it may have been preempted. */
	if (syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0) || sysconf(_SC_NPROCESSORS_ONLN) == 1)
		usleep(100000);
}

uint64_t mt_boottime_ns(void)
{
	struct timespec now;

	if (clock_gettime(CLOCK_BOOTTIME, &now) != 0)
		return 0;
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

int mt_epoll_create(void)
{
	return epoll_create1(EPOLL_CLOEXEC);
}

int mt_eventfd_create(void)
{
	return eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
}

void mt_eventfd_signal(int descriptor)
{
	/* Fails only with a counter that is full, and then it is readable anyway. */
	(void)eventfd_write(descriptor, 1);
}

int mt_epoll_add(int epoll, int descriptor, bool edge)
{
	struct epoll_event event = {
		.events = EPOLLIN | (edge ? EPOLLET : 0u),
		.data.fd = descriptor,
	};

	return epoll_ctl(epoll, EPOLL_CTL_ADD, descriptor, &event) == 0 ? 0 : -errno;
}

int mt_epoll_wait(int epoll, int interrupt, int milliseconds)
{
	struct epoll_event events[64];
	int count = epoll_wait(epoll, events, 64, milliseconds);

	if (count < 0)
		return -errno;
	for (int i = 0; i < count; i++) {
		eventfd_t ignored;

		if (events[i].data.fd == interrupt)
			(void)eventfd_read(interrupt, &ignored);
	}
	return count;
}

int mt_pidfd_has_ended(int pidfd)
{
	struct pollfd poll_one = {.fd = pidfd, .events = POLLIN};
	int result = poll(&poll_one, 1, 0);

	return result < 0 ? -errno : (poll_one.revents & POLLIN) != 0;
}
