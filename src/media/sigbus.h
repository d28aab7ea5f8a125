/* SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause */
/*
 * sigbus.h - turn SIGBUS on a pool into an error of the call that met it.
 *
 *	struct adit_sigbus_frame frame;
 *
 *	if (ADIT_SIGBUS_TRY(&frame, media)) {
 *		... came here by a fault at frame.fault_addr; the frame is already ended ...
 *		return -EIO;
 *	}
 *	adit__allow_stores(&frame);	left out by who only reads
 *	... loads and stores on the pool ...
 *	ADIT_SIGBUS_END(&frame);
 *
 * Every way out of the guarded part must pass ADIT_SIGBUS_END: no return from inside. Locals that
 * change inside the guarded part and are read in the error path must be volatile. Frames nest; a
 * fault goes to the innermost frame of the thread whose medium holds the address. Faults elsewhere go
 * to whoever had the signal before us. One frame costs a sigsetjmp without signal mask, about 10 ns.
 *
 * Whoever jumps out of a change in progress must repair what it held; see core.
 */
#ifndef ADIT_MEDIA_SIGBUS_H
#define ADIT_MEDIA_SIGBUS_H

#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>

#include "media/media.h"

struct adit_sigbus_frame {
	sigjmp_buf env;
	struct adit_media *media;
	struct adit_sigbus_frame *prev;
	void *fault_addr; /* valid after a fault */
	/* protect.h */
	enum adit_protection protection; /* of the medium, or of one whose frame is around this one */
	uint32_t rights;		 /* when it began */
	bool stores;			 /* adit__allow_stores */
};

extern _Thread_local struct adit_sigbus_frame *adit__sigbus_top
	__attribute__((tls_model("initial-exec")));

/*
 * Called in the handler just before it jumps, while the stack below the frame is still whole: what
 * must be known of the interrupted operation is copied now. NULL: nothing. Async-signal-safe.
 */
extern void (*adit__sigbus_before_jump)(void);

/* Every adit__media_open does this: come first at the signal, whoever took it in the meantime. */
int adit__sigbus_install(void);

static inline void adit__sigbus_push(struct adit_sigbus_frame *frame, struct adit_media *media)
{
	frame->media = media;
	frame->fault_addr = NULL;
	frame->prev = adit__sigbus_top;
	frame->protection = media != NULL ? media->protection : ADIT_PROTECTION_NONE;
	frame->stores = false;
	if (frame->protection == ADIT_PROTECTION_NONE && frame->prev != NULL)
		frame->protection = frame->prev->protection;
	if (__builtin_expect(frame->protection != ADIT_PROTECTION_NONE, 0))
		adit__protect_enter(frame);
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	adit__sigbus_top = frame;
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
}

static inline void adit__sigbus_pop(struct adit_sigbus_frame *frame)
{
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	adit__sigbus_top = frame->prev;
	if (__builtin_expect(frame->stores, 0))
		adit__protect_leave(frame);
}

/* Of a protected medium (protect.h): until the frame ends, this thread stores to it. */
static inline void adit__allow_stores(struct adit_sigbus_frame *frame)
{
	if (__builtin_expect(frame->media->protection != ADIT_PROTECTION_NONE, 0))
		adit__protect_open(frame);
}

#define ADIT_SIGBUS_TRY(frame, media)                                                              \
	(adit__sigbus_push((frame), (media)), sigsetjmp((frame)->env, 0))
#define ADIT_SIGBUS_END(frame) adit__sigbus_pop(frame)

#endif
