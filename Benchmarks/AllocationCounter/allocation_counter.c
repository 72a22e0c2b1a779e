/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdatomic.h>
#include <stddef.h>

#include "allocation_counter.h"

/* What glibc's own malloc, calloc and so on are called, for those who replace them. */
extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *memory, size_t size);
extern void *__libc_memalign(size_t alignment, size_t size);
extern void __libc_free(void *memory);

static atomic_uint_fast64_t allocations, deallocations;

uint64_t allocation_count(void) { return atomic_load_explicit(&allocations, memory_order_relaxed); }
uint64_t deallocation_count(void) { return atomic_load_explicit(&deallocations, memory_order_relaxed); }

static void *counted(void *memory)
{
	if (memory)
		atomic_fetch_add_explicit(&allocations, 1, memory_order_relaxed);
	return memory;
}

void *malloc(size_t size) { return counted(__libc_malloc(size)); }
void *calloc(size_t count, size_t size) { return counted(__libc_calloc(count, size)); }
void *realloc(void *memory, size_t size) { return counted(__libc_realloc(memory, size)); }
void *memalign(size_t alignment, size_t size) { return counted(__libc_memalign(alignment, size)); }
void *aligned_alloc(size_t alignment, size_t size) { return counted(__libc_memalign(alignment, size)); }

int posix_memalign(void **memory, size_t alignment, size_t size)
{
	void *result;

	if (alignment % sizeof(void *) || !alignment || (alignment & (alignment - 1)))
		return EINVAL;
	result = counted(__libc_memalign(alignment, size));
	if (!result)
		return ENOMEM;
	*memory = result;
	return 0;
}

void free(void *memory)
{
	if (memory)
		atomic_fetch_add_explicit(&deallocations, 1, memory_order_relaxed);
	__libc_free(memory);
}
