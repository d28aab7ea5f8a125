/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * fuzz.h - what a fuzz target is, and what runs it.
 *
 * A target is one file fuzz_*.c with the functions below. Two things run it:
 *   libFuzzer   clang's, when the build was configured by scripts/fuzz: coverage-guided, for hours;
 *   driver.c    a plain main() in every other build: the corpus, the cases, then seeded random inputs
 *               of the target's own mutator for some seconds. That is what `make check` runs.
 * libFuzzer and not AFL++: it lies beside the compiler that is needed anyhow, its custom mutators are C
 * functions that work in the driver too, and it never forks, so that base images are made once.
 *
 * A target never does file system I/O: pools lie in memory, and what an input touched is given back to
 * the kernel page by page, so that it does not matter how large they are.
 */
#ifndef ADIT_TEST_FUZZ_H
#define ADIT_TEST_FUZZ_H

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed);
/* Of libFuzzer, or of the driver. */
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max);

extern const char *const fuzz_name; /* "image" */

/* ---- fuzz.c ---- */

/* What was counted since the start; at most 16 names. */
void fuzz_count(const char *what, uint64_t n);
/* Count i, or NULL. */
const char *fuzz_counted(unsigned i, uint64_t *n);

/* Chance for mutators: below n, the same after the same seed. */
void fuzz_seed(uint64_t seed);
uint64_t fuzz_below(uint64_t n);

/* The input shows a bug: says why and aborts. */
_Noreturn void fuzz_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
