#include "tests/unit/testing.h"

#include "core/bytes.h"
#include "core/clock.h"
#include "core/hash.h"
#include "formats/codec/quant.h"
#include "formats/kv_page.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* Places of docs/kv-format.md. */
enum { AT_KIND = 8, AT_BITS = 9, AT_HEADS = 10, AT_TOKENS = 14, AT_KAPPA = 16, AT_LARGEST = 20 };
enum { MOST_VALUES = QN_KV_MAX_PAGE / 4, MOST_PAGE = 2 * QN_KV_MAX_PAGE };

struct fixture {
    struct qn_kv_layout layout;
    size_t values, head_stride, size;
    float *v, *decoded;
    uint8_t *page, *old;
    void *scratch;
};

static void setup(struct fixture *f, uint32_t heads, uint32_t head_dim, unsigned bits,
                  size_t page_bytes)
{
    struct qins_error err;
    check_ok(qn_kv_layout_init(&f->layout, heads, head_dim, bits, page_bytes, &err));
    assert_true(qn_kv_layout_valid(&f->layout));
    f->values = (size_t)f->layout.tokens * heads * head_dim;
    f->head_stride = (size_t)f->layout.tokens * head_dim;
    f->size = qn_kv_packed_size(&f->layout);
    f->v = malloc(f->values * sizeof *f->v);
    f->decoded = malloc(f->values * sizeof *f->decoded);
    f->page = malloc(f->size);
    f->old = malloc(f->size);
    f->scratch = malloc(qn_kv_scratch(&f->layout));
    assert_true(f->v && f->decoded && f->page && f->old && f->scratch);
}

static void finish(struct fixture *f)
{
    free(f->v);
    free(f->decoded);
    free(f->page);
    free(f->old);
    free(f->scratch);
}

/* About normal: sums of four uniform numbers. */
static void fill(struct fixture *f, uint64_t seed)
{
    for (size_t i = 0; i < f->values; i++) {
        int64_t sum = 0;
        for (int k = 0; k < 4; k++)
            sum += (int64_t)(test_random(&seed) >> 40) - (1 << 23);
        f->v[i] = (float)sum * 0x1p-24F;
    }
}

static void encode(struct fixture *f)
{
    struct qins_error err;
    check_ok(qn_kv_encode(&f->layout, f->v, f->head_stride, f->page, f->scratch, &err));
}

static enum qins_status decode(struct fixture *f, const uint8_t *page, size_t size,
                               struct qins_error *err)
{
    /* The size that is said is all there is: for valgrind and ASan. */
    uint8_t *exact = malloc(size ? size : 1);
    assert_non_null(exact);
    memcpy(exact, page, size);
    const enum qins_status st =
        qn_kv_decode(&f->layout, exact, size, f->decoded, f->head_stride, f->scratch, err);
    free(exact);
    return st;
}

static void layouts(void **state)
{
    static const struct {
        uint32_t heads, head_dim;
        size_t page_bytes;
        uint32_t tokens, groups;
    } cases[] = {{2, 32, 0, 64, 1},   {2, 64, 0, 64, 2},        {8, 128, 0, 16, 8},
                 {1, 8, 0, 512, 1},   {1, 1, 0, 4096, 1},       {4, 4096, 0, 1, 4},
                 {40, 128, 0, 3, 40}, {2, 32, 16 << 10, 64, 1}, {2, 32, 64 << 10, 256, 1},
                 {2, 33, 0, 64, 1},   {8, 8192, 0, 1, 8},       {2, 63, 64 << 10, 130, 1}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct qn_kv_layout l;
        check_ok(
            qn_kv_layout_init(&l, cases[i].heads, cases[i].head_dim, 8, cases[i].page_bytes, &e_));
        assert_int_equal(l.tokens, cases[i].tokens);
        assert_int_equal(qn_kv_groups(&l), cases[i].groups);
        assert_true(qn_kv_layout_valid(&l));
    }
}

