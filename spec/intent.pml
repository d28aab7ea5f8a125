/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Operations of several records (I9): src/core/file_steps.c, adit__inode_destroy in inode.c, and their
 * resumption by resume_intents in fs.c.
 *
 * log.pml shows that a record happens in full or not at all, so here a record is one step, and a crash leaves what
 * the records so far say. A file is a map of SLOTS file blocks, each 0 (a hole) or the number of its pool block;
 * the bitmap says which blocks are in use. Each step does as much as the record holds: any amount from 1 unit on, by
 * free choice (adit__cs_room). TRUNCATE frees from the high end; COLLAPSE frees [0, 1), then moves the rest down;
 * INSERT moves up from the high end; FREE frees all and then the inode.
 */

#define SLOTS 5
#define TRUNCATE 1
#define COLLAPSE 2
#define INSERT 3
#define FREE 4

byte mistake, crashes_max;
#include "param.h"

#define NO_INTENT	 1 /* the first record does not set it */
#define INTENT_APART	 2 /* set by a record of its own after the first */
#define CLEARED_EARLY	 3 /* cleared by the last step but one */
#define NEVER_CLEARED	 4 /* the last record does not clear it */
#define PROGRESS_APART	 5 /* how far it got: in the record after the step's */
#define PROGRESS_LOST	 6 /* ... or not at all: resumed with the first one's c */
#define LOOK_FIRST	 7 /* the pool is used before intents are resumed */
#define INODE_FIRST	 8 /* FREE frees the inode in its first record */
#define TWICE		 9 /* a block is freed again by the resumed step */
#define IS(x) (mistake == x)

/* On the medium: only records change it. */
byte map[SLOTS + 1], used; /* used: a bit a block, 1 .. SLOTS */
bool exists;
byte generation;
byte in_type, in_c, in_generation;

byte was[SLOTS + 1], type;
byte crashes;
bool begun;
#define bit(b) (1 << (b))

/* A record: all its changes and the intent in one step. A crash may follow any. */
inline step()
{
	i = 0;
	if
	:: s_type == TRUNCATE || s_type == FREE -> /* adit__extent_remove from the high end; c: what is still there */
		do
		:: s_c > 0 && (i == 0 || more) ->
			s_c--;
			assert(map[s_c] == 0 || (used & bit(map[s_c]))); /* freed twice */
			used = (map[s_c] != 0 -> used & (255 - bit(map[s_c])) : used);
			map[s_c] = (IS(TWICE) && !more -> map[s_c] : 0); i++;
			if
			:: more = true
			:: more = false
			fi
		:: else -> break
		od;
		last = s_c == 0
	:: s_type == COLLAPSE -> /* c: next to be moved; 0: slot 0 is to be freed first */
		if
		:: s_c == 0 -> used = (map[0] != 0 -> used & (255 - bit(map[0])) : used); map[0] = 0; s_c = 1
		:: else
		fi;
		do
		:: s_c < SLOTS && (i == 0 || more) ->
			map[s_c - 1] = map[s_c]; map[s_c] = 0; s_c++; i++;
			if
			:: more = true
			:: more = false
			fi
		:: else -> break
		od;
		last = s_c == SLOTS
	:: s_type == INSERT -> /* c: what lies below is still to be moved */
		do
		:: s_c > 0 && (i == 0 || more) ->
			map[s_c] = map[s_c - 1]; map[s_c - 1] = 0; s_c--; i++;
			if
			:: more = true
			:: more = false
			fi
		:: else -> break
		od;
		last = s_c == 0
	fi;
	i = 0; more = false
}
inline put_intent(t, cc)
{
	in_type = t; in_c = (t == 0 -> 0 : cc); in_generation = (t == 0 -> 0 : generation)
}

