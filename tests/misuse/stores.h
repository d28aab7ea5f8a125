/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * stores.h - every store that the compiled core makes, seen by the compiler's instrumentation.
 *
 * The core of this suite is compiled with -fsanitize=kernel-address, whose calls before each store come here
 * instead of to a kernel, and without builtin memory functions, which are wrapped. So no store to the pool
 * can pass unseen, whatever it writes: each must be followed by the event with which pmem.h records it.
 * Without that instrumentation (other compilers, sanitizers) stores_seen() is 0, and only the comparison of
 * the pool with the recorded copy is left.
 */
#ifndef ADIT_TEST_STORES_H
#define ADIT_TEST_STORES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* From now on; NULL: nothing is watched. volatile: stores there are nobody's business. */
void stores_watch(const uint8_t *base, uint64_t bytes,
		  bool (*is_volatile)(void *arg, uint64_t offset), void *arg);
/* The range was recorded. False: there were stores outside it; *offset is the first's. */
bool stores_recorded(uint64_t offset, uint64_t len, uint64_t *first);
/* Nothing may be left unrecorded now. */
bool stores_none(uint64_t *first);
/* Stores to the pool so far. */
uint64_t stores_seen(void);

#endif
