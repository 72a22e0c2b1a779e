/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What not every kernel has. The sensor is compiled twice: sensor.bpf.c for Linux 5.17 and later, where nothing here
 * costs anything, and sensor_old.bpf.c, with MARTLET_OLD, for 5.10 to 5.16. One object for all cannot be: the verifier
 * of 5.10 refuses atomic operations that return a value, and callbacks, even in code that is never reached.
 *
 *   lacking in           is                              instead
 *   before 5.17          bpf_loop                        a bounded loop that calls a global function (LOOP)
 *   before 5.13          bpf_for_each_map_elem           user space calls a program for each element
 *   before 5.13          task storage in these programs  a hash by thread, checked against its start (config.task_storage)
 *   before 5.12          atomics that return, or, and    additions, which every kernel has
 *   before 5.11          bpf_get_current_task_btf        bpf_get_current_task, and helpers that read (TASK)
 */
#ifndef MARTLET_COMPAT_H
#define MARTLET_COMPAT_H

#include "maps.h"

#define EEXIST 17
#define PROCESS_EXITED 0x80000000u /* in mt_process.threads: its end has been recorded */

#ifndef MARTLET_OLD

/* TASK(task, tgid): a field of a task that may be the current one. */
#define TASK(task, field)                                                                                              \
	__builtin_choose_expr(IS_POINTER(((struct task_struct *)0)->field), LOOSE(task), (task))->field

/* The descriptor table of TASK(task, files). */
#define FDTABLE(files) ((files)->fdt)

static __always_inline struct task_struct *current_task(void)
{
	return bpf_get_current_task_btf();
}

static __always_inline __u64 leader_start_of(struct task_struct *task)
{
	return LOOSE(task)->group_leader->start_boottime;
}

/*
 * Whether no program has ever kept anything for a task: it has no tag then, which is known for a tenth of what asking
 * for it costs. Nearly all tasks that are in no job are such.
 */
static __always_inline int keeps_nothing(struct task_struct *task)
{
	return bpf_core_field_exists(struct task_struct, bpf_storage) && !LOOSE(task)->bpf_storage;
}

/* Whether neither a task nor the process that it belongs to can have a tag. */
static __always_inline int is_outside(struct task_struct *task)
{
	return keeps_nothing(task) && (TASK(task, pid) == TASK(task, tgid) || keeps_nothing(LOOSE(task)->group_leader));
}

/* The tag that a task has itself. */
static __always_inline struct mt_tag *find_tag(struct task_struct *task)
{
	return keeps_nothing(task) ? 0 : bpf_task_storage_get(&tags, task, 0, 0);
}

extern void bpf_rcu_read_lock(void) __ksym __weak;
extern void bpf_rcu_read_unlock(void) __ksym __weak;
#define HAVE_RCU_LOCK bpf_core_enum_value_exists(enum special_kfunc_type, KF_bpf_rcu_read_lock)

static __always_inline struct mt_tag *find_leaders_tag(struct task_struct *task)
{
	struct mt_tag *tag;

	if (keeps_nothing(LOOSE(task)->group_leader))
		return 0;
	/* Who may sleep has to say so that the leader stays, for as long as it is looked at. */
	if (HAVE_RCU_LOCK)
		bpf_rcu_read_lock();
	tag = bpf_task_storage_get(&tags, task->group_leader, 0, 0);
	if (HAVE_RCU_LOCK)
		bpf_rcu_read_unlock();
	return tag;
}

