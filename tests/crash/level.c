/* SPDX-License-Identifier: BSD-3-Clause */
/* level.c - see level.h. */
#include "level.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* Not for the children that kill.c makes: forking is faster without. */
static uint8_t *room_for(uint64_t bytes)
{
	uint8_t *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED || madvise(p, bytes, MADV_DONTFORK))
		abort();
	return p;
}

static uint64_t pages_of(const struct level *l)
{
	return l->memory.bytes / MEMORY_PAGE;
}

void level_init(struct level *l, struct explorer *x, unsigned depth, uint64_t bytes)
{
	memset(l, 0, sizeof *l);
	l->x = x;
	l->depth = depth;
	memory_init(&l->memory, bytes);
	l->work = room_for(bytes);
	l->live = room_for(bytes);
	l->hashed = calloc(bytes / LINE_BYTES, sizeof *l->hashed);
	l->stale = calloc(pages_of(l) / 64 + 1, sizeof *l->stale);
	if (l->hashed == NULL || l->stale == NULL)
		abort();
}

void level_finish(struct level *l)
{
	munmap(l->work, l->memory.bytes);
	munmap(l->live, l->memory.bytes);
	memory_finish(&l->memory);
	free(l->touched);
	free(l->hashed);
	free(l->stale);
}

/* ---- which pages differ from the base ------------------------------------------------------- */

void level_stale(struct level *l, uint64_t offset, uint64_t len)
{
	for (uint64_t p = offset / MEMORY_PAGE; l && len && p <= (offset + len - 1) / MEMORY_PAGE;
	     p++)
		l->stale[p / 64] |= 1ull << p % 64;
}

void level_forget(struct level *l)
{
	l->base = NULL;
}

void level_reset(struct level *l, const uint8_t *base, const struct area *areas)
{
	if (l->base != base)
		memset(l->stale, 0xff, (pages_of(l) / 64 + 1) * sizeof *l->stale);
	for (unsigned i = 0; i < VOLATILE_AREAS; i++)
		level_stale(l, areas[i].offset, areas[i].end - areas[i].offset);
	l->base = base;
	memory_forget(&l->memory);
	for (uint64_t word = 0; word < (pages_of(l) + 63) / 64; word++) {
		uint64_t bits = l->stale[word];

		l->stale[word] = 0;
		for (; bits; bits &= bits - 1) {
			uint64_t page = word * 64 + (unsigned)__builtin_ctzll(bits);
			const uint8_t *from = base + page * MEMORY_PAGE;

			if (page >= pages_of(l))
				break;
			memory_page(&l->memory, page, from);
			memcpy(l->live + page * MEMORY_PAGE, from, MEMORY_PAGE);
			memcpy(l->work + page * MEMORY_PAGE, from, MEMORY_PAGE);
			level_stale(l->above, page * MEMORY_PAGE, 1);
		}
	}
	l->touches = 0;
	l->point = 0;
}

/* ---- the live pool ---------------------------------------------------------------------------- */

void level_store(struct level *l, uint64_t offset, const uint8_t *bytes, uint64_t len, bool nt)
{
	level_stale(l, offset, len);
	memory_store(&l->memory, offset, bytes, len, nt);
}

static void merged(void *arg, uint32_t line)
{
	struct level *l = arg;
	uint64_t at = (uint64_t)line * LINE_BYTES;

	memcpy(l->work + at, l->memory.durable + at, LINE_BYTES);
	level_stale(l->above, at, 1);
}

void level_fence(struct level *l)
{
	memory_fence(&l->memory, merged, l);
}

void level_patch(struct level *l, uint64_t offset, uint64_t len)
{
	level_stale(l, offset, len);
	level_stale(l->above, offset, len);
	memory_patch(&l->memory, offset, l->live + offset, len);
	memcpy(l->work + offset, l->live + offset, len);
}

/* ---- images ------------------------------------------------------------------------------------ */

void level_touch(struct level *l, uint64_t offset, uint64_t len)
{
	if (l->touches == l->touch_room) {
		l->touch_room = l->touch_room ? 2 * l->touch_room : 4096;
		l->touched = realloc(l->touched, l->touch_room * sizeof *l->touched);
		if (l->touched == NULL)
			abort();
	}
	l->touched[l->touches++] = (struct range){offset, len};
}

void level_put_line(void *level, uint32_t line, const uint8_t *contents)
{
	struct level *l = level;

	/* Each line once an image: what stands there is `durable`. */
	l->image_hash -= memory_durable_hash(&l->memory, line);
	l->image_hash += memory_line_hash(line, contents);
	memcpy(l->work + (uint64_t)line * LINE_BYTES, contents, LINE_BYTES);
	level_touch(l, (uint64_t)line * LINE_BYTES, LINE_BYTES);
}

void level_put_back(struct level *l, const struct area *areas)
{
	for (size_t i = 0; i < l->touches; i++)
		memcpy(l->work + l->touched[i].offset, l->memory.durable + l->touched[i].offset,
		       l->touched[i].len);
	l->touches = 0;
	for (unsigned i = 0; i < VOLATILE_AREAS; i++)
		memcpy(l->work + areas[i].offset, l->memory.durable + areas[i].offset,
		       areas[i].end - areas[i].offset);
}

/* From what was touched. */
uint64_t level_hash(struct level *l)
{
	uint64_t h = l->memory.hash;

	l->round++;
	for (size_t i = 0; i < l->touches; i++) {
		uint64_t line = l->touched[i].offset / LINE_BYTES;
		uint64_t last = (l->touched[i].offset + l->touched[i].len - 1) / LINE_BYTES;

		for (; line <= last; line++) {
			const uint8_t *at = l->work + line * LINE_BYTES;

			if (l->hashed[line] == l->round)
				continue;
			l->hashed[line] = l->round;
			if (memcmp(at, l->memory.durable + line * LINE_BYTES, LINE_BYTES) == 0)
				continue;
			h -= memory_durable_hash(&l->memory, (uint32_t)line);
			h += memory_line_hash((uint32_t)line, at);
		}
	}
	return h;
}

void level_raise(struct level *l, const struct area *areas)
{
	struct level *up = l->above;

	level_reset(up, l->memory.durable, areas);
	for (size_t i = 0; i < l->touches; i++) {
		uint64_t first = l->touched[i].offset / LINE_BYTES * LINE_BYTES;
		uint64_t end = l->touched[i].offset + l->touched[i].len;

		for (; first < end; first += LINE_BYTES) {
			memcpy(up->live + first, l->work + first, LINE_BYTES);
			level_patch(up, first, LINE_BYTES);
		}
	}
	up->memory.hash = l->image_hash;
}
