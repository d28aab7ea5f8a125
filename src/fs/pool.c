/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * pool.c - opening and closing pools, and what adit_info says.
 *
 * An opener holds an open-file-description lock on the whole pool file: exclusive, or shared for
 * ADIT_OPEN_RDONLY, which works on private pages and so never meets a writer's half-done change.
 */
#include "fs/pool.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "core/advisory.h"
#include "core/file.h"
#include "fs/fork.h"
#include "fs/guard.h"
#include "media/protect.h"
#include "share/counts.h"
#include "share/participant.h"

/* st_dev: an unused major number, and the pool's own minor. */
#define DEV_MAJOR 0xad1u

/* The process's umask cannot be asked for without setting it, except here. */
static uint32_t process_umask(void)
{
	FILE *status = fopen("/proc/self/status", "re");
	unsigned mask = 022;
	char line[256];

	if (status == NULL)
		return mask;
	while (fgets(line, sizeof line, status) != NULL) {
		if (sscanf(line, "Umask: %o", &mask) == 1)
			break;
	}
	fclose(status);
	return mask & 0777u;
}

/* ---- open ------------------------------------------------------------------------------------ */

static bool is_lost(const struct adit_pool *pool, uint64_t block)
{
	return (block + 1) << ADIT_BLOCK_SHIFT <= pool->media.pm.size_bytes &&
	       !adit__env.readable(pool->media.pm.base + (block << ADIT_BLOCK_SHIFT), ADIT_BLOCK);
}

static bool has_magic(const struct adit_pool *pool, uint64_t block)
{
	const struct adit_super_pm *s =
		(const void *)(pool->media.pm.base + (block << ADIT_BLOCK_SHIFT));

	return (block + 1) << ADIT_BLOCK_SHIFT <= pool->media.pm.size_bytes &&
	       !is_lost(pool, block) && get32(s->magic) == ADIT_MAGIC_SUPER;
}

static int open_core(struct adit_pool *pool, unsigned flags)
{
	const struct adit_super_pm *s = (const void *)pool->media.pm.base;
	int err;

	if (!has_magic(pool, 0)) {
		if (!has_magic(pool, ADIT_SUPER_COPY)) {
			if (!is_lost(pool, 0) && !is_lost(pool, ADIT_SUPER_COPY))
				return -EMEDIUMTYPE;
			adit__env.report(&pool->reporter, "superblock: media error, and no other copy");
			return -EIO;
		}
		s = (const void *)(pool->media.pm.base + ADIT_SUPER_COPY * ADIT_BLOCK);
	}
	pool->was_clean = get32(s->state) & ADIT_STATE_CLEAN;
	err = adit__core_open(&pool->fs, &pool->media.pm, &adit__env, &pool->reporter,
			      flags & (ADIT_OPEN_RDONLY | ADIT_OPEN_NO_RECOVERY | ADIT_OPEN_JOIN));
	return err;
}

static void identify(struct adit_pool *pool)
{
	const uint8_t *uuid = pool->fs->super.uuid;
	le64 half[2];

	memcpy(half, uuid, sizeof half);
	pool->fsid = get64(half[0]) ^ get64(half[1]);
	pool->dev = makedev(DEV_MAJOR, (unsigned)(pool->fsid & 0xfffff));
}

static ADIT_NOINLINE int open_guarded(struct adit_pool *pool, unsigned flags)
{
	int rc;

	ADIT_GUARD(pool, rc, open_core(pool, flags));
	if (rc != 0 && pool->fs != NULL) {
		/* A media fault jumped out of it. */
		adit__core_abandon(pool->fs);
		pool->fs = NULL;
	}
	return rc;
}

_Static_assert((int)ADIT_PROTECT_OFF + ADIT_PROTECTION_KEYS == ADIT_PROTECT_KEYS &&
		       (int)ADIT_PROTECT_OFF + ADIT_PROTECTION_MPROTECT == ADIT_PROTECT_MPROTECT,
	       "one is used for the other");

static int check_options(const struct adit_open_options *o)
{
	if (o->flags & ~(ADIT_OPEN_RDONLY | ADIT_OPEN_NO_RECOVERY | ADIT_OPEN_ATOMIC) ||
	    (o->flags & ADIT_OPEN_NO_RECOVERY && !(o->flags & ADIT_OPEN_RDONLY)) ||
	    o->assume < ADIT_ASSUME_AUTO || o->assume > ADIT_ASSUME_PROCESS ||
	    o->protect < ADIT_PROTECT_DEFAULT || o->protect > ADIT_PROTECT_MPROTECT ||
	    o->reserved0 != 0)
		return -EINVAL;
	for (unsigned i = 0; i < sizeof o->reserved / sizeof o->reserved[0]; i++) {
		if (o->reserved[i] != 0)
			return -EINVAL;
	}
	return 0;
}

