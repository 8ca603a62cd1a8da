/* Checkpoint to archive. */
#ifndef QINS_CONVERT_CONVERT_H
#define QINS_CONVERT_CONVERT_H

#include "core/json.h"
#include "core/thread.h"
#include "formats/checkpoint.h"
#include "policy/defaults.h"

struct qn_convert_options {
    struct qn_plan_options plan;
    const char *plan_file;     /* plan.json, whose lines go for all, or NULL: `plan` does */
    const char *calibration;   /* path, or NULL; feedback rounding needs its Gram matrices */
    enum qn_rounding rounding; /* without a plan file, where the calibration has a Gram matrix */
    const char *transport;     /* path of a transport to be carried in the archive, or NULL */
    unsigned threads;          /* >= 1 */
    bool resume;               /* by way of OUT.part, which a later call continues */
};

/* Converts PATH (file or folder) to the archive OUT. The archive's bytes depend on the source
 * and the plan options alone. Memory does not grow with the tensors; a transport is held whole.
 * *report (schema qins/convert/1; may be NULL) belongs to the caller. Errors: QINS_ERR_UNSUPPORTED
 * for types that cannot be converted and for NaN or infinity under a quantiser, with names;
 * QINS_ERR_FORMAT for a plan that does not fit the source, with the tensor's name;
 * QINS_ERR_USAGE where OUT or OUT.part is an input or OUT.part belongs to another job;
 * QINS_ERR_IO where a source file changed meanwhile. */
enum qins_status qn_convert(const char *path, const char *out,
                            const struct qn_convert_options *options,
                            const struct qn_monitor *monitor, json_t **report,
                            struct qins_error *err);

/* Digest of all that decides the archive's bytes: sources, options, version. */
enum qins_status qn_convert_digest(const struct qn_checkpoint *ck,
                                   const struct qn_convert_options *options, struct qn_digest *out,
                                   struct qins_error *err);

#endif
