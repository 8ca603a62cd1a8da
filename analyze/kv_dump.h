/* `--dump-kv`: pages of a model's V cache, as a text fills it, in a file (formats/kv_file.h). */
#ifndef QINS_ANALYZE_KV_DUMP_H
#define QINS_ANALYZE_KV_DUMP_H

#include "model/corpus.h"
#include "model/kv.h"

/* Bytes of pages in a dump, but for one window, which may have more. */
enum { QN_KV_DUMP_BYTES = 64 << 20 };

struct qn_kv_dump_options {
    const struct qn_ids *ids; /* the text */
    struct qn_digest text;    /* its fingerprint */
    uint32_t context;         /* tokens of a window */
    struct qn_kv_options kv;  /* page and ctx are not looked at */
    unsigned threads;
};

/* What came into the file. */
struct qn_kv_dumped {
    uint64_t windows, pages, old_pages; /* pages of all layers; those that were recoded */
    uint64_t bytes;                     /* of pages */
};

/* Runs M over the first windows of the text, each from position 0, in one session, and writes the
 * full pages of all layers to PATH: of as many windows as QN_KV_DUMP_BYTES hold. QINS_ERR_USAGE
 * where a window fills no page, or where KV is off; QINS_ERR_FORMAT for a text shorter than a
 * window. The bytes do not depend on the number of threads. */
enum qins_status qn_kv_dump(const struct qn_model *m, const struct qn_kv_dump_options *options,
                            const char *path, const struct qn_monitor *monitor,
                            struct qn_kv_dumped *out, struct qins_error *err);

#endif
