/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * cmd_cat.c - contents of files: adit cat, adit sum, adit write.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "cli/cli.h"
#include "cli/json.h"
#include "cli/vfs.h"
#include "cli/walk.h"

#define PIECE_BYTES ((size_t)1 << 20)
#define ATOMIC	    0x40 /* RWF_ATOMIC, which older headers lack */

static void *piece(void)
{
	static void *buf;

	return buf != NULL ? buf : (buf = cli_alloc(PIECE_BYTES));
}

/* ---- cat ---------------------------------------------------------------------------------------- */

/* To standard output, past stdio. Returns 0, -errno of the pool; a failing output ends the program. */
static int print_file(struct adit_pool *pool, int fd)
{
	char *buf = piece();
	off_t at = 0;
	ssize_t n;

	while ((n = vfs_pread(pool, fd, buf, PIECE_BYTES, at)) > 0) {
		for (ssize_t done = 0; done < n;) {
			ssize_t m = write(STDOUT_FILENO, buf + done, (size_t)(n - done));

			if (m < 0 && errno == EINTR)
				continue;
			if (m < 0)
				return cli_fail(errno, "cannot write the output");
			done += m;
		}
		at += n;
	}
	return (int)n;
}

int adit__cmd_cat(int argc, char **argv)
{
	static const struct poptOption options[] = {CLI_GLOBAL_OPTIONS};
	const char **args;
	int count, result = CLI_OK;

	args = cli_parse(argc, argv, options, "POOL:/PATH...", "Prints files.", 1, -1, &count);
	for (int i = 0; i < count; i++) {
		struct cli_path at;
		int fd, rc;

		if (cli_pool_path(args[i], CLI_READ, &at) != CLI_OK) {
			result = CLI_FAILED;
			continue;
		}
		fd = adit_openat(at.pool, AT_FDCWD, at.path, O_RDONLY, 0);
		rc = fd < 0 ? fd : print_file(at.pool, fd);
		if (rc < 0)
			cli_fail(rc, "%s", args[i]);
		if (rc != 0)
			result = CLI_FAILED;
		if (fd >= 0)
			adit_close_fd(at.pool, fd);
		cli_free_path(&at);
	}
	return result;
}

/* ---- sum ---------------------------------------------------------------------------------------- */

static int sum_recursive;
static uint64_t sum_bytes, sum_files;

static int sum_file(struct adit_pool *pool, int dirfd, const char *name, uint64_t *value)
{
	int fd = vfs_openat(pool, dirfd, name, O_RDONLY, 0);
	XXH64_state_t h;
	off_t at = 0;
	ssize_t n;

	if (fd < 0)
		return fd;
	XXH64_reset(&h, 0);
	while ((n = vfs_pread(pool, fd, piece(), PIECE_BYTES, at)) > 0) {
		XXH64_update(&h, piece(), (size_t)n);
		at += n;
		sum_bytes += (uint64_t)n;
	}
	vfs_close(pool, fd);
	sum_files++;
	*value = XXH64_digest(&h);
	return (int)n;
}

/* ctx: the length of what to leave out before the path, so that two trees can be compared. */
static int sum_visited(const struct walk_entry *e, void *ctx)
{
	const char *shown = e->path + *(const size_t *)ctx;
	uint64_t value;
	int rc;

	if (S_ISDIR(e->st->st_mode) && !sum_recursive) {
		cli_error("%s: is a directory; --recursive goes into it", e->path);
		return WALK_FAILED;
	}
	if (!S_ISREG(e->st->st_mode))
		return 0;
	rc = sum_file(e->pool, e->dirfd, e->name, &value);
	if (rc < 0) {
		cli_fail(rc, "%s", e->path);
		return WALK_FAILED;
	}
	cli_progress("%" PRIu64 " files, %" PRIu64 " MiB", sum_files, sum_bytes >> 20);
	if (cli.json) {
		char *text = cli_sprintf("%016" PRIx64, value);
		json_t *o = json_object();

		cli_json_bytes(o, "path", shown);
		cli_json_bytes(o, "xxh64", text);
		cli_json_int(o, "size", (uint64_t)e->st->st_size);
		cli_json_item(o);
		free(text);
	} else {
		printf("%016" PRIx64 "  %s\n", value, shown);
	}
	return 0;
}

