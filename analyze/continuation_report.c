#include "analyze/continuation_report.h"

#include "analyze/position_report.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MODEL, CANDIDATE };
enum { FREE, FORCED, N_KINDS };
enum { GRAM = 4 }; /* tokens that are counted as one to see how much a text repeats itself */

static const char *const kind_keys[N_KINDS] = {"free_running", "teacher_forced"};

/* Shares of matches of one prompt; NaN where there are no positions. */
struct shares {
    double match, early, late, drift;
};

struct table {
    const struct qn_continuation_job *job;
    unsigned parts;
    struct qn_continuation *c;      /* [job->n] */
    struct shares *shares[N_KINDS]; /* [job->n] */
    size_t *first;                  /* [job->n]: of the first difference, SIZE_MAX: none */
    double *values;                 /* [job->n], scratch */
};

static size_t length_of(const struct qn_continuation *c, int kind)
{
    return kind == FREE && c->n[CANDIDATE] > c->n[MODEL] ? c->n[CANDIDATE] : c->n[MODEL];
}

static bool matches(const struct qn_continuation *c, int kind, size_t i)
{
    if (kind == FORCED)
        return c->forced[i] == c->ids[MODEL][i];
    return i < c->n[MODEL] && i < c->n[CANDIDATE] && c->ids[MODEL][i] == c->ids[CANDIDATE][i];
}

static double share(const struct qn_continuation *c, int kind, size_t begin, size_t end)
{
    size_t n = 0;
    for (size_t i = begin; i < end; i++)
        n += matches(c, kind, i);
    return end > begin ? (double)n / (double)(end - begin) : NAN;
}

static void measure(struct table *t, size_t item)
{
    const struct qn_continuation *c = &t->c[item];
    for (int k = 0; k < N_KINDS; k++) {
        const size_t n = length_of(c, k), part = n / t->parts;
        struct shares *s = &t->shares[k][item];
        s->match = share(c, k, 0, n);
        s->early = share(c, k, 0, part);
        s->late = share(c, k, n - part, n);
        s->drift = s->late - s->early;
    }
    t->first[item] = SIZE_MAX;
    for (size_t i = length_of(c, FREE); i-- > 0;)
        if (!matches(c, FREE, i))
            t->first[item] = i;
}

/* Mean over the prompts where a field of struct shares is a number. */
static struct qn_estimate mean_of(const struct table *t, int kind, size_t offset)
{
    size_t n = 0;
    for (size_t i = 0; i < t->job->n; i++) {
        double x;
        memcpy(&x, (const char *)&t->shares[kind][i] + offset, sizeof x);
        if (isfinite(x))
            t->values[n++] = x;
    }
    return n > 0 ? qn_estimate_mean(t->values, n, n) : (struct qn_estimate){NAN, NAN};
}

/* Mean share in each window, over the prompts that reach it, and how many do. */
static void put_windows(const struct table *t, int kind, json_t **j)
{
    json_t *means = json_array(), *prompts = json_array();
    for (size_t begin = 0;; begin += QN_MATCH_WINDOW) {
        size_t n = 0;
        for (size_t i = 0; i < t->job->n; i++) {
            const size_t length = length_of(&t->c[i], kind), end = begin + QN_MATCH_WINDOW;
            if (begin < length)
                t->values[n++] = share(&t->c[i], kind, begin, end < length ? end : length);
        }
        if (n == 0)
            break;
        qn_json_append(&means, qn_json_real(qn_mean(t->values, n)));
        qn_json_append(&prompts, json_integer((json_int_t)n));
    }
    qn_json_put(j, "windows", means);
    qn_json_put(j, "window_prompts", prompts);
}

json_t *qn_stability_thresholds(const struct qn_stability *s, const struct qn_stability_bars *bars,
                                json_t **passed)
{
    json_t *j = json_object();
    bool defined = !isnan(s->match) && !isnan(s->drift);
    bool all = qn_validation_bar(&j, "match", s->match, ">=", bars->match, bars->source);
    all &= qn_validation_bar(&j, "drift", s->drift, ">=", bars->drift, bars->source);
    if (!isnan(bars->late)) {
        all &= qn_validation_bar(&j, "late", s->late, ">=", bars->late, bars->source);
        defined &= !isnan(s->late);
    }
    *passed = defined ? json_boolean(all) : json_null();
    return j;
}

