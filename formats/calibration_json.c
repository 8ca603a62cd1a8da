/* The description of a calibration as JSON. */
#include "formats/calibration.h"

#include "core/buf.h"
#include "core/bytes.h"
#include "formats/described_json.h"

#include <inttypes.h>
#include <stdlib.h>

/* As the extents of a model (model/config.h) and of rows captured elsewhere. */
enum { MAX_EXTENT = 1 << 24, MAX_LAYERS = 4096 };

/* Of tokens, and of values at a point: sums over many files stay within 64 bits. */
static const uint64_t max_count = UINT64_C(1) << 56;

static json_t *unsigned_number(uint64_t v)
{
    return json_integer((json_int_t)v);
}

/* Of a layer or an expert. */
static json_t *place_number(uint32_t v)
{
    return v == QN_POINT_NONE ? json_null() : unsigned_number(v);
}

static json_t *strings(char *const *items, size_t n)
{
    json_t *list = json_array();
    for (size_t i = 0; i < n && list; i++)
        if (json_array_append_new(list, json_string(items[i])) != 0) {
            json_decref(list);
            list = NULL;
        }
    return list;
}

static json_t *point_json(const struct qn_calibration_point *p)
{
    json_t *j = json_object();
    size_t n = 0;
    while (n < QN_POINT_TENSORS && p->tensors[n])
        n++;
    qn_json_put(&j, "name", json_string(p->name));
    qn_json_put(&j, "kind", json_string(qn_tap_kind_name(p->kind)));
    qn_json_put(&j, "layer", place_number(p->layer));
    qn_json_put(&j, "expert", place_number(p->expert));
    qn_json_put(&j, "channels", unsigned_number(p->channels));
    qn_json_put(&j, "tensors", strings(p->tensors, n));
    qn_json_put(&j, "rows", unsigned_number(p->rows));
    qn_json_put(&j, "gram", json_boolean(p->gram));
    qn_json_put(&j, "kept", unsigned_number(p->n_kept));
    return j;
}

static json_t *access_json(const struct qn_access *a)
{
    json_t *j = json_object();
    qn_json_put(&j, "tensors", strings(a->tensors, a->n_tensors));
    qn_json_put(&j, "embedding_rows", unsigned_number(a->vocab));
    qn_json_put(&j, "layers", unsigned_number(a->n_layers));
    qn_json_put(&j, "experts", unsigned_number(a->n_experts));
    return j;
}

/* The numbers of those that were measured together with the one before them. */
static json_t *joined_json(const struct qn_calibration *c)
{
    json_t *j = json_array();
    for (size_t i = 0; i < c->n_sensitivities; i++)
        if (c->sensitivities[i].joined)
            qn_json_append(&j, unsigned_number(i));
    return j;
}

static json_t *sensitivity_json(const struct qn_calibration *c)
{
    json_t *j = json_object(), *names = json_array();
    for (size_t i = 0; i < c->n_sensitivities && names; i++)
        if (json_array_append_new(names, json_string(c->sensitivities[i].tensor)) != 0) {
            json_decref(names);
            names = NULL;
        }
    qn_json_put(&j, "tokens", unsigned_number(c->sensitivity_tokens));
    qn_json_put(&j, "head_rows", unsigned_number(c->n_head_rows));
    qn_json_put(&j, "tensors", names);
    if (c->part.shard.count > 0)
        qn_json_put(&j, "joined", joined_json(c));
    return j;
}

static json_t *model_json(const struct qn_calibration *c)
{
    json_t *j = json_object();
    qn_json_put(&j, "name", json_string(c->model_name));
    qn_json_put(&j, "fingerprint", qn_json_digest(&c->model));
    if (c->has_archive)
        qn_json_put(&j, "archive_hash", qn_json_digest(&c->archive));
    return j;
}

static json_t *options_json(const struct qn_calibration_options *o)
{
    json_t *j = json_object();
    char seed[24];
    snprintf(seed, sizeof seed, "%" PRIu64, o->seed);
    qn_json_put(&j, "context", unsigned_number(o->context));
    qn_json_put(&j, "seed", json_string(seed));
    qn_json_put(&j, "keep_rows", unsigned_number(o->keep_rows));
    qn_json_put(&j, "gram", json_boolean(o->gram));
    return j;
}

