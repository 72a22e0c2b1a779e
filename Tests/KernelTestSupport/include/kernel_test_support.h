/* What the kernel tests need and Swift cannot call. */
#ifndef MARTLET_KERNEL_TEST_SUPPORT_H
#define MARTLET_KERNEL_TEST_SUPPORT_H

#include <sys/types.h>

struct mt_test_child {
	pid_t pid;
	int pidfd;
	int gate;   /* its standard input: it runs on when a byte comes */
	int output; /* its standard output, to read */
};

/* Starts a program, whose arguments end with NULL, in a directory. 0, or an errno. */
int mt_test_spawn(const char *program, char *const *arguments, const char *directory, struct mt_test_child *child);

#endif
