/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What images read and wrote through open files, from the first use to the end of the last descriptor. */
#ifndef MARTLET_OPEN_FILES_H
#define MARTLET_OPEN_FILES_H

#include "opens.h"

#define IO_USERS 8       /* images that use an open file at once and have their sums kept */
#define S_IFCHR 0020000
#define S_IFBLK 0060000

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct task_struct___executing {
	__u64 self_exec_id; /* counts what the task has executed */
};

#pragma clang attribute pop

/* An image's part. `image` is 0 where nobody has the place. */
struct io_user {
	__u64 image;
	__u64 leader_start;
	__u64 read, written;
	__u32 tgid;
	__u16 job;
	__u16 reserved;
	/* The thread of the image that came last, and what it executed last: it is known without a look at its tag. */
	__u64 start, executed;
};

struct io_file {
	__u64 address;   /* of the kernel's struct file */
	struct mt_file file;
	__u64 is_unknown; /* more was read or written than could be counted */
	struct io_user users[IO_USERS];
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8192);
	__type(key, __u64); /* address */
	__type(value, struct io_file);
} open_files SEC(".maps");

/*
 * Where a file is looked for first, a place for each hash: found in a dozen instructions. Only the files whose place is
 * another's are in `open_files`. None moves from one to the other.
 */
#define IO_PLACES 2048 /* a power of two */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, IO_PLACES);
	__type(key, __u32);
	__type(value, struct io_file);
} file_places SEC(".maps");

static const struct io_file no_file;

static __always_inline struct io_file *place_of(__u64 address)
{
	__u32 place = address * 0x9e3779b97f4a7c15ull >> 53;

	return bpf_map_lookup_elem(&file_places, &place);
}
_Static_assert(IO_PLACES == 1 << (64 - 53), "place_of shifts");

/* `is_placed`: in its place, else in the table. */
static __always_inline struct io_file *find_file(__u64 address, __u32 is_placed)
{
	struct io_file *found;

	if (!is_placed)
		return bpf_map_lookup_elem(&open_files, &address);
	found = place_of(address);
	return found && *(volatile __u64 *)&found->address == address ? found : 0;
}

static __always_inline __u64 executed_of(struct task_struct *task)
{
	return (__u64)task->pid << 32 ^ ((struct task_struct___executing *)task)->self_exec_id;
}

static __always_inline void send_io(__u64 address, const struct mt_file *file, const struct io_user *user, __u64 read,
				    __u64 written, __u32 why)
{
	struct actor actor = {
		.leader_start = user->leader_start, .image = user->image, .tgid = user->tgid, .tid = user->tgid,
		.job = user->job,
	};
	struct record record;
	struct mt_io *body;

	if (event_filtered(actor.job, MT_IO))
		return;
	COUNT(MT_IO, seen);
	if (!begin(&record, MT_IO, MT_BULK, sizeof(*body), &actor))
		return;
	body = BODY(&record, struct mt_io);
	body->file = *file;
	body->open_file = opaque((const void *)address);
	body->image = user->image;
	body->read = read;
	body->written = written;
	body->why = why;
	send(&record);
}

/* Tells what one image did, and begins to count anew. */
__noinline int tell_io(__u64 address, __u32 is_placed, __u32 place, __u32 why)
{
	struct io_file *found = find_file(address, is_placed);
	__u64 read, written, at = place;
	struct io_user *user;

	barrier_var(at);
	if (!found || at >= IO_USERS)
		return 0;
	user = &found->users[at];
	if (!user->image)
		return 0;
	read = __sync_lock_test_and_set(&user->read, 0);
	written = __sync_lock_test_and_set(&user->written, 0);
	if (found->is_unknown)
		why = MT_IO_UNKNOWN;
	else if (!read && !written)
		return 0;
	send_io(address, &found->file, user, read, written, why);
	return 0;
}

static __always_inline void tell_users(__u64 address, __u32 is_placed, __u32 why)
{
#pragma unroll
	for (__u32 place = 0; place < IO_USERS; place++)
		tell_io(address, is_placed, place, why);
}

static __always_inline void add_io(struct io_user *user, __u64 read, __u64 written)
{
	if (read)
		ADD(&user->read, read);
	if (written)
		ADD(&user->written, written);
}

static __always_inline int is_user(const struct io_user *user, const struct mt_tag *tag)
{
	return user->image == tag->image && user->tgid == tag->tgid;
}

static __always_inline struct io_user user_of(struct task_struct *task, struct mt_tag *tag)
{
	struct actor actor = actor_of(task, tag);

	return (struct io_user){
		.image = actor.image, .leader_start = actor.leader_start, .tgid = actor.tgid, .job = actor.job,
	};
}

/* Whether nothing that this user did can still be on its way: its process is over, or runs another image. */
static __always_inline int is_over(const struct io_user *user)
{
	struct mt_process *process = process_of(user->tgid);

	return !process || process->image != user->image || process->leader_start != user->leader_start;
}

