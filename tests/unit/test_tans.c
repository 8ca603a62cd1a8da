/* tans: what its bytes promise beyond what test_codec.c and test_codec_levels.c ask of all coders.
 */
#include "formats/codec/tans.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/symbol_sources.h"

enum { ROOM = 1 << 18, MANY = QN_TANS_WORTH_INTERLEAVING };

static void *allocate(size_t n)
{
    void *p = malloc(n > 0 ? n : 1);
    assert_non_null(p);
    return p;
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
    for (enum symbol_source s = 0; s < SYMBOL_SOURCES; s++) {
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
            const size_t n = sizes[i];
            symbols_fill(s, src, n);
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
    for (enum symbol_source s = 0; s < SYMBOL_SOURCES; s++) {
        for (size_t n = 5000; n < 60000; n += 50017 / 2) {
            symbols_fill(s, src, n);
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
    symbols_fill(SYMBOLS_UNIFORM, src, MANY);
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
    static const double most[SYMBOL_SOURCES] = {0.035, 0.03, 0.001, 0.002, 0.02, 0.02, 0.25,
                                                0.02,  0.02, 0.03,  -0.3,  -0.3, 0.01};
    bool ok = true;
    uint8_t *src = allocate(ROOM), *coded = allocate(ROOM + 2);
    for (enum symbol_source s = 0; s < SYMBOL_SOURCES; s++) {
        double counts[256] = {0}, entropy = 0;
        symbols_fill(s, src, ROOM);
        for (size_t i = 0; i < ROOM; i++)
            counts[src[i]]++;
        for (size_t v = 0; v < 256; v++)
            entropy += counts[v] > 0 ? counts[v] / ROOM * log2(ROOM / counts[v]) : 0;
        const double bits = 8.0 * (double)encode(src, ROOM, coded) / ROOM;
        print_message("source %u: %.4f bits, entropy %.4f\n", s, bits, entropy);
        ok = ok && bits - entropy < most[s];
    }
    assert_true(ok);
    free(coded);
    free(src);
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
        cmocka_unit_test(sizes_at_borders), cmocka_unit_test(pieces), cmocka_unit_test(short_forms),
        cmocka_unit_test(overhead),         cmocka_unit_test(models),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
