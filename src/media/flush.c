/* SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause */
/*
 * flush.c - the operations of each persistence domain, from the CPU's flush variant.
 *
 *   memory     write lines back; stream large pieces; fence
 *   cpu-cache  fence only; streaming where it is faster
 *   process    the same
 *   file       note page ranges per thread; fence = msync of the noted ranges
 *
 * One rule throughout: all stores first, then all flushes. Edges of a streamed piece that do not
 * fill a line are stored and flushed like small pieces.
 */
#include "media/flush.h"
#include "media/counts.h"

#include <errno.h>
#include <stdatomic.h>
#include <sys/mman.h>

#define LINE ((size_t)ADIT_PM_LINE_BYTES)

/* Without flushing, the caches are the better place for what is smaller than this. */
#define CACHED_STREAM_MIN_BYTES 4096u

static inline struct adit_media *media_of(struct adit_pm *pm)
{
	return pm->priv;
}

/* ---- counting --------------------------------------------------------------------------- */

static inline uint64_t *counts_of(struct adit_pm *pm)
{
	struct adit_media *m = media_of(pm);

	return adit__counts_of(m, __atomic_load_n(&m->counts_id, __ATOMIC_RELAXED));
}

static inline uint64_t lines_of(const void *addr, size_t len_bytes)
{
	return len_bytes == 0 ? 0 :
				((uintptr_t)addr + len_bytes - 1) / LINE - (uintptr_t)addr / LINE + 1;
}

static inline void count_flush(struct adit_pm *pm, const void *addr, size_t len_bytes)
{
	uint64_t *at = counts_of(pm);

	if (at != NULL)
		adit__count_in(at, ADIT_COUNT_FLUSHED_LINES, lines_of(addr, len_bytes));
}

static inline void count_stream(struct adit_pm *pm, const void *dst, size_t len_bytes)
{
	uint64_t *at = counts_of(pm);

	if (at == NULL)
		return;
	adit__count_in(at, ADIT_COUNT_STREAMED_LINES, lines_of(dst, len_bytes));
	adit__count_in(at, ADIT_COUNT_STREAMED_BYTES, len_bytes);
}

static inline const struct adit_flush_variant *variant_of(struct adit_pm *pm)
{
	return media_of(pm)->variant;
}

/* --- copying ----------------------------------------------------------------------------- */

struct pieces {
	size_t head_bytes, lines, tail_bytes;
};

static inline struct pieces split(const void *dst, size_t len_bytes)
{
	struct pieces p;

	p.head_bytes = -(uintptr_t)dst & (LINE - 1);
	if (p.head_bytes > len_bytes)
		p.head_bytes = len_bytes;
	p.lines = (len_bytes - p.head_bytes) / LINE;
	p.tail_bytes = len_bytes - p.head_bytes - p.lines * LINE;
	return p;
}

/* src NULL: zeros. */
static void stream(const struct adit_flush_variant *v, uint8_t *dst, const uint8_t *src,
		   size_t len_bytes, bool flush_edges)
{
	struct pieces p = split(dst, len_bytes);
	size_t tail_at = len_bytes - p.tail_bytes;

	if (src != NULL) {
		adit__pm_put_bytes(dst, src, p.head_bytes);
		if (p.lines > 0)
			v->stream_copy(dst + p.head_bytes, src + p.head_bytes, p.lines);
		adit__pm_put_bytes(dst + tail_at, src + tail_at, p.tail_bytes);
	} else {
		adit__pm_put_zeros(dst, p.head_bytes);
		if (p.lines > 0)
			v->stream_zero(dst + p.head_bytes, p.lines);
		adit__pm_put_zeros(dst + tail_at, p.tail_bytes);
	}
	if (flush_edges && p.head_bytes > 0)
		v->flush(dst, p.head_bytes);
	if (flush_edges && p.tail_bytes > 0)
		v->flush(dst + tail_at, p.tail_bytes);
}

static void put(uint8_t *dst, const uint8_t *src, size_t len_bytes)
{
	if (src != NULL)
		adit__pm_put_bytes(dst, src, len_bytes);
	else
		adit__pm_put_zeros(dst, len_bytes);
}

