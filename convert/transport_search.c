/* What is tried for an input, and the choice among it. Whatever the options ask for, split and
 * decode are tried for all shapes and scales: the curves of a report need them. */
#include "convert/transport_work.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* DESIGN 2.5: shares of the largest input; and shapes from INT's to where eight bits are past
 * their best for any layer that was measured. */
const float qn_transport_clips[QN_TRANSPORT_CLIPS] = {1.0F, 0.85F, 0.7F, 0.6F,  0.5F,
                                                      0.4F, 0.35F, 0.3F, 0.25F, 0.2F};
const float qn_transport_kappas[QN_TRANSPORT_KAPPAS] = {
    0.0F, 0.125F, 0.25F, 0.5F, 0.75F, 1.0F, 1.5F, 2.0F, 3.0F, 4.0F, 6.0F, 8.0F, 12.0F, 16.0F};
/* Ridges of more features are solved one at a time: each takes memory of their square. */
enum { SMALL_FEATURES = 2048 };
/* Over the mean diagonal of the features' Gram matrix; an infinite one is split. */
static const double lambdas[] = {1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0};
enum { N_LAMBDAS = sizeof lambdas / sizeof *lambdas };

static unsigned most_planes(const struct qn_transport_options *o)
{
    return o->max_order ? o->max_order : QN_TRANSPORT_ORDER;
}

/* Whether the options leave ORDER to the choice. */
static bool is_allowed(const struct qn_transport_options *o, unsigned order, bool sign_plane)
{
    if (o->order)
        return order == o->order;
    return order + sign_plane <= most_planes(o);
}

static bool tries_ridge(const struct qn_transport_options *o)
{
    return (o->method == QN_RIDGE || o->method == QN_TRANSPORT_METHODS) && !o->sign_plane;
}

/* The values of a table, and the user's own behind them. */
static size_t axis(float *out, const float *table, size_t n, float own)
{
    bool known = own < 0.0F;
    for (size_t i = 0; i < n; i++) {
        out[i] = table[i];
        known |= table[i] == own;
    }
    if (!known)
        out[n++] = own;
    return n;
}

static size_t list_kinds(const struct qn_transport_options *o, struct qn_trial_kind *kinds)
{
    const bool all = o->method == QN_TRANSPORT_METHODS;
    size_t n = 0;
    kinds[n++] = (struct qn_trial_kind){.method = QN_DECODE};
    for (unsigned k = 1; k <= QN_TRANSPORT_ORDER; k++)
        kinds[n++] = (struct qn_trial_kind){.method = QN_SPLIT, .order = k};
    for (unsigned k = 1; k <= QN_TRANSPORT_ORDER && (all || o->sign_plane); k++)
        kinds[n++] = (struct qn_trial_kind){.method = QN_SPLIT, .order = k, .sign_plane = true};
    for (unsigned k = 1; k <= QN_TRANSPORT_ORDER && tries_ridge(o); k++)
        if (is_allowed(o, k, false))
            kinds[n++] = (struct qn_trial_kind){.method = QN_RIDGE, .order = k};
    if (all || o->method == QN_JACOBIAN_LITERAL) {
        kinds[n++] = (struct qn_trial_kind){.method = QN_JACOBIAN_LITERAL, .order = 1};
        kinds[n++] =
            (struct qn_trial_kind){.method = QN_JACOBIAN_LITERAL, .order = 1, .plain_output = true};
    }
    if (all || o->method == QN_JACOBIAN_TANGENT)
        kinds[n++] = (struct qn_trial_kind){.method = QN_JACOBIAN_TANGENT, .order = 1};
    return n;
}

size_t qn_trial_at(const struct qn_point_work *p, size_t kind, size_t kappa, size_t clip)
{
    return (kind * p->n_kappas + kappa) * p->n_clips + clip;
}

static bool all_square(const struct qn_point_work *p)
{
    bool square = true;
    for (size_t i = 0; i < p->n_layers; i++)
        square &= p->layers[i].part.out == p->rows.channels;
    return square;
}

