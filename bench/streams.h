/* Streams on which coders are measured: symbols of Gaussian weights in rows of 4096, a ... f, and
 * the weights themselves. */
#ifndef QINS_BENCH_STREAMS_H
#define QINS_BENCH_STREAMS_H

#include "core/tensor.h"

#include <stddef.h>
#include <stdint.h>

enum { QN_STREAM_ROW = 4096 };

double qn_uniform(uint64_t *state); /* in (0, 1); *state goes on */
/* Numbers of the standard normal distribution; *state goes on. */
void qn_gaussian_row(uint64_t *state, float row[QN_STREAM_ROW]);

struct qn_stream {
    const char *name, *what;
    double entropy;        /* bits a symbol that the source has (e: with its runs) */
    enum qins_dtype dtype; /* QINS_U8: symbols; else weights, as they are */
    /* Fills N symbols, a multiple of QN_STREAM_ROW; the same on every machine up to libm. */
    void (*fill)(uint8_t *dst, size_t n, uint64_t seed);
};

extern const struct qn_stream qn_streams[];
extern const size_t qn_n_streams;

#endif
