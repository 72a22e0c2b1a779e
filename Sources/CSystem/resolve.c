#define _GNU_SOURCE
#include "resolve.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#ifndef RESOLVE_CACHED
#define RESOLVE_CACHED 0x20
#endif

/* -1: not known yet; 0: a kernel before 5.12 refuses RESOLVE_CACHED. */
static int have_cached = -1;

/* By the cache alone: -EAGAIN if anything would have to be read or asked for. */
static int open_cached(int root, const char *path, uint64_t flags)
{
	struct open_how how;
	int attempt;

	memset(&how, 0, sizeof(how));
	how.flags = O_PATH | O_CLOEXEC | flags;
	how.resolve = RESOLVE_NO_MAGICLINKS;
	if (root >= 0)
		how.resolve |= RESOLVE_IN_ROOT;
	if (__atomic_load_n(&have_cached, __ATOMIC_RELAXED) != 0)
		how.resolve |= RESOLVE_CACHED;
	/* A rename anywhere in between makes a walk of the cache fail: worth another try. */
	for (attempt = 0; attempt < 4; attempt++) {
		long fd = syscall(SYS_openat2, root >= 0 ? root : AT_FDCWD, path, &how, sizeof(how));

		if (fd >= 0) {
			if (how.resolve & RESOLVE_CACHED)
				__atomic_store_n(&have_cached, 1, __ATOMIC_RELAXED);
			return (int)fd;
		}
		if (errno == EINVAL && (how.resolve & RESOLVE_CACHED) &&
		    __atomic_load_n(&have_cached, __ATOMIC_RELAXED) < 0) {
			__atomic_store_n(&have_cached, 0, __ATOMIC_RELAXED);
			how.resolve &= ~(uint64_t)RESOLVE_CACHED;
			continue;
		}
		if (errno != EAGAIN)
			return -errno;
	}
	return -EAGAIN;
}

/* What a line of mountinfo tells. */
struct mounted {
	unsigned long id;
	unsigned major, minor;
	char kind[64];
};

static int parse_mount(const char *line, struct mounted *out)
{
	/* 36 35 98:0 /subtree /point options [optional…] - type source superoptions */
	const char *rest = strstr(line, " - ");

	return rest && sscanf(line, "%lu %*u %u:%u", &out->id, &out->major, &out->minor) == 3 &&
	       sscanf(rest, " - %63s", out->kind) == 1;
}

/* Of the mounts that a process sees the first of a superblock, or, with `id`, that one. Returns 0 if there is none. */
static int find_mount(const char *process, const struct mounted *wanted, struct mounted *out)
{
	char *line = NULL, path[64];
	size_t capacity = 0;
	int found = 0;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%s/mountinfo", process);
	file = fopen(path, "re");
	if (!file)
		return 0;
	while (!found && getline(&line, &capacity, file) > 0)
		found = parse_mount(line, out) && (wanted->id ? out->id == wanted->id :
			out->major == wanted->major && out->minor == wanted->minor);
	free(line);
	fclose(file);
	return found;
}

static int kind_answers_by_itself(const char *kind)
{
	static const char *const kinds[] = {"ext4", "ext3", "ext2", "xfs", "btrfs", "tmpfs", "ramfs",
					    "rootfs", "overlay", "f2fs", "zfs", "squashfs", "erofs"};

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		if (strcmp(kind, kinds[i]) == 0)
			return 1;
	}
	return 0;
}

/*
 * Whether a superblock is of a kind that answers by itself. Read anew each time: the
 * number of one that is gone may be given to another.
 */
static int answers_by_itself(uint32_t major, uint32_t minor)
{
	const struct mounted wanted = {.major = major, .minor = minor};
	struct mounted found;

	return find_mount("self", &wanted, &found) && kind_answers_by_itself(found.kind);
}

/*
 * From the last directory on the way that the cache leads to, within its file system: a
 * symbolic link may have to be read, and overlayfs reads them each time.
 */