static void layouts_refused(void **state)
{
    struct qn_kv_layout l;
    struct qins_error err;
    (void)state;
    assert_int_equal(qn_kv_layout_init(&l, 2, 32, 7, 0, &err), QINS_ERR_USAGE);
    assert_non_null(strstr(err.message, "8 or 6 bits"));
    assert_int_equal(qn_kv_layout_init(&l, 2, 32, 8, 16383, &err), QINS_ERR_USAGE);
    assert_int_equal(qn_kv_layout_init(&l, 2, 32, 8, 65537, &err), QINS_ERR_USAGE);
    assert_int_equal(qn_kv_layout_init(&l, 0, 32, 8, 0, &err), QINS_ERR_UNSUPPORTED);
    assert_int_equal(qn_kv_layout_init(&l, 1, 65536, 8, 0, &err), QINS_ERR_UNSUPPORTED);
    assert_int_equal(qn_kv_layout_init(&l, 1024, 1025, 8, 0, &err), QINS_ERR_UNSUPPORTED);

    const struct qn_kv_layout good = {2, 32, 64, 8, 0.5F};
    assert_true(qn_kv_layout_valid(&good));
    struct qn_kv_layout bad[] = {good, good, good, good, good, good, good, good};
    bad[0].heads = 0;
    bad[1].head_dim = 65536;
    bad[2].tokens = 0;
    bad[3].tokens = 257;
    bad[4].bits = 7;
    bad[5].kappa = -1.0F;
    bad[6].kappa = NAN;
    bad[7].heads = bad[7].head_dim = 65535;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(qn_kv_layout_valid(&bad[i]));
}

/* The bars of the design, with headers and scales: against float16. */
static void sizes(void **state)
{
    static const struct {
        uint32_t heads, head_dim;
        unsigned bits;
        double ratio;
    } cases[] = {{2, 32, 8, 1.95}, {2, 32, 6, 2.5},   {2, 64, 8, 1.95}, {2, 64, 6, 2.6},
                 {4, 32, 6, 2.6},  {8, 128, 8, 1.95}, {8, 128, 6, 2.6}, {1, 128, 6, 2.6}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct qn_kv_layout l;
        check_ok(qn_kv_layout_init(&l, cases[i].heads, cases[i].head_dim, cases[i].bits, 0, &e_));
        const double values = (double)l.tokens * l.heads * l.head_dim,
                     ratio = 2.0 * values / (double)qn_kv_packed_size(&l);
        if (ratio < cases[i].ratio)
            fail_msg("%u heads of %u, %u bits: %.4f", l.heads, l.head_dim, l.bits, ratio);
    }
}

/* Each value within half of the widest step of its group, largest magnitudes not clipped. */
static void check_values(const struct fixture *f)
{
    const struct qn_kv_layout *l = &f->layout;
    const double levels = (double)(1 << (l->bits - 1)) - 1.0;
    const uint32_t groups = qn_kv_groups(l);
    float largest = 0.0F;
    for (size_t i = 0; i < f->values; i++)
        largest = fmaxf(largest, fabsf(f->v[i]));
    for (size_t i = 0; i < l->tokens; i++)
        for (uint32_t g = 0; g < groups; g++) {
            const size_t heads = groups > 1 ? 1 : l->heads;
            float most = 0.0F, error = 0.0F;
            for (size_t h = g; h < g + heads; h++)
                for (size_t d = 0; d < l->head_dim; d++) {
                    const size_t at = h * f->head_stride + i * l->head_dim + d;
                    most = fmaxf(most, fabsf(f->v[at]));
                    error = fmaxf(error, fabsf(f->v[at] - f->decoded[at]));
                }
            /* The widest step ends at the scale, which is 1/33 above the largest at most, or the
             * least that there is. It is t = 1 - 1 / N to 1, (1 + kappa) / N wide at most. */
            const double scale = fmax((double)most * 34.0 / 33.0, (double)largest * 33.0 / 8192.0),
                         step = scale * (1.0 + (double)l->kappa) / levels;
            assert_true((double)error <= 0.5 * step * (1.0 + 1e-5));
        }
}

