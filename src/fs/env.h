/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * env.h - what the core asks of its surroundings, for a process on Linux.
 */
#ifndef ADIT_FS_ENV_H
#define ADIT_FS_ENV_H

#include "core/core.h"
#include "share/lock.h"

extern const struct adit_env adit__env;

/* The report_ctx of adit__env.report; NULL means stderr. */
struct adit_reporter {
	void (*line)(void *ctx, const char *line); /* NULL: stderr */
	void *ctx;
};

/*
 * CRC32C (Castagnoli) as everybody computes it: register all ones at first, inverted at the end. A seed
 * of 0 begins; crc32c(crc32c(0, a), b) is the CRC of a and b one after the other.
 */
uint32_t adit__crc32c(uint32_t seed, const void *data, size_t bytes);
/* XXH64, one shot. */
uint64_t adit__hash64(uint64_t seed, const void *data, size_t bytes);

#endif
