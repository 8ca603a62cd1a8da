/* Look-ups in the tables of a qn_bpe, for the code that merges. */
#ifndef QINS_MODEL_BPE_TABLES_H
#define QINS_MODEL_BPE_TABLES_H

#include "model/bpe.h"

/* NULL where no merge joins the two. */
const struct qn_bpe_merge *qn_bpe_find_merge(const struct qn_bpe *b, uint32_t left, uint32_t right);
/* False only where no sequence of merges can bring the two into one token. */
bool qn_bpe_joinable(const struct qn_bpe *b, uint32_t left, uint32_t right);

/* Appends to OUT what becomes of the N >= 1 initial symbols at RUN. */
enum qins_status qn_bpe_merge_run(const struct qn_bpe *b, struct qn_bpe_work *w,
                                  const uint32_t *run, size_t n, struct qn_ids *out,
                                  struct qins_error *err);

#endif
