/* SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause */
/*
 * Contents of regular files (and long link targets): read, write, truncate,
 * fallocate, seek. Each is a whole operation: begins, locks, commits, ends.
 */
#ifndef ADIT_CORE_FILE_H
#define ADIT_CORE_FILE_H

#include "core/core.h"

struct adit_iovec { /* same layout as struct iovec */
	void *base;
	size_t len;
};
#define ADIT_WRITE_ATOMIC 1u /* all or nothing; up to ADIT_ATOMIC_MAX in one record, larger by copying */
#define ADIT_WRITE_APPEND 2u /* at the end, whatever offset says; *offset tells where */
#define ADIT_FILE_SIZE_MAX INT64_MAX

/* Bytes read (0 at the end), -EIO, ... */
int64_t adit__file_read(struct adit_fs *, uint64_t ino, const struct adit_iovec *, unsigned n,
			uint64_t offset);
/* The same without operation and type check: the inode is locked. */
int64_t adit__file_read_locked(struct adit_fs *, const struct adit_inode_pm *,
			       const struct adit_iovec *, unsigned n, uint64_t offset);
/* Bytes written: all of them, or an error and nothing changed (an in-place
 * overwrite interrupted by a media error aside). *offset: see APPEND. */
int64_t adit__file_write(struct adit_fs *, uint64_t ino, const struct adit_iovec *, unsigned n,
			 uint64_t *offset, unsigned flags);
int adit__file_truncate(struct adit_fs *, uint64_t ino, uint64_t size);
/* mode: FALLOC_FL_* as fallocate(2). */
int adit__file_fallocate(struct adit_fs *, uint64_t ino, int mode, uint64_t offset, uint64_t len);
/* whence: SEEK_DATA (3) or SEEK_HOLE (4). New offset or -ENXIO. */
int64_t adit__file_seek(struct adit_fs *, uint64_t ino, uint64_t offset, int whence);
/* Frees the file's blocks from file block `from` on, step by step: the part of
 * inode destruction and of recovery. As adit__tree_destroy_step. */
int adit__file_destroy_step(struct adit_cs *, struct adit_inode_pm *ip, uint64_t from);
/* Finish an intent found at open (recovery). op as in adit__inode_destroy. */
int adit__file_resume(struct adit_op *, const struct adit_intent_pm *);

#endif
