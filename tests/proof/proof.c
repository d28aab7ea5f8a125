/* SPDX-License-Identifier: BSD-3-Clause */
/* See proof.h. */
#include "proof.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

struct proof {
	json_t *root;
	double began;
	size_t ncolumns;
};

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

struct proof *proof_begin(const char *suite, const char *reliability, const char *what)
{
	struct proof *proof;

	if (!getenv("ADIT_PROOF_DIR"))
		return NULL;
	proof = calloc(1, sizeof *proof);
	if (!proof)
		return NULL;
	proof->began = now();
	proof->root = json_pack("{s:s, s:s, s:s, s:{}}", "suite", suite, "reliability", reliability,
				"what", what, "tried");
	return proof;
}

void proof_seed(struct proof *proof, uint64_t seed)
{
	char text[24];

	if (!proof)
		return;
	snprintf(text, sizeof text, "%llu", (unsigned long long)seed);
	json_object_set_new(proof->root, "seed", json_string(text));
}

void proof_count(struct proof *proof, const char *what, uint64_t count)
{
	if (proof)
		json_object_set_new(json_object_get(proof->root, "tried"), what,
				    json_integer((json_int_t)count));
}

void proof_note(struct proof *proof, const char *text)
{
	json_t *notes;

	if (!proof)
		return;
	notes = json_object_get(proof->root, "notes");
	if (!notes) {
		notes = json_array();
		json_object_set_new(proof->root, "notes", notes);
	}
	json_array_append_new(notes, json_string(text));
}

void proof_matrix(struct proof *proof, const char *title, const char *const *columns,
		  size_t ncolumns)
{
	json_t *names;

	if (!proof)
		return;
	names = json_array();
	for (size_t i = 0; i < ncolumns; i++)
		json_array_append_new(names, json_string(columns[i]));
	proof->ncolumns = ncolumns;
	json_object_set_new(
		proof->root, "matrix",
		json_pack("{s:s, s:o, s:{}}", "title", title, "columns", names, "rows"));
}

void proof_row(struct proof *proof, const char *row, const uint64_t *counts)
{
	json_t *cells;

	if (!proof)
		return;
	cells = json_array();
	for (size_t i = 0; i < proof->ncolumns; i++)
		json_array_append_new(cells, json_integer((json_int_t)counts[i]));
	json_object_set_new(json_object_get(json_object_get(proof->root, "matrix"), "rows"), row,
			    cells);
}

int proof_end(struct proof *proof, uint64_t failures)
{
	char path[4096], whole[4096 + 8];
	int err;

	if (!proof)
		return 0;
	json_object_set_new(proof->root, "failures", json_integer((json_int_t)failures));
	json_object_set_new(proof->root, "seconds", json_real(now() - proof->began));
	snprintf(path, sizeof path, "%s/%s.json", getenv("ADIT_PROOF_DIR"),
		 json_string_value(json_object_get(proof->root, "suite")));
	snprintf(whole, sizeof whole, "%s.new", path);
	err = json_dump_file(proof->root, whole, JSON_INDENT(1) | JSON_PRESERVE_ORDER) ||
	      rename(whole, path);
	if (err)
		fprintf(stderr, "proof: cannot write %s\n", path);
	json_decref(proof->root);
	free(proof);
	return err ? -1 : 0;
}
