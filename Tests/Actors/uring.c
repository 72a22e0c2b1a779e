/* io_uring without its library: one submission at a time. */
#include "actor.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

struct ring {
	int fd;
	unsigned setup_flags;
	struct io_uring_params parameters;
	char *submissions, *completions;
	struct io_uring_sqe *entries;
};

static void *map_ring(struct ring *ring, size_t size, off_t what)
{
	void *address = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring->fd, what);

	if (address == MAP_FAILED)
		fail("mmap of the ring");
	return address;
}

static struct ring ring_open(unsigned setup_flags)
{
	struct ring ring = {.setup_flags = setup_flags};

	ring.parameters.flags = setup_flags;
	ring.parameters.sq_thread_idle = 1000;
	ring.fd = syscall(SYS_io_uring_setup, 4, &ring.parameters);
	if (ring.fd < 0)
		unsupported("io_uring_setup");
	ring.submissions = map_ring(&ring, ring.parameters.sq_off.array + ring.parameters.sq_entries * sizeof(unsigned),
		IORING_OFF_SQ_RING);
	ring.completions = map_ring(&ring,
		ring.parameters.cq_off.cqes + ring.parameters.cq_entries * sizeof(struct io_uring_cqe), IORING_OFF_CQ_RING);
	ring.entries = map_ring(&ring, ring.parameters.sq_entries * sizeof(struct io_uring_sqe), IORING_OFF_SQES);
	return ring;
}

/* Submits one entry, waits for it and returns its result, as -errno where it failed. */
static int ring_do(struct ring *ring, const struct io_uring_sqe *entry)
{
	const struct io_sqring_offsets *sq = &ring->parameters.sq_off;
	const struct io_cqring_offsets *cq = &ring->parameters.cq_off;
	_Atomic unsigned *tail = (_Atomic unsigned *)(ring->submissions + sq->tail);
	_Atomic unsigned *head = (_Atomic unsigned *)(ring->completions + cq->head);
	unsigned at = *tail, index = at & *(unsigned *)(ring->submissions + sq->ring_mask);

	ring->entries[index] = *entry;
	((unsigned *)(ring->submissions + sq->array))[index] = index;
	atomic_store(tail, at + 1);
	unsigned flags = IORING_ENTER_GETEVENTS;
	if (ring->setup_flags & IORING_SETUP_SQPOLL)
		flags |= IORING_ENTER_SQ_WAKEUP;
	/* With this, only failures are told. */
	int is_silent = entry->flags & IOSQE_CQE_SKIP_SUCCESS;
	check(syscall(SYS_io_uring_enter, ring->fd, 1, !is_silent, flags, NULL, 0), "io_uring_enter");
	if (is_silent && *(_Atomic unsigned *)(ring->completions + cq->tail) == *head)
		return 0;
	unsigned first = *head, mask = *(unsigned *)(ring->completions + cq->ring_mask);
	struct io_uring_cqe *done = (struct io_uring_cqe *)(ring->completions + cq->cqes) + (first & mask);
	int result = done->res;
	atomic_store(head, first + 1);
	return result;
}

static int ring_try(struct ring *ring, const struct io_uring_sqe *entry, const char *what)
{
	int result = ring_do(ring, entry);

	if (result < 0) {
		errno = -result;
		if (result == -EINVAL || result == -EOPNOTSUPP)
			unsupported(what);
		fail(what);
	}
	return result;
}

int uring_open(const char *name, int flags, mode_t mode, unsigned setup_flags)
{
	struct ring ring = ring_open(setup_flags);
	struct io_uring_sqe entry = {.opcode = IORING_OP_OPENAT, .fd = AT_FDCWD, .addr = (uint64_t)(uintptr_t)name,
		.len = mode, .open_flags = flags};

	fact("opcode", entry.opcode);
	fact("open-flags", flags);
	return ring_try(&ring, &entry, "IORING_OP_OPENAT");
}

