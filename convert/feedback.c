#include "convert/feedback.h"

#include "core/cholesky.h"
#include "model/arch.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>

enum {
    READ_ROWS = 64,        /* of a Gram matrix, at a time */
    KEPT_BYTES = 64 << 20, /* of factors that nobody uses: layers come back to a point */
};

struct factor {
    struct qn_feedback f; /* first: it is what users hold */
    float *values;
    uint32_t *order;
    size_t point;
    unsigned users;
    double gain, spread;
    struct factor *next;
};

struct qn_feedback_source {
    struct qn_calibration_file file;
    bool transposed;        /* the model's linear weights, the head's apart */
    pthread_mutex_t making; /* the file, and one factor at a time; taken before LOCK */
    pthread_mutex_t lock;   /* the list and its counts of users; never for long */
    struct factor *factors; /* the last used first */
};

enum qins_status qn_feedback_open(struct qn_feedback_source **out, const char *path,
                                  const struct qn_checkpoint *model,
                                  const struct qn_monitor *monitor, struct qins_error *err)
{
    struct qn_model_config config;
    struct qins_error unknown;
    struct qn_feedback_source *s = calloc(1, sizeof *s);
    *out = NULL;
    if (!s)
        return qn_fail_memory(err);
    enum qins_status st = qn_calibration_open(&s->file, path, QN_CALIBRATION_WHOLE, monitor, err);
    if (st != QINS_OK) {
        free(s);
        return st;
    }
    /* A model that qins cannot run has no config, nor a calibration of its own making. */
    if (model && qn_config_find(&model->attachments, &config, &unknown) == QINS_OK)
        s->transposed = config.arch->transposed;
    pthread_mutex_init(&s->making, NULL);
    pthread_mutex_init(&s->lock, NULL);
    *out = s;
    return QINS_OK;
}

static void destroy_factor(struct factor *f)
{
    if (!f)
        return;
    free(f->values);
    free(f->order);
    free(f);
}

void qn_feedback_close(struct qn_feedback_source *s)
{
    if (!s)
        return;
    for (struct factor *f = s->factors, *next; f; f = next) {
        next = f->next;
        destroy_factor(f);
    }
    qn_calibration_close(&s->file);
    pthread_mutex_destroy(&s->lock);
    pthread_mutex_destroy(&s->making);
    free(s);
}

const struct qn_calibration *qn_feedback_calibration(const struct qn_feedback_source *s)
{
    return &s->file.c;
}

const char *qn_feedback_obstacle(const struct qn_feedback_source *s, const struct qn_tensor *t)
{
    const struct qn_calibration_point *p = qn_calibration_find(&s->file.c, t->name);
    if (t->rank != 2)
        return "it is no matrix";
    if (!qn_dtype_is_quantisable(t->dtype))
        return "its type cannot be quantised";
    if (!p || p->kind == QN_TAP_VALUE)
        return "the calibration has no input of it";
    if (!p->gram)
        return "the calibration has no Gram matrix of its input";
    if (p->rows == 0)
        return "the calibration saw no input of it";
    if (s->transposed && p->kind != QN_TAP_HEAD)
        return "its rows are inputs, so that a row's errors cannot make up for each other";
    if (p->channels != t->shape[1])
        return "its rows are not as long as the calibration's input of it";
    return NULL;
}

struct ranked {
    double moment;
    uint32_t channel;
};

static int compare_moments(const void *a, const void *b)
{
    const struct ranked *x = a, *y = b;
    if (x->moment != y->moment)
        return x->moment < y->moment ? 1 : -1;
    return (x->channel > y->channel) - (x->channel < y->channel);
}

static enum qins_status choose_order(struct factor *f, const struct qn_calibration_point *p,
                                     struct qins_error *err)
{
    const double *squares = qn_point_sum(p, QN_SUM_SQUARES);
    struct ranked *ranked = calloc(p->channels, sizeof *ranked);
    if (!ranked)
        return qn_fail_memory(err);
    for (uint32_t i = 0; i < p->channels; i++)
        ranked[i] = (struct ranked){squares[i], i};
    qsort(ranked, p->channels, sizeof *ranked, compare_moments);
    for (uint32_t j = 0; j < p->channels; j++)
        f->order[j] = ranked[j].channel;
    free(ranked);
    return QINS_OK;
}

/* Row WHERE of the lower triangle; element K of FROM belongs to column PLACE[K]. */
static void place_row(double *row, const double *from, const size_t *place, size_t where, size_t n)
{
    for (size_t k = 0; k < n; k++)
        if (place[k] <= where)
            row[place[k]] = from[k];
}

