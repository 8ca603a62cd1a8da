#include "formats/archive/spool.h"
#include "tests/unit/archive_testing.h"
#include "tests/unit/sink_record.h"

static const struct test_tensor tensors[] = {
    {"one", QINS_F32, 2, {5, 7}, {0}},
    {"scalar", QINS_BF16, 0, {0}, {0}},
    {"empty", QINS_F32, 2, {0, 7}, {0}},
    {"two", QINS_U8, 1, {10}, {0}},
};
enum { N_TENSORS = sizeof tensors / sizeof *tensors };

static const struct qn_digest job = {{1, 2, 3}}, other_job = {{1, 2, 4}};

static struct qn_spool *open_spool(const char *path, bool resume, struct qn_spool_state *state)
{
    struct qn_spool *s;
    struct qins_error err;
    test_ok(qn_spool_open(&s, path, &job, resume, NULL, state, &err), &err);
    return s;
}

/* What a run that was never interrupted tells its sink. */
static struct record expected(void)
{
    struct record r = record_new();
    for (size_t i = 0; i < N_TENSORS; i++)
        test_send(&r.sink, &tensors[i]);
    return r;
}

static void check_replay(struct qn_spool *s)
{
    struct record want = expected(), got = record_new();
    struct qins_error err;
    test_ok(qn_spool_replay(s, &got.sink, &err), &err);
    assert_int_equal(got.heard.size, want.heard.size);
    assert_memory_equal(got.heard.data, want.heard.data, want.heard.size);
    qn_buf_finish(&got.heard);
    qn_buf_finish(&want.heard);
}

/* Continues from STATE like a converter does, to the end. */
static void finish(struct qn_spool *s, const struct qn_spool_state *state)
{
    struct qn_sink *sink = qn_spool_sink(s);
    for (size_t i = state->tensors_done; i < N_TENSORS; i++) {
        struct qins_error err;
        bool open = i == state->tensors_done && state->tensor_open;
        if (open)
            assert_string_equal(state->open_tensor.tensor.name, tensors[i].name);
        if (open && state->chunks_done == 0 && state->open_tensor.layout.n_chunks) {
            struct qn_archive_tensor a = test_describe_tensor(&tensors[i]);
            uint8_t *data = test_tensor_bytes(&a.tensor);
            test_send_chunk(sink, &a, data, 0);
            free(data);
            test_ok(sink->end(sink, &err), &err);
        } else if (open) {
            test_ok(sink->end(sink, &err), &err);
        } else {
            test_send(sink, &tensors[i]);
        }
    }
}

/* The spool as a crash might leave it; no fsync, as there are thousands. */
static void leave(const char *path, const void *data, size_t size)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, size, f), size);
    assert_int_equal(fclose(f), 0);
}

static void write_whole_spool(const char *path)
{
    struct qn_spool_state state;
    struct qn_spool *s = open_spool(path, false, &state);
    finish(s, &state);
    check_replay(s);
    qn_spool_destroy(s, false);
}

static void plain(void **state)
{
    (void)state;
    struct qn_spool_state at;
    const char *path = test_file("plain");
    write_whole_spool(path);
    struct qn_spool *s = open_spool(path, true, &at);
    assert_int_equal(at.tensors_done, N_TENSORS);
    assert_false(at.tensor_open);
    check_replay(s);
    qn_spool_destroy(s, false);
    s = open_spool(path, false, &at); /* starts over */
    assert_int_equal(at.tensors_done, 0);
    qn_spool_destroy(s, true);
    assert_false(qn_exists(path));
}

static void refusals(void **state)
{
    (void)state;
    struct qn_spool_state at;
    struct qn_spool *second;
    struct qins_error err;
    const char *path = test_file("refusals");
    struct qn_spool *s = open_spool(path, true, &at);
    assert_int_equal(qn_spool_open(&second, path, &job, true, NULL, &at, &err), QINS_ERR_IO);
    assert_null(second);
    qn_spool_destroy(s, false);
    assert_int_equal(qn_spool_open(&second, path, &other_job, true, NULL, &at, &err),
                     QINS_ERR_USAGE);
    assert_int_equal(qn_spool_open(&second, test_folder, &job, true, NULL, &at, &err), QINS_ERR_IO);
    s = open_spool(path, true, &at);
    struct qn_sink *sink = qn_spool_sink(s);
    assert_int_not_equal(sink->end(sink, &err), QINS_OK);
    assert_int_not_equal(sink->chunk(sink, "", 0, &job, &err), QINS_OK);
    test_send_part(sink, &tensors[0], 0, 0);
    assert_int_not_equal(sink->end(sink, &err), QINS_OK);
    struct record got = record_new();
    assert_int_not_equal(qn_spool_replay(s, &got.sink, &err), QINS_OK); /* not finished */
    qn_buf_finish(&got.heard);
    qn_spool_destroy(s, true);
}

/* What is no spool is left as it is, whether the work is to be resumed or not. */
static void foreign_file(void **state)
{
    (void)state;
    static const char *const contents[] = {"R", "QINSPRTX", "somebody's letters",
                                           "a file that is longer than the head of a spool is"};
    const char *path = test_file("foreign");
    for (size_t i = 0; i < 2 * sizeof contents / sizeof *contents; i++) {
        const char *text = contents[i / 2];
        struct qn_spool_state at;
        struct qn_spool *s;
        struct qins_error err;
        struct qn_buf after = {0};
        leave(path, text, strlen(text));
        assert_int_equal(qn_spool_open(&s, path, &job, i % 2, NULL, &at, &err), QINS_ERR_USAGE);
        assert_null(s);
        test_ok(qn_read_whole(path, 1 << 20, &after, &err), &err);
        assert_int_equal(after.size, strlen(text));
        assert_memory_equal(after.data, text, after.size);
        qn_buf_finish(&after);
    }
}

