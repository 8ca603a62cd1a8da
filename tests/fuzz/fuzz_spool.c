/* Spools whose frames have the right hashes: resume, then replay. */
#include "formats/archive/spool.h"
#include "tests/unit/archive_reseal.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

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

/* Offsets are those of docs/archive-format.md. */
static void reseal(uint8_t *p, size_t size)
{
    if (size < 40)
        return;
    memset(p + 16, 0, 16);
    qn_store64(p + 32, qn_hash64(p, 32));
    for (size_t at = 40; size - at >= 48;) {
        uint64_t n = qn_load64(p + at + 8);
        if (n > size - at - 48)
            break;
        qn_store64(p + at + 32, qn_hash64(p + at + 48, (size_t)n));
        qn_store64(p + at + 40, qn_hash64(p + at, 40));
        at += 48 + (size_t)n;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct test_memory_file file = {.fd = -1};
    static const struct qn_digest job;
    struct qn_sink sink = {ignore_begin, ignore_chunk, ignore_end};
    struct qn_spool *s = NULL;
    struct qn_spool_state state, again;
    uint8_t *image = malloc(size + 1);
    if (!image || (file.fd < 0 && !test_memory_file_open(&file)))
        abort();
    if (size)
        memcpy(image, data, size);
    reseal(image, size);
    if (!test_memory_file_set(&file, image, size))
        abort();
    if (qn_spool_open(&s, file.path, &job, true, &state, NULL) == QINS_OK) {
        if (qn_spool_replay(s, &sink, NULL) == QINS_OK && state.tensor_open)
            abort();
        qn_spool_destroy(s, false);
        /* what was kept is kept again */
        if (qn_spool_open(&s, file.path, &job, true, &again, NULL) != QINS_OK ||
            again.tensors_done != state.tensors_done || again.chunks_done != state.chunks_done ||
            again.tensor_open != state.tensor_open)
            abort();
        qn_spool_destroy(s, false);
    }
    free(image);
    return 0;
}
