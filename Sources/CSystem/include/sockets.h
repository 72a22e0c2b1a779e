/* Sockets that a command would inherit; and ending connections of other processes, and processes. */
#ifndef MARTLET_SYSTEM_SOCKETS_H
#define MARTLET_SYSTEM_SOCKETS_H

#include <stdint.h>

struct mt_inherited;

struct mt_socket {
	int descriptor;
	int family, type;
	int is_listening;
	uint16_t remote_port; /* 0: it is connected to nobody */
	uint8_t remote[16];   /* IPv4 as IPv6 */
};

/*
 * The sockets of the internet, and packet sockets, among the descriptors that a command would inherit; returns how many
 * there are, of which `room` are written at most, or a negative errno: which those are is not known.
 */
long mt_inherited_sockets(const struct mt_inherited *inherited, struct mt_socket *out, long room);

/* A TCP connection. */
struct mt_connection {
	uint32_t pid; /* of a process in its network namespace */
	uint16_t family;
	uint16_t local_port, remote_port;
	uint8_t local[16], remote[16]; /* as the socket's family has them */
	uint64_t cookie;               /* so that it is no later one with the same ends */
	uint64_t start;                /* of that process, as in mt_root_of_process */
};

/*
 * Ends a connection: both its ends are told (ECONNABORTED, RST), whatever waits to be sent is thrown away. The calling
 * thread may be in another network namespace then, so that it should be one for this alone. Returns 0 or a negative
 * errno: -ENOENT, it has ended; -EOPNOTSUPP, the kernel cannot do that; -EPERM, it takes CAP_NET_ADMIN, and CAP_SYS_ADMIN
 * where the namespace is another one.
 */
int mt_connection_end(const struct mt_connection *connection);

/* Kills the process that started then. Returns 0 or a negative errno. */
int mt_process_kill(uint32_t pid, uint64_t start);

#endif
