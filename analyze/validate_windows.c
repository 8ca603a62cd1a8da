#include "analyze/divergence.h"
#include "analyze/validate_job.h"
#include "core/bytes.h"
#include "core/clock.h"

#include <inttypes.h>
#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

/* A pass of both models over windows, each an item of a test in the journal. */
struct pass {
    struct qn_validation *v;
    const char *test;
    uint64_t first; /* window that is item 0 */
    size_t record, window_bytes;
    size_t doubles;                       /* that a record begins with */
    struct qn_logits_file *logits;        /* or NULL */
    struct qn_position_scratch **scratch; /* [threads], of positions */
};

/* Of positions. */
static const char position_track[] = "windows";
enum { position_doubles = offsetof(struct qn_position, overlap) / sizeof(double) };

static void score_nll(void *ctx, unsigned slot, uint64_t at,
                      const float *const logits[QN_PREDICTORS], uint32_t next, void *record)
{
    const struct pass *p = ctx;
    struct qn_nll *nll = record;
    (void)slot;
    for (int i = 0; i < QN_PREDICTORS && logits[i]; i++)
        nll->of[i] =
            qn_log_sum_exp(logits[i], p->v->models[i]->config.vocab) - (double)logits[i][next];
    if (p->logits)
        qn_logits_file_put(p->logits, at, logits, next);
}

static void score_position(void *ctx, unsigned slot, uint64_t at,
                           const float *const logits[QN_PREDICTORS], uint32_t next, void *record)
{
    const struct pass *p = ctx;
    qn_position_compare(p->scratch[slot], logits[0], logits[1], next, record);
    if (p->logits)
        qn_logits_file_put(p->logits, at, logits, next);
}

static enum qins_status note(void *ctx, uint64_t window, const void *records,
                             struct qins_error *err)
{
    const struct pass *p = ctx;
    enum qins_status st = p->logits ? qn_logits_file_check(p->logits, err) : QINS_OK;
    (void)window;
    return st == QINS_OK ? qn_journal_add(p->v->journal, p->test, records, p->window_bytes, err)
                         : st;
}

/* Runs the windows, those of the part, that the journal lacks. */
static enum qins_status run(struct pass *p, struct qn_scoring *s, struct qn_pass_cost *cost,
                            struct qins_error *err)
{
    struct qn_validation *v = p->v;
    uint64_t begin, end;
    qn_shard_range(&v->options->shard, s->windows->count - p->first, &begin, &end);
    const uint64_t have = qn_min_u64(qn_journal_count(v->journal, p->test), end - begin);
    const double begun = qn_seconds();
    s->run.windows = p->first + end;
    s->run.skip = p->first + begin + have;
    s->run.threads = v->options->threads;
    s->run.monitor = v->monitor;
    for (int i = 0; i < QN_PREDICTORS; i++) {
        s->run.models[i] = v->models[i];
        s->run.kv[i] = v->kv[i];
    }
    s->done = note;
    s->ctx = p;
    *cost = (struct qn_pass_cost){.resumed = have};
    enum qins_status st = s->run.skip < s->run.windows ? qn_score_windows(s, err) : QINS_OK;
    cost->seconds = qn_seconds() - begun;
    cost->run = s->run.windows - s->run.skip;
    for (int i = 0; i < QN_PREDICTORS; i++) {
        cost->model_seconds[i] = s->run.seconds[i];
        cost->compute[i] = s->run.counts[i];
        qn_compute_counts_add(&v->compute[i], &s->run.counts[i]);
    }
    qn_kv_counts_add(&v->kv_counts, &s->run.kv_counts[QN_PREDICTORS - 1]);
    return st;
}

/* Records of RECORD bytes begin with numbers, DOUBLES of them, and none that a run makes is NaN:
 * sums and sorted figures may rely on that, whatever somebody put into a file. */
static bool sound(const uint8_t *records, size_t size, size_t record, size_t doubles)
{
    for (size_t at = 0; at < size; at += record)
        for (size_t i = 0; i < doubles; i++) {
            double x;
            memcpy(&x, records + at + i * sizeof x, sizeof x);
            if (isnan(x))
                return false;
        }
    return true;
}

bool qn_validation_window_sound(const char *test, const struct qn_text_windows *windows,
                                const void *records, size_t size)
{
    const bool whole = strcmp(test, position_track) == 0;
    const size_t record = whole ? sizeof(struct qn_position) : sizeof(struct qn_nll);
    return size == qn_text_windows_scored(windows) * record &&
           sound(records, size, record, whole ? position_doubles : QN_PREDICTORS);
}

enum qins_status qn_validation_item(const struct qn_validation *v, const char *test, uint64_t item,
                                    size_t size, const void **out, struct qins_error *err)
{
    size_t found;
    *out = qn_journal_get(v->journal, test, item, &found);
    return found == size ? QINS_OK : qn_validation_bad_item(v, test, item, err);
}

enum qins_status qn_validation_bad_item(const struct qn_validation *v, const char *test,
                                        uint64_t item, struct qins_error *err)
{
    return qn_fail_at(err, QINS_ERR_FORMAT, v->options->journal, NULL, QN_NO_OFFSET,
                      "item %" PRIu64 " of '%s' is none that this run would make: remove the file",
                      item, test);
}