static json_t *progress_json(const struct qn_calibration_progress *p)
{
    json_t *j = json_object();
    qn_json_put(&j, "job", qn_json_digest(&p->job));
    qn_json_put(&j, "pass", unsigned_number(p->pass));
    qn_json_put(&j, "windows", unsigned_number(p->windows));
    return j;
}

static json_t *part_json(const struct qn_calibration_part *p)
{
    json_t *j = json_object();
    qn_json_put(&j, "index", unsigned_number(p->shard.index));
    qn_json_put(&j, "count", unsigned_number(p->shard.count));
    qn_json_put(&j, "job", qn_json_digest(&p->job));
    qn_json_put(&j, "windows", unsigned_number(p->windows));
    return j;
}

json_t *qn_calibration_to_json(const struct qn_calibration *c)
{
    json_t *j = qn_report_begin(QN_CALIBRATION_SCHEMA), *texts = json_array();
    json_t *points = json_array();
    bool good = texts && points;
    for (size_t i = 0; i < c->n_texts && good; i++)
        good = json_array_append_new(texts, qn_json_digest(&c->texts[i])) == 0;
    for (size_t i = 0; i < c->n_points && good; i++)
        good = json_array_append_new(points, point_json(&c->points[i])) == 0;
    qn_json_put(&j, "model", c->model_name ? model_json(c) : json_null());
    qn_json_put(&j, "tokenizer", c->has_tokenizer ? qn_json_digest(&c->tokenizer) : json_null());
    qn_json_put(&j, "texts", texts);
    qn_json_put(&j, "options", options_json(&c->options));
    qn_json_put(&j, "tokens", unsigned_number(c->tokens));
    qn_json_put(&j, "windows", unsigned_number(c->windows));
    if (c->progress.unfinished)
        qn_json_put(&j, "unfinished", progress_json(&c->progress));
    if (c->part.shard.count > 0)
        qn_json_put(&j, "part", part_json(&c->part));
    qn_json_put(&j, "kept_rows", unsigned_number(c->n_kept));
    qn_json_put(&j, "access", c->has_access ? access_json(&c->access) : json_null());
    if (c->n_sensitivities > 0)
        qn_json_put(&j, "sensitivity", sensitivity_json(c));
    qn_json_put(&j, "points", points);
    if (!good) {
        json_decref(j);
        j = NULL;
    }
    return j;
}

/* A number, or null. */
static enum qins_status take_place(const json_t *j, const char *key, uint32_t max, uint32_t *out,
                                   struct qins_error *err)
{
    *out = QN_POINT_NONE;
    return json_is_null(json_object_get(j, key)) ? QINS_OK
                                                 : qn_described_u32(j, key, 0, max, out, err);
}

/* 64 bits do not fit every reader's numbers: a string of decimal digits. */
static enum qins_status take_seed(const json_t *j, uint64_t *out, struct qins_error *err)
{
    const char *text = json_string_value(json_object_get(j, "seed"));
    char again[24];
    if (!text)
        return qn_described_bad(err, "seed");
    *out = strtoull(text, NULL, 10);
    snprintf(again, sizeof again, "%" PRIu64, *out);
    return strcmp(text, again) == 0 ? QINS_OK : qn_described_bad(err, "seed");
}

static bool proper_name(const char *s)
{
    return s && s[0] && strlen(s) <= UINT16_MAX;
}

static enum qins_status take_kind(const json_t *j, enum qn_tap_kind *out, struct qins_error *err)
{
    const char *name = json_string_value(json_object_get(j, "kind"));
    for (int i = 0; name && i < QN_TAP_KINDS; i++)
        if (strcmp(name, qn_tap_kind_name((enum qn_tap_kind)i)) == 0) {
            *out = (enum qn_tap_kind)i;
            return QINS_OK;
        }
    return qn_described_bad(err, "kind");
}

struct budget {
    uint64_t left; /* bytes */
};

static enum qins_status spend(struct budget *b, uint64_t bytes, struct qins_error *err)
{
    if (bytes > b->left)
        return qn_fail(err, QINS_ERR_FORMAT, "it describes more than a file of its size can hold");
    b->left -= bytes;
    return QINS_OK;
}

