/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * guard.c - what happens between a media fault and the -EIO of the call that met it.
 *
 * The core's operation (its locks, its lane) lives on the stack that the jump abandons. So it is
 * copied in the signal handler, while that stack is still whole, and ended from the copy. If the
 * fault hit while a record was being applied, ending it marks the pool as failed: the record is in the
 * log, and the next open applies it.
 */
#include "fs/guard.h"

#include <errno.h>

#include "core/namei.h"

static _Thread_local struct adit_op faulted __attribute__((tls_model("initial-exec")));
static _Thread_local bool in_operation __attribute__((tls_model("initial-exec")));

/* In the signal handler. */
static void keep_operation(void)
{
	in_operation = adit__current_op != NULL;
	if (in_operation)
		faulted = *adit__current_op;
}

void adit__guard_install(void)
{
	/* By threads that open pools at the same time. */
	__atomic_store_n(&adit__sigbus_before_jump, keep_operation, __ATOMIC_RELEASE);
}

/* A fault while cleaning up: nothing of this pool can be trusted to make progress, but nobody may be
 * left waiting for us. */
static void give_up(struct adit_fs *fs, struct adit_op *op)
{
	adit__stop(fs);
	adit__op_end_read(op);
}

ADIT_NOINLINE void adit__count_failed(uint64_t *at, unsigned kind, int64_t rc)
{
	adit__count_in(at, ADIT_COUNT_FAILED + kind, 1);
	if (rc == -ENOSPC)
		adit__count_in(at, ADIT_COUNT_NO_SPACE, 1);
}

/* The shard itself may be what cannot be touched any more. */
static void count_fault(struct adit_pool *pool, const void *fault_addr)
{
	struct adit_sigbus_frame frame;

	(void)adit__counts_lost(&pool->media, fault_addr);
	if (ADIT_SIGBUS_TRY(&frame, &pool->media))
		return;
	adit__count_media(&pool->media, ADIT_COUNT_MEDIA_ERRORS, 1);
	ADIT_SIGBUS_END(&frame);
}

int adit__after_fault(struct adit_pool *pool, const struct adit_sigbus_frame *frame)
{
	struct adit_sigbus_frame again, last;
	uint64_t offset = (uint64_t)((uint8_t *)frame->fault_addr - pool->media.pm.base);

	/* Not through pool->fs: it may be the open that failed. */
	adit__env.report(&pool->reporter, "media error at pool offset %#llx (block %llu)",
			 (unsigned long long)offset,
			 (unsigned long long)(offset >> ADIT_BLOCK_SHIFT));
	count_fault(pool, frame->fault_addr);
	if (!in_operation)
		return -EIO;
	if (ADIT_SIGBUS_TRY(&again, &pool->media)) {
		if (!ADIT_SIGBUS_TRY(&last, &pool->media)) {
			adit__allow_stores(&last);
			give_up(pool->fs, &faulted);
			ADIT_SIGBUS_END(&last);
		}
	} else {
		adit__allow_stores(&again);
		adit__op_abort(&faulted);
		ADIT_SIGBUS_END(&again);
	}
	in_operation = false;
	return -EIO;
}

int adit__let_go(struct adit_pool *pool, struct adit_hold *hold)
{
	int rc;

	ADIT_CALL(pool, ADIT_CALL_CLOSE, rc, adit__release(pool->fs, hold));
	return rc;
}
