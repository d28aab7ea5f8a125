/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The log: commit, apply, checkpoint, quarantine, crash, recovery (src/core/log.c, checkpoint.c, alloc.c).
 * README.md says what is abstracted; spec/run holds the instances and the mistakes.
 *
 * Memory. Each cell has a value in the caches (w) and one on the medium (m). A store changes w; the value it
 * replaces may have reached the medium or not (keep_or_lose), and at a power failure so may the last one. A
 * flush lets it reach the medium, the fence that follows makes sure. So every prefix of a line's stores and
 * every subset of lines is a state after a crash. Values are the sequence numbers of the records that stored
 * them: a half-done or lost change shows as a cell with the wrong number.
 *
 * A crash is a power failure (the caches are lost) or, with KILLS, the death of the process (they stay).
 */

#ifndef WRITERS
#define WRITERS 2 /* each has its own lane */
#endif
#define UNITS_MAX 7

/* Set from the environment when the verifier starts, so that one verifier serves all instances. */
byte mistake;	/* one of those below; 0 is none */
byte ops;	/* operations of each writer, over all openings */
byte menu;	/* which of them: a bit each, in the order of choose_op */
byte crashes_max;
bool kills;	/* crashes may be the death of the process */
byte longest;	/* units of the longest record: ADIT_REC_MAX */
byte units_max; /* of a ring: ring_bytes */
byte start;	/* position of the first record */
bool owned;	/* block b belongs to X at the beginning */
bool forgery;	/* the rings hold bytes that look like records */

#include "param.h"

#include "log_mistakes.h"
#define IS(x) (mistake == x)

/* ---- the operations -------------------------------------------------------------------------------- */

/*
 * X is a sealed structure of two lines: X0 (seal, dirty_seq, word 0) and X1 (word 1). Y is a line of another
 * one. B is a block that X may own, BIT its bit in the persistent bitmap. An operation is the set of the cells
 * that its record names, and a mark where that is not enough.
 */
#define X0 0
#define X1 1
#define Y 2
#define B 3
#define BIT 4
#define CELLS 5
#define PAIR	3  /* X0, X1: a change of two lines			(update of an inode) */
#define OTHER	4  /* Y						(somebody else's inode) */
#define BOTH	6  /* X1, Y: both locks				(rename between directories) */
#define NODE	9  /* X0, B: logged contents of the block		(tree node, logged data) */
#define ALLOC	50 /* X1, BIT = 1; B written as fresh memory		(append) */
#define FREE	82 /* X1, BIT = 0					(truncate, unlink) */
#define PLACE	129 /* X0; B stored in place				(overwrite) */
#define RAW	128 /* B stored in place, and no record		(overwrite that changes nothing else) */
#define PAD	32 /* no operation: fills the ring's end */
#define FORGED	31 /* no operation: bytes that look like a record of all cells */

#define has(what, cell) (((what) >> (cell)) & 1)
#define of_x(what) (((what) & 3) || (what) == RAW)
#define of_y(what) has(what, Y)
#define value(what, cell, num) ((cell) == BIT -> ((what) == ALLOC) : (num))

#define NOTHING 255
#define ANY 254
#define TAG 100 /* contents of B that were stored directly: TAG or TAG + 1 */

/* ---- the pool: caches and medium ------------------------------------------------------------------- */

byte w[CELLS], m[CELLS];
byte dirty, m_dirty; /* dirty_seq of X, in line X0 */
byte seal, m_seal;   /* "checksum" of X, in line X0: seal_of of its words */
#define seal_of(a, b) ((a) * 16 + (b))

/* Rings. A record at position p lies at unit p % units_max of its lane's. state: is all of it in the caches,
 * is all of it on the medium? */
#define RINGS (WRITERS * UNITS_MAX)
#define IN_CACHE 1
#define SAFE 3 /* on the medium too */
typedef record { byte pos, end, seq, op, nonce, state };
record ring[RINGS];
#define at(lane, p) ((lane) * UNITS_MAX + (p) % units_max)

/* Checkpoint slots. */
typedef ckpt { byte generation, c, tail[WRITERS], nonce, state };
ckpt slot[2];

/* ---- volatile: gone after any crash ---------------------------------------------------------------- */

