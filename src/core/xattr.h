/* SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause */
/*
 * Extended attributes: one B+tree an inode by hash of the full name
 * ("user.x"), values up to 512 bytes in the record, longer ones (to 64 KiB) in
 * blocks of their own with a checksum.
 */
#ifndef ADIT_CORE_XATTR_H
#define ADIT_CORE_XATTR_H

#include "core/core.h"

#define ADIT_XATTR_CREATE 1  /* as XATTR_CREATE */
#define ADIT_XATTR_REPLACE 2 /* as XATTR_REPLACE */

/* Longest name 255 bytes with its prefix (-ERANGE, also for no name), a known namespace
 * (-EOPNOTSUPP), something after the prefix (-EINVAL). The functions below take checked names. */
int adit__xattr_check_name(const char *name, size_t len) ADIT_MUST_CHECK;

/* Value length, or -ENODATA, -ERANGE (bytes > 0 but too small), -EBADMSG. */
int64_t adit__xattr_get(struct adit_fs *, const struct adit_inode_pm *, const void *name,
			size_t name_len, void *value, size_t bytes);
/* ip: private copy, exclusively locked. -EEXIST, -ENODATA, -ENOSPC, -E2BIG. */
int adit__xattr_set(struct adit_cs *, struct adit_inode_pm *ip, const void *name,
		    size_t name_len, const void *value, size_t bytes, int flags)
	ADIT_MUST_CHECK;
int adit__xattr_remove(struct adit_cs *, struct adit_inode_pm *ip, const void *name,
		       size_t name_len) ADIT_MUST_CHECK;
/* NUL-terminated names one after the other; total length, -ERANGE. */
int64_t adit__xattr_list(struct adit_fs *, const struct adit_inode_pm *, char *list, size_t bytes);
/* Free all attributes, step by step, as adit__tree_destroy_step. */
int adit__xattr_destroy_step(struct adit_cs *, struct adit_inode_pm *ip) ADIT_MUST_CHECK;

#endif
