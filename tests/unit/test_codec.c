#include "formats/codec/codec.h"

#include <stdlib.h>
#include <string.h>

#include <zstd.h>

#include "formats/codec/bitpack.h"
#include "formats/codec/huffman.h"
#include "tests/unit/testing.h"

enum { GUARD = 64, GUARD_BYTE = 0xa5 };

static const enum qn_codec_id coders[] = {QN_CODEC_STORE,       QN_CODEC_HUFFMAN, QN_CODEC_RLE,
                                          QN_CODEC_RLE_HUFFMAN, QN_CODEC_ZSTD,    QN_CODEC_TANS};
enum { CODERS = sizeof coders / sizeof *coders };

/* Sources of symbols. */

static uint8_t gaussian(uint64_t *state) /* sum of uniforms, sigma about 34 */
{
    int sum = 0;
    for (int i = 0; i < 12; i++)
        sum += (int)(test_random(state) >> 40 & 0xfff);
    return (uint8_t)((sum - 24570) / 120);
}

static uint8_t uniform(uint64_t *state)
{
    return (uint8_t)(test_random(state) >> 33);
}

static uint8_t constant(uint64_t *state)
{
    (void)state;
    return 77;
}

static uint8_t two_symbols(uint64_t *state)
{
    return (test_random(state) >> 60) == 0 ? 255 : 0;
}

static uint8_t sparse_runs(uint64_t *state)
{
    static unsigned left;
    static bool zeros;
    if (left == 0) {
        zeros = !zeros;
        left = 1 + (unsigned)(test_random(state) >> 32) % (zeros ? 27 : 11);
    }
    left--;
    return zeros ? 0 : gaussian(state);
}

static uint8_t exponents(uint64_t *state) /* halving from the most frequent one down */
{
    uint64_t r = test_random(state) | 1;
    return (uint8_t)(121 - __builtin_ctzll(r >> 20 | (uint64_t)1 << 40) + (r >> 62 == 0));
}

static uint8_t skewed(uint64_t *state) /* needs the length limit */
{
    return (uint8_t)__builtin_clzll(test_random(state) | 1);
}

static uint8_t long_runs(uint64_t *state) /* counts that need the escape */
{
    static unsigned left;
    static uint8_t value;
    if (left == 0) {
        left = 1 + (unsigned)(test_random(state) >> 32) % 70000;
        value = (uint8_t)(test_random(state) >> 62);
    }
    left--;
    return value;
}

static uint8_t (*const sources[])(uint64_t *) = {gaussian,    uniform,   constant, two_symbols,
                                                 sparse_runs, exponents, skewed,   long_runs};
enum { SOURCES = sizeof sources / sizeof *sources };

static void fill(size_t source, uint8_t *dst, size_t n)
{
    uint64_t state = 0x9e3779b97f4a7c15ULL + source + n * 1000003;
    for (size_t i = 0; i < n; i++)
        dst[i] = sources[source](&state);
}

static void *allocate(size_t n)
{
    void *p = malloc(n > 0 ? n : 1);
    assert_non_null(p);
    return p;
}

/* Buffers of exactly the sizes that the contract names, so that a sanitizer sees any excess. */
static void round_trip(const struct qn_codec *c, const uint8_t *src, size_t n)
{
    size_t bound = c->bound(n), scratch_size = c->scratch(n);
    uint8_t *coded = allocate(bound + GUARD), *back = allocate(n),
            *scratch = allocate(scratch_size);
    memset(coded, GUARD_BYTE, bound + GUARD);
    size_t size = c->encode(src, n, coded, bound, scratch);
    assert_in_range(size, 1, bound);
    for (size_t i = 0; i < GUARD; i++)
        assert_int_equal(coded[bound + i], GUARD_BYTE);
    uint8_t *exact = allocate(size);
    memcpy(exact, coded, size);
    memset(scratch, 0x5a, scratch_size); /* nothing may live on in the scratch */
    assert_true(c->decode(exact, size, back, n, scratch));
    assert_memory_equal(src, back, n);
    /* The same bytes into exactly that capacity (libzstd may want a little more); never fewer. */
    uint8_t *tight = allocate(size);
    size_t again = c->encode(src, n, tight, size, scratch);
    if (c != qn_codec(QN_CODEC_ZSTD) || again != 0) {
        assert_int_equal(again, size);
        assert_memory_equal(tight, exact, size);
    }
    uint8_t *less = allocate(size - 1);
    assert_int_equal(c->encode(src, n, less, size - 1, scratch), 0);
    free(less);
    free(tight);
    free(exact);
    free(scratch);
    free(back);
    free(coded);
}

