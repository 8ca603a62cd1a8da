#include "convert/plan_job.h"

#include "convert/plan_refine.h"
#include "convert/plan_size.h"
#include "convert/plan_trial.h"
#include "convert/plan_work.h"
#include "policy/defaults.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    MOST_ROUNDS = 16, /* of allocation, each with the sizes that were found of the choices before */
};

/* Predicted sizes of coded tensors are right to this share; what a plan is allowed is less by as
 * much, so that archives meet their size from below. */
#define SIZE_MARGIN 0.001
/* Another round, where what was chosen is found to take less than predicted by this share. */
#define MOST_UNUSED 0.001

/* Sensitivities below this share of the median's are noise. */
#define LEAST_SENSITIVITY 1e-3

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* What relative error of one weight costs: KL of a tensor's error, over its share of the squared
 * values and over its elements; median of all that was measured. */
static enum qins_status median_density(const double *density, size_t n, double *median,
                                       struct qins_error *err)
{
    double *sorted = calloc(n + 1, sizeof *sorted);
    size_t used = 0;
    if (!sorted)
        return qn_fail_memory(err);
    for (size_t i = 0; i < n; i++)
        if (density[i] > 0.0)
            sorted[used++] = density[i];
    qsort(sorted, used, sizeof *sorted, by_value);
    *median = used ? sorted[used / 2] : 1.0;
    free(sorted);
    return QINS_OK;
}

/* Of a tensor's items together. */
struct share {
    double squares, elements;
};

/* The items of tensor INDEX from *NEXT on. */
static struct share share_of(const struct qn_plan_work *w, size_t index, size_t *next)
{
    struct share s = {0};
    for (; *next < w->n_items && w->items[*next].tensor == index; ++*next) {
        const struct qn_planned *item = &w->items[*next];
        s.squares += item->squares;
        s.elements += (double)item->elements;
    }
    return s;
}

/* Feedback rounding lowers what a tensor's error does. */
static enum qins_status feedback_gain(const struct qn_plan_work *w, const struct qn_tensor *t,
                                      enum qn_rounding *rounding, double *gain, double *spread,
                                      struct qins_error *err)
{
    *gain = 1.0;
    *spread = 0.0;
    *rounding = QN_ROUND_NEAREST;
    if (w->options->rounding == QN_ROUND_NEAREST || !w->feedback ||
        qn_feedback_obstacle(w->feedback, t))
        return QINS_OK;
    *rounding = QN_ROUND_FEEDBACK;
    enum qins_status st = qn_feedback_gain(w->feedback, t, gain, err);
    return st == QINS_OK ? qn_feedback_spread(w->feedback, t, spread, err) : st;
}

/* Costs of all codings: predicted mean KL where sensitivities were measured, else the tensor's
 * relative error by its share of the elements, so that all tensors get one SQNR. */
static enum qins_status weigh(struct qn_plan_work *w, enum qn_rounding *roundings,
                              struct qins_error *err)
{
    const struct qn_tensor_list *list = &w->source->checkpoint->tensors;
    double *density = calloc(list->count + 1, sizeof *density), median = 1.0, elements = 0.0;
    enum qins_status st = QINS_OK;
    size_t next = 0;
    if (!density)
        return qn_fail_memory(err);
    for (size_t i = 0; i < list->count && st == QINS_OK; i++) {
        struct share s = share_of(w, i, &next);
        double g = qn_plan_sensitivity(w, list->items[i].name);
        density[i] = g > 0.0 && s.elements > 0.0 ? g * s.squares / s.elements : 0.0;
        elements += s.elements;
    }
    if (st == QINS_OK)
        st = median_density(density, list->count, &median, err);
    next = 0;
    for (size_t i = 0, k = 0; i < list->count && st == QINS_OK; i++) {
        struct share s = share_of(w, i, &next);
        double gain, spread, per_weight = 1.0 / elements;
        st = feedback_gain(w, &list->items[i], &roundings[i], &gain, &spread, err);
        if (w->measured)
            per_weight = fmax(density[i] > 0.0 ? density[i] : median, LEAST_SENSITIVITY * median);
        w->plan->tensors[i].sensitivity =
            s.squares > 0.0 && w->measured ? per_weight * s.elements / s.squares : NAN;
        for (; k < next; k++) {
            qn_planned_spread(&w->items[k], spread);
            if (s.squares > 0.0)
                qn_planned_scale(&w->items[k], gain * per_weight * s.elements / s.squares);
        }
    }
    free(density);
    return st;
}

static double float_elements(const struct qn_plan_work *w)
{
    const struct qn_tensor_list *list = &w->source->checkpoint->tensors;
    double n = 0.0;
    for (size_t i = 0; i < list->count; i++)
        if (qn_dtype_is_float(list->items[i].dtype))
            n += (double)list->items[i].n_elements;
    return n;
}

