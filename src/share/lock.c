/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * lock.c - the reader-writer lock of the volatile region.
 *
 * Invariants
 *  - WRITER excludes any reader and any other writer.
 *  - Whoever clears SLEEPERS wakes all that sleep; whoever sleeps has seen SLEEPERS set in the very
 *    value it sleeps on. So no wake-up is lost.
 *  - WAITING keeps new readers out, so that a writer gets its turn. It is a hint that may be stale (the
 *    writer died, or another writer came first): a reader that nobody woke in time passes and clears it.
 *
 * The futex is not private: the region may be shared with other processes. Sleeps are bounded all the
 * same, so that nothing depends on a wake-up by somebody who may die before giving it.
 */
#include "share/lock.h"

#include "media/counts.h"
#include "share/participant.h"

#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <errno.h>

_Thread_local struct adit_op *adit__current_op __attribute__((tls_model("initial-exec")));

/* A microsecond or so at first, some hundred in all. */
#define LOOKS	     10
#define PAUSES_FIRST 16
#define PAUSES_MOST  1024
#define SLEEP_NS     10000000 /* 10 ms */

static inline void relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("yield" ::: "memory");
#endif
}

/* The half of the word that holds the state: a futex is 32 bits wide. */
static uint32_t *state_of(struct adit_lock *lock)
{
	uint32_t *half = (uint32_t *)(void *)&lock->word;

#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
	half++;
#endif
	return half;
}

/* The state as this incarnation sees it. */
static inline uint32_t state_in(uint64_t word, uint32_t incarnation)
{
	return ADIT_IS_PRIVATE || word >> 32 == incarnation ? (uint32_t)word : 0;
}

static inline uint64_t word_of(uint32_t incarnation, uint32_t state)
{
	return (uint64_t)incarnation << 32 | state;
}

/* The state after it was taken, or 0 when it cannot be taken now. */
static inline uint32_t taken(uint32_t state, bool exclusive, bool pass_waiting)
{
	if (exclusive) {
		if (state & (ADIT_LOCK_WRITER | ADIT_LOCK_READERS))
			return 0;
		return (state & ~ADIT_LOCK_WAITING) | ADIT_LOCK_WRITER;
	}
	if (state & ADIT_LOCK_WRITER || (state & ADIT_LOCK_WAITING && !pass_waiting))
		return 0;
	return (state & ~ADIT_LOCK_WAITING) + 1;
}

