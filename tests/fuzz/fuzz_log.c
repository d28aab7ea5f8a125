/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * fuzz_log.c - recovery: rings, checkpoint slots and unfinished operations that somebody else wrote.
 *
 * Input:	byte 0	which image
 *		byte 1	1: checksums are right; 2: begin with fsck; 4: abandon instead of closing;
 *			8: changes take many steps
 *		byte 2	how many things follow
 *		then	things of 16 bytes (struct thing), each record with its entries (struct entry)
 *			behind it; and steps of work to the end (exercise.c)
 *
 * Records are put one behind the other from the tail that the newest slot names, or from the end of
 * the chain that is there, with the nonce of that slot: recovery takes them for what was
 * acknowledged. Nothing says that what they bring makes sense.
 */
#include "exercise.h"
#include "fuzz.h"
#include "image.h"

#include <stdlib.h>

#include "fs/env.h"

#define MEND	    1u
#define CHECK_FIRST 2u
#define ABANDON	    4u
#define IN_STEPS    8u
#define HEAD_BYTES  3u
#define THINGS_MAX  24u
#define RECORD_MAX  16384u

const char *const fuzz_name = "log";

enum what { A_RECORD, A_RECORD_TOO, A_PAD, RAW_BYTES, A_SLOT, AN_INTENT, WHATS };

struct thing {
	uint8_t what;
	uint8_t lane;
	uint8_t flags; /* WRONG_*, BEHIND */
	uint8_t entries;
	uint16_t seq; /* above C */
	uint16_t at;  /* RAW_BYTES: where, A_SLOT and AN_INTENT: which word */
	uint64_t value;
};
_Static_assert(sizeof(struct thing) == 16, "things lie one after the other");
#define WRONG_NONCE 1u
#define WRONG_CRC   2u
#define WRONG_POS   4u
#define WRONG_LANE  8u
#define WRONG_LEN   16u
#define BEHIND	    32u /* the chain that is there */
#define OLD_SEQ	    64u

struct entry {
	uint8_t op, kind;
	uint8_t part; /* kind of the part it names; PART_KINDS and up: an absolute offset */
	uint8_t style;
	uint16_t which, at;
	uint32_t len;
	uint32_t value;
};
_Static_assert(sizeof(struct entry) == 16, "entries lie one after the other");

struct ring {
	struct image *im;
	const struct adit_ckpt_pm *slot;
	uint32_t lanes;
	uint64_t start, bytes;
	uint64_t pos[2]; /* where the next record of each lane goes */
	bool mend;
};

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc, (void)argv;
	images_make();
	return 0;
}

/* ---- writing what recovery reads --------------------------------------------------------- */

static const struct adit_ckpt_pm *newest_slot(const struct image *im)
{
	const struct adit_ckpt_pm *k =
		(const void *)(im->pool + get64(im->super.ckpt_start) * ADIT_BLOCK);

	/* An image's own slots are whole. */
	return get64(k[1].generation) > get64(k[0].generation) ? &k[1] : &k[0];
}

static void ring_init(struct ring *r, struct image *im, bool mend)
{
	r->im = im;
	r->mend = mend;
	r->slot = newest_slot(im);
	r->lanes = get32(im->super.lanes);
	r->start = get64(im->super.lane_start) * ADIT_BLOCK;
	r->bytes = (uint64_t)get32(im->super.lane_blocks) * ADIT_BLOCK;
	for (uint32_t i = 0; i < r->lanes && i < 2; i++)
		r->pos[i] = get64(r->slot->tail[i]);
}

static uint8_t *ring_at(const struct ring *r, uint32_t lane, uint64_t pos)
{
	return r->im->pool + r->start + lane * r->bytes + pos % r->bytes;
}

/* Behind what is there already. */
static void skip_chain(struct ring *r, uint32_t lane)
{
	for (;;) {
		const struct adit_record_pm *k = (const void *)ring_at(r, lane, r->pos[lane]);

		if (get32(k->magic) != ADIT_MAGIC_RECORD || get64(k->pos) != r->pos[lane] ||
		    get32(k->len) < sizeof *k)
			return;
		r->pos[lane] = (r->pos[lane] + get32(k->len) + 63) & ~63ull;
	}
}

static uint64_t place_of(const struct ring *r, const struct entry *e)
{
	const struct image *im = r->im;
	uint32_t n;
	const struct part *p;

	if (e->part >= PART_KINDS)
		return (uint64_t)e->at << (e->which % 56);
	n = im->first[e->part + 1] - im->first[e->part];
	if (n == 0)
		return e->at;
	p = &im->part[im->first[e->part] + e->which % n];
	if (e->op == ADIT_OP_ALLOC || e->op == ADIT_OP_FREE)
		return p->offset / ADIT_BLOCK + e->at % 8;
	return p->offset + (e->style & 128 ? e->at : e->at & ~7u) % p->bytes;
}

