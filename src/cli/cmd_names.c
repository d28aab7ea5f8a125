/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * cmd_names.c - names: adit mkdir, mv, ln, rm, touch. All inside one pool.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/walk.h"

#ifndef RENAME_NOREPLACE
#define RENAME_NOREPLACE 1
#define RENAME_EXCHANGE	 2
#endif

static int verbose, force, recursive;

/* ---- mkdir -------------------------------------------------------------------------------------- */

static int parents;
static char *mode_text;

static const struct poptOption mkdir_options[] = {
	{"parents", 'p', POPT_ARG_NONE, &parents, 0,
	 "the directories above, too; no error when it is there", NULL},
	{"mode", 'm', POPT_ARG_STRING, &mode_text, 0, "permissions, such as 0750", "MODE"},
	{"verbose", 'v', POPT_ARG_NONE, &verbose, 0, "say what is done", NULL},
	CLI_GLOBAL_OPTIONS};

static bool is_directory(struct adit_pool *pool, const char *path)
{
	struct stat st;

	return adit_stat(pool, path, &st) == 0 && S_ISDIR(st.st_mode);
}

static int make_directory(struct adit_pool *pool, const char *path, mode_t mode, bool may_exist)
{
	int rc = adit_mkdir(pool, path, mode);

	if (rc == -EEXIST && may_exist && is_directory(pool, path))
		return 0;
	if (rc == 0 && verbose)
		printf("made %s\n", path);
	return rc;
}

static int make_parents(struct adit_pool *pool, char *path)
{
	int rc = 0;

	for (char *at = path + 1; rc == 0 && (at = strchr(at, '/')) != NULL; at++) {
		if (at[strspn(at, "/")] == '\0')
			break;
		*at = '\0';
		rc = make_directory(pool, path, 0777, true);
		*at = '/';
	}
	return rc == -EEXIST ? -ENOTDIR : rc;
}

int adit__cmd_mkdir(int argc, char **argv)
{
	int count, result = CLI_OK;
	mode_t mode = 0777;
	const char **args;

	args = cli_parse(argc, argv, mkdir_options, "POOL:/PATH...", "Makes directories.", 1, -1,
			 &count);
	if (mode_text != NULL && !cli_parse_mode(mode_text, S_IFDIR | 0777, &mode))
		cli_usage("--mode %s: no such mode", mode_text);
	for (int i = 0; i < count; i++) {
		struct cli_path at;
		int rc;

		if (cli_pool_path(args[i], CLI_WRITE, &at) != CLI_OK) {
			result = CLI_FAILED;
			continue;
		}
		rc = parents ? make_parents(at.pool, at.path) : 0;
		if (rc == 0)
			rc = make_directory(at.pool, at.path, mode, parents);
		if (rc == 0 && mode_text != NULL) /* exactly this, whatever the umask */
			rc = adit_chmod(at.pool, at.path, mode);
		if (rc < 0)
			result = cli_fail(rc, "%s", args[i]);
		cli_free_path(&at);
	}
	return result;
}

/* ---- mv and ln: the last operand may be a directory that takes the others ------------------------ */

struct target {
	struct cli_path at;
	bool is_dir;
};

static int open_target(const char *arg, int count, bool never_into, struct target *out)
{
	if (cli_pool_path(arg, CLI_WRITE, &out->at) != CLI_OK)
		return CLI_FAILED;
	out->is_dir = !never_into && is_directory(out->at.pool, out->at.path);
	if (count > 2 && !out->is_dir) {
		cli_free_path(&out->at);
		return cli_error("%s: is no directory, but there is more than one source", arg);
	}
	return CLI_OK;
}

/* Where something called `source` goes. */
static char *target_path(const struct target *to, const char *source)
{
	char *name, *path;

	if (!to->is_dir)
		return cli_strdup(to->at.path);
	name = cli_basename(source);
	path = cli_join(to->at.path, name);
	free(name);
	return path;
}

static int no_clobber, exchange, no_directory;

static const struct poptOption mv_options[] = {
	{"no-clobber", 'n', POPT_ARG_NONE, &no_clobber, 0, "replace nothing", NULL},
	{"exchange", '\0', POPT_ARG_NONE, &exchange, 0, "swap two names", NULL},
	{"no-target-directory", 'T', POPT_ARG_NONE, &no_directory, 0,
	 "the last operand is the new name, even if it is a directory", NULL},
	{"force", 'f', POPT_ARG_NONE, &force, 0, "replace what is there (always so)", NULL},
	{"verbose", 'v', POPT_ARG_NONE, &verbose, 0, "say what is done", NULL},
	CLI_GLOBAL_OPTIONS};

