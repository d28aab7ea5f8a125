/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * flush.c - where does streaming past the caches beat storing and flushing?
 *
 * For each variant of this CPU and each length, the time of one copy and fence: by ordinary stores and a
 * write-back of the lines, and by non-temporal stores. The crossing justifies stream_min_bytes in
 * src/media/flush_*.c. Destinations walk through 64 MiB, as a log or fresh blocks do; the source is hot.
 * Best of several rounds: trust the ratios.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "media/flush.h"
#include "media/pmem.h"

#define AREA_BYTES ((size_t)64 << 20)
#define ROUNDS	   5

static uint8_t *area;
static uint8_t source[65536] __attribute__((aligned(64)));

static double now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static void store_and_flush(const struct adit_flush_variant *v, uint8_t *dst, size_t len)
{
	adit__pm_put_bytes(dst, source, len);
	v->flush(dst, len);
}

static void stream(const struct adit_flush_variant *v, uint8_t *dst, size_t len)
{
	v->stream_copy(dst, source, len / ADIT_PM_LINE_BYTES);
}

static double measure(const struct adit_flush_variant *v, size_t len,
		      void (*copy)(const struct adit_flush_variant *, uint8_t *, size_t))
{
	size_t count = AREA_BYTES / len < 4000 ? AREA_BYTES / len : 4000;
	double best = 1e18;

	for (int round = 0; round < ROUNDS; round++) {
		size_t at = (size_t)round * 4096 * 777 % AREA_BYTES & ~(size_t)63;
		double begin = now_ns(), each;

		for (size_t i = 0; i < count; i++) {
			if (at + len > AREA_BYTES)
				at = 0;
			copy(v, area + at, len);
			v->fence();
			at += len;
		}
		each = (now_ns() - begin) / (double)count;
		if (each < best)
			best = each;
	}
	return best;
}

int main(void)
{
	const struct adit_flush_variant *const *variants;
	size_t n = adit__flush_variants(&variants);

	area = mmap(NULL, AREA_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (area == MAP_FAILED)
		return 1;
	madvise(area, AREA_BYTES, MADV_HUGEPAGE);
	memset(area, 1, AREA_BYTES);
	memset(source, 2, sizeof source);

	printf("ns per copy and fence; * marks what copy_nt uses\n");
	for (size_t i = 0; i < n; i++) {
		const struct adit_flush_variant *v = variants[i];

		if (v->stream_copy == NULL)
			continue;
		printf("\n%-18s %12s %12s\n", v->name, v->flush_name, "streamed");
		for (size_t len = 64; len <= sizeof source; len *= 2) {
			bool streamed = len >= v->stream_min_bytes;

			printf("%10zu bytes %11.0f%c %11.0f%c\n", len,
			       measure(v, len, store_and_flush), streamed ? ' ' : '*',
			       measure(v, len, stream), streamed ? '*' : ' ');
		}
	}
	return 0;
}