/* With nobody else who writes. */
static int open_apart(struct adit_pool *pool, unsigned flags)
{
	bool shared = flags & ADIT_OPEN_RDONLY && !pool->media.is_device;
	int rc = adit__media_lock(&pool->media, !shared, 0, 0);

	return rc == 0 ? open_guarded(pool, flags) : rc;
}

static void close_medium(struct adit_pool *pool)
{
	if (pool->lock_fd >= 0)
		close(pool->lock_fd);
	adit__media_close(&pool->media);
}

static int open_lock_fd(struct adit_pool *pool)
{
	int fd = adit__media_reopen(&pool->media);

	/* Without /proc: the same description, then. */
	if (fd == -ENOENT)
		fd = fcntl(pool->media.fd, F_DUPFD_CLOEXEC, 0);
	pool->lock_fd = fd < 0 ? -1 : fd;
	return fd < 0 ? fd : 0;
}

/* Somebody may have made the pool larger between our mapping it and our lock. */
static int catch_up(struct adit_pool *pool)
{
	uint64_t size_bytes;
	int rc = adit__media_size(&pool->media, &size_bytes);

	if (rc == 0)
		rc = adit__media_extend(&pool->media, size_bytes);
	/* No room behind the mapping: whether the pool needs it the superblock tells. */
	return rc == -ENOMEM ? 0 : rc;
}

/* As one participant among others: the first recovers, the others join. */
static int open_shared(struct adit_pool *pool, unsigned flags)
{
	int fd = pool->lock_fd, rc = adit__gate_lock(fd);

	if (rc != 0)
		return rc;
	rc = catch_up(pool);
	if (rc != 0) {
		adit__gate_unlock(fd);
		return rc;
	}
	rc = open_guarded(pool, flags | (adit__others_are_there(fd) ? ADIT_OPEN_JOIN : 0));
	if (rc == 0 && pool->fs->alone)
		rc = adit__fd_lock(fd, true, 0, 0);
	else if (rc == 0)
		ADIT_GUARD(pool, rc, adit__share_join(pool->fs, fd));
	if (rc != 0 && pool->fs != NULL) {
		adit__share_drop(pool->fs);
		adit__core_abandon(pool->fs);
		pool->fs = NULL;
	}
	if (rc != 0 || !pool->fs->alone)
		adit__gate_unlock(fd);
	return rc;
}

static int protect(struct adit_pool *pool, int told)
{
	enum adit_protection how = ADIT_PROTECTION_NONE;
	int rc;

	if (told != ADIT_PROTECT_DEFAULT)
		how = (enum adit_protection)(told - ADIT_PROTECT_OFF);
	else if (adit__protection_wanted(&how) != 0) {
		adit__env.report(&pool->reporter, "ADIT_PROTECT may be off, keys or mprotect");
		return -EINVAL;
	}
	rc = adit__protect(&pool->media, how);
	if (rc == -EOPNOTSUPP)
		adit__env.report(&pool->reporter, "this CPU or kernel has no protection keys, which were asked for");
	return rc;
}

/* The medium is open and ours to close; the pool's memory too. */
static int open_medium(struct adit_pool *pool, const struct adit_open_options *o)
{
	bool apart = o->flags & ADIT_OPEN_RDONLY;
	int rc = protect(pool, o->protect);

	if (rc == 0)
		rc = apart ? open_apart(pool, o->flags) : open_lock_fd(pool);
	if (rc == 0 && !apart)
		rc = open_shared(pool, o->flags);
	if (rc != 0)
		return rc;
	identify(pool);
	rc = adit__fds_init(&pool->fds);
	if (rc == 0)
		rc = adit__counts_open(pool->fs);
	if (rc != 0) {
		adit__share_drop(pool->fs);
		adit__core_abandon(pool->fs);
		return rc;
	}
	pool->write_flags = o->flags & ADIT_OPEN_ATOMIC ? ADIT_WRITE_ATOMIC : 0;
	pool->umask = process_umask();
	pool->uid = geteuid();
	pool->gid = getegid();
	return 0;
}

