#include "bench/bench.h"
#include "bench/gemv_data.h"
#include "bench/setup.h"
#include "core/bytes.h"
#include "core/clock.h"
#include "core/linalg.h"
#include "core/pool.h"
#include "model/linear.h"
#include "model/weights_plan.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    LEAST_MEBI = 64,  /* weights, and as many MiB of codes of 8 bits */
    MOST_MEBI = 512,  /* that are taken unasked: 4 GB of memory */
    BEYOND_CACHE = 2, /* times the last cache's bytes are read from memory, by and large */
    DEFAULT_ROUNDS = 9,
    MAX_CANDIDATES = 48,
    DECODED_ROWS = QN_CHUNK_MAX / QN_GEMV_COLUMNS,
    BUFFERED_ROWS = 32, /* 512 KiB of floats, for a second-level cache */
    PIECE = 256 << 10,  /* bytes a thread reads or copies at a time */
};

static const double min_seconds = 0.04;
static const double fused_goal = 3.5;    /* over float32, of 8 bits: the project's */
static const double separate_goal = 2.0; /* over separate steps: of the project's seeds */

/* What is timed; one of each kind, coding, number of inputs' rows and number of threads. Separate
 * steps decode the whole matrix to memory before they multiply; in turn, a few rows (of
 * entropy-coded ones a chunk's) to a buffer that a thread uses again for the next ones, so that
 * products read them from a cache. */
enum kind { FP32, FUSED, SEPARATE, IN_TURN, READ, COPY };
static const char *const kind_names[] = {"fp32", "fused", "separate", "in turn", "read", "memcpy"};

struct gemv;

struct job {
    struct gemv *g;
    enum kind kind;
    size_t coding, rows;
    struct qn_pool *pool;
};

struct gemv {
    struct qn_harness harness;
    struct qn_gemv_data data;
    struct qn_pool *pool;
    float *y, *scratch, *expected;
    float *buffers; /* QN_GEMV_CHUNK floats for each thread */
    bool beyond;    /* the cache: goals are judged */
    struct job jobs[MAX_CANDIDATES];
    struct qn_bench_candidate candidates[MAX_CANDIDATES];
    size_t n;
    uint64_t read;                        /* what is read ends here, so that it is not left out */
    double errors[QN_GEMV_CODINGS][2][2]; /* inputs: normal, with outliers; mean, largest */
};

static void multiply(const struct job *j, const struct qn_packed *packed, const float *x, float *y)
{
    const struct qn_gemv_data *d = &j->g->data;
    const struct qn_matrix w = {.name = "weights",
                                .data = packed ? NULL : d->weights,
                                .dtype = QINS_F32,
                                .out = d->rows,
                                .in = QN_GEMV_COLUMNS,
                                .stride = QN_GEMV_COLUMNS,
                                .packed = packed};
    qn_linear(j->pool, &w, x, j->rows, QN_GEMV_COLUMNS, y, d->rows, j->g->scratch);
}

/* Some rows to memory: so many that their floats may pass the caches. */
static void decode_rows(void *ctx, unsigned worker, size_t item)
{
    const struct job *j = ctx;
    const struct qn_gemv_data *d = &j->g->data;
    const size_t first = item * DECODED_ROWS;
    qn_packed_rows(&d->packed[j->coding], first, qn_min_u64(DECODED_ROWS, d->rows - first),
                   d->weights + first * QN_GEMV_COLUMNS,
                   j->g->scratch + worker * qn_linear_scratch());
}

static size_t decode_items(const struct gemv *g)
{
    return (g->data.rows + DECODED_ROWS - 1) / DECODED_ROWS;
}

/* A chunk's rows to the thread's buffer and their products, of packed codes a few at a time. */
static void multiply_chunk(void *ctx, unsigned worker, size_t item)
{
    const struct job *j = ctx;
    const struct gemv *g = j->g;
    const struct qn_packed *p = &g->data.packed[j->coding];
    const struct qn_packed_run *r = &p->runs[item];
    const size_t most = r->codec == QN_CODEC_BITPACK ? BUFFERED_ROWS : r->rows;
    float *buffer = g->buffers + (size_t)worker * QN_GEMV_CHUNK;
    float *scratch = g->scratch + worker * qn_linear_scratch();
    for (size_t done = 0; done < r->rows; done += most) {
        const struct qn_matrix w = {.name = "weights",
                                    .data = buffer,
                                    .dtype = QINS_F32,
                                    .out = (size_t)qn_min_u64(most, r->rows - done),
                                    .in = QN_GEMV_COLUMNS,
                                    .stride = QN_GEMV_COLUMNS};
        qn_packed_rows(p, r->first + done, w.out, buffer, scratch);
        qn_linear(NULL, &w, g->data.inputs, j->rows, QN_GEMV_COLUMNS, g->y + r->first + done,
                  g->data.rows, scratch);
    }
}