static void put_flushed(struct adit_pm *pm, void *dst, const void *src, size_t len_bytes)
{
	const struct adit_flush_variant *v = variant_of(pm);

	count_stream(pm, dst, len_bytes);
	if (len_bytes >= v->stream_min_bytes) {
		stream(v, dst, src, len_bytes, true);
	} else {
		put(dst, src, len_bytes);
		v->flush(dst, len_bytes);
	}
}

static void put_cached(struct adit_pm *pm, void *dst, const void *src, size_t len_bytes)
{
	const struct adit_flush_variant *v = variant_of(pm);

	count_stream(pm, dst, len_bytes);
	if (len_bytes >= CACHED_STREAM_MIN_BYTES && v->stream_copy != NULL)
		stream(v, dst, src, len_bytes, false);
	else
		put(dst, src, len_bytes);
}

/* --- memory ------------------------------------------------------------------------------ */

static void memory_flush(struct adit_pm *pm, const void *addr, size_t len_bytes)
{
	count_flush(pm, addr, len_bytes);
	variant_of(pm)->flush(addr, len_bytes);
}

static void any_fence(struct adit_pm *pm)
{
	uint64_t *at = counts_of(pm);

	variant_of(pm)->fence();
	/* Now, so that the fence has no more stores to wait for. */
	if (at != NULL)
		adit__count_in(at, ADIT_COUNT_FENCES, 1);
}

static int any_extend(struct adit_pm *pm, uint64_t size_bytes)
{
	return adit__media_extend(media_of(pm), size_bytes);
}

static void memory_copy_nt(struct adit_pm *pm, void *dst, const void *src, size_t len_bytes)
{
	put_flushed(pm, dst, src, len_bytes);
}

static void memory_zero_nt(struct adit_pm *pm, void *dst, size_t len_bytes)
{
	put_flushed(pm, dst, NULL, len_bytes);
}

static const struct adit_pm_ops memory_ops = {
	.flush = memory_flush,
	.fence = any_fence,
	.copy_nt = memory_copy_nt,
	.zero_nt = memory_zero_nt,
	.extend = any_extend,
};

/* --- cpu-cache and process --------------------------------------------------------------- */

static void cached_flush(struct adit_pm *pm, const void *addr, size_t len_bytes)
{
	count_flush(pm, addr, len_bytes);
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
}

static void cached_copy_nt(struct adit_pm *pm, void *dst, const void *src, size_t len_bytes)
{
	put_cached(pm, dst, src, len_bytes);
}

static void cached_zero_nt(struct adit_pm *pm, void *dst, size_t len_bytes)
{
	put_cached(pm, dst, NULL, len_bytes);
}

static const struct adit_pm_ops cached_ops = {
	.flush = cached_flush,
	.fence = any_fence,
	.copy_nt = cached_copy_nt,
	.zero_nt = cached_zero_nt,
	.extend = any_extend,
};

/* --- file -------------------------------------------------------------------------------- */

/*
 * Each thread notes the ranges it flushed, for one medium at a time, and its next fence syncs them.
 * The error word lives in a table of its own, because a thread's leftover notes may outlive the medium.
 */
#define NOTES_MAX   32
#define MEDIA_MAX   1024
#define MERGE_BYTES ((uintptr_t)256 << 10) /* syncing the gap too is cheaper than a second call */

struct note {
	uintptr_t start, end; /* whole pages */
};

static _Thread_local struct {
	uint64_t id; /* of the medium, 0: none */
	unsigned slot;
	unsigned count;
	struct note note[NOTES_MAX]; /* oldest first */
} notes;

/* id 0: free. A slot's error belongs to the medium with that id. */
static struct {
	_Atomic uint64_t id;
	_Atomic int error;
} states[MEDIA_MAX];
static _Atomic uint64_t last_id;

int adit__notes_attach(struct adit_media *m)
{
	uint64_t id = atomic_fetch_add(&last_id, 1) + 1;

	for (unsigned slot = 0; slot < MEDIA_MAX; slot++) {
		uint64_t expect = 0;

		if (atomic_compare_exchange_strong(&states[slot].id, &expect, id)) {
			atomic_store(&states[slot].error, 0);
			m->notes_id = id;
			m->notes_slot = slot;
			return 0;
		}
	}
	return -EMFILE;
}

