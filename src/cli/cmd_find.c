/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * cmd_find.c - adit find and adit tree.
 */
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/json.h"
#include "cli/walk.h"

/* ---- find --------------------------------------------------------------------------------------- */

static char *name_pattern, *type_letters, *size_text;
static int max_depth = -1, min_depth, print0;
static uint64_t size_bytes, size_unit;

static const struct poptOption find_options[] = {
	{"name", '\0', POPT_ARG_STRING | POPT_ARGFLAG_ONEDASH, &name_pattern, 0,
	 "names that match the shell pattern", "PATTERN"},
	{"type", '\0', POPT_ARG_STRING | POPT_ARGFLAG_ONEDASH, &type_letters, 0,
	 "types: f file, d directory, l symbolic link, b and c devices, p FIFO, s socket",
	 "LETTERS"},
	{"size", '\0', POPT_ARG_STRING | POPT_ARGFLAG_ONEDASH, &size_text, 0,
	 "exactly, more (+) or less (-) than SIZE, such as +1M, in that unit, rounded up",
	 "[+-]SIZE"},
	{"maxdepth", '\0', POPT_ARG_INT | POPT_ARGFLAG_ONEDASH, &max_depth, 0,
	 "levels below the start; 0: the start only", "N"},
	{"mindepth", '\0', POPT_ARG_INT | POPT_ARGFLAG_ONEDASH, &min_depth, 0,
	 "not what is fewer levels below the start", "N"},
	{"print0", '\0', POPT_ARG_NONE | POPT_ARGFLAG_ONEDASH, &print0, 0,
	 "end paths with NUL, not newline", NULL},
	CLI_GLOBAL_OPTIONS};

/* find(1)'s rule: sizes are compared in whole units, rounded up; "10k" is 10 units of 1 KiB;
 * "c" stands for bytes. */
static void parse_find_size(void)
{
	const char *text = size_text + (*size_text == '+' || *size_text == '-');
	size_t digits = strspn(text, "0123456789");
	bool single_bytes = strcmp(text + digits, "c") == 0;
	char *count = cli_strdup(text),
	     *unit = cli_sprintf("1%s", single_bytes ? "" : text + digits);
	bool good;

	count[digits] = '\0';
	good = digits > 0 && cli_parse_size(count, &size_bytes) && cli_parse_size(unit, &size_unit);
	free(count);
	free(unit);
	if (!good)
		cli_usage("-size %s: no such size; write +1M, -100k, 4096c, ...", size_text);
}

static bool matches(const struct walk_entry *e)
{
	bool ok = true;

	if (name_pattern != NULL) {
		char *base = cli_basename(e->path);

		ok = fnmatch(name_pattern, base, 0) == 0;
		free(base);
	}
	if (ok && type_letters != NULL)
		ok = strchr(type_letters, cli_type_letter(e->st->st_mode)) != NULL;
	if (ok && size_text != NULL) {
		uint64_t units = ((uint64_t)e->st->st_size + size_unit - 1) / size_unit;

		ok = *size_text == '+'	 ? units > size_bytes
		     : *size_text == '-' ? units < size_bytes
					 : units == size_bytes;
	}
	return ok && e->depth >= (unsigned)min_depth;
}

static int find_visited(const struct walk_entry *e, void *ctx)
{
	if (!matches(e))
		return 0;
	if (cli.json) {
		json_t *o = json_object();

		cli_json_bytes(o, "path", e->path);
		cli_json_stat(o, e->st);
		cli_json_item(o);
	} else {
		fputs(e->path, stdout);
		putchar(print0 ? '\0' : '\n');
	}
	return ferror(stdout) ? -EIO : 0;
}

int adit__cmd_find(int argc, char **argv)
{
	const char **args;
	int count, result = CLI_OK;

	args = cli_parse(
		argc, argv, find_options, "POOL[:/PATH]...",
		"Prints the paths, inside the pool, of all files that fulfil every condition.", 1,
		-1, &count);
	if (min_depth < 0 || max_depth < -1)
		cli_usage("depths are 0 or more");
	if (type_letters != NULL && strspn(type_letters, "fdlbcps,") != strlen(type_letters))
		cli_usage("-type %s: letters are f d l b c p s", type_letters);
	if (size_text != NULL)
		parse_find_size();
	if (cli.json)
		cli_json_begin();
	for (int i = 0; i < count; i++) {
		struct cli_path at;

		if (cli_pool_path(args[i], CLI_READ, &at) != CLI_OK) {
			result = CLI_FAILED;
			continue;
		}
		if (cli_walk(at.pool, at.path, 0, (unsigned)max_depth, find_visited, NULL) != 0)
			result = CLI_FAILED;
		cli_free_path(&at);
	}
	if (cli.json)
		cli_json_end();
	return result;
}

/* ---- tree --------------------------------------------------------------------------------------- */

static int tree_all, tree_depth = -1, tree_dirs_only;
static uint64_t tree_dirs, tree_files;

static const struct poptOption tree_options[] = {
	{NULL, 'a', POPT_ARG_NONE, &tree_all, 0, "names that begin with a dot, too", NULL},
	{NULL, 'L', POPT_ARG_INT, &tree_depth, 0, "levels below the start", "N"},
	{NULL, 'd', POPT_ARG_NONE, &tree_dirs_only, 0, "directories only", NULL},
	CLI_GLOBAL_OPTIONS};

