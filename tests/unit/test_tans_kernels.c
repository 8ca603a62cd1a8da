/* The kernels of tans against the portable ones, in memory of exactly the sizes that tans.h names,
 * between pages that nobody may touch. */
#include "core/bytes.h"
#include "formats/codec/kernels_list.h"
#include "formats/codec/tans.h"
#include "tests/unit/kernel_testing.h"
#include "tests/unit/symbol_sources.h"

enum {
    STEPS = 9,
    N = STEPS * QN_TANS_VECTOR,
    STEP_BYTES = QN_TANS_STREAMS * QN_TANS_STEP_BYTES,
    ROOM = N + 4 * QN_TANS_MARGIN,
    FILL = 0xa5,
    GROUPS = 37, /* of eight symbols */
};

/* Where a buffer lies between its pages: at an odd address in the last place. */
enum place { AT_BEGIN, AT_END, BEFORE_END, PLACES };

enum { SRC, RAW, ESCAPES, DST, AREAS };
static struct fenced areas[AREAS];

static int setup(void **state)
{
    (void)state;
    for (size_t i = 0; i < AREAS; i++)
        areas[i] = fenced_create(ROOM);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    for (size_t i = 0; i < AREAS; i++)
        fenced_destroy(&areas[i]);
    return 0;
}

/* SIZE bytes, those of FROM if there are any; all around them is known. */
static uint8_t *put(int area, enum place place, const uint8_t *from, size_t size)
{
    uint8_t *p = fenced_place(&areas[area], place != AT_BEGIN, size + (place == BEFORE_END));
    memset(areas[area].body, FILL, areas[area].size);
    if (from)
        memcpy(p, from, size);
    return p;
}

static void check_around(int area, const uint8_t *p, size_t size)
{
    const uint8_t *body = areas[area].body, *end = body + areas[area].size;
    for (const uint8_t *q = body; q < end; q++)
        if ((q < p || q >= p + size) && *q != FILL)
            fail_msg("byte %td is written, of %zu", q - p, size);
}

static void randomise(uint8_t *p, size_t n, uint64_t *random)
{
    for (size_t i = 0; i < n; i++)
        p[i] = (uint8_t)(test_random(random) >> 33);
}

/* Any tables will do, as long as states stay below 128. ALL: seven bits a symbol, each escaped. */
static void random_decoder(struct qn_tans_decoder *d, uint64_t *random, unsigned k, bool escapes,
                           bool all)
{
    memset(d, 0, sizeof *d);
    d->streams = QN_TANS_STREAMS;
    d->k = k;
    d->has_escapes = escapes;
    for (size_t s = 0; s < QN_TANS_STATES; s++) {
        const unsigned bits = all ? 7 : (unsigned)(test_random(random) >> 40) % 8;
        d->bits[s] = (uint8_t)bits;
        d->base[s] = (uint8_t)((test_random(random) >> 33) << bits & 127);
        d->symbol[s] = (uint8_t)(all ? 0 : (test_random(random) >> 33) << k);
    }
    d->escape = d->symbol[test_random(random) >> 33 & 127];
    for (size_t l = 0; l < QN_TANS_VECTOR; l++)
        d->state[l] = test_random(random) >> 33 & 127;
    for (size_t q = 0; q < QN_TANS_STREAMS; q++) {
        d->used[q] = test_random(random) >> 33 & 7;
        d->byte[q] = (uint8_t)(test_random(random) >> 33);
    }
}

struct run {
    uint8_t bytes[N];
    size_t used, escapes;
};

static void run_decoder(void (*kernel)(struct qn_tans_decoder *, size_t), struct qn_tans_decoder *d,
                        size_t steps, enum place place, const uint8_t *noise, struct run *out)
{
    const size_t n = steps * QN_TANS_VECTOR, src_size = steps * STEP_BYTES + 8,
                 raw_size = n / 8 * d->k + QN_TANS_MARGIN - 8 * (size_t)d->k;
    const uint8_t *src = put(SRC, place, noise, src_size), *raw = put(RAW, place, noise, raw_size),
                  *escapes = put(ESCAPES, place, noise, n + QN_TANS_MARGIN);
    uint8_t *dst = put(DST, place, NULL, n);
    d->src = src;
    d->raw = raw;
    d->escapes = escapes;
    d->dst = dst;
    kernel(d, steps);
    check_around(DST, dst, n);
    memcpy(out->bytes, dst, n);
    assert_ptr_equal(d->dst, dst + n);
    assert_ptr_equal(d->raw, raw + n / 8 * d->k);
    out->used = (size_t)(d->src - src);
    out->escapes = (size_t)(d->escapes - escapes);
    d->src = d->raw = d->escapes = d->dst = NULL;
}

