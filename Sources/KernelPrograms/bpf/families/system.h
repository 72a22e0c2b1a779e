/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What tasks do to the system: code for the kernel, mounts, namespaces. */
#include "shield.h"
#include "sockets.h"

#define BPF_MAP_CREATE 0
#define BPF_PROG_LOAD 5
#define BPF_NAME 16
#define BPF_MAP_NAME_AT 28 /* in union bpf_attr, which is ABI */
#define BPF_PROGRAM_NAME_AT 48
#define CLONE_NEWTIME 0x80
#define CLONE_NEWNS 0x20000
#define CLONE_NEWCGROUP 0x2000000
#define CLONE_NEWUTS 0x4000000
#define CLONE_NEWIPC 0x8000000
#define CLONE_NEWUSER 0x10000000
#define CLONE_NEWPID 0x20000000
#define CLONE_NEWNET 0x40000000
#define CLONE_NEW_ALL                                                                                                  \
	(CLONE_NEWTIME | CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID |  \
	 CLONE_NEWNET)
#define NS_FS_MAGIC 0x6e736673
#define MS_MGC_VAL 0xc0ed0000u /* what mount(2) once wanted in its flags */

/*
 * Some system calls have no hook of the security modules, or one that comes after permission was asked for: then a
 * program sits on the function of the call itself. fexit_… sees how it ended, kprobe_… does not. `compat` is that of
 * the 32-bit call, which is a function of its own.
 */