static enum qins_status make_grid(struct qn_point_work *p, struct qins_error *err)
{
    p->n_kappas = axis(p->kappas, qn_transport_kappas, QN_TRANSPORT_KAPPAS, p->o->kappa);
    p->n_clips = axis(p->clips, qn_transport_clips, QN_TRANSPORT_CLIPS, p->o->clip);
    p->n_kinds = list_kinds(p->o, p->kinds);
    p->trials = calloc(p->n_kinds * p->n_kappas * p->n_clips, sizeof *p->trials);
    if (!p->trials)
        return qn_fail_memory(err);
    for (size_t i = 0; i < p->n_kinds; i++)
        for (size_t k = 0; k < p->n_kappas; k++)
            for (size_t c = 0; c < p->n_clips; c++)
                p->trials[qn_trial_at(p, i, k, c)] = (struct qn_trial){
                    .choice = {.method = p->kinds[i].method,
                               .order = p->kinds[i].order,
                               .sign_plane = p->kinds[i].sign_plane,
                               .levels = p->levels,
                               .square = all_square(p),
                               .kappa = p->kappas[k],
                               .clip = p->clips[c]},
                    .plain_output = p->kinds[i].plain_output,
                    .search = INFINITY,
                };
    return QINS_OK;
}

/* Trials that one worker runs: N of them, STEP apart. */
struct task {
    struct qn_trial *first;
    size_t n, step;
};

/* Tasks that are run side by side. */
struct batch {
    struct qn_point_work *p;
    struct task *tasks;
    size_t n;
    enum qins_status (*run)(const struct qn_point_work *p, const struct task *t,
                            struct qn_trial_scratch *s, struct qins_error *err);
    struct qn_trial_scratch *scratch; /* [threads] */
    const struct qn_search_progress *progress;
};

static enum qins_status run_item(void *ctx, unsigned slot, uint64_t item, struct qins_error *err)
{
    struct batch *b = ctx;
    return b->run(b->p, &b->tasks[item], &b->scratch[slot], err);
}

static enum qins_status count_item(void *ctx, unsigned slot, uint64_t item, struct qins_error *err)
{
    struct batch *b = ctx;
    (void)slot;
    (void)err;
    b->progress->tick(b->progress->ctx, b->tasks[item].n);
    return QINS_OK;
}

/* Runs b->tasks by RUN, and empties the list. */
static enum qins_status
run_batch(struct batch *b, unsigned threads,
          enum qins_status (*run)(const struct qn_point_work *p, const struct task *t,
                                  struct qn_trial_scratch *s, struct qins_error *err),
          struct qins_error *err)
{
    const struct qn_ordered job = {.work = run_item,
                                   .emit = count_item,
                                   .ctx = b,
                                   .threads = threads,
                                   .slots = threads,
                                   .end = b->n,
                                   .monitor = b->progress->monitor};
    b->run = run;
    const enum qins_status st = qn_run_ordered(&job, err);
    b->n = 0;
    return st;
}

static enum qins_status search(const struct qn_point_work *p, const struct task *t,
                               struct qn_trial_scratch *s, struct qins_error *err)
{
    return qn_trial_search(p, t->first, t->n, t->step, s, err);
}

/* The others are measured without a search of their own. */
static bool is_searched(enum qn_transport_method m)
{
    return m == QN_SPLIT || m == QN_DECODE;
}

/* Orders of one shape and scale go together. */
static enum qins_status search_grid(struct batch *b, struct qins_error *err)
{
    struct qn_point_work *p = b->p;
    const size_t step = p->n_kappas * p->n_clips;
    for (size_t i = 0, n; i < p->n_kinds; i += n) {
        n = p->kinds[i].method == QN_SPLIT ? QN_TRANSPORT_ORDER : 1;
        for (size_t k = 0; k < step && is_searched(p->kinds[i].method); k++)
            b->tasks[b->n++] = (struct task){&p->trials[i * step + k], n, step};
    }
    return run_batch(b, p->o->threads, search, err);
}

