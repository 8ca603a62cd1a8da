/* Journals of validations: what is kept, cut off, begun anew and left alone. */
#include "tests/unit/testing.h"

#include "analyze/journal.h"
#include "core/file.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* docs/validation.md: bytes of the head and of a frame's. */
enum { HEAD = 40, FRAME = 64 };

static const struct qn_digest job = {{1, 2, 3}}, other_job = {{1, 2, 4}};
static char path[64];
static unsigned notices;

static void count_notice(void *ctx, const char *line)
{
    (void)ctx;
    (void)line;
    notices++;
}
static const struct qn_monitor monitor = {.notice = count_notice};

static int setup(void **state)
{
    (void)state;
    snprintf(path, sizeof path, "/tmp/qins-test-journal-XXXXXX");
    const int fd = mkstemp(path);
    notices = 0;
    return fd < 0 ? -1 : close(fd);
}

static int teardown(void **state)
{
    (void)state;
    unlink(path);
    return 0;
}

static struct qn_journal *open_again(bool resume, const struct qn_digest *of)
{
    struct qn_journal *j;
    check_ok(qn_journal_open(&j, path, resume, of, &monitor, &e_));
    return j;
}

static void add(struct qn_journal *j, const char *test, const char *text)
{
    check_ok(qn_journal_add(j, test, text, strlen(text), &e_));
}

static void check_item(const struct qn_journal *j, const char *test, uint64_t item,
                       const char *text)
{
    size_t size;
    const void *data = qn_journal_get(j, test, item, &size);
    assert_int_equal(size, strlen(text));
    assert_memory_equal(data, text, size);
    assert_int_equal((uintptr_t)data % 8, 0);
}

/* Two tests whose items take turns. */
static void fill(struct qn_journal *j)
{
    add(j, "a", "one");
    add(j, "b", "");
    add(j, "a", "two, longer");
    add(j, "b", "three");
}

static void check_filled(const struct qn_journal *j)
{
    assert_int_equal(qn_journal_count(j, "a"), 2);
    assert_int_equal(qn_journal_count(j, "b"), 2);
    assert_int_equal(qn_journal_count(j, "c"), 0);
    assert_int_equal(qn_journal_total(j), 4);
    check_item(j, "a", 0, "one");
    check_item(j, "a", 1, "two, longer");
    check_item(j, "b", 0, "");
    check_item(j, "b", 1, "three");
}

static void in_memory(void **state)
{
    struct qn_journal *j;
    (void)state;
    check_ok(qn_journal_open(&j, NULL, true, &job, NULL, &e_));
    assert_int_equal(qn_journal_total(j), 0);
    fill(j);
    check_filled(j);
    qn_journal_close(j);
    qn_journal_close(NULL);
}

static void resumed(void **state)
{
    struct qn_journal *j = open_again(true, &job);
    (void)state;
    fill(j);
    check_filled(j);
    qn_journal_close(j);
    j = open_again(true, &job);
    check_filled(j);
    add(j, "a", "four");
    qn_journal_close(j);
    j = open_again(true, &job);
    assert_int_equal(qn_journal_total(j), 5);
    check_item(j, "a", 2, "four");
    qn_journal_close(j);
    assert_int_equal(notices, 0);
    j = open_again(false, &job);
    assert_int_equal(qn_journal_total(j), 0);
    assert_true(qn_exists(path));
    qn_journal_close(j);
    assert_false(qn_exists(path)); /* nothing to go on from */
}

static void another_job(void **state)
{
    struct qn_journal *j = open_again(true, &job);
    (void)state;
    fill(j);
    qn_journal_close(j);
    j = open_again(true, &other_job);
    assert_int_equal(notices, 1);
    assert_int_equal(qn_journal_total(j), 0);
    add(j, "a", "one");
    qn_journal_close(j);
    j = open_again(true, &other_job);
    assert_int_equal(qn_journal_total(j), 1);
    qn_journal_close(j);
}

static void one_process(void **state)
{
    struct qn_journal *j = open_again(true, &job), *second;
    struct qins_error err;
    (void)state;
    assert_int_equal(qn_journal_open(&second, path, true, &job, NULL, &err), QINS_ERR_IO);
    assert_null(second);
    qn_journal_close(j);
}

static void not_ours(void **state)
{
    static const char notes[] = "notes that are longer than the head of a journal is, to be sure";
    static const size_t sizes[] = {sizeof notes, 40 /* as long as a journal's head */, 1};
    struct qn_journal *j;
    struct qins_error err;
    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct qn_buf after = {0};
        check_ok(qn_write_whole(path, notes, sizes[i], &e_));
        for (int resume = 0; resume < 2; resume++)
            assert_int_equal(qn_journal_open(&j, path, resume, &job, NULL, &err), QINS_ERR_USAGE);
        check_ok(qn_read_whole(path, 1000, &after, &e_));
        assert_int_equal(after.size, sizes[i]);
        assert_memory_equal(after.data, notes, sizes[i]);
        qn_buf_finish(&after);
    }
}

/* Items of a file that was cut off, or of which a byte changed, at AT: those before it. */
static uint64_t items_before(size_t at, const size_t *ends, size_t n)
{
    uint64_t items = 0;
    while (items < n && ends[items] <= at)
        items++;
    return items;
}

