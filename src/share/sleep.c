/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * sleep.c - see sleep.h.
 *
 * Signals.  A program may use a signal, alarm(2) perhaps, to bound its wait.  It comes once: so it must not be handled
 * where nobody notices.  Signals are blocked but for the sleep, and what is pending before that counts as an
 * interruption.  One that comes in the few instructions between the look at what is pending and the sleep is
 * handled, and the wait goes on: no system call lets signals through and waits for a futex in one step.
 *
 * SA_RESTART.  futex(2) with a timeout says EINTR for all handlers; futex_waitv(2) goes on after those that ask for it.
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

/* Lets them through; was one among them that interrupts? */
static bool let_signals_through(const struct adit_sleep *s)
{
	bool interrupted = false;
	sigset_t pending;

	if (sigpending(&pending) == 0)
		for (int i = 1; i <= SIGRTMAX; i++)
			if (sigismember(&pending, i) == 1 && sigismember(&s->mask, i) == 0)
				interrupted |= interrupts(i);
	pthread_sigmask(SIG_SETMASK, &s->mask, NULL);
	return interrupted;
}

static int futex_wait(uint32_t *word, long ns)
{
	struct timespec until;

#ifdef SYS_futex_waitv
	struct futex_waitv one = {.uaddr = (uintptr_t)word, .flags = FUTEX_32};

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_nsec += ns;
	if (until.tv_nsec >= 1000000000) {
		until.tv_nsec -= 1000000000;
		until.tv_sec++;
	}
	if (syscall(SYS_futex_waitv, &one, 1, 0, &until, CLOCK_MONOTONIC) >= 0)
		return 0;
	if (errno != ENOSYS && errno != EPERM)
		return -errno;
#endif
	until = (struct timespec){.tv_nsec = ns};
	return syscall(SYS_futex, word, FUTEX_WAIT, 0, &until, NULL, 0) == 0 ? 0 : -errno;
}

int adit__sleep(struct adit_sleep *s, struct adit_fs *fs, uint32_t *word)
{
	long ns = s->rounds++ < LONG_ROUNDS ? ROUND_NS : LONG_ROUND_NS;
	int rc = let_signals_through(s) ? -EINTR : futex_wait(word, ns);
	struct adit_sleep again = *s;

	adit__sleep_begin(&again);
	if (rc == -EINTR || rc == 0 || rc == -EAGAIN)
		return rc == -EINTR ? rc : 0;
	if (rc != -ETIMEDOUT) {
		/* A medium that the kernel keeps no futexes in. */
		const struct timespec t = {.tv_nsec = 1000000};

		nanosleep(&t, NULL);
	}
	adit__share_look(fs);
	return -ETIMEDOUT;
}

void adit__share_wake(uint32_t *word)
{
	syscall(SYS_futex, word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}