static size_t packed_bytes(const struct job *j)
{
    return j->g->data.room_bytes[j->coding];
}

/* Eight sums, for loads to follow each other closely. */
static void read_piece(void *ctx, unsigned worker, size_t item)
{
    const struct job *j = ctx;
    const size_t words = (size_t)qn_min_u64(PIECE, packed_bytes(j) - item * PIECE) / 8;
    const uint64_t *from = (const uint64_t *)j->g->data.rooms[j->coding] + item * (PIECE / 8);
    uint64_t sums[8] = {0}, all = 0;
    (void)worker;
    for (size_t i = 0; i + 8 <= words; i += 8)
        for (size_t k = 0; k < 8; k++)
            sums[k] += from[i + k];
    for (size_t k = 0; k < 8; k++)
        all ^= sums[k];
    if (all == 1) /* as good as never */
        __atomic_fetch_add(&j->g->read, all, __ATOMIC_RELAXED);
}

static void copy_piece(void *ctx, unsigned worker, size_t item)
{
    const struct job *j = ctx;
    const size_t at = item * PIECE, bytes = (size_t)qn_min_u64(PIECE, packed_bytes(j) - at);
    (void)worker;
    memcpy((uint8_t *)j->g->data.copy + at, (const uint8_t *)j->g->data.rooms[j->coding] + at,
           bytes);
}

static enum qins_status run(void *ctx, struct qins_error *err)
{
    const struct job *j = ctx;
    struct gemv *g = j->g;
    const size_t pieces = (packed_bytes(j) + PIECE - 1) / PIECE;
    (void)err;
    switch (j->kind) {
    case FUSED:
        multiply(j, &g->data.packed[j->coding], g->data.inputs, g->y);
        break;
    case SEPARATE:
        qn_pool_run(j->pool, decode_items(g), decode_rows, ctx);
        multiply(j, NULL, g->data.inputs, g->y);
        break;
    case IN_TURN:
        qn_pool_run(j->pool, g->data.packed[j->coding].n_runs, multiply_chunk, ctx);
        break;
    case READ:
        qn_pool_run(j->pool, pieces, read_piece, ctx);
        break;
    case COPY:
        qn_pool_run(j->pool, pieces, copy_piece, ctx);
        break;
    default:
        multiply(j, NULL, g->data.inputs, g->y);
    }
    return QINS_OK;
}

static bool reads_weights(enum kind kind)
{
    return kind == READ || kind == COPY;
}

static void add(struct gemv *g, enum kind kind, size_t coding, size_t rows, unsigned threads)
{
    struct job *j = &g->jobs[g->n];
    struct qn_bench_candidate *c = &g->candidates[g->n++];
    *j = (struct job){g, kind, coding, rows, threads > 1 ? g->pool : NULL};
    *c = (struct qn_bench_candidate){
        .name = kind_names[kind], .threads = threads, .run = run, .ctx = j};
    c->tokens =
        reads_weights(kind) ? packed_bytes(j) : (uint64_t)g->data.rows * QN_GEMV_COLUMNS * rows;
}

static void add_all(struct gemv *g, unsigned threads)
{
    for (size_t rows = 1; rows <= QN_GEMV_MAX_ROWS; rows *= 4) {
        add(g, FP32, 0, rows, threads);
        for (size_t c = 0; c < QN_GEMV_CODINGS; c++)
            add(g, FUSED, c, rows, threads);
        for (size_t c = 0; rows == 1 && c < QN_GEMV_CODINGS; c++) {
            add(g, SEPARATE, c, rows, threads);
            add(g, IN_TURN, c, rows, threads);
        }
    }
    add(g, READ, 0, 1, threads);
    add(g, COPY, 0, 1, threads);
}

static const struct qn_bench_candidate *find(const struct gemv *g, enum kind kind, size_t coding,
                                             const struct qn_bench_candidate *like)
{
    const struct job *with = like->ctx;
    for (size_t i = 0; i < g->n; i++) {
        const struct job *j = &g->jobs[i];
        if (j->kind == kind && j->coding == coding && j->rows == with->rows &&
            g->candidates[i].threads == like->threads)
            return &g->candidates[i];
    }
    return NULL;
}