/* A new tag, zeroed; 0 if there is no memory for it. */
static __always_inline struct mt_tag *make_tag(struct task_struct *task)
{
	return bpf_task_storage_get(&tags, task, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
}

/* Storage goes with its task. */
static __always_inline void drop_tag(__u32 tid)
{
}

/* Of a task that lives, and is in no job after all. */
static __always_inline void take_tag_back(struct task_struct *task)
{
	bpf_task_storage_delete(&tags, task);
}

/*
 * Without this, tasks that are preempted each with a slot of the CPU leave none for others, by design of whoever wants
 * that; and a guard without a slot cannot judge.
 */
extern void bpf_preempt_disable(void) __weak __ksym;
extern void bpf_preempt_enable(void) __weak __ksym;

static __always_inline void hold_cpu(void)
{
	if (config.holds_cpu)
		bpf_preempt_disable();
}

static __always_inline void let_go_of_cpu(void)
{
	if (config.holds_cpu)
		bpf_preempt_enable();
}

/* Takes a free slot, and is a full barrier. */
static __always_inline int claim(struct mt_inflight *entry, __u64 since)
{
	return __sync_val_compare_and_swap(&entry->since, 0, since) == 0;
}

static __always_inline void unclaim(struct mt_inflight *entry)
{
	*(volatile __u64 *)&entry->since = 0;
}

static __always_inline __u32 next_number(__u32 *last)
{
	return __sync_fetch_and_add(last, 1) + 1;
}

/* An addition that is a full barrier: one whose result is wanted. */
static __always_inline void add_fully(__u64 *word, __u64 value)
{
	__u64 before = __sync_fetch_and_add(word, value);

	asm volatile("" : : "r"(before));
}

static __always_inline void set_bits(__u64 *word, __u64 bits)
{
	__sync_fetch_and_or(word, bits);
}

static __always_inline void clear_bits(__u64 *word, __u64 bits)
{
	__sync_fetch_and_and(word, ~bits);
}

/* Of two threads that end at once and both find that none is left, one gets a 1: with the process' count of threads. */
static __always_inline int claim_exit(struct mt_process *process, __u32 tgid, __u32 *threads)
{
	*threads = __sync_fetch_and_or(&process->threads, PROCESS_EXITED);
	return !(*threads & PROCESS_EXITED);
}

static __always_inline void end_exit(__u32 tgid)
{
}

/* LOOP(count, step, state): calls step(…, state) until it returns 1, at most `count` times. Returns how often. */
#define LOOP_STEP(state_type, step)
#define LONG_LOOP_STEP(state_type, step)
#define LOOP(count, step, state) bpf_loop(count, step, state, 0)
/* What a loop's state points to. */
#define LOOP_POINTER(pointer, again) (pointer)
#define LOOP_MISSING(pointer) 0
#define OLD_ONLY(declaration)

#else /* MARTLET_OLD */

#define TASK(task, field) READ(task, struct task_struct, field)
#define FDTABLE(files) READ(files, struct files_struct, fdt)

static __always_inline struct task_struct *current_task(void)
{
	if (config.task_storage)
		return bpf_get_current_task_btf();
	return (struct task_struct *)bpf_get_current_task();
}

static __always_inline __u64 leader_start_of(struct task_struct *task)
{
	return READ(TASK(task, group_leader), struct task_struct, start_boottime);
}

/*
 * Tags by thread, where there is no task storage. An entry counts only for the thread that started when it says: a
 * thread's number may be given to another one. User space cannot know that time of the first one, and leaves it 0.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__type(key, __u32);
	__type(value, struct mt_thread_tag);
} thread_tags SEC(".maps");

static __always_inline struct mt_tag *find_thread_tag(struct task_struct *task)
{
	__u32 tid = READ(task, struct task_struct, pid);
	struct mt_thread_tag *found = bpf_map_lookup_elem(&thread_tags, &tid);
	__u64 start;

	if (!found)
		return 0;
	start = READ(task, struct task_struct, start_boottime);
	if (!found->start)
		found->start = start;
	return found->start == start ? &found->tag : 0;
}

/* Not every program may read a task there. */
#define is_outside(task) 0

static __always_inline struct mt_tag *find_tag(struct task_struct *task)
{
	if (config.task_storage)
		return bpf_task_storage_get(&tags, task, 0, 0);
	return find_thread_tag(task);
}

static __always_inline struct mt_tag *find_leaders_tag(struct task_struct *task)
{
	if (config.task_storage)
		return bpf_task_storage_get(&tags, task->group_leader, 0, 0);
	return find_thread_tag(TASK(task, group_leader));
}

static __always_inline struct mt_tag *make_tag(struct task_struct *task)
{
	struct mt_thread_tag fresh = {}, *made;
	__u32 tid;

	if (config.task_storage)
		return bpf_task_storage_get(&tags, task, 0, BPF_LOCAL_STORAGE_GET_F_CREATE);
	tid = READ(task, struct task_struct, pid);
	fresh.start = READ(task, struct task_struct, start_boottime);
	if (bpf_map_update_elem(&thread_tags, &tid, &fresh, BPF_ANY))
		return 0;
	made = bpf_map_lookup_elem(&thread_tags, &tid);
	return made ? &made->tag : 0;
}

static __always_inline void drop_tag(__u32 tid)
{
	if (!config.task_storage)
		bpf_map_delete_elem(&thread_tags, &tid);
}

static __always_inline void take_tag_back(struct task_struct *task)
{
	if (config.task_storage)
		bpf_task_storage_delete(&tags, task);
	else
		drop_tag(READ(task, struct task_struct, pid));
}

/* An addition that is a full barrier, as all are on x86-64. In assembly: compilers drop the addition of 0. */
static __always_inline void add_fully(__u64 *word, __u64 value)
{
	asm volatile("lock *(u64 *)(%0 + 0) += %1" : : "r"(word), "r"(value) : "memory");
}

/* These kernels take no CPU from a task in a program. */
#define hold_cpu() ((void)0)
#define let_go_of_cpu() ((void)0)

/*
 * Whoever finds itself the only one that wants a slot has it. Programs share a CPU by interrupting each other, so of
 * several at most one reads a 1: its addition came first, and those after it see more until it lets go. Two may both
 * find the slot taken; there are others.
 */
static __always_inline int claim(struct mt_inflight *entry, __u64 since)
{
	add_fully(&entry->holders, 1);
	if (*(volatile __u64 *)&entry->holders != 1) {
		add_fully(&entry->holders, -1);
		return 0;
	}
	*(volatile __u64 *)&entry->since = since;
	add_fully(&entry->holders, 0);
	return 1;
}

static __always_inline void unclaim(struct mt_inflight *entry)
{
	*(volatile __u64 *)&entry->since = 0;
	add_fully(&entry->holders, -1);
}

/*
 * A number is this program's own if nobody added between two looks. An interrupt in these few instructions, by a
 * program of the same ring class, leaves a number that no record carries: user space takes it for a record lost.
 */
static __always_inline __u32 next_number(__u32 *last)
{
	__u32 before, after;

#pragma unroll
	for (int i = 0; i < 3; i++) {
		before = *(volatile __u32 *)last;
		ADD(last, 1);
		after = *(volatile __u32 *)last;
		if (after == before + 1)
			break;
	}
	return after;
}

/* Bits of different descriptors do not disturb each other, as none is added that is there or taken that is not. */
static __always_inline void set_bits(__u64 *word, __u64 bit)
{
	if (!(*(volatile __u64 *)word & bit))
		ADD(word, bit);
}

static __always_inline void clear_bits(__u64 *word, __u64 bit)
{
	if (*(volatile __u64 *)word & bit)
		ADD(word, -bit);
}

/* Processes whose end is being recorded: an insertion succeeds for one. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, __u32);
	__type(value, __u32);
} exiting SEC(".maps");

static __always_inline int claim_exit(struct mt_process *process, __u32 tgid, __u32 *threads)
{
	__u32 one = 1;
	int failed = bpf_map_update_elem(&exiting, &tgid, &one, BPF_NOEXIST);

	*threads = process->threads;
	if (failed == -EEXIST)
		return 0;
	/* The other one is through already, and its mark is gone as the process is. */
	if (!bpf_map_lookup_elem(&processes, &tgid)) {
		bpf_map_delete_elem(&exiting, &tgid);
		return 0;
	}
	return 1;
}