/* Gives `user` the place of nobody, or of one that is over and is told first. Returns 0 if there is none. */
static __always_inline int take_place(__u64 address, __u32 is_placed, struct io_file *found, __u32 place,
				      const struct io_user *user)
{
	struct io_user *at = &found->users[place];
	__u64 before = at->image;

	if (before) {
		if (!is_over(at))
			return 0;
		tell_io(address, is_placed, place, MT_IO_SHARED);
	}
	if (__sync_val_compare_and_swap(&at->image, before, user->image) != before)
		return 0;
	at->leader_start = user->leader_start;
	at->job = user->job;
	/* Last: whoever looks for its own place compares both. */
	*(volatile __u32 *)&at->tgid = user->tgid;
	return 1;
}

/* Tells once for each image and file that there is more than could be counted. */
static __always_inline void send_unknown(__u64 address, struct inode *inode, const struct io_user *user)
{
	struct mt_file identity = identity_of(inode);
	__u64 hash = hash_begin('b');

	hash = hash_word(hash, user->image ^ user->tgid);
	hash = hash_word(hash, (__u64)inode ^ address);
	hash = hash_end(hash_word(hash, identity.ino ^ (__u64)identity.generation << 32));
	if (was_sent(hash)) {
		COUNT_DEDUPLICATED(MT_IO, user->job);
		return;
	}
	send_io(address, &identity, user, 0, 0, MT_IO_UNKNOWN);
	remember_open(hash);
}

/* The entry of an open file, made if need be; 0 if there is no room. */
static __always_inline struct io_file *entry_of(__u64 address, struct inode *inode, __u32 *is_placed)
{
	struct io_file *found = find_file(address, 1);
	__u64 before;

	*is_placed = 1;
	if (found)
		return found;
	*is_placed = 0;
	found = find_file(address, 0);
	if (found)
		return found;
	/* Of two that come here at once each may make an entry, one here and one there: both are told. */
	found = place_of(address);
	if (found) {
		before = __sync_val_compare_and_swap(&found->address, 0, address);
		*is_placed = !before || before == address;
	}
	if (!*is_placed) {
		if (!bpf_map_update_elem(&open_files, &address, &no_file, BPF_NOEXIST))
			count_used(MT_MAP_OPEN_FILES, 1);
		found = find_file(address, 0);
	}
	/* It is read when nobody uses the file any more: that two fill it in does no harm. */
	if (found)
		found->file = identity_of(inode);
	return found;
}

/* Counts for the current task where it is not the first user of the file. `unknown`: the numbers are not all. */
__noinline int count_io(__u64 address, __u64 read, __u64 written, __u32 unknown)
{
	struct inode *inode = READ((struct file *)address, struct file, f_inode);
	__u32 type = READ(inode, struct inode, i_mode) & S_IFMT;
	struct task_struct *task = current_task();
	struct mt_tag *tag = tag_of(task);
	struct io_file *found;
	struct io_user user;
	__u32 is_placed;

	if (!tag || (type != S_IFREG && type != S_IFCHR && type != S_IFBLK))
		return 0;
	user = user_of(task, tag);
	found = entry_of(address, inode, &is_placed);
	if (!found) {
		count_full(MT_MAP_OPEN_FILES);
		send_unknown(address, inode, &user);
		return 0;
	}
	if (unknown)
		found->is_unknown = 1;
#pragma unroll
	for (__u32 place = 0; place < IO_USERS; place++) {
		if (is_user(&found->users[place], tag)) {
			add_io(&found->users[place], read, written);
			found->users[place].start = task->start_boottime;
			found->users[place].executed = executed_of(task);
			return 0;
		}
	}
#pragma unroll
	for (__u32 place = 0; place < IO_USERS; place++) {
		if (take_place(address, is_placed, found, place, &user)) {
			add_io(&found->users[place], read, written);
			return 0;
		}
	}
	/* As many others use it right now: at once, then. */
	if (read || written)
		send_io(address, &found->file, &user, read, written, MT_IO_SHARED);
	return 0;
}

static __always_inline void counted(__u64 address, __u64 read, __u64 written)
{
	struct task_struct *task = current_task();
	struct io_file *found = place_of(address);

	/* A thread is the one that started then with this number, as long as it executes nothing else. */
	if (found && *(volatile __u64 *)&found->address == address && found->users[0].start == task->start_boottime &&
	    found->users[0].executed == executed_of(task))
		add_io(&found->users[0], read, written);
	else if (tag_of(task))
		count_io(address, read, written, 0);
}

/*
 * What was done for a task that is not the current one: an interrupt's, when a device is ready. Who asked for it has a
 * place already, most often the only one.
 */
static __always_inline void counted_later(__u64 address, __u64 read, __u64 written)
{
	struct io_file *found = find_file(address, 1);

	if (!found)
		found = find_file(address, 0);
	if (found)
		add_io(&found->users[0], read, written);
}

#endif