static void round_trips(void **state)
{
    (void)state;
    static const size_t sizes[] = {1023, 1024, 4097, 8191, 8192, 8193, 65536, 100001, 1 << 20};
    const size_t n_sizes = sizeof sizes / sizeof *sizes - test_briefly();
    uint8_t *src = allocate(1 << 20);
    for (size_t k = 0; k < CODERS; k++) {
        const struct qn_codec *c = qn_codec(coders[k]);
        for (size_t s = 0; s < SOURCES; s++) {
            for (size_t n = 1; n <= 100; n++) {
                fill(s, src, n);
                round_trip(c, src, n);
            }
            for (size_t i = 0; i < n_sizes; i++) {
                fill(s, src, sizes[i]);
                round_trip(c, src, sizes[i]);
            }
        }
    }
    free(src);
}

static void names(void **state)
{
    (void)state;
    for (unsigned id = 0; id < QN_CODEC_COUNT; id++)
        assert_int_equal(qn_codec_from_name(qn_codec_name((enum qn_codec_id)id)), id);
    assert_int_equal(qn_codec_from_name("brotli"), QN_CODEC_COUNT);
    assert_string_equal(qn_codec_name(QN_CODEC_RLE_HUFFMAN), "rle-huffman");
    assert_null(qn_codec(QN_CODEC_BITPACK));
    assert_null(qn_codec(QN_CODEC_COUNT));
    assert_null(qn_codec((enum qn_codec_id)200));
    for (size_t k = 0; k < CODERS; k++)
        assert_string_equal(qn_codec(coders[k])->name, qn_codec_name(coders[k]));
}

/* Each capacity below the size must give 0 and leave what follows alone. */
static void capacities(void **state)
{
    (void)state;
    enum { N = 600 };
    uint8_t src[N], dst[4 * N];
    for (size_t k = 0; k < CODERS; k++) {
        const struct qn_codec *c = qn_codec(coders[k]);
        void *scratch = allocate(c->scratch(N));
        for (size_t s = 0; s < SOURCES; s++) {
            fill(s, src, N);
            size_t size = c->encode(src, N, dst, sizeof dst, scratch);
            for (size_t capacity = 0; capacity < size; capacity++) {
                memset(dst, GUARD_BYTE, sizeof dst);
                assert_int_equal(c->encode(src, N, dst, capacity, scratch), 0);
                for (size_t i = capacity; i < capacity + GUARD; i++)
                    assert_int_equal(dst[i], GUARD_BYTE);
            }
        }
        free(scratch);
    }
}

static void try_decode(const struct qn_codec *c, const uint8_t *bytes, size_t size, size_t n,
                       void *scratch, bool *ok)
{
    uint8_t *exact = allocate(size), *back = allocate(n);
    memcpy(exact, bytes, size);
    *ok = c->decode(exact, size, back, n, scratch);
    free(back);
    free(exact);
}

/* Truncation, extension, a wrong count and flipped bytes: never out of bounds (the sanitizer
 * watches buffers of exact size); truncation and extension are always noticed. */
static void hostile(void **state)
{
    (void)state;
    static const size_t sizes[] = {1, 2, 9, 100, 1500, 9000};
    uint8_t *src = allocate(9000);
    uint64_t random = 12345;
    bool ok;
    for (size_t k = 0; k < CODERS; k++) {
        const struct qn_codec *c = qn_codec(coders[k]);
        for (size_t s = 0; s < SOURCES; s++) {
            for (size_t j = 0; j < sizeof sizes / sizeof *sizes; j++) {
                size_t n = sizes[j], bound = c->bound(n);
                uint8_t *coded = allocate(bound + 1);
                void *scratch = allocate(c->scratch(n));
                fill(s, src, n);
                size_t size = c->encode(src, n, coded, bound, scratch);
                assert_int_not_equal(size, 0);
                size_t step = size / (test_briefly() ? 60 : 400) + 1;
                for (size_t cut = 0; cut < size; cut += step) {
                    try_decode(c, coded, cut, n, scratch, &ok);
                    assert_false(ok);
                }
                coded[size] = 0;
                try_decode(c, coded, size + 1, n, scratch, &ok);
                assert_false(ok);
                for (size_t at = 0; at < size; at += step) {
                    uint8_t was = coded[at];
                    coded[at] ^= (uint8_t)(1 + test_random(&random) % 255);
                    try_decode(c, coded, size, n, scratch, &ok);
                    coded[at] = was;
                }
                free(scratch);
                free(coded);
            }
        }
    }
    free(src);
}

