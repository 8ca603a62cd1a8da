#include "formats/archive/layout.h"
#include "formats/codec/chunk.h"
#include "tests/unit/testing.h"

#include <string.h>

/* Every element is in exactly one chunk, chunks come in order, and none is too large. */
static void check_cover(unsigned rank, const uint64_t *shape)
{
    struct qn_layout l;
    uint64_t n = 1, next = 0, first, count, dims[QINS_MAX_RANK], volume = 1;
    for (unsigned i = 0; i < rank; i++)
        n *= shape[i];
    qn_layout_init(&l, rank, shape);
    assert_int_equal(l.outer * l.split * l.inner, n);
    assert_int_equal(l.row_length, rank == 1 ? n : n / shape[0]);
    for (uint64_t i = 0; i < l.n_chunks; i++) {
        qn_layout_chunk(&l, i, &first, &count);
        assert_int_equal(first, next);
        assert_in_range(count, 1, QN_CHUNK_MAX);
        /* chunk.h: whole rows, or a part of one */
        if (count % l.row_length != 0)
            assert_int_equal(first / l.row_length, (first + count - 1) / l.row_length);
        next = first + count;
    }
    assert_int_equal(next, n);
    qn_layout_dims(&l, rank, shape, dims);
    for (unsigned i = 0; i < rank; i++) {
        assert_in_range(dims[i], 1, shape[i]);
        volume *= dims[i];
    }
    assert_int_equal(volume, l.step * l.inner);
    assert_in_range(volume, 1, QN_CHUNK_MAX);
    if (n >= 1 << 20 && l.inner <= 1 << 18)
        assert_true(volume >= 1 << 18);
}

static void known_layouts(void **state)
{
    (void)state;
    static const struct {
        unsigned rank, axis;
        uint64_t shape[4], step, n_chunks;
    } cases[] = {
        {1, 0, {1}, 1, 1},
        {1, 0, {1 << 19}, 1 << 19, 1},
        {1, 0, {(1 << 19) + 1}, 262400, 2},
        {2, 1, {1, 3 << 20}, 1 << 19, 6},
        {2, 0, {3 << 20, 1}, 1 << 19, 6},
        {2, 0, {50257, 768}, 680, 74},
        {2, 0, {4096, 4096}, 128, 32},
        {3, 1, {2, 1 << 21, 3}, 161320, 26},
        {4, 1, {2, 3, 1 << 10, 1 << 10}, 1, 6},
        {4, 2, {2, 2, 1025, 1024}, 342, 12},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct qn_layout l;
        qn_layout_init(&l, cases[i].rank, cases[i].shape);
        assert_int_equal(l.split_axis, cases[i].axis);
        assert_int_equal(l.step, cases[i].step);
        assert_int_equal(l.n_chunks, cases[i].n_chunks);
        check_cover(cases[i].rank, cases[i].shape);
    }
}

static void random_layouts(void **state)
{
    (void)state;
    uint64_t seed = 1;
    for (int i = 0; i < 2000; i++) {
        uint64_t shape[QINS_MAX_RANK], n = 1;
        unsigned rank = 1 + (unsigned)(test_random(&seed) % 5);
        for (unsigned a = 0; a < rank; a++) {
            uint64_t most = (UINT64_C(1) << 25) / n;
            shape[a] = 1 + test_random(&seed) % (most > 1 ? most : 1);
            if (test_random(&seed) % 3 == 0)
                shape[a] = 1 + shape[a] % 7;
            n *= shape[a];
        }
        check_cover(rank, shape);
    }
}

static void no_chunks(void **state)
{
    (void)state;
    struct qn_layout l;
    static const uint64_t empty[3] = {UINT64_C(1) << 60, 0, UINT64_C(1) << 60};
    qn_layout_init(&l, 0, NULL);
    assert_int_equal(l.n_chunks, 0);
    qn_layout_init(&l, 3, empty);
    assert_int_equal(l.n_chunks, 0);
}

/* Shapes that only a hostile file has must not hang or overflow. */
static void huge_shapes(void **state)
{
    (void)state;
    struct qn_layout l;
    uint64_t first, count;
    static const uint64_t flat[1] = {UINT64_C(1) << 62}, deep[2] = {UINT64_C(1) << 40, 1 << 21};
    qn_layout_init(&l, 1, flat);
    assert_int_equal(l.n_chunks, UINT64_C(1) << 43);
    qn_layout_init(&l, 2, deep);
    assert_int_equal(l.n_chunks, UINT64_C(1) << 42);
    qn_layout_chunk(&l, l.n_chunks - 1, &first, &count);
    assert_true(first + count == UINT64_C(1) << 61);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_layouts),
        cmocka_unit_test(random_layouts),
        cmocka_unit_test(no_chunks),
        cmocka_unit_test(huge_shapes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
