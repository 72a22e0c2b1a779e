/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Paths against a policy's patterns, and which images its rules are for. Of each pattern the kernel side has the keyed
 * hash of its text: a path is looked at once from its beginning, with a look at each slash, however many patterns there
 * are. Two texts share a hash once in 2^64, and nobody can search for such a pair without the key.
 */
#include "guards.h"

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__type(key, struct mt_path_key);
	__type(value, struct mt_path_masks);
} policy_paths SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, struct mt_rule_key);
	__type(value, struct mt_policy_rule);
} policy_rules SEC(".maps");

/* Where the look at a path stands. */
struct matching {
	struct workspace *work;
	OLD_ONLY(__u32 slot;)
	__u64 whole, directory, name; /* hashes, without their ends */
	__u32 at;
	__u32 policy;
};

static __always_inline void collect(struct mt_path_masks *into, __u32 policy, __u32 form, __u64 hash)
{
	struct mt_path_key key = {.hash = hash_end(hash), .policy = policy, .form = form};
	struct mt_path_masks *found = bpf_map_lookup_elem(&policy_paths, &key);

	if (!found)
		return;
	into->lists[0] |= found->lists[0];
	into->lists[1] |= found->lists[1];
	into->lists[2] |= found->lists[2];
	into->lists[3] |= found->lists[3];
}
_Static_assert(MT_RULES_WITH_PATHS == 4, "collect names the lists");

#define MATCHED LOOP_POINTER(matching->work, work)

/* One byte. Returns 1 behind the last one. */
static long match_step(__u32 index, struct matching *matching)
{
	OLD_ONLY(struct workspace *work = workspace_of(matching->slot));
	__u32 at = matching->at;
	__u8 byte;

	if (LOOP_MISSING(work))
		return 1;
	barrier_var(at);
	if (at >= MT_PATH_MAX)
		return 1;
	byte = MATCHED->path[at];
	if (byte == '/') {
		collect(&MATCHED->matched, matching->policy, MT_PATH_BELOW, matching->whole);
		matching->directory = matching->whole;
		matching->name = hash_begin('P');
	} else {
		matching->name = hash_word(matching->name, byte);
	}
	matching->whole = hash_word(matching->whole, byte);
	matching->at = at + 1;
	return 0;
}
LONG_LOOP_STEP(struct matching, match_step)

/* Finds which rules match the path that was built in the workspace of `slot`. */
__noinline int match_path(__u32 slot, __u32 policy)
{
	struct workspace *work = workspace_of(slot);
	struct matching matching = {.policy = policy};

	if (!work)
		return 0;
	work->matched = (struct mt_path_masks){};
	work->matched_above = (struct mt_path_masks){};
	matching.work = work;
	OLD_ONLY(matching.slot = slot;)
	matching.at = work->path_at;
	matching.whole = matching.directory = matching.name = hash_begin('P');
	if (matching.at >= MT_PATH_MAX)
		return 0;
	LOOP(MT_PATH_MAX, match_step, &matching);
	collect(&work->matched, policy, MT_PATH_FILE, matching.whole);
	collect(&work->matched, policy, MT_PATH_CHILDREN, matching.directory);
	collect(&work->matched, policy, MT_PATH_NAMED, matching.name);
	collect(&work->matched_above, policy, MT_PATH_ABOVE, matching.whole);
	return 0;
}

#define NAME_TEXT 8192 /* where in the record's buffer, behind all of its body, a name waits that is looked at */

/* A look at a name, from its end on. How far it has come is in the map: see struct workspace. */
struct naming {
	struct workspace *work;
	const __u8 *text;
	OLD_ONLY(__u32 slot;)
};

#define NAMED LOOP_POINTER(naming->work, work)

/* One byte to the left. A slash, and the beginning, end a component. Returns 1 when there is nothing more to do. */
static long name_step(__u32 index, struct naming *naming)
{
	OLD_ONLY(struct workspace *work = workspace_of(naming->slot));
	OLD_ONLY(struct record_buffer *text = bpf_map_lookup_elem(&scratch, &naming->slot));
	__u32 at, left, length, dots = 0;
	__u8 byte = '/';

	if (LOOP_MISSING(work) || LOOP_MISSING(text))
		return 1;
	at = NAMED->path_at;
	left = NAMED->name_left;
	barrier_var(at);
	if (at < 1 || at > MT_PATH_MAX)
		return 1;
	if (left) {
		left = (left - 1) & (MT_PATH_MAX - 1);
		byte = (LOOP_POINTER(naming->text, text->bytes))[NAME_TEXT + left];
	}
	if (byte != '/') {
		NAMED->path[at - 1] = byte;
		NAMED->path_at = at - 1;
		NAMED->name_left = left;
		return 0;
	}
	length = NAMED->name_start - at;
	if (length <= 2 && NAMED->path[at & (MT_PATH_MAX - 1)] == '.')
		dots = length == 1 || NAMED->path[(at + 1) & (MT_PATH_MAX - 1)] == '.' ? length : 0;
	if (dots == 2)
		NAMED->name_skipped++;
	if (dots) {
		NAMED->path_at = NAMED->name_start;
	} else if (length && NAMED->name_skipped) {
		NAMED->path_at = NAMED->name_start;
		NAMED->name_skipped--;
	} else if (length) {
		NAMED->path[at - 1] = '/';
		NAMED->path_at = at - 1;
	}
	NAMED->name_start = NAMED->path_at;
	if (!NAMED->name_left)
		return 1;
	NAMED->name_left = left;
	return 0;
}
LONG_LOOP_STEP(struct naming, name_step)