static int open_within(int root, const char *path, uint64_t flags)
{
	char head[PATH_MAX * 2];
	size_t length = strlen(path);

	if (length >= sizeof(head))
		return -ENAMETOOLONG;
	memcpy(head, path, length + 1);
	for (;;) {
		struct open_how how;
		struct statx state;
		int base, fd;

		while (length > 0 && head[length - 1] == '/')
			length--;
		while (length > 0 && head[length - 1] != '/')
			length--;
		if (length == 0)
			return -EAGAIN;
		head[length] = 0;
		base = open_cached(root, head, O_DIRECTORY);
		if (base == -EAGAIN)
			continue;
		if (base < 0)
			return base;
		if (statx(base, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_BASIC_STATS, &state) < 0 ||
		    !answers_by_itself(state.stx_dev_major, state.stx_dev_minor)) {
			close(base);
			return -EAGAIN;
		}
		memset(&how, 0, sizeof(how));
		how.flags = O_PATH | O_CLOEXEC | flags;
		/* With a root of its own an absolute link would lead into ours. */
		how.resolve = RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV | (root >= 0 ? RESOLVE_BENEATH : 0);
		path += length;
		fd = (int)syscall(SYS_openat2, base, *path ? path : ".", &how, sizeof(how));
		if (fd < 0)
			fd = -errno;
		close(base);
		return fd;
	}
}

static int open_path(int root, const char *path, uint64_t flags)
{
	int fd = open_cached(root, path, flags);

	return fd == -EAGAIN ? open_within(root, path, flags) : fd;
}

long mt_canonical_path(int root, const char *path, int must_be_directory, char *out, size_t size)
{
	char link[64];
	long length;
	int fd = open_path(root, path, must_be_directory ? O_DIRECTORY : 0);

	if (fd < 0)
		return fd;
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	length = readlink(link, out, size);
	if (length < 0)
		length = -errno;
	close(fd);
	if (length >= 0 && (size_t)length >= size)
		return -ENAMETOOLONG;
	if (length > 0 && out[0] != '/')
		return -ENOENT;
	return length;
}

int mt_look_at(int root, const char *path, struct mt_looked_at *out)
{
	struct statx state;
	int error = 0;
	int fd = open_path(root, path, O_NOFOLLOW);

	if (fd < 0)
		return fd;
	memset(out, 0, sizeof(*out));
	/* As the cache has it: a file system in user space is not asked. */
	if (statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_BASIC_STATS, &state) < 0) {
		error = -errno;
	} else {
		out->ino = state.stx_ino;
		out->size = state.stx_size;
		out->ctime = (int64_t)state.stx_ctime.tv_sec * 1000000000 + state.stx_ctime.tv_nsec;
		out->dev = state.stx_dev_major << 20 | state.stx_dev_minor;
		out->mode = state.stx_mode;
		out->nlink = state.stx_nlink;
	}
	close(fd);
	return error;
}

/* Field 22 of /proc/PID/stat, in ticks; 0 if it cannot be read. */
static uint64_t start_in_ticks(int directory)
{
	char text[1024], *field;
	ssize_t length;
	int fd = openat(directory, "stat", O_RDONLY | O_CLOEXEC), skip;

	if (fd < 0)
		return 0;
	length = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (length <= 0)
		return 0;
	text[length] = 0;
	/* The name, field 2, may hold anything: count from behind its last parenthesis. */
	field = strrchr(text, ')');
	for (skip = 0; field && skip < 20; skip++) {
		field = strchr(field, ' ');
		if (field)
			field++;
	}
	return field ? strtoull(field, NULL, 10) : 0;
}

/* The directory in /proc of the process that started then. */
static int open_process(uint32_t pid, uint64_t start)
{
	char path[64];
	int directory;

	snprintf(path, sizeof(path), "/proc/%u", pid);
	directory = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (directory < 0)
		return -errno;
	if (start != 0) {
		long frequency = sysconf(_SC_CLK_TCK);
		uint64_t ticks = start_in_ticks(directory);
		uint64_t expected = frequency > 0 ? start / (1000000000ull / (uint64_t)frequency) : 0;

		if (ticks + 1 < expected || ticks > expected + 1) {
			close(directory);
			return -ESRCH;
		}
	}
	return directory;
}

