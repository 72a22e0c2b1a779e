#pragma once

#include <stddef.h>

/* Where `wanted` first begins within `bytes`; `count` if it does not. */
size_t mt_search(const void *bytes, size_t count, const void *wanted, size_t wanted_count);
