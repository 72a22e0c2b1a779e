/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Bytes read and written through each open file; loaded only if asked for.
 *
 * What is counted is what the functions return by which every call reads and writes: a hook before them, such as the
 * security modules', knows only how much was asked for. It belongs to the open file, which descriptors in several
 * processes may share, and there to the images that used it. The kernel's own reading, of what is executed or loaded as
 * a module, and memory mappings are not counted.
 */
#include "hooks.h"
#include "open_files.h"

#define IOCB_DIRECT (1 << 17)
#define IOCB_WRITE (1 << 18)
/* io_uring.h: READV, READ_FIXED, READ, READ_MULTISHOT, READV_FIXED; WRITEV, WRITE_FIXED, WRITE, WRITEV_FIXED */
#define IORING_READS (1ull << 1 | 1ull << 4 | 1ull << 22 | 1ull << 49 | 1ull << 60)
#define IORING_WRITES (1ull << 2 | 1ull << 5 | 1ull << 23 | 1ull << 61)
#define REQ_F_CQE_SKIP (1 << 6) /* by construction the bit of IOSQE_CQE_SKIP_SUCCESS */

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct kiocb {
	struct file *ki_filp;
	int ki_flags;
};
struct io_kiocb___file {
	struct file *file;
	__u32 flags; /* 64 bits from 6.10 on; the lower half will do */
};

#pragma clang attribute pop

/* linux/aio_abi.h */
struct iocb {
	__u64 data;
	__u32 key, flags;
	__u16 opcode;
	__s16 priority;
	__u32 descriptor;
};

