/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_media_dax.c - device DAX, DAX files, bad blocks, and system calls that fail, on a machine that is played
 * (media_machine.h).
 */
#include "media_machine.h"

/* --- device DAX ------------------------------------------------------------------------------ */

static void test_device(void **state)
{
	struct adit_media m;
	uint8_t text[8] = "kept";

	(void)state;
	be_device();
	assert_int_equal(open_medium(&m, 0, 0), 0);
	assert_string_equal(m.kind, "devdax");
	assert_true(m.is_device);
	assert_int_equal(m.domain, ADIT_DOMAIN_MEMORY);
	assert_int_equal(m.page_size, 2 * MIB);
	assert_int_equal(m.pm.size_bytes, 8 * MIB);
	adit__pm_copy_nt(&m.pm, m.pm.base + 4096, text, sizeof text);
	adit__pm_fence(&m.pm);
	adit__media_close(&m);

	/* Read-only, and still in place: a device has no private mappings. */
	assert_int_equal(open_medium(&m, ADIT_MEDIA_RDONLY, 0), 0);
	assert_memory_equal(m.pm.base + 4096, text, sizeof text);
	assert_int_equal(fcntl(m.fd, F_GETFL) & O_ACCMODE, O_RDWR);
	adit__pm_store(&m.pm, m.pm.base + 4096, "gone", 4);
	adit__media_close(&m);
	assert_int_equal(open_medium(&m, 0, 0), 0);
	assert_memory_equal(m.pm.base + 4096, "gone", 4);
	adit__media_close(&m);
}

static void test_device_size(void **state)
{
	struct adit_media m;

	(void)state;
	be_device();
	assert_int_equal(open_medium(&m, ADIT_MEDIA_CREATE, 8 * MIB + 1), -ENOSPC);
	assert_int_equal(open_medium(&m, ADIT_MEDIA_CREATE, 4 * MIB), 0);
	assert_int_equal(m.pm.size_bytes, 4 * MIB);
	adit__media_close(&m);
	assert_int_equal(open_medium(&m, ADIT_MEDIA_CREATE, 0), 0);
	assert_int_equal(m.pm.size_bytes, 8 * MIB);
	adit__media_close(&m);
	put_file(DAX "/size", "many\n");
	assert_int_equal(open_medium(&m, 0, 0), -EINVAL);
	put_file(DAX "/size", "99999999999999999999999\n");
	assert_int_equal(open_medium(&m, 0, 0), -EINVAL);
	put_file(DAX "/size", "\n");
	assert_int_equal(open_medium(&m, 0, 0), -EINVAL);
	drop_file(DAX "/size");
	assert_int_equal(open_medium(&m, 0, 0), -EINVAL);
	assert_int_equal(m.fd, -1);
}

/* Before Linux 5.10 the instance above the device said it; nonsense is not believed. */
static void test_device_align(void **state)
{
	static const struct {
		const char *file, *text;
		size_t page;
	} row[] = {
		{DAX "/align", "1048576\n", MIB},
		{DAX "/align", "3145728\n", 4096},
		{DAX "/align", "16\n", 4096},
		{NULL, NULL, 4096},
		{REGION "/dax0.0/align", "2097152\n", 2 * MIB},
		{REGION "/dax0.0/align", "x\n", 4096},
	};
	struct adit_media m;

	(void)state;
	be_device();
	for (unsigned i = 0; i < sizeof row / sizeof *row; i++) {
		if (row[i].file != NULL)
			put_file(row[i].file, row[i].text);
		else
			drop_file(DAX "/align");
		assert_int_equal(open_medium(&m, 0, 0), 0);
		assert_int_equal(m.page_size, row[i].page);
		adit__media_close(&m);
	}
}

static void test_device_unknown(void **state)
{
	struct adit_media m;

	(void)state;
	be_device();
	put_link(DAX "/subsystem", "/sys/class/mem");
	assert_int_equal(open_medium(&m, 0, 0), -EINVAL);
	drop_file(DAX "/subsystem");
	assert_int_equal(open_medium(&m, 0, 0), -EINVAL);
	drop_file("/sys/dev/char/252:5");
	assert_int_equal(open_medium(&m, 0, 0), -EINVAL);
	assert_int_equal(adit__sysfs_dax_size(DEVICE), 0);
	assert_int_equal(adit__sysfs_dax_align(DEVICE), 0);
	fake.type = S_IFDIR;
	assert_int_equal(open_medium(&m, 0, 0), -EISDIR);
}

