/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The reader-writer lock of src/share/lock.c, and looking without it (adit__glance, src/core/op.c).
 *
 * Every atomic access is one step; a weak compare-exchange may fail. The futex is as the kernel's: waiting
 * compares and sleeps in one step, waking wakes whoever sleeps. Sleeps are not bounded here and nobody is ever
 * impatient, unless TIMEOUTS: so a lost wake-up is a deadlock. Spinning is left out: it only tries more often.
 *
 * Memory: the locks are sequentially consistent here (their order is by acquire and release on one word). What is
 * weak is what relies on fences: with WEAK a holder's relaxed stores (version, data) wait in a buffer and reach
 * the others in any order, except that a fence or a release store waits for all before it.
 */

byte mistake;
byte rounds;	 /* of each thread */
bool timeouts;	 /* sleeps are bounded, as in the code */

#include "param.h"

#ifndef WRITERS
#define WRITERS 2
#endif
#ifndef READERS
#define READERS 2
#endif
#ifndef GLANCERS
#define GLANCERS 0
#endif
#define THREADS (WRITERS + READERS)

#define NO_WAKE			1  /* unlock: nobody is woken */
#define WAKE_WITH_READERS	2  /* unlock: the first reader that leaves wakes, the last does not */
#define WAKE_ONE		3  /* wake: one of them */
#define CLEAR_AFTER_WAKE	4  /* wake: SLEEPERS cleared after the call */
#define SLEEP_UNMARKED		5  /* lock_slow: sleeps without SLEEPERS in the word */
#define SLEEP_UNCOMPARED	6  /* sleep_on: the kernel does not compare */
#define SHARED_OVER_WRITER	7  /* taken: a reader does not look at WRITER */
#define EXCLUSIVE_OVER_READERS	8  /* taken: a writer does not look at READERS */
#define WAITING_STAYS		9  /* taken: a writer that gets the lock leaves WAITING */
#define TAKE_UNCOMPARED		10 /* try_take: store instead of compare-exchange */
#define VERSION_NOT_ODD		11 /* begin_changes: does nothing */
#define VERSION_NOT_CHECKED	12 /* glance_valid: always */
#define ODD_NOT_CHECKED		13 /* glance: an odd version will do */
#define NO_RELEASE_FENCE	14 /* begin_changes: no fence after the odd version */
#define EVEN_NOT_RELEASED	15 /* end_changes: relaxed */
#define NO_ACQUIRE_FENCE	16 /* glance_valid: no fence before the second look */
#define END_AFTER_UNLOCK	17 /* unlock_nth: version made even after the lock is released */
#define IS(x) (mistake == x)

/* ---- the word ------------------------------------------------------------------------------------- */

/* WRITER, WAITING, SLEEPERS, and below the number of readers */
#define WRITER	 128
#define WAITING	 64
#define SLEEPERS 32
#define READERS_MASK 31
byte word;
bool asleep[THREADS]; /* in the futex */
byte inside_x, inside_s;

/* taken(): the state after it was taken, or 0 */
#define taken_x(s)                                                                                             \
	(((s) & (WRITER | (IS(EXCLUSIVE_OVER_READERS) -> 0 : READERS_MASK))) -> 0 :                            \
	 (((s) & (255 - (IS(WAITING_STAYS) -> 0 : WAITING))) | WRITER))
#define taken_s(s, pass)                                                                                       \
	((((s) & WRITER) && !IS(SHARED_OVER_WRITER)) || (((s) & WAITING) && !(pass)) -> 0 :                    \
	 ((s) & (255 - WAITING)) + 1)

/* try_take: the compare-exchange; it stores what it found in seen when it fails */
#define can_take(exclusive) ((exclusive -> taken_x(seen) : taken_s(seen, impatient)) != 0)
#define marks(exclusive) (seen | (IS(SLEEP_UNMARKED) -> 0 : SLEEPERS | (exclusive -> WAITING : 0)))

inline lock(me, exclusive)
{
	seen = word;
	do
	:: atomic { can_take(exclusive) && (word == seen || IS(TAKE_UNCOMPARED)) ->
		word = (exclusive -> taken_x(seen) : taken_s(seen, impatient)); seen = 0; impatient = false; break }
	:: atomic { can_take(exclusive) && word != seen && !IS(TAKE_UNCOMPARED) -> seen = word }
	/* lock_slow: it cannot be taken; mark it */
	:: atomic { !can_take(exclusive) && marks(exclusive) != seen && word != seen -> seen = word }
	:: atomic { !can_take(exclusive) && (marks(exclusive) == seen || word == seen) ->
		word = (marks(exclusive) == seen -> word : marks(exclusive)); seen = marks(exclusive) }
		/* sleep_on: the kernel compares and sleeps in one step */
		if
		:: atomic { word == seen || IS(SLEEP_UNCOMPARED) -> asleep[me] = true; seen = 0 }
			if
			:: atomic { !asleep[me] -> impatient = false }
			:: atomic { timeouts && asleep[me] -> asleep[me] = false; impatient = true }
			fi
		:: atomic { word != seen && !IS(SLEEP_UNCOMPARED) -> impatient = false; seen = 0 }
		fi;
		seen = word
	od
}

