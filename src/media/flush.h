/* SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause */
/*
 * flush.h - the instructions that make stores durable, behind five functions per way of doing it.
 *
 * flush_x86.c, flush_aarch64.c and flush_generic.c each know the variants their CPUs may run;
 * flush.c makes the domains' operations from the chosen one. Tests and benchmarks walk the list.
 */
#ifndef ADIT_MEDIA_FLUSH_H
#define ADIT_MEDIA_FLUSH_H

#include <stddef.h>

#include "media/media.h"

struct adit_flush_variant {
	const char *name;	/* "clwb+avx512" ... */
	const char *flush_name; /* the instruction that writes a line back */
	/* Write back all lines of a range, without waiting. */
	void (*flush)(const void *addr, size_t len_bytes);
	/* Order what was flushed and streamed before what follows. */
	void (*fence)(void);
	/* Store whole lines past the caches; dst is line-aligned, lines > 0. Complete after fence. */
	void (*stream_copy)(void *dst, const void *src, size_t lines);
	void (*stream_zero)(void *dst, size_t lines);
	/* From this length on streaming beats storing and flushing; SIZE_MAX: never. */
	size_t stream_min_bytes;
};

/* The variants that run on this CPU, best first, at least one. Thread-safe. */
size_t adit__flush_variants(const struct adit_flush_variant *const **out);

/*
 * The operations of a domain. The pm they are used with is the first member of a struct
 * adit_media whose `variant` is set.
 */
const struct adit_pm_ops *adit__flush_ops(enum adit_domain domain);

/* The file domain's state of one medium: its sticky error. -EMFILE: too many pools are open. */
int adit__notes_attach(struct adit_media *m);
void adit__notes_detach(struct adit_media *m);
int adit__notes_error(const struct adit_media *m);

#endif