/* The options' budget, else the policy's. */
static enum qins_status set_budget(struct qn_plan_work *w, struct qins_error *err)
{
    const struct qn_plan_job_options *o = w->options;
    bool given = o->target_bits > 0.0 || o->target_bytes > 0 || o->max_error > 0.0;
    double bits = given ? o->target_bits : w->policy.target_bits;
    double bytes = (double)(given ? o->target_bytes : w->policy.target_bytes);
    double most = given ? o->max_error : w->policy.max_error;
    if (bits > 0.0)
        bytes = floor(bits * float_elements(w) / 8.0);
    w->budget = (struct qn_budget){-1.0, -1.0, INFINITY};
    w->target = -1.0;
    if (bytes > 0.0)
        w->target = bytes;
    else if (most > 0.0)
        w->budget.cost = most;
    else
        return qn_fail(err, QINS_ERR_USAGE,
                       "neither the policy nor an option says how large or how good the archive "
                       "shall be: --target-bits, --target-size or --max-error");
    if (!w->policy.nothing_hot && w->calibration)
        w->budget.decode_ns = (1.0 + w->policy.hot_decode_overhead) *
                              qn_packed_decode_ns(w->items, w->n_items, &w->costs);
    return QINS_OK;
}

/* The lines of what was chosen. */
static enum qins_status write_lines(struct qn_plan_work *w, const enum qn_rounding *roundings,
                                    struct qins_error *err)
{
    for (size_t i = 0, end; i < w->n_items; i = end) {
        struct qn_plan_tensor *p = &w->plan->tensors[w->items[i].tensor];
        enum qn_rounding rounding = roundings[w->items[i].tensor];
        for (end = i; end < w->n_items && w->items[end].tensor == w->items[i].tensor;)
            end++;
        free(p->blocks);
        p->blocks = NULL;
        p->n_blocks = end - i > 1 ? end - i : 0;
        if (p->n_blocks) {
            p->blocks = calloc(p->n_blocks, sizeof *p->blocks);
            if (!p->blocks)
                return qn_fail_memory(err);
        }
        p->predicted_bytes = p->predicted_error = 0.0;
        for (size_t k = i; k < end; k++) {
            const struct qn_planned *item = &w->items[k];
            struct qn_plan_line *line = p->n_blocks ? &p->blocks[k - i].line : &p->line;
            qn_plan_line_of(item, &w->policy, &w->costs, rounding, line);
            if (p->n_blocks) {
                p->blocks[k - i].row_begin = item->row_begin;
                p->blocks[k - i].row_end = item->row_end;
            }
            p->predicted_bytes += item->codings[item->chosen].bytes;
            p->predicted_error += item->codings[item->chosen].candidate.error;
        }
    }
    return QINS_OK;
}

/* Where blocks differ, the tensor's own line tells what they have in common: the first one's
 * coding, the class of all or none, how often any of it is touched. */
static void sum_up_blocks(struct qn_plan_tensor *p, double touches)
{
    if (p->n_blocks == 0)
        return;
    p->line = p->blocks[0].line;
    p->line.access_frequency = touches;
    for (size_t i = 1; i < p->n_blocks; i++)
        if (p->blocks[i].line.access_class != p->line.access_class)
            p->line.access_class = QN_CLASS_UNKNOWN;
    snprintf(p->line.reason, sizeof p->line.reason,
             "%zu blocks of rows, as often used and as sensitive as their tokens are frequent",
             p->n_blocks);
}

/* Nobody has chosen the budget of the policy that goes where none is given. */
static bool asked_for(const struct qn_plan_work *w)
{
    const struct qn_plan_job_options *o = w->options;
    return o->policy || o->target_bits > 0.0 || o->target_bytes > 0 || o->max_error > 0.0;
}

static enum qins_status too_little(const struct qn_plan_work *w, struct qins_error *err)
{
    double n = float_elements(w), best = w->summary.bytes + w->lossless_bytes + w->overhead;
    if (w->target >= 0.0)
        return qn_fail_at(err, QINS_ERR_UNSUPPORTED, w->path, NULL, QN_NO_OFFSET,
                          "impossible budget: %.0f bytes (%.3f bits a weight) are asked for, the "
                          "smallest plan takes %.0f (%.3f)",
                          w->target, 8.0 * w->target / n, best, 8.0 * best / n);
    return qn_fail_at(err, QINS_ERR_UNSUPPORTED, w->path, NULL, QN_NO_OFFSET,
                      "impossible budget: an error of %g is asked for, the least that the policy "
                      "allows is %g",
                      w->budget.cost, w->summary.cost);
}

