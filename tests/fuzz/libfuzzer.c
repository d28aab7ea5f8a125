/* SPDX-License-Identifier: BSD-3-Clause */
/* libfuzzer.c - beside libFuzzer: prints what was counted when it ends without a failure. */
#include <stdio.h>
#include <stdlib.h>

#include "fuzz.h"

static void print_counts(void)
{
	uint64_t n;

	for (unsigned i = 0; fuzz_counted(i, &n); i++)
		fprintf(stderr, "count: %s %llu\n", fuzz_counted(i, &n), (unsigned long long)n);
}

static __attribute__((constructor)) void begin(void)
{
	atexit(print_counts);
}
