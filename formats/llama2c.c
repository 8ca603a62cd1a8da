#include "core/bytes.h"
#include "core/file.h"
#include "formats/checkpoint.h"
#include "formats/limits.h"

#include <inttypes.h>
#include <stdlib.h>

/* llama2.c by A. Karpathy: run.c (struct Config, memory_map_weights) for the legacy layout,
 * export.py (version1_export) for version 1. Everything is float32, little-endian. */
enum { LEGACY_HEADER = 28, VERSIONED_HEADER = 256, MAX_LAYERS = 4096 };
static const uint32_t versioned_magic = 0x616b3432; /* "ak42" */

/* Extents of the arrays; NONE makes a vector. */
enum extent { NONE, DIM, HIDDEN, VOCAB, QUERY, KEY_VALUE, POSITIONS, HALF_HEAD, EXTENT_COUNT };

struct config {
    uint64_t n_layers, extents[EXTENT_COUNT];
    bool shared_classifier;
    size_t header_size;
};

struct array {
    const char *name; /* of Meta's checkpoints; with %u a run of arrays, one a layer */
    unsigned char rows, columns;
};

static const struct array legacy_arrays[] = {
    {"tok_embeddings.weight", VOCAB, DIM},
    {"layers.%u.attention_norm.weight", DIM, NONE},
    {"layers.%u.attention.wq.weight", QUERY, DIM},
    {"layers.%u.attention.wk.weight", KEY_VALUE, DIM},
    {"layers.%u.attention.wv.weight", KEY_VALUE, DIM},
    {"layers.%u.attention.wo.weight", DIM, QUERY},
    {"layers.%u.ffn_norm.weight", DIM, NONE},
    {"layers.%u.feed_forward.w1.weight", HIDDEN, DIM},
    {"layers.%u.feed_forward.w2.weight", DIM, HIDDEN},
    {"layers.%u.feed_forward.w3.weight", HIDDEN, DIM},
    {"norm.weight", DIM, NONE},
    {"freq_cis_real", POSITIONS, HALF_HEAD},
    {"freq_cis_imag", POSITIONS, HALF_HEAD},
    {"output.weight", VOCAB, DIM},
};

static const struct array version1_arrays[] = {
    {"layers.%u.attention_norm.weight", DIM, NONE},
    {"layers.%u.ffn_norm.weight", DIM, NONE},
    {"norm.weight", DIM, NONE},
    {"tok_embeddings.weight", VOCAB, DIM},
    {"layers.%u.attention.wq.weight", QUERY, DIM},
    {"layers.%u.attention.wk.weight", KEY_VALUE, DIM},
    {"layers.%u.attention.wv.weight", KEY_VALUE, DIM},
    {"layers.%u.attention.wo.weight", DIM, QUERY},
    {"layers.%u.feed_forward.w1.weight", HIDDEN, DIM},
    {"layers.%u.feed_forward.w2.weight", DIM, HIDDEN},
    {"layers.%u.feed_forward.w3.weight", HIDDEN, DIM},
    {"output.weight", VOCAB, DIM},
};

struct layout {
    const struct array *arrays;
    size_t count; /* the last array is left out where the classifier is shared */
};

static const struct layout legacy = {legacy_arrays, sizeof legacy_arrays / sizeof *legacy_arrays};
static const struct layout version1 = {version1_arrays,
                                       sizeof version1_arrays / sizeof *version1_arrays};

struct llama2c_checkpoint {
    struct qn_checkpoint base; /* where[1]: offset in the file */
    struct qn_file file;
};

static bool is_versioned(const uint8_t *head, size_t size)
{
    return size >= 8 && qn_load32(head) == versioned_magic;
}

