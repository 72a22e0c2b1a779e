#define _GNU_SOURCE
#include "include/daemon.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

/* The grandchild, in a process that has one thread: nothing but system calls. */
static void be_daemon(const struct mt_daemon_plan *plan, int null)
{
	sigset_t none;
	int output = plan->output >= 0 ? plan->output : null;

	for (int number = 1; number <= 64; number++)
		if (number != SIGKILL && number != SIGSTOP)
			signal(number, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	if (dup2(null, STDIN_FILENO) < 0 || dup2(output, STDOUT_FILENO) < 0 || dup2(output, STDERR_FILENO) < 0)
		_exit(125);
	if (fcntl(plan->report, F_SETFD, 0))
		_exit(125);
	/* A job's pipes, held open, would keep it from ending. */
	if (plan->report > 3)
		syscall(SYS_close_range, 3, plan->report - 1, 0);
	syscall(SYS_close_range, plan->report + 1, ~0U, 0);
	execve(plan->executable, plan->arguments, plan->environment);
	_exit(125);
}

int mt_daemon_start(const struct mt_daemon_plan *plan)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC), status, error;
	pid_t child;

	if (null < 0)
		return -errno;
	child = fork();
	if (child == 0) {
		pid_t grandchild;

		if (setsid() < 0)
			_exit(125);
		grandchild = fork();
		if (grandchild == 0)
			be_daemon(plan, null);
		_exit(grandchild < 0 ? 125 : 0);
	}
	error = errno;
	close(null);
	if (child < 0)
		return -error;
	while (waitpid(child, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -EAGAIN;
}

static int set_address(struct sockaddr_un *address, const char *path)
{
	size_t length = strlen(path);

	if (length == 0 || length >= sizeof(address->sun_path))
		return -ENAMETOOLONG;
	memset(address, 0, sizeof(*address));
	address->sun_family = AF_UNIX;
	memcpy(address->sun_path, path, length + 1);
	return 0;
}

static int keep_or_close(int descriptor, int result)
{
	if (result >= 0)
		return descriptor;
	close(descriptor);
	return result;
}

int mt_local_connect(const char *path)
{
	struct sockaddr_un address;
	int error = set_address(&address, path), made;

	if (error)
		return error;
	made = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (made < 0)
		return -errno;
	return keep_or_close(made, connect(made, (struct sockaddr *)&address, sizeof(address)) ? -errno : 0);
}

int mt_local_listen(const char *path, mode_t mode, int backlog)
{
	struct sockaddr_un address;
	struct stat status;
	int error = set_address(&address, path), made;

	if (error)
		return error;
	made = mt_local_connect(path);
	if (made >= 0) {
		close(made);
		return -EADDRINUSE;
	}
	/* Nobody answers: what is there was left by one that was killed. Nothing but a socket is removed. */
	if (made == -ECONNREFUSED && !lstat(path, &status) && S_ISSOCK(status.st_mode))
		unlink(path);
	made = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (made < 0)
		return -errno;
	if (bind(made, (struct sockaddr *)&address, sizeof(address)) || chmod(path, mode) || listen(made, backlog))
		return keep_or_close(made, -errno);
	return made;
}

int mt_local_accept(int socket)
{
	int made;

	do
		made = accept4(socket, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	while (made < 0 && (errno == EINTR || errno == ECONNABORTED));
	return made < 0 ? -errno : made;
}

int mt_local_peer(int socket, struct mt_peer *peer)
{
	struct ucred credentials;
	socklen_t length = sizeof(credentials);

	if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &credentials, &length))
		return -errno;
	*peer = (struct mt_peer){.pid = credentials.pid, .uid = credentials.uid, .gid = credentials.gid};
	return 0;
}

int mt_local_tell_senders(int socket)
{
	int on = 1;

	return setsockopt(socket, SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)) ? -errno : 0;
}

/* Room for what the kernel may put beside a message: who sent it, and descriptors. */
union beside {
	char bytes[CMSG_SPACE(sizeof(struct ucred)) + CMSG_SPACE(sizeof(int) * MT_LOCAL_DESCRIPTORS)];
	struct cmsghdr aligned;
};

