/* Whole streams of every coder at every CPU level: the same bytes are coded, the same symbols
 * decoded, the same verdict given on damaged bytes, and nothing is touched outside of buffers that
 * lie between pages nobody may touch. */
#include "bench/streams.h"
#include "core/cpu.h"
#include "formats/codec/codec.h"
#include "formats/codec/huffman.h"
#include "formats/codec/tans.h"
#include "tests/unit/kernel_testing.h"
#include "tests/unit/symbol_sources.h"

enum {
    STREAMS = 6, /* a ... f of the benchmark, then the sources of symbols */
    SOURCES = STREAMS + SYMBOL_SOURCES,
    MOST = 17 * QN_STREAM_ROW,      /* symbols */
    MANY_LENGTHS = 1 << 17,         /* symbols of which runs give 4096 lengths */
    ROOM = 2 * MANY_LENGTHS + 4096, /* of coded symbols, in the worst case of any coder */
    WORK_ROOM = 1 << 20,
    OPEN = 64, /* bytes that are looked at on the side without a page */
    FILL = 0xa5,
};

/* zstd's levels are its own affair, and bitpack's kernels test_codec_kernels.c's. */
static const enum qn_codec_id coders[] = {QN_CODEC_STORE, QN_CODEC_HUFFMAN, QN_CODEC_RLE,
                                          QN_CODEC_RLE_HUFFMAN, QN_CODEC_TANS};
enum { CODERS = sizeof coders / sizeof *coders };

static enum qn_cpu_level most_level;
static struct fenced coded_area, symbol_area, work_area;
static uint8_t symbols[SOURCES][MOST], long_runs[MANY_LENGTHS];

static int setup(void **state)
{
    (void)state;
    coded_area = fenced_create(ROOM);
    symbol_area = fenced_create(ROOM);
    work_area = fenced_create(WORK_ROOM);
    most_level = qn_cpu_level();
    if (qn_n_streams < STREAMS)
        return -1;
    for (unsigned s = 0; s < STREAMS; s++)
        qn_streams[s].fill(symbols[s], MOST, 7);
    for (unsigned s = 0; s < SYMBOL_SOURCES; s++)
        symbols_fill((enum symbol_source)s, symbols[STREAMS + s], MOST);
    qn_streams[4].fill(long_runs, MANY_LENGTHS, 7);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    fenced_destroy(&coded_area);
    fenced_destroy(&symbol_area);
    fenced_destroy(&work_area);
    return 0;
}

/* SIZE bytes at one end of an area, with known bytes on the side that is open. */
static uint8_t *place(const struct fenced *f, bool at_end, size_t size)
{
    uint8_t *p = fenced_place(f, at_end, size);
    assert_in_range(size, 0, f->size - OPEN);
    memset(at_end ? p - OPEN : p + size, FILL, OPEN);
    return p;
}

static void check_open_side(const uint8_t *p, bool at_end, size_t size)
{
    const uint8_t *open = at_end ? p - OPEN : p + size;
    for (size_t i = 0; i < OPEN; i++)
        if (open[i] != FILL)
            fail_msg("byte %td is written, of %zu", open + i - p, size);
}

/* Scratch is aligned to eight bytes. */
static void *place_work(const struct qn_codec *c, bool at_end, size_t n)
{
    return place(&work_area, at_end, (c->scratch(n) + 7) & ~(size_t)7);
}

/* Codes N symbols from and to memory of exactly their sizes; the bytes go to RESULT. */
static size_t encode(const struct qn_codec *c, bool at_end, const uint8_t *src, size_t n,
                     size_t capacity, uint8_t *result)
{
    uint8_t *from = place(&symbol_area, at_end, n), *to = place(&coded_area, at_end, capacity);
    memcpy(from, src, n);
    const size_t size = c->encode(from, n, to, capacity, place_work(c, at_end, n));
    check_open_side(to, at_end, capacity);
    assert_in_range(size, 0, capacity);
    memcpy(result, to, size);
    return size;
}

/* Decodes likewise, so that *RESULT is where the symbols are. */
static bool decode(const struct qn_codec *c, bool at_end, const uint8_t *coded, size_t size,
                   size_t n, const uint8_t **result)
{
    uint8_t *from = place(&coded_area, at_end, size), *to = place(&symbol_area, at_end, n);
    memcpy(from, coded, size);
    const bool ok = c->decode(from, size, to, n, place_work(c, at_end, n));
    check_open_side(to, at_end, n);
    *result = to;
    return ok;
}