static void round_trips(void **state)
{
    static const struct {
        uint32_t heads, head_dim;
        size_t page_bytes;
    } shapes[] = {{2, 32, 0}, {2, 64, 0},    {8, 128, 64 << 10},
                  {1, 1, 0},  {1, 3, 20000}, {7, 700, 0}};
    (void)state;
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for (unsigned bits = 6; bits <= 8; bits += 2) {
            struct fixture f;
            size_t size = 0;
            setup(&f, shapes[i].heads, shapes[i].head_dim, bits, shapes[i].page_bytes);
            fill(&f, 5 + i);
            encode(&f);
            assert_false(qn_kv_is_recoded(f.page, f.size));
            check_ok(decode(&f, f.page, f.size, &e_));
            check_values(&f);
            float *first = malloc(f.values * sizeof *first);
            assert_non_null(first);
            memcpy(first, f.decoded, f.values * sizeof *first);
            memset(f.decoded, 0, f.values * sizeof *f.decoded);
            check_ok(qn_kv_recode(&f.layout, f.page, f.old, &size, f.scratch, &e_));
            assert_true(size < f.size && qn_kv_is_recoded(f.old, size));
            check_ok(decode(&f, f.old, size, &e_));
            assert_memory_equal(f.decoded, first, f.values * sizeof *first);
            free(first);
            finish(&f);
        }
}

/* Zeros, of either sign, and pages of nothing else. */
static void zeros(void **state)
{
    struct fixture f;
    size_t size = 0;
    (void)state;
    setup(&f, 2, 32, 8, 0);
    for (size_t i = 0; i < f.values; i++)
        f.v[i] = i % 2 ? -0.0F : 0.0F;
    encode(&f);
    check_ok(decode(&f, f.page, f.size, &e_));
    for (size_t i = 0; i < f.values; i++)
        assert_int_equal(qn_float_bits(f.decoded[i]), 0);
    check_ok(qn_kv_recode(&f.layout, f.page, f.old, &size, f.scratch, &e_));
    assert_true(size < 120); /* header, scales, hardly a code */
    check_ok(decode(&f, f.old, size, &e_));
    finish(&f);
}

static void extremes(void **state)
{
    static const float largest[] = {FLT_MAX, FLT_MIN, 0x1p-149F, 1.0F};
    struct fixture f;
    (void)state;
    setup(&f, 2, 64, 6, 0);
    for (size_t i = 0; i < sizeof largest / sizeof *largest; i++) {
        memset(f.v, 0, f.values * sizeof *f.v);
        f.v[7] = largest[i];
        f.v[8] = -largest[i];
        encode(&f);
        check_ok(decode(&f, f.page, f.size, &e_));
        assert_true(f.decoded[7] == largest[i] && f.decoded[8] == -largest[i]);
    }
    for (size_t i = 0; i < f.values; i++)
        f.v[i] = ldexpf(1.0F, (int)(i % 250) - 140);
    encode(&f);
    check_ok(decode(&f, f.page, f.size, &e_));
    for (size_t i = 0; i < f.values; i++)
        assert_true(isfinite(f.decoded[i]) && f.decoded[i] >= 0.0F);
    finish(&f);
}

static void not_finite(void **state)
{
    static const float bad[] = {NAN, INFINITY, -INFINITY};
    struct fixture f;
    struct qins_error err;
    (void)state;
    setup(&f, 2, 32, 8, 0);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        fill(&f, 9);
        f.v[f.head_stride + (size_t)5 * 32 + 31] = bad[i];
        assert_int_equal(qn_kv_encode(&f.layout, f.v, f.head_stride, f.page, f.scratch, &err),
                         QINS_ERR_FORMAT);
        assert_non_null(strstr(err.message, "head 1 of token 5"));
    }
    finish(&f);
}

