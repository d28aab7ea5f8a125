/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * cmd_fsck.c - adit fsck, and fsck.adit as fsck(8) calls it.
 *
 * core/check.c does the work on a mapping. Looking only (-n) opens the medium for reading, which maps
 * it privately: recovery of a pool that was not closed, which checking needs, then happens in this
 * process's memory, and the pool is not written to. What is found, and what was done about it, is
 * printed line by line.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/json.h"
#include "core/check.h"
#include "fs/env.h"
#include "media/media.h"
#include "media/sigbus.h"

static int look_only, mend_all, preen, quiet, ignored;
static char *ignored_text;

static const struct poptOption options[] = {
	{NULL, 'n', POPT_ARG_NONE, &look_only, 0, "look only, write nothing (the default)", NULL},
	{NULL, 'y', POPT_ARG_NONE, &mend_all, 0, "mend everything that can be mended", NULL},
	{NULL, 'p', POPT_ARG_NONE, &preen, 0,
	 "mend what loses nothing: counters, leaked blocks, orphans", NULL},
	{NULL, 'a', POPT_ARG_NONE, &preen, 0, "the same", NULL},
	{"quiet", 'q', POPT_ARG_NONE, &quiet, 0, "no summary of a clean pool", NULL},
	{NULL, 'f', POPT_ARG_NONE, &ignored, 0, "accepted: the check is always a whole one", NULL},
	{NULL, 'C', POPT_ARG_STRING, &ignored_text, 0, "accepted and ignored", "FD"},
	CLI_GLOBAL_OPTIONS};

struct fsck {
	const char *name;
	struct adit_media media;
	unsigned flags; /* ADIT_CHECK_* */
	json_t *findings;
	struct adit_check_result result;
	bool was_clean;
};

/* ---- what the check says -------------------------------------------------------------------------- */

static const char *severity_name(enum adit_check_severity severity)
{
	static const char *const names[] = {"note", "minor", "error", "loss"};

	return (unsigned)severity < 4 ? names[severity] : "error";
}

static void on_finding(void *arg, const struct adit_check_finding *f)
{
	struct fsck *k = arg;
	char text[1024];

	adit__check_describe(f, text, sizeof text);
	cli_progress_done();
	if (cli.json) {
		json_t *o = json_object();

		json_object_set_new(o, "severity", json_string(severity_name(f->severity)));
		json_object_set_new(o, "structure", json_string(f->structure));
		cli_json_bytes(o, "text", text);
		if (f->ino != 0)
			cli_json_int(o, "inode", f->ino);
		if (f->block != ADIT_CHECK_NO_BLOCK)
			cli_json_int(o, "block", f->block);
		json_object_set_new(o, "mended", json_boolean(f->fixed));
		json_array_append_new(k->findings, o);
	} else {
		printf("%s: %s\n", k->name, text);
	}
}

static void on_progress(void *arg, unsigned pass, const char *stage, uint64_t done, uint64_t total)
{
	if (total > 0)
		cli_progress("pass %u, %s: %" PRIu64 "%%", pass, stage,
			     (uint64_t)((__uint128_t)done * 100 / total));
	else
		cli_progress("pass %u, %s: %" PRIu64, pass, stage, done);
}

static void print_summary(const struct fsck *k)
{
	const struct adit_check_result *r = &k->result;

	if (cli.json) {
		json_t *o = json_object();

		cli_json_bytes(o, "pool", k->name);
		json_object_set_new(o, "was_closed", json_boolean(k->was_clean));
		json_object_set_new(o, "findings", k->findings);
		cli_json_int(o, "inodes", r->inodes);
		cli_json_int(o, "directories", r->dirs);
		cli_json_int(o, "files", r->files);
		cli_json_int(o, "blocks", r->blocks);
		cli_json_int(o, "errors_found", r->found);
		cli_json_int(o, "errors_mended", r->fixed);
		cli_json_int(o, "errors_left", r->left);
		json_object_set_new(o, "clean", json_boolean(r->left == 0));
		cli_json_print(o);
		return;
	}
	if (r->found == 0 && !quiet)
		printf("%s: clean: %" PRIu64 " directories, %" PRIu64 " other files, %" PRIu64
		       " blocks in use\n",
		       k->name, r->dirs, r->inodes - r->dirs, r->blocks);
	if (r->found > 0)
		printf("%s: %" PRIu64 " errors, %" PRIu64 " mended, %" PRIu64 " left%s\n", k->name,
		       r->found, r->fixed, r->left,
		       r->left > 0 && !(k->flags & ADIT_CHECK_REPAIR)
			       ? "; -y mends what can be mended"
			       : "");
}

/* ---- the mapping ---------------------------------------------------------------------------------- */

