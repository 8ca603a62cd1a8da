/* A sink for fuzz targets: it touches all that it is given. */
#ifndef QINS_TESTS_SINK_FUZZING_H
#define QINS_TESTS_SINK_FUZZING_H

#include "formats/archive/sink.h"

static inline enum qins_status fuzz_sink_begin(struct qn_sink *s, const struct qn_archive_tensor *t,
                                               struct qins_error *err)
{
    (void)s;
    (void)err;
    return t->tensor.name ? QINS_OK : QINS_ERR_FORMAT;
}

static inline enum qins_status fuzz_sink_chunk(struct qn_sink *s, const void *payload, size_t size,
                                               const struct qn_digest *leaf, struct qins_error *err)
{
    (void)s;
    (void)err;
    (void)leaf;
    return qn_hash64(payload, size) == 1 ? QINS_ERR_FORMAT : QINS_OK;
}

static inline enum qins_status fuzz_sink_end(struct qn_sink *s, struct qins_error *err)
{
    (void)s;
    (void)err;
    return QINS_OK;
}

static inline struct qn_sink fuzz_sink(void)
{
    return (struct qn_sink){fuzz_sink_begin, fuzz_sink_chunk, fuzz_sink_end};
}

#endif
