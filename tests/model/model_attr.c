/* SPDX-License-Identifier: BSD-3-Clause */
/* model_attr.c - attributes and extended attributes of the model's nodes; see model.h. */
#include "model.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/linux_abi.h"

#define NAME_MAX_BYTES 255u
#define XATTR_MAX 65536u
#define USER_FLAGS (MODEL_IMMUTABLE | MODEL_APPEND_ONLY | MODEL_ATOMIC)

static uint32_t xattr_find(const struct model_node *n, const char *name)
{
	uint32_t i = 0;

	while (i < n->xattrs && strcmp(n->xattr[i].name, name) < 0)
		i++;
	return i;
}

static bool has_xattr(const struct model_node *n, const char *name)
{
	uint32_t i = xattr_find(n, name);

	return i < n->xattrs && strcmp(n->xattr[i].name, name) == 0;
}

static void xattr_drop(struct model_node *n, const char *name)
{
	uint32_t i = xattr_find(n, name);

	model_bytes_drop(n->xattr[i].value);
	memmove(&n->xattr[i], &n->xattr[i + 1], (n->xattrs - i - 1) * sizeof *n->xattr);
	n->xattrs--;
}

/* A new owner does not inherit the old one's privileges. */
static void owner_changed(struct model_node *n)
{
	if (ADIT_S_ISDIR(n->mode))
		return;
	n->mode &= ~(uint32_t)S_ISUID;
	if (n->mode & 0010)
		n->mode &= ~(uint32_t)S_ISGID;
	if (has_xattr(n, "security.capability"))
		xattr_drop(n, "security.capability");
}

int model_setattr(struct model *m, const struct op *op)
{
	struct model_node *n;
	uint32_t i;
	int err = model_resolve(m, op->path, &i);

	if (err)
		return err;
	n = &m->node[i];
	if (op->kind != OP_IFLAGS && n->iflags & (MODEL_IMMUTABLE | MODEL_APPEND_ONLY))
		return -EPERM;
	if (op->kind == OP_CHMOD && ADIT_S_ISLNK(n->mode))
		return -EOPNOTSUPP;
	switch (op->kind) {
	case OP_CHMOD:
		n->mode = ADIT_S_TYPE(n->mode) | (uint32_t)(op->n[0] & 07777);
		break;
	case OP_CHOWN:
		n->uid = (uint32_t)op->n[0];
		n->gid = (uint32_t)op->n[1];
		owner_changed(n);
		break;
	case OP_UTIME:
		n->mtime = (int64_t)op->n[0];
		n->atime = (int64_t)op->n[1];
		break;
	default:
		n->iflags = (uint32_t)op->n[0] & USER_FLAGS;
		break;
	}
	n->ctime = m->now;
	return 0;
}

static bool starts(const char *name, const char *prefix)
{
	return strncmp(name, prefix, strlen(prefix)) == 0;
}

/* xattr(7): which names there are, and who may have them. */
static int xattr_error(const struct model_node *n, const char *name)
{
	bool acl = strcmp(name, "system.posix_acl_access") == 0 ||
		   strcmp(name, "system.posix_acl_default") == 0;
	uint32_t type = ADIT_S_TYPE(n->mode);

	if (n->iflags & (MODEL_IMMUTABLE | MODEL_APPEND_ONLY))
		return -EPERM;
	if (!starts(name, "user.") && !starts(name, "trusted.") && !starts(name, "security.") && !acl)
		return -EOPNOTSUPP;
	if (strcmp(strchr(name, '.'), ".") == 0)
		return -EINVAL;
	if (starts(name, "user.") && type != S_IFREG && type != S_IFDIR)
		return -EPERM;
	return acl && type == S_IFLNK ? -EOPNOTSUPP : 0;
}

int model_setxattr(struct model *m, const struct op *op)
{
	char name[OP_NAME_MAX];
	const char *path = op->path2;
	size_t len = op_component(&path, name);
	struct model_node *n;
	uint32_t i, at;
	bool there;
	int err = model_resolve(m, op->path, &i);

	if (!err && (len == 0 || len > NAME_MAX_BYTES))
		err = -ERANGE;
	n = &m->node[err ? 0 : i];
	if (!err)
		err = xattr_error(n, name);
	if (!err && strcmp(name, "system.posix_acl_default") == 0 && !ADIT_S_ISDIR(n->mode))
		err = -EACCES;
	if (!err && op->n[1] > 3)
		err = -EINVAL;
	if (!err && op->n[0] > XATTR_MAX)
		err = -E2BIG;
	if (err)
		return err;
	there = has_xattr(n, name);
	if (there && op->n[1] & 1)
		return -EEXIST;
	if (!there && op->n[1] & 2)
		return -ENODATA;
	if (there)
		xattr_drop(n, name);
	at = xattr_find(n, name);
	n->xattr = realloc(n->xattr, (n->xattrs + 1) * sizeof *n->xattr);
	if (n->xattr == NULL)
		abort();
	memmove(&n->xattr[at + 1], &n->xattr[at], (n->xattrs - at) * sizeof *n->xattr);
	memset(&n->xattr[at], 0, sizeof *n->xattr);
	memcpy(n->xattr[at].name, name, len + 1);
	n->xattr[at].value = model_bytes_make((uint32_t)op->n[0]);
	op_fill((uint64_t)m->number, 0, n->xattr[at].value->b, op->n[0]);
	n->xattrs++;
	n->ctime = m->now;
	return 0;
}

int model_rmxattr(struct model *m, const struct op *op)
{
	char name[OP_NAME_MAX];
	const char *path = op->path2;
	size_t len = op_component(&path, name);
	struct model_node *n;
	uint32_t i;
	int err = model_resolve(m, op->path, &i);

	if (!err && (len == 0 || len > NAME_MAX_BYTES))
		err = -ERANGE;
	n = &m->node[err ? 0 : i];
	if (!err)
		err = xattr_error(n, name);
	if (!err && !has_xattr(n, name))
		err = -ENODATA;
	if (err)
		return err;
	xattr_drop(n, name);
	n->ctime = m->now;
	return 0;
}
