/* SPDX-License-Identifier: BSD-3-Clause */
/* choose.c - what the calls of a list are made with; see same.h. */
#include <stdio.h>
#include <string.h>

#include "same.h"

uint64_t rnd(void)
{
	t.state ^= t.state >> 12;
	t.state ^= t.state << 25;
	t.state ^= t.state >> 27;
	return t.state * 0x2545f4914f6cdd1dull;
}

unsigned pick(unsigned n)
{
	return (unsigned)((rnd() >> 33) % n);
}

bool chance(unsigned percent)
{
	return pick(100) < percent;
}

/* ---- names ----------------------------------------------------------------------------------- */

static const char *const names[] = {"a", "b", "c", "d", "link", "ln2", "dir", "dir", "sub", "x"};

/* Mostly short and sane, so that things meet; sometimes odd. Never above the root. */
const char *path(char *out)
{
	unsigned depth = chance(60) ? 1 : 1 + pick(3), level = 0;
	size_t at = 0;

	if (chance(1))
		return strcpy(out, "");
	if (chance(1)) {
		memset(out, 'n', 256);
		out[255 + pick(2)] = '\0';
		return out;
	}
	for (unsigned i = 0; i < depth; i++) {
		const char *part = ONE_OF(names);

		if (chance(3))
			part = ".";
		else if (level > 0 && chance(4))
			part = "..";
		level += part[0] == '.' ? (part[1] ? -1u : 0u) : 1;
		at += (size_t)sprintf(out + at, "%s%s", i ? (chance(3) ? "//" : "/") : "", part);
	}
	if (chance(4))
		strcpy(out + at, chance(80) ? "/" : "//");
	return out;
}

/* A symbolic link must not lead out of the host's directory: no "..", nothing absolute; and not up
 * by itself (".") either, or a ".." behind it would. */
const char *target(char *out)
{
	static const char *const fixed[] = {"a",      "b",     "dir", "link", "ln2", "dir/sub",
					    "dir/a/", "sub/x", "./c", "none", "x/"};

	if (chance(3)) {
		memset(out, 'y', 300);
		out[100 + pick(200)] = '\0';
		return out;
	}
	return strcpy(out, ONE_OF(fixed));
}

/* A directory to start from: the root, or an open descriptor. */
struct pair start(void)
{
	struct pair p = t.root;

	if (chance(8)) {
		p = t.fd[pick(FDS)];
		if (p.host < 0)
			p = (struct pair){-1, -1};
	}
	return p;
}

struct pair *some_fd(void)
{
	struct pair *p = &t.fd[pick(FDS)];

	for (unsigned i = 0; i < 20 && p->host < 0; i++)
		p = &t.fd[pick(FDS)];
	return p;
}

off_t some_offset(void)
{
	static const off_t odd[] = {-1, 0, 1, 111, 112, 113, 4095, 4096, 4097, 8192, 65536};

	/* Up to where the largest file ends: ext4's at 2^44 bytes; XFS's at 2^63, but there it says
	 * EUCLEAN. */
	static const off_t far[] = {1ll << 31, (1ll << 32) - 1,	 1ll << 40,	(1ll << 42) + 5,
				    1ll << 46, INT64_MAX - 4096, INT64_MAX - 1, INT64_MAX};

	if (chance(2))
		return far[pick(t.host->kind == HOST_EXT4 ? 4 : t.host->kind == HOST_XFS ? 5 : 8)];
	return chance(40) ? ONE_OF(odd) : (off_t)pick(FILE_MAX_BYTES / 2);
}

size_t some_length(void)
{
	static const size_t odd[] = {0, 1, 64, 112, 113, 512, 4096, 8192, 65536};

	return chance(60) ? ONE_OF(odd) : pick(chance(80) ? 5000 : 100000);
}

void fill(uint8_t *buf, size_t bytes)
{
	uint64_t value = rnd();

	for (size_t i = 0; i < bytes; i++)
		buf[i] = (uint8_t)(value >> (i % 8 * 8)) ^ (uint8_t)(i >> 8);
}

/* truncate and others have no *at form. */
static const char *whole_path(char *out, const char *root, const char *name)
{
	sprintf(out, "%s/%s", root, name);
	return name[0] == '\0' ? "" : out;
}

const char *host_path(char *out, const char *name)
{
	return whole_path(out, t.host_root, name);
}

const char *adit_path(char *out, const char *name)
{
	return whole_path(out, "/r", name);
}

mode_t mode_not_sticky(void)
{
	return pick(010000) & ~(mode_t)S_ISVTX;
}