static int open_of_process(uint32_t pid, uint64_t start, const char *name, int flags)
{
	int directory = open_process(pid, start), fd;

	if (directory < 0)
		return directory;
	fd = openat(directory, name, O_CLOEXEC | flags);
	if (fd < 0)
		fd = -errno;
	close(directory);
	return fd;
}

int mt_root_of_process(uint32_t pid, uint64_t start)
{
	return open_of_process(pid, start, "root", O_PATH | O_DIRECTORY);
}

int mt_image_of_process(uint32_t pid, uint64_t start)
{
	return open_of_process(pid, start, "exe", O_PATH);
}

int mt_network_of_process(uint32_t pid, uint64_t start)
{
	return open_of_process(pid, start, "ns/net", O_RDONLY);
}

int mt_open_named(int root, const char *path)
{
	return open_path(root, path, O_NOFOLLOW);
}

/* A file system that is mounted nowhere, in which the kernel keeps memfds. */
static int is_of_memory(uint32_t major, uint32_t minor)
{
	int fd = memfd_create("martlet-device", MFD_CLOEXEC);
	struct stat state;
	int same;

	if (fd < 0)
		return 0;
	same = fstat(fd, &state) == 0 && major(state.st_dev) == major && minor(state.st_dev) == minor;
	close(fd);
	return same;
}

int mt_identify(int fd, uint32_t pid, struct mt_looked_at *out)
{
	char path[64], process[16], text[512], *field;
	struct mounted wanted = {}, found;
	struct statx state;
	ssize_t length;
	int info;

	memset(out, 0, sizeof(*out));
	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	info = open(path, O_RDONLY | O_CLOEXEC);
	length = info < 0 ? -1 : read(info, text, sizeof(text) - 1);
	if (info >= 0)
		close(info);
	if (length <= 0)
		return -ENOENT;
	text[length] = 0;
	field = strstr(text, "mnt_id:");
	if (field)
		wanted.id = strtoul(field + 7, NULL, 10);
	snprintf(process, sizeof(process), "%u", pid);
	if (statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_BASIC_STATS, &state) < 0)
		return -errno;
	if (wanted.id && (find_mount("self", &wanted, &found) || (pid && find_mount(process, &wanted, &found)))) {
		if (!kind_answers_by_itself(found.kind))
			return -EXDEV;
		/* What stat(2) says is a number of the subvolume's own on btrfs. */
		out->dev = found.major << 20 | found.minor;
	} else if (is_of_memory(state.stx_dev_major, state.stx_dev_minor)) {
		out->dev = state.stx_dev_major << 20 | state.stx_dev_minor;
	} else {
		return -EXDEV;
	}
	/* From 5.14 on; before, stat(2)'s, which overlayfs may make up. */
	field = strstr(text, "\nino:");
	out->ino = field ? strtoull(field + 5, NULL, 10) : state.stx_ino;
	out->size = state.stx_size;
	out->ctime = (int64_t)state.stx_ctime.tv_sec * 1000000000 + state.stx_ctime.tv_nsec;
	out->mode = state.stx_mode;
	out->nlink = state.stx_nlink;
	return 0;
}

int mt_open_to_read(int fd)
{
	const int flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;
	char path[64];
	int opened;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	/* Who looks on leaves no trace, where that is allowed. */
	opened = open(path, flags | O_NOATIME);
	if (opened < 0 && errno == EPERM)
		opened = open(path, flags);
	return opened < 0 ? -errno : opened;
}

int mt_images_are_fixed(void)
{
	int fd = open("/proc/self/exe", O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return errno == ETXTBSY;
	close(fd);
	return 0;
}

int mt_is_on_overlay(int fd)
{
	struct statfs system;

	return !fstatfs(fd, &system) && system.f_type == OVERLAYFS_SUPER_MAGIC;
}

int mt_in_initial_pid_namespace(void)
{
	char text[32];
	ssize_t length = readlink("/proc/self/ns/pid", text, sizeof(text) - 1);

	if (length <= 0)
		return 0;
	text[length] = 0;
	/* PROC_PID_INIT_INO of the kernel, the same since 3.8. */
	return strcmp(text, "pid:[4026531836]") == 0;
}

void mt_close_descriptor(int fd)
{
	if (fd >= 0)
		close(fd);
}
