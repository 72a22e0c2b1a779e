/* Shims for what Swift cannot call or express itself, one header a topic. */
#ifndef MARTLET_CSYSTEM_H
#define MARTLET_CSYSTEM_H

#include "bpffs.h"
#include "daemon.h"
#include "launch.h"
#include "log.h"
#include "measure.h"
#include "notices.h"
#include "output.h"
#include "probe.h"
#include "resolve.h"
#include "ring.h"
#include "search.h"
#include "sockets.h"

#endif