/* Whether SIZE bytes are taken for N symbols, on which all levels have to agree. */
static bool all_decode(const struct qn_codec *c, bool at_end, const uint8_t *coded, size_t size,
                       size_t n)
{
    static uint8_t want[ROOM];
    const uint8_t *back;
    bool accepted = false;
    for (int level = QN_CPU_C; qn_cpu_use((enum qn_cpu_level)level); level++) {
        const bool ok = decode(c, at_end, coded, size, n, &back);
        if (level == QN_CPU_C) {
            accepted = ok;
            memcpy(want, back, ok ? n : 0);
        }
        if (ok != accepted || (ok && memcmp(want, back, n) != 0))
            fail_msg("%s: %zu symbols are not at level %s what they are at level c", c->name, n,
                     qn_cpu_level_name((enum qn_cpu_level)level));
        if (level == QN_CPU_AVX512)
            break;
    }
    assert_true(qn_cpu_use(most_level));
    return accepted;
}

static void check_round_trip(const struct qn_codec *c, const uint8_t *src, size_t n, bool at_end)
{
    static uint8_t want[ROOM], got[ROOM];
    const uint8_t *back;
    size_t size = 0;
    for (int level = QN_CPU_C; qn_cpu_use((enum qn_cpu_level)level); level++) {
        const size_t again = encode(c, at_end, src, n, size ? size : c->bound(n), got);
        if (level == QN_CPU_C) {
            size = again;
            memcpy(want, got, size);
            assert_in_range(size, 1, c->bound(n));
        }
        if (again != size || memcmp(want, got, size) != 0)
            fail_msg("%s: %zu symbols are coded differently at level %s", c->name, n,
                     qn_cpu_level_name((enum qn_cpu_level)level));
        assert_true(decode(c, !at_end, want, size, n, &back));
        assert_memory_equal(src, back, n);
        if (level == QN_CPU_AVX512)
            break;
    }
    assert_true(qn_cpu_use(most_level));
}

/* Around the borders of forms, bitstreams and vectors. */
static void same_bytes(void **state)
{
    (void)state;
    static const size_t sizes[] = {1,     2,     7,     8,    9,     255,   256,   257,  511,
                                   1023,  1024,  1025,  4095, 4096,  4097,  8191,  8192, 8193,
                                   32767, 32768, 32769, MOST, 33023, 33024, 33025, 65537};
    for (size_t k = 0; k < CODERS; k++)
        for (size_t s = 0; s < SOURCES; s++)
            for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
                if (sizes[i] < 8192 || sizes[i] == MOST || (i + s) % (s < STREAMS ? 2 : 4) == 0)
                    check_round_trip(qn_codec(coders[k]), symbols[s], sizes[i], i / 2 % 2);
    check_round_trip(qn_codec(QN_CODEC_TANS), long_runs, MANY_LENGTHS, true);
}

/* Changes bytes one by one, the first FEW and then as many again, and cuts there. */
static void check_damage(const struct qn_codec *c, uint8_t *coded, size_t size, size_t n,
                         size_t few)
{
    static uint64_t random = 4711;
    const size_t step = size / few + 1;
    for (size_t at = 0; at < size; at += at < few ? 1 : step) {
        const uint8_t was = coded[at];
        coded[at] ^= (uint8_t)(1 + test_random(&random) % 255);
        all_decode(c, at % 2, coded, size, n);
        coded[at] = was;
        assert_false(all_decode(c, at % 2, coded, at, n));
    }
    assert_true(all_decode(c, true, coded, size, n));
    assert_false(all_decode(c, true, coded, size - 1, n));
    coded[size] = 0;
    assert_false(all_decode(c, true, coded, size + 1, n));
}

static void damage(void **state)
{
    (void)state;
    static const size_t sizes[] = {1, 9, 40, 700, 8200, 33000};
    static uint8_t coded[ROOM];
    const size_t few = test_briefly() ? 4 : 24;
    for (size_t k = 0; k < CODERS; k++)
        for (size_t s = 0; s < SOURCES; s++)
            for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
                const struct qn_codec *c = qn_codec(coders[k]);
                const size_t n = sizes[i],
                             size = encode(c, true, symbols[s], n, c->bound(n), coded);
                check_damage(c, coded, size, n, n > 8192 ? few / 4 : few);
            }
}

/* Runs of which all three parts have 32 bitstreams. */
static void damage_of_runs(void **state)
{
    (void)state;
    static uint8_t coded[ROOM];
    const struct qn_codec *c = qn_codec(QN_CODEC_TANS);
    const size_t size = encode(c, true, long_runs, MANY_LENGTHS, c->bound(MANY_LENGTHS), coded);
    assert_int_equal(coded[0], QN_TANS_HAS_RUNS);
    check_damage(c, coded, size, MANY_LENGTHS, test_briefly() ? 3 : 25);
}

