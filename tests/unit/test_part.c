/* Parts of a model: made, continued, read again, put together; and everything that may be wrong. */
#include "formats/archive/part.h"
#include "formats/archive/spool.h"
#include "tests/unit/archive_testing.h"
#include "tests/unit/sink_record.h"

/* "big" has three chunks, and is cut behind each. */
static const struct test_tensor tensors[] = {
    {"one", QINS_U8, 2, {5, 7}, {0}},
    {"scalar", QINS_BF16, 0, {0}, {0}},
    {"big", QINS_U8, 2, {3, 600000}, {0}},
    {"empty", QINS_F32, 2, {0, 7}, {0}},
};
enum { N_TENSORS = sizeof tensors / sizeof *tensors, N_PARTS = 5, BIG = 2 };

static const struct qn_digest job = {{1, 2, 3}};

/* The last is empty; 2 is the middle of "big" alone. */
static const struct qn_part_range ranges[N_PARTS] = {
    {{0, 0}, {2, 1}, 0, 2, 637}, {{2, 1}, {2, 2}, 2, 3, 600000}, {{2, 2}, {3, 0}, 3, 4, 600000},
    {{3, 0}, {4, 0}, 4, 4, 0},   {{4, 0}, {4, 0}, 4, 4, 0},
};

static struct qn_part_info describe(unsigned i)
{
    static char source[] = "model", format[] = "safetensors", output[] = "out.qins";
    return (struct qn_part_info){.shard = {i + 1, N_PARTS},
                                 .job = job,
                                 .source_digest = {{9}},
                                 .range = ranges[i],
                                 .attachments = i == 0 ? 2 : 0,
                                 .source = source,
                                 .source_format = format,
                                 .output = output,
                                 .version = source};
}

static struct qn_attachment_list attachments(void)
{
    struct qn_attachment_list list = {0};
    struct qins_error err;
    test_ok(qn_attachment_add(&list, "config.json", "{}", 2, &err), &err);
    test_ok(qn_attachment_add(&list, "empty", "", 0, &err), &err);
    return list;
}

/* Work that STATE is the beginning of, up to and including LIMIT more chunks or ends. */
static void work_on(struct qn_spool *s, unsigned i, const struct qn_spool_state *state,
                    unsigned limit)
{
    const struct qn_part_range *r = &ranges[i];
    struct qn_sink *sink = qn_spool_sink(s);
    for (uint64_t t = r->begin.tensor + state->tensors_done; t < N_TENSORS; t++) {
        struct qn_archive_tensor a = test_describe_tensor(&tensors[t]);
        const uint64_t end = t == r->end.tensor ? r->end.chunk : a.layout.n_chunks;
        const bool open = state->tensor_open && t == r->begin.tensor + state->tensors_done;
        uint64_t chunk = t == r->begin.tensor ? r->begin.chunk : 0;
        struct qins_error err;
        if (t > r->end.tensor || (t == r->end.tensor && chunk >= r->end.chunk))
            return;
        uint8_t *data = test_tensor_bytes(&a.tensor);
        if (a.tensor.rank == 0)
            memcpy(a.inline_data, data, (size_t)a.tensor.n_bytes);
        if (open)
            chunk = state->chunks_done;
        else
            test_ok(sink->begin(sink, &a, &err), &err);
        for (; chunk < end && limit; chunk++, limit--)
            test_send_chunk(sink, &a, data, chunk);
        free(data);
        if (!limit--)
            return;
        test_ok(sink->end(sink, &err), &err);
    }
}

static struct qn_spool *open_part(const char *work, unsigned i, struct qn_spool_state *state)
{
    const struct qn_part_info info = describe(i);
    struct qn_spool *s;
    struct qins_error err;
    test_ok(qn_spool_open_part(&s, work, &info, NULL, state, &err), &err);
    return s;
}

static char *part_path(unsigned i)
{
    char name[32];
    snprintf(name, sizeof name, "part-%u", i);
    return strdup(test_file(name));
}

/* Makes part I by runs that do not get further than LIMIT steps each. */
static void make_part(unsigned i, unsigned limit)
{
    struct qn_attachment_list list = attachments();
    char *path = part_path(i), work[128];
    struct qins_error err;
    snprintf(work, sizeof work, "%s.part", path);
    for (bool done = false; !done;) {
        struct qn_spool_state state;
        struct qn_part_info info;
        struct qn_spool *s = open_part(work, i, &state);
        test_ok(qn_spool_attach(s, &list, &err), &err);
        work_on(s, i, &state, limit);
        test_ok(qn_part_read_info(work, true, &info, &err), &err);
        assert_false(info.complete);
        done = qn_spool_complete(s, path, &err) == QINS_OK;
        assert_int_equal(done, info.chunks_done == qn_part_chunks(&info) && !qn_exists(work));
        qn_part_info_finish(&info);
        qn_spool_destroy(s, false);
    }
    qn_attachment_list_finish(&list);
    free(path);
}

