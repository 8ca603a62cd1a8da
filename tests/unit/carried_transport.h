/* The tensors and the description of a small transport in an archive. */
#ifndef QINS_TESTS_CARRIED_TRANSPORT_H
#define QINS_TESTS_CARRIED_TRANSPORT_H

#include "tests/unit/archive_testing.h"

static const struct test_tensor carried[] = {
    {"w", QINS_F32, 2, {2, 3}, {.codec = QN_CODEC_STORE}},
    {"qins.transport.inputs/0/coefficients", QINS_F32, 2, {3, 3}, {.codec = QN_CODEC_STORE}},
    {"qins.transport.layers/1/planes",
     QINS_F32,
     3,
     {2, 2, 3},
     {QN_CONTENT_QINS, QN_CODEC_BITPACK, 127, 1.5f, 1.0f, QN_GROUP_BLOCK, 3, .reason = ""}},
};
enum { N_CARRIED = sizeof carried / sizeof *carried };

#define TEST_TRANSPORT_INPUT(name, method, order)                                                  \
    "{\"name\":\"" name "\",\"channels\":3,\"method\":\"" method "\",\"order\":" order             \
    ",\"sign_plane\":false,\"levels\":127,\"kappa\":1,\"scale\":2}"
#define TEST_TRANSPORT_LAYER(layer, planes)                                                        \
    "{\"tensor\":\"w\",\"projection\":\"v_proj\",\"layer\":" layer                                 \
    ",\"expert\":0,\"input\":" layer ",\"out\":2,\"planes\":" planes                               \
    ",\"output_scale\":false,\"output_offset\":false,"                                             \
    "\"output_alpha\":0,\"output_floor\":0}"
#define TEST_TRANSPORT_OF(inputs, layers)                                                          \
    "{\"schema\":\"qins/transport-weights/1\","                                                    \
    "\"model_fingerprint\":\"00000000000000000000000000000000\","                                  \
    "\"calibration_fingerprint\":\"00000000000000000000000000000000\",\"inputs\":[" inputs         \
    "],\"layers\":[" layers "],\"study\":null}"
#define TEST_TRANSPORT                                                                             \
    TEST_TRANSPORT_OF(                                                                             \
        TEST_TRANSPORT_INPUT("a", "split", "3") "," TEST_TRANSPORT_INPUT("b", "ridge", "2"),       \
        TEST_TRANSPORT_LAYER("0", "false") "," TEST_TRANSPORT_LAYER("1", "true"))

#endif
