#include "tests/unit/chunk_testing.h"
#include "tests/unit/kernel_testing.h"

#include "core/linalg.h"
#include "formats/codec/bitpack.h"
#include "model/linear.h"
#include "model/packed.h"
#include "model/packed_kernels.h"

static uint64_t seed = 71;

static const enum qn_cpu_level levels[] = {QN_CPU_C, QN_CPU_AVX2, QN_CPU_AVX512};

/* What one matrix of codes is made of; every buffer ends at a page nobody may touch. */
struct sample {
    struct qn_grid grid;
    struct qn_packed_table table;
    size_t rows, in, group, row_scales, first;
    uint16_t *codes;
    struct guarded packed, scales;
    struct qn_packed_rows w;
};

static void sample_init(struct sample *s, unsigned n_levels, float kappa, size_t rows, size_t in,
                        size_t group, bool bytes)
{
    assert_true(qn_grid_init(&s->grid, QN_GRID_QINS, n_levels, kappa));
    assert_true(qn_packed_table_init(&s->table, &s->grid));
    if (bytes)
        s->table.bits = 8;
    s->rows = rows;
    s->in = in;
    s->group = group;
    s->row_scales = group < in ? (in + group - 1) / group : 1;
    s->first = test_random(&seed) % 23;
    const size_t n = s->first + rows * in;
    s->codes = malloc((n + 1) * sizeof *s->codes);
    assert_non_null(s->codes);
    for (size_t i = 0; i < n; i++)
        s->codes[i] = (uint16_t)(test_random(&seed) % (2 * n_levels + 1));
    const size_t size = qn_bitpack_size(n, s->table.bits);
    s->packed = guarded_create(size + QN_PACKED_MARGIN);
    memset(s->packed.data, 0xa5, size + QN_PACKED_MARGIN);
    qn_bitpack(s->codes, n, s->table.bits, s->packed.data);
    const size_t n_scales = rows * s->row_scales;
    s->scales = guarded_create((n_scales + QN_PACKED_LANES) * sizeof(float));
    float *scales = s->scales.data;
    for (size_t i = 0; i < n_scales + QN_PACKED_LANES; i++)
        scales[i] = i < n_scales ? 0.5F + 0.1F * (float)(i % 7) : 0.0F;
    s->w = (struct qn_packed_rows){&s->table, s->packed.data, s->first,      rows,
                                   in,        scales,         s->row_scales, group};
}

static void sample_finish(struct sample *s)
{
    free(s->codes);
    guarded_destroy(&s->packed);
    guarded_destroy(&s->scales);
}

static double weight(const struct sample *s, size_t row, size_t column)
{
    const float *scales = s->scales.data;
    const float scale = scales[row * s->row_scales + (s->group < s->in ? column / s->group : 0)];
    return (double)scale * (double)s->grid.value[s->codes[s->first + row * s->in + column]];
}

/* Inputs as a kernel table prepares them, exactly as large as it says. */
struct prepared {
    struct guarded memory[QN_PACKED_MAX_ROWS];
    struct qn_packed_input inputs[QN_PACKED_MAX_ROWS];
};

static void prepare(struct prepared *p, const struct qn_packed_kernels *k, const float *x, size_t n,
                    size_t in, size_t block)
{
    for (size_t i = 0; i < n; i++) {
        const size_t size = qn_packed_input_size(in, block);
        struct guarded row = guarded_create(in * sizeof(float));
        p->memory[i] = guarded_create(size);
        memset(p->memory[i].data, 0x5a, size);
        memcpy(row.data, x + i * in, in * sizeof(float));
        qn_packed_input_place(&p->inputs[i], in, block, p->memory[i].data);
        k->prepare(&p->inputs[i], row.data);
        guarded_destroy(&row);
    }
}

static void check_products(const struct sample *s, const float *x, size_t n, const float *y,
                           size_t stride, double most)
{
    for (size_t k = 0; k < n; k++) {
        double noise = 0, power = 0;
        for (size_t r = 0; r < s->rows; r++) {
            double sum = 0, squares = 0;
            for (size_t i = 0; i < s->in; i++) {
                const double product = weight(s, r, i) * (double)x[k * s->in + i];
                sum += product;
                squares += product * product;
            }
            const double d = (double)y[k * stride + r] - sum;
            noise += d * d;
            power += squares;
        }
        if (noise > most * most * power)
            fail_msg("%u levels, %zu x %zu, group %zu: error %g", s->grid.levels, s->rows, s->in,
                     s->group, sqrt(noise / power));
    }
}

/* All levels against the portable one to the bit, and that against doubles: MOST is the error as a
 * share of what products come to that are independent. */