/* Fills *c from seven integers; false if they cannot belong to a model. */
static bool parse_config(struct config *c, const uint8_t *p, bool negative_vocab_allowed)
{
    int64_t v[7];
    for (int i = 0; i < 7; i++)
        v[i] = (int32_t)qn_load32(p + (size_t)4 * (size_t)i);
    c->shared_classifier = v[5] > 0;
    if (v[5] < 0 && negative_vocab_allowed)
        v[5] = -v[5];
    for (int i = 0; i < 7; i++)
        if (v[i] <= 0)
            return false;
    uint64_t dim = (uint64_t)v[0], n_heads = (uint64_t)v[3], n_kv_heads = (uint64_t)v[4];
    if (dim % n_heads || n_heads % n_kv_heads || dim / n_heads % 2 || v[2] > MAX_LAYERS)
        return false;
    c->n_layers = (uint64_t)v[2];
    c->extents[NONE] = 1;
    c->extents[DIM] = c->extents[QUERY] = dim;
    c->extents[HIDDEN] = (uint64_t)v[1];
    c->extents[VOCAB] = (uint64_t)v[5];
    c->extents[KEY_VALUE] = dim / n_heads * n_kv_heads;
    c->extents[POSITIONS] = (uint64_t)v[6];
    c->extents[HALF_HEAD] = dim / n_heads / 2;
    return true;
}

static bool is_layered(const struct array *a)
{
    return strchr(a->name, '%') != NULL;
}

static size_t array_count(const struct layout *l, const struct config *c)
{
    return l->count - c->shared_classifier;
}

/* Size that the file must have; false if it overflows. */
static bool file_size(const struct layout *l, const struct config *c, uint64_t *out)
{
    *out = c->header_size;
    for (size_t i = 0; i < array_count(l, c); i++) {
        const struct array *a = &l->arrays[i];
        uint64_t n = c->extents[a->rows];
        if (!qn_mul_u64(n, c->extents[a->columns], &n) ||
            !qn_mul_u64(n, is_layered(a) ? c->n_layers : 1, &n) || !qn_mul_u64(n, 4, &n) ||
            !qn_add_u64(*out, n, out))
            return false;
    }
    return true;
}

/* A legacy file has no magic: its seven integers must make a model of just this file's size. */
static bool parse_legacy(struct config *c, const uint8_t *head, size_t size, uint64_t actual)
{
    uint64_t expected;
    *c = (struct config){.header_size = LEGACY_HEADER};
    return size >= LEGACY_HEADER && parse_config(c, head, true) &&
           file_size(&legacy, c, &expected) && expected == actual;
}

static bool probe(const struct qn_probe *p)
{
    struct config c;
    return !p->is_directory && (is_versioned(p->head, p->head_size) ||
                                parse_legacy(&c, p->head, p->head_size, p->file_size));
}

static void destroy(struct qn_checkpoint *ck)
{
    struct llama2c_checkpoint *l = (struct llama2c_checkpoint *)ck;
    qn_file_close(&l->file);
    qn_checkpoint_base_finish(ck);
    free(l);
}

static enum qins_status parse_versioned(struct config *c, const uint8_t *head, size_t size,
                                        uint64_t actual, struct qins_error *err)
{
    uint32_t version = qn_load32(head + 4);
    uint64_t expected;
    *c = (struct config){.header_size = VERSIONED_HEADER};
    if (version == 2)
        return qn_fail(err, QINS_ERR_UNSUPPORTED,
                       "a llama2.c file of version 2, whose weights are quantised to int8 (Q8_0)");
    if (version != 1)
        return qn_fail(err, QINS_ERR_UNSUPPORTED, "llama2.c version %" PRIu32 " is not known",
                       version);
    if (size < VERSIONED_HEADER || !parse_config(c, head + 8, false) || head[36] > 1)
        return qn_fail(err, QINS_ERR_FORMAT, "the llama2.c header describes no model");
    c->shared_classifier = head[36];
    if (!file_size(&version1, c, &expected) || expected != actual)
        return qn_fail(err, QINS_ERR_FORMAT,
                       "the file has not the size that its llama2.c header asks for");
    return QINS_OK;
}

