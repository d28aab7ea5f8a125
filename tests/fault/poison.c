/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * poison - one page of a pool after the other cannot be read or written any more: every page that holds
 * metadata, a sample of the others; spoiled before the pool is opened, or while it is open; then two at once.
 *
 * What must hold, with a handler that turns SIGBUS into errors (fs/guard.h):
 *   - every call returns; an error is EIO, EUCLEAN or EBADMSG, and a line was reported;
 *   - only what lies on that page is lost: every other file reads as it did, the pool opens (see `may_close`
 *     for the pages without which it does not);
 *   - a fault in the middle of a change stops the pool: everything is EIO until it is opened again, and
 *     then the change has happened or not;
 *   - the check, looking and repairing, ends, and says something;
 *   - when the page is good again (zeros), what the check repairs is clean, and nothing else is lost.
 *
 *	poison				all of it once
 *	ADIT_SECONDS=n ADIT_SEED=n	two pages at once, by chance, for n seconds
 *	poison --only BLOCK[,BLOCK]	one case
 *	ADIT_POISON=uffd		pages are poisoned by the kernel (UFFDIO_POISON) instead of lying behind
 *					the end of a file
 *	ADIT_SAY=1			name each case before it runs
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "core/format.h"
#include "gallery.h"
#include "proof.h"

#define POOL_BYTES (64ull << 20)

enum outcome {
	OPENED,
	READ_ONLY,
	REFUSED,
	FILES_EQUAL,
	FILES_LOST,
	STOPPED,
	CHECKED,
	MENDED,
	OUTCOMES
};
static const char *const outcome_name[OUTCOMES] = {
	"opened",     "opened read-only", "refused", "files equal",
	"files lost", "stopped",	  "checked", "mended",
};
static uint64_t outcome[PLACES][OUTCOMES], cases[PLACES];
static uint64_t calls;
static unsigned failures;
static bool say; /* each case before it runs */
static const uint64_t *hit;
static unsigned nhit;

static double seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void count(enum outcome what, uint64_t n)
{
	outcome[gallery.place[hit[0]]][what] += n;
}

static void failed(const char *when, const char *what)
{
	failures++;
	printf("FAILED block %llu (%s)", (unsigned long long)hit[0],
	       gallery_place_name[gallery.place[hit[0]]]);
	for (unsigned i = 1; i < nhit; i++)
		printf(" and %llu (%s)", (unsigned long long)hit[i],
		       gallery_place_name[gallery.place[hit[i]]]);
	printf(": %s: %s; reported: %s\n  again: fault_poison --only %llu", when, what,
	       gallery.report, (unsigned long long)hit[0]);
	for (unsigned i = 1; i < nhit; i++)
		printf(",%llu", (unsigned long long)hit[i]);
	printf("\n");
}

static void spoil(void)
{
	for (unsigned i = 0; i < nhit; i++)
		gallery_spoil(hit[i]);
}

/* Without these nothing can be done with a pool, or nothing safely: what is there once only, or is written
 * by every opener. */
static bool may_close(bool writing)
{
	for (unsigned i = 0; i < nhit; i++)
		switch (gallery.place[hit[i]]) {
		case IN_INTENTS:
		case IN_LANE:
		case IN_VOLATILE:
			return true;
		case IN_SUPER:
		case IN_SUPER_COPY:
		case IN_CHECKPOINT:
		case IN_ROOT:
			if (writing || nhit > 1)
				return true;
			break;
		default:
			break;
		}
	return false;
}

/* Error of a call: one of the three. */
static bool right(const char *when, int64_t got)
{
	char text[80];

	calls++;
	if (got >= 0 || gallery_error_is_right(got))
		return true;
	snprintf(text, sizeof text, "error %lld", (long long)got);
	failed(when, text);
	return false;
}

/* ---- reading --------------------------------------------------------------------------------- */

static void verify(struct adit_pool *pool, const char *when)
{
	struct gallery_verdict v;

	gallery_verify(pool, hit, nhit, &v);
	calls += 5 * gallery.files;
	count(FILES_EQUAL, v.equal);
	count(FILES_LOST, v.failed);
	if (v.wrong)
		failed(when, v.first);
	else if (v.failed && gallery.reports == 0)
		failed(when, "files are lost and nothing was said");
}

