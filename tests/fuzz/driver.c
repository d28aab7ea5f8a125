/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * driver.c - a main() for fuzz targets without libFuzzer; see fuzz.h.
 *
 *	fuzz_TARGET [FILE | FOLDER]...
 *
 * Runs these inputs, then makes new ones of them for ADIT_SECONDS (default 5) with the target's mutator,
 * seeded with ADIT_SEED. An input that fails is written to fuzz-TARGET-failed.bin (in ADIT_FUZZ_OUT, or
 * here) and the line says how to run it again.
 */
#include "fuzz.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "op.h"
#include "proof.h"

#define INPUT_MAX    4096u
#define INPUTS_MAX   65536u
#define HANG_SECONDS 10u

struct input {
	uint8_t *data;
	size_t size;
};
static struct input inputs[INPUTS_MAX];
static unsigned ninputs;

static const uint8_t *running;
static size_t running_bytes;
static const char *program;

/* ---- what went wrong ----------------------------------------------------------------------- */

static void keep_input(void)
{
	const char *dir = getenv("ADIT_FUZZ_OUT");
	char path[512];
	FILE *f;

	if (running == NULL)
		return;
	snprintf(path, sizeof path, "%s/fuzz-%s-failed.bin", dir ? dir : ".", fuzz_name);
	f = fopen(path, "wb");
	if (f != NULL) {
		fwrite(running, 1, running_bytes, f);
		fclose(f);
	}
	fprintf(stderr, "again: %s %s\n", program, path);
	running = NULL;
}

static void on_signal(int sig)
{
	/* The process is lost anyhow: what is not safe in a handler does no more harm. */
	signal(sig, SIG_DFL);
	fprintf(stderr, "FAILED: %s\n", sig == SIGPROF ? "it hangs" : strsignal(sig));
	keep_input();
	raise(sig);
}

/* Of the address sanitizer, where there is one. */
void __asan_set_death_callback(void (*callback)(void)) __attribute__((weak));

static void watch(void)
{
	static const int signals[] = {SIGABRT, SIGPROF, SIGSEGV, SIGBUS, SIGFPE, SIGILL};

	for (unsigned i = 0; i < sizeof signals / sizeof *signals; i++)
		if (!__asan_set_death_callback || signals[i] == SIGABRT || signals[i] == SIGPROF)
			signal(signals[i], on_signal);
	if (__asan_set_death_callback)
		__asan_set_death_callback(keep_input);
}

/* ---- inputs ------------------------------------------------------------------------------------ */

static void read_input(const char *path)
{
	FILE *f = fopen(path, "rb");
	struct input *in = &inputs[ninputs];

	if (f == NULL || ninputs == INPUTS_MAX) {
		fprintf(stderr, "%s: %s\n", path, f ? "too many inputs" : strerror(errno));
		exit(2);
	}
	in->data = malloc(1 << 20);
	if (in->data == NULL)
		exit(2);
	in->size = fread(in->data, 1, 1 << 20, f);
	in->data = realloc(in->data, in->size + 1);
	fclose(f);
	ninputs++;
}

static int no_dots(const struct dirent *e)
{
	return e->d_name[0] != '.';
}

static void read_inputs(const char *path)
{
	struct dirent **names;
	struct stat st;
	int n;

	if (stat(path, &st) || !S_ISDIR(st.st_mode)) {
		read_input(path);
		return;
	}
	n = scandir(path, &names, no_dots, alphasort);
	for (int i = 0; i < n; i++) {
		char file[1024];

		snprintf(file, sizeof file, "%s/%s", path, names[i]->d_name);
		read_inputs(file);
		free(names[i]);
	}
	if (n >= 0)
		free(names);
}

