/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * power.c - power failure, simulated: the demo's operations on a pool of a recording build.
 *
 *	adit-demo-power DIRECTORY SEED OPERATIONS IMAGES
 *
 * Every store, flush and fence of the library is recorded, from opening the pool on. Then, at random
 * points of the record, pool images are built as a power failure would leave them: everything that was
 * flushed and fenced, and of each line that was not, as much as chance wants (a prefix of its 8-byte
 * stores in order; stores past the cache singly). Each image is opened, which recovers it, checked, and
 * compared with what was acknowledged by then.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/check.h"
#include "fs/pool.h"
#include "image.h"
#include "media/record.h"
#include "ops.h"

#define BASE	   "/work"
#define POOL_BYTES ((uint64_t)32 << 20)

struct power {
	char *pool_path, *image_path;
	uint64_t seed, operations, images;
	uint64_t under_way; /* images in which the operation under way had taken effect */
	uint64_t state;	    /* random numbers */
	uint64_t vol_offset, vol_bytes;
	uint8_t *base;	    /* the pool as it was before it was opened */
	uint8_t *vol_later; /* its volatile region afterwards */
};

static int failed(const char *what, int rc)
{
	fprintf(stderr, "%s: %s\n", what, rc < 0 ? strerror(-rc) : strerror(errno));
	return 2;
}

/* What recovery says of each image is of interest only when something is wrong with it. */
static char last_report[512];

static void on_report(void *ctx, const char *line)
{
	snprintf(last_report, sizeof last_report, "%s", line);
}

static int open_pool(const char *path, struct adit_pool **pool)
{
	/* As on persistent memory: flushes are real. */
	struct adit_open_options options = {.assume = ADIT_ASSUME_MEMORY, .report = on_report};
	int rc;

	last_report[0] = '\0';
	rc = adit_open(path, &options, pool);
	if (rc < 0 && last_report[0] != '\0')
		fprintf(stderr, "%s: %s\n", path, last_report);
	return rc;
}

/* ---- recording ------------------------------------------------------------------------------------ */

static bool recording;

/* The first step of opening the pool starts the trace: from then on nothing is missed. */
static void start_trace(struct adit_pm *pm)
{
	if (!recording)
		adit__trace_start(pm);
	recording = true;
}

static void on_store(struct adit_pm *pm, const void *dst, size_t len_bytes)
{
	start_trace(pm);
}

static struct adit_record_hooks hooks = {
	.store = on_store,
	.nt = on_store,
	.flush = on_store,
	.fence = start_trace,
};

static int read_file(const char *path, uint8_t *to)
{
	int fd = open(path, O_RDONLY);
	ssize_t n = fd < 0 ? -1 : pread(fd, to, POOL_BYTES, 0);

	if (fd >= 0)
		close(fd);
	return n == (ssize_t)POOL_BYTES ? 0 : -EIO;
}

/* Not by adit_mkfs, which draws a random UUID and hash seed: one seed is to give the same run, as far as
 * time stamps let it. */
static int make_empty_pool(struct power *p)
{
	struct adit_mkfs_params params = {
		.pool_bytes = POOL_BYTES,
		.label = "power",
		.uuid = "simulated power",
		.hash_seed = p->seed,
		.root_mode = 0755,
		.zeroed = true,
	};
	struct adit_media media;
	int rc;

	unlink(p->pool_path);
	rc = adit__media_open(&media, p->pool_path, ADIT_MEDIA_CREATE | ADIT_MEDIA_EXCL, POOL_BYTES,
			      ADIT_DOMAIN_MEMORY);
	if (rc < 0)
		return rc;
	rc = adit__core_mkfs(&media.pm, &adit__env, NULL, &params);
	adit__media_close(&media);
	return rc;
}

static int make_pool(struct power *p)
{
	const struct adit_super_pm *super = (const void *)p->base;
	struct adit_pool *pool;
	int rc = make_empty_pool(p);

	if (rc == 0)
		rc = open_pool(p->pool_path, &pool);
	if (rc == 0) {
		rc = adit_mkdir(pool, BASE, 0755);
		adit_close(pool);
	}
	if (rc == 0)
		rc = read_file(p->pool_path, p->base);
	p->vol_offset = get64(super->vol_start) * ADIT_BLOCK;
	p->vol_bytes = get64(super->vol_blocks) * ADIT_BLOCK;
	return rc;
}

static int record(struct power *p)
{
	struct adit_pool *pool;
	struct model m;
	int rc;

	adit__record_ignore(p->vol_offset, p->vol_bytes);
	adit__record = &hooks;
	rc = open_pool(p->pool_path, &pool);
	if (rc < 0)
		return rc;
	model_init(&m, p->seed);
	while (rc == 0 && m.done < p->operations) {
		struct op op;

		model_next(&m, &op);
		rc = pool_apply(pool, BASE, &op);
		if (rc < 0) {
			fprintf(stderr, "operation %" PRIu64 " (%s): ", m.done, op_name(op.kind));
			break;
		}
		model_apply(&m, &op);
		adit__trace_mark(m.done);
	}
	adit__trace_stop();
	adit__record = NULL;
	if (rc == 0)
		rc = read_file(p->pool_path, p->vol_later);
	model_finish(&m);
	adit_close(pool);
	return rc == 0 && adit__trace_failed() ? -ENOMEM : rc;
}

/* ---- images --------------------------------------------------------------------------------------- */

