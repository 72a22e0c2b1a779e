/* What a job's filters leave out, and what they do not. */
#include "actor.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static void use(const char *name)
{
	make_file(name, "text\n");
	int fd = check(open(name, O_RDONLY), name);

	close(fd);
}

/* Opened, duplicated, mapped, given another length; by descriptor, so that it is known which file is meant. */
static void change(const char *name)
{
	int fd = check(open(name, O_RDWR | O_CREAT, 0644), name);
	int other = check(dup2(fd, 200), "dup2");

	check(ftruncate(fd, 4096), "ftruncate");
	void *memory = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (memory == MAP_FAILED)
		fail("mmap");
	munmap(memory, 4096);
	close(fd);
	close(other);
}

/* filtered: deeds within out, within out/in that is part of it, within out/in/no that is part of that, and outside. */
static void filtered(int argc, char **argv)
{
	static const char *const directories[] = {"out", "out/deep", "out/in", "out/in/no", "outer"};

	(void)argc, (void)argv;
	for (unsigned i = 0; i < sizeof directories / sizeof *directories; i++)
		make_directory(directories[i]);
	use("out/file");
	use("out/deep/file");
	use("out/in/file");
	use("out/in/no/file");
	use("outer/file");
	use("file");
	for (unsigned i = 0; i < sizeof directories / sizeof *directories; i++)
		close(check(open(directories[i], O_RDONLY | O_DIRECTORY), directories[i]));
	change("out/changed");
	change("out/in/changed");
	check(rename("out/file", "out/renamed"), "rename");
	check(rename("out/deep/file", "out/in/moved"), "rename");
	check(rename("outer/file", "out/brought"), "rename");
	check(chmod("out/renamed", 0600), "chmod");
	check(chmod("out/in/file", 0600), "chmod");
	check(unlink("out/renamed"), "unlink");
	check(unlink("out/in/moved"), "unlink");
}

/* filtered-users UID: opens a file as root, then one as this user. */
static void filtered_users(int argc, char **argv)
{
	uid_t uid = argc > 0 ? (uid_t)atoi(argv[0]) : 0;

	check(chmod(".", 0777), "chmod");
	use("first");
	check(seteuid(uid), "seteuid");
	use("second");
}

/* filtered-child: opens a file that a child with an image of its own inherits. */
static void filtered_child(int argc, char **argv)
{
	(void)argc, (void)argv;
	make_file("given", "text\n");
	int fd = check(open("given", O_RDWR), "open");

	dup2(fd, 100);
	pid_t child = check(fork(), "fork");
	if (child == 0)
		run_self("exit", "0", NULL);
	reap(child);
}

/* filtered-long N: a file below a directory whose path has N bytes, and one below another whose path begins so. */
static void filtered_long(int argc, char **argv)
{
	char name[300] = "", file[310];
	size_t length = (argc > 0 ? atoi(argv[0]) : 0) - strlen(start_directory) - 1;

	if (length >= 255)
		fail("filtered-long");
	memset(name, 'x', length);
	for (int i = 0; i < 2; i++) {
		make_directory(name);
		snprintf(file, sizeof file, "%s/file", name);
		use(file);
		fact_path(i ? "told" : "left", file);
		name[length] = 'y';
	}
}

const struct verb filter_verbs[] = {
	{"filtered", filtered}, {"filtered-users", filtered_users}, {"filtered-child", filtered_child},
	{"filtered-long", filtered_long}, {0},
};
