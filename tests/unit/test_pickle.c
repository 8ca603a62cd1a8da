#include "formats/pickle.h"
#include "formats/torch_walk.h"
#include "tests/unit/testing.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A pickle under test; NULs inside make the length necessary. */
#define PICKLE(text) (const uint8_t *)("\x80\x02" text), sizeof("\x80\x02" text) - 1

static struct qins_error err;

static struct qn_pickle parse(const uint8_t *data, size_t size)
{
    struct qn_pickle p;
    if (qn_pickle_parse(&p, data, size, &qn_torch_globals, 4096 + 64 * size, &err) != QINS_OK)
        fail_msg("%s", err.message);
    return p;
}

static void refused(const uint8_t *data, size_t size, enum qins_status status, int64_t offset,
                    const char *message)
{
    struct qn_pickle p;
    enum qins_status st =
        qn_pickle_parse(&p, data, size, &qn_torch_globals, 4096 + 64 * size, &err);
    if (st != status || err.offset != offset || !strstr(err.message, message))
        fail_msg("%d at %lld '%s' instead of %d at %lld '%s'", (int)st, (long long)err.offset,
                 err.message, (int)status, (long long)offset, message);
    assert_null(p.nodes);
    assert_null(p.cells);
}

static int64_t integer(const uint8_t *data, size_t size)
{
    struct qn_pickle p = parse(data, size);
    assert_int_equal(p.nodes[p.root].type, QN_PICKLE_INT);
    int64_t value = p.nodes[p.root].as.integer;
    qn_pickle_finish(&p);
    return value;
}

static void numbers(void **state)
{
    (void)state;
    assert_int_equal(integer(PICKLE("K\xff.")), 255);
    assert_int_equal(integer(PICKLE("M\xff\xff.")), 65535);
    assert_int_equal(integer(PICKLE("J\xff\xff\xff\xff.")), -1);
    assert_int_equal(integer(PICKLE("\x8a\0.")), 0);
    assert_int_equal(integer(PICKLE("\x8a\1\x80.")), -128);
    assert_int_equal(integer(PICKLE("\x8a\2\xff\0.")), 255);
    assert_int_equal(integer(PICKLE("\x8b\x08\0\0\0\0\0\0\0\0\0\0\x80.")), INT64_MIN);

    struct qn_pickle p = parse(PICKLE("\x8a\x09"
                                      "123456789."));
    assert_int_equal(p.nodes[p.root].type, QN_PICKLE_OPAQUE);
    qn_pickle_finish(&p);

    p = parse(PICKLE("G\xc0\x04\0\0\0\0\0\0."));
    assert_int_equal(p.nodes[p.root].type, QN_PICKLE_FLOAT);
    assert_true(p.nodes[p.root].as.real == -2.5);
    qn_pickle_finish(&p);
}

/* {'a': (1, True), 'b': [None]} through marks, and the same through single items. */
static void containers(void **state)
{
    const struct {
        const uint8_t *data;
        size_t size;
    } same[] = {
        {PICKLE("}(X\1\0\0\0a(K\1\x88tX\1\0\0\0b](Neu.")},
        {PICKLE("\x95\x11\0\0\0\0\0\0\0}\x8c\1aK\1\x88\x86s\x8c\1b]Nas.")},
        {PICKLE("(U\1aK\1\x88\x86U\1b(Nld.")},
    };
    (void)state;
    for (size_t i = 0; i < sizeof same / sizeof *same; i++) {
        struct qn_pickle p = parse(same[i].data, same[i].size);
        const struct qn_pickle_node *dict = &p.nodes[p.root], *n;
        assert_int_equal(dict->type, QN_PICKLE_DICT);
        assert_int_equal(dict->size, 4);
        n = qn_pickle_item(&p, dict, 0);
        assert_int_equal(n->type, QN_PICKLE_TEXT);
        assert_int_equal(n->size, 1);
        assert_int_equal(n->as.bytes[0], 'a');
        n = qn_pickle_item(&p, dict, 1);
        assert_int_equal(n->type, QN_PICKLE_TUPLE);
        assert_int_equal(qn_pickle_item(&p, n, 0)->as.integer, 1);
        assert_int_equal(qn_pickle_item(&p, n, 1)->type, QN_PICKLE_BOOL);
        assert_null(qn_pickle_item(&p, n, 2));
        n = qn_pickle_item(&p, dict, 3);
        assert_int_equal(n->type, QN_PICKLE_LIST);
        assert_int_equal(qn_pickle_item(&p, n, 0)->type, QN_PICKLE_NONE);
        qn_pickle_finish(&p);
    }
}

