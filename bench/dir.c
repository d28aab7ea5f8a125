/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * dir.c - one directory of a thousand to a million entries (ten million with --full or BENCH_FULL=1):
 * what making an entry and looking one up costs.
 *
 * Looked up are names drawn from all entries, whose structures no cache can hold when there are many,
 * and names drawn from a fixed thousand, which shows what the structure itself costs. A lookup is
 * adit_faccessat, which finds a name and nothing more; stat also reads the inode. The directories are
 * looked into in turns, so that a noisy minute hits all of them.
 */
#include "bench.h"

#include <sys/stat.h>

#define ROUNDS	7
#define LOOKUPS 20000u
#define HOT	1000u
#define SIZES	5
#define BATCH	500u /* creates timed at once: the best batch shows what they cost undisturbed */

static const uint64_t sizes[SIZES] = {1000, 10000, 100000, 1000000, 10000000};

struct directory {
	uint64_t entries;
	int fd;
	double create_ns, create_best_ns;
	struct series all, hot, hot_stat;
};

static struct adit_pool *pool;
static char names[LOOKUPS][NAME_BYTES];

static void fill(struct directory *d, unsigned number)
{
	char name[NAME_BYTES];
	double begin, total = 0, best = 1e18;

	snprintf(name, sizeof name, "dir-%u", number);
	check(adit_mkdir(pool, name, 0755), "adit_mkdir");
	d->fd = adit_openat(pool, AT_FDCWD, name, O_RDONLY | O_DIRECTORY, 0);
	check(d->fd, "adit_openat");
	for (uint64_t at = 0; at < d->entries; at += BATCH) {
		double ns;

		for (unsigned i = 0; i < BATCH; i++)
			make_name(names[i], at + i);
		begin = now_ns();
		for (unsigned i = 0; i < BATCH; i++)
			check(adit_mknodat(pool, d->fd, names[i], S_IFREG | 0644, 0), "adit_mknodat");
		ns = now_ns() - begin;
		total += ns;
		/* The structure is what it will be in the second half only. */
		if (at >= d->entries / 2 && ns < best)
			best = ns;
	}
	d->create_ns = total / (double)d->entries;
	d->create_best_ns = best / BATCH;
}

/* Names drawn from `entries`; from `of` of them if that is fewer, spread evenly. */
static void draw(uint64_t entries, uint64_t of, uint64_t *seed)
{
	uint64_t n = of < entries ? of : entries;

	for (unsigned i = 0; i < LOOKUPS; i++)
		make_name(names[i], next_random(seed) % n * (entries / n));
}

static double look(struct directory *d, bool with_stat)
{
	double begin = now_ns();
	struct stat st;

	for (unsigned i = 0; i < LOOKUPS; i++)
		check(with_stat ? adit_fstatat(pool, d->fd, names[i], &st, 0) :
				  adit_faccessat(pool, d->fd, names[i], F_OK, 0),
		      names[i]);
	return (now_ns() - begin) / LOOKUPS;
}

static void round_of(struct directory *d, uint64_t *seed)
{
	draw(d->entries, d->entries, seed);
	series_add(&d->all, look(d, false));
	draw(d->entries, HOT, seed);
	(void)look(d, false);
	series_add(&d->hot, look(d, false));
	series_add(&d->hot_stat, look(d, true));
}

static void report(const struct directory *d, const struct directory *first)
{
	double hot = series_best(&d->hot), all = series_best(&d->all);

	printf("%10llu %8.0f %8.0f | %8.0f %8.0f %6.2f | %8.0f %8.0f %6.2f | %8.0f\n",
	       (unsigned long long)d->entries, d->create_ns, d->create_best_ns, hot,
	       series_median(&d->hot), hot / series_best(&first->hot), all, series_median(&d->all),
	       all / series_best(&first->all), series_best(&d->hot_stat));
	json_begin_row("directory");
	json_number("entries", (double)d->entries);
	json_number("create_ns", d->create_ns);
	json_number("create_best_ns", d->create_best_ns);
	json_number("lookup_hot_ns", hot);
	json_number("lookup_hot_ratio", hot / series_best(&first->hot));
	json_number("lookup_all_ns", all);
	json_number("lookup_all_ratio", all / series_best(&first->all));
	json_number("stat_hot_ns", series_best(&d->hot_stat));
	json_number("target_ratio", 2);
	json_end_row();
}

int main(int argc, char **argv)
{
	static struct directory dirs[SIZES];
	const char *env = getenv("BENCH_FULL");
	unsigned n = SIZES - 1;
	uint64_t seed = 88172645463325252ull, total = 0;

	if (argc > 1 && strcmp(argv[1], "--full") == 0) {
		n = SIZES;
		argv[1] = argv[0];
		argc--;
		argv++;
	} else if (env && strcmp(env, "1") == 0) {
		n = SIZES;
	}
	bench_begin(argc, argv, "dir");
	for (unsigned i = 0; i < n; i++)
		total += sizes[i];
	/* An inode, its share of a directory leaf, and the log. */
	pool_make(total * 512 + (1ull << 28));
	pool = pool_open();
	pool_populate(pool, 64ull << 20);
	for (unsigned i = 0; i < n; i++) {
		dirs[i].entries = sizes[i];
		fill(&dirs[i], i);
	}
	for (unsigned round = 0; round < ROUNDS; round++)
		for (unsigned i = 0; i < n; i++)
			round_of(&dirs[i], &seed);

	printf("one directory; ns an operation; the ratio is to a thousand entries, target: at most 2\n");
	printf("%10s %17s | %24s | %24s | %8s\n", "", "create", "lookup, a fixed 1000 names",
	       "lookup, any name", "stat");
	printf("%10s %8s %8s | %8s %8s %6s | %8s %8s %6s | %8s\n", "entries", "average", "best", "best",
	       "median", "ratio", "best", "median", "ratio", "fixed");
	for (unsigned i = 0; i < n; i++)
		report(&dirs[i], &dirs[0]);
	check(adit_close(pool), "adit_close");
	bench_end();
	return 0;
}
