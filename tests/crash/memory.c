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
	m->hash_of = must(calloc(lines, sizeof *m->hash_of));
	for (unsigned i = 0; i < MEMORY_THREADS; i++)
		m->flushed[i] = must(calloc(lines, sizeof *m->flushed[i]));
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
	free(m->hash_of);
	for (unsigned i = 0; i < MEMORY_THREADS; i++)
		free(m->flushed[i]);
	memset(m, 0, sizeof *m);
}

/* Two words at a time, which do not wait for each other. */
static inline uint64_t fold(const uint8_t *p, uint64_t a, uint64_t b)
{
	__extension__ unsigned __int128 product;
	uint64_t w[2];

	memcpy(w, p, 16);
	product = (w[0] ^ a);
	product *= (w[1] ^ b);
	return (uint64_t)product ^ (uint64_t)(product >> 64);
}

uint64_t memory_line_hash(uint32_t line, const uint8_t *contents)
{
	uint64_t n = (line + 1) * 0x9e3779b97f4a7c15ull;
	uint64_t h = fold(contents, 0xa0761d6478bd642full ^ n, 0xe7037ed1a0b428dbull);

	h += 3 * fold(contents + 16, 0x8ebc6af09c88c6e3ull, 0x589965cc75374cc3ull ^ n);
	h ^= h >> 31;
	h += 5 * fold(contents + 32, 0x1d8e4e27c47d124full ^ n, 0x72b22b96e169b471ull);
	h += 7 * fold(contents + 48, 0xeb44accab455d165ull, 0xdb979083e96dd4deull ^ n);
	h = (h ^ n) * 0x94d049bb133111ebull;
	return (h ^ h >> 32) | 1;
}

void memory_forget(struct memory *m)
{
	for (uint32_t i = 0; i < m->actives; i++) {
		struct line *l = &m->line[m->active[i]];

		memset(l, 0, sizeof *l);
		l->first = l->last = NO_PIECE;
	}
	m->actives = 0;
	for (unsigned i = 0; i < MEMORY_THREADS; i++) {
		for (uint32_t k = 0; k < m->flusheds[i]; k++)
			m->line[m->flushed[i][k]].flushed = 0;
		m->flusheds[i] = 0;
	}
	m->thread = 0;
	m->pieces = 0;
	m->free = NO_PIECE;
	m->hash = 0;
}

void memory_reset(struct memory *m, const uint8_t *image)
{
	memory_forget(m);
	for (uint64_t page = 0; page < m->bytes / MEMORY_PAGE; page++)
		memory_page(m, page, image + page * MEMORY_PAGE);
}

void memory_page(struct memory *m, uint64_t page, const uint8_t *contents)
{
	const uint64_t lines = MEMORY_PAGE / LINE_BYTES;

	memcpy(m->durable + page * MEMORY_PAGE, contents, MEMORY_PAGE);
	memset(m->hash_of + page * lines, 0, lines * sizeof *m->hash_of);
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
	p->thread = (uint8_t)m->thread;
	memcpy(p->bytes, bytes, len);
	if (l->pending == 0) {
		l->first = i;
		l->all_nt = true;
		l->nt_by = 0;
	} else {
		m->piece[l->last].next = i;
	}
	l->last = i;
	l->pending++;
	l->all_nt &= nt;
	if (nt)
		l->nt_by |= (uint8_t)(1u << m->thread);
	l->stamp = m->stamp;
	if (!l->active)
		m->active[m->actives++] = line;
	l->active = true;
}

/* What a flush reaches: not the non-temporal stores that wait in other threads' buffers, nor what
 * came after them. */
static uint32_t reached(const struct memory *m, const struct line *l)
{
	uint32_t n = 0;

	if ((l->nt_by & ~(1u << m->thread)) == 0)
		return l->pending;
	for (uint32_t i = l->first; i != NO_PIECE; i = m->piece[i].next, n++)
		if (m->piece[i].nt && m->piece[i].thread != m->thread)
			break;
	return n;
}

static void mark(struct memory *m, uint32_t line)
{
	struct line *l = &m->line[line];
	uint32_t t = m->thread;

	if (l->pending == 0)
		return;
	l->marked[t] = reached(m, l);
	if (!(l->flushed >> t & 1))
		m->flushed[t][m->flusheds[t]++] = line;
	l->flushed |= (uint8_t)(1u << t);
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
	uint32_t n = l->marked[m->thread];

	if (n == 0)
		return;
	m->hash -= memory_durable_hash(m, line);
	for (unsigned t = 0; t < MEMORY_THREADS; t++)
		l->marked[t] -= l->marked[t] < n ? l->marked[t] : n;
	for (; n > 0; n--) {
		uint32_t i = l->first;
		struct piece *p = &m->piece[i];

		memcpy(at + p->at, p->bytes, p->len);
		l->first = p->next;
		p->next = m->free;
		m->free = i;
		l->pending--;
	}
	if (l->pending == 0)
		l->last = NO_PIECE;
	m->hash_of[line] = 0;
	m->hash += memory_durable_hash(m, line);
}

void memory_fence(struct memory *m, void (*merged)(void *, uint32_t line), void *arg)
{
	uint32_t kept = 0, t = m->thread;

	for (uint32_t i = 0; i < m->flusheds[t]; i++) {
		uint32_t line = m->flushed[t][i];

		merge(m, line);
		m->line[line].flushed &= (uint8_t) ~(1u << t);
		if (merged)
			merged(arg, line);
	}
	m->flusheds[t] = 0;
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
	for (uint64_t i = offset / LINE_BYTES; i <= (offset + len - 1) / LINE_BYTES; i++)
		m->hash_of[i] = 0;
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