/* A count that does not belong to the payload. */
static void wrong_count(void **state)
{
    (void)state;
    enum { N = 9000 };
    uint8_t *src = allocate(N);
    bool ok;
    for (size_t k = 0; k < CODERS; k++) {
        const struct qn_codec *c = qn_codec(coders[k]);
        uint8_t *coded = allocate(c->bound(N));
        void *scratch = allocate(c->scratch((size_t)2 * N));
        fill(0, src, N);
        size_t size = c->encode(src, N, coded, c->bound(N), scratch);
        static const size_t counts[] = {1, 2, 100, 1024, N - 1, N + 1, (size_t)2 * N};
        for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
            try_decode(c, coded, size, counts[i], scratch, &ok);
            assert_false(ok);
        }
        free(scratch);
        free(coded);
    }
    free(src);
}

/* Huffman: cost of the least tree under the length limit by an independent method, dynamic
 * programming over the number of leaves and of open nodes of each depth. For small alphabets. */
static uint64_t least_cost(const uint32_t *sorted, unsigned m)
{
    /* best[i][j]: i most frequent symbols placed, j free nodes at this depth; placing a symbol
     * at depth d costs its count d times, so each level adds the weight of what is not placed. */
    enum { MAX = 24 };
    uint64_t best[MAX + 1][2 * MAX + 1], next[MAX + 1][2 * MAX + 1], result = UINT64_MAX;
    uint64_t rest[MAX + 1];
    assert_in_range(m, 2, MAX);
    rest[m] = 0;
    for (unsigned i = m; i-- > 0;)
        rest[i] = rest[i + 1] + sorted[i];
    memset(best, 0xff, sizeof best);
    best[0][1] = 0;
    for (unsigned depth = 0; depth <= QN_HUFFMAN_LIMIT + 1; depth++) {
        memset(next, 0xff, sizeof next);
        for (unsigned i = 0; i <= m; i++) {
            for (unsigned j = 0; j <= 2 * MAX; j++) {
                if (best[i][j] == UINT64_MAX)
                    continue;
                if (i == m && j == 0 && best[i][j] < result)
                    result = best[i][j];
                for (unsigned take = 0; take <= j && i + take <= m; take++) {
                    unsigned open = 2 * (j - take);
                    if (open > 2 * MAX)
                        continue;
                    uint64_t cost = best[i][j] + rest[i + take];
                    uint64_t *to = &next[i + take][open];
                    *to = cost < *to ? cost : *to;
                }
            }
        }
        memcpy(best, next, sizeof best);
    }
    return result;
}

static int descending(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x < y) - (x > y);
}

static void huffman_is_optimal(void **state)
{
    (void)state;
    uint64_t random = 99;
    struct qn_huffman_lengths_work *work = allocate(sizeof *work);
    for (unsigned trial = 0; trial < 300; trial++) {
        uint32_t counts[256] = {0}, sorted[24];
        uint8_t lengths[256];
        unsigned m = 2 + trial % 23, kraft = 0;
        for (unsigned i = 0; i < m; i++) /* up to steeply skewed: the limit binds */
            sorted[i] = 1 + (uint32_t)(test_random(&random) >> 8) %
                                (trial % 3 == 0 ? 10 : (uint32_t)1 << (trial % 3 * i % 25));
        for (unsigned i = 0; i < m; i++)
            counts[(i * 37 + trial) & 255] = sorted[i];
        qsort(sorted, m, sizeof *sorted, descending);
        assert_int_equal(qn_huffman_lengths(counts, lengths, work), m);
        uint64_t cost = 0;
        for (unsigned s = 0; s < 256; s++) {
            assert_int_equal(lengths[s] != 0, counts[s] != 0);
            assert_in_range(lengths[s], 0, QN_HUFFMAN_LIMIT);
            cost += (uint64_t)lengths[s] * counts[s];
            kraft += lengths[s] == 0 ? 0 : 1u << (QN_HUFFMAN_LIMIT - lengths[s]);
        }
        assert_int_equal(kraft, 1u << QN_HUFFMAN_LIMIT);
        assert_int_equal(cost, least_cost(sorted, m));
    }
    free(work);
}

/* The payload is what the code costs: table and stream sizes stay below 0.5 %. */
static void huffman_overhead(void **state)
{
    (void)state;
    enum { N = 1 << 18 };
    uint8_t *src = allocate(N), *coded = allocate(qn_huffman_bound(N)), lengths[256];
    void *scratch = allocate(qn_huffman_scratch(N));
    struct qn_huffman_lengths_work *work = allocate(sizeof *work);
    for (size_t s = 0; s < SOURCES; s++) {
        uint32_t counts[256] = {0};
        uint64_t bits = 0;
        fill(s, src, N);
        for (size_t i = 0; i < N; i++)
            counts[src[i]]++;
        if (qn_huffman_lengths(counts, lengths, work) == 1)
            continue;
        for (unsigned v = 0; v < 256; v++)
            bits += (uint64_t)lengths[v] * counts[v];
        size_t size = qn_huffman_encode(src, N, coded, qn_huffman_bound(N), scratch);
        assert_in_range(size, bits / 8, bits / 8 + bits / 8 / 200);
    }
    free(work);
    free(scratch);
    free(coded);
    free(src);
}

