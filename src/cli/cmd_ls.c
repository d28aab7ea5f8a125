/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * cmd_ls.c - adit ls and adit stat.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <inttypes.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "cli/cli.h"
#include "cli/json.h"
#include "cli/vfs.h"
#include "cli/walk.h"

static int long_form, recursive, all, one_column, human, itself, inodes;

static const struct poptOption ls_options[] = {
	{NULL, 'l', POPT_ARG_NONE, &long_form, 0, "mode, links, owner, size, time", NULL},
	{NULL, 'R', POPT_ARG_NONE, &recursive, 0, "directories below, too", NULL},
	{NULL, 'a', POPT_ARG_NONE, &all, 0, "names that begin with a dot, too", NULL},
	{NULL, '1', POPT_ARG_NONE, &one_column, 0, "one name a line (always so)", NULL},
	{NULL, 'h', POPT_ARG_NONE, &human, 0, "with -l: sizes such as 1.5M", NULL},
	{NULL, 'd', POPT_ARG_NONE, &itself, 0, "directories themselves, not what is in them", NULL},
	{NULL, 'i', POPT_ARG_NONE, &inodes, 0, "inode numbers", NULL},
	CLI_GLOBAL_OPTIONS};

/* ---- one entry ---------------------------------------------------------------------------------- */

static const char *user_name(char *buf, uid_t uid)
{
	const struct passwd *p = getpwuid(uid);

	if (p == NULL)
		snprintf(buf, 64, "%u", uid);
	else
		snprintf(buf, 64, "%s", p->pw_name);
	return buf;
}

static const char *group_name(char *buf, gid_t gid)
{
	const struct group *g = getgrgid(gid);

	if (g == NULL)
		snprintf(buf, 64, "%u", gid);
	else
		snprintf(buf, 64, "%s", g->gr_name);
	return buf;
}

static void print_long(const struct stat *st)
{
	char mode[CLI_MODE], user[64], group[64], time[CLI_TIME], size[CLI_HUMAN];

	printf("%s %3llu %-8s %-8s ", cli_mode_text(mode, st->st_mode),
	       (unsigned long long)st->st_nlink, user_name(user, st->st_uid),
	       group_name(group, st->st_gid));
	if (S_ISCHR(st->st_mode) || S_ISBLK(st->st_mode))
		printf("%5u, %4u", major(st->st_rdev), minor(st->st_rdev));
	else if (human)
		printf("%11s", cli_human(size, (uint64_t)st->st_size));
	else
		printf("%11lld", (long long)st->st_size);
	printf(" %s ", cli_time_text(time, &st->st_mtim, false));
}

/* `shown` is what to call it in the listing, `path` its whole path. */
static int print_entry(struct adit_pool *pool, int dirfd, const char *name, const char *path,
		       const char *shown)
{
	bool need_stat = long_form || cli.json || inodes;
	char *target = NULL;
	struct stat st = {0};
	int rc = 0;

	if (need_stat) {
		rc = vfs_fstatat(pool, dirfd, name, &st, AT_SYMLINK_NOFOLLOW);
		if (rc < 0)
			return cli_fail(rc, "%s", path);
		if (S_ISLNK(st.st_mode) && (long_form || cli.json))
			target = vfs_readlink_alloc(pool, dirfd, name, &rc);
		if (rc < 0)
			return cli_fail(rc, "%s", path);
	}
	if (cli.json) {
		json_t *o = json_object();

		cli_json_bytes(o, "name", shown);
		cli_json_bytes(o, "path", path);
		cli_json_stat(o, &st);
		if (target != NULL)
			cli_json_bytes(o, "target", target);
		cli_json_item(o);
	} else {
		if (inodes)
			printf("%8" PRIu64 " ", (uint64_t)st.st_ino);
		if (long_form)
			print_long(&st);
		printf(target != NULL ? "%s -> %s\n" : "%s\n", shown, target);
	}
	free(target);
	return CLI_OK;
}

/* ---- directories -------------------------------------------------------------------------------- */

static int list_names(struct adit_pool *pool, int fd, const char *path)
{
	struct walk_name *names = NULL;
	size_t count = 0;
	int rc = cli_read_names(pool, fd, &names, &count), result = CLI_OK;

	if (rc < 0)
		return cli_fail(rc, "%s: cannot read the directory", path);
	for (size_t i = 0; i < count; i++) {
		char *child;

		if (names[i].name[0] == '.' && !all)
			continue;
		child = cli_join(path, names[i].name);
		if (print_entry(pool, fd, names[i].name, child, names[i].name) != CLI_OK)
			result = CLI_FAILED;
		free(child);
	}
	cli_free_names(names, count);
	return result;
}