/* The lower triangle of the Gram matrix, last column to be rounded first: what its Cholesky factor
 * L is, read backwards, makes G = U U^T with U upper triangular, and U's inverse the factor. */
static enum qins_status read_gram(struct qn_feedback_source *s, const struct factor *f, double *a,
                                  struct qins_error *err)
{
    const size_t n = s->file.c.points[f->point].channels;
    double *rows = malloc(READ_ROWS * n * sizeof *rows);
    size_t *place = calloc(n, sizeof *place);
    if (!rows || !place) {
        free(place);
        free(rows);
        return qn_fail_memory(err);
    }
    enum qins_status st = QINS_OK;
    for (size_t j = 0; j < n; j++)
        place[f->order[j]] = n - 1 - j;
    for (size_t first = 0; first < n && st == QINS_OK; first += READ_ROWS) {
        size_t count = n - first < READ_ROWS ? n - first : READ_ROWS;
        st = qn_calibration_read(&s->file, f->point, QN_LARGE_GRAM, first, count, rows, err);
        for (size_t i = 0; i < count && st == QINS_OK; i++)
            place_row(a + place[first + i] * n, rows + i * n, place, place[first + i], n);
    }
    free(place);
    free(rows);
    return st;
}

struct damping {
    double lambda, stand_in, trace;
    size_t dead; /* channels with the stand-in on their diagonal */
};

static struct damping add_damping(double *a, size_t n)
{
    struct damping d = {.stand_in = 1};
    for (size_t i = 0; i < n; i++)
        d.trace += a[i * n + i];
    d.lambda = QN_FEEDBACK_DAMPING * d.trace / (double)n;
    if (d.trace > 0)
        d.stand_in = d.trace / (double)n;
    for (size_t i = 0; i < n; i++) {
        if (a[i * n + i] == 0) {
            a[i * n + i] = d.stand_in;
            d.dead++;
        }
        a[i * n + i] += d.lambda;
    }
    return d;
}

/* Rows of the inverse, backwards, each divided by its diagonal; A is n x n, lower. */
static double take_values(struct factor *f, const double *a, size_t n)
{
    double squares = 0;
    for (size_t j = 0; j < n; j++) {
        const double *row = a + (n - 1 - j) * n;
        float *values = f->values + j * n;
        double pivot = row[n - 1 - j];
        for (size_t k = j; k < n; k++) {
            double value = row[n - 1 - k] / pivot;
            squares += value * value;
            values[k] = (float)value;
        }
    }
    return squares;
}

static enum qins_status decompose(const struct qn_feedback_source *s, struct factor *f, double *a,
                                  struct qins_error *err)
{
    const struct qn_calibration_point *p = &s->file.c.points[f->point];
    const size_t n = p->channels;
    struct damping d = add_damping(a, n);
    if (!qn_cholesky(a, n))
        return qn_fail_at(err, QINS_ERR_FORMAT, s->file.ck->path, NULL, QN_NO_OFFSET,
                          "the Gram matrix of '%s' is not positive definite", p->name);
    double pivots = 0;
    for (size_t i = n; i-- > 0;)
        pivots += a[i * n + i] * a[i * n + i];
    qn_cholesky_invert(a, n);
    double squares = take_values(f, a, n);
    double left = pivots - d.lambda * squares - (double)d.dead * d.stand_in;
    f->spread = squares / (double)n - 1;
    f->gain = d.trace > 0 && isfinite(left) ? left / d.trace : 1;
    return QINS_OK;
}

/* With room for all that it holds; NULL without memory. */
static struct factor *create_factor(size_t point, size_t n)
{
    struct factor *f = calloc(1, sizeof *f);
    if (!f)
        return NULL;
    f->point = point;
    f->values = calloc(n * n, sizeof *f->values);
    f->order = calloc(n, sizeof *f->order);
    f->f = (struct qn_feedback){f->values, f->order, (uint32_t)n};
    if (!f->values || !f->order) {
        destroy_factor(f);
        return NULL;
    }
    return f;
}

