/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What jobs ask of container daemons, and the cgroups that come of it. What a daemon sends to a job's process says which
 * container is whose; a daemon that is in a job itself needs none of this, as its containers are below it.
 */
#include "cgroups.h"
#include "hooks.h"
#include "sends.h"
#include "sockets.h"

#define REQUEST_PATH 5    /* where the path of a POST begins */
#define REQUEST_LEAST 16
#define TEXT_BYTES 96 /* of a request, or of a cgroup's name, that are looked at */

/* Paths whose last part is one of these: the answer tells the name of a container, or of what is done to build. */
#define PART_CREATE 0x637265617465ull
#define PART_BUILD 0x6275696c64ull
#define PART_GRPC 0x67727063ull

struct cgroup_root {
	int hierarchy_id; /* 0: the v2 hierarchy */
} __attribute__((preserve_access_index));

struct cgroup___rooted {
	struct cgroup_root *root;
} __attribute__((preserve_access_index));

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, __u64);
	__type(value, struct mt_talk);
} talks SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct mt_container_state);
} container_state SEC(".maps");

static __always_inline struct mt_container_state *current_state(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&container_state, &zero);
}

/* 1 if a byte is that one, without a branch: the verifier would go both ways of each. */
#define IS_BYTE(byte, which) ((((__u64)(byte) ^ (which)) - 1) >> 63)
#define IS_BETWEEN(byte, first, count)                                                                                 \
	({                                                                                                             \
		__u32 distance_ = (__u32)(byte) - (first);                                                             \
		(~distance_ & (distance_ - (count))) >> 31;                                                            \
	})

/* The last part of the path of a POST, in the work space of `slot`, as a number: eight bytes at most, the last the lowest. */
__noinline __u64 last_part(__u32 slot)
{
	struct workspace *text = workspace_of(slot);
	__u64 part = 0, is_over = 0, byte;

	if (!text)
		return 0;
#pragma clang loop unroll(disable)
	for (__u32 i = REQUEST_PATH; i < TEXT_BYTES; i++) {
		byte = text->path[i];
		is_over |= IS_BYTE(byte, ' ') | IS_BYTE(byte, '?') | IS_BYTE(byte, 0);
		part = (part & -is_over) | ((part << 8 | byte) & (IS_BYTE(byte, '/') - 1) & (is_over - 1));
	}
	return part;
}

/* Begins the record of a piece. */
static __always_inline int begin_piece(struct record *record, const struct actor *actor, __u64 sock,
				       const struct piece *piece, __u32 is_answer)
{
	struct mt_daemon *body;

	COUNT(MT_DAEMON, seen);
	if (!begin(record, MT_DAEMON, MT_CRITICAL, sizeof(*body), actor))
		return 0;
	body = BODY(record, struct mt_daemon);
	body->sock = sock;
	body->bytes = piece->whole;
	body->is_answer = is_answer;
	return 1;
}

/* Whether a request's answer is listened to: it tells the name of a container, or what is done to build an image. */
static __always_inline int is_asked_for(const struct record *record, const struct piece *piece, __u32 method)
{
	__u64 length = piece->length, part;

	if (method == METHOD('P', 'R', 'I', ' '))
		return 1;
	if (method != METHOD('P', 'O', 'S', 'T'))
		return 0;
	if (length > TEXT_BYTES)
		length = TEXT_BYTES;
	barrier_var(length);
	if (length > TEXT_BYTES)
		return 0;
	__builtin_memset(record->work->path, 0, TEXT_BYTES);
	bpf_probe_read_user(record->work->path, length, piece->bytes);
	part = last_part(record->slot);
	return part == PART_CREATE || part == PART_BUILD || part == PART_GRPC;
}

