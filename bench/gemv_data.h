/* The matrices of qn_bench_gemv(): one of Gaussian weights, as floats and as archives code it. */
#ifndef QINS_BENCH_GEMV_DATA_H
#define QINS_BENCH_GEMV_DATA_H

#include "model/packed.h"

enum {
    QN_GEMV_COLUMNS = 4096,
    QN_GEMV_MAX_ROWS = 16,
    QN_GEMV_CHUNK = 1 << 19, /* weights, as archives have them: formats/archive/layout.c */
};

/* How weights are coded; scales are of rows. */
struct qn_gemv_coding {
    const char *name;
    enum qn_codec_id codec;
    unsigned levels;
    float kappa;
};
enum { QN_GEMV_CODINGS = 3 };
extern const struct qn_gemv_coding qn_gemv_codings[QN_GEMV_CODINGS]; /* 8 bits, 6 bits, tans */

struct qn_gemv_data {
    size_t rows;     /* of QN_GEMV_COLUMNS weights */
    float *weights;  /* what products with floats are made of, and decoding writes */
    float *inputs;   /* QN_GEMV_MAX_ROWS rows */
    float *outliers; /* a row of which one in a thousand is a hundred times as large */
    void *copy;      /* room for a copy of the first coding's bytes */
    struct qn_packed packed[QN_GEMV_CODINGS];
    void *rooms[QN_GEMV_CODINGS];
    size_t room_bytes[QN_GEMV_CODINGS];
};

/* About MEBI Mi weights: no less than one chunk. Finish it whatever the result. */
enum qins_status qn_gemv_data_init(struct qn_gemv_data *d, unsigned mebi, struct qins_error *err);
void qn_gemv_data_finish(struct qn_gemv_data *d);

#endif
