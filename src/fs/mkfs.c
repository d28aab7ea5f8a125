/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * mkfs.c - making pools: what may be overwritten, and what is left when it fails.
 *
 * Neighbours: probe.c (what is on the medium now), core/mkfs.c (the format).
 */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fs/guard.h"
#include "fs/pool.h"
#include "fs/probe.h"

struct making {
	const struct adit_mkfs_options *options;
	struct adit_pool *pool; /* for its medium and reporter only */
	struct adit_mkfs_params params;
	struct stat before;	/* what the descriptor was */
	uint64_t size_bytes;
};

static int check_options(const struct adit_mkfs_options *o)
{
	uint64_t group = o->group_bytes;

	if (o->label != NULL && strnlen(o->label, ADIT_LABEL_MAX) == ADIT_LABEL_MAX)
		return -EINVAL;
	if (o->assume < ADIT_ASSUME_AUTO || o->assume > ADIT_ASSUME_PROCESS ||
	    o->lanes > ADIT_LANES_MAX)
		return -EINVAL;
	if (group != 0 && ((group & (group - 1)) != 0 || group < 2u << 20 || group > 1u << 30))
		return -EINVAL;
	for (unsigned i = 0; i < sizeof o->reserved / sizeof o->reserved[0]; i++) {
		if (o->reserved[i] != 0)
			return -EINVAL;
	}
	return 0;
}

static void random_uuid(uint8_t uuid[16])
{
	uint64_t half[2] = {adit__env.random64(), adit__env.random64()};

	memcpy(uuid, half, 16);
	uuid[6] = (uuid[6] & 0x0f) | 0x40; /* version 4, RFC 9562 */
	uuid[8] = (uuid[8] & 0x3f) | 0x80;
}

static void set_params(struct making *m)
{
	const struct adit_mkfs_options *o = m->options;
	struct adit_mkfs_params *p = &m->params;

	p->pool_bytes = m->pool->media.pm.size_bytes;
	if (m->size_bytes != 0 && m->size_bytes < p->pool_bytes)
		p->pool_bytes = m->size_bytes;
	if (o->label != NULL)
		memcpy(p->label, o->label, strlen(o->label));
	if (o->uuid != NULL)
		memcpy(p->uuid, o->uuid, 16);
	else
		random_uuid(p->uuid);
	p->hash_seed = adit__env.random64();
	p->lanes = o->lanes;
	p->group_blocks = o->group_bytes / ADIT_BLOCK;
	p->root_uid = geteuid();
	p->root_gid = getegid();
	p->root_mode = 0755;
}

static int refuse(struct making *m, const char *what)
{
	if (what == NULL)
		return 0;
	adit__env.report(&m->pool->reporter, "there is %s: not overwritten without force", what);
	return -EEXIST;
}

/* ---- regular files --------------------------------------------------------------------------- */

/* Nothing but holes: it reads as zeros. */
static bool is_hollow(int fd, off_t size)
{
	return size == 0 || (lseek(fd, 0, SEEK_DATA) < 0 && errno == ENXIO);
}

/* Locked: nobody has it open. Leaves a file that may be mapped. */
static int prepare_file(struct making *m, int fd)
{
	int rc = 0;

	if (m->size_bytes == 0)
		m->size_bytes = (uint64_t)m->before.st_size;
	if (m->size_bytes < ADIT_POOL_MIN_BYTES || m->size_bytes > INT64_MAX)
		return -EINVAL;
	m->params.zeroed = is_hollow(fd, m->before.st_size);
	if (m->params.zeroed)
		return 0;
	if (!m->options->force)
		rc = refuse(m, adit__probe_fd(fd));
	else if (ftruncate(fd, 0) == 0)
		m->params.zeroed = true;
	else
		rc = -errno;
	return rc;
}

/* ---- making ---------------------------------------------------------------------------------- */

static int make_core(struct making *m)
{
	struct adit_media *media = &m->pool->media;
	int err = 0;

	if (media->is_device && !m->options->force)
		err = refuse(m, adit__probe_memory(media->pm.base, media->pm.size_bytes));
	if (err)
		return err;
	err = adit__core_mkfs(&media->pm, &adit__env, &m->pool->reporter, &m->params);
	if (err)
		adit__core_wipe(&media->pm);
	return err;
}

static ADIT_NOINLINE int make_guarded(struct making *m)
{
	int rc;

	ADIT_GUARD(m->pool, rc, make_core(m));
	return rc;
}

static void wipe_core(struct making *m)
{
	adit__core_wipe(&m->pool->media.pm);
}

/* After a media fault: best effort, which may meet the same fault. */
static ADIT_NOINLINE void wipe_guarded(struct making *m)
{
	int rc;

	ADIT_GUARD(m->pool, rc, (wipe_core(m), 0));
	(void)rc;
}

/* fd is ours and is closed. */
static int make_on(struct making *m, int fd)
{
	struct adit_media *media = &m->pool->media;
	int rc;

	if (fstat(fd, &m->before) != 0)
		rc = -errno;
	else
		rc = adit__fd_lock(fd, true, 0, 0);
	if (rc == 0 && S_ISREG(m->before.st_mode))
		rc = prepare_file(m, fd);
	if (rc == 0)
		rc = adit__media_open_fd(media, fd, ADIT_MEDIA_CREATE, m->size_bytes,
					 (enum adit_domain)m->options->assume);
	if (rc != 0) {
		close(fd);
		return rc;
	}
	set_params(m);
	rc = make_guarded(m);
	if (rc == 0)
		rc = adit__media_error(media);
	if (rc == 0 && S_ISREG(m->before.st_mode) && fsync(fd) != 0 && errno != EINVAL)
		rc = -errno;
	if (rc != 0 && rc != -EEXIST)
		wipe_guarded(m);
	adit__media_close(media);
	return rc;
}

static int make(int fd, const struct adit_mkfs_options *options)
{
	struct making m = {.options = options, .size_bytes = options->size_bytes};
	int rc;

	m.pool = calloc(1, sizeof *m.pool);
	if (m.pool == NULL) {
		close(fd);
		return -ENOMEM;
	}
	m.pool->reporter = (struct adit_reporter){options->report, options->report_ctx};
	adit__guard_install();
	rc = make_on(&m, fd);
	free(m.pool);
	return rc;
}

int adit_mkfs_fd(int fd, const struct adit_mkfs_options *options)
{
	int own, rc = check_options(options);

	if (rc != 0)
		return rc;
	own = adit__fd_own(fd, false);
	return own < 0 ? own : make(own, options);
}

/* The new file's name is durable when its directory is. */
static int sync_directory(const char *path)
{
	char *copy = strdup(path);
	int fd, rc = 0;

	if (copy == NULL)
		return -ENOMEM;
	fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	/* A directory that may be written but not read cannot be synced by us. */
	if (fd >= 0) {
		if (fsync(fd) != 0 && errno != EINVAL)
			rc = -errno;
		close(fd);
	}
	free(copy);
	return rc;
}

int adit_mkfs(const char *path, const struct adit_mkfs_options *options)
{
	const int flags = O_RDWR | O_CLOEXEC | O_NONBLOCK;
	bool created = false;
	int fd, rc = check_options(options);

	if (rc != 0)
		return rc;
	fd = open(path, flags);
	if (fd < 0 && errno == ENOENT) {
		fd = open(path, flags | O_CREAT | O_EXCL, 0666);
		created = fd >= 0;
	}
	if (fd < 0)
		return -errno;
	rc = make(fd, options);
	if (rc == 0 && created)
		rc = sync_directory(path);
	if (rc != 0 && created)
		unlink(path);
	return rc;
}
