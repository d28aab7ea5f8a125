/* SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause */
/*
 * record.c - see record.h. Compiles to nothing but in a recording build.
 */
#include "media/pmem.h"

#ifdef ADIT_RECORD

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include "media/record.h"

#define LINE	   ((uint64_t)ADIT_PM_LINE_BYTES)
#define IGNORE_MAX 16

static void die(void)
{
	kill(getpid(), SIGKILL);
	for (;;)
		pause();
}

struct adit_record_hooks *adit__record;
struct adit_pm_counts adit__counts;
uint64_t adit__step;
uint64_t adit__trap_at;
void (*adit__trap)(void) = die;

/* --- counts ------------------------------------------------------------------------------ */

static void count(uint64_t *counter, uint64_t n)
{
	__atomic_fetch_add(counter, n, __ATOMIC_RELAXED);
}

void adit__counts_get(struct adit_pm_counts *out)
{
	out->stores = __atomic_load_n(&adit__counts.stores, __ATOMIC_RELAXED);
	out->store_bytes = __atomic_load_n(&adit__counts.store_bytes, __ATOMIC_RELAXED);
	out->nt_lines = __atomic_load_n(&adit__counts.nt_lines, __ATOMIC_RELAXED);
	out->flushed_lines = __atomic_load_n(&adit__counts.flushed_lines, __ATOMIC_RELAXED);
	out->fences = __atomic_load_n(&adit__counts.fences, __ATOMIC_RELAXED);
}

void adit__counts_reset(void)
{
	__atomic_store_n(&adit__counts.stores, 0, __ATOMIC_RELAXED);
	__atomic_store_n(&adit__counts.store_bytes, 0, __ATOMIC_RELAXED);
	__atomic_store_n(&adit__counts.nt_lines, 0, __ATOMIC_RELAXED);
	__atomic_store_n(&adit__counts.flushed_lines, 0, __ATOMIC_RELAXED);
	__atomic_store_n(&adit__counts.fences, 0, __ATOMIC_RELAXED);
}

static uint64_t lines_of(const void *addr, size_t len_bytes)
{
	uint64_t first = (uintptr_t)addr / LINE, last;

	if (len_bytes == 0)
		return 0;
	last = ((uintptr_t)addr + len_bytes - 1) / LINE;
	return last - first + 1;
}

/* --- ignored ranges ---------------------------------------------------------------------- */

static struct {
	uint64_t offset, len_bytes;
} ignored[IGNORE_MAX];
static unsigned ignored_count;

int adit__record_ignore(uint64_t offset, uint64_t len_bytes)
{
	unsigned i = __atomic_load_n(&ignored_count, __ATOMIC_RELAXED);

	for (unsigned k = 0; k < i; k++) {
		if (ignored[k].offset == offset && ignored[k].len_bytes == len_bytes)
			return 0;
	}
	if (i == IGNORE_MAX)
		return -ENOSPC;
	ignored[i].offset = offset;
	ignored[i].len_bytes = len_bytes;
	__atomic_store_n(&ignored_count, i + 1, __ATOMIC_RELEASE);
	return 0;
}

void adit__record_ignore_clear(void)
{
	__atomic_store_n(&ignored_count, 0, __ATOMIC_RELEASE);
}

/* Is this part of the pool, and not ignored? */
static bool wanted(const struct adit_pm *pm, const void *addr, size_t len_bytes)
{
	uint64_t offset = (uintptr_t)addr - (uintptr_t)pm->base;
	unsigned n = __atomic_load_n(&ignored_count, __ATOMIC_ACQUIRE);

	if (len_bytes == 0 || (uintptr_t)addr < (uintptr_t)pm->base || offset >= pm->size_bytes)
		return false;
	for (unsigned i = 0; i < n; i++) {
		if (offset >= ignored[i].offset &&
		    offset + len_bytes <= ignored[i].offset + ignored[i].len_bytes)
			return false;
	}
	return true;
}

/* --- the trace --------------------------------------------------------------------------- */