static int list_directory(struct adit_pool *pool, int dirfd, const char *name, const char *path,
			  bool with_title)
{
	static bool first = true;
	int rc, fd = vfs_openat(pool, dirfd, name, O_RDONLY | O_DIRECTORY, 0);

	if (fd < 0)
		return cli_fail(fd, "%s", path);
	if (with_title && !cli.json)
		printf("%s%s:\n", first ? "" : "\n", path);
	first = false;
	rc = list_names(pool, fd, path);
	vfs_close(pool, fd);
	return rc;
}

static int list_visited(const struct walk_entry *e, void *ctx)
{
	if (!S_ISDIR(e->st->st_mode))
		return 0;
	if (e->depth > 0 && e->name[0] == '.' && !all)
		return WALK_SKIP;
	/* A directory that cannot be listed is not gone into either. */
	return list_directory(e->pool, e->dirfd, e->name, e->path, true) == CLI_OK ? 0
										   : WALK_FAILED;
}

static int list_operand(const char *arg, bool with_title)
{
	struct cli_path at;
	struct stat st;
	int rc;

	if (cli_pool_path(arg, CLI_READ, &at) != CLI_OK)
		return CLI_FAILED;
	rc = vfs_fstatat(at.pool, AT_FDCWD, at.path, &st, AT_SYMLINK_NOFOLLOW);
	if (rc == 0 && S_ISLNK(st.st_mode) && !itself && !long_form) {
		struct stat behind;

		if (vfs_fstatat(at.pool, AT_FDCWD, at.path, &behind, 0) == 0)
			st = behind;
	}
	if (rc < 0)
		rc = cli_fail(rc, "%s", arg);
	else if (!S_ISDIR(st.st_mode) || itself)
		rc = print_entry(at.pool, AT_FDCWD, at.path, at.path, at.path);
	else if (recursive)
		rc = cli_walk(at.pool, at.path, WALK_FOLLOW_START, UINT32_MAX, list_visited,
			      NULL) == 0
			     ? CLI_OK
			     : CLI_FAILED;
	else
		rc = list_directory(at.pool, AT_FDCWD, at.path, at.path, with_title);
	cli_free_path(&at);
	return rc;
}

int adit__cmd_ls(int argc, char **argv)
{
	const char **args;
	int count, result = CLI_OK;

	args = cli_parse(argc, argv, ls_options, "POOL[:/PATH]...",
			 "Lists directories, in the order of their names' bytes.", 1, -1, &count);
	if (cli.json)
		cli_json_begin();
	for (int i = 0; i < count; i++) {
		if (list_operand(args[i], count > 1) != CLI_OK)
			result = CLI_FAILED;
	}
	if (cli.json)
		cli_json_end();
	return result;
}

/* ---- stat --------------------------------------------------------------------------------------- */

static int follow;

static const struct poptOption stat_options[] = {
	{"dereference", 'L', POPT_ARG_NONE, &follow, 0, "what a symbolic link points to", NULL},
	CLI_GLOBAL_OPTIONS};

/* The names of the extended attributes, NUL after each. Returns bytes or -errno. */
static ssize_t attribute_names(const struct cli_path *at, char **list)
{
	ssize_t n;

	for (;;) {
		n = follow ? adit_listxattr(at->pool, at->path, NULL, 0)
			   : adit_llistxattr(at->pool, at->path, NULL, 0);
		if (n <= 0)
			return n;
		*list = cli_realloc(*list, (size_t)n);
		n = follow ? adit_listxattr(at->pool, at->path, *list, (size_t)n)
			   : adit_llistxattr(at->pool, at->path, *list, (size_t)n);
		if (n != -ERANGE)
			return n;
	}
}

static ssize_t attribute_size(const struct cli_path *at, const char *name)
{
	return follow ? adit_getxattr(at->pool, at->path, name, NULL, 0)
		      : adit_lgetxattr(at->pool, at->path, name, NULL, 0);
}