static enum qins_status take_point(struct qn_calibration *c, const json_t *j, struct budget *left,
                                   struct qins_error *err)
{
    const char *name = json_string_value(json_object_get(j, "name"));
    const char *tensors[QN_POINT_TENSORS] = {NULL};
    const json_t *list = json_object_get(j, "tensors");
    const size_t n = json_array_size(list);
    struct qn_calibration_point *p = NULL;
    enum qn_tap_kind kind = QN_TAP_CAPTURED;
    uint32_t channels = 0;
    if (!proper_name(name))
        return qn_described_bad(err, "name");
    if (!json_is_array(list) || n > QN_POINT_TENSORS)
        return qn_described_bad(err, "tensors");
    for (size_t i = 0; i < n; i++) {
        tensors[i] = json_string_value(json_array_get(list, i));
        if (!proper_name(tensors[i]))
            return qn_described_bad(err, "tensors");
    }
    enum qins_status st = take_kind(j, &kind, err);
    if (st == QINS_OK)
        st = qn_described_u32(j, "channels", 1, MAX_EXTENT, &channels, err);
    if (st == QINS_OK)
        st = spend(left, qn_point_bytes(channels), err);
    if (st == QINS_OK)
        st = qn_calibration_add_point(c, name, kind, channels, tensors, n, &p, err);
    if (st == QINS_OK)
        st = take_place(j, "layer", MAX_LAYERS, &p->layer, err);
    if (st == QINS_OK)
        st = take_place(j, "expert", MAX_EXTENT, &p->expert, err);
    if (st == QINS_OK)
        st = qn_described_u64(j, "rows", max_count / channels, &p->rows, err);
    if (st == QINS_OK)
        st = qn_described_bool(j, "gram", &p->gram, err);
    if (st == QINS_OK)
        st = qn_described_u32(j, "kept", 0, c->n_kept, &p->n_kept, err);
    if (st == QINS_OK)
        st = spend(left, p->n_kept * sizeof *p->kept, err);
    if (st == QINS_OK && p->n_kept > 0 && !(p->kept = calloc(p->n_kept, sizeof *p->kept)))
        st = qn_fail_memory(err);
    return st;
}

static enum qins_status take_points(struct qn_calibration *c, const json_t *j, struct budget *left,
                                    struct qins_error *err)
{
    const json_t *point, *points = json_object_get(j, "points");
    enum qins_status st = json_is_array(points) ? QINS_OK : qn_described_bad(err, "points");
    size_t i;
    json_array_foreach(points, i, point)
    {
        st = take_point(c, point, left, err);
        if (st != QINS_OK)
            break;
    }
    return st;
}

static enum qins_status take_access(struct qn_calibration *c, const json_t *j, struct budget *left,
                                    struct qins_error *err)
{
    const json_t *a = json_object_get(j, "access"), *list = json_object_get(a, "tensors");
    const size_t n = json_array_size(list);
    uint32_t vocab = 0, n_layers = 0, n_experts = 0;
    if (json_is_null(a))
        return QINS_OK;
    if (!json_is_array(list) || n > MAX_EXTENT)
        return qn_described_bad(err, "access");
    enum qins_status st = qn_described_u32(a, "embedding_rows", 1, MAX_EXTENT, &vocab, err);
    if (st == QINS_OK)
        st = qn_described_u32(a, "layers", 1, MAX_LAYERS, &n_layers, err);
    if (st == QINS_OK)
        st = qn_described_u32(a, "experts", 0, MAX_LAYERS, &n_experts, err);
    if (st == QINS_OK)
        st = spend(left, (n + vocab + (uint64_t)n_layers * n_experts) * sizeof(uint64_t), err);
    if (st != QINS_OK)
        return st;
    const char **names = calloc(n + 1, sizeof *names);
    if (!names)
        return qn_fail_memory(err);
    for (size_t i = 0; i < n && st == QINS_OK; i++) {
        names[i] = json_string_value(json_array_get(list, i));
        if (!proper_name(names[i]))
            st = qn_described_bad(err, "access");
    }
    if (st == QINS_OK) {
        c->has_access = true;
        st = qn_access_init(&c->access, names, n, vocab, n_layers, n_experts, err);
    }
    free(names);
    return st;
}

