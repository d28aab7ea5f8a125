/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * cmd_cp.c - adit cp: options and operands; copy.c does the work.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/copy.h"
#include "cli/json.h"
#include "cli/vfs.h"

static int recursive, archive, preserve, no_follow, follow, keep_links, no_clobber, force, verbose,
	no_directory;

static const struct poptOption options[] = {
	{"recursive", 'r', POPT_ARG_NONE, &recursive, 0, "directories and everything in them",
	 NULL},
	{NULL, 'R', POPT_ARG_NONE, &recursive, 0, "the same", NULL},
	{"archive", 'a', POPT_ARG_NONE, &archive, 0, "everything as it is: -r -d -p, and holes",
	 NULL},
	{"preserve", 'p', POPT_ARG_NONE, &preserve, 0,
	 "keep modes, owners, times and extended attributes", NULL},
	{NULL, 'd', POPT_ARG_NONE, &keep_links, 0, "keep symbolic and hard links", NULL},
	{"no-dereference", 'P', POPT_ARG_NONE, &no_follow, 0, "copy symbolic links as such", NULL},
	{"dereference", 'L', POPT_ARG_NONE, &follow, 0, "copy what symbolic links point to", NULL},
	{"no-clobber", 'n', POPT_ARG_NONE, &no_clobber, 0, "replace nothing", NULL},
	{"force", 'f', POPT_ARG_NONE, &force, 0, "remove what cannot be opened, try again", NULL},
	{"no-target-directory", 'T', POPT_ARG_NONE, &no_directory, 0,
	 "the last operand is the new name, even if it is a directory", NULL},
	{"verbose", 'v', POPT_ARG_NONE, &verbose, 0, "say what is done", NULL},
	CLI_GLOBAL_OPTIONS};

static unsigned copy_flags(void)
{
	unsigned flags = 0;

	if (follow && (no_follow || keep_links))
		cli_usage("--dereference and --no-dereference exclude each other");
	if (recursive || archive)
		flags |= COPY_RECURSIVE;
	if (preserve || archive)
		flags |= COPY_MODE | COPY_TIMES | COPY_XATTRS;
	if (keep_links || archive)
		flags |= COPY_LINKS;
	if ((no_follow || keep_links || archive) && !follow)
		flags |= COPY_NO_FOLLOW;
	if (archive)
		flags |= COPY_HOLES;
	return flags | (follow ? COPY_FOLLOW : 0) | (no_clobber ? COPY_NO_CLOBBER : 0) |
	       (force ? COPY_FORCE : 0) | (verbose ? COPY_VERBOSE : 0);
}

static bool is_directory(const struct cli_path *at)
{
	struct stat st;

	return vfs_fstatat(at->pool, AT_FDCWD, at->path, &st, 0) == 0 && S_ISDIR(st.st_mode);
}

static bool is_dot(const char *name)
{
	return strcmp(name, ".") == 0 || strcmp(name, "..") == 0 || strcmp(name, "/") == 0;
}

/* Copies one operand; a copy goes on for as long as both its sides stay the same. */
static int copy_operand(struct copy *c, bool *begun, const char *arg, const struct cli_path *to,
			bool into)
{
	struct cli_path from;
	char *base, *target;
	int rc;

	cli_split(arg, false, &from);
	if (cli_open_path(&from, CLI_READ) != CLI_OK) {
		cli_free_path(&from);
		return CLI_FAILED;
	}
	if (*begun && c->from != from.pool) {
		uint64_t files = c->files, bytes = c->bytes;

		copy_finish(c);
		copy_init(c, from.pool, to->pool, copy_flags());
		c->files = files;
		c->bytes = bytes;
	} else if (!*begun) {
		copy_init(c, from.pool, to->pool, copy_flags());
	}
	*begun = true;
	base = cli_basename(from.path);
	/* The contents of "." and of a pool's root go straight into the target. */
	target = into && !is_dot(base) ? cli_join(to->path, base) : cli_strdup(to->path);
	rc = copy_tree(c, from.path, target);
	free(base);
	free(target);
	cli_free_path(&from);
	return rc;
}

int adit__cmd_cp(int argc, char **argv)
{
	int count, result = CLI_OK;
	bool begun = false, into;
	struct cli_path to;
	const char **args;
	struct copy c = {0};

	args = cli_parse(argc, argv, options, "SOURCE... TARGET",
			 "Copies into, out of and inside pools: POOL:/PATH is in a pool, "
			 "everything else on\n"
			 "the host. Sources go into a TARGET that is a directory.",
			 2, -1, &count);
	copy_flags();
	cli_split(args[count - 1], false, &to);
	/* The target first: a pool that is both is then open for writing. */
	if (cli_open_path(&to, CLI_WRITE) != CLI_OK) {
		cli_free_path(&to);
		return CLI_FAILED;
	}
	into = !no_directory && is_directory(&to);
	if (count > 2 && !into) {
		cli_free_path(&to);
		return cli_error("%s: is no directory, but there is more than one source",
				 args[count - 1]);
	}
	for (int i = 0; i < count - 1; i++) {
		if (copy_operand(&c, &begun, args[i], &to, into) != CLI_OK)
			result = CLI_FAILED;
	}
	cli_progress_done();
	if (cli.json) {
		json_t *o = json_object();

		cli_json_int(o, "files", c.files);
		cli_json_int(o, "bytes", c.bytes);
		cli_json_print(o);
	}
	if (begun)
		copy_finish(&c);
	cli_free_path(&to);
	return result;
}
