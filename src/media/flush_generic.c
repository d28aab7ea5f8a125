/* SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause */
/*
 * flush_generic.c - architectures without a flush file: full barriers only. Good for the process,
 * file and cpu-cache domains; adit__media_open refuses the memory domain there (-EOPNOTSUPP).
 */
#include "media/flush.h"

#if !defined(__x86_64__) && !defined(__aarch64__)

static void flush_none(const void *addr, size_t len_bytes)
{
	(void)addr;
	(void)len_bytes;
}

static void fence_sync(void)
{
	__sync_synchronize();
}

static const struct adit_flush_variant generic = {
	.name = "none",
	.flush_name = "none",
	.flush = flush_none,
	.fence = fence_sync,
	.stream_min_bytes = SIZE_MAX,
};
static const struct adit_flush_variant *const usable[] = {&generic};

size_t adit__flush_variants(const struct adit_flush_variant *const **out)
{
	*out = usable;
	return 1;
}

#else
typedef int adit__flush_generic_unused; /* ISO C: no empty translation unit */
#endif
