/* Changing names: each kind makes what it needs, then does one thing to one name or two. */
#include "actor.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

static void paths(const char *path, const char *path2)
{
	fact_path("path", path);
	if (path2 != NULL)
		fact_path("path2", path2);
}

static int directory(const char *name)
{
	return check(open(name, O_RDONLY | O_DIRECTORY), name);
}

static int renames(const char *kind)
{
	make_file("one", "1\n");
	if (strcmp(kind, "rename") == 0) {
		paths("one", "two");
		return syscall(SYS_rename, "one", "two");
	}
	if (strcmp(kind, "rename-over") == 0) {
		make_file("two", "2\n");
		paths("one", "two");
		return syscall(SYS_rename, "one", "two");
	}
	if (strcmp(kind, "rename-exchange") == 0) {
		make_file("two", "2\n");
		paths("one", "two");
		fact("flags", RENAME_EXCHANGE);
		return syscall(SYS_renameat2, AT_FDCWD, "one", AT_FDCWD, "two", RENAME_EXCHANGE);
	}
	if (strcmp(kind, "rename-noreplace") == 0) {
		paths("one", "two");
		fact("flags", RENAME_NOREPLACE);
		return syscall(SYS_renameat2, AT_FDCWD, "one", AT_FDCWD, "two", RENAME_NOREPLACE);
	}
	if (strcmp(kind, "renameat") == 0) {
		make_directory("from");
		make_directory("to");
		make_file("from/file", "1\n");
		paths("from/file", "to/other");
		int from = directory("from"), to = directory("to");
		return syscall(SYS_renameat, from, "file", to, "other");
	}
	if (strcmp(kind, "rename-directory") == 0) {
		make_directory("from");
		paths("from", "to");
		return syscall(SYS_rename, "from", "to");
	}
	errno = EINVAL;
	return -1;
}

static int links(const char *kind)
{
	make_file("one", "1\n");
	if (strcmp(kind, "link") == 0) {
		paths("one", "two");
		return syscall(SYS_link, "one", "two");
	}
	if (strcmp(kind, "linkat") == 0) {
		make_directory("to");
		paths("one", "to/two");
		int to = directory("to");
		return syscall(SYS_linkat, AT_FDCWD, "one", to, "two", 0);
	}
	if (strcmp(kind, "symlink") == 0) {
		fact_path("path", "alias");
		fact_text("text", "../any/where");
		return syscall(SYS_symlink, "../any/where", "alias");
	}
	if (strcmp(kind, "symlinkat") == 0) {
		make_directory("to");
		fact_path("path", "to/alias");
		fact_text("text", "/absolute");
		int to = directory("to");
		return syscall(SYS_symlinkat, "/absolute", to, "alias");
	}
	errno = EINVAL;
	return -1;
}

static int removals(const char *kind)
{
	make_directory("real");
	make_directory("real/inner");
	make_file("real/file", "1\n");
	if (strcmp(kind, "unlink") == 0) {
		paths("real/file", NULL);
		return syscall(SYS_unlink, "real/file");
	}
	if (strcmp(kind, "unlinkat") == 0) {
		paths("real/file", NULL);
		return syscall(SYS_unlinkat, directory("real"), "file", 0);
	}
	if (strcmp(kind, "unlink-alias") == 0) {
		check(symlink("real/inner", "alias"), "symlink");
		paths("real/file", NULL);
		return syscall(SYS_unlink, "alias/../file");
	}
	if (strcmp(kind, "unlink-absolute") == 0) {
		char path[8192];
		snprintf(path, sizeof path, "%s/./real//file", start_directory);
		paths("real/file", NULL);
		return syscall(SYS_unlink, path);
	}
	if (strcmp(kind, "unlink-chroot") == 0) {
		check(chroot("real"), "chroot");
		check(chdir("/inner"), "chdir");
		paths("real/file", NULL);
		return syscall(SYS_unlink, "/file");
	}
	if (strcmp(kind, "rmdir") == 0) {
		paths("real/inner", NULL);
		return syscall(SYS_rmdir, "real/inner");
	}
	if (strcmp(kind, "rmdir-at") == 0) {
		fact("flags", AT_REMOVEDIR);
		paths("real/inner", NULL);
		return syscall(SYS_unlinkat, directory("real"), "inner", AT_REMOVEDIR);
	}
	errno = EINVAL;
	return -1;
}

