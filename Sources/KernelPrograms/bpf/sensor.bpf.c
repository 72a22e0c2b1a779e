// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Every program of the sensor, as one object: libbpf reads the kernel's types once for each object, and searches all
 * of them for each type that an object names. In five objects that was half of the time that starting took. A program
 * that the kernel refuses is left out and the rest loaded again.
 */
#include "families/recognise.h"
#include "families/adopt.h"
#include "families/process.h"
#include "families/file.h"
#include "families/path.h"
#include "families/flow.h"
#include "families/network.h"
#include "families/messages.h"
#include "families/answers.h"
#include "families/requests.h"
#ifndef MARTLET_OLD
/* Of hooks on functions, those kernels lack the helper that tells how a function ended (5.17). */
#include "families/names.h"
#include "families/descriptors.h"
#include "families/bytes.h"
#include "families/hashes.h"
#endif
#include "families/security.h"
#include "families/credentials.h"
#include "families/system.h"
#include "families/guard_paths.h"
#include "families/guard_exec.h"
#include "families/guard_memory.h"
#include "families/guard_files.h"
#include "families/guard_system.h"
#include "families/guard_sockets.h"
#include "families/guard_calls.h"
#include "families/guard_self.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";