static void check_decoder(const struct qn_codec_kernels *kernels, unsigned round, uint64_t *random)
{
    static uint8_t noise[N + QN_TANS_MARGIN];
    static struct run want, got;
    struct qn_tans_decoder a, b, d;
    const size_t steps = round % 4 == 0 ? 0 : round % 4 == 1 ? 1 : STEPS - round % 4;
    const unsigned k = round / 8 % 9;
    randomise(noise, sizeof noise, random);
    random_decoder(&d, random, k, round / 4 % 2 == 1, round % 3 == 0);
    for (enum place place = AT_BEGIN; place < PLACES; place++) {
        a = b = d;
        run_decoder(qn_tans_decode_c, &a, steps, place, noise, &want);
        run_decoder(kernels->tans_decode, &b, steps, place, noise, &got);
        assert_int_equal(want.used, got.used);
        assert_int_equal(want.escapes, got.escapes);
        assert_memory_equal(want.bytes, got.bytes, steps * QN_TANS_VECTOR);
        assert_memory_equal(&a, &b, sizeof a);
    }
}

static void decode_kernels_agree(void **state)
{
    (void)state;
    uint64_t random = 99;
    for (int level = QN_CPU_C; level <= QN_CPU_AVX512; level++) {
        const struct qn_codec_kernels *k = qn_codec_kernels_of((enum qn_cpu_level)level);
        for (unsigned round = 0; k && round < 8 * 9; round++)
            check_decoder(k, round, &random);
    }
}

/* Bits that a symbol with F states takes from a state, X = 128 more than it: what is left of X is
 * F ... 2 F - 1. */
static unsigned bits_of(unsigned x, unsigned f)
{
    unsigned bits = 0;
    while (x >> bits >= 2 * f)
        bits++;
    return bits;
}

static void fill_encoder(struct qn_tans_encoder *e, const struct qn_tans_model *m)
{
    unsigned at = 0;
    for (unsigned i = 0; i < m->entries; i++) {
        const unsigned f = m->count[i];
        e->most_bits[i] = (uint8_t)bits_of(255, f);
        e->threshold[i] = 127;
        for (unsigned x = 128; bits_of(x, f) < e->most_bits[i]; x++)
            e->threshold[i] = (uint8_t)x;
        e->offset[i] = (uint8_t)(at - f);
        for (unsigned s = 0; s < QN_TANS_STATES; s++)
            if (m->table[s] == i)
                e->next[at++] = (uint8_t)s;
    }
}

/* Through a model, since any tables will not do. ALL: each symbol in the entry of escapes, and that
 * has one state, so that it takes all bits. */
static void random_encoder(struct qn_tans_encoder *e, uint64_t *random, enum symbol_source source,
                           bool all)
{
    static uint8_t sample[4096];
    static struct qn_tans_model model;
    static struct qn_tans_model_work work;
    uint32_t counts[256] = {0};
    memset(e, 0, sizeof *e);
    symbols_fill(source, sample, sizeof sample);
    for (size_t i = 0; i < sizeof sample; i++)
        counts[sample[i]]++;
    qn_tans_choose(counts, sizeof sample, &model, &work);
    fill_encoder(e, &model);
    for (size_t s = 0; s < 256; s++) /* any entry: not only those that belong there */
        e->entry[s] = (uint8_t)((test_random(random) >> 33) % model.entries);
    e->escape = (uint8_t)(model.entries - 1);
    for (unsigned i = 0; all && i < model.entries; i++)
        e->escape = model.count[i] < model.count[e->escape] ? (uint8_t)i : e->escape;
    if (all)
        memset(e->entry, e->escape, sizeof e->entry);
    for (size_t l = 0; l < QN_TANS_VECTOR; l++)
        e->state[l] = test_random(random) >> 33 & 127;
    for (size_t q = 0; q < QN_TANS_STREAMS; q++) {
        e->pending[q] = 1 + (test_random(random) >> 33 & 7);
        e->acc[q] = test_random(random) >> 33 & 127;
    }
    e->streams = QN_TANS_STREAMS;
    e->has_escapes = all || test_random(random) >> 63 == 0;
}

