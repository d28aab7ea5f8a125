/* SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause */
/*
 * flush_aarch64.c - DC CVADP or DC CVAP, else DC CVAC; DSB.
 *
 * CVAP cleans to the point of persistence, CVADP to that of deep persistence. A CPU with neither
 * has no persistent memory; there CVAC, which user space may use too, keeps the order right for
 * --assume memory. Lines of data caches are 64 bytes or more here (CTR_EL0.DminLine is at least 4);
 * stepping by 64 cleans a longer line twice, which is harmless.
 */
#include "media/flush.h"

#if defined(__aarch64__)

#include <sys/auxv.h>

#ifndef HWCAP_DCPOP
#define HWCAP_DCPOP (1ul << 16)
#endif
#ifndef HWCAP2_DCPODP
#define HWCAP2_DCPODP (1ul << 0)
#endif

#define LINE ((size_t)ADIT_PM_LINE_BYTES)

/* Encoded by hand: assemblers want -march=armv8.2-a (8.5-a) for the names. */
#define OP_CVAC	 "sys #3, c7, c10, #1, %0"
#define OP_CVAP	 "sys #3, c7, c12, #1, %0"
#define OP_CVADP "sys #3, c7, c13, #1, %0"

#define DEFINE_FLUSH(name, op)                                                                     \
	static void flush_##name(const void *addr, size_t len_bytes)                               \
	{                                                                                          \
		uintptr_t line = (uintptr_t)addr & ~(uintptr_t)(LINE - 1);                         \
		uintptr_t end = (uintptr_t)addr + len_bytes;                                       \
                                                                                                   \
		for (; line < end; line += LINE)                                                   \
			__asm__ volatile(op ::"r"(line) : "memory");                               \
	}

DEFINE_FLUSH(cvac, OP_CVAC)
DEFINE_FLUSH(cvap, OP_CVAP)
DEFINE_FLUSH(cvadp, OP_CVADP)

static void fence_dsb(void)
{
	__asm__ volatile("dsb ish" ::: "memory");
}

/*
 * DC CVAP of a line written with STNP is as needed as after STP, so nothing is gained by streaming:
 * bulk data takes the store-and-flush path (stream_min_bytes).
 */
static const struct adit_flush_variant cvadp = {
	.name = "dc cvadp",
	.flush_name = "dc cvadp",
	.flush = flush_cvadp,
	.fence = fence_dsb,
	.stream_min_bytes = SIZE_MAX,
};
static const struct adit_flush_variant cvap = {
	.name = "dc cvap",
	.flush_name = "dc cvap",
	.flush = flush_cvap,
	.fence = fence_dsb,
	.stream_min_bytes = SIZE_MAX,
};
static const struct adit_flush_variant cvac = {
	.name = "dc cvac",
	.flush_name = "dc cvac",
	.flush = flush_cvac,
	.fence = fence_dsb,
	.stream_min_bytes = SIZE_MAX,
};

static const struct adit_flush_variant *const usable[] = {&cvadp, &cvap, &cvac};

size_t adit__flush_variants(const struct adit_flush_variant *const **out)
{
	size_t first = 2;

	if (getauxval(AT_HWCAP2) & HWCAP2_DCPODP)
		first = 0;
	else if (getauxval(AT_HWCAP) & HWCAP_DCPOP)
		first = 1;
	*out = usable + first;
	return 3 - first;
}

#else
typedef int adit__flush_aarch64_unused; /* ISO C: no empty translation unit */
#endif
