/* SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause */
/*
 * Changes of a file's map that may need more than one record (invariant I9).
 *
 * Each step is a record that leaves a sound file; each but the last carries the
 * lane's intent, which says how far it got, so that recovery goes on from there
 * and ends where the call would have.  The first record is the decisive one:
 * before it nothing has happened, after it everything will.
 *
 *	TRUNCATE  free blocks [a, b), from the high end; b falls
 *	ZERO      make the extents in [a, b) unwritten; a rises
 *	COLLAPSE  free [a, a + b), c = 0; then move what follows down by b, c rises
 *	INSERT    move what lies at a and above up by b; c falls
 *	REPLACE   free [a, b), c = 0; then move the staged extents down, c rises
 *
 * A change that needs more new extents than a record can name first collects
 * them where nobody sees them (beyond the end of the file, or in the staging
 * area of file_int.h), every record guarded by a TRUNCATE intent that takes them
 * back; the decisive record turns that intent into REPLACE, or clears it.  Space
 * runs out while collecting or not at all: moving uses the reserve.
 *
 * The whole call holds the inode's lock, so nobody sees the states between.
 */
#include "core/file_int.h"

/* Puts as much as one record holds: 0 when nothing is left, -EAGAIN. */
static int collapse_step(struct adit_cs *cs, struct adit_inode_pm *ip, struct adit_steps *s)
{
	uint64_t done;

	if (s->c == 0) {
		int err = adit__extent_remove(cs, ip, s->a, s->a + s->b, true, &done);

		if (err)
			return err;
		s->c = s->a + s->b;
	}
	return adit__extent_shift(cs, ip, s->a + s->b, -(int64_t)s->b, &s->c);
}

static int replace_step(struct adit_cs *cs, struct adit_inode_pm *ip, struct adit_steps *s)
{
	uint64_t done;

	if (s->c == 0) {
		int err = adit__extent_remove(cs, ip, s->a, s->b, true, &done);

		if (err)
			return err;
		s->c = ADIT_STAGE + s->a;
	}
	return adit__extent_shift(cs, ip, ADIT_STAGE, -(int64_t)ADIT_STAGE, &s->c);
}

static int zero_step(struct adit_cs *cs, struct adit_inode_pm *ip, struct adit_steps *s)
{
	while (s->a < s->b) {
		struct adit_extent e;
		uint64_t to;
		int err = adit__extent_at(adit__cs_fs(cs), cs, ip, s->a, &e);

		if (err)
			return err;
		to = min_u64(s->b, s->a + e.blocks);
		if (e.block != 0)
			err = adit__extent_convert(cs, ip, s->a, to, true);
		if (err)
			return err == -E2BIG ? -EAGAIN : err;
		s->a = to;
	}
	return 0;
}

static int step(struct adit_cs *cs, struct adit_inode_pm *ip, struct adit_steps *s)
{
	switch (s->type) {
	case ADIT_INTENT_TRUNCATE:
		return adit__extent_remove(cs, ip, s->a, s->b, true, &s->b);
	case ADIT_INTENT_ZERO:
		return zero_step(cs, ip, s);
	case ADIT_INTENT_COLLAPSE:
		return collapse_step(cs, ip, s);
	case ADIT_INTENT_INSERT:
		return adit__extent_shift(cs, ip, s->a, (int64_t)s->b, &s->c);
	case ADIT_INTENT_REPLACE:
		return replace_step(cs, ip, s);
	default:
		return -EUCLEAN;
	}
}

static void put_intent(struct adit_cs *cs, const struct adit_inode_pm *ip, uint32_t type,
		       struct adit_steps *s)
{
	adit__cs_intent(cs, type, get64(ip->ino), get32(ip->generation), s->a, s->b, s->c, s->d);
	s->recorded = type != ADIT_INTENT_NONE;
}

/* Without memory, or without the reserve, what was decided cannot be finished here: recovery does it, and
 * until then nobody may look. */
