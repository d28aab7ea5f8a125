/* SPDX-License-Identifier: BSD-3-Clause */
/* fuzz.c - what all targets use, whoever runs them; see fuzz.h. */
#include "fuzz.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "op.h"

#define COUNTS 16u

static struct {
	const char *what;
	uint64_t n;
} counts[COUNTS];

void fuzz_count(const char *what, uint64_t n)
{
	unsigned i = 0;

	while (i < COUNTS - 1 && counts[i].what && strcmp(counts[i].what, what) != 0)
		i++;
	counts[i].what = what;
	counts[i].n += n;
}

const char *fuzz_counted(unsigned i, uint64_t *n)
{
	if (i >= COUNTS)
		return NULL;
	*n = counts[i].n;
	return counts[i].what;
}

static uint64_t state;

void fuzz_seed(uint64_t seed)
{
	state = seed;
}

uint64_t fuzz_below(uint64_t n)
{
	return op_random(&state) % n;
}

_Noreturn void fuzz_fail(const char *format, ...)
{
	va_list args;

	fprintf(stderr, "FAILED: ");
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	abort();
}
