/* SPDX-License-Identifier: BSD-3-Clause */
/* stores.c - see stores.h. */
#include "stores.h"

#include <string.h>

static struct {
	const uint8_t *base;
	uint64_t bytes;
	bool (*is_volatile)(void *, uint64_t);
	void *arg;
	uint64_t from, to; /* not recorded yet: a hull */
	uint64_t seen;
} now = {.from = UINT64_MAX};

static void forget(void)
{
	now.from = UINT64_MAX;
	now.to = 0;
}

void stores_watch(const uint8_t *base, uint64_t bytes, bool (*is_volatile)(void *, uint64_t),
		  void *arg)
{
	now.base = base;
	now.bytes = base ? bytes : 0;
	now.is_volatile = is_volatile;
	now.arg = arg;
	forget();
}

static void stored(const void *at, size_t len)
{
	uint64_t offset = (uint64_t)((uintptr_t)at - (uintptr_t)now.base);

	if (offset >= now.bytes || len == 0)
		return;
	now.seen++;
	if (now.is_volatile(now.arg, offset))
		return;
	if (offset < now.from)
		now.from = offset;
	if (offset + len > now.to)
		now.to = offset + len;
}

bool stores_recorded(uint64_t offset, uint64_t len, uint64_t *first)
{
	bool ok = now.to == 0 || (now.from >= offset && now.to <= offset + len);

	*first = now.from < offset ? now.from : now.to - 1;
	forget();
	return ok;
}

bool stores_none(uint64_t *first)
{
	bool ok = now.to == 0;

	*first = now.from;
	forget();
	return ok;
}

uint64_t stores_seen(void)
{
	return now.seen;
}

#ifdef MISUSE_CALLS
/* ---- what the compiler calls --------------------------------------------------------------- */

#define STORE(n)                                                                                   \
	void __asan_store##n##_noabort(void *at);                                                  \
	void __asan_store##n##_noabort(void *at)                                                   \
	{                                                                                          \
		stored(at, n);                                                                     \
	}
STORE(1)
STORE(2)
STORE(4)
STORE(8)
STORE(16)

void __asan_storeN_noabort(void *at, size_t len);
void __asan_storeN_noabort(void *at, size_t len)
{
	stored(at, len);
}

void __asan_handle_no_return(void);
void __asan_handle_no_return(void)
{
}

void *__real_memcpy(void *, const void *, size_t);
void *__real_memmove(void *, const void *, size_t);
void *__real_memset(void *, int, size_t);
void *__wrap_memcpy(void *, const void *, size_t);
void *__wrap_memmove(void *, const void *, size_t);
void *__wrap_memset(void *, int, size_t);

void *__wrap_memcpy(void *to, const void *from, size_t len)
{
	stored(to, len);
	return __real_memcpy(to, from, len);
}

void *__wrap_memmove(void *to, const void *from, size_t len)
{
	stored(to, len);
	return __real_memmove(to, from, len);
}

void *__wrap_memset(void *to, int c, size_t len)
{
	stored(to, len);
	return __real_memset(to, c, len);
}

#endif
