#include "analyze/candidates.h"

#include "analyze/logarithm.h"
#include "analyze/predict.h"

#include <math.h>
#include <stdlib.h>

const enum qn_codec_id qn_counted_coders[QN_COUNTED_CODERS] = {QN_CODEC_HUFFMAN, QN_CODEC_TANS};

static const float fixed_kappas[] = {0.0f, 0.5f, 1.0f, 1.5f, 2.0f, 3.0f, 5.0f, 9.0f, 20.0f};
static const float coded_kappas[] = {0.0f, 1.0f, 3.0f};

enum {
    MIN_BITS = 2,
    MAX_BITS = 12,
    FEW_LEVELS = 32, /* up to here a clip may pay under an entropy coder */
    SLOTS_PER_THREAD = 16,
};
#define N_FIXED_KAPPAS (sizeof fixed_kappas / sizeof *fixed_kappas)
#define N_CODED_KAPPAS (sizeof coded_kappas / sizeof *coded_kappas)

static void predict(const struct qn_tensor_study *s, struct qn_candidate *c, unsigned what,
                    struct qn_prediction *p)
{
    c->error = c->weighted_error = c->sqnr_db = (double)NAN;
    c->p50_rel_error = c->p90_rel_error = c->p99_rel_error = c->entropy_bits = (double)NAN;
    c->packed_bytes = c->huffman_bytes = c->tans_bytes = 0;
    qn_predict_pass(s->density[c->granularity], c, p);
    if (what & QN_PREDICT_ERROR) {
        struct qn_cumulative all;
        qn_density_at(p->density, 1.0, &all);
        c->error = p->error;
        c->weighted_error = s->weighted ? p->weighted_error : p->error;
        c->sqnr_db = qn_sqnr_db(all.error[2], p->error);
    }
    if (what & QN_PREDICT_RELATIVE)
        qn_predict_relative(p, c);
    if (what & QN_PREDICT_RATE)
        qn_predict_rate(s, p, c);
}

void qn_predict(const struct qn_tensor_study *s, struct qn_candidate *candidate, unsigned what)
{
    struct qn_prediction p;
    predict(s, candidate, what, &p);
}

void qn_candidate_list_finish(struct qn_candidate_list *list)
{
    free(list->items);
    *list = (struct qn_candidate_list){0};
}

/* Candidates to be looked at, side by side, in the order of the list that they become. */
struct requests {
    const struct qn_tensor_study *study;
    struct qn_moment_table *tables; /* by granularity */
    struct qn_candidate *items;     /* kappa and clip below 0: searched */
    bool *skip;
    size_t count;
    struct qn_candidate_list *out;
};

static void request(struct requests *r, struct qn_candidate c, float kappa, float clip)
{
    c.kappa = kappa;
    c.clip = clip;
    r->items[r->count++] = c;
}

/* One that has its best clip at 1 stands in the list already. */
static enum qins_status look_at(void *ctx, unsigned slot, uint64_t item, struct qins_error *err)
{
    struct requests *r = ctx;
    struct qn_candidate *c = &r->items[item];
    struct qn_prediction p;
    const bool stands = c->kappa >= 0.0f && c->clip < 0.0f;
    (void)slot;
    (void)err;
    qn_candidate_search_table(r->study, &r->tables[c->granularity], c, r->study->weighted);
    r->skip[item] = stands && c->clip == 1.0f;
    if (!r->skip[item])
        predict(r->study, c,
                r->study->for_plan ? QN_PREDICT_ERROR | QN_PREDICT_RATE : QN_PREDICT_ALL, &p);
    return QINS_OK;
}

