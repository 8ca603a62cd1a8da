/* How far a candidate's weights are from the model's, tensor by tensor, and which ways to store
 * this model's weights would meet the bars. The bars are the seeds' (docs/validation.md). */
#include "analyze/modes.h"
#include "analyze/quality.h"
#include "analyze/validate_job.h"
#include "model/packed.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    MODEL,
    CANDIDATE,
    BLOCK = 1 << 20, /* elements that a thread compares at a time */
    STEP = 4096,     /* that it widens at a time */
};

static const double cosine_bar = 0.9999, relative_bar = 0.03;
static const char source[] = "implementation-roadmap.md, Phase 1, test A";
static const char test_name[] = "consistency";

/* A tensor's item in the journal. */
struct record {
    struct qn_quality_figures quality; /* all 0 where nothing is compared */
    struct qn_modes modes;             /* all 0 where it is no matrix */
};

struct comparison {
    const struct qn_weight *sides[QN_PREDICTORS];
    uint64_t elements;
    uint64_t block; /* elements at a time: whole rows */
    float *rows;    /* [threads][room]: of a coded candidate; and scratch */
    size_t room;
    struct qn_quality *slots, *total; /* slots: [threads] */
};

/* Elements BEGIN … END - 1 of a coded side. */
static const float *decode_rows(const struct comparison *c, const struct qn_weight *w,
                                unsigned slot, uint64_t begin, uint64_t end)
{
    float *rows = c->rows + slot * c->room;
    qn_packed_rows(w->packed, (size_t)(begin / w->row_length),
                   (size_t)((end - begin) / w->row_length), rows, rows + c->block);
    return rows;
}

static enum qins_status compare_block(void *ctx, unsigned slot, uint64_t item,
                                      struct qins_error *err)
{
    const struct comparison *c = ctx;
    const uint64_t begin = item * c->block,
                   end = c->elements - begin < c->block ? c->elements : begin + c->block;
    const struct qn_weight *candidate = c->sides[CANDIDATE];
    const float *decoded = candidate->packed ? decode_rows(c, candidate, slot, begin, end) : NULL;
    float wide[QN_PREDICTORS][STEP];
    (void)err;
    memset(&c->slots[slot], 0, sizeof c->slots[slot]);
    for (uint64_t at = begin; at < end; at += STEP) {
        const size_t n = (size_t)(end - at < STEP ? end - at : STEP);
        for (int i = 0; i < QN_PREDICTORS; i++) {
            const struct qn_weight *w = c->sides[i];
            if (decoded && w == candidate) {
                memcpy(wide[i], decoded + (at - begin), n * sizeof *decoded);
                continue;
            }
            const uint8_t *from = (const uint8_t *)w->data + at * qins_dtype_size(w->dtype);
            qn_to_f32(w->dtype, from, wide[i], n);
        }
        qn_quality_add(&c->slots[slot], wide[MODEL], wide[CANDIDATE], n);
    }
    return QINS_OK;
}

static enum qins_status add_block(void *ctx, unsigned slot, uint64_t item, struct qins_error *err)
{
    struct comparison *c = ctx;
    (void)item;
    (void)err;
    qn_quality_merge(c->total, &c->slots[slot]);
    return QINS_OK;
}

/* The lists of both models; the second is empty where there is nothing to compare. */
struct consistency {
    struct qn_validation *v;
    struct qn_weight_list lists[QN_PREDICTORS];
    struct qn_quality *slots; /* [threads], and one more for sums */
};

static uint64_t elements_of(const struct qn_weight *w)
{
    return (uint64_t)w->rows * w->row_length;
}

