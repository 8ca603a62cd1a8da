#include "tests/unit/testing.h"

#include "core/buf.h"
#include "core/bytes.h"
#include "model/session_internal.h"
#include "model/synthetic.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>

enum { HIDDEN = 48, LAYERS = 2, HEADS = 4, DIM = 12, INNER = 70, VOCAB = 53, POSITIONS = 64 };
enum { EXPERTS = 3, ROWS = 20, SPLIT_ROWS = 7, MOST = QN_PROJECTIONS * LAYERS * EXPERTS };
enum { WIDEST = 3 * HIDDEN + 2 * INNER };

static uint64_t seed = 2026;

static float random_float(void)
{
    return (float)((double)(test_random(&seed) >> 11) * 0x1p-52 - 1.0);
}

static struct qn_model_config config_of(const struct qn_arch *arch)
{
    const bool mixture = arch == &qn_arch_mixtral, biases = arch->norm_bias;
    return (struct qn_model_config){.arch = arch,
                                    .hidden = HIDDEN,
                                    .n_layers = LAYERS,
                                    .n_heads = HEADS,
                                    .n_kv_heads = biases ? HEADS : HEADS / 2,
                                    .head_dim = DIM,
                                    .intermediate = INNER,
                                    .vocab = VOCAB,
                                    .max_positions = POSITIONS,
                                    .norm_eps = 1e-5,
                                    .activation = QN_ACT_SILU,
                                    .qkv_bias = biases,
                                    .o_bias = biases,
                                    .mlp_bias = biases,
                                    .attention_scale = 1.0 / sqrt(DIM),
                                    .rope = {.theta = 1e4, .dims = DIM},
                                    .n_experts = mixture ? EXPERTS : 0,
                                    .experts_per_token = mixture ? 2 : 0};
}

static void shake(const float *bias, size_t n)
{
    float *x = (float *)(uintptr_t)bias;
    for (size_t i = 0; x && i < n; i++)
        x[i] = 0.3f * random_float();
}

static struct qn_model *make_model(const struct qn_arch *arch, enum qins_dtype dtype)
{
    const struct qn_model_config config = config_of(arch);
    struct qn_model *m;
    struct qins_error err;
    if (qn_model_create_random(&m, &config, dtype, 11, &err) != QINS_OK)
        fail_msg("%s", err.message);
    for (size_t i = 0; i < LAYERS; i++) {
        const struct qn_layer *l = &m->layers[i];
        shake(l->qkv.bias, l->qkv.out);
        shake(l->o.bias, l->o.out);
        shake(l->mlp->up.bias, l->mlp->up.out);
        shake(l->mlp->down.bias, l->mlp->down.out);
    }
    return m;
}

/* A transport of one method for some projections; the coefficients are any. */
struct recipe {
    enum qn_transport_method method;
    unsigned order, levels;
    float kappa, scale;
    bool sign_plane, planes, ending;
};

static float *random_floats(size_t n, float centre, float spread)
{
    float *x = malloc(n * sizeof *x);
    assert_non_null(x);
    for (size_t i = 0; i < n; i++)
        x[i] = centre + spread * random_float();
    return x;
}

static uint32_t input_of(struct qn_transport *t, const char *name, size_t channels,
                         const struct recipe *r)
{
    for (uint32_t i = 0; i < t->n_inputs; i++)
        if (strcmp(t->inputs[i].name, name) == 0)
            return i;
    struct qn_transport_input *in = &t->inputs[t->n_inputs];
    *in = (struct qn_transport_input){.name = qn_strdup(name, NULL),
                                      .channels = (uint32_t)channels,
                                      .method = r->method,
                                      .order = r->order,
                                      .sign_plane = r->sign_plane,
                                      .levels = r->levels,
                                      .kappa = r->kappa,
                                      .scale = r->scale};
    if (r->method != QN_DECODE && r->method != QN_RIDGE)
        in->coefficients = random_floats(channels * qn_transport_planes(in), 0.5f, 0.5f);
    return (uint32_t)t->n_inputs++;
}