struct entry { /* in the log, followed by the bytes, padded to 8 */
	uint32_t kind, thread;
	uint64_t offset, len_bytes;
};

struct growing {
	uint8_t *data;
	size_t used, room;
};

static pthread_mutex_t trace_lock = PTHREAD_MUTEX_INITIALIZER;
static const uint8_t *trace_base;	      /* NULL: no trace runs */
static struct growing trace_log, trace_index; /* index: size_t places in the log */
static bool trace_out_of_memory;
static uint32_t last_thread;
static _Thread_local uint32_t this_thread;

/* Room for n more bytes at the end, 8-aligned. NULL: no memory. */
static void *grow(struct growing *g, size_t n)
{
	size_t room = g->room;
	void *p;

	n = (n + 7) & ~(size_t)7;
	if (g->room - g->used < n) {
		while (room - g->used < n)
			room = room == 0 ? (size_t)1 << 20 : room * 2;
		if (g->data == NULL)
			p = mmap(NULL, room, PROT_READ | PROT_WRITE,
				 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		else
			p = mremap(g->data, g->room, room, MREMAP_MAYMOVE);
		if (p == MAP_FAILED)
			return NULL;
		g->data = p;
		g->room = room;
	}
	g->used += n;
	return g->data + g->used - n;
}

static void shrink(struct growing *g)
{
	if (g->data != NULL)
		munmap(g->data, g->room);
	*g = (struct growing){0};
}

/* Other threads may store beside us: whole words where they do. */
static void copy_out(uint8_t *to, const uint8_t *from, uint64_t len_bytes)
{
	uint64_t i = 0, word;

	for (; i < len_bytes && ((uintptr_t)(from + i) & 7u) != 0; i++)
		to[i] = __atomic_load_n(from + i, __ATOMIC_RELAXED);
	for (; len_bytes - i >= 8; i += 8) {
		word = __atomic_load_n((const adit__pm_word64 *)(const void *)(from + i),
				       __ATOMIC_RELAXED);
		memcpy(to + i, &word, sizeof word);
	}
	for (; i < len_bytes; i++)
		to[i] = __atomic_load_n(from + i, __ATOMIC_RELAXED);
}

static void append(enum adit_event_kind kind, uint64_t offset, uint64_t len_bytes,
		   const void *bytes)
{
	struct entry *e;
	size_t *place;

	if (this_thread == 0)
		this_thread = __atomic_add_fetch(&last_thread, 1, __ATOMIC_RELAXED);
	e = grow(&trace_log, sizeof *e + (bytes != NULL ? len_bytes : 0));
	place = e != NULL ? grow(&trace_index, sizeof *place) : NULL;
	if (place == NULL) {
		trace_out_of_memory = true;
		return;
	}
	*place = (size_t)((uint8_t *)e - trace_log.data);
	*e = (struct entry){kind, this_thread, offset, len_bytes};
	if (bytes != NULL) {
		copy_out((uint8_t *)(e + 1), bytes, len_bytes);
	}
}

static void trace(struct adit_pm *pm, enum adit_event_kind kind, const void *addr, size_t len_bytes)
{
	bool with_bytes = kind == ADIT_EVENT_STORE || kind == ADIT_EVENT_NT;

	if (__atomic_load_n(&trace_base, __ATOMIC_RELAXED) != pm->base)
		return;
	pthread_mutex_lock(&trace_lock);
	if (trace_base == pm->base)
		append(kind, kind == ADIT_EVENT_FENCE ? 0 : (uintptr_t)addr - (uintptr_t)pm->base,
		       len_bytes, with_bytes ? addr : NULL);
	pthread_mutex_unlock(&trace_lock);
}

int adit__trace_start(struct adit_pm *pm)
{
	adit__trace_free();
	pthread_mutex_lock(&trace_lock);
	__atomic_store_n(&trace_base, pm->base, __ATOMIC_RELAXED);
	pthread_mutex_unlock(&trace_lock);
	return 0;
}

void adit__trace_stop(void)
{
	pthread_mutex_lock(&trace_lock);
	__atomic_store_n(&trace_base, NULL, __ATOMIC_RELAXED);
	pthread_mutex_unlock(&trace_lock);
}

void adit__trace_free(void)
{
	pthread_mutex_lock(&trace_lock);
	__atomic_store_n(&trace_base, NULL, __ATOMIC_RELAXED);
	shrink(&trace_log);
	shrink(&trace_index);
	trace_out_of_memory = false;
	pthread_mutex_unlock(&trace_lock);
}

void adit__trace_mark(uint64_t id)
{
	pthread_mutex_lock(&trace_lock);
	if (trace_base != NULL)
		append(ADIT_EVENT_MARK, id, 0, NULL);
	pthread_mutex_unlock(&trace_lock);
}

size_t adit__trace_count(void)
{
	size_t n;

	pthread_mutex_lock(&trace_lock);
	n = trace_index.used / sizeof(size_t);
	pthread_mutex_unlock(&trace_lock);
	return n;
}

bool adit__trace_get(size_t i, struct adit_event *out)
{
	const struct entry *e;
	bool found;

	pthread_mutex_lock(&trace_lock);
	found = i < trace_index.used / sizeof(size_t);
	if (found) {
		e = (const void *)(trace_log.data + ((const size_t *)(void *)trace_index.data)[i]);
		*out = (struct adit_event){
			.kind = (enum adit_event_kind)e->kind,
			.thread = e->thread,
			.offset = e->offset,
			.len_bytes = e->len_bytes,
		};
		if (e->kind == ADIT_EVENT_STORE || e->kind == ADIT_EVENT_NT)
			out->bytes = (const uint8_t *)(e + 1);
	}
	pthread_mutex_unlock(&trace_lock);
	return found;
}

bool adit__trace_failed(void)
{
	bool failed;

	pthread_mutex_lock(&trace_lock);
	failed = trace_out_of_memory;
	pthread_mutex_unlock(&trace_lock);
	return failed;
}

/* --- the steps --------------------------------------------------------------------------- */

static void step(void)
{
	uint64_t now = __atomic_add_fetch(&adit__step, 1, __ATOMIC_RELAXED);

	if (__atomic_load_n(&adit__trap_at, __ATOMIC_RELAXED) == now)
		adit__trap();
}

void adit__record_store(struct adit_pm *pm, const void *dst, size_t len_bytes)
{
	if (!wanted(pm, dst, len_bytes))
		return;
	count(&adit__counts.stores, 1);
	count(&adit__counts.store_bytes, len_bytes);
	if (adit__record != NULL && adit__record->store != NULL)
		adit__record->store(pm, dst, len_bytes);
	trace(pm, ADIT_EVENT_STORE, dst, len_bytes);
	step();
}

void adit__record_nt(struct adit_pm *pm, const void *dst, size_t len_bytes)
{
	if (!wanted(pm, dst, len_bytes))
		return;
	count(&adit__counts.nt_lines, lines_of(dst, len_bytes));
	if (adit__record != NULL && adit__record->nt != NULL)
		adit__record->nt(pm, dst, len_bytes);
	trace(pm, ADIT_EVENT_NT, dst, len_bytes);
	step();
}

void adit__record_flush(struct adit_pm *pm, const void *addr, size_t len_bytes)
{
	if (!wanted(pm, addr, len_bytes))
		return;
	count(&adit__counts.flushed_lines, lines_of(addr, len_bytes));
	if (adit__record != NULL && adit__record->flush != NULL)
		adit__record->flush(pm, addr, len_bytes);
	trace(pm, ADIT_EVENT_FLUSH, addr, len_bytes);
	step();
}

void adit__record_fence(struct adit_pm *pm)
{
	count(&adit__counts.fences, 1);
	if (adit__record != NULL && adit__record->fence != NULL)
		adit__record->fence(pm);
	trace(pm, ADIT_EVENT_FENCE, NULL, 0);
	step();
}

#else
typedef int adit__record_unused; /* ISO C: no empty translation unit */
#endif
