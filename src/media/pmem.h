/* SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause */
/*
 * pmem.h - the one header through which everything that writes the pool goes.
 *
 * A struct adit_pm is a mapped range of the pool and the four operations its persistence domain
 * needs (media.h picks them). The inline functions below are the only stores to a pool in the
 * whole of Adit, so that a recording build (-DADIT_RECORD=1, see record.h) sees every one of them.
 *
 * What a caller may rely on:
 *   - a store is durable once its lines were flushed and a fence followed, in the same thread;
 *   - copy_nt and zero_nt flush what they write: durable after the next fence;
 *   - an aligned 8-byte word is never torn, whatever it was written with (store, copy_nt, zero);
 *   - nothing else is ordered: a stored line may reach the medium at any time, or never.
 * All stores of a batch first, then all flushes, then one fence: interleaving them costs four times
 * as much.
 *
 * Kernel-clean: used by core.
 */
#ifndef ADIT_MEDIA_PMEM_H
#define ADIT_MEDIA_PMEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* A word of the pool, whatever the structure around it. */
typedef uint64_t __attribute__((__may_alias__)) adit__pm_word64;
typedef uint32_t __attribute__((__may_alias__)) adit__pm_word32;

/* A line of any CPU we run on is this long or a multiple of it. */
#define ADIT_PM_LINE_BYTES 64u

struct adit_pm;

struct adit_pm_ops {
	/* Write back every line that the range touches, or note it for the next fence. */
	void (*flush)(struct adit_pm *pm, const void *addr, size_t len_bytes);
	/* Wait until what this thread flushed is durable. */
	void (*fence)(struct adit_pm *pm);
	/* Copy and flush, any alignment, no overlap: durable after the next fence. */
	void (*copy_nt)(struct adit_pm *pm, void *dst, const void *src, size_t len_bytes);
	/* Zero and flush, any alignment. */
	void (*zero_nt)(struct adit_pm *pm, void *dst, size_t len_bytes);
	/* The medium has grown: map so many bytes of it, in place. NULL: they are there. 0 or -errno. */
	int (*extend)(struct adit_pm *pm, uint64_t size_bytes);
};

struct adit_pm {
	uint8_t *base;	     /* first byte of the mapping */
	uint64_t size_bytes; /* bytes that may be touched */
	const struct adit_pm_ops *ops;
	void *priv; /* of whoever set ops */
	bool guarded; /* may be stored to only by who said so: adit_env.stores */
};

#ifdef ADIT_RECORD
#include "media/record.h"
#define ADIT__PM_HOOK_STORE(pm, dst, len)  adit__record_store((pm), (dst), (len))
#define ADIT__PM_HOOK_NT(pm, dst, len)	   adit__record_nt((pm), (dst), (len))
#define ADIT__PM_HOOK_FLUSH(pm, addr, len) adit__record_flush((pm), (addr), (len))
#define ADIT__PM_HOOK_FENCE(pm)		   adit__record_fence((pm))
#else
#define ADIT__PM_HOOK_STORE(pm, dst, len)  ((void)(pm))
#define ADIT__PM_HOOK_NT(pm, dst, len)	   ((void)(pm))
#define ADIT__PM_HOOK_FLUSH(pm, addr, len) ((void)(pm))
#define ADIT__PM_HOOK_FENCE(pm)		   ((void)(pm))
#endif

/*
 * Store bytes without tearing any aligned 8-byte word. The words are relaxed atomics, so that two
 * processes (or a lock-free reader) may meet here.
 */
static inline void adit__pm_put_bytes(uint8_t *dst, const uint8_t *src, size_t len_bytes)
{
	while (len_bytes > 0 && ((uintptr_t)dst & 7u) != 0) {
		__atomic_store_n(dst++, *src++, __ATOMIC_RELAXED);
		len_bytes--;
	}
	while (len_bytes >= 8) {
		uint64_t word;

		memcpy(&word, src, sizeof word);
		__atomic_store_n((adit__pm_word64 *)(void *)dst, word, __ATOMIC_RELAXED);
		dst += 8;
		src += 8;
		len_bytes -= 8;
	}
	while (len_bytes > 0) {
		__atomic_store_n(dst++, *src++, __ATOMIC_RELAXED);
		len_bytes--;
	}
}

