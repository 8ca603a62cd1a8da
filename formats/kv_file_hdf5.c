/* Dumps of V pages as HDF5 files: docs/kv-format.md. */
#include "core/bytes.h"
#include "formats/described_json.h"
#include "formats/described_write.h"
#include "formats/kv_file.h"

#include <stdlib.h>
#include <string.h>

/* Datasets of a layer: its pages, then a column each of the table of where they are. */
enum column { BYTES, OFFSET, SIZE, SEQUENCE, PAGE, COLUMNS };

static const struct {
    const char *name;
    enum qins_dtype dtype;
} columns[COLUMNS] = {[BYTES] = {"bytes", QINS_U8},
                      [OFFSET] = {"offset", QINS_U64},
                      [SIZE] = {"size", QINS_U32},
                      [SEQUENCE] = {"sequence", QINS_U32},
                      [PAGE] = {"page", QINS_U32}};

/* What the description says of a layer. */
struct extent {
    uint64_t pages, bytes;
};

static enum qins_status list_layers(const struct extent *extents, uint32_t n,
                                    struct qn_tensor_list *list, json_t *paths,
                                    struct qins_error *err)
{
    enum qins_status st = QINS_OK;
    char path[48];
    for (uint32_t i = 0; i < n && st == QINS_OK; i++)
        for (int c = 0; c < COLUMNS && st == QINS_OK; c++) {
            const uint64_t rows = c == BYTES ? extents[i].bytes : extents[i].pages;
            snprintf(path, sizeof path, "/layers/%u/%s", i, columns[c].name);
            st = qn_described_add(list, paths, path, columns[c].dtype, 1, &rows, err);
        }
    return st;
}

static json_t *layout_json(const struct qn_kv_layout *l)
{
    json_t *j = json_object();
    qn_json_put(&j, "heads", json_integer(l->heads));
    qn_json_put(&j, "head_dim", json_integer(l->head_dim));
    qn_json_put(&j, "tokens", json_integer(l->tokens));
    qn_json_put(&j, "bits", json_integer(l->bits));
    qn_json_put(&j, "kappa", qn_json_real((double)l->kappa));
    return j;
}

static json_t *describe(const struct qn_kv_file *f, const struct extent *extents)
{
    json_t *j = qn_report_begin(QN_KV_SCHEMA), *layers = json_array();
    for (uint32_t i = 0; i < f->n_layers; i++) {
        json_t *layer = json_object();
        qn_json_put(&layer, "pages", json_integer((json_int_t)extents[i].pages));
        qn_json_put(&layer, "bytes", json_integer((json_int_t)extents[i].bytes));
        qn_json_append(&layers, layer);
    }
    qn_json_put(&j, "model_fingerprint", qn_json_digest(&f->model));
    qn_json_put(&j, "text_fingerprint", qn_json_digest(&f->text));
    qn_json_put(&j, "layout", layout_json(&f->layout));
    qn_json_put(&j, "layers", layers);
    return j;
}

struct writing {
    const struct qn_kv_file *f;
    struct extent *extents;
    json_t *paths;
    struct qn_buf buf;
    struct qn_described_writer out;
};

static enum qins_status prepare(struct writing *w, struct qins_error *err)
{
    const struct qn_kv_file *f = w->f;
    w->extents = calloc((size_t)f->n_layers + 1, sizeof *w->extents);
    w->paths = json_object();
    if (!w->extents || !w->paths)
        return qn_fail_memory(err);
    for (uint32_t i = 0; i < f->n_layers; i++) {
        const struct qn_kv_layer *l = &f->layers[i];
        if (l->n_places == 0)
            return qn_fail(err, QINS_ERR_USAGE, "layer %u has no page to write", i);
        w->extents[i].pages = l->n_places;
        for (size_t k = 0; k < l->n_places; k++)
            w->extents[i].bytes += l->places[k].size;
    }
    enum qins_status st = qn_described_describe(&w->out, describe(f, w->extents), err);
    return st == QINS_OK ? list_layers(w->extents, f->n_layers, &w->out.tensors, w->paths, err)
                         : st;
}

/* The pages one after the other, without what recoding left between them. */
static enum qins_status put_pages(struct writing *w, size_t tensor, const struct qn_kv_layer *l,
                                  struct qins_error *err)
{
    enum qins_status st = QINS_OK;
    for (size_t i = 0; i < l->n_places && st == QINS_OK; i++)
        st = qn_described_put(&w->out, tensor, qn_kv_file_page(l, &l->places[i]),
                              (size_t)l->places[i].size, err);
    return st;
}

static enum qins_status put_column(struct writing *w, size_t tensor, const struct qn_kv_layer *l,
                                   enum column column, struct qins_error *err)
{
    uint64_t offset = 0;
    size_t size = 0;
    enum qins_status st = qn_buf_reserve(&w->buf, l->n_places * sizeof(uint64_t), err);
    for (size_t i = 0; i < l->n_places && st == QINS_OK; i++) {
        const struct qn_kv_place *p = &l->places[i];
        if (column == OFFSET)
            qn_store64(w->buf.data + size, offset);
        else
            qn_store32(w->buf.data + size, column == SIZE       ? (uint32_t)p->size
                                           : column == SEQUENCE ? p->sequence
                                                                : p->page);
        size += qins_dtype_size(columns[column].dtype);
        offset += p->size;
    }
    return st == QINS_OK ? qn_described_put(&w->out, tensor, w->buf.data, size, err) : st;
}