byte seq, c; /* vol->seq, vol->c */
byte head[WRITERS], tail[WRITERS], low[WRITERS];
byte nonce, generation, newest; /* fs->log_nonce; ckpt_work->slot */
byte making[WRITERS];		/* ckpt_work->making.tail */
byte lock_x, lock_y;
bool ckpt_lock;
bool vbit, built; /* volatile bitmap's bit of b; was the bitmap built */
byte data_seq;	  /* of X, raised by NODE */
byte pending;	  /* a bit a cell: flushed by the checkpoint, not yet fenced */

/* ---- for the assertions only ------------------------------------------------------------------------- */

byte want[CELLS];	/* what must be found: the newest committed change of each cell */
byte fly_op[WRITERS], fly_seq[WRITERS], fly_tag[WRITERS]; /* written, not committed */
byte applying[WRITERS]; /* drawn, not applied; 0 none */

/* ---- life ---------------------------------------------------------------------------------------------- */

byte left[WRITERS];	   /* operations */
byte crashes, epoch, gone; /* a crash ends the epoch; gone: how many have noticed */
bool open;

#define differs(line) (w[line] != m[line] || (line == X0 && (dirty != m_dirty || seal != m_seal)))
inline reach_medium(line) /* as it is now */
{
	m[line] = w[line];
	m_dirty = (line == X0 -> dirty : m_dirty);
	m_seal = (line == X0 -> seal : m_seal)
}
inline keep_or_lose(line)
{
	if
	:: differs(line) -> reach_medium(line)
	:: true
	fi
}

/* apply_entry: one store, after that of dirty_seq (I7) */
inline raise_dirty(num)
{
	if
	:: dirty < num && !IS(NOT_DIRTY) -> keep_or_lose(X0); dirty = num
	:: else
	fi
}
inline store(what, num, place)
{
	if
	:: w[place] != value(what, place, num) -> keep_or_lose(place); w[place] = value(what, place, num)
	:: else
	fi
}
/* seal_is_stale: X's seal is right, or behind and known to be, at any moment: some look without a lock */
#define seal_is_fine ((dirty > c && dirty <= seq) || seal == seal_of(w[X0], w[X1]))
#define next_cell(what, place)                                                                                 \
	do                                                                                                     \
	:: place < CELLS && !has(what, place) -> place++                                                       \
	:: else -> break                                                                                       \
	od

/* adit__pm_flush of one line: it may be there now, or only after the fence; then the fence. */
inline flush(place)
{
	if
	:: differs(place) -> reach_medium(place)
	:: true -> pending = pending | (1 << place)
	fi
}
inline fence_pending()
{
	for (k : 0 .. CELLS - 1) {
		if
		:: has(pending, k) -> reach_medium(k)
		:: else
		fi
	}
	k = 0;
	pending = 0
}

inline committed(what, num, mark)
{
	for (k : 0 .. CELLS - 1) {
		want[k] = (has(what, k) -> value(what, k, num) : want[k])
	}
	want[B] = (what == ALLOC || what == PLACE -> mark : (what == FREE -> ANY : want[B]));
	k = 0
}

inline forget_record(j)
{
	ring[j].pos = 0; ring[j].end = 0; ring[j].seq = 0; ring[j].op = 0; ring[j].nonce = 0; ring[j].state = 0
}
#define valid(j, p)                                                                                            \
	(((ring[j].state & IN_CACHE) || IS(TORN_ACCEPTED)) && ring[j].pos == (p) && ring[j].op != 0 &&         \
	 (ring[j].nonce == nonce || IS(NONCE_NOT_CHECKED)))

/* adit__ckpt_store: torn, then whole in the caches; tails are those in making */
#define next_slot (IS(SINGLE_SLOT) -> 0 : 1 - newest)
inline slot_torn(j)
{
	slot[j].state = 0; slot[j].generation = 0; slot[j].c = 0; slot[j].nonce = 0;
	for (k : 0 .. WRITERS - 1) {
		slot[j].tail[k] = 0
	}
	k = 0
}
inline slot_whole(j, bound, secret)
{
	slot[j].state = IN_CACHE; slot[j].generation = generation; slot[j].c = bound; slot[j].nonce = secret;
	for (k : 0 .. WRITERS - 1) {
		slot[j].tail[k] = making[k]
	}
	k = 0
}
#define no_tails(array)                                                                                        \
	for (k : 0 .. WRITERS - 1) {                                                                           \
		array[k] = 0                                                                                   \
	}                                                                                                      \
	k = 0