static enum qins_status make_factor(struct qn_feedback_source *s, size_t point, struct factor **out,
                                    struct qins_error *err)
{
    const struct qn_calibration_point *p = &s->file.c.points[point];
    const size_t n = p->channels;
    struct factor *f = create_factor(point, n);
    double *a = calloc(n * n, sizeof *a);
    *out = NULL;
    if (!f || !a) {
        destroy_factor(f);
        free(a);
        return qn_fail_memory(err);
    }
    enum qins_status st = choose_order(f, p, err);
    if (st == QINS_OK)
        st = read_gram(s, f, a, err);
    if (st == QINS_OK)
        st = decompose(s, f, a, err);
    free(a);
    if (st != QINS_OK) {
        destroy_factor(f);
        return st;
    }
    *out = f;
    return QINS_OK;
}

static size_t bytes_of(const struct factor *f)
{
    return (size_t)f->f.n * f->f.n * sizeof *f->values;
}

/* Of what nobody uses, the oldest beyond KEPT_BYTES, but never the last used: the next chunk asks
 * for it again. */
static void drop_unused(struct qn_feedback_source *s)
{
    size_t kept = 0;
    for (struct factor **at = &s->factors; *at;) {
        struct factor *f = *at;
        if (f->users == 0)
            kept += bytes_of(f);
        if (f->users > 0 || f == s->factors || kept <= KEPT_BYTES) {
            at = &f->next;
        } else {
            *at = f->next;
            destroy_factor(f);
        }
    }
}

/* One more user of F, which comes first from now on. */
static void put_first(struct qn_feedback_source *s, struct factor *f)
{
    f->users++;
    f->next = s->factors;
    s->factors = f;
}

/* The factor, used once more; NULL where there is none. */
static struct factor *use_factor(struct qn_feedback_source *s, size_t point)
{
    pthread_mutex_lock(&s->lock);
    struct factor **at = &s->factors;
    while (*at && (*at)->point != point)
        at = &(*at)->next;
    struct factor *f = *at;
    if (f) {
        *at = f->next;
        put_first(s, f);
    }
    pthread_mutex_unlock(&s->lock);
    return f;
}

/* The factor, made unless another thread made it meanwhile. */
static enum qins_status use_new_factor(struct qn_feedback_source *s, size_t point,
                                       struct factor **out, struct qins_error *err)
{
    enum qins_status st = QINS_OK;
    pthread_mutex_lock(&s->making);
    *out = use_factor(s, point);
    if (!*out) {
        st = make_factor(s, point, out, err);
        if (*out) {
            pthread_mutex_lock(&s->lock);
            put_first(s, *out);
            pthread_mutex_unlock(&s->lock);
        }
    }
    pthread_mutex_unlock(&s->making);
    return st;
}

static enum qins_status acquire(struct qn_feedback_source *s, const struct qn_tensor *t,
                                struct factor **out, struct qins_error *err)
{
    const char *obstacle = qn_feedback_obstacle(s, t);
    *out = NULL;
    if (obstacle)
        return qn_fail_at(err, QINS_ERR_UNSUPPORTED, s->file.ck->path, t->name, QN_NO_OFFSET,
                          "no rounding with feedback: %s", obstacle);
    size_t point = (size_t)(qn_calibration_find(&s->file.c, t->name) - s->file.c.points);
    *out = use_factor(s, point);
    return *out ? QINS_OK : use_new_factor(s, point, out, err);
}

enum qins_status qn_feedback_acquire(struct qn_feedback_source *s, const struct qn_tensor *t,
                                     const struct qn_feedback **out, struct qins_error *err)
{
    struct factor *f;
    enum qins_status st = acquire(s, t, &f, err);
    *out = f ? &f->f : NULL;
    return st;
}

void qn_feedback_release(struct qn_feedback_source *s, const struct qn_feedback *f)
{
    if (!f)
        return;
    pthread_mutex_lock(&s->lock);
    for (struct factor *i = s->factors; i; i = i->next)
        if (&i->f == f)
            i->users--;
    drop_unused(s);
    pthread_mutex_unlock(&s->lock);
}

enum qins_status qn_feedback_gain(struct qn_feedback_source *s, const struct qn_tensor *t,
                                  double *gain, struct qins_error *err)
{
    struct factor *f;
    enum qins_status st = acquire(s, t, &f, err);
    *gain = f ? f->gain : 1;
    qn_feedback_release(s, f ? &f->f : NULL);
    return st;
}

enum qins_status qn_feedback_spread(struct qn_feedback_source *s, const struct qn_tensor *t,
                                    double *spread, struct qins_error *err)
{
    struct factor *f;
    enum qins_status st = acquire(s, t, &f, err);
    *spread = f ? f->spread : 0;
    qn_feedback_release(s, f ? &f->f : NULL);
    return st;
}