static int write_image(struct power *p, struct image *image)
{
	static const enum image_chance chances[] = {
		IMAGE_PREFIXES, IMAGE_NOTHING,	  IMAGE_PREFIXES,   IMAGE_EVERYTHING,
		IMAGE_LINES,	IMAGE_MOST_LINES, IMAGE_MOST_LINES,
	};
	enum image_chance chance = chances[random_next(&p->state) % 7];
	int fd = open(p->image_path, O_RDWR | O_CREAT, 0600);
	uint8_t *to;

	if (fd < 0 || ftruncate(fd, (off_t)POOL_BYTES) < 0)
		return -errno;
	to = mmap(NULL, POOL_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (to == MAP_FAILED)
		return -errno;
	image_build(image, to, chance, &p->state);
	/* The volatile region may hold anything: what it was, or what it became later. */
	if (random_next(&p->state) % 2)
		memcpy(to + p->vol_offset, p->vol_later + p->vol_offset, p->vol_bytes);
	munmap(to, POOL_BYTES);
	return 0;
}

/* `before` has the acknowledged operations, `after` one more. */
static int verify_image(struct power *p, uint64_t point, struct model *before, struct model *after)
{
	char why[512], why_after[512], finding[512];
	struct adit_pool *pool;
	int rc = open_pool(p->image_path, &pool);

	if (rc < 0) {
		fprintf(stderr,
			"seed %" PRIu64 ", event %" PRIu64 ", %" PRIu64 " operations: ", p->seed,
			point, before->done);
		return failed("cannot open the image", rc);
	}
	rc = adit__check_quiet(adit__pool_fs(pool), finding, sizeof finding);
	if (rc != 0) {
		fprintf(stderr, "event %" PRIu64 ", %" PRIu64 " operations: the check finds: %s\n",
			point, before->done, rc < 0 ? strerror(-rc) : finding);
		return 1;
	}
	if (!model_matches(before, pool, BASE, why, sizeof why)) {
		if (!model_matches(after, pool, BASE, why_after, sizeof why_after)) {
			struct op op;

			model_next(before, &op);
			fprintf(stderr,
				"event %" PRIu64 ", after %" PRIu64 " acknowledged operations: "
				"%s\nnor with the one under way (%s): %s\n",
				point, before->done, why, op_name(op.kind), why_after);
			return 1;
		}
		p->under_way++;
	}
	return adit_close(pool) < 0 ? 2 : 0;
}

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

/* Anywhere, and every other time just before a fence, where most is still undecided. */
static uint64_t *choose_points(struct power *p, uint64_t events)
{
	uint64_t *points = calloc(p->images, sizeof *points);

	if (points == NULL)
		exit(failed("points", -ENOMEM));
	for (uint64_t i = 0; i < p->images; i++) {
		struct adit_event e = {0};

		points[i] = random_next(&p->state) % (events + 1);
		while (i % 2 && adit__trace_get(points[i], &e) && e.kind != ADIT_EVENT_FENCE)
			points[i]++;
	}
	qsort(points, p->images, sizeof *points, by_value);
	return points;
}

static int fail_images(struct power *p)
{
	uint64_t events = adit__trace_count(), *points = choose_points(p, events), at = 0;
	struct model before, after;
	struct image *image = image_create(p->base, POOL_BYTES);
	int rc = 0;

	model_init(&before, p->seed);
	model_init(&after, p->seed);
	for (uint64_t i = 0; rc == 0 && i < p->images; i++) {
		uint64_t acknowledged = before.done;

		for (; at < points[i]; at++) {
			struct adit_event e;

			if (!adit__trace_get(at, &e))
				break;
			if (e.kind == ADIT_EVENT_MARK)
				acknowledged = e.offset;
			else
				image_event(image, &e);
		}
		model_advance(&before, acknowledged);
		model_advance(&after, acknowledged + 1);
		rc = write_image(p, image);
		rc = rc < 0 ? failed(p->image_path, rc) : verify_image(p, at, &before, &after);
	}
	model_finish(&before);
	model_finish(&after);
	image_destroy(image);
	free(points);
	if (rc == 0)
		printf("%" PRIu64 " operations, %" PRIu64 " events, %" PRIu64
		       " images recovered, %" PRIu64 " with the operation under way\n",
		       p->operations, events, p->images, p->under_way);
	return rc;
}

int main(int argc, char **argv)
{
	struct power p = {0};
	int rc;

	if (argc != 5) {
		fprintf(stderr, "usage: adit-demo-power DIRECTORY SEED OPERATIONS IMAGES\n");
		return 2;
	}
	p.seed = p.state = strtoull(argv[2], NULL, 0);
	p.operations = strtoull(argv[3], NULL, 0);
	p.images = strtoull(argv[4], NULL, 0);
	p.base = malloc(POOL_BYTES);
	p.vol_later = malloc(POOL_BYTES);
	if (asprintf(&p.pool_path, "%s/power.adit", argv[1]) < 0 ||
	    asprintf(&p.image_path, "%s/power-image.adit", argv[1]) < 0 || p.base == NULL ||
	    p.vol_later == NULL)
		return failed("start", -ENOMEM);
	rc = make_pool(&p);
	if (rc == 0)
		rc = record(&p);
	rc = rc < 0 ? failed(p.pool_path, rc) : fail_images(&p);
	if (rc == 0) { /* a failure leaves the image for a look at it */
		unlink(p.pool_path);
		unlink(p.image_path);
	}
	free(p.base);
	free(p.vol_later);
	free(p.pool_path);
	free(p.image_path);
	adit__trace_free();
	return rc;
}
