/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * writer.c - the program that scripts/demo kills.
 *
 *	adit-demo-writer run POOL BASE SEED LOG
 *	adit-demo-writer verify POOL BASE SEED LOG
 *	adit-demo-writer still POOL BASE SEED COUNT
 *
 * run makes operations below the directory POOL:BASE until it is killed, and says so in LOG, one line
 * for each call that has returned. verify reads LOG, makes the same operations on a model, and finds
 * the pool to be what it is after the last acknowledged operation, or after the one that was under
 * way; prints how many operations took effect. still finds exactly COUNT of them, later on.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ops.h"

static int open_pool(const char *path, unsigned flags, struct adit_pool **pool)
{
	struct adit_open_options options = {.flags = flags};
	int rc = adit_open(path, &options, pool);

	if (rc < 0)
		fprintf(stderr, "%s: cannot be opened: %s\n", path, strerror(-rc));
	return rc;
}

/* One write(2): a line is there whole or not at all. */
static void acknowledge(int log, uint64_t number, const struct op *op)
{
	char line[64];
	int n = snprintf(line, sizeof line, "%" PRIu64 " %s\n", number, op_name(op->kind));

	if (write(log, line, (size_t)n) != n) {
		perror("log");
		exit(2);
	}
}

static int run(const char *path, const char *base, const char *log_path, struct model *m)
{
	int log = open(log_path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND, 0644), rc;
	struct adit_pool *pool;

	if (log < 0) {
		perror(log_path);
		return 2;
	}
	if (open_pool(path, 0, &pool) < 0)
		return 2;
	rc = adit_mkdir(pool, base, 0755);
	if (rc < 0) {
		fprintf(stderr, "%s: %s\n", base, strerror(-rc));
		return 2;
	}
	for (;;) {
		struct op op;

		model_next(m, &op);
		rc = pool_apply(pool, base, &op);
		if (rc < 0) {
			fprintf(stderr, "operation %" PRIu64 " (%s) failed: %s\n", m->done,
				op_name(op.kind), strerror(-rc));
			return 1;
		}
		acknowledge(log, m->done, &op);
		model_apply(m, &op);
	}
}

/* Complete lines of the log. */
static uint64_t count_acknowledged(const char *log_path)
{
	FILE *f = fopen(log_path, "r");
	uint64_t lines = 0;
	int c;

	if (f == NULL)
		return 0; /* killed before it began */
	while ((c = getc(f)) != EOF)
		lines += c == '\n';
	fclose(f);
	return lines;
}

static int verify(const char *path, const char *base, const char *log_path, struct model *m)
{
	uint64_t acknowledged = count_acknowledged(log_path);
	char why[512], why_next[512];
	struct adit_pool *pool;
	struct op op;

	if (open_pool(path, 0, &pool) < 0)
		return 2;
	if (adit_access(pool, base, F_OK) == -ENOENT && acknowledged == 0) {
		adit_close(pool);
		printf("0\n");
		return 0;
	}
	model_advance(m, acknowledged);
	if (!model_matches(m, pool, base, why, sizeof why)) {
		model_next(m, &op);
		model_apply(m, &op);
		if (!model_matches(m, pool, base, why_next, sizeof why_next)) {
			fprintf(stderr,
				"after %" PRIu64 " acknowledged operations: %s\n"
				"nor with the one under way (%s): %s\n",
				acknowledged, why, op_name(op.kind), why_next);
			return 1;
		}
	}
	printf("%" PRIu64 "\n", m->done);
	return adit_close(pool) < 0 ? 2 : 0;
}

static int still(const char *path, const char *base, const char *count, struct model *m)
{
	struct adit_pool *pool;
	char why[512];
	int rc = 0;

	if (open_pool(path, ADIT_OPEN_RDONLY, &pool) < 0)
		return 2;
	model_advance(m, strtoull(count, NULL, 0));
	/* Killed before it made its directory: then there is nothing to find. */
	if ((m->done > 0 || adit_access(pool, base, F_OK) == 0) &&
	    !model_matches(m, pool, base, why, sizeof why)) {
		fprintf(stderr, "after %" PRIu64 " operations: %s\n", m->done, why);
		rc = 1;
	}
	return adit_close(pool) < 0 ? 2 : rc;
}

int main(int argc, char **argv)
{
	struct model m;
	int rc = 2;

	if (argc != 6) {
		fprintf(stderr,
			"usage: adit-demo-writer run|verify|still POOL BASE SEED LOG|COUNT\n");
		return 2;
	}
	model_init(&m, strtoull(argv[4], NULL, 0));
	if (strcmp(argv[1], "run") == 0)
		rc = run(argv[2], argv[3], argv[5], &m);
	else if (strcmp(argv[1], "verify") == 0)
		rc = verify(argv[2], argv[3], argv[5], &m);
	else if (strcmp(argv[1], "still") == 0)
		rc = still(argv[2], argv[3], argv[5], &m);
	model_finish(&m);
	return rc;
}
