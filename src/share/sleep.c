/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * sleep.c - see sleep.h.
 *
 * Signals.  A program may use a signal, alarm(2) perhaps, to bound its wait.  It comes once, so it must not be handled
 * where the wait does not notice, and no system call lets signals through and waits for a futex in one step.  So
 * they stay blocked in the sleep, too, and between two sleeps those that are pending are let through, and no
 * others: each is seen, and its handler's SA_RESTART is obeyed, some milliseconds late.
 */
#include "share/sleep.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdbool.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "share/participant.h"

#define ROUND_NS      10000000l
#define LONG_ROUNDS   20u
#define LONG_ROUND_NS 40000000l

void adit__sleep_begin(struct adit_sleep *s)
{
	sigset_t all;

	s->rounds = 0;
	sigfillset(&all);
	/* Those that the thread does to itself: media errors among them. */
	sigdelset(&all, SIGBUS);
	sigdelset(&all, SIGSEGV);
	sigdelset(&all, SIGILL);
	sigdelset(&all, SIGFPE);
	sigdelset(&all, SIGTRAP);
	pthread_sigmask(SIG_BLOCK, &all, &s->mask);
}

void adit__sleep_end(struct adit_sleep *s)
{
	pthread_sigmask(SIG_SETMASK, &s->mask, NULL);
}

static bool interrupts(int signal)
{
	struct sigaction a;

	return sigaction(signal, NULL, &a) == 0 && a.sa_handler != SIG_DFL &&
	       a.sa_handler != SIG_IGN && !(a.sa_flags & SA_RESTART);
}

/* Those that are pending; was one among them that interrupts? */
static bool let_signals_through(const struct adit_sleep *s)
{
	bool interrupted = false, any = false;
	sigset_t pending, through, blocked;

	if (sigpending(&pending) != 0)
		return false;
	sigemptyset(&through);
	for (int i = 1; i <= SIGRTMAX; i++)
		if (sigismember(&pending, i) == 1 && sigismember(&s->mask, i) == 0) {
			interrupted |= interrupts(i);
			sigaddset(&through, i);
			any = true;
		}
	if (any) {
		pthread_sigmask(SIG_UNBLOCK, &through, &blocked);
		pthread_sigmask(SIG_SETMASK, &blocked, NULL);
	}
	return interrupted;
}

int adit__sleep(struct adit_sleep *s, struct adit_fs *fs, uint32_t *word)
{
	struct timespec bound = {.tv_nsec = s->rounds++ < LONG_ROUNDS ? ROUND_NS : LONG_ROUND_NS};

	if (let_signals_through(s))
		return -EINTR;
	if (syscall(SYS_futex, word, FUTEX_WAIT, 0, &bound, NULL, 0) == 0 || errno == EAGAIN ||
	    errno == EINTR)
		return 0;
	if (errno != ETIMEDOUT) {
		/* A medium that the kernel keeps no futexes in. */
		bound.tv_nsec = 1000000;
		nanosleep(&bound, NULL);
	}
	adit__share_look(fs);
	return -ETIMEDOUT;
}

void adit__share_wake(uint32_t *word)
{
	syscall(SYS_futex, word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}