static void test_caches_persist(void **state)
{
	struct adit_media m;

	(void)state;
	be_device();
	put_file(REGION "/persistence_domain", "cpu_cache\n");
	assert_int_equal(open_medium(&m, 0, 0), 0);
	assert_int_equal(m.domain, ADIT_DOMAIN_CPU_CACHE);
	assert_string_equal(m.flush_name, "none");
	assert_false(m.assumed);
	adit__media_close(&m);
	assert_true(adit__sysfs_caches_persist(false, DISK));
	put_file(REGION "/persistence_domain", "\n");
	assert_false(adit__sysfs_caches_persist(false, DISK));
	drop_file(REGION "/persistence_domain");
	assert_false(adit__sysfs_caches_persist(true, DEVICE));
	assert_false(adit__sysfs_caches_persist(true, DISK));
	/* A device straight below /sys/devices: nothing above it to ask. */
	put_link("/sys/dev/char/252:5", "/sys/devices");
	assert_false(adit__sysfs_caches_persist(true, DEVICE));
}

/* The region begins 1 MiB (2048 sectors) before the device. */
static void test_device_bad(void **state)
{
	struct adit_media m;
	struct adit_bad_range bad[2];

	(void)state;
	be_device();
	assert_int_equal(open_medium(&m, 0, 0), 0);
	assert_int_equal(adit__media_bad_ranges(&m, bad, 2), 1);
	assert_int_equal(bad[0].offset, 16 * 512);
	assert_int_equal(bad[0].len_bytes, 8 * 512);
	put_file(REGION "/badblocks", "2048 1\n2050 1\n2052 1\n");
	assert_int_equal(adit__media_bad_ranges(&m, bad, 2), 3);
	assert_int_equal(bad[1].offset, 1024);
	put_file(REGION "/badblocks", "");
	assert_int_equal(adit__media_bad_ranges(&m, bad, 2), 0);
	put_file(REGION "/badblocks", "2048 1\n");
	put_file(REGION "/resource", "0x200000000\n"); /* behind the device */
	assert_int_equal(adit__media_bad_ranges(&m, bad, 2), 0);
	drop_file(REGION "/resource");
	assert_int_equal(adit__media_bad_ranges(&m, bad, 2), 0);
	drop_file(REGION "/badblocks");
	assert_int_equal(adit__media_bad_ranges(&m, bad, 2), 0);
	drop_file(DAX "/resource"); /* as anybody but root finds it */
	assert_int_equal(adit__media_bad_ranges(&m, bad, 2), 0);
	drop_file("/sys/dev/char/252:5");
	assert_int_equal(adit__media_bad_ranges(&m, bad, 2), 0);
	refuse("fstat", 0, EIO);
	assert_int_equal(adit__media_bad_ranges(&m, bad, 2), -EIO);
	adit__media_close(&m);
}

static void test_badblocks_lines(void **state)
{
	const char *text = "5";
	uint64_t start, end;

	(void)state;
	assert_false(adit__badblocks_next(&text, &start, &end));
	text = "5 0\n";
	assert_false(adit__badblocks_next(&text, &start, &end));
}

/* --- files on a DAX file system ---------------------------------------------------------------- */

static void be_fsdax(void)
{
	make_medium(4 * MIB);
	fake.fs_type = EXT4_MAGIC;
	fake.map_sync = true;
	fake.dev = DISK;
}

static void test_fsdax(void **state)
{
	struct adit_media m;
	const struct adit_flush_variant *const *variants;

	(void)state;
	be_fsdax();
	adit__flush_variants(&variants);
	assert_int_equal(open_medium(&m, 0, 0), 0);
	assert_string_equal(m.kind, "fsdax");
	assert_true(m.map_sync);
	assert_int_equal(m.domain, ADIT_DOMAIN_MEMORY);
	assert_string_equal(m.flush_name, variants[0]->flush_name);
	assert_int_equal(adit__media_error(&m), 0);
	adit__media_close(&m);

	/* Granted to nobody: the page cache. */
	fake.map_sync = false;
	assert_int_equal(open_medium(&m, 0, 0), 0);
	assert_string_equal(m.kind, "file");
	assert_int_equal(m.domain, ADIT_DOMAIN_FILE);
	adit__media_close(&m);
}