static enum qins_status replay_all(struct record *got, struct qn_attachment_list *list,
                                   struct qins_error *err)
{
    struct qn_part_join join = {0};
    enum qins_status st = QINS_OK;
    for (unsigned i = 0; i < N_PARTS && st == QINS_OK; i++) {
        char *path = part_path(i);
        struct qn_part_info info;
        st = qn_part_read_info(path, false, &info, err);
        if (st == QINS_OK) {
            st = qn_part_replay(path, &info, &join, &got->sink, list, err);
            qn_part_info_finish(&info);
        }
        free(path);
    }
    qn_part_join_finish(&join);
    return st;
}

static void whole(void **state)
{
    (void)state;
    struct record want = record_new();
    struct qins_error err;
    for (size_t i = 0; i < N_TENSORS; i++)
        test_send(&want.sink, &tensors[i]);
    for (unsigned limit = 1; limit < 4; limit++) {
        struct record got = record_new();
        struct qn_attachment_list list = {0};
        for (unsigned i = 0; i < N_PARTS; i++)
            make_part(i, limit);
        test_ok(replay_all(&got, &list, &err), &err);
        assert_int_equal(got.heard.size, want.heard.size);
        assert_memory_equal(got.heard.data, want.heard.data, want.heard.size);
        assert_int_equal(list.count, 2);
        assert_string_equal(list.items[0].name, "config.json");
        assert_int_equal(list.items[0].size, 2);
        qn_attachment_list_finish(&list);
        qn_buf_finish(&got.heard);
    }
    qn_buf_finish(&want.heard);
}

static void info(void **state)
{
    (void)state;
    struct qn_part_info got;
    struct qins_error err;
    char *path = part_path(0);
    make_part(0, 9);
    for (int scan = 0; scan < 2; scan++) {
        const struct qn_part_info want = describe(0);
        test_ok(qn_part_read_info(path, scan, &got, &err), &err);
        assert_true(qn_part_same(&got, &want));
        assert_true(got.complete);
        assert_int_equal(got.chunks_done, 2);
        assert_int_equal(got.tensors_done, 3);
        assert_string_equal(got.source, "model");
        assert_string_equal(got.output, "out.qins");
        qn_part_info_finish(&got);
    }
    free(path);
}

/* The work of another part or job is left alone. */
static void another_part(void **state)
{
    (void)state;
    struct qn_spool_state at;
    struct qn_spool *s = NULL;
    struct qins_error err;
    const char *path = test_file("another");
    qn_spool_destroy(open_part(path, 1, &at), false);
    struct qn_part_info other = describe(2), job_too = describe(1);
    job_too.job.bytes[0]++;
    assert_int_equal(qn_spool_open_part(&s, path, &other, NULL, &at, &err), QINS_ERR_USAGE);
    assert_int_equal(qn_spool_open_part(&s, path, &job_too, NULL, &at, &err), QINS_ERR_USAGE);
    assert_int_equal(qn_spool_open(&s, path, &job, true, NULL, &at, &err), QINS_ERR_USAGE);
    assert_null(s);
}

static void leave(const char *path, const struct qn_buf *data, size_t size)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(data->data, 1, size, f), size);
    assert_int_equal(fclose(f), 0);
}

/* Any byte changed or any end missing is found, and an unfinished part goes on from there. Dense in
 * the records, sparse in payloads. */
static void damage(void **state)
{
    (void)state;
    struct qins_error err;
    struct qn_buf good = {0};
    for (unsigned i = 0; i < N_PARTS; i++)
        make_part(i, 9);
    char *path = part_path(0), *work = strdup(test_file("damage.part"));
    test_ok(qn_read_whole(path, 1 << 24, &good, &err), &err);
    for (size_t at = 0; at < good.size;
         at += (at < 3000 || good.size - at < 200) ? (test_briefly() ? 31 : 5) : 40009) {
        for (int cut = 0; cut < 2; cut++) {
            struct record got = record_new();
            struct qn_spool_state have;
            good.data[at] ^= cut ? 0 : 0x10;
            leave(path, &good, cut ? at : good.size);
            assert_int_equal(replay_all(&got, NULL, &err), QINS_ERR_FORMAT);
            qn_buf_finish(&got.heard);
            if (at >= 16 + 16 && (cut || at >= 8)) {
                leave(work, &good, cut ? at : good.size);
                struct qn_spool *s = open_part(work, 0, &have);
                assert_true(have.tensors_done <= 3);
                qn_spool_destroy(s, true);
            }
            good.data[at] ^= cut ? 0 : 0x10;
        }
    }
    leave(path, &good, good.size);
    struct record got = record_new();
    test_ok(replay_all(&got, NULL, &err), &err);
    qn_buf_finish(&got.heard);
    qn_buf_finish(&good);
    free(path);
    free(work);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole),
        cmocka_unit_test(info),
        cmocka_unit_test(another_part),
        cmocka_unit_test(damage),
    };
    return cmocka_run_group_tests(tests, test_folder_setup, test_folder_teardown);
}
