/* SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause */
/*
 * counts.h - what is counted while a pool is worked on, and where this thread counts it.
 *
 * Each thread counts in a shard of its own: ADIT_COUNTS words that nobody else stores to, so that counting one more
 * is a plain load, add and store of a line that this core has.  A reader adds the shards up.  Shards of a shared pool
 * lie in the pool (core/scratch.h), so that other processes see them; share/counts.h hands them out.
 *
 * Counters never go down and are never reset while a shard exists.
 */
#ifndef ADIT_MEDIA_COUNTS_H
#define ADIT_MEDIA_COUNTS_H

#include <stddef.h>
#include <stdint.h>

/* Room for so many kinds of call; adit.h names them. */
#define ADIT_COUNT_CALLS 30u

/*
 * The words of a shard.  Processes with different versions of the library may count in one pool: a word never changes
 * its meaning, new ones take what is unused, and another layout takes another kind of scratch block.
 */
enum adit_count {
	ADIT_COUNT_BYTES_READ,
	ADIT_COUNT_BYTES_WRITTEN,
	ADIT_COUNT_CALL,					       /* by kind */
	ADIT_COUNT_FLUSHED_LINES = ADIT_COUNT_CALL + ADIT_COUNT_CALLS, /* given to flush */
	ADIT_COUNT_STREAMED_LINES, /* touched by copy_nt and zero_nt */
	ADIT_COUNT_STREAMED_BYTES,
	ADIT_COUNT_FENCES,
	ADIT_COUNT_LOCK_WAITS, /* that slept */
	ADIT_COUNT_LOCK_WAIT_NS,
	ADIT_COUNT_NO_SPACE,	 /* calls that ended in ENOSPC */
	ADIT_COUNT_MEDIA_ERRORS, /* calls that a media fault ended */
	ADIT_COUNT_FAILED,	 /* by kind: calls that ended in any error */
	ADIT_COUNT_END = ADIT_COUNT_FAILED + ADIT_COUNT_CALLS,
};
#define ADIT_COUNTS 72u /* nine lines; seven shards fill a scratch block */
_Static_assert(ADIT_COUNT_END <= ADIT_COUNTS, "there is room");

struct adit_media;

/* Where this thread counts: valid for the medium with this number. */
struct adit_counting {
	uint64_t id;
	uint64_t *at;
};
extern _Thread_local struct adit_counting adit__counting __attribute__((tls_model("initial-exec")));

/* Nobody else stores there: no locked instruction. */
static inline void adit__count_in(uint64_t *at, unsigned what, uint64_t n)
{
#if defined(__x86_64__) && !defined(__SANITIZE_THREAD__)
	/* One instruction, which compilers do not make of the two atomics below. */
	__asm__("addq %1, %0" : "+m"(at[what]) : "er"(n) : "cc");
#else
	__atomic_store_n(&at[what], __atomic_load_n(&at[what], __ATOMIC_RELAXED) + n,
			 __ATOMIC_RELAXED);
#endif
}

/* Where this thread counts what happens to a medium with that number (0: not counted), in an operation or not; or
 * NULL. */
uint64_t *adit__counts_elsewhere(struct adit_media *m, uint64_t id);
static inline uint64_t *adit__counts_of(struct adit_media *m, uint64_t id)
{
	return __builtin_expect(adit__counting.id == id, 1) ? adit__counting.at
							    : adit__counts_elsewhere(m, id);
}
void adit__count_media(struct adit_media *m, unsigned what, uint64_t n);

#endif