long mt_local_receive(int socket, void *bytes, size_t size, struct mt_local_message *message)
{
	union beside beside;
	struct iovec part = {.iov_base = bytes, .iov_len = size};
	struct msghdr header = {
		.msg_iov = &part, .msg_iovlen = 1, .msg_control = &beside, .msg_controllen = sizeof(beside)};
	ssize_t count = recvmsg(socket, &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

	message->sender = 0;
	message->count = 0;
	if (count < 0)
		return -errno;
	for (struct cmsghdr *part = CMSG_FIRSTHDR(&header); part; part = CMSG_NXTHDR(&header, part)) {
		struct ucred credentials;

		if (part->cmsg_level != SOL_SOCKET)
			continue;
		if (part->cmsg_type == SCM_CREDENTIALS && part->cmsg_len == CMSG_LEN(sizeof(credentials))) {
			memcpy(&credentials, CMSG_DATA(part), sizeof(credentials));
			message->sender = credentials.pid;
		} else if (part->cmsg_type == SCM_RIGHTS && message->count == 0) {
			int count = (int)((part->cmsg_len - CMSG_LEN(0)) / sizeof(int)), descriptor;

			for (int index = 0; index < count; index++) {
				memcpy(&descriptor, CMSG_DATA(part) + (size_t)index * sizeof(int), sizeof(int));
				/* There is more room where no credentials came. */
				if (index < MT_LOCAL_DESCRIPTORS)
					message->descriptors[message->count++] = descriptor;
				else
					close(descriptor);
			}
		}
	}
	return count;
}

long mt_local_send(int socket, const void *bytes, size_t size, const int *descriptors, int count)
{
	union beside beside = {0};
	struct iovec part = {.iov_base = (void *)bytes, .iov_len = size};
	struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1};
	ssize_t sent;

	if (count < 0 || count > MT_LOCAL_DESCRIPTORS)
		return -EINVAL;
	if (count > 0) {
		struct cmsghdr *rights;

		header.msg_control = &beside;
		header.msg_controllen = CMSG_SPACE(sizeof(int) * (size_t)count);
		rights = CMSG_FIRSTHDR(&header);
		rights->cmsg_level = SOL_SOCKET;
		rights->cmsg_type = SCM_RIGHTS;
		rights->cmsg_len = CMSG_LEN(sizeof(int) * (size_t)count);
		memcpy(CMSG_DATA(rights), descriptors, sizeof(int) * (size_t)count);
	}
	sent = sendmsg(socket, &header, MSG_NOSIGNAL | MSG_DONTWAIT);
	return sent < 0 ? -errno : sent;
}

int mt_local_notify(const char *name, const char *message)
{
	struct sockaddr_un address;
	int error = set_address(&address, name), made;
	size_t length = strlen(name);

	if (error)
		return error;
	if (name[0] == '@')
		address.sun_path[0] = 0;
	else
		length++;
	made = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (made < 0)
		return -errno;
	error = sendto(made, message, strlen(message), MSG_NOSIGNAL, (struct sockaddr *)&address,
		       (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length)) < 0 ? -errno : 0;
	close(made);
	return error;
}

int mt_gain_no_privileges(void)
{
	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ? -errno : 0;
}

int mt_lock_file(int descriptor)
{
	return flock(descriptor, LOCK_EX | LOCK_NB) ? -errno : 0;
}

uint64_t mt_raise_descriptor_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit))
		return 0;
	if (limit.rlim_cur < limit.rlim_max) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
		getrlimit(RLIMIT_NOFILE, &limit);
	}
	return limit.rlim_cur;
}

void mt_keep_little_memory(void)
{
	mallopt(M_TRIM_THRESHOLD, 128 * 1024);
}

void mt_trim_memory(void)
{
	malloc_trim(0);
}

#define SEALS (F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW)

int mt_sealed_file(const void *bytes, size_t size)
{
	int file = memfd_create("martlet-policy", MFD_CLOEXEC | MFD_ALLOW_SEALING), error;
	size_t done = 0;

	if (file < 0)
		return -errno;
	while (done < size) {
		ssize_t count = write(file, (const char *)bytes + done, size - done);

		if (count < 0 && errno == EINTR)
			continue;
		if (count <= 0)
			goto failed;
		done += (size_t)count;
	}
	if (fcntl(file, F_ADD_SEALS, SEALS | F_SEAL_SEAL) == 0)
		return file;
failed:
	error = errno ? errno : EIO;
	close(file);
	return -error;
}

int mt_take_sealed_file(int pidfd, int descriptor)
{
	int file = (int)syscall(SYS_pidfd_getfd, pidfd, descriptor, 0), seals;

	if (file < 0)
		return -errno;
	seals = fcntl(file, F_GET_SEALS);
	if (seals >= 0 && (seals & SEALS) == SEALS)
		return file;
	close(file);
	return -EPERM;
}

int mt_pidfd_open(pid_t pid)
{
	long descriptor = syscall(SYS_pidfd_open, pid, 0);

	return descriptor < 0 ? -errno : (int)descriptor;
}
