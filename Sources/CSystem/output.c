#define _GNU_SOURCE
#include "include/output.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* `name` is one component, so that O_NOFOLLOW alone says the same where a seccomp filter does not
 * know openat2. */
static int open_beneath(int directory, const char *name, int flags, mode_t mode)
{
	struct open_how how = {
		.flags = (uint64_t)(flags | O_NOFOLLOW | O_CLOEXEC),
		.mode = flags & O_CREAT ? mode : 0,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV,
	};
	long descriptor;

	if (strchr(name, '/'))
		return -EINVAL;
	descriptor = syscall(SYS_openat2, directory, name, &how, sizeof(how));
	if (descriptor < 0 && (errno == ENOSYS || errno == EPERM))
		descriptor = openat(directory, name, flags | O_NOFOLLOW | O_CLOEXEC, mode);
	return descriptor < 0 ? -errno : (int)descriptor;
}

int mt_output_open_directory(int parent, const char *name)
{
	return open_beneath(parent, name, O_RDONLY | O_DIRECTORY, 0);
}

int mt_output_open_parent(const char *path)
{
	int descriptor = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return descriptor < 0 ? -errno : descriptor;
}

int mt_output_create_file(int directory, const char *name)
{
	return open_beneath(directory, name, O_RDWR | O_CREAT | O_EXCL, 0600);
}

static int open_regular(int directory, const char *name, int flags)
{
	struct stat status;
	/* Not to hang on a planted pipe. */
	int descriptor = open_beneath(directory, name, flags | O_NONBLOCK | O_NOCTTY, 0);

	if (descriptor < 0)
		return descriptor;
	if (fstat(descriptor, &status) || !S_ISREG(status.st_mode)) {
		close(descriptor);
		return -EINVAL;
	}
	return descriptor;
}

int mt_output_read_file(int directory, const char *name)
{
	return open_regular(directory, name, O_RDONLY);
}

int mt_output_open_file(int directory, const char *name)
{
	return open_regular(directory, name, O_RDWR);
}

int mt_output_rename(int directory, const char *from, const char *to, enum mt_output_rename how)
{
	unsigned int flags = how == MT_OUTPUT_EXCHANGE ? RENAME_EXCHANGE : how == MT_OUTPUT_KEEP ? RENAME_NOREPLACE : 0;

	return renameat2(directory, from, directory, to, flags) ? -errno : 0;
}

int mt_output_status(int directory, const char *name, struct mt_output_status *status)
{
	struct stat found;

	if (name ? fstatat(directory, name, &found, AT_SYMLINK_NOFOLLOW) : fstat(directory, &found))
		return -errno;
	*status = (struct mt_output_status){
		.device = found.st_dev,
		.inode = found.st_ino,
		.links = found.st_nlink,
		.size = (uint64_t)found.st_size,
		.user = found.st_uid,
		.is_directory = S_ISDIR(found.st_mode),
		.is_regular = S_ISREG(found.st_mode),
	};
	return 0;
}

int mt_output_list(int directory, bool (*body)(const char *name, void *context), void *context)
{
	/* A description of its own: reading moves the position. */
	int own = openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct dirent *entry;
	DIR *stream;
	int error;

	if (own < 0)
		return -errno;
	stream = fdopendir(own);
	if (!stream) {
		error = errno;
		close(own);
		return -error;
	}
	for (;;) {
		errno = 0;
		entry = readdir(stream);
		if (!entry)
			break;
		if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
			continue;
		if (!body(entry->d_name, context)) {
			errno = 0;
			break;
		}
	}
	error = errno;
	closedir(stream);
	return -error;
}

int mt_output_link(int file, int directory, const char *name)
{
	return linkat(file, "", directory, name, AT_EMPTY_PATH) ? -errno : 0;
}

bool mt_output_random(void *bytes, size_t count)
{
	return getrandom(bytes, count, 0) == (ssize_t)count;
}
