// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* The same programs for Linux 5.10 to 5.16: compat.h says what those lack, and why this is an object of its own. */
#define MARTLET_OLD
#include "sensor.bpf.c"
#include "families/uring_old.h"
