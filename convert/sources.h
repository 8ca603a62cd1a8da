/* The files that a checkpoint's path stands for: so that none of them is overwritten, and so
 * that a resumed run knows whether they changed. */
#ifndef QINS_CONVERT_SOURCES_H
#define QINS_CONVERT_SOURCES_H

#include "core/hash.h"
#include "formats/checkpoint.h"

/* QINS_ERR_USAGE if OUTPUT is PATH or, where PATH is a folder, one of its files. Files of qins's
 * own making (*.qins, *.qins.part) in a folder do not count. */
enum qins_status qn_refuse_input(const char *path, const char *output, struct qins_error *err);

/* Digest of name, size and time of change of the file or the folder's shards, and of the tensors
 * and attached files that were found in them. */
enum qins_status qn_source_digest(const struct qn_checkpoint *ck, struct qn_digest *out,
                                  struct qins_error *err);

#endif