/* What the entry stores: what is there already with one word changed, or something else. */
static void payload(const struct ring *r, const struct entry *e, uint64_t where, uint8_t *to,
		    uint32_t len)
{
	uint64_t word = e->value;

	memset(to, (int)e->value, len);
	if (e->style & 1 && where < IMAGE_BYTES && len <= IMAGE_BYTES - where)
		memcpy(to, r->im->pool + where, len);
	if (e->style & 2)
		word = image_limit(r->im, e->value);
	if (e->style & 4 && r->im->parts)
		word = r->im->part[e->value % r->im->parts].offset / ADIT_BLOCK;
	if (len >= 8 && !(e->style & 8))
		memcpy(to + (e->style >> 4 & 7) * 8 % (len & ~7u), &word, 8);
}

static size_t put_entry(const struct ring *r, const struct entry *e, uint8_t *to, size_t room)
{
	uint64_t where = place_of(r, e);
	bool write = e->op == ADIT_OP_WRITE;
	uint32_t len = write ? e->len % 1024 : e->len;
	struct adit_entry_pm out = {.where = put64(where), .op = e->op, .kind = e->kind};

	if (e->op >= ADIT_OP_ALLOC && e->style & 1)
		len %= 16;
	else if (!(e->style & 128))
		len &= ~7u;
	out.len = put32(len);
	if (room < sizeof out + (write ? len : 0))
		return 0;
	memcpy(to, &out, sizeof out);
	if (write)
		payload(r, e, where, to + sizeof out, len);
	return sizeof out + (write ? len : 0);
}

/* As an engine would write it, but for what the thing wants to be wrong. */
static void fill_header(const struct ring *r, const struct thing *t, struct adit_record_pm *h,
			uint32_t lane, uint64_t pos, size_t len)
{
	uint64_t left = r->bytes - pos % r->bytes;
	const uint8_t *buf = (const uint8_t *)h;

	*h = (struct adit_record_pm){
		.magic = put32(ADIT_MAGIC_RECORD),
		.seq = put64(t->what == A_PAD ? 0 : get64(r->slot->c) + 1 + t->seq),
		.pos = put64(pos),
		.len = put32((uint32_t)(t->what == A_PAD ? left : len)),
		.lane = put16((uint16_t)lane),
		.flags = put16(t->what == A_PAD ? ADIT_RECORD_PAD : 0),
		.free_blocks = put32((uint32_t)t->value),
		.used_inodes = put32((uint32_t)(t->value >> 32)),
		.nonce = r->slot->nonce,
	};
	if (t->flags & WRONG_NONCE)
		h->nonce = put64(t->value);
	if (t->flags & WRONG_POS)
		h->pos = put64(t->value);
	if (t->flags & WRONG_LANE)
		h->lane = put16((uint16_t)t->value);
	if (t->flags & WRONG_LEN)
		h->len = put32((uint32_t)t->value);
	if (t->flags & OLD_SEQ)
		h->seq = put64(get64(r->slot->c) - t->seq);
	if (t->what != A_PAD && get32(h->len) >= sizeof *h && get32(h->len) <= RECORD_MAX)
		h->crc = put32(adit__crc32c(get16(h->lane), buf + 4, get32(h->len) - 4));
	else
		h->crc = put32(adit__crc32c(get16(h->lane), buf + 4, sizeof *h - 4));
	if (t->flags & WRONG_CRC || !r->mend)
		h->crc = put32(get32(h->crc) ^ (uint32_t)t->value);
}

static void put_record(struct ring *r, const struct thing *t, const uint8_t *entries)
{
	static _Alignas(8) uint8_t buf[RECORD_MAX];
	struct adit_record_pm *h = (struct adit_record_pm *)buf;
	uint32_t lane = t->lane % r->lanes;
	size_t len = sizeof *h;
	uint64_t pos, left;

	if (t->flags & BEHIND)
		skip_chain(r, lane);
	pos = r->pos[lane];
	left = r->bytes - pos % r->bytes;
	for (unsigned i = 0; t->what != A_PAD && i < t->entries; i++) {
		struct entry e;

		memcpy(&e, entries + i * sizeof e, sizeof e);
		len += put_entry(r, &e, buf + len, sizeof buf - len);
	}
	if (t->what == A_PAD)
		len = sizeof *h;
	if (len > left)
		return;
	fill_header(r, t, h, lane, pos, len);
	memcpy(ring_at(r, lane, pos), buf, len);
	r->pos[lane] = (pos + get32(h->len) + 63) & ~63ull;
	if (t->flags & WRONG_LEN)
		r->pos[lane] = (pos + len + 63) & ~63ull;
}

