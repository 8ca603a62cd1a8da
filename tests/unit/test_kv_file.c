/* Dumps of V pages: the order of pages, replaced ones, the file, and what is refused. */
#include "tests/unit/testing.h"

#include "core/file.h"
#include "formats/kv_file.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { LAYERS = 3, SEQUENCES = 2, PAGES = 4, HEADS = 2, HEAD_DIM = 32 };

static void layout_of(struct qn_kv_layout *l)
{
    check_ok(qn_kv_layout_init(l, HEADS, HEAD_DIM, 6, QN_KV_MIN_PAGE, &e_));
}

/* A page of values that are mostly 0, so that recoding makes it smaller. */
static size_t make_page(const struct qn_kv_layout *l, unsigned seed, bool old, uint8_t *page)
{
    const size_t n = (size_t)l->tokens * l->heads * l->head_dim;
    float *v = calloc(n, sizeof *v);
    void *scratch = malloc(qn_kv_scratch(l));
    uint8_t *packed = malloc(qn_kv_packed_size(l));
    uint64_t random = seed + 1;
    size_t size = qn_kv_packed_size(l);
    assert_true(v && scratch && packed);
    for (size_t i = 0; i < n; i++)
        if (test_random(&random) % 16 == 0)
            v[i] = (float)(test_random(&random) % 101) - 50.0F;
    check_ok(qn_kv_encode(l, v, (size_t)l->tokens * l->head_dim, packed, scratch, &e_));
    memcpy(page, packed, size);
    if (old) {
        check_ok(qn_kv_recode(l, packed, page, &size, scratch, &e_));
        assert_true(size < qn_kv_packed_size(l));
    }
    free(v);
    free(scratch);
    free(packed);
    return size;
}

static void put(struct qn_kv_file *f, uint32_t layer, uint32_t sequence, uint32_t page, bool old)
{
    uint8_t *bytes = malloc(qn_kv_packed_size(&f->layout));
    assert_non_null(bytes);
    const size_t size = make_page(&f->layout, layer * 100 + sequence * 10 + page, old, bytes);
    check_ok(qn_kv_file_put(f, layer, sequence, page, bytes, size, &e_));
    free(bytes);
}

/* As sessions do it: a page is put when it is full, and again when it has become old. */
static void fill(struct qn_kv_file *f)
{
    for (uint32_t s = 0; s < SEQUENCES; s++)
        for (uint32_t p = 0; p < PAGES; p++)
            for (uint32_t l = 0; l < LAYERS; l++) {
                put(f, l, s, p, false);
                if (p >= 2)
                    put(f, l, s, p - 2, true);
            }
}

static void begin(struct qn_kv_file *f)
{
    struct qn_kv_layout layout;
    layout_of(&layout);
    check_ok(qn_kv_file_init(f, &layout, LAYERS, &e_));
    memset(f->model.bytes, 0x5a, sizeof f->model.bytes);
    memset(f->text.bytes, 0xa5, sizeof f->text.bytes);
}

static void assert_same(const struct qn_kv_file *a, const struct qn_kv_file *b)
{
    assert_memory_equal(&a->layout, &b->layout, sizeof a->layout);
    assert_memory_equal(&a->model, &b->model, sizeof a->model);
    assert_memory_equal(&a->text, &b->text, sizeof a->text);
    assert_int_equal(a->n_layers, b->n_layers);
    for (uint32_t i = 0; i < a->n_layers; i++) {
        const struct qn_kv_layer *x = &a->layers[i], *y = &b->layers[i];
        assert_int_equal(x->n_places, y->n_places);
        for (size_t k = 0; k < x->n_places; k++) {
            assert_int_equal(x->places[k].sequence, y->places[k].sequence);
            assert_int_equal(x->places[k].page, y->places[k].page);
            assert_int_equal(x->places[k].size, y->places[k].size);
            assert_memory_equal(qn_kv_file_page(x, &x->places[k]),
                                qn_kv_file_page(y, &y->places[k]), x->places[k].size);
        }
    }
}