#define copy_tails(to, from)                                                                                   \
	for (k : 0 .. WRITERS - 1) {                                                                           \
		to[k] = from[k]                                                                                \
	}                                                                                                      \
	k = 0

/* ---- a writer ---------------------------------------------------------------------------------------------- */

/* adit__op_begin_write and the locks (all at once: their order is I2's business), adit__verify_inode,
 * adit__alloc_blocks, group_touch of adit__free_blocks */
inline choose_op()
{
	atomic {
		if
		:: has(menu, 0) && lock_x == 0 -> op = PAIR
		:: has(menu, 1) && lock_y == 0 -> op = OTHER
		:: has(menu, 2) && lock_x == 0 && lock_y == 0 -> op = BOTH
		:: has(menu, 3) && lock_x == 0 && w[BIT] == 0 && !(built && vbit) -> op = ALLOC
		:: has(menu, 4) && lock_x == 0 && w[BIT] == 1 -> op = NODE
		:: has(menu, 5) && lock_x == 0 && w[BIT] == 1 -> op = FREE
		:: has(menu, 6) && lock_x == 0 && w[BIT] == 1 -> op = PLACE
		:: has(menu, 7) && lock_x == 0 && w[BIT] == 1 -> op = RAW
		fi;
		left[me]--;
		lock_x = (of_x(op) -> me + 1 : lock_x);
		lock_y = (of_y(op) -> me + 1 : lock_y);
		if
		:: longest > 1 -> units = longest
		:: true -> units = 1
		fi;
		assert(seal_is_fine);
		if
		:: (op == ALLOC || (op == FREE && !IS(GROUP_BUILT_LATE))) && !built -> vbit = w[BIT]; built = true
		:: else
		fi;
		vbit = (op == ALLOC -> 1 : vbit);
		tag = (op == ALLOC || op == PLACE || op == RAW -> (w[B] == TAG -> TAG + 1 : TAG) : 0)
	}
}

#define room (head[me] - tail[me] + 2 * longest <= units_max)

inline unlock()
{
	d_step {
		lock_x = (lock_x == me + 1 -> 0 : lock_x);
		lock_y = (lock_y == me + 1 -> 0 : lock_y)
	}
}

inline draw()
{
	d_step { seq++; num = seq; applying[me] = num; fly_seq[me] = num }
}

/* write_pad, then copy_nt of the record: torn first. What the new bytes cover is no record any more. */
inline record_torn()
{
	d_step {
		pos = head[me];
		i = at(me, pos);
		if
		:: units_max - pos % units_max < units ->
			ring[i].end = pos + units_max - pos % units_max;
			ring[i].pos = pos; ring[i].op = PAD; ring[i].seq = 0; ring[i].nonce = nonce; ring[i].state = IN_CACHE;
			pos = ring[i].end;
			i = at(me, pos)
		:: else
		fi;
		for (k : i .. i + units - 1) {
			forget_record(k)
		}
		k = 0;
		ring[i].pos = pos; ring[i].end = pos + units; ring[i].seq = num; ring[i].op = op; ring[i].nonce = nonce
	}
}
/* The commit: of the record, of a pad before it, of data in place. */
inline record_fence()
{
	d_step {
		if
		:: !IS(NO_RECORD_FENCE) ->
			ring[i].state = SAFE;
			k = at(me, head[me]);
			ring[k].state = SAFE;
			m[B] = (op == PLACE -> w[B] : m[B])
		:: else
		fi;
		fly_op[me] = 0; fly_seq[me] = 0; fly_tag[me] = 0;
		committed(op, num, tag)
	}
}

inline apply() /* adit__apply_record */
{
	d_step { next_cell(op, t); true }
	do
	:: atomic { t <= X1 && !IS(DIRTY_TOO_LATE) -> raise_dirty(num) }
		atomic { store(op, num, t); assert(seal_is_fine); t++; next_cell(op, t) }
	:: atomic { t < CELLS && (t > X1 || IS(DIRTY_TOO_LATE)) -> store(op, num, t); assert(seal_is_fine); t++; next_cell(op, t) }
		if
		:: IS(DIRTY_TOO_LATE) && of_x(op) -> atomic { raise_dirty(num) }
		:: else
		fi
	:: t == CELLS -> break
	od;
	t = 0
}

