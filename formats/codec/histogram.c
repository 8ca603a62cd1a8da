#include "formats/codec/histogram.h"

#include "formats/codec/kernels.h"

void qn_histogram(const uint8_t *src, size_t n, uint32_t counts[256],
                  struct qn_histogram_work *work)
{
    qn_codec_kernels()->histogram(src, n, counts, work);
}
