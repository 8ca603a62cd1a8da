/* Spools whose frames have the right hashes: resume, then replay. */
#include "formats/archive/spool.h"
#include "tests/fuzz/work_file_fuzzing.h"

/* Bytes of a frame (docs/archive-format.md). */
enum { FRAME = 48, BODY_SIZE_AT = 8 };

static enum qins_status ignore_begin(struct qn_sink *s, const struct qn_archive_tensor *t,
                                     struct qins_error *err)
{
    (void)s;
    (void)err;
    return t->tensor.name ? QINS_OK : QINS_ERR_FORMAT;
}

static enum qins_status ignore_chunk(struct qn_sink *s, const void *payload, size_t size,
                                     const struct qn_digest *leaf, struct qins_error *err)
{
    (void)s;
    (void)err;
    (void)leaf;
    return qn_hash64(payload, size) == 1 ? QINS_ERR_FORMAT : QINS_OK;
}

static enum qins_status ignore_end(struct qn_sink *s, struct qins_error *err)
{
    (void)s;
    (void)err;
    return QINS_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *path = fuzz_work_file(data, size, FRAME, BODY_SIZE_AT);
    struct qn_sink sink = {ignore_begin, ignore_chunk, ignore_end};
    struct qn_spool *s = NULL;
    struct qn_spool_state state, again;
    if (qn_spool_open(&s, path, &fuzz_job, true, NULL, &state, NULL) != QINS_OK)
        return 0;
    if (qn_spool_replay(s, &sink, NULL) == QINS_OK && state.tensor_open)
        abort();
    qn_spool_destroy(s, false);
    /* what was kept is kept again */
    if (qn_spool_open(&s, path, &fuzz_job, true, NULL, &again, NULL) != QINS_OK ||
        again.tensors_done != state.tensors_done || again.chunks_done != state.chunks_done ||
        again.tensor_open != state.tensor_open)
        abort();
    qn_spool_destroy(s, false);
    return 0;
}