static void check_sample(const struct sample *s, const float *x, size_t n, double most)
{
    const size_t block = qn_packed_block(s->in, s->group), stride = s->rows + 3;
    assert_true(block > 0);
    float *expected = calloc(n * stride, sizeof *expected);
    assert_non_null(expected);
    for (size_t l = 0; l < sizeof levels / sizeof *levels; l++) {
        const struct qn_packed_kernels *k = qn_packed_kernels_of(levels[l]);
        if (!k)
            continue;
        struct prepared p;
        const size_t count = (n - 1) * stride + s->rows;
        struct guarded y = guarded_create(count * sizeof(float));
        memset(y.data, 0, count * sizeof(float));
        prepare(&p, k, x, n, s->in, block);
        k->multiply(&s->w, p.inputs, n, y.data, stride);
        if (levels[l] == QN_CPU_C) {
            memcpy(expected, y.data, count * sizeof(float));
            check_products(s, x, n, expected, stride, most);
        } else if (memcmp(expected, y.data, count * sizeof(float)) != 0) {
            fail_msg("%s: %u levels in %u bits, %zu x %zu, group %zu, %zu rows of inputs",
                     qn_cpu_level_name(levels[l]), s->grid.levels, s->table.bits, s->rows, s->in,
                     s->group, n);
        }
        for (size_t i = 0; i < n; i++)
            guarded_destroy(&p.memory[i]);
        guarded_destroy(&y);
    }
    free(expected);
}

static void fill_normal(float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        x[i] = test_uniform(&seed, 1) + test_uniform(&seed, 1) + test_uniform(&seed, 1);
}

static void check_shape(unsigned n_levels, float kappa, size_t rows, size_t in, size_t group,
                        size_t n)
{
    struct sample s;
    float *x = malloc((n * in + 1) * sizeof *x);
    assert_non_null(x);
    fill_normal(x, n * in);
    for (unsigned bytes = 0; bytes < 2; bytes++) {
        sample_init(&s, n_levels, kappa, rows, in, group, bytes);
        check_sample(&s, x, n, 2e-4);
        sample_finish(&s);
    }
    free(x);
}

static void test_levels(void **state)
{
    static const unsigned counts[] = {1, 2, 3, 5, 7, 10, 15, 20, 31, 33, 63, 64, 100, 127};
    static const float kappas[] = {0.0F, 1.5F, 8.0F};
    (void)state;
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
        for (size_t k = 0; k < sizeof kappas / sizeof *kappas; k++)
            check_shape(counts[i], kappas[k], 5, 200 + i, 1 << 20, 1 + i % 8);
}

static void test_lengths(void **state)
{
    static const size_t ins[] = {1,  2,   3,   4,   15,  16,  17,  31,  32,  33,  63,  64,
                                 65, 127, 128, 129, 255, 256, 257, 300, 511, 513, 1000};
    (void)state;
    for (size_t i = 0; i < sizeof ins / sizeof *ins; i++)
        for (size_t n = 1; n <= QN_PACKED_MAX_ROWS; n++)
            check_shape(n % 2 ? 127 : 31, 1.5F, n % 3, ins[i], ins[i], n);
}

static void test_groups(void **state)
{
    static const size_t groups[] = {16, 32, 64, 128, 192, 256, 512, 1000};
    (void)state;
    for (size_t i = 0; i < sizeof groups / sizeof *groups; i++)
        for (size_t in = 48; in < 1200; in += 167)
            if (qn_packed_block(in, groups[i]) > 0)
                check_shape(in % 2 ? 127 : 31, 1.5F, 4, in, groups[i], 1 + in % 8);
    assert_int_equal(qn_packed_block(1000, 48), 0);
    assert_int_equal(qn_packed_block(1000, 100), 0);
    assert_int_equal(qn_packed_block(1000, 8), 0);
    assert_int_equal(qn_packed_block(1000, 192), 64);
    assert_int_equal(qn_packed_block(1000, 384), 128);
}

/* One of a thousand inputs a hundred times as large, tiny ones, zeros, and what is not finite. */
static void test_inputs(void **state)
{
    enum { IN = 700, ROWS = 6 };
    (void)state;
    float x[IN];
    struct sample s;
    sample_init(&s, 127, 1.5F, ROWS, IN, IN, false);
    fill_normal(x, IN);
    x[100] = 300.0F;
    x[600] = -250.0F;
    check_sample(&s, x, 1, 2e-4);
    for (size_t i = 0; i < IN; i++)
        x[i] *= 1e-20F;
    check_sample(&s, x, 1, 2e-4);
    memset(x, 0, sizeof x);
    check_sample(&s, x, 1, 2e-4);
    for (size_t l = 0; l < sizeof levels / sizeof *levels; l++) {
        const struct qn_packed_kernels *k = qn_packed_kernels_of(levels[l]);
        static const float odd[] = {INFINITY, -INFINITY, NAN};
        for (size_t i = 0; k && i < sizeof odd / sizeof *odd; i++) {
            struct prepared p;
            float y[ROWS] = {0};
            fill_normal(x, IN);
            x[300 + i] = odd[i];
            prepare(&p, k, x, 1, IN, qn_packed_block(IN, IN));
            k->multiply(&s.w, p.inputs, 1, y, ROWS);
            for (size_t r = 0; r < ROWS; r++)
                assert_true(isnan(y[r]));
            guarded_destroy(&p.memory[0]);
        }
    }
    sample_finish(&s);
}