static bool open_pool(const char *when, unsigned flags, struct adit_pool **pool)
{
	int err = gallery_open(flags, pool);

	if (err == 0) {
		count(flags ? READ_ONLY : OPENED, 1);
		return true;
	}
	count(REFUSED, 1);
	if (!gallery_error_is_right(err) || !may_close(flags == 0))
		failed(when, "does not open");
	else if (gallery.reports == 0)
		failed(when, "does not open, and does not say why");
	return false;
}

static void read_only(void)
{
	struct adit_pool *pool;

	gallery_reset();
	spoil();
	if (!open_pool("opening to read", ADIT_OPEN_RDONLY, &pool))
		return;
	verify(pool, "reading, read-only");
	(void)adit_close(pool);
}

/* ---- changing --------------------------------------------------------------------------------- */

static void change_file(struct adit_pool *pool, struct gallery_file *f)
{
	int fd = adit_openat(pool, AT_FDCWD, f->path, O_RDWR, 0);

	f->changed = true;
	if (!right("open to change", fd))
		return;
	if (fd >= 0) {
		right("write", adit_pwrite(pool, fd, "changed", 7, 3));
		right("append", adit_pwrite(pool, fd, f->path, 5, (off_t)f->size));
		right("truncate", adit_ftruncate(pool, fd, (off_t)f->size / 2));
		right("fallocate", adit_fallocate(pool, fd, 0, 0, (off_t)f->size + 9000));
		right("setxattr", adit_fsetxattr(pool, fd, "user.new", "value", 5, 0));
		right("fchmod", adit_fchmod(pool, fd, 0600));
		right("close", adit_close_fd(pool, fd));
	}
	if (f->size % 3 == 0)
		right("unlink", adit_unlink(pool, f->path));
}

static void change_dir(struct adit_pool *pool, const char *dir)
{
	char path[300], other[300];
	int got;

	snprintf(path, sizeof path, "%s/new", dir);
	snprintf(other, sizeof other, "%s/newer", dir);
	/* Each needs what the one before left. */
	if (right("creat", got = adit_creat(pool, path, 0600)) && got >= 0 &&
	    right("mkdir", got = adit_mkdir(pool, other, 0700)) && got >= 0 &&
	    right("rename", got = adit_renameat2(pool, AT_FDCWD, path, AT_FDCWD, other, 2)) &&
	    got >= 0)
		right("rmdir", adit_rmdir(pool, path));
}

/* Directories' contents change too: their listings are not compared any more. */
static void change(struct adit_pool *pool)
{
	for (unsigned i = 0; i < gallery.files; i++) {
		struct gallery_file *f = &gallery.file[i];
		bool concerned = i % 37 == 5;

		if (strcmp(f->path, "/few/attributes") == 0 || strcmp(f->path, "/few/again") == 0)
			concerned = false;
		for (unsigned k = 0; k < nhit; k++)
			concerned |= gallery_shadow(f, hit[k]) && (f->mode & 0170000) == 0100000 &&
				     i % 3 == 1;
		if ((f->mode & 0170000) == 0040000) {
			f->changed = true;
			change_dir(pool, f->depth == 1 ? "" : f->path);
		} else if (concerned && (f->mode & 0170000) == 0100000) {
			change_file(pool, f);
		}
	}
	for (unsigned i = 0; i < gallery.files; i++)
		gallery.file[i].changed |= strncmp(gallery.file[i].path, "/few/a", 6) == 0;
}

/* A stopped pool answers nothing. */
static void is_stopped(struct adit_pool *pool, const char *when)
{
	char c;

	count(STOPPED, 1);
	if (adit_access(pool, "/many", 0) != -EIO || adit_mkdir(pool, "/x", 0700) != -EIO ||
	    adit_readlink(pool, "/kinds/short link", &c, 1) != -EIO)
		failed(when, "stopped, and answers");
}