void adit__notes_detach(struct adit_media *m)
{
	if (m->notes_id == 0)
		return;
	if (notes.id == m->notes_id) {
		notes.id = 0;
		notes.count = 0;
	}
	atomic_store(&states[m->notes_slot].id, 0);
	m->notes_id = 0;
}

int adit__notes_error(const struct adit_media *m)
{
	return m->notes_id != 0 ? atomic_load(&states[m->notes_slot].error) : 0;
}

static void sync_note(const struct note *n)
{
	int error, expect = 0;

	while (msync((void *)n->start, n->end - n->start, MS_SYNC) != 0) {
		error = -errno;
		if (error == -EINTR)
			continue;
		/* The medium may be closed by now; then nobody waits for this. */
		if (atomic_load(&states[notes.slot].id) == notes.id)
			atomic_compare_exchange_strong(&states[notes.slot].error, &expect, error);
		return;
	}
}

static void sync_notes(void)
{
	for (unsigned i = 0; i < notes.count; i++)
		sync_note(&notes.note[i]);
	notes.count = 0;
}

static bool merge_into(struct note *into, const struct note *n)
{
	if (n->start > into->end + MERGE_BYTES || into->start > n->end + MERGE_BYTES)
		return false;
	if (n->start < into->start)
		into->start = n->start;
	if (n->end > into->end)
		into->end = n->end;
	return true;
}

static void file_flush(struct adit_pm *pm, const void *addr, size_t len_bytes)
{
	struct adit_media *m = media_of(pm);
	uintptr_t page = m->page_size;
	struct note n;

	if (len_bytes == 0)
		return;
	if (notes.id != m->notes_id) {
		if (notes.count > 0 && atomic_load(&states[notes.slot].id) == notes.id)
			sync_notes();
		notes.id = m->notes_id;
		notes.slot = m->notes_slot;
		notes.count = 0;
	}
	n.start = (uintptr_t)addr & ~(page - 1);
	n.end = ((uintptr_t)addr + len_bytes + page - 1) & ~(page - 1);
	for (unsigned i = notes.count; i-- > 0;) {
		if (merge_into(&notes.note[i], &n))
			return;
	}
	if (notes.count == NOTES_MAX) {
		sync_note(&notes.note[0]);
		notes.count--;
		memmove(&notes.note[0], &notes.note[1], notes.count * sizeof notes.note[0]);
	}
	notes.note[notes.count++] = n;
}

static void file_flush_counted(struct adit_pm *pm, const void *addr, size_t len_bytes)
{
	count_flush(pm, addr, len_bytes);
	file_flush(pm, addr, len_bytes);
}

static void file_fence(struct adit_pm *pm)
{
	any_fence(pm);
	if (notes.id == media_of(pm)->notes_id)
		sync_notes();
}

static void file_copy_nt(struct adit_pm *pm, void *dst, const void *src, size_t len_bytes)
{
	put_cached(pm, dst, src, len_bytes);
	file_flush(pm, dst, len_bytes);
}

static void file_zero_nt(struct adit_pm *pm, void *dst, size_t len_bytes)
{
	put_cached(pm, dst, NULL, len_bytes);
	file_flush(pm, dst, len_bytes);
}

static const struct adit_pm_ops file_ops = {
	.flush = file_flush_counted,
	.fence = file_fence,
	.copy_nt = file_copy_nt,
	.zero_nt = file_zero_nt,
	.extend = any_extend,
};

/* --- which ------------------------------------------------------------------------------- */

const struct adit_pm_ops *adit__flush_ops(enum adit_domain domain)
{
	switch (domain) {
	case ADIT_DOMAIN_MEMORY:
		return &memory_ops;
	case ADIT_DOMAIN_CPU_CACHE:
	case ADIT_DOMAIN_PROCESS:
		return &cached_ops;
	case ADIT_DOMAIN_FILE:
	case ADIT_DOMAIN_AUTO:
		break;
	}
	return &file_ops;
}