static void put_word(struct image *im, enum part_kind kind, const struct thing *t, unsigned words,
		     bool mend)
{
	uint32_t n = im->first[kind + 1] - im->first[kind];
	const struct part *p = &im->part[im->first[kind] + t->lane % n];
	uint64_t value = t->flags & 1 ? image_limit(im, t->value) : t->value;

	if (t->flags & 2)
		memcpy(&value, im->pool + p->offset + t->at % words * 8, 8), value += t->value;
	memcpy(im->pool + p->offset + t->at % words * 8, &value, 8);
	if (mend)
		image_mend(im, p);
}

/* An intent that names an inode which is there, so that something happens. */
static void put_intent(struct image *im, const struct thing *t)
{
	uint32_t n = im->first[PART_INODE + 1] - im->first[PART_INODE];
	const struct part *to = &im->part[im->first[PART_INTENT]];
	uint8_t *slot = im->pool + to->offset;
	struct adit_intent_pm in;
	struct adit_inode_pm ip;

	if (!(t->flags & 4) || n == 0) {
		put_word(im, PART_INTENT, t, 8, false);
		return;
	}
	memcpy(&ip, im->pool + im->part[im->first[PART_INODE] + t->at % n].offset, sizeof ip);
	memcpy(&in, slot, sizeof in);
	in.type = put32(t->entries % 8);
	in.ino = ip.ino;
	in.generation = ip.generation;
	in.a = put64(t->value % 1000);
	in.b = put64(t->value >> 10 & 0x3ff);
	in.c = put64(t->value >> 20 & 0x3ff);
	if (t->value >> 63)
		in.b = put64(get64(ip.size) / ADIT_BLOCK + (t->value >> 50 & 3));
	if (t->value >> 62 & 1)
		in.c = put64(image_limit(im, t->value >> 40));
	in.d = put64(t->value >> 30);
	memcpy(slot, &in, sizeof in);
}

/* Returns where the steps begin. */
static const uint8_t *damage(struct image *im, const uint8_t *at, const uint8_t *end,
			     unsigned things, bool mend)
{
	struct ring r = {0};
	struct thing t;

	ring_init(&r, im, mend);
	for (; things > 0 && (size_t)(end - at) >= sizeof t; things--) {
		memcpy(&t, at, sizeof t);
		at += sizeof t;
		t.what %= WHATS;
		if (t.entries > (size_t)(end - at) / sizeof(struct entry))
			t.entries = (uint8_t)((size_t)(end - at) / sizeof(struct entry));
		t.entries %= 32;
		switch (t.what) {
		case A_RECORD:
		case A_RECORD_TOO:
		case A_PAD:
			put_record(&r, &t, at);
			if (t.what != A_PAD)
				at += t.entries * sizeof(struct entry);
			break;
		case RAW_BYTES:
			memcpy(ring_at(&r, t.lane % r.lanes, (uint64_t)t.at * 8), &t.value, 8);
			break;
		case A_SLOT:
			put_word(im, PART_CKPT, &t, 10, mend);
			break;
		default:
			put_intent(im, &t);
			break;
		}
	}
	return at;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *end = data + size, *steps;
	unsigned flags, things;
	struct image *im;
	struct subject s;

	if (size < HEAD_BYTES)
		return 0;
	im = &images[data[0] % IMAGES];
	flags = data[1];
	things = data[2] % (THINGS_MAX + 1);
	data += HEAD_BYTES;
	subject_attach(&s, im->pool, IMAGE_BYTES);
	s.quiet = true;
	subject_now = 1000000;
	subject_random = 1;
	exercise_in_steps(flags & IN_STEPS);
	steps = damage(im, data, end, things, flags & MEND);
	fuzz_count("records and words", things);
	if (flags & CHECK_FIRST) {
		exercise_check(&s);
		image_restore(im);
		(void)damage(im, data, end, things, flags & MEND);
	} else {
		bool opened = exercise(&s, NULL, 0, flags & ABANDON, steps, (size_t)(end - steps));

		fuzz_count(opened ? "opened" : "refused", 1);
	}
	if (exercise_repair(&s, steps, (size_t)(end - steps)))
		fuzz_count("repaired", 1);
	image_restore(im);
	return 0;
}

