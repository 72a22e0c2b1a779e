/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Types of the kernel, as in core_types.h, that only what concerns security looks at. */
#ifndef MARTLET_SECURITY_TYPES_H
#define MARTLET_SECURITY_TYPES_H

#include "core_types.h"

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct file_system_type {
	const char *name;
};

struct xarray {
	void *xa_head;
};
struct idr {
	struct xarray idr_rt;
	unsigned int idr_base;
};
struct xa_node {
	unsigned char shift;
	void *slots[64];
};
struct pid_namespace {
	struct idr idr;
};

struct vm_area_struct {
	struct file *vm_file;
	void *anon_vma;
};

struct proc_inode {
	struct pid *pid;
	struct inode vfs_inode;
};

struct proc_ns_operations {
	int type;
};

/* 6.18 and later */
struct ns_common___typed {
	__u32 ns_type;
};

struct bpf_map {
	__u32 id;
};
struct bpf_prog_aux {
	__u32 id;
};
struct bpf_prog {
	struct bpf_prog_aux *aux;
};
struct bpf_link {
	__u32 id;
};

struct kernel_siginfo {
	int si_code;
};

#pragma clang attribute pop

struct sigaction {
	void *sa_handler;
} __attribute__((preserve_access_index));

struct k_sigaction {
	struct sigaction sa;
} __attribute__((preserve_access_index));

#endif
