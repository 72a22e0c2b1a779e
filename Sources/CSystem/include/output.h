/*
 * System calls for a directory in which somebody hostile works at the same time: names are
 * looked up one component at a time beneath a held descriptor, and never through a link.
 * Functions return 0 or what they open, else a negative errno.
 */
#ifndef MARTLET_OUTPUT_H
#define MARTLET_OUTPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Opens the directory `name`, one component, beneath `parent`; -ELOOP or -ENOTDIR if it is a link. */
int mt_output_open_directory(int parent, const char *name);

/* Opens a directory anywhere, through links: for what the user named before the job began. */
int mt_output_open_parent(const char *path);

/* Creates `name` beneath `directory` for writing and reading, 0600; -EEXIST for whatever is there. */
int mt_output_create_file(int directory, const char *name);

/* Opens a regular file that is there for reading, not through a link (-ELOOP), nor on another file system. */
int mt_output_read_file(int directory, const char *name);

/* Opens an existing regular file for reading and writing, not through a link. */
int mt_output_open_file(int directory, const char *name);

enum mt_output_rename {
	MT_OUTPUT_KEEP = 0,     /* -EEXIST if there is something at the new name */
	MT_OUTPUT_EXCHANGE = 1, /* swaps the two */
	MT_OUTPUT_PLAIN = 2,    /* rename(2): a directory takes the place of nothing or of an empty one */
};

/* Renames within one directory. */
int mt_output_rename(int directory, const char *from, const char *to, enum mt_output_rename how);

/* Whatever `name` is beneath `directory`, not followed, or `directory` itself if `name` is NULL. */
struct mt_output_status {
	uint64_t device, inode;
	uint64_t links;
	uint64_t size;
	uid_t user;
	bool is_directory, is_regular;
};
int mt_output_status(int directory, const char *name, struct mt_output_status *status);

/* Calls `body` with each name but . and .. until it answers false. */
int mt_output_list(int directory, bool (*body)(const char *name, void *context), void *context);

/* Gives the file behind `file` another name; needs CAP_DAC_READ_SEARCH. */
int mt_output_link(int file, int directory, const char *name);

/* Random bytes for a name; false if the kernel has none. */
bool mt_output_random(void *bytes, size_t count);

#endif