/* ---- inputs ---------------------------------------------------------------------------- */

static struct thing random_thing(void)
{
	struct thing t = {
		.what = (uint8_t)fuzz_below(WHATS),
		.lane = (uint8_t)fuzz_below(2),
		.entries = (uint8_t)fuzz_below(5),
		.seq = (uint16_t)(fuzz_below(8) ? fuzz_below(12) : fuzz_below(65536)),
		.at = (uint16_t)(fuzz_below(2) ? fuzz_below(64) : fuzz_below(65536)),
		.value = fuzz_below(2)	 ? 0
			 : fuzz_below(2) ? fuzz_below(64)
					 : fuzz_below(UINT64_MAX),
	};

	if (t.what == AN_INTENT || t.what == A_SLOT)
		t.flags = (uint8_t)fuzz_below(8);
	else if (fuzz_below(4) == 0)
		t.flags = (uint8_t)(1u << fuzz_below(7));
	return t;
}

static struct entry random_entry(void)
{
	static const uint8_t parts[] = {PART_INODE,    PART_INODE,  PART_NODE,	PART_NODE,
					PART_CLUSTER,  PART_ROOT,   PART_DATA,	PART_BITMAP,
					PART_GROUP,    PART_INTENT, PART_SUPER, PART_CKPT,
					PART_VOLATILE, PART_RECORD, PART_KINDS};
	static const uint8_t kinds[] = {
		[PART_INODE] = ADIT_KIND_INODE,	  [PART_NODE] = ADIT_KIND_NODE,
		[PART_CLUSTER] = ADIT_KIND_INODE, [PART_ROOT] = ADIT_KIND_ROOT,
		[PART_DATA] = ADIT_KIND_DATA,	  [PART_BITMAP] = ADIT_KIND_BITMAP,
		[PART_INTENT] = ADIT_KIND_INTENT, [PART_KINDS] = 0};
	struct entry e = {
		.op = (uint8_t)(fuzz_below(3) ? 1 : fuzz_below(6)),
		.part = parts[fuzz_below(sizeof parts)],
		.style = (uint8_t)(fuzz_below(2) ? 1 | fuzz_below(8) << 4 : fuzz_below(256)),
		.which = (uint16_t)fuzz_below(1000),
		.at = (uint16_t)(fuzz_below(2) ? fuzz_below(32) * 8 : fuzz_below(4096)),
		.len = (uint32_t)(fuzz_below(4) ? 8 * (1 + fuzz_below(8)) : fuzz_below(UINT64_MAX)),
		.value = (uint32_t)(fuzz_below(2) ? fuzz_below(300) : fuzz_below(UINT64_MAX)),
	};

	e.kind = fuzz_below(6) ? kinds[e.part] : (uint8_t)fuzz_below(8);
	return e;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed)
{
	uint8_t what[16 + 4 * sizeof(struct entry)], step[STEP_BYTES];
	struct thing t;
	size_t len = sizeof t, at;

	fuzz_seed(seed);
	if (max < 256 || fuzz_below(3) == 0)
		return LLVMFuzzerMutate(data, size, max);
	if (size < HEAD_BYTES) {
		memset(data, 0, HEAD_BYTES);
		size = HEAD_BYTES;
		data[0] = (uint8_t)fuzz_below(IMAGES);
		data[1] = MEND;
	}
	if (fuzz_below(6) == 0) {
		data[fuzz_below(2)] = (uint8_t)fuzz_below(16);
		return size;
	}
	if (fuzz_below(4) == 0) {
		for (unsigned i = 0; i < STEP_BYTES; i++)
			step[i] = (uint8_t)fuzz_below(256);
		if (size + STEP_BYTES > max)
			return size;
		memcpy(data + size, step, STEP_BYTES);
		return size + STEP_BYTES;
	}
	/* A thing with its entries, in front of all others. */
	t = random_thing();
	memcpy(what, &t, sizeof t);
	for (unsigned i = 0; t.what <= A_RECORD_TOO && i < t.entries; i++) {
		struct entry e = random_entry();

		memcpy(what + len, &e, sizeof e);
		len += sizeof e;
	}
	at = HEAD_BYTES;
	if (size + len > max)
		return LLVMFuzzerMutate(data, size, max);
	memmove(data + at + len, data + at, size - at);
	memcpy(data + at, what, len);
	data[2] = (uint8_t)(data[2] % (THINGS_MAX + 1) + 1);
	if (data[2] > THINGS_MAX)
		data[2] = THINGS_MAX;
	return size + len;
}