static void memo_shares_nodes(void **state)
{
    (void)state;
    /* x = []; (x, x, x) through BINPUT, LONG_BINPUT and MEMOIZE */
    struct qn_pickle p = parse(PICKLE("]q\0r\1\0\0\0\x94h\0j\2\0\0\0\x87."));
    const struct qn_pickle_node *t = &p.nodes[p.root];
    assert_ptr_equal(qn_pickle_item(&p, t, 0), qn_pickle_item(&p, t, 1));
    assert_ptr_equal(qn_pickle_item(&p, t, 0), qn_pickle_item(&p, t, 2));
    qn_pickle_finish(&p);

    /* a list that holds itself is made, and read without following it */
    p = parse(PICKLE("]q\0h\0a."));
    assert_ptr_equal(qn_pickle_item(&p, &p.nodes[p.root], 0), &p.nodes[p.root]);
    qn_pickle_finish(&p);
}

static void calls_are_recorded(void **state)
{
    (void)state;
    struct qn_pickle p = parse(PICKLE("ctorch._utils\n_rebuild_tensor_v2\n(K\7K\10tR."));
    const struct qn_pickle_node *call = &p.nodes[p.root];
    assert_int_equal(call->type, QN_PICKLE_CALL);
    assert_string_equal(qn_torch_globals.items[call->global].name, "_rebuild_tensor_v2");
    assert_int_equal(qn_pickle_item(&p, call, 1)->as.integer, 8);
    qn_pickle_finish(&p);

    p = parse(PICKLE("\x8c\13collections\x8c\13OrderedDict\x93)\x81}b."));
    assert_int_equal(p.nodes[p.root].type, QN_PICKLE_DICT);
    qn_pickle_finish(&p);

    p = parse(PICKLE("ctorch\nSize\nK\2K\3\x86\x85R."));
    assert_int_equal(p.nodes[p.root].type, QN_PICKLE_TUPLE);
    assert_int_equal(p.nodes[p.root].size, 2);
    qn_pickle_finish(&p);
}

static void globals_are_named(void **state)
{
    (void)state;
    refused(PICKLE("N0cos\nsystem\nU\2ls\x85R."), QINS_ERR_UNSUPPORTED, 4, "'os.system'");
    refused(PICKLE("\x8c\10builtins\x8c\4eval\x93."), QINS_ERR_UNSUPPORTED, 18, "'builtins.eval'");
    refused(PICKLE("ctorch._utils\n_rebuild_qtensor\n)R."), QINS_ERR_UNSUPPORTED, 2,
            "'torch._utils._rebuild_qtensor'");
    refused(PICKLE("ctorch\n_utils._rebuild_tensor\n."), QINS_ERR_UNSUPPORTED, 2, "refers to");
}

