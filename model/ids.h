/* Token ids. */
#ifndef QINS_MODEL_IDS_H
#define QINS_MODEL_IDS_H

#include "core/error.h"

struct qn_ids {
    uint32_t *data;
    size_t count, capacity;
};

void qn_ids_finish(struct qn_ids *ids);
enum qins_status qn_ids_append(struct qn_ids *ids, const uint32_t *data, size_t n,
                               struct qins_error *err);
/* A .npy file of one axis and any integer type, appended. Ids below 0 or from VOCAB on are
 * QINS_ERR_FORMAT, naming value and index. */
enum qins_status qn_ids_load(struct qn_ids *ids, const char *path, uint32_t vocab,
                             struct qins_error *err);

#endif
