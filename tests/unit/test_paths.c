/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_paths.c - which error comes first: every call that takes a name, on every kind of name, with and without slashes
 * and dots behind it, in a directory that is there and in one that was removed.  What is right is asked
 * from the kernel, on tmpfs, at the same moment; after a call that did something all names are compared.
 */
#include "api.h"

#include <ftw.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <sys/xattr.h>

static struct api a;
static char host_base[] = "/dev/shm/adit-paths-XXXXXX";
static unsigned turn; /* number of the directory that is worked in */
static unsigned long tried, did;
static unsigned different;

/* The same place here and there; [0]: a directory, [1]: one that was removed. */
static struct {
	int host, adit;
} at[2];

static const char *const names[] = {
	"d",	 "e",	   "f",	     "g",    "le",   "lf",    "l2",  "les",  "lfs", "dang",
	"dangs", "deep",   "loop",   "n",    "d/in", "d/sub", "d/n", "f/x",  "n/x", "le/n",
	"d/ld",	 "dang/x", "loop/x", "lf/x", "",     ".",     "..",  "x256",
};
#define NAMES (sizeof names / sizeof *names)
static const char *const behind[] = {"", "/", "//", "/.", "/.."};
#define BEHIND (sizeof behind / sizeof *behind)
#define PATHS  (NAMES * BEHIND)

static void path_of(unsigned i, char path[300])
{
	const char *name = names[i / BEHIND];

	if (strcmp(name, "x256") == 0) {
		memset(path, 'x', 256);
		path[256] = '\0';
	} else {
		strcpy(path, name);
	}
	strcat(path, behind[i % BEHIND]);
}

static long host_rc(long rc)
{
	return rc < 0 ? -errno : rc;
}

/* ---- the names --------------------------------------------------------------------------------- */

static void make_dir(int *host, int *adit, const char *name)
{
	char path[200];

	snprintf(path, sizeof path, "%s/%s-%u", host_base, name, turn);
	assert_int_equal(mkdir(path, 0755), 0);
	*host = open(path, O_DIRECTORY | O_PATH);
	assert_true(*host >= 0);
	snprintf(path, sizeof path, "/%s-%u", name, turn);
	assert_int_equal(adit_mkdir(a.pool, path, 0755), 0);
	*adit = adit_openat(a.pool, AT_FDCWD, path, O_DIRECTORY | O_PATH, 0);
	assert_true(*adit >= 0);
}

static void make_names(void)
{
	static const char *const dirs[] = {"d", "e", "d/sub"}, *const files[] = {"f", "d/in"};
	static const char *const links[][2] = {
		{"le", "e"},	  {"lf", "f"},	    {"l2", "le"},    {"les", "e/"},
		{"lfs", "f/"},	  {"dang", "n"},    {"dangs", "n/"}, {"deep", "nodir/x"},
		{"loop", "loop"}, {"d/ld", "../e"},
	};

	for (unsigned i = 0; i < sizeof dirs / sizeof *dirs; i++) {
		assert_int_equal(mkdirat(at[0].host, dirs[i], 0755), 0);
		assert_int_equal(adit_mkdirat(a.pool, at[0].adit, dirs[i], 0755), 0);
	}
	for (unsigned i = 0; i < sizeof files / sizeof *files; i++) {
		assert_int_equal(mknodat(at[0].host, files[i], S_IFREG | 0644, 0), 0);
		assert_int_equal(adit_mknodat(a.pool, at[0].adit, files[i], S_IFREG | 0644, 0), 0);
	}
	for (unsigned i = 0; i < sizeof links / sizeof *links; i++) {
		assert_int_equal(symlinkat(links[i][1], at[0].host, links[i][0]), 0);
		assert_int_equal(adit_symlinkat(a.pool, links[i][1], at[0].adit, links[i][0]), 0);
	}
	assert_int_equal(linkat(at[0].host, "f", at[0].host, "g", 0), 0);
	assert_int_equal(adit_linkat(a.pool, at[0].adit, "f", at[0].adit, "g", 0), 0);
}

static void begin_again(void)
{
	char path[200];

	for (unsigned i = 0; i < 2 && turn > 0; i++) {
		close(at[i].host);
		assert_int_equal(adit_close_fd(a.pool, at[i].adit), 0);
	}
	turn++;
	make_dir(&at[0].host, &at[0].adit, "here");
	make_dir(&at[1].host, &at[1].adit, "gone");
	snprintf(path, sizeof path, "%s/gone-%u", host_base, turn);
	assert_int_equal(rmdir(path), 0);
	snprintf(path, sizeof path, "/gone-%u", turn);
	assert_int_equal(adit_rmdir(a.pool, path), 0);
	make_names();
}