/* Take it if the state allows; *word is what was last seen. */
static inline bool try_take(struct adit_lock *lock, uint64_t *word, uint32_t incarnation,
			    bool exclusive, bool pass_waiting)
{
	for (;;) {
		uint32_t next = taken(state_in(*word, incarnation), exclusive, pass_waiting);

		if (next == 0)
			return false;
		if (__atomic_compare_exchange_n(&lock->word, word, word_of(incarnation, next), true,
						__ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
			return true;
	}
}

/* True when nobody woke us. */
static bool sleep_on(struct adit_lock *lock, uint32_t state)
{
	const struct timespec bound = {.tv_nsec = SLEEP_NS};

	if (syscall(SYS_futex, state_of(lock), FUTEX_WAIT, state, &bound, NULL, 0) == 0 ||
	    errno == EAGAIN || errno == EINTR)
		return false;
	if (errno != ETIMEDOUT)
		sched_yield(); /* a medium that the kernel keeps no futexes in */
	return true;
}

static uint64_t monotonic_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static void count_wait(uint64_t ns)
{
	struct adit_media *m = adit__current_op->fs->counted;

	if (m == NULL)
		return;
	adit__count_media(m, ADIT_COUNT_LOCK_WAITS, 1);
	adit__count_media(m, ADIT_COUNT_LOCK_WAIT_NS, ns);
}

/* Others may take it meanwhile that this operation changes nothing. */
static bool park(struct adit_lock *lock, uint32_t state, uint64_t *slept_ns)
{
	struct adit_op *op = adit__current_op;
	uint64_t began;
	bool impatient;

	if (op == NULL)
		return sleep_on(lock, state);
	adit__op_park(op);
	began = monotonic_ns();
	impatient = sleep_on(lock, state);
	*slept_ns += monotonic_ns() - began;
	if (impatient)
		adit__share_look(op->fs);
	adit__op_unpark(op);
	return impatient;
}

/* True when it was taken. In ever longer pauses: who looks often takes the word's line away from the holder, and a
 * lock that changes hands at every turn moves the lines of what it guards each time. */
static bool spin(struct adit_lock *lock, uint64_t *word, uint32_t incarnation, bool exclusive,
		 bool pass_waiting)
{
	unsigned pauses = PAUSES_FIRST;

	for (unsigned looks = 0; looks < LOOKS; looks++) {
		if (try_take(lock, word, incarnation, exclusive, pass_waiting))
			return true;
		for (unsigned i = 0; i < pauses; i++)
			relax();
		if (pauses < PAUSES_MOST)
			pauses *= 2;
		*word = __atomic_load_n(&lock->word, __ATOMIC_RELAXED);
	}
	return false;
}

static __attribute__((noinline)) void lock_slow(struct adit_lock *lock, uint32_t incarnation,
						bool exclusive)
{
	uint32_t mark = ADIT_LOCK_SLEEPERS | (exclusive ? ADIT_LOCK_WAITING : 0);
	uint64_t word = __atomic_load_n(&lock->word, __ATOMIC_RELAXED);
	uint64_t slept_ns = 0;
	bool impatient = false;

	while (!spin(lock, &word, incarnation, exclusive, impatient)) {
		uint64_t marked;

		/* Only a word that cannot be taken is of this incarnation for certain. */
		do {
			if (try_take(lock, &word, incarnation, exclusive, impatient))
				goto taken;
			marked = word | mark;
		} while (marked != word &&
			 !__atomic_compare_exchange_n(&lock->word, &word, marked, true,
						      __ATOMIC_RELAXED, __ATOMIC_RELAXED));
		impatient = park(lock, (uint32_t)marked, &slept_ns);
		word = __atomic_load_n(&lock->word, __ATOMIC_RELAXED);
	}
taken:
	if (slept_ns != 0)
		count_wait(slept_ns);
}

void adit__lock(struct adit_lock *lock, uint32_t incarnation, bool exclusive)
{
	uint64_t word = __atomic_load_n(&lock->word, __ATOMIC_RELAXED);

	if (ADIT_UNLIKELY(!try_take(lock, &word, incarnation, exclusive, false)))
		lock_slow(lock, incarnation, exclusive);
}

bool adit__trylock(struct adit_lock *lock, uint32_t incarnation, bool exclusive)
{
	uint64_t word = __atomic_load_n(&lock->word, __ATOMIC_RELAXED);

	return try_take(lock, &word, incarnation, exclusive, false);
}

static __attribute__((noinline)) void wake(struct adit_lock *lock)
{
	__atomic_fetch_and(&lock->word, ~(uint64_t)ADIT_LOCK_SLEEPERS, __ATOMIC_RELAXED);
	syscall(SYS_futex, state_of(lock), FUTEX_WAKE, INT32_MAX, NULL, NULL, 0);
}

void adit__unlock(struct adit_lock *lock, bool exclusive)
{
	uint64_t held = exclusive ? ADIT_LOCK_WRITER : 1;
	uint32_t state = (uint32_t)__atomic_sub_fetch(&lock->word, held, __ATOMIC_RELEASE);

	/* Between here and the wake somebody may take the lock: its unlock then finds SLEEPERS
	 * clear, and those we wake set it again. */
	if (ADIT_UNLIKELY(state & ADIT_LOCK_SLEEPERS) && (state & ADIT_LOCK_READERS) == 0)
		wake(lock);
}