/* Codes that are spread evenly leave nothing to gain. */
static void pages_that_stay(void **state)
{
    struct fixture f;
    struct qn_grid g;
    uint64_t seed = 6;
    size_t size = 0;
    (void)state;
    setup(&f, 1, 4096, 8, 16 << 10); /* one token */
    assert_true(qn_grid_init(&g, QN_GRID_QINS, 127, f.layout.kappa));
    for (size_t i = 0; i < f.values; i++)
        f.v[i] = g.value[i % 255];
    for (size_t i = f.values - 1; i > 0; i--) {
        const size_t k = (test_random(&seed) >> 33) % (i + 1);
        const float v = f.v[i];
        f.v[i] = f.v[k];
        f.v[k] = v;
    }
    encode(&f);
    check_ok(qn_kv_recode(&f.layout, f.page, f.old, &size, f.scratch, &e_));
    assert_int_equal(size, f.size);
    assert_memory_equal(f.page, f.old, size);
    check_ok(decode(&f, f.page, f.size, &e_));
    for (size_t i = 0; i < f.values; i++)
        assert_true(f.decoded[i] == f.v[i]);
    finish(&f);
}

static void codes_and_scales(void **state)
{
    static uint16_t codes[64 * 3 * 64];
    static float scales[64 * 3];
    struct fixture f;
    struct qn_grid g;
    size_t size = 0;
    (void)state;
    setup(&f, 3, 64, 8, 0);
    fill(&f, 3);
    encode(&f);
    check_ok(qn_kv_recode(&f.layout, f.page, f.old, &size, f.scratch, &e_));
    assert_int_equal(f.layout.tokens, 64);
    assert_true(qn_grid_init(&g, QN_GRID_QINS, 127, f.layout.kappa));
    check_ok(decode(&f, f.page, f.size, &e_));
    for (int k = 0; k < 2; k++) {
        check_ok(qn_kv_codes(&f.layout, k ? f.old : f.page, k ? size : f.size, codes, scales,
                             f.scratch, &e_));
        for (size_t i = 0; i < f.layout.tokens; i++)
            for (size_t h = 0; h < 3; h++)
                for (size_t d = 0; d < 64; d++)
                    assert_true(scales[i * 3 + h] * g.value[codes[(i * 3 + h) * 64 + d]] ==
                                f.decoded[h * f.head_stride + i * 64 + d]);
        check_ok(qn_kv_codes(&f.layout, f.page, f.size, NULL, NULL, f.scratch, &e_));
    }
    finish(&f);
}

static void seal(uint8_t *page, size_t size)
{
    qn_store64(page, qn_hash64(page + 8, size - 8));
}

/* Page with one thing changed and its hash made to match again. */
static void check_refused(struct fixture *f, size_t at, uint8_t value, enum qins_status expected)
{
    struct qins_error err;
    uint8_t *bad = malloc(f->size + 1);
    assert_non_null(bad);
    memcpy(bad, f->page, f->size);
    bad[at] = value;
    assert_int_equal(decode(f, bad, f->size, &err), QINS_ERR_FORMAT);
    assert_non_null(strstr(err.message, "hash"));
    seal(bad, f->size);
    assert_int_equal(decode(f, bad, f->size, &err), expected);
    free(bad);
}

