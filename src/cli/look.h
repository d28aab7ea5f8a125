/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * look.h - a pool seen from outside: a mapping that is only read, geometry, nothing else.  Takes part in nothing,
 * holds no lock, disturbs nobody; the permission to read is enough.  Whatever is there may change at any time.
 */
#ifndef ADIT_CLI_LOOK_H
#define ADIT_CLI_LOOK_H

#include <stdbool.h>

#include "core/core.h"
#include "fs/stats.h"
#include "media/media.h"

struct cli_look {
	const char *path;
	struct adit_media media;
	struct adit_fs fs; /* geometry, incarnation */
	bool open;
};

/* CLI_OK, or CLI_FAILED with a message. */
int cli_look_open(struct cli_look *, const char *path);
void cli_look_close(struct cli_look *);
/* The same again when it has been opened anew or grown, or when another file has its name now. */
int cli_look_again(struct cli_look *);

struct cli_looked {
	struct adit_pool_stats stats;
	bool in_use;	/* somebody has it open for writing */
	unsigned alive; /* of stats.participants */
};
/* While nobody has it open for writing, everything is 0.  Call cli_look_again before. */
int cli_look_stats(struct cli_look *, struct cli_looked *out);

/* Somebody took that place in this incarnation and has not left, be it alive or not. */
static inline bool cli_look_is_taken(const struct cli_look *v, uint32_t participant)
{
	return __atomic_load_n(&v->fs.participants[participant].owner, __ATOMIC_ACQUIRE) ==
	       ((uint64_t)v->fs.incarnation << 32 | 1);
}

#endif