static enum qins_status finish_lines(struct qn_plan_work *w, const enum qn_rounding *roundings,
                                     struct qins_error *err)
{
    enum qins_status st = write_lines(w, roundings, err);
    for (size_t i = 0; i < w->plan->count && st == QINS_OK; i++) {
        struct qn_tensor_access access;
        qn_plan_access(w, &w->source->checkpoint->tensors.items[i], &access);
        sum_up_blocks(&w->plan->tensors[i], access.touches);
    }
    return st == QINS_OK ? qn_plan_overhead(w->source, w->plan, &w->overhead, err) : st;
}

/* Feedback's codes are predicted to a few parts in a hundred only: those that were chosen are
 * encoded, each coding once. */
static enum qins_status measure_feedback(struct qn_plan_work *w, const enum qn_rounding *roundings,
                                         struct qins_error *err)
{
    enum qins_status st = QINS_OK;
    w->summary.bytes = 0.0;
    for (size_t i = 0; i < w->n_items && st == QINS_OK; i++) {
        struct qn_planned *item = &w->items[i];
        const struct qn_coding *c = &item->codings[item->chosen];
        if (roundings[item->tensor] == QN_ROUND_FEEDBACK && c->codec != QN_CODEC_BITPACK &&
            !c->measured) {
            double bytes = 0.0;
            st = qn_plan_measure(w, item, &bytes, err);
            if (st == QINS_OK)
                qn_planned_correct(item, bytes + item->extra_bytes);
        }
        w->summary.bytes += c->bytes;
    }
    return st;
}

/* Choices for a size. The overhead depends on the lines a little, and so the lines on it. */
static enum qins_status choose_by_size(struct qn_plan_work *w, const enum qn_rounding *roundings,
                                       struct qins_error *err)
{
    enum qins_status st = QINS_OK;
    bool done = false;
    for (int i = 0; i < MOST_ROUNDS && st == QINS_OK && !done; i++) {
        const double fixed = w->lossless_bytes + w->overhead;
        w->budget.bytes = fmax(0.0, (1.0 - SIZE_MARGIN) * (w->target - fixed));
        st = qn_plan_choose(w->items, w->n_items, &w->budget, &w->summary, err);
        if (st != QINS_OK || !w->summary.met)
            break;
        const double predicted = w->summary.bytes;
        st = measure_feedback(w, roundings, err);
        const double found = w->summary.bytes + w->lossless_bytes;
        if (st == QINS_OK)
            st = finish_lines(w, roundings, err);
        /* Once more where there is room left that was not before. */
        const bool fits = found + w->overhead <= w->target;
        done = fits && w->summary.bytes >= (1.0 - MOST_UNUSED) * predicted;
    }
    return st;
}

static enum qins_status allocate(struct qn_plan_work *w, struct qins_error *err)
{
    static const unsigned finer[] = {0, 128, 1024}; /* steps an octave; candidates have 8 */
    enum qn_rounding *roundings = calloc(w->plan->count + 1, sizeof *roundings);
    if (!roundings)
        return qn_fail_memory(err);
    enum qins_status st = weigh(w, roundings, err);
    if (st == QINS_OK)
        st = set_budget(w, err);
    if (st == QINS_OK)
        st = finish_lines(w, roundings, err);
    for (size_t i = 0; i < sizeof finer / sizeof *finer && st == QINS_OK; i++) {
        if (finer[i] > 0)
            st = qn_plan_refine(w, roundings, finer[i], err);
        if (st == QINS_OK)
            st = w->target >= 0.0
                     ? choose_by_size(w, roundings, err)
                     : qn_plan_choose(w->items, w->n_items, &w->budget, &w->summary, err);
    }
    if (st == QINS_OK && !w->summary.met && asked_for(w))
        st = too_little(w, err);
    if (st == QINS_OK)
        st = finish_lines(w, roundings, err);
    free(roundings);
    return st;
}

/* Tells who asked for more than any coding takes that the policy allows. */
static void note_unused(const struct qn_plan_work *w)
{
    const double bytes = w->summary.bytes + w->lossless_bytes + w->overhead, n = float_elements(w);
    if (asked_for(w) && n > 0.0 && w->target >= 0.0 && w->summary.met &&
        w->summary.multiplier == 0.0 && bytes < (1.0 - MOST_UNUSED) * w->target)
        qn_notice(w->monitor,
                  "%.0f bytes (%.3f bits a weight) were asked for; the best that the policy allows "
                  "takes %.0f (%.3f)",
                  w->target, 8.0 * w->target / n, bytes, 8.0 * bytes / n);
}

static enum qins_status keep_candidates(struct qn_plan_work *w, struct qins_error *err)
{
    for (size_t i = 0; i < w->n_items; i++) {
        struct qn_plan_tensor *p = &w->plan->tensors[w->items[i].tensor];
        if (!p->candidates)
            p->candidates = json_array();
        if (json_array_append_new(p->candidates, qn_plan_candidates(&w->items[i])) != 0)
            return qn_fail_memory(err);
    }
    return QINS_OK;
}