/* A job's process sends: what begins a request says whether the answer is of interest. */
static __always_inline void ask_daemon(struct task_struct *task, struct mt_tag *tag, struct sock *peer)
{
	struct mt_container_state *state = current_state();
	struct mt_talk talk = {}, *known;
	struct piece piece = {};
	struct record record;
	struct actor actor;
	__u32 method = 0, is_listened_to;
	__u64 sock;

	if (!state || !find_piece(task, &piece) || piece.length < REQUEST_LEAST ||
	    bpf_probe_read_user(&method, sizeof(method), piece.bytes))
		return;
	if (method != METHOD('P', 'O', 'S', 'T') && method != METHOD('G', 'E', 'T', ' ') &&
	    method != METHOD('P', 'U', 'T', ' ') && method != METHOD('H', 'E', 'A', 'D') &&
	    method != METHOD('D', 'E', 'L', 'E') && method != METHOD('P', 'R', 'I', ' '))
		return;
	actor = actor_of(task, tag);
	sock = opaque(peer);
	if (!begin_piece(&record, &actor, sock, &piece, 0))
		return;
	is_listened_to = is_asked_for(&record, &piece, method);
	if (is_listened_to) {
		talk.leader_start = actor.leader_start;
		talk.since = bpf_ktime_get_boot_ns();
		talk.tgid = actor.tgid;
		talk.job = actor.job;
		if (bpf_map_update_elem(&talks, &sock, &talk, BPF_NOEXIST) == 0)
			count_used(MT_MAP_TALKS, 1);
		else if (bpf_map_update_elem(&talks, &sock, &talk, BPF_EXIST))
			count_full(MT_MAP_TALKS);
		add_user_bytes(&record, MT_STR_BYTES, piece.bytes, piece.length, MT_CREATE_MAX);
	} else {
		known = bpf_map_lookup_elem(&talks, &sock);
		if (known && !known->over)
			known->over = TIME(&record);
	}
	if (!is_listened_to)
		add_user_bytes(&record, MT_STR_BYTES, piece.bytes, piece.length, MT_REQUEST_MAX);
	*(volatile __u64 *)&state->asked = TIME(&record);
	send(&record);
}

/* Whether an answer begins with HTTP/1.1 201. */
static __always_inline int is_created(const struct piece *piece)
{
	__u8 head[12] = {};

	return piece->length >= sizeof(head) && !bpf_probe_read_user(head, sizeof(head), piece->bytes) &&
	       *(__u32 *)head == METHOD('H', 'T', 'T', 'P') && *(__u32 *)(head + 8) == METHOD(' ', '2', '0', '1');
}

/* Somebody who is in no job sends: if it answers a job's process, that is told in that process' name. */
static __always_inline void answer_job(struct task_struct *task, struct sock *sk)
{
	struct mt_container_state *state = current_state();
	struct piece piece = {};
	struct actor actor = {};
	struct record record;
	struct mt_talk *talk;
	__u64 sock;

	if (!state || !state->asked)
		return;
	sock = opaque(sk);
	talk = bpf_map_lookup_elem(&talks, &sock);
	if (!talk || talk->since < incarnation_of(talk->job) || !find_piece(task, &piece))
		return;
	/* What tells of a send comes after it, when who was answered may have asked for something else. */
	if (talk->over && (bpf_ktime_get_boot_ns() - talk->over > MT_LATE_ANSWER || !is_created(&piece)))
		return;
	actor.leader_start = talk->leader_start;
	actor.tgid = talk->tgid;
	actor.tid = talk->tgid;
	actor.job = talk->job;
	if (!begin_piece(&record, &actor, sock, &piece, 1))
		return;
	add_user_bytes(&record, MT_STR_BYTES, piece.bytes, piece.length, MT_ANSWER_MAX);
	send(&record);
}

/* A stream socket of the unix family sends, or has just sent. */
static __always_inline void unix_sends(struct sock *sk)
{
	struct task_struct *task = current_task();
	struct mt_tag *tag = own_tag(task);

	if (tag)
		ask_daemon(task, tag, READ(sk, struct unix_sock, peer));
	else
		answer_job(task, sk);
}

static __always_inline void unix_stream_sends(const __u64 *arguments)
{
	unix_sends(READ(ARGUMENT(arguments, 0, struct socket *), struct socket, sk));
}
ON_ENTRY(unix_stream_sendmsg, unix_stream_sends)

/* Of every socket's sends; from Linux 6.3 on. */
SEC("tp_btf/sock_send_length")
int BPF_PROG(socket_sent, struct sock *sk, int sent)
{
	if (READ(sk, struct sock, __sk_common.skc_family) == AF_UNIX && READ(sk, struct sock, sk_type) == SOCK_STREAM &&
	    sent > 0)
		unix_sends((struct sock *)number_of(sk));
	return 0;
}