static enum qins_status put_all(struct writing *w, struct qins_error *err)
{
    size_t tensor = 1; /* behind the description */
    enum qins_status st = QINS_OK;
    for (uint32_t i = 0; i < w->f->n_layers && st == QINS_OK; i++) {
        const struct qn_kv_layer *l = &w->f->layers[i];
        st = put_pages(w, tensor++, l, err);
        for (int c = OFFSET; c < COLUMNS && st == QINS_OK; c++)
            st = put_column(w, tensor++, l, (enum column)c, err);
    }
    return st;
}

enum qins_status qn_kv_file_write(const struct qn_kv_file *f, const char *path,
                                  struct qins_error *err)
{
    struct writing w = {.f = f};
    enum qins_status st = prepare(&w, err);
    if (st == QINS_OK)
        st = qn_described_create(&w.out, path, w.paths, err);
    if (st == QINS_OK)
        st = put_all(&w, err);
    st = qn_described_close(&w.out, st, err);
    qn_buf_finish(&w.buf);
    json_decref(w.paths);
    free(w.extents);
    return st;
}

static enum qins_status take_layout(const json_t *j, struct qn_kv_layout *l, struct qins_error *err)
{
    const json_t *kappa = json_object_get(j, "kappa");
    const struct {
        const char *key;
        uint32_t *out;
    } numbers[] = {{"heads", &l->heads},
                   {"head_dim", &l->head_dim},
                   {"tokens", &l->tokens},
                   {"bits", &l->bits}};
    enum qins_status st = QINS_OK;
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers && st == QINS_OK; i++)
        st = qn_described_u32(j, numbers[i].key, 0, UINT32_MAX, numbers[i].out, err);
    const double value = json_is_number(kappa) ? json_number_value(kappa) : -1.0;
    if (st == QINS_OK && !(value >= 0.0 && value <= (double)UINT32_MAX))
        return qn_described_bad(err, "kappa");
    l->kappa = (float)value;
    return st;
}

/* *EXTENTS is the caller's to free, whatever comes of it. */
static enum qins_status take_layers(const json_t *layers, uint32_t n, struct extent **extents,
                                    struct qins_error *err)
{
    *extents = calloc((size_t)n + 1, sizeof **extents);
    if (!*extents)
        return qn_fail_memory(err);
    enum qins_status st = QINS_OK;
    for (uint32_t i = 0; i < n && st == QINS_OK; i++) {
        const json_t *layer = json_array_get(layers, i);
        struct extent *e = &(*extents)[i];
        st = qn_described_u64(layer, "pages", UINT64_MAX, &e->pages, err);
        if (st == QINS_OK && e->pages < 1)
            st = qn_described_bad(err, "pages");
        if (st == QINS_OK)
            st = qn_described_u64(layer, "bytes", UINT64_MAX, &e->bytes, err);
    }
    return st;
}

static enum qins_status take_meta(const struct qn_buf *meta, struct qn_kv_file *f,
                                  struct extent **extents, struct qins_error *err)
{
    struct qn_kv_layout layout = {0};
    struct qn_digest model, text;
    json_t *j = qn_json_parse(meta->data, meta->size, 0, err);
    if (!j)
        return err ? err->status : QINS_ERR_FORMAT;
    const char *schema = json_string_value(json_object_get(j, "schema"));
    const json_t *layers = json_object_get(j, "layers");
    const size_t n = json_array_size(layers);
    enum qins_status st = QINS_OK;
    if (!schema || strcmp(schema, QN_KV_SCHEMA) != 0)
        st = qn_fail(err, QINS_ERR_UNSUPPORTED, "it holds no pages of the kind '%s'", QN_KV_SCHEMA);
    if (st == QINS_OK)
        st = qn_described_digest(json_object_get(j, "model_fingerprint"), "model_fingerprint",
                                 &model, err);
    if (st == QINS_OK)
        st = qn_described_digest(json_object_get(j, "text_fingerprint"), "text_fingerprint", &text,
                                 err);
    if (st == QINS_OK)
        st = take_layout(json_object_get(j, "layout"), &layout, err);
    if (st == QINS_OK)
        st = qn_kv_file_init(f, &layout, n <= QN_KV_MAX_LAYERS ? (uint32_t)n : 0, err);
    if (st == QINS_OK) {
        f->model = model;
        f->text = text;
        st = take_layers(layers, f->n_layers, extents, err);
    }
    json_decref(j);
    return st;
}

struct reading {
    struct qn_kv_file *f;
    struct qn_described described;
    struct qn_tensor_list wanted; /* the layers' */
    struct qn_buf buf;
};

