/* SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause */
/*
 * protect.h - a mapping that only our own calls may store to: a stray store of the program faults.
 *
 *	struct adit_sigbus_frame frame;
 *
 *	ADIT_SIGBUS_TRY(&frame, media) ...	reading is possible from here on, in this thread
 *	adit__allow_stores(&frame);		and from here on storing, until the frame ends
 *
 * Keys (pkeys(7)).  One key of the process's is on every protected mapping.  A thread's right to store is a
 * register of its own: other threads' stray stores fault while a call is under way.  The kernel starts threads
 * that are older than the key, and signal handlers, without even the right to read: every frame looks.
 *
 * mprotect.  For CPUs without keys: the first call in makes the mapping writable for all threads, the last one out
 * makes it read-only.  Weaker, and as slow as two changes of page tables.
 *
 * Neighbours: sigbus.h (frames), media.h (which medium has which).
 */
#ifndef ADIT_MEDIA_PROTECT_H
#define ADIT_MEDIA_PROTECT_H

#include <stdbool.h>

struct adit_media;
struct adit_sigbus_frame;

enum adit_protection {
	ADIT_PROTECTION_NONE = 0,
	ADIT_PROTECTION_KEYS,
	ADIT_PROTECTION_MPROTECT,
};

/* What ADIT_PROTECT says when nothing was told (off without it); -EINVAL: no such name. */
int adit__protection_wanted(enum adit_protection *how);
bool adit__cpu_has_keys(void);

/*
 * From now on, stores only inside frames.  Call it before anybody stores, and again when the mapping has grown.
 * -EOPNOTSUPP: this CPU or kernel has no keys; -ENOSPC: the program has taken all of them.
 */
int adit__protect(struct adit_media *m, enum adit_protection how);

/* Of sigbus.h. */
void adit__protect_enter(struct adit_sigbus_frame *frame);
void adit__protect_open(struct adit_sigbus_frame *frame);
void adit__protect_leave(struct adit_sigbus_frame *frame);
/* In the signal handler, for the frame that it jumps to: the rights are as when it began. */
void adit__protect_after_fault(struct adit_sigbus_frame *frame);

#endif
