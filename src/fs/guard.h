/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * guard.h - a call's work on the pool, so that a media fault (SIGBUS) in it becomes -EIO.
 *
 *	ADIT_GUARD(pool, result, work(...));
 *
 * The work must be one function call that takes nothing but core locks and lanes: those are given
 * back after a fault. Descriptor references and mutexes are taken and given back around the guard.
 */
#ifndef ADIT_FS_GUARD_H
#define ADIT_FS_GUARD_H

#include "fs/pool.h"
#include "media/sigbus.h"
#include "share/counts.h"

/* Set up once, by adit_open. */
void adit__guard_install(void);
/* adit__release, guarded. */
int adit__let_go(struct adit_pool *pool, struct adit_hold *);

/* Ends the operation that the fault interrupted; returns -EIO. */
int adit__after_fault(struct adit_pool *pool, const struct adit_sigbus_frame *frame);

/* allow: what is allowed beyond reading, see below. */
#define ADIT_GUARD_WITH(pool, result, allow, work)                              \
	do {                                                                    \
		struct adit_sigbus_frame guard_;                                \
                                                                                \
		if (ADIT_SIGBUS_TRY(&guard_, &(pool)->media)) {                 \
			(result) = adit__after_fault((pool), &guard_);          \
		} else {                                                        \
			allow;                                                  \
			/* A stopped pool holds half a change: nobody may look.  */ \
			if ((pool)->fs != NULL && adit__has_stopped((pool)->fs))   \
				(result) = -EIO;                                \
			else                                                    \
				(result) = (work);                              \
			ADIT_SIGBUS_END(&guard_);                               \
		}                                                               \
	} while (0)

#define ADIT_GUARD(pool, result, work) \
	ADIT_GUARD_WITH(pool, result, adit__allow_stores(&guard_), work)

/* For calls that mostly only look: in a protected pool, stores are allowed when an operation begins
 * (adit_env.stores), which costs those nothing that need none. */
#define ADIT_GUARD_READ(pool, result, work) ADIT_GUARD_WITH(pool, result, (void)0, work)

/*
 * A guard around the work of one call of the kind ADIT_CALL_*, which is counted.  (The shard is found before the
 * work, since finding it may need an operation of its own.)
 */
#define ADIT_CALL(pool, kind, result, work) ADIT_GUARD(pool, result, ADIT_COUNTED(pool, kind, work))
/* The same for calls that mostly only look. */
#define ADIT_LOOK(pool, kind, result, work) ADIT_GUARD_READ(pool, result, ADIT_COUNTED(pool, kind, work))

#define ADIT_COUNTED(pool, kind, work)                              \
	({                                                          \
		uint64_t *at_ = adit__count_call((pool), (kind));   \
		int64_t rc_ = (work);                               \
                                                                    \
		adit__count_result(at_, (kind), rc_);               \
		rc_;                                                \
	})

static inline uint64_t *adit__count_call(struct adit_pool *pool, unsigned kind)
{
	uint64_t *at = adit__counts_here(&pool->media);

	adit__count_in(at, ADIT_COUNT_CALL + kind, 1);
	return at;
}

void adit__count_failed(uint64_t *at, unsigned kind, int64_t rc);

static inline void adit__count_result(uint64_t *at, unsigned kind, int64_t rc)
{
	if (ADIT_UNLIKELY(rc < 0)) {
		adit__count_failed(at, kind, rc);
		return;
	}
	if (kind == ADIT_CALL_READ || kind == ADIT_CALL_COPY)
		adit__count_in(at, ADIT_COUNT_BYTES_READ, (uint64_t)rc);
	if (kind == ADIT_CALL_WRITE || kind == ADIT_CALL_COPY)
		adit__count_in(at, ADIT_COUNT_BYTES_WRITTEN, (uint64_t)rc);
}

#endif