static bool close_pool(struct adit_pool *pool, const char *when)
{
	struct adit_pool_info info;
	int err;

	(void)adit_info(pool, &info);
	if (info.failed)
		is_stopped(pool, when);
	err = adit_close(pool);
	if (err != 0 && err != -EIO)
		failed(when, "close: wrong error");
	return err == 0;
}

/* Good pages again, of zeros: the pool is repaired and clean, and only what lay there is gone. */
static void healed(void)
{
	struct adit_pool *pool;
	uint64_t left = 0;
	int err;

	for (unsigned i = 0; i < nhit; i++)
		gallery_heal(hit[i]);
	err = gallery_check(true, &left);
	if (err || left) {
		/* Both superblocks, or both slots of an unclean pool, are gone. */
		if (!may_close(true) || !gallery_error_is_right(err))
			failed("repair of the healed pool", "does not end well");
		return;
	}
	count(MENDED, 1);
	err = gallery_check(false, &left);
	if (err || left)
		failed("look after the repair", "not clean");
	if (gallery_open(0, &pool) != 0) {
		failed("open after the repair", "refused");
		return;
	}
	gallery.reports = 1;
	for (unsigned i = 0; i < gallery.files; i++)
		for (unsigned k = 0; k < nhit; k++)
			gallery.file[i].changed |= gallery.place[hit[k]] != IN_VOLATILE &&
						   gallery_shadow(&gallery.file[i], hit[k]);
	verify(pool, "after the repair");
	(void)adit_close(pool);
}

static void change_and_reopen(struct adit_pool *pool, const char *when)
{
	change(pool);
	(void)close_pool(pool, when);
	if (open_pool("opening again", 0, &pool)) {
		verify(pool, "after opening again");
		(void)close_pool(pool, when);
	}
	healed();
}

/* Spoiled before it is opened. */
static void at_open(void)
{
	struct adit_pool *pool;

	gallery_reset();
	spoil();
	if (!open_pool("opening", 0, &pool))
		return;
	verify(pool, "reading");
	change_and_reopen(pool, "spoiled before opening");
}

/* Spoiled while it is open, and with what was read before known to be right. */
static void in_use(void)
{
	struct gallery_verdict v;
	struct adit_pool *pool;

	gallery_reset();
	if (gallery_open(0, &pool) != 0) {
		failed("opening the sound pool", "refused");
		return;
	}
	gallery_verify(pool, NULL, 0, &v);
	if (v.failed)
		failed("reading the sound pool", v.first);
	right("mkdir", adit_mkdir(pool, "/before", 0755));
	gallery.file[0].changed = true;
	spoil();
	if (!may_close(true))
		verify(pool, "reading, spoiled in use");
	change_and_reopen(pool, "spoiled in use");
}

static void checks(void)
{
	for (int repair = 0; repair < 2; repair++) {
		uint64_t left = 0;
		int err;

		gallery_reset();
		spoil();
		err = gallery_check(repair, &left);
		count(CHECKED, 1);
		if (err != 0 && !gallery_error_is_right(err))
			failed(repair ? "repair" : "look", "wrong error");
		else if (err != 0 && left == 0 && gallery.reports == 0)
			failed(repair ? "repair" : "look", "an error, and nothing was said");
	}
}

/* ---- which ---------------------------------------------------------------------------------------- */

static void one(const uint64_t *blocks, unsigned n)
{
	hit = blocks;
	nhit = n;
	cases[gallery.place[hit[0]]]++;
	gallery.report[0] = '\0';
	if (say)
		printf("block %llu (%s)%s\n", (unsigned long long)hit[0],
		       gallery_place_name[gallery.place[hit[0]]], n > 1 ? " and another" : "");
	read_only();
	at_open();
	in_use();
	checks();
}

/* Every so many of them; 1: all. */
static unsigned stride_of(enum place place)
{
	switch (place) {
	case IN_DATA:
	case IN_LANE:
		return 40;
	case IN_VOLATILE:
		return 9;
	case IN_FREE:
		return 700;
	case IN_INODES:
	case IN_VOLATILE_BITMAP:
	case IN_XATTR_VALUE:
		return 5;
	default:
		return 2;
	}
}