static void run(const uint8_t *data, size_t size)
{
	/* Of processor time: the machine may have other work to do. */
	struct itimerval limit = {{0}};
	/* As large as it is, so that reading beyond it is seen. */
	uint8_t *copy = malloc(size ? size : 1);

	if (copy == NULL)
		exit(2);
	memcpy(copy, data, size);
	running = copy;
	running_bytes = size;
	limit.it_value.tv_sec = HANG_SECONDS;
	setitimer(ITIMER_PROF, &limit, NULL);
	(void)LLVMFuzzerTestOneInput(copy, size);
	limit.it_value.tv_sec = 0;
	setitimer(ITIMER_PROF, &limit, NULL);
	running = NULL;
	free(copy);
}

/* ---- new ones ------------------------------------------------------------------------------------ */

static uint64_t random_state;

static uint64_t below(uint64_t n)
{
	return op_random(&random_state) % n;
}

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max)
{
	size_t at = size ? below(size) : 0, len = 1 + below(8);

	switch (below(5)) {
	case 0: /* insert */
		if (size + len > max)
			return size;
		memmove(data + at + len, data + at, size - at);
		for (size_t i = 0; i < len; i++)
			data[at + i] = (uint8_t)below(256);
		return size + len;
	case 1: /* remove */
		if (len > size - at)
			len = size - at;
		memmove(data + at, data + at + len, size - at - len);
		return size - len;
	case 2:
		if (size)
			data[at] = (uint8_t)below(256);
		return size;
	case 3:
		if (size)
			data[at] ^= (uint8_t)(1u << below(8));
		return size;
	default: /* copy within */
		if (size == 0)
			return 0;
		len = len < size - at ? len : size - at;
		memmove(data + at, data + below(size - len + 1), len);
		return size;
	}
}

static double seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static uint64_t run_new(double until)
{
	static uint8_t data[INPUT_MAX];
	uint64_t n = 0;

	for (; seconds() < until; n++) {
		size_t size = 0;

		if (ninputs) {
			const struct input *in = &inputs[below(ninputs)];

			size = in->size < INPUT_MAX ? in->size : INPUT_MAX;
			memcpy(data, in->data, size);
		}
		for (uint64_t k = below(ninputs ? 5 : 20) + 1; k > 0; k--)
			size = LLVMFuzzerCustomMutator(data, size, INPUT_MAX,
						       (unsigned)op_random(&random_state));
		run(data, size);
	}
	return n;
}

static void report(uint64_t given, uint64_t made, uint64_t seed, double took)
{
	struct proof *p;
	char suite[64];
	uint64_t n;

	snprintf(suite, sizeof suite, "fuzz_%s", fuzz_name);
	p = proof_begin(suite, "R16",
			"inputs of a fuzz target: its corpus, every input that ever failed, "
			"and random changes of these");
	proof_seed(p, seed);
	proof_count(p, "inputs kept", given);
	proof_count(p, "inputs made", made);
	printf("fuzz_%s: %llu inputs kept, %llu made in %.0f s (seed %llu)", fuzz_name,
	       (unsigned long long)given, (unsigned long long)made, took, (unsigned long long)seed);
	for (unsigned i = 0; fuzz_counted(i, &n); i++) {
		printf("%s %llu %s", i ? "," : ":", (unsigned long long)n, fuzz_counted(i, &n));
		proof_count(p, fuzz_counted(i, &n), n);
	}
	printf("; no failure\n");
	if (proof_end(p, 0))
		exit(1);
}

int main(int argc, char **argv)
{
	const char *limit = getenv("ADIT_SECONDS"), *first = getenv("ADIT_SEED");
	uint64_t seed = first ? strtoull(first, NULL, 0) : 1, made;
	double begin = seconds(), for_seconds = limit ? strtod(limit, NULL) : 5;

	program = argv[0];
	random_state = seed;
	watch();
	LLVMFuzzerInitialize(&argc, &argv);
	for (int i = 1; i < argc; i++)
		read_inputs(argv[i]);
	for (unsigned i = 0; i < ninputs; i++)
		run(inputs[i].data, inputs[i].size);
	/* One input alone is to be run again, not to be changed. */
	made = argc == 2 && ninputs == 1 && !limit ? 0 : run_new(begin + for_seconds);
	report(ninputs, made, seed, seconds() - begin);
	return 0;
}
