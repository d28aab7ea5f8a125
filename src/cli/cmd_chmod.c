/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * cmd_chmod.c - adit chmod and adit chown.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/walk.h"

static int recursive, verbose, itself;

static const struct poptOption options[] = {
	{"recursive", 'R', POPT_ARG_NONE, &recursive, 0, "directories and everything in them",
	 NULL},
	{"no-dereference", 'h', POPT_ARG_NONE, &itself, 0,
	 "chown: a symbolic link itself, not what it points to", NULL},
	{"verbose", 'v', POPT_ARG_NONE, &verbose, 0, "say what is done", NULL},
	CLI_GLOBAL_OPTIONS};

/* Calls fn for everything named by args[1..]. */
static int for_each(const char **args, int count, unsigned flags, walk_fn fn, void *ctx)
{
	int result = CLI_OK;

	for (int i = 1; i < count; i++) {
		struct cli_path at;

		if (cli_pool_path(args[i], CLI_WRITE, &at) != CLI_OK) {
			result = CLI_FAILED;
			continue;
		}
		if (cli_walk(at.pool, at.path, flags, recursive ? UINT32_MAX : 0, fn, ctx) != 0)
			result = CLI_FAILED;
		cli_free_path(&at);
	}
	return result;
}

/* ---- chmod -------------------------------------------------------------------------------------- */

static int chmod_visited(const struct walk_entry *e, void *ctx)
{
	mode_t mode;
	int rc;

	if (S_ISLNK(e->st->st_mode)) /* met on the way down: has no permissions of its own */
		return 0;
	if (!cli_parse_mode(ctx, e->st->st_mode, &mode))
		return -EINVAL;
	rc = adit_fchmodat(e->pool, e->dirfd, e->name, mode, 0);
	if (rc < 0) {
		cli_fail(rc, "%s", e->path);
		return WALK_FAILED;
	}
	if (verbose)
		printf("%s: %04o\n", e->path, (unsigned)mode);
	return 0;
}

/* "-w" is a mode, not an option: behind "--" popt leaves it alone. */
static char **protect_mode(int *argc, char **argv)
{
	char **copy = cli_alloc(((size_t)*argc + 2) * sizeof *copy);
	int n = 0;
	bool done = false;

	for (int i = 0; i < *argc; i++) {
		if (strcmp(argv[i], "--") == 0)
			done = true;
		if (!done && i > 0 && argv[i][0] == '-' && argv[i][1] != '\0' &&
		    strspn(argv[i] + 1, "rwxXst,+-=ugoa") == strlen(argv[i] + 1)) {
			static char dashes[] = "--";

			copy[n++] = dashes;
			done = true;
		}
		copy[n++] = argv[i];
	}
	*argc = n;
	return copy;
}

int adit__cmd_chmod(int argc, char **argv)
{
	const char **args;
	int count, rc;
	mode_t mode;

	argv = protect_mode(&argc, argv);
	args = cli_parse(argc, argv, options, "MODE POOL:/PATH...",
			 "Changes permissions. MODE is octal (0755), or as in u+x,go-w,a=rX.", 2,
			 -1, &count);
	free(argv);
	if (!cli_parse_mode(args[0], 0, &mode))
		cli_usage("%s: no such mode; write 0755, u+x, go-w, a=rX, ...", args[0]);
	rc = for_each(args, count, WALK_FOLLOW_START, chmod_visited, (void *)(uintptr_t)args[0]);
	return rc;
}

/* ---- chown -------------------------------------------------------------------------------------- */

struct owner {
	uid_t uid;
	gid_t gid;
};

static bool parse_id(const char *text, unsigned *out)
{
	char *end;
	unsigned long v;

	errno = 0;
	v = strtoul(text, &end, 10);
	if (*text < '0' || *text > '9' || *end != '\0' || errno != 0 || v >= UINT32_MAX)
		return false;
	*out = (unsigned)v;
	return true;
}

static void parse_owner(const char *text, struct owner *out)
{
	char *user = cli_strdup(text), *group = strchr(user, ':');

	*out = (struct owner){(uid_t)-1, (gid_t)-1};
	if (group != NULL)
		*group++ = '\0';
	if (*user != '\0' && !parse_id(user, &out->uid)) {
		const struct passwd *p = getpwnam(user);

		if (p == NULL)
			cli_usage("%s: no such user", user);
		out->uid = p->pw_uid;
	}
	if (group != NULL && *group != '\0' && !parse_id(group, &out->gid)) {
		const struct group *g = getgrnam(group);

		if (g == NULL)
			cli_usage("%s: no such group", group);
		out->gid = g->gr_gid;
	}
	free(user);
}

static int chown_visited(const struct walk_entry *e, void *ctx)
{
	const struct owner *owner = ctx;
	int rc = adit_fchownat(e->pool, e->dirfd, e->name, owner->uid, owner->gid,
			       e->depth == 0 && !itself ? 0 : AT_SYMLINK_NOFOLLOW);

	if (rc < 0) {
		cli_fail(rc, "%s", e->path);
		return WALK_FAILED;
	}
	if (verbose)
		printf("%s\n", e->path);
	return 0;
}

int adit__cmd_chown(int argc, char **argv)
{
	struct owner owner;
	const char **args;
	int count;

	args = cli_parse(argc, argv, options, "[USER][:GROUP] POOL:/PATH...",
			 "Changes owners: names or numbers of users and groups.", 2, -1, &count);
	parse_owner(args[0], &owner);
	return for_each(args, count, itself ? 0 : WALK_FOLLOW_START, chown_visited, &owner);
}