static int move_one(const char *arg, const struct target *to)
{
	unsigned flags = exchange ? RENAME_EXCHANGE : no_clobber ? RENAME_NOREPLACE : 0;
	struct cli_path from;
	char *path;
	int rc;

	if (cli_pool_path(arg, CLI_WRITE, &from) != CLI_OK)
		return CLI_FAILED;
	if (from.pool != to->at.pool) {
		cli_free_path(&from);
		return cli_error(
			"%s: is in another pool; copy it with 'adit cp -a', then remove it "
			"(EXDEV)",
			arg);
	}
	path = target_path(to, from.path);
	rc = adit_renameat2(to->at.pool, AT_FDCWD, from.path, AT_FDCWD, path, flags);
	if (rc == 0 && verbose)
		printf("%s -> %s\n", from.path, path);
	if (rc < 0)
		rc = cli_fail(rc, "%s -> %s", from.path, path);
	free(path);
	cli_free_path(&from);
	return rc;
}

int adit__cmd_mv(int argc, char **argv)
{
	int count, result = CLI_OK;
	struct target to;
	const char **args;

	args = cli_parse(
		argc, argv, mv_options, "POOL:/SOURCE... POOL:/TARGET",
		"Renames; each source at once or not at all. Sources go into a TARGET that is a\n"
		"directory.",
		2, -1, &count);
	if (exchange && (no_clobber || count != 2))
		cli_usage("--exchange swaps two names");
	if (open_target(args[count - 1], count, exchange || no_directory, &to) != CLI_OK)
		return CLI_FAILED;
	for (int i = 0; i < count - 1; i++) {
		if (move_one(args[i], &to) != CLI_OK)
			result = CLI_FAILED;
	}
	cli_free_path(&to.at);
	return result;
}

static int symbolic;

static const struct poptOption ln_options[] = {
	{"symbolic", 's', POPT_ARG_NONE, &symbolic, 0, "make symbolic links", NULL},
	{"force", 'f', POPT_ARG_NONE, &force, 0, "replace what is there", NULL},
	{"no-target-directory", 'T', POPT_ARG_NONE, &no_directory, 0,
	 "the last operand is the new name, even if it is a directory", NULL},
	{"verbose", 'v', POPT_ARG_NONE, &verbose, 0, "say what is done", NULL},
	CLI_GLOBAL_OPTIONS};

static int link_one(struct adit_pool *pool, const char *from, const char *path)
{
	int rc = symbolic ? adit_symlink(pool, from, path) : adit_link(pool, from, path);

	if (rc == -EEXIST && force && !is_directory(pool, path)) {
		rc = adit_unlink(pool, path);
		if (rc == 0)
			rc = symbolic ? adit_symlink(pool, from, path)
				      : adit_link(pool, from, path);
	}
	if (rc == 0 && verbose)
		printf("%s -> %s\n", path, from);
	return rc;
}

int adit__cmd_ln(int argc, char **argv)
{
	int count, result = CLI_OK;
	struct target to;
	const char **args;

	args = cli_parse(argc, argv, ln_options, "SOURCE... POOL:/LINK",
			 "Makes hard links (SOURCE is POOL:/PATH), or symbolic ones (SOURCE is the "
			 "text that\n"
			 "the link gets). Links go into a LINK that is a directory.",
			 2, -1, &count);
	if (open_target(args[count - 1], count, no_directory, &to) != CLI_OK)
		return CLI_FAILED;
	for (int i = 0; i < count - 1; i++) {
		struct cli_path from = {0};
		char *path;
		int rc;

		if (symbolic) {
			from.path = cli_strdup(args[i]);
		} else if (cli_pool_path(args[i], CLI_WRITE, &from) != CLI_OK) {
			result = CLI_FAILED;
			continue;
		}
		path = target_path(&to, from.path);
		rc = !symbolic && from.pool != to.at.pool ? -EXDEV
							  : link_one(to.at.pool, from.path, path);
		if (rc < 0)
			result = cli_fail(rc, "%s -> %s", path, args[i]);
		free(path);
		cli_free_path(&from);
	}
	cli_free_path(&to.at);
	return result;
}

/* ---- rm ----------------------------------------------------------------------------------------- */

