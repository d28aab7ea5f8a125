/* SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause */
/*
 * Seals (checksums) and one verify() per structure.  Everybody who reads a
 * structure for the first time goes through these; after that a bounded cache
 * of offsets remembers that the bytes were right.
 *
 * A checksum is stale while the structure's dirty_seq lies in (C, seq]: it was
 * changed since the last checkpoint, by us (I7).  Then only the shape is
 * checked.
 */
#include "core/alloc.h"
#include "core/linux_abi.h"
#include "core/dir.h"
#include "core/extent.h"
#include "core/tree.h"

uint32_t adit__seal_crc(const struct adit_fs *fs, const void *structure, size_t from,
			size_t bytes, uint32_t magic)
{
	return fs->env->crc32c(magic, (const uint8_t *)structure + from, bytes - from);
}

static uint64_t *verified_slot(const struct adit_fs *fs, uint64_t offset)
{
	uint64_t h = (offset >> 8) * 0x9e3779b97f4a7c15ull;

	return &fs->verified[(h >> 40) % ADIT_VERIFIED_SLOTS];
}

/* Structures that begin a block, tree nodes above all, have a bit each: a big
 * directory's nodes would push each other out of the table. */
static uint64_t *verified_word(const struct adit_fs *fs, uint64_t offset, uint64_t *bit)
{
	struct adit_verified *v = __atomic_load_n(&fs->verified_block, __ATOMIC_ACQUIRE);
	uint64_t block = offset >> ADIT_BLOCK_SHIFT;

	if (offset % ADIT_BLOCK != 0 || block >= v->blocks)
		return NULL;
	*bit = 1ull << (block % 64);
	return &v->bits[block / 64];
}

bool adit__verified(const struct adit_fs *fs, uint64_t offset)
{
	uint64_t bit, *word = verified_word(fs, offset, &bit);

	if (word)
		return __atomic_load_n(word, __ATOMIC_RELAXED) & bit;
	return __atomic_load_n(verified_slot(fs, offset), __ATOMIC_RELAXED) == offset;
}

void adit__set_verified(struct adit_fs *fs, uint64_t offset)
{
	uint64_t bit, *word = verified_word(fs, offset, &bit);

	/* Mostly it is set already, and its line shared. */
	if (word && !(__atomic_load_n(word, __ATOMIC_RELAXED) & bit))
		__atomic_fetch_or(word, bit, __ATOMIC_RELAXED);
	else if (!word && __atomic_load_n(verified_slot(fs, offset), __ATOMIC_RELAXED) != offset)
		__atomic_store_n(verified_slot(fs, offset), offset, __ATOMIC_RELAXED);
}

void adit__clear_verified(struct adit_fs *fs, uint64_t offset)
{
	uint64_t bit, *word = verified_word(fs, offset, &bit), *slot;

	if (word) {
		__atomic_fetch_and(word, ~bit, __ATOMIC_RELAXED);
		return;
	}
	slot = verified_slot(fs, offset);
	if (__atomic_load_n(slot, __ATOMIC_RELAXED) == offset)
		__atomic_store_n(slot, 0, __ATOMIC_RELAXED);
}

void adit__forget_verified(struct adit_fs *fs)
{
	memset(fs->verified, 0, ADIT_VERIFIED_SLOTS * sizeof *fs->verified);
	memset(fs->verified_block->bits, 0, fs->verified_block->blocks / 8);
}

bool adit__reachable(struct adit_fs *fs, uint64_t offset, uint64_t bytes, const char *what)
{
	if (ADIT_LIKELY(!fs->careful) || fs->env->readable(adit__at(fs, offset), bytes))
		return true;
	fs->careful = fs->media_error = true;
	adit__report(fs, "%s in block %llu: media error, left as it is", what,
		     (unsigned long long)(offset >> ADIT_BLOCK_SHIFT));
	return false;
}

static bool bytes_zero(const uint8_t *p, size_t n)
{
	uint8_t any = 0;

	for (size_t i = 0; i < n; i++)
		any |= p[i];
	return any == 0;
}

/* The checksum need not match: changed since the last checkpoint. */
static bool seal_is_stale(const struct adit_fs *fs, const le64 *dirty_seq)
{
	uint64_t dirty = get64_relaxed(dirty_seq);

	return dirty > __atomic_load_n(&fs->vol->c, __ATOMIC_ACQUIRE) &&
	       dirty <= __atomic_load_n(&fs->vol->seq, __ATOMIC_ACQUIRE);
}

