/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Descriptors that can write a regular file: {tgid, fd} -> identity. No typed hook of this tier sees a
 * close before the file is gone from the table, so what is needed then is kept from the open on.
 */
#ifndef MARTLET_WRITERS_H
#define MARTLET_WRITERS_H

#include "filters.h"

/* Records that `fd` stops holding its file. */
static __always_inline void send_close(const struct actor *actor, struct mt_writer *writer, __u32 fd, __u16 why)
{
	struct inode *inode = (struct inode *)writer->inode;
	struct mt_file file = writer->file;
	struct record record;
	struct mt_close *body;

	COUNT(MT_CLOSE, seen);
	if (!begin(&record, MT_CLOSE, MT_BULK, sizeof(*body), actor))
		return;
	body = BODY(&record, struct mt_close);
	body->file = file;
	body->fd = fd;
	body->why = why;
	/* The inode may be gone; its memory stays readable, so it is believed only if it is the same before and after. */
	if (same_inode(inode, &file)) {
		body->size = READ(inode, struct inode, i_size);
		body->file.nlink = READ(inode, struct inode, i_nlink);
		times_of(inode, &body->ctime, &body->mtime);
		body->has_state = same_inode(inode, &file);
	}
	send(&record);
}

/* Where the writers are counted that this descriptor may be one of. */
static __always_inline __u64 *writer_count(__u32 tgid, __u32 fd)
{
	__u32 place = ((tgid << 5) ^ (tgid >> 9) ^ fd) & (MT_WRITER_COUNTS - 1);

	return bpf_map_lookup_elem(&writer_counts, &place);
}

/* Whether a descriptor may be a writer. If not, it is none. */
static __always_inline int may_write(__u32 tgid, __u32 fd)
{
	__u64 *count = writer_count(tgid, fd);

	return !count || *(volatile __u64 *)count;
}

/* Forgets {tgid, fd} and records the close; nothing happens if it was not a writer. */
static __always_inline void drop_writer(const struct actor *actor, struct mt_process *process, __u32 fd, __u16 why)
{
	struct mt_writer_key key = {.tgid = actor->tgid, .fd = fd};
	struct mt_writer *found = bpf_map_lookup_elem(&writers, &key), writer;
	__u64 *count;

	if (!found)
		return;
	writer = *found;
	/* Of two threads that close at once only one deletes. */
	if (bpf_map_delete_elem(&writers, &key))
		return;
	count_used(MT_MAP_WRITERS, -1);
	count = writer_count(key.tgid, fd);
	if (count)
		ADD(count, -1);
	if (process)
		set_writing(process, fd, 0);
	send_close(actor, &writer, fd, why);
}

static __always_inline void add_writer(__u32 tgid, struct mt_process *process, __u32 fd, const struct mt_writer *writer)
{
	struct mt_writer_key key = {.tgid = tgid, .fd = fd};
	__u64 *count = writer_count(tgid, fd);

	/* Counted before it is there, so that no close overlooks it. */
	if (count)
		ADD(count, 1);
	if (bpf_map_update_elem(&writers, &key, writer, BPF_NOEXIST)) {
		if (count)
			ADD(count, -1);
		if (bpf_map_update_elem(&writers, &key, writer, BPF_EXIST)) {
			count_full(MT_MAP_WRITERS);
			return;
		}
	} else {
		count_used(MT_MAP_WRITERS, 1);
	}
	if (process)
		set_writing(process, fd, 1);
}

/* What is kept of a descriptor of `file`. */
static __always_inline struct mt_writer writer_of(struct file *file)
{
	struct inode *inode = READ(file, struct file, f_inode);

	return (struct mt_writer){.inode = (__u64)inode, .file = identity_of(inode)};
}

/* Descriptors of one process that stop being writers. */
struct closing {
	struct fd_set left;
	struct mt_process *process;
	struct actor actor;
	__u32 why;
};

static long close_one(__u32 index, struct closing *closing)
{
	__u32 fd = take_descriptor(&closing->left);
	struct mt_process *process = LOOP_POINTER(closing->process, process_of(closing->actor.tgid));

	if (fd >= MT_FD_TRACKED)
		return 1;
	drop_writer(&closing->actor, process, fd, closing->why);
	return 0;
}
LOOP_STEP(struct closing, close_one)

static __always_inline void close_all(struct closing *closing)
{
	if (!is_empty(&closing->left))
		LOOP(MT_FD_TRACKED, close_one, closing);
}

/* The descriptors that a table has open. */
static __always_inline struct fd_set open_of(struct fdtable *table)
{
	const __u64 *bits = (const __u64 *)READ(table, struct fdtable, open_fds);
	__u32 size = READ(table, struct fdtable, max_fds);
	struct fd_set set;

	set.words[0] = read_word(bits);
	set.words[1] = size > 64 ? read_word(bits + 1) : 0;
	set.words[2] = size > 128 ? read_word(bits + 2) : 0;
	set.words[3] = size > 192 ? read_word(bits + 3) : 0;
	return set;
}

/* At exec: what was marked close-on-exec is closed by now. */
static __always_inline void close_on_exec(struct task_struct *task, struct mt_process *process,
					  const struct actor *actor)
{
	struct closing closing = {.process = process, .actor = *actor, .why = MT_CLOSE_EXEC};
	struct fd_set open;

	closing.left = writing_of(process);
	if (is_empty(&closing.left))
		return;
	open = open_of(LOOSE(task)->files->fdt);
	closing.left.words[0] &= ~open.words[0];
	closing.left.words[1] &= ~open.words[1];
	closing.left.words[2] &= ~open.words[2];
	closing.left.words[3] &= ~open.words[3];
	close_all(&closing);
}

static __always_inline void close_at_exit(struct mt_process *process, const struct actor *actor)
{
	struct closing closing = {.process = process, .actor = *actor, .why = MT_CLOSE_EXIT};

	closing.left = writing_of(process);
	close_all(&closing);
}

#endif
