#include "model/vocab.h"

#include <stdlib.h>
#include <string.h>

/* FNV-1a of 64 bits: it runs on over a second piece, so that joined texts need no copy.
 * [http://www.isthe.com/chongo/tech/comp/fnv/] */
static const uint64_t fnv_basis = 0xcbf29ce484222325, fnv_prime = 0x100000001b3;

static uint64_t hash_on(uint64_t h, const uint8_t *p, size_t size)
{
    for (size_t i = 0; i < size; i++)
        h = (h ^ p[i]) * fnv_prime;
    return h;
}

static uint32_t fold(uint64_t h)
{
    return (uint32_t)(h ^ h >> 32);
}

enum qins_status qn_vocab_init(struct qn_vocab *v, uint32_t n, size_t text_bytes,
                               struct qins_error *err)
{
    uint64_t n_slots = 16;
    *v = (struct qn_vocab){.n_tokens = n};
    while (n_slots < (uint64_t)n * 2)
        n_slots *= 2;
    if (n_slots > UINT32_MAX || text_bytes >= QN_NO_TOKEN)
        return qn_fail_memory(err);
    v->n_slots = (uint32_t)n_slots;
    v->tokens = malloc((n ? n : 1) * sizeof *v->tokens);
    v->slots = malloc((size_t)n_slots * sizeof *v->slots);
    if (!v->tokens || !v->slots)
        return qn_fail_memory(err);
    for (uint32_t i = 0; i < n; i++)
        v->tokens[i] = (struct qn_token){.offset = QN_NO_TOKEN};
    memset(v->slots, 0xff, (size_t)n_slots * sizeof *v->slots);
    return qn_buf_reserve(&v->text, text_bytes + 1, err); /* never a null pointer */
}

void qn_vocab_finish(struct qn_vocab *v)
{
    qn_buf_finish(&v->text);
    free(v->tokens);
    free(v->slots);
    *v = (struct qn_vocab){0};
}

static bool is_text(const struct qn_vocab *v, uint32_t id, const void *a, size_t a_size,
                    const void *b, size_t b_size)
{
    size_t size;
    const uint8_t *text = qn_vocab_text(v, id, &size);
    return size == a_size + b_size && (a_size == 0 || memcmp(text, a, a_size) == 0) &&
           (b_size == 0 || memcmp(text + a_size, b, b_size) == 0);
}

/* The slot that holds this text or where it would go. */
static uint32_t *slot_of(const struct qn_vocab *v, const void *a, size_t a_size, const void *b,
                         size_t b_size)
{
    uint32_t i = fold(hash_on(hash_on(fnv_basis, a, a_size), b, b_size)) & (v->n_slots - 1);
    while (v->slots[i] != QN_NO_TOKEN && !is_text(v, v->slots[i], a, a_size, b, b_size))
        i = (i + 1) & (v->n_slots - 1);
    return &v->slots[i];
}

enum qins_status qn_vocab_add(struct qn_vocab *v, const void *text, size_t size, uint32_t id,
                              bool findable, struct qins_error *err)
{
    const size_t offset = v->text.size;
    if (size > UINT32_MAX - 1 - offset)
        return qn_fail_memory(err);
    enum qins_status st = qn_buf_append(&v->text, text, size, err);
    if (st != QINS_OK)
        return st;
    v->tokens[id] = (struct qn_token){(uint32_t)offset, (uint32_t)size, false};
    if (findable) {
        uint32_t *slot = slot_of(v, text, size, NULL, 0);
        if (*slot == QN_NO_TOKEN)
            *slot = id;
        if (size > v->longest)
            v->longest = (uint32_t)size;
    }
    return QINS_OK;
}

uint32_t qn_vocab_find_joined(const struct qn_vocab *v, const void *a, size_t a_size, const void *b,
                              size_t b_size)
{
    if (!v->n_slots || a_size > v->longest || b_size > v->longest - a_size)
        return QN_NO_TOKEN;
    return *slot_of(v, a, a_size, b, b_size);
}

uint32_t qn_vocab_find(const struct qn_vocab *v, const void *text, size_t size)
{
    return qn_vocab_find_joined(v, text, size, NULL, 0);
}
