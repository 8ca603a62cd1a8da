#include "analyze/candidates.h"

#include "analyze/logarithm.h"
#include "analyze/predict.h"

#include <math.h>
#include <stdlib.h>

static const float fixed_kappas[] = {0.0f, 0.5f, 1.0f, 1.5f, 2.0f, 3.0f, 5.0f, 9.0f, 20.0f};
static const float coded_kappas[] = {0.0f, 1.0f, 3.0f};

enum {
    MIN_BITS = 2,
    MAX_BITS = 12,
    FEW_LEVELS = 32, /* up to here a clip may pay under an entropy coder */
};
#define N_FIXED_KAPPAS (sizeof fixed_kappas / sizeof *fixed_kappas)
#define N_CODED_KAPPAS (sizeof coded_kappas / sizeof *coded_kappas)

static double ratio_db(double signal, double error)
{
    return error > 0.0 ? (signal > 0.0 ? qn_decibels(signal / error) : 0.0) : (double)INFINITY;
}

static void predict(const struct qn_tensor_study *s, struct qn_candidate *c, unsigned what,
                    struct qn_prediction *p)
{
    c->error = c->weighted_error = c->sqnr_db = (double)NAN;
    c->p50_rel_error = c->p90_rel_error = c->p99_rel_error = c->entropy_bits = (double)NAN;
    c->packed_bytes = c->huffman_bytes = 0;
    qn_predict_pass(s->density[c->granularity], c, p);
    if (what & QN_PREDICT_ERROR) {
        struct qn_cumulative all;
        qn_density_at(p->density, 1.0, &all);
        c->error = p->error;
        c->weighted_error = s->weighted ? p->weighted_error : p->error;
        c->sqnr_db = ratio_db(all.error[2], p->error);
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

static enum qins_status append(struct qn_candidate_list *list, const struct qn_candidate *c,
                               struct qins_error *err)
{
    if (list->count == list->capacity) {
        size_t capacity = list->capacity ? 2 * list->capacity : 256;
        struct qn_candidate *items = realloc(list->items, capacity * sizeof *items);
        if (!items)
            return qn_fail_memory(err);
        list->items = items;
        list->capacity = capacity;
    }
    list->items[list->count++] = *c;
    return QINS_OK;
}

/* Appends the candidate of KAPPA and CLIP, of which those below 0 are searched; none that has its
 * best clip at 1 and so stands in the list. */
static enum qins_status add(const struct qn_tensor_study *s, struct qn_candidate c,
                            struct qn_candidate_list *out, struct qins_error *err)
{
    struct qn_prediction p;
    const bool stands = c.kappa >= 0.0f && c.clip < 0.0f;
    qn_candidate_search(s, &c, s->weighted);
    if (stands && c.clip == 1.0f)
        return QINS_OK;
    predict(s, &c, QN_PREDICT_ALL, &p);
    return append(out, &c, err);
}

/* With clip 1 and, where BEST, with the best clip. */
static enum qins_status add_clips(const struct qn_tensor_study *s, struct qn_candidate c, bool best,
                                  struct qn_candidate_list *out, struct qins_error *err)
{
    c.clip = 1.0f;
    enum qins_status st = add(s, c, out, err);
    c.clip = -1.0f;
    return st == QINS_OK && best ? add(s, c, out, err) : st;
}

enum qins_status qn_candidates_fixed(const struct qn_tensor_study *s, struct qn_candidate_list *out,
                                     struct qins_error *err)
{
    enum qins_status st = QINS_OK;
    for (int g = 0; g < QN_GRANULARITIES; g++) {
        if (!s->density[g])
            continue;
        for (unsigned bits = MIN_BITS; st == QINS_OK && bits <= MAX_BITS; bits++) {
            struct qn_candidate c = {.granularity = (enum qn_granularity)g,
                                     .levels = (1u << (bits - 1)) - 1};
            for (size_t k = 0; st == QINS_OK && k < N_FIXED_KAPPAS; k++) {
                c.kappa = fixed_kappas[k];
                st = add_clips(s, c, true, out, err);
            }
            c.kappa = c.clip = -1.0f;
            if (st == QINS_OK)
                st = add(s, c, out, err);
        }
    }
    return st;
}

/* The next of 1 ... 2047 in steps of a quarter bit. */
static unsigned next_levels(unsigned levels)
{
    static const double quarter_bit = 0x1.306fe0a31b715p+0; /* 2^(1/4) */
    unsigned next = (unsigned)((double)levels * quarter_bit + 0.5);
    return next > levels ? next : levels + 1;
}

enum qins_status qn_candidates_coded(const struct qn_tensor_study *s, struct qn_candidate_list *out,
                                     struct qins_error *err)
{
    enum qins_status st = QINS_OK;
    for (int g = 0; g < QN_GRANULARITIES; g++) {
        if (!s->density[g])
            continue;
        for (unsigned n = 1; st == QINS_OK && n <= QN_MAX_LEVELS; n = next_levels(n))
            for (size_t k = 0; st == QINS_OK && k < N_CODED_KAPPAS; k++) {
                struct qn_candidate c = {
                    .granularity = (enum qn_granularity)g, .levels = n, .kappa = coded_kappas[k]};
                st = add_clips(s, c, n <= FEW_LEVELS, out, err);
            }
    }
    return st;
}
