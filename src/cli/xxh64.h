/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * xxh64.h - XXH64 (seed 0) of a stream, piece by piece: what `xxhsum -H64` prints.
 */
#ifndef ADIT_CLI_XXH64_H
#define ADIT_CLI_XXH64_H

#include <stddef.h>
#include <stdint.h>

struct xxh64 {
	uint64_t lane[4];
	uint64_t total;
	uint8_t rest[32];
};
void xxh64_init(struct xxh64 *h);
void xxh64_update(struct xxh64 *h, const void *data, size_t bytes);
uint64_t xxh64_value(const struct xxh64 *h);

#endif