/* The partition begins at sector 2048; sectors 2064 to 2071 are bad: its bytes 8192 to 12287. */
static void test_fsdax_bad(void **state)
{
	static const struct fiemap_extent extents[] = {
		{.fe_logical = 0, .fe_physical = 0, .fe_length = 8192},
		{.fe_logical = 8192,
		 .fe_physical = 0,
		 .fe_length = 8192,
		 .fe_flags = FIEMAP_EXTENT_UNKNOWN},
		{.fe_logical = 16384,
		 .fe_physical = 10240,
		 .fe_length = 4096,
		 .fe_flags = FIEMAP_EXTENT_LAST},
	};
	struct adit_media m;
	struct adit_bad_range bad[2];

	(void)state;
	be_fsdax();
	fake.extents = extents;
	fake.nextents = 3;
	assert_int_equal(open_medium(&m, 0, 0), 0);
	assert_int_equal(adit__media_bad_ranges(&m, bad, 2), 1);
	assert_int_equal(bad[0].offset, 16384);
	assert_int_equal(bad[0].len_bytes, 2048);
	fake.nextents = 2; /* no last one: asked until there are no more */
	assert_int_equal(adit__media_bad_ranges(&m, bad, 2), 0);
	fake.fiemap_error = EOPNOTSUPP;
	assert_int_equal(adit__media_bad_ranges(&m, bad, 2), 0);
	fake.fiemap_error = ENOTTY;
	assert_int_equal(adit__media_bad_ranges(&m, bad, 2), 0);
	fake.fiemap_error = EIO;
	assert_int_equal(adit__media_bad_ranges(&m, bad, 2), -EIO);
	put_file(REGION "/badblocks", "");
	assert_int_equal(adit__media_bad_ranges(&m, bad, 2), 0);
	drop_file(REGION "/badblocks");
	assert_int_equal(adit__media_bad_ranges(&m, bad, 2), 0);
	drop_file("/sys/dev/block/259:1");
	assert_int_equal(adit__media_bad_ranges(&m, bad, 2), 0);
	adit__media_close(&m);

	/* An extent that ends where the file does. */
	assert_int_equal(teardown(state), 0);
	assert_int_equal(setup(state), 0);
	be_fsdax();
	fake.extents =
		&(struct fiemap_extent){.fe_logical = 0, .fe_physical = 8192, .fe_length = 4 * MIB};
	fake.nextents = 1;
	assert_int_equal(open_medium(&m, 0, 0), 0);
	assert_int_equal(adit__media_bad_ranges(&m, bad, 2), 1);
	assert_int_equal(bad[0].offset, 0);
	adit__media_close(&m);
}

/* --- other kinds --------------------------------------------------------------------------------- */

static void test_kinds(void **state)
{
	struct adit_media m;

	(void)state;
	make_medium(4 * MIB);
	fake.fs_type = RAMFS_MAGIC;
	assert_int_equal(open_medium(&m, 0, 0), 0);
	assert_string_equal(m.kind, "tmpfs");
	adit__media_close(&m);

	fake.fs_type = HUGETLBFS_MAGIC;
	fake.fs_page = 2 * MIB;
	assert_int_equal(open_medium(&m, ADIT_MEDIA_CREATE, 3 * MIB), 0);
	assert_string_equal(m.kind, "hugetlbfs");
	assert_int_equal(m.domain, ADIT_DOMAIN_PROCESS);
	assert_int_equal(m.pm.size_bytes, 4 * MIB);
	adit__media_close(&m);
	fake.fs_page = 4 * MIB; /* its pages are larger than what we align to */
	assert_int_equal(open_medium(&m, 0, 0), 0);
	assert_int_equal((uintptr_t)m.pm.base % (4 * MIB), 0);
	adit__media_close(&m);

	fake.fs_type = fake.fs_page = 0;
	fake.type = S_IFBLK;
	fake.block_bytes = 2 * MIB;
	assert_int_equal(open_medium(&m, 0, 0), 0);
	assert_string_equal(m.kind, "block");
	assert_int_equal(m.domain, ADIT_DOMAIN_FILE);
	assert_int_equal(m.pm.size_bytes, 2 * MIB);
	assert_int_equal(adit__media_bad_ranges(&m, NULL, 0), 0);
	adit__media_close(&m);
	fake.block_bytes = 0;
	assert_int_equal(open_medium(&m, 0, 0), -EIO);
}

