/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * pools.c - the pools that a command has open. One that is named twice, by whatever path, is opened
 * once; all are closed at the end, because only a closed pool is marked clean.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/cli.h"

struct open_pool {
	struct open_pool *next;
	char *name;
	dev_t dev;
	ino_t ino;
	struct adit_pool *pool;
	int mode;
};
static struct open_pool *pools;

void cli_report(void *ctx, const char *line)
{
	cli_progress_done();
	fflush(stdout);
	fprintf(stderr, "%s: %s: %s\n", cli.program, (const char *)ctx, line);
}

static int open_pool(struct open_pool *p)
{
	struct adit_open_options options = {
		.flags = p->mode == CLI_READ ? ADIT_OPEN_RDONLY : 0,
		.assume = cli.assume,
		.report = cli_report,
		.report_ctx = p->name,
	};

	int rc = adit_open(p->name, &options, &p->pool);

	/* Somebody writes: look as one of them. */
	if (rc == -EBUSY && p->mode == CLI_READ) {
		options.flags = 0;
		if (adit_open(p->name, &options, &p->pool) == 0)
			rc = 0;
	}
	return rc;
}

int cli_open_path(struct cli_path *path, int mode)
{
	struct open_pool *p;
	struct stat st;
	int rc;

	if (path->pool_name == NULL || path->pool != NULL)
		return CLI_OK;
	if (stat(path->pool_name, &st) < 0)
		return cli_fail_pool(errno, path->pool_name, "cannot open the pool");
	for (p = pools; p != NULL; p = p->next) {
		if (p->dev == st.st_dev && p->ino == st.st_ino) {
			path->pool = p->pool;
			return CLI_OK;
		}
	}
	p = cli_alloc(sizeof *p);
	p->name = cli_strdup(path->pool_name);
	p->dev = st.st_dev;
	p->ino = st.st_ino;
	p->mode = mode;
	rc = open_pool(p);
	if (rc < 0) {
		free(p->name);
		free(p);
		return cli_fail_pool(rc, path->pool_name, "cannot open the pool");
	}
	p->next = pools;
	pools = p;
	path->pool = p->pool;
	return CLI_OK;
}

int cli_pool_path(const char *arg, int mode, struct cli_path *out)
{
	int rc;

	cli_split(arg, true, out);
	rc = cli_open_path(out, mode);
	if (rc != CLI_OK)
		cli_free_path(out);
	return rc;
}

int cli_close_pools(void)
{
	int result = CLI_OK;

	while (pools != NULL) {
		struct open_pool *p = pools;
		int rc = adit_close(p->pool);

		if (rc < 0)
			result = cli_fail(rc, "%s: closing the pool; the last changes may be lost",
					  p->name);
		pools = p->next;
		free(p->name);
		free(p);
	}
	return result;
}