int adit__cmd_sum(int argc, char **argv)
{
	static int relative;
	static const struct poptOption options[] = {
		{"recursive", 'r', POPT_ARG_NONE, &sum_recursive, 0, "all files below directories",
		 NULL},
		{"relative", '\0', POPT_ARG_NONE, &relative, 0,
		 "with -r: print paths from the operand on", NULL},
		CLI_GLOBAL_OPTIONS};
	const char **args;
	int count, result = CLI_OK;

	args = cli_parse(argc, argv, options, "FILE...",
			 "Prints the XXH64 of files, as xxhsum -H64 does. FILE is POOL:/PATH or a "
			 "path of the\n"
			 "host, so that a tree can be compared with its copy.",
			 1, -1, &count);
	if (cli.json)
		cli_json_begin();
	for (int i = 0; i < count; i++) {
		struct cli_path at;
		size_t skip = 0;

		cli_split(args[i], false, &at);
		if (cli_open_path(&at, CLI_READ) != CLI_OK) {
			result = CLI_FAILED;
			cli_free_path(&at);
			continue;
		}
		if (relative && sum_recursive)
			skip = strlen(at.path);
		if (cli_walk(at.pool, at.path, WALK_FOLLOW_START, UINT32_MAX, sum_visited, &skip) !=
		    0)
			result = CLI_FAILED;
		cli_free_path(&at);
	}
	if (cli.json)
		cli_json_end();
	return result;
}

/* ---- write -------------------------------------------------------------------------------------- */

static int append, atomic_writes;
static char *offset_text, *mode_text;

static const struct poptOption write_options[] = {
	{"append", 'a', POPT_ARG_NONE, &append, 0, "behind what is there", NULL},
	{"offset", 'o', POPT_ARG_STRING, &offset_text, 0, "over what is there, from here", "SIZE"},
	{"atomic", '\0', POPT_ARG_NONE, &atomic_writes, 0,
	 "each piece of up to 1 MiB all-or-nothing, over old contents too", NULL},
	{"mode", 'm', POPT_ARG_STRING, &mode_text, 0, "permissions of a new file", "MODE"},
	CLI_GLOBAL_OPTIONS};

/* Fills the piece as far as the input goes, so that what comes through a pipe is written in few calls. */
static ssize_t read_piece(char *buf)
{
	size_t have = 0;

	while (have < PIECE_BYTES) {
		ssize_t n = read(STDIN_FILENO, buf + have, PIECE_BYTES - have);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		have += (size_t)n;
	}
	return (ssize_t)have;
}

static int write_input(struct adit_pool *pool, int fd, off_t at, const char *arg)
{
	char *buf = piece();
	ssize_t n, m = 0;

	while ((n = read_piece(buf)) > 0) {
		struct iovec iov = {buf, (size_t)n};

		m = adit_pwritev2(pool, fd, &iov, 1, at, atomic_writes ? ATOMIC : 0);
		if (m < 0)
			return cli_fail((int)m, "%s", arg);
		at += m;
		cli_progress("%lld MiB", (long long)at >> 20);
	}
	return n < 0 ? cli_fail((int)n, "cannot read the input") : CLI_OK;
}

int adit__cmd_write(int argc, char **argv)
{
	int flags = O_WRONLY | O_CREAT, count, fd, rc;
	uint64_t offset = 0;
	mode_t mode = 0666;
	struct cli_path at;
	const char **args;

	args = cli_parse(argc, argv, write_options, "POOL:/PATH",
			 "Writes standard input into a file, which is made, or emptied first.", 1,
			 1, &count);
	if (append && offset_text != NULL)
		cli_usage("--append and --offset exclude each other");
	if (offset_text != NULL && (!cli_parse_size(offset_text, &offset) || offset > INT64_MAX))
		cli_usage("--offset %s: no such size", offset_text);
	if (mode_text != NULL && !cli_parse_mode(mode_text, 0666, &mode))
		cli_usage("--mode %s: no such mode", mode_text);
	if (append)
		flags |= O_APPEND;
	else if (offset_text == NULL)
		flags |= O_TRUNC;
	if (cli_pool_path(args[0], CLI_WRITE, &at) != CLI_OK)
		return CLI_FAILED;
	fd = adit_openat(at.pool, AT_FDCWD, at.path, flags, mode);
	rc = fd < 0 ? cli_fail(fd, "%s", args[0])
		    : write_input(at.pool, fd, (off_t)offset, args[0]);
	if (fd >= 0)
		adit_close_fd(at.pool, fd);
	cli_free_path(&at);
	return rc;
}
