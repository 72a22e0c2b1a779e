/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Descriptors that can write a regular file: {tgid, fd} -> identity. No typed hook of this tier sees a
 * close before the file is gone from the table, so what is needed then is kept from the open on.
 */
#ifndef MARTLET_WRITERS_H
#define MARTLET_WRITERS_H

#include "files.h"

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

/* Forgets {tgid, fd} and records the close; nothing happens if it was not a writer. */
static __always_inline int drop_writer(const struct actor *actor, struct mt_process *process, __u32 fd, __u16 why)
{
	struct mt_writer_key key = {.tgid = actor->tgid, .fd = fd};
	struct mt_writer *found = bpf_map_lookup_elem(&writers, &key), writer;

	if (!found)
		return 0;
	writer = *found;
	/* Of two threads that close at once only one deletes. */
	if (bpf_map_delete_elem(&writers, &key))
		return 0;
	if (process)
		set_writing(process, fd, 0);
	send_close(actor, &writer, fd, why);
	return 1;
}

static __always_inline void add_writer(__u32 tgid, struct mt_process *process, __u32 fd, struct inode *inode,
				       const struct mt_file *file)
{
	struct mt_writer_key key = {.tgid = tgid, .fd = fd};
	struct mt_writer writer = {.inode = (__u64)inode, .file = *file};

	if (bpf_map_update_elem(&writers, &key, &writer, BPF_ANY))
		count_full(MT_MAP_WRITERS);
	else if (process)
		set_writing(process, fd, 1);
}

struct closing {
	struct mt_process *process;
	struct actor actor;
	__u64 open_fds; /* address of the bitmap */
	__u32 max_fds;
	__u32 why;
};

static __always_inline int writes_anything(struct mt_process *process)
{
	return (process->writing[0] | process->writing[1] | process->writing[2] | process->writing[3]) != 0;
}

static long close_one(__u32 fd, struct closing *closing)
{
	if (!is_writing(closing->process, fd))
		return 0;
	if (closing->why == MT_CLOSE_EXEC && fd < closing->max_fds) {
		__u64 word = read_word((const __u64 *)closing->open_fds + (fd >> 6));

		if (word >> (fd & 63) & 1)
			return 0;
	}
	drop_writer(&closing->actor, closing->process, fd, closing->why);
	return 0;
}

/* At exec: what was marked close-on-exec is closed by now. */
static __always_inline void close_on_exec(struct task_struct *task, struct mt_process *process,
					  const struct actor *actor)
{
	struct closing closing = {.process = process, .actor = *actor, .why = MT_CLOSE_EXEC};
	struct fdtable *table;

	if (!writes_anything(process))
		return;
	table = LOOSE(task)->files->fdt;
	closing.open_fds = (__u64)READ(table, struct fdtable, open_fds);
	closing.max_fds = READ(table, struct fdtable, max_fds);
	bpf_loop(MT_FD_TRACKED, close_one, &closing, 0);
}

static __always_inline void close_at_exit(struct mt_process *process, const struct actor *actor)
{
	struct closing closing = {.process = process, .actor = *actor, .why = MT_CLOSE_EXIT};

	if (writes_anything(process))
		bpf_loop(MT_FD_TRACKED, close_one, &closing, 0);
}

#endif
