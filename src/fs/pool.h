/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * pool.h - the pool handle and what every file of fs shares.
 *
 * fs turns system calls into operations of the core: descriptors (fd.h), paths (path.h), the calls
 * themselves (calls_*.c). It keeps no file-system state of its own beyond descriptors.
 */
#ifndef ADIT_FS_POOL_H
#define ADIT_FS_POOL_H

#include <sys/types.h>

#include "adit/adit.h"
#include "core/core.h"
#include "fs/env.h"
#include "fs/fd.h"
#include "media/media.h"

struct adit_fork; /* fork.c */
#define ADIT_RECORD_WORDS 16u

struct adit_pool {
	struct adit_media media;
	int lock_fd; /* of the locks between processes: a mapping, which a child of fork inherits, would keep those of
		      * media.fd; -1: none */
	struct adit_fs *fs;
	struct adit_fd_table fds;
	struct adit_reporter reporter;
	unsigned write_flags;  /* ADIT_WRITE_*, added to every write */
	uint32_t umask;	       /* atomic */
	uint32_t uid, gid;     /* owners of new files */
	uint64_t dev;	       /* st_dev */
	uint64_t fsid;
	bool was_clean;
	struct adit_pool *next; /* fork.c: the list of all */
	struct adit_fork *fork; /* while one is under way */
	bool has_record_locks; /* atomic: ever */
	uint64_t record_locks[ADIT_RECORD_WORDS]; /* atomic: in which inodes, by a bit of their numbers */
};

/* For whoever works on the pool beside the calls (check, dump). */
static inline struct adit_fs *adit__pool_fs(struct adit_pool *pool)
{
	return pool->fs;
}

/* A descriptor of our own, with its own locks, for the file behind fd. */
int adit__fd_own(int fd, bool read_only);

/* Bytes that one call moves at most, as Linux has it. */
#define ADIT_RW_MAX 0x7ffff000

#endif
