#include "core/file.h"
#include "tests/unit/archive_testing.h"

#include <sys/stat.h>
#include <unistd.h>

static void check_contents(const char *path, const char *expected)
{
    struct qn_buf found = {0};
    struct qins_error err;
    test_ok(qn_read_whole(path, 1 << 20, &found, &err), &err);
    assert_int_equal(found.size, strlen(expected));
    assert_memory_equal(found.data, expected, found.size);
    qn_buf_finish(&found);
}

static void put(const char *path, const char *text)
{
    struct qins_error err;
    test_ok(qn_write_whole(path, text, strlen(text), &err), &err);
}

static void not_regular(void **state)
{
    (void)state;
    struct qins_error err;
    struct stat info;
    char *path = qn_strdup(test_file("fifo"), NULL);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(qn_write_whole(path, "x", 1, &err), QINS_ERR_IO);
    assert_non_null(strstr(err.message, "is not a regular file"));
    assert_int_equal(stat(path, &info), 0);
    assert_true(S_ISFIFO(info.st_mode));
    assert_int_equal(qn_write_whole(test_folder, "x", 1, &err), QINS_ERR_IO);
    free(path);
}

/* The target is replaced, the link stays; a chain of links, and one out of the folder. */
static void links(void **state)
{
    (void)state;
    struct stat info;
    struct qins_error err;
    char *target = qn_strdup(test_file("target"), NULL), *one = qn_strdup(test_file("one"), NULL),
         *two = qn_strdup(test_file("two"), NULL), *lost = qn_strdup(test_file("lost"), NULL);
    put(target, "old");
    assert_int_equal(chmod(target, 0640), 0);
    assert_int_equal(symlink("target", one), 0);
    assert_int_equal(symlink(one, two), 0);
    put(two, "new");
    check_contents(target, "new");
    assert_int_equal(lstat(two, &info), 0);
    assert_true(S_ISLNK(info.st_mode));
    assert_int_equal(lstat(one, &info), 0);
    assert_true(S_ISLNK(info.st_mode));
    assert_int_equal(stat(two, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0640);
    assert_int_equal(symlink("nowhere", lost), 0);
    assert_int_equal(qn_write_whole(lost, "x", 1, &err), QINS_ERR_IO);
    assert_non_null(strstr(err.message, "is a link to nothing"));
    assert_false(qn_exists(test_file("nowhere")));
    free(target);
    free(one);
    free(two);
    free(lost);
}

/* More outputs than the table has room for, some of them finished. */
static void abandon_all(void **state)
{
    (void)state;
    enum { N = 70, ROOM = 64 };
    struct qn_output outputs[N];
    struct qins_error err;
    char name[32];
    size_t left = 0;
    for (int round = 0; round < 2; round++) { /* a place is given back */
        for (int i = 0; i < N; i++) {
            snprintf(name, sizeof name, "many-%d", i);
            test_ok(qn_output_create(&outputs[i], test_file(name), &err), &err);
        }
        for (int i = 0; round == 0 && i < N; i++)
            if (i % 2)
                qn_output_abandon(&outputs[i]);
            else
                test_ok(qn_output_commit(&outputs[i], &err), &err);
    }
    qn_output_abandon_all();
    for (int i = 0; i < N; i++) {
        left += qn_exists(outputs[i].temp_path);
        qn_output_abandon(&outputs[i]);
        snprintf(name, sizeof name, "many-%d", i);
        assert_int_equal(qn_exists(test_file(name)), i % 2 == 0);
    }
    assert_int_equal(left, N - ROOM);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(not_regular), cmocka_unit_test(links),
        cmocka_unit_test(abandon_all), /* last: it uses the table up */
    };
    return cmocka_run_group_tests(tests, test_folder_setup, test_folder_teardown);
}
