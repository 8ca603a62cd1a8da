#include "formats/archive/filter.h"

#include "core/bytes.h"
#include "formats/archive/userblock.h"
#include "formats/codec/chunk.h"

#include <stdlib.h>

/* What the payload claims must fit the dataset it stands in. */
static bool payload_fits(const struct qn_chunk_info *info, const unsigned *values)
{
    const struct qn_dtype_info *type = qn_dtype(info->dtype);
    return type && qins_dtype_size(type->view) == values[QN_FILTER_ELEMENT_SIZE] &&
           info->n_elements > 0 && info->n_elements <= values[QN_FILTER_CHUNK_ELEMENTS];
}

size_t qn_filter(unsigned flags, size_t n_values, const unsigned values[], size_t size,
                 size_t *buf_size, void **buf)
{
    struct qn_chunk_work work = {0};
    struct qn_chunk_info info;
    size_t whole = 0;
    uint8_t *out = NULL;
    if (!(flags & QN_FILTER_READING) || n_values < QN_FILTER_VALUES ||
        values[QN_FILTER_VERSION] != QN_ARCHIVE_VERSION ||
        values[QN_FILTER_CHUNK_ELEMENTS] > QN_CHUNK_MAX)
        return 0;
    if (qn_chunk_inspect(*buf, size, &info, NULL) != QINS_OK || !payload_fits(&info, values))
        return 0;
    size_t used = (size_t)info.n_elements * values[QN_FILTER_ELEMENT_SIZE];
    whole = (size_t)values[QN_FILTER_CHUNK_ELEMENTS] * values[QN_FILTER_ELEMENT_SIZE];
    out = malloc(whole);
    if (out && qn_chunk_decode(*buf, size, info.dtype, info.n_elements, true, &work, out, NULL) ==
                   QINS_OK) {
        memset(out + used, 0, whole - used);
        free(*buf);
        *buf = out;
        *buf_size = whole;
    } else {
        free(out);
        whole = 0;
    }
    qn_chunk_work_finish(&work);
    return whole;
}
