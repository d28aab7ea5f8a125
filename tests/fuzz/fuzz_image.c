/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * fuzz_image.c - pools with damage anywhere, checksums made right again or not.
 *
 * Input:	byte 0	which image
 *		byte 1	1: checksums of what is hit are made right; 2: begin with fsck; 4: abandon
 *			instead of closing; 8: changes take many steps
 *		byte 2	how many hits follow
 *		then	hits of 16 bytes (struct hit), and steps of work to its end (exercise.c)
 *
 * Where no checksum is made right and the pool was closed, whatever can be read without an error must
 * read as it did before: checksums are there for that. Contents of files have none: only then are
 * they left out when blocks with data are hit. Unfinished operations (intents) have none either, and
 * what lies in the volatile region is nobody's: hits there are hits like any other, but they must not
 * show.
 */
#include "exercise.h"
#include "fuzz.h"
#include "image.h"

#include <stdlib.h>

#define MEND	    1u
#define CHECK_FIRST 2u
#define ABANDON	    4u
#define IN_STEPS    8u
#define HEAD_BYTES  3u
#define HITS_MAX    16u

const char *const fuzz_name = "image";

struct hit {
	uint8_t kind;	/* of the part */
	uint8_t action; /* enum action */
	uint16_t which; /* part of its kind */
	uint16_t at;	/* byte in it */
	uint16_t arg;
	uint64_t value;
};
_Static_assert(sizeof(struct hit) == 16, "hits lie one after the other");

enum action {
	SET8,
	SET16,
	SET32,
	SET64,
	FLIP,
	ADD64,
	ADD16,
	ZEROS,
	ONES,
	LIMIT64, /* 0, 1, the number of blocks, the largest, ... */
	LIMIT32,
	LIMIT16,
	A_BLOCK,    /* where another part lies */
	AN_INODE,   /* number of an inode that is there */
	COPY_PART,  /* all of another part of this kind */
	COPY_BYTES, /* some of another part of this kind */
	SWAP,	    /* with another part of this kind */
	ACTIONS
};

static struct view original[IMAGES];

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc, (void)argv;
	images_make();
	for (unsigned i = 0; i < IMAGES; i++) {
		struct subject s;

		subject_attach(&s, images[i].pool, IMAGE_BYTES);
		s.quiet = true;
		if (!images[i].closed)
			continue;
		if (subject_open(&s))
			abort();
		view_take(&s, &original[i]);
		subject_abandon(&s);
		image_restore(&images[i]);
	}
	return 0;
}

/* ---- damage --------------------------------------------------------------------------- */

static const struct part *part_of(const struct image *im, uint8_t kind, uint16_t which)
{
	for (unsigned i = 0; i < PART_KINDS; i++) {
		unsigned k = (kind + i) % PART_KINDS;
		uint32_t n = im->first[k + 1] - im->first[k];

		if (n)
			return &im->part[im->first[k] + which % n];
	}
	abort();
}

static void put(uint8_t *to, uint64_t room, const void *from, size_t len)
{
	memcpy(to, from, len < room ? len : room);
}

static void copy_from(struct image *im, const struct part *p, const struct hit *h)
{
	const struct part *q = part_of(im, (uint8_t)p->kind, h->arg);
	uint8_t *a = im->pool + p->offset, *b = im->pool + q->offset;
	uint32_t n = p->bytes < q->bytes ? p->bytes : q->bytes, at = h->at % n;
	uint32_t from = (uint32_t)(h->value % n), len = (uint32_t)(h->value >> 32) % 256;

	if (h->action % ACTIONS == COPY_PART) {
		memmove(a, b, n);
	} else if (h->action % ACTIONS == COPY_BYTES) {
		len = len < n - at ? len : n - at;
		memmove(a + at, b + from, len < n - from ? len : n - from);
	} else {
		for (uint32_t i = 0; i < n; i++) {
			uint8_t c = a[i];

			a[i] = b[i];
			b[i] = c;
		}
	}
}

static void change_word(struct image *im, uint8_t *to, uint64_t room, const struct hit *h)
{
	uint64_t value = h->value, word = 0;

	put((uint8_t *)&word, sizeof word, to, room < 8 ? room : 8);
	switch (h->action % ACTIONS) {
	case FLIP:
		value = word ^ 1ull << h->value % 64;
		break;
	case ADD64:
		value = word + (uint64_t)(int64_t)(int16_t)h->arg;
		break;
	case ADD16:
		value = (word & ~0xffffull) | ((word + h->arg) & 0xffff);
		break;
	case LIMIT64:
		value = image_limit(im, h->value);
		break;
	case A_BLOCK:
		value = part_of(im, (uint8_t)h->value, h->arg)->offset / ADIT_BLOCK;
		break;
	default: /* AN_INODE */
		word = part_of(im, PART_INODE, h->arg)->offset + 32;
		memcpy(&value, im->pool + word, sizeof value);
		break;
	}
	put(to, room, &value, 8);
}