static void run_encoder(void (*kernel)(struct qn_tans_encoder *, size_t), struct qn_tans_encoder *e,
                        size_t steps, enum place place, const uint8_t *symbols, struct run *out)
{
    const size_t room = STEP_BYTES * steps + QN_TANS_MARGIN, n = steps * QN_TANS_VECTOR;
    uint8_t escaped[N];
    out->escapes = 0;
    for (size_t i = 0; i < n; i++)
        if (e->has_escapes && e->entry[symbols[i]] == e->escape)
            escaped[out->escapes++] = symbols[i];
    uint8_t *streams = put(DST, place, NULL, room),
            *list = put(ESCAPES, place, NULL, QN_TANS_MARGIN + out->escapes);
    e->escaped = list + QN_TANS_MARGIN + out->escapes;
    e->src = put(SRC, place, symbols, n);
    e->out = streams + room;
    kernel(e, steps);
    check_around(DST, streams, room);
    check_around(ESCAPES, list, QN_TANS_MARGIN + out->escapes);
    assert_in_range((size_t)(e->out - streams), QN_TANS_MARGIN, room);
    out->used = (size_t)(streams + room - e->out);
    memcpy(out->bytes, e->out, out->used);
    assert_ptr_equal(e->escaped, list + QN_TANS_MARGIN);
    assert_memory_equal(e->escaped, escaped, out->escapes);
    e->out = NULL;
    e->src = e->escaped = NULL;
    for (size_t q = 0; q < QN_TANS_STREAMS; q++) /* above are bits that are written, or nothing */
        e->acc[q] &= ((uint64_t)1 << e->pending[q]) - 1;
}

static void check_encoder(const struct qn_codec_kernels *kernels, unsigned round, uint64_t *random)
{
    static const enum symbol_source of[] = {SYMBOLS_GAUSSIAN, SYMBOLS_NARROW, SYMBOLS_EVEN,
                                            SYMBOLS_RARE,     SYMBOLS_SPARSE, SYMBOLS_MANY_RARE,
                                            SYMBOLS_GEOMETRIC};
    static uint8_t symbols[N];
    static struct run want, got;
    struct qn_tans_encoder a, b, e;
    const size_t steps = round % 4 == 0 ? 0 : round % 4 == 1 ? 1 : STEPS - round % 4;
    randomise(symbols, sizeof symbols, random);
    random_encoder(&e, random, of[round % (sizeof of / sizeof *of)], round % 3 == 0);
    for (enum place place = AT_BEGIN; place < PLACES; place++) {
        a = b = e;
        run_encoder(qn_tans_encode_c, &a, steps, place, symbols, &want);
        run_encoder(kernels->tans_encode, &b, steps, place, symbols, &got);
        assert_int_equal(want.used, got.used);
        assert_memory_equal(want.bytes, got.bytes, want.used);
        assert_memory_equal(&a, &b, sizeof a);
    }
}

static void encode_kernels_agree(void **state)
{
    (void)state;
    uint64_t random = 77;
    for (int level = QN_CPU_C; level <= QN_CPU_AVX512; level++) {
        const struct qn_codec_kernels *k = qn_codec_kernels_of((enum qn_cpu_level)level);
        for (unsigned round = 0; k && round < 7 * 12; round++)
            check_encoder(k, round, &random);
    }
}

static void check_pack(const struct qn_codec_kernels *kernels, const uint8_t *symbols,
                       size_t groups, unsigned k, enum place place)
{
    const size_t n = 8 * groups;
    uint8_t want[8 * GROUPS] = {0};
    for (size_t i = 0; i < n; i++)
        for (size_t b = 0; b < k; b++)
            want[(i * k + b) / 8] |= (uint8_t)((symbols[i] >> b & 1) << ((i * k + b) & 7));
    const uint8_t *src = put(SRC, place, symbols, n);
    uint8_t *dst = put(DST, place, NULL, groups * k + 7);
    kernels->tans_pack(src, groups, k, dst);
    assert_memory_equal(dst, want, groups * k);
    check_around(DST, dst, groups * k + 7);
}

static void pack_kernels_agree(void **state)
{
    (void)state;
    static const size_t groups[] = {0, 1, 2, 7, 8, 9, 15, 16, 17, GROUPS};
    uint64_t random = 55;
    uint8_t symbols[8 * GROUPS];
    randomise(symbols, sizeof symbols, &random);
    for (int level = QN_CPU_C; level <= QN_CPU_AVX512; level++) {
        const struct qn_codec_kernels *kernels = qn_codec_kernels_of((enum qn_cpu_level)level);
        for (unsigned k = 1; kernels && k < 8; k++)
            for (size_t i = 0; i < sizeof groups / sizeof *groups; i++)
                for (enum place place = AT_BEGIN; place < PLACES; place++)
                    check_pack(kernels, symbols, groups[i], k, place);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(decode_kernels_agree),
        cmocka_unit_test(encode_kernels_agree),
        cmocka_unit_test(pack_kernels_agree),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
