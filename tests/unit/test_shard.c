#include "core/shard.h"
#include "tests/unit/testing.h"

#include <stdlib.h>
#include <string.h>

static void parses(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        unsigned index, count; /* 0: refused */
    } cases[] = {
        {"1/1", 1, 1},   {"3/8", 3, 8},   {"99999/99999", 99999, 99999},
        {"0/8", 0, 0},   {"9/8", 0, 0},   {"1/100000", 0, 0},
        {"", 0, 0},      {"/", 0, 0},     {"1", 0, 0},
        {"1/", 0, 0},    {"/1", 0, 0},    {"1/2/3", 0, 0},
        {"-1/2", 0, 0},  {"+1/2", 0, 0},  {" 1/2", 0, 0},
        {"1/2 ", 0, 0},  {"0x1/2", 0, 0}, {"1/4294967297", 0, 0},
        {"Slurm", 0, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct qins_error err = {.status = QINS_OK};
        struct qn_shard s = {0};
        enum qins_status st = qn_shard_parse(cases[i].text, &s, &err);
        assert_int_equal(st, cases[i].count ? QINS_OK : QINS_ERR_USAGE);
        assert_int_equal(s.index, cases[i].index);
        assert_int_equal(s.count, cases[i].count);
    }
}

static void set(const char *name, const char *value)
{
    if (value)
        setenv(name, value, 1);
    else
        unsetenv(name);
}

static void reads_the_array(void **state)
{
    (void)state;
    static const struct {
        const char *id, *least, *step, *count;
        unsigned index, shards; /* 0: refused */
    } cases[] = {
        {"0", "0", "1", "8", 1, 8},       {"7", "0", NULL, "8", 8, 8}, {"1", "1", "1", "1", 1, 1},
        {"115", "100", "5", "10", 4, 10}, {NULL, "0", "1", "8", 0, 0}, {"0", NULL, "1", "8", 0, 0},
        {"0", "0", "1", NULL, 0, 0},      {"3", "0", "2", "8", 0, 0},  {"0", "1", "1", "8", 0, 0},
        {"8", "0", "1", "8", 0, 0},       {"0", "0", "0", "8", 0, 0},  {"x", "0", "1", "8", 0, 0},
        {"", "0", "1", "8", 0, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct qins_error err;
        struct qn_shard s = {0};
        set("SLURM_ARRAY_TASK_ID", cases[i].id);
        set("SLURM_ARRAY_TASK_MIN", cases[i].least);
        set("SLURM_ARRAY_TASK_STEP", cases[i].step);
        set("SLURM_ARRAY_TASK_COUNT", cases[i].count);
        enum qins_status st = qn_shard_parse("slurm", &s, &err);
        assert_int_equal(st, cases[i].shards ? QINS_OK : QINS_ERR_USAGE);
        assert_int_equal(s.index, cases[i].index);
        assert_int_equal(s.count, cases[i].shards);
    }
}

/* Pieces follow each other from 0 to the total, and no two differ by more than one. */
static void ranges(void **state)
{
    (void)state;
    static const uint64_t totals[] = {0, 1, 7, 8, 1000003, UINT64_MAX};
    static const unsigned counts[] = {1, 2, 3, 8, 1000, QN_MAX_SHARDS};
    for (size_t t = 0; t < sizeof totals / sizeof *totals; t++)
        for (size_t c = 0; c < sizeof counts / sizeof *counts; c++) {
            uint64_t reached = 0, begin, end;
            for (unsigned i = 1; i <= counts[c]; i++) {
                qn_shard_range(&(struct qn_shard){i, counts[c]}, totals[t], &begin, &end);
                assert_int_equal(begin, reached);
                assert_true(end >= begin && end - begin - totals[t] / counts[c] <= 1);
                reached = end;
            }
            assert_int_equal(reached, totals[t]);
            qn_shard_range(&(struct qn_shard){0}, totals[t], &begin, &end);
            assert_true(begin == 0 && end == totals[t]);
        }
}

static void names(void **state)
{
    (void)state;
    static const char *const others[] = {
        "",
        "-00001-of-00002",
        "a-00003-of-00002",
        "a-00000-of-00002",
        "a-00001-of-00002.part",
        "a-0001-of-00002",
        "a-00001-0f-00002",
        "a00001-of-00002",
        "a-0000x-of-00002",
        "a-00001-of-0000x",
    };
    struct qins_error err;
    struct qn_shard s = {0};
    size_t stem;
    char *path = qn_shard_path("dir/a b.qins", &(struct qn_shard){3, 8}, &err);
    assert_string_equal(path, "dir/a b.qins-00003-of-00008");
    assert_true(qn_shard_of_path(path, &s, &stem));
    assert_int_equal(s.index, 3);
    assert_int_equal(s.count, 8);
    assert_int_equal(stem, strlen("dir/a b.qins"));
    assert_true(qn_shard_of_path(path, NULL, NULL));
    free(path);
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        assert_false(qn_shard_of_path(others[i], &s, &stem));
}

/* Whatever order files come in, and each way in which they are not all parts of one work. */
static void orders(void **state)
{
    (void)state;
    static const char *const names[] = {"a", "b", "c", "d"};
    static const struct {
        size_t n;
        struct qn_shard parts[4];
        enum qins_status status;
        const char *text;
        size_t order[4];
    } cases[] = {
        {1, {{1, 1}}, QINS_OK, "", {0}},
        {3, {{3, 3}, {1, 3}, {2, 3}}, QINS_OK, "", {1, 2, 0}},
        {2, {{3, 3}, {1, 3}}, QINS_ERR_USAGE, "part 2 of 3 is missing", {0}},
        {2, {{8, 8}, {8, 8}}, QINS_ERR_USAGE, "a and b are the same part, 8 of 8", {0}},
        {2, {{8, 8}, {1, 8}}, QINS_ERR_USAGE, "part 2 of 8 is missing, and 5 more", {0}},
        {4,
         {{1, 3}, {2, 3}, {3, 3}, {2, 3}},
         QINS_ERR_USAGE,
         "b and d are the same part, 2 of 3",
         {0}},
        {2, {{1, 2}, {2, 3}}, QINS_ERR_USAGE, "a is one of 2 parts, b one of 3", {0}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct qins_error err = {.status = QINS_OK};
        size_t order[4];
        assert_int_equal(qn_shard_order(cases[i].parts, names, cases[i].n, order, &err),
                         cases[i].status);
        assert_string_equal(err.message, cases[i].text);
        for (size_t k = 0; k < cases[i].n && cases[i].status == QINS_OK; k++)
            assert_int_equal(order[k], cases[i].order[k]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parses), cmocka_unit_test(reads_the_array), cmocka_unit_test(ranges),
        cmocka_unit_test(orders), cmocka_unit_test(names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
