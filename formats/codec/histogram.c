#include "formats/codec/histogram.h"

#include "core/bytes.h"

#include <string.h>

void qn_histogram(const uint8_t *src, size_t n, uint32_t counts[256],
                  struct qn_histogram_work *work)
{
    uint32_t(*t)[256] = work->table;
    memset(work, 0, sizeof *work);
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        uint64_t w = qn_load64(src + i);
        t[0][w & 255]++;
        t[1][w >> 8 & 255]++;
        t[2][w >> 16 & 255]++;
        t[3][w >> 24 & 255]++;
        t[0][w >> 32 & 255]++;
        t[1][w >> 40 & 255]++;
        t[2][w >> 48 & 255]++;
        t[3][w >> 56]++;
    }
    for (; i < n; i++)
        t[0][src[i]]++;
    for (size_t v = 0; v < 256; v++)
        counts[v] = t[0][v] + t[1][v] + t[2][v] + t[3][v];
}
