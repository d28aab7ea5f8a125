/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * damage - a bit, or a word, of the metadata is not what was written: one after the other, at random places
 * for as long as is asked, of a pool that was closed and of one that a kill left with records in its log.
 * The pool is then opened, everything is read, changed, and checked, and repaired.
 *
 *	flip	one bit; the seals are as they were: nothing is read differently (an error, or the truth), and
 *		what is lost is what that block holds; a file's contents are not metadata
 *	zero, ones, limit, noise	a word of 8 bytes: 0, all ones, 2^63, anything
 *	mended	the same, and the seal of the structure made right again: a lie. No crash, no hang; what is read
 *		may be what the lie says
 *
 * Then `fsck -y` ends, `fsck -n` calls the result clean, and what the damage cannot have touched is there.
 * Records in a log are different: what a damaged one names was acknowledged and is gone, with all behind it
 * in its lane; a torn record looks the same. So there only the check's word counts.
 *
 *	fault_damage			a sample, some seconds
 *	ADIT_SECONDS=n ADIT_SEED=n	every bit of all metadata if the time is enough, from a place by chance
 *	fault_damage --only BLOCK:BYTE:KIND	one case
 *	ADIT_SAY=1			what the checks find
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "core/format.h"
#include "fs/env.h"
#include "gallery.h"
#include "proof.h"

#define POOL_BYTES (16ull << 20)

/* FLIP0 + n: bit n of the byte. */
enum kind {
	FLIP0,
	ZERO = 8,
	ONES,
	LIMIT,
	NOISE,
	MENDED,
	MENDED_ZERO = MENDED + 8,
	MENDED_ONES,
	MENDED_LIMIT,
	MENDED_NOISE,
	KINDS
};
static const char *const kind_name[KINDS] = {
	"bit 0",	"bit 1",	"bit 2",	"bit 3",	"bit 4",
	"bit 5",	"bit 6",	"bit 7",	"zero",		"ones",
	"2^63",		"noise",	"mended bit 0", "mended bit 1", "mended bit 2",
	"mended bit 3", "mended bit 4", "mended bit 5", "mended bit 6", "mended bit 7",
	"mended zero",	"mended ones",	"mended 2^63",	"mended noise",
};

enum outcome { REFUSED, LOST, DIFFERENT, EQUAL, MENDS, HOPELESS, OUTCOMES };
static const char *const outcome_name[OUTCOMES] = {
	"pool refused", "files lost", "lies believed",
	"all equal",	"repaired",   "not to be repaired",
};
static uint64_t outcome[PLACES][OUTCOMES], cases[PLACES], flips;
static unsigned failures;
static double began, until;

struct damage {
	uint64_t block;
	unsigned byte;
	enum kind kind;
};

static double seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void failed(const struct damage *d, const char *when, const char *what)
{
	failures++;
	printf("FAILED block %llu (%s), byte %u, %s: %s: %s; reported: %s\n"
	       "  again: fault_damage --only %llu:%u:%u\n",
	       (unsigned long long)d->block, gallery_place_name[gallery.place[d->block]], d->byte,
	       kind_name[d->kind], when, what, gallery.report, (unsigned long long)d->block,
	       d->byte, (unsigned)d->kind);
}

/* ---- doing it ----------------------------------------------------------------------------- */

/* The seal of the structure that the byte is in, where it is sealed by itself. */
static void reseal(const struct damage *d)
{
	unsigned start = 0, from = 16, to = ADIT_BLOCK;
	uint8_t *s = gallery.base + d->block * ADIT_BLOCK;
	le32 magic, crc;

	switch (gallery.place[d->block]) {
	case IN_INODES:
		start = d->byte & ~(ADIT_INODE_BYTES - 1);
		from = ADIT_INODE_SEAL_FROM;
		to = ADIT_INODE_BYTES;
		break;
	case IN_GROUP:
	case IN_GROUP_COPY:
		to = ADIT_GROUP_SEAL_TO;
		break;
	case IN_CHECKPOINT:
		to = 64 + 8 * 4; /* the gallery has four lanes */
		break;
	case IN_SUPER:
	case IN_SUPER_COPY:
	case IN_ROOT:
	case IN_ROOT_COPY:
	case IN_DIR_NODE:
	case IN_EXTENT_NODE:
	case IN_XATTR_NODE:
		break;
	default:
		return;
	}
	memcpy(&magic, s + start + 4, 4);
	crc = put32(adit__crc32c(get32(magic), s + start + from, to - from));
	memcpy(s + start, &crc, 4);
}

