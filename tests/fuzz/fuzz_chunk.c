/* Chunk payloads. An odd first byte: the rest is a payload, whose hash (and, where a bit says so,
 * size field) is put right before it is decoded. An even one: parameters, then source bytes for
 * a round trip, whose outcome is checked. */
#include "core/bytes.h"
#include "core/hash.h"
#include "formats/codec/chunk.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum {
    MAX_ELEMENTS = 1 << 16, /* keeps a run short */
    AT_HASHED = 8,          /* docs/chunk-payload.md */
    AT_CONTENT = 13,
    AT_DTYPE = 14,
    AT_ELEMENTS = 16,
    AT_SIZE = 20,
    MAX_ROW = 64, /* of a factor for feedback rounding */
};

static void require(bool holds)
{
    if (!holds)
        __builtin_trap();
}

static void *exact_copy(const void *data, size_t size)
{
    void *copy = malloc(size ? size : 1);
    require(copy != NULL);
    if (size)
        memcpy(copy, data, size);
    return copy;
}

/* Puts right the hashes of the parts of a chunk of blocks. */
static void fix_parts(uint8_t *payload, size_t size)
{
    for (size_t at = QN_CHUNK_HEADER_SIZE; size - at >= QN_CHUNK_HEADER_SIZE;) {
        uint8_t *part = payload + at;
        size_t part_size = qn_load32(part + AT_SIZE);
        if (part_size < QN_CHUNK_HEADER_SIZE || part_size > size - at)
            break;
        qn_store64(part, qn_hash64(part + AT_HASHED, part_size - AT_HASHED));
        at += part_size;
    }
}

static void decode_payload(bool fix_size, const uint8_t *data, size_t size)
{
    struct qn_chunk_work work = {0};
    struct qn_chunk_info info;
    struct qins_error err;
    uint64_t mismatches, first;
    if (size < QN_CHUNK_HEADER_SIZE)
        return;
    uint8_t *payload = exact_copy(data, size);
    if (fix_size)
        qn_store32(payload + AT_SIZE, (uint32_t)size);
    if (payload[AT_CONTENT] == QN_CONTENT_BLOCKS)
        fix_parts(payload, size);
    qn_store64(payload, qn_hash64(payload + AT_HASHED, size - AT_HASHED));

    enum qins_dtype dtype = (enum qins_dtype)payload[AT_DTYPE];
    size_t n = qn_load32(payload + AT_ELEMENTS);
    if (qn_chunk_inspect(payload, size, &info, &err) == QINS_OK && n <= MAX_ELEMENTS) {
        for (int view = 0; view < 2; view++) {
            size_t width = qins_dtype_size(view ? qn_dtype(dtype)->view : dtype);
            void *dst = malloc(n * width);
            require(dst != NULL);
            enum qins_status st =
                qn_chunk_decode(payload, size, dtype, n, view != 0, &work, dst, &err);
            require(qn_chunk_compare(payload, size, dtype, dst, n, &work, &mismatches, &first,
                                     &err) == st ||
                    view);
            free(dst);
        }
    }
    qn_chunk_work_finish(&work);
    free(payload);
}

static struct qn_chunk_params read_params(struct qn_cursor *c)
{
    struct qn_chunk_params p = {0};
    p.content = (enum qn_content)(qn_cursor_u8(c) % 3);
    p.dtype = (enum qins_dtype)(qn_cursor_u8(c) % QINS_DTYPE_COUNT);
    p.codec = (enum qn_codec_id)(qn_cursor_u8(c) % QN_CODEC_COUNT);
    p.levels = qn_cursor_u16(c);
    p.kappa = qn_float_from_bits(qn_cursor_u32(c));
    p.clip = qn_float_from_bits(qn_cursor_u32(c));
    p.tensor_scale = qn_float_from_bits(qn_cursor_u32(c));
    p.row_length = qn_cursor_u16(c);
    p.group = qn_cursor_u16(c);
    return p;
}

/* A factor with errors that stay within bounds; rows of P get it. */
static void add_feedback(struct qn_chunk_params *p, struct qn_feedback *f, float *factor)
{
    const uint32_t n = (uint32_t)p->row_length;
    if (n < 1 || n > MAX_ROW || p->content != QN_CONTENT_QINS)
        return;
    for (size_t j = 0; j < n; j++)
        for (size_t k = 0; k < n; k++)
            factor[j * n + k] = 0.5f / (float)(k + j + 1);
    *f = (struct qn_feedback){factor, NULL, n};
    p->rounding = QN_ROUND_FEEDBACK;
    p->feedback = f;
}

/* N elements in one run, or the second half as another, lossless one. */
static size_t make_runs(const struct qn_chunk_params *p, size_t n, bool split,
                        struct qn_chunk_run runs[2])
{
    runs[0] = (struct qn_chunk_run){*p, n};
    if (!split || n < 2)
        return 1;
    runs[1] = runs[0];
    runs[1].n = n / 2;
    runs[0].n = n - n / 2;
    runs[1].params.content = QN_CONTENT_LOSSLESS;
    runs[1].params.rounding = QN_ROUND_NEAREST;
    if (p->codec == QN_CODEC_BITPACK)
        runs[1].params.codec = QN_CODEC_STORE;
    return 2;
}

static void check_round_trip(const struct qn_chunk_run *runs, size_t n_runs,
                             const struct qn_buf *out, const void *src, size_t n,
                             struct qn_chunk_work *work)
{
    const struct qn_chunk_params *p = &runs[0].params;
    struct qins_error err;
    uint64_t mismatches, first;
    size_t size = n * qins_dtype_size(p->dtype);
    uint8_t *payload = exact_copy(out->data, out->size), *dst = malloc(size ? size : 1);
    require(dst != NULL);
    require(qn_chunk_decode(payload, out->size, p->dtype, n, false, work, dst, &err) == QINS_OK);
    if (p->content == QN_CONTENT_LOSSLESS)
        require(memcmp(dst, src, size) == 0);
    require(qn_chunk_check_runs(payload, out->size, runs, n_runs, &err) == QINS_OK);
    require(qn_chunk_compare(payload, out->size, p->dtype, src, n, work, &mismatches, &first,
                             &err) == QINS_OK);
    require(mismatches == 0);
    free(dst);
    free(payload);
}

static void round_trip(const uint8_t *data, size_t size)
{
    struct qn_cursor c = qn_cursor_init(data, size);
    struct qn_chunk_params p = read_params(&c);
    const uint8_t flags = qn_cursor_u8(&c);
    struct qn_chunk_run runs[2];
    struct qn_feedback feedback;
    static float factor[MAX_ROW * MAX_ROW];
    struct qn_chunk_work work = {0};
    struct qn_buf out = {0};
    struct qins_error err;
    size_t width = qins_dtype_size(p.dtype), left = qn_cursor_left(&c);
    size_t n = width ? left / width : left;
    uint8_t *src = exact_copy(c.pos, n * width);
    if (flags & 1)
        add_feedback(&p, &feedback, factor);
    size_t n_runs = make_runs(&p, n, (flags & 2) != 0, runs);
    if (qn_chunk_encode_runs(runs, n_runs, src, &work, &out, &err) == QINS_OK)
        check_round_trip(runs, n_runs, &out, src, n, &work);
    qn_buf_finish(&out);
    qn_chunk_work_finish(&work);
    free(src);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    if (data[0] & 1)
        decode_payload((data[0] & 2) != 0, data + 1, size - 1);
    else
        round_trip(data + 1, size - 1);
    return 0;
}
