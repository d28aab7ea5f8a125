/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * convert.h - between the core's structures and those of the system calls.
 */
#ifndef ADIT_FS_CONVERT_H
#define ADIT_FS_CONVERT_H

#include <sys/sysmacros.h>

#include "core/namei.h"
#include "fs/pool.h"

/* A device number in the core: major:32 | minor:32. */
static inline uint64_t adit__rdev_of(dev_t dev)
{
	return (uint64_t)major(dev) << 32 | minor(dev);
}

static inline dev_t adit__dev_of(uint64_t rdev)
{
	return makedev((unsigned)(rdev >> 32), (unsigned)rdev);
}

/* Seconds rounded down; nanoseconds 0..999999999. */
static inline int64_t adit__seconds_of(int64_t ns)
{
	int64_t s = ns / 1000000000;

	return ns % 1000000000 < 0 ? s - 1 : s;
}

static inline uint32_t adit__nanoseconds_of(int64_t ns)
{
	return (uint32_t)(ns - adit__seconds_of(ns) * 1000000000);
}

/* What a call with this mode makes: the umask applied, our owners. */
static inline struct adit_create adit__new_file(struct adit_pool *pool, uint32_t type, mode_t mode)
{
	uint32_t umask = __atomic_load_n(&pool->umask, __ATOMIC_RELAXED);

	return (struct adit_create){
		.mode = type | (mode & 07777u & ~umask),
		.uid = pool->uid,
		.gid = pool->gid,
	};
}

#endif
