/* Deeds with files: none leaves a trace, also when this process is killed in the middle. */
#define _GNU_SOURCE
#include "include/probe.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <stddef.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/vfs.h>
#include <stdio.h>
#include <unistd.h>

static void close_both(const int pair[2])
{
	close(pair[0]);
	close(pair[1]);
}

/* One end of a pair sends the other a descriptor. */
static int pass(int socket, int descriptor)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr aligned;
	} control = {};
	char byte = 0;
	struct iovec vector = {.iov_base = &byte, .iov_len = 1};
	struct msghdr message = {
		.msg_iov = &vector, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control),
	};
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);

	header->cmsg_level = SOL_SOCKET;
	header->cmsg_type = SCM_RIGHTS;
	header->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(header), &descriptor, sizeof(int));
	return sendmsg(socket, &message, MSG_DONTWAIT) < 0 ? -errno : 0;
}

static int receive(int socket)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr aligned;
	} control = {};
	char byte;
	struct iovec vector = {.iov_base = &byte, .iov_len = 1};
	struct msghdr message = {
		.msg_iov = &vector, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control),
	};
	int descriptor;

	if (recvmsg(socket, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC) < 0)
		return -errno;
	if (!CMSG_FIRSTHDR(&message))
		return -ENOMSG;
	memcpy(&descriptor, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof(int));
	close(descriptor);
	return 0;
}

static int passing(void)
{
	int pair[2], error;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
		return -errno;
	error = pass(pair[0], pair[0]);
	if (!error)
		error = receive(pair[1]);
	close_both(pair);
	return error;
}

/* A socket with an address that the kernel chose, and one that reaches it. */
static int reaching(int type)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	socklen_t length = offsetof(struct sockaddr_un, sun_path);
	int to = socket(AF_UNIX, type | SOCK_CLOEXEC, 0), from = socket(AF_UNIX, type | SOCK_CLOEXEC, 0), error = 0;

	if (to < 0 || from < 0 || bind(to, (struct sockaddr *)&address, length))
		error = -errno;
	length = sizeof(address);
	if (!error && (getsockname(to, (struct sockaddr *)&address, &length) ||
		       (type == SOCK_STREAM && listen(to, 1)) || connect(from, (struct sockaddr *)&address, length)))
		error = -errno;
	if (to >= 0)
		close(to);
	if (from >= 0)
		close(from);
	return error;
}

int mt_deed_descriptors(void)
{
	int pair[2], file = memfd_create("martlet-deed", MFD_CLOEXEC), copy, error = 0;
	void *memory;

	if (file < 0)
		return -errno;
	/* A number is taken, and given back since there is no such file. */
	close(open("/proc/self/martlet-deed", O_RDONLY | O_CLOEXEC));
	copy = fcntl(file, F_DUPFD_CLOEXEC, 0);
	if (copy < 0 || dup3(file, copy, O_CLOEXEC) < 0)
		error = -errno;
	close(copy);
	syscall(SYS_close_range, ~0u, ~0u, 0);
	if (ftruncate(file, 4096))
		error = -errno;
	memory = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	if (memory == MAP_FAILED)
		error = -errno;
	else
		munmap(memory, 4096);
	if (pipe2(pair, O_CLOEXEC))
		error = -errno;
	else
		close_both(pair);
	/* From this process itself, which nobody is asked about. */
	copy = syscall(SYS_pidfd_open, getpid(), 0);
	close(syscall(SYS_pidfd_getfd, copy, file, 0));
	close(copy);
	close(file);
	if (!error)
		error = passing();
	if (!error)
		error = reaching(SOCK_STREAM);
	if (!error)
		error = reaching(SOCK_DGRAM);
	return error;
}

/* A file is read and written by calls that do nothing else, and by io_submit(2) where there is one. */
static int transferring(int file)
{
	char byte = 0;
	const struct iovec vector = {.iov_base = &byte, .iov_len = 1};
	struct iocb block = {
		.aio_lio_opcode = IOCB_CMD_PREAD, .aio_fildes = file, .aio_buf = (uintptr_t)&byte, .aio_nbytes = 1,
	}, *blocks = &block;
	aio_context_t context = 0;

	if (pread(file, &byte, 1, 0) != 1 || preadv(file, &vector, 1, 0) != 1 || pwritev(file, &vector, 1, 0) != 1)
		return -errno;
	if (!syscall(SYS_io_setup, 1, &context)) {
		syscall(SYS_io_submit, context, 1, &blocks);
		syscall(SYS_io_destroy, context);
	}
	return 0;
}

