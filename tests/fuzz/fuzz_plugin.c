/* The HDF5 filter: flags, client data, then a chunk's bytes. */
#include "core/bytes.h"
#include "formats/archive/filter.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { HEAD = 1 + 4 * QN_FILTER_VALUES };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    unsigned values[QN_FILTER_VALUES];
    if (size < HEAD)
        return 0;
    for (int i = 0; i < QN_FILTER_VALUES; i++)
        values[i] = qn_load32(data + 1 + 4 * (size_t)i);
    size_t n = size - HEAD, buf_size = n;
    void *buf = malloc(n ? n : 1);
    if (!buf)
        abort();
    memcpy(buf, data + HEAD, n);
    unsigned flags = data[0] & 1 ? 0 : QN_FILTER_READING;
    size_t got = qn_filter(flags, data[0] >> 5, values, n, &buf_size, &buf);
    if (got != 0 && got != buf_size)
        abort();
    for (size_t i = 0; i < got; i += 4096) /* what HDF5 will read of it */
        ((volatile uint8_t *)buf)[i];
    free(buf);
    return 0;
}
