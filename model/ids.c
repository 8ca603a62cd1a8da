#include "model/ids.h"

#include "core/bytes.h"
#include "formats/checkpoint.h"

#include <inttypes.h>
#include <stdlib.h>

void qn_ids_finish(struct qn_ids *ids)
{
    free(ids->data);
    *ids = (struct qn_ids){0};
}

static enum qins_status reserve(struct qn_ids *ids, size_t n, struct qins_error *err)
{
    size_t wanted;
    uint64_t bytes;
    if (__builtin_add_overflow(ids->count, n, &wanted))
        return qn_fail_memory(err);
    if (wanted <= ids->capacity)
        return QINS_OK;
    if (wanted < ids->capacity + ids->capacity / 2)
        wanted = ids->capacity + ids->capacity / 2;
    if (wanted < 64)
        wanted = 64;
    if (!qn_mul_u64(wanted, sizeof *ids->data, &bytes) || bytes > SIZE_MAX)
        return qn_fail_memory(err);
    uint32_t *data = realloc(ids->data, (size_t)bytes);
    if (!data)
        return qn_fail_memory(err);
    ids->data = data;
    ids->capacity = wanted;
    return QINS_OK;
}

enum qins_status qn_ids_append(struct qn_ids *ids, const uint32_t *data, size_t n,
                               struct qins_error *err)
{
    enum qins_status st = reserve(ids, n, err);
    if (st != QINS_OK || n == 0)
        return st;
    memcpy(ids->data + ids->count, data, n * sizeof *data);
    ids->count += n;
    return QINS_OK;
}

static bool is_signed(enum qins_dtype dtype)
{
    return dtype == QINS_I64 || dtype == QINS_I32 || dtype == QINS_I16 || dtype == QINS_I8;
}

static bool is_integer(enum qins_dtype dtype)
{
    return is_signed(dtype) || dtype == QINS_U64 || dtype == QINS_U32 || dtype == QINS_U16 ||
           dtype == QINS_U8;
}

/* The integer of SIZE bytes at P, sign-extended where SIGNED_TYPE. */
static uint64_t load_integer(const uint8_t *p, size_t size, bool signed_type)
{
    uint64_t v = 0;
    memcpy(&v, p, size);
    if (signed_type && size < sizeof v && v >> (8 * size - 1))
        v |= ~UINT64_C(0) << (8 * size);
    return v;
}

static enum qins_status refuse(uint64_t value, bool negative, uint64_t index, uint32_t vocab,
                               struct qins_error *err)
{
    if (negative)
        return qn_fail(err, QINS_ERR_FORMAT, "token id %" PRId64 " at index %" PRIu64 " is below 0",
                       (int64_t)value, index);
    return qn_fail(err, QINS_ERR_FORMAT,
                   "token id %" PRIu64 " at index %" PRIu64 " is outside the vocabulary of %" PRIu32
                   " tokens",
                   value, index, vocab);
}

static enum qins_status load(struct qn_ids *ids, struct qn_checkpoint *ck, uint32_t vocab,
                             struct qins_error *err)
{
    enum { BLOCK = 4096 };
    const struct qn_tensor *t = &ck->tensors.items[0];
    const size_t size = qins_dtype_size(t->dtype);
    const bool signed_type = is_signed(t->dtype);
    uint8_t raw[BLOCK * sizeof(uint64_t)];
    uint32_t block[BLOCK];
    for (uint64_t first = 0; first < t->n_elements; first += BLOCK) {
        size_t n = (size_t)qn_min_u64(BLOCK, t->n_elements - first);
        enum qins_status st = qn_checkpoint_read(ck, 0, first * size, raw, n * size, err);
        for (size_t i = 0; i < n && st == QINS_OK; i++) {
            uint64_t v = load_integer(raw + i * size, size, signed_type);
            if (v >= vocab)
                st = refuse(v, signed_type && v >> 63, first + i, vocab, err);
            else
                block[i] = (uint32_t)v;
        }
        if (st == QINS_OK)
            st = qn_ids_append(ids, block, n, err);
        if (st != QINS_OK)
            return st;
    }
    return QINS_OK;
}

enum qins_status qn_ids_load(struct qn_ids *ids, const char *path, uint32_t vocab,
                             struct qins_error *err)
{
    struct qn_checkpoint *ck = NULL;
    const size_t count = ids->count;
    enum qins_status st = qn_checkpoint_open(&ck, path, NULL, err);
    if (st == QINS_OK && ck->ops != &qn_npy_ops)
        st = qn_fail(err, QINS_ERR_FORMAT, "token ids come as a .npy file, not as %s",
                     ck->ops->format);
    if (st == QINS_OK &&
        (ck->tensors.items[0].rank != 1 || !is_integer(ck->tensors.items[0].dtype)))
        st = qn_fail(err, QINS_ERR_FORMAT,
                     "token ids are integers along one axis, not %s of rank %u",
                     qins_dtype_name(ck->tensors.items[0].dtype), ck->tensors.items[0].rank);
    if (st == QINS_OK)
        st = load(ids, ck, vocab, err);
    if (st == QINS_OK)
        st = qn_checkpoint_check_unchanged(ck, NULL, err);
    if (st != QINS_OK) {
        ids->count = count;
        st = qn_error_in_file(err, st, path);
    }
    qn_checkpoint_destroy(ck);
    return st;
}