static void inflict(const struct damage *d)
{
	unsigned kind = d->kind % MENDED;
	uint8_t *at = gallery.base + d->block * ADIT_BLOCK + d->byte;
	uint64_t word;

	if (kind < ZERO) {
		*at ^= (uint8_t)(1u << kind);
	} else {
		at = gallery.base + d->block * ADIT_BLOCK + (d->byte & ~7u);
		word = kind == ZERO    ? 0
		       : kind == ONES  ? ~0ull
		       : kind == LIMIT ? 1ull << 63
				       : (d->block * 4096 + d->byte + 1) * 0x9e3779b97f4a7c15ull;
		memcpy(at, &word, 8);
	}
	if (d->kind >= MENDED)
		reseal(d);
}

/* ---- living with it ------------------------------------------------------------------------- */

/* Whatever comes of it; each call must return. */
static void change(struct adit_pool *pool)
{
	for (unsigned i = 0; i < gallery.files; i += i < 30 ? 1 : 11) {
		const struct gallery_file *f = &gallery.file[i];
		char path[300];
		int fd;

		if ((f->mode & 0170000) == 0040000) {
			snprintf(path, sizeof path, "%s/new", f->path);
			(void)adit_mkdir(pool, path, 0700);
			(void)adit_rename(pool, path, "/moved");
			(void)adit_rmdir(pool, "/moved");
			continue;
		}
		fd = adit_openat(pool, AT_FDCWD, f->path, O_RDWR, 0);
		if (fd < 0)
			continue;
		(void)adit_pwrite(pool, fd, "changed", 7, (off_t)(f->size / 2));
		(void)adit_pwrite(pool, fd, "appended", 8, (off_t)f->size + 5000);
		(void)adit_fallocate(pool, fd, 3, 0, 4096);
		(void)adit_fsetxattr(pool, fd, "user.new", "value", 5, 0);
		(void)adit_ftruncate(pool, fd, 10);
		(void)adit_close_fd(pool, fd);
		if (i % 2)
			(void)adit_unlink(pool, f->path);
	}
}

static void live(const struct damage *d)
{
	enum place place = gallery.place[d->block];
	bool lie = d->kind >= MENDED || place == IN_LANE || place == IN_INTENTS;
	struct gallery_verdict v;
	struct adit_pool *pool;
	uint64_t left;
	int err;

	gallery_reset();
	inflict(d);
	err = gallery_open(0, &pool);
	if (err) {
		outcome[place][REFUSED]++;
		if (gallery.reports == 0 && err != -EMEDIUMTYPE)
			failed(d, "open", "refused, and does not say why");
		return;
	}
	gallery_verify(pool, &d->block, 1, &v);
	outcome[place][v.wrong ? DIFFERENT : v.failed ? LOST : EQUAL]++;
	if (v.wrong && !lie)
		failed(d, "reading", v.first);
	if (v.failed && !lie && gallery.reports == 0)
		failed(d, "reading", "files are lost and nothing was said");
	change(pool);
	(void)adit_close(pool);
	(void)gallery_check(false, &left);
}

/* What may be gone after the repair: what the block held, and of a lie more: a directory that says that it
 * is somewhere else, a file that takes another one's blocks. */
static void mend(const struct damage *d)
{
	enum place place = gallery.place[d->block];
	bool lie = d->kind >= MENDED || place == IN_LANE || place == IN_INTENTS;
	struct gallery_verdict v;
	struct adit_pool *pool;
	uint64_t left = 0;
	int err;

	gallery_reset();
	inflict(d);
	err = gallery_check(true, &left);
	if (err || left) {
		outcome[place][HOPELESS]++;
		if (!lie)
			failed(d, "repair", "does not mend it");
		return;
	}
	outcome[place][MENDS]++;
	err = gallery_check(false, &left);
	if (err || left)
		failed(d, "look after the repair", "not clean");
	if (gallery_open(0, &pool) != 0) {
		failed(d, "open after the repair", "refused");
		return;
	}
	for (unsigned i = 0; i < gallery.files; i++)
		gallery.file[i].changed = gallery_shadow(&gallery.file[i], d->block) ||
					  (gallery.file[i].mode & 0170000) == 0040000;
	gallery_verify(pool, NULL, 0, &v);
	if (v.wrong && !lie)
		failed(d, "after the repair", v.first);
	change(pool);
	if (adit_close(pool) != 0)
		failed(d, "after the repair", "does not close");
	err = gallery_check(false, &left);
	if (err || left)
		failed(d, "look after work on the repaired pool", "not clean");
}