/* A directory being drawn: the names that are left, and the lines at the left of them. */
struct tree_level {
	struct tree_level *up;
	struct walk_name *names;
	size_t count, next;
	int fd;
	char *prefix;
	char *path;
	json_t *contents;
};

static bool tree_shows(const struct walk_name *name)
{
	if (name->name[0] == '.' && !tree_all)
		return false;
	return !tree_dirs_only || name->type == 4 /* DT_DIR */;
}

static struct tree_level *tree_enter(struct adit_pool *pool, struct tree_level *up, int dirfd,
				     const char *name, const char *path, const char *prefix)
{
	int rc, fd = vfs_openat(pool, dirfd, name, O_RDONLY | O_DIRECTORY, 0);
	struct tree_level *l = cli_alloc(sizeof *l);
	size_t kept = 0;

	rc = fd < 0 ? fd : cli_read_names(pool, fd, &l->names, &l->count);
	if (rc < 0) {
		cli_fail(rc, "%s: cannot read the directory", path);
		if (fd >= 0)
			vfs_close(pool, fd);
		free(l);
		return NULL;
	}
	for (size_t i = 0; i < l->count; i++) {
		if (tree_shows(&l->names[i]))
			l->names[kept++] = l->names[i];
		else
			free(l->names[i].name);
	}
	l->count = kept;
	l->up = up;
	l->fd = fd;
	l->prefix = cli_strdup(prefix);
	l->path = cli_strdup(path);
	l->contents = cli.json ? json_array() : NULL;
	return l;
}

static struct tree_level *tree_leave(struct adit_pool *pool, struct tree_level *l)
{
	struct tree_level *up = l->up;

	cli_free_names(l->names, l->count);
	vfs_close(pool, l->fd);
	free(l->prefix);
	free(l->path);
	free(l);
	return up;
}

static json_t *tree_object(const char *name, mode_t type, const char *target, json_t *contents)
{
	json_t *o = json_object();

	cli_json_bytes(o, "name", name);
	json_object_set_new(o, "type", json_string(cli_type_name(type)));
	if (target != NULL)
		cli_json_bytes(o, "target", target);
	if (contents != NULL)
		json_object_set(o, "contents", contents);
	return o;
}

/* Draws the next name of the level; returns the level to go on with. */
static struct tree_level *tree_step(struct adit_pool *pool, struct tree_level *l, unsigned depth,
				    bool *failed)
{
	const struct walk_name *name = &l->names[l->next++];
	bool last = l->next == l->count, dir = name->type == 4;
	mode_t type = (mode_t)name->type << 12;
	struct tree_level *below = NULL;
	char *target = NULL;
	int rc = 0;

	if (S_ISLNK(type))
		target = vfs_readlink_alloc(pool, l->fd, name->name, &rc);
	if (!cli.json)
		printf("%s%s%s%s%s\n", l->prefix, last ? "└── " : "├── ", name->name,
		       target != NULL ? " -> " : "", target != NULL ? target : "");
	*(dir ? &tree_dirs : &tree_files) += 1;
	if (dir && depth < (unsigned)tree_depth) {
		char *path = cli_join(l->path, name->name);
		char *prefix = cli_sprintf("%s%s", l->prefix, last ? "    " : "│   ");

		below = tree_enter(pool, l, l->fd, name->name, path, prefix);
		*failed |= below == NULL;
		free(path);
		free(prefix);
	}
	if (cli.json)
		json_array_append_new(l->contents,
				      tree_object(name->name, type, target,
						  below != NULL ? below->contents : NULL));
	if (below != NULL && below->contents != NULL)
		json_decref(below->contents); /* held by its object now */
	free(target);
	return below != NULL ? below : l;
}

static int draw_tree(const struct cli_path *at)
{
	struct tree_level *l = tree_enter(at->pool, NULL, AT_FDCWD, at->path, at->path, "");
	json_t *contents = l != NULL ? l->contents : NULL;
	unsigned depth = 1;
	bool failed = false;

	if (l == NULL)
		return CLI_FAILED;
	if (!cli.json)
		puts(at->path);
	while (l != NULL) {
		struct tree_level *now = l;

		if (l->next < l->count) {
			l = tree_step(at->pool, l, depth, &failed);
			depth += l != now;
		} else {
			l = tree_leave(at->pool, l);
			depth--;
		}
	}
	if (cli.json) {
		cli_json_item(tree_object(at->path, S_IFDIR, NULL, contents));
		json_decref(contents);
	}
	return failed ? CLI_FAILED : CLI_OK;
}

int adit__cmd_tree(int argc, char **argv)
{
	const char **args;
	int count, result = CLI_OK;

	args = cli_parse(argc, argv, tree_options, "POOL[:/PATH]...", "Draws directory trees.", 1,
			 -1, &count);
	if (tree_depth < -1 || tree_depth == 0)
		cli_usage("-L: at least 1");
	if (cli.json)
		cli_json_begin();
	for (int i = 0; i < count; i++) {
		struct cli_path at;

		if (cli_pool_path(args[i], CLI_READ, &at) != CLI_OK) {
			result = CLI_FAILED;
			continue;
		}
		if (draw_tree(&at) != CLI_OK)
			result = CLI_FAILED;
		cli_free_path(&at);
	}
	if (cli.json)
		cli_json_end();
	else
		printf("\n%llu directories, %llu files\n", (unsigned long long)tree_dirs,
		       (unsigned long long)tree_files);
	return result;
}
