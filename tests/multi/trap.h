/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * TRAP(0x100): the processor traps (SIGTRAP) after each instruction that follows, until TRAP(0).
 */
#ifndef ADIT_TESTS_MULTI_TRAP_H
#define ADIT_TESTS_MULTI_TRAP_H

/* Not a function: it would trap on its way out, too, which does not matter, but on its way in it must not. */
#if defined(__x86_64__)
#define TRAP(flag)                                                                                 \
	__asm__ volatile(                                                                          \
		"lea -128(%%rsp), %%rsp; pushfq; andq $~0x100, (%%rsp); orq %0, (%%rsp); popfq; "  \
		"lea 128(%%rsp), %%rsp" ::"r"((uint64_t)(flag))                                    \
		: "memory", "cc")
#define CAN_TRAP true
#else
#define TRAP(flag) ((void)(flag))
#define CAN_TRAP   false
#endif

#endif
