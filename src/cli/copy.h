/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * copy.h - copying files and trees between two sides, each a pool or the host.
 *
 * What is kept is chosen by flags. A directory gets its mode, owner and times after its contents. Of a
 * file that cannot be copied wholly nothing is left, if it was not there before.
 */
#ifndef ADIT_CLI_COPY_H
#define ADIT_CLI_COPY_H

#include <adit/adit.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define COPY_RECURSIVE	1u
#define COPY_NO_FOLLOW	2u /* symbolic links as such, those named on the command line too */
#define COPY_FOLLOW	4u /* what symbolic links point to, everywhere */
#define COPY_MODE	8u /* mode and owner */
#define COPY_TIMES	16u
#define COPY_XATTRS	32u
#define COPY_LINKS	64u  /* hard links stay hard links */
#define COPY_HOLES	128u /* holes stay holes */
#define COPY_NO_CLOBBER 256u
#define COPY_FORCE	512u /* remove and try again what cannot be opened */
#define COPY_VERBOSE	1024u

struct copy_link; /* copy.c */

struct copy {
	struct adit_pool *from, *to; /* NULL: the host */
	unsigned flags;
	uint64_t files, bytes; /* copied so far */
	/* Of copy.c: */
	char *buf;
	int *dirs; /* descriptors of the directories being made, by depth */
	size_t dirs_room;
	char **dir_paths;
	bool *dir_made;
	struct copy_link *links; /* files with several names, where their first copy is */
	size_t links_room, links_used;
	const char *target;	     /* of the operand being copied */
	uint64_t root_dev, root_ino; /* the directory that the operand is copied to */
};

void copy_init(struct copy *c, struct adit_pool *from, struct adit_pool *to, unsigned flags);
void copy_finish(struct copy *c);
/* `target` is the new name itself, not a directory to put it into. CLI_OK, or CLI_FAILED and messages
 * were printed. */
int copy_tree(struct copy *c, const char *source, const char *target);

#endif
