/* Matrices that stay as archives have them: products beside those of the decoded weights, and
 * payloads that are damaged. */
#include "tests/unit/chunk_testing.h"
#include "tests/unit/kernel_testing.h"
#include "tests/unit/packed_checking.h"

#include "core/linalg.h"
#include "formats/codec/bitpack.h"
#include "model/linear.h"
#include "model/packed.h"

static uint64_t seed = 71;

static const enum qn_cpu_level levels[] = {QN_CPU_C, QN_CPU_AVX2, QN_CPU_AVX512};

static void fill_normal(float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        x[i] = test_uniform(&seed, 1) + test_uniform(&seed, 1) + test_uniform(&seed, 1);
}

/* A matrix as an archive's chunks hold it, some of its rows in each. */
struct matrix {
    struct qn_packed packed;
    float *values; /* decoded as chunks are */
    void **rooms;
    size_t n_runs;
};

static struct qn_chunk_params coding(enum qn_codec_id codec, unsigned n_levels, size_t in,
                                     size_t group)
{
    struct qn_chunk_params p = test_quantised(QINS_F32, codec, n_levels, in, group);
    if (group == 0)
        p.tensor_scale = 0.9F;
    return p;
}

/* A payload of ROWS rows of IN made-up weights; for a steep grid all small but one in each row. */
static struct qn_buf payload_of(const struct qn_chunk_params *p, size_t rows, size_t in)
{
    struct qn_chunk_work work = {0};
    struct qn_buf payload = {0};
    struct qins_error err;
    float *x = malloc(rows * in * sizeof *x);
    assert_non_null(x);
    fill_normal(x, rows * in);
    for (size_t i = 0; p->kappa > 1000.0F && i < rows * in; i++)
        x[i] = i % in == 0 ? 1.0F : x[i] * 1e-4F;
    assert_int_equal(qn_chunk_encode(p, x, rows * in, &work, &payload, &err), QINS_OK);
    qn_chunk_work_finish(&work);
    free(x);
    return payload;
}

static void matrix_init(struct matrix *m, const struct qn_chunk_params *params, size_t n_runs,
                        const size_t *rows, size_t in, bool looked_up)
{
    struct qins_error err;
    struct qn_chunk_work work = {0};
    size_t out = 0;
    for (size_t i = 0; i < n_runs; i++)
        out += rows[i];
    m->n_runs = n_runs;
    m->values = malloc(out * in * sizeof *m->values);
    m->rooms = calloc(n_runs, sizeof *m->rooms);
    assert_non_null(m->values);
    assert_non_null(m->rooms);
    assert_int_equal(qn_packed_init(&m->packed, out, in, looked_up, n_runs, &err), QINS_OK);
    size_t row = 0;
    for (size_t i = 0; i < n_runs; row += rows[i], i++) {
        struct qn_buf payload = payload_of(&params[i], rows[i], in);
        struct qn_chunk_header h;
        assert_int_equal(qn_chunk_parse(payload.data, payload.size, &h, &err), QINS_OK);
        assert_true(qn_packed_takes(&h, in));
        m->rooms[i] = aligned_alloc(QN_PACKED_ALIGNMENT, qn_packed_room(&h, looked_up));
        assert_non_null(m->rooms[i]);
        if (qn_packed_add(&m->packed, i, row, payload.data, payload.size, m->rooms[i], &work,
                          &err) != QINS_OK)
            fail_msg("%s", err.message);
        assert_int_equal(qn_chunk_decode(payload.data, payload.size, QINS_F32, rows[i] * in, true,
                                         &work, m->values + row * in, &err),
                         QINS_OK);
        qn_buf_finish(&payload);
    }
    if (qn_packed_seal(&m->packed, &err) != QINS_OK)
        fail_msg("%s", err.message);
    qn_chunk_work_finish(&work);
}

static void matrix_finish(struct matrix *m)
{
    qn_packed_finish(&m->packed);
    for (size_t i = 0; i < m->n_runs; i++)
        free(m->rooms[i]);
    free(m->rooms);
    free(m->values);
}