/* Contents that the kernel moves from file to file. */
static int moving(int from, int to)
{
	int a[2], b[2], error = 0;

	if (pipe2(a, O_CLOEXEC | O_NONBLOCK))
		return -errno;
	if (pipe2(b, O_CLOEXEC | O_NONBLOCK)) {
		error = -errno;
		close_both(a);
		return error;
	}
	if (write(from, "martlet", 7) != 7 || lseek(from, 0, SEEK_SET) || sendfile(to, from, NULL, 1) != 1 ||
	    splice(from, NULL, a[1], NULL, 1, SPLICE_F_NONBLOCK) != 1 || tee(a[0], b[1], 1, SPLICE_F_NONBLOCK) != 1)
		error = -errno;
	if (!error)
		error = transferring(from);
	/* Whether the file system can do these does not matter. */
	syscall(SYS_copy_file_range, from, NULL, to, NULL, 1, 0);
	ioctl(to, FICLONE, from);
	close_both(a);
	close_both(b);
	return error;
}

/* Each kind of change to names and attributes, in a directory of one's own. */
static int naming(int directory)
{
	int a = openat(directory, "a", O_CREAT | O_RDWR | O_CLOEXEC, 0600);
	int b = openat(directory, "b", O_CREAT | O_RDWR | O_CLOEXEC, 0600), error = 0;
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fd/%d/a", directory);
	if (a < 0 || b < 0 || mkdirat(directory, "d", 0700) || mknodat(directory, "n", S_IFREG | 0600, 0) ||
	    mknodat(directory, "p", S_IFIFO | 0600, 0) || symlinkat("a", directory, "s") ||
	    linkat(directory, "a", directory, "l", 0) || renameat(directory, "n", directory, "m") ||
	    fchmodat(directory, "a", 0400, 0) || fchownat(directory, "a", -1, -1, 0) || truncate(path, 1) ||
	    ftruncate(b, 1) || unlinkat(directory, "l", 0) || unlinkat(directory, "d", AT_REMOVEDIR))
		error = -errno;
	if (!error)
		error = moving(a, b);
	if (a >= 0)
		close(a);
	if (b >= 0)
		close(b);
	return error;
}

int mt_mount_nowhere(const char *type)
{
	int context = syscall(SYS_fsopen, type, 1 /* FSOPEN_CLOEXEC */), directory;

	if (context < 0)
		return -errno;
	directory = syscall(SYS_fsconfig, context, 6 /* FSCONFIG_CMD_CREATE */, NULL, NULL, 0) ?
			    -1 : (int)syscall(SYS_fsmount, context, 1 /* FSMOUNT_CLOEXEC */, 0);
	if (directory < 0)
		directory = -errno;
	close(context);
	return directory;
}

bool mt_is_cgroup2_root(int directory)
{
	struct statfs system;
	struct stat node;

	/*
	 * The first node of a hierarchy has the number 1 (kernfs_create_root), and others never have it. So has the root of
	 * some other file systems, one of which may have been mounted over it.
	 */
	return !fstatfs(directory, &system) && system.f_type == CGROUP2_SUPER_MAGIC &&
	       !fstat(directory, &node) && node.st_ino == 1;
}

int mt_open_cgroup(int root, uint64_t id)
{
	/* A node's file handle is its id; <linux/exportfs.h> is not for us, and the kernel has had this number since 5.5. */
	union {
		struct file_handle handle;
		char space[sizeof(struct file_handle) + sizeof(id)];
	} node = {.handle = {.handle_bytes = sizeof(id), .handle_type = 0xfe /* FILEID_KERNFS */}};
	int descriptor;

	memcpy(node.handle.f_handle, &id, sizeof(id));
	descriptor = open_by_handle_at(root, &node.handle, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return descriptor < 0 ? -errno : descriptor;
}

int mt_deed_names(void)
{
	int directory = mt_mount_nowhere("tmpfs");
	int error = directory < 0 ? directory : naming(directory);

	if (directory >= 0)
		close(directory);
	/* These fail, having said nothing that could be done. */
	mount("", "/", "", MS_MOVE, NULL);
	syscall(SYS_move_mount, -1, "", -1, "", 0);
	syscall(SYS_pivot_root, "", "");
	return error;
}
