#include "core/buf.h"
#include "core/bytes.h"
#include "formats/transport_archive.h"
#include "model/fused.h"
#include "model/native.h"
#include "model/source.h"
#include "model/weights_plan.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* A tensor of the source that the model wants, and where it goes. */
struct piece {
    bool wanted, coded; /* coded: it stays as it is, and is none of the storage's */
    enum qins_dtype dtype;
    uint64_t offset;          /* in the storage */
    struct qn_matrix *matrix; /* its data, */
    const float **vector;     /* or this */
    uint8_t *data;
};

struct loading {
    struct qn_model *m;
    struct qn_source *source;
    const struct qn_monitor *monitor;
    struct piece *pieces; /* one for each tensor of the source */
    /* Of a fused model: the matrices that may stay coded, and how many there are in all. */
    bool fused;
    struct qn_fused_item *items;
    size_t n_items, n_matrices;
};

static enum qins_status lacks(const struct loading *l, const char *name, struct qins_error *err)
{
    return qn_fail_at(err, QINS_ERR_FORMAT, l->source->path, name, QN_NO_OFFSET,
                      "the model needs this tensor, and it is missing");
}

static enum qins_status check_shape(const struct loading *l, const struct qn_tensor *t,
                                    unsigned rank, const uint64_t *shape, struct qins_error *err)
{
    char found[256], wanted[64];
    if (t->rank == rank && memcmp(t->shape, shape, rank * sizeof *shape) == 0)
        return QINS_OK;
    return qn_fail_at(err, QINS_ERR_FORMAT, l->source->path, t->name, QN_NO_OFFSET,
                      "its shape is %.60s, the config makes it %.60s",
                      qn_shape_format(t->rank, t->shape, found, sizeof found),
                      qn_shape_format(rank, shape, wanted, sizeof wanted));
}

/* The type in memory of a matrix that is read as FROM; INVALID where it is none of weights. */
static enum qins_dtype stored_type(enum qins_dtype from)
{
    switch (from) {
    case QINS_F32:
    case QINS_F16:
    case QINS_BF16:
        return from;
    case QINS_F64:
        return QINS_F32;
    case QINS_F8_E4M3:
    case QINS_F8_E5M2:
        return QINS_BF16; /* which holds all of their values */
    default:
        return QINS_DTYPE_INVALID;
    }
}

/* Plans tensor INDEX, of SHAPE; as float32 if VECTOR. */
static enum qins_status plan(struct loading *l, size_t index, unsigned rank, const uint64_t *shape,
                             struct qn_matrix *matrix, const float **vector, struct qins_error *err)
{
    const struct qn_tensor *t = l->source->tensors[index].tensor;
    struct piece *p = &l->pieces[index];
    enum qins_dtype type = stored_type(qn_source_read_type(l->source, index));
    if (type == QINS_DTYPE_INVALID)
        return qn_fail_at(err, QINS_ERR_UNSUPPORTED, l->source->path, t->name, QN_NO_OFFSET,
                          "a weight of type %s cannot be computed with",
                          t->dtype == QINS_DTYPE_INVALID ? t->foreign_type
                                                         : qins_dtype_name(t->dtype));
    enum qins_status st = check_shape(l, t, rank, shape, err);
    if (st != QINS_OK)
        return st;
    *p = (struct piece){
        .wanted = true, .dtype = vector ? QINS_F32 : type, .matrix = matrix, .vector = vector};
    if (matrix)
        matrix->dtype = p->dtype;
    return qn_weights_reserve(l->m, t->n_elements, p->dtype, &p->offset, err);
}

/* Plans to keep matrix X, tensor INDEX, as it is coded; *TAKEN is cleared where it cannot be. */
static enum qins_status plan_coded(struct loading *l, size_t index, struct qn_matrix *x,
                                   bool *taken, struct qins_error *err)
{
    const struct qn_tensor *t = l->source->tensors[index].tensor;
    const uint64_t shape[2] = {x->out, x->in};
    struct qn_fused_item item = {.matrix = x,
                                 .source = index,
                                 .dtype = t->dtype,
                                 .looked_up = x == &l->m->embedding || x == &l->m->positions};
    *taken = !x->transposed && qn_source_is_quantised(l->source, index) &&
             qn_fused_cut(&item.layout, x->out, x->in);
    if (!*taken)
        return QINS_OK;
    enum qins_status st = check_shape(l, t, 2, shape, err);
    if (st != QINS_OK)
        return st;
    l->pieces[index].coded = true;
    l->items[l->n_items++] = item;
    return QINS_OK;
}