static json_t *kind_figures(const struct table *t, int kind, const struct qn_stability_bars *bars,
                            struct qn_stability *out)
{
    const struct qn_estimate match = mean_of(t, kind, offsetof(struct shares, match)),
                             early = mean_of(t, kind, offsetof(struct shares, early)),
                             late = mean_of(t, kind, offsetof(struct shares, late)),
                             drift = mean_of(t, kind, offsetof(struct shares, drift));
    json_t *j = json_object();
    double least = INFINITY, kl = 0.0;
    json_t *passed;
    for (size_t i = 0; i < t->job->n; i++)
        least = fmin(least, t->shares[kind][i].match);
    *out = (struct qn_stability){match.value, drift.value, late.value};
    qn_json_put_estimate(&j, "match", match);
    qn_json_put(&j, "minimum_match", qn_json_real(least));
    qn_json_put(&j, "early", qn_json_real(early.value));
    qn_json_put(&j, "late", qn_json_real(late.value));
    qn_json_put_estimate(&j, "drift", drift);
    for (size_t i = 0; i < t->job->n; i++) {
        t->values[i] = t->c[i].mean_kl;
        kl = fmax(kl, t->c[i].max_kl);
    }
    if (kind == FORCED) {
        qn_json_put_estimate(&j, "kl", qn_estimate_mean(t->values, t->job->n, t->job->n));
        qn_json_put(&j, "max_kl", qn_json_real(kl));
    }
    put_windows(t, kind, &j);
    qn_json_put(&j, "thresholds", qn_stability_thresholds(out, bars, &passed));
    qn_json_put(&j, "passed", passed);
    return j;
}

static int compare_sizes(const void *a, const void *b)
{
    const size_t x = *(const size_t *)a, y = *(const size_t *)b;
    return x < y ? -1 : x > y;
}

/* The lower median: null where less than half of the prompts ever differ. T->first is sorted. */
static json_t *first_divergence(const struct table *t)
{
    json_t *j = json_object();
    const size_t n = t->job->n, middle = (n - 1) / 2;
    size_t diverged = 0;
    for (size_t i = 0; i < n; i++)
        diverged += t->first[i] != SIZE_MAX;
    qsort(t->first, n, sizeof *t->first, compare_sizes);
    qn_json_put(&j, "diverged", json_integer((json_int_t)diverged));
    qn_json_put(&j, "median",
                t->first[middle] == SIZE_MAX ? json_null()
                                             : json_integer((json_int_t)t->first[middle]));
    return j;
}

/* Different runs of GRAM tokens over all of them: near 0 where a text goes round in circles. */
static double distinct_grams(const uint32_t *ids, size_t n)
{
    size_t distinct = 0;
    if (n < GRAM)
        return NAN;
    for (size_t i = 0; i + GRAM <= n; i++) {
        size_t k = 0;
        while (k < i && memcmp(ids + k, ids + i, GRAM * sizeof *ids) != 0)
            k++;
        distinct += k == i;
    }
    return (double)distinct / (double)(n - GRAM + 1);
}

/* "17 4 2047": arrays would take a line for each. */
static json_t *ids_text(const uint32_t *ids, size_t n)
{
    char text[QN_SHOWN_IDS * 11 + 1] = "";
    size_t at = 0;
    for (size_t i = 0; i < n && i < QN_SHOWN_IDS; i++)
        at += (size_t)snprintf(text + at, sizeof text - at, i ? " %" PRIu32 : "%" PRIu32, ids[i]);
    return json_string(text);
}

