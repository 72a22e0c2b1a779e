#define _GNU_SOURCE
#include "test_support.h"

#include <errno.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <unistd.h>

int open_pidfd(int pid)
{
	long descriptor = syscall(SYS_pidfd_open, pid, 0);

	return descriptor < 0 ? -errno : (int)descriptor;
}

static _Thread_local uint64_t count __attribute__((tls_model("initial-exec")));

uint64_t allocations_of_this_thread(void)
{
	return count;
}

#if !defined(__GLIBC__) || __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)

bool allocations_are_counted(void)
{
	return false;
}

#else

bool allocations_are_counted(void)
{
	return true;
}

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *memory, size_t size);
extern void *__libc_memalign(size_t alignment, size_t size);

void *malloc(size_t size)
{
	count++;
	return __libc_malloc(size);
}

void *calloc(size_t number, size_t size)
{
	count++;
	return __libc_calloc(number, size);
}

void *realloc(void *memory, size_t size)
{
	count++;
	return __libc_realloc(memory, size);
}

void *aligned_alloc(size_t alignment, size_t size)
{
	count++;
	return __libc_memalign(alignment, size);
}

int posix_memalign(void **memory, size_t alignment, size_t size)
{
	count++;
	*memory = __libc_memalign(alignment, size);
	return *memory ? 0 : ENOMEM;
}

#endif