/* path, or the descriptor fd, which is taken over whatever happens. */
static int open_pool(const char *path, int fd, const struct adit_open_options *options,
		     struct adit_pool **out)
{
	static const struct adit_open_options defaults;
	const struct adit_open_options *o = options != NULL ? options : &defaults;
	unsigned media_flags = o->flags & ADIT_OPEN_RDONLY ? ADIT_MEDIA_RDONLY : 0;
	enum adit_domain assume = (enum adit_domain)o->assume;
	struct adit_pool *pool;
	int rc = check_options(o);

	pool = rc == 0 ? calloc(1, sizeof *pool) : NULL;
	if (pool == NULL) {
		if (fd >= 0)
			close(fd);
		return rc != 0 ? rc : -ENOMEM;
	}
	pool->lock_fd = -1;
	pool->reporter = (struct adit_reporter){o->report, o->report_ctx};
	adit__guard_install();
	if (path != NULL)
		rc = adit__media_open(&pool->media, path, media_flags, 0, assume);
	else
		rc = adit__media_open_fd(&pool->media, fd, media_flags, 0, assume);
	if (rc == 0) {
		rc = open_medium(pool, o);
		if (rc == 0) {
			*out = pool;
			return 0;
		}
		close_medium(pool);
	} else if (fd >= 0) {
		close(fd);
	}
	free(pool);
	return rc;
}

static int open_and_add(const char *path, int fd, const struct adit_open_options *options,
			struct adit_pool **out)
{
	int rc;

	adit__fork_wait();
	rc = open_pool(path, fd, options, out);
	if (rc == 0)
		adit__fork_add(*out);
	adit__fork_go_on();
	return rc;
}

int adit_open(const char *path, const struct adit_open_options *options, struct adit_pool **out)
{
	return open_and_add(path, -1, options, out);
}