/* WANT: products of M's values and X, in doubles; POWER: of each row of X, the squares that NOISE
 * is held against. */
static void reference(const struct matrix *m, const float *x, size_t rows, const float *bias,
                      double *want, double *power)
{
    const struct qn_packed *p = &m->packed;
    for (size_t k = 0; k < rows; k++) {
        power[k] = 0;
        for (size_t o = 0; o < p->out; o++) {
            double sum = (double)bias[o];
            for (size_t i = 0; i < p->in; i++) {
                const double product = (double)m->values[o * p->in + i] * (double)x[k * p->in + i];
                sum += product;
                power[k] += product * product;
            }
            want[k * p->out + o] = sum;
        }
    }
}

static void check_linear(const struct matrix *m, size_t rows, const float *y, const double *want,
                         const double *power)
{
    const struct qn_packed *p = &m->packed;
    for (size_t k = 0; k < rows; k++) {
        double noise = 0;
        for (size_t o = 0; o < p->out; o++) {
            const double d = (double)y[k * p->out + o] - want[k * p->out + o];
            noise += d * d;
        }
        if (!(noise <= 1e-8 * power[k])) /* 1e-4 */
            fail_msg("%zu x %zu, row %zu of %zu: error %g", p->out, p->in, k, rows,
                     sqrt(noise / power[k]));
    }
}

/* Products by few rows and many, whatever the pool; rows as they are decoded. */
static void check_matrix(const struct matrix *m)
{
    static const size_t counts[] = {1, 2, 3, 4, 5, 7, 8, 9, 16, 17, 40};
    const size_t out = m->packed.out, in = m->packed.in, most = 40;
    struct qn_pool *pool;
    struct qins_error err;
    assert_int_equal(qn_pool_create(&pool, 2, &err), QINS_OK);
    float *x = malloc(most * in * sizeof *x), *bias = malloc(out * sizeof *bias);
    float *y = malloc(most * out * sizeof *y), *again = malloc(most * out * sizeof *again);
    float *scratch = malloc(2 * qn_linear_scratch() * sizeof *scratch);
    double *want = malloc(most * out * sizeof *want), *power = malloc(most * sizeof *power);
    const struct qn_matrix w = {
        .name = "test", .out = out, .in = in, .stride = in, .bias = bias, .packed = &m->packed};
    fill_normal(x, most * in);
    fill_normal(bias, out);
    reference(m, x, most, bias, want, power);
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        qn_linear(NULL, &w, x, counts[i], in, y, out, scratch);
        check_linear(m, counts[i], y, want, power);
        qn_linear(pool, &w, x, counts[i], in, again, out, scratch);
        assert_memory_equal(y, again, counts[i] * out * sizeof *y);
    }
    for (size_t row = 0; row < out; row += 1 + out / 5) {
        const size_t n = out - row < 3 ? out - row : 3;
        float *rows = malloc(n * in * sizeof *rows);
        qn_packed_rows(&m->packed, row, n, rows, m->packed.looked_up ? NULL : scratch);
        assert_memory_equal(rows, m->values + row * in, n * in * sizeof *rows);
        free(rows);
    }
    qn_pool_destroy(pool);
    free(x);
    free(bias);
    free(y);
    free(again);
    free(scratch);
    free(want);
    free(power);
}

static void test_matrices(void **state)
{
    static const enum qn_codec_id codecs[] = {QN_CODEC_BITPACK, QN_CODEC_STORE, QN_CODEC_TANS,
                                              QN_CODEC_HUFFMAN, QN_CODEC_ZSTD};
    static const unsigned counts[] = {127, 31, 100, 1, 700};
    static const size_t groups[] = {1 << 20, 0, 64, 32, 100, 7};
    static const size_t rows[] = {70, 33};
    (void)state;
    for (size_t c = 0; c < sizeof codecs / sizeof *codecs; c++)
        for (size_t l = 0; l < sizeof counts / sizeof *counts; l++)
            for (size_t g = 0; g < sizeof groups / sizeof *groups; g++) {
                /* Every pair of a codec and a number of levels, one or two groups each. */
                if (test_briefly() && (c + 2 * l + g) % 5 != 0)
                    continue;
                const size_t in = 331 + 17 * g;
                const struct qn_chunk_params params[] = {
                    coding(codecs[c], counts[l], in, groups[g]),
                    coding(codecs[c], counts[l], in, groups[g])};
                struct matrix m;
                matrix_init(&m, params, 2, rows, in, (c + l + g) % 4 == 0);
                check_matrix(&m);
                matrix_finish(&m);
            }
}

