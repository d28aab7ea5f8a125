/* SPDX-License-Identifier: BSD-3-Clause */
/* model_data.c - contents of the model's files: pages by number, sorted; see model.h. */
#include "model.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/linux_abi.h"

struct model_bytes *model_bytes_make(uint32_t len)
{
	struct model_bytes *b = calloc(1, sizeof *b + len);

	if (b == NULL)
		abort();
	b->refs = 1;
	b->len = len;
	return b;
}

void model_bytes_drop(struct model_bytes *b)
{
	if (b != NULL && --b->refs == 0)
		free(b);
}

/* The first block at or behind index. */
static uint32_t find(const struct model_node *n, uint64_t index)
{
	uint32_t lo = 0, hi = n->blocks;

	while (lo < hi) {
		uint32_t mid = (lo + hi) / 2;

		if (n->block[mid].index < index)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static struct model_block *at_index(const struct model_node *n, uint64_t index)
{
	uint32_t i = find(n, index);

	return i < n->blocks && n->block[i].index == index ? &n->block[i] : NULL;
}

/* The block, made unwritten if it was a hole. */
static struct model_block *have(struct model_node *n, uint64_t index)
{
	uint32_t i = find(n, index);

	if (i < n->blocks && n->block[i].index == index)
		return &n->block[i];
	n->block = realloc(n->block, (n->blocks + 1) * sizeof *n->block);
	if (n->block == NULL)
		abort();
	memmove(&n->block[i + 1], &n->block[i], (n->blocks - i) * sizeof *n->block);
	n->block[i] = (struct model_block){.index = index, .state = MODEL_UNWRITTEN};
	n->blocks++;
	return &n->block[i];
}

static void drop_range(struct model_node *n, uint64_t from, uint64_t to)
{
	uint32_t i = find(n, from), end = from < to ? find(n, to) : i;

	if (i == end)
		return;
	for (uint32_t k = i; k < end; k++)
		model_bytes_drop(n->block[k].page);
	memmove(&n->block[i], &n->block[end], (n->blocks - end) * sizeof *n->block);
	n->blocks -= end - i;
}

/* The block's bytes, for this clone alone. */
static uint8_t *own_page(struct model_block *b)
{
	if (b->page == NULL) {
		b->page = model_bytes_make(MODEL_PAGE);
	} else if (b->page->refs > 1) {
		struct model_bytes *copy = model_bytes_make(MODEL_PAGE);

		memcpy(copy->b, b->page->b, MODEL_PAGE);
		b->page->refs--;
		b->page = copy;
	}
	return b->page->b;
}

enum model_state model_state_at(const struct model_node *n, uint64_t index)
{
	const struct model_block *b = at_index(n, index);

	return b ? b->state : MODEL_HOLE;
}

const struct model_bytes *model_page_at(const struct model_node *n, uint64_t index)
{
	const struct model_block *b = at_index(n, index);

	return b ? b->page : NULL;
}

void model_read(const struct model_node *n, uint64_t pos, void *to, size_t len)
{
	uint8_t *out = to;

	while (len > 0) {
		const struct model_block *b = at_index(n, pos / MODEL_PAGE);
		size_t skip = pos % MODEL_PAGE, now = MODEL_PAGE - skip;

		if (now > len)
			now = len;
		if (b != NULL && b->page != NULL)
			memcpy(out, b->page->b + skip, now);
		else
			memset(out, 0, now);
		out += now;
		pos += now;
		len -= now;
	}
}

/* seed's bytes; byte `pos` of the file is byte `pos - shift` of what it writes. */
void model_write(struct model_node *n, uint64_t pos, uint64_t len, uint64_t seed, uint64_t shift)
{
	if (pos + len > n->size && len > 0)
		n->size = pos + len;
	while (len > 0) {
		struct model_block *b = have(n, pos / MODEL_PAGE);
		size_t skip = pos % MODEL_PAGE, now = MODEL_PAGE - skip;

		if (now > len)
			now = len;
		op_fill(seed, pos - shift, own_page(b) + skip, now);
		b->state = MODEL_WRITTEN;
		pos += now;
		len -= now;
	}
}

/* Zeros where something is; [from, to) lies in one block. */
static void zero_part(struct model_node *n, uint64_t from, uint64_t to)
{
	struct model_block *b = at_index(n, from / MODEL_PAGE);

	if (from < to && b != NULL && b->page != NULL)
		memset(own_page(b) + from % MODEL_PAGE, 0, to - from);
}

static uint64_t blocks_for(uint64_t bytes)
{
	return bytes / MODEL_PAGE + (bytes % MODEL_PAGE != 0);
}

void model_truncate(struct model_node *n, uint64_t size)
{
	if (size <= n->size) {
		drop_range(n, blocks_for(size), UINT64_MAX);
		if (size % MODEL_PAGE)
			zero_part(n, size, (size / MODEL_PAGE + 1) * MODEL_PAGE);
	}
	n->size = size;
}

/* What is zeroed while the file may live in its inode stays there, if it does. */
static void forget_block0(struct model_node *n, bool small)
{
	if (small && at_index(n, 0) == NULL && n->size > 0)
		have(n, 0)->state = MODEL_EITHER;
}

static void zero_edges(struct model_node *n, uint64_t from, uint64_t to, uint64_t lo, uint64_t hi)
{
	uint64_t end = lo * MODEL_PAGE;

	zero_part(n, from, end < to ? end : to);
	if (hi >= lo)
		zero_part(n, hi * MODEL_PAGE, to);
}

static void punch(struct model_node *n, uint64_t from, uint64_t to)
{
	uint64_t lo = blocks_for(from), hi = to / MODEL_PAGE;
	bool small = n->size <= MODEL_INLINE;

	if (to >= n->size)
		hi = blocks_for(to);
	zero_edges(n, from, to, lo, hi);
	drop_range(n, lo, hi);
	forget_block0(n, small);
}

static void zero(struct model_node *n, uint64_t from, uint64_t to)
{
	uint64_t lo = blocks_for(from), hi = to / MODEL_PAGE;
	bool small = n->size <= MODEL_INLINE;

	zero_edges(n, from, to, lo, hi);
	for (uint64_t i = from / MODEL_PAGE; i < blocks_for(to); i++) {
		struct model_block *b = have(n, i);

		if (i < lo || i >= hi)
			continue;
		model_bytes_drop(b->page);
		b->page = NULL;
		b->state = small && i == 0 ? MODEL_EITHER : MODEL_UNWRITTEN;
	}
}

static void shift(struct model_node *n, uint64_t from, int64_t delta)
{
	for (uint32_t i = find(n, from); i < n->blocks; i++)
		n->block[i].index += (uint64_t)delta;
}

/* As vfs_fallocate and the manual page have it. */
static int fallocate_error(const struct model_node *n, int mode, uint64_t from, uint64_t len)
{
	int what = mode & ~FALLOC_FL_KEEP_SIZE;
	uint32_t type = ADIT_S_TYPE(n->mode);

	if (from > MODEL_SIZE_MAX || len == 0 || len > MODEL_SIZE_MAX)
		return -EINVAL;
	if (mode & ~(FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE | FALLOC_FL_COLLAPSE_RANGE |
		     FALLOC_FL_ZERO_RANGE | FALLOC_FL_INSERT_RANGE | FALLOC_FL_UNSHARE_RANGE))
		return -EOPNOTSUPP;
	if ((mode & FALLOC_FL_PUNCH_HOLE) &&
	    ((mode & FALLOC_FL_ZERO_RANGE) || !(mode & FALLOC_FL_KEEP_SIZE)))
		return -EOPNOTSUPP;
	if ((what & FALLOC_FL_COLLAPSE_RANGE) && mode != FALLOC_FL_COLLAPSE_RANGE)
		return -EINVAL;
	if ((what & FALLOC_FL_INSERT_RANGE) && mode != FALLOC_FL_INSERT_RANGE)
		return -EINVAL;
	if ((what & FALLOC_FL_UNSHARE_RANGE) && what != FALLOC_FL_UNSHARE_RANGE)
		return -EINVAL;
	if ((n->iflags & MODEL_IMMUTABLE) || ((n->iflags & MODEL_APPEND_ONLY) && what))
		return -EPERM;
	if (type == S_IFIFO)
		return -ESPIPE;
	if (type == S_IFDIR)
		return -EISDIR;
	if (type != S_IFREG)
		return -ENODEV;
	if (from + len > MODEL_SIZE_MAX)
		return -EFBIG;
	if (what == FALLOC_FL_COLLAPSE_RANGE &&
	    ((from | len) % MODEL_PAGE || from + len >= n->size))
		return -EINVAL;
	if (what == FALLOC_FL_INSERT_RANGE && ((from | len) % MODEL_PAGE || from >= n->size))
		return -EINVAL;
	return what == FALLOC_FL_INSERT_RANGE && len > MODEL_SIZE_MAX - n->size ? -EFBIG : 0;
}

int model_fallocate(struct model_node *n, int mode, uint64_t from, uint64_t len, int64_t now)
{
	int err = fallocate_error(n, mode, from, len), what = mode & ~FALLOC_FL_KEEP_SIZE;
	uint64_t to = from + len;
	uint64_t size = !(mode & FALLOC_FL_KEEP_SIZE) && to > n->size ? to : n->size;

	if (err)
		return err;
	n->ctime = n->mtime = now;
	switch (what) {
	case FALLOC_FL_PUNCH_HOLE:
		punch(n, from, to);
		break;
	case FALLOC_FL_ZERO_RANGE:
		zero(n, from, to);
		break;
	case FALLOC_FL_COLLAPSE_RANGE:
		drop_range(n, from / MODEL_PAGE, to / MODEL_PAGE);
		shift(n, to / MODEL_PAGE, -(int64_t)(len / MODEL_PAGE));
		size = n->size - len;
		break;
	case FALLOC_FL_INSERT_RANGE:
		shift(n, from / MODEL_PAGE, (int64_t)(len / MODEL_PAGE));
		size = n->size + len;
		break;
	case FALLOC_FL_UNSHARE_RANGE:
		break;
	default:
		for (uint64_t i = from / MODEL_PAGE; i < blocks_for(to); i++)
			(void)have(n, i);
		break;
	}
	n->size = size;
	return 0;
}

void model_drop_contents(struct model_node *n)
{
	drop_range(n, 0, UINT64_MAX);
	free(n->block);
	n->block = NULL;
	n->blocks = 0;
}
