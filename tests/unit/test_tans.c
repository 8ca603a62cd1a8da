/* tans: what its bytes promise beyond test_codec.c, and every kernel against the portable one. */
#include "formats/codec/tans.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "formats/codec/kernels_list.h"
#include "tests/unit/testing.h"

enum { ROOM = 1 << 18, MANY = QN_TANS_WORTH_INTERLEAVING };

static void *allocate(size_t n)
{
    void *p = malloc(n > 0 ? n : 1);
    assert_non_null(p);
    return p;
}

/* Sources of symbols. */

static uint8_t gaussian(uint64_t *state) /* sigma about 34 */
{
    int sum = 0;
    for (int i = 0; i < 12; i++)
        sum += (int)(test_random(state) >> 40 & 0xfff);
    return (uint8_t)((sum - 24570) / 120);
}

static uint8_t narrow(uint64_t *state) /* sigma about 4: raw bits do not pay */
{
    return (uint8_t)((int8_t)gaussian(state) / 8);
}

static uint8_t uniform(uint64_t *state)
{
    return (uint8_t)(test_random(state) >> 33);
}

static uint8_t constant(uint64_t *state)
{
    (void)state;
    return 201;
}

static uint8_t even(uint64_t *state) /* two symbols alike */
{
    return (test_random(state) >> 63) == 0 ? 255 : 0;
}

static uint8_t rare(uint64_t *state) /* two symbols, one of them far below a state's share */
{
    return (test_random(state) >> 53) == 0 ? 9 : 8;
}

static uint8_t sparse(uint64_t *state)
{
    return (test_random(state) >> 62) == 0 ? gaussian(state) : 0;
}

static uint8_t many_rare(uint64_t *state) /* up to 255 escaped classes */
{
    return (test_random(state) >> 58) == 0 ? uniform(state) : 128;
}

static uint8_t all_top_bits(uint64_t *state) /* multiples of 16 */
{
    return (uint8_t)(gaussian(state) & 0xf0);
}

static uint8_t geometric(uint64_t *state)
{
    return (uint8_t)(120 - __builtin_clzll(test_random(state) | 1));
}

static uint8_t in_runs(uint64_t *state) /* of zeros, 14 long in the mean, 6 apart */
{
    static bool in_run;
    const uint64_t r = test_random(state) >> 32;
    in_run = in_run ? r % 14 != 0 : r % 6 == 0;
    return in_run ? 0 : gaussian(state);
}

static uint8_t long_runs(uint64_t *state)
{
    static bool in_run;
    in_run = (test_random(state) >> 32) % 700 == 0 ? !in_run : in_run;
    return in_run ? 77 : uniform(state);
}

static uint8_t (*const sources[])(uint64_t *) = {gaussian,     narrow,    uniform, constant,
                                                 even,         rare,      sparse,  many_rare,
                                                 all_top_bits, geometric, in_runs, long_runs};
enum { SOURCES = sizeof sources / sizeof *sources };

static void fill(size_t source, uint8_t *dst, size_t n)
{
    uint64_t state = 0x9e3779b97f4a7c15ULL + source + n * 1000003;
    for (size_t i = 0; i < n; i++)
        dst[i] = sources[source](&state);
}

/* A copy of exactly that size, so that a sanitizer sees reads past it. */
static bool decodes(const uint8_t *coded, size_t size, uint8_t *dst, size_t n)
{
    uint8_t *exact = allocate(size), *scratch = allocate(qn_tans_scratch(n));
    memcpy(exact, coded, size);
    bool ok = qn_tans_decode(exact, size, dst, n, scratch);
    free(scratch);
    free(exact);
    return ok;
}

static size_t encode(const uint8_t *src, size_t n, uint8_t *dst)
{
    uint8_t *scratch = allocate(qn_tans_scratch(n));
    size_t size = qn_tans_encode(src, n, dst, qn_tans_bound(n), scratch);
    free(scratch);
    assert_in_range(size, 1, qn_tans_bound(n));
    return size;
}

