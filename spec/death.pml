/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The death of a participant: slots, parking, the gate, and who repairs (src/core/op.c, src/core/repair.c,
 * src/share/participant.c).
 *
 * Each thread is a participant of its own and may die between any two steps; the kernel then gives up its lock of
 * the gate, if it has it. An operation takes two locks in order; what the first one covers is changed in two stores,
 * behind a record that says what they are to be. A thread that waits for a lock for too long looks for the dead and
 * repairs; all sleeps are bounded, as in the code, so a wake-up is not modelled.
 *
 * Claims: among the living one at a time holds a lock; whoever gets the first one finds both stores made, or neither;
 * nobody who lives waits for ever.
 */

byte mistake;
byte rounds;	/* operations of each thread */
byte kills;	/* deaths, at most */

#include "param.h"

#ifndef THREADS
#define THREADS 3
#endif

#define GATE_NOT_SEEN_AT_BEGIN	1 /* take_slot: does not look at the gate */
#define GATE_NOT_SEEN_ON_WAKE	2 /* adit__op_unpark: does not look at the gate */
#define STILL_BEFORE_GATE	3 /* repair: looks at the slots, then closes the gate */
#define NOT_STILL		4 /* repair: does not wait for the living */
#define RECORD_FORGOTTEN	5 /* repair: the dead one's record is not applied */
#define ALL_LOCKS_FREE		6 /* repair: what the living hold is freed, too */
#define LOCKS_OF_THE_DEAD_STAY	7 /* repair: locks are left as they are */
#define ODD_GATE_IS_ANOTHERS	8 /* look: a gate that is odd is somebody's who lives */
#define NO_GATE_LOCK		9 /* two repair at once */
#define FORGETS_FIRST		10 /* the dead are buried before what they held is looked at */
#define IS(x) (mistake == x)

mtype = { IDLE, RUNNING, PARKED };
mtype state[THREADS];
bool holds[2 * THREADS]; /* what a slot says: lock l of thread t at 2 * t + l */
bool alive[THREADS];
bool buried[THREADS];
bool lock[2];
byte inside[2];	/* the living that hold it, in truth: a dead one's is taken off by the killer */
bool in_it[2 * THREADS];
byte gate;
byte gate_lock;	/* thread + 1, or 0 */
byte record, a, b;
byte done;

#define somebody_died (exists_dead(0) || exists_dead(1) || exists_dead(2))
#define exists_dead(t) (t < THREADS && !alive[t] && !buried[t])
#define is_still(t) (!(t < THREADS && alive[t] && state[t] == RUNNING))
#define all_still (is_still(0) && is_still(1) && is_still(2))
#define living_holds(l) ((alive[0] && holds[l]) || (alive[1] && holds[2 + l]) || (THREADS > 2 && alive[2] && holds[4 + l]))

inline bury()
{
	d_step {
		for (k : 0 .. THREADS - 1) {
			if
			:: !alive[k] -> buried[k] = true; holds[2 * k] = false; holds[2 * k + 1] = false; state[k] = IDLE
			:: else
			fi
		}
		k = 0
	}
}

/* With the gate's lock, or, by mistake, without. */
inline repair()
{
	if
	:: somebody_died || (gate & 1) ->
		if
		:: IS(STILL_BEFORE_GATE) -> all_still
		:: else
		fi;
		if
		:: !(gate & 1) -> gate = gate + 1
		:: else
		fi;
		if
		:: IS(NOT_STILL) || IS(STILL_BEFORE_GATE)
		:: else -> all_still
		fi;
		if
		:: IS(FORGETS_FIRST) -> bury()
		:: else
		fi;
		/* finish_records: it is a dead one's, or nobody's */
		if
		:: record != 0 && !IS(RECORD_FORGOTTEN) && !(IS(FORGETS_FIRST) && !somebody_died) ->
			a = record;
			b = record;
			record = 0
		:: else
		fi;
		/* free_locks, hold_locks */
		if
		:: IS(LOCKS_OF_THE_DEAD_STAY)
		:: IS(ALL_LOCKS_FREE) -> d_step { lock[0] = false; lock[1] = false }
		:: else -> lock[0] = living_holds(0); lock[1] = living_holds(1)
		fi;
		bury();
		gate = gate + 1
	:: else
	fi
}