/* Short streams of many bitstreams, which qins reads but does not write: every byte. */
static void damage_of_interleaved(void **state)
{
    (void)state;
    enum { N = 1500 };
    static uint8_t coded[ROOM];
    static struct qn_tans_model model;
    static struct qn_tans_model_work work;
    for (size_t s = 0; s < SOURCES; s++) {
        uint32_t counts[256] = {0};
        const struct qn_codec *c = qn_codec(QN_CODEC_TANS);
        for (size_t i = 0; i < N; i++)
            counts[symbols[s][i]]++;
        qn_tans_choose(counts, N, &model, &work);
        size_t size = qn_tans_encode_plain(counts, &model, QN_TANS_MIN_INTERLEAVED, symbols[s], N,
                                           coded, ROOM, place_work(c, true, N));
        assert_int_not_equal(size, 0);
        check_damage(c, coded, size, N, test_briefly() ? 10 : 100);
        c = qn_codec(QN_CODEC_HUFFMAN);
        size = qn_huffman_encode_streams(symbols[s], N, QN_HUFFMAN_STREAMS, coded, c->bound(N),
                                         place_work(c, true, N));
        assert_int_not_equal(size, 0);
        check_damage(c, coded, size, N, test_briefly() ? 10 : 100);
    }
}

/* Nothing where something is due, and one byte of any value. */
static void shortest(void **state)
{
    (void)state;
    static const size_t sizes[] = {1, 2, 1024, 40000};
    uint8_t got[1];
    const uint8_t *back;
    for (size_t k = 0; k < CODERS; k++) {
        const struct qn_codec *c = qn_codec(coders[k]);
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
            assert_false(all_decode(c, i % 2, symbols[0], 0, sizes[i]));
            for (unsigned value = 0; value < 256; value++) {
                const uint8_t byte = (uint8_t)value;
                const bool ok = all_decode(c, value % 2, &byte, 1, sizes[i]);
                assert_int_equal(ok, coders[k] == QN_CODEC_STORE && sizes[i] == 1);
            }
        }
        assert_int_equal(encode(c, true, symbols[0], 1, 0, got), 0);
    }
    const struct qn_codec *tans = qn_codec(QN_CODEC_TANS);
    assert_int_equal(encode(tans, true, symbols[0], 0, 1, got), 0);
    assert_int_equal(qn_tans_encode_counted((uint32_t[256]){0}, symbols[0], 0, got, 1,
                                            place_work(tans, true, 0)),
                     0);
    assert_false(decode(tans, true, symbols[0], 100, 0, &back));
    assert_false(qn_tans_begin(symbols[0], 0, 100, place_work(tans, true, 100)));
    assert_false(qn_tans_begin(symbols[0], 100, 0, place_work(tans, true, 0)));
    assert_false(qn_tans_begin(symbols[0], 100, QN_TANS_MAX_SYMBOLS + (size_t)1, NULL));
}

/* A capacity that is too small gives 0, in memory that ends there. */
static void check_capacities(const struct qn_codec *c, const uint8_t *src, size_t n)
{
    static const size_t small[] = {0, 1, 2, 3, 21, 22, 23, 34, 60, 200, 400, 1000};
    static uint8_t coded[ROOM];
    const size_t size = encode(c, true, src, n, c->bound(n), coded);
    for (int level = QN_CPU_C; qn_cpu_use((enum qn_cpu_level)level); level++) {
        for (size_t i = 0; i < sizeof small / sizeof *small; i++) {
            if (small[i] < size)
                assert_int_equal(encode(c, i % 2, src, n, small[i], coded), 0);
            if (small[i] < size)
                assert_int_equal(encode(c, i % 2, src, n, size - 1 - small[i], coded), 0);
        }
        assert_int_equal(encode(c, level % 2, src, n, size / 2, coded), 0);
        assert_int_equal(encode(c, level % 2, src, n, size, coded), size);
        if (level == QN_CPU_AVX512)
            break;
    }
    assert_true(qn_cpu_use(most_level));
}

static void capacities(void **state)
{
    (void)state;
    static const unsigned of[] = {0, 3, 4, STREAMS + SYMBOLS_MANY_RARE, STREAMS + SYMBOLS_UNIFORM};
    for (size_t k = 0; k < CODERS; k++)
        for (size_t i = 0; i < sizeof of / sizeof *of; i++)
            check_capacities(qn_codec(coders[k]), symbols[of[i]], 33000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_bytes),     cmocka_unit_test(damage),
        cmocka_unit_test(damage_of_runs), cmocka_unit_test(damage_of_interleaved),
        cmocka_unit_test(shortest),       cmocka_unit_test(capacities),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
