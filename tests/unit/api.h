/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the tests of the public interface share: a pool in a file of its own, made, reopened, removed.
 */
#ifndef ADIT_TESTS_UNIT_API_H
#define ADIT_TESTS_UNIT_API_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "adit/adit.h"
#include "fs/pool.h"
#include "media/sigbus.h"

#define MIB (1ull << 20)

struct api {
	struct adit_pool *pool;
	char path[96];
	char report[512]; /* the last line */
	unsigned reports;
};

static void api_report(void *ctx, const char *line)
{
	struct api *a = ctx;

	snprintf(a->report, sizeof a->report, "%s", line);
	a->reports++;
}

static inline int api_try_open(struct api *a, unsigned flags)
{
	struct adit_open_options o = {.flags = flags, .report = api_report, .report_ctx = a};

	return adit_open(a->path, &o, &a->pool);
}

static inline int api_mkfs(struct api *a, uint64_t bytes, int force)
{
	struct adit_mkfs_options o = {.size_bytes = bytes, .force = force, .label = "test",
				      .report = api_report, .report_ctx = a};

	return adit_mkfs(a->path, &o);
}

static inline void api_name(struct api *a)
{
	const char *dir = getenv("ADIT_TEST_SHM");
	static unsigned n;

	if (dir == NULL)
		dir = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
	*a = (struct api){0};
	snprintf(a->path, sizeof a->path, "%s/adit-api-%d-%u", dir, (int)getpid(), n++);
	unlink(a->path);
}

static inline void api_make(struct api *a, uint64_t bytes)
{
	api_name(a);
	assert_int_equal(api_mkfs(a, bytes, 0), 0);
	assert_int_equal(api_try_open(a, 0), 0);
	adit_umask(a->pool, 0);
}

static inline void api_reopen(struct api *a)
{
	assert_int_equal(adit_close(a->pool), 0);
	assert_int_equal(api_try_open(a, 0), 0);
	adit_umask(a->pool, 0);
}

static inline void api_done(struct api *a)
{
	assert_int_equal(adit_close(a->pool), 0);
	unlink(a->path);
}

/* A file with these contents. */
static inline void api_put(struct api *a, const char *name, const void *bytes, size_t len)
{
	int fd = adit_openat(a->pool, AT_FDCWD, name, O_CREAT | O_TRUNC | O_WRONLY, 0644);

	assert_true(fd >= 0);
	assert_int_equal(adit_write(a->pool, fd, bytes, len), len);
	assert_int_equal(adit_close_fd(a->pool, fd), 0);
}

static inline bool api_is(struct api *a, const char *name, const void *bytes, size_t len)
{
	int fd = adit_openat(a->pool, AT_FDCWD, name, O_RDONLY, 0);
	char *have = malloc(len + 1);
	bool same;

	assert_true(fd >= 0);
	same = adit_read(a->pool, fd, have, len + 1) == (ssize_t)len && memcmp(have, bytes, len) == 0;
	free(have);
	assert_int_equal(adit_close_fd(a->pool, fd), 0);
	return same;
}

static inline int api_open(struct api *a, const char *name, int flags)
{
	int fd = adit_openat(a->pool, AT_FDCWD, name, flags, 0644);

	assert_true(fd >= 0);
	return fd;
}

/* For stores of a test's own, which a protected pool (ADIT_PROTECT) would not take. */
static inline void api_stores_begin(struct api *a, struct adit_sigbus_frame *frame)
{
	adit__sigbus_push(frame, &a->pool->media);
	adit__allow_stores(frame);
}

static inline void api_stores_end(struct adit_sigbus_frame *frame)
{
	adit__sigbus_pop(frame);
}

static inline uint64_t api_random(uint64_t *state)
{
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return *state * 0x2545f4914f6cdd1dull;
}

#endif
