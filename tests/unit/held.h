/* SPDX-License-Identifier: BSD-3-Clause */
/* Holds for tests that remember inode numbers only: the list knows the entry. For one thread. */
#ifndef ADIT_TEST_HELD_H
#define ADIT_TEST_HELD_H

#include "core/namei.h"
#include "core/scratch.h"

/* How many entries of a participant (number + 1) name it; *entry: the last of them. */
static inline unsigned held_entries(const struct adit_fs *fs, uint32_t participant, uint64_t ino,
				    uint64_t *entry)
{
	unsigned n = 0;

	for (struct adit_scratch *s = NULL; (s = adit__scratch_next(fs, s));) {
		const uint64_t *word = (const uint64_t *)(s + 1);

		if (adit__scratch_of(s) != participant)
			continue;
		for (; word < (const uint64_t *)s + ADIT_BLOCK / 8; word += 2)
			if (*word == ino) {
				*entry = adit__offset_of(fs, word);
				n++;
			}
	}
	return n;
}

static inline int hold_ino(struct adit_fs *fs, uint64_t ino, uint32_t generation,
			   struct adit_attr *out)
{
	struct adit_hold hold;

	return adit__hold(fs, ino, generation, out, &hold);
}

static inline int release_ino(struct adit_fs *fs, uint64_t ino)
{
	struct adit_hold hold = {ino, 0};

	(void)held_entries(fs, fs->me + 1, ino, &hold.entry);
	return adit__release(fs, &hold);
}

#endif
