/* Where encoded chunks go, in order: an archive (writer.h) or a spool (spool.h). */
#ifndef QINS_FORMATS_ARCHIVE_SINK_H
#define QINS_FORMATS_ARCHIVE_SINK_H

#include "formats/archive/manifest.h"

/* Calls come in one fixed order from one thread: for each tensor begin, then every chunk in
 * order, then end; nothing else between. */
struct qn_sink {
    /* *T without fingerprint and first_chunk; the pointer need not outlive the call. */
    enum qins_status (*begin)(struct qn_sink *s, const struct qn_archive_tensor *t,
                              struct qins_error *err);
    /* LEAF: digest of the chunk's source bytes. */
    enum qins_status (*chunk)(struct qn_sink *s, const void *payload, size_t size,
                              const struct qn_digest *leaf, struct qins_error *err);
    enum qins_status (*end)(struct qn_sink *s, struct qins_error *err);
};

#endif
