/* SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause */
/* See scratch.h. */
#include "core/scratch.h"
#include "core/alloc.h"

struct adit_scratch *adit__scratch_next(const struct adit_fs *fs, const struct adit_scratch *s)
{
	uint64_t block = __atomic_load_n(s ? &s->next : &fs->vol->scratch, __ATOMIC_ACQUIRE);

	return adit__run_is_sane(fs, block, 1) ? adit__block_at(fs, block) : NULL;
}

static struct adit_scratch *reuse(struct adit_fs *fs, uint32_t kind, uint64_t owner)
{
	for (struct adit_scratch *s = NULL; (s = adit__scratch_next(fs, s));) {
		uint64_t nobody = adit__scratch_owner(fs, kind, 0);

		if (__atomic_load_n(&s->owner, __ATOMIC_RELAXED) == nobody &&
		    __atomic_compare_exchange_n(&s->owner, &nobody, owner, false, __ATOMIC_ACQ_REL,
						__ATOMIC_RELAXED))
			return s;
	}
	return NULL;
}

/* Whoever dies before it is on the list leaves a block that the repair finds free. */
static struct adit_scratch *add(struct adit_fs *fs, uint64_t owner)
{
	uint64_t block = adit__alloc_scratch(fs);
	struct adit_scratch *s;

	if (block == 0)
		return NULL;
	s = adit__block_at(fs, block);
	memset(s, 0, ADIT_BLOCK);
	s->owner = owner;
	s->next = __atomic_load_n(&fs->vol->scratch, __ATOMIC_RELAXED);
	while (!__atomic_compare_exchange_n(&fs->vol->scratch, &s->next, block, true,
					    __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
		;
	return s;
}

struct adit_scratch *adit__scratch_get(struct adit_fs *fs, uint32_t kind, uint32_t participant)
{
	uint64_t owner = adit__scratch_owner(fs, kind, participant);
	struct adit_scratch *s = reuse(fs, kind, owner);

	return s ? s : add(fs, owner);
}

void adit__scratch_leave(struct adit_fs *fs, uint32_t participant)
{
	for (struct adit_scratch *s = NULL; (s = adit__scratch_next(fs, s));)
		if (adit__scratch_of(s) == participant)
			__atomic_store_n(&s->owner,
					 adit__scratch_owner(fs, adit__scratch_kind(s), 0),
					 __ATOMIC_RELEASE);
}

uint64_t adit__scratch_blocks(const struct adit_fs *fs)
{
	uint64_t n = 0;

	for (const struct adit_scratch *s = NULL; (s = adit__scratch_next(fs, s));)
		n++;
	return n;
}

bool adit__is_scratch(const struct adit_fs *fs, uint64_t block)
{
	for (const struct adit_scratch *s = NULL; (s = adit__scratch_next(fs, s));)
		if (adit__offset_of(fs, s) >> ADIT_BLOCK_SHIFT == block)
			return true;
	return false;
}