static enum qins_status compare(const struct consistency *c, size_t tensor,
                                struct qn_quality_figures *out, struct qins_error *err)
{
    const unsigned threads = c->v->options->threads;
    const struct qn_weight *w = &c->lists[CANDIDATE].items[tensor];
    const size_t rows = BLOCK / w->row_length;
    struct comparison k = {
        .sides = {&c->lists[MODEL].items[tensor], w},
        .elements = elements_of(w),
        .block = (uint64_t)(rows ? rows : 1) * w->row_length,
        .slots = c->slots,
        .total = c->slots + threads,
    };
    const struct qn_ordered job = {.work = compare_block,
                                   .emit = add_block,
                                   .ctx = &k,
                                   .threads = threads,
                                   .slots = threads,
                                   .end = (k.elements + k.block - 1) / k.block,
                                   .monitor = c->v->monitor};
    memset(k.total, 0, sizeof *k.total);
    if (w->packed) {
        k.room = (size_t)k.block + qn_packed_scratch();
        k.rows = malloc(threads * k.room * sizeof *k.rows);
        if (!k.rows)
            return qn_fail_memory(err);
    }
    enum qins_status st = qn_run_ordered(&job, err);
    qn_quality_figures(k.total, out);
    free(k.rows);
    return st;
}

static enum qins_status measure(const struct consistency *c, size_t tensor, struct qins_error *err)
{
    const struct qn_weight *w = &c->lists[MODEL].items[tensor];
    struct qn_validation *v = c->v;
    struct record record;
    enum qins_status st = QINS_OK;
    memset(&record, 0, sizeof record);
    if (c->lists[CANDIDATE].count > 0)
        st = compare(c, tensor, &record.quality, err);
    if (st == QINS_OK && w->matrix)
        st = qn_modes_measure(w, v->options->threads, v->monitor, &record.modes, err);
    if (st == QINS_OK)
        st = qn_journal_add(v->journal, test_name, &record, sizeof record, err);
    if (st == QINS_OK)
        qn_progress_of(v->monitor, test_name, "tensors", tensor + 1, c->lists[MODEL].count);
    return st;
}

/* The worst of several tensors, and which they are: NaN is worst. */
struct worst {
    double cosine, p99_rel_error;
    const char *cosine_name, *p99_name; /* NULL of none */
};

static void add_to_worst(struct worst *w, double cosine, double p99_rel_error, const char *name)
{
    if (!w->cosine_name || (!isnan(w->cosine) && !(cosine >= w->cosine))) {
        w->cosine = cosine;
        w->cosine_name = name;
    }
    if (!w->p99_name || (!isnan(w->p99_rel_error) && !(p99_rel_error <= w->p99_rel_error))) {
        w->p99_rel_error = p99_rel_error;
        w->p99_name = name;
    }
}

static bool meets(double cosine, double p99_rel_error)
{
    return cosine >= cosine_bar && p99_rel_error <= relative_bar;
}

static json_t *describe_tensor(const struct qn_weight *w, bool native,
                               const struct qn_quality_figures *q)
{
    size_t length = 0;
    const char *component = qn_weight_component(w->name, &length);
    json_t *j = json_object();
    qn_json_put(&j, "name", qn_json_text(w->name));
    qn_json_put(&j, "component", json_stringn(component, length));
    qn_json_put(&j, "layer", w->layer < 0 ? json_null() : json_integer(w->layer));
    qn_json_put(&j, "elements", json_integer((json_int_t)elements_of(w)));
    qn_json_put(&j, "changed", json_integer((json_int_t)q->changed));
    qn_json_put(&j, "max_abs_error", qn_json_real(q->max_abs_error));
    qn_json_put(&j, "p50_rel_error", qn_json_real(q->p50_rel_error));
    qn_json_put(&j, "p99_rel_error", qn_json_real(q->p99_rel_error));
    qn_json_put(&j, "max_rel_error", qn_json_real(q->max_rel_error));
    qn_json_put(&j, "cosine", qn_json_real(q->cosine));
    qn_json_put(&j, "sqnr_db", qn_json_real(q->sqnr_db));
    if (native)
        qn_json_put(&j, "native", json_true());
    else
        qn_json_put(&j, "passed", json_boolean(meets(q->cosine, q->p99_rel_error)));
    return j;
}

