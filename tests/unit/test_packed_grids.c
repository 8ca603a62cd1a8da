/* Tables of grids: each once for all matrices that share them, and never more than a bound. */
#include "tests/unit/chunk_testing.h"
#include "tests/unit/testing.h"

#include "core/thread.h"
#include "model/packed.h"

enum { IN = 8, PARTS = 2000, THREADS = 4 };

/* One row of a grid of its own. */
static enum qins_status row_of(float kappa, struct qn_buf *payload, struct qins_error *err)
{
    const float x[IN] = {1.0F, -0.5F, 0.25F, 0.0F, 0.125F, -1.0F, 0.75F, 0.5F};
    struct qn_chunk_params p = test_quantised(QINS_F32, QN_CODEC_BITPACK, 127, IN, IN);
    struct qn_chunk_work work = {0};
    p.kappa = kappa;
    enum qins_status st = qn_chunk_encode(&p, x, IN, &work, payload, err);
    qn_chunk_work_finish(&work);
    return st;
}

struct adding {
    struct qn_packed *p;
    struct qn_chunk_work *works;
    size_t kinds;
    uint8_t *rooms;
    size_t room;
};

/* Row ITEM, whose grid is one of as many kinds. */
static enum qins_status add(void *ctx, unsigned slot, uint64_t item, struct qins_error *err)
{
    struct adding *a = ctx;
    struct qn_buf payload = {0};
    enum qins_status st = row_of(0.5F + 0.001F * (float)(item % a->kinds), &payload, err);
    if (st == QINS_OK)
        st = qn_packed_add(a->p, item, item, payload.data, payload.size, a->rooms + item * a->room,
                           &a->works[slot], err);
    qn_buf_finish(&payload);
    return st;
}

/* A matrix of PARTS rows of KINDS grids, made by several threads. */
static enum qins_status fill(struct qn_packed *p, size_t kinds, void **rooms,
                             struct qins_error *err)
{
    struct qn_chunk_work works[THREADS];
    struct qn_chunk_header h;
    struct qn_buf payload = {0};
    memset(works, 0, sizeof works);
    assert_int_equal(row_of(1.0F, &payload, err), QINS_OK);
    assert_int_equal(qn_chunk_parse(payload.data, payload.size, &h, err), QINS_OK);
    qn_buf_finish(&payload);
    struct adding a = {p, works, kinds, NULL, qn_packed_room(&h, false)};
    *rooms = a.rooms = aligned_alloc(QN_PACKED_ALIGNMENT, PARTS * a.room);
    assert_non_null(a.rooms);
    const struct qn_ordered job = {
        .work = add, .ctx = &a, .threads = THREADS, .slots = THREADS, .end = PARTS};
    enum qins_status st = qn_run_ordered(&job, err);
    for (size_t i = 0; i < THREADS; i++)
        qn_chunk_work_finish(&works[i]);
    return st;
}

static void test_shared(void **state)
{
    struct qn_packed p[3];
    struct qins_error err;
    void *rooms[3];
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(qn_packed_init(&p[i], PARTS, IN, false, PARTS, &err), QINS_OK);
        if (i > 0)
            qn_packed_share_grids(&p[i], &p[0]);
    }
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(fill(&p[i], 5 + i, &rooms[i], &err), QINS_OK);
        assert_int_equal(qn_packed_seal(&p[i], &err), QINS_OK);
    }
    assert_int_equal(p[0].grids->n, 7);
    assert_int_equal(qn_packed_grid_bytes(&p[1]), 7 * sizeof(struct qn_packed_grid));
    assert_ptr_equal(p[0].runs[4].grid, p[2].runs[4].grid);
    assert_ptr_not_equal(p[0].runs[4].grid, p[0].runs[3].grid);
    for (size_t i = 0; i < 3; i++) {
        qn_packed_finish(&p[i]);
        free(rooms[i]);
    }
}

/* A hostile archive, each of whose rows has a grid of its own. */
static void test_too_many(void **state)
{
    struct qn_packed p[2];
    struct qins_error err;
    void *rooms[2];
    (void)state;
    for (size_t i = 0; i < 2; i++)
        assert_int_equal(qn_packed_init(&p[i], PARTS, IN, false, PARTS, &err), QINS_OK);
    qn_packed_share_grids(&p[1], &p[0]);
    for (size_t i = 0; i < 2; i++)
        assert_int_equal(fill(&p[i], PARTS, &rooms[i], &err), QINS_ERR_UNSUPPORTED);
    assert_int_equal(p[0].grids->n, QN_PACKED_MAX_GRIDS);
    for (size_t i = 0; i < 2; i++) {
        qn_packed_finish(&p[i]);
        free(rooms[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_shared),
                                       cmocka_unit_test(test_too_many)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
