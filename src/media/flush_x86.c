/* SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause */
/*
 * flush_x86.c - clwb, clflushopt or clflush; SSE2, AVX2 or AVX-512 non-temporal stores; sfence.
 *
 * PCOMMIT was withdrawn: once a line left the caches (or a non-temporal store the write-combining
 * buffers) and sfence returned, it is in the power-fail-protected domain. Valgrind 3.19 and old CPUs know
 * neither clwb nor clflushopt, so everything is picked by CPUID, and the register files by XCR0 too.
 */
#include "media/flush.h"

#if defined(__x86_64__)

#include <cpuid.h>
#include <emmintrin.h>
#include <immintrin.h>
#include <pthread.h>

#define LINE ((size_t)ADIT_PM_LINE_BYTES)

/* --- write-back -------------------------------------------------------------------------- */

#define DEFINE_FLUSH(insn)                                                                         \
	static void flush_##insn(const void *addr, size_t len_bytes)                               \
	{                                                                                          \
		uintptr_t line = (uintptr_t)addr & ~(uintptr_t)(LINE - 1);                         \
		uintptr_t end = (uintptr_t)addr + len_bytes;                                       \
                                                                                                   \
		for (; line < end; line += LINE)                                                   \
			__asm__ volatile(#insn " %0" : "+m"(*(volatile char *)line));              \
	}

DEFINE_FLUSH(clwb)
DEFINE_FLUSH(clflushopt)
DEFINE_FLUSH(clflush)

static void fence_sfence(void)
{
	__asm__ volatile("sfence" ::: "memory");
}

/* --- non-temporal lines ------------------------------------------------------------------ */

static void stream_copy_sse2(void *dst, const void *src, size_t lines)
{
	__m128i *to = dst;
	const __m128i *from = src;

	for (; lines > 0; lines--, to += 4, from += 4) {
		__m128i a = _mm_loadu_si128(from), b = _mm_loadu_si128(from + 1);
		__m128i c = _mm_loadu_si128(from + 2), d = _mm_loadu_si128(from + 3);

		_mm_stream_si128(to, a);
		_mm_stream_si128(to + 1, b);
		_mm_stream_si128(to + 2, c);
		_mm_stream_si128(to + 3, d);
	}
}

static void stream_zero_sse2(void *dst, size_t lines)
{
	__m128i *to = dst;
	const __m128i zero = _mm_setzero_si128();

	for (; lines > 0; lines--, to += 4) {
		_mm_stream_si128(to, zero);
		_mm_stream_si128(to + 1, zero);
		_mm_stream_si128(to + 2, zero);
		_mm_stream_si128(to + 3, zero);
	}
}

__attribute__((target("avx2"))) static void stream_copy_avx2(void *dst, const void *src,
							     size_t lines)
{
	__m256i *to = dst;
	const __m256i *from = src;

	for (; lines > 0; lines--, to += 2, from += 2) {
		__m256i a = _mm256_loadu_si256(from), b = _mm256_loadu_si256(from + 1);

		_mm256_stream_si256(to, a);
		_mm256_stream_si256(to + 1, b);
	}
}

__attribute__((target("avx2"))) static void stream_zero_avx2(void *dst, size_t lines)
{
	__m256i *to = dst;
	const __m256i zero = _mm256_setzero_si256();

	for (; lines > 0; lines--, to += 2) {
		_mm256_stream_si256(to, zero);
		_mm256_stream_si256(to + 1, zero);
	}
}

__attribute__((target("avx512f"))) static void stream_copy_avx512(void *dst, const void *src,
								  size_t lines)
{
	uint8_t *to = dst;
	const uint8_t *from = src;

	/* Four loads ahead of four stores hide the source's misses. */
	for (; lines >= 4; lines -= 4, to += 4 * LINE, from += 4 * LINE) {
		__m512i a = _mm512_loadu_si512(from), b = _mm512_loadu_si512(from + LINE);
		__m512i c = _mm512_loadu_si512(from + 2 * LINE);
		__m512i d = _mm512_loadu_si512(from + 3 * LINE);

		_mm512_stream_si512((void *)to, a);
		_mm512_stream_si512((void *)(to + LINE), b);
		_mm512_stream_si512((void *)(to + 2 * LINE), c);
		_mm512_stream_si512((void *)(to + 3 * LINE), d);
	}
	for (; lines > 0; lines--, to += LINE, from += LINE)
		_mm512_stream_si512((void *)to, _mm512_loadu_si512(from));
}

__attribute__((target("avx512f"))) static void stream_zero_avx512(void *dst, size_t lines)
{
	uint8_t *to = dst;
	const __m512i zero = _mm512_setzero_si512();

	for (; lines > 0; lines--, to += LINE)
		_mm512_stream_si512((void *)to, zero);
}

/* --- which of them ----------------------------------------------------------------------- */

/*
 * bench/flush.c, Sapphire Rapids: 512 bytes 236 ns stored and flushed, 276 streamed; 1 KiB 324 and 290;
 * 4 KiB 1103 and 477, whatever the registers. clflush waits for every line: 128 bytes 341 and 263.
 */
#define STREAM_MIN_clwb	      768
#define STREAM_MIN_clflushopt 768
#define STREAM_MIN_clflush    128

#define VARIANT(insn, isa)                                                                         \
	{                                                                                          \
		.name = #insn "+" #isa, .flush_name = #insn, .flush = flush_##insn,                \
		.fence = fence_sfence, .stream_copy = stream_copy_##isa,                           \
		.stream_zero = stream_zero_##isa, .stream_min_bytes = STREAM_MIN_##insn,           \
	}

/* Row: instruction, best first. Column: registers, best first. */
static const struct adit_flush_variant table[3][3] = {
	{VARIANT(clwb, avx512), VARIANT(clwb, avx2), VARIANT(clwb, sse2)},
	{VARIANT(clflushopt, avx512), VARIANT(clflushopt, avx2), VARIANT(clflushopt, sse2)},
	{VARIANT(clflush, avx512), VARIANT(clflush, avx2), VARIANT(clflush, sse2)},
};

static const struct adit_flush_variant *usable[9];
static size_t usable_count;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static uint64_t read_xcr0(void)
{
	uint32_t low, high;

	__asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
	return (uint64_t)high << 32 | low;
}

static void find_usable(void)
{
	unsigned a, b, c, d, b7 = 0, c7, d7;
	uint64_t xcr0 = 0;
	bool row[3] = {false, false, true}, column[3] = {false, false, true};

	if (__get_cpuid(1, &a, &b, &c, &d) && (c & (1u << 27)))
		xcr0 = read_xcr0();
	if (__get_cpuid_count(7, 0, &a, &b7, &c7, &d7)) {
		row[0] = b7 & (1u << 24);
		row[1] = b7 & (1u << 23);
		column[0] = (b7 & (1u << 16)) && (xcr0 & 0xe6) == 0xe6;
		column[1] = (b7 & (1u << 5)) && (xcr0 & 0x06) == 0x06;
	}
	for (int r = 0; r < 3; r++) {
		for (int k = 0; k < 3; k++) {
			if (row[r] && column[k])
				usable[usable_count++] = &table[r][k];
		}
	}
}

size_t adit__flush_variants(const struct adit_flush_variant *const **out)
{
	pthread_once(&once, find_usable);
	*out = usable;
	return usable_count;
}

#else
typedef int adit__flush_x86_unused; /* ISO C: no empty translation unit */
#endif