static inline void adit__pm_put_zeros(uint8_t *dst, size_t len_bytes)
{
	while (len_bytes > 0 && ((uintptr_t)dst & 7u) != 0) {
		__atomic_store_n(dst++, (uint8_t)0, __ATOMIC_RELAXED);
		len_bytes--;
	}
	while (len_bytes >= 8) {
		__atomic_store_n((adit__pm_word64 *)(void *)dst, (uint64_t)0, __ATOMIC_RELAXED);
		dst += 8;
		len_bytes -= 8;
	}
	while (len_bytes > 0) {
		__atomic_store_n(dst++, (uint8_t)0, __ATOMIC_RELAXED);
		len_bytes--;
	}
}

/*
 * The ordinary stores: not flushed. dst lies in pm; src may be anywhere that does not overlap dst.
 */
static inline void adit__pm_store(struct adit_pm *pm, void *dst, const void *src, size_t len_bytes)
{
	adit__pm_put_bytes((uint8_t *)dst, (const uint8_t *)src, len_bytes);
	ADIT__PM_HOOK_STORE(pm, dst, len_bytes);
}

/* Single stores: dst is aligned to its size; v is written in native byte order. */
static inline void adit__pm_store64(struct adit_pm *pm, void *dst, uint64_t v)
{
	__atomic_store_n((adit__pm_word64 *)dst, v, __ATOMIC_RELAXED);
	ADIT__PM_HOOK_STORE(pm, dst, sizeof v);
}

static inline void adit__pm_store32(struct adit_pm *pm, void *dst, uint32_t v)
{
	__atomic_store_n((adit__pm_word32 *)dst, v, __ATOMIC_RELAXED);
	ADIT__PM_HOOK_STORE(pm, dst, sizeof v);
}

static inline void adit__pm_zero(struct adit_pm *pm, void *dst, size_t len_bytes)
{
	adit__pm_put_zeros((uint8_t *)dst, len_bytes);
	ADIT__PM_HOOK_STORE(pm, dst, len_bytes);
}

/* Atomic read-modify-writes of an aligned native word, relaxed. */
static inline void adit__pm_or64(struct adit_pm *pm, void *dst, uint64_t bits)
{
	__atomic_fetch_or((adit__pm_word64 *)dst, bits, __ATOMIC_RELAXED);
	ADIT__PM_HOOK_STORE(pm, dst, sizeof bits);
}

static inline void adit__pm_andnot64(struct adit_pm *pm, void *dst, uint64_t bits)
{
	__atomic_fetch_and((adit__pm_word64 *)dst, ~bits, __ATOMIC_RELAXED);
	ADIT__PM_HOOK_STORE(pm, dst, sizeof bits);
}

static inline void adit__pm_max64(struct adit_pm *pm, void *dst, uint64_t v)
{
	uint64_t old = __atomic_load_n((adit__pm_word64 *)dst, __ATOMIC_RELAXED);

	while (old < v && !__atomic_compare_exchange_n((adit__pm_word64 *)dst, &old, v, true,
						       __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
	}
	ADIT__PM_HOOK_STORE(pm, dst, sizeof v);
}

/* Bulk: copied (zeroed) and flushed, durable after the next fence. */
static inline void adit__pm_copy_nt(struct adit_pm *pm, void *dst, const void *src,
				    size_t len_bytes)
{
	pm->ops->copy_nt(pm, dst, src, len_bytes);
	ADIT__PM_HOOK_NT(pm, dst, len_bytes);
}

static inline void adit__pm_zero_nt(struct adit_pm *pm, void *dst, size_t len_bytes)
{
	pm->ops->zero_nt(pm, dst, len_bytes);
	ADIT__PM_HOOK_NT(pm, dst, len_bytes);
}

static inline void adit__pm_flush(struct adit_pm *pm, const void *addr, size_t len_bytes)
{
	pm->ops->flush(pm, addr, len_bytes);
	ADIT__PM_HOOK_FLUSH(pm, addr, len_bytes);
}

static inline void adit__pm_fence(struct adit_pm *pm)
{
	pm->ops->fence(pm);
	ADIT__PM_HOOK_FENCE(pm);
}

#endif