/* --- calls that fail ------------------------------------------------------------------------------- */

static void test_refused(void **state)
{
	static const struct {
		const char *call;
		unsigned after, flags;
		int error;
	} row[] = {
		{"open", 0, 0, EACCES},
		{"open", 0, ADIT_MEDIA_CREATE, EACCES},
		{"fstat", 0, 0, EIO},
		{"fstat", 1, 0, EIO},
		{"fstatfs", 0, 0, EIO},
		{"ftruncate", 0, ADIT_MEDIA_CREATE, EFBIG},
		{"posix_fallocate", 0, ADIT_MEDIA_CREATE | ADIT_MEDIA_ALLOC, ENOSPC},
		{"sigaction", 0, 0, EINVAL},
		{"mmap", 0, 0, ENODEV},
		{"mmap", 1, 0, ENOMEM}, /* from here on: the reserved range too */
	};
	struct adit_media m;

	(void)state;
	make_medium(4 * MIB);
	for (unsigned i = 0; i < sizeof row / sizeof *row; i++) {
		refuse(row[i].call, row[i].after, row[i].error);
		assert_int_equal(open_medium(&m, row[i].flags, 4 * MIB), -row[i].error);
		assert_int_equal(m.fd, -1);
		assert_null(m.pm.base);
	}
	/* A file that it made, it takes away again. */
	assert_int_equal(unlink(medium), 0);
	refuse("fstatfs", 0, EIO);
	assert_int_equal(open_medium(&m, ADIT_MEDIA_CREATE, 4 * MIB), -EIO);
	assert_int_equal(__real_access(medium, F_OK), -1);
	fake.refuse = NULL;
	assert_int_equal(open_medium(&m, ADIT_MEDIA_CREATE | ADIT_MEDIA_ALLOC, 4 * MIB), 0);
	refuse("open", 0, EMFILE);
	assert_int_equal(adit__media_reopen(&m), -EMFILE);
	adit__media_close(&m);

	/* The last mapping of the three alone: what was reserved is given back. */
	refuse("mmap", 2, ENOMEM);
	assert_int_equal(open_medium(&m, 0, 0), -ENOMEM);
	/* Only the name is not known: a memfd's looks like a tmpfs's then. */
	refuse("readlink", 0, EACCES);
	assert_int_equal(open_medium(&m, 0, 0), 0);
	assert_string_equal(m.kind, "tmpfs");
	adit__media_close(&m);
}

static void test_locks(void **state)
{
	struct adit_media m;

	(void)state;
	make_medium(MIB);
	assert_int_equal(open_medium(&m, 0, 0), 0);
	assert_int_equal(adit__media_lock(&m, true, (uint64_t)INT64_MAX + 1, 1), -EINVAL);
	assert_int_equal(adit__media_lock(&m, true, 0, (uint64_t)INT64_MAX + 1), -EINVAL);
	assert_int_equal(adit__fd_lock(-1, true, 0, 1), -EBADF);
	assert_int_equal(adit__fd_lock_probe(-1, true, 0, 1), -EBADF);
	adit__media_close(&m);
	/* A second close does nothing; neither does one of what was never open. */
	adit__media_close(&m);
}

