/* Archives, in both forms that fuzz_archive.c takes: the manifest is inflated, edited as JSON and
 * deflated again; payloads of the chunk table and the table itself are changed. The target puts the
 * hashes right. */
#include "formats/archive/reader.h"
#include "formats/archive/userblock.h"
#include "tests/fuzz/mutate.h"

#include <zlib.h>

enum { FRONT = 4, MAX_MANIFEST = 1 << 18 };

/* SIZE bytes at AT within the image become those of B. */
static void replace(struct qn_buf *image, size_t at, size_t size, const struct qn_buf *b)
{
    struct qn_buf out = {0};
    mutate_append(&out, image->data, at);
    mutate_append(&out, b->data, b->size);
    mutate_append(&out, image->data + at + size, image->size - at - size);
    qn_buf_finish(image);
    *image = out;
}

/* The manifest goes to the end, where it may grow; what it was stays as a gap. */
static void change_manifest(struct qn_buf *image, struct mutate_random *r)
{
    const uint64_t at = qn_load64(image->data + 24), size = qn_load64(image->data + 32);
    struct qn_buf text = {0};
    uLongf n = MAX_MANIFEST;
    if (!qn_userblock_in_body(image->size, at, size))
        return;
    if (qn_buf_append_zeros(&text, MAX_MANIFEST, NULL) != QINS_OK)
        abort();
    if (uncompress(text.data, &n, image->data + at, (uLong)size) == Z_OK) {
        const size_t now = mutate_json(text.data, n, MAX_MANIFEST, r);
        uLongf packed = compressBound((uLong)now);
        const size_t end = at + size == image->size ? (size_t)at : image->size;
        image->size = end;
        if (qn_buf_append_zeros(image, packed, NULL) != QINS_OK ||
            compress2(image->data + end, &packed, text.data, (uLong)now, 1) != Z_OK)
            abort();
        image->size = end + packed;
        qn_store64(image->data + 24, end);
        qn_store64(image->data + 32, packed);
    }
    qn_buf_finish(&text);
}

/* A chunk's payload, of the same size so that nothing else moves, or a row of the table. */
static void change_chunk(struct qn_buf *image, struct mutate_random *r)
{
    const uint64_t table = qn_load64(image->data + 48), n = qn_load64(image->data + 56);
    uint64_t bytes;
    if (n == 0 || !qn_mul_u64(n, QN_CHUNK_ENTRY_SIZE, &bytes) ||
        !qn_userblock_in_body(image->size, table, bytes))
        return;
    uint8_t *row = image->data + table + mutate_below(r, (size_t)n) * QN_CHUNK_ENTRY_SIZE;
    const uint64_t at = qn_load64(row), size = qn_load64(row + 8);
    struct qn_buf payload = {0};
    if (mutate_once_in(r, 6)) {
        uint8_t *field = row + 8 * mutate_below(r, 2);
        qn_store64(field, mutate_number(r, qn_load64(field)));
    } else if (qn_userblock_in_body(image->size, at, size)) {
        mutate_append(&payload, image->data + at, (size_t)size);
        if (size > 0 && mutate_payload(payload.data, (size_t)size, (size_t)size, r) == size)
            replace(image, (size_t)at, (size_t)size, &payload);
        qn_buf_finish(&payload);
    }
}

static size_t change_image(uint8_t *data, size_t size, size_t max_size, struct mutate_random *r)
{
    struct qn_buf image = {0};
    mutate_append(&image, data, size);
    const size_t kind = mutate_below(r, 6);
    if (kind == 0) {
        uint8_t *field = image.data + 24 + 8 * mutate_below(r, 6);
        qn_store64(field, mutate_number(r, qn_load64(field)));
    } else if (kind < 4) {
        change_manifest(&image, r);
    } else {
        change_chunk(&image, r);
    }
    return mutate_deliver(&image, data, max_size);
}

/* The form in parts: sizes, the manifest's JSON, payloads of equal size. */
static size_t change_parts(uint8_t *data, size_t size, size_t max_size, struct mutate_random *r)
{
    const size_t n_chunks = qn_load16(data + 2) % 64;
    struct qn_buf json = {0}, payloads = {0}, out = {0};
    const size_t json_size = qn_load16(data);
    if (json_size > size - FRONT)
        return 0;
    mutate_append(&json, data + FRONT, json_size);
    mutate_append(&payloads, data + FRONT + json_size, size - FRONT - json_size);
    if (qn_buf_reserve(&json, UINT16_MAX, NULL) != QINS_OK ||
        qn_buf_reserve(&payloads, max_size, NULL) != QINS_OK)
        abort();
    if (mutate_once_in(r, 3) && payloads.size > 0) {
        const size_t now =
            n_chunks < 2 ? mutate_payload(payloads.data, payloads.size, max_size, r) : 0;
        payloads.size = now ? now : payloads.size;
    } else {
        const size_t now = mutate_json(json.data, json_size, UINT16_MAX, r);
        json.size = now ? now : json_size;
    }
    qn_store16(data, (uint16_t)json.size);
    mutate_append(&out, data, FRONT);
    mutate_append(&out, json.data, json.size);
    mutate_append(&out, payloads.data, payloads.size);
    qn_buf_finish(&json);
    qn_buf_finish(&payloads);
    return mutate_deliver(&out, data, max_size);
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed)
{
    struct mutate_random r = mutate_seed(seed);
    size_t now = 0;
    if (mutate_once_in(&r, 4))
        now = 0;
    else if (qn_is_archive(data, size) && size >= QN_USERBLOCK_SIZE)
        now = change_image(data, size, max_size, &r);
    else if (size >= FRONT)
        now = change_parts(data, size, max_size, &r);
    return now ? now : LLVMFuzzerMutate(data, size, max_size);
}
