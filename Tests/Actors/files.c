/* Opening files: by every call that can, and under every kind of name. */
#include "actor.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static int open_by_handle(const char *name)
{
	struct {
		struct file_handle head;
		unsigned char bytes[MAX_HANDLE_SZ];
	} handle = {.head = {.handle_bytes = MAX_HANDLE_SZ}};
	int mount_id, directory = check(open(".", O_RDONLY | O_DIRECTORY), "open .");

	if (name_to_handle_at(AT_FDCWD, name, &handle.head, &mount_id, 0) < 0)
		unsupported("name_to_handle_at");
	int fd = open_by_handle_at(directory, &handle.head, O_RDWR);
	if (fd < 0)
		unsupported("open_by_handle_at");
	return fd;
}

/* open ROUTE: opens one file and keeps it open until the exit. Those routes that do not create it expect "file". */
static void open_route(int argc, char **argv)
{
	const char *route = argc > 0 ? argv[0] : "", *name = "file";
	int fd = -1;

	if (strcmp(route, "open") == 0) {
		fd = syscall(SYS_open, name, O_RDWR | O_CREAT, 0644);
	} else if (strcmp(route, "openat") == 0) {
		make_directory("sub");
		int directory = check(open("sub", O_RDONLY | O_DIRECTORY), "open sub");
		fd = syscall(SYS_openat, directory, name, O_WRONLY | O_CREAT | O_EXCL, 0600);
		name = "sub/file";
	} else if (strcmp(route, "openat2") == 0) {
		struct open_how how = {.flags = O_RDWR | O_CREAT | O_TRUNC, .mode = 0640, .resolve = RESOLVE_BENEATH};
		fd = syscall(SYS_openat2, AT_FDCWD, name, &how, sizeof how);
	} else if (strcmp(route, "creat") == 0) {
		fd = syscall(SYS_creat, name, 0644);
	} else if (strcmp(route, "append") == 0) {
		fd = syscall(SYS_openat, AT_FDCWD, name, O_WRONLY | O_APPEND | O_CLOEXEC);
	} else if (strcmp(route, "read") == 0) {
		fd = syscall(SYS_openat, AT_FDCWD, name, O_RDONLY);
	} else if (strcmp(route, "directory") == 0) {
		make_directory(name);
		fd = syscall(SYS_openat, AT_FDCWD, name, O_RDONLY | O_DIRECTORY);
	} else if (strcmp(route, "fifo") == 0) {
		check(mkfifo(name, 0600), "mkfifo");
		fd = syscall(SYS_openat, AT_FDCWD, name, O_RDWR);
	} else if (strcmp(route, "device") == 0) {
		name = "/dev/null";
		fd = syscall(SYS_openat, AT_FDCWD, name, O_RDWR);
	} else if (strcmp(route, "tmpfile") == 0) {
		fd = syscall(SYS_openat, AT_FDCWD, ".", O_RDWR | O_TMPFILE, 0600);
		name = "";
	} else if (strcmp(route, "memfd") == 0) {
		fd = syscall(SYS_memfd_create, "martlet-memory", 0);
		name = "";
	} else if (strcmp(route, "handle") == 0) {
		fd = open_by_handle(name);
	} else if (strcmp(route, "uring") == 0) {
		fd = uring_open(name, O_RDWR, 0, 0);
	} else if (strcmp(route, "compat-open") == 0) {
		fd = compat(5, low_copy(name, strlen(name) + 1), O_RDWR | O_CREAT, 0644, 0);
	} else if (strcmp(route, "compat-openat") == 0) {
		fd = compat(295, AT_FDCWD, low_copy(name, strlen(name) + 1), O_WRONLY | O_CREAT, 0644);
	} else if (strcmp(route, "compat-creat") == 0) {
		fd = compat(8, low_copy(name, strlen(name) + 1), 0644, 0, 0);
	} else {
		errno = EINVAL;
	}
	check(fd, route);
	fact_file("file", fd);
	if (name[0] != 0)
		fact_path("path", name);
}

/* The path as the kernel says it, unless something is appended to it. */
static void fact_kernel_path(const char *key, int fd)
{
	char link[64], path[4200];

	snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
	ssize_t length = check(readlink(link, path, sizeof path), "readlink");
	fact_bytes(key, path, length);
}

/* LEVELS directories, one in the other, with names of WIDTH bytes; ends in the last, whose path it returns. */
static char *descend(int levels, int width)
{
	static char path[8192];
	char name[256];

	strcpy(path, start_directory);
	for (int level = 0; level < levels; level++) {
		memset(name, 'a' + level % 26, width);
		snprintf(name + width - 3, 4, "%03d", level);
		make_directory(name);
		check(chdir(name), name);
		strcat(strcat(path, "/"), name);
	}
	return path;
}

static int open_new(const char *name)
{
	return check(open(name, O_RDWR | O_CREAT, 0644), name);
}

static void own_mounts(void)
{
	if (unshare(CLONE_NEWNS) < 0)
		unsupported("unshare");
	check(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), "make mounts private");
}

/* All layers on one file system: only then do an overlay's files have the numbers that stat(2) shows. */
static void overlay(void)
{
	own_mounts();
	make_directory("layers");
	check(mount("tmpfs", "layers", "tmpfs", 0, NULL), "mount tmpfs");
	make_directory("layers/lower");
	make_directory("layers/upper");
	make_directory("layers/work");
	make_directory("merged");
	make_file("layers/lower/below", "below\n");
	if (mount("overlay", "merged", "overlay", 0, "lowerdir=layers/lower,upperdir=layers/upper,workdir=layers/work") < 0)
		unsupported("mount overlay");
}

