/* Spools whose frames have the right hashes: resume, then replay. */
#include "formats/archive/spool.h"
#include "tests/fuzz/sink_fuzzing.h"
#include "tests/fuzz/work_file_fuzzing.h"

/* Bytes of a frame (docs/archive-format.md). */
enum { FRAME = 48, BODY_SIZE_AT = 8 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *path = fuzz_work_file(data, size, FRAME, BODY_SIZE_AT);
    struct qn_sink sink = fuzz_sink();
    struct qn_spool *s = NULL;
    const struct qn_digest other = {{1}};
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
    if (qn_spool_open(&s, path, &other, true, NULL, &again, NULL) != QINS_ERR_USAGE)
        abort(); /* somebody else's work */
    return 0;
}
