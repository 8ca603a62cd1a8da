#include "tests/unit/testing.h"

#include "model/kv_cache.h"

#include <math.h>
#include <string.h>

/* 16 tokens a page. */
enum { LAYERS = 2, HEADS = 2, DIM = 128, POSITIONS = 150, PAGE = 16, PAGE_BYTES = 16 << 10 };
enum { ROW = HEADS * DIM, STRIDE = POSITIONS * DIM, BUFFER = HEADS * STRIDE };

struct seen {
    unsigned pages[LAYERS][POSITIONS / PAGE + 1], calls;
    size_t last_size[LAYERS][POSITIONS / PAGE + 1];
    bool fail;
};

struct fixture {
    struct qn_pool *pool;
    struct qn_kv_cache *cache;
    struct seen seen;
    float *v[LAYERS]; /* what a plain cache would hold: [HEADS][POSITIONS][DIM] */
    float *buffer;    /* what attention reads */
};

static enum qins_status see(void *ctx, uint32_t layer, uint64_t page, const uint8_t *bytes,
                            size_t size, struct qins_error *err)
{
    struct seen *s = ctx;
    assert_true(layer < LAYERS && page <= POSITIONS / PAGE && bytes != NULL);
    if (s->fail)
        return qn_fail(err, QINS_ERR_IO, "no room");
    s->pages[layer][page]++;
    s->last_size[layer][page] = size;
    s->calls++;
    return QINS_OK;
}

static void setup(struct fixture *f, unsigned bits, unsigned threads, uint32_t recent)
{
    uint64_t seed = 4;
    memset(f, 0, sizeof *f);
    if (threads > 1)
        check_ok(qn_pool_create(&f->pool, threads, &e_));
    const struct qn_kv_shape shape = {LAYERS, HEADS, DIM, POSITIONS, f->pool};
    const struct qn_kv_options options = {bits, PAGE_BYTES, recent, see, &f->seen};
    check_ok(qn_kv_cache_create(&f->cache, &shape, &options, &e_));
    f->buffer = malloc(BUFFER * sizeof *f->buffer);
    assert_non_null(f->buffer);
    for (int l = 0; l < LAYERS; l++) {
        f->v[l] = malloc(BUFFER * sizeof *f->v[l]);
        assert_non_null(f->v[l]);
        for (size_t i = 0; i < BUFFER; i++)
            f->v[l][i] = (float)((double)(test_random(&seed) >> 11) * 0x1p-52 - 1.0);
    }
}

static void finish(struct fixture *f)
{
    qn_kv_cache_destroy(f->cache);
    qn_pool_destroy(f->pool);
    for (int l = 0; l < LAYERS; l++)
        free(f->v[l]);
    free(f->buffer);
}

/* What attention does with tokens POSITION … POSITION + N - 1; afterwards the buffer holds what
 * the last of them saw in layer LAYER. */
static enum qins_status run_layer(struct fixture *f, uint32_t layer, size_t position, size_t n,
                                  struct qins_error *err)
{
    for (size_t i = 0; i < BUFFER; i++)
        f->buffer[i] = NAN;
    enum qins_status st = qn_kv_cache_load(f->cache, layer, 0, position, f->buffer, STRIDE, err);
    for (size_t h = 0; h < HEADS; h++)
        memcpy(f->buffer + h * STRIDE + position * DIM, f->v[layer] + h * STRIDE + position * DIM,
               n * DIM * sizeof *f->buffer);
    for (size_t begin = position, end; begin < position + n && st == QINS_OK; begin = end) {
        end = qn_kv_cache_page_end(f->cache, begin);
        end = end < position + n ? end : position + n;
        st = qn_kv_cache_store(f->cache, layer, begin, end, end < position + n, f->buffer, STRIDE,
                               err);
    }
    return st;
}

static void run(struct fixture *f, size_t position, size_t n)
{
    for (uint32_t l = 0; l < LAYERS; l++)
        check_ok(run_layer(f, l, position, n, &e_));
    qn_kv_cache_done(f->cache, position + n);
}

/* Values of tokens 0 … N - 1 as the token at N would see them. */
static void look(struct fixture *f, uint32_t layer, size_t n, float *out)
{
    for (size_t i = 0; i < BUFFER; i++)
        out[i] = 0.0F;
    check_ok(qn_kv_cache_load(f->cache, layer, 0, n, out, STRIDE, &e_));
}

static void check_open(const struct fixture *f, const float *seen, uint32_t layer, size_t begin,
                       size_t end, bool raw)
{
    float largest = 0.0F;
    for (size_t h = 0; h < HEADS; h++)
        for (size_t i = begin * DIM; i < end * DIM; i++)
            largest = fmaxf(largest, fabsf(seen[h * STRIDE + i] - f->v[layer][h * STRIDE + i]));
    assert_true(raw ? largest == 0.0F : largest > 0.0F && largest < 0.03F);
}

