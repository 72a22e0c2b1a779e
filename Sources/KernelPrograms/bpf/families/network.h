/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* IPv4 and IPv6: asked for (cgroup hooks, whichever call or io_uring asks), established and ended (TCP's states). */
#include "hooks.h"
#include "hosts.h"
#include "listeners.h"

#define ALLOW 1
#define REFUSE 0

static __always_inline void copy_v6(__u8 *to, const __u32 words[4])
{
	((__u32 *)to)[0] = words[0];
	((__u32 *)to)[1] = words[1];
	((__u32 *)to)[2] = words[2];
	((__u32 *)to)[3] = words[3];
}

/* Starts the record of what a task asks for. */
static __always_inline struct mt_sock *ask(struct record *record, __u32 type, struct bpf_sock_addr *context,
					   __u32 family, __u64 sock, const struct actor *actor)
{
	struct mt_sock *body;

	if (!begin(record, type, MT_CRITICAL, sizeof(*body), actor))
		return 0;
	body = BODY(record, struct mt_sock);
	body->sock = opaque((const void *)sock);
	body->family = family;
	body->protocol = context->protocol;
	body->type = context->type;
	body->remote_port = __builtin_bswap16(context->user_port);
	return body;
}

/*
 * Whether the policy lets the current process speak to a peer; tells of it if it does not. Only where a policy can be in
 * force or names are wanted.
 */
static __always_inline int is_permitted(struct bpf_sock_addr *context, __u32 family, __u32 operation,
					const struct actor *actor, const struct mt_process *process)
{
	int is_dns, is_tcp = context->protocol == IPPROTO_TCP;
	const struct mt_policy *policy;
	struct peer peer = {};
	struct verdict verdict = {};
	__u64 ruling = NO_RULING;
	struct watched *watched;
	int by_name = 0;
	__u32 what = 0;

	if (family == AF_INET) {
		set_v4(peer.key.address, context->user_ip4);
	} else {
		__u32 words[4] = {context->user_ip6[0], context->user_ip6[1], context->user_ip6[2],
				  context->user_ip6[3]};

		copy_v6(peer.key.address, words);
	}
	policy = policy_of(actor->job, MT_SECTION_NETWORK);
	peer.key.prefix = WHOLE_ADDRESS;
	peer.key.policy = policy ? policy->id : 0;
	peer.port = __builtin_bswap16(context->user_port);
	peer.protocol = is_tcp ? MT_PROTOCOL_TCP : MT_PROTOCOL_UDP;
	peer.subjects = process->subjects;
	is_dns = peer.port == PORT_DNS;
	if (!policy && !is_dns)
		return ALLOW;
	/* Whom else a rule lets it ask is a peer like any other. */
	if (policy && is_dns)
		is_dns = is_resolver(policy->id, peer.key.address);
	watched = context->sk ? bpf_sk_storage_get(&watched_sockets, context->sk, 0, 0) : 0;
	if (policy) {
		peer.places = places_of_process(policy, process);
		ruling = judge(&peer, policy, actor->job, &by_name);
		verdict = verdict_of(ruling, policy);
		if (is_dns)
			verdict = (struct verdict){};
		/* Who speaks to somebody goes on speaking to it, whatever became of the name. */
		if (verdict.action >= MT_DENY && !is_tcp && watched && (watched->watch & WATCH_DATAGRAM) &&
		    watched->port == peer.port && is_same_address(watched->remote, peer.key.address))
			return ALLOW;
	}
	if (verdict.action < MT_DENY) {
		if (is_dns)
			what = WATCH_QUERIES;
		else if (is_tcp && policy && (by_name || (policy->flags & MT_POLICY_DENIES_NAMES)))
			what = WATCH_NAME;
		else if (by_name)
			what = WATCH_DATAGRAM;
		if (what && !watch(context->sk, what, actor, &peer, process->step, by_name ? NO_RULING : ruling) && policy)
			verdict.action = MT_DENY;
		else if (!what && watched)
			watched->watch &= WATCH_STAYS;
	}
	if (verdict.action != MT_ALLOW) {
		struct socket_denial denial = {
			.sock = opaque((const void *)number_of(context->sk)), .family = context->family,
			.type = context->type, .operation = operation, .effect = effect_of(&verdict), .verdict = verdict};

		tell_denied(actor, &peer, &denial);
	}
	return verdict.action < MT_DENY ? ALLOW : REFUSE;
}

/* Of names alone, a connection is none that tells but to a resolver. */
#define HAS_PEERS                                                                                                      \
	(config.enforces || (config.names && (context->protocol != IPPROTO_TCP || __builtin_bswap16(context->user_port) == PORT_DNS)))

/* One for each kind of context, whose other fields may not be read; not inlined, for all that is done would not fit one stack. */
static __noinline int permitted4(struct bpf_sock_addr *context, __u32 operation, const struct actor *actor,
				 const struct mt_process *process)
{
	return is_permitted(context, AF_INET, operation, actor, process);
}

static __noinline int permitted6(struct bpf_sock_addr *context, __u32 operation, const struct actor *actor,
				 const struct mt_process *process)
{
	return is_permitted(context, AF_INET6, operation, actor, process);
}

static __always_inline int tell_connect(struct bpf_sock_addr *context, __u32 family, int answer,
					const struct actor *actor)
{
	struct flow flow = {.actor = *actor};
	int is_remembered = 0;
	struct record record;
	struct mt_sock *body;
	__u64 sock;

	/* What is not remembered has no end that would be told. */
	if (is_filtered(actor->job, MT_CONNECT))
		return answer;
	COUNT(MT_CONNECT, seen);
	sock = number_of(context->sk);
	if (family == AF_INET) {
		*(__u32 *)flow.remote = context->user_ip4;
	} else {
		__u32 words[4] = {context->user_ip6[0], context->user_ip6[1], context->user_ip6[2],
				  context->user_ip6[3]};

		copy_v6(flow.remote, words);
	}
	/* What is refused is told, and gets nowhere. */
	if (context->protocol == IPPROTO_TCP && answer == ALLOW) {
		flow.sock = opaque((const void *)sock);
		flow.remote_port = __builtin_bswap16(context->user_port);
		flow.started = bpf_ktime_get_boot_ns();
		is_remembered = remember_flow(sock, &flow);
	}
	body = ask(&record, MT_CONNECT, context, family, sock, actor);
	if (!body)
		return answer;
	__builtin_memcpy(body->remote, flow.remote, sizeof(body->remote));
	if (is_remembered)
		HEADER(&record)->flags |= MT_FLAG_CONTINUED;
	send(&record);
	return answer;
}

static __noinline int tell_connect4(struct bpf_sock_addr *context, int answer, const struct actor *actor)
{
	return tell_connect(context, AF_INET, answer, actor);
}

static __noinline int tell_connect6(struct bpf_sock_addr *context, int answer, const struct actor *actor)
{
	return tell_connect(context, AF_INET6, answer, actor);
}

SEC("cgroup/connect4")
int connect4(struct bpf_sock_addr *context)
{
	struct actor actor = {};
	const struct mt_process *process = current_process(&actor);

	if (!process)
		return ALLOW;
	return tell_connect4(context, HAS_PEERS ? permitted4(context, MT_OP_CONNECT, &actor, process) : ALLOW, &actor);
}

SEC("cgroup/connect6")
int connect6(struct bpf_sock_addr *context)
{
	struct actor actor = {};
	const struct mt_process *process = current_process(&actor);

	if (!process)
		return ALLOW;
	return tell_connect6(context, HAS_PEERS ? permitted6(context, MT_OP_CONNECT, &actor, process) : ALLOW, &actor);
}

static __always_inline int tell_send(struct bpf_sock_addr *context, __u32 family, int answer,
				     const struct actor *actor)
{
	__u32 words[4] = {};
	__u64 hash = hash_begin('u'), sock;
	struct record record;
	struct mt_sock *body;

	if (is_filtered(actor->job, MT_UDP_SEND))
		return answer;
	COUNT(MT_UDP_SEND, seen);
	sock = number_of(context->sk);
	if (family == AF_INET) {
		words[0] = context->user_ip4;
	} else {
		words[0] = context->user_ip6[0];
		words[1] = context->user_ip6[1];
		words[2] = context->user_ip6[2];
		words[3] = context->user_ip6[3];
	}
	hash = hash_word(hash, actor->image ^ actor->tgid);
	hash = hash_word(hash, sock);
	hash = hash_word(hash, (__u64)words[0] << 32 | words[1]);
	hash = hash_word(hash, (__u64)words[2] << 32 | words[3]);
	hash = hash_end(hash_word(hash, (__u64)family << 32 | context->user_port));
	if (was_sent(hash)) {
		COUNT(MT_UDP_SEND, deduplicated);
		COUNT_JOB(actor->job, deduplicated);
		return answer;
	}
	body = ask(&record, MT_UDP_SEND, context, family, sock, actor);
	if (!body)
		return answer;
	copy_v6(body->remote, words);
	if (send(&record))
		remember_open(hash);
	return answer;
}

SEC("cgroup/sendmsg4")
int sendmsg4(struct bpf_sock_addr *context)
{
	struct actor actor = {};
	const struct mt_process *process = current_process(&actor);

	if (!process)
		return ALLOW;
	return tell_send(context, AF_INET, HAS_PEERS ? permitted4(context, MT_OP_SEND, &actor, process) : ALLOW, &actor);
}

SEC("cgroup/sendmsg6")
int sendmsg6(struct bpf_sock_addr *context)
{
	struct actor actor = {};
	const struct mt_process *process = current_process(&actor);

	if (!process)
		return ALLOW;
	return tell_send(context, AF_INET6, HAS_PEERS ? permitted6(context, MT_OP_SEND, &actor, process) : ALLOW, &actor);
}

/* Who is bound to port 53 may be about to answer as a resolver. */
static __always_inline void watch_answers(struct bpf_sock *context, const struct actor *actor)
{
	struct peer peer = {.port = PORT_DNS, .protocol = MT_PROTOCOL_UDP};

	if (policy_of(actor->job, MT_SECTION_NETWORK))
		watch(context, WATCH_ANSWERS, actor, &peer, 0, NO_RULING);
}

static __always_inline int binding(struct bpf_sock *context, __u32 family)
{
	struct actor actor = {};
	struct record record;
	struct mt_sock *body;

	if (!current_process(&actor))
		return ALLOW;
	if (config.enforces && context->protocol == IPPROTO_UDP && context->src_port == PORT_DNS)
		watch_answers(context, &actor);
	if (is_filtered(actor.job, MT_BIND))
		return ALLOW;
	COUNT(MT_BIND, seen);
	if (!begin(&record, MT_BIND, MT_CRITICAL, sizeof(*body), &actor))
		return ALLOW;
	body = BODY(&record, struct mt_sock);
	body->sock = opaque((const void *)number_of(context));
	body->family = family;
	body->protocol = context->protocol;
	body->type = context->type;
	body->local_port = context->src_port;
	if (family == AF_INET) {
		*(__u32 *)body->local = context->src_ip4;
	} else {
		__u32 words[4] = {context->src_ip6[0], context->src_ip6[1], context->src_ip6[2], context->src_ip6[3]};

		copy_v6(body->local, words);
	}
	send(&record);
	return ALLOW;
}

/* Sockets of protocols that no cgroup hook asks about again: raw ones, pings, and what is neither TCP nor UDP. */
SEC("cgroup/sock_create")
int sock_create(struct bpf_sock *context)
{
	struct peer peer = {.key = {.prefix = WHOLE_ADDRESS}};
	const struct mt_policy *policy;
	struct mt_process *process;
	struct actor actor = {};
	struct verdict verdict;
	__u32 protocol = context->protocol;
	int by_name;

	process = current_process(&actor);
	policy = process ? policy_of(actor.job, MT_SECTION_NETWORK) : 0;
	if (!policy)
		return ALLOW;
	if (context->type == SOCK_STREAM ? protocol == IPPROTO_TCP :
	    context->type == SOCK_DGRAM	 ? protocol == IPPROTO_UDP || protocol == IPPROTO_UDPLITE :
					   0)
		return ALLOW;
	peer.protocol = MT_PROTOCOL_RAW;
	if (context->type == SOCK_DGRAM && (protocol == IPPROTO_ICMP || protocol == IPPROTO_ICMPV6))
		peer.protocol = MT_PROTOCOL_ICMP;
	peer.key.policy = policy->id;
	peer.subjects = process->subjects;
	peer.places = places_of_process(policy, process);
	verdict = verdict_of(judge(&peer, policy, actor.job, &by_name), policy);
	if (verdict.action != MT_ALLOW) {
		struct socket_denial denial = {
			.family = context->family, .type = context->type, .operation = MT_OP_SOCKET,
			.effect = effect_of(&verdict), .verdict = verdict};

		tell_denied(&actor, &peer, &denial);
	}
	return verdict.action < MT_DENY ? ALLOW : REFUSE;
}

SEC("cgroup/post_bind4")
int post_bind4(struct bpf_sock *context)
{
	return binding(context, AF_INET);
}

SEC("cgroup/post_bind6")
int post_bind6(struct bpf_sock *context)
{
	return binding(context, AF_INET6);
}

static __always_inline void listening(struct sock *sk)
{
	struct task_struct *task = current_task();
	struct mt_tag *tag = tag_of(task);
	struct record record;
	struct mt_sock *body;
	struct actor actor;

	if (!tag)
		return;
	actor = actor_of(task, tag);
	if (config.enforces)
		remember_listener(address_of(sk), &actor);
	if (is_filtered(actor.job, MT_LISTEN))
		return;
	COUNT(MT_LISTEN, seen);
	if (!begin(&record, MT_LISTEN, MT_CRITICAL, sizeof(*body), &actor))
		return;
	body = BODY(&record, struct mt_sock);
	describe(body, sk);
	body->sock = opaque((const void *)number_of(sk));
	send(&record);
}

/* Global functions, so that what is called at every change of a state stays small. */
__noinline int state_told(__u64 sock, __u32 new_state)
{
	struct flow *flow = bpf_map_lookup_elem(&sockets, &sock);

	if (!flow)
		return 0;
	if (new_state == TCP_CLOSE) {
		end_flow(sock, (struct sock *)sock, flow, 0);
	} else if (!flow->established && READ((struct sock *)sock, struct sock, sk_socket)) {
		/* What comes in has no owner until somebody accepts it. */
		flow->established = bpf_ktime_get_boot_ns();
	}
	return 0;
}

__noinline int listening_told(__u64 sock)
{
	listening((struct sock *)sock);
	return 0;
}

__noinline int listener_ended(__u64 sock)
{
	if (config.enforces)
		forget_listener(sock);
	return 0;
}

/* A socket becomes established or closed. Who comes second finds nothing left to do. */
static __always_inline void flow_state_set(const struct sock *sk, __u32 new_state)
{
	__u64 sock = address_of(sk);

	if (may_be_flow(sock))
		state_told(sock, new_state);
}

/* Of ten states that a connection's two ends come to, four are looked at. */
static __always_inline void state_set(const __u64 *arguments, int may_be_again)
{
	const struct sock *sk = ARGUMENT(arguments, 0, const struct sock *);
	__u32 new_state = ARGUMENT(arguments, 2, __u32);

	/* What a listener accepts begins with its state. */
	if (config.enforces && new_state == TCP_CLOSE && ARGUMENT(arguments, 1, __u32) == TCP_LISTEN)
		listener_ended(address_of(sk));
	else if (new_state == TCP_ESTABLISHED || new_state == TCP_CLOSE)
		flow_state_set(sk, new_state);
	else if (new_state == TCP_LISTEN && !may_be_again) /* a task's own doing, which comes within no other */
		listening_told(address_of(sk));
}
/* Called by tasks and by the interrupts that come between. */
EACH_IN_TURN("tp_btf/inet_sock_set_state", inet_sock_set_state, MT_TURN_TCP_STATE, state_set)

#ifndef MARTLET_OLD
/*
 * The two functions through which interrupts get a connection to these states, tcp_done(socket) before it closes and
 * tcp_init_transfer(socket, …) when it is established: instead of a second at every change of state, where tasks are not
 * preempted. An interrupt within the first is seen here, one within these is seen by the first.
 */
static __always_inline void flow_done(const __u64 *arguments)
{
	flow_state_set(ARGUMENT(arguments, 0, const struct sock *), TCP_CLOSE);
}
ON_FENTRY(tcp_done, flow_done)

static __always_inline void flow_established(const __u64 *arguments)
{
	flow_state_set(ARGUMENT(arguments, 0, const struct sock *), TCP_ESTABLISHED);
}
ON_FENTRY(tcp_init_transfer, flow_established)
#endif

/* A socket whose connect failed before TCP left its first state gets no other end than this. */
SEC("cgroup/sock_release")
int sock_release(struct bpf_sock *context)
{
	struct flow *flow;
	__u64 sock;

	if (context->state != TCP_CLOSE || context->protocol != IPPROTO_TCP)
		return ALLOW;
	sock = number_of(context);
	flow = bpf_map_lookup_elem(&sockets, &sock);
	if (flow)
		end_flow(sock, (struct sock *)sock, flow, 0);
	return ALLOW;
}

static __always_inline void tell_open(const __u64 *key, const struct flow *found)
{
	struct flow flow = *found;
	__u64 sock = *key;
	struct sock *sk = (struct sock *)sock;

	if (forget_flow(sock))
		tell_flow(READ(sk, struct sock, __sk_common.skc_state) == TCP_CLOSE ? MT_TCP_CLOSE : MT_FLOW_OPEN, sk,
			  &flow, 0);
}

#ifndef MARTLET_OLD
static long tell_each(void *map, const __u64 *key, struct flow *found, void *context)
{
	tell_open(key, found);
	return 0;
}

/* Run by user space at the end, when no flow begins any more but their ends are still seen. */
SEC("raw_tp")
int tell_open_flows(void *context)
{
	bpf_for_each_map_elem(&sockets, tell_each, 0, 0);
	return 0;
}
#else
/* Likewise, for the one flow whose key it is given. */
SEC("raw_tp")
int tell_open_flows(__u64 *keys)
{
	__u64 sock = keys[0];
	struct flow *found = bpf_map_lookup_elem(&sockets, &sock);

	if (found)
		tell_open(&sock, found);
	return 0;
}
#endif