/* adit__share_look */
inline look()
{
	if
	:: (somebody_died || ((gate & 1) && !IS(ODD_GATE_IS_ANOTHERS))) && (gate_lock == 0 || IS(NO_GATE_LOCK)) ->
		if
		:: atomic { gate_lock == 0 || IS(NO_GATE_LOCK) -> gate_lock = me + 1 }
			repair();
			gate_lock = 0
		:: gate_lock != 0 && !IS(NO_GATE_LOCK) -> skip
		fi
	:: else
	fi
}

/* adit__share_wait_gate */
inline wait_gate()
{
	do
	:: !(gate & 1) -> break
	:: (gate & 1) && (gate_lock == 0 || IS(NO_GATE_LOCK)) && !IS(ODD_GATE_IS_ANOTHERS) -> look()
	od
}

inline unpark()
{
	do
	:: state[me] = RUNNING;
		if
		:: !(gate & 1) || IS(GATE_NOT_SEEN_ON_WAKE) -> break
		:: else -> state[me] = PARKED; wait_gate()
		fi
	od
}

inline take(l)
{
	do
	:: atomic { !lock[l] -> lock[l] = true; inside[l]++; in_it[2 * me + l] = true }
		assert(inside[l] == 1);
		holds[2 * me + l] = true;
		break
	:: lock[l] ->
		state[me] = PARKED;
		/* awake when the lock looks free, or after a while, when somebody may have died */
		(!lock[l] || somebody_died || (gate & 1));
		look();
		unpark()
	od
}

inline give(l)
{
	holds[2 * me + l] = false;
	atomic { lock[l] = false; inside[l]--; in_it[2 * me + l] = false }
}

proctype Thread(byte me)
{
	byte k, round, next;

	{
		do
		:: round < rounds ->
			do
			:: state[me] = RUNNING;
				if
				:: !(gate & 1) || IS(GATE_NOT_SEEN_AT_BEGIN) -> break
				:: else -> state[me] = IDLE; wait_gate()
				fi
			od;
			if
			:: take(0);
				assert(a == b && record == 0);
				take(1);
				next = a + 1;
				record = next;
				a = next;
				b = next;
				d_step { record = 0; next = 0 }
				give(1);
				give(0)
			:: take(1); /* as for a reservation that is dropped */
				give(1)
			fi;
			state[me] = IDLE;
			round++
		:: else -> break
		od
	} unless { !alive[me] };
	done++
}

/* Takes one away, with the kernel's lock that it held. */
proctype Killer()
{
	byte k;

	do
	:: atomic { kills > 0 && (alive[0] || alive[1]) ->
		if
		:: alive[0] -> k = 0
		:: alive[1] -> k = 1
		:: THREADS > 2 && alive[THREADS - 1] -> k = THREADS - 1
		fi;
		alive[k] = false;
		kills--;
		if
		:: gate_lock == k + 1 -> gate_lock = 0
		:: else
		fi;
		if
		:: in_it[2 * k] -> inside[0]--; in_it[2 * k] = false
		:: else
		fi;
		if
		:: in_it[2 * k + 1] -> inside[1]--; in_it[2 * k + 1] = false
		:: else
		fi;
		k = 0 }
	:: break
	od
}

init {
	byte t;

	atomic {
		c_code {
			now.mistake = param("MISTAKE", 0);
			now.rounds = param("ROUNDS", 1);
			now.kills = param("KILLS", 1);
		};
		do
		:: t < THREADS -> state[t] = IDLE; alive[t] = true; run Thread(t); t++
		:: else -> break
		od;
		t = 0;
		run Killer()
	}
}