int adit__fd_own(int fd, bool read_only)
{
	char path[64];
	int own;

	if (fcntl(fd, F_GETFD) < 0)
		return -EBADF;
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	own = open(path, (read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC);
	/* Without /proc: the same description, whose locks are the caller's too. */
	if (own < 0 && errno == ENOENT)
		own = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	return own >= 0 ? own : -errno;
}

int adit_open_fd(int fd, const struct adit_open_options *options, struct adit_pool **out)
{
	bool read_only = options != NULL && options->flags & ADIT_OPEN_RDONLY;
	int own = adit__fd_own(fd, read_only);

	if (own < 0)
		return own;
	return open_and_add(NULL, own, options, out);
}

/* ---- close ----------------------------------------------------------------------------------- */

/* The last one leaves the pool clean. */
static int settle(struct adit_pool *pool)
{
	struct adit_fs *fs = pool->fs;
	bool last;

	if (fs->share == NULL)
		return adit__core_settle(fs);
	adit__share_repair(fs);
	adit__share_leave(fs);
	last = !adit__others_are_there(pool->lock_fd);
	return last ? adit__core_settle(fs) : 0;
}

static ADIT_NOINLINE int close_guarded(struct adit_pool *pool)
{
	bool shared = pool->fs->share != NULL;
	int rc = shared ? adit__gate_lock(pool->lock_fd) : 0;

	if (rc != 0) {
		/* Others will look after what is left, as if we had died. */
		adit__share_drop(pool->fs);
		adit__core_abandon(pool->fs);
		return rc;
	}
	ADIT_GUARD(pool, rc, settle(pool));
	adit__share_drop(pool->fs); /* after a fault */
	adit__core_abandon(pool->fs);
	if (shared)
		adit__gate_unlock(pool->lock_fd);
	return rc;
}

static int stopped(const struct adit_fs *fs)
{
	return adit__has_stopped(fs);
}

/* Outside of any call: the word lies in the pool. */
static bool has_stopped(struct adit_pool *pool)
{
	int rc;

	ADIT_GUARD_READ(pool, rc, stopped(pool->fs));
	return rc != 0;
}

static int leave_locks(struct adit_fs *fs)
{
	adit__advisory_leave(fs);
	return 0;
}

/* While we are a participant among others still: it may have to wait for somebody. */
static ADIT_NOINLINE void drop_locks(struct adit_pool *pool)
{
	int rc;

	if (pool->fs->read_only)
		return;
	ADIT_GUARD(pool, rc, leave_locks(pool->fs));
	(void)rc;
}

static int close_pool(struct adit_pool *pool)
{
	int rc = 0, error;

	adit__fds_finish(pool);
	drop_locks(pool);
	if (pool->fs->share == NULL)
		adit__counts_close(pool->fs);
	if (has_stopped(pool)) {
		/* What the log holds must be applied from the start: leave it to the next open. */
		adit__share_drop(pool->fs);
		adit__core_abandon(pool->fs);
		rc = -EIO;
	} else {
		rc = close_guarded(pool);
	}
	error = adit__media_error(&pool->media);
	close_medium(pool);
	free(pool);
	return rc != 0 ? rc : error;
}

int adit_close(struct adit_pool *pool)
{
	int rc;

	if (pool == NULL)
		return 0;
	adit__fork_wait();
	adit__fork_remove(pool);
	rc = close_pool(pool);
	adit__fork_go_on();
	return rc;
}

/* ---- info ------------------------------------------------------------------------------------ */

/* After info_of_use, which has looked whether the pool has grown. */
static void info_of_format(const struct adit_fs *fs, struct adit_pool_info *out)
{
	const struct adit_super_pm *s = &fs->super;

	memcpy(out->uuid, s->uuid, sizeof out->uuid);
	memcpy(out->label, s->label, sizeof s->label);
	out->block_bytes = ADIT_BLOCK;
	out->blocks = adit__pool_end(fs);
	out->size_bytes = out->blocks * ADIT_BLOCK;
	out->group_bytes = fs->group_blocks * ADIT_BLOCK;
	out->groups = (out->blocks + fs->group_blocks - 1) / fs->group_blocks;
	out->lanes = fs->lanes;
	out->lane_bytes = fs->ring_bytes;
	out->incarnation = get64(s->incarnation);
	out->created_ns = (int64_t)get64(s->created_ns);
	out->compat = get64(s->compat);
	out->ro_compat = get64(s->ro_compat);
	out->incompat = get64(s->incompat);
	out->version = get32(s->version);
}

static void info_of_medium(const struct adit_media *m, struct adit_pool_info *out)
{
	out->domain = (int)m->domain;
	out->domain_assumed = m->assumed;
	snprintf(out->domain_name, sizeof out->domain_name, "%s", adit__domain_name(m->domain));
	snprintf(out->flush_name, sizeof out->flush_name, "%s", m->flush_name);
	snprintf(out->medium, sizeof out->medium, "%s", m->kind);
	out->map_sync = m->map_sync;
	out->page_bytes = m->page_size;
	out->protection = ADIT_PROTECT_OFF + (int)m->protection;
	out->keys_supported = adit__cpu_has_keys();
}

/* Counters lie in the pool: of a stopped one they are 0. */
static int info_of_use(struct adit_fs *fs, struct adit_pool_info *out)
{
	struct adit_statfs s;

	adit__core_statfs(fs, &s);
	out->free_blocks = s.free;
	out->inodes_used = s.inodes_used - 1; /* the table's own is no file */
	out->checkpoints = __atomic_load_n(&fs->vol->ckpt_count, __ATOMIC_RELAXED);
	return 0;
}

int adit_info(struct adit_pool *pool, struct adit_pool_info *out)
{
	struct adit_fs *fs = pool->fs;
	int rc;

	*out = (struct adit_pool_info){0};
	ADIT_GUARD_READ(pool, rc, info_of_use(fs, out));
	(void)rc;
	info_of_format(fs, out);
	info_of_medium(&pool->media, out);
	out->was_clean = pool->was_clean;
	out->read_only = fs->read_only;
	out->failed = has_stopped(pool);
	out->open_files = __atomic_load_n(&pool->fds.open, __ATOMIC_RELAXED);
	return 0;
}

int adit_direct_access(struct adit_pool *pool, uint64_t offset, uint64_t len_bytes, void **addr,
		       uint64_t *contiguous)
{
	struct adit_sigbus_frame frame;
	struct adit_statfs st;
	int rc;

	/* This thread may read from here on. Nothing is touched, so nothing jumps. */
	adit__sigbus_push(&frame, &pool->media);
	adit__sigbus_pop(&frame);
	rc = adit__media_direct_access(&pool->media, offset, len_bytes, addr, contiguous);
	if (rc != -ERANGE)
		return rc;
	/* Has it grown meanwhile? */
	ADIT_GUARD(pool, rc, (adit__core_statfs(pool->fs, &st), 0));
	return rc != 0 ? rc : adit__media_direct_access(&pool->media, offset, len_bytes, addr, contiguous);
}

/* ---- growing --------------------------------------------------------------------------------- */

int adit_grow(struct adit_pool *pool, uint64_t size_bytes)
{
	int rc, error;

	if (pool->fs->read_only)
		return -EROFS;
	if (has_stopped(pool))
		return -EIO;
	rc = adit__share_grow(pool->fs, size_bytes);
	error = adit__media_error(&pool->media);
	return rc != 0 ? rc : error;
}