/* Code N is zero, exactly; a code that is none reads nothing outside. */
static void test_codes(void **state)
{
    enum { IN = 320, ROWS = 3 };
    (void)state;
    float x[IN];
    struct sample s;
    sample_init(&s, 100, 1.5F, ROWS, IN, 64, false);
    fill_normal(x, IN);
    for (size_t l = 0; l < sizeof levels / sizeof *levels; l++) {
        const struct qn_packed_kernels *k = qn_packed_kernels_of(levels[l]);
        struct prepared p;
        float y[ROWS];
        if (!k)
            continue;
        prepare(&p, k, x, 1, IN, 64);
        for (unsigned c = 0; c < 256; c++) {
            memset(s.packed.data, (int)c, s.first + (size_t)ROWS * IN);
            k->multiply(&s.w, p.inputs, 1, y, ROWS);
            if (c == 100)
                for (size_t r = 0; r < ROWS; r++)
                    assert_true(y[r] == 0.0F);
        }
        guarded_destroy(&p.memory[0]);
    }
    sample_finish(&s);
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

static void check_linear(const struct matrix *m, const float *x, size_t rows, const float *y,
                         const float *bias)
{
    const struct qn_packed *p = &m->packed;
    for (size_t k = 0; k < rows; k++) {
        double noise = 0, power = 0;
        for (size_t o = 0; o < p->out; o++) {
            double sum = (double)bias[o];
            for (size_t i = 0; i < p->in; i++) {
                const double product = (double)m->values[o * p->in + i] * (double)x[k * p->in + i];
                sum += product;
                power += product * product;
            }
            const double d = (double)y[k * p->out + o] - sum;
            noise += d * d;
        }
        if (!(noise <= 1e-8 * power)) /* 1e-4 */
            fail_msg("%zu x %zu, row %zu of %zu: error %g", p->out, p->in, k, rows,
                     sqrt(noise / power));
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
    const struct qn_matrix w = {
        .name = "test", .out = out, .in = in, .stride = in, .bias = bias, .packed = &m->packed};
    fill_normal(x, most * in);
    fill_normal(bias, out);
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        qn_linear(NULL, &w, x, counts[i], in, y, out, scratch);
        check_linear(m, x, counts[i], y, bias);
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

static enum qins_status add(const void *payload, size_t size, size_t in, size_t room)
{
    struct qn_packed p;
    struct qins_error err;
    struct qn_chunk_work work = {0};
    assert_int_equal(qn_packed_init(&p, 64, in, false, 1, &err), QINS_OK);
    void *memory = aligned_alloc(QN_PACKED_ALIGNMENT, room);
    uint8_t *copy = test_exact_copy(payload, size);
    enum qins_status st = qn_packed_add(&p, 0, 0, copy, size, memory, &work, &err);
    if (st == QINS_OK)
        st = qn_packed_seal(&p, &err);
    free(copy);
    free(memory);
    qn_chunk_work_finish(&work);
    qn_packed_finish(&p);
    return st;
}

static void test_damage(void **state)
{
    enum { IN = 512, ROWS = 64 };
    static const enum qn_codec_id codecs[] = {QN_CODEC_BITPACK, QN_CODEC_STORE, QN_CODEC_TANS,
                                              QN_CODEC_HUFFMAN};
    (void)state;
    for (size_t c = 0; c < sizeof codecs / sizeof *codecs; c++) {
        const struct qn_chunk_params p = coding(codecs[c], 100, IN, IN);
        struct qn_buf payload = payload_of(&p, ROWS, IN);
        struct qn_chunk_header h;
        struct qins_error err;
        assert_int_equal(qn_chunk_parse(payload.data, payload.size, &h, &err), QINS_OK);
        const size_t room = qn_packed_room(&h, false);
        assert_int_equal(add(payload.data, payload.size, IN, room), QINS_OK);
        assert_int_equal(add(payload.data, payload.size, IN / 2, room), QINS_ERR_UNSUPPORTED);
        for (size_t size = 0; size < payload.size; size += 1 + payload.size / 50)
            assert_int_equal(add(payload.data, size, IN, room), QINS_ERR_FORMAT);
        for (size_t i = 0; i < 200; i++) {
            uint8_t *copy = test_exact_copy(payload.data, payload.size);
            const size_t at = QN_CHUNK_HEADER_SIZE + test_random(&seed) % (payload.size - 64);
            copy[at] = 0xff;
            assert_int_equal(add(copy, payload.size, IN, room),
                             copy[at] == payload.data[at] ? QINS_OK : QINS_ERR_FORMAT);
            test_reseal(copy, payload.size); /* all but the hash is what a writer can make it */
            (void)add(copy, payload.size, IN, room);
            free(copy);
        }
        qn_buf_finish(&payload);
    }
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
        cmocka_unit_test(test_levels),       cmocka_unit_test(test_lengths),
        cmocka_unit_test(test_groups),       cmocka_unit_test(test_inputs),
        cmocka_unit_test(test_codes),        cmocka_unit_test(test_matrices),
        cmocka_unit_test(test_mixed),        cmocka_unit_test(test_seed_grid),
        cmocka_unit_test(test_long_rows),    cmocka_unit_test(test_damage),
        cmocka_unit_test(test_rows_missing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
