/* SPDX-License-Identifier: BSD-3-Clause */
/* memory.c - see memory.h. */
#include "memory.h"

#include <stdlib.h>
#include <string.h>

static void *must(void *p)
{
	if (p == NULL)
		abort();
	return p;
}

void memory_init(struct memory *m, uint64_t bytes)
{
	uint64_t lines = bytes / LINE_BYTES;

	memset(m, 0, sizeof *m);
	m->bytes = bytes;
	m->durable = must(calloc(1, bytes));
	m->line = must(calloc(lines, sizeof *m->line));
	m->active = must(calloc(lines, sizeof *m->active));
	m->flushed = must(calloc(lines, sizeof *m->flushed));
	m->free = NO_PIECE;
	for (uint64_t i = 0; i < lines; i++)
		m->line[i].first = m->line[i].last = NO_PIECE;
}

void memory_finish(struct memory *m)
{
	free(m->durable);
	free(m->line);
	free(m->piece);
	free(m->active);
	free(m->flushed);
	memset(m, 0, sizeof *m);
}

uint64_t memory_line_hash(uint32_t line, const uint8_t *contents)
{
	uint64_t h = (line + 1) * 0x9e3779b97f4a7c15ull;

	for (unsigned i = 0; i < LINE_BYTES; i += 8) {
		uint64_t w;

		memcpy(&w, contents + i, 8);
		h = (h ^ w) * 0xbf58476d1ce4e5b9ull;
		h ^= h >> 29;
	}
	return h * 0x94d049bb133111ebull ^ h >> 32;
}

void memory_reset(struct memory *m, const uint8_t *image)
{
	memcpy(m->durable, image, m->bytes);
	for (uint32_t i = 0; i < m->actives; i++) {
		struct line *l = &m->line[m->active[i]];

		memset(l, 0, sizeof *l);
		l->first = l->last = NO_PIECE;
	}
	m->actives = m->flusheds = 0;
	m->pieces = 0;
	m->free = NO_PIECE;
	m->hash = 0;
}

/* ---- stores ------------------------------------------------------------------------- */

static uint32_t piece_new(struct memory *m)
{
	uint32_t i = m->free;

	if (i != NO_PIECE) {
		m->free = m->piece[i].next;
		return i;
	}
	if (m->pieces == m->room) {
		m->room = m->room ? 2 * m->room : 65536;
		m->piece = must(realloc(m->piece, m->room * sizeof *m->piece));
	}
	return m->pieces++;
}

static void append(struct memory *m, uint32_t line, unsigned at, const uint8_t *bytes, unsigned len,
		   bool nt)
{
	struct line *l = &m->line[line];
	uint32_t i = piece_new(m);
	struct piece *p = &m->piece[i];

	p->next = NO_PIECE;
	p->at = (uint8_t)at;
	p->len = (uint8_t)len;
	p->nt = nt;
	memcpy(p->bytes, bytes, len);
	if (l->pending == 0) {
		l->first = i;
		l->all_nt = true;
	} else {
		m->piece[l->last].next = i;
	}
	l->last = i;
	l->pending++;
	l->all_nt &= nt;
	l->stamp = m->stamp;
	if (!l->active)
		m->active[m->actives++] = line;
	l->active = true;
}

static void mark(struct memory *m, uint32_t line)
{
	struct line *l = &m->line[line];

	if (l->pending == 0)
		return;
	l->marked = l->pending;
	if (!l->flushed)
		m->flushed[m->flusheds++] = line;
	l->flushed = true;
}

void memory_store(struct memory *m, uint64_t offset, const uint8_t *bytes, uint64_t len, bool nt)
{
	uint64_t end = offset + len;

	while (offset < end) {
		uint64_t now = 8 - offset % 8 < end - offset ? 8 - offset % 8 : end - offset;
		uint32_t line = (uint32_t)(offset / LINE_BYTES);

		/* A word is never torn; what is less goes byte by byte. */
		if (now < 8)
			now = 1;
		append(m, line, offset % LINE_BYTES, bytes, (unsigned)now, nt);
		offset += now;
		bytes += now;
		if (nt && (offset % LINE_BYTES == 0 || offset == end))
			mark(m, line);
	}
}

void memory_flush(struct memory *m, uint64_t offset, uint64_t len)
{
	if (len == 0)
		return;
	for (uint64_t l = offset / LINE_BYTES; l <= (offset + len - 1) / LINE_BYTES; l++)
		mark(m, (uint32_t)l);
}

static void merge(struct memory *m, uint32_t line)
{
	struct line *l = &m->line[line];
	uint8_t *at = m->durable + (uint64_t)line * LINE_BYTES;

	m->hash -= memory_line_hash(line, at);
	while (l->marked > 0) {
		uint32_t i = l->first;
		struct piece *p = &m->piece[i];

		memcpy(at + p->at, p->bytes, p->len);
		l->first = p->next;
		p->next = m->free;
		m->free = i;
		l->marked--;
		l->pending--;
	}
	if (l->pending == 0)
		l->last = NO_PIECE;
	m->hash += memory_line_hash(line, at);
}

void memory_fence(struct memory *m, void (*merged)(void *, uint32_t line), void *arg)
{
	uint32_t kept = 0;

	for (uint32_t i = 0; i < m->flusheds; i++) {
		merge(m, m->flushed[i]);
		m->line[m->flushed[i]].flushed = false;
		if (merged)
			merged(arg, m->flushed[i]);
	}
	m->flusheds = 0;
	for (uint32_t i = 0; i < m->actives; i++) {
		if (m->line[m->active[i]].pending)
			m->active[kept++] = m->active[i];
		else
			m->line[m->active[i]].active = false;
	}
	m->actives = kept;
}

void memory_patch(struct memory *m, uint64_t offset, const void *bytes, uint64_t len)
{
	memcpy(m->durable + offset, bytes, len);
}

/* ---- what a line may hold -------------------------------------------------------------- */

void memory_line_prefix(const struct memory *m, uint32_t line, uint32_t n, uint8_t out[LINE_BYTES])
{
	memcpy(out, m->durable + (uint64_t)line * LINE_BYTES, LINE_BYTES);
	for (uint32_t i = m->line[line].first; n > 0; n--, i = m->piece[i].next)
		memcpy(out + m->piece[i].at, m->piece[i].bytes, m->piece[i].len);
}

void memory_line_subset(const struct memory *m, uint32_t line, uint64_t mask,
			uint8_t out[LINE_BYTES])
{
	memcpy(out, m->durable + (uint64_t)line * LINE_BYTES, LINE_BYTES);
	for (uint32_t i = m->line[line].first; i != NO_PIECE; i = m->piece[i].next, mask >>= 1)
		if (mask & 1)
			memcpy(out + m->piece[i].at, m->piece[i].bytes, m->piece[i].len);
}
