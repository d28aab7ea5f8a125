/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * copy_file.h - contents and attributes of a single file, for copy.c.
 */
#ifndef ADIT_CLI_COPY_FILE_H
#define ADIT_CLI_COPY_FILE_H

#include "cli/copy.h"
#include "cli/walk.h"

#define COPY_PIECE_BYTES ((size_t)1 << 20)

/* Where something goes. */
struct copy_to {
	int dirfd;
	const char *name; /* in dirfd */
	const char *path; /* the whole path */
};

/* Both return 0 or -errno. */
int copy_contents(struct copy *c, const struct walk_entry *e, const struct copy_to *to);
int copy_attributes(struct copy *c, const struct walk_entry *e, const struct copy_to *to);
void copy_progress(const struct copy *c);

#endif
