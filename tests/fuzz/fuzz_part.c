/* Two parts of a conversion whose frames have the right hashes, and a last frame that tells of
 * them: read, replayed one behind the other as merge does, and continued. Input: 4 bytes, the size
 * of the first file; then both. */
#include "convert/merge_parts.h"
#include "formats/archive/spool.h"
#include "tests/fuzz/sink_fuzzing.h"
#include "tests/fuzz/work_file_fuzzing.h"

/* Bytes of a frame, and types of frames (docs/archive-format.md). */
enum { HEAD = 40, FRAME = 48, TYPE_AT = 4, BODY_SIZE_AT = 8 };
enum { CHUNK = 2, END = 3, CUT = 5, COMPLETE = 7, COMPLETE_SIZE = 32 };

/* Puts right what a last frame says of those before it, unless the body ends in 0xff. */
static void tell_of_frames(uint8_t *p, size_t size)
{
    uint64_t sums[4] = {0}; /* tensors, chunks, bytes, chain */
    for (size_t at = HEAD; size >= HEAD && size - at >= FRAME;) {
        uint8_t *const f = p + at;
        const uint64_t n = qn_load64(f + BODY_SIZE_AT);
        const uint32_t type = qn_load32(f + TYPE_AT);
        if (n > size - at - FRAME)
            break;
        if (type == COMPLETE && n == COMPLETE_SIZE && f[FRAME + COMPLETE_SIZE - 1] != 0xff) {
            memcpy(f + FRAME, sums, sizeof sums);
            qn_store64(f + FRAME - 16, qn_hash64(f + FRAME, COMPLETE_SIZE));
            qn_store64(f + FRAME - 8, qn_hash64(f, FRAME - 8));
        }
        sums[0] += type == END || type == CUT;
        sums[1] += type == CHUNK;
        sums[2] += type == CHUNK ? n : 0;
        const uint64_t both[2] = {sums[3], qn_load64(f + FRAME - 8)};
        sums[3] = qn_hash64(both, sizeof both);
        at += FRAME + (size_t)n;
    }
}

static void check_together(const char *const paths[2])
{
    struct qn_merge_parts parts;
    for (size_t n = 1; n <= 2; n++) {
        if (qn_merge_parts_open(&parts, paths, n, NULL) == QINS_OK && parts.n != n)
            abort();
        qn_merge_parts_close(&parts);
    }
}

static void replay(const char *const paths[2])
{
    struct qn_part_join join = {0};
    struct qn_attachment_list list = {0};
    struct qn_sink sink = fuzz_sink();
    struct qins_error err;
    for (size_t i = 0; i < 2; i++) {
        struct qn_part_info info;
        if (qn_part_read_info(paths[i], i == 0, &info, &err) != QINS_OK)
            break;
        if (qn_part_replay(paths[i], &info, &join, &sink, &list, &err) == QINS_OK &&
            (!info.complete || info.chunks_done != qn_part_chunks(&info)))
            abort();
        qn_part_info_finish(&info);
    }
    qn_part_join_finish(&join);
    qn_attachment_list_finish(&list);
}

/* What was kept is kept again. */
static void go_on(const char *path)
{
    struct qn_spool_state state, again;
    struct qn_part_info info;
    struct qn_spool *s = NULL;
    if (qn_part_read_info(path, true, &info, NULL) != QINS_OK)
        return;
    if (qn_spool_open_part(&s, path, &info, NULL, &state, NULL) != QINS_OK)
        abort();
    qn_spool_destroy(s, false);
    if (qn_spool_open_part(&s, path, &info, NULL, &again, NULL) != QINS_OK ||
        again.tensors_done != state.tensors_done || again.chunks_done != state.chunks_done ||
        again.tensor_open != state.tensor_open)
        abort();
    qn_spool_destroy(s, false);
    qn_part_info_finish(&info);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct test_memory_file files[2];
    if (size < 4)
        return 0;
    const size_t first = (size_t)qn_min_u64(qn_load32(data), size - 4);
    const char *const paths[2] = {
        fuzz_work_file_in(&files[0], data + 4, first, FRAME, BODY_SIZE_AT, tell_of_frames),
        fuzz_work_file_in(&files[1], data + 4 + first, size - 4 - first, FRAME, BODY_SIZE_AT,
                          tell_of_frames)};
    check_together(paths);
    replay(paths);
    go_on(paths[0]);
    return 0;
}
