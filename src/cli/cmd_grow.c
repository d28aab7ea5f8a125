/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * cmd_grow.c - adit grow: make a pool larger, whoever works on it.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "cli/cli.h"
#include "cli/json.h"

/* SIZE or +SIZE; 0: to the end of the medium. */
static uint64_t wanted_size(const char *text, const struct adit_pool_info *info)
{
	uint64_t size_bytes;

	if (text == NULL)
		return 0;
	if (!cli_parse_size(text + (text[0] == '+'), &size_bytes) || size_bytes == 0)
		cli_usage("%s: no such size; write 8G, +512M, ...", text);
	if (text[0] != '+')
		return size_bytes;
	if (size_bytes > UINT64_MAX - info->size_bytes)
		cli_usage("%s: a pool has at most 4P", text);
	return info->size_bytes + size_bytes;
}

static int explain(int rc, const char *path, const struct adit_pool_info *info)
{
	char size[CLI_HUMAN];

	if (rc == -EINVAL)
		return cli_error("%s: cannot grow: it has %" PRIu64
				 " bytes (%s) and does not shrink; give a larger "
				 "size (EINVAL)",
				 path, info->size_bytes, cli_human(size, info->size_bytes));
	return cli_fail(rc, "%s: cannot grow", path);
}

static void show(const char *path, const struct adit_pool_info *was,
		 const struct adit_pool_info *is)
{
	char old[CLI_HUMAN], now[CLI_HUMAN];
	json_t *o;

	if (!cli.json) {
		printf("%s: %s (%" PRIu64 " bytes), was %s\n", path, cli_human(now, is->size_bytes),
		       is->size_bytes, cli_human(old, was->size_bytes));
		return;
	}
	o = json_object();
	cli_json_bytes(o, "pool", path);
	cli_json_int(o, "size_bytes", is->size_bytes);
	cli_json_int(o, "was_bytes", was->size_bytes);
	cli_json_int(o, "free_bytes", is->free_blocks * is->block_bytes);
	cli_json_int(o, "groups", is->groups);
	cli_json_print(o);
}

int adit__cmd_grow(int argc, char **argv)
{
	static const struct poptOption options[] = {CLI_GLOBAL_OPTIONS};
	struct adit_pool_info was, is;
	struct cli_path at;
	const char **args;
	uint64_t size_bytes;
	int count, rc;

	args = cli_parse(argc, argv, options, "POOL [SIZE|+SIZE]",
			 "Makes a pool larger: SIZE in all, or so much more with a +; without, as "
			 "large as its file\n"
			 "or device is. Programs that have it open go on, and see the space at "
			 "once. A pool never\n"
			 "shrinks.",
			 1, 2, &count);
	rc = cli_pool_path(args[0], CLI_WRITE, &at);
	if (rc != CLI_OK)
		return rc;
	adit_info(at.pool, &was);
	size_bytes = wanted_size(args[1], &was);
	rc = adit_grow(at.pool, size_bytes);
	adit_info(at.pool, &is);
	if (rc < 0)
		rc = explain(rc, args[0], &was);
	else
		show(args[0], &was, &is);
	cli_free_path(&at);
	return rc;
}
