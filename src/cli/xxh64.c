/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * xxh64.c - see xxh64.h. Written from the algorithm's specification (xxHash, doc/xxhash_spec.md).
 */
#include "cli/xxh64.h"

#include <endian.h>
#include <string.h>

#define P1 UINT64_C(0x9e3779b185ebca87)
#define P2 UINT64_C(0xc2b2ae3d27d4eb4f)
#define P3 UINT64_C(0x165667b19e3779f9)
#define P4 UINT64_C(0x85ebca77c2b2ae63)
#define P5 UINT64_C(0x27d4eb2f165667c5)

static uint64_t rotate(uint64_t x, unsigned by)
{
	return x << by | x >> (64 - by);
}

static uint64_t load64(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof v);
	return le64toh(v);
}

static uint64_t load32(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof v);
	return le32toh(v);
}

static uint64_t step(uint64_t lane, uint64_t input)
{
	return rotate(lane + input * P2, 31) * P1;
}

void xxh64_init(struct xxh64 *h)
{
	*h = (struct xxh64){.lane = {P1 + P2, P2, 0, -P1}};
}

static void stripe(struct xxh64 *h, const uint8_t *p)
{
	for (unsigned i = 0; i < 4; i++)
		h->lane[i] = step(h->lane[i], load64(p + 8 * i));
}

void xxh64_update(struct xxh64 *h, const void *data, size_t bytes)
{
	const uint8_t *p = data;
	size_t have = h->total % 32;

	h->total += bytes;
	if (have > 0) {
		size_t n = bytes < 32 - have ? bytes : 32 - have;

		memcpy(h->rest + have, p, n);
		p += n;
		bytes -= n;
		if (have + n < 32)
			return;
		stripe(h, h->rest);
	}
	for (; bytes >= 32; bytes -= 32, p += 32)
		stripe(h, p);
	memcpy(h->rest, p, bytes);
}

uint64_t xxh64_value(const struct xxh64 *h)
{
	size_t left = h->total % 32;
	const uint8_t *p = h->rest;
	uint64_t v = P5;

	if (h->total >= 32) {
		v = rotate(h->lane[0], 1) + rotate(h->lane[1], 7) + rotate(h->lane[2], 12) +
		    rotate(h->lane[3], 18);
		for (unsigned i = 0; i < 4; i++)
			v = (v ^ step(0, h->lane[i])) * P1 + P4;
	}
	v += h->total;
	for (; left >= 8; left -= 8, p += 8)
		v = rotate(v ^ step(0, load64(p)), 27) * P1 + P4;
	for (; left >= 4; left -= 4, p += 4)
		v = rotate(v ^ load32(p) * P1, 23) * P2 + P3;
	for (; left > 0; left--, p++)
		v = rotate(v ^ *p * P5, 11) * P1;
	v = (v ^ v >> 33) * P2;
	v = (v ^ v >> 29) * P3;
	return v ^ v >> 32;
}
