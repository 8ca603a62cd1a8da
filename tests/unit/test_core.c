#include "core/bytes.h"
#include "core/json.h"
#include "core/tensor.h"
#include "core/thread.h"
#include "tests/unit/testing.h"

/* Every value of a narrow format must survive the trip through float32, NaN payloads too. */
static void narrow_round_trip(void **state)
{
    (void)state;
    static const enum qins_dtype types[] = {QINS_F16, QINS_BF16, QINS_F8_E4M3, QINS_F8_E5M2};
    for (size_t t = 0; t < sizeof types / sizeof *types; t++) {
        size_t size = qins_dtype_size(types[t]);
        for (uint32_t v = 0; v < (size == 1 ? 256u : 65536u); v++) {
            uint8_t in[2] = {(uint8_t)v, (uint8_t)(v >> 8)}, out[2] = {0, 0};
            float f;
            qn_to_f32(types[t], in, &f, 1);
            qn_from_f32(types[t], &f, out, 1);
            assert_memory_equal(in, out, size);
        }
    }
}

static void narrow_known_values(void **state)
{
    (void)state;
    static const struct {
        enum qins_dtype type;
        uint32_t bits;
        float value;
    } cases[] = {
        {QINS_F16, 0x3c00, 1.0f},       {QINS_F16, 0x0001, 5.9604644775390625e-08f},
        {QINS_F16, 0x7bff, 65504.0f},   {QINS_BF16, 0x3f80, 1.0f},
        {QINS_F8_E4M3, 0x7e, 448.0f},   {QINS_F8_E4M3, 0x01, 0.001953125f},
        {QINS_F8_E5M2, 0x7b, 57344.0f}, {QINS_F8_E5M2, 0xc0, -2.0f},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint8_t in[2] = {(uint8_t)cases[i].bits, (uint8_t)(cases[i].bits >> 8)};
        float f;
        qn_to_f32(cases[i].type, in, &f, 1);
        assert_true(f == cases[i].value);
    }
}

static void narrow_rounding(void **state)
{
    (void)state;
    static const struct {
        enum qins_dtype type;
        float value;
        uint32_t bits;
    } cases[] = {
        {QINS_F16, 65519.0f, 0x7bff},       {QINS_F16, 65520.0f, 0x7c00},
        {QINS_F16, 1.00048828125f, 0x3c00}, /* a tie: to even */
        {QINS_F16, 1.00146484375f, 0x3c02}, /* a tie: to even, upwards */
        {QINS_F16, 2.98e-08f, 0x0000},      {QINS_F16, 2.99e-08f, 0x0001},
        {QINS_BF16, 1.00390625f, 0x3f80},   {QINS_BF16, 3.4e38f, 0x7f80},
        {QINS_F8_E4M3, 1000.0f, 0x7f},      {QINS_F8_E5M2, 1e6f, 0x7c},
        {QINS_F8_E4M3, 1e-20f, 0x00},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint8_t out[2] = {0, 0};
        qn_from_f32(cases[i].type, &cases[i].value, out, 1);
        assert_int_equal(qn_load16(out), cases[i].bits);
    }
}

static void utf8(void **state)
{
    (void)state;
    assert_true(qn_utf8_valid("a\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80", 10));
    assert_false(qn_utf8_valid("\xc0\x80", 2));         /* overlong */
    assert_false(qn_utf8_valid("\xed\xa0\x80", 3));     /* surrogate */
    assert_false(qn_utf8_valid("\xf4\x90\x80\x80", 4)); /* above U+10FFFF */
    assert_false(qn_utf8_valid("\xe2\x82", 2));         /* cut short */
    assert_true(qn_utf8_valid("", 0));
    static const int kept[] = {0, 1, 1, 3, 3, 3, 6, 7, 7, 7, 7, 11, 12, 12};
    for (int most = 0; most < 14; most++) /* one of each length; \xff is none */
        assert_int_equal(qn_utf8_cut("a\xc3\xa9\xe2\x82\xac\xff\xf0\x9f\x98\x80z", most),
                         kept[most]);
    json_t *mixed = qn_json_text("\xc3\xa9 \xe2\x82 \xe2\x82\xac\xff");
    assert_string_equal(json_string_value(mixed), "\xc3\xa9 ?? \xe2\x82\xac?");
    json_decref(mixed);
}