/* Fused against separate steps, for both inputs; leaves decoded weights in memory. */
static void find_errors(struct gemv *g, size_t coding)
{
    const float *const inputs[] = {g->data.inputs, g->data.outliers};
    struct job j = {g, SEPARATE, coding, 1, g->pool};
    qn_pool_run(g->pool, decode_items(g), decode_rows, &j);
    for (size_t i = 0; i < 2; i++) {
        double noise = 0, power = 0, most = 0;
        multiply(&j, NULL, inputs[i], g->expected);
        multiply(&j, &g->data.packed[coding], inputs[i], g->y);
        for (size_t r = 0; r < g->data.rows; r++) {
            const double expected = (double)g->expected[r], d = (double)g->y[r] - expected;
            noise += d * d;
            power += expected * expected;
            most = fmax(most, fabs(d));
        }
        g->errors[coding][i][0] = sqrt(noise / power);
        g->errors[coding][i][1] = most / sqrt(power / (double)g->data.rows);
    }
}

static const char *weights_name(const struct job *j)
{
    return j->kind == FP32 ? "float32" : qn_gemv_codings[j->coding].name;
}

static size_t bytes_read(const struct job *j)
{
    const size_t floats = j->g->data.rows * QN_GEMV_COLUMNS * sizeof(float);
    if (j->kind == FP32)
        return floats;
    return packed_bytes(j) + (j->kind == SEPARATE ? floats : 0); /* in turn, of a cache */
}

static void put_integer(json_t **j, const char *key, size_t value)
{
    qn_json_put(j, key, json_integer((json_int_t)value));
}

static json_t *side(const struct qn_bench_candidate *c)
{
    const struct job *job = c->ctx;
    json_t *j = json_object();
    qn_json_put(&j, "name", json_string(c->name));
    qn_json_put(&j, "threads", json_integer(c->threads));
    qn_json_put(&j, "one_core_busy", json_false());
    qn_json_put(&j, "weights", json_string(weights_name(job)));
    put_integer(&j, "rows", job->rows);
    return j;
}

static struct qn_spread scaled(struct qn_spread s, double factor)
{
    return (struct qn_spread){s.median * factor, s.low * factor, s.high * factor};
}

static json_t *product_report(const struct qn_bench_candidate *c)
{
    const struct job *job = c->ctx;
    const struct qn_spread speed = qn_speed(c, QN_CLOCK_WALL);
    json_t *j = side(c);
    put_integer(&j, "bytes", bytes_read(job));
    qn_json_put(&j, "products_per_ns",
                reads_weights(job->kind) ? json_null() : qn_bench_spread(scaled(speed, 1e-9)));
    qn_json_put(&j, "gb_per_s",
                qn_bench_spread(scaled(speed, (double)bytes_read(job) / (double)c->tokens * 1e-9)));
    return j;
}

static void compare(const struct gemv *g, json_t **list, const struct qn_bench_candidate *of,
                    const struct qn_bench_candidate *to, double goal)
{
    const struct qn_comparison c = {.of = of, .to = to, .goal = goal, .unjudged = !g->beyond};
    if (to)
        qn_json_append(list, qn_bench_comparison(&c, side));
}

static json_t *comparisons(const struct gemv *g)
{
    json_t *list = json_array();
    for (size_t i = 0; i < g->n; i++) {
        const struct job *j = &g->jobs[i];
        const struct qn_bench_candidate *c = &g->candidates[i];
        if (j->kind != FUSED)
            continue;
        compare(g, &list, c, find(g, SEPARATE, j->coding, c), separate_goal);
        compare(g, &list, c, find(g, IN_TURN, j->coding, c), 0);
        compare(g, &list, c, find(g, FP32, 0, c), j->rows == 1 && j->coding == 0 ? fused_goal : 0);
        if (j->coding == 0)
            compare(g, &list, c, find(g, READ, 0, c), 0);
    }
    return list;
}

static json_t *errors(const struct gemv *g, double *most)
{
    static const char *const inputs[] = {"normal", "outliers"};
    json_t *list = json_array();
    *most = 0;
    for (size_t c = 0; c < QN_GEMV_CODINGS; c++)
        for (size_t i = 0; i < 2; i++) {
            json_t *j = json_object();
            qn_json_put(&j, "weights", json_string(qn_gemv_codings[c].name));
            qn_json_put(&j, "inputs", json_string(inputs[i]));
            qn_json_put(&j, "relative_error", qn_json_real(g->errors[c][i][0]));
            qn_json_put(&j, "max_relative_error", qn_json_real(g->errors[c][i][1]));
            qn_json_append(&list, j);
            *most = fmax(*most, g->errors[c][i][1]);
        }
    return list;
}

