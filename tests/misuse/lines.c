/* SPDX-License-Identifier: BSD-3-Clause */
/* lines.c - see lines.h. */
#include "lines.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static const char *const texts[RULES] = {
	[RULE_UNFLUSHED] = "stored, not flushed, and no durable record above C names it",
	[RULE_UNFENCED] = "no fence since it was flushed or stored past the caches",
	[RULE_OVERWRITTEN] = "stored to between its flush and the fence",
	[RULE_MIXED] = "cached and non-temporal stores with no fence between",
	[RULE_CLEAN_FLUSH] = "flushed, with nothing stored since its last flush",
	[RULE_STRAY_FLUSH] = "flushed, never stored to",
	[RULE_EMPTY_FENCE] = "a fence with nothing to wait for",
	[RULE_ORDER] =
		"not yet durable when a record or a checkpoint slot that tells of it was stored",
	[RULE_UNRECORDED] = "changed by a store that is not in pmem.h",
};

const char *rule_text(enum rule rule)
{
	return texts[rule];
}

/* Large and mostly untouched: pages of zeros. */
static void *zeros(size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		abort();
	return p;
}

void lines_init(struct lines *l, uint64_t bytes)
{
	memset(l, 0, sizeof *l);
	l->bytes = bytes;
	l->copy = zeros(bytes);
	l->line = zeros(bytes / LINE * sizeof *l->line);
	l->dirty = zeros(bytes / LINE * sizeof *l->dirty);
	l->waiting = zeros(bytes / LINE * sizeof *l->waiting);
}

void lines_finish(struct lines *l)
{
	munmap(l->copy, l->bytes);
	munmap(l->line, l->bytes / LINE * sizeof *l->line);
	munmap(l->dirty, l->bytes / LINE * sizeof *l->dirty);
	munmap(l->waiting, l->bytes / LINE * sizeof *l->waiting);
}

void lines_reset(struct lines *l, const uint8_t *pool)
{
	if (pool)
		memcpy(l->copy, pool, l->bytes);
	else
		madvise(l->copy, l->bytes, MADV_DONTNEED);
	if (madvise(l->line, l->bytes / LINE * sizeof *l->line, MADV_DONTNEED))
		abort();
	l->dirties = l->waitings = 0;
}

static void wait_for_fence(struct lines *l, uint32_t n)
{
	if (!l->line[n].in_waiting)
		l->waiting[l->waitings++] = n;
	l->line[n].in_waiting = true;
}

/* The bytes [offset, end) of line n, as a mask. */
static uint64_t mask_of(uint32_t n, uint64_t offset, uint64_t end)
{
	uint64_t from = (uint64_t)n * LINE, first = offset > from ? offset - from : 0;
	uint64_t last = end < from + LINE ? end - from : LINE;

	return (last - first == LINE ? ~0ull : (1ull << (last - first)) - 1) << first;
}

static void store_line(struct lines *l, uint32_t n, uint64_t mask)
{
	struct line_state *s = &l->line[n];

	if (s->waiting)
		l->broken(l->arg, RULE_OVERWRITTEN, (uint64_t)n * LINE);
	if (s->nt)
		l->broken(l->arg, RULE_MIXED, (uint64_t)n * LINE);
	s->dirty |= mask;
	s->ever = true;
	if (!s->in_dirty)
		l->dirty[l->dirties++] = n;
	s->in_dirty = true;
}

static void nt_line(struct lines *l, uint32_t n, uint64_t mask)
{
	struct line_state *s = &l->line[n];

	if (s->waiting || (s->nt & mask))
		l->broken(l->arg, RULE_OVERWRITTEN, (uint64_t)n * LINE);
	if (s->dirty)
		l->broken(l->arg, RULE_MIXED, (uint64_t)n * LINE);
	s->nt |= mask;
	s->ever = true;
	wait_for_fence(l, n);
}

void lines_store(struct lines *l, const uint8_t *base, uint64_t offset, uint64_t len, bool nt)
{
	uint64_t end = offset + len;

	if (len == 0)
		return;
	memcpy(l->copy + offset, base + offset, len);
	*(nt ? &l->nts : &l->stores) += 1;
	for (uint32_t n = (uint32_t)(offset / LINE); (uint64_t)n * LINE < end; n++) {
		if (nt)
			nt_line(l, n, mask_of(n, offset, end));
		else
			store_line(l, n, mask_of(n, offset, end));
	}
}

/* Volatile words are compared by nobody. */
static void compare_line(struct lines *l, const uint8_t *base, uint64_t at)
{
	for (unsigned i = 0; i < LINE; i += 8) {
		if (memcmp(base + at + i, l->copy + at + i, 8) == 0)
			continue;
		if (!l->is_volatile || !l->is_volatile(l->arg, at + i))
			l->broken(l->arg, RULE_UNRECORDED, at + i);
		memcpy(l->copy + at + i, base + at + i, 8);
	}
}

void lines_flush(struct lines *l, const uint8_t *base, uint64_t offset, uint64_t len)
{
	if (len == 0)
		return;
	for (uint64_t n = offset / LINE; n <= (offset + len - 1) / LINE; n++) {
		struct line_state *s = &l->line[n];

		l->flushed++;
		compare_line(l, base, n * LINE);
		if (!s->ever)
			l->broken(l->arg, RULE_STRAY_FLUSH, n * LINE);
		else if (!s->dirty)
			l->broken(l->arg, RULE_CLEAN_FLUSH, n * LINE);
		if (!s->dirty)
			continue;
		s->waiting |= s->dirty;
		s->dirty = 0;
		wait_for_fence(l, (uint32_t)n);
	}
}

void lines_fence(struct lines *l)
{
	uint32_t kept = 0;

	l->fences++;
	if (l->waitings == 0)
		l->broken(l->arg, RULE_EMPTY_FENCE, 0);
	for (uint32_t i = 0; i < l->waitings; i++) {
		struct line_state *s = &l->line[l->waiting[i]];

		s->waiting = s->nt = 0;
		s->in_waiting = false;
	}
	l->waitings = 0;
	for (uint32_t i = 0; i < l->dirties; i++) {
		if (l->line[l->dirty[i]].dirty)
			l->dirty[kept++] = l->dirty[i];
		else
			l->line[l->dirty[i]].in_dirty = false;
	}
	l->dirties = kept;
}

void lines_compare(struct lines *l, const uint8_t *base)
{
	for (uint64_t at = 0; at < l->bytes; at += 4096) {
		if (memcmp(base + at, l->copy + at, 4096) == 0)
			continue;
		for (unsigned i = 0; i < 4096; i += LINE)
			compare_line(l, base, at + i);
	}
}
