/* What decoding costs: nanoseconds an element for each coder, from policy/costs.json (shipped) or
 * `qins bench coders --save` on the machine that will decode. */
#ifndef QINS_POLICY_COSTS_H
#define QINS_POLICY_COSTS_H

#include "core/hash.h"
#include "core/json.h"
#include "formats/codec/codec.h"

struct qn_costs {
    double decode_ns[QN_CODEC_COUNT]; /* an element, to float32, one thread */
    double lossless_ns;               /* an F32 element of Huffman-coded planes */
    double memory_ns;                 /* an F32 element copied: what no coding can beat */
    struct qn_digest fingerprint;     /* of the JSON that it came from */
};
void qn_costs_default(struct qn_costs *c); /* the shipped table */
/* QINS_ERR_FORMAT for unknown keys, missing coders, figures that are not positive. */
enum qins_status qn_costs_parse(const void *text, size_t size, struct qn_costs *out,
                                struct qins_error *err);
#endif