static void sizes_at_borders(void **state)
{
    (void)state;
    static const size_t sizes[] = {
        1,    2,        7,    8,        9,        15,       16,         17,       255,
        256,  257,      511,  512,      513,      1023,     1024,       9361,     9362,
        9363, MANY - 1, MANY, MANY + 1, MANY + 7, MANY + 8, MANY + 255, MANY + 9, 99999};
    uint8_t *src = allocate(ROOM), *coded = allocate(ROOM), *back = allocate(ROOM);
    for (size_t s = 0; s < SOURCES; s++) {
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
            const size_t n = sizes[i];
            fill(s, src, n);
            const size_t size = encode(src, n, coded);
            uint8_t *exact = allocate(n);
            assert_true(decodes(coded, size, exact, n));
            assert_memory_equal(src, exact, n);
            free(exact);
            assert_false(decodes(coded, size - 1, back, n));
            coded[size] = 0;
            assert_false(decodes(coded, size + 1, back, n));
        }
    }
    free(back);
    free(coded);
    free(src);
}

/* Pieces of any size give what the whole gives, with one verdict at the end. */
static void pieces(void **state)
{
    (void)state;
    uint8_t *src = allocate(ROOM), *coded = allocate(ROOM + 2), *back = allocate(ROOM);
    uint8_t *scratch = allocate(qn_tans_scratch(ROOM));
    uint64_t random = 31;
    for (size_t s = 0; s < SOURCES; s++) {
        for (size_t n = 5000; n < 60000; n += 50017 / 2) {
            fill(s, src, n);
            const size_t size = encode(src, n, coded);
            assert_true(qn_tans_begin(coded, size, n, scratch));
            for (size_t at = 0, some; at < n; at += some) {
                some = (size_t)(1 + (test_random(&random) >> 33) % 20) * QN_TANS_VECTOR;
                some = n - at < some ? n - at : some;
                assert_true(qn_tans_next(scratch, back + at, some));
            }
            assert_true(qn_tans_end(scratch));
            assert_memory_equal(src, back, n);
            assert_true(qn_tans_begin(coded, size, n, scratch));
            assert_true(qn_tans_next(scratch, back, QN_TANS_VECTOR));
            assert_false(qn_tans_end(scratch));
        }
    }
    free(scratch);
    free(back);
    free(coded);
    free(src);
}

static void short_forms(void **state)
{
    (void)state;
    uint8_t *src = allocate(MANY), *coded = allocate(MANY + 2);
    memset(src, 201, MANY);
    assert_int_equal(encode(src, MANY, coded), 33);
    assert_int_equal(encode(src, 1, coded), 3);
    fill(2, src, MANY);
    assert_int_equal(encode(src, MANY, coded), MANY + 2); /* uniform */
    assert_int_equal(coded[0], 8);
    assert_memory_equal(coded + 2, src, MANY);
    assert_int_equal(qn_tans_bound(QN_TANS_MAX_SYMBOLS + (size_t)1), 0);
    free(coded);
    free(src);
}

/* Bits over the entropy of the histogram, all of the header included. */
static void overhead(void **state)
{
    (void)state;
    /* Of each source; rare symbols under 1/256 are what 128 states cannot give. */
    static const double most[SOURCES] = {0.035, 0.03, 0.001, 0.002, 0.02, 0.02,
                                         0.25,  0.02, 0.02,  0.03,  -0.3, -0.3};
    bool ok = true;
    uint8_t *src = allocate(ROOM), *coded = allocate(ROOM + 2);
    for (size_t s = 0; s < SOURCES; s++) {
        double counts[256] = {0}, entropy = 0;
        fill(s, src, ROOM);
        for (size_t i = 0; i < ROOM; i++)
            counts[src[i]]++;
        for (size_t v = 0; v < 256; v++)
            entropy += counts[v] > 0 ? counts[v] / ROOM * log2(ROOM / counts[v]) : 0;
        const double bits = 8.0 * (double)encode(src, ROOM, coded) / ROOM;
        print_message("source %zu: %.4f bits, entropy %.4f\n", s, bits, entropy);
        ok = ok && bits - entropy < most[s];
    }
    assert_true(ok);
    free(coded);
    free(src);
}

