#define _GNU_SOURCE
#include "search.h"

#include <string.h>

size_t mt_search(const void *bytes, size_t count, const void *wanted, size_t wanted_count)
{
	const void *found = memmem(bytes, count, wanted, wanted_count);

	return found ? (size_t)((const char *)found - (const char *)bytes) : count;
}