/* The page cache's media: what was written back badly is said, and stays said. */
static void test_msync(void **state)
{
	struct adit_media m;
	uint8_t *bytes;

	(void)state;
	make_medium(4 * MIB);
	fake.fs_type = EXT4_MAGIC;
	assert_int_equal(open_medium(&m, 0, 0), 0);
	bytes = malloc(MIB);
	assert_non_null(bytes);
	memset(bytes, 7, MIB);
	adit__pm_copy_nt(&m.pm, m.pm.base, bytes, MIB);
	adit__pm_flush(&m.pm, m.pm.base, 0);
	adit__pm_zero_nt(&m.pm, m.pm.base + 100, MIB / 2);
	assert_int_equal(m.pm.base[99], 7);
	assert_int_equal(m.pm.base[100], 0);
	assert_int_equal(m.pm.base[99 + MIB / 2], 0);
	assert_int_equal(m.pm.base[100 + MIB / 2], 7);
	refuse("msync", 0, EINTR);
	adit__pm_fence(&m.pm);
	assert_int_equal(adit__media_error(&m), 0);
	adit__pm_store(&m.pm, m.pm.base, "x", 1);
	adit__pm_flush(&m.pm, m.pm.base, 1);
	refuse("msync", 0, EIO);
	adit__pm_fence(&m.pm);
	fake.refuse = NULL;
	assert_int_equal(adit__media_error(&m), -EIO);
	adit__pm_flush(&m.pm, m.pm.base, 1);
	adit__pm_fence(&m.pm);
	assert_int_equal(adit__media_error(&m), -EIO);
	adit__media_close(&m);
	free(bytes);
}

/* More media of the page cache than there is room for. */
static void test_too_many(void **state)
{
	enum { MANY = 1024 };
	static struct adit_media m[MANY + 1];

	(void)state;
	make_medium(4096);
	fake.fs_type = EXT4_MAGIC;
	for (unsigned i = 0; i < MANY; i++)
		if (open_medium(&m[i], 0, 0) != 0)
			fail_msg("number %u", i);
	assert_int_equal(open_medium(&m[MANY], 0, 0), -EMFILE);
	assert_int_equal(m[MANY].fd, -1);
	assert_null(m[MANY].pm.base);
	adit__media_close(&m[7]);
	assert_int_equal(open_medium(&m[MANY], 0, 0), 0);
	for (unsigned i = 0; i <= MANY; i++)
		adit__media_close(&m[i]);
}

struct late {
	struct adit_media *first, *second;
	pthread_barrier_t at;
};

static void *flush_late(void *arg)
{
	struct late *l = arg;

	adit__pm_flush(&l->first->pm, l->first->pm.base, 1);
	pthread_barrier_wait(&l->at);
	pthread_barrier_wait(&l->at); /* closed by now */
	adit__pm_flush(&l->second->pm, l->second->pm.base, 1);
	adit__pm_fence(&l->second->pm);
	return NULL;
}

/* What a thread noted of a medium that was closed since is nobody's any more: addresses may be another's. */
static void test_closed_by_another(void **state)
{
	struct adit_media first, second;
	struct late l = {&first, &second, {{0}}};
	pthread_t t;

	(void)state;
	make_medium(4096);
	fake.fs_type = EXT4_MAGIC;
	assert_int_equal(open_medium(&first, 0, 0), 0);
	assert_int_equal(open_medium(&second, 0, 0), 0);
	pthread_barrier_init(&l.at, NULL, 2);
	assert_int_equal(pthread_create(&t, NULL, flush_late, &l), 0);
	pthread_barrier_wait(&l.at);
	adit__media_close(&first);
	refuse("msync", 1, EIO); /* the second call of it, and there must be one only */
	pthread_barrier_wait(&l.at);
	pthread_join(t, NULL);
	assert_int_equal(adit__media_error(&second), 0);
	adit__media_close(&second);
	pthread_barrier_destroy(&l.at);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_device, setup, teardown),
		cmocka_unit_test_setup_teardown(test_device_size, setup, teardown),
		cmocka_unit_test_setup_teardown(test_device_align, setup, teardown),
		cmocka_unit_test_setup_teardown(test_device_unknown, setup, teardown),
		cmocka_unit_test_setup_teardown(test_caches_persist, setup, teardown),
		cmocka_unit_test_setup_teardown(test_device_bad, setup, teardown),
		cmocka_unit_test_setup_teardown(test_badblocks_lines, setup, teardown),
		cmocka_unit_test_setup_teardown(test_fsdax, setup, teardown),
		cmocka_unit_test_setup_teardown(test_fsdax_bad, setup, teardown),
		cmocka_unit_test_setup_teardown(test_kinds, setup, teardown),
		cmocka_unit_test_setup_teardown(test_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(test_locks, setup, teardown),
		cmocka_unit_test_setup_teardown(test_msync, setup, teardown),
		cmocka_unit_test_setup_teardown(test_too_many, setup, teardown),
		cmocka_unit_test_setup_teardown(test_closed_by_another, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
