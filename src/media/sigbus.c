/* SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause */
/*
 * sigbus.c - the process-wide SIGBUS handler behind sigbus.h.
 */
#include "media/sigbus.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <ucontext.h>

#include "media/media.h"

_Thread_local struct adit_sigbus_frame *adit__sigbus_top __attribute__((tls_model("initial-exec")));

void (*adit__sigbus_before_jump)(void);

/*
 * Whom to pass on to. Others (test frameworks, language runtimes) take the signal after us, so every open
 * looks again and comes back in front of them; each earlier holder keeps its place in the table, as a
 * handler may be running with it. The last place is reused.
 */
#define HOLDERS 64
static struct sigaction holders[HOLDERS];
static _Atomic unsigned holder; /* index of the present one */
static pthread_mutex_t install_lock = PTHREAD_MUTEX_INITIALIZER;

/* Somebody we pass on to may pass back to us: end that. */
static _Thread_local bool passing __attribute__((tls_model("initial-exec")));

static bool holds(const struct adit_media *m, const void *addr)
{
	uintptr_t base = (uintptr_t)m->pm.base, a = (uintptr_t)addr;

	return a >= base && a - base < __atomic_load_n(&m->map_bytes, __ATOMIC_RELAXED);
}

static void to_default(const siginfo_t *info)
{
	struct sigaction fallback = {.sa_handler = SIG_DFL};

	/* A fault comes again on return, and kills; what was sent is sent again. */
	sigaction(SIGBUS, &fallback, NULL);
	if (info->si_code <= 0)
		raise(SIGBUS);
}

/* Not ours: as if we were not there. */
static void pass_on(int sig, siginfo_t *info, void *context)
{
	const struct sigaction *to = &holders[atomic_load(&holder)];

	if (passing) {
		to_default(info);
		return;
	}
	passing = true;
	if (to->sa_flags & SA_SIGINFO)
		to->sa_sigaction(sig, info, context);
	else if (to->sa_handler == SIG_DFL || (to->sa_handler == SIG_IGN && info->si_code > 0))
		to_default(info);
	else if (to->sa_handler != SIG_IGN)
		to->sa_handler(sig);
	passing = false;
}

static void before_jump(void)
{
	void (*hook)(void) = __atomic_load_n(&adit__sigbus_before_jump, __ATOMIC_ACQUIRE);

	if (hook != NULL)
		hook();
}

/* The frames down to this one end, and with them what they may do. */
static void unwind(struct adit_sigbus_frame *to)
{
	struct adit_sigbus_frame *frame = adit__sigbus_top;

	adit__sigbus_top = to->prev;
	for (;; frame = frame->prev) {
		adit__protect_after_fault(frame);
		if (frame == to)
			return;
	}
}

static void on_sigbus(int sig, siginfo_t *info, void *context)
{
	struct adit_sigbus_frame *frame;
	int saved_errno = errno;
	bool fault = info->si_code > 0; /* else sent by a process, si_addr means nothing */

#ifdef BUS_MCEERR_AO
	/* Poison found by the kernel, touched by nobody yet: the load that meets it will tell. */
	if (info->si_code == BUS_MCEERR_AO)
		return;
#endif
	for (frame = adit__sigbus_top; frame != NULL && fault; frame = frame->prev) {
		if (frame->media != NULL && holds(frame->media, info->si_addr)) {
			frame->fault_addr = info->si_addr;
			unwind(frame);
			passing = false;
			before_jump();
			/* The frame saved no mask: what the handler blocked, it gives back. */
			pthread_sigmask(SIG_SETMASK, &((ucontext_t *)context)->uc_sigmask, NULL);
			siglongjmp(frame->env, 1);
		}
	}
	pass_on(sig, info, context);
	errno = saved_errno;
}

int adit__sigbus_install(void)
{
	struct sigaction action = {
		.sa_sigaction = on_sigbus,
		.sa_flags = SA_SIGINFO | SA_NODEFER | SA_ONSTACK,
	};
	struct sigaction now;
	unsigned place;
	int rc = 0;

	sigemptyset(&action.sa_mask);
	pthread_mutex_lock(&install_lock);
	if (sigaction(SIGBUS, NULL, &now) != 0) {
		rc = -errno;
	} else if (!(now.sa_flags & SA_SIGINFO) || now.sa_sigaction != on_sigbus) {
		place = atomic_load(&holder);
		if (place < HOLDERS - 1)
			place++;
		holders[place] = now;
		atomic_store(&holder, place);
		if (sigaction(SIGBUS, &action, NULL) != 0)
			rc = -errno;
	}
	pthread_mutex_unlock(&install_lock);
	return rc;
}
