/* The paged V cache of a session (docs/kv-format.md): the page that is being filled holds float32
 * values, full pages are coded at 8 or 6 bits, old ones entropy-coded on top. Keys stay float32.
 *
 * What a token sees does not depend on how tokens are batched: values of its own page as they are,
 * of the pages before as they were coded; so attention goes through a batch page by page. It reads
 * decoded pages from one buffer of float32 values for the whole sequence, which all layers share:
 * work_bytes below, not part of what is held. */
#ifndef QINS_MODEL_KV_H
#define QINS_MODEL_KV_H

#include "formats/kv_page.h"

struct qn_kv_options {
    unsigned bits;     /* 8 or 6; 0: off, plain float32 values */
    size_t page_bytes; /* of float32 values; 0: as qn_kv_layout_init() chooses */
    uint32_t recent;   /* full pages of a layer that stay bit-packed; older ones are recoded.
                          0: QN_KV_DEFAULT_RECENT; UINT32_MAX: all stay */
    /* Or NULL. A page that was just filled, or recoded when it became old; from the thread that
     * runs the session, in order of layers and pages. */
    enum qins_status (*page)(void *ctx, uint32_t layer, uint64_t page, const uint8_t *bytes,
                             size_t size, struct qins_error *err);
    void *ctx;
};
enum { QN_KV_DEFAULT_RECENT = 2 };

/* Counted while a session runs; sums over sequences, but for the maxima. A sequence is counted as
 * it was when a reset ended it, or as it is now. */
struct qn_kv_counts {
    uint64_t sequences;      /* of one token at least */
    uint64_t tokens, values; /* cached, and their V values in all layers */
    uint64_t packed_pages, packed_bytes, packed_values; /* as full pages were first coded */
    uint64_t old_pages, old_bytes, old_values;          /* of them those recoded: bytes after */
    uint64_t open_bytes; /* float32 bytes of open pages' tokens when sequences ended; what is
                            allocated for them is a whole page a layer */
    uint64_t held_bytes; /* of the whole V cache when sequences ended: packed, old and open */
    uint64_t f16_bytes, f32_bytes; /* what plain caches of the same values take then */
    /* Sums over all lengths 1 … N that a sequence of N tokens had while it grew, of what was held
     * and of what plain float16 takes. Of one that was cut back, as if it had grown to N at once.
     */
    double grown_held_bytes, grown_f16_bytes;
    uint64_t work_bytes;                /* of the buffer for decoded pages, of one session */
    uint64_t encoded, decoded, recoded; /* pages: how often; and how long by the clock, so that a
                                           page whose thread had to wait counts that, too */
    double encode_seconds, decode_seconds, recode_seconds; /* sums over all threads */
    double max_encode_seconds, max_decode_seconds;         /* of one page */
};
void qn_kv_counts_add(struct qn_kv_counts *into, const struct qn_kv_counts *from);

#endif