static void add_layer(struct qn_transport *t, const struct qn_linear_part *part,
                      const struct qn_tap_list *taps, const struct recipe *r,
                      struct qn_transport_layer l)
{
    const size_t channels = part->matrix->in;
    l.input = input_of(t, taps->points[part->point].name, channels, r);
    l.tensor = qn_strdup(part->matrix->name, NULL);
    l.out = (uint32_t)part->out;
    if (r->planes || r->method == QN_RIDGE)
        l.planes = random_floats(part->out * channels * qn_transport_planes(&t->inputs[l.input]),
                                 0.0f, 0.2f);
    if (r->ending) {
        l.output_scale = random_floats(part->out, 1.0f, 0.5f);
        l.output_offset = random_floats(part->out, 0.0f, 0.5f);
        l.output_alpha = 0.7f;
        l.output_floor = 0.05f;
    }
    t->layers[t->n_layers++] = l;
}

/* PROJECTIONS: a bit for each. */
static struct qn_transport make_transport(struct qn_model *m, unsigned projections,
                                          const struct recipe *r)
{
    struct qn_transport t = {.model = m->fingerprint,
                             .inputs = calloc(MOST, sizeof *t.inputs),
                             .layers = calloc(MOST, sizeof *t.layers)};
    struct qn_tap_list taps;
    struct qn_linear_part part;
    assert_int_equal(qn_taps_init(&taps, m, NULL), QINS_OK);
    for (uint32_t layer = 0; layer < LAYERS; layer++)
        for (uint32_t expert = 0; expert < EXPERTS; expert++)
            for (int p = 0; p < QN_PROJECTIONS; p++)
                if ((projections >> p & 1) &&
                    qn_model_part(m, (enum qn_projection)p, layer, expert, &part))
                    add_layer(&t, &part, &taps, r,
                              (struct qn_transport_layer){.projection = (enum qn_projection)p,
                                                          .layer = layer,
                                                          .expert = expert});
    qn_taps_finish(&taps);
    return t;
}

static void go_native(struct qn_model *m, const struct qn_transport *t)
{
    struct qins_error err;
    if (qn_model_go_native(m, t, "t.h5", &err) != QINS_OK)
        fail_msg("%s: %s", err.tensor, err.message);
}

static struct qn_session *make_session(const struct qn_model *m, struct qn_pool *pool)
{
    struct qn_session *s;
    struct qins_error err;
    const struct qn_session_options o = {.positions = POSITIONS, .pool = pool};
    if (qn_session_create(&s, m, &o, &err) != QINS_OK)
        fail_msg("%s", err.message);
    return s;
}

/* Element [row][column] of a matrix of float32. */
static double weight(const struct qn_matrix *w, size_t row, size_t column)
{
    const float *x = w->data;
    return (double)x[w->transposed ? column * w->stride + row : row * w->stride + column];
}

/* The row of a fused matrix that is output O of a projection. */
static size_t row_of(const struct qn_model *m, enum qn_projection p, size_t o)
{
    const size_t q = (size_t)HEADS * DIM, kv = (size_t)m->config.n_kv_heads * DIM;
    const size_t number = p == QN_PROJECTION_Q ? 0 : p == QN_PROJECTION_K ? 1 : 2;
    const bool attention = p == QN_PROJECTION_Q || p == QN_PROJECTION_K || p == QN_PROJECTION_V;
    if (attention && m->config.arch->qkv_order == QN_QKV_BY_HEAD)
        return (o / DIM * 3 + number) * DIM + o % DIM;
    if (attention && m->config.arch->qkv_order == QN_QKV_IN_TURN)
        return o + (number > 0 ? q : 0) + (number > 1 ? kv : 0);
    return o + (m->config.arch->weight[QN_GATE_UP] && p == QN_PROJECTION_UP ? INNER : 0);
}

/* Feature K of a code, by formats/transport.h's formulas. */
static double feature(const struct qn_transport_input *in, unsigned k, uint16_t code)
{
    const double n = in->levels, sign = code < in->levels ? -1.0 : 1.0,
                 t = fabs((double)code - n) / n, kappa = (double)in->kappa;
    if (in->method == QN_DECODE)
        return sign * (double)in->scale * t / (1.0 + kappa * (1.0 - t));
    if (in->method == QN_JACOBIAN_LITERAL || in->method == QN_JACOBIAN_TANGENT)
        return sign * (1.0 - kappa * t / (1.0 + kappa));
    double power = sign;
    for (unsigned i = 0; i <= k && k < in->order; i++)
        power *= t;
    return power;
}

