/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * sleep.h - a thread waits for long: for an advisory lock, which its holder gives up when it likes.
 */
#ifndef ADIT_SHARE_SLEEP_H
#define ADIT_SHARE_SLEEP_H

#include <signal.h>

#include "core/core.h"

/* A wait.  From begin to end the thread gets its signals only where a wait that they interrupt takes note. */
struct adit_sleep {
	sigset_t mask; /* as it was */
	unsigned rounds;
};

void adit__sleep_begin(struct adit_sleep *);
void adit__sleep_end(struct adit_sleep *);

/*
 * While *word, a futex of the pool, is 0; in no operation.  0: it was woken, or need not sleep.  -ETIMEDOUT: nobody
 * woke it for 10 ms (40 when it has waited for long); whoever died in that time has been looked after.  -EINTR: a
 * signal was handled, by a handler without SA_RESTART.
 */
int adit__sleep(struct adit_sleep *, struct adit_fs *, uint32_t *word);

/* Everybody who sleeps on this word. */
void adit__share_wake(uint32_t *word);

#endif