static int remove_dirs;
static uint64_t removed;

static const struct poptOption rm_options[] = {
	{"recursive", 'r', POPT_ARG_NONE, &recursive, 0, "directories and everything in them",
	 NULL},
	{NULL, 'R', POPT_ARG_NONE, &recursive, 0, "the same", NULL},
	{"dir", 'd', POPT_ARG_NONE, &remove_dirs, 0, "empty directories", NULL},
	{"force", 'f', POPT_ARG_NONE, &force, 0, "no error for what is not there", NULL},
	{"verbose", 'v', POPT_ARG_NONE, &verbose, 0, "say what is done", NULL},
	CLI_GLOBAL_OPTIONS};

static int remove_visited(const struct walk_entry *e, void *ctx)
{
	bool dir = S_ISDIR(e->st->st_mode);
	int rc;

	if (dir && !e->post && !recursive && !remove_dirs) {
		cli_fail(EISDIR, "%s", e->path);
		return WALK_FAILED;
	}
	if (dir && !e->post && recursive)
		return 0;
	if (e->failed) /* something is left in it: that was said already */
		return WALK_FAILED;
	rc = adit_unlinkat(e->pool, e->dirfd, e->name, dir ? AT_REMOVEDIR : 0);
	if (rc < 0) {
		cli_fail(rc, "%s", e->path);
		return WALK_FAILED;
	}
	removed++;
	if (verbose)
		printf("removed %s\n", e->path);
	cli_progress("%llu removed", (unsigned long long)removed);
	return dir && !e->post ? WALK_SKIP : 0;
}

static bool is_root(struct adit_pool *pool, const struct stat *st)
{
	struct stat root;

	return adit_stat(pool, "/", &root) == 0 && root.st_ino == st->st_ino;
}

static int remove_operand(const char *arg)
{
	struct cli_path at;
	struct stat st;
	int rc;

	if (cli_pool_path(arg, CLI_WRITE, &at) != CLI_OK)
		return CLI_FAILED;
	rc = adit_lstat(at.pool, at.path, &st);
	if (rc == -ENOENT && force) {
		rc = CLI_OK;
	} else if (rc < 0) {
		rc = cli_fail(rc, "%s", arg);
	} else if (is_root(at.pool, &st)) {
		rc = cli_error("%s: the root directory cannot be removed; name what is in it", arg);
	} else {
		rc = cli_walk(at.pool, at.path, recursive ? WALK_POST : 0, UINT32_MAX,
			      remove_visited, NULL) == 0
			     ? CLI_OK
			     : CLI_FAILED;
	}
	cli_free_path(&at);
	return rc;
}

int adit__cmd_rm(int argc, char **argv)
{
	int count, result = CLI_OK;
	const char **args;

	args = cli_parse(argc, argv, rm_options, "POOL:/PATH...", "Removes files and trees.", 1, -1,
			 &count);
	for (int i = 0; i < count; i++) {
		if (remove_operand(args[i]) != CLI_OK)
			result = CLI_FAILED;
	}
	return result;
}

/* ---- touch -------------------------------------------------------------------------------------- */

static int no_create;

static const struct poptOption touch_options[] = {
	{"no-create", 'c', POPT_ARG_NONE, &no_create, 0, "make no files", NULL},
	CLI_GLOBAL_OPTIONS};

static int touch_one(struct adit_pool *pool, const char *path)
{
	int fd, rc = adit_utimensat(pool, AT_FDCWD, path, NULL, 0);

	if (rc != -ENOENT)
		return rc;
	if (no_create)
		return 0;
	fd = adit_openat(pool, AT_FDCWD, path, O_WRONLY | O_CREAT, 0666);
	return fd < 0 ? fd : adit_close_fd(pool, fd);
}

int adit__cmd_touch(int argc, char **argv)
{
	int count, result = CLI_OK;
	const char **args;

	args = cli_parse(argc, argv, touch_options, "POOL:/PATH...",
			 "Sets the times of files to now; makes those that are not there.", 1, -1,
			 &count);
	for (int i = 0; i < count; i++) {
		struct cli_path at;
		int rc;

		if (cli_pool_path(args[i], CLI_WRITE, &at) != CLI_OK) {
			result = CLI_FAILED;
			continue;
		}
		rc = touch_one(at.pool, at.path);
		if (rc < 0)
			result = cli_fail(rc, "%s", args[i]);
		cli_free_path(&at);
	}
	return result;
}
