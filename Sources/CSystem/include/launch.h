/*
 * Starting a command and standing aside: what martlet was started with, the code that
 * runs between fork and exec (async-signal-safe, so it is C), and the signals and
 * stops that go to and fro afterwards. Functions return 0 or a negative errno.
 */
#ifndef MARTLET_LAUNCH_H
#define MARTLET_LAUNCH_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* What martlet was started with, which the command must find as if martlet were not there: signal
 * mask and dispositions, resource limits, open descriptors. */
struct mt_inherited;

/* Notes all that, and makes sure that 0, 1 and 2 are open: one that was closed becomes
 * /dev/null for martlet and is closed again for the command. Call it first of all and once,
 * while there is one thread. NULL, and errno, if that cannot be had. */
const struct mt_inherited *mt_inherited_read(void);

/* Those that a command inherits: how many, or -EBADF: too many, or no /proc. */
long mt_inherited_descriptors(const struct mt_inherited *inherited, const int **descriptors);

/* Whether `signal` was ignored then. */
bool mt_inherited_ignores(const struct mt_inherited *inherited, int signal);

/* Blocks every signal that can be forwarded, for this thread and those that it starts,
 * and lets SIGCHLD be seen. `descriptor` becomes a signalfd for them. */
int mt_signals_take(int *descriptor);

struct mt_launch_plan {
	const struct mt_inherited *inherited;
	char *const *candidates;   /* paths to try in this order, ended by NULL */
	char *const *arguments;
	char *const *environment;
	char **script_arguments;   /* "/bin/sh", room for a candidate, arguments[1...], NULL */
	bool changes_user;
	uid_t uid;
	gid_t gid;
	const gid_t *groups;
	size_t group_count;
};

struct mt_child {
	pid_t pid;
	int pidfd;   /* close-on-exec */
	int gate;    /* the child waits until a byte comes out of this, and leaves if it is closed */
	int failure; /* a struct mt_launch_failure, or the end of file when the command runs */
};

enum mt_launch_stage {
	MT_LAUNCH_RUNS = 0,
	MT_LAUNCH_LIMITS = 1, /* restoring a resource limit */
	MT_LAUNCH_GROUPS = 2, /* setgroups, setresgid */
	MT_LAUNCH_USER = 3,   /* setresuid */
	MT_LAUNCH_CAPABILITIES = 4,
	MT_LAUNCH_EXEC = 5,
};

struct mt_launch_failure {
	int32_t stage; /* enum mt_launch_stage */
	int32_t error; /* errno */
};

/* Makes the child, which waits at the gate. */
int mt_launch_start(const struct mt_launch_plan *plan, struct mt_child *child);

/* Opens the gate and returns when the command runs, or says what went wrong. */
int mt_launch_release(struct mt_child *child, struct mt_launch_failure *failure);

/* Ends a child that is still at the gate, and reaps it. */
void mt_launch_abandon(struct mt_child *child);

struct mt_signal {
	int number;
	bool from_kernel; /* the terminal, for one: it sends to the whole process group */
	pid_t sender;     /* 0 from the kernel or from outside our pid namespace */
};

/* 1 with a signal in `signal`, 0 if none is waiting, or a negative errno. */
int mt_signal_read(int descriptor, struct mt_signal *signal);

/* 1 when `pid` changed its state (status as wait(2) gives it), 0 if it did not, or a negative errno. */
int mt_wait(pid_t pid, int *status);

/* Sends through the pidfd, which cannot hit another process. */
int mt_pidfd_signal(int pidfd, int signal);

/* Waits for `signals` or `child` to become readable: bit 0 and 1 of the answer. -1 waits for ever. */
int mt_poll(int signals, int child, int milliseconds);

/* Lets `signal` do to this process what it does by default. For SIGTSTP, SIGTTIN and SIGTTOU it returns
 * when somebody continued us, or at once if the kernel dropped the signal because nobody could
 * continue an orphaned group; for a signal that ends the process it does not return. */
void mt_obey(int signal);

/* For a thread: its name, and a better place in the scheduler's queue if that is allowed. */
void mt_thread_describe(const char *name, int nice);

/* The environment as it is: Swift's own view is of repaired strings. */
char **mt_environment(void);

#endif
