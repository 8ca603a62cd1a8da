/* The run-aware mode of tans. Private to tans's files; scratch as in tans.h. */
#ifndef QINS_FORMATS_CODEC_TANS_RUNS_H
#define QINS_FORMATS_CODEC_TANS_RUNS_H

#include "formats/codec/histogram.h"
#include "formats/codec/tans.h"

enum qn_tans_part { QN_TANS_GAPS, QN_TANS_RUNS, QN_TANS_VALUES, QN_TANS_PARTS };

struct qn_tans_parts {
    uint64_t *masks; /* of symbols in runs */
    uint8_t *bytes[QN_TANS_PARTS];
    size_t count[QN_TANS_PARTS];
};

struct qn_tans_runs_work {
    struct qn_tans_parts parts;
    struct qn_tans_model model[QN_TANS_PARTS];
    struct qn_tans_model_work model_work;
    struct qn_histogram_work histogram;
    uint32_t counts[QN_TANS_PARTS][256];
};

/* A decoder between two symbols. */
struct qn_tans_runs {
    struct qn_tans_parts parts;
    const uint8_t *next[QN_TANS_PARTS], *end[QN_TANS_PARTS];
    bool has_short_gaps;
    uint8_t symbol;
    enum qn_tans_part part; /* of which LENGTH symbols are left, and more unless that is whole */
    size_t length;
    bool is_whole;
    size_t left; /* symbols */
};

/* Bytes of ROOM, alignment 8, for N symbols. */
size_t qn_tans_runs_room(size_t n);

/* Encodes N symbols if that takes less than LIMIT, in units of a model's cost, as far as models
 * tell. Returns the size, 0 if the mode is not worth it or the result does not fit. */
size_t qn_tans_encode_runs(const uint32_t counts[256], uint64_t limit, const uint8_t *src, size_t n,
                           uint8_t *dst, size_t capacity, struct qn_tans_runs_work *w, void *room,
                           void *scratch);

/* As qn_tans_begin() and so on. R uses what is in ROOM until the end. */
bool qn_tans_begin_runs(const uint8_t *src, size_t src_size, size_t n, struct qn_tans_runs *r,
                        void *room, void *scratch);
bool qn_tans_next_runs(struct qn_tans_runs *r, uint8_t *dst, size_t n);
bool qn_tans_end_runs(struct qn_tans_runs *r);

#endif