/* Output O of a layer for an input with these codes. */
static double reference(const struct qn_transport *t, const struct qn_transport_layer *l,
                        const struct qn_matrix *w, const uint16_t *codes, size_t o, size_t row)
{
    const struct qn_transport_input *in = &t->inputs[l->input];
    const unsigned planes = in->method == QN_DECODE ? 1 : qn_transport_planes(in);
    double y = 0.0;
    for (unsigned k = 0; k < planes; k++)
        for (size_t j = 0; j < w->in; j++) {
            const double c = in->coefficients ? (double)in->coefficients[k * w->in + j] : 1.0;
            y += feature(in, k, codes[j]) * (l->planes
                                                 ? (double)l->planes[(o * planes + k) * w->in + j]
                                                 : weight(w, row, j) * c);
        }
    y = l->output_scale ? y * (double)l->output_scale[o] : y;
    y += l->output_offset ? (double)l->output_offset[o] : 0.0;
    if (l->output_alpha > 0.0f) {
        const double z = fmin(fmax(fabs(y), (double)l->output_floor), 1.0),
                     x = (1.0 - z) / ((double)l->output_alpha * z);
        y = y < 0.0 ? -x : x;
    }
    return y + (w->bias ? (double)w->bias[row] : 0.0);
}

static struct qn_matrix *matrix_of(struct qn_model *m, const struct qn_transport_layer *l)
{
    struct qn_linear_part part;
    assert_true(qn_model_part(m, l->projection, l->layer, l->expert, &part));
    return part.matrix;
}

/* One layer on rows of its own, in pieces of STEP rows, against the formulas. */
static void check_layer(struct qn_session *s, struct qn_model *m, const struct qn_transport *t,
                        const struct qn_transport_layer *l, size_t step, const char *what)
{
    static float x[ROWS * WIDEST], y[ROWS * WIDEST];
    uint16_t codes[WIDEST];
    const struct qn_matrix *w = matrix_of(m, l);
    const struct qn_transport_input *in = &t->inputs[l->input];
    struct qn_grid grid;
    assert_true(qn_grid_init(&grid, QN_GRID_QINS, in->levels, in->kappa));
    for (size_t i = 0; i < ROWS * w->in; i++)
        x[i] = 1.2f * random_float();
    for (size_t i = 0, n; i < ROWS; i += n) {
        n = ROWS - i < step ? ROWS - i : step;
        qn_visit(s, 0, x, n, w->in);
        qn_session_linear(s, w, x + i * w->in, n, w->in, y + i * w->out, w->out);
    }
    double error = 0.0, size = 0.0;
    for (size_t i = 0; i < ROWS; i++) {
        qn_quantise(&grid, in->scale, x + i * w->in, w->in, codes);
        for (size_t o = 0; o < l->out; o++) {
            const size_t row = row_of(m, l->projection, o);
            const double want = reference(t, l, w, codes, o, row);
            error += fabs((double)y[i * w->out + row] - want);
            size += fabs(want);
        }
    }
    if (!(error <= 1e-5 * size))
        fail_msg("%s %s, %s, %zu rows: relative error %g", m->config.arch->model_type,
                 qn_projection_name(l->projection), what, step, error / size);
}

static const struct {
    const char *name;
    struct recipe recipe;
} recipes[] = {
    {"split", {QN_SPLIT, 1, 127, 0.0f, 1.0f, false, false, false}},
    {"split of four", {QN_SPLIT, 4, 127, 3.0f, 0.9f, false, false, false}},
    {"split with signs", {QN_SPLIT, 3, 31, 1.0f, 1.2f, true, false, false}},
    {"split, its planes stored", {QN_SPLIT, 2, 127, 1.0f, 1.0f, false, true, false}},
    {"ridge", {QN_RIDGE, 3, 127, 2.0f, 1.0f, false, false, false}},
    {"literal", {QN_JACOBIAN_LITERAL, 1, 127, 1.0f, 1.0f, false, false, false}},
    {"tangent", {QN_JACOBIAN_TANGENT, 1, 127, 1.0f, 1.0f, false, false, true}},
    {"decoded", {QN_DECODE, 0, 127, 3.0f, 1.0f, false, false, false}},
};
enum { N_RECIPES = sizeof recipes / sizeof *recipes };

enum { N_ARCHS = 5 };
static const struct qn_arch *const archs[N_ARCHS] = {&qn_arch_llama, &qn_arch_phi3, &qn_arch_gpt2,
                                                     &qn_arch_gpt_neox, &qn_arch_mixtral};
enum { ALL = (1 << QN_PROJECTIONS) - 1 };