static void apply(struct image *im, const struct part *p, const struct hit *h)
{
	unsigned action = h->action % ACTIONS;
	uint32_t at = h->at % p->bytes, room, run = h->arg % 512;
	uint64_t value = h->value;

	/* Fields are aligned. */
	at &= action == SET8 || action == ZEROS || action == ONES	? ~0u
	      : action == SET16 || action == LIMIT16 || action == ADD16 ? ~1u
	      : action == SET32 || action == LIMIT32			? ~3u
									: ~7u;
	room = p->bytes - at;
	if (action >= LIMIT64 && action <= LIMIT16)
		value = image_limit(im, h->value);
	switch (action) {
	case SET8:
		put(im->pool + p->offset + at, room, &value, 1);
		break;
	case SET16:
	case LIMIT16:
		put(im->pool + p->offset + at, room, &value, 2);
		break;
	case SET32:
	case LIMIT32:
		put(im->pool + p->offset + at, room, &value, 4);
		break;
	case SET64:
		put(im->pool + p->offset + at, room, &value, 8);
		break;
	case ZEROS:
	case ONES:
		memset(im->pool + p->offset + at, action == ONES ? 0xff : 0,
		       run < room ? run : room);
		break;
	case COPY_PART:
	case COPY_BYTES:
	case SWAP:
		copy_from(im, p, h);
		break;
	default:
		change_word(im, im->pool + p->offset + at, room, h);
		break;
	}
}

/* Returns a bit for each kind of part that was hit. */
static unsigned damage(struct image *im, const uint8_t *data, unsigned hits, bool mend)
{
	const struct part *hit[2 * HITS_MAX];
	unsigned n = 0, kinds = 0;

	for (unsigned i = 0; i < hits; i++) {
		struct hit h;
		const struct part *p;

		memcpy(&h, data + i * sizeof h, sizeof h);
		p = part_of(im, h.kind % PART_KINDS, h.which);
		apply(im, p, &h);
		kinds |= 1u << p->kind;
		hit[n++] = p;
		if (h.action % ACTIONS == SWAP)
			hit[n++] = part_of(im, (uint8_t)p->kind, h.arg);
	}
	/* Bitmaps before the groups' headers that keep their checksums: those come first in the list
	 * of kinds, and cover other bytes. */
	for (unsigned i = 0; mend && i < n; i++)
		image_mend(im, hit[i]);
	return kinds;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	unsigned flags, hits, kinds, ignore = 0;
	const struct view *was = NULL;
	struct image *im;
	struct subject s;

	if (size < HEAD_BYTES)
		return 0;
	im = &images[data[0] % IMAGES];
	flags = data[1];
	hits = data[2] % (HITS_MAX + 1);
	data += HEAD_BYTES;
	size -= HEAD_BYTES;
	if (hits > size / sizeof(struct hit))
		hits = (unsigned)(size / sizeof(struct hit));
	subject_attach(&s, im->pool, IMAGE_BYTES);
	s.quiet = true;
	subject_now = 1000000;
	subject_random = 1;
	exercise_in_steps(flags & IN_STEPS);
	kinds = damage(im, data, hits, flags & MEND);
	if (!(flags & MEND) && im->closed)
		was = &original[data[-3] % IMAGES];
	if (kinds & 1u << PART_DATA)
		ignore |= SEEN_DATA | SEEN_LINK;
	fuzz_count("hits", hits);
	fuzz_count(flags & MEND ? "with checksums made right" : "with wrong checksums", 1);
	if (flags & CHECK_FIRST) {
		exercise_check(&s);
		image_restore(im);
		(void)damage(im, data, hits, flags & MEND);
	} else {
		bool opened = exercise(&s, was, ignore, flags & ABANDON, data + hits * 16,
				       size - hits * 16);

		fuzz_count(opened ? "opened" : "refused", 1);
	}
	if (exercise_repair(&s, data + hits * 16, size - hits * 16))
		fuzz_count("repaired", 1);
	image_restore(im);
	return 0;
}