/* The bias of NEED is there exactly if the architecture has it. */
static enum qins_status plan_bias(struct loading *l, const struct qn_need *need, const float **bias,
                                  struct qins_error *err)
{
    const uint64_t shape[1] = {need->out};
    const char *name = qn_weights_name(l->m, need->name, ".bias", err);
    size_t index = name ? qn_source_find(l->source, name) : SIZE_MAX;
    if (!name)
        return QINS_ERR_MEMORY;
    if (need->bias && index == SIZE_MAX)
        return lacks(l, name, err);
    if (!need->bias && index != SIZE_MAX)
        return qn_fail_at(err, QINS_ERR_FORMAT, l->source->path, name, QN_NO_OFFSET,
                          "there is a bias where the config has none");
    return need->bias ? plan(l, index, 1, shape, NULL, bias, err) : QINS_OK;
}

static enum qins_status plan_need(void *ctx, const struct qn_need *need, struct qins_error *err)
{
    struct loading *l = ctx;
    struct qn_matrix *x = need->matrix;
    uint64_t shape[2] = {need->out, need->in};
    const char *name = qn_weights_name(l->m, need->name, ".weight", err);
    if (!name)
        return QINS_ERR_MEMORY;
    size_t index = qn_source_find(l->source, name);
    if (index == SIZE_MAX)
        return lacks(l, name, err);
    if (x && x->transposed) {
        shape[0] = need->in;
        shape[1] = need->out;
    }
    *(x ? &x->name : &need->norm->name) = name;
    bool coded = false;
    enum qins_status st = QINS_OK;
    l->n_matrices += x != NULL;
    if (x && l->fused)
        st = plan_coded(l, index, x, &coded, err);
    if (st == QINS_OK && !coded)
        st = plan(l, index, x ? 2 : 1, shape, x, x ? NULL : &need->norm->weight, err);
    return st == QINS_OK ? plan_bias(l, need, x ? &x->bias : &need->norm->bias, err) : st;
}

/* The prefix that the tensors' names have, told by the embedding's. */
static const char *find_prefix(struct loading *l)
{
    const struct qn_arch *a = l->m->config.arch;
    char name[256];
    for (const char *const *prefix = a->prefixes; *prefix; prefix++) {
        snprintf(name, sizeof name, "%s%s.weight", *prefix, a->weight[QN_EMBEDDING]);
        if (qn_source_find(l->source, name) != SIZE_MAX)
            return *prefix;
    }
    return a->prefixes[0];
}

/* Tensors that some checkpoints carry and that mean nothing: tables and masks that are computed,
 * and a head that config.json ties to the embedding, as Hugging Face does. */
static bool means_nothing(const struct loading *l, const char *name)
{
    static const char *const suffixes[] = {".rotary_emb.inv_freq", ".attn.bias",
                                           ".attn.masked_bias", ".attention.bias",
                                           ".attention.masked_bias"};
    const struct qn_model_config *c = &l->m->config;
    size_t head = strlen(c->arch->weight[QN_HEAD]);
    for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes; i++)
        if (qn_has_suffix(name, suffixes[i]))
            return true;
    if (strcmp(name, "freq_cis_real") == 0 || strcmp(name, "freq_cis_imag") == 0)
        return true;
    return c->tied && strncmp(name, c->arch->weight[QN_HEAD], head) == 0 &&
           strcmp(name + head, ".weight") == 0;
}

static void note_unused(const struct loading *l)
{
    const char *first = NULL;
    size_t n = 0;
    for (size_t i = 0; i < l->source->n_tensors; i++) {
        const char *name = l->source->tensors[i].tensor->name;
        if (!l->pieces[i].wanted && !l->pieces[i].coded && !means_nothing(l, name) && n++ == 0)
            first = name;
    }
    if (n == 1)
        qn_notice(l->monitor, "the tensor '%s' is not used", first);
    else if (n > 1)
        qn_notice(l->monitor, "%zu tensors are not used, the first is '%s'", n, first);
}

/* A config may ask for no more layers and experts than there are tensors for. */
static enum qins_status check_counts(const struct loading *l, struct qins_error *err)
{
    const struct qn_model_config *c = &l->m->config;
    uint64_t least = (uint64_t)c->n_layers * (c->n_experts ? c->n_experts : 1);
    if (least <= l->source->n_tensors)
        return QINS_OK;
    return qn_fail_at(err, QINS_ERR_FORMAT, l->source->path, NULL, QN_NO_OFFSET,
                      "there are %zu tensors, too few for the %" PRIu32 " layers of the config",
                      l->source->n_tensors, c->n_layers);
}

static void set_pointers(struct loading *l)
{
    const struct qn_weights_storage *s = l->m->storage;
    for (size_t i = 0; i < l->source->n_tensors; i++) {
        struct piece *p = &l->pieces[i];
        if (!p->wanted)
            continue;
        p->data = s->data + p->offset;
        if (p->matrix)
            p->matrix->data = p->data;
        else
            *p->vector = (const float *)(const void *)p->data;
    }
}