static void one(const struct damage *d)
{
	cases[gallery.place[d->block]]++;
	flips += d->kind % MENDED < ZERO;
	gallery.report[0] = '\0';
	live(d);
	mend(d);
}

/* ---- which ------------------------------------------------------------------------------------- */

static bool is_metadata(uint64_t block)
{
	switch (gallery.place[block]) {
	case IN_VOLATILE:
	case IN_VOLATILE_BITMAP:
	case IN_DATA:
	case IN_FREE:
		return false;
	default:
		return true;
	}
}

/* By chance, but each kind of structure as often as the others; headers are denser than the rest. */
static void by_chance(uint64_t seed, uint64_t at_least)
{
	uint64_t r = seed * 0x9e3779b97f4a7c15ull + 1, n[PLACES] = {0};
	static uint64_t of[PLACES][1 << 12];

	for (uint64_t b = 0; b < gallery.blocks; b++)
		if (is_metadata(b) && n[gallery.place[b]] < 1 << 12)
			of[gallery.place[b]][n[gallery.place[b]]++] = b;
	for (uint64_t i = 0; failures < 20 && (i < at_least || seconds() < until); i++) {
		struct damage d;
		unsigned p;

		do {
			r = r * 6364136223846793005ull + 1442695040888963407ull;
			p = (unsigned)(r >> 33) % PLACES;
		} while (n[p] == 0);
		r = r * 6364136223846793005ull + 1442695040888963407ull;
		d.block = of[p][(r >> 33) % n[p]];
		r = r * 6364136223846793005ull + 1442695040888963407ull;
		d.byte = (unsigned)(r >> 33) % ADIT_BLOCK;
		r = r * 6364136223846793005ull + 1442695040888963407ull;
		d.kind = (unsigned)(r >> 33) % KINDS;
		if ((r >> 50) % 2 && p != IN_INODES)
			d.byte %= 256;
		one(&d);
	}
}

static uint64_t write_proof(uint64_t seed)
{
	struct proof *p = proof_begin(
		"fault-damage", "R18 R16",
		"a bit or a word of the metadata is damaged: an error or the truth; the "
		"repair brings back all that was not hit");
	const char *columns[1 + OUTCOMES] = {"cases"};
	uint64_t sum = 0;

	for (unsigned i = 0; i < OUTCOMES; i++)
		columns[1 + i] = outcome_name[i];
	proof_seed(p, seed);
	proof_matrix(p, "what happened, by what was damaged", columns, 1 + OUTCOMES);
	for (unsigned k = 0; k < PLACES; k++) {
		uint64_t row[1 + OUTCOMES] = {cases[k]};

		memcpy(row + 1, outcome[k], sizeof outcome[k]);
		sum += cases[k];
		if (cases[k])
			proof_row(p, gallery_place_name[k], row);
	}
	proof_count(p, "words damaged", sum - flips);
	proof_count(p, "bits flipped", flips);
	proof_note(p, "Lies are believed where a structure was damaged and sealed anew, and in log "
		      "records, which "
		      "cannot be told from torn ones; nothing crashes or hangs on them.");
	proof_end(p, failures);
	return sum;
}

int main(int argc, char **argv)
{
	const char *limit = getenv("ADIT_SECONDS"), *chance = getenv("ADIT_SEED");
	uint64_t seed = chance ? strtoull(chance, NULL, 0) : 1, sum;

	setvbuf(stdout, NULL, _IOLBF, 0);
	began = seconds();
	until = began + (limit ? strtod(limit, NULL) : 0);
	gallery_make(POOL_BYTES);
	if (argc > 2 && strcmp(argv[1], "--only") == 0) {
		unsigned long long block = 0;
		struct damage d = {0};
		unsigned kind = 0;

		if (sscanf(argv[2], "%llu:%u:%u", &block, &d.byte, &kind) != 3 || kind >= KINDS)
			return 2;
		d.block = block;
		d.kind = (enum kind)kind;
		one(&d);
	} else {
		by_chance(seed, 400);
	}
	sum = write_proof(seed);
	printf("fault_damage: %llu damaged pools, seed %llu, in %.1f s: %u failures\n",
	       (unsigned long long)sum, (unsigned long long)seed, seconds() - began, failures);
	return failures != 0;
}
