/* Trying out the kernel's hooks: attaching by perf events, and deeds that hooks have to see. */
#ifndef MARTLET_PROBE_H
#define MARTLET_PROBE_H

#include <stdbool.h>
#include <stdint.h>

/*
 * Opens a perf event for a tracepoint or a probe. `type` is its kind's number in /sys/bus/event_source/devices,
 * `config` the tracepoint's id or the flags of a probe, `name` the function or file of a probe and `offset` the place
 * in it. Returns a descriptor or a negative errno.
 */
int mt_event_open(uint32_t type, uint64_t config, const char *name, uint64_t offset);

/* Runs the BPF program behind `program` at an event, until the event is closed. Returns 0 or a negative errno. */
int mt_event_attach(int event, int program);

enum mt_deed {
	MT_DEED_PROCESS,  /* a child is born, runs another program and ends */
	MT_DEED_CALL,     /* a system call */
	MT_DEED_NAME,     /* this thread is given the name that it has */
	MT_DEED_OPEN,     /* /dev/null is opened and closed */
	MT_DEED_IPV4,     /* sockets on 127.0.0.1 connect, send, are bound, listen and are closed */
	MT_DEED_IPV6,     /* the same on ::1 */
	MT_DEED_URING,    /* io_uring is given an operation that does nothing */
	MT_DEED_FUNCTION, /* mt_deed_function is called */
	MT_DEED_DESCRIPTORS, /* files, pipes and sockets get numbers, are duplicated, passed on, mapped and closed */
	MT_DEED_NAMES,    /* files in a file system that is mounted nowhere are made, named, changed, copied and removed */
	MT_DEED_ACCESS,   /* a child reads another one's memory, which offers itself to be traced */
	MT_DEED_MEMORY,   /* memory is mapped and protected in another way */
	MT_DEED_RIGHTS,   /* a child sets the users, groups and capabilities that it has */
	MT_DEED_SYSTEM,   /* modules and namespaces are asked for that are not there */
	MT_DEED_BPF,      /* a BPF map and a program are made and closed */
	MT_DEED_MOUNT,    /* a child mounts and unmounts in a namespace of its own */
	MT_DEED_COMPAT,   /* a child makes 32-bit calls that are refused */
	MT_DEED_CGROUP,   /* a cgroup is made and removed */
	MT_DEED_SIGNAL,   /* a child signals itself, also by a file, with what it ignores, and sets a limit to what it is */
	MT_DEED_CONNECTION, /* a connection on 127.0.0.1 is made, used, and reset by one end */
};

/* Does it. Returns 0, or a negative errno if it cannot be done here. */
int mt_deed(enum mt_deed deed);

/*
 * Mounts a file system of that type in no directory: it is gone when its last descriptor is. Returns a descriptor of its
 * root, which only opens what lies below, or a negative errno. Takes Linux 5.2 and CAP_SYS_ADMIN.
 */
int mt_mount_nowhere(const char *type);

/* Whether a directory is the root of the cgroup v2 hierarchy, and not what a cgroup namespace shows as that. */
bool mt_is_cgroup2_root(int directory);

/* Opens the directory of a cgroup by its id, of the hierarchy that `root` is in. Returns a negative errno where it fails. */
int mt_open_cgroup(int root, uint64_t id);

int mt_deed_descriptors(void);
int mt_deed_names(void);
int mt_deed_security(enum mt_deed deed);

/* Does nothing, for a probe to be put on. */
void mt_deed_function(void);

#endif