static void test_products(void **state)
{
    static const unsigned choices[] = {ALL, 1 << QN_PROJECTION_V,
                                       1 << QN_PROJECTION_UP | 1 << QN_PROJECTION_K};
    static const size_t steps[] = {1, 3, ROWS};
    (void)state;
    for (size_t a = 0; a < N_ARCHS; a++)
        for (size_t i = 0; i < N_RECIPES; i++)
            for (size_t k = 0; k < sizeof choices / sizeof *choices; k++) {
                struct qn_model *m = make_model(archs[a], QINS_F32);
                struct qn_transport t = make_transport(m, choices[k], &recipes[i].recipe);
                go_native(m, &t);
                struct qn_session *s = make_session(m, NULL);
                for (size_t l = 0; l < t.n_layers; l++)
                    check_layer(s, m, &t, &t.layers[l], steps[l % 3], recipes[i].name);
                s->coding.rows = SPLIT_ROWS; /* features are made in pieces */
                for (size_t l = 0; l < t.n_layers; l++)
                    check_layer(s, m, &t, &t.layers[l], ROWS, recipes[i].name);
                qn_session_destroy(s);
                qn_transport_finish(&t);
                qn_model_destroy(m);
            }
}

static void run(const struct qn_model *m, struct qn_pool *pool, float *logits,
                struct qn_compute_counts *counts)
{
    struct qn_session *s = make_session(m, pool);
    uint32_t ids[ROWS];
    for (uint32_t i = 0; i < ROWS; i++)
        ids[i] = i * 7 % VOCAB;
    assert_int_equal(qn_session_forward(s, ids, ROWS, NULL, NULL), QINS_OK);
    qn_session_logits(s, 0, ROWS / 2, logits);
    qn_session_logits(s, ROWS / 2, ROWS / 2, logits + (size_t)ROWS / 2 * VOCAB);
    qn_session_counts(s, counts);
    qn_session_destroy(s);
}

/* Decoded from a fine grid an input is nearly what it was: logits stay (but where a choice among
 * experts was close), and the rows of fused
 * matrices that are not native are the ordinary ones. */
static void test_fine_grid(void **state)
{
    static const struct recipe fine = {QN_DECODE, 0, QN_MAX_LEVELS, 0.0f, 8.0f, 0, 0, 0};
    static float plain[ROWS * VOCAB], native[ROWS * VOCAB];
    struct qn_compute_counts counts;
    (void)state;
    for (size_t a = 0; a < N_ARCHS; a++)
        for (unsigned b = 0; b <= QN_PROJECTIONS; b++)
            for (int half = 0; half < 2; half++) {
                struct qn_model *m = make_model(archs[a], half ? QINS_BF16 : QINS_F32);
                struct qn_transport t =
                    make_transport(m, b < QN_PROJECTIONS ? 1U << b : ALL, &fine);
                run(m, NULL, plain, &counts);
                go_native(m, &t);
                run(m, NULL, native, &counts);
                assert_int_equal(counts.clipped, 0);
                assert_true(t.n_layers == 0 || counts.decodes > 0);
                double error = 0.0, size = 0.0;
                for (size_t i = 0; i < (size_t)ROWS * VOCAB; i++) {
                    error += (double)fabsf(plain[i] - native[i]);
                    size += (double)fabsf(plain[i]);
                }
                if (!(error <= 0.05 * size))
                    fail_msg("%s, projection %u: relative error %g", archs[a]->model_type, b,
                             error / size);
                qn_transport_finish(&t);
                qn_model_destroy(m);
            }
}

static void test_threads(void **state)
{
    static float one[ROWS * VOCAB], many[ROWS * VOCAB];
    struct qn_compute_counts counts, counted;
    (void)state;
    for (size_t a = 0; a < N_ARCHS; a++) {
        struct qn_model *m = make_model(archs[a], QINS_F32);
        struct qn_transport t = make_transport(m, ALL, &recipes[1].recipe);
        go_native(m, &t);
        run(m, NULL, one, &counts);
        for (unsigned threads = 2; threads <= 3; threads++) {
            struct qn_pool *pool;
            assert_int_equal(qn_pool_create(&pool, threads, NULL), QINS_OK);
            run(m, pool, many, &counted);
            assert_memory_equal(one, many, sizeof one);
            assert_memory_equal(&counts, &counted, sizeof counts);
            qn_pool_destroy(pool);
        }
        qn_transport_finish(&t);
        qn_model_destroy(m);
    }
}