static json_t *name_and_value(const char *name, double value)
{
    json_t *j = json_object();
    qn_json_put(&j, "name", qn_json_text(name));
    qn_json_put(&j, "value", qn_json_real(value));
    return j;
}

/* What all tensors come to. */
struct summary {
    json_t *tensors;
    struct worst candidate; /* of those that are compared and used */
    uint64_t exact, native;
    struct worst lossless, quantised[QN_MODE_KAPPAS][QN_MODE_BITS];
};

static void add_modes(struct summary *s, const struct qn_modes *m, const char *name)
{
    add_to_worst(&s->lossless, m->lossless.cosine, m->lossless.p99_rel_error, name);
    for (int i = 0; i < QN_MODE_KAPPAS; i++)
        for (int b = 0; b < QN_MODE_BITS; b++)
            add_to_worst(&s->quantised[i][b], m->quantised[i][b].cosine,
                         m->quantised[i][b].p99_rel_error, name);
}

static void add_record(struct summary *s, const struct consistency *c, size_t tensor,
                       const struct record *r)
{
    const struct qn_weight *w = &c->lists[MODEL].items[tensor];
    if (w->matrix)
        add_modes(s, &r->modes, w->name);
    if (c->lists[CANDIDATE].count == 0)
        return;
    const bool native = c->lists[CANDIDATE].items[tensor].native;
    qn_json_append(&s->tensors, describe_tensor(w, native, &r->quality));
    s->exact += r->quality.changed == 0;
    s->native += native;
    if (!native)
        add_to_worst(&s->candidate, r->quality.cosine, r->quality.p99_rel_error, w->name);
}

static json_t *describe_mode(const char *mode, const char *kappa, int bits, const struct worst *w)
{
    json_t *j = json_object();
    qn_json_put(&j, "mode", json_string(mode));
    qn_json_put(&j, "kappa_for", kappa ? json_string(kappa) : json_null());
    qn_json_put(&j, "bits", bits > 0 ? json_integer(bits) : json_null());
    qn_json_put(&j, "min_cosine", qn_json_real(w->cosine));
    qn_json_put(&j, "max_p99_rel_error", qn_json_real(w->p99_rel_error));
    qn_json_put(&j, "passed", json_boolean(meets(w->cosine, w->p99_rel_error)));
    return j;
}

/* All modes, and for each choice of kappa the bits from which on the bars are met. */
static void put_modes(const struct summary *s, json_t **j)
{
    static const char *const choices[QN_MODE_KAPPAS] = {"squared_error", "relative_error"};
    json_t *list = json_array(), *from = json_object();
    qn_json_append(&list, describe_mode("lossless", NULL, 0, &s->lossless));
    for (int i = 0; i < QN_MODE_KAPPAS; i++) {
        int least = 0;
        bool met = true;
        for (int b = QN_MODE_BITS; b-- > 0;) {
            const struct worst *w = &s->quantised[i][b];
            met = met && meets(w->cosine, w->p99_rel_error);
            least = met ? QN_MODE_LEAST_BITS + b : least;
            qn_json_append(&list,
                           describe_mode("quantised", choices[i], QN_MODE_LEAST_BITS + b, w));
        }
        qn_json_put(&from, choices[i], least > 0 ? json_integer(least) : json_null());
    }
    qn_json_put(j, "modes", list);
    qn_json_put(j, "modes_elements_at_most", json_integer(QN_MODE_ELEMENTS));
    qn_json_put(j, "bars_met_from_bits", from);
}