enum qins_status qn_validation_items(const struct qn_validation *v, const char *test, uint64_t n,
                                     size_t size, const void ***out, struct qins_error *err)
{
    const void **items = calloc((size_t)n + 1, sizeof *items);
    enum qins_status st = QINS_OK;
    *out = NULL;
    if (!items)
        return qn_fail_memory(err);
    for (uint64_t i = 0; i < n && st == QINS_OK; i++)
        st = qn_validation_item(v, test, i, size, &items[i], err);
    if (st != QINS_OK) {
        free(items);
        items = NULL;
    }
    *out = items;
    return st;
}

/* Runs the pass and hands out its records, a pointer for each window. */
static enum qins_status make(struct pass *p, struct qn_scoring *s, const void ***out,
                             struct qn_pass_cost *cost, struct qins_error *err)
{
    const uint64_t windows = s->windows->count - p->first;
    p->record = s->record;
    p->window_bytes = qn_text_windows_scored(s->windows) * s->record;
    *out = NULL;
    enum qins_status st = QINS_OK;
    if (p->v->merged)
        *cost = p->v->positions_cost;
    else if (windows > 0)
        st = run(p, s, cost, err);
    if (st == QINS_OK)
        st = qn_validation_items(p->v, p->test, windows, p->window_bytes, out, err);
    for (uint64_t i = 0; *out && i < windows && st == QINS_OK; i++)
        if (!sound((*out)[i], p->window_bytes, p->record, p->doubles))
            st = qn_validation_bad_item(p->v, p->test, i, err);
    if (st == QINS_OK && p->logits)
        st = qn_logits_file_commit(p->logits, err);
    return st;
}

/* Runs the windows of the part. */
static enum qins_status collect(struct pass *p, struct qn_scoring *s, struct qn_pass_cost *cost,
                                struct qins_error *err)
{
    p->record = s->record;
    p->window_bytes = qn_text_windows_scored(s->windows) * s->record;
    return s->windows->count > p->first ? run(p, s, cost, err) : QINS_OK;
}

static struct qn_scoring nll_scoring(const struct qn_text_windows *windows)
{
    return (struct qn_scoring){.windows = windows,
                               .what = "perplexity",
                               .score = score_nll,
                               .record = sizeof(struct qn_nll)};
}

enum qins_status qn_validation_collect_nll(struct qn_validation *v, const char *test,
                                           const struct qn_text_windows *windows, uint64_t first,
                                           struct qn_pass_cost *cost, struct qins_error *err)
{
    struct pass p = {.v = v, .test = test, .first = first, .doubles = QN_PREDICTORS};
    struct qn_scoring s = nll_scoring(windows);
    return collect(&p, &s, cost, err);
}

enum qins_status qn_validation_nll(struct qn_validation *v, const char *test,
                                   const struct qn_text_windows *windows, uint64_t first,
                                   const void ***nll, struct qn_pass_cost *cost,
                                   struct qins_error *err)
{
    struct pass p = {.v = v, .test = test, .first = first, .doubles = QN_PREDICTORS};
    struct qn_scoring s = nll_scoring(windows);
    if (windows == &v->windows) /* logits are of the text's, in the style that was asked for */
        p.logits = v->logits;
    return make(&p, &s, nll, cost, err);
}

static enum qins_status create_scratch(struct pass *p, struct qins_error *err)
{
    const unsigned threads = p->v->options->threads;
    enum qins_status st = QINS_OK;
    p->scratch = calloc(threads, sizeof(struct qn_position_scratch *));
    if (!p->scratch)
        return qn_fail_memory(err);
    for (unsigned i = 0; i < threads && st == QINS_OK; i++)
        st = qn_position_scratch_create(&p->scratch[i], p->v->models[0]->config.vocab, err);
    return st;
}

static void destroy_scratch(struct pass *p)
{
    for (unsigned i = 0; p->scratch && i < p->v->options->threads; i++)
        qn_position_scratch_destroy(p->scratch[i]);
    free(p->scratch);
}

/* The pass over positions: what qn_validation_positions() and qn_validation_collect() share. */
static enum qins_status run_positions(struct qn_validation *v, bool only_collect,
                                      struct qins_error *err)
{
    struct pass pass = {
        .v = v, .test = position_track, .doubles = position_doubles, .logits = v->logits};
    struct qn_scoring s = {.windows = &v->windows,
                           .what = "comparing predictions",
                           .score = score_position,
                           .record = sizeof(struct qn_position)};
    enum qins_status st = v->merged ? QINS_OK : create_scratch(&pass, err);
    if (st == QINS_OK && only_collect)
        st = collect(&pass, &s, &v->positions_cost, err);
    else if (st == QINS_OK)
        st = make(&pass, &s, &v->positions, &v->positions_cost, err);
    destroy_scratch(&pass);
    return st;
}

enum qins_status qn_validation_collect(struct qn_validation *v, struct qins_error *err)
{
    const enum qins_status st = v->collected ? QINS_OK : run_positions(v, true, err);
    v->collected = st == QINS_OK;
    return st;
}

enum qins_status qn_validation_positions(struct qn_validation *v, struct qn_positions *out,
                                         struct qins_error *err)
{
    const enum qins_status st = v->positions ? QINS_OK : run_positions(v, false, err);
    *out = (struct qn_positions){.of = v->positions,
                                 .windows = v->windows.count,
                                 .each = qn_text_windows_scored(&v->windows)};
    return st;
}
