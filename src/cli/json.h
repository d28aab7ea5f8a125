/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * json.h - JSON output: one object, or a list that is printed while it is made.
 */
#ifndef ADIT_CLI_JSON_H
#define ADIT_CLI_JSON_H

#include <jansson.h>
#include <stdint.h>
#include <sys/stat.h>

/* Names are bytes; JSON is UTF-8. What is not valid UTF-8 gets replacement characters, and its true
 * bytes in hexadecimal under "<key>_hex". */
void cli_json_bytes(json_t *object, const char *key, const char *bytes);
void cli_json_int(json_t *object, const char *key, uint64_t v);
/* type, inode, mode, nlink, uid, gid, size, blocks, times, device numbers. */
void cli_json_stat(json_t *object, const struct stat *st);

/* Print and free one object. */
void cli_json_print(json_t *object);
/* A list: begin, any number of items (freed), end. */
void cli_json_begin(void);
void cli_json_item(json_t *object);
void cli_json_end(void);

#endif
