/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Sockets at which processes of jobs listen: who connects to them is judged before it is answered. */
#ifndef MARTLET_LISTENERS_H
#define MARTLET_LISTENERS_H

#include "sockets.h"

struct listener {
	struct actor actor;
	__u64 subjects;
	__u64 step;
	__u64 job; /* when it began */
};
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u64);
	__type(value, struct listener);
} listeners SEC(".maps");

static __always_inline void forget_listener(__u64 sock)
{
	if (!bpf_map_delete_elem(&listeners, &sock))
		count_used(MT_MAP_LISTENERS, -1);
}

/* Remembers who listens there until it ends, whatever policy is in force now. */
static __always_inline void remember_listener(__u64 sock, const struct actor *actor)
{
	const struct mt_process *process = process_of(actor->tgid);
	struct listener listener = {.actor = *actor, .job = incarnation_of(actor->job)};

	listener.subjects = process ? process->subjects : 0;
	listener.step = process ? process->step : 0;
	forget_listener(sock);
	if (bpf_map_update_elem(&listeners, &sock, &listener, BPF_NOEXIST))
		count_full(MT_MAP_LISTENERS);
	else
		count_used(MT_MAP_LISTENERS, 1);
}

#endif