/* Ascending, none of them the first. */
static enum qins_status take_joined(struct qn_calibration *c, const json_t *s,
                                    struct qins_error *err)
{
    const json_t *item, *list = json_object_get(s, "joined");
    size_t i;
    json_int_t before = 0;
    if (c->part.shard.count == 0)
        return QINS_OK;
    if (!json_is_array(list))
        return qn_described_bad(err, "joined");
    json_array_foreach(list, i, item)
    {
        const json_int_t number = json_integer_value(item);
        if (number <= before || (uint64_t)number >= c->n_sensitivities)
            return qn_described_bad(err, "joined");
        c->sensitivities[number].joined = true;
        before = number;
    }
    return QINS_OK;
}

static enum qins_status take_sensitivities(struct qn_calibration *c, const json_t *j,
                                           struct budget *left, struct qins_error *err)
{
    const json_t *s = json_object_get(j, "sensitivity"), *list = json_object_get(s, "tensors");
    const size_t n = json_array_size(list);
    if (!s)
        return QINS_OK;
    if (n == 0 || n > MAX_EXTENT)
        return qn_described_bad(err, "sensitivity");
    enum qins_status st = qn_described_u64(s, "tokens", max_count, &c->sensitivity_tokens, err);
    if (st == QINS_OK)
        st = qn_described_u32(s, "head_rows", 1, MAX_EXTENT, &c->n_head_rows, err);
    if (st == QINS_OK)
        st = spend(left, n * (3 * sizeof(double) + sizeof(uint32_t)), err);
    if (st == QINS_OK)
        st = spend(left, c->n_head_rows * sizeof *c->head_variance, err);
    if (st == QINS_OK && !(c->head_variance = calloc(c->n_head_rows, sizeof *c->head_variance)))
        st = qn_fail_memory(err);
    if (st != QINS_OK)
        return st;
    c->sensitivities = calloc(n, sizeof *c->sensitivities);
    if (!c->sensitivities)
        return qn_fail_memory(err);
    for (size_t i = 0; i < n && st == QINS_OK; i++) {
        const char *name = json_string_value(json_array_get(list, i));
        if (!proper_name(name))
            return qn_described_bad(err, "sensitivity");
        c->sensitivities[i].tensor = qn_strdup(name, err);
        st = c->sensitivities[i].tensor ? QINS_OK : QINS_ERR_MEMORY;
        c->n_sensitivities += st == QINS_OK;
    }
    return st == QINS_OK ? take_joined(c, s, err) : st;
}

static enum qins_status take_identity(struct qn_calibration *c, const json_t *j,
                                      struct qins_error *err)
{
    const json_t *model = json_object_get(j, "model"), *tokenizer = json_object_get(j, "tokenizer");
    const json_t *text, *texts = json_object_get(j, "texts");
    enum qins_status st = json_is_array(texts) ? QINS_OK : qn_described_bad(err, "texts");
    size_t i;
    if (st == QINS_OK && !json_is_null(model)) {
        const char *name = json_string_value(json_object_get(model, "name"));
        if (!proper_name(name))
            return qn_described_bad(err, "model");
        const json_t *archive = json_object_get(model, "archive_hash");
        st = qn_described_digest(json_object_get(model, "fingerprint"), "model", &c->model, err);
        c->has_archive = archive != NULL;
        if (st == QINS_OK && archive)
            st = qn_described_digest(archive, "archive_hash", &c->archive, err);
        if (st == QINS_OK && !(c->model_name = qn_strdup(name, err)))
            st = QINS_ERR_MEMORY;
    }
    if (st == QINS_OK && !json_is_null(tokenizer)) {
        c->has_tokenizer = true;
        st = qn_described_digest(tokenizer, "tokenizer", &c->tokenizer, err);
    }
    json_array_foreach(texts, i, text)
    {
        struct qn_digest d;
        if (st == QINS_OK)
            st = qn_described_digest(text, "texts", &d, err);
        if (st == QINS_OK)
            st = qn_calibration_add_text(c, &d, err);
    }
    return st;
}