static json_t *prompt_kind(const struct table *t, size_t item, int kind)
{
    const struct qn_continuation *c = &t->c[item];
    const size_t n = length_of(c, kind);
    json_t *j = json_object(), *windows = json_array();
    for (size_t i = 0; i < n; i += QN_MATCH_WINDOW) {
        const size_t end = i + QN_MATCH_WINDOW < n ? i + QN_MATCH_WINDOW : n;
        qn_json_append(&windows, qn_json_real(share(c, kind, i, end)));
    }
    qn_json_put(&j, "match", qn_json_real(t->shares[kind][item].match));
    qn_json_put(&j, "windows", windows);
    return j;
}

static json_t *prompt_figures(const struct table *t, size_t item)
{
    const struct qn_continuation_prompt *prompt = &t->job->prompts[item];
    const struct qn_continuation *c = &t->c[item];
    const struct qn_digest digest = qn_continuation_digest(prompt);
    const size_t first = t->first[item];
    json_t *j = json_object();
    qn_json_put(&j, "id", json_integer((json_int_t)item));
    qn_json_put(&j, "kind", qn_json_text(prompt->kind));
    qn_json_put(&j, "fingerprint", qn_json_digest(&digest));
    qn_json_put(&j, "prompt_tokens", json_integer((json_int_t)prompt->n));
    qn_json_put(&j, "tokens", json_integer((json_int_t)c->n[MODEL]));
    qn_json_put(&j, "candidate_tokens", json_integer((json_int_t)c->n[CANDIDATE]));
    qn_json_put(&j, "ended", json_boolean(c->ended[MODEL]));
    qn_json_put(&j, "candidate_ended", json_boolean(c->ended[CANDIDATE]));
    qn_json_put(&j, "distinct_4_grams", qn_json_real(distinct_grams(c->ids[MODEL], c->n[MODEL])));
    qn_json_put(&j, "first_divergence",
                first == SIZE_MAX ? json_null() : json_integer((json_int_t)first));
    for (int k = 0; k < N_KINDS; k++)
        qn_json_put(&j, kind_keys[k], prompt_kind(t, item, k));
    qn_json_put(&j, "model_ids", ids_text(c->ids[MODEL], c->n[MODEL]));
    qn_json_put(&j, "candidate_ids", ids_text(c->ids[CANDIDATE], c->n[CANDIDATE]));
    qn_json_put(&j, "teacher_forced_ids", ids_text(c->forced, c->n[MODEL]));
    return j;
}

static bool allocate(struct table *t)
{
    const size_t n = t->job->n;
    bool good = (t->c = calloc(n, sizeof *t->c)) != NULL;
    for (int k = 0; k < N_KINDS; k++)
        good = good && (t->shares[k] = calloc(n, sizeof **t->shares)) != NULL;
    good = good && (t->first = calloc(n, sizeof *t->first)) != NULL;
    return good && (t->values = calloc(n, sizeof *t->values)) != NULL;
}

enum qins_status qn_continuation_report(const struct qn_validation *v,
                                        const struct qn_continuation_job *job, unsigned parts,
                                        const struct qn_stability_bars *bars, json_t **group,
                                        struct qn_stability *out, struct qins_error *err)
{
    struct table t = {.job = job, .parts = parts};
    struct qn_stability unused[N_KINDS];
    json_t *prompts = json_array();
    enum qins_status st = allocate(&t) ? QINS_OK : qn_fail_memory(err);
    for (size_t i = 0; i < job->n && st == QINS_OK; i++) {
        st = qn_continuation_get(v, job, i, &t.c[i], err);
        if (st != QINS_OK)
            break;
        measure(&t, i);
        qn_json_append(&prompts, prompt_figures(&t, i));
    }
    for (int k = 0; k < N_KINDS && st == QINS_OK; k++)
        qn_json_put(group, kind_keys[k], kind_figures(&t, k, bars, &(out ? out : unused)[k]));
    if (st == QINS_OK) {
        qn_json_put(group, "first_divergence", first_divergence(&t));
        qn_json_put(group, "prompts", prompts);
        prompts = NULL;
    }
    json_decref(prompts);
    free(t.c);
    for (int k = 0; k < N_KINDS; k++)
        free(t.shares[k]);
    free(t.first);
    free(t.values);
    return st;
}