static int fail(const char **why, const char *text, int err)
{
	*why = text;
	return err;
}

/* The areas of the first cluster lie apart from each other, behind the
 * superblocks and before the groups' metadata (mkfs.c); each cluster has room
 * for its metadata. */
static int verify_super_areas(const struct adit_super_pm *s, uint64_t blocks, uint64_t group,
			      const char **why)
{
	uint64_t lanes = get32(s->lanes), per = get32(s->cluster_groups);
	uint64_t bitmaps = (group + 8 * ADIT_BLOCK - 1) / (8 * ADIT_BLOCK);
	uint64_t meta = per * (3 + 2 * bitmaps), start = get64(s->meta_start);
	const uint64_t area[][2] = {
		{get64(s->ckpt_start), 2},
		{get64(s->root_block), 1},
		{get64(s->root_copy), 1},
		{get64(s->intent_start),
		 (lanes * sizeof(struct adit_intent_pm) + ADIT_BLOCK - 1) / ADIT_BLOCK},
		{get64(s->lane_start), lanes * get32(s->lane_blocks)},
		{get64(s->vol_start), get64(s->vol_blocks)},
	};

	if (start >= min_u64(blocks, group) || meta > min_u64(blocks, group) - start ||
	    (blocks > per * group && blocks % (per * group) != 0 && blocks % (per * group) < meta))
		return fail(why, "no room for the groups' metadata", -EUCLEAN);
	for (unsigned i = 0; i < sizeof area / sizeof *area; i++) {
		if (area[i][0] < 8 || area[i][0] >= start || area[i][1] > start - area[i][0])
			return fail(why, "an area lies outside of its place", -EUCLEAN);
		for (unsigned j = 0; j < i; j++)
			if (area[i][0] < area[j][0] + area[j][1] &&
			    area[j][0] < area[i][0] + area[i][1])
				return fail(why, "areas overlap", -EUCLEAN);
	}
	if (get64(s->vol_blocks) * ADIT_BLOCK <
	    sizeof(struct adit_vol) + sizeof(struct adit_vol_op) + sizeof(struct adit_vol_stripe))
		return fail(why, "the volatile region is too small", -EUCLEAN);
	return 0;
}

static int verify_super_geometry(const struct adit_super_pm *s, uint64_t pool_bytes,
				 const char **why)
{
	uint64_t blocks = get64(s->pool_blocks), group = get64(s->group_blocks);
	uint64_t groups = get32(s->groups), lanes = get32(s->lanes);

	if (get32(s->block_bytes) != ADIT_BLOCK)
		return fail(why, "block size is not 4096", -EUCLEAN);
	if (blocks < ADIT_POOL_MIN_BYTES / ADIT_BLOCK || blocks > ADIT_PTR_BLOCK_MASK)
		return fail(why, "size of the pool is impossible", -EUCLEAN);
	if (blocks > pool_bytes / ADIT_BLOCK)
		return fail(why, "the medium ends before the pool does (truncated?)", -EUCLEAN);
	if (group < ADIT_HUGE_BLOCKS || group > ADIT_GROUP_BLOCKS_MAX || (group & (group - 1)))
		return fail(why, "group size is impossible", -EUCLEAN);
	if (groups != (blocks + group - 1) / group)
		return fail(why, "number of groups does not fit the size", -EUCLEAN);
	if (get32(s->cluster_groups) == 0 || get32(s->cluster_groups) > 1024)
		return fail(why, "groups per cluster are impossible", -EUCLEAN);
	if (lanes == 0 || lanes > ADIT_LANES_MAX)
		return fail(why, "number of lanes is impossible", -EUCLEAN);
	if ((uint64_t)get32(s->lane_blocks) * ADIT_BLOCK < 4ull * ADIT_REC_MAX ||
	    get32(s->lane_blocks) > 65536)
		return fail(why, "size of a lane is impossible", -EUCLEAN);
	return verify_super_areas(s, blocks, group, why);
}

int adit__verify_super(const struct adit_env *env, const struct adit_super_pm *s,
		       uint64_t pool_bytes, const char **why)
{
	if (get32(s->magic) != ADIT_MAGIC_SUPER)
		return fail(why, "no Adit superblock", -EUCLEAN);
	if (get32(s->crc) != env->crc32c(ADIT_MAGIC_SUPER,
					 (const uint8_t *)s + ADIT_SUPER_SEAL_FROM,
					 sizeof *s - ADIT_SUPER_SEAL_FROM))
		return fail(why, "bad checksum", -EBADMSG);
	if (get32(s->version) != ADIT_FORMAT_VERSION)
		return fail(why, "format version is not 1", -EOPNOTSUPP);
	if (!bytes_zero(s->reserved, sizeof s->reserved))
		return fail(why, "reserved bytes are not zero", -EUCLEAN);
	return verify_super_geometry(s, pool_bytes, why);
}