#define ON_CALL(name, number, body)                                                                                    \
	SEC("fexit/__x64_sys_" #name)                                                                                  \
	int fexit_##name(__u64 *context)                                                                               \
	{                                                                                                              \
		struct done done = {.regs = (struct pt_regs *)context[0], .call = {.call = number}};                   \
		struct outcome outcome = ended(&done, context[1]);                                                     \
                                                                                                                       \
		body(&done, &outcome);                                                                                 \
		return 0;                                                                                              \
	}                                                                                                              \
	SEC("fexit/__ia32_sys_" #name)                                                                                 \
	int fexit_compat_##name(__u64 *context)                                                                        \
	{                                                                                                              \
		struct done done = {.regs = (struct pt_regs *)context[0], .compat = 1, .call = {.call = number}};      \
		struct outcome outcome = ended(&done, context[1]);                                                     \
                                                                                                                       \
		body(&done, &outcome);                                                                                 \
		return 0;                                                                                              \
	}                                                                                                              \
	SEC("kprobe/__x64_sys_" #name)                                                                                 \
	int kprobe_##name(struct pt_regs *regs)                                                                        \
	{                                                                                                              \
		struct done done = {.regs = (struct pt_regs *)PT_REGS_PARM1(regs), .call = {.call = number}};          \
		struct outcome outcome = {};                                                                           \
                                                                                                                       \
		body(&done, &outcome);                                                                                 \
		return 0;                                                                                              \
	}                                                                                                              \
	SEC("kprobe/__ia32_sys_" #name)                                                                                \
	int kprobe_compat_##name(struct pt_regs *regs)                                                                 \
	{                                                                                                              \
		struct done done = {.regs = (struct pt_regs *)PT_REGS_PARM1(regs), .compat = 1,                        \
				    .call = {.call = number}};                                                         \
		struct outcome outcome = {.flags = MT_FLAG_COMPAT};                                                    \
                                                                                                                       \
		body(&done, &outcome);                                                                                 \
		return 0;                                                                                              \
	}

/* modules */

static __always_inline void load_module(const struct done *done, const struct outcome *outcome)
{
	struct task_struct *task = current_task();
	struct mt_tag *tag = own_tag(task);
	struct mt_security *body;
	struct record record;
	struct actor actor;
	struct file *file = 0;

	if (!tag)
		return;
	actor = actor_of(task, tag);
	body = tell_each_time(&record, MT_SECURITY_MODULE_LOAD, &actor, outcome);
	if (!body)
		return;
	if (done->call.call == CALL_INIT_MODULE)
		body->argument = call_argument(done, 1);
	else
		file = file_of(task, (__s32)call_argument(done, 0));
	if (file) {
		body->file = identity_of(READ(file, struct file, f_inode));
		add_path(&record, MT_STR_PATH, READ(file, struct file, f_path.mnt),
			 READ(file, struct file, f_path.dentry));
	}
	send(&record);
}
#ifdef bpf_target_x86
ON_CALL(init_module, CALL_INIT_MODULE, load_module)
ON_CALL(finit_module, CALL_FINIT_MODULE, load_module)
#endif

SEC("tp_btf/sys_exit")
int BPF_PROG(on_module, struct pt_regs *regs, long ret)
{
	struct done done = done_of(regs, current_task());
	struct outcome outcome = ended(&done, ret);

	load_module(&done, &outcome);
	return 0;
}

/* BPF */

/* `attributes` is a union bpf_attr, in the caller's memory or in the kernel's. */
static __always_inline void use_bpf(__u32 command, const __u8 *attributes, int is_kernel, const struct outcome *outcome)
{
	__u32 kind = command == BPF_MAP_CREATE ? MT_SECURITY_BPF_MAP : MT_SECURITY_BPF_PROGRAM, type = 0;
	__u32 name_at = command == BPF_MAP_CREATE ? BPF_MAP_NAME_AT : BPF_PROGRAM_NAME_AT;
	struct task_struct *task = current_task();
	char name[BPF_NAME] = {};
	struct mt_security *body;
	struct record record;
	struct actor actor;
	struct mt_tag *tag;

	if (command != BPF_MAP_CREATE && command != BPF_PROG_LOAD)
		return;
	tag = own_tag(task);
	if (!tag)
		return;
	actor = actor_of(task, tag);
	body = tell_each_time(&record, kind, &actor, outcome);
	if (!body)
		return;
	if (is_kernel) {
		bpf_probe_read_kernel(&type, sizeof(type), attributes);
		bpf_probe_read_kernel(name, sizeof(name), attributes + name_at);
	} else {
		/* A short union has no name, and what lies behind it may be anything. */
		if (bpf_probe_read_user(&type, sizeof(type), attributes))
			HEADER(&record)->flags |= MT_FLAG_UNREADABLE;
		bpf_probe_read_user(name, sizeof(name), attributes + name_at);
	}
	name[BPF_NAME - 1] = 0;
	body->argument = type;
	if (name[0])
		add_kernel_string(&record, MT_STR_DETAIL, name, BPF_NAME);
	send(&record);
}

static __always_inline void asked_for_bpf(const __u64 *arguments)
{
	struct outcome outcome = {};

	use_bpf(ARGUMENT(arguments, 0, __u32), ARGUMENT(arguments, 1, const __u8 *), 1, &outcome);
}
ON_SECURITY(bpf, asked_for_bpf)

/* A call that has given hold of a program, map or link, or let go of a link's hook: whose it is can be martlet's. */
__noinline int shield_ended(__u32 command, __u64 attributes)
{
	__u32 first = 0;

	bpf_probe_read_user(&first, sizeof(first), (const void *)attributes);
	switch (command) {
	case BPF_PROG_GET_FD_BY_ID: return shield_object(MT_OBJECT_PROGRAM, first, 0);
	case BPF_MAP_GET_FD_BY_ID: return shield_object(MT_OBJECT_MAP, first, 0);
	case BPF_LINK_GET_FD_BY_ID:
	case BPF_LINK_DETACH:
	case BPF_LINK_UPDATE: return shield_link_object(command, first, 0);
	}
	return 0;
}

SEC("tp_btf/sys_exit")
int BPF_PROG(on_bpf, struct pt_regs *regs, long ret)
{
	struct done done = done_of(regs, current_task());
	struct outcome outcome = ended(&done, ret);
	__u32 command = argument(&done, 0);

	if (!(config.typed & MT_TYPED_SHIELD_OBJECTS) && ret >= 0)
		shield_ended(command, (__u64)pointer_argument(&done, 1));
	/* All of the union that has a name has it in this many bytes. */
	if (!(config.typed & MT_TYPED_BPF))
		use_bpf(command, pointer_argument(&done, 1), 0, &outcome);
	return 0;
}

/* mounts */

/* Begins the record of a mount, by a task of a job. */
static __always_inline struct mt_security *begin_mount(struct record *record, __u32 kind,
						       const struct outcome *outcome, struct actor *actor)
{
	struct task_struct *task = current_task();
	struct mt_tag *tag = own_tag(task);

	if (!tag)
		return 0;
	*actor = actor_of(task, tag);
	return tell_each_time(record, kind, actor, outcome);
}

static __always_inline void add_whole_path(struct record *record, __u16 id, const struct path *path)
{
	add_path(record, id, READ(path, struct path, mnt), READ(path, struct path, dentry));
}

/* The type of file system of a mount. */
static __always_inline void add_type(struct record *record, struct vfsmount *mnt)
{
	struct super_block *sb = READ(mnt, struct vfsmount, mnt_sb);
	struct file_system_type *type = READ(sb, struct super_block, s_type);

	add_kernel_string(record, MT_STR_DETAIL, READ(type, struct file_system_type, name), MT_NAME_MAX + 1);
}

/* sb_mount: device, path, type, flags, data. The data may hold passwords. */
static __always_inline void mounting(const __u64 *arguments)
{
	const void *device = ARGUMENT(arguments, 0, const void *), *type = ARGUMENT(arguments, 2, const void *);
	struct outcome outcome = {};
	struct mt_security *body;
	struct record record;
	struct actor actor;

	body = begin_mount(&record, MT_SECURITY_MOUNT, &outcome, &actor);
	if (!body)
		return;
	body->argument = ARGUMENT(arguments, 3, __u64);
	add_whole_path(&record, MT_STR_PATH, ARGUMENT(arguments, 1, const struct path *));
	if (device)
		add_kernel_string(&record, MT_STR_PATH2, device, MT_PATH_MAX + 1);
	if (type)
		add_kernel_string(&record, MT_STR_DETAIL, type, MT_NAME_MAX + 1);
	send(&record);
}
ON_SECURITY(sb_mount, mounting)

static __always_inline void unmounting(const __u64 *arguments)
{
	struct vfsmount *mnt = (struct vfsmount *)number_of(ARGUMENT(arguments, 0, const void *));
	struct outcome outcome = {};
	struct mt_security *body;
	struct record record;
	struct actor actor;

	body = begin_mount(&record, MT_SECURITY_UMOUNT, &outcome, &actor);
	if (!body)
		return;
	body->argument = ARGUMENT(arguments, 1, __u32);
	add_path(&record, MT_STR_PATH, mnt, READ(mnt, struct vfsmount, mnt_root));
	add_type(&record, mnt);
	send(&record);
}
ON_SECURITY(sb_umount, unmounting)

static __always_inline void mount_moves(const __u64 *arguments, __u32 kind, int to, int from)
{
	const struct path *old = ARGUMENT(arguments, from, const struct path *);
	struct outcome outcome = {};
	struct record record;
	struct actor actor;

	if (!begin_mount(&record, kind, &outcome, &actor))
		return;
	add_whole_path(&record, MT_STR_PATH, ARGUMENT(arguments, to, const struct path *));
	add_whole_path(&record, MT_STR_PATH2, old);
	if (kind == MT_SECURITY_MOVE_MOUNT)
		add_type(&record, READ(old, struct path, mnt));
	send(&record);
}

static __always_inline void moving_mount(const __u64 *arguments)
{
	mount_moves(arguments, MT_SECURITY_MOVE_MOUNT, 1, 0);
}
ON_SECURITY(move_mount, moving_mount)

static __always_inline void pivoting_root(const __u64 *arguments)
{
	mount_moves(arguments, MT_SECURITY_PIVOT_ROOT, 1, 0);
}
ON_SECURITY(sb_pivotroot, pivoting_root)

SEC("tp_btf/sys_exit")
int BPF_PROG(on_mount, struct pt_regs *regs, long ret)
{
	struct done done = done_of(regs, current_task());
	struct introduced first = {}, second = {};
	struct outcome outcome = ended(&done, ret);
	__u32 call = done.call.call, kind = MT_SECURITY_MOUNT;
	const void *type = 0;
	struct mt_security *body;
	struct workspace *work;
	struct record record;
	struct actor actor;
	__u64 flags = 0;

	if (call == CALL_MOVE_MOUNT)
		kind = MT_SECURITY_MOVE_MOUNT;
	else if (call == CALL_UMOUNT || call == CALL_OLD_UMOUNT)
		kind = MT_SECURITY_UMOUNT;
	else if (call == CALL_PIVOT_ROOT)
		kind = MT_SECURITY_PIVOT_ROOT;
	body = begin_mount(&record, kind, &outcome, &actor);
	if (!body)
		return 0;
	work = record.work;
	work->first = (struct operand){.dirfd = AT_FDCWD, .string = pointer_argument(&done, 0)};
	work->second = (struct operand){.dirfd = AT_FDCWD};
	if (kind == MT_SECURITY_MOUNT) {
		work->first.string = pointer_argument(&done, 1);
		work->second.string = pointer_argument(&done, 0);
		type = pointer_argument(&done, 2);
		flags = argument(&done, 3);
		if ((flags & 0xffff0000u) == MS_MGC_VAL)
			flags &= 0xffff;
	} else if (kind == MT_SECURITY_MOVE_MOUNT) {
		work->first.dirfd = argument(&done, 2);
		work->first.string = pointer_argument(&done, 3);
		work->second.dirfd = argument(&done, 0);
		work->second.string = pointer_argument(&done, 1);
	} else if (kind == MT_SECURITY_PIVOT_ROOT) {
		work->second.string = pointer_argument(&done, 1);
	} else if (call == CALL_UMOUNT) {
		flags = (__u32)argument(&done, 1);
	}
	barrier();
	body->argument = flags;
	body->dir = add_operand(&record, 0, actor.job, &first);
	/* A mount's source is a device, a path or a word: it is told as it was given. */
	if (kind == MT_SECURITY_MOUNT && work->second.string)
		add_user_string(&record, MT_STR_PATH2, work->second.string, MT_PATH_MAX + 1);
	else if (work->second.string)
		body->dir2 = add_operand(&record, 1, actor.job, &second);
	if (type)
		add_user_string(&record, MT_STR_DETAIL, type, MT_NAME_MAX + 1);
	if (send(&record)) {
		remember(&first);
		remember(&second);
	}
	return 0;
}

/* namespaces */

/* The kind of namespace that a descriptor of /proc/PID/ns leads to, and its number. */
static __always_inline __u32 namespace_of(struct file *file, struct mt_file *identity)
{
	struct inode *inode = READ(file, struct file, f_inode);
	struct super_block *sb = READ(inode, struct inode, i_sb);
	struct ns_common *space;

	if (READ(sb, struct super_block, s_magic) != NS_FS_MAGIC)
		return 0;
	*identity = identity_of(inode);
	space = READ(inode, struct inode, i_private);
	if (bpf_core_field_exists(struct ns_common___typed, ns_type))
		return READ(space, struct ns_common___typed, ns_type);
	return READ(READ(space, struct ns_common, ops), struct proc_ns_operations, type);
}

static __always_inline void change_namespaces(const struct done *done, const struct outcome *outcome)
{
	int enters = done->call.call == CALL_SETNS;
	__u64 flags = (__u32)call_argument(done, enters ? 1 : 0);
	struct task_struct *task = current_task();
	struct mt_security *body;
	struct mt_file identity = {};
	struct record record;
	struct actor actor;
	struct mt_tag *tag;
	struct file *file;

	/* unshare(2) is also for descriptors and the working directory, which is nobody else's concern. */
	if (!enters && !(flags & CLONE_NEW_ALL))
		return;
	tag = own_tag(task);
	if (!tag)
		return;
	actor = actor_of(task, tag);
	if (enters) {
		file = file_of(task, (__s32)call_argument(done, 0));
		if (file)
			flags |= namespace_of(file, &identity);
	}
	body = tell_each_time(&record, enters ? MT_SECURITY_SETNS : MT_SECURITY_UNSHARE, &actor, outcome);
	if (!body)
		return;
	body->argument = flags & CLONE_NEW_ALL;
	body->file = identity;
	send(&record);
}
#ifdef bpf_target_x86
ON_CALL(unshare, CALL_UNSHARE, change_namespaces)
ON_CALL(setns, CALL_SETNS, change_namespaces)
#endif

SEC("tp_btf/sys_exit")
int BPF_PROG(on_namespace, struct pt_regs *regs, long ret)
{
	struct done done = done_of(regs, current_task());
	struct outcome outcome = ended(&done, ret);

	change_namespaces(&done, &outcome);
	return 0;
}

/* Whether parent and child differ in one: collected in the record, as on the stack each combination would be a state. */
#define DIFFERENCE(a, b, member, flag)                                                                                 \
	do {                                                                                                           \
		if (bpf_core_field_exists(struct nsproxy, member) &&                                                   \
		    READ(a, struct nsproxy, member) != READ(b, struct nsproxy, member))                                \
			body->argument |= (flag);                                                                      \
	} while (0)

/* A process that is born into namespaces of its own; what could not be made was no birth. */
SEC("tp_btf/sched_process_fork")
int BPF_PROG(fork_namespaces, struct task_struct *parent, struct task_struct *child)
{
	struct nsproxy *old = LOOSE(parent)->nsproxy, *new = LOOSE(child)->nsproxy;
	const struct cred *old_cred = LOOSE(parent)->cred, *new_cred = LOOSE(child)->cred;
	struct outcome outcome = {.is_known = 1};
	struct user_namespace *old_user, *new_user;
	struct mt_security *body;
	struct target target;
	struct record record;
	struct actor actor;
	struct mt_tag *tag;

	/* Nearly every child has its parent's, and a thread its group's credentials. */
	if (old == new && old_cred == new_cred)
		return 0;
	old_user = READ(old_cred, struct cred, user_ns);
	new_user = READ(new_cred, struct cred, user_ns);
	if (old == new && old_user == new_user)
		return 0;
	tag = own_tag(parent);
	if (!tag)
		return 0;
	actor = actor_of(parent, tag);
	target = target_of(child);
	body = tell_each_time(&record, MT_SECURITY_CLONE, &actor, &outcome);
	if (!body)
		return 0;
	if (old_user != new_user)
		body->argument = CLONE_NEWUSER;
	DIFFERENCE(old, new, uts_ns, CLONE_NEWUTS);
	DIFFERENCE(old, new, ipc_ns, CLONE_NEWIPC);
	DIFFERENCE(old, new, mnt_ns, CLONE_NEWNS);
	DIFFERENCE(old, new, pid_ns_for_children, CLONE_NEWPID);
	DIFFERENCE(old, new, net_ns, CLONE_NEWNET);
	DIFFERENCE(old, new, time_ns_for_children, CLONE_NEWTIME);
	DIFFERENCE(old, new, cgroup_ns, CLONE_NEWCGROUP);
	body->target_tgid = target.tgid;
	body->target_start = target.start;
	send(&record);
	return 0;
}
