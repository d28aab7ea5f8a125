/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * look.c - see look.h.
 *
 * Who opens a pool writes its superblock and then its volatile region, so for some microseconds neither means
 * anything: this looks again until both do.
 */
#include "cli/look.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "cli/cli.h"
#include "core/log.h"
#include "fs/env.h"
#include "media/sigbus.h"
#include "share/participant.h"

#define TRIES 200 /* a second */

static void wait_a_little(void)
{
	const struct timespec t = {.tv_nsec = 5000000};

	nanosleep(&t, NULL);
}

/* ---- the superblock -------------------------------------------------------------------------------- */

/* -EMEDIUMTYPE: neither copy looks like one. */
static int read_super(struct cli_look *v, const char **why)
{
	struct adit_super_pm s;
	int rc = -EMEDIUMTYPE;

	for (unsigned copy = 0; copy < 2 && rc != 0; copy++) {
		memcpy(&s, v->media.pm.base + (copy == 0 ? 0 : ADIT_SUPER_COPY * ADIT_BLOCK),
		       sizeof s);
		if (get32(s.magic) == ADIT_MAGIC_SUPER)
			rc = adit__verify_super(&adit__env, &s, v->media.pm.size_bytes, why);
	}
	if (rc == 0)
		v->fs.super = s;
	return rc;
}

static int read_super_guarded(struct cli_look *v, const char **why)
{
	struct adit_sigbus_frame frame;
	int rc;

	if (ADIT_SIGBUS_TRY(&frame, &v->media)) {
		*why = "cannot be read";
		return -EIO;
	}
	rc = read_super(v, why);
	ADIT_SIGBUS_END(&frame);
	return rc;
}

int cli_look_open(struct cli_look *v, const char *path)
{
	const char *why = "no Adit superblock";
	int rc;

	*v = (struct cli_look){.path = path};
	rc = adit__media_open(&v->media, path, ADIT_MEDIA_RDONLY, 0, (enum adit_domain)cli.assume);
	if (rc < 0)
		return cli_fail_pool(rc, path, "cannot open the pool");
	rc = -EMEDIUMTYPE;
	for (unsigned i = 0; v->media.pm.size_bytes >= ADIT_POOL_MIN_BYTES && i < TRIES; i++) {
		rc = read_super_guarded(v, &why);
		if (rc == 0 || rc == -EMEDIUMTYPE)
			break;
		wait_a_little();
	}
	if (rc != 0) {
		adit__media_close(&v->media);
		return cli_error("%s: superblock: %s", path, why);
	}
	v->fs.pm = v->media.pm;
	v->fs.env = &adit__env;
	adit__fs_geometry(&v->fs);
	v->fs.incarnation = (uint32_t)get64(v->fs.super.incarnation);
	v->open = true;
	return CLI_OK;
}

void cli_look_close(struct cli_look *v)
{
	if (v->open)
		adit__media_close(&v->media);
	v->open = false;
}

static bool is_another_file(const struct cli_look *v)
{
	struct stat named, mapped;

	return stat(v->path, &named) != 0 || fstat(v->media.fd, &mapped) != 0 ||
	       named.st_ino != mapped.st_ino || named.st_dev != mapped.st_dev;
}

static bool has_changed(struct cli_look *v)
{
	const struct adit_super_pm *s = (const struct adit_super_pm *)v->media.pm.base;
	struct adit_sigbus_frame frame;
	bool changed;

	if (ADIT_SIGBUS_TRY(&frame, &v->media))
		return true;
	changed = get64_relaxed(&s->incarnation) != get64(v->fs.super.incarnation) ||
		  get64_relaxed(&s->pool_blocks) != get64(v->fs.super.pool_blocks);
	ADIT_SIGBUS_END(&frame);
	return changed;
}

int cli_look_again(struct cli_look *v)
{
	const char *path = v->path;

	if (v->open && !is_another_file(v) && !has_changed(v))
		return CLI_OK;
	cli_look_close(v);
	return cli_look_open(v, path);
}

/* ---- statistics -------------------------------------------------------------------------------------- */

static unsigned count_alive(const struct cli_look *v)
{
	unsigned n = 0;

	for (uint32_t i = 0; i < v->fs.nparticipants; i++)
		n += cli_look_is_taken(v, i) && adit__participant_is_there(v->media.fd, i);
	return n;
}

static int collect(struct cli_look *v, struct cli_looked *out)
{
	uint64_t sum[ADIT_COUNTS] = {0};
	struct adit_sigbus_frame frame;
	int rc;

	if (ADIT_SIGBUS_TRY(&frame, &v->media))
		return -EIO;
	rc = adit__stats_collect(&v->fs, sum, &out->stats);
	out->alive = count_alive(v);
	ADIT_SIGBUS_END(&frame);
	return rc;
}

int cli_look_stats(struct cli_look *v, struct cli_looked *out)
{
	int rc = 0;

	for (unsigned i = 0; i < TRIES; i++) {
		*out = (struct cli_looked){.in_use = adit__others_are_there(v->media.fd)};
		out->stats.incarnation = v->fs.incarnation;
		out->stats.blocks = v->fs.pool_blocks;
		if (!out->in_use || v->fs.alone)
			return CLI_OK;
		rc = collect(v, out);
		/* Did it stay the same while we looked? */
		if (rc == 0 && !has_changed(v))
			return CLI_OK;
		wait_a_little();
		if (cli_look_again(v) != CLI_OK)
			return CLI_FAILED;
	}
	return cli_fail(rc != 0 ? rc : EAGAIN, "%s: its statistics", v->path);
}