static void torn_and_damaged(void **state)
{
    const size_t ends[] = {HEAD + FRAME + 3, HEAD + 2 * FRAME + 3, HEAD + 3 * FRAME + 14,
                           HEAD + 4 * FRAME + 19};
    struct qn_journal *j = open_again(true, &job);
    struct qn_buf whole = {0};
    (void)state;
    fill(j);
    qn_journal_close(j);
    check_ok(qn_read_whole(path, 1000, &whole, &e_));
    assert_int_equal(whole.size, ends[3]);
    for (size_t at = 0; at < whole.size; at++) {
        const uint64_t items = at < HEAD ? 0 : items_before(at, ends, 4);
        check_ok(qn_write_whole(path, whole.data, at, &e_));
        j = open_again(true, &job);
        assert_int_equal(qn_journal_total(j), items);
        add(j, "c", "again");
        qn_journal_close(j);
        j = open_again(true, &job);
        assert_int_equal(qn_journal_total(j), items + 1);
        qn_journal_close(j);
        if (at < 8) /* a file that begins otherwise is none of ours */
            continue;
        whole.data[at] ^= 1;
        check_ok(qn_write_whole(path, whole.data, whole.size, &e_));
        j = open_again(true, &job);
        assert_int_equal(qn_journal_total(j), items);
        qn_journal_close(j);
        whole.data[at] ^= 1;
    }
    qn_buf_finish(&whole);
}

/* As a power loss may leave it. */
static void zeros(void **state)
{
    static const uint8_t nothing[100];
    struct qn_journal *j;
    (void)state;
    check_ok(qn_write_whole(path, nothing, sizeof nothing, &e_));
    j = open_again(true, &job);
    assert_int_equal(qn_journal_total(j), 0);
    fill(j);
    check_filled(j);
    qn_journal_close(j);
}

static void many_tests(void **state)
{
    char name[16];
    struct qn_journal *j;
    struct qins_error err;
    (void)state;
    check_ok(qn_journal_open(&j, NULL, false, &job, NULL, &e_));
    for (int i = 0; i < QN_JOURNAL_TESTS; i++) {
        snprintf(name, sizeof name, "test %d", i);
        add(j, name, name);
    }
    assert_int_equal(qn_journal_add(j, "one more", "", 0, &err), QINS_ERR_FORMAT);
    assert_int_equal(qn_journal_total(j), QN_JOURNAL_TESTS);
    qn_journal_close(j);
}

/* Goes on with its own work alone, and becomes a file of another name that is read but not changed.
 */
static void part(void **state)
{
    char final[sizeof path + 8];
    struct qn_journal *j;
    struct qn_digest found;
    uint64_t items;
    struct qins_error err;
    (void)state;
    snprintf(final, sizeof final, "%s-done", path);
    check_ok(qn_journal_continue(&j, path, &job, &e_));
    fill(j);
    qn_journal_close(j);
    assert_int_equal(qn_journal_continue(&j, path, &other_job, &err), QINS_ERR_USAGE);
    check_ok(qn_journal_continue(&j, path, &job, &e_));
    check_filled(j);
    check_ok(qn_journal_publish(j, final, &e_));
    assert_false(qn_exists(path));
    add(j, "c", "in memory alone");
    qn_journal_close(j);
    check_ok(qn_journal_read(&j, final, &found, &e_));
    check_filled(j);
    assert_memory_equal(found.bytes, job.bytes, sizeof job.bytes);
    assert_int_equal(qn_journal_tests(j), 2);
    assert_string_equal(qn_journal_test(j, 1), "b");
    qn_journal_close(j);
    check_ok(qn_journal_look(final, "b", &items, &e_));
    assert_int_equal(items, 2);
    check_ok(qn_journal_look(final, "c", &items, &e_));
    assert_int_equal(items, 0);
    /* A torn one is refused, and stays as it is. */
    assert_int_equal(truncate(final, HEAD + 2 * FRAME), 0);
    assert_int_equal(qn_journal_look(final, "b", &items, &err), QINS_ERR_FORMAT);
    assert_int_equal(err.offset, HEAD + FRAME + (int)strlen("one"));
    assert_int_equal(qn_journal_read(&j, final, &found, &err), QINS_ERR_FORMAT);
    assert_int_equal(err.offset, HEAD + FRAME + (int)strlen("one"));
    check_ok(qn_journal_open(&j, final, true, &job, &monitor, &e_));
    assert_int_equal(qn_journal_total(j), 1);
    qn_journal_close(j);
    unlink(final);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(in_memory),
        cmocka_unit_test(many_tests),
        cmocka_unit_test_setup_teardown(resumed, setup, teardown),
        cmocka_unit_test_setup_teardown(another_job, setup, teardown),
        cmocka_unit_test_setup_teardown(one_process, setup, teardown),
        cmocka_unit_test_setup_teardown(not_ours, setup, teardown),
        cmocka_unit_test_setup_teardown(torn_and_damaged, setup, teardown),
        cmocka_unit_test_setup_teardown(zeros, setup, teardown),
        cmocka_unit_test_setup_teardown(part, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
