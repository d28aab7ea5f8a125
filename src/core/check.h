/* SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause */
/*
 * Checking a pool, and repairing it.
 *
 * Caveats first
 *  - The caller has the pool alone: no operation runs, and with a repair none
 *    is recovered later from the lanes, because a repair begins with a
 *    checkpoint.
 *  - adit__check expects the state after recovery.  A look that must change
 *    nothing (fsck -n) of a pool that was not closed cleanly: map the pool
 *    privately (MAP_PRIVATE, writable) and open it there in the ordinary way;
 *    recovery then works on the copy.  On a pool opened with
 *    ADIT_OPEN_NO_RECOVERY changes that only the lanes know are missing, and
 *    the check finds what they left half done.
 *  - A superblock, root block or checkpoint that is so damaged that
 *    adit__core_open refuses the pool is found by adit__check_media, which
 *    looks before it opens.  fsck calls that one.
 *  - With a repair, the superblock says ADIT_STATE_DAMAGED from the first
 *    change until all is well, so that an interrupted repair is not forgotten.
 *
 * Memory: a bit for each block and 24 bytes for each inode, both only where
 * the pool is in use, allocated through env->alloc.
 */
#ifndef ADIT_CORE_CHECK_H
#define ADIT_CORE_CHECK_H

#include "core/core.h"

enum adit_check_severity {
	ADIT_CHECK_NOTE,  /* worth a line, not an error */
	ADIT_CHECK_MINOR, /* counters, leaked blocks, orphans: preen mends it */
	ADIT_CHECK_ERROR, /* structure or contents; a repair loses nothing known */
	ADIT_CHECK_LOSS,  /* something is lost, or is given up by the repair */
};

struct adit_check_finding {
	enum adit_check_severity severity;
	const char *structure; /* "inode", "directory", "group", ... */
	const char *message;   /* what is wrong */
	const char *action;    /* what mends it, or NULL: nothing here can */
	uint64_t ino;	       /* 0: none */
	uint64_t block;	       /* ADIT_CHECK_NO_BLOCK: none */
	bool has_values;
	uint64_t found, expected;
	const void *name; /* a directory entry's or attribute's name, or NULL */
	size_t name_len;
	bool fixed;
	unsigned pass;
};
#define ADIT_CHECK_NO_BLOCK UINT64_MAX

#define ADIT_CHECK_REPAIR 1u /* -y: mend everything that can be mended */
#define ADIT_CHECK_PREEN 2u  /* -p: mend only ADIT_CHECK_MINOR */

struct adit_check_options {
	unsigned flags;
	void *arg;
	/* Each finding once: when it is mended, or else when the check ends. */
	void (*finding)(void *arg, const struct adit_check_finding *);
	/* Now and then: pass counts from 1, stage is a word. May be NULL. */
	void (*progress)(void *arg, unsigned pass, const char *stage, uint64_t done,
			 uint64_t total);
};

struct adit_check_result {
	uint64_t inodes, dirs, files, blocks; /* in use; blocks: all but fixed areas */
	uint64_t found, fixed, left;	      /* errors; found = fixed + left */
	unsigned passes;
};

/* 0: the check ran to its end, the result says what it found. -ENOMEM, -EIO
 * (poison is the caller's to catch). -EROFS: a repair of a read-only pool. */
int adit__check(struct adit_fs *, const struct adit_check_options *, struct adit_check_result *)
	ADIT_MUST_CHECK;

/* The whole of fsck on a mapped pool: superblock, checkpoint and root block
 * first (mended from their copies), then open, adit__check, close.  Without
 * ADIT_CHECK_REPAIR or _PREEN the mapping must be private and writable: it is
 * written to.  Besides the above: what adit__core_open returns when the pool
 * cannot be opened even so (then result->left counts why); -EOPNOTSUPP for a
 * version or a feature that we do not know. */
int adit__check_media(struct adit_pm *, const struct adit_env *, void *report_ctx,
		      const struct adit_check_options *, struct adit_check_result *)
	ADIT_MUST_CHECK;

/* Is it clean?  Changes nothing, may be called between two operations.  The
 * number of findings, or -errno; the first of them in words. */
int adit__check_quiet(struct adit_fs *, char *first_finding, size_t len);

/* A finding in words, NUL-terminated, cut to len. */
void adit__check_describe(const struct adit_check_finding *, char *text, size_t len);

#endif