/* ---- inputs ---------------------------------------------------------------------------- */

/* Where the fields of most structures begin. */
static uint16_t random_place(void)
{
	switch (fuzz_below(4)) {
	case 0:
		return (uint16_t)(fuzz_below(8) * 8);
	case 1:
		return (uint16_t)(fuzz_below(32) * 8);
	case 2:
		return (uint16_t)(4096 - 8 * fuzz_below(48));
	default:
		return (uint16_t)fuzz_below(4096);
	}
}

static struct hit random_hit(void)
{
	static const uint8_t kinds[] = {
		PART_SUPER, PART_CKPT,	 PART_ROOT,  PART_GROUP,    PART_BITMAP, PART_INTENT,
		PART_INODE, PART_INODE,	 PART_INODE, PART_CLUSTER,  PART_NODE,	 PART_NODE,
		PART_NODE,  PART_RECORD, PART_DATA,  PART_VOLATILE,
	};
	struct hit h = {
		.kind = kinds[fuzz_below(sizeof kinds)],
		.action = (uint8_t)fuzz_below(ACTIONS),
		.which = (uint16_t)fuzz_below(1000),
		.at = random_place(),
		.arg = (uint16_t)(fuzz_below(2) ? fuzz_below(40) : fuzz_below(65536)),
		.value = fuzz_below(3) ? fuzz_below(300) : fuzz_below(UINT64_MAX),
	};

	return h;
}

static size_t insert(uint8_t *data, size_t size, size_t max, size_t at, const void *what,
		     size_t len)
{
	if (size + len > max || at > size)
		return size;
	memmove(data + at + len, data + at, size - at);
	memcpy(data + at, what, len);
	return size + len;
}

static size_t mutate_hits(uint8_t *data, size_t size, size_t max)
{
	unsigned hits = data[2] % (HITS_MAX + 1), i;
	struct hit h = random_hit(), *old;

	if (hits > (size - HEAD_BYTES) / 16)
		hits = (unsigned)((size - HEAD_BYTES) / 16);
	i = (unsigned)fuzz_below(hits + 1);
	if ((hits == 0 || fuzz_below(3) == 0) && hits < HITS_MAX && size + 16 <= max) {
		data[2] = (uint8_t)(hits + 1);
		return insert(data, size, max, HEAD_BYTES + i * 16, &h, sizeof h);
	}
	if (hits == 0)
		return size;
	i %= hits;
	if (hits > 1 && fuzz_below(4) == 0) {
		data[2] = (uint8_t)(hits - 1);
		memmove(data + HEAD_BYTES + i * 16, data + HEAD_BYTES + (i + 1) * 16,
			size - HEAD_BYTES - (i + 1) * 16);
		return size - 16;
	}
	old = &(struct hit){0};
	memcpy(old, data + HEAD_BYTES + i * 16, 16);
	switch (fuzz_below(6)) {
	case 0:
		old->at = h.at;
		break;
	case 1:
		old->value = h.value;
		break;
	case 2:
		old->which = h.which;
		old->arg = h.arg;
		break;
	case 3:
		old->action = h.action;
		break;
	case 4:
		old->at = (uint16_t)(old->at + (fuzz_below(2) ? 8 : -8));
		break;
	default:
		*old = h;
		break;
	}
	memcpy(data + HEAD_BYTES + i * 16, old, 16);
	return size;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed)
{
	uint8_t step[STEP_BYTES];
	size_t at;

	fuzz_seed(seed);
	if (max < 64)
		return LLVMFuzzerMutate(data, size, max);
	if (size < HEAD_BYTES) {
		memset(data, 0, HEAD_BYTES);
		size = HEAD_BYTES;
		data[0] = (uint8_t)fuzz_below(IMAGES);
	}
	switch (fuzz_below(8)) {
	case 0:
		return LLVMFuzzerMutate(data, size, max);
	case 1:
		data[fuzz_below(2)] = (uint8_t)fuzz_below(16);
		return size;
	case 2:
	case 3:
		for (unsigned i = 0; i < STEP_BYTES; i++)
			step[i] = (uint8_t)fuzz_below(256);
		at = HEAD_BYTES + data[2] % (HITS_MAX + 1) * 16u;
		if (at > size)
			at = size;
		return insert(data, size, max,
			      at + fuzz_below((size - at) / STEP_BYTES + 1) * STEP_BYTES, step,
			      STEP_BYTES);
	default:
		return mutate_hits(data, size, max);
	}
}