static bool wanted(void *ctx, size_t index)
{
    const struct loading *l = ctx;
    return l->pieces[index].wanted;
}

static uint8_t *element(const struct piece *p, uint64_t first)
{
    return p->data + first * qins_dtype_size(p->dtype);
}

/* Elements that are read in the type that they will have go straight to their place. */
static void *place(void *ctx, size_t index, uint64_t first)
{
    const struct loading *l = ctx;
    const struct piece *p = &l->pieces[index];
    return qn_source_read_type(l->source, index) == p->dtype ? element(p, first) : NULL;
}

static enum qins_status convert(void *ctx, size_t index, uint64_t first, uint64_t count,
                                const void *data, struct qins_error *err)
{
    enum { STEP = 1024 }; /* elements at a time */
    const struct loading *l = ctx;
    const struct piece *p = &l->pieces[index];
    enum qins_dtype from = qn_source_read_type(l->source, index);
    size_t size = qins_dtype_size(from);
    const uint8_t *src = data;
    float wide[STEP];
    (void)err;
    if (from == p->dtype)
        return QINS_OK;
    for (uint64_t i = 0; i < count; i += STEP) {
        size_t n = (size_t)qn_min_u64(STEP, count - i);
        if (from == QINS_F64)
            for (size_t k = 0; k < n; k++) {
                double x;
                memcpy(&x, src + (i + k) * size, sizeof x);
                wide[k] = (float)x;
            }
        else
            qn_to_f32(from, src + i * size, wide, n);
        qn_from_f32(p->dtype, wide, element(p, first + i), n);
    }
    return QINS_OK;
}

/* The same for whoever runs a model and for whoever only asks whether it can be run: the weights
 * that the config asks for are there and can be computed with. */
static enum qins_status plan_weights(struct loading *l, struct qins_error *err)
{
    enum qins_status st = check_counts(l, err);
    if (st == QINS_OK)
        st = qn_weights_allocate(l->m, err);
    l->pieces = calloc(l->source->n_tensors + 1, sizeof *l->pieces);
    if (l->fused)
        l->items = calloc(l->source->n_tensors + 1, sizeof *l->items);
    if (st == QINS_OK && (!l->pieces || (l->fused && !l->items)))
        st = qn_fail_memory(err);
    return st == QINS_OK ? qn_weights_each(l->m, find_prefix(l), plan_need, l, err) : st;
}

static enum qins_status load(struct loading *l, unsigned threads, struct qins_error *err)
{
    struct qn_source_sweep sweep = {
        .wanted = wanted, .place = place, .use = convert, .ctx = l, .what = "loading"};
    enum qins_status st = qn_weights_commit(l->m, err);
    if (st != QINS_OK)
        return st;
    note_unused(l);
    set_pointers(l);
    qn_weights_tie(l->m);
    return qn_source_run(l->source, &sweep, threads, l->monitor, &l->m->fingerprint, err);
}

static enum qins_status find_config(struct loading *l, struct qins_error *err)
{
    if (strcmp(l->source->format, "gguf") == 0)
        return qn_fail(err, QINS_ERR_UNSUPPORTED,
                       "models in GGUF cannot be run: they have no config.json and other tensor "
                       "names; use the Hugging Face folder they were made from");
    return qn_config_find(&l->source->files, &l->m->config, err);
}

static void describe_archive(struct loading *l)
{
    const struct qn_archive *a = l->source->archive;
    if (a)
        l->m->archive = (struct qn_archive_figures){
            .hash = a->body_hash,
            .bytes = a->file.size,
            .bits_per_weight = qn_archive_bits_per_weight(a),
        };
}

/* What there is to keep as it is coded. */
static enum qins_status check_fused(const struct loading *l, struct qins_error *err)
{
    const struct qn_archive *a = l->source->archive;
    if (!a)
        return qn_fail(err, QINS_ERR_UNSUPPORTED,
                       "'--fused' runs weights as an archive codes them, and this is none");
    if (qn_archive_has_transport(a))
        return qn_fail(err, QINS_ERR_UNSUPPORTED,
                       "'--fused' does not go with the transport that it carries: native layers "
                       "have weights of their own");
    return QINS_OK;
}

/* All but the weights themselves. */
static enum qins_status open_plan(struct loading *l, const char *path, struct qins_error *err)
{
    l->m = calloc(1, sizeof *l->m);
    if (!l->m) {
        qn_fail_memory(err);
        return QINS_ERR_MEMORY;
    }
    enum qins_status st = qn_source_open(&l->source, path, l->monitor, err);
    if (st == QINS_OK && l->fused)
        st = check_fused(l, err);
    if (st == QINS_OK)
        st = find_config(l, err);
    if (st == QINS_OK)
        st = plan_weights(l, err);
    return st;
}

