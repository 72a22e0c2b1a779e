/*
 * Looking at the file system the way a traced process did a moment ago, without ever
 * waiting for somebody: what is not in the kernel's caches is only read from file systems
 * that answer by themselves, so that one served by the job cannot hold the sensor up.
 */
#ifndef MARTLET_RESOLVE_H
#define MARTLET_RESOLVE_H

#include <stddef.h>
#include <stdint.h>

struct mt_looked_at {
	uint64_t ino;
	uint64_t size;
	int64_t ctime; /* nanoseconds of CLOCK_REALTIME */
	uint32_t dev;  /* major << 20 | minor */
	uint32_t mode;
	uint32_t nlink;
};

/*
 * The canonical path of what `path` leads to, last link followed, in `out` without a
 * terminating zero. `root`: -1, or a descriptor that is to be the root. Returns the
 * length or a negative errno.
 */
long mt_canonical_path(int root, const char *path, int must_be_directory, char *out, size_t size);

/* The file of that name, last link not followed. Returns 0 or a negative errno. */
int mt_look_at(int root, const char *path, struct mt_looked_at *out);

/*
 * A descriptor of the root directory of a process, or a negative errno. `start`: when
 * it started, in nanoseconds of CLOCK_BOOTTIME; -ESRCH if a process with that pid
 * started at another time. 0: not compared.
 */
int mt_root_of_process(uint32_t pid, uint64_t start);

/* Likewise of the program that a process runs, whatever has become of its name: a descriptor by O_PATH. */
int mt_image_of_process(uint32_t pid, uint64_t start);

/* Likewise of the network namespace that a process is in, as setns(2) takes it. */
int mt_network_of_process(uint32_t pid, uint64_t start);

/* The file of that name, last link not followed: a descriptor by O_PATH, or a negative errno. `root` as above. */
int mt_open_named(int root, const char *path);

/*
 * A file as the kernel's programs tell it, of which stat(2) may say something else (btrfs, overlayfs), by a descriptor
 * of any kind. `pid`: a process that may see mounts which this one does not, or 0. Returns -EXDEV for a file system
 * that does not answer by itself, which is not asked for anything, or another negative errno.
 */
int mt_identify(int fd, uint32_t pid, struct mt_looked_at *out);

/* 1 if the file is on an overlay: of its numbers that of the device alone is not the file's below. */
int mt_is_on_overlay(int fd);

/* A descriptor for reading the file behind one by O_PATH; a negative errno. */
int mt_open_to_read(int fd);

/* 1 if the kernel lets nobody write a file while it is executed, as all do but 6.11 and some 6.12. */
int mt_images_are_fixed(void);

/* 1 if this process' pid namespace is the initial one, whose numbers the records have. */
int mt_in_initial_pid_namespace(void);

void mt_close_descriptor(int fd);

#endif
