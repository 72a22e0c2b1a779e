/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Which processes are a job's that no process of a job has started: rules, asked at exec. What is in no job, which is
 * nearly everything, pays for a look at its tag, at its name, and where rules want it at its environment.
 */
#include "cgroups.h"
#include "slots.h"
#include "containers.h"

/* Whether the path that was built is the one that a rule names, or ends with it. */
static __always_inline int has_path(const struct mt_rule *rule, const struct workspace *work)
{
	const __u64 *wanted = (const __u64 *)rule->path, *mask = (const __u64 *)rule->mask;
	const __u64 *path = (const __u64 *)(work->path + MT_PATH_MAX - MT_RULE_PATH_MAX);
	__u32 length = MT_PATH_MAX - work->path_at;
	__u64 difference = 0;

	if (length < rule->path_length)
		return 0;
	if ((rule->flags & MT_RULE_WHOLE_PATH) && (length != rule->path_length || !work->path_complete))
		return 0;
#pragma unroll
	for (int i = 0; i < MT_RULE_PATH_MAX / 8; i++) {
		difference |= (path[i] ^ wanted[i]) & mask[i];
		/* Or the compiler would load all words first, and has no place for them but the stack. */
		barrier_var(difference);
	}
	return !difference;
}

static long try_rule(__u32 index, struct looking *looking)
{
	struct look *look = LOOP_POINTER(looking->look, current_look());
	const struct workspace *work;
	const struct mt_rule *rule;
	__u64 candidates;
	__u32 number;

	if (LOOP_MISSING(look))
		return 1;
	candidates = look->candidates;
	if (!candidates)
		return 1;
	number = take_bit(&candidates);
	look->candidates = candidates;
	rule = bpf_map_lookup_elem(&rules, &number);
	work = workspace_of(look->slot);
	if (!rule || !work)
		return 1;
	if (rule->uid != MT_ANY_USER && rule->uid != look->uid)
		return 0;
	if ((look->found & rule->markers) != rule->markers)
		return 0;
	if ((rule->flags & MT_RULE_PATH) && !has_path(rule, work))
		return 0;
	look->rule = number;
	return 1;
}
LOOP_STEP(struct looking, try_rule)

/* Finds the first of these rules that holds. Returns 1 if there is one. */
static __always_inline int choose(struct look *look, __u64 candidates)
{
	struct looking looking = {.look = look};

	look->candidates = candidates;
	look->rule = MT_MAX_RULES;
	LOOP(MT_MAX_RULES, try_rule, &looking);
	return look->rule < MT_MAX_RULES;
}

/*
 * Which rule holds for the current task. Returns the reason, enum mt_claim_reason, with the rule in look->rule; 0:
 * none. The image's path is built in the workspace of `slot`.
 */
__noinline int find_rule(__u32 slot, __u64 by_comm, __u64 by_marker)
{
	struct task_struct *task = current_task();
	struct file *file = READ(TASK(task, mm), struct mm_struct, exe_file);
	struct look *look = current_look();
	const struct mt_rule *rule;
	__u32 number;

	if (!look)
		return 0;
	look->slot = slot;
	look->uid = READ(TASK(task, cred), struct cred, euid.val);
	build_path(slot, (__u64)READ(file, struct file, f_path.mnt), (__u64)READ(file, struct file, f_path.dentry));
	if (choose(look, by_comm)) {
		number = look->rule;
		rule = bpf_map_lookup_elem(&rules, &number);
		if (rule && (rule->flags & MT_RULE_CGROUP))
			return MT_CLAIM_CGROUP;
		return rule && (rule->flags & MT_RULE_PATH) ? MT_CLAIM_PATH : MT_CLAIM_COMM;
	}
	return choose(look, by_marker) ? MT_CLAIM_ENVIRONMENT : 0;
}

/* What a task is claimed for. */
struct claim {
	__u64 hash;
	__u64 name;   /* of its step */
	__u32 rule;
	__u32 reason;
	__u32 slot;   /* with IS_NEW */
	__u32 step;
	__u32 flags;  /* of its tag */
};