/* Counts of one forward pass of LAYERS layers. */
static const struct counting {
    const struct qn_arch *arch;
    unsigned projections;
    const struct recipe *recipe;
    unsigned products, encodes, decodes, planes; /* in a layer */
} countings[] = {
    {&qn_arch_llama, 0, &recipes[1].recipe, 7, 0, 0, 0},
    {&qn_arch_llama, 1 << QN_PROJECTION_V, &recipes[1].recipe, 6, 1, 0, 4},
    {&qn_arch_llama, ALL, &recipes[1].recipe, 0, 4, 0, 28},
    {&qn_arch_llama, ALL, &recipes[2].recipe, 0, 4, 0, 28},
    {&qn_arch_llama, ALL, &recipes[6].recipe, 0, 4, 7, 7},
    {&qn_arch_llama, ALL, &recipes[7].recipe, 7, 4, 7, 0},
    {&qn_arch_phi3, 1 << QN_PROJECTION_V, &recipes[1].recipe, 4, 1, 0, 4},
    {&qn_arch_phi3, ALL, &recipes[1].recipe, 0, 4, 0, 28},
    {&qn_arch_gpt2, ALL, &recipes[1].recipe, 0, 4, 0, 24},
};

static void test_counts(void **state)
{
    static float logits[ROWS * VOCAB];
    (void)state;
    for (size_t i = 0; i < sizeof countings / sizeof *countings; i++) {
        const struct counting *c = &countings[i];
        struct qn_model *m = make_model(c->arch, QINS_F32);
        struct qn_transport t = make_transport(m, c->projections, c->recipe);
        struct qn_compute_counts counts;
        uint64_t channels = 0;
        go_native(m, &t);
        run(m, NULL, logits, &counts);
        for (size_t k = 0; k < t.n_inputs; k++)
            channels += t.inputs[k].channels;
        assert_int_equal(counts.forwards, 1);
        assert_int_equal(counts.products, (uint64_t)LAYERS * c->products + 1); /* and the head */
        assert_int_equal(counts.encodes, (uint64_t)LAYERS * c->encodes);
        assert_int_equal(counts.decodes, (uint64_t)LAYERS * c->decodes);
        assert_int_equal(counts.plane_products, (uint64_t)LAYERS * c->planes);
        assert_int_equal(counts.values, channels * ROWS);
        qn_transport_finish(&t);
        qn_model_destroy(m);
    }
}

/* Values beyond the scale are counted, once for all layers that share them; what is no number
 * has a code, too. */
static void test_clipping(void **state)
{
    struct recipe r = recipes[1].recipe;
    float x[HIDDEN], y[HIDDEN];
    (void)state;
    for (int zero = 0; zero < 2; zero++) {
        r.scale = zero ? 0.0f : 0.5f;
        struct qn_model *m = make_model(&qn_arch_llama, QINS_F32);
        struct qn_transport t = make_transport(m, ALL, &r);
        struct qn_compute_counts counts;
        uint64_t beyond = 0;
        go_native(m, &t);
        struct qn_session *s = make_session(m, NULL);
        for (size_t i = 0; i < HIDDEN; i++) {
            x[i] = i == 5 ? NAN : i == 6 ? -INFINITY : i == 7 ? 0.0f : random_float();
            beyond += isnan(x[i]) || fabsf(x[i]) > r.scale;
        }
        qn_visit(s, 0, x, 1, HIDDEN);
        qn_session_linear(s, &m->layers[0].q, x, 1, HIDDEN, y, HIDDEN);
        qn_session_linear(s, &m->layers[0].v, x, 1, HIDDEN, y, HIDDEN);
        qn_session_counts(s, &counts);
        assert_int_equal(counts.encodes, 1);
        assert_int_equal(counts.values, HIDDEN);
        assert_int_equal(counts.clipped, beyond);
        for (size_t i = 0; i < m->layers[0].v.out; i++)
            assert_true(isfinite(y[i]));
        qn_session_destroy(s);
        qn_transport_finish(&t);
        qn_model_destroy(m);
    }
}

static void refuse(struct qn_model *m, const struct qn_transport *t, enum qins_status status,
                   const char *words)
{
    struct qins_error err;
    assert_int_equal(qn_model_go_native(m, t, "t.h5", &err), status);
    if (!strstr(err.message, words) || strcmp(err.file, "t.h5") != 0)
        fail_msg("\"%s\" does not say \"%s\"", err.message, words);
    assert_null(m->native);
    assert_null(m->layers[0].v.native);
}