static void singles(bool all)
{
	uint64_t seen[PLACES] = {0};

	for (uint64_t b = 0; b < gallery.blocks && failures < 20; b++) {
		enum place place = gallery.place[b];
		unsigned stride = stride_of(place);

		if (all && place != IN_FREE && place != IN_DATA)
			stride = 1;
		if (seen[place]++ % stride == 0)
			one(&b, 1);
	}
}

static void pairs(uint64_t seed, double until, unsigned at_least)
{
	uint64_t r = seed * 0x9e3779b97f4a7c15ull + 1;

	for (unsigned n = 0; failures < 20 && (n < at_least || seconds() < until); n++) {
		uint64_t blocks[2];

		for (unsigned i = 0; i < 2;) {
			r = r * 6364136223846793005ull + 1442695040888963407ull;
			blocks[i] = (r >> 20) % gallery.blocks;
			if (gallery.place[blocks[i]] != IN_FREE &&
			    gallery.place[blocks[i]] != IN_DATA)
				i++;
		}
		if (blocks[0] != blocks[1])
			one(blocks, 2);
	}
}

static uint64_t write_proof(uint64_t seed)
{
	struct proof *p =
		proof_begin("fault-poison", "R17",
			    "a page of a 64 MiB pool cannot be read: only what lies on it is lost");
	const char *columns[1 + OUTCOMES] = {"cases"};
	uint64_t sum = 0, pages = 0;

	for (unsigned i = 0; i < OUTCOMES; i++)
		columns[1 + i] = outcome_name[i];
	proof_seed(p, seed);
	proof_matrix(p, "what happened, by what the page held", columns, 1 + OUTCOMES);
	for (unsigned k = 0; k < PLACES; k++) {
		uint64_t row[1 + OUTCOMES] = {cases[k]};

		memcpy(row + 1, outcome[k], sizeof outcome[k]);
		proof_row(p, gallery_place_name[k], row);
		sum += cases[k];
		pages += k == IN_FREE ? 0 : gallery.pages[k];
	}
	proof_count(p, "pages poisoned, one or two at a time", sum);
	proof_count(p, "pages in use", pages);
	proof_count(p, "calls", calls);
	proof_note(p, "A page is the unit in which Linux takes poisoned memory away; lines of 64 "
		      "bytes cannot be "
		      "told apart.");
	proof_note(p,
		   "Spoiled are pages behind the end of a file (SIGBUS); with ADIT_POISON=uffd by "
		   "the kernel's poison "
		   "marks. MADV_HWPOISON takes memory away from the whole system and is not used.");
	proof_end(p, failures);
	return sum;
}

int main(int argc, char **argv)
{
	const char *limit = getenv("ADIT_SECONDS"), *chance = getenv("ADIT_SEED");
	uint64_t seed = chance ? strtoull(chance, NULL, 0) : 1, sum;
	double began = seconds();

	say = getenv("ADIT_SAY") != NULL;
	setvbuf(stdout, NULL, _IOLBF, 0);
	gallery_make(POOL_BYTES);
	if (getenv("ADIT_POISON") && !gallery_kernel_poison()) {
		printf("fault_poison: no UFFDIO_POISON here\n");
		return 77;
	}
	if (argc > 2 && strcmp(argv[1], "--only") == 0) {
		uint64_t blocks[2] = {0};
		const char *comma = strchr(argv[2], ',');

		blocks[0] = strtoull(argv[2], NULL, 0);
		blocks[1] = comma ? strtoull(comma + 1, NULL, 0) : 0;
		one(blocks, comma ? 2 : 1);
	} else {
		singles(limit != NULL);
		pairs(seed, began + (limit ? strtod(limit, NULL) : 0), 20);
	}
	sum = write_proof(seed);
	printf("fault_poison: %llu cases of spoiled pages in a pool of %llu MiB, %llu calls in "
	       "%.1f s: %u failures\n",
	       (unsigned long long)sum, POOL_BYTES >> 20, (unsigned long long)calls,
	       seconds() - began, failures);
	return failures != 0;
}