static void damaged(void **state)
{
    struct fixture f;
    struct qins_error err;
    size_t size = 0;
    (void)state;
    setup(&f, 2, 32, 8, 0);
    fill(&f, 21);
    encode(&f);
    for (size_t n = 0; n < f.size; n += n < 100 ? 1 : 97)
        assert_int_equal(decode(&f, f.page, n, &err), QINS_ERR_FORMAT);
    check_refused(&f, AT_KIND, 0x21, QINS_ERR_UNSUPPORTED);
    check_refused(&f, AT_KIND, 0x10, QINS_ERR_FORMAT);
    check_refused(&f, AT_KIND, 0x12, QINS_ERR_FORMAT);
    check_refused(&f, AT_KIND, 0x1f, QINS_ERR_FORMAT);
    check_refused(&f, AT_BITS, 6, QINS_ERR_FORMAT);
    check_refused(&f, AT_HEADS, 3, QINS_ERR_FORMAT);
    check_refused(&f, AT_TOKENS + 1, 1, QINS_ERR_FORMAT);
    check_refused(&f, AT_KAPPA, 1, QINS_ERR_FORMAT);
    check_refused(&f, AT_LARGEST + 3, 0x7f | 0x80, QINS_ERR_FORMAT);
    check_refused(&f, f.size - 1, 255, QINS_ERR_FORMAT);
    check_ok(qn_kv_recode(&f.layout, f.page, f.old, &size, f.scratch, &e_));
    for (size_t n = 0; n < size; n += 1 + n / 8)
        assert_int_equal(decode(&f, f.old, n, &err), QINS_ERR_FORMAT);
    f.old[size - 1] ^= 0x80;
    seal(f.old, size);
    assert_int_equal(decode(&f, f.old, size, &err), QINS_ERR_FORMAT);
    memset(f.old + size, 0, f.size - size); /* pages that are recoded have the packed size */
    assert_int_equal(qn_kv_recode(&f.layout, f.old, f.page, &size, f.scratch, &err),
                     QINS_ERR_FORMAT);
    assert_false(qn_kv_is_recoded(f.old, 23));
    finish(&f);
}

enum { ENCODE, RECODE, DECODE, DECODE_OLD, TIMED };

/* Each of them once, best times so far in BEST. */
static void take_times(struct fixture *f, double best[TIMED])
{
    double at[TIMED + 1];
    size_t size = 0;
    at[ENCODE] = qn_seconds();
    encode(f);
    at[RECODE] = qn_seconds();
    check_ok(qn_kv_recode(&f->layout, f->page, f->old, &size, f->scratch, &e_));
    at[DECODE] = qn_seconds();
    check_ok(
        qn_kv_decode(&f->layout, f->page, f->size, f->decoded, f->head_stride, f->scratch, &e_));
    at[DECODE_OLD] = qn_seconds();
    check_ok(qn_kv_decode(&f->layout, f->old, size, f->decoded, f->head_stride, f->scratch, &e_));
    at[TIMED] = qn_seconds();
    for (int i = 0; i < TIMED; i++)
        best[i] = fmin(best[i], 1e3 * (at[i + 1] - at[i]));
}

static void page_times(void **state)
{
    (void)state;
    if (test_briefly())
        skip();
    for (unsigned bits = 6; bits <= 8; bits += 2) {
        double best[TIMED] = {1e9, 1e9, 1e9, 1e9};
        struct fixture f;
        setup(&f, 2, 32, bits, QN_KV_MAX_PAGE);
        fill(&f, 1);
        for (int i = 0; i < 50; i++)
            take_times(&f, best);
        print_message(
            "64 KiB, %u bits: encode %.3f ms, recode %.3f, decode %.3f, decode old %.3f\n", bits,
            best[ENCODE], best[RECODE], best[DECODE], best[DECODE_OLD]);
        assert_true(best[DECODE] < 1.0 && best[DECODE_OLD] < 1.0);
        finish(&f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(layouts),
        cmocka_unit_test(layouts_refused),
        cmocka_unit_test(sizes),
        cmocka_unit_test(round_trips),
        cmocka_unit_test(zeros),
        cmocka_unit_test(extremes),
        cmocka_unit_test(not_finite),
        cmocka_unit_test(pages_that_stay),
        cmocka_unit_test(codes_and_scales),
        cmocka_unit_test(damaged),
        cmocka_unit_test(page_times),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