static __always_inline void end_exit(__u32 tgid)
{
	bpf_map_delete_elem(&exiting, &tgid);
}

/*
 * A step is a global function, verified once, and its state is in a map: global functions take numbers only. Pointers
 * do not survive that, so a step finds anew what its state points to. The programs that loop are run by the task
 * itself and not by interrupts, and cannot be preempted: one state for each CPU is enough.
 * In long loops it takes several steps: the verifier looks at each turn of the loop that calls it, in every program.
 */
#define LOOP_STEP(state_type, step) LOOP_STEPS(state_type, step, 1)
#define LONG_LOOP_STEP(state_type, step) LOOP_STEPS(state_type, step, 8)
#define LOOP_STEPS(state_type, step, at_once)                                                                          \
	enum { step##_at_once = at_once };                                                                             \
	struct {                                                                                                       \
		__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);                                                               \
		__uint(max_entries, 1);                                                                                \
		__type(key, __u32);                                                                                    \
		__type(value, state_type);                                                                             \
	} step##_state SEC(".maps");                                                                                   \
	__noinline int step##_again(__u32 left)                                                                        \
	{                                                                                                              \
		__u32 zero = 0;                                                                                        \
		state_type *state = bpf_map_lookup_elem(&step##_state, &zero);                                         \
                                                                                                                       \
		for (__u32 i = 0; i < at_once; i++)                                                                    \
			if (i >= left || !state || step(0, state))                                                     \
				return i;                                                                              \
		return at_once;                                                                                        \
	}
#define LOOP(count, step, state)                                                                                       \
	({                                                                                                             \
		__u32 zero_ = 0, done_ = 0;                                                                            \
		typeof(state) kept_ = bpf_map_lookup_elem(&step##_state, &zero_);                                      \
		if (kept_) {                                                                                           \
			*kept_ = *(state);                                                                             \
			done_ = (count);                                                                               \
			for (__u32 at_ = 0; at_ < (count); at_ += step##_at_once) {                                    \
				__u32 taken_ = step##_again((count) - at_);                                            \
                                                                                                                       \
				if (taken_ < step##_at_once) {                                                         \
					done_ = at_ + taken_;                                                          \
					break;                                                                         \
				}                                                                                      \
			}                                                                                              \
			*(state) = *kept_;                                                                             \
		}                                                                                                      \
		done_;                                                                                                 \
	})
#define LOOP_POINTER(pointer, again) (again)
#define LOOP_MISSING(pointer) (!(pointer))
#define OLD_ONLY(declaration) declaration

#endif /* MARTLET_OLD */

/* A number again below a power of two, after it was on the stack: up to 6.1 only its width is known then. */
#define BOUNDED(number, mask)                                                                                          \
	({                                                                                                             \
		__u64 bounded_ = (number);                                                                             \
                                                                                                                       \
		asm volatile("%0 &= %1" : "+r"(bounded_) : "i"(mask));                                                 \
		bounded_;                                                                                              \
	})

#endif