static int creations(const char *kind)
{
	umask(022);
	make_directory("sub");
	fact("argument", strncmp(kind, "mknod", 5) == 0 ? S_IFIFO | 0640 : 0750);
	if (strcmp(kind, "mkdir") == 0) {
		paths("made", NULL);
		return syscall(SYS_mkdir, "made", 0750);
	}
	if (strcmp(kind, "mkdirat") == 0) {
		paths("sub/made", NULL);
		return syscall(SYS_mkdirat, directory("sub"), "made", 0750);
	}
	if (strcmp(kind, "mknod") == 0) {
		paths("made", NULL);
		return syscall(SYS_mknod, "made", S_IFIFO | 0640, 0);
	}
	if (strcmp(kind, "mknodat") == 0) {
		paths("sub/made", NULL);
		return syscall(SYS_mknodat, directory("sub"), "made", S_IFIFO | 0640, 0);
	}
	errno = EINVAL;
	return -1;
}

static int attributes(const char *kind)
{
	const long long owner = 1000LL << 32 | 2000;

	make_file("file", "0123456789\n");
	int fd = check(open("file", O_RDWR), "open");
	paths("file", NULL);
	if (kind[0] == 'f' && strstr(kind, "at") == NULL)
		fact_file("file", fd);
	if (strcmp(kind, "ftruncate") == 0)
		fact_file("file", fd);
	if (strcmp(kind, "truncate") == 0) {
		fact("argument", 4);
		return syscall(SYS_truncate, "file", 4L);
	}
	if (strcmp(kind, "ftruncate") == 0) {
		fact("argument", 5);
		return syscall(SYS_ftruncate, fd, 5L);
	}
	fact("argument", strstr(kind, "chmod") != NULL ? 04711 : owner);
	if (strcmp(kind, "chmod") == 0)
		return syscall(SYS_chmod, "file", 04711);
	if (strcmp(kind, "fchmod") == 0)
		return syscall(SYS_fchmod, fd, 04711);
	if (strcmp(kind, "fchmodat") == 0)
		return syscall(SYS_fchmodat, directory("."), "file", 04711);
	if (strcmp(kind, "chown") == 0)
		return syscall(SYS_chown, "file", 1000, 2000);
	if (strcmp(kind, "lchown") == 0) {
		fact("flags", AT_SYMLINK_NOFOLLOW); /* what the call does, as the sensor says it */
		return syscall(SYS_lchown, "file", 1000, 2000);
	}
	if (strcmp(kind, "fchown") == 0)
		return syscall(SYS_fchown, fd, 1000, 2000);
	if (strcmp(kind, "fchownat") == 0) {
		fact("flags", AT_SYMLINK_NOFOLLOW);
		return syscall(SYS_fchownat, AT_FDCWD, "file", 1000, 2000, AT_SYMLINK_NOFOLLOW);
	}
	errno = EINVAL;
	return -1;
}

static void path(int argc, char **argv)
{
	const char *kind = argc > 0 ? argv[0] : "";
	int result;

	if (strncmp(kind, "rename", 6) == 0)
		result = renames(kind);
	else if (strstr(kind, "unlink") != NULL || strncmp(kind, "rmdir", 5) == 0)
		result = removals(kind);
	else if (strstr(kind, "link") != NULL)
		result = links(kind);
	else if (strncmp(kind, "mk", 2) == 0)
		result = creations(kind);
	else
		result = attributes(kind);
	check(result, kind);
}

/* refused: every one of them, where it cannot succeed. */
static void refused(int argc, char **argv)
{
	(void)argc, (void)argv;
	const int results[] = {
		rename("none", "other"), unlink("none"), rmdir("none"), link("none", "other"), symlink("x", "none/other"),
		mkdir("none/other", 0755), mknod("none/other", S_IFIFO | 0600, 0), truncate("none", 0), chmod("none", 0600),
		chown("none", 0, 0),
	};
	for (size_t i = 0; i < sizeof results / sizeof *results; i++)
		if (results[i] == 0)
			fail("refused");
	fact("count", sizeof results / sizeof *results);
}

const struct verb path_verbs[] = {{"path", path}, {"refused", refused}, {0}};