/* Device DAX has no private mappings: a copy in ordinary memory, of what is not zero. */
static int copy_to_memory(struct adit_media *m)
{
	static const char zeros[4096];
	char *copy = mmap(NULL, m->map_bytes, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (copy == MAP_FAILED)
		return -errno;
	for (uint64_t at = 0; at < m->pm.size_bytes; at += sizeof zeros) {
		if (memcmp(m->pm.base + at, zeros, sizeof zeros) != 0)
			memcpy(copy + at, m->pm.base + at, sizeof zeros);
	}
	if (mremap(copy, m->map_bytes, m->map_bytes, MREMAP_MAYMOVE | MREMAP_FIXED, m->pm.base) ==
	    MAP_FAILED)
		return -errno;
	return 0;
}

/* A file that never was a pool is not to be "mended" into one. */
static int look_at_super(struct fsck *k)
{
	const struct adit_media *m = &k->media;
	const struct adit_super_pm *first = (const void *)m->pm.base;
	const struct adit_super_pm *second =
		(const void *)(m->pm.base + (uint64_t)ADIT_SUPER_COPY * ADIT_BLOCK);
	const struct adit_super_pm *use = first;

	if (m->pm.size_bytes < (ADIT_SUPER_COPY + 1) * (uint64_t)ADIT_BLOCK)
		return -EMEDIUMTYPE;
	if (get32(first->magic) != ADIT_MAGIC_SUPER)
		use = second;
	if (get32(use->magic) != ADIT_MAGIC_SUPER)
		return -EMEDIUMTYPE;
	if (get32(use->owner) == ADIT_OWNER_KERNEL)
		return -EBUSY;
	k->was_clean = (get32(use->state) & ADIT_STATE_CLEAN) != 0;
	return 0;
}

/* Everything that touches the mapping, between two points that a media fault can jump over. */
static int check_mapping(struct fsck *k)
{
	struct adit_reporter reporter = {cli_report, (void *)(uintptr_t)k->name};
	struct adit_check_options o = {
		.flags = k->flags,
		.arg = k,
		.finding = on_finding,
		.progress = on_progress,
	};
	int rc = look_at_super(k);

	if (rc == 0 && k->flags == 0 && k->media.is_device)
		rc = copy_to_memory(&k->media);
	if (rc == 0 && !k->was_clean && !cli.json && !quiet)
		printf("%s: was not closed; the log is recovered%s\n", k->name,
		       k->flags == 0 ? ", in memory only" : "");
	if (rc == 0)
		rc = adit__check_media(&k->media.pm, &adit__env, &reporter, &o, &k->result);
	return rc;
}

static int check_guarded(struct fsck *k)
{
	struct adit_sigbus_frame frame;
	int rc;

	if (ADIT_SIGBUS_TRY(&frame, &k->media)) {
		cli_error("%s: the medium cannot be read at offset %#tx; move what can be read to "
			  "another pool",
			  k->name, (uint8_t *)frame.fault_addr - k->media.pm.base);
		return -EIO;
	}
	rc = check_mapping(k);
	ADIT_SIGBUS_END(&frame);
	return rc;
}

static int run_check(struct fsck *k)
{
	int rc = adit__media_open(&k->media, k->name, k->flags == 0 ? ADIT_MEDIA_RDONLY : 0, 0,
				  k->flags == 0 ? ADIT_DOMAIN_PROCESS
						: (enum adit_domain)cli.assume);

	if (rc < 0)
		return rc;
	/* The lock of adit_open: nobody works on the pool while it is checked. */
	rc = adit__media_lock(&k->media, k->flags != 0, 0, 0);
	if (rc == 0)
		rc = check_guarded(k);
	if (rc == 0 && k->flags != 0)
		rc = adit__media_error(&k->media);
	adit__media_close(&k->media);
	return rc;
}

/* ---- the command ---------------------------------------------------------------------------------- */

static int exit_code(const struct adit_check_result *r)
{
	return (r->fixed > 0 ? CLI_FSCK_CORRECTED : 0) | (r->left > 0 ? CLI_FSCK_UNCORRECTED : 0);
}

static bool ask_to_mend(const struct fsck *k)
{
	char answer[16];

	if (look_only || k->flags != 0 || cli.json || k->result.left == 0 ||
	    !isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO))
		return false;
	printf("%s: mend it? [y/N] ", k->name);
	fflush(stdout);
	return fgets(answer, sizeof answer, stdin) != NULL &&
	       (answer[0] == 'y' || answer[0] == 'Y');
}

static int fsck_once(struct fsck *k)
{
	int rc;

	k->findings = cli.json ? json_array() : NULL;
	memset(&k->result, 0, sizeof k->result);
	rc = run_check(k);
	cli_progress_done();
	if (rc == 0) {
		print_summary(k);
		return exit_code(&k->result);
	}
	if (k->result.left > 0)
		print_summary(k);
	if (rc == -EUCLEAN || rc == -EBADMSG)
		cli_error("%s: cannot be opened: what it needs most is damaged, or it is cut short "
			  "(%s)",
			  k->name, cli_errno_name(rc));
	else
		cli_fail_pool(rc, k->name, "cannot check the pool");
	return CLI_FSCK_ERROR | (k->result.left > 0 ? CLI_FSCK_UNCORRECTED : 0);
}

int adit__cmd_fsck(int argc, char **argv)
{
	struct fsck k = {0};
	const char **args;
	int count, rc;

	args = cli_parse(
		argc, argv, options, "POOL",
		"Checks a pool that nobody uses. Exit code, as of fsck(8): 0 clean, 1 errors were\n"
		"mended, 4 errors are left, 8 the check failed, 16 wrong command line.",
		1, 1, &count);
	if (look_only + mend_all + preen > 1)
		cli_usage("-n, -y and -p exclude each other");
	k.name = args[0];
	k.flags = mend_all ? ADIT_CHECK_REPAIR : preen ? ADIT_CHECK_PREEN : 0;
	rc = fsck_once(&k);
	if (ask_to_mend(&k)) {
		k.flags = ADIT_CHECK_REPAIR;
		rc = fsck_once(&k);
	}
	return rc;
}