static void tensor_list(void **state)
{
    (void)state;
    struct qn_tensor_list list = {0};
    struct qins_error err;
    uint64_t huge[3] = {1ull << 31, 1ull << 31, 1ull << 31}, zero[3] = {1ull << 63, 0, 1ull << 63};
    assert_int_equal(qn_tensor_list_add(&list, "w", 1, QINS_F32, NULL, 3, huge, NULL, &err),
                     QINS_ERR_FORMAT);
    assert_string_equal(err.tensor, "w");
    assert_int_equal(qn_tensor_list_add(&list, "z", 1, QINS_F32, NULL, 3, zero, NULL, &err),
                     QINS_OK);
    assert_int_equal(list.items[0].n_elements, 0);
    assert_int_equal(qn_tensor_list_add(&list, "", 0, QINS_F32, NULL, 0, NULL, NULL, &err),
                     QINS_ERR_FORMAT);
    assert_int_equal(qn_tensor_list_check_unique(&list, &err), QINS_OK);
    assert_int_equal(qn_tensor_list_add(&list, "z", 1, QINS_I8, NULL, 0, NULL, NULL, &err),
                     QINS_OK);
    assert_int_equal(qn_tensor_list_check_unique(&list, &err), QINS_ERR_FORMAT);
    qn_tensor_list_finish(&list);
}

static void overlap(void **state)
{
    (void)state;
    struct qn_tensor_list list = {0};
    struct qn_tensor *t;
    struct qins_error err;
    uint64_t n = 4;
    for (uint64_t i = 0; i < 3; i++) {
        char name = (char)('a' + (int)i);
        assert_int_equal(qn_tensor_list_add(&list, &name, 1, QINS_F32, NULL, 1, &n, &t, &err),
                         QINS_OK);
        t->where[1] = 32 - 16 * i;
    }
    assert_int_equal(qn_tensor_list_check_overlap(&list, &err), QINS_OK);
    list.items[0].where[1] = 31;
    assert_int_equal(qn_tensor_list_check_overlap(&list, &err), QINS_ERR_FORMAT);
    qn_tensor_list_finish(&list);
}

static void error_line(void **state)
{
    (void)state;
    struct qins_error err;
    char line[64];
    qn_fail_at(&err, QINS_ERR_FORMAT, "a\nb", "t\x1b[2J", 7, "bad");
    assert_string_equal(qins_error_format(&err, line, sizeof line),
                        "a\\x0ab: tensor 't\\x1b[2J': offset 7: bad");
    assert_string_equal(qins_error_format(&err, line, 4), "a: ");
    /* a C1 control, a right-to-left override, and letters that are neither */
    qn_fail_at(&err, QINS_ERR_FORMAT, NULL, "\xc2\x9b\xe2\x80\xae\xc3\xa9", -1, "bad");
    assert_string_equal(qins_error_format(&err, line, sizeof line),
                        "tensor '\\xc2\\x9b\\xe2\\x80\\xae\xc3\xa9': bad");
}

struct ordered {
    uint64_t slots[8], seen, fail_at;
};

static enum qins_status square(void *ctx, unsigned slot, uint64_t item, struct qins_error *err)
{
    struct ordered *o = ctx;
    if (item >= o->fail_at)
        return qn_fail(err, QINS_ERR_FORMAT, "item %u", (unsigned)item);
    o->slots[slot] = item * item;
    return QINS_OK;
}

static enum qins_status check_order(void *ctx, unsigned slot, uint64_t item, struct qins_error *err)
{
    struct ordered *o = ctx;
    (void)err;
    assert_int_equal(item, o->seen);
    assert_int_equal(o->slots[slot], item * item);
    o->seen++;
    return QINS_OK;
}

static void ordered_pipeline(void **state)
{
    (void)state;
    for (unsigned threads = 1; threads <= 4; threads++) {
        struct ordered o = {.fail_at = UINT64_MAX};
        struct qn_ordered job = {square, check_order, &o, threads, 2 * threads, 0, 1000, NULL};
        struct qins_error err;
        assert_int_equal(qn_run_ordered(&job, &err), QINS_OK);
        assert_int_equal(o.seen, 1000);

        o = (struct ordered){.fail_at = 37};
        assert_int_equal(qn_run_ordered(&job, &err), QINS_ERR_FORMAT);
        assert_string_equal(err.message, "item 37");
        assert_int_equal(o.seen, 37);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(narrow_round_trip), cmocka_unit_test(narrow_known_values),
        cmocka_unit_test(narrow_rounding),   cmocka_unit_test(utf8),
        cmocka_unit_test(tensor_list),       cmocka_unit_test(overlap),
        cmocka_unit_test(error_line),        cmocka_unit_test(ordered_pipeline),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
