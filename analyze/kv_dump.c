#include "analyze/kv_dump.h"

#include "core/bytes.h"
#include "core/linalg.h"
#include "formats/kv_file.h"
#include "model/session.h"

#include <inttypes.h>

struct dump {
    const struct qn_model *model;
    const struct qn_kv_dump_options *options;
    const struct qn_monitor *monitor;
    struct qn_kv_file file;
    uint32_t window; /* that runs */
};

static enum qins_status take_page(void *ctx, uint32_t layer, uint64_t page, const uint8_t *bytes,
                                  size_t size, struct qins_error *err)
{
    struct dump *d = ctx;
    if (page > UINT32_MAX)
        return qn_fail(err, QINS_ERR_UNSUPPORTED, "page %" PRIu64 " is beyond what a dump holds",
                       page);
    return qn_kv_file_put(&d->file, layer, d->window, (uint32_t)page, bytes, size, err);
}

static enum qins_status begin(struct dump *d, struct qins_error *err)
{
    const struct qn_kv_dump_options *o = d->options;
    const struct qn_model_config *c = &d->model->config;
    struct qn_kv_layout layout;
    if (o->kv.bits == 0) {
        qn_fail(err, QINS_ERR_USAGE, "pages of a V cache that is off cannot be dumped");
        return QINS_ERR_USAGE;
    }
    enum qins_status st =
        qn_kv_layout_init(&layout, c->n_kv_heads, c->head_dim, o->kv.bits, o->kv.page_bytes, err);
    if (st == QINS_OK && o->context < layout.tokens)
        st = qn_fail(err, QINS_ERR_USAGE,
                     "windows of %u tokens fill no page of the V cache, which has %u; ask for "
                     "longer windows",
                     o->context, layout.tokens);
    if (st == QINS_OK && o->ids->count < o->context)
        st = qn_fail(err, QINS_ERR_FORMAT, "the text has %zu tokens, one window needs %u",
                     o->ids->count, o->context);
    if (st != QINS_OK)
        return st;
    st = qn_kv_file_init(&d->file, &layout, c->n_layers, err);
    d->file.model = d->model->fingerprint;
    d->file.text = o->text;
    return st;
}

/* How many fit into the dump, one at least; of those that the text has. */
static uint32_t windows_of(const struct dump *d)
{
    const struct qn_kv_dump_options *o = d->options;
    const uint64_t each = (uint64_t)(o->context / d->file.layout.tokens) * d->file.n_layers *
                          qn_kv_packed_size(&d->file.layout);
    const uint64_t room = each < QN_KV_DUMP_BYTES ? QN_KV_DUMP_BYTES / each : 1;
    return (uint32_t)qn_min_u64(qn_min_u64(room, o->ids->count / o->context), UINT32_MAX);
}

static enum qins_status run(struct dump *d, uint32_t windows, struct qins_error *err)
{
    const struct qn_kv_dump_options *o = d->options;
    struct qn_kv_options kv = o->kv;
    struct qn_pool *pool = NULL;
    struct qn_session *session = NULL;
    kv.page = take_page;
    kv.ctx = d;
    enum qins_status st = qn_linalg_init(err); /* before there are threads */
    if (st == QINS_OK && o->threads > 1)
        st = qn_pool_create(&pool, o->threads, err);
    struct qn_session_options s = {.positions = o->context, .pool = pool, .kv = &kv};
    if (st == QINS_OK)
        st = qn_session_create(&session, d->model, &s, err);
    for (uint32_t i = 0; i < windows && st == QINS_OK; i++) {
        d->window = i;
        qn_session_reset(session);
        st = qn_session_forward(session, o->ids->data + (size_t)i * o->context, o->context,
                                d->monitor, err);
        qn_progress_of(d->monitor, "V pages", "windows", i + 1, windows);
    }
    qn_session_destroy(session);
    qn_pool_destroy(pool);
    return st;
}

static void count(const struct qn_kv_file *f, struct qn_kv_dumped *out)
{
    for (uint32_t i = 0; i < f->n_layers; i++)
        for (size_t k = 0; k < f->layers[i].n_places; k++) {
            const struct qn_kv_place *p = &f->layers[i].places[k];
            out->pages++;
            out->bytes += p->size;
            out->old_pages += qn_kv_is_recoded(qn_kv_file_page(&f->layers[i], p), (size_t)p->size);
        }
}

enum qins_status qn_kv_dump(const struct qn_model *m, const struct qn_kv_dump_options *options,
                            const char *path, const struct qn_monitor *monitor,
                            struct qn_kv_dumped *out, struct qins_error *err)
{
    struct dump d = {.model = m, .options = options, .monitor = monitor};
    *out = (struct qn_kv_dumped){0};
    enum qins_status st = begin(&d, err);
    if (st == QINS_OK) {
        const uint32_t windows = windows_of(&d);
        out->windows = windows;
        st = run(&d, windows, err);
    }
    if (st == QINS_OK)
        st = qn_kv_file_write(&d.file, path, err);
    if (st == QINS_OK)
        count(&d.file, out);
    qn_kv_file_finish(&d.file);
    return st;
}
