/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A damaged copy of check_image.h's pool: look at it, or repair it and see that it is a pool again. For
 * test_check_damage.c and test_check_fields.c.
 */
#ifndef ADIT_TESTS_UNIT_CHECK_REPAIR_H
#define ADIT_TESTS_UNIT_CHECK_REPAIR_H

#include "check_image.h"

/* For the tests' messages. case_only: says what is found. */
static unsigned case_no, case_only;

#define CHECKED(cond, ...)                                                                         \
	do {                                                                                       \
		if (!(cond)) {                                                                     \
			fprintf(stderr, "case %u: %s\n", case_no, what);                           \
			fail_msg(__VA_ARGS__);                                                     \
		}                                                                                  \
	} while (0)

static inline void look_only(struct pool *p)
{
	struct adit_check_result res;
	int err = check(p, 0, &res, case_only != 0);

	CHECKED(err == 0 || res.left > 0, "look: error %d and nothing said", err);
}

static inline void repair_and_verify(struct pool *p, unsigned may_touch)
{
	struct adit_check_result res;
	bool say = case_only != 0;
	uint64_t which = 0;
	unsigned touched;
	char text[400];
	int n, err = check(p, ADIT_CHECK_REPAIR, &res, say);

	CHECKED(err == 0, "repair: error %d", err);
	CHECKED(res.left == 0, "repair: %u left", (unsigned)res.left);
	err = check(p, 0, &res, say);
	CHECKED(err == 0 && res.found == 0, "after the repair: error %d, %u found", err,
		(unsigned)res.found);
	err = adit__core_open(&p->fs, &p->pm, &adit__env, &p->reporter, 0);
	CHECKED(err == 0, "open after the repair: %d", err);
	touched = touched_files(p->fs, &which);
	CHECKED(touched <= may_touch, "%u files are not what they were, one of them inode %llu",
		touched, (unsigned long long)which);
	work_on_it(p->fs);
	n = adit__check_quiet(p->fs, text, sizeof text);
	CHECKED(n == 0, "after some work: %s", text);
	err = adit__core_close(p->fs);
	CHECKED(err == 0, "close: %d", err);
}

#endif
