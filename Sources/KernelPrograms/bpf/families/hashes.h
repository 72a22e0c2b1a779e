/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What the images hash to that jobs execute; loaded only if asked for. The kernel's integrity module reads the file that
 * the exec itself holds, whatever has become of its name, and nobody can write it meanwhile: there is no race to be lost.
 * It works for as long as the hash takes and the exec waits for it, so an image is hashed once for each job and version.
 */
#include "hooks.h"
#include "opens.h"

struct image_version {
	struct mt_file file;
	__u64 size;
	__s64 ctime;
};

static __always_inline struct image_version version_of(struct inode *inode)
{
	struct image_version version = {.file = identity_of(inode), .size = READ(inode, struct inode, i_size)};
	__s64 mtime;

	times_of(inode, &version.ctime, &mtime);
	return version;
}

static __always_inline __u64 version_hash(const struct image_version *version, const struct actor *actor)
{
	__u64 hash = hash_word(hash_word(hash_begin('h'), actor->job), incarnation_of(actor->job));

	hash = hash_word(hash, version->file.ino);
	hash = hash_word(hash, (__u64)version->file.dev << 32 | version->file.generation);
	hash = hash_word(hash, version->size);
	return hash_end(hash_word(hash, version->ctime));
}

/*
 * The program will be run: its credentials are set, and `file` is what was loaded, of a script the interpreter. Refused
 * by the verifier before 5.18, which has no bpf_ima_file_hash, and where nothing may sleep.
 */
SEC("lsm.s/bprm_committed_creds")
int hash_image(__u64 *context)
{
	struct linux_binprm *bprm = ARGUMENT(context, 0, struct linux_binprm *);
	struct task_struct *task = current_task();
	struct mt_tag *tag = own_tag(task);
	struct image_version version, after;
	/* The kernel writes at most 64 bytes: of SHA-512. */
	__u64 digest[8] = {};
	struct file *file;
	struct record record;
	struct mt_digest *body;
	struct inode *inode;
	struct actor actor;
	long algorithm;
	__u64 hash;

	if (!tag)
		return 0;
	file = bprm->file;
	inode = READ(file, struct file, f_inode);
	version = version_of(inode);
	if (version.size > MT_DIGEST_KERNEL_MAX)
		return 0;
	actor = actor_of(task, tag);
	hash = version_hash(&version, &actor);
	if (was_sent(hash)) {
		COUNT_DEDUPLICATED(MT_DIGEST, actor.job);
		return 0;
	}
	COUNT(MT_DIGEST, seen);
	algorithm = bpf_ima_file_hash(file, digest, sizeof(digest));
	after = version_of(inode);

	if (!begin(&record, MT_DIGEST, MT_CRITICAL, sizeof(*body), &actor))
		return 0;
	body = BODY(&record, struct mt_digest);
	body->file = version.file;
	body->size = version.size;
	body->ctime = version.ctime;
	body->of = MT_DIGEST_IMAGE;
	body->how = MT_DIGEST_KERNEL;
	body->algorithm = algorithm;
	if (algorithm != MT_HASH_SHA256)
		body->why = MT_DIGEST_OTHER;
	else if (version.size != after.size || version.ctime != after.ctime)
		body->why = MT_DIGEST_CHANGED;
	else
		__builtin_memcpy(body->sha256, digest, sizeof(body->sha256));
	if (send(&record))
		remember_open(hash);
	return 0;
}
