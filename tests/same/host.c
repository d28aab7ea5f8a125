/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * host.c - directories of the host's file systems to work in; see same.h.
 *
 * Everything is mounted in a mount namespace of this process and lies in a tmpfs there: when the process
 * ends, however it does, nothing is left.
 */
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/wait.h>

#include "same.h"

#define PRIVATE "/dev/shm"

struct host hosts[HOSTS] = {
	{HOST_TMPFS, "tmpfs", "", ""},
	{HOST_EXT4, "ext4", "", ""},
	{HOST_XFS, "XFS", "", ""},
};

/* A program's exit status; what it prints is not wanted. 127: there is no such program. */
static int run_quietly(char *const argv[])
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		int null = open("/dev/null", O_RDWR);

		dup2(null, 0);
		dup2(null, 1);
		dup2(null, 2);
		/* mkfs lives in sbin, which need not be on the path. */
		setenv("PATH", "/usr/sbin:/usr/bin:/sbin:/bin", 1);
		execvp(argv[0], argv);
		_exit(127);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFEXITED(status))
		return -1;
	return WEXITSTATUS(status);
}

static bool make_image(const char *image, off_t bytes)
{
	int fd = open(image, O_CREAT | O_RDWR, 0600);
	bool made = fd >= 0 && ftruncate(fd, bytes) == 0;

	close(fd);
	return made;
}

/* reflink=0: else copy_file_range shares whole blocks and stops short. ea_inode: values of
 * attributes up to 64 KiB. allocsize: XFS allocates no more than is asked for, which
 * it would call data. */
static void mount_image(struct host *h, const char *type, const char *options, off_t bytes)
{
	char image[60], dir[60];
	char *make_ext4[] = {"mkfs.ext4", "-q", "-b", "4096", "-O", "ea_inode", image, NULL};
	char *make_xfs[] = {"mkfs.xfs", "-q", "-m", "reflink=0", image, NULL};
	char *mount_it[] = {"mount", "-t", (char *)type, "-o", (char *)options, image, dir, NULL};
	int status;

	snprintf(image, sizeof image, PRIVATE "/%s.img", type);
	snprintf(dir, sizeof dir, PRIVATE "/%s", type);
	if (!make_image(image, bytes) || mkdir(dir, 0755) != 0) {
		h->why_not = "no room for its image";
		return;
	}
	status = run_quietly(h->kind == HOST_EXT4 ? make_ext4 : make_xfs);
	if (status != 0)
		h->why_not = status == 127 ? "its mkfs is not installed" : "its mkfs failed";
	else if (run_quietly(mount_it) != 0)
		h->why_not = "it cannot be mounted";
	else
		snprintf(h->path, sizeof h->path, "%s", dir);
}

void hosts_begin(unsigned wanted)
{
	if (geteuid() != 0) {
		for (unsigned i = 0; i < HOSTS; i++)
			hosts[i].why_not = "not root, as which Adit's library always acts";
		return;
	}
	if (unshare(CLONE_NEWNS) != 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
	    mount("same", PRIVATE, "tmpfs", MS_NOATIME, "size=1g,mode=0755") != 0) {
		for (unsigned i = 0; i < HOSTS; i++)
			hosts[i].why_not = "this process may not mount";
		return;
	}
	if (wanted & HOST_TMPFS)
		snprintf(hosts[0].path, sizeof hosts[0].path, PRIVATE);
	if (wanted & HOST_EXT4)
		mount_image(&hosts[1], "ext4", "loop,noatime", 128 << 20);
	if (wanted & HOST_XFS)
		mount_image(&hosts[2], "xfs", "loop,noatime,allocsize=4k", 320 << 20);
}

void hosts_end(void)
{
	for (unsigned i = 1; i < HOSTS; i++)
		if (hosts[i].path[0])
			umount2(hosts[i].path, MNT_DETACH);
	umount2(PRIVATE, MNT_DETACH);
}