/* name KIND: opens one file to write by a name of this kind. */
static void open_name(int argc, char **argv)
{
	const char *kind = argc > 0 ? argv[0] : "";
	char *deep;
	int fd;

	if (strcmp(kind, "relative") == 0) {
		make_directory("sub");
		fact_file("file", fd = open_new("./sub//file"));
		fact_path("path", "sub/file");
	} else if (strcmp(kind, "dotdot") == 0) {
		make_directory("sub");
		make_directory("sub/inner");
		check(chdir("sub/inner"), "chdir");
		fact_file("file", fd = open_new("../../sub/./inner/../file"));
		fact_path("path", "sub/file");
	} else if (strcmp(kind, "symlink") == 0) {
		make_directory("real");
		check(symlink("real", "alias"), "symlink");
		make_file("real/target", "");
		check(symlink("target", "real/file"), "symlink");
		fact_file("file", fd = open_new("alias/file"));
		fact_path("path", "real/target");
	} else if (strcmp(kind, "hardlink") == 0) {
		make_file("first", "");
		check(link("first", "second"), "link");
		fact_file("file", fd = open_new("second"));
		fact_path("path", "second");
	} else if (strcmp(kind, "deep") == 0 || strcmp(kind, "long") == 0 || strcmp(kind, "too-long") == 0) {
		int levels = strcmp(kind, "deep") == 0 ? 60 : strcmp(kind, "long") == 0 ? 19 : 25;
		deep = descend(levels, strcmp(kind, "deep") == 0 ? 4 : 200);
		fact_file("file", fd = open_new("file"));
		fact_text("path", strcat(deep, "/file"));
	} else if (strcmp(kind, "chroot") == 0) {
		make_directory("jail");
		make_directory("jail/sub");
		check(chroot("jail"), "chroot");
		check(chdir("/"), "chdir");
		fact_file("file", fd = open_new("/sub/file"));
		fact_path("path", "jail/sub/file");
	} else if (strcmp(kind, "bind") == 0) {
		own_mounts();
		make_directory("source");
		make_directory("place");
		check(mount("source", "place", NULL, MS_BIND, NULL), "bind mount");
		fact_file("file", fd = open_new("place/file"));
		fact_path("path", "place/file");
	} else if (strcmp(kind, "overlay") == 0) {
		overlay();
		fact_file("file", fd = open_new("merged/file"));
		fact_path("path", "merged/file");
	} else if (strcmp(kind, "overlay-lower") == 0) {
		overlay();
		fact_file("file", fd = check(open("merged/below", O_RDONLY), "open"));
		fact_path("path", "merged/below");
	} else if (strcmp(kind, "deleted") == 0) {
		char link[64];
		int first = open_new("file");
		check(unlink("file"), "unlink");
		snprintf(link, sizeof link, "/proc/self/fd/%d", first);
		fact_file("file", fd = check(open(link, O_RDONLY), "open"));
		fact_path("path", "file");
	} else if (strcmp(kind, "bytes") == 0) {
		fact_file("file", fd = open_new("\xff\xfe\x80 name \xc3\x28"));
		fact_path("path", "\xff\xfe\x80 name \xc3\x28");
	} else if (strcmp(kind, "newline") == 0) {
		fact_file("file", fd = open_new("a\nb\tc\\\"d\x7f\x1b[31m"));
		fact_path("path", "a\nb\tc\\\"d\x7f\x1b[31m");
	} else if (strcmp(kind, "longest") == 0) {
		char name[256] = {0};
		memset(name, 'n', 255);
		fact_file("file", fd = open_new(name));
		fact_path("path", name);
	} else {
		errno = EINVAL;
		fail(kind);
	}
	if (strcmp(kind, "chroot") != 0 && strcmp(kind, "deleted") != 0 && strcmp(kind, "too-long") != 0)
		fact_kernel_path("kernel-path", fd);
}

/* again: the same image opens the same file in the same mode many times, then in another mode. */
static void open_again(int argc, char **argv)
{
	(void)argc, (void)argv;
	make_file("file", "text\n");
	for (int i = 0; i < 10; i++)
		close(check(open("file", O_RDONLY), "open"));
	int fd = check(open("file", O_RDWR), "open");
	fact_file("file", fd);
	fact_path("path", "file");
	fact("reads", 10);
}

/* renamed: a name that changes between two opens, and a directory whose name does. */
static void open_renamed(int argc, char **argv)
{
	(void)argc, (void)argv;
	make_directory("before");
	make_file("before/one", "1\n");
	int fd = check(open("before/one", O_RDONLY), "open");
	fact_file("one", fd);
	check(rename("before", "after"), "rename");
	make_file("after/two", "2\n");
	fd = check(open("after/two", O_RDONLY), "open");
	fact_file("two", fd);
	fd = check(open("after/one", O_RDWR), "open");
	fact_path("one-before", "before/one");
	fact_path("one-after", "after/one");
	fact_path("two", "after/two");
}

/* missing N: so many opens that fail. */
static void open_missing(int argc, char **argv)
{
	int count = argc > 0 ? atoi(argv[0]) : 1;

	for (int i = 0; i < count; i++)
		if (open("no such file", O_RDONLY) >= 0)
			fail("no such file");
}

const struct verb file_verbs[] = {
	{"open", open_route}, {"name", open_name}, {"again", open_again}, {"renamed", open_renamed},
	{"missing", open_missing}, {0},
};