static enum qins_status take_options(struct qn_calibration *c, const json_t *j,
                                     struct qins_error *err)
{
    const json_t *o = json_object_get(j, "options");
    struct qn_calibration_options *out = &c->options;
    enum qins_status st = qn_described_u32(o, "context", 1, MAX_EXTENT, &out->context, err);
    if (st == QINS_OK)
        st = take_seed(o, &out->seed, err);
    if (st == QINS_OK)
        st = qn_described_u32(o, "keep_rows", 0, MAX_EXTENT, &out->keep_rows, err);
    if (st == QINS_OK)
        st = qn_described_bool(o, "gram", &out->gram, err);
    return st;
}

static enum qins_status take_progress(struct qn_calibration *c, const json_t *j,
                                      struct qins_error *err)
{
    const json_t *u = json_object_get(j, "unfinished");
    struct qn_calibration_progress *p = &c->progress;
    if (!u)
        return QINS_OK;
    p->unfinished = true;
    enum qins_status st =
        qn_described_digest(json_object_get(u, "job"), "unfinished", &p->job, err);
    if (st == QINS_OK)
        st = qn_described_u32(u, "pass", 0, MAX_EXTENT, &p->pass, err);
    if (st == QINS_OK)
        st = qn_described_u64(u, "windows", c->windows, &p->windows, err);
    return st;
}

static enum qins_status take_part(struct qn_calibration *c, const json_t *j, struct qins_error *err)
{
    const json_t *part = json_object_get(j, "part");
    struct qn_calibration_part *p = &c->part;
    uint32_t index = 0, count = 0;
    if (!part)
        return QINS_OK;
    enum qins_status st = qn_described_u32(part, "count", 1, QN_MAX_SHARDS, &count, err);
    if (st == QINS_OK)
        st = qn_described_u32(part, "index", 1, count, &index, err);
    if (st == QINS_OK)
        st = qn_described_digest(json_object_get(part, "job"), "part", &p->job, err);
    if (st == QINS_OK)
        st = qn_described_u64(part, "windows", max_count, &p->windows, err);
    p->shard = (struct qn_shard){index, count};
    return st == QINS_OK && p->windows < c->windows ? qn_described_bad(err, "part") : st;
}

static enum qins_status take_all(struct qn_calibration *c, const json_t *j, struct budget *left,
                                 struct qins_error *err)
{
    const char *schema = json_string_value(json_object_get(j, "schema"));
    if (!schema || strcmp(schema, QN_CALIBRATION_SCHEMA) != 0)
        return qn_fail(err, QINS_ERR_UNSUPPORTED, "it is no calibration of the kind '%s'",
                       QN_CALIBRATION_SCHEMA);
    enum qins_status st = take_identity(c, j, err);
    if (st == QINS_OK)
        st = take_options(c, j, err);
    if (st == QINS_OK)
        st = qn_described_u64(j, "tokens", max_count, &c->tokens, err);
    if (st == QINS_OK)
        st = qn_described_u64(j, "windows", max_count, &c->windows, err);
    if (st == QINS_OK)
        st = take_progress(c, j, err);
    if (st == QINS_OK)
        st = take_part(c, j, err);
    if (st == QINS_OK)
        st = qn_described_u32(j, "kept_rows", 0, MAX_EXTENT, &c->n_kept, err);
    if (st == QINS_OK)
        st = spend(left, c->n_kept * sizeof *c->kept, err);
    if (st == QINS_OK && c->n_kept > 0 && !(c->kept = calloc(c->n_kept, sizeof *c->kept)))
        st = qn_fail_memory(err);
    if (st == QINS_OK)
        st = take_access(c, j, left, err);
    if (st == QINS_OK)
        st = take_sensitivities(c, j, left, err);
    if (st == QINS_OK)
        st = take_points(c, j, left, err);
    return st;
}

enum qins_status qn_calibration_from_json(const void *text, size_t size, uint64_t max_bytes,
                                          struct qn_calibration *c, struct qins_error *err)
{
    *c = (struct qn_calibration){0};
    struct budget left = {max_bytes};
    json_t *j = qn_json_parse(text, size, 0, err);
    if (!j)
        return err ? err->status : QINS_ERR_FORMAT;
    enum qins_status st = take_all(c, j, &left, err);
    json_decref(j);
    return st;
}