static enum qins_status add_array(struct llama2c_checkpoint *l, const struct array *a,
                                  const struct config *c, unsigned layer, uint64_t *offset,
                                  struct qins_error *err)
{
    uint64_t shape[2] = {c->extents[a->rows], c->extents[a->columns]};
    struct qn_tensor *t = NULL;
    const char *mark = strstr(a->name, "%u");
    char *name = mark ? qn_format(err, "%.*s%u%s", (int)(mark - a->name), a->name, layer, mark + 2)
                      : qn_strdup(a->name, err);
    if (!name)
        return QINS_ERR_MEMORY;
    enum qins_status st = qn_tensor_list_add(&l->base.tensors, name, strlen(name), QINS_F32, NULL,
                                             a->columns == NONE ? 1 : 2, shape, &t, err);
    if (st == QINS_OK) {
        t->where[1] = *offset;
        *offset += t->n_bytes;
    }
    free(name);
    return st;
}

static enum qins_status list_arrays(struct llama2c_checkpoint *l, const struct layout *layout,
                                    const struct config *c, struct qins_error *err)
{
    uint64_t offset = c->header_size;
    enum qins_status st = QINS_OK;
    for (size_t i = 0; i < array_count(layout, c) && st == QINS_OK; i++) {
        const struct array *a = &layout->arrays[i];
        uint64_t n = is_layered(a) ? c->n_layers : 1;
        for (unsigned layer = 0; layer < n && st == QINS_OK; layer++)
            st = add_array(l, a, c, layer, &offset, err);
    }
    return st;
}

static enum qins_status load(struct llama2c_checkpoint *l, struct qins_error *err)
{
    uint8_t head[VERSIONED_HEADER] = {0};
    struct config c;
    enum qins_status st = qn_file_open(&l->file, l->base.path, err);
    if (st != QINS_OK)
        return st;
    size_t size = (size_t)qn_min_u64(l->file.size, sizeof head);
    st = qn_file_read(&l->file, 0, head, size, err);
    if (st != QINS_OK)
        return st;
    const struct layout *layout = is_versioned(head, size) ? &version1 : &legacy;
    if (layout == &version1)
        st = parse_versioned(&c, head, size, l->file.size, err);
    else if (!parse_legacy(&c, head, size, l->file.size))
        st = qn_fail(err, QINS_ERR_FORMAT, "the llama2.c header does not fit the size of the file");
    if (st == QINS_OK)
        st = list_arrays(l, layout, &c, err);
    if (st == QINS_OK)
        st = qn_attachment_add(&l->base.attachments, "llama2c.header", head, c.header_size, err);
    char *dir = st == QINS_OK ? qn_path_dir(l->base.path, err) : NULL;
    if (st == QINS_OK)
        st = dir ? qn_attach_model_files(&l->base.attachments, dir, err) : QINS_ERR_MEMORY;
    free(dir);
    return st;
}

static enum qins_status open_llama2c(struct qn_checkpoint **out, const char *path,
                                     const struct qn_monitor *monitor, struct qins_error *err)
{
    (void)monitor;
    struct llama2c_checkpoint *l = calloc(1, sizeof *l);
    if (!l)
        return qn_fail_memory(err);
    l->file.fd = -1;
    enum qins_status st = qn_checkpoint_base_init(&l->base, &qn_llama2c_ops, path, err);
    if (st == QINS_OK)
        st = load(l, err);
    if (st != QINS_OK) {
        destroy(&l->base);
        return qn_error_in_file(err, st, path);
    }
    *out = &l->base;
    return QINS_OK;
}

static enum qins_status read_llama2c(struct qn_checkpoint *ck, size_t tensor, uint64_t offset,
                                     void *dst, size_t size, struct qins_error *err)
{
    const struct llama2c_checkpoint *l = (const struct llama2c_checkpoint *)ck;
    return qn_file_read(&l->file, ck->tensors.items[tensor].where[1] + offset, dst, size, err);
}

const struct qn_checkpoint_ops qn_llama2c_ops = {"llama2c", probe, open_llama2c, read_llama2c,
                                                 destroy};

const struct qn_limit qn_llama2c_limits[] = {
    {"llama2c", "layers", MAX_LAYERS, "layers", "memory for descriptions"},
    {0},
};
