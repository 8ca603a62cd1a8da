/* The parts of a conversion that was done in shards (formats/archive/part.h) put together. */
#ifndef QINS_CONVERT_MERGE_H
#define QINS_CONVERT_MERGE_H

#include "core/json.h"
#include "core/thread.h"

struct qn_merge_options {
    bool index;       /* an archive for each part, and OUT says which tensor is in which */
    unsigned threads; /* >= 1; of reading back for hashes */
};

/* Makes the archive OUT of PARTS[n_parts], n_parts >= 1, in any order: all the parts of one job,
 * once each and complete. Its bytes are those that qn_convert() would have written without shards.
 * Memory does not grow with the tensors.
 *
 * With an index, OUT is JSON (schema qins/index/1) and beside it stand archives of whole tensors,
 * STEM-00001-of-00008.qins and so on, with STEM what OUT is without ".json" and ".qins": each has
 * the tensors that begin in its part, the first one also the attached files; for a part in which
 * none begins there is no archive, but for the first. All are written before the first is given its
 * name, the index is last. What stood there comes back where one cannot be given its name; an index
 * that stands there is always of the archives beside it.
 *
 * *report (schema qins/merge/1; may be NULL) belongs to the caller. Errors: QINS_ERR_USAGE where a
 * part is missing, is there twice, or is another job's, or an output is one of them;
 * QINS_ERR_FORMAT, naming file and offset, where one is damaged or incomplete;
 * QINS_ERR_UNSUPPORTED where another version of qins made it. */
enum qins_status qn_merge(const char *const *parts, size_t n_parts, const char *out,
                          const struct qn_merge_options *options, const struct qn_monitor *monitor,
                          json_t **report, struct qins_error *err);

#endif