static void put_candidate(struct summary *s, json_t **j)
{
    const struct worst *w = &s->candidate;
    json_t *thresholds = json_object(), *worst = json_object();
    bool passed = qn_validation_bar(&thresholds, "min_cosine", w->cosine, ">=", cosine_bar, source);
    passed = qn_validation_bar(&thresholds, "max_p99_rel_error", w->p99_rel_error,
                               "<=", relative_bar, source) &&
             passed;
    qn_json_put(&worst, "cosine", name_and_value(w->cosine_name, w->cosine));
    qn_json_put(&worst, "p99_rel_error", name_and_value(w->p99_name, w->p99_rel_error));
    qn_json_put(j, "passed", json_boolean(passed));
    qn_json_put(j, "thresholds", thresholds);
    qn_json_put(j, "worst", worst);
    qn_json_put(j, "exact_tensors", json_integer((json_int_t)s->exact));
    qn_json_put(j, "native_tensors", json_integer((json_int_t)s->native));
    qn_json_put(j, "tensors", s->tensors);
    s->tensors = NULL;
}

static enum qins_status report(const struct consistency *c, const char *note, json_t **out,
                               struct qins_error *err)
{
    struct summary s = {.tensors = json_array()};
    const void *record;
    json_t *j = json_object();
    enum qins_status st = QINS_OK;
    for (size_t i = 0; i < c->lists[MODEL].count && st == QINS_OK; i++) {
        st = qn_validation_item(c->v, test_name, i, sizeof(struct record), &record, err);
        if (st == QINS_OK)
            add_record(&s, c, i, record);
    }
    if (s.candidate.cosine_name)
        put_candidate(&s, &j);
    else
        qn_json_put(&j, "passed", json_null());
    if (note)
        qn_json_put(&j, "note", json_string(note));
    put_modes(&s, &j);
    json_decref(s.tensors);
    return qn_validation_end(st, j, out, err);
}

/* Whether the lists are of the same tensors, whatever their names' prefixes. */
static bool same_tensors(const struct qn_weight_list *a, const struct qn_weight_list *b)
{
    bool same = a->count == b->count;
    for (size_t i = 0; i < a->count && same; i++)
        same = a->items[i].rows == b->items[i].rows &&
               a->items[i].row_length == b->items[i].row_length &&
               a->items[i].matrix == b->items[i].matrix;
    return same;
}

/* Lists what is to be compared; *NOTE says why nothing is. */
static enum qins_status list(struct consistency *c, const char **note, struct qins_error *err)
{
    struct qn_validation *v = c->v;
    *note = NULL;
    enum qins_status st = qn_weight_list_of(&c->lists[MODEL], v->models[MODEL], err);
    if (st != QINS_OK)
        return st;
    if (!v->models[CANDIDATE]) {
        *note = "there is no candidate: the modes are the model's";
        return QINS_OK;
    }
    if (!v->options->candidate) {
        *note = "the candidate's weights are the model's own: what differs is compared by its "
                "effect, in the other tests";
        return QINS_OK;
    }
    st = qn_weight_list_of(&c->lists[CANDIDATE], v->models[CANDIDATE], err);
    if (st == QINS_OK && !same_tensors(&c->lists[MODEL], &c->lists[CANDIDATE])) {
        *note = "the candidate has other tensors than the model: they are not compared";
        qn_weight_list_finish(&c->lists[CANDIDATE]);
    }
    return st;
}

static enum qins_status run(struct qn_validation *v, json_t **result, struct qins_error *err)
{
    struct consistency c = {.v = v};
    const char *note;
    *result = NULL;
    enum qins_status st = list(&c, &note, err);
    c.slots = calloc(v->options->threads + 1, sizeof *c.slots);
    if (st == QINS_OK && !c.slots)
        st = qn_fail_memory(err);
    for (size_t i = (size_t)qn_journal_count(v->journal, test_name);
         c.slots && i < c.lists[MODEL].count && st == QINS_OK; i++)
        st = measure(&c, i, err);
    if (st == QINS_OK)
        st = report(&c, note, result, err);
    free(c.slots);
    for (int i = 0; i < QN_PREDICTORS; i++)
        qn_weight_list_finish(&c.lists[i]);
    return st;
}

const struct qn_validate_test qn_test_consistency = {.name = test_name, .run = run};
