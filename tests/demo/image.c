/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * image.c - see image.h. For each line that has stores which no fence has covered yet, their list.
 */
#include "image.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ops.h"

#define LINE 64u
#define NONE UINT32_MAX

struct pending {       /* one store to one 8-byte word */
	uint32_t next; /* of the same line, younger */
	uint8_t word;  /* 0..7 */
	uint8_t mask;  /* bytes of the word that are stored */
	bool flushed;
	bool past_cache;
	uint8_t value[8];
};

struct line {
	uint32_t first, last; /* NONE: nothing is pending */
	bool listed;	      /* in `dirty` */
};

struct image {
	uint8_t *durable;
	uint64_t bytes;
	struct line *lines;
	uint32_t *dirty; /* numbers of lines with something pending, and some that had */
	size_t dirty_count;
	struct pending *pool;
	uint32_t used, room, free;
};

static void *checked(void *p)
{
	if (p == NULL) {
		fputs("out of memory\n", stderr);
		exit(2);
	}
	return p;
}

struct image *image_create(const uint8_t *base, uint64_t bytes)
{
	struct image *image = checked(calloc(1, sizeof *image));
	uint64_t count = bytes / LINE;

	image->bytes = bytes;
	image->durable = checked(malloc(bytes));
	memcpy(image->durable, base, bytes);
	image->lines = checked(malloc(count * sizeof *image->lines));
	for (uint64_t i = 0; i < count; i++)
		image->lines[i] = (struct line){NONE, NONE, false};
	image->dirty = checked(malloc(count * sizeof *image->dirty));
	image->free = NONE;
	return image;
}

void image_destroy(struct image *image)
{
	free(image->durable);
	free(image->lines);
	free(image->dirty);
	free(image->pool);
	free(image);
}

static uint32_t take(struct image *image)
{
	uint32_t at = image->free;

	if (at != NONE) {
		image->free = image->pool[at].next;
		return at;
	}
	if (image->used == image->room) {
		image->room = image->room == 0 ? 4096 : image->room * 2;
		image->pool = checked(realloc(image->pool, image->room * sizeof *image->pool));
	}
	return image->used++;
}

/* Stores to at most one word. */
static void add_word(struct image *image, uint64_t offset, const uint8_t *bytes, unsigned count,
		     bool past_cache)
{
	struct line *line = &image->lines[offset / LINE];
	uint32_t at = take(image);
	struct pending *p = &image->pool[at];
	unsigned first = offset % 8;

	*p = (struct pending){
		.next = NONE,
		.word = (uint8_t)(offset % LINE / 8),
		.flushed = past_cache,
		.past_cache = past_cache,
	};
	for (unsigned i = 0; i < count; i++) {
		p->value[first + i] = bytes[i];
		p->mask |= (uint8_t)(1u << (first + i));
	}
	if (line->first == NONE)
		line->first = at;
	else
		image->pool[line->last].next = at;
	line->last = at;
	if (!line->listed) {
		line->listed = true;
		image->dirty[image->dirty_count++] = (uint32_t)(offset / LINE);
	}
}

static void add_store(struct image *image, const struct adit_event *e)
{
	uint64_t offset = e->offset, left = e->len_bytes;
	const uint8_t *bytes = e->bytes;

	while (left > 0 && offset < image->bytes) {
		unsigned n = 8 - offset % 8;

		if (n > left)
			n = (unsigned)left;
		add_word(image, offset, bytes, n, e->kind == ADIT_EVENT_NT);
		offset += n;
		bytes += n;
		left -= n;
	}
}

static void apply(uint8_t *line, const struct pending *p)
{
	for (unsigned i = 0; i < 8; i++) {
		if (p->mask & (1u << i))
			line[p->word * 8 + i] = p->value[i];
	}
}

static void flush(struct image *image, const struct adit_event *e)
{
	uint64_t line = e->offset / LINE, end = (e->offset + e->len_bytes + LINE - 1) / LINE;

	for (; line < end && line < image->bytes / LINE; line++) {
		for (uint32_t at = image->lines[line].first; at != NONE; at = image->pool[at].next)
			image->pool[at].flushed = true;
	}
}

/* What was flushed is durable, and so is what the same line got before it. */
static void settle_line(struct image *image, uint32_t number)
{
	struct line *line = &image->lines[number];
	uint32_t end = NONE; /* the last flushed one */

	for (uint32_t at = line->first; at != NONE; at = image->pool[at].next) {
		if (image->pool[at].flushed)
			end = at;
	}
	while (end != NONE) {
		uint32_t at = line->first;
		struct pending *p = &image->pool[at];

		apply(image->durable + (uint64_t)number * LINE, p);
		line->first = p->next;
		p->next = image->free;
		image->free = at;
		if (at == end)
			break;
	}
	if (line->first == NONE)
		line->last = NONE;
}

static void fence(struct image *image)
{
	size_t kept = 0;

	for (size_t i = 0; i < image->dirty_count; i++) {
		uint32_t number = image->dirty[i];

		settle_line(image, number);
		image->lines[number].listed = image->lines[number].first != NONE;
		if (image->lines[number].listed)
			image->dirty[kept++] = number;
	}
	image->dirty_count = kept;
}

void image_event(struct image *image, const struct adit_event *event)
{
	switch (event->kind) {
	case ADIT_EVENT_STORE:
	case ADIT_EVENT_NT:
		add_store(image, event);
		break;
	case ADIT_EVENT_FLUSH:
		flush(image, event);
		break;
	case ADIT_EVENT_FENCE:
		fence(image);
		break;
	case ADIT_EVENT_MARK:
		break;
	}
}

static void build_line(const struct image *image, uint8_t *to, const struct line *line,
		       enum image_chance chance, uint64_t *state)
{
	uint64_t count = 0, keep;

	for (uint32_t at = line->first; at != NONE; at = image->pool[at].next)
		count++;
	if (chance == IMAGE_EVERYTHING)
		keep = count;
	else if (chance == IMAGE_LINES)
		keep = random_next(state) % 2 ? count : 0;
	else if (chance == IMAGE_MOST_LINES)
		keep = random_next(state) % 8 ? count : 0;
	else
		keep = random_next(state) % (count + 1);
	for (uint32_t at = line->first; at != NONE; at = image->pool[at].next) {
		const struct pending *p = &image->pool[at];
		bool early = p->past_cache && chance == IMAGE_PREFIXES && (random_next(state) & 1);

		if (keep > 0 || early)
			apply(to, p);
		keep -= keep > 0;
	}
}

void image_build(struct image *image, uint8_t *to, enum image_chance chance, uint64_t *random_state)
{
	memcpy(to, image->durable, image->bytes);
	if (chance == IMAGE_NOTHING)
		return;
	for (size_t i = 0; i < image->dirty_count; i++) {
		uint32_t number = image->dirty[i];

		build_line(image, to + (uint64_t)number * LINE, &image->lines[number], chance,
			   random_state);
	}
}