static void stat_json(const struct cli_path *at, const struct stat *st, const struct statx *sx,
		      const char *target, const char *names, ssize_t names_bytes)
{
	json_t *o = json_object(), *attributes = json_array();
	char *birth =
		cli_sprintf("%lld.%09u", (long long)sx->stx_btime.tv_sec, sx->stx_btime.tv_nsec);

	cli_json_bytes(o, "path", at->path);
	cli_json_stat(o, st);
	cli_json_bytes(o, "btime", birth);
	if (target != NULL)
		cli_json_bytes(o, "target", target);
	for (ssize_t i = 0; i < names_bytes; i += (ssize_t)strlen(names + i) + 1) {
		json_t *a = json_object();

		cli_json_bytes(a, "name", names + i);
		cli_json_int(a, "size", (uint64_t)attribute_size(at, names + i));
		json_array_append_new(attributes, a);
	}
	json_object_set_new(o, "xattrs", attributes);
	cli_json_item(o);
	free(birth);
}

static void time_line(const char *name, const struct timespec *t)
{
	char text[CLI_TIME];

	printf("%9s: %s\n", name, cli_time_text(text, t, true));
}

static void stat_text(const struct cli_path *at, const struct stat *st, const struct statx *sx,
		      const char *target, const char *names, ssize_t names_bytes)
{
	char mode[CLI_MODE], user[64], group[64];
	struct timespec birth = {sx->stx_btime.tv_sec, sx->stx_btime.tv_nsec};

	printf(target != NULL ? "%9s: %s -> %s\n" : "%9s: %s\n", "File", at->path, target);
	printf("%9s: %lld bytes, %lld allocated, %s\n", "Size", (long long)st->st_size,
	       (long long)st->st_blocks * 512, cli_type_name(st->st_mode));
	if (S_ISCHR(st->st_mode) || S_ISBLK(st->st_mode))
		printf("%9s: %u, %u\n", "Device", major(st->st_rdev), minor(st->st_rdev));
	printf("%9s: %" PRIu64 ", %" PRIu64 " links\n", "Inode", (uint64_t)st->st_ino,
	       (uint64_t)st->st_nlink);
	printf("%9s: (%04o/%s) user %u/%s, group %u/%s\n", "Access",
	       (unsigned)(st->st_mode & 07777), cli_mode_text(mode, st->st_mode), st->st_uid,
	       user_name(user, st->st_uid), st->st_gid, group_name(group, st->st_gid));
	time_line("Accessed", &st->st_atim);
	time_line("Modified", &st->st_mtim);
	time_line("Changed", &st->st_ctim);
	time_line("Born", &birth);
	for (ssize_t i = 0; i < names_bytes; i += (ssize_t)strlen(names + i) + 1)
		printf("%9s: %s, %lld bytes\n", "Attribute", names + i,
		       (long long)attribute_size(at, names + i));
}

static int stat_operand(const char *arg)
{
	int flags = follow ? 0 : AT_SYMLINK_NOFOLLOW, rc;
	char *target = NULL, *names = NULL;
	ssize_t names_bytes = 0;
	struct cli_path at;
	struct statx sx;
	struct stat st;

	if (cli_pool_path(arg, CLI_READ, &at) != CLI_OK)
		return CLI_FAILED;
	rc = adit_fstatat(at.pool, AT_FDCWD, at.path, &st, flags);
	if (rc == 0)
		rc = adit_statx(at.pool, AT_FDCWD, at.path, flags, STATX_BASIC_STATS | STATX_BTIME,
				&sx);
	if (rc == 0 && S_ISLNK(st.st_mode))
		target = vfs_readlink_alloc(at.pool, AT_FDCWD, at.path, &rc);
	if (rc == 0) {
		names_bytes = attribute_names(&at, &names);
		rc = names_bytes < 0 ? (int)names_bytes : 0;
	}
	if (rc < 0)
		cli_fail(rc, "%s", arg);
	else if (cli.json)
		stat_json(&at, &st, &sx, target, names, names_bytes);
	else
		stat_text(&at, &st, &sx, target, names, names_bytes);
	free(target);
	free(names);
	cli_free_path(&at);
	return rc < 0 ? CLI_FAILED : CLI_OK;
}

int adit__cmd_stat(int argc, char **argv)
{
	const char **args;
	int count, result = CLI_OK;

	args = cli_parse(argc, argv, stat_options, "POOL:/PATH...",
			 "Prints everything about files but their contents.", 1, -1, &count);
	if (cli.json)
		cli_json_begin();
	for (int i = 0; i < count; i++) {
		if (stat_operand(args[i]) != CLI_OK)
			result = CLI_FAILED;
	}
	if (cli.json)
		cli_json_end();
	return result;
}
