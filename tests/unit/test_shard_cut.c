/* Shards of random lists of tensors: every chunk and every tensor's beginning in exactly one. */
#include "convert/shard_cut.h"
#include "tests/unit/archive_testing.h"

enum { MAX_TENSORS = 40, LISTS = 300 };

static uint64_t seed = 7;

static uint64_t below(uint64_t n)
{
    return test_random(&seed) % n;
}

/* Scalars, empty ones, small ones, and a few of many chunks, long rows and wide slices. */
static void random_shape(unsigned *rank, uint64_t shape[8])
{
    *rank = (unsigned)below(4);
    for (unsigned i = 0; i < *rank; i++)
        shape[i] = below(20);
    if (below(4) == 0) {
        *rank = 2;
        shape[0] = 1 + below(9000);
        shape[1] = 1 + below(3000);
    } else if (below(10) == 0) {
        *rank = 2;
        shape[0] = 1 + below(3);
        shape[1] = 1 + below(5000000);
    }
}

static void make_list(struct qn_tensor_list *list, size_t n)
{
    static const enum qins_dtype types[] = {QINS_F32, QINS_BF16, QINS_U8, QINS_F64};
    for (size_t i = 0; i < n; i++) {
        char name[24];
        uint64_t shape[8] = {0};
        unsigned rank;
        struct qins_error err;
        random_shape(&rank, shape);
        snprintf(name, sizeof name, "t%zu", i);
        test_ok(qn_tensor_list_add(list, name, strlen(name), types[below(4)], NULL, rank, shape,
                                   NULL, &err),
                &err);
    }
}

static uint64_t chunk_bytes(const struct qn_tensor *t, const struct qn_layout *l, uint64_t chunk)
{
    uint64_t first, count;
    qn_layout_chunk(l, chunk, &first, &count);
    return count * qins_dtype_size(t->dtype);
}

/* Goes over what lies in R; *CHUNKS and *BYTES get what was found, *LARGEST the largest chunk. */
static void walk(const struct qn_tensor_list *list, const struct qn_part_range *r, uint64_t *chunks,
                 uint64_t *bytes, uint64_t *largest)
{
    struct qn_part_place at = r->begin;
    while (at.tensor < r->end.tensor || (at.tensor == r->end.tensor && at.chunk < r->end.chunk)) {
        assert_true(at.tensor < list->count);
        assert_non_null(list->items);
        const struct qn_tensor *t = &list->items[at.tensor];
        struct qn_layout l;
        qn_layout_init(&l, t->rank, t->shape);
        assert_true(l.n_chunks == 0 || at.chunk < l.n_chunks);
        const uint64_t size = l.n_chunks ? chunk_bytes(t, &l, at.chunk) : t->n_bytes;
        *largest = size > *largest ? size : *largest;
        *chunks += l.n_chunks > 0;
        *bytes += size;
        if (++at.chunk >= l.n_chunks)
            at = (struct qn_part_place){at.tensor + 1, 0};
    }
    assert_int_equal(at.tensor, r->end.tensor);
    assert_int_equal(at.chunk, r->end.chunk);
}

static void check_shards(const struct qn_tensor_list *list, unsigned n)
{
    struct qn_part_range r, all, before = {.end = {0, 0}};
    struct qins_error err;
    uint64_t chunks = 0, bytes = 0, largest = 0, most = 0, least = UINT64_MAX;
    test_ok(qn_shard_cut(list, &(struct qn_shard){0, 0}, &all, &err), &err);
    assert_int_equal(all.end.tensor, list->count);
    for (unsigned i = 1; i <= n; i++) {
        uint64_t own_chunks = 0, own_bytes = 0;
        test_ok(qn_shard_cut(list, &(struct qn_shard){i, n}, &r, &err), &err);
        assert_int_equal(r.begin.tensor, before.end.tensor);
        assert_int_equal(r.begin.chunk, before.end.chunk);
        assert_int_equal(r.first_chunk, chunks);
        walk(list, &r, &own_chunks, &own_bytes, &largest);
        assert_int_equal(own_bytes, r.input_bytes);
        assert_int_equal(qn_shard_place_byte(list, &r.begin), bytes);
        chunks += own_chunks;
        bytes += own_bytes;
        assert_int_equal(r.end_chunk, chunks);
        most = own_bytes > most ? own_bytes : most;
        least = own_bytes < least ? own_bytes : least;
        before = r;
    }
    assert_int_equal(r.end.tensor, list->count);
    assert_int_equal(r.end.chunk, 0);
    assert_int_equal(chunks, all.end_chunk);
    assert_int_equal(bytes, all.input_bytes);
    assert_true(most <= bytes / n + 1 + largest);
    assert_true(least + largest + 1 >= bytes / n);
}

static void random_lists(void **state)
{
    (void)state;
    for (size_t k = 0; k < (test_briefly() ? LISTS / 10 : LISTS); k++) {
        static const unsigned counts[] = {1, 2, 3, 8, 64, 1000};
        struct qn_tensor_list list = {0};
        make_list(&list, 1 + below(MAX_TENSORS));
        for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
            check_shards(&list, counts[i]);
        qn_tensor_list_finish(&list);
    }
}

/* What has no bytes goes with what comes behind it, and at the end to the last shard. */
static void empty_tensors(void **state)
{
    (void)state;
    static const uint64_t empty[1] = {0}, ten[1] = {10};
    struct qn_tensor_list list = {0};
    struct qn_part_range r;
    struct qins_error err;
    for (int i = 0; i < 5; i++) {
        const char name[2] = {(char)('a' + i), 0};
        test_ok(
            qn_tensor_list_add(&list, name, 1, QINS_U8, NULL, 1, i % 2 ? ten : empty, NULL, &err),
            &err);
    }
    test_ok(qn_shard_cut(&list, &(struct qn_shard){1, 2}, &r, &err), &err);
    assert_int_equal(r.end.tensor, 2); /* a empty, b; c begins where d does, at byte 10 of 20 */
    test_ok(qn_shard_cut(&list, &(struct qn_shard){2, 2}, &r, &err), &err);
    assert_int_equal(r.end.tensor, 5);
    assert_int_equal(r.input_bytes, 10);
    qn_tensor_list_finish(&list);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_lists),
        cmocka_unit_test(empty_tensors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
