/* What is denied, tried by many at once. */
#include "actor.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <time.h>
#include <unistd.h>

static const char *raced;
static volatile long times_opened;

static void *open_again_and_again(void *end)
{
	struct timespec now;
	int fd;

	do {
		fd = open(raced, O_RDONLY | O_CLOEXEC);
		if (fd >= 0) {
			__sync_fetch_and_add(&times_opened, 1);
			close(fd);
		}
		clock_gettime(CLOCK_MONOTONIC, &now);
	} while (now.tv_sec < *(time_t *)end);
	return NULL;
}

/* race FILE: threads that share one CPU all open it, so that while one is preempted in the middle others try. */
int race(char **argv)
{
	struct timespec now;
	cpu_set_t first;
	pthread_t threads[24];
	time_t end;

	raced = argv[1];
	CPU_ZERO(&first);
	CPU_SET(0, &first);
	check(sched_setaffinity(0, sizeof first, &first), "sched_setaffinity");
	clock_gettime(CLOCK_MONOTONIC, &now);
	end = now.tv_sec + 3;
	for (int i = 0; i < 24; i++) {
		errno = pthread_create(&threads[i], NULL, open_again_and_again, &end);
		if (errno != 0)
			fail("pthread_create");
	}
	for (int i = 0; i < 24; i++)
		pthread_join(threads[i], NULL);
	fact("opened", times_opened);
	return times_opened == 0 ? EPERM : 0;
}
