/* Logits of two models as NumPy arrays (`--save-logits`): what the figures of positions are made
 * of, bit for bit, for whoever wants to compute them otherwise. */
#ifndef QINS_ANALYZE_LOGITS_FILE_H
#define QINS_ANALYZE_LOGITS_FILE_H

#include "core/thread.h"

struct qn_logits_file;

/* Of the files: the model's logits, the candidate's, the tokens that follow. */
enum { QN_LOGITS_FILES = 3 };
extern const char *const qn_logits_files[QN_LOGITS_FILES];

/* DIR is made where it is not there. model.npy and, where CANDIDATE, candidate.npy become float32
 * [positions][vocab], next.npy uint32 [positions]. QINS_ERR_IO, before any work, where the disk has
 * less room than they take; what they take is noted where it is much. */
enum qins_status qn_logits_file_create(struct qn_logits_file **out, const char *dir,
                                       uint64_t positions, uint32_t vocab, bool candidate,
                                       const struct qn_monitor *monitor, struct qins_error *err);
/* Of one position; LOGITS[1] is not looked at without a candidate. Thread-safe; a failure is
 * remembered and shows in the next qn_logits_file_check(). */
void qn_logits_file_put(struct qn_logits_file *f, uint64_t at, const float *const logits[2],
                        uint32_t next);
enum qins_status qn_logits_file_check(struct qn_logits_file *f, struct qins_error *err);
/* The files appear under their names. */
enum qins_status qn_logits_file_commit(struct qn_logits_file *f, struct qins_error *err);
/* Accepts NULL; nothing is left of what was not committed. */
void qn_logits_file_destroy(struct qn_logits_file *f);

#endif