static void pages_and_batches(void **state)
{
    static const size_t batches[] = {1, 5, 16, 17, 40, POSITIONS};
    static float first[BUFFER], seen[BUFFER];
    (void)state;
    for (size_t b = 0; b < sizeof batches / sizeof *batches; b++) {
        struct fixture f;
        setup(&f, 6, b == 3 ? 3 : 1, 0);
        for (size_t at = 0, n; at < POSITIONS; at += n) {
            n = POSITIONS - at < batches[b] ? POSITIONS - at : batches[b];
            run(&f, at, n);
        }
        look(&f, 1, POSITIONS, seen);
        if (b == 0)
            memcpy(first, seen, sizeof first);
        assert_memory_equal(first, seen, sizeof first);
        const size_t open = (size_t)POSITIONS / PAGE * PAGE;
        check_open(&f, seen, 1, 0, open, false);
        check_open(&f, seen, 1, open, POSITIONS, true);
        for (size_t p = 0; p < POSITIONS / PAGE; p++)
            assert_int_equal(f.seen.pages[1][p], p + 2 < POSITIONS / PAGE ? 2 : 1);
        finish(&f);
    }
}

static void only_what_is_asked_for(void **state)
{
    struct fixture f;
    struct qn_kv_counts before, after;
    (void)state;
    setup(&f, 8, 1, 0);
    run(&f, 0, 100);
    qn_kv_cache_counts(f.cache, 100, &before);
    check_ok(qn_kv_cache_load(f.cache, 0, 70, 100, f.buffer, STRIDE, &e_));
    qn_kv_cache_counts(f.cache, 100, &after);
    assert_int_equal(after.decoded - before.decoded, 2); /* pages of 64 and of 80 */
    finish(&f);
}

static void counts(void **state)
{
    struct fixture f;
    struct qn_kv_counts c;
    (void)state;
    setup(&f, 8, 1, 3);
    qn_kv_cache_counts(f.cache, 0, &c);
    assert_int_equal(c.sequences, 0);
    run(&f, 0, 90); /* five pages, ten open tokens */
    qn_kv_cache_counts(f.cache, 90, &c);
    const size_t packed = 24 + PAGE * HEADS + PAGE * ROW;
    assert_int_equal(c.sequences, 1);
    assert_int_equal(c.tokens, 90);
    assert_int_equal(c.values, 90 * LAYERS * ROW);
    assert_int_equal(c.f16_bytes, 90 * LAYERS * ROW * 2);
    assert_int_equal(c.f32_bytes, 90 * LAYERS * ROW * 4);
    assert_int_equal(c.packed_pages, LAYERS * 5);
    assert_int_equal(c.packed_bytes, (size_t)LAYERS * 5 * packed);
    assert_int_equal(c.packed_values, LAYERS * 5 * PAGE * ROW);
    assert_int_equal(c.old_pages, LAYERS * 2);
    assert_int_equal(c.old_values, LAYERS * 2 * PAGE * ROW);
    assert_int_equal(c.open_bytes, 10 * LAYERS * ROW * 4);
    assert_int_equal(c.held_bytes,
                     c.open_bytes + c.packed_bytes - (size_t)LAYERS * 2 * packed + c.old_bytes);
    assert_int_equal(c.encoded, LAYERS * 5);
    assert_int_equal(c.recoded, LAYERS * 2);
    assert_int_equal(c.work_bytes, POSITIONS * ROW * 4);
    uint64_t last = 0;
    for (size_t l = 0; l < LAYERS; l++)
        for (size_t p = 0; p < 5; p++)
            last += f.seen.last_size[l][p];
    assert_int_equal(c.held_bytes, last + c.open_bytes);

    qn_kv_cache_reset(f.cache, 90);
    run(&f, 0, 5);
    struct qn_kv_counts sum = {0}, two;
    qn_kv_cache_counts(f.cache, 5, &two);
    assert_int_equal(two.sequences, 2);
    assert_int_equal(two.tokens, 95);
    assert_int_equal(two.held_bytes, c.held_bytes + (size_t)5 * LAYERS * ROW * 4);
    qn_kv_counts_add(&sum, &two);
    qn_kv_counts_add(&sum, &two);
    assert_int_equal(sum.tokens, 190);
    assert_int_equal(sum.work_bytes, two.work_bytes);
    assert_true(sum.max_encode_seconds == two.max_encode_seconds);
    finish(&f);
}