proctype Writer(byte me)
{
	byte op, units, tag, num, pos, i, k, t, my;

end_again:
	{
end_idle:
		do
		:: left[me] > 0 && open ->
			if
			:: IS(SEQ_OUTSIDE_LOCK) -> low[me] = 1; draw(); low[me] = num
			:: else
			fi;
			choose_op();
			if
			:: op == ALLOC -> /* adit__cs_fresh, and the first fence of adit__cs_commit */
				atomic { keep_or_lose(B); w[B] = tag; fly_tag[me] = tag }
				m[B] = (IS(NO_FRESH_FENCE) -> m[B] : w[B])
			:: op == PLACE -> /* adit__data_settled, adit__cs_data */
				atomic { (data_seq <= c || IS(NOT_SETTLED)) -> keep_or_lose(B); w[B] = tag; fly_tag[me] = tag }
			:: op == RAW -> /* the same without a lane: copy, fence, done */
				atomic { (data_seq <= c || IS(NOT_SETTLED)) -> keep_or_lose(B); w[B] = tag; fly_tag[me] = tag }
				d_step { m[B] = w[B]; want[B] = tag; fly_tag[me] = 0 }
				unlock();
				goto returned
			:: else
			fi;
			/* make_room: a checkpoint moves the tail */
			(room || IS(NO_ROOM_CHECK));
			/* write_record: publish, draw, write */
			if
			:: !IS(SEQ_OUTSIDE_LOCK) && !IS(NO_LOWER_BOUND) && !IS(BOUND_AFTER_DRAW) -> low[me] = 1
			:: else
			fi;
			if
			:: !IS(SEQ_OUTSIDE_LOCK) -> draw()
			:: else
			fi;
			if
			:: !IS(SEQ_OUTSIDE_LOCK) && !IS(NO_LOWER_BOUND) -> low[me] = num
			:: else
			fi;
			record_torn();
			d_step { ring[i].state = IN_CACHE; fly_op[me] = op }
			if
			:: IS(APPLY_BEFORE_FENCE) -> apply()
			:: else
			fi;
			record_fence();
			if
			:: IS(BOUND_GONE_EARLY) -> low[me] = NOTHING
			:: IS(UNLOCK_BEFORE_APPLY) -> unlock()
			:: else
			fi;
			/* apply_notes */
			if
			:: op == NODE -> data_seq = num
			:: else
			fi;
			apply();
			d_step {
				applying[me] = 0;
				head[me] = ring[i].end;
				vbit = (op == FREE && IS(NO_QUARANTINE) -> 0 : vbit)
			}
			low[me] = NOTHING;
			unlock(); /* adit__op_end: the call returns */
returned:
			true;
			d_step { op = 0; units = 0; tag = 0; num = 0; pos = 0; i = 0; k = 0; t = 0 }
		od
	} unless { epoch != my };
	d_step { gone++; my = epoch; op = 0; units = 0; tag = 0; num = 0; pos = 0; i = 0; k = 0; t = 0 }
	goto end_again
}

/* ---- the checkpoint: any thread that finds it due, or needs room, or free blocks, or settled data ------------ */

#define lower0 (low[0] <= seq -> low[0] - 1 : seq)
#if WRITERS > 1
#define lower1 (low[1] <= lower0 -> low[1] - 1 : lower0)
#else
#define lower1 lower0
#endif
#if WRITERS > 2
#define lower2 (low[2] <= lower1 -> low[2] - 1 : lower1)
#else
#define lower2 lower1
#endif
#define due (lower2 > c || (IS(C_ONE_TOO_FAR) && seq > c))

inline touch_record(what)
{
	touched = touched | (what & 31);
	touched = (touched & 3 -> touched | 1 : touched) /* the line with seal and dirty_seq too */
}

/* lane_walk with total_record and touch_entry: only what is complete, so in one step */
inline walk()
{
	d_step {
		for (i : 0 .. WRITERS - 1) {
			making[i] = tail[i];
			do
			:: making[i] < head[i] && ring[at(i, making[i])].seq <= cc ->
				t = at(i, making[i]);
				/* "record was overwritten: pool stopped" must not happen */
				assert(ring[t].pos == making[i] && ring[t].nonce == nonce);
				touch_record(ring[t].op);
				frees = frees || ring[t].op == FREE;
				making[i] = ring[t].end
			:: else -> break
			od
		}
		i = 0;
		t = 0
	}
}

