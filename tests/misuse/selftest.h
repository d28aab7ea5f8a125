/* SPDX-License-Identifier: BSD-3-Clause */
/* selftest.h - every rule, broken on purpose, is seen; and nothing else is. */
#ifndef ADIT_TEST_SELFTEST_H
#define ADIT_TEST_SELFTEST_H

#include "watch.h"

/* image: a closed pool of the watch's size. How many mistakes were not seen; each is printed. */
unsigned selftest(struct watch *, const uint8_t *image);
/* How many were made. */
unsigned selftest_count(void);

#endif