int adit__verify_root(struct adit_fs *fs, const struct adit_root_pm *r, const char **why)
{
	if (get32(r->magic) != ADIT_MAGIC_ROOT)
		return fail(why, "no root block", -EUCLEAN);
	if (!seal_is_stale(fs, &r->dirty_seq) &&
	    get32(r->crc) !=
		    adit__seal_crc(fs, r, ADIT_ROOT_SEAL_FROM, sizeof *r, ADIT_MAGIC_ROOT))
		return fail(why, "bad checksum", -EBADMSG);
	if (memcmp(r->uuid, fs->super.uuid, 16) != 0)
		return fail(why, "of another pool", -EUCLEAN);
	if (get32(r->shards) == 0 || get32(r->shards) > ADIT_SHARDS)
		return fail(why, "number of shards is impossible", -EUCLEAN);
	if (get64(r->itable.ino) != ADIT_INO_ITABLE ||
	    ((get32(r->itable.flags) & ADIT_FORK_MASK) != ADIT_FORK_EXTENTS &&
	     (get32(r->itable.flags) & ADIT_FORK_MASK) != ADIT_FORK_TREE))
		return fail(why, "the inode table's inode is wrong", -EUCLEAN);
	if (get64(r->next_ino) % ADIT_ICLUSTER_INODES != 0 ||
	    get64(r->next_ino) * ADIT_INODE_BYTES != get64(r->itable.size))
		return fail(why, "size of the inode table is wrong", -EUCLEAN);
	return 0;
}

/* File blocks go up to the end of the staging area (file_int.h): a crash may
 * leave extents there until the intent is resumed. */
static int verify_fork_extents(struct adit_fs *fs, const struct adit_inode_pm *ip,
			       const char **why)
{
	const struct adit_fork_extents_pm *x = &ip->fork.extents;
	uint64_t at = 0;

	if (get16(x->count) > ADIT_INLINE_EXTENTS)
		return fail(why, "too many extents in the inode", -EUCLEAN);
	for (unsigned i = 0; i < get16(x->count); i++) {
		const struct adit_extent_inline_pm *e = &x->extent[i];
		uint64_t block = adit_ptr_block(get64(e->ptr)), n = get32(e->blocks);

		if (get64(e->file_block) < at || n == 0 ||
		    get64(e->file_block) > 2 * ADIT_FILE_BLOCKS_MAX - n)
			return fail(why, "extents overlap or are out of range", -EUCLEAN);
		if (!adit__run_is_sane(fs, block, n))
			return fail(why, "an extent lies outside of the pool", -EUCLEAN);
		at = get64(e->file_block) + n;
	}
	return 0;
}

static int verify_fork(struct adit_fs *fs, const struct adit_inode_pm *ip, const char **why)
{
	uint32_t mode = get32(ip->mode);
	bool dir = ADIT_S_ISDIR(mode), file = ADIT_S_ISREG(mode), link = ADIT_S_ISLNK(mode);
	uint64_t block;

	switch (get32(ip->flags) & ADIT_FORK_MASK) {
	case ADIT_FORK_NONE:
		if (link)
			return fail(why, "a symbolic link without a target", -EUCLEAN);
		return 0;
	case ADIT_FORK_INLINE:
		if (dir)
			return adit__dir_verify_inline(ip, why);
		if ((!file && !link) || get64(ip->size) > ADIT_FORK_BYTES ||
		    (link && get64(ip->size) == 0))
			return fail(why, "contents cannot be inline", -EUCLEAN);
		return 0;
	case ADIT_FORK_EXTENTS:
		if (!file && !link)
			return fail(why, "extents in an inode that has no data", -EUCLEAN);
		return verify_fork_extents(fs, ip, why);
	case ADIT_FORK_TREE:
		block = adit_ptr_block(get64(ip->fork.tree.root));
		if ((!file && !dir) || !adit__run_is_sane(fs, block, 1) ||
		    ip->fork.tree.level > ADIT_TREE_MAX_LEVEL)
			return fail(why, "root of the tree is impossible", -EUCLEAN);
		return 0;
	default:
		return fail(why, "unknown fork format", -EUCLEAN);
	}
}

