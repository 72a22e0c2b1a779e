#ifndef MARTLET_BPFFS_H
#define MARTLET_BPFFS_H

/* Where names of BPF objects live that shall outlive who made them. */
#define MT_BPFFS "/sys/fs/bpf"

/*
 * Makes sure that a BPF file system is mounted there. Returns 0, or a negative errno: -EXDEV if there is none and one that is
 * mounted here would go with our mount namespace.
 */
int mt_bpffs_mount(void);

/* A descriptor that only says which file has this name, a link's target if it is one; a negative errno. */
int mt_open_place(const char *path);

#endif