/* What was held while a sequence grew is what is held at each of its lengths, however it grew. */
static void counts_of_growth(void **state)
{
    static const uint32_t recents[] = {1, 2, 3, UINT32_MAX};
    (void)state;
    for (size_t r = 0; r < sizeof recents / sizeof *recents; r++) {
        struct fixture step, once;
        struct qn_kv_counts c;
        double held = 0.0, plain = 0.0;
        setup(&step, 6, 1, recents[r]);
        setup(&once, 6, 1, recents[r]);
        for (size_t n = 1; n <= POSITIONS; n++) {
            run(&step, n - 1, 1);
            qn_kv_cache_counts(step.cache, n, &c);
            held += (double)c.held_bytes;
            plain += (double)c.f16_bytes;
            assert_true(c.grown_held_bytes == held && c.grown_f16_bytes == plain);
        }
        run(&once, 0, POSITIONS);
        qn_kv_cache_reset(once.cache, POSITIONS);
        qn_kv_cache_counts(once.cache, 0, &c);
        assert_true(c.grown_held_bytes == held && c.grown_f16_bytes == plain);
        struct qn_kv_counts sum = {0};
        qn_kv_counts_add(&sum, &c);
        qn_kv_counts_add(&sum, &c);
        assert_true(sum.grown_held_bytes == 2.0 * held && sum.grown_f16_bytes == 2.0 * plain);
        finish(&step);
        finish(&once);
    }
}

/* Cut off in the open page, at a page's end, and inside a coded page. */
static void truncation(void **state)
{
    static float before[BUFFER], after[BUFFER];
    struct fixture f;
    struct qn_kv_counts c;
    (void)state;
    setup(&f, 6, 1, 0);
    run(&f, 0, 100);
    look(&f, 0, 97, before);
    qn_kv_cache_truncate(f.cache, 100, 97);
    look(&f, 0, 97, after);
    assert_memory_equal(before, after, sizeof before);
    check_open(&f, after, 0, 96, 97, true);

    qn_kv_cache_truncate(f.cache, 97, 64);
    look(&f, 0, 64, after);
    check_open(&f, after, 0, 0, 64, false);
    run(&f, 64, 36);
    look(&f, 0, 97, after);
    assert_memory_equal(before, after, sizeof before);

    qn_kv_cache_truncate(f.cache, 100, 70); /* six tokens of a coded page */
    qn_kv_cache_truncate(f.cache, 70, 69);
    look(&f, 0, 69, after);
    check_open(&f, after, 0, 64, 69, false);
    for (size_t h = 0; h < HEADS; h++)
        assert_memory_equal(after + h * STRIDE, before + h * STRIDE,
                            (size_t)69 * DIM * sizeof *after);
    run(&f, 69, 2);
    look(&f, 0, 71, after);
    check_open(&f, after, 0, 64, 69, false);
    check_open(&f, after, 0, 69, 71, true);
    qn_kv_cache_counts(f.cache, 71, &c);
    assert_int_equal(c.open_bytes, 7 * LAYERS * ROW * 4);
    run(&f, 71, 50);
    look(&f, 0, 121, after);
    check_open(&f, after, 0, 0, 112, false);
    check_open(&f, after, 0, 112, 121, true);
    for (size_t h = 0; h < HEADS; h++) /* what was not touched is what it was */
        assert_memory_equal(after + h * STRIDE, before + h * STRIDE,
                            (size_t)64 * DIM * sizeof *after);
    finish(&f);
}

/* Two caches that did the same hold the same, truncations into coded pages included. */
static void repeatable(void **state)
{
    static float seen[2][BUFFER];
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct fixture f;
        setup(&f, 8, i ? 3 : 1, 1);
        run(&f, 0, 60);
        qn_kv_cache_truncate(f.cache, 60, 20);
        if (i == 0)
            run(&f, 20, 100);
        else
            for (size_t at = 20; at < 120; at++)
                run(&f, at, 1);
        look(&f, 1, 120, seen[i]);
        finish(&f);
    }
    assert_memory_equal(seen[0], seen[1], sizeof seen[0]);
}

static void failures(void **state)
{
    struct fixture f;
    struct qins_error err;
    (void)state;
    setup(&f, 8, 2, 0);
    f.v[0][STRIDE + 3 * DIM] = NAN;
    assert_int_equal(run_layer(&f, 0, 0, 20, &err), QINS_ERR_FORMAT);
    assert_non_null(strstr(err.message, "layer 0, page of tokens 0 to 15: V of head 1 of token 3"));
    f.v[0][STRIDE + 3 * DIM] = 0.0F;
    qn_kv_cache_reset(f.cache, 0);
    run(&f, 0, 40);
    f.seen.fail = true;
    assert_int_equal(run_layer(&f, 0, 40, 20, &err), QINS_ERR_IO);
    finish(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pages_and_batches),
        cmocka_unit_test(only_what_is_asked_for),
        cmocka_unit_test(counts),
        cmocka_unit_test(counts_of_growth),
        cmocka_unit_test(truncation),
        cmocka_unit_test(repeatable),
        cmocka_unit_test(failures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
