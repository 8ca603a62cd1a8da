/* What decoding costs: nanoseconds an element for each coder, as `qins bench coders --save`
 * measures them on the machine that will decode, or policy/costs.json, which is built in. JSON:
 * docs/schemas/costs.schema.json. */
#ifndef QINS_POLICY_COSTS_H
#define QINS_POLICY_COSTS_H

#include "core/hash.h"
#include "core/json.h"
#include "formats/codec/codec.h"

struct qn_costs {
    double decode_ns[QN_CODEC_COUNT]; /* an element, to float32, one thread; 0: not known */
    double lossless_ns;               /* an F32 element of Huffman-coded planes */
    double memory_ns;                 /* an F32 element copied */
    struct qn_digest fingerprint;     /* of the JSON that it came from */
};

#define QN_COSTS_SCHEMA "qins/costs/1"
/* Keys of "decode_ns" beside the names of the coders. */
#define QN_COSTS_LOSSLESS "lossless"
#define QN_COSTS_MEMORY   "memcpy"

/* A coder whose cost nobody measured is not chosen. */
static inline bool qn_costs_know(const struct qn_costs *c, enum qn_codec_id codec)
{
    return c->decode_ns[codec] > 0.0;
}

/* The shipped table; fails only without memory. */
enum qins_status qn_costs_default(struct qn_costs *out, struct qins_error *err);
/* QINS_ERR_FORMAT for unknown keys, no bitpack, lossless or memcpy, figures that are not positive
 * or not under QN_MAX_DECODE_NS. */
enum qins_status qn_costs_parse(const void *text, size_t size, struct qn_costs *out,
                                struct qins_error *err);
#define QN_MAX_DECODE_NS 1e6

#endif
