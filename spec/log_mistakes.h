/* SPDX-License-Identifier: BSD-3-Clause */
/* log.pml: the seeded mistakes, each with the function that would make it. MISTAKE is one of these numbers. */
#define C_ONE_TOO_FAR		1  /* choose_c: C = active_low */
#define NO_LOWER_BOUND		2  /* write_record: active_low not published */
#define BOUND_AFTER_DRAW	3  /* ... or only after the number was drawn */
#define BOUND_GONE_EARLY	4  /* cs_commit: withdrawn before applying */
#define NO_QUARANTINE		5  /* a freed block may be had at once */
#define RELEASE_BEFORE_SLOT	6  /* checkpoint_to: released before the slot is durable */
#define GROUP_BUILT_LATE	7  /* free_blocks: volatile bitmap built after the record that frees */
#define NO_FRESH_FENCE		8  /* cs_commit: no fence between fresh memory and the record */
#define NO_RECORD_FENCE		9  /* write_record: no fence */
#define APPLY_BEFORE_FENCE	10 /* cs_commit: applied while the record may still be lost */
#define NO_WRITEBACK		11 /* checkpoint_to: a line is not written back */
#define NO_WRITEBACK_FENCE	12 /* checkpoint_to: no fence between write-back and slot */
#define NO_SLOT_FENCE		13 /* ckpt_store: no fence */
#define SINGLE_SLOT		14 /* ckpt_store: always the same slot */
#define TAIL_BEFORE_SLOT	15 /* checkpoint_to: ring space free before the slot is durable */
#define TWO_CHECKPOINTS		16 /* no ckpt_lock */
#define SEQ_OUTSIDE_LOCK	17 /* number drawn before the locks are taken */
#define UNLOCK_BEFORE_APPLY	18 /* locks released between draw and apply */
#define REPLAY_UNSORTED		19 /* log_recover: lane by lane */
#define TORN_ACCEPTED		20 /* record_at: checksum not looked at */
#define NOT_DIRTY		21 /* raise_dirty: does nothing */
#define NO_SEAL			22 /* write_back: seals are not made */
#define NONCE_NOT_CHECKED	23 /* record_at */
#define NONCE_NOT_RENEWED	24 /* renew_nonce: does nothing */
#define NONCE_TOO_EARLY		25 /* renew_nonce before the checkpoint that ends recovery */
#define NO_RECOVERY_CHECKPOINT	26 /* log_recover: new records before what was replayed is in place */
#define NOT_SETTLED		27 /* stores in place over data that a record logged */
#define OLD_SLOT_COUNTS		28 /* ckpt_newest: the smaller generation */
#define NOT_CLAIMED		29 /* log_recover: what it builds on may be in the caches only */
#define OLD_TAILS		30 /* slot with the new C and the old tails; ring space is reused */
#define NO_ROOM_CHECK		31 /* make_room: does nothing */
#define DIRTY_TOO_LATE		32 /* apply_entry: dirty_seq raised after the bytes changed */