/* Every byte changed, every length. What is accepted all the same decodes alike everywhere. */
static void damage(void **state)
{
    (void)state;
    static const size_t sizes[] = {40, 700, 5000};
    uint8_t *src = allocate(ROOM), *coded = allocate(ROOM), *back = allocate(ROOM);
    uint64_t random = 4711;
    for (size_t s = 0; s < SOURCES; s++) {
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
            const size_t n = sizes[i];
            fill(s, src, n);
            const size_t size = encode(src, n, coded),
                         step = size / (test_briefly() ? 60 : 400) + 1;
            for (size_t at = 0; at < size; at += at < 200 ? 1 : step) {
                const uint8_t was = coded[at];
                coded[at] ^= (uint8_t)(1 + test_random(&random) % 255);
                decodes(coded, size, back, n);
                coded[at] = was;
                assert_false(decodes(coded, at, back, n));
            }
            assert_true(decodes(coded, size, back, n));
        }
    }
    free(back);
    free(coded);
    free(src);
}

/* Kernels against the portable ones. */

static void (*decode_kernel(enum qn_cpu_level level))(struct qn_tans_decoder *, size_t)
{
    const struct qn_codec_kernels *k = qn_codec_kernels_of(level);
    return k ? k->tans_decode : NULL;
}

enum { STEPS = 9, STEP_BYTES = QN_TANS_STREAMS * QN_TANS_STEP_BYTES };

/* Any tables will do, as long as states stay below 128. */
static void random_decoder(struct qn_tans_decoder *d, uint64_t *random, unsigned k, bool escapes)
{
    memset(d, 0, sizeof *d);
    d->streams = QN_TANS_STREAMS;
    d->k = k;
    d->has_escapes = escapes;
    for (size_t s = 0; s < QN_TANS_STATES; s++) {
        const unsigned bits = (unsigned)(test_random(random) >> 40) % 8;
        d->bits[s] = (uint8_t)bits;
        d->base[s] = (uint8_t)((test_random(random) >> 33) << bits & 127);
        d->symbol[s] = (uint8_t)((test_random(random) >> 33) << k);
    }
    d->escape = d->symbol[test_random(random) >> 33 & 127];
    for (size_t l = 0; l < QN_TANS_VECTOR; l++)
        d->state[l] = test_random(random) >> 33 & 127;
    for (size_t q = 0; q < QN_TANS_STREAMS; q++) {
        d->used[q] = test_random(random) >> 33 & 7;
        d->byte[q] = (uint8_t)(test_random(random) >> 33);
    }
}

/* From exactly the bytes that the contract allows to be read, into exactly those to be written. */
static void run_decoder(void (*kernel)(struct qn_tans_decoder *, size_t), struct qn_tans_decoder *d,
                        size_t steps, const uint8_t *noise, uint8_t *out, size_t *used)
{
    const size_t n = steps * QN_TANS_VECTOR, src_size = steps * STEP_BYTES + 8,
                 raw_size = n / 8 * d->k + QN_TANS_MARGIN - 8 * (size_t)d->k,
                 escapes_size = n + QN_TANS_MARGIN;
    uint8_t *src = allocate(src_size), *raw = allocate(raw_size), *escapes = allocate(escapes_size);
    uint8_t *dst = allocate(n);
    memcpy(src, noise, src_size);
    memcpy(raw, noise, raw_size);
    memcpy(escapes, noise, escapes_size);
    d->src = src;
    d->raw = raw;
    d->escapes = escapes;
    d->dst = dst;
    kernel(d, steps);
    memcpy(out, dst, n);
    /* As offsets they can be compared. */
    assert_ptr_equal(d->dst, dst + n);
    assert_ptr_equal(d->raw, raw + n / 8 * d->k);
    *used = (size_t)(d->src - src) << 32 | (size_t)(d->escapes - escapes);
    d->src = d->raw = d->escapes = d->dst = NULL;
    free(dst);
    free(escapes);
    free(raw);
    free(src);
}