static json_t *budget_to_json(const struct qn_plan_work *w)
{
    json_t *j = json_object();
    double n = float_elements(w);
    qn_json_put(&j, "target_size_bytes", qn_json_real(w->target >= 0.0 ? w->target : NAN));
    qn_json_put(&j, "target_bits",
                qn_json_real(w->target >= 0.0 && n > 0.0 ? 8.0 * w->target / n : NAN));
    qn_json_put(&j, "max_error", qn_json_real(w->budget.cost >= 0.0 ? w->budget.cost : NAN));
    qn_json_put(&j, "decode_ns_per_token", qn_json_real(w->budget.decode_ns));
    return j;
}

static enum qins_status summarise(struct qn_plan_work *w, struct qins_error *err)
{
    json_t *j = json_object();
    double bytes = w->summary.bytes + w->lossless_bytes + w->overhead, n = float_elements(w);
    qn_json_put(&j, "policy", qn_json_text(w->policy.name));
    qn_json_put(&j, "policy_fingerprint", qn_json_digest(&w->policy.fingerprint));
    qn_json_put(&j, "costs_fingerprint", qn_json_digest(&w->costs.fingerprint));
    qn_json_put(&j, "calibrated", json_boolean(w->calibration != NULL));
    qn_json_put(&j, "model_fingerprint",
                w->calibration && w->calibration->model_name
                    ? qn_json_digest(&w->calibration->model)
                    : json_null());
    qn_json_put(&j, "measured", json_boolean(w->measured));
    qn_json_put(&j, "cost",
                json_string(w->measured ? "mean KL in nats, predicted from measured sensitivities"
                                        : "relative squared error, one SQNR for all tensors: "
                                          "sensitivities were not measured"));
    qn_json_put(&j, "budget", budget_to_json(w));
    qn_json_put(&j, "met", json_boolean(w->summary.met));
    qn_json_put(&j, "predicted_bytes", qn_json_real(bytes));
    qn_json_put(&j, "predicted_bits_per_weight", qn_json_real(n > 0.0 ? 8.0 * bytes / n : NAN));
    qn_json_put(&j, "overhead_bytes", qn_json_real(w->overhead));
    qn_json_put(&j, "lossless_bytes", qn_json_real(w->lossless_bytes));
    qn_json_put(&j, "predicted_cost", qn_json_real(w->summary.cost));
    qn_json_put(&j, "multiplier", qn_json_real(w->summary.multiplier));
    qn_json_put(&j, "decode_ns_per_token", qn_json_real(w->summary.decode_ns));
    w->plan->summary = j;
    return j ? QINS_OK : qn_fail_memory(err);
}

static enum qins_status study_all(struct qn_plan_work *w, struct qins_error *err)
{
    const struct qn_tensor_list *list = &w->source->checkpoint->tensors;
    uint64_t total = 0, done = 0;
    enum qins_status st = QINS_OK;
    for (size_t i = 0; i < list->count; i++)
        total += list->items[i].n_bytes;
    for (size_t i = 0; i < list->count && st == QINS_OK; i++) {
        st = qn_check_stop(w->monitor, err);
        if (st == QINS_OK)
            st = qn_plan_tensor_study(w, i, qn_policy_match(&w->policy, list->items[i].name), done,
                                      total, err);
        done += list->items[i].n_bytes;
    }
    return st;
}

enum qins_status qn_make_plan(const char *path, const struct qn_plan_job_options *options,
                              const struct qn_monitor *monitor, struct qn_plan *plan,
                              struct qins_error *err)
{
    struct qn_plan_work w = {.path = path, .options = options, .monitor = monitor, .plan = plan};
    *plan = (struct qn_plan){0};
    enum qins_status st = qn_plan_work_open(&w, err);
    if (st == QINS_OK)
        st = study_all(&w, err);
    if (st == QINS_OK)
        st = allocate(&w, err);
    if (st == QINS_OK)
        st = qn_source_check_unchanged(w.source, err);
    if (st == QINS_OK && !w.measured)
        qn_notice(monitor, w.calibration
                               ? "the calibration holds no sensitivities: all tensors get "
                                 "one SQNR"
                               : "without a calibration, classes are unknown and all "
                                 "tensors get one SQNR");
    if (st == QINS_OK && !w.summary.met)
        qn_notice(monitor, "the default budget cannot be met: this is the smallest plan");
    if (st == QINS_OK)
        note_unused(&w);
    if (st == QINS_OK)
        st = keep_candidates(&w, err);
    if (st == QINS_OK)
        st = summarise(&w, err);
    if (st != QINS_OK)
        qn_plan_finish(plan);
    qn_plan_work_finish(&w);
    return st;
}