/* write_back: seals from what is there now, then the lines; others may be applying what is above C */
inline write_back_all()
{
	if
	:: has(touched, X0) && !IS(NO_SEAL) ->
		t = w[X0];
		atomic { keep_or_lose(X0); seal = seal_of(t, w[X1]); t = 0 }
	:: else
	fi;
	d_step { next_cell(touched, i); true }
	do
	:: atomic {
		i < CELLS ->
		if
		:: IS(NO_WRITEBACK) && i == X1
		:: else -> flush(i)
		fi;
		i++;
		next_cell(touched, i)
	}
	:: i == CELLS -> break
	od;
	i = 0;
	if
	:: !IS(NO_WRITEBACK_FENCE) -> d_step { fence_pending() }
	:: else
	fi
}

#define forget_checkpoint                                                                                      \
	cc = 0; i = 0; k = 0; t = 0; touched = 0; frees = false;                                               \
	no_tails(making)

proctype Checkpointer()
{
	byte cc, i, k, t, touched, my;
	bool frees;

end_again:
	{
end_idle:
		do
		:: atomic { open && due && (!ckpt_lock || IS(TWO_CHECKPOINTS)) -> ckpt_lock = true }
			/* choose_c: the number first, then each lane's bound */
			cc = seq;
			do
			:: i < WRITERS ->
				d_step {
					cc = (low[i] <= cc -> low[i] - 1 + IS(C_ONE_TOO_FAR) : cc);
					i++
				}
			:: else -> break
			od;
			i = 0;
			if
			:: cc > c -> /* checkpoint_to */
				/* I4: nothing at or below C is unapplied */
				d_step {
					for (k : 0 .. WRITERS - 1) {
						assert(applying[k] == 0 || applying[k] > cc)
					}
					k = 0
				}
				walk();
				write_back_all();
				if
				:: IS(RELEASE_BEFORE_SLOT) && frees && built -> vbit = 0
				:: IS(TAIL_BEFORE_SLOT) -> d_step { copy_tails(tail, making) }
				:: else
				fi;
				/* adit__ckpt_store */
				d_step { t = next_slot; slot_torn(t) }
				d_step {
					generation++;
					slot_whole(t, cc, nonce);
					if
					:: IS(OLD_TAILS) -> copy_tails(slot[t].tail, tail)
					:: else
					fi;
					newest = t
				}
				if
				:: !IS(NO_SLOT_FENCE) -> d_step { fence_pending(); slot[t].state = SAFE }
				:: else
				fi;
				c = cc;
				assert(seal_is_fine);
				if
				:: frees && built -> vbit = 0 /* release_entry, adit__alloc_unreserve */
				:: else
				fi;
				d_step { copy_tails(tail, making) }
			:: else
			fi;
			d_step { ckpt_lock = false; forget_checkpoint }
		od
	} unless { epoch != my };
	d_step { gone++; my = epoch; forget_checkpoint }
	goto end_again
}

/* ---- crash ------------------------------------------------------------------------------------------------------ */

inline power_failure()
{
	for (i : 0 .. CELLS - 1) {
		keep_or_lose(i);
		w[i] = m[i]
	}
	dirty = m_dirty; seal = m_seal;
	for (i : 0 .. RINGS - 1) {
		if
		:: ring[i].state == IN_CACHE -> ring[i].state = SAFE
		:: ring[i].state != SAFE -> ring[i].state = 0
		:: ring[i].state == SAFE
		fi
	}
	for (i : 0 .. 1) {
		if
		:: slot[i].state == IN_CACHE -> slot[i].state = SAFE
		:: slot[i].state != SAFE -> slot_torn(i)
		:: slot[i].state == SAFE
		fi
	}
	i = 0
}

