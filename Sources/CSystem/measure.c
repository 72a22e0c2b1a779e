#define _GNU_SOURCE
#include "csystem.h"

#include <errno.h>
#include <sched.h>
#include <time.h>
#include <unistd.h>

/* Called through pointers that the compiler cannot see through, so that each call is a call. */
__attribute__((noinline, used)) static ssize_t rename_task(int descriptor)
{
	return write(descriptor, "martlet-bench", 13);
}

__attribute__((noinline, used)) static ssize_t read_random(int descriptor)
{
	char bytes[8];

	return read(descriptor, bytes, sizeof(bytes));
}

static ssize_t (*volatile const operations[])(int) = {
	[MT_MEASURED_RENAME] = rename_task,
	[MT_MEASURED_RANDOM] = read_random,
};

static uint64_t now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
	return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

uint64_t mt_measure(enum mt_measured what, int descriptor, uint64_t count)
{
	ssize_t (*operation)(int) = operations[what];
	uint64_t start = now();

	for (uint64_t i = 0; i < count; i++)
		if (operation(descriptor) <= 0)
			return 0;
	return now() - start;
}

const void *mt_measured_function(enum mt_measured what)
{
	return (const void *)operations[what];
}

int mt_thread_pin(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu < 0 ? sched_getcpu() : cpu, &set);
	return sched_setaffinity(0, sizeof(set), &set) ? -errno : 0;
}
