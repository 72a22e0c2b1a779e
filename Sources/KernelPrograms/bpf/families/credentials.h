/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Tasks that change their users, groups and capabilities. */
#include "actions.h"

/* Four ids, as `before` and `after` hold them. */
struct ids {
	__u64 words[2];
};

#define IDS(cred, kind)                                                                                                \
	((struct ids){{READ(cred, struct cred, kind.val) | (__u64)READ(cred, struct cred, e##kind.val) << 32,           \
		       READ(cred, struct cred, s##kind.val) | (__u64)READ(cred, struct cred, fs##kind.val) << 32}})

static __always_inline struct ids ids_of(const struct cred *cred, __u32 kind)
{
	return kind == MT_SECURITY_SETUID ? IDS(cred, uid) : IDS(cred, gid);
}

static __always_inline void changing_ids(const __u64 *arguments, __u32 kind)
{
	struct task_struct *task = current_task();
	struct mt_tag *tag = own_tag(task);
	struct ids before, after;
	struct outcome outcome = {};
	struct mt_security *body;
	struct record record;
	struct actor actor;
	__u64 hash;

	if (!tag)
		return;
	after = ids_of(ARGUMENT(arguments, 0, const struct cred *), kind);
	before = ids_of(ARGUMENT(arguments, 1, const struct cred *), kind);
	if (before.words[0] == after.words[0] && before.words[1] == after.words[1])
		return;
	actor = actor_of(task, tag);
	hash = hash_word(hash_word(action_hash(&actor, kind, &outcome), before.words[0]), before.words[1]);
	hash = hash_end(hash_word(hash_word(hash, after.words[0]), after.words[1]));
	if (was_told(&actor, hash))
		return;
	body = tell(&record, kind, &actor, &outcome);
	if (!body)
		return;
	body->security_flags |= MT_SECURITY_HAS_BEFORE | MT_SECURITY_HAS_AFTER;
	body->before[0] = before.words[0];
	body->before[1] = before.words[1];
	body->after[0] = after.words[0];
	body->after[1] = after.words[1];
	if (send(&record))
		remember_open(hash);
}

static __always_inline void changing_uids(const __u64 *arguments)
{
	changing_ids(arguments, MT_SECURITY_SETUID);
}
ON_SECURITY(task_fix_setuid, changing_uids)

static __always_inline void changing_gids(const __u64 *arguments)
{
	changing_ids(arguments, MT_SECURITY_SETGID);
}
ON_SECURITY(task_fix_setgid, changing_gids)

/* A capability set is 64 bits, in one word or two. */
#define CAPABILITIES(pointer, set)                                                                                     \
	read_word((const __u8 *)(pointer) + bpf_core_field_offset(struct cred, cap_##set))

static __always_inline void changing_capabilities(const __u64 *arguments)
{
	struct task_struct *task = current_task();
	__u8 *old = ARGUMENT(arguments, 1, __u8 *);
	struct mt_tag *tag = own_tag(task);
	struct outcome outcome = {};
	__u64 before[3], after[3], hash;
	struct mt_security *body;
	struct record record;
	struct actor actor;

	if (!tag)
		return;
	before[0] = CAPABILITIES(old, effective);
	before[1] = CAPABILITIES(old, permitted);
	before[2] = CAPABILITIES(old, inheritable);
	after[0] = read_word(ARGUMENT(arguments, 2, void *));
	after[2] = read_word(ARGUMENT(arguments, 3, void *));
	after[1] = read_word(ARGUMENT(arguments, 4, void *));
	if (before[0] == after[0] && before[1] == after[1] && before[2] == after[2])
		return;
	actor = actor_of(task, tag);
	hash = hash_word(action_hash(&actor, MT_SECURITY_CAPSET, &outcome), before[0]);
	hash = hash_word(hash_word(hash, before[1]), before[2]);
	hash = hash_end(hash_word(hash_word(hash_word(hash, after[0]), after[1]), after[2]));
	if (was_told(&actor, hash))
		return;
	body = tell(&record, MT_SECURITY_CAPSET, &actor, &outcome);
	if (!body)
		return;
	body->security_flags |= MT_SECURITY_HAS_BEFORE | MT_SECURITY_HAS_AFTER;
	body->before[0] = before[0];
	body->before[1] = before[1];
	body->before[2] = before[2];
	body->after[0] = after[0];
	body->after[1] = after[1];
	body->after[2] = after[2];
	if (send(&record))
		remember_open(hash);
}
ON_SECURITY(capset, changing_capabilities)

/* The ids that a call names: real, effective and saved, all ones where it names none. */
static __always_inline void ids_asked(const struct done *done, __u64 after[3])
{
	__u64 none = 0xffffffffu, first = (__u32)argument(done, 0), second = (__u32)argument(done, 1);

	after[0] = none | none << 32;
	after[1] = after[0];
	switch (done->call.call) {
	case CALL_SETFSUID:
	case CALL_SETFSGID:
		after[1] = none | first << 32;
		break;
	case CALL_SETRESUID:
	case CALL_SETRESGID:
		after[1] = (__u32)argument(done, 2) | none << 32;
	case CALL_SETREUID:
	case CALL_SETREGID:
		after[0] = first | second << 32;
		break;
	default:
		after[0] = none | first << 32;
	}
}

SEC("tp_btf/sys_exit")
int BPF_PROG(on_credential, struct pt_regs *regs, long ret)
{
	struct task_struct *task = current_task();
	struct done done = done_of(regs, task);
	struct outcome outcome = ended(&done, ret);
	__u32 kind, call = done.call.call, flags = MT_SECURITY_HAS_AFTER;
	const struct cred *cred = TASK(task, cred);
	struct mt_tag *tag = own_tag(task);
	struct mt_security *body;
	struct record record;
	struct actor actor;
	__u64 after[3] = {}, hash;
	struct ids ids;

	if (!tag)
		return 0;
	kind = call == CALL_CAPSET ? MT_SECURITY_CAPSET : call <= CALL_SETFSUID ? MT_SECURITY_SETUID : MT_SECURITY_SETGID;
	/* setfsuid and setfsgid return the id of before, and never an error. */
	if (call == CALL_SETFSUID || call == CALL_SETFSGID)
		outcome.result = 0;
	if (error_of(&outcome)) {
		flags = call == CALL_CAPSET ? 0 : MT_SECURITY_HAS_AFTER | MT_SECURITY_ASKED;
		if (call != CALL_CAPSET)
			ids_asked(&done, after);
	} else if (kind == MT_SECURITY_CAPSET) {
		after[0] = CAPABILITIES(cred, effective);
		after[1] = CAPABILITIES(cred, permitted);
		after[2] = CAPABILITIES(cred, inheritable);
	} else {
		ids = ids_of(cred, kind);
		after[0] = ids.words[0];
		after[1] = ids.words[1];
	}
	actor = actor_of(task, tag);
	hash = hash_word(hash_word(action_hash(&actor, kind, &outcome), after[0]), after[1]);
	hash = hash_end(hash_word(hash, after[2]));
	if (was_told(&actor, hash))
		return 0;
	body = tell(&record, kind, &actor, &outcome);
	if (!body)
		return 0;
	body->security_flags |= flags;
	body->after[0] = after[0];
	body->after[1] = after[1];
	body->after[2] = after[2];
	if (send(&record))
		remember_open(hash);
	return 0;
}