static void finish(struct loading *l)
{
    qn_source_destroy(l->source);
    free(l->pieces);
    free(l->items);
    qn_model_destroy(l->m);
}

static enum qins_status read_payload(void *ctx, const struct qn_fused_item *item, uint64_t chunk,
                                     uint64_t first, uint64_t count, struct qn_chunk_work *work,
                                     struct qn_buf *out, struct qins_error *err)
{
    const struct loading *l = ctx;
    (void)first;
    (void)count;
    (void)work;
    return qn_archive_payload(l->source->archive, l->source->tensors[item->source].number, chunk,
                              out, err);
}

/* Takes the matrices that can stay coded, and plans the others. */
static enum qins_status load_coded(struct loading *l, unsigned threads, struct qins_error *err)
{
    const struct qn_fused_source source = {
        .payload = read_payload, .ctx = l, .what = "loading coded weights"};
    enum qins_status st =
        qn_fused_load(l->m, l->items, l->n_items, &source, threads, l->monitor, err);
    for (size_t i = 0; i < l->n_items && st == QINS_OK; i++) {
        const struct qn_fused_item *x = &l->items[i];
        const uint64_t shape[2] = {x->matrix->out, x->matrix->in};
        if (x->refused)
            st = plan(l, x->source, 2, shape, x->matrix, NULL, err);
    }
    if (st != QINS_OK)
        return st;
    l->m->fused.decoded = l->n_matrices - l->m->fused.matrices;
    if (l->m->fused.decoded > 0)
        qn_notice(l->monitor,
                  "%" PRIu64 " of %zu matrices are decoded: they cannot be multiplied as %s codes "
                  "them",
                  l->m->fused.decoded, l->n_matrices, l->source->path);
    return QINS_OK;
}

/* The archive's model runs as its transport says. */
static enum qins_status go_native(struct loading *l, struct qins_error *err)
{
    const struct qn_archive *a = l->source->archive;
    struct qn_transport t = {0};
    if (!a || !qn_archive_has_transport(a))
        return QINS_OK;
    enum qins_status st = qn_transport_from_archive(&t, a, err);
    if (st == QINS_OK)
        st = qn_model_go_native(l->m, &t, l->m->path, err);
    if (st == QINS_OK)
        qn_notice(l->monitor, "%s carries a transport: %zu of its layers run natively", l->m->path,
                  t.n_layers);
    qn_transport_finish(&t);
    return st;
}

enum way { AS_IT_SAYS, PLAIN, FUSED };

static enum qins_status open_model(struct qn_model **out, const char *path, enum way way,
                                   unsigned threads, const struct qn_monitor *monitor,
                                   struct qins_error *err)
{
    struct loading l = {.monitor = monitor, .fused = way == FUSED};
    *out = NULL;
    enum qins_status st = open_plan(&l, path, err);
    if (st == QINS_OK && l.fused)
        st = load_coded(&l, threads, err);
    if (st == QINS_OK)
        st = load(&l, threads, err);
    if (st == QINS_OK) {
        describe_archive(&l);
        l.m->files = l.source->files;
        l.source->files = (struct qn_attachment_list){0};
        l.m->path = qn_strdup(path, err);
        st = l.m->path ? QINS_OK : QINS_ERR_MEMORY;
    }
    if (st == QINS_OK && way == AS_IT_SAYS)
        st = go_native(&l, err);
    if (st == QINS_OK) {
        *out = l.m;
        l.m = NULL;
    }
    finish(&l);
    return qn_error_in_file(err, st, path);
}

enum qins_status qn_model_open(struct qn_model **out, const char *path, unsigned threads,
                               const struct qn_monitor *monitor, struct qins_error *err)
{
    return open_model(out, path, AS_IT_SAYS, threads, monitor, err);
}

enum qins_status qn_model_open_plain(struct qn_model **out, const char *path, unsigned threads,
                                     const struct qn_monitor *monitor, struct qins_error *err)
{
    return open_model(out, path, PLAIN, threads, monitor, err);
}

enum qins_status qn_model_open_fused(struct qn_model **out, const char *path, unsigned threads,
                                     const struct qn_monitor *monitor, struct qins_error *err)
{
    return open_model(out, path, FUSED, threads, monitor, err);
}

enum qins_status qn_model_check(const char *path, struct qn_model_config *config, bool *fits,
                                struct qins_error *err)
{
    struct loading l = {0};
    enum qins_status st = open_plan(&l, path, err);
    *fits = false;
    if (st == QINS_OK) {
        *config = l.m->config;
        *fits = qn_weights_fit(l.m, err) == QINS_OK;
    }
    if (!*fits)
        qn_error_in_file(err, st != QINS_OK ? st : QINS_ERR_MEMORY, path);
    finish(&l);
    return st;
}
