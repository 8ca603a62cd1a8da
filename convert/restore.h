/* Archive to checkpoint. */
#ifndef QINS_CONVERT_RESTORE_H
#define QINS_CONVERT_RESTORE_H

#include "core/json.h"
#include "core/thread.h"

struct qn_restore_options {
    enum qins_dtype dtype; /* QINS_DTYPE_INVALID: each tensor's own; else F32, F16 or BF16, for
                              float tensors (F64 goes by way of F32) */
    unsigned threads;      /* >= 1 */
};

/* Writes OUT in the format that its ending names; an OUT that ends in '/' or is a folder gets
 * model.safetensors and those attached files that qn_is_model_file() knows, each of which appears
 * whole or not at all and replaces what has its name. QINS_ERR_USAGE where an output is the
 * archive, or where the folder holds an index of shards or another safetensors file, which a
 * reader would take for the model.
 * *report (schema qins/restore/1; may be NULL) belongs to the caller. */
enum qins_status qn_restore(const char *archive, const char *out,
                            const struct qn_restore_options *options,
                            const struct qn_monitor *monitor, json_t **report,
                            struct qins_error *err);

#endif
