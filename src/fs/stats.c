/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * stats.c - adit_stats: adds up what every thread of every process has counted (core/stats.h, share/counts.h).
 */
#include "fs/stats.h"

#include <errno.h>
#include <string.h>

#include "core/stats.h"
#include "fs/guard.h"

_Static_assert(ADIT_CALL_KINDS <= ADIT_COUNT_CALLS, "a shard has room");

const char *adit_stats_name(unsigned kind)
{
	static const char *const names[ADIT_CALL_KINDS] = {
		[ADIT_CALL_READ] = "read",
		[ADIT_CALL_WRITE] = "write",
		[ADIT_CALL_GETATTR] = "getattr",
		[ADIT_CALL_OPEN] = "open",
		[ADIT_CALL_CLOSE] = "close",
		[ADIT_CALL_CREATE] = "create",
		[ADIT_CALL_MKDIR] = "mkdir",
		[ADIT_CALL_SYMLINK] = "symlink",
		[ADIT_CALL_LINK] = "link",
		[ADIT_CALL_UNLINK] = "unlink",
		[ADIT_CALL_RMDIR] = "rmdir",
		[ADIT_CALL_RENAME] = "rename",
		[ADIT_CALL_READLINK] = "readlink",
		[ADIT_CALL_SETATTR] = "setattr",
		[ADIT_CALL_TRUNCATE] = "truncate",
		[ADIT_CALL_FALLOCATE] = "fallocate",
		[ADIT_CALL_SEEK] = "seek",
		[ADIT_CALL_COPY] = "copy",
		[ADIT_CALL_READDIR] = "readdir",
		[ADIT_CALL_GETXATTR] = "getxattr",
		[ADIT_CALL_SETXATTR] = "setxattr",
		[ADIT_CALL_LISTXATTR] = "listxattr",
		[ADIT_CALL_REMOVEXATTR] = "removexattr",
		[ADIT_CALL_FSYNC] = "fsync",
	};

	return kind < ADIT_CALL_KINDS ? names[kind] : NULL;
}

static uint64_t look(const uint64_t *at)
{
	return __atomic_load_n(at, __ATOMIC_RELAXED);
}

static void from_sum(const uint64_t *sum, struct adit_pool_stats *out)
{
	memcpy(out->calls, &sum[ADIT_COUNT_CALL], ADIT_COUNT_CALLS * sizeof *sum);
	memcpy(out->failed, &sum[ADIT_COUNT_FAILED], ADIT_COUNT_CALLS * sizeof *sum);
	out->bytes_read = sum[ADIT_COUNT_BYTES_READ];
	out->bytes_written = sum[ADIT_COUNT_BYTES_WRITTEN];
	out->flushed_lines = sum[ADIT_COUNT_FLUSHED_LINES];
	out->streamed_lines = sum[ADIT_COUNT_STREAMED_LINES];
	out->streamed_bytes = sum[ADIT_COUNT_STREAMED_BYTES];
	out->fences = sum[ADIT_COUNT_FENCES];
	out->lock_waits = sum[ADIT_COUNT_LOCK_WAITS];
	out->lock_wait_ns = sum[ADIT_COUNT_LOCK_WAIT_NS];
	out->no_space = sum[ADIT_COUNT_NO_SPACE];
	out->media_errors = sum[ADIT_COUNT_MEDIA_ERRORS];
}

static void space(const struct adit_fs *fs, struct adit_pool_stats *out)
{
	uint64_t usable = look(&fs->vol->free_blocks);

	out->blocks = fs->pool_blocks;
	out->free_blocks = adit__total_free(fs);
	out->lent_blocks = adit__scratch_blocks(fs);
	if (out->free_blocks > usable + out->lent_blocks)
		out->quarantined_blocks = out->free_blocks - usable - out->lent_blocks;
}

static void activity(const struct adit_fs *fs, struct adit_pool_stats *out)
{
	for (uint32_t i = 0; i < fs->nparticipants; i++)
		out->participants +=
			look(&fs->participants[i].owner) == ((uint64_t)fs->incarnation << 32 | 1);
	for (uint32_t i = 0; i < fs->nops; i++) {
		uint64_t owner = look(&fs->ops[i].owner);
		uint32_t state = __atomic_load_n(&fs->ops[i].state, __ATOMIC_RELAXED);

		if (owner >> 32 != fs->incarnation || (uint32_t)owner == 0)
			continue;
		out->running += state == ADIT_OP_RUNNING;
		out->waiting += state == ADIT_OP_PARKED;
	}
}

int adit__stats_collect(const struct adit_fs *fs, uint64_t *sum, struct adit_pool_stats *out)
{
	struct adit_pool_stats s = {.incarnation = fs->incarnation};

	if (look(&fs->vol->incarnation) != fs->incarnation || !adit__stats_sum(fs, sum))
		return -EUCLEAN;
	from_sum(sum, &s);
	adit__stats_records(fs, &s.records, &s.record_bytes);
	s.checkpoints = look(&fs->vol->ckpt_count);
	s.repairs = look(&fs->vol->repairs);
	s.uncounted = __atomic_load_n(&fs->vol->uncounted, __ATOMIC_RELAXED);
	space(fs, &s);
	activity(fs, &s);
	*out = s;
	return 0;
}

static int collect_own(struct adit_pool *pool, struct adit_pool_stats *out)
{
	uint64_t sum[ADIT_COUNTS] = {0};

	adit__counts_add_private(&pool->media, sum);
	return adit__stats_collect(pool->fs, sum, out);
}

int adit_stats(struct adit_pool *pool, struct adit_pool_stats *out)
{
	int rc;

	ADIT_GUARD(pool, rc, collect_own(pool, out));
	return rc;
}