/* The processor's own name; its level where the system does not tell. */
static json_t *devices(void)
{
    char line[256], name[192] = "";
    FILE *f = fopen("/proc/cpuinfo", "re");
    while (f && !name[0] && fgets(line, sizeof line, f))
        if (sscanf(line, "model name : %191[^\n]", name) != 1)
            name[0] = '\0';
    if (f)
        (void)fclose(f);
    json_t *device = json_object(), *list = json_array();
    qn_json_put(&device, "kind", json_string("cpu"));
    qn_json_put(&device, "name", qn_json_text(name[0] ? name : qn_cpu_level_name(qn_cpu_level())));
    qn_json_append(&list, device);
    return list;
}

static json_t *report_of(const struct gemv *g, const struct qn_bench_options *options, double begun)
{
    json_t *j = qn_report_begin("qins/bench/1"), *products = json_array();
    double most;
    json_t *list = errors(g, &most);
    for (size_t i = 0; i < g->n; i++)
        qn_json_append(&products, product_report(&g->candidates[i]));
    qn_json_put(&j, "benchmark", json_string("gemv"));
    qn_json_put(&j, "machine", qn_bench_machine(&g->harness));
    qn_json_put(&j, "devices", devices());
    put_integer(&j, "matrix_rows", g->data.rows);
    put_integer(&j, "matrix_columns", QN_GEMV_COLUMNS);
    qn_json_put(&j, "beyond_last_cache", json_boolean(g->beyond));
    qn_json_put(&j, "threads", json_integer(options->threads));
    qn_json_put(&j, "rounds", json_integer(g->candidates[0].rounds));
    qn_json_put(&j, "products", products);
    qn_json_put(&j, "comparisons", comparisons(g));
    qn_json_put(&j, "errors", list);
    qn_json_put(&j, "max_relative_error", qn_json_real(most));
    qn_json_put(&j, "seconds", qn_json_real(qn_seconds() - begun));
    return j;
}

/* As many weights as make the codes of 8 bits larger than the cache, of which the system may say
 * nothing. */
static unsigned default_mebi(void)
{
    const uint64_t wanted = (BEYOND_CACHE * qn_bench_last_cache() + (1U << 20) - 1) >> 20;
    return (unsigned)qn_min_u64(wanted > LEAST_MEBI ? wanted : LEAST_MEBI, MOST_MEBI);
}

static bool is_beyond_cache(const struct gemv *g)
{
    const uint64_t cache = qn_bench_last_cache();
    return g->data.room_bytes[0] >= (cache ? BEYOND_CACHE * cache : (uint64_t)LEAST_MEBI << 20);
}

static enum qins_status gemv_init(struct gemv *g, const struct qn_bench_options *options,
                                  struct qins_error *err)
{
    const size_t scratch = options->threads * qn_linear_scratch();
    enum qins_status st = qn_linalg_init(err);
    if (st == QINS_OK)
        st = qn_harness_init(&g->harness, options->threads, err);
    g->harness.rounds = options->rounds ? options->rounds : DEFAULT_ROUNDS;
    if (st == QINS_OK)
        st = qn_pool_create(&g->pool, options->threads, err);
    if (st == QINS_OK)
        st = qn_gemv_data_init(&g->data, options->mebi ? options->mebi : default_mebi(), err);
    if (st != QINS_OK)
        return st;
    g->y = calloc(g->data.rows * QN_GEMV_MAX_ROWS, sizeof *g->y);
    g->expected = calloc(g->data.rows, sizeof *g->expected);
    g->scratch = calloc(scratch, sizeof *g->scratch);
    g->buffers = qn_weights_block(options->threads * (uint64_t)QN_GEMV_CHUNK * sizeof *g->buffers);
    g->beyond = is_beyond_cache(g);
    return g->y && g->expected && g->scratch && g->buffers ? QINS_OK : qn_fail_memory(err);
}

enum qins_status qn_bench_gemv(const struct qn_bench_options *options, json_t **report,
                               struct qins_error *err)
{
    const double begun = qn_seconds();
    struct gemv *g = calloc(1, sizeof *g);
    *report = NULL;
    if (!g)
        return qn_fail_memory(err);
    enum qins_status st = gemv_init(g, options, err);
    for (size_t c = 0; st == QINS_OK && c < QN_GEMV_CODINGS; c++)
        find_errors(g, c);
    if (st == QINS_OK) {
        add_all(g, 1);
        add_all(g, options->threads);
        st = qn_measure(&g->harness, g->candidates, g->n, min_seconds, options->monitor, err);
    }
    if (st == QINS_OK) {
        *report = report_of(g, options, begun);
        st = *report ? QINS_OK : qn_fail_memory(err);
    }
    free(g->y);
    free(g->expected);
    free(g->scratch);
    free(g->buffers);
    qn_gemv_data_finish(&g->data);
    qn_pool_destroy(g->pool);
    qn_harness_finish(&g->harness);
    free(g);
    return st;
}