static enum qins_status measure(const struct qn_point_work *p, const struct task *t,
                                struct qn_trial_scratch *s, struct qins_error *err)
{
    struct qn_fit fit = {0};
    enum qins_status st = qn_fit_make(&p->rows, &t->first->choice, &fit, err);
    if (st == QINS_OK)
        st = qn_trial_measure(p, t->first, &fit, s, err);
    qn_fit_finish(&fit);
    return st;
}

static size_t best_clip(const struct qn_point_work *p, size_t kind, size_t kappa)
{
    size_t best = 0;
    for (size_t c = 1; c < p->n_clips; c++)
        if (p->trials[qn_trial_at(p, kind, kappa, c)].search <
            p->trials[qn_trial_at(p, kind, kappa, best)].search)
            best = c;
    return best;
}

/* Of each kind and shape: the largest scale, the best one, the user's. Jacobians have no use for a
 * smaller scale, and none for a shape of 0. */
static enum qins_status measure_grid(struct batch *b, struct qins_error *err)
{
    struct qn_point_work *p = b->p;
    for (size_t i = 0; i < p->n_kinds; i++)
        for (size_t k = 0; k < p->n_kappas && p->kinds[i].method != QN_RIDGE; k++) {
            const bool searched = is_searched(p->kinds[i].method);
            const size_t best = searched ? best_clip(p, i, k) : 0;
            for (size_t c = 0; c < p->n_clips; c++)
                if ((c == 0 || c == best || p->clips[c] == p->o->clip) &&
                    (searched || p->kappas[k] > 0.0F))
                    b->tasks[b->n++] = (struct task){&p->trials[qn_trial_at(p, i, k, c)], 1, 0};
        }
    return run_batch(b, p->o->threads, measure, err);
}

const struct qn_trial *qn_trial_best(const struct qn_point_work *p, size_t kind, float kappa,
                                     float clip)
{
    const struct qn_trial *best = NULL;
    for (size_t k = 0; k < p->n_kappas * p->n_clips; k++) {
        const struct qn_trial *t = &p->trials[kind * p->n_kappas * p->n_clips + k];
        if (!t->errors || (kappa >= 0.0F && t->choice.kappa != kappa) ||
            (clip >= 0.0F && t->choice.clip != clip))
            continue;
        if (!best || t->together.select.squared < best->together.select.squared)
            best = t;
    }
    return best;
}

/* The best of METHOD, of the orders that the options allow. */
static const struct qn_trial *best_of_method(const struct qn_point_work *p,
                                             enum qn_transport_method method)
{
    const struct qn_trial *best = NULL;
    for (size_t i = 0; i < p->n_kinds; i++) {
        const struct qn_trial_kind *k = &p->kinds[i];
        if (k->method != method ||
            (method == QN_SPLIT &&
             (k->sign_plane != p->o->sign_plane || !is_allowed(p->o, k->order, k->sign_plane))))
            continue;
        const struct qn_trial *t = qn_trial_best(p, i, p->o->kappa, p->o->clip);
        if (t && (!best || t->together.select.squared < best->together.select.squared))
            best = t;
    }
    return best;
}

/* On select rows of each layer, by both figures. */
static bool is_nowhere_worse(const struct qn_point_work *p, const struct qn_trial *t,
                             const struct qn_trial *than)
{
    for (size_t i = 0; i < p->n_layers; i++)
        if (!(t->errors[i].select.relative <= than->errors[i].select.relative) ||
            !(t->errors[i].select.squared <= than->errors[i].select.squared))
            return false;
    return true;
}

static size_t kind_of(const struct qn_point_work *p, enum qn_transport_method method,
                      unsigned order)
{
    size_t i = 0;
    while (p->kinds[i].method != method || p->kinds[i].order != order)
        i++;
    return i;
}

/* Measures T with LAMBDA, and leaves it so if it is better than it was and nowhere worse than
 * SPLIT. */
