/* Checkpoint to archive. */
#ifndef QINS_CONVERT_CONVERT_H
#define QINS_CONVERT_CONVERT_H

#include "core/json.h"
#include "core/shard.h"
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
    struct qn_shard shard;     /* which part of OUT alone, or a count of 0 */
};

/* Converts PATH (file or folder) to the archive OUT. The archive's bytes depend on the source
 * and the plan options alone. Memory does not grow with the tensors; a transport is held whole.
 * *report (schema qins/convert/1; may be NULL) belongs to the caller. Errors: QINS_ERR_UNSUPPORTED
 * for types that cannot be converted and for NaN or infinity under a quantiser, with names;
 * QINS_ERR_FORMAT for a plan that does not fit the source, with the tensor's name;
 * QINS_ERR_USAGE where OUT or OUT.part is an input or OUT.part belongs to another job;
 * QINS_ERR_IO where a source file changed meanwhile.
 *
 * With a shard it is the part of OUT that is made (qn_shard_path(), formats/archive/part.h; report
 * qins/convert-part/1), by way of its own ".part", which any later call continues; qn_merge() makes
 * the archive of all of them. A part that is there already is left as it is: QINS_OK where it is
 * the one that was asked for, else QINS_ERR_USAGE. */
enum qins_status qn_convert(const char *path, const char *out,
                            const struct qn_convert_options *options,
                            const struct qn_monitor *monitor, json_t **report,
                            struct qins_error *err);

/* Digest of all that decides the archive's bytes: sources, options, version. */
enum qins_status qn_convert_digest(const struct qn_checkpoint *ck,
                                   const struct qn_convert_options *options, struct qn_digest *out,
                                   struct qins_error *err);

#endif
