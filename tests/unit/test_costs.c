#include "tests/unit/testing.h"

#include "policy/builtin.h"
#include "policy/costs.h"

#include <string.h>

#define FIGURES                                                                                    \
    "\"store\": 1, \"bitpack\": 2, \"huffman\": 3, \"rle\": 4, \"rle-huffman\": 5, \"zstd\": 6, "  \
    "\"tans\": 7, "                                                                                \
    "\"memcpy\": 0.5"
#define HEAD  "{\"schema\": \"qins/costs/1\", "
#define WHOLE HEAD "\"decode_ns\": {" FIGURES ", \"lossless\": 7.5}}"

static enum qins_status parse(const char *text, struct qn_costs *c, struct qins_error *err)
{
    return qn_costs_parse(text, strlen(text), c, err);
}

static void test_parse(void **state)
{
    (void)state;
    struct qn_costs c, other;
    struct qins_error err;
    assert_int_equal(parse(WHOLE, &c, &err), QINS_OK);
    assert_true(c.decode_ns[QN_CODEC_STORE] == 1);
    assert_true(c.decode_ns[QN_CODEC_BITPACK] == 2);
    assert_true(c.decode_ns[QN_CODEC_HUFFMAN] == 3);
    assert_true(c.decode_ns[QN_CODEC_RLE] == 4);
    assert_true(c.decode_ns[QN_CODEC_RLE_HUFFMAN] == 5);
    assert_true(c.decode_ns[QN_CODEC_ZSTD] == 6);
    assert_true(c.decode_ns[QN_CODEC_TANS] == 7);
    assert_true(c.lossless_ns == 7.5 && c.memory_ns == 0.5);
    assert_int_equal(parse(WHOLE " ", &other, NULL), QINS_OK);
    assert_memory_not_equal(&c.fingerprint, &other.fingerprint, sizeof c.fingerprint);
}

static void test_few_coders(void **state)
{
    (void)state;
    struct qn_costs c;
    struct qins_error err;
    assert_int_equal(parse(HEAD "\"decode_ns\": {\"bitpack\": 1, \"huffman\": 2, \"lossless\": 1, "
                                "\"memcpy\": 0.5}}",
                           &c, &err),
                     QINS_OK);
    for (int id = 0; id < QN_CODEC_COUNT; id++)
        assert_int_equal(qn_costs_know(&c, (enum qn_codec_id)id),
                         id == QN_CODEC_BITPACK || id == QN_CODEC_HUFFMAN);
}

static void test_refuses(void **state)
{
    (void)state;
    static const struct {
        const char *text, *message;
    } bad[] = {
        {"", "JSON"},
        {"[]", "schema"},
        {"{\"decode_ns\": {" FIGURES "}}", "schema"},
        {"{\"schema\": 1}", "schema"},
        {"{\"schema\": \"qins/costs/2\"}", "schema"},
        {HEAD "\"remark\": 1}", "unknown key \"remark\""},
        {HEAD "\"rounds\": 1}", "decode_ns"},
        {HEAD "\"decode_ns\": []}", "decode_ns"},
        {HEAD "\"decode_ns\": {" FIGURES "}}", "no \"lossless\""},
        {HEAD "\"decode_ns\": {\"lossless\": 1, \"memcpy\": 1}}", "no \"bitpack\""},
        {HEAD "\"decode_ns\": {\"lossless\": 1, \"bitpack\": 1}}", "no \"memcpy\""},
        {HEAD "\"decode_ns\": {" FIGURES ", \"lossless\": 1, \"lz4\": 1}}", "\"lz4\""},
        {HEAD "\"decode_ns\": {" FIGURES ", \"lossless\": 0}}", "\"lossless\""},
        {HEAD "\"decode_ns\": {" FIGURES ", \"lossless\": -1}}", "\"lossless\""},
        {HEAD "\"decode_ns\": {" FIGURES ", \"lossless\": 1e6}}", "\"lossless\""},
        {HEAD "\"decode_ns\": {" FIGURES ", \"lossless\": null}}", "\"lossless\""},
        {HEAD "\"decode_ns\": {" FIGURES ", \"lossless\": \"1\"}}", "\"lossless\""},
        {HEAD "\"decode_ns\": {" FIGURES ", \"zstd\": 1, \"lossless\": 1}}", "duplicate"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct qn_costs c;
        struct qins_error err = {0};
        assert_int_equal(parse(bad[i].text, &c, &err), QINS_ERR_FORMAT);
        if (!strstr(err.message, bad[i].message))
            fail_msg("'%s' does not say '%s'", err.message, bad[i].message);
    }
}

static void test_default(void **state)
{
    (void)state;
    struct qn_costs c;
    assert_int_equal(qn_costs_default(&c, NULL), QINS_OK);
    assert_true(c.decode_ns[QN_CODEC_HUFFMAN] > c.decode_ns[QN_CODEC_BITPACK]);
    assert_true(c.decode_ns[QN_CODEC_TANS] > c.decode_ns[QN_CODEC_BITPACK]);
    assert_true(c.decode_ns[QN_CODEC_TANS] < c.decode_ns[QN_CODEC_HUFFMAN]);
    struct qn_digest text = qn_hash128(qn_policy_costs_json, qn_policy_costs_json_size);
    assert_memory_equal(&c.fingerprint, &text, sizeof text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parse),
        cmocka_unit_test(test_few_coders),
        cmocka_unit_test(test_refuses),
        cmocka_unit_test(test_default),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
