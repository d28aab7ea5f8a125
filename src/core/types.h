/* SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause */
/*
 * Little-endian integers as single-member structs, so that a media field
 * cannot be used as a number by accident, and the few macros that all of the
 * core needs.  Nothing here touches the pool.
 */
#ifndef ADIT_CORE_TYPES_H
#define ADIT_CORE_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef struct { uint16_t v; } le16;
typedef struct { uint32_t v; } le32;
typedef struct { uint64_t v; } le64;

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
#define ADIT_SWAP16(x) __builtin_bswap16(x)
#define ADIT_SWAP32(x) __builtin_bswap32(x)
#define ADIT_SWAP64(x) __builtin_bswap64(x)
#else
#define ADIT_SWAP16(x) (x)
#define ADIT_SWAP32(x) (x)
#define ADIT_SWAP64(x) (x)
#endif

static inline uint16_t get16(le16 x) { return ADIT_SWAP16(x.v); }
static inline uint32_t get32(le32 x) { return ADIT_SWAP32(x.v); }
static inline uint64_t get64(le64 x) { return ADIT_SWAP64(x.v); }
static inline le16 put16(uint16_t x) { return (le16){ADIT_SWAP16(x)}; }
static inline le32 put32(uint32_t x) { return (le32){ADIT_SWAP32(x)}; }
static inline le64 put64(uint64_t x) { return (le64){ADIT_SWAP64(x)}; }

/* A media word that other threads may store to while this one reads it. */
static inline uint32_t get32_relaxed(const le32 *p)
{
	return ADIT_SWAP32(__atomic_load_n(&p->v, __ATOMIC_RELAXED));
}
static inline uint64_t get64_relaxed(const le64 *p)
{
	return ADIT_SWAP64(__atomic_load_n(&p->v, __ATOMIC_RELAXED));
}

#define ADIT_STATIC_ASSERT(cond, msg) _Static_assert(cond, msg)
#define ADIT_AT(type, field, offset)                                           \
	ADIT_STATIC_ASSERT(offsetof(type, field) == (offset),                  \
			   #type "." #field " moved")
#define ADIT_SIZE(type, size)                                                  \
	ADIT_STATIC_ASSERT(sizeof(type) == (size), #type " changed size")

#define ADIT_LIKELY(x) __builtin_expect(!!(x), 1)
#define ADIT_UNLIKELY(x) __builtin_expect(!!(x), 0)
/* Keeps a rare path, or a function that has a guard (fs/guard.h), apart from its callers. */
#define ADIT_NOINLINE __attribute__((noinline))
#define ADIT_MUST_CHECK __attribute__((warn_unused_result))
#define ADIT_PRINTF(a, b) __attribute__((format(printf, a, b)))

/* Bits set; the builtin would call into the compiler's library, which a kernel
 * does not have. */
static inline unsigned popcount_u64(uint64_t x)
{
	x -= (x >> 1) & 0x5555555555555555ull;
	x = (x & 0x3333333333333333ull) + ((x >> 2) & 0x3333333333333333ull);
	x = (x + (x >> 4)) & 0x0f0f0f0f0f0f0f0full;
	return (unsigned)((x * 0x0101010101010101ull) >> 56);
}

static inline uint64_t min_u64(uint64_t a, uint64_t b) { return a < b ? a : b; }
static inline uint64_t max_u64(uint64_t a, uint64_t b) { return a > b ? a : b; }
static inline uint64_t round_up_u64(uint64_t x, uint64_t to)
{
	return (x + to - 1) / to * to;
}
static inline uint64_t round_down_u64(uint64_t x, uint64_t to)
{
	return x / to * to;
}

#endif
