#include "model/bpe_tables.h"

#include "core/bytes.h"
#include "core/random.h"
#include "model/utf8.h"

#include <stdlib.h>

static const uint64_t no_key = UINT64_MAX;

/* The characters that begin and end the text of a token; 0xFFFFFFFF for what is no UTF-8. */
static void find_edges(const struct qn_vocab *v, uint32_t id, uint32_t edges[2])
{
    size_t size, i = 0;
    const uint8_t *p = qn_vocab_text(v, id, &size);
    edges[0] = edges[1] = UINT32_MAX;
    while (i < size) {
        uint32_t code = UINT32_MAX;
        size_t n = qn_utf8_next(p + i, size - i, &code);
        if (i == 0)
            edges[0] = code;
        edges[1] = code;
        i += n ? n : 1;
    }
}

enum qins_status qn_bpe_init(struct qn_bpe *b, const struct qn_vocab *vocab, struct qins_error *err)
{
    *b = (struct qn_bpe){.vocab = vocab, .unknown = QN_NO_TOKEN};
    memset(b->byte_ids, 0xff, sizeof b->byte_ids);
    b->edges = calloc((size_t)vocab->n_tokens + 1, 2 * sizeof *b->edges);
    if (!b->edges)
        return qn_fail_memory(err);
    for (uint32_t id = 0; id < vocab->n_tokens; id++)
        if (qn_vocab_has(vocab, id))
            find_edges(vocab, id, b->edges + (size_t)2 * id);
    for (unsigned c = 0; c < 128; c++)
        b->ascii_ids[c] = qn_vocab_find(vocab, &(uint8_t){(uint8_t)c}, 1);
    return QINS_OK;
}

void qn_bpe_finish(struct qn_bpe *b)
{
    free(b->merges);
    free(b->joints);
    free(b->edges);
    *b = (struct qn_bpe){0};
}

static struct qn_bpe_merge *merge_slot(struct qn_bpe_merge *table, uint64_t mask, uint64_t pair)
{
    uint64_t i = qn_mix64(pair) & mask;
    while (table[i].pair != no_key && table[i].pair != pair)
        i = (i + 1) & mask;
    return &table[i];
}

static uint64_t *joint_slot(uint64_t *table, uint64_t mask, uint64_t key)
{
    uint64_t i = qn_mix64(key) & mask;
    while (table[i] != no_key && table[i] != key)
        i = (i + 1) & mask;
    return &table[i];
}

/* Both tables are kept at most half full. */
static enum qins_status grow_merges(struct qn_bpe *b, struct qins_error *err)
{
    if (b->merges && b->n_merges * 2 < b->merge_mask)
        return QINS_OK;
    const uint64_t size = b->merges ? 2 * (b->merge_mask + 1) : 64;
    struct qn_bpe_merge *table = malloc(size * sizeof *table);
    if (!table)
        return qn_fail_memory(err);
    memset(table, 0xff, size * sizeof *table);
    for (uint64_t i = 0; b->merges && i <= b->merge_mask; i++)
        if (b->merges[i].pair != no_key)
            *merge_slot(table, size - 1, b->merges[i].pair) = b->merges[i];
    free(b->merges);
    b->merges = table;
    b->merge_mask = size - 1;
    return QINS_OK;
}

static enum qins_status grow_joints(struct qn_bpe *b, struct qins_error *err)
{
    if (b->joints && b->n_joints * 2 < b->joint_mask)
        return QINS_OK;
    const uint64_t size = b->joints ? 2 * (b->joint_mask + 1) : 64;
    uint64_t *table = malloc(size * sizeof *table);
    if (!table)
        return qn_fail_memory(err);
    memset(table, 0xff, size * sizeof *table);
    for (uint64_t i = 0; b->joints && i <= b->joint_mask; i++)
        if (b->joints[i] != no_key)
            *joint_slot(table, size - 1, b->joints[i]) = b->joints[i];
    free(b->joints);
    b->joints = table;
    b->joint_mask = size - 1;
    return QINS_OK;
}

static uint64_t joint_key(const struct qn_bpe *b, uint32_t left, uint32_t right)
{
    return (uint64_t)b->edges[(size_t)2 * left + 1] << 32 | b->edges[(size_t)2 * right];
}

enum qins_status qn_bpe_add_merge(struct qn_bpe *b, uint32_t left, uint32_t right, uint32_t rank,
                                  uint32_t id, struct qins_error *err)
{
    enum qins_status st = grow_merges(b, err);
    if (st == QINS_OK)
        st = grow_joints(b, err);
    if (st != QINS_OK)
        return st;
    const uint64_t pair = (uint64_t)left << 32 | right;
    struct qn_bpe_merge *m = merge_slot(b->merges, b->merge_mask, pair);
    b->n_merges += m->pair == no_key;
    *m = (struct qn_bpe_merge){pair, rank, id};
    /* A key of two characters that are no UTF-8 is the mark of an empty slot; such joints are
     * taken as given. */
    const uint64_t key = joint_key(b, left, right);
    if (key != no_key) {
        uint64_t *joint = joint_slot(b->joints, b->joint_mask, key);
        b->n_joints += *joint == no_key;
        *joint = key;
    }
    return QINS_OK;
}

const struct qn_bpe_merge *qn_bpe_find_merge(const struct qn_bpe *b, uint32_t left, uint32_t right)
{
    if (!b->merges)
        return NULL;
    const struct qn_bpe_merge *m =
        merge_slot(b->merges, b->merge_mask, (uint64_t)left << 32 | right);
    return m->pair == no_key ? NULL : m;
}

bool qn_bpe_joinable(const struct qn_bpe *b, uint32_t left, uint32_t right)
{
    const uint64_t key = joint_key(b, left, right);
    return b->joints && (key == no_key || *joint_slot(b->joints, b->joint_mask, key) == key);
}
