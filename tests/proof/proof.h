/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a suite tried and found, for the page that scripts/soak makes (build/proof.html).
 *
 * A suite writes one file, $ADIT_PROOF_DIR/<suite>.json; without that variable nothing is written and
 * every call is free. Scripts write the same file themselves:
 *
 *   { "suite": "crash", "reliability": "R1 R4", "what": "one sentence", "seed": "17",
 *     "tried": { "images": 1058114, "points": 23063 },        counts, in the order they are shown
 *     "failures": 0, "seconds": 83.1,
 *     "notes": [ "what was left out, and why" ],
 *     "matrix": { "title": "images per operation and state", "columns": [ "empty", "inline" ],
 *                 "rows": { "create": [ 120, 0 ] } } }
 *
 * "notes" and "matrix" may be absent. One process, one thread.
 */
#ifndef TESTS_PROOF_H
#define TESTS_PROOF_H

#include <stddef.h>
#include <stdint.h>

struct proof;

/* Returns NULL where nothing is to be written; every other function takes that NULL. The strings are copied. */
struct proof *proof_begin(const char *suite, const char *reliability, const char *what);

void proof_seed(struct proof *proof, uint64_t seed);
void proof_count(struct proof *proof, const char *what, uint64_t count);
void proof_note(struct proof *proof, const char *text);

/* One matrix a suite. Cells that are not set are 0. */
void proof_matrix(struct proof *proof, const char *title, const char *const *columns,
		  size_t ncolumns);
void proof_row(struct proof *proof, const char *row, const uint64_t *counts);

/* Writes the file (whole, or not at all) and frees. Returns 0 or -1 with a line on stderr. */
int proof_end(struct proof *proof, uint64_t failures);

#endif
