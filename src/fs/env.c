/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * env.c - the core's environment in a process: memory, time, chance, checksums, locks, reports.
 *
 * Neighbours: share/lock.c (the locks). CRC32C comes from ISA-L, XXH64 from xxHash.
 */
#include "fs/env.h"

#include <limits.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <time.h>

#include <isa-l/crc.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "media/media.h"
#include "media/sigbus.h"
#include "share/lock.h"
#include "share/participant.h"
#include "share/sleep.h"

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

uint64_t adit__hash64(uint64_t seed, const void *data, size_t bytes)
{
	return XXH64(data, bytes, seed);
}

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

/* In a loop that waits for somebody else: has it died? */
static void env_yield(void)
{
	static _Thread_local struct timespec looked;
	struct adit_op *op = adit__current_op;
	struct timespec now;

	if (op == NULL) {
		sched_yield();
		return;
	}
	adit__op_park(op);
	sched_yield();
	clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
	if (now.tv_sec != looked.tv_sec || now.tv_nsec - looked.tv_nsec > 20000000) {
		looked = now;
		adit__share_look(op->fs);
	}
	adit__op_unpark(op);
}

/* One load a page: the unit in which the system takes poisoned memory away. What is there, and who writes it
 * meanwhile, is no matter. */
static __attribute__((noinline, no_sanitize("thread"))) void touch_pages(const void *at, size_t bytes)
{
	const volatile uint8_t *p = at, *end = p + bytes;

	for (; p < end; p += 4096 - (uintptr_t)p % 4096)
		(void)*p;
}

static bool env_readable(const void *at, size_t bytes)
{
	struct adit_media here = {.pm = {.base = (uint8_t *)(uintptr_t)at}, .map_bytes = bytes};
	struct adit_sigbus_frame frame;

	if (ADIT_SIGBUS_TRY(&frame, &here))
		return false;
	touch_pages(at, bytes);
	ADIT_SIGBUS_END(&frame);
	return true;
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

/* In a call that promised only to look (ADIT_GUARD_READ). */
static void env_stores(const struct adit_fs *fs)
{
	struct adit_sigbus_frame *frame = adit__sigbus_top;

	while (frame != NULL && frame->media != fs->pm.priv)
		frame = frame->prev;
	if (frame != NULL)
		adit__allow_stores(frame);
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
	.wait_gate = adit__share_wait_gate,
	.short_of_space = adit__share_short_of_space,
	.wake = adit__share_wake,
	.readable = env_readable,
	.thread_hint = env_thread_hint,
	.current_op = env_current_op,
	.stores = env_stores,
	.report = env_report,
};
