/* SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause */
/*
 * The key of a name, for directories (dir.c) and attributes (xattr.c): 56 bits of XXH64 shifted
 * left by seven, so that up to 128 names with one hash get neighbouring keys. The same name may
 * have any key of its range; a lookup visits the range and compares names.
 */
#ifndef ADIT_CORE_NAMEHASH_H
#define ADIT_CORE_NAMEHASH_H

#include "core/core.h"

/* First key of the name's range; below 2^63, at least ADIT_COOKIE_FIRST. */
static inline uint64_t adit__name_key(const struct adit_fs *fs, const void *name, size_t len)
{
	uint64_t hash = fs->env->hash64(fs->hash_seed, name, len) >> 8;

	if (ADIT_UNLIKELY(fs->weak_hash_mask != 0))
		hash &= fs->weak_hash_mask;
	/* The lowest range is taken by the cookies of "." and "..". */
	if (ADIT_UNLIKELY(hash == 0))
		hash = 1;
	return hash * ADIT_HASH_ORDINALS;
}
/* Last key of the range that begins with first. */
static inline uint64_t adit__name_key_last(uint64_t first)
{
	return first + (ADIT_HASH_ORDINALS - 1);
}

#endif