/* Blocks of rows of several grids, coders and groups; a steep grid, for which 16 bits will not do.
 */
static void test_mixed(void **state)
{
    enum { IN = 512 };
    static const size_t rows[] = {16, 1, 300, 40, 8};
    struct qn_chunk_params params[] = {
        coding(QN_CODEC_BITPACK, 127, IN, IN), coding(QN_CODEC_TANS, 31, IN, 32),
        coding(QN_CODEC_TANS, 100, IN, 128), coding(QN_CODEC_BITPACK, 60, IN, 48),
        coding(QN_CODEC_STORE, 127, IN, IN)};
    struct matrix m;
    (void)state;
    params[4].kappa = 30000.0F;
    matrix_init(&m, params, 5, rows, IN, false);
    assert_int_equal(m.packed.block, 64);
    assert_true(m.packed.runs[0].fixed && m.packed.runs[1].fixed && m.packed.runs[2].fixed);
    assert_false(m.packed.runs[3].fixed || m.packed.runs[4].fixed);
    assert_int_equal(m.packed.runs[2].codec, QN_CODEC_TANS);
    check_matrix(&m);
    matrix_finish(&m);
}

static void test_seed_grid(void **state)
{
    enum { IN = 200 };
    static const size_t rows[] = {50};
    struct qn_chunk_params p = coding(QN_CODEC_BITPACK, 127, IN, IN);
    struct matrix m;
    (void)state;
    p.content = QN_CONTENT_SEED;
    matrix_init(&m, &p, 1, rows, IN, false);
    check_matrix(&m);
    matrix_finish(&m);
}

/* A row of more symbols than are decoded at a time. */
static void test_long_rows(void **state)
{
    enum { IN = 70001 };
    static const size_t rows[] = {5};
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        const struct qn_chunk_params p = coding(i ? QN_CODEC_TANS : QN_CODEC_BITPACK, 31, IN, IN);
        struct matrix m;
        matrix_init(&m, &p, 1, rows, IN, false);
        assert_false(m.packed.runs[0].fixed);
        check_matrix(&m);
        matrix_finish(&m);
    }
    {
        const struct qn_chunk_params p = coding(QN_CODEC_TANS, 31, 65535, 65535);
        struct matrix m;
        matrix_init(&m, &p, 1, rows, 65535, false);
        assert_true(m.packed.runs[0].fixed);
        check_matrix(&m);
        matrix_finish(&m);
    }
}

/* What tests of damage keep from one payload to the next: products want megabytes of scratch. */
struct trial {
    size_t in, out;
    float *x, *values, *y, *scratch;
    size_t accepted;
};

enum { TRIAL_ROWS = 20 };

static struct trial trial_create(size_t out, size_t in)
{
    struct trial t = {.in = in, .out = out};
    t.x = malloc(TRIAL_ROWS * in * sizeof *t.x);
    t.values = malloc(out * in * sizeof *t.values);
    t.y = malloc(TRIAL_ROWS * out * sizeof *t.y);
    t.scratch = malloc(qn_packed_scratch() * sizeof *t.scratch);
    assert_non_null(t.x);
    assert_non_null(t.values);
    assert_non_null(t.y);
    assert_non_null(t.scratch);
    fill_normal(t.x, TRIAL_ROWS * in);
    return t;
}

static void trial_destroy(struct trial *t)
{
    free(t->x);
    free(t->values);
    free(t->y);
    free(t->scratch);
}