static int stop_unfinished(struct adit_op *op, uint64_t ino, int err)
{
	if (err != -ENOMEM && err != -ENOSPC)
		return err;
	adit__report(op->fs, "inode %llu: a change in steps cannot go on (error %d): pool stopped",
		     (unsigned long long)ino, err);
	adit__stop(op->fs);
	return -EIO;
}

/*
 * Pre: inode locked exclusively; the set may hold puts of the decisive record.
 * Locks: none taken.  Commits at: each step.  After a crash: see above.
 */
int adit__steps_run(struct adit_op *op, uint64_t ino, struct adit_steps *s)
{
	int more, err;

	do {
		struct adit_inode_pm *ip;

		err = adit__cs_inode(op->cs, ino, &ip);
		more = err ? err : step(op->cs, ip, s);
		if (more && more != -EAGAIN) {
			adit__cs_drop(op->cs);
			return s->decided ? stop_unfinished(op, ino, more) : more;
		}
		if (more || s->recorded)
			put_intent(op->cs, ip, more ? s->type : ADIT_INTENT_NONE, s);
		err = adit__cs_commit(op->cs);
		if (!err)
			s->decided = true;
	} while (!err && more);
	return err && s->decided ? stop_unfinished(op, ino, err) : err;
}

int adit__steps_guard(struct adit_op *op, uint64_t ino, struct adit_steps *s)
{
	struct adit_inode_pm *ip;
	int err = adit__cs_inode(op->cs, ino, &ip);

	if (err)
		return err;
	put_intent(op->cs, ip, s->type, s);
	return adit__cs_commit(op->cs);
}

void adit__steps_undo(struct adit_op *op, uint64_t ino, struct adit_steps *s)
{
	int err;

	adit__cs_drop(op->cs);
	if (!s->recorded)
		return;
	/* Freeing does not fail for want of space; after a fault of the medium
	 * the intent stays, and recovery will do this. */
	err = adit__steps_run(op, ino, s);
	if (err)
		err = stop_unfinished(op, ino, err);
	if (err)
		adit__report(op->fs, "inode %llu: an unfinished change is left to recovery",
			     (unsigned long long)ino);
}

static bool intent_is_sound(const struct adit_steps *s)
{
	switch (s->type) {
	case ADIT_INTENT_TRUNCATE:
		return s->a <= s->b && s->b <= ADIT_STAGE_END;
	case ADIT_INTENT_ZERO:
	case ADIT_INTENT_REPLACE:
		return s->a <= s->b && s->b <= ADIT_STAGE && s->c <= ADIT_STAGE_END;
	case ADIT_INTENT_COLLAPSE:
	case ADIT_INTENT_INSERT:
		return s->a <= ADIT_STAGE && s->b > 0 && s->b <= ADIT_STAGE - s->a &&
		       s->c <= ADIT_STAGE_END;
	default:
		return false;
	}
}

/*
 * Pre: recovery; the inode locked exclusively, nothing put, op's lane is the
 * one whose intent this is.  Commits at: each step.  After a crash: again.
 */
int adit__file_resume(struct adit_op *op, const struct adit_intent_pm *in)
{
	struct adit_steps s = {.type = get32(in->type), .recorded = true, .a = get64(in->a),
			       .b = get64(in->b), .c = get64(in->c), .d = get64(in->d)};
	uint64_t ino = get64(in->ino);
	struct adit_inode_pm *ip;
	int err;

	err = adit__cs_inode(op->cs, ino, &ip);
	if (err && err != -ESTALE)
		return err;
	if (err || get32(ip->generation) != get32(in->generation)) {
		/* The inode is gone, and its blocks with it. */
		adit__cs_intent(op->cs, ADIT_INTENT_NONE, 0, 0, 0, 0, 0, 0);
		return adit__cs_commit(op->cs);
	}
	/* Intents have no checksum: what has names is not freed, whatever they say. */
	if (s.type == ADIT_INTENT_FREE && get32(ip->nlink) == 0)
		return adit__inode_destroy(op, ino);
	if (!intent_is_sound(&s)) {
		adit__report(op->fs, "inode %llu: intent of type %u makes no sense",
			     (unsigned long long)ino, s.type);
		return -EUCLEAN;
	}
	return adit__steps_run(op, ino, &s);
}
