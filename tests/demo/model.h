/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * model.h - the inside of the demo's model, for ops.c and match.c.
 */
#ifndef ADIT_DEMO_MODEL_H
#define ADIT_DEMO_MODEL_H

#include <stdint.h>
#include <stdio.h>

#include "ops.h"

#define PATH_BYTES 256
#define ATTRIBUTE  "user.demo"

struct object {
	unsigned names;
	uint64_t size, room;
	uint8_t *bytes;
	uint64_t attribute;	 /* 0: none */
	char target[TARGET_MAX]; /* of a symbolic link; empty: a file */
	uint64_t seen_ino;	 /* match.c: the pool's inode, 0 when not met yet */
};

static inline void dir_path(char *path, const char *base, unsigned dir)
{
	if (dir == 0)
		snprintf(path, PATH_BYTES, "%s", base);
	else
		snprintf(path, PATH_BYTES, "%s/d%u", base, dir);
}

static inline void name_path(char *path, const char *base, unsigned dir, unsigned name)
{
	if (dir == 0)
		snprintf(path, PATH_BYTES, "%s/f%u", base, name);
	else
		snprintf(path, PATH_BYTES, "%s/d%u/f%u", base, dir, name);
}

#endif