/* bytes_NAME: `body(arguments, bytes)` when the kernel's function NAME has returned a number of bytes. */
#define ON_BYTES(function, body)                                                                                       \
	SEC("fexit/" #function)                                                                                        \
	int bytes_##function(__u64 *context)                                                                           \
	{                                                                                                              \
		__u64 result = 0;                                                                                      \
                                                                                                                       \
		bpf_get_func_ret(context, &result);                                                                    \
		if ((__s64)result > 0)                                                                                 \
			body(context, result);                                                                         \
		return 0;                                                                                              \
	}

/* As a number; the verifier knows the argument itself as a pointer, and lets nobody calculate with it. */
static __always_inline __u64 first_argument(__u64 *arguments)
{
	__u64 value = 0;

	bpf_get_func_arg(arguments, 0, &value);
	return value;
}

/* (file, where to, how much, position) */
static __always_inline void file_read(__u64 *arguments, __u64 bytes)
{
	counted(first_argument(arguments), bytes, 0);
}
ON_BYTES(vfs_read, file_read)
ON_BYTES(vfs_readv, file_read)

static __always_inline void file_written(__u64 *arguments, __u64 bytes)
{
	counted(first_argument(arguments), 0, bytes);
}
ON_BYTES(vfs_write, file_written)
ON_BYTES(vfs_writev, file_written)

/* do_sendfile(out, in, offset, count, limit): the files that the descriptors stand for when it ends. */
static __always_inline void file_sent(const __u64 *arguments, __u64 bytes)
{
	struct task_struct *task = current_task();
	struct file *from, *to;

	if (!tag_of(task))
		return;
	from = file_of(task, ARGUMENT(arguments, 1, __s32));
	to = file_of(task, ARGUMENT(arguments, 0, __s32));
	if (from)
		count_io((__u64)from, bytes, 0, 0);
	if (to)
		count_io((__u64)to, 0, bytes, 0);
}
ON_BYTES(do_sendfile, file_sent)

/* (in, position, out, position, length, flags) */
static __always_inline void file_moved(const __u64 *arguments, __u64 bytes)
{
	__u64 from = number_of(ARGUMENT(arguments, 0, const void *)), to = number_of(ARGUMENT(arguments, 2, const void *));

	/* A file system calls the same function for the file behind its own. */
	if (!tag_of(current_task()) || READ((struct file *)to, struct file, f_mode) & FMODE_NOACCOUNT)
		return;
	count_io(from, bytes, 0, 0);
	count_io(to, 0, bytes, 0);
}
ON_BYTES(do_splice, file_moved)
ON_BYTES(vfs_copy_file_range, file_moved)

/* io_uring. Its requests tell their results when they are over, unless the program wants to hear of failures only. */
static __always_inline void request_done(struct io_kiocb *request, __s32 result)
{
	__u64 file;
	__u32 opcode;

	if (!request || result <= 0)
		return;
	opcode = READ(request, struct io_kiocb, opcode);
	if (opcode >= 64)
		return;
	if (1ull << opcode & IORING_READS) {
		file = (__u64)READ(request, struct io_kiocb___file, file);
		if (tag_of(current_task()))
			counted(file, result, 0);
		else
			counted_later(file, result, 0);
	} else if (1ull << opcode & IORING_WRITES) {
		file = (__u64)READ(request, struct io_kiocb___file, file);
		if (tag_of(current_task()))
			counted(file, 0, result);
		else
			counted_later(file, 0, result);
	}
}

SEC("tp_btf/io_uring_complete")
int BPF_PROG(bytes_uring, void *ring, struct io_kiocb *request, struct io_uring_cqe *entry)
{
	request_done(request, READ(entry, struct io_uring_cqe, res));
	return 0;
}

/* Up to 6.12: see uring_complete_result. */
SEC("tp_btf/io_uring_complete")
int bytes_uring_result(__u64 *arguments)
{
	request_done((struct io_kiocb *)arguments[1], (__s32)arguments[3]);
	return 0;
}

static __always_inline void request_begins(const __u64 *arguments)
{
	const void *request = ARGUMENT(arguments, 0, const void *);

	if (READ(request, struct io_kiocb___file, flags) & REQ_F_CQE_SKIP)
		count_io((__u64)READ(request, struct io_kiocb___file, file), 0, 0, 1);
}

SEC("fentry/io_read")
int bytes_io_read(__u64 *context)
{
	request_begins(context);
	return 0;
}

SEC("fentry/io_write")
int bytes_io_write(__u64 *context)
{
	request_begins(context);
	return 0;
}

/* io_submit(2). With O_DIRECT it may be an interrupt that tells the result; the file has to be known by then. */
SEC("fentry/io_submit_one")
int bytes_io_submit_one(__u64 *context)
{
	struct task_struct *task = current_task();
	struct iocb block = {};
	struct file *file;

	if (!tag_of(task) || bpf_probe_read_user(&block, sizeof(block), ARGUMENT(context, 1, const void *)))
		return 0;
	file = file_of(task, block.descriptor);
	if (file)
		count_io((__u64)file, 0, 0, 0);
	return 0;
}

/* (request, result) */
SEC("fentry/aio_complete_rw")
int bytes_aio_complete_rw(__u64 *context)
{
	struct kiocb *request = ARGUMENT(context, 0, struct kiocb *);
	__u64 file = (__u64)READ(request, struct kiocb, ki_filp);
	__u32 flags = READ(request, struct kiocb, ki_flags);
	__s64 bytes = context[1];

	if (bytes <= 0)
		return 0;
	if (!(flags & IOCB_DIRECT))
		counted(file, flags & IOCB_WRITE ? 0 : bytes, flags & IOCB_WRITE ? bytes : 0);
	else
		counted_later(file, flags & IOCB_WRITE ? 0 : bytes, flags & IOCB_WRITE ? bytes : 0);
	return 0;
}

/* The last reference is gone, and with it every use. Of files that no job used nothing is kept. */
static __always_inline void file_over(const __u64 *arguments)
{
	/* LSM programs do not have the helper that first_argument calls. */
	__u64 address = number_of(ARGUMENT(arguments, 0, const void *));
	struct io_file *found = find_file(address, 1);

	if (found) {
		tell_users(address, 1, MT_IO_CLOSED);
		found->is_unknown = 0;
		__builtin_memset(found->users, 0, sizeof(found->users));
		/* A full barrier: whoever takes the place next finds it empty. */
		__sync_lock_test_and_set(&found->address, 0);
	}
	if (!find_file(address, 0))
		return;
	tell_users(address, 0, MT_IO_CLOSED);
	if (!bpf_map_delete_elem(&open_files, &address))
		count_used(MT_MAP_OPEN_FILES, -1);
}
ON_LSM(file_free_security, file_over)
ON_FENTRY(security_file_free, file_over)

static long tell_open_file(void *map, const __u64 *key, struct io_file *found, void *context)
{
	tell_users(*key, 0, MT_IO_OPEN);
	return 0;
}

static long tell_placed_file(void *map, const __u32 *key, struct io_file *found, void *context)
{
	if (found->address)
		tell_users(found->address, 1, MT_IO_OPEN);
	return 0;
}

/* Run by user space at the end, when nothing is counted any more. */
SEC("raw_tp")
int tell_open_files(void *context)
{
	bpf_for_each_map_elem(&open_files, tell_open_file, 0, 0);
	bpf_for_each_map_elem(&file_places, tell_placed_file, 0, 0);
	return 0;
}