inline wake()
{
	if
	:: !IS(CLEAR_AFTER_WAKE) -> word = word & (255 - SLEEPERS)
	:: else
	fi;
	d_step {
		for (k : 0 .. THREADS - 1) {
			if
			:: asleep[k] && !(IS(WAKE_ONE) && woken) -> asleep[k] = false; woken = true
			:: else
			fi
		}
		k = 0;
		woken = false
	}
	if
	:: IS(CLEAR_AFTER_WAKE) -> word = word & (255 - SLEEPERS)
	:: else
	fi
}

inline unlock(exclusive)
{
	d_step { word = word - (exclusive -> WRITER : 1); seen = word }
	if
	:: (seen & SLEEPERS) && !IS(NO_WAKE) &&
	   (IS(WAKE_WITH_READERS) -> (seen & READERS_MASK) != 0 : (seen & READERS_MASK) == 0) -> wake()
	:: else
	fi;
	seen = 0
}

/* ---- what the lock guards, and its version ----------------------------------------------------------- */

#define CELLS 3 /* two words of data and the version */
#define VERSION 2
byte shown[CELLS];  /* as others see it */
byte stored[CELLS]; /* as the holder stored it; differs while it is on its way */

inline show_all() /* a fence, or the ordering of a release store, before it */
{
	for (k : 0 .. CELLS - 1) {
		shown[k] = stored[k]
	}
	k = 0
}

/* Stores of a holder get through whenever they like. */
proctype Buffer()
{
end_idle:
	do
	:: atomic { stored[0] != shown[0] -> shown[0] = stored[0] }
	:: atomic { stored[1] != shown[1] -> shown[1] = stored[1] }
	:: atomic { stored[VERSION] != shown[VERSION] -> shown[VERSION] = stored[VERSION] }
	od
}

inline end_changes()
{
	d_step {
		if
		:: !IS(EVEN_NOT_RELEASED) -> show_all()
		:: else
		fi;
		stored[VERSION] = (IS(VERSION_NOT_ODD) -> stored[VERSION] : stored[VERSION] + 1)
	}
}

proctype Exclusive(byte me)
{
	byte seen, k, round;
	bool impatient, woken;

	do
	:: round < rounds ->
		lock(me, true);
		atomic { inside_x++; assert(inside_x == 1 && inside_s == 0) }
		/* begin_changes: the holder sees all that earlier holders stored */
		d_step {
			show_all();
			if
			:: !IS(VERSION_NOT_ODD) -> stored[VERSION] = (stored[VERSION] + 1) | 1
			:: else
			fi;
			if
			:: !IS(NO_RELEASE_FENCE) -> show_all()
			:: else
			fi
		}
		stored[0]++;
		stored[1]++;
		if
		:: IS(END_AFTER_UNLOCK) -> skip
		:: else -> end_changes()
		fi;
		inside_x--;
		d_step { show_all(); true } /* the release of unlock */
		unlock(true);
		if
		:: IS(END_AFTER_UNLOCK) -> end_changes()
		:: else
		fi;
		round++
	:: else -> break
	od
}
proctype Shared(byte me)
{
	byte seen, k, round;
	bool impatient, woken;

	do
	:: round < rounds ->
		lock(me, false);
		atomic { inside_s++; assert(inside_x == 0) }
		d_step { show_all(); assert(shown[0] == shown[1]) }
		inside_s--;
		unlock(false);
		round++
	:: else -> break
	od
}

/* adit__glance, reads, adit__glance_valid */
proctype Glancer()
{
	byte round, version, a, b, again;

	do
	:: round < rounds ->
		version = shown[VERSION];
		if
		:: (version & 1) && !IS(ODD_NOT_CHECKED) -> skip /* the locked way */
		:: else ->
			/* loads may change places; without the fence the last one, too */
			if
			:: a = shown[0]; b = shown[1]; again = shown[VERSION]
			:: b = shown[1]; a = shown[0]; again = shown[VERSION]
			:: IS(NO_ACQUIRE_FENCE) -> a = shown[0]; again = shown[VERSION]; b = shown[1]
			fi;
			assert(a == b || (again != version && !IS(VERSION_NOT_CHECKED)))
		fi;
		d_step { version = 0; a = 0; b = 0; again = 0; round++ }
	:: else -> break
	od
}

init {
	byte k;

	atomic {
		c_code {
			now.mistake = param("MISTAKE", 0);
			now.rounds = param("ROUNDS", 1);
			now.timeouts = param("TIMEOUTS", 0);
		};
		do
		:: k < WRITERS -> run Exclusive(k); k++
		:: else -> break
		od;
		k = 0;
		do
		:: k < READERS -> run Shared(WRITERS + k); k++
		:: else -> break
		od;
		k = 0;
		do
		:: k < GLANCERS -> run Glancer(); k++
		:: else -> break
		od;
		k = 0;
#if GLANCERS > 0
		run Buffer()
#endif
	}
}