int uring_transfer(int fd, void *bytes, unsigned length, long offset, int writes, unsigned entry_flags)
{
	struct ring ring = ring_open(0);
	struct io_uring_sqe entry = {.opcode = writes ? IORING_OP_WRITE : IORING_OP_READ, .fd = fd, .off = offset,
		.addr = (uint64_t)(uintptr_t)bytes, .len = length, .flags = entry_flags};
	int result = ring_try(&ring, &entry, writes ? "IORING_OP_WRITE" : "IORING_OP_READ");

	close(ring.fd);
	return result;
}

/* uring OPERATION */
static void uring(int argc, char **argv)
{
	const char *kind = argc > 0 ? argv[0] : "";

	if (strcmp(kind, "create") == 0) {
		fact_file("file", uring_open("file", O_RDWR | O_CREAT, 0640, 0));
		fact_path("path", "file");
		return;
	}
	if (strcmp(kind, "polled") == 0) {
		fact_file("file", uring_open("file", O_RDWR | O_CREAT, 0640, IORING_SETUP_SQPOLL));
		fact_path("path", "file");
		return;
	}
	struct ring ring = ring_open(0);
	struct io_uring_sqe entry = {.fd = AT_FDCWD};
	make_directory("sub");
	make_file("sub/one", "1\n");
	if (strcmp(kind, "unlink") == 0) {
		entry.opcode = IORING_OP_UNLINKAT;
		entry.addr = (uint64_t)(uintptr_t)"sub/one";
		fact_path("path", "sub/one");
	} else if (strcmp(kind, "rename") == 0) {
		entry.opcode = IORING_OP_RENAMEAT;
		entry.addr = (uint64_t)(uintptr_t)"sub/one";
		entry.addr2 = (uint64_t)(uintptr_t)"sub/two";
		entry.len = AT_FDCWD;
		fact_path("path", "sub/one");
		fact_path("path2", "sub/two");
	} else if (strcmp(kind, "mkdir") == 0) {
		entry.opcode = IORING_OP_MKDIRAT;
		entry.addr = (uint64_t)(uintptr_t)"sub/made";
		entry.len = 0750;
		fact_path("path", "sub/made");
	} else if (strcmp(kind, "link") == 0) {
		entry.opcode = IORING_OP_LINKAT;
		entry.addr = (uint64_t)(uintptr_t)"sub/one";
		entry.addr2 = (uint64_t)(uintptr_t)"sub/two";
		entry.len = AT_FDCWD;
		fact_path("path", "sub/one");
		fact_path("path2", "sub/two");
	} else if (strcmp(kind, "symlink") == 0) {
		entry.opcode = IORING_OP_SYMLINKAT;
		entry.addr = (uint64_t)(uintptr_t)"text";
		entry.addr2 = (uint64_t)(uintptr_t)"sub/alias";
		fact_path("path", "sub/alias");
	} else if (strcmp(kind, "close") == 0) {
		entry.opcode = IORING_OP_CLOSE;
		entry.fd = check(open("file", O_RDWR | O_CREAT, 0644), "open");
		fact_file("file", entry.fd);
	} else if (strcmp(kind, "direct") == 0) {
		int slot = -1;
		if (syscall(SYS_io_uring_register, ring.fd, IORING_REGISTER_FILES, &slot, 1) < 0)
			unsupported("IORING_REGISTER_FILES");
		entry.opcode = IORING_OP_OPENAT;
		entry.addr = (uint64_t)(uintptr_t)"sub/one";
		entry.open_flags = O_RDWR;
		entry.file_index = 1;
		fact("open-flags", O_RDWR);
		fact_path("path", "sub/one");
	} else {
		errno = EINVAL;
		fail(kind);
	}
	fact("opcode", entry.opcode);
	ring_try(&ring, &entry, kind);
}

const struct verb uring_verbs[] = {{"uring", uring}, {0}};