#define RULE_BIT(rule) (1ull << ((rule) & 63))

/* What the step is called that the current task begins, by what it has just execed with: as mt_process.step. */
static __always_inline __u64 step_name(__u32 rule)
{
	const struct mt_rule_filter *filter = current_filter();
	struct look *look = current_look();

	if (!config.enforces || !filter || !look || !(filter->kinds & MT_RULES_NAME_STEPS))
		return 0;
	take_value(0, RULE_BIT(rule));
	return look->hash && look->hashed ? look->hash : 0;
}

/*
 * A step's name is what its first exec says, which is the runner's to say: what comes later may be the step's own doing.
 * Whoever had execed before it was found has none.
 */
static __always_inline void name_its_step(struct task_struct *task, struct mt_tag *tag)
{
	struct mt_process *process = process_of(TASK(task, tgid));
	struct mt_job *job = job_of(tag->job);

	if (process && job && tag->image == tag->leader_start)
		process->step = step_name(job->rule);
}

/* What all that is executed in one cgroup has in common. */
static __always_inline __u64 hash_of_cgroup(__u64 cgroup)
{
	return hash_end(hash_word(hash_begin('c'), cgroup));
}

/* Takes a slot for what a rule claims, see take_slot. */
static __always_inline void find_slot(struct claim *claim, __u64 cgroup)
{
	struct look *look = current_look();
	const struct mt_rule *rule;
	__u32 number = claim->rule;

	rule = bpf_map_lookup_elem(&rules, &number);
	if (!rule || !look)
		return;
	if (rule->flags & MT_RULE_KEY) {
		take_value(RULE_BIT(claim->rule), 0);
		claim->hash = look->hash;
	}
	if ((rule->flags & MT_RULE_CGROUP) && !claim->hash)
		claim->hash = hash_of_cgroup(cgroup);
	if (rule->flags & MT_RULE_STEPS) {
		claim->flags = MT_TAG_RUNNER;
		claim->name = MT_NO_STEP;
	} else {
		claim->name = step_name(claim->rule);
	}
	claim->slot = take_slot(claim->rule, claim->hash);
}

/* Makes the task a member of the job that it has joined. */
static __always_inline void enrol(struct task_struct *task, struct mt_tag *tag, const struct claim *claim)
{
	struct mt_process process = {}, *known;
	__u32 tgid = TASK(task, tgid);
	struct mt_job *job, *last;

	process.image = bpf_ktime_get_boot_ns();
	process.leader_start = leader_start_of(task);
	process.job = claim->slot & ~IS_NEW;
	process.step = claim->name;
	job = job_of(process.job);
	if (list_process(tgid, &process)) {
		/* It lives on its own account now. */
		if (job)
			add_live(job, -1);
	} else if ((known = process_of(tgid))) {
		/* User space was about to add it to a job of its own: it finds that there is a tag. */
		last = job_of(known->job);
		if (last)
			add_live(last, -1);
		*known = process;
	}
	count_used(MT_MAP_TAGS, 1);
	tag->image = process.image;
	tag->leader_start = process.leader_start;
	tag->tgid = tgid;
	tag->flags = claim->flags;
	tag->step = claim->step;
	*(volatile __u16 *)&tag->job = process.job; /* last: without it, it is no tag yet to who looks at all tasks */
}

/* Adds the variables that may be sent. */
static __always_inline void add_variables(struct record *record)
{
	struct look *look = current_look();

	if (!look)
		return;
	look->wanted = MT_START_VARIABLE;
	look->keyed = 0;
	look->slot = record->slot;
	look->collects = 1;
	record->work->size = record->size;
	look_through();
	record->size = record->work->size;
	if (look->is_unreadable)
		HEADER(record)->flags |= MT_FLAG_UNREADABLE;
	else if (look->rest)
		HEADER(record)->flags |= MT_FLAG_TRUNCATED;
}