/* What a power loss may leave of a spool's first bytes. */
static void head_that_never_came(void **state)
{
    (void)state;
    static const char zeros[5000] = {0};
    static const struct {
        const char *data;
        size_t size;
    } cases[] = {{"QIN", 3}, {zeros, 7}, {zeros, 40}, {zeros, sizeof zeros}};
    const char *path = test_file("lost");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct qn_spool_state at;
        struct qn_spool *s;
        struct qins_error err;
        leave(path, cases[i].data, cases[i].size);
        test_ok(qn_spool_open(&s, path, &job, true, NULL, &at, &err), &err);
        assert_int_equal(at.tensors_done, 0);
        qn_spool_destroy(s, true);
    }
}

enum { MAGIC_SIZE = 8 };

/* A spool cut anywhere behind its magic continues to the same contents. */
static void cut_anywhere(void **state)
{
    (void)state;
    struct qn_buf whole = {0};
    struct qins_error err;
    const char *path = test_file("cut");
    write_whole_spool(path);
    test_ok(qn_read_whole(path, 1 << 20, &whole, &err), &err);
    for (size_t size = 0; size <= whole.size; size += test_briefly() ? 3 : 1) {
        struct qn_spool_state at;
        if (size > 0 && size < MAGIC_SIZE)
            continue;
        leave(path, whole.data, size);
        struct qn_spool *s = open_spool(path, true, &at);
        finish(s, &at);
        check_replay(s);
        qn_spool_destroy(s, false);
    }
    qn_buf_finish(&whole);
}

/* So does one with any byte behind the magic changed, unless that makes it another job's. */
static void flip_anywhere(void **state)
{
    (void)state;
    struct qn_buf whole = {0};
    struct qins_error err;
    const char *path = test_file("flip");
    write_whole_spool(path);
    test_ok(qn_read_whole(path, 1 << 20, &whole, &err), &err);
    for (size_t i = MAGIC_SIZE; i < whole.size; i += test_briefly() ? 3 : 1) {
        struct qn_spool_state at;
        whole.data[i] ^= 0x40;
        leave(path, whole.data, whole.size);
        struct qn_spool *s = open_spool(path, true, &at);
        assert_true(at.tensors_done < N_TENSORS);
        finish(s, &at);
        check_replay(s);
        qn_spool_destroy(s, false);
        whole.data[i] ^= 0x40;
    }
    qn_buf_finish(&whole);
}

/* Damage between opening and replay is found by the replay. */
static void damage_before_replay(void **state)
{
    (void)state;
    struct qn_spool_state at;
    struct qins_error err;
    struct record got = record_new();
    const char *path = test_file("late");
    write_whole_spool(path);
    struct qn_spool *s = open_spool(path, true, &at);
    FILE *f = fopen(path, "r+b");
    assert_non_null(f);
    assert_int_equal(fseek(f, -60, SEEK_END), 0);
    assert_int_equal(fputc('!', f), '!');
    assert_int_equal(fclose(f), 0);
    assert_int_equal(qn_spool_replay(s, &got.sink, &err), QINS_ERR_FORMAT);
    qn_buf_finish(&got.heard);
    qn_spool_destroy(s, true);
}

struct watch {
    atomic_bool stop;
    uint64_t calls, done, total;
};

static void watch_progress(void *ctx, const char *what, const char *unit, uint64_t done,
                           uint64_t total)
{
    struct watch *w = ctx;
    assert_non_null(what);
    assert_null(unit);
    assert_true(done > w->done && done <= total);
    w->calls++;
    w->done = done;
    w->total = total;
    atomic_store(&w->stop, w->calls == 2);
}

/* Going over a spool tells how far it is and stops when asked to; nothing of it is lost. */
static void interrupted(void **state)
{
    (void)state;
    struct qn_spool_state at;
    struct qins_error err;
    struct qn_spool *s = NULL;
    struct record got = record_new();
    struct watch w = {.calls = 0};
    const struct qn_monitor monitor = {.progress = watch_progress, .ctx = &w, .stop = &w.stop};
    const char *path = test_file("interrupted");
    write_whole_spool(path);
    struct qn_buf before = {0}, after = {0};
    test_ok(qn_read_whole(path, 1 << 20, &before, &err), &err);
    assert_int_equal(qn_spool_open(&s, path, &job, true, &monitor, &at, &err),
                     QINS_ERR_INTERRUPTED);
    assert_null(s);
    assert_int_equal(w.calls, 2);
    assert_int_equal(w.total, before.size);
    w.done = 0; /* goes on counting calls: is not stopped again */
    atomic_store(&w.stop, false);
    test_ok(qn_spool_open(&s, path, &job, true, &monitor, &at, &err), &err);
    assert_int_equal(w.done, w.total);
    w = (struct watch){.calls = 0};
    assert_int_equal(qn_spool_replay(s, &got.sink, &err), QINS_ERR_INTERRUPTED);
    qn_spool_destroy(s, false);
    test_ok(qn_read_whole(path, 1 << 20, &after, &err), &err);
    assert_int_equal(after.size, before.size);
    assert_memory_equal(after.data, before.data, before.size);
    qn_buf_finish(&got.heard);
    qn_buf_finish(&before);
    qn_buf_finish(&after);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(interrupted),
        cmocka_unit_test(plain),
        cmocka_unit_test(refusals),
        cmocka_unit_test(foreign_file),
        cmocka_unit_test(head_that_never_came),
        cmocka_unit_test(cut_anywhere),
        cmocka_unit_test(flip_anywhere),
        cmocka_unit_test(damage_before_replay),
    };
    return cmocka_run_group_tests(tests, test_folder_setup, test_folder_teardown);
}