static enum qins_status append(void *ctx, unsigned slot, uint64_t item, struct qins_error *err)
{
    const struct requests *r = ctx;
    struct qn_candidate_list *list = r->out;
    (void)slot;
    if (r->skip[item])
        return QINS_OK;
    if (list->count == list->capacity) {
        size_t capacity = list->capacity ? 2 * list->capacity : 256;
        struct qn_candidate *items = realloc(list->items, capacity * sizeof *items);
        if (!items)
            return qn_fail_memory(err);
        list->items = items;
        list->capacity = capacity;
    }
    list->items[list->count++] = r->items[item];
    return QINS_OK;
}

/* The requests that ASK makes for each granularity, at most MOST. */
static enum qins_status run_requests(const struct qn_tensor_study *s,
                                     void (*ask)(struct requests *, enum qn_granularity),
                                     size_t most, struct qn_candidate_list *out,
                                     struct qins_error *err)
{
    struct requests r = {.study = s, .out = out};
    const unsigned threads = s->threads > 1 ? s->threads : 1;
    r.tables = calloc(QN_GRANULARITIES, sizeof *r.tables);
    r.items = calloc(QN_GRANULARITIES * most, sizeof *r.items);
    r.skip = calloc(QN_GRANULARITIES * most, sizeof *r.skip);
    const bool room = r.tables && r.items && r.skip;
    enum qins_status st = room ? QINS_OK : qn_fail_memory(err);
    for (int g = 0; room && g < QN_GRANULARITIES; g++)
        if (s->density[g]) {
            qn_moment_table_fill(&r.tables[g], s->density[g], s->weighted);
            ask(&r, (enum qn_granularity)g);
        }
    const struct qn_ordered job = {.work = look_at,
                                   .emit = append,
                                   .ctx = &r,
                                   .threads = threads,
                                   .slots = SLOTS_PER_THREAD * threads,
                                   .end = r.count};
    if (st == QINS_OK)
        st = qn_run_ordered(&job, err);
    free(r.tables);
    free(r.items);
    free(r.skip);
    return st;
}

static void ask_fixed(struct requests *r, enum qn_granularity g)
{
    for (unsigned bits = MIN_BITS; bits <= MAX_BITS; bits++) {
        const struct qn_candidate c = {.granularity = g, .levels = (1u << (bits - 1)) - 1};
        for (size_t k = 0; k < N_FIXED_KAPPAS; k++) {
            request(r, c, fixed_kappas[k], 1.0f);
            request(r, c, fixed_kappas[k], -1.0f);
        }
        request(r, c, -1.0f, -1.0f);
    }
}

enum qins_status qn_candidates_fixed(const struct qn_tensor_study *s, struct qn_candidate_list *out,
                                     struct qins_error *err)
{
    const size_t most = (MAX_BITS - MIN_BITS + 1) * (2 * N_FIXED_KAPPAS + 1);
    return run_requests(s, ask_fixed, most, out, err);
}

/* The next of 1 ... 2047 in steps of a quarter bit. */
static unsigned next_levels(unsigned levels)
{
    static const double quarter_bit = 0x1.306fe0a31b715p+0; /* 2^(1/4) */
    unsigned next = (unsigned)((double)levels * quarter_bit + 0.5);
    return next > levels ? next : levels + 1;
}

static void ask_coded(struct requests *r, enum qn_granularity g)
{
    for (unsigned n = 1; n <= QN_MAX_LEVELS; n = next_levels(n))
        for (size_t k = 0; k < N_CODED_KAPPAS; k++) {
            const struct qn_candidate c = {.granularity = g, .levels = n};
            request(r, c, coded_kappas[k], 1.0f);
            if (n <= FEW_LEVELS)
                request(r, c, coded_kappas[k], -1.0f);
        }
}

enum qins_status qn_candidates_coded(const struct qn_tensor_study *s, struct qn_candidate_list *out,
                                     struct qins_error *err)
{
    size_t most = 0;
    for (unsigned n = 1; n <= QN_MAX_LEVELS; n = next_levels(n))
        most += N_CODED_KAPPAS * (n <= FEW_LEVELS ? 2 : 1);
    return run_requests(s, ask_coded, most, out, err);
}