inline crash()
{
	crashes++;
	if
	:: power_failure()
	:: kills
	fi;
	lock_x = 0; lock_y = 0; ckpt_lock = false; vbit = 0; built = false; data_seq = 0; pending = 0;
	for (i : 0 .. WRITERS - 1) {
		low[i] = NOTHING; applying[i] = 0
	}
	no_tails(head); no_tails(tail); no_tails(making);
	for (i : 0 .. RINGS - 1) {
		if
		:: ring[i].state == 0 && !IS(TORN_ACCEPTED) -> forget_record(i)
		:: else
		fi
	}
	seq = 0; c = 0; nonce = 0; generation = 0; newest = 0;
	i = 0; k = 0; t = 0; n = 0; touched = 0; applied = false
}

/* A crash may fall between any two steps of recovery. */
#define maybe_crash                                                                                            \
	if                                                                                                     \
	:: true                                                                                                \
	:: atomic { crashes < crashes_max -> crash(); goto recover }                                           \
	fi

/* ---- opening ---------------------------------------------------------------------------------------------------- */

inline log_init() /* adit__ckpt_newest, adit__log_init */
{
	d_step {
		assert((slot[0].state & IN_CACHE) || (slot[1].state & IN_CACHE)); /* I14: there is always a valid C */
		newest = ((slot[1].state & IN_CACHE) &&
			  (!(slot[0].state & IN_CACHE) || ((slot[1].generation > slot[0].generation) != IS(OLD_SLOT_COUNTS))) -> 1 : 0);
		c = slot[newest].c; seq = c; nonce = slot[newest].nonce; generation = slot[newest].generation;
		copy_tails(head, slot[newest].tail);
		copy_tails(tail, head);
		copy_tails(making, head)
	}
}

/* What a killed process wrote may be in the caches only: what recovery builds on is made durable first. */
inline claim() /* claim_log */
{
	if
	:: kills && !IS(NOT_CLAIMED) ->
		maybe_crash;
		d_step {
			slot[newest].state = SAFE;
			for (i : 0 .. RINGS - 1) {
				ring[i].state = (ring[i].state == IN_CACHE && ring[i].nonce == nonce -> SAFE : ring[i].state)
			}
			i = 0
		}
	:: else
	fi
}

/* next_record of every lane, and the one with the smallest number: n is its place in ring, t its lane */
inline next_record()
{
	d_step {
		n = NOTHING;
		for (i : 0 .. WRITERS - 1) {
			k = at(i, head[i]);
			if
			:: valid(k, head[i]) && ring[k].op == PAD && valid(at(i, ring[k].end), ring[k].end) ->
				head[i] = ring[k].end;
				k = at(i, head[i])
			:: else
			fi;
			if
			:: valid(k, head[i]) && ring[k].op != PAD && ring[k].seq > c && head[i] - tail[i] < units_max &&
			   (n == NOTHING || (ring[k].seq < ring[n].seq && !IS(REPLAY_UNSORTED))) -> n = k; t = i
			:: else
			fi
		}
		k = 0; i = 0
	}
}

inline replay_one()
{
	d_step { next_cell(ring[n].op, i); true }
	do
	:: atomic { i <= X1 -> raise_dirty(ring[n].seq) } maybe_crash;
		atomic { store(ring[n].op, ring[n].seq, i); i++; next_cell(ring[n].op, i) } maybe_crash
	:: atomic { i > X1 && i < CELLS -> store(ring[n].op, ring[n].seq, i); i++; next_cell(ring[n].op, i) } maybe_crash
	:: i == CELLS -> break
	od;
	i = 0;
	d_step { seq = ring[n].seq; head[t] = ring[n].end; touch_record(ring[n].op); applied = true; n = 0; t = 0 }
}

inline store_slot(upto, secret)
{
	maybe_crash;
	d_step { t = next_slot; slot_torn(t) }
	maybe_crash;
	d_step { generation++; slot_whole(t, upto, secret); newest = t }
	maybe_crash;
	d_step { fence_pending(); slot[t].state = SAFE; t = 0 }
}

