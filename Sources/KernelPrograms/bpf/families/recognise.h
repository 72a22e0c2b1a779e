/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Which processes are a job's that no job has started: rules, asked at exec. */
#include "files.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct mt_rule_filter);
} rule_filter SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MT_MAX_RULES);
	__type(key, __u32);
	__type(value, struct mt_rule);
} rules SEC(".maps");

/* The rules that are for tasks of this name, a bit each. */
struct comm {
	char bytes[MT_COMM_MAX];
};
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MT_MAX_RULES);
	__type(key, struct comm);
	__type(value, __u64);
} rule_comms SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 512);
	__type(key, struct mt_variable_name);
	__type(value, struct mt_variable);
} rule_variables SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, __u64);
	__type(value, struct mt_cgroup);
} rule_cgroups SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct mt_recognition);
} recognition SEC(".maps");
