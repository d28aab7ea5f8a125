/* SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause */
/* See stats.h. */
#include "core/stats.h"

ADIT_STATIC_ASSERT(sizeof(struct adit_scratch) + ADIT_SHARDS_OF_BLOCK * ADIT_COUNTS * 8 <=
			   ADIT_BLOCK,
		   "they fit");
ADIT_STATIC_ASSERT(ADIT_COUNTS * 8 % ADIT_LINE == 0, "no line is shared");

static bool is_stats(const struct adit_fs *fs, const struct adit_scratch *s)
{
	return __atomic_load_n(&s->owner, __ATOMIC_ACQUIRE) >> 32 == fs->incarnation &&
	       adit__scratch_kind(s) == ADIT_SCRATCH_STATS;
}

bool adit__stats_sum(const struct adit_fs *fs, uint64_t *sum)
{
	uint64_t n = 0;

	for (struct adit_scratch *s = NULL; (s = adit__scratch_next(fs, s));) {
		/* Seen from outside it may be turning into something else. */
		if (!fs->env->readable(s, ADIT_BLOCK) || n++ > fs->pool_blocks)
			return false;
		if (!is_stats(fs, s))
			continue;
		for (unsigned i = 0; i < ADIT_SHARDS_OF_BLOCK; i++) {
			const uint64_t *at = adit__stats_shard(s, i);

			for (unsigned k = 0; k < ADIT_COUNTS; k++)
				sum[k] += __atomic_load_n(&at[k], __ATOMIC_RELAXED);
		}
	}
	return true;
}

void adit__stats_records(const struct adit_fs *fs, uint64_t *records, uint64_t *bytes)
{
	*records = *bytes = 0;
	for (uint32_t i = 0; i < fs->lanes; i++) {
		const struct adit_vol_lane *vl = &fs->vol->lane[i];

		*records += __atomic_load_n(&vl->records, __ATOMIC_RELAXED);
		*bytes += __atomic_load_n(&vl->record_bytes, __ATOMIC_RELAXED);
	}
}

void adit__stats_take_over(struct adit_fs *fs, uint32_t participant)
{
	for (struct adit_scratch *s = NULL; (s = adit__scratch_next(fs, s));)
		if (is_stats(fs, s) && adit__scratch_of(s) == participant + 1)
			__atomic_store_n(&s->owner, adit__scratch_owner(fs, ADIT_SCRATCH_STATS, 0),
					 __ATOMIC_RELEASE);
}

void adit__stats_bury(struct adit_fs *fs, const uint8_t *dead)
{
	for (uint32_t i = 0; i < fs->nparticipants; i++)
		if (dead[i])
			adit__stats_take_over(fs, i);
}
