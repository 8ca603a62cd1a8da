#include "formats/codec/planes.h"

#include "formats/codec/kernels.h"

#include <string.h>

static bool is_turned(enum qins_dtype dtype)
{
    return qn_dtype_is_float(dtype) && qins_dtype_size(dtype) > 1;
}

void qn_planes_split(enum qins_dtype dtype, const void *src, size_t n, uint8_t *const *planes)
{
    const size_t size = qins_dtype_size(dtype);
    if (size > 1)
        qn_codec_kernels()->split_planes((unsigned)size, is_turned(dtype), src, n, planes);
    else if (planes[0])
        memcpy(planes[0], src, n);
}

void qn_planes_merge(enum qins_dtype dtype, const uint8_t *const *planes, size_t n, void *dst)
{
    const size_t size = qins_dtype_size(dtype);
    if (size > 1)
        qn_codec_kernels()->merge_planes((unsigned)size, is_turned(dtype), planes, n, dst);
    else
        memcpy(dst, planes[0], n);
}
