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
    AT_DTYPE = 14,
    AT_ELEMENTS = 16,
    AT_SIZE = 20,
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

static void check_round_trip(const struct qn_chunk_params *p, const struct qn_buf *out,
                             const void *src, size_t n, struct qn_chunk_work *work)
{
    struct qins_error err;
    uint64_t mismatches, first;
    size_t size = n * qins_dtype_size(p->dtype);
    uint8_t *payload = exact_copy(out->data, out->size), *dst = malloc(size ? size : 1);
    require(dst != NULL);
    require(qn_chunk_decode(payload, out->size, p->dtype, n, false, work, dst, &err) == QINS_OK);
    if (p->content == QN_CONTENT_LOSSLESS)
        require(memcmp(dst, src, size) == 0);
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
    struct qn_chunk_work work = {0};
    struct qn_buf out = {0};
    struct qins_error err;
    size_t width = qins_dtype_size(p.dtype), left = qn_cursor_left(&c);
    size_t n = width ? left / width : left;
    uint8_t *src = exact_copy(c.pos, n * width);
    if (qn_chunk_encode(&p, src, n, &work, &out, &err) == QINS_OK)
        check_round_trip(&p, &out, src, n, &work);
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
