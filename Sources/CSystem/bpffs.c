#define _GNU_SOURCE
#include "include/bpffs.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>

/* The initial mount namespace, in kernels that give it a number of its own (6.18), and before those. */
#define INITIAL 0xeffffff8u
#define INITIAL_BEFORE 0xf0000000u

/* Whether what we mount is there for the whole machine: we are in the mount namespace of its first process. */
static int is_machines(void)
{
	struct stat own, first;

	if (stat("/proc/self/ns/mnt", &own))
		return 0;
	/* Not everybody may look at that. */
	if (stat("/proc/1/ns/mnt", &first))
		return own.st_ino == INITIAL || own.st_ino == INITIAL_BEFORE;
	return own.st_dev == first.st_dev && own.st_ino == first.st_ino;
}

int mt_bpffs_mount(void)
{
	struct statfs found;

	if (statfs(MT_BPFFS, &found))
		return -errno;
	if (found.f_type == BPF_FS_MAGIC)
		return 0;
	if (!is_machines())
		return -EXDEV;
	return mount("bpf", MT_BPFFS, "bpf", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=0700") ? -errno : 0;
}

int mt_open_place(const char *path)
{
	int descriptor = open(path, O_PATH | O_CLOEXEC);

	return descriptor < 0 ? -errno : descriptor;
}