static bool mode_is_known(uint32_t mode)
{
	switch (ADIT_S_TYPE(mode)) {
	case S_IFREG: case S_IFDIR: case S_IFLNK: case S_IFCHR:
	case S_IFBLK: case S_IFIFO: case S_IFSOCK:
		return (mode >> 16) == 0;
	default:
		return false;
	}
}

int adit__verify_inode(struct adit_fs *fs, const struct adit_inode_pm *ip, uint64_t ino,
		       const char **why)
{
	uint64_t xroot = adit_ptr_block(get64(ip->xattr_root));

	if (get32(ip->magic) == 0 && bytes_zero((const uint8_t *)ip + 32, 256 - 32))
		return 0; /* a slot that was never used */
	if (get32(ip->magic) != ADIT_MAGIC_INODE)
		return fail(why, "no inode", -EUCLEAN);
	if (!seal_is_stale(fs, &ip->dirty_seq) &&
	    get32(ip->crc) != adit__seal_crc(fs, ip, ADIT_INODE_SEAL_FROM, sizeof *ip,
					     ADIT_MAGIC_INODE) &&
	    !seal_is_stale(fs, &ip->dirty_seq)) /* a neighbour's orphan links change any time */
		return fail(why, "bad checksum", -EBADMSG);
	if (get64(ip->ino) != ino)
		return fail(why, "carries another inode number", -EUCLEAN);
	if (get32(ip->mode) == 0)
		return 0; /* free */
	if (!mode_is_known(get32(ip->mode)))
		return fail(why, "unknown file type", -EUCLEAN);
	if (get32(ip->flags) & ~ADIT_IFLAG_KNOWN)
		return fail(why, "unknown flags", -EUCLEAN);
	if (get64(ip->size) > INT64_MAX)
		return fail(why, "size is impossible", -EUCLEAN);
	if ((xroot && !adit__run_is_sane(fs, xroot, 1)) || ((get32(ip->flags) & ADIT_IFLAG_XLEVEL_MASK) >>
					 ADIT_IFLAG_XLEVEL_SHIFT) > ADIT_TREE_MAX_LEVEL)
		return fail(why, "root of the attributes is impossible", -EUCLEAN);
	return verify_fork(fs, ip, why);
}

int adit__verify_icluster(struct adit_fs *fs, const struct adit_icluster_pm *c, uint64_t ino,
			  const char **why)
{
	if (get32(c->magic) != ADIT_MAGIC_ICLUSTER)
		return fail(why, "no inode cluster", -EUCLEAN);
	if (!seal_is_stale(fs, &c->dirty_seq) &&
	    get32(c->crc) != adit__seal_crc(fs, c, ADIT_INODE_SEAL_FROM, sizeof *c,
					    ADIT_MAGIC_ICLUSTER) &&
	    !seal_is_stale(fs, &c->dirty_seq)) /* looked at without its shard's lock */
		return fail(why, "bad checksum", -EBADMSG);
	if (get64(c->ino) != ino)
		return fail(why, "carries another inode number", -EUCLEAN);
	if (!(get64(c->used) & 1) || get32(c->shard) >= ADIT_SHARDS ||
	    get64(c->next) % ADIT_ICLUSTER_INODES > 1)
		return fail(why, "fields are impossible", -EUCLEAN);
	return 0;
}

int adit__verify_group(struct adit_fs *fs, const struct adit_group_pm *g, uint32_t group,
		       const char **why)
{
	if (get32(g->magic) != ADIT_MAGIC_GROUP)
		return fail(why, "no group header", -EUCLEAN);
	if (get32(g->crc) != adit__seal_crc(fs, g, ADIT_GROUP_SEAL_FROM, ADIT_GROUP_SEAL_TO,
					    ADIT_MAGIC_GROUP))
		return fail(why, "bad checksum", -EBADMSG);
	if (memcmp(g->uuid, fs->super.uuid, 16) != 0 || get32(g->group) != group)
		return fail(why, "of another pool or group", -EUCLEAN);
	return 0;
}