static enum qins_status try_lambda(const struct qn_point_work *p, struct qn_ridge *ridge,
                                   double lambda, const struct qn_trial *split, struct qn_trial *t,
                                   struct qn_trial_scratch *s, struct qins_error *err)
{
    struct qn_trial with = {.choice = t->choice};
    struct qn_fit fit = {0};
    with.choice.ridge = lambda;
    enum qins_status st = qn_ridge_solve(ridge, lambda, &fit, err);
    if (st == QINS_OK)
        st = qn_trial_measure(p, &with, &fit, s, err);
    qn_fit_finish(&fit);
    if (st == QINS_OK && is_nowhere_worse(p, &with, split) &&
        with.together.select.squared < t->together.select.squared) {
        struct qn_trial_errors *before = t->errors;
        t->choice = with.choice;
        t->together = with.together;
        t->clamped = with.clamped;
        t->errors = with.errors;
        with.errors = before;
    }
    free(with.errors);
    return st;
}

/* Measures a trial with each lambda, and leaves the best one's errors in it; where split is better,
 * split's. */
static enum qins_status measure_ridge(const struct qn_point_work *p, const struct task *task,
                                      struct qn_trial_scratch *s, struct qins_error *err)
{
    struct qn_trial *t = task->first;
    const struct qn_trial *split = t - task->step;
    struct qn_ridge *ridge = NULL;
    t->errors = malloc(p->n_layers * sizeof *t->errors);
    if (!t->errors)
        return qn_fail_memory(err);
    memcpy(t->errors, split->errors, p->n_layers * sizeof *t->errors);
    t->choice.ridge = INFINITY;
    t->together = split->together;
    enum qins_status st = qn_ridge_create(&p->rows, &t->choice, &ridge, err);
    for (size_t i = 0; i < N_LAMBDAS && st == QINS_OK; i++)
        st = try_lambda(p, ridge, lambdas[i], split, t, s, err);
    qn_ridge_destroy(ridge);
    return st;
}

/* With the scale that is best for split: of each order with the best shape, of the highest one
 * with every shape. */
static enum qins_status measure_ridges(struct batch *b, struct qins_error *err)
{
    struct qn_point_work *p = b->p;
    const bool small = p->rows.channels * QN_TRANSPORT_ORDER <= SMALL_FEATURES;
    const size_t kind_step = p->n_kappas * p->n_clips;
    for (size_t i = 0; i < p->n_kinds; i++) {
        const unsigned order = p->kinds[i].order;
        if (p->kinds[i].method != QN_RIDGE || p->rows.channels * order > QN_RIDGE_FEATURES)
            continue;
        const bool highest = i + 1 == p->n_kinds || p->kinds[i + 1].method != QN_RIDGE;
        const size_t split = kind_of(p, QN_SPLIT, order);
        const struct qn_trial *best = qn_trial_best(p, split, p->o->kappa, p->o->clip);
        for (size_t k = 0; k < kind_step; k++) {
            const struct qn_trial *t = &p->trials[split * kind_step + k];
            if (t == best || (highest && t == qn_trial_best(p, split, t->choice.kappa, p->o->clip)))
                b->tasks[b->n++] =
                    (struct task){&p->trials[i * kind_step + k], 1, (i - split) * kind_step};
        }
    }
    return run_batch(b, small ? p->o->threads : 1, measure_ridge, err);
}

/* The best of ridge that is nowhere worse than the best of split, or NULL. */
static const struct qn_trial *best_ridge(const struct qn_point_work *p)
{
    const struct qn_trial *best = NULL;
    for (size_t k = 0; k < p->n_kinds * p->n_kappas * p->n_clips; k++) {
        const struct qn_trial *t = &p->trials[k];
        if (t->choice.method == QN_RIDGE && t->errors && isfinite(t->choice.ridge) &&
            (p->o->kappa < 0.0F || t->choice.kappa == p->o->kappa) &&
            is_nowhere_worse(p, t, p->best[QN_SPLIT]) &&
            t->together.select.squared < (best ? best : p->best[QN_SPLIT])->together.select.squared)
            best = t;
    }
    return best;
}

