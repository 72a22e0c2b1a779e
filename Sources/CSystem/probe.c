#define _GNU_SOURCE
#include "include/probe.h"

#include <arpa/inet.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <linux/perf_event.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

int mt_event_open(uint32_t type, uint64_t config, const char *name, uint64_t offset)
{
	struct perf_event_attr attributes = {
		.type = type,
		.size = sizeof(attributes),
		.config = config,
		.config1 = (uintptr_t)name,
		.config2 = offset,
		.sample_period = 1,
		.wakeup_events = 1,
	};
	/* Programs run on whichever CPU the event happens, although the event belongs to the first. */
	int event = syscall(SYS_perf_event_open, &attributes, -1, 0, -1, PERF_FLAG_FD_CLOEXEC);

	return event < 0 ? -errno : event;
}

int mt_event_attach(int event, int program)
{
	if (ioctl(event, PERF_EVENT_IOC_SET_BPF, program) || ioctl(event, PERF_EVENT_IOC_ENABLE, 0))
		return -errno;
	return 0;
}

__attribute__((noinline)) void mt_deed_function(void)
{
	__asm__ volatile("");
}

/* The smallest program: it exits with 0. No file of the machine is sure to be there and to end at once. */
static int program_in_memory(void)
{
#if defined(__x86_64__)
	static const unsigned char code[] = {0xb8, 60, 0, 0, 0, 0x31, 0xff, 0x0f, 0x05};
	const int machine = EM_X86_64;
#elif defined(__aarch64__)
	static const uint32_t code[] = {0xd2800ba8, 0xd2800000, 0xd4000001};
	const int machine = EM_AARCH64;
#else
#error "no program for this architecture"
#endif
	struct {
		Elf64_Ehdr header;
		Elf64_Phdr segment;
		unsigned char code[sizeof(code)];
	} image = {
		.header = {
			.e_ident = {ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB, EV_CURRENT},
			.e_type = ET_EXEC,
			.e_machine = machine,
			.e_version = EV_CURRENT,
			.e_entry = 0x400000 + sizeof(Elf64_Ehdr) + sizeof(Elf64_Phdr),
			.e_phoff = sizeof(Elf64_Ehdr),
			.e_ehsize = sizeof(Elf64_Ehdr),
			.e_phentsize = sizeof(Elf64_Phdr),
			.e_phnum = 1,
		},
		.segment = {
			.p_type = PT_LOAD,
			.p_flags = PF_R | PF_X,
			.p_vaddr = 0x400000,
			.p_filesz = sizeof(image),
			.p_memsz = sizeof(image),
			.p_align = 0x1000,
		},
	};
	int file = memfd_create("martlet-deed", MFD_CLOEXEC);

	memcpy(image.code, code, sizeof(code));
	if (file < 0)
		return -errno;
	if (write(file, &image, sizeof(image)) != sizeof(image)) {
		close(file);
		return -EIO;
	}
	return file;
}

static int run_program(void *file)
{
	char *arguments[] = {"martlet-deed", NULL}, *environment[] = {NULL};

	syscall(SYS_execveat, *(int *)file, "", arguments, environment, AT_EMPTY_PATH);
	_exit(127);
}

static int process(void)
{
	_Alignas(16) char stack[16384];
	int status, error = 0, file = program_in_memory();
	pid_t pid;

	if (file < 0)
		return file;
	/* Without a signal at its end: SIGCHLD is somebody else's business. */
	pid = clone(run_program, stack + sizeof(stack), CLONE_VM | CLONE_VFORK, &file);
	if (pid < 0)
		error = -errno;
	else if (waitpid(pid, &status, __WALL) != pid)
		error = -errno;
	else if (status != 0)
		error = -ENOEXEC;
	close(file);
	return error;
}

static int name(void)
{
	char text[16] = {};

	return prctl(PR_GET_NAME, text) || prctl(PR_SET_NAME, text) ? -errno : 0;
}

static int open_file(void)
{
	int file = open("/dev/null", O_RDONLY | O_CLOEXEC);

	/* An empty root has no devices. */
	if (file < 0)
		file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	return file < 0 ? -errno : close(file);
}

/* Nobody has to be there: the hooks come before the packets. Port 9 is discard's. */
static int sockets(int family)
{
	struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
	struct sockaddr *address = family == AF_INET ? (struct sockaddr *)&v4 : (struct sockaddr *)&v6;
	socklen_t length = family == AF_INET ? sizeof(v4) : sizeof(v6);
	int datagrams = socket(family, SOCK_DGRAM | SOCK_CLOEXEC, 0), stream, error = 0;

	if (datagrams < 0)
		return -errno;
	if (bind(datagrams, address, length))
		error = -errno;
	v4.sin_port = v6.sin6_port = htons(9);
	sendto(datagrams, "", 0, MSG_DONTWAIT, address, length);
	if (connect(datagrams, address, length))
		error = -errno;
	close(datagrams);
	v4.sin_port = v6.sin6_port = 0;
	stream = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (stream < 0)
		return -errno;
	if (bind(stream, address, length) || listen(stream, 1))
		error = -errno;
	close(stream);
	return error;
}