static void decode_kernels_agree(void **state)
{
    (void)state;
    enum { N = STEPS * QN_TANS_VECTOR };
    uint64_t random = 99;
    static uint8_t noise[N + QN_TANS_MARGIN], want[N], got[N];
    for (size_t i = 0; i < sizeof noise; i++)
        noise[i] = (uint8_t)(test_random(&random) >> 33);
    for (int level = QN_CPU_AVX2; level <= QN_CPU_AVX512; level++) {
        if (decode_kernel((enum qn_cpu_level)level) == NULL)
            continue;
        for (unsigned round = 0; round < 4 * 9 * 2; round++) {
            struct qn_tans_decoder a, b;
            const size_t steps = round % 4 == 0 ? 0 : round % 4 == 1 ? 1 : STEPS - round % 4;
            random_decoder(&a, &random, round / 8, round / 4 % 2 == 1);
            b = a;
            size_t used[2];
            run_decoder(qn_tans_decode_c, &a, steps, noise, want, used);
            run_decoder(decode_kernel((enum qn_cpu_level)level), &b, steps, noise, got, used + 1);
            assert_int_equal(used[0], used[1]);
            assert_memory_equal(want, got, steps * QN_TANS_VECTOR);
            assert_memory_equal(&a, &b, sizeof a);
        }
    }
}

static void random_encoder(struct qn_tans_encoder *e, uint64_t *random, size_t source)
{
    /* Through a model, since any tables will not do. */
    static uint8_t sample[4096];
    static struct qn_tans_model model;
    static struct qn_tans_model_work work;
    uint32_t counts[256] = {0};
    uint8_t next[128];
    memset(e, 0, sizeof *e);
    fill(source, sample, sizeof sample);
    for (size_t i = 0; i < sizeof sample; i++)
        counts[sample[i]]++;
    qn_tans_choose(counts, sizeof sample, &model, &work);
    for (size_t s = 0; s < 256; s++) /* any entry: not only those that belong there */
        e->entry[s] = (uint8_t)((test_random(random) >> 33) % model.entries);
    for (unsigned i = 0, at = 0; i < model.entries; at += model.count[i++]) {
        const unsigned f = model.count[i], most = 7 - (31 - (unsigned)__builtin_clz(f));
        e->most_bits[i] = (uint8_t)most;
        e->threshold[i] = (uint8_t)((f << most) - 1);
        e->offset[i] = (uint8_t)(at - f);
        next[i] = (uint8_t)at;
    }
    for (size_t s = 0; s < QN_TANS_STATES; s++)
        e->next[next[model.table[s]]++] = (uint8_t)s;
    for (size_t l = 0; l < QN_TANS_VECTOR; l++)
        e->state[l] = test_random(random) >> 33 & 127;
    for (size_t q = 0; q < QN_TANS_STREAMS; q++) {
        e->pending[q] = 1 + (test_random(random) >> 33 & 7);
        e->acc[q] = test_random(random) >> 33 & 127;
    }
    e->streams = QN_TANS_STREAMS;
    e->escape = (uint8_t)(model.entries - 1);
    e->has_escapes = test_random(random) >> 63 == 0;
}

static void run_encoder(void (*kernel)(struct qn_tans_encoder *, size_t), struct qn_tans_encoder *e,
                        size_t steps, const uint8_t *symbols, uint8_t *out, size_t *used)
{
    const size_t room = STEP_BYTES * steps + QN_TANS_MARGIN, n = steps * QN_TANS_VECTOR;
    size_t escaped = 0;
    for (size_t i = 0; i < n; i++)
        escaped += e->has_escapes && e->entry[symbols[i]] == e->escape;
    uint8_t *src = allocate(n), *streams = allocate(room);
    uint8_t *list = allocate(QN_TANS_MARGIN + escaped), *escapes = list + QN_TANS_MARGIN;
    e->escaped = escapes + escaped;
    memcpy(src, symbols, n);
    e->src = src;
    e->out = streams + room;
    kernel(e, steps);
    assert_in_range((size_t)(e->out - streams), QN_TANS_MARGIN, room);
    *used = (size_t)(streams + room - e->out);
    memcpy(out, e->out, *used);
    e->out = NULL;
    assert_ptr_equal(e->escaped, escapes);
    for (size_t i = 0, at = 0; i < n; i++)
        if (e->has_escapes && e->entry[symbols[i]] == e->escape)
            assert_int_equal(escapes[at++], symbols[i]);
    e->src = e->escaped = NULL;
    free(list);
    free(streams);
    free(src);
}

