/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Participants that die: several handles of one process on one piece of memory; dying is a jump at a chosen
 * step (least.h).
 */
#ifndef ADIT_TESTS_UNIT_DEATHS_H
#define ADIT_TESTS_UNIT_DEATHS_H

#include "least.h"

#include "core/hold.h"

static jmp_buf away;
static unsigned steps, last_step;
static uint8_t dead[256]; /* for adit__repair */

static inline void die_at(uint64_t offset, uint64_t len)
{
	(void)offset, (void)len;
	if (steps++ == last_step)
		longjmp(away, 1);
}

/* The record is sealed before any of it is stored: a step, too. */
static uint32_t sealing(uint32_t seed, const void *data, size_t bytes)
{
	if (least.pm && least.step)
		take_step(NULL, 0);
	return adit__env.crc32c(seed, data, bytes);
}

static inline int begin_deaths(void **state)
{
	int rc = begin_env(state);

	env.crc32c = sealing;
	return rc;
}

static inline void join(struct pool *p, uint8_t *base, uint32_t me)
{
	pool_on(p, base, SMALL);
	assert_int_equal(adit__core_open(&p->fs, &p->pm, &env, &p->reporter, ADIT_OPEN_JOIN), 0);
	p->fs->me = me;
}

/* Of the leak sanitizer, where it is: what a process has when it dies is nobody's leak. */
void __lsan_disable(void) __attribute__((weak));
void __lsan_enable(void) __attribute__((weak));

/* Up to its n-th step: false when it was over before. */
static inline bool dies(struct pool *p, void (*run)(struct pool *), unsigned n)
{
	volatile bool died = true;

	steps = 0;
	last_step = n;
	least.step = die_at;
	if (__lsan_disable)
		__lsan_disable();
	if (setjmp(away) == 0) {
		run(p);
		died = false;
	}
	if (__lsan_enable)
		__lsan_enable();
	least.step = NULL;
	adit__current_op = NULL;
	return died;
}

/* What is left to be done when the gate is open again. */
static inline void finish_repair(struct pool *p, const uint32_t *slots, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		assert_int_equal(adit__finish_inherited(p->fs, slots[i]), 0);
	adit__holds_finish(p->fs);
}

#endif