static int verify_inner(struct adit_fs *fs, const struct adit_node_pm *n, const char **why)
{
	const struct adit_inner_pm *e = (const struct adit_inner_pm *)n->body;
	unsigned count = get16(n->count);

	if (count == 0 || count > ADIT_INNER_MAX)
		return fail(why, "number of entries is impossible", -EUCLEAN);
	for (unsigned i = 0; i < count; i++) {
		uint64_t block = adit_ptr_block(get64(e[i].ptr));

		if (!adit__run_is_sane(fs, block, 1))
			return fail(why, "a child lies outside of the pool", -EUCLEAN);
		if (i > 1 && get64(e[i - 1].key) >= get64(e[i].key))
			return fail(why, "keys are not in order", -EUCLEAN);
	}
	return 0;
}

bool adit__record_len_fits(const struct adit_rec_pm *rec, uint8_t type)
{
	unsigned len = get16(rec->len);

	switch (type) {
	case ADIT_TREE_EXTENTS:
		return len == sizeof(struct adit_extent_pm);
	case ADIT_TREE_SHARED:
		return len == sizeof(struct adit_shared_pm);
	case ADIT_TREE_DIR:
		return len == sizeof(struct adit_dirent_pm) + rec->a && rec->a != 0;
	case ADIT_TREE_XATTR:
		return rec->a != 0 && len == sizeof(struct adit_xattr_pm) + rec->a +
			(rec->b ? rec->b * sizeof(struct adit_xattr_run_pm) : get32(rec->c));
	default:
		return len >= sizeof *rec;
	}
}

static int verify_leaf(const struct adit_node_pm *n, const char **why)
{
	const le16 *slot = (const le16 *)n->body;
	const uint8_t *block = (const uint8_t *)n;
	unsigned count = get16(n->count), top = get16(n->heap_top), live = 0;
	uint64_t taken[4] = {0}, before = 0;
	bool ordered = n->type != ADIT_TREE_DIR && n->type != ADIT_TREE_XATTR;

	if (count > 252 || top > ADIT_BLOCK || 64 + 2 * count > top)
		return fail(why, "slots and records overlap", -EUCLEAN);
	for (unsigned i = 0; i < count; i++) {
		unsigned at = (get16(slot[i]) & 0xff) * ADIT_RECORD_ALIGN, len;
		const struct adit_rec_pm *rec = (const struct adit_rec_pm *)(block + at);

		if (at < top || at + sizeof *rec > ADIT_BLOCK)
			return fail(why, "a slot points outside of the records", -EUCLEAN);
		len = get16(rec->len);
		if (!adit__record_len_fits(rec, n->type) || len > ADIT_RECORD_MAX ||
		    at + len > ADIT_BLOCK)
			return fail(why, "length of a record is impossible", -EUCLEAN);
		len = (unsigned)round_up_u64(len, ADIT_RECORD_ALIGN);
		live += len;
		for (unsigned u = at / ADIT_RECORD_ALIGN; u < (at + len) / ADIT_RECORD_ALIGN; u++) {
			if (taken[u / 64] >> (u % 64) & 1)
				return fail(why, "records overlap", -EUCLEAN);
			taken[u / 64] |= 1ull << (u % 64);
		}
		if (get64(rec->key) > INT64_MAX ||
		    (ordered && i > 0 && get64(rec->key) <= before))
			return fail(why, "keys are not in order", -EUCLEAN);
		before = get64(rec->key);
	}
	if (live != get16(n->live_bytes))
		return fail(why, "bytes in use are counted wrongly", -EUCLEAN);
	return 0;
}

int adit__verify_node(struct adit_fs *fs, const struct adit_node_pm *n, uint64_t block,
		      uint64_t owner, uint8_t type, int level, const char **why)
{
	if (get32(n->magic) != ADIT_MAGIC_NODE || get32(n->uuid_tag) != fs->uuid_tag)
		return fail(why, "no tree node of this pool", -EUCLEAN);
	if (!seal_is_stale(fs, &n->dirty_seq) &&
	    get32(n->crc) !=
		    adit__seal_crc(fs, n, ADIT_NODE_SEAL_FROM, sizeof *n, ADIT_MAGIC_NODE))
		return fail(why, "bad checksum", -EBADMSG);
	if (get64(n->block) != block)
		return fail(why, "node of another place", -EUCLEAN);
	if (get64(n->owner) != owner || n->type != type)
		return fail(why, "node of another tree", -EUCLEAN);
	if (n->level > ADIT_TREE_MAX_LEVEL || (level >= 0 && n->level != level))
		return fail(why, "node of another level", -EUCLEAN);
	return n->level ? verify_inner(fs, n, why) : verify_leaf(n, why);
}