static void same_names(const char *what)
{
	for (unsigned i = 0; i < NAMES; i++) {
		struct stat host, adit;
		char path[300];
		long wanted, rc;

		path_of(i * BEHIND, path);
		wanted = host_rc(fstatat(at[0].host, path, &host, AT_SYMLINK_NOFOLLOW));
		rc = adit_fstatat(a.pool, at[0].adit, path, &adit, AT_SYMLINK_NOFOLLOW);
		if (rc != wanted)
			fail_msg("%s: then stat of \"%s\" is %ld, the kernel says %ld", what, path,
				 rc, wanted);
		if (rc == 0 && ((host.st_mode & S_IFMT) != (adit.st_mode & S_IFMT) ||
				(strcmp(path, "..") != 0 && host.st_nlink != adit.st_nlink)))
			fail_msg("%s: then \"%s\" has mode %o, %u links, the kernel says %o, %u",
				 what, path, adit.st_mode, (unsigned)adit.st_nlink, host.st_mode,
				 (unsigned)host.st_nlink);
	}
}

/* A few are said, so that one can see what they have in common. */
static void same(long host, long adit, const char *what)
{
	tried++;
	if (host != adit && different++ < 20)
		print_error("%s: %ld, the kernel says %ld\n", what, adit, host);
	if ((host == 0) != (adit == 0))
		fail_msg("they went apart");
}

/* "/": that is another directory here than there.  And the kernel keeps the parent of a removed directory for as
 * long as somebody has that open; Adit does not. */
static bool no_matter(unsigned path)
{
	char text[300];

	path_of(path % PATHS, text);
	return text[0] == '/' || (path >= PATHS && strstr(text, "..") != NULL);
}

/* ---- calls with one name ------------------------------------------------------------------------- */

static const struct {
	const char *call;
	int arg;
} single[] = {
	{"open", O_RDONLY},
	{"open", O_RDONLY | O_NOFOLLOW},
	{"open", O_WRONLY},
	{"open", O_RDWR | O_TRUNC},
	{"open", O_DIRECTORY},
	{"open", O_DIRECTORY | O_NOFOLLOW},
	{"open", O_PATH},
	{"open", O_PATH | O_NOFOLLOW},
	{"open", O_CREAT},
	{"open", O_CREAT | O_EXCL},
	{"open", O_CREAT | O_NOFOLLOW | O_WRONLY},
	{"open", O_CREAT | O_TRUNC | O_WRONLY},
	{"open", O_TMPFILE | O_WRONLY},
	{"open", O_TMPFILE | O_RDWR | O_NOFOLLOW},
	{"mkdir", 0},
	{"mknod", S_IFREG},
	{"mknod", S_IFIFO},
	{"mknod", S_IFDIR},
	{"symlink", 0},
	{"symlink-nothing", 0},
	{"unlink", 0},
	{"unlink", AT_REMOVEDIR},
	{"stat", 0},
	{"stat", AT_SYMLINK_NOFOLLOW},
	{"readlink", 0},
	{"utimens", 0},
	{"utimens", AT_SYMLINK_NOFOLLOW},
	{"chmod", 0},
};

static long host_single(unsigned i, int dir, const char *path)
{
	const char *call = single[i].call;
	int arg = single[i].arg;
	char target[300];
	struct stat st;
	int fd;

	if (strcmp(call, "open") == 0) {
		fd = openat(dir, path, arg, 0644);
		if (fd < 0)
			return -errno;
		close(fd);
		return 0;
	}
	if (strcmp(call, "mkdir") == 0)
		return host_rc(mkdirat(dir, path, 0755));
	if (strcmp(call, "mknod") == 0)
		return host_rc(mknodat(dir, path, (mode_t)arg | 0644, 0));
	if (strcmp(call, "symlink") == 0)
		return host_rc(symlinkat("e", dir, path));
	if (strcmp(call, "symlink-nothing") == 0)
		return host_rc(symlinkat("", dir, path));
	if (strcmp(call, "unlink") == 0)
		return host_rc(unlinkat(dir, path, arg));
	if (strcmp(call, "stat") == 0)
		return host_rc(fstatat(dir, path, &st, arg));
	if (strcmp(call, "readlink") == 0)
		return host_rc(readlinkat(dir, path, target, sizeof target));
	if (strcmp(call, "utimens") == 0)
		return host_rc(utimensat(dir, path, NULL, arg));
	return host_rc(fchmodat(dir, path, 0700, 0));
}

static long adit_single(unsigned i, int dir, const char *path)
{
	const char *call = single[i].call;
	int arg = single[i].arg;
	char target[300];
	struct stat st;
	int fd;

	if (strcmp(call, "open") == 0) {
		fd = adit_openat(a.pool, dir, path, arg, 0644);
		return fd < 0 ? fd : adit_close_fd(a.pool, fd);
	}
	if (strcmp(call, "mkdir") == 0)
		return adit_mkdirat(a.pool, dir, path, 0755);
	if (strcmp(call, "mknod") == 0)
		return adit_mknodat(a.pool, dir, path, (mode_t)arg | 0644, 0);
	if (strcmp(call, "symlink") == 0)
		return adit_symlinkat(a.pool, "e", dir, path);
	if (strcmp(call, "symlink-nothing") == 0)
		return adit_symlinkat(a.pool, "", dir, path);
	if (strcmp(call, "unlink") == 0)
		return adit_unlinkat(a.pool, dir, path, arg);
	if (strcmp(call, "stat") == 0)
		return adit_fstatat(a.pool, dir, path, &st, arg);
	if (strcmp(call, "readlink") == 0)
		return adit_readlinkat(a.pool, dir, path, target, sizeof target);
	if (strcmp(call, "utimens") == 0)
		return adit_utimensat(a.pool, dir, path, NULL, arg);
	return adit_fchmodat(a.pool, dir, path, 0700, 0);
}