static void lies_are_refused(void **state)
{
    (void)state;
    refused((const uint8_t *)"", 0, QINS_ERR_FORMAT, 0, "without STOP");
    refused((const uint8_t *)"N.", 2, QINS_ERR_FORMAT, 0, "protocol");
    refused((const uint8_t *)"\x80\1.", 3, QINS_ERR_UNSUPPORTED, 0, "protocol 1");
    refused((const uint8_t *)"\x80\6.", 3, QINS_ERR_UNSUPPORTED, 0, "protocol 6");
    refused(PICKLE("."), QINS_ERR_FORMAT, 2, "stack");
    refused(PICKLE("N"), QINS_ERR_FORMAT, 3, "without STOP");
    refused(PICKLE("J\1\2"), QINS_ERR_FORMAT, 2, "cut short");
    refused(PICKLE("X\377\377\377\377abc."), QINS_ERR_FORMAT, 2, "cut short");
    refused(PICKLE("\x8d\377\377\377\377\377\377\377\377abc."), QINS_ERR_FORMAT, 2, "cut short");
    refused(PICKLE("\x8b\377\377\377\377."), QINS_ERR_FORMAT, 2, "cut short");
    refused(PICKLE("\x95\377\0\0\0\0\0\0\0N."), QINS_ERR_FORMAT, 2, "frame");
    refused(PICKLE("t."), QINS_ERR_FORMAT, 2, "mark");
    refused(PICKLE("N(0."), QINS_ERR_FORMAT, 4, "stack");
    refused(PICKLE("N(\x85."), QINS_ERR_FORMAT, 4, "stack");
    refused(PICKLE("NNa."), QINS_ERR_FORMAT, 4, "container");
    refused(PICKLE("(Ne."), QINS_ERR_FORMAT, 4, "container");
    refused(PICKLE("}(Nu."), QINS_ERR_FORMAT, 5, "key");
    refused(PICKLE("(Nd."), QINS_ERR_FORMAT, 4, "key");
    refused(PICKLE("h\0."), QINS_ERR_FORMAT, 2, "memo");
    refused(PICKLE("Nr\377\377\377\377."), QINS_ERR_FORMAT, 3, "memo");
    refused(PICKLE("cos\n"), QINS_ERR_FORMAT, 2, "cut short");
    refused(PICKLE("N)R."), QINS_ERR_FORMAT, 4, "call");
    refused(PICKLE("ctorch\nfloat32\n)R."), QINS_ERR_FORMAT, 18, "call");
    refused(PICKLE("ccollections\nOrderedDict\nN\x85R."), QINS_ERR_FORMAT, 29, "arguments");
    refused(PICKLE("N}b."), QINS_ERR_FORMAT, 4, "attributes");
    refused(PICKLE("NN\x93."), QINS_ERR_FORMAT, 4, "no text");
    refused(PICKLE("i"), QINS_ERR_UNSUPPORTED, 2, "0x69");
}

/* 2 MB of DUP, of one-item tuples and of marks: memory stays within a multiple of the input. */
static void bombs_stay_small(void **state)
{
    static const uint8_t ops[] = {'2', 0x85, '(', ')'};
    enum { SIZE = 2 << 20 };
    (void)state;
    for (size_t i = 0; i < sizeof ops; i++) {
        uint8_t *data = malloc(SIZE);
        assert_non_null(data);
        memset(data, ops[i], SIZE);
        data[0] = 0x80;
        data[1] = 2;
        data[2] = data[SIZE - 2] = 'N';
        data[SIZE - 1] = '.';
        struct qn_pickle p = parse(data, SIZE);
        assert_true(p.n_nodes <= SIZE && p.n_cells <= SIZE);
        qn_pickle_finish(&p);
        free(data);
    }
}

static void memory_is_limited(void **state)
{
    enum { SIZE = 1 << 20 };
    struct qn_pickle p;
    uint8_t *data = malloc(SIZE);
    (void)state;
    assert_non_null(data);
    memset(data, 'N', SIZE);
    data[0] = 0x80; /* protocol 2 */
    data[1] = 2;
    data[SIZE - 1] = '.';
    enum qins_status st =
        qn_pickle_parse(&p, data, SIZE, &qn_torch_globals, UINT64_C(8) * SIZE, &err);
    assert_int_equal(st, QINS_ERR_UNSUPPORTED);
    assert_non_null(strstr(err.message, "more objects than qins allows"));
    assert_null(p.nodes);
    p = parse(data, SIZE);
    qn_pickle_finish(&p);
    free(data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers),           cmocka_unit_test(containers),
        cmocka_unit_test(memo_shares_nodes), cmocka_unit_test(calls_are_recorded),
        cmocka_unit_test(globals_are_named), cmocka_unit_test(lies_are_refused),
        cmocka_unit_test(bombs_stay_small),  cmocka_unit_test(memory_is_limited),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