static void test_refusals(void **state)
{
    struct qn_model *m = make_model(&qn_arch_llama, QINS_F32);
    struct qn_transport t = make_transport(m, ALL, &recipes[1].recipe);
    struct qn_transport_layer *l = &t.layers[1];
    (void)state;
    t.model.bytes[0] ^= 1;
    refuse(m, &t, QINS_ERR_UNSUPPORTED, "another model than random weights");
    t.model.bytes[0] ^= 1;
    l->layer = LAYERS;
    refuse(m, &t, QINS_ERR_FORMAT, "the model has none");
    l->layer = 0;
    l->expert = 1;
    refuse(m, &t, QINS_ERR_FORMAT, "the model has none");
    l->expert = 0;
    l->tensor[0] = 'x';
    refuse(m, &t, QINS_ERR_FORMAT, "another tensor");
    l->tensor[0] = 'm';
    l->out--;
    refuse(m, &t, QINS_ERR_FORMAT, "another shape");
    l->out++;
    t.inputs[l->input].name[0] = 'x';
    refuse(m, &t, QINS_ERR_FORMAT, "its input is not");
    t.inputs[l->input].name[0] = 'm';
    go_native(m, &t);
    go_native(m, &t); /* the second takes the place of the first */
    qn_model_drop_native(m);
    assert_null(m->layers[0].v.native);
    qn_transport_finish(&t);
    qn_model_destroy(m);
}

/* A product beyond float32 is the last number of it, as where planes are stored. */
static void test_huge_products(void **state)
{
    const struct {
        float w, c, plane;
    } cases[] = {{1e30f, 1e30f, FLT_MAX},       {-1e30f, 1e30f, -FLT_MAX},
                 {1e30f, -1e30f, -FLT_MAX},     {FLT_MAX, 1.0f, FLT_MAX},
                 {1e-30f, 1e-30f, 0.0f},        {3.0f, 0.1f, 3.0f * 0.1f},
                 {FLT_MAX, 1.0000001f, FLT_MAX}};
    (void)state;
    struct qn_model *m = make_model(&qn_arch_llama, QINS_F32);
    struct qn_transport t = make_transport(m, 1 << QN_PROJECTION_V, &recipes[0].recipe);
    const struct qn_matrix *v = &m->layers[0].v;
    float *w = (float *)(uintptr_t)v->data;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_true(qn_transport_product(cases[i].w, cases[i].c) == cases[i].plane);
        w[i] = cases[i].w;
        t.inputs[t.layers[0].input].coefficients[i] = cases[i].c;
    }
    assert_true(isnan(qn_transport_product(NAN, 1.0f)));
    go_native(m, &t);
    const float *planes = v->native->parts[0].owned;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_true(planes[i] == cases[i].plane);
    for (size_t i = 0; i < v->out * v->in; i++)
        assert_true(isfinite(planes[i]));
    qn_transport_finish(&t);
    qn_model_destroy(m);
}

/* What is said where logits are not finite names the transport. */
static void test_not_finite(void **state)
{
    struct qn_model *m = make_model(&qn_arch_llama, QINS_F32);
    struct qn_transport t = make_transport(m, ALL, &recipes[1].recipe);
    struct qins_error err;
    (void)state;
    assert_int_equal(qn_model_not_finite(m, "in window 3", &err), QINS_ERR_FORMAT);
    assert_string_equal(err.message, "the model's logits are not finite in window 3");
    go_native(m, &t);
    assert_int_equal(qn_model_not_finite(m, "in window 3", &err), QINS_ERR_FORMAT);
    assert_string_equal(err.message,
                        "with the transport t.h5 the logits are not finite in window 3");
    assert_string_equal(err.file, m->path);
    assert_int_equal(qn_model_go_native(m, &t, m->path, &err), QINS_OK);
    assert_int_equal(qn_model_not_finite(m, "in window 3", &err), QINS_ERR_FORMAT);
    assert_string_equal(err.message,
                        "with the transport that it carries the logits are not finite in window 3");
    qn_transport_finish(&t);
    qn_model_destroy(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_products),      cmocka_unit_test(test_fine_grid),
        cmocka_unit_test(test_threads),       cmocka_unit_test(test_counts),
        cmocka_unit_test(test_clipping),      cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_huge_products), cmocka_unit_test(test_not_finite),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