static enum qins_status choose(struct qn_point_work *p, struct qins_error *err)
{
    enum qn_transport_method method = p->o->method;
    for (int m = 0; m < QN_TRANSPORT_METHODS; m++)
        p->best[m] = best_of_method(p, (enum qn_transport_method)m);
    if (tries_ridge(p->o) && p->best[QN_SPLIT]) {
        p->best[QN_RIDGE] = best_ridge(p);
        p->fallback = !p->best[QN_RIDGE];
        if (p->fallback)
            p->best[QN_RIDGE] = p->best[QN_SPLIT];
    }
    if (method == QN_TRANSPORT_METHODS)
        method = tries_ridge(p->o) ? QN_RIDGE : QN_SPLIT;
    p->chosen = p->best[method];
    return p->chosen
               ? QINS_OK
               : qn_fail(err, QINS_ERR_UNSUPPORTED, "nothing that the options allow was tried");
}

size_t qn_search_trials(const struct qn_transport_options *o)
{
    struct qn_trial_kind kinds[QN_TRIAL_KINDS];
    float scratch[QN_TRIAL_KAPPAS];
    const size_t kappas = axis(scratch, qn_transport_kappas, QN_TRANSPORT_KAPPAS, o->kappa);
    const size_t clips = axis(scratch, qn_transport_clips, QN_TRANSPORT_CLIPS, o->clip);
    const size_t n_kinds = list_kinds(o, kinds);
    size_t n = 0;
    for (size_t i = 0; i < n_kinds; i++)
        n += is_searched(kinds[i].method) ? kappas * clips : 0;
    return n;
}

/* The part that is worth a progress bar is the search. */
static void no_tick(void *ctx, size_t trials)
{
    (void)ctx;
    (void)trials;
}

static enum qins_status run_batches(struct batch *b, struct qins_error *err)
{
    const struct qn_search_progress *loud = b->progress;
    const struct qn_search_progress quiet = {.tick = no_tick, .monitor = loud->monitor};
    enum qins_status st = search_grid(b, err);
    b->progress = &quiet;
    if (st == QINS_OK)
        st = measure_grid(b, err);
    if (st == QINS_OK)
        st = measure_ridges(b, err);
    b->progress = loud;
    return st;
}

enum qins_status qn_search_point(struct qn_point_work *p, const struct qn_search_progress *progress,
                                 struct qins_error *err)
{
    struct batch b = {.p = p, .progress = progress};
    enum qins_status st = make_grid(p, err);
    if (st == QINS_OK)
        st = qn_trials_prepare(p, err);
    if (st != QINS_OK)
        return st;
    b.tasks = calloc(p->n_kinds * p->n_kappas * p->n_clips, sizeof *b.tasks);
    b.scratch = calloc(p->o->threads, sizeof *b.scratch);
    if (!b.tasks || !b.scratch)
        st = qn_fail_memory(err);
    for (unsigned i = 0; i < p->o->threads && st == QINS_OK; i++)
        st = qn_trial_scratch_init(&b.scratch[i], p, err);
    if (st == QINS_OK)
        st = run_batches(&b, err);
    if (st == QINS_OK)
        st = choose(p, err);
    for (unsigned i = 0; i < p->o->threads && b.scratch; i++)
        qn_trial_scratch_finish(&b.scratch[i]);
    free(b.scratch);
    free(b.tasks);
    return st;
}

static void free_errors(struct qn_trial *trials, size_t n)
{
    for (size_t i = 0; i < n && trials; i++)
        free(trials[i].errors);
    free(trials);
}

void qn_point_work_finish(struct qn_point_work *p)
{
    for (int i = 0; i <= QN_ROWS_TEST; i++)
        free((float *)p->rows.x[i]);
    free(p->w);
    free(p->outputs);
    free(p->gram);
    free_errors(p->trials, p->n_kinds * p->n_kappas * p->n_clips);
    *p = (struct qn_point_work){0};
}