/* Products through the kernels of every level, with counts of inputs for each way. */
static void multiply_all(struct trial *t, const struct qn_packed *p)
{
    static const size_t counts[] = {1, 9, TRIAL_ROWS};
    const enum qn_cpu_level most = qn_cpu_level();
    for (size_t l = 0; l < sizeof levels / sizeof *levels; l++) {
        if (!qn_cpu_use(levels[l]))
            continue;
        for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
            qn_packed_multiply(NULL, p, NULL, t->x, counts[i], t->in, t->y, t->out, t->scratch);
            if (!packed_products_hold(p, t->values, t->x, counts[i], t->y))
                fail_msg("%s, %zu rows of inputs", qn_cpu_level_name(levels[l]), counts[i]);
        }
    }
    assert_true(qn_cpu_use(most));
}

/* What is taken is multiplied by, and decoded as chunks are. */
static void check_taken(struct trial *t, const struct qn_packed *p, const uint8_t *payload,
                        size_t size, struct qn_chunk_work *work)
{
    float *rows = malloc(t->out * t->in * sizeof *rows);
    assert_non_null(rows);
    check_ok(qn_chunk_decode(payload, size, QINS_F32, t->out * t->in, true, work, t->values, &e_));
    qn_packed_rows(p, 0, t->out, rows, p->looked_up ? NULL : t->scratch);
    assert_memory_equal(rows, t->values, t->out * t->in * sizeof *rows);
    free(rows);
    multiply_all(t, p);
    t->accepted++;
}

static enum qins_status add(struct trial *t, const void *payload, size_t size, bool looked_up)
{
    struct qn_packed p;
    struct qn_chunk_header h;
    struct qins_error err;
    struct qn_chunk_work work = {0};
    uint8_t *copy = test_exact_copy(payload, size);
    void *room = NULL;
    assert_int_equal(qn_packed_init(&p, t->out, t->in, looked_up, 1, &err), QINS_OK);
    enum qins_status st = qn_chunk_parse(copy, size, &h, &err);
    if (st == QINS_OK && !qn_packed_takes(&h, t->in))
        st = QINS_ERR_UNSUPPORTED;
    if (st == QINS_OK) {
        room = aligned_alloc(QN_PACKED_ALIGNMENT, qn_packed_room(&h, looked_up));
        assert_non_null(room);
    }
    /* Refused as it says, and nothing written. */
    assert_true(room || qn_packed_add(&p, 0, 0, copy, size, NULL, &work, &err) == st);
    if (st == QINS_OK)
        st = qn_packed_add(&p, 0, 0, copy, size, room, &work, &err);
    if (st == QINS_OK)
        st = qn_packed_seal(&p, &err);
    if (st == QINS_OK)
        check_taken(t, &p, copy, size, &work);
    free(copy);
    free(room);
    qn_chunk_work_finish(&work);
    qn_packed_finish(&p);
    return st;
}

/* Bytes of the header that name or measure something, of scales and of codes, damaged and then
 * sealed: all but the hash is what a writer can make it. */
static void damage(struct trial *t, const struct qn_buf *payload, bool looked_up)
{
    static const uint8_t values[] = {0, 1, 0x7f, 0x80, 0xff};
    const size_t n = test_briefly() ? 20 : 150;
    for (size_t i = 0; i < n; i++) {
        uint8_t *copy = test_exact_copy(payload->data, payload->size);
        const size_t begin = i % 3 == 0 ? 12 : QN_CHUNK_HEADER_SIZE;
        const size_t end = i % 3 == 0 ? QN_CHUNK_HEADER_SIZE : payload->size;
        const size_t at = begin + test_random(&seed) % (end - begin);
        copy[at] = values[test_random(&seed) % sizeof values];
        if (copy[at] != payload->data[at])
            assert_int_equal(add(t, copy, payload->size, looked_up), QINS_ERR_FORMAT);
        test_reseal(copy, payload->size);
        (void)add(t, copy, payload->size, looked_up);
        free(copy);
    }
}