static enum qins_status read_column(struct reading *r, size_t tensor, struct qn_kv_layer *l,
                                    enum column column, struct qins_error *err)
{
    const size_t each = qins_dtype_size(columns[column].dtype), size = l->n_places * each;
    enum qins_status st = qn_buf_reserve(&r->buf, size, err);
    if (st == QINS_OK)
        st = qn_checkpoint_read(r->described.ck, tensor, 0, r->buf.data, size, err);
    for (size_t i = 0; i < l->n_places && st == QINS_OK; i++) {
        const uint8_t *p = r->buf.data + i * each;
        if (column == OFFSET)
            l->places[i].offset = qn_load64(p);
        else if (column == SIZE)
            l->places[i].size = qn_load32(p);
        else
            *(column == SEQUENCE ? &l->places[i].sequence : &l->places[i].page) = qn_load32(p);
    }
    return st;
}

/* Pages one after the other, all bytes theirs, in order, none twice. */
static enum qins_status check_places(const struct qn_kv_file *f, const struct qn_kv_layer *l,
                                     struct qins_error *err)
{
    const size_t most = qn_kv_packed_size(&f->layout);
    uint64_t at = 0;
    for (size_t i = 0; i < l->n_places; i++) {
        const struct qn_kv_place *p = &l->places[i], *before = i ? p - 1 : NULL;
        if (p->offset != at || p->size < QN_KV_HEADER || p->size > most ||
            p->size > l->bytes.size - at)
            return qn_fail(err, QINS_ERR_FORMAT, "page %zu is not where its bytes can be", i);
        if (before && (p->sequence < before->sequence ||
                       (p->sequence == before->sequence && p->page <= before->page)))
            return qn_fail(err, QINS_ERR_FORMAT, "page %zu is out of order", i);
        at += p->size;
    }
    return at == l->bytes.size ? QINS_OK
                               : qn_fail(err, QINS_ERR_FORMAT, "it has bytes that are no page's");
}

/* Datasets of layer INDEX. What they say they have, the file has (qn_described_bytes()). */
static enum qins_status read_layer(struct reading *r, uint32_t index, struct qins_error *err)
{
    struct qn_kv_layer *l = &r->f->layers[index];
    const struct qn_tensor *want = &r->wanted.items[(size_t)index * COLUMNS];
    size_t tensors[COLUMNS] = {0};
    enum qins_status st = QINS_OK;
    for (int c = 0; c < COLUMNS && st == QINS_OK; c++)
        st = qn_described_match(&r->described, &want[c], &tensors[c], err);
    if (st != QINS_OK)
        return st;
    const uint64_t bytes = want[BYTES].n_bytes, pages = want[OFFSET].n_elements;
    l->places = calloc((size_t)pages, sizeof *l->places);
    if (!l->places)
        return qn_fail_memory(err);
    l->n_places = l->capacity = (size_t)pages;
    st = qn_buf_reserve(&l->bytes, (size_t)bytes + 1, err);
    if (st == QINS_OK)
        st = qn_checkpoint_read(r->described.ck, tensors[BYTES], 0, l->bytes.data, (size_t)bytes,
                                err);
    l->bytes.size = st == QINS_OK ? (size_t)bytes : 0;
    for (int c = OFFSET; c < COLUMNS && st == QINS_OK; c++)
        st = read_column(r, tensors[c], l, (enum column)c, err);
    if (st == QINS_OK)
        st = check_places(r->f, l, err);
    return qn_error_in_tensor(err, st, want[BYTES].name);
}

enum qins_status qn_kv_file_load(struct qn_kv_file *f, struct qn_checkpoint *ck,
                                 struct qins_error *err)
{
    struct reading r = {.f = f};
    struct extent *extents = NULL;
    json_t *paths = json_object();
    *f = (struct qn_kv_file){0};
    enum qins_status st = paths ? QINS_OK : qn_fail_memory(err);
    if (st == QINS_OK)
        st = qn_described_init(&r.described, ck, "dump of V pages", err);
    if (st == QINS_OK)
        st = take_meta(&r.described.meta, f, &extents, err);
    if (st == QINS_OK && extents)
        st = list_layers(extents, f->n_layers, &r.wanted, paths, err);
    for (uint32_t i = 0; i < f->n_layers && st == QINS_OK; i++)
        st = read_layer(&r, i, err);
    if (st != QINS_OK) {
        qn_error_in_file(err, st, ck->path);
        qn_kv_file_finish(f);
    }
    qn_described_finish(&r.described);
    qn_tensor_list_finish(&r.wanted);
    qn_buf_finish(&r.buf);
    free(extents);
    json_decref(paths);
    return st;
}

enum qins_status qn_kv_file_read(struct qn_kv_file *f, const char *path,
                                 const struct qn_monitor *monitor, struct qins_error *err)
{
    struct qn_checkpoint *ck;
    *f = (struct qn_kv_file){0};
    enum qins_status st = qn_described_open(&ck, path, "dump of V pages", monitor, err);
    if (st == QINS_OK)
        st = qn_kv_file_load(f, ck, err);
    if (st == QINS_OK) {
        st = qn_checkpoint_check_unchanged(ck, NULL, err);
        if (st != QINS_OK)
            qn_kv_file_finish(f);
    }
    qn_checkpoint_destroy(ck);
    return st;
}