static void encode_kernels_agree(void **state)
{
    (void)state;
    enum { SIZE = STEP_BYTES * STEPS };
    uint64_t random = 77;
    static uint8_t symbols[STEPS * QN_TANS_VECTOR], want[SIZE], got[SIZE];
    for (size_t i = 0; i < sizeof symbols; i++)
        symbols[i] = (uint8_t)(test_random(&random) >> 33);
    for (int level = QN_CPU_AVX2; level <= QN_CPU_AVX512; level++) {
        const struct qn_codec_kernels *k = qn_codec_kernels_of((enum qn_cpu_level)level);
        for (unsigned round = 0; k && round < 40; round++) {
            static const size_t of[] = {0, 1, 4, 5, 6, 7, 9};
            struct qn_tans_encoder a, b;
            size_t used[2], steps = round % 4 == 0 ? 0 : STEPS - round % 4;
            random_encoder(&a, &random, of[round % 7]);
            b = a;
            run_encoder(qn_tans_encode_c, &a, steps, symbols, want, used);
            run_encoder(k->tans_encode, &b, steps, symbols, got, used + 1);
            assert_int_equal(used[0], used[1]);
            assert_memory_equal(want, got, used[0]);
            assert_memory_equal(&a, &b, sizeof a);
        }
    }
}

static void pack_kernels_agree(void **state)
{
    (void)state;
    enum { GROUPS = 37 };
    uint64_t random = 55;
    uint8_t src[8 * GROUPS], want[8 * GROUPS + 8], got[8 * GROUPS + 8];
    for (size_t i = 0; i < sizeof src; i++)
        src[i] = (uint8_t)(test_random(&random) >> 33);
    for (int level = QN_CPU_C; level <= QN_CPU_AVX512; level++) {
        const struct qn_codec_kernels *kernels = qn_codec_kernels_of((enum qn_cpu_level)level);
        for (unsigned k = 1; kernels && k < 8; k++) {
            memset(want, 0, sizeof want);
            for (size_t i = 0; i < sizeof src; i++)
                for (size_t b = 0; b < k; b++)
                    want[(i * k + b) / 8] |= (uint8_t)((src[i] >> b & 1) << ((i * k + b) & 7));
            memset(got, 0xa5, sizeof got);
            kernels->tans_pack(src, GROUPS, k, got);
            assert_memory_equal(want, got, (size_t)k * GROUPS);
            assert_int_equal(got[k * GROUPS + 8], 0xa5);
        }
    }
}

/* Models that no encoder of ours makes are read as the format says, others refused. */
static void models(void **state)
{
    (void)state;
    struct qn_tans_model m = {.k = 7, .entries = 2, .class_of = {0, 1}}, back;
    uint8_t bytes[QN_TANS_MODEL_MAX + 1];
    unsigned flags;
    uint32_t escaped;
    for (size_t s = 0; s < QN_TANS_STATES; s++)
        m.table[s] = s % 3 == 0;
    const size_t size = qn_tans_write_model(&m, QN_TANS_INTERLEAVED, 0, bytes);
    assert_int_equal(size, 1 + 1 + 16);
    assert_int_equal(qn_tans_read_model(bytes, size, &back, &flags, &escaped), size);
    assert_memory_equal(m.table, back.table, sizeof m.table);
    assert_int_equal(back.count[1], 43);
    assert_int_equal(flags, QN_TANS_INTERLEAVED);
    for (size_t cut = 0; cut < size; cut++)
        assert_int_equal(qn_tans_read_model(bytes, cut, &back, &flags, &escaped), 0);
    static const struct {
        size_t at;
        uint8_t value;
    } bad[] = {{0, 7 | 1 << 6}, {0, 9}, {1, 0}, {1, 7}, {0, 7 | 1 << 4}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        const uint8_t was = bytes[bad[i].at];
        bytes[bad[i].at] = bad[i].value;
        assert_int_equal(qn_tans_read_model(bytes, size, &back, &flags, &escaped), 0);
        bytes[bad[i].at] = was;
    }
    memset(bytes + 2, 0, 16); /* the second class has no state */
    assert_int_equal(qn_tans_read_model(bytes, size, &back, &flags, &escaped), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_at_borders),
        cmocka_unit_test(pieces),
        cmocka_unit_test(short_forms),
        cmocka_unit_test(overhead),
        cmocka_unit_test(damage),
        cmocka_unit_test(decode_kernels_agree),
        cmocka_unit_test(encode_kernels_agree),
        cmocka_unit_test(pack_kernels_agree),
        cmocka_unit_test(models),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
