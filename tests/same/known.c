/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * known.c - the differences that are by design; see same.h. Each has a reason: a manual page that allows
 * both, or ext4 and XFS that disagree. A list ends where one side succeeded and the other did not.
 *
 * What cannot be said in results is left out where it happens (the calls say no_mtime, no_ctime,
 * or do not draw it):
 *
 *  - times after a fallocate that failed with EINVAL: Linux changes them, Adit changes nothing
 *    (guarantee G1)
 *  - times after RENAME_EXCHANGE, and the group of a whiteout (XFS); times of a directory after a
 *    RENAME_WHITEOUT that failed (ext4); times after truncate to the size there is (XFS, tmpfs):
 *    the others agree with Adit
 *  - device numbers of more than 9 and 18 bits (XFS), files beyond 2^44 bytes (ext4), shifts in
 *    files that end near 2^63 (XFS says EUCLEAN): the others can, or tmpfs
 *  - RWF_ATOMIC: the host writes without; no file system has it for writes of any size
 *  - opening devices, FIFOs and sockets but with O_PATH: that is the kernel's business
 *  - ACLs ("system."): Linux takes their values apart and changes modes, Adit keeps them as they
 *    are (adit.h)
 *  - where data begin and end, as far as lseek(2) leaves that open (tree.c)
 */
#include <string.h>

#include "same.h"

struct known known[] = {
/* Flags set while the file is open for writing. */
#define KEPT                                                                                       \
	"immutable and append-only files do not change through descriptors opened before either: " \
	"ext4 refuses where XFS and tmpfs do not (immutable); adit.h (append-only)"
#define UNCHANGED "chown(-1, -1) of an immutable file: XFS and tmpfs agree with Adit"
	{HOST_ALL, "write", KNOWN_SUCCESS, -EPERM, KEPT, 0},
	{HOST_ALL, "pwrite", KNOWN_SUCCESS, -EPERM, KEPT, 0},
	{HOST_ALL, "pwritev2", KNOWN_SUCCESS, -EPERM, KEPT, 0},
	{HOST_ALL, "write", -EFBIG, -EPERM, KEPT, 0},
	{HOST_ALL, "pwrite", -EFBIG, -EPERM, KEPT, 0},
	{HOST_ALL, "pwritev2", -EFBIG, -EPERM, KEPT, 0},
	{HOST_ALL, "ftruncate", KNOWN_SUCCESS, -EPERM, KEPT, 0},
	{HOST_ALL, "copy_file_range", KNOWN_SUCCESS, -EPERM, KEPT, 0},
	{HOST_EXT4, "write", -EPERM, 0,
	 "nothing written to an immutable file: XFS and tmpfs agree with Adit", 0},
	{HOST_EXT4, "pwrite", -EPERM, 0,
	 "nothing written to an immutable file: XFS and tmpfs agree with Adit", 0},
	{HOST_EXT4, "pwritev2", -EPERM, 0,
	 "nothing written to an immutable file: XFS and tmpfs agree with Adit", 0},
	{HOST_EXT4, "fallocate", -EOPNOTSUPP, 0, "ext4 has no FALLOC_FL_UNSHARE_RANGE, XFS has", 0},
	{HOST_EXT4, "fchown", -EPERM, 0, UNCHANGED, 0},
	{HOST_EXT4, "fchownat", -EPERM, 0, UNCHANGED, 0},
	{HOST_EXT4, "setflags", -EPERM, 0,
	 "other flags of an immutable file: XFS and tmpfs agree with Adit", 0},
	{HOST_XFS, "renameat2", -EEXIST, -ENOTEMPTY,
	 "rename(2): ENOTEMPTY or EEXIST; ext4 and tmpfs say ENOTEMPTY", 0},
};
const size_t knowns = sizeof known / sizeof *known;

static bool fits(long wanted, long got)
{
	return wanted == KNOWN_SUCCESS ? got >= 0 : wanted == got;
}

struct known *known_difference(enum host_kind kind, const char *call, long host, long adit)
{
	for (size_t i = 0; i < knowns; i++)
		if (known[i].hosts & kind && strcmp(known[i].call, call) == 0 &&
		    fits(known[i].host, host) && fits(known[i].adit, adit))
			return &known[i];
	return NULL;
}