/* Where a climb to a directory above stands. */
struct climb {
	__u64 dentry, mount, mount_root;
	__u32 left;
};

/* To the parent, or out of a mount. Returns 1 when there is nothing more to do. */
static long climb_step(__u32 index, struct climb *climb)
{
	struct mount *mount = (struct mount *)climb->mount, *above;
	struct dentry *dentry = (struct dentry *)climb->dentry;

	if (!climb->left)
		return 1;
	if ((__u64)dentry != climb->mount_root) {
		climb->dentry = (__u64)READ(dentry, struct dentry, d_parent);
		climb->left--;
		return 0;
	}
	above = READ(mount, struct mount, mnt_parent);
	if (!above || above == mount)
		return 1;
	climb->dentry = (__u64)READ(mount, struct mount, mnt_mountpoint);
	climb->mount = (__u64)above;
	climb->mount_root = (__u64)READ(above, struct mount, mnt.mnt_root);
	return 0;
}
LONG_LOOP_STEP(struct climb, climb_step)

/*
 * Builds the path that an operand of the workspace of `slot` names, where no hook has what the kernel found under it: by
 * its text alone, with `.` and `..` taken out. A symbolic link in it leads elsewhere.
 */
__noinline int build_named(__u32 slot, __u32 second)
{
	struct workspace *work = workspace_of(slot);
	struct record_buffer *buffer = bpf_map_lookup_elem(&scratch, &slot);
	struct naming naming = {};
	struct operand operand;
	struct climb climb = {};
	struct walk walk = {};
	long length;

	if (!work || !buffer)
		return 0;
	operand = *operand_of(work, second);
	if (operand.is_kernel)
		length = bpf_probe_read_kernel_str(buffer->bytes + NAME_TEXT, MT_PATH_MAX, operand.string);
	else
		length = bpf_probe_read_user_str(buffer->bytes + NAME_TEXT, MT_PATH_MAX, operand.string);
	work->path_at = MT_PATH_MAX;
	work->path_complete = 1;
	naming.work = work;
	naming.text = buffer->bytes;
	OLD_ONLY(naming.slot = slot;)
	work->name_left = length > 0 ? length - 1 : 0;
	work->name_start = MT_PATH_MAX;
	work->name_skipped = 0;
	LOOP(MT_PATH_MAX, name_step, &naming);
	work->base = 0;
	locate_base(slot, second, 0);
	if (!work->base)
		return 0;
	climb.left = work->name_skipped;
	climb.dentry = work->base;
	climb.mount = (__u64)mount_of((struct vfsmount *)work->base_mount);
	climb.mount_root = (__u64)READ((struct mount *)climb.mount, struct mount, mnt.mnt_root);
	LOOP(WALK_STEPS, climb_step, &climb);
	work->path_complete = 0;
	walk.work = work;
	OLD_ONLY(walk.slot = slot;)
	walk.dentry = climb.dentry;
	enter_mount(&walk, (struct mount *)climb.mount);
	LOOP(WALK_STEPS, walk_step, &walk);
	return 0;
}

/* Where the search for a rule stands. */
struct search {
	__u64 left; /* rules, a bit each */
	__u64 subjects;
	__u64 places;
	struct mt_rule_key key;
	__u32 found;
};

/* One rule. Returns 1 when it holds, or there are no more. */
static long search_step(__u32 index, struct search *search)
{
	struct mt_rule_key key = search->key;
	struct mt_policy_rule *rule;

	if (!search->left)
		return 1;
	key.bit = take_bit(&search->left);
	rule = bpf_map_lookup_elem(&policy_rules, &key);
	if (!rule || !is_in_scope(search->subjects, rule->scope) || !is_in_scope(search->places, rule->places))
		return 0;
	search->found = key.bit;
	return 1;
}
LOOP_STEP(struct search, search_step)

/* The lowest bit of `mask` whose rule is for a process with these subjects and places; 64: there is none. */
__noinline int first_rule(__u32 policy, __u32 list, __u64 mask, __u64 subjects, __u64 places)
{
	struct search search = {.left = mask, .subjects = subjects, .places = places, .found = 64};

	search.key.policy = policy;
	search.key.list = list;
	LOOP(64, search_step, &search);
	return search.found;
}

/* What the first of these rules says that is for the process; `otherwise` if there is none. */
static __always_inline struct verdict rule_verdict(const struct mt_policy *policy, __u32 list, __u64 mask,
						 const struct mt_process *process, struct verdict otherwise)
{
	struct mt_rule_key key = {.policy = policy->id, .list = list};
	struct mt_policy_rule *rule;

	if (!mask)
		return otherwise;
	key.bit = first_rule(policy->id, list, mask, process ? process->subjects : 0,
			     places_of_process(policy, process));
	rule = key.bit < 64 ? bpf_map_lookup_elem(&policy_rules, &key) : 0;
	return rule ? (struct verdict){.rule = rule->number, .action = rule->action} : otherwise;
}

/* The policy of a job whatever its sections, or 0. */
static __always_inline const struct mt_policy *any_policy(__u32 slot, __u32 flag)
{
	const struct mt_policy *policy = config.enforces ? bpf_map_lookup_elem(&policies, &slot) : 0;

	return policy && policy->id && (policy->flags & flag) ? policy : 0;
}