/* Whether the name in the work space of `slot` is a container's: 64 digits, with whatever around them, or BuildKit's 25. */
__noinline int is_containers_name(__u32 slot)
{
	struct workspace *text = workspace_of(slot);
	__u32 row = 0, is_long = 0, byte;

	if (!text)
		return 0;
#pragma clang loop unroll(disable)
	for (__u32 i = 0; i < TEXT_BYTES; i++) {
		byte = text->path[i];
		row = (row + 1) & -(IS_BETWEEN(byte, '0', 10) | IS_BETWEEN(byte, 'a', 26));
		is_long |= (row + 128 - MT_CONTAINER_DIGITS) >> 7;
	}
	return is_long & 1;
}
_Static_assert(TEXT_BYTES + 128 - MT_CONTAINER_DIGITS < 256, "a long row has one bit");

/* Begins the record of a cgroup. */
static __always_inline int begin_cgroup(struct record *record, __u64 id, __u32 is_gone)
{
	struct task_struct *task = current_task();
	struct actor actor = {.tgid = TASK(task, tgid), .tid = TASK(task, pid)};
	struct mt_cgroup_change *body;

	if (!begin(record, MT_CGROUP, MT_CRITICAL, sizeof(*body), &actor))
		return 0;
	body = BODY(record, struct mt_cgroup_change);
	body->cgroup = id;
	body->is_gone = is_gone;
	return 1;
}

/* Before anything is in it: who execs there finds that it is watched. */
SEC("tp_btf/cgroup_mkdir")
int BPF_PROG(cgroup_mkdir, struct cgroup *cgroup, const char *path)
{
	struct mt_cgroup watched = {.rule = MT_CONTAINER_RULE, .is_container = 1};
	struct mt_container_state *state = current_state();
	struct task_struct *task = current_task();
	struct mm_struct *mm = TASK(task, mm);
	struct kernfs_node *node;
	struct record record;
	__u64 id, start;

	if (!state || (!state->held && (!state->asked || bpf_ktime_get_boot_ns() - state->asked > MT_ASKED_FOR)))
		return 0;
	if (READ(READ(cgroup, struct cgroup___rooted, root), struct cgroup_root, hierarchy_id) != 0)
		return 0;
	node = READ(cgroup, struct cgroup, kn);
	id = READ(node, struct kernfs_node, id);
	if (!begin_cgroup(&record, id, 0)) {
		COUNT(MT_CGROUP, seen);
		return 0;
	}
	__builtin_memset(record.work->path, 0, TEXT_BYTES);
	bpf_probe_read_kernel_str(record.work->path, TEXT_BYTES, READ(node, struct kernfs_node___named, name));
	if (!is_containers_name(record.slot)) {
		release(&record);
		return 0;
	}
	COUNT(MT_CGROUP, seen);
	if (bpf_map_update_elem(&rule_cgroups, &id, &watched, BPF_NOEXIST))
		count_full(MT_MAP_CGROUPS);
	else
		count_used(MT_MAP_CGROUPS, 1);
	add_kernel_string(&record, MT_STR_PATH, path, MT_PATH_MAX + 1);
	/* The runtime's arguments say where the container is described. */
	start = READ(mm, struct mm_struct, arg_start);
	add_user_bytes(&record, MT_STR_ARGV, (const void *)start, READ(mm, struct mm_struct, arg_end) - start,
		       MT_RUNTIME_ARGV);
	/* At once: the description is to be read before the container is over. */
	record.cpu->unsignalled[MT_CRITICAL] = config.critical_edge;
	send(&record);
	return 0;
}

SEC("tp_btf/cgroup_rmdir")
int BPF_PROG(cgroup_rmdir, struct cgroup *cgroup, const char *path)
{
	__u64 id = READ(READ(cgroup, struct cgroup, kn), struct kernfs_node, id);
	struct mt_cgroup *watched = bpf_map_lookup_elem(&rule_cgroups, &id);
	struct record record;

	if (!watched || !watched->is_container || bpf_map_delete_elem(&rule_cgroups, &id))
		return 0;
	count_used(MT_MAP_CGROUPS, -1);
	COUNT(MT_CGROUP, seen);
	if (begin_cgroup(&record, id, 1))
		send(&record);
	return 0;
}
