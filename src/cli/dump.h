/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * dump.h - what the files of adit dump share. Each function describes one structure as a JSON object,
 * which dump.c prints as JSON or in words. NULL: there is no such thing (a message was printed).
 */
#ifndef ADIT_CLI_DUMP_H
#define ADIT_CLI_DUMP_H

#include <jansson.h>
#include <stdint.h>

#include "core/core.h"

/* ---- dump.c -------------------------------------------------------------------------------------- */

json_t *dump_word(uint64_t v);	/* an integer, as far as JSON has it */
void dump_set(json_t *o, const char *key, uint64_t v);
void dump_text(json_t *o, const char *key, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
void dump_time(json_t *o, const char *key, uint64_t ns);
/* "right", or what verify says. */
void dump_verdict(json_t *o, int err, const char *why);
/* Names and values: what is not printable as \xNN. */
void dump_bytes(json_t *o, const char *key, const void *bytes, size_t len);

/* ---- dump_inode.c ---------------------------------------------------------------------------------- */

json_t *dump_inode(struct adit_fs *fs, uint64_t ino);
json_t *dump_tree(struct adit_fs *fs, uint64_t ino, const char *which);
/* Inode of a path inside the pool, or 0. */
uint64_t dump_resolve(struct adit_fs *fs, const char *path);
/* Who holds the block, as far as inodes know: fills o, false when nobody does. */
bool dump_holder(struct adit_fs *fs, uint64_t block, json_t *o);

#endif