/* Everything that was returned is there, nothing is half there, nothing else is there. */
inline check_contents()
{
	d_step {
		for (i : 0 .. WRITERS - 1) {
			if
			:: fly_op[i] != 0 ->
				t = 0; n = 0; /* cells that carry its number; cells it has */
				for (k : 0 .. B) {
					n = n + has(fly_op[i], k);
					t = t + (has(fly_op[i], k) && w[k] == fly_seq[i])
				}
				assert(t == 0 || t == n);
				if
				/* In place, of a call that did not return: either content may be found, now and later. */
				:: fly_op[i] == PLACE ->
					want[X0] = (t == n -> fly_seq[i] : want[X0]);
					want[B] = (w[B] != m[B] -> ANY : (w[B] == fly_tag[i] -> w[B] : want[B]))
				:: fly_op[i] != PLACE && t == n -> committed(fly_op[i], fly_seq[i], fly_tag[i])
				:: else
				fi
			:: fly_op[i] == 0 && fly_tag[i] != 0 && w[BIT] == 1 -> want[B] = ANY /* as above */
			:: else
			fi;
			fly_op[i] = 0; fly_seq[i] = 0; fly_tag[i] = 0
		}
		for (k : 0 .. CELLS - 1) {
			assert(w[k] == want[k] || want[k] == ANY);
			assert(w[k] == m[k] || k == B) /* and stays, whatever comes */
		}
		i = 0; k = 0; t = 0; n = 0;
		assert(seal == seal_of(w[X0], w[X1])); /* after recovery no seal is stale */
		assert(seal == m_seal)
	}
}

proctype Pool()
{
	byte i, k, t, n, touched;
	bool applied;

serve:
end_serve:
	atomic { crashes < crashes_max && open -> open = false; epoch++; gone = 0; crash() }
	(gone == _nr_pr - 2); /* all but init and this one: nobody lives on */
recover: /* adit__core_open: open_checked, recover */
	true;
	log_init();
	claim();
	next_record();
	do
	:: n != NOTHING -> replay_one(); next_record()
	:: else -> break
	od;
	atomic { n = 0; t = 0 }
	if
	:: IS(NONCE_TOO_EARLY) -> store_slot(c, epoch + crashes + 2)
	:: else
	fi;
	if
	:: applied && !IS(NO_RECOVERY_CHECKPOINT) -> /* checkpoint_to(fs, fs->vol->seq) */
		maybe_crash;
		write_back_all();
		d_step { copy_tails(making, head) }
		store_slot(seq, nonce);
		d_step { c = seq; copy_tails(tail, head) }
	:: else
	fi;
	if
	:: !IS(NONCE_NOT_RENEWED) -> /* renew_nonce */
		nonce = epoch + crashes + 2;
		store_slot(c, nonce)
	:: else
	fi;
	if
	:: !IS(NO_RECOVERY_CHECKPOINT) -> check_contents()
	:: else
	fi;
	d_step { touched = 0; applied = false; no_tails(making); open = true }
	goto serve
}

/* ---- the beginning: mkfs ---------------------------------------------------------------------------------------- */

init {
	byte k;

	atomic {
		c_code {
			now.mistake = param("MISTAKE", 0);
			now.ops = param("OPS", 1);
			now.menu = param("MENU", 3);
			now.crashes_max = param("CRASHES", 1);
			now.kills = param("KILLS", 0);
			now.longest = param("LONGEST", 1);
			now.units_max = param("UNITS", 3);
			now.start = param("START", 0);
			now.owned = param("OWNED", 1);
			now.forgery = param("FORGERY", 0);
		};
		for (k : 0 .. WRITERS - 1) {
			low[k] = NOTHING; left[k] = ops; head[k] = start; tail[k] = start; slot[0].tail[k] = start
		}
		w[BIT] = owned; m[BIT] = owned; want[BIT] = owned; want[B] = (owned -> 0 : ANY);
		nonce = 1; generation = 2; slot[0].generation = 2; slot[0].nonce = 1; slot[0].state = SAFE;
		/* A user wrote what looks like a record into a file, and the ring's memory still holds it. */
		for (k : 0 .. RINGS - 1) {
			if
			:: forgery && k % UNITS_MAX < units_max ->
				ring[k].pos = k % UNITS_MAX; ring[k].end = ring[k].pos + 1; ring[k].seq = 13;
				ring[k].op = FORGED; ring[k].nonce = 0; ring[k].state = SAFE
			:: else
			fi
		}
		open = true;
		for (k : 1 .. WRITERS) {
			run Writer(k - 1)
		}
		k = 0;
		run Checkpointer();
		if
		:: IS(TWO_CHECKPOINTS) -> run Checkpointer()
		:: else
		fi;
		run Pool()
	}
}
