/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * stats.h - struct adit_pool_stats from what the core keeps.
 */
#ifndef ADIT_FS_STATS_H
#define ADIT_FS_STATS_H

#include "adit/adit.h"
#include "core/core.h"
#include "media/counts.h"

/* From sum[ADIT_COUNTS], and from the volatile region.  fs may be a view from outside, which stores nothing:
 * geometry, incarnation.  -EUCLEAN: it makes no sense, it may be turning into something else. */
int adit__stats_collect(const struct adit_fs *fs, uint64_t *sum, struct adit_pool_stats *out);

#endif
