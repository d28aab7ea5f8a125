/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * pool_info.h - facts about a pool, for info, df and mkfs.
 */
#ifndef ADIT_CLI_POOL_INFO_H
#define ADIT_CLI_POOL_INFO_H

#include <adit/adit.h>
#include <jansson.h>

#define CLI_UUID 37
const char *cli_uuid_text(char *buf, const uint8_t uuid[16]);
json_t *cli_info_json(const char *path, const struct adit_pool_info *info);

#endif