static __always_inline void tell_step(struct task_struct *task, struct mt_tag *tag)
{
	struct actor actor = actor_of(task, tag);
	struct mt_process *process;
	struct record record;
	struct mt_step *body;

	COUNT(MT_STEP, seen);
	if (!begin(&record, MT_STEP, MT_CRITICAL, sizeof(*body), &actor))
		return;
	body = BODY(&record, struct mt_step);
	body->step = tag->step;
	process = process_of(TASK(task, tgid));
	body->name = process ? process->step : 0;
	body->parent_tgid = READ(LOOSE(task)->real_parent, struct task_struct, tgid);
	add_variables(&record);
	send(&record);
}

/* The task's name, filled up with zeros, whatever stands behind its end. */
static __always_inline struct comm comm_of(struct task_struct *task)
{
	struct comm comm;
	__u64 ends;

	comm.words[0] = read_word(task->comm);
	comm.words[1] = read_word(task->comm + 8);
	ends = zeros_of(comm.words[0]);
	if (ends) {
		comm.words[0] &= (ends & -ends) - 1;
		comm.words[1] = 0;
	} else {
		ends = zeros_of(comm.words[1]);
		comm.words[1] &= (ends & -ends) - 1;
	}
	return comm;
}

static __always_inline void look_at(struct task_struct *task, struct linux_binprm *bprm)
{
	__u64 by_comm = 0, by_marker, in_cgroup, cgroup = 0, *bits;
	const struct mt_cgroup *watched = 0;
	const struct mt_rule_filter *filter = current_filter();
	const struct mt_container_state *containers = current_state();
	struct mt_tag *tag = own_tag(task);
	struct look *look = current_look();
	struct claim claim = {};
	struct actor actor = {};
	struct record record;
	struct mt_claim *body;
	struct mt_job *job;
	struct comm comm;

	if (!filter || !look)
		return;
	look->argc = bprm->argc;
	look->envc = bprm->envc;
	if (tag) {
		if (tag->flags & MT_TAG_STEP) {
			name_its_step(task, tag);
			tell_step(task, tag);
		}
		return;
	}
	if (!filter->kinds)
		return;
	if (filter->kinds & MT_RULES_BY_COMM) {
		comm = comm_of(task);
		if (filter->starts[MT_START(comm.words[0])] & MT_START_COMM) {
			bits = bpf_map_lookup_elem(&rule_comms, &comm);
			if (bits)
				by_comm = *bits;
		}
	}
	by_marker = (by_comm | filter->nameless) & filter->by_marker;
	by_comm &= filter->by_comm;
	if (filter->kinds & MT_RULES_BY_CGROUP_PATH) {
		in_cgroup = rules_of_cgroup(
			(__u64)READ(READ(LOOSE(task)->cgroups, struct css_set, dfl_cgrp), struct cgroup, kn));
		by_comm = (by_comm & (in_cgroup | ~filter->in_cgroups)) | (in_cgroup & filter->cgroups_alone);
		by_marker &= in_cgroup | ~filter->in_cgroups;
	}
	if ((filter->kinds & (MT_RULES_BY_CGROUP | MT_RULES_BY_CGROUP_PATH)) || (containers && containers->asked)) {
		cgroup = READ(READ(READ(LOOSE(task)->cgroups, struct css_set, dfl_cgrp), struct cgroup, kn),
			      struct kernfs_node, id);
		watched = bpf_map_lookup_elem(&rule_cgroups, &cgroup);
	}
	/* The cgroup says more than the environment, which anybody can set; unless all it says is that this is a container. */
	if (watched && !watched->is_container)
		by_marker = 0;
	/* Of another agent's job. What is in a container is noted by both, until one of them finds whose it is. */
	if ((filter->kinds & MT_RULES_BESIDE) && is_anothers(TASK(task, tgid))) {
		by_comm = by_marker = 0;
		if (watched && !watched->is_container)
			watched = 0;
	}
	look->found = 0;
	if (by_marker) {
		look->wanted = MT_START_MARKER;
		look->keyed = 0;
		look->collects = 0;
		look_through();
		if (!look->found)
			by_marker = 0;
	}
	if (!by_comm && !by_marker && !watched)
		return;

	actor.tgid = TASK(task, tgid);
	actor.tid = TASK(task, pid);
	actor.leader_start = leader_start_of(task);
	if (!begin(&record, MT_CLAIM, MT_CRITICAL, sizeof(*body), &actor)) {
		COUNT(MT_CLAIM, seen);
		COUNT_RECOGNITION(unclaimed);
		return;
	}
	claim.reason = find_rule(record.slot, by_comm, by_marker);
	claim.rule = look->rule;
	if (!claim.reason && watched) {
		claim.reason = watched->is_container ? MT_CLAIM_CONTAINER : MT_CLAIM_CGROUP;
		claim.rule = watched->rule;
	}
	if (!claim.reason) {
		release(&record);
		return;
	}
	if (claim.reason == MT_CLAIM_CGROUP && watched && watched->job) {
		claim.slot = join(watched->job, 0, 0, 1) ? watched->job : 0;
		claim.step = watched->step;
	} else if (claim.reason == MT_CLAIM_CONTAINER) {
		/* All that is run in one container, whoever runs it, has one slot. */
		claim.hash = hash_of_cgroup(cgroup);
		claim.slot = take_slot(MT_CONTAINER_RULE, claim.hash);
	} else {
		find_slot(&claim, cgroup);
	}
	if (claim.slot == IS_LEFT) {
		release(&record);
		return;
	}
	/* What can fail is over before others can find the job that is made. */
	tag = claim.slot ? make_tag(task) : 0;
	if (!tag) {
		if (claim.slot)
			leave(claim.slot);
		COUNT_RECOGNITION(unclaimed);
		release(&record);
		return;
	}
	if (claim.slot & IS_NEW)
		claim.slot = begin_job(claim.slot & ~IS_NEW, claim.rule, claim.hash);
	if (claim.slot == IS_LEFT) {
		take_tag_back(task);
		release(&record);
		return;
	}
	job = job_of(claim.slot & ~IS_NEW);
	if (job && claim.hash && !claim.flags && claim.reason != MT_CLAIM_CONTAINER)
		claim.step = next_number(&job->steps);
	enrol(task, tag, &claim);

	COUNT(MT_CLAIM, seen);
	HEADER(&record)->job = tag->job;
	body = BODY(&record, struct mt_claim);
	body->key = claim.hash;
	body->cgroup = READ(READ(READ(LOOSE(task)->cgroups, struct css_set, dfl_cgrp), struct cgroup, kn),
			    struct kernfs_node, id);
	body->rule = claim.rule;
	body->reason = claim.reason;
	body->step = claim.step;
	body->name = claim.name;
	body->is_new = (claim.slot & IS_NEW) != 0;
	body->parent_tgid = READ(LOOSE(task)->real_parent, struct task_struct, tgid);
	body->uid = look->uid;
	add_kernel_string(&record, MT_STR_COMM, task->comm, MT_COMM_MAX + 1);
	add_variables(&record);
	/* There may be something to do for the job before it goes on. */
	if (body->is_new)
		record.cpu->unsignalled[MT_CRITICAL] = config.critical_edge;
	send(&record);
}

/* A task has at most one look, as it execs one program at a time. */
static __always_inline void recognise_exec(struct task_struct *task, struct linux_binprm *bprm)
{
	if (!take_look()) {
		COUNT_RECOGNITION(unclaimed);
		return;
	}
	look_at(task, bprm);
	drop_look();
}

/* Is attached before sched_process_exec, which then finds a tag. */
IN_TURNS("tp_btf/sched_process_exec", recognise, MT_TURN_RECOGNISE,
     recognise_exec(ARGUMENT(context, 0, struct task_struct *), ARGUMENT(context, 2, struct linux_binprm *)))
