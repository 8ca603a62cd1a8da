/* Pairs the tensors of an archive with those of a checkpoint, by name. */
#ifndef QINS_CONVERT_MATCH_H
#define QINS_CONVERT_MATCH_H

#include "formats/archive/manifest.h"

#define QN_NO_TENSOR SIZE_MAX

/* What is wrong with one tensor, in words; empty where nothing is. */
struct qn_match {
    size_t source; /* index in the checkpoint, or QN_NO_TENSOR */
    char problem[160];
};

/* Fills one record for each tensor of the manifest. Those of a transport are not missed in LIST.
 * *extra gets the index of the first tensor of LIST that the archive lacks, or QN_NO_TENSOR. */
enum qins_status qn_match_tensors(const struct qn_manifest *m, const struct qn_tensor_list *list,
                                  struct qn_match *out, size_t *extra, struct qins_error *err);

#endif