static void huffman_serialised_lengths(void **state)
{
    (void)state;
    uint64_t random = 5;
    struct qn_huffman_lengths_work *work = allocate(sizeof *work);
    for (unsigned trial = 0; trial < (test_briefly() ? 200 : 2000); trial++) {
        uint32_t counts[256] = {0};
        uint8_t lengths[256], back[256], bytes[QN_HUFFMAN_LENGTHS_MAX];
        unsigned m = 2 + (unsigned)(test_random(&random) >> 32) % 300, first = 0, last = 255;
        size_t used;
        for (unsigned i = 0; i < m; i++)
            counts[test_random(&random) >> 56] += (uint32_t)(test_random(&random) >> (trial % 60));
        counts[3] |= 1;
        counts[200] |= 1;
        qn_huffman_lengths(counts, lengths, work);
        while (lengths[first] == 0)
            first++;
        while (lengths[last] == 0)
            last--;
        size_t size = qn_huffman_write_lengths(lengths, first, last, bytes);
        assert_in_range(size, 1, sizeof bytes);
        assert_true(qn_huffman_read_lengths(bytes, size, first, last, back, &used));
        assert_int_equal(used, size);
        assert_memory_equal(lengths, back, 256);
        for (size_t cut = 0; cut < size; cut++)
            assert_false(qn_huffman_read_lengths(bytes, cut, first, last, back, &used));
    }
    free(work);
}

static void zstd_is_plain(void **state)
{
    (void)state;
    enum { N = 5000 };
    uint8_t src[N], back[N];
    const struct qn_codec *c = qn_codec(QN_CODEC_ZSTD);
    size_t bound = c->bound(N);
    uint8_t *coded = allocate(2 * bound);
    void *scratch = allocate(c->scratch(N));
    for (size_t s = 0; s < SOURCES; s++) {
        fill(s, src, N);
        size_t size = c->encode(src, N, coded, bound, scratch);
        assert_int_equal(ZSTD_decompress(back, N, coded, size), N);
        assert_memory_equal(src, back, N);
        /* libzstd's own frames are read, two in a row are not one. */
        size = ZSTD_compress(coded, bound, src, N, 19);
        assert_true(c->decode(coded, size, back, N, scratch));
        assert_memory_equal(src, back, N);
        memcpy(coded + size, coded, size);
        assert_false(c->decode(coded, 2 * size, back, N, scratch));
    }
    free(scratch);
    free(coded);
}

/* Against bits set one at a time. */
static void bitpack(void **state)
{
    (void)state;
    static const size_t sizes[] = {255, 256, 1000, 4099};
    uint64_t random = 7;
    for (unsigned bits = 0; bits <= QN_BITPACK_MAX_BITS; bits++) {
        for (size_t k = 0; k <= 100 + sizeof sizes / sizeof *sizes; k++) {
            size_t n = k <= 100 ? k : sizes[k - 101], size = qn_bitpack_size(n, bits);
            assert_int_equal(size, (n * bits + 7) / 8);
            uint16_t *codes = allocate(n * 2), *back = allocate(n * 2);
            uint8_t *packed = allocate(size), *plain = allocate(size);
            memset(plain, 0, size);
            for (size_t i = 0; i < n; i++) {
                codes[i] = (uint16_t)(test_random(&random) >> 40 & ((1u << bits) - 1));
                for (unsigned b = 0; b < bits; b++)
                    plain[(i * bits + b) / 8] |=
                        (uint8_t)((codes[i] >> b & 1) << ((i * bits + b) & 7));
            }
            qn_bitpack(codes, n, bits, packed);
            assert_memory_equal(packed, plain, size);
            assert_true(qn_bitunpack(packed, size, n, bits, back));
            assert_memory_equal(codes, back, n * 2);
            assert_false(qn_bitunpack(packed, size + 1, n, bits, back));
            if (n * bits % 8 != 0) {
                packed[size - 1] |= 128;
                assert_false(qn_bitunpack(packed, size, n, bits, back));
            }
            free(plain);
            free(packed);
            free(back);
            free(codes);
        }
    }
    assert_false(qn_bitunpack((const uint8_t *)"", 0, 0, 17, NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names),
        cmocka_unit_test(round_trips),
        cmocka_unit_test(capacities),
        cmocka_unit_test(hostile),
        cmocka_unit_test(wrong_count),
        cmocka_unit_test(huffman_is_optimal),
        cmocka_unit_test(huffman_overhead),
        cmocka_unit_test(huffman_serialised_lengths),
        cmocka_unit_test(zstd_is_plain),
        cmocka_unit_test(bitpack),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