/* The other end has been told when its read fails. */
static int connection(void)
{
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	const struct linger reset = {.l_onoff = 1};
	const struct timeval limit = {.tv_sec = 3}; /* on a busy machine */
	socklen_t length = sizeof(address);
	int server = -1, error = 0;
	char byte;

	/*
	 * A call with a limit is not begun again by the kernel, neither behind a signal nor where io_uring has something to do
	 * in this task, as behind its deed.
	 */
	if (listener < 0 || client < 0 || bind(listener, (struct sockaddr *)&address, length) || listen(listener, 1) ||
	    getsockname(listener, (struct sockaddr *)&address, &length) ||
	    setsockopt(client, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)) ||
	    TEMP_FAILURE_RETRY(connect(client, (struct sockaddr *)&address, length)) ||
	    (server = accept4(listener, 0, 0, SOCK_CLOEXEC)) < 0 ||
	    setsockopt(client, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset)) ||
	    setsockopt(server, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) ||
	    TEMP_FAILURE_RETRY(send(client, "", 1, MSG_NOSIGNAL)) != 1 ||
	    TEMP_FAILURE_RETRY(read(server, &byte, 1)) != 1)
		error = -errno;
	close(client);
	if (!error && (TEMP_FAILURE_RETRY(read(server, &byte, 1)) >= 0 || errno != ECONNRESET))
		error = -ETIMEDOUT;
	close(server);
	close(listener);
	return error;
}

static int uring(void)
{
	struct io_uring_params parameters = {};
	/* Of two, that their results have room. */
	int ring = syscall(SYS_io_uring_setup, 2, &parameters), error = 0;
	size_t size = parameters.sq_off.array + parameters.sq_entries * sizeof(uint32_t);
	static const uint8_t operations[] = {IORING_OP_NOP, IORING_OP_READ, IORING_OP_WRITE};
	int file = memfd_create("martlet-deed", MFD_CLOEXEC);
	const int both = PROT_READ | PROT_WRITE;
	struct io_uring_sqe *entries;
	char byte = 0;
	char *queue;

	if (ring < 0) {
		error = -errno;
		close(file);
		return error;
	}
	queue = mmap(NULL, size, both, MAP_SHARED, ring, IORING_OFF_SQ_RING);
	entries = mmap(NULL, sizeof(*entries), both, MAP_SHARED, ring, IORING_OFF_SQES);
	if (queue == MAP_FAILED || entries == MAP_FAILED) {
		error = -errno;
	} else {
		for (uint32_t i = 0; !error && i < sizeof(operations); i++) {
			/* Reads and writes nothing, of a file that is empty. */
			entries[0] = (struct io_uring_sqe){
				.opcode = operations[i], .fd = file, .addr = (uintptr_t)&byte, .len = operations[i] == IORING_OP_READ,
			};
			*(uint32_t *)(queue + parameters.sq_off.array) = 0;
			__atomic_store_n((uint32_t *)(queue + parameters.sq_off.tail), i + 1, __ATOMIC_RELEASE);
			if (syscall(SYS_io_uring_enter, ring, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0) != 1)
				error = -errno;
		}
	}
	if (queue != MAP_FAILED)
		munmap(queue, size);
	if (entries != MAP_FAILED)
		munmap(entries, sizeof(*entries));
	close(ring);
	close(file);
	return error;
}

static int cgroup(void)
{
	int root = mt_mount_nowhere("cgroup2"), error = 0;
	char name[64];

	if (root < 0)
		return root;
	snprintf(name, sizeof name, "martlet-deed-%d", getpid());
	if (mkdirat(root, name, 0755) || unlinkat(root, name, AT_REMOVEDIR))
		error = -errno;
	close(root);
	return error;
}

int mt_deed(enum mt_deed deed)
{
	switch (deed) {
	case MT_DEED_PROCESS: return process();
	case MT_DEED_CALL: return syscall(SYS_getppid) < 0 ? -errno : 0;
	case MT_DEED_NAME: return name();
	case MT_DEED_OPEN: return open_file();
	case MT_DEED_IPV4: return sockets(AF_INET);
	case MT_DEED_IPV6: return sockets(AF_INET6);
	case MT_DEED_CONNECTION: return connection();
	case MT_DEED_URING: return uring();
	case MT_DEED_FUNCTION: mt_deed_function(); return 0;
	case MT_DEED_DESCRIPTORS: return mt_deed_descriptors();
	case MT_DEED_NAMES: return mt_deed_names();
	case MT_DEED_ACCESS:
	case MT_DEED_SIGNAL:
	case MT_DEED_MEMORY:
	case MT_DEED_RIGHTS:
	case MT_DEED_SYSTEM:
	case MT_DEED_BPF:
	case MT_DEED_MOUNT:
	case MT_DEED_COMPAT: return mt_deed_security(deed);
	case MT_DEED_CGROUP: return cgroup();
	}
	return -EINVAL;
}