/* adit__steps_run, adit__inode_destroy: from s_c on */
inline steps_run()
{
	do
	:: atomic {
		first_c = s_c;
		step();
		begun = true;
		if
		:: s_type == FREE && (last || IS(INODE_FIRST)) && exists -> exists = false; generation++
		:: else
		fi;
		if
		:: last && !IS(NEVER_CLEARED) && !IS(PROGRESS_APART) -> put_intent(0, 0)
		:: !last && IS(CLEARED_EARLY) && (s_type == COLLAPSE -> s_c == SLOTS - 1 : s_c == 1) -> put_intent(0, 0)
		:: !last && !IS(NO_INTENT) && !IS(INTENT_APART) && !IS(PROGRESS_APART) && !IS(PROGRESS_LOST) &&
		   !(IS(CLEARED_EARLY) && (s_type == COLLAPSE -> s_c == SLOTS - 1 : s_c == 1)) -> put_intent(s_type, s_c)
		:: !last && IS(PROGRESS_APART) && in_type == 0 -> put_intent(s_type, first_c)
		:: !last && IS(PROGRESS_LOST) && in_type == 0 -> put_intent(s_type, first_c)
		:: else
		fi;
		first_c = 0
	   }
		if
		:: atomic { crashes < crashes_max -> crashes++; last = false; goto crashed }
		:: true
		fi;
		if
		:: atomic { (IS(INTENT_APART) && !last) || IS(PROGRESS_APART) -> put_intent((last -> 0 : s_type), s_c) }
		:: else
		fi;
		if
		:: last -> break
		:: else
		fi
	od;
	last = false
}

/* What the call would have left, from what there was. */
inline check_done()
{
	d_step {
		for (i : 0 .. SLOTS) {
			if
			:: type == TRUNCATE || type == FREE -> assert(map[i] == 0)
			:: type == COLLAPSE && i < SLOTS -> assert(map[i] == was[i + 1])
			:: type == INSERT && i > 0 -> assert(map[i] == was[i - 1])
			:: else
			fi
		}
		assert(exists == (type != FREE));
		used_now = 0;
		for (i : 0 .. SLOTS) {
			used_now = (map[i] != 0 -> used_now | bit(map[i]) : used_now)
		}
		assert(used == used_now); /* nothing leaks, nothing is used twice */
		assert(in_type == 0);
		i = 0; used_now = 0
	}
}

inline check_untouched()
{
	d_step {
		for (i : 0 .. SLOTS) {
			assert(map[i] == was[i])
		}
		i = 0
	}
}

/* A crash before anything happened, or a state that the file may be seen in: old or new. */
active proctype Pool()
{
	byte i, s_type, s_c, first_c, used_now;
	bool more, last;

	atomic {
		c_code {
			now.mistake = param("MISTAKE", 0);
			now.crashes_max = param("CRASHES", 2);
		};
		exists = true; generation = 1;
		/* any map: holes anywhere */
		for (i : 0 .. SLOTS - 1) {
			if
			:: map[i] = i + 1; used = used | bit(i + 1)
			:: true
			fi
		}
		for (i : 0 .. SLOTS) {
			was[i] = map[i]
		}
		i = 0;
		if
		:: type = TRUNCATE; s_c = SLOTS
		:: type = COLLAPSE; s_c = 0
		:: type = INSERT; s_c = SLOTS
		:: type = FREE; s_c = SLOTS
		fi;
		s_type = type
	}
	if
	:: atomic { crashes < crashes_max -> crashes++; goto crashed }
	:: true
	fi;
	steps_run();
	check_done();
	goto end_done;

crashed:
	atomic { i = 0; more = false; s_type = 0; s_c = 0; used_now = 0 }
	/* resume_intents, adit__file_resume */
	if
	:: IS(LOOK_FIRST) && begun -> check_done()
	:: else
	fi;
	if
	:: atomic { in_type != 0 && exists && in_generation == generation -> s_type = in_type; s_c = in_c }
		steps_run()
	:: atomic { in_type != 0 && (!exists || in_generation != generation) -> put_intent(0, 0) }
	:: in_type == 0
	fi;
	if
	:: begun -> check_done()
	:: else -> check_untouched()
	fi;
end_done:
	true
}