static void test_pages(void **state)
{
    (void)state;
    struct qn_kv_file f;
    begin(&f);
    fill(&f);
    for (uint32_t l = 0; l < LAYERS; l++) {
        assert_int_equal(f.layers[l].n_places, SEQUENCES * PAGES);
        for (size_t i = 0; i < f.layers[l].n_places; i++) {
            const struct qn_kv_place *p = &f.layers[l].places[i];
            const uint8_t *bytes = qn_kv_file_page(&f.layers[l], p);
            assert_int_equal(p->sequence, i / PAGES);
            assert_int_equal(p->page, i % PAGES);
            assert_int_equal(qn_kv_is_recoded(bytes, (size_t)p->size), p->page < PAGES - 2);
        }
    }
    /* a page that grows, and pages backwards */
    put(&f, 1, 0, 0, false);
    assert_int_equal(f.layers[1].places[0].size, qn_kv_packed_size(&f.layout));
    struct qn_kv_file g;
    begin(&g);
    for (uint32_t p = PAGES; p-- > 0;)
        for (uint32_t s = SEQUENCES; s-- > 0;)
            for (uint32_t l = 0; l < LAYERS; l++)
                put(&g, l, s, p, p < PAGES - 2 && !(l == 1 && s == 0 && p == 0));
    assert_same(&f, &g);
    qn_kv_file_finish(&f);
    qn_kv_file_finish(&g);
    qn_kv_file_finish(&g);
}

static void test_refusals(void **state)
{
    (void)state;
    struct qn_kv_file f;
    struct qn_kv_layout l;
    struct qins_error err = {0};
    uint8_t *page;
    layout_of(&l);
    page = calloc(1, qn_kv_packed_size(&l) + 1);
    assert_non_null(page);
    assert_int_equal(qn_kv_file_init(&f, &l, 0, &err), QINS_ERR_FORMAT);
    qn_kv_file_finish(&f);
    assert_int_equal(qn_kv_file_init(&f, &l, QN_KV_MAX_LAYERS + 1, &err), QINS_ERR_FORMAT);
    l.bits = 7;
    assert_int_equal(qn_kv_file_init(&f, &l, 1, &err), QINS_ERR_FORMAT);
    qn_kv_file_finish(&f);
    begin(&f);
    assert_int_equal(qn_kv_file_put(&f, LAYERS, 0, 0, page, QN_KV_HEADER, &err), QINS_ERR_FORMAT);
    assert_int_equal(qn_kv_file_put(&f, 0, 0, 0, page, QN_KV_HEADER - 1, &err), QINS_ERR_FORMAT);
    assert_int_equal(qn_kv_file_put(&f, 0, 0, 0, page, qn_kv_packed_size(&f.layout) + 1, &err),
                     QINS_ERR_FORMAT);
    put(&f, 0, 0, 0, false);
    assert_int_equal(qn_kv_file_write(&f, "never.h5", &err), QINS_ERR_USAGE);
    assert_string_equal(err.message, "layer 1 has no page to write");
    assert_false(qn_exists("never.h5"));
    free(page);
    qn_kv_file_finish(&f);
}

static void read_bytes(const char *path, struct qn_buf *out)
{
    check_ok(qn_read_whole(path, 1 << 24, out, &e_));
}

static void test_file(void **state)
{
    (void)state;
    struct qn_kv_file f, g = {0};
    struct qn_buf first = {0}, second = {0};
    char path[] = "/tmp/qins-kv-file-XXXXXX";
    const int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    begin(&f);
    fill(&f);
    check_ok(qn_kv_file_write(&f, path, &e_));
    read_bytes(path, &first);
    check_ok(qn_kv_file_read(&g, path, NULL, &e_));
    assert_same(&f, &g);
    /* what was read has no gaps, and is written as the same bytes */
    assert_true(g.layers[0].bytes.size < f.layers[0].bytes.size);
    check_ok(qn_kv_file_write(&g, path, &e_));
    read_bytes(path, &second);
    assert_int_equal(first.size, second.size);
    assert_memory_equal(first.data, second.data, first.size);
    qn_kv_file_finish(&g);
    struct qins_error err = {0};
    check_ok(qn_write_whole(path, "no HDF5", 7, &e_));
    assert_int_equal(qn_kv_file_read(&g, path, NULL, &err), QINS_ERR_UNSUPPORTED);
    assert_int_equal(qn_kv_file_read(&g, "/nowhere.h5", NULL, &err), QINS_ERR_IO);
    unlink(path);
    qn_buf_finish(&first);
    qn_buf_finish(&second);
    qn_kv_file_finish(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pages),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
