/* SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause */
/*
 * record.h - what a recording build (-DADIT_RECORD=1) adds to pmem.h.
 *
 * Every function of pmem.h does its real work, then takes one *step* here: it counts, calls the
 * hooks if there are any, appends to the trace if one runs, and springs the trap if this step was
 * the chosen one. Four tools come out of that:
 *   counts   stores, non-temporal lines, flushed lines and fences per operation;
 *   trap     die (or longjmp, or whatever the test sets) at exactly the n-th step;
 *   trace    the event log from which crash images are built;
 *   hooks    anything else.
 * Stores that land in an ignored range (the pool's volatile region), or outside the pool, take no
 * step and are not seen by anybody.
 */
#ifndef ADIT_MEDIA_RECORD_H
#define ADIT_MEDIA_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct adit_pm;

struct adit_record_hooks {
	void (*store)(struct adit_pm *pm, const void *dst, size_t len_bytes);
	void (*nt)(struct adit_pm *pm, const void *dst, size_t len_bytes);
	void (*flush)(struct adit_pm *pm, const void *addr, size_t len_bytes);
	void (*fence)(struct adit_pm *pm);
};

extern struct adit_record_hooks *adit__record; /* NULL: none */

/* Since the process began, or the last reset. Atomic, relaxed. */
struct adit_pm_counts {
	uint64_t stores; /* calls that stored */
	uint64_t store_bytes;
	uint64_t nt_lines;	/* lines touched by copy_nt and zero_nt */
	uint64_t flushed_lines; /* lines given to flush */
	uint64_t fences;
};

extern struct adit_pm_counts adit__counts;
void adit__counts_get(struct adit_pm_counts *out);
void adit__counts_reset(void);

/* The step counter of this process and the step at which to spring the trap (0: never). */
extern uint64_t adit__step;
extern uint64_t adit__trap_at;
extern void (*adit__trap)(void); /* default: SIGKILL to ourselves */

void adit__record_store(struct adit_pm *pm, const void *dst, size_t len_bytes);
void adit__record_nt(struct adit_pm *pm, const void *dst, size_t len_bytes);
void adit__record_flush(struct adit_pm *pm, const void *addr, size_t len_bytes);
void adit__record_fence(struct adit_pm *pm);

/*
 * Ranges of the pool (offsets from pm->base) whose stores are not recorded. An event that lies
 * wholly inside one is dropped. At most 16; returns -ENOSPC beyond that.
 */
int adit__record_ignore(uint64_t offset, uint64_t len_bytes);
void adit__record_ignore_clear(void);

/*
 * The trace. One at a time per process, of one pm; threads may run, their events are ordered by a
 * mutex. A FLUSH or FENCE orders only its own thread's stores: hence `thread`.
 */
enum adit_event_kind {
	ADIT_EVENT_STORE = 1,
	ADIT_EVENT_NT,
	ADIT_EVENT_FLUSH,
	ADIT_EVENT_FENCE,
	ADIT_EVENT_MARK,
};

struct adit_event {
	enum adit_event_kind kind;
	uint32_t thread;      /* small number, 1 for the first thread seen */
	uint64_t offset;      /* STORE, NT, FLUSH: from pm->base; MARK: the id */
	uint64_t len_bytes;   /* STORE, NT, FLUSH */
	const uint8_t *bytes; /* STORE, NT: the bytes after the store; else NULL */
};

int adit__trace_start(struct adit_pm *pm); /* forgets an earlier trace; -ENOMEM */
void adit__trace_stop(void);		   /* events stay until free or the next start */
void adit__trace_free(void);
void adit__trace_mark(uint64_t id); /* takes no step */
size_t adit__trace_count(void);
/* Event i < count. `bytes` is valid until the next append, start or free: stop first. */
bool adit__trace_get(size_t i, struct adit_event *out);
bool adit__trace_failed(void); /* memory ran out; the trace is incomplete */

#endif
