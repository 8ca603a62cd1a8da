/* Counts of the 256 byte values. Kernel: no allocation. */
#ifndef QINS_FORMATS_CODEC_HISTOGRAM_H
#define QINS_FORMATS_CODEC_HISTOGRAM_H

#include <stddef.h>
#include <stdint.h>

/* Several tables, so that equal neighbours do not wait for each other's store. */
enum { QN_HISTOGRAM_TABLES = 8 };

struct qn_histogram_work {
    uint32_t table[QN_HISTOGRAM_TABLES][256];
    union {
        uint16_t short_pairs[1 << 16];
        uint32_t pairs[1 << 16];
    };
};

/* Sets counts[v] to the number of bytes equal to v among N < 2^32 bytes. */
void qn_histogram(const uint8_t *src, size_t n, uint32_t counts[256],
                  struct qn_histogram_work *work);

#endif
