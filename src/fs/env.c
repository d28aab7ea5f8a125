/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * env.c - the core's environment in a process: memory, time, chance, checksums, locks, reports.
 *
 * Neighbours: share/lock.c (the locks). CRC32C comes from ISA-L and XXH64 from xxHash where they are
 * there; else from the plain code below, which gives the same values.
 */
#include "fs/env.h"

#include <limits.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <time.h>

#include "share/lock.h"

#ifndef ADIT_HAVE_ISAL
#define ADIT_HAVE_ISAL 0
#endif
#ifndef ADIT_HAVE_XXHASH
#define ADIT_HAVE_XXHASH 0
#endif

#if ADIT_HAVE_ISAL
#include <isa-l/crc.h>
#endif
#if ADIT_HAVE_XXHASH
#define XXH_INLINE_ALL
#include <xxhash.h>
#endif

_Thread_local struct adit_op *adit__current_op __attribute__((tls_model("initial-exec")));

#if ADIT_HAVE_ISAL

uint32_t adit__crc32c(uint32_t seed, const void *data, size_t bytes)
{
	/* ISA-L's takes and gives the register itself, not inverted; it does not write through its
	 * pointer, and counts in int. */
	unsigned char *p = (unsigned char *)(uintptr_t)data;
	uint32_t reg = ~seed;

	while (ADIT_UNLIKELY(bytes > INT_MAX)) {
		reg = crc32_iscsi(p, 1 << 30, reg);
		p += 1 << 30;
		bytes -= 1 << 30;
	}
	return ~crc32_iscsi(p, (int)bytes, reg);
}

#else

/* The reflected polynomial, four bits at a time: small, and fast enough to be correct with. */
uint32_t adit__crc32c(uint32_t seed, const void *data, size_t bytes)
{
	static const uint32_t nibble[16] = {
		0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1, 0x417b1dbc, 0x5125dad3,
		0x61c69362, 0x7198540d, 0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9,
		0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75,
	};
	const uint8_t *p = data;
	uint32_t reg = ~seed;

	while (bytes-- > 0) {
		reg ^= *p++;
		reg = reg >> 4 ^ nibble[reg & 15];
		reg = reg >> 4 ^ nibble[reg & 15];
	}
	return ~reg;
}

#endif

#if ADIT_HAVE_XXHASH

uint64_t adit__hash64(uint64_t seed, const void *data, size_t bytes)
{
	return XXH64(data, bytes, seed);
}

#else

#define P1 0x9e3779b185ebca87ull
#define P2 0xc2b2ae3d27d4eb4full
#define P3 0x165667b19e3779f9ull
#define P4 0x85ebca77c2b2ae63ull
#define P5 0x27d4eb2f165667c5ull

static uint64_t rotate(uint64_t x, unsigned by)
{
	return x << by | x >> (64 - by);
}

static uint64_t load64(const uint8_t *p)
{
	le64 x;

	memcpy(&x, p, sizeof x);
	return get64(x);
}

static uint64_t load32(const uint8_t *p)
{
	le32 x;

	memcpy(&x, p, sizeof x);
	return get32(x);
}

static uint64_t mix(uint64_t lane, uint64_t input)
{
	return rotate(lane + input * P2, 31) * P1;
}

/* The stripes of 32 bytes; *at moves behind them. */
static uint64_t hash_stripes(uint64_t seed, const uint8_t **at, size_t bytes)
{
	uint64_t lane[4] = {seed + P1 + P2, seed + P2, seed, seed - P1};
	uint64_t h;

	for (; bytes >= 32; bytes -= 32, *at += 32) {
		for (unsigned i = 0; i < 4; i++)
			lane[i] = mix(lane[i], load64(*at + 8 * i));
	}
	h = rotate(lane[0], 1) + rotate(lane[1], 7) + rotate(lane[2], 12) + rotate(lane[3], 18);
	for (unsigned i = 0; i < 4; i++)
		h = (h ^ mix(0, lane[i])) * P1 + P4;
	return h;
}

uint64_t adit__hash64(uint64_t seed, const void *data, size_t bytes)
{
	const uint8_t *p = data, *end = p + bytes;
	uint64_t h = bytes >= 32 ? hash_stripes(seed, &p, bytes) : seed + P5;

	h += bytes;
	for (; end - p >= 8; p += 8)
		h = rotate(h ^ mix(0, load64(p)), 27) * P1 + P4;
	if (end - p >= 4) {
		h = rotate(h ^ load32(p) * P1, 23) * P2 + P3;
		p += 4;
	}
	for (; p < end; p++)
		h = rotate(h ^ *p * P5, 11) * P1;
	h = (h ^ h >> 33) * P2;
	h = (h ^ h >> 29) * P3;
	return h ^ h >> 32;
}

#endif

static void *env_alloc(size_t bytes)
{
	return calloc(1, bytes);
}

static void env_free(void *p)
{
	free(p);
}

static int64_t env_now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME_COARSE, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static uint64_t env_random64(void)
{
	uint64_t x = 0;
	struct timespec now;

	if (getrandom(&x, sizeof x, 0) == (ssize_t)sizeof x)
		return x;
	/* A sandbox without getrandom: not to be relied on for secrecy, and nothing here does. */
	clock_gettime(CLOCK_MONOTONIC, &now);
	return adit__hash64((uint64_t)now.tv_sec, &now, sizeof now) ^ (uint64_t)(uintptr_t)&x;
}

static void env_yield(void)
{
	sched_yield();
}

static uint32_t env_thread_hint(void)
{
	static uint32_t next;
	static _Thread_local uint32_t mine __attribute__((tls_model("initial-exec")));

	if (ADIT_UNLIKELY(mine == 0))
		mine = __atomic_add_fetch(&next, 1, __ATOMIC_RELAXED);
	return mine - 1;
}

static struct adit_op **env_current_op(void)
{
	return &adit__current_op;
}

static ADIT_PRINTF(2, 3) void env_report(void *ctx, const char *format, ...)
{
	const struct adit_reporter *to = ctx;
	char line[512];
	va_list args;

	va_start(args, format);
	vsnprintf(line, sizeof line, format, args);
	va_end(args);
	if (to != NULL && to->line != NULL)
		to->line(to->ctx, line);
	else
		fprintf(stderr, "adit: %s\n", line);
}

const struct adit_env adit__env = {
	.alloc = env_alloc,
	.free = env_free,
	.now_ns = env_now_ns,
	.random64 = env_random64,
	.crc32c = adit__crc32c,
	.hash64 = adit__hash64,
	.lock = adit__lock,
	.trylock = adit__trylock,
	.unlock = adit__unlock,
	.yield = env_yield,
	.thread_hint = env_thread_hint,
	.current_op = env_current_op,
	.report = env_report,
};