static bool changes(unsigned i)
{
	return strcmp(single[i].call, "stat") != 0 && strcmp(single[i].call, "readlink") != 0 &&
	       (strcmp(single[i].call, "open") != 0 || single[i].arg & (O_CREAT | O_TRUNC));
}

static void test_one_name(void **unused)
{
	(void)unused;
	begin_again();
	for (unsigned i = 0; i < sizeof single / sizeof *single; i++)
		for (unsigned p = 0; p < 2 * PATHS; p++) {
			unsigned where = p / PATHS;
			char path[300], what[400];
			long host, adit;

			/* In a removed directory: tmpfs makes one, ext4 does not. */
			if (no_matter(p) || (where && (single[i].arg & O_TMPFILE) == O_TMPFILE))
				continue;
			path_of(p % PATHS, path);
			snprintf(what, sizeof what, "%s(%#o) of \"%s\"%s", single[i].call,
				 (unsigned)single[i].arg, path,
				 where ? " in a removed directory" : "");
			host = host_single(i, at[where].host, path);
			adit = adit_single(i, at[where].adit, path);
			same(host, adit, what);
			if (host < 0 || !changes(i))
				continue;
			did++;
			same_names(what);
			begin_again();
		}
	assert_int_equal(different, 0);
}

/* ---- calls with two -------------------------------------------------------------------------------- */

static const struct {
	const char *call;
	unsigned arg;
} dual[] = {
	{"link", 0},
	{"link", AT_SYMLINK_FOLLOW},
	{"rename", 0},
	{"rename", RENAME_NOREPLACE},
	{"rename", RENAME_EXCHANGE},
	{"rename", RENAME_WHITEOUT},
	{"rename", RENAME_WHITEOUT | RENAME_NOREPLACE},
	{"rename", RENAME_EXCHANGE | RENAME_NOREPLACE},
};

static long host_dual(unsigned i, int from, const char *old, int to, const char *new)
{
	if (strcmp(dual[i].call, "link") == 0)
		return host_rc(linkat(from, old, to, new, (int)dual[i].arg));
	return host_rc(syscall(SYS_renameat2, from, old, to, new, dual[i].arg));
}

static long adit_dual(unsigned i, int from, const char *old, int to, const char *new)
{
	if (strcmp(dual[i].call, "link") == 0)
		return adit_linkat(a.pool, from, old, to, new, (int)dual[i].arg);
	return adit_renameat2(a.pool, from, old, to, new, dual[i].arg);
}

static void one_pair(unsigned i, unsigned p, unsigned q)
{
	unsigned from = p / PATHS, to = q / PATHS;
	char old[300], new[300], what[800];
	long host, adit;

	path_of(p % PATHS, old);
	path_of(q % PATHS, new);
	snprintf(what, sizeof what, "%s(%#x) of \"%s\"%s to \"%s\"%s", dual[i].call, dual[i].arg,
		 old, from ? " in a removed directory" : "", new,
		 to ? " in a removed directory" : "");
	host = host_dual(i, at[from].host, old, at[to].host, new);
	adit = adit_dual(i, at[from].adit, old, at[to].adit, new);
	same(host, adit, what);
	if (host < 0)
		return;
	did++;
	same_names(what);
	begin_again();
}

static void test_two_names(void **unused)
{
	(void)unused;
	begin_again();
	for (unsigned i = 0; i < sizeof dual / sizeof *dual; i++)
		for (unsigned p = 0; p < 2 * PATHS; p++)
			for (unsigned q = 0; q < 2 * PATHS; q++)
				if (!no_matter(p) && !no_matter(q))
					one_pair(i, p, q);
	assert_int_equal(different, 0);
}

/* ---- all --------------------------------------------------------------------------------------------- */

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st, (void)type, (void)ftw;
	return remove(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one_name),
		cmocka_unit_test(test_two_names),
	};
	struct statfs fs;
	int failed;

	umask(0);
	if (statfs("/dev/shm", &fs) != 0 || fs.f_type != TMPFS_MAGIC ||
	    mkdtemp(host_base) == NULL) {
		printf("there is no tmpfs to compare with\n");
		return 77;
	}
	api_make(&a, 256 * MIB);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	(void)nftw(host_base, remove_one, 20, FTW_DEPTH | FTW_PHYS);
	(void)adit_close(a.pool);
	unlink(a.path);
	printf("paths: %lu calls as the kernel answers them, %lu of them changed something\n",
	       tried, did);
	return failed;
}