static void test_damage(void **state)
{
    enum { IN = 96, ROWS = 24 };
    static const struct {
        enum qn_codec_id codec;
        unsigned levels;
        size_t group;
        enum qn_content content;
    } forms[] = {
        {QN_CODEC_BITPACK, 100, IN, QN_CONTENT_QINS}, {QN_CODEC_BITPACK, 31, 32, QN_CONTENT_QINS},
        {QN_CODEC_STORE, 127, 0, QN_CONTENT_QINS},    {QN_CODEC_TANS, 100, IN, QN_CONTENT_QINS},
        {QN_CODEC_TANS, 500, 64, QN_CONTENT_QINS},    {QN_CODEC_HUFFMAN, 15, 48, QN_CONTENT_QINS},
        {QN_CODEC_RLE, 1, IN, QN_CONTENT_QINS},       {QN_CODEC_BITPACK, 60, IN, QN_CONTENT_SEED}};
    struct trial t = trial_create(ROWS, IN);
    (void)state;
    for (size_t f = 0; f < sizeof forms / sizeof *forms; f++) {
        struct qn_chunk_params p = coding(forms[f].codec, forms[f].levels, IN, forms[f].group);
        p.content = forms[f].content;
        struct qn_buf payload = payload_of(&p, ROWS, IN);
        const bool looked_up = f % 3 == 2;
        assert_int_equal(add(&t, payload.data, payload.size, looked_up), QINS_OK);
        for (size_t size = 0; size < payload.size; size += 1 + payload.size / 50)
            assert_int_equal(add(&t, payload.data, size, looked_up), QINS_ERR_FORMAT);
        t.accepted = 0;
        damage(&t, &payload, looked_up);
        assert_in_range(t.accepted, 1, SIZE_MAX);
        qn_buf_finish(&payload);
    }
    trial_destroy(&t);
}

/* Rows that are no rows of the payload. */
static void test_other_rows(void **state)
{
    enum { IN = 512, ROWS = 64 };
    const struct qn_chunk_params p = coding(QN_CODEC_TANS, 100, IN, IN);
    struct qn_buf payload = payload_of(&p, ROWS, IN);
    struct trial t = trial_create((size_t)2 * ROWS, IN / 2);
    (void)state;
    assert_int_equal(add(&t, payload.data, payload.size, false), QINS_ERR_UNSUPPORTED);
    trial_destroy(&t);
    qn_buf_finish(&payload);
}

static void test_rows_missing(void **state)
{
    enum { IN = 64 };
    const size_t rows = 8;
    const struct qn_chunk_params p = coding(QN_CODEC_BITPACK, 127, IN, IN);
    struct qn_buf payload = payload_of(&p, rows, IN);
    struct qn_chunk_work work = {0};
    struct qn_chunk_header h;
    struct qn_packed packed;
    struct qins_error err;
    (void)state;
    assert_int_equal(qn_chunk_parse(payload.data, payload.size, &h, &err), QINS_OK);
    void *rooms[] = {aligned_alloc(64, qn_packed_room(&h, false)),
                     aligned_alloc(64, qn_packed_room(&h, false))};
    for (size_t out = rows; out <= 3 * rows; out += rows)
        for (size_t second = 0; second <= 2 * rows; second += rows) {
            assert_int_equal(qn_packed_init(&packed, out, IN, false, 2, &err), QINS_OK);
            assert_int_equal(qn_packed_seal(&packed, &err), QINS_ERR_FORMAT);
            for (size_t i = 0; i < 2; i++)
                assert_int_equal(qn_packed_add(&packed, i, i * second, payload.data, payload.size,
                                               rooms[i], &work, &err),
                                 QINS_OK);
            assert_int_equal(qn_packed_seal(&packed, &err),
                             out == 2 * rows && second == rows ? QINS_OK : QINS_ERR_FORMAT);
            qn_packed_finish(&packed);
        }
    free(rooms[0]);
    free(rooms[1]);
    qn_buf_finish(&payload);
    qn_chunk_work_finish(&work);
}

int main(void)
{
    struct qins_error err;
    if (qn_linalg_init(&err) != QINS_OK)
        return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_matrices),     cmocka_unit_test(test_mixed),
        cmocka_unit_test(test_seed_grid),    cmocka_unit_test(test_long_rows),
        cmocka_unit_test(test_damage),       cmocka_unit_test(test_other_rows),
        cmocka_unit_test(test_rows_missing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
