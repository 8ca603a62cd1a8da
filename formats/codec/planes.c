#include "formats/codec/planes.h"

#include <string.h>

/* One pair of functions for elements of SIZE bytes that are BITS wide. Callers pass TURN as a
 * constant, so that each loop is compiled without the test. */
#define DEFINE_PLANES(BITS, SIZE, TYPE)                                                            \
    static inline void split_##BITS(const uint8_t *restrict src, size_t n,                         \
                                    uint8_t *restrict planes, unsigned turn)                       \
    {                                                                                              \
        for (size_t i = 0; i < n; i++) {                                                           \
            TYPE v;                                                                                \
            memcpy(&v, src + i * (SIZE), SIZE);                                                    \
            if (turn)                                                                              \
                v = (TYPE)(v << 1 | v >> ((BITS)-1));                                              \
            for (size_t k = 0; k < (SIZE); k++)                                                    \
                planes[k * n + i] = (uint8_t)(v >> (8 * k));                                       \
        }                                                                                          \
    }                                                                                              \
    static inline void merge_##BITS(const uint8_t *restrict planes, size_t n,                      \
                                    uint8_t *restrict dst, unsigned turn)                          \
    {                                                                                              \
        for (size_t i = 0; i < n; i++) {                                                           \
            TYPE v = 0;                                                                            \
            for (size_t k = 0; k < (SIZE); k++)                                                    \
                v = (TYPE)(v | (TYPE)((TYPE)planes[k * n + i] << (8 * k)));                        \
            if (turn)                                                                              \
                v = (TYPE)(v >> 1 | v << ((BITS)-1));                                              \
            memcpy(dst + i * (SIZE), &v, SIZE);                                                    \
        }                                                                                          \
    }

DEFINE_PLANES(16, 2, uint16_t)
DEFINE_PLANES(32, 4, uint32_t)
DEFINE_PLANES(64, 8, uint64_t)

static bool is_turned(enum qins_dtype dtype)
{
    return qn_dtype_is_float(dtype) && qins_dtype_size(dtype) > 1;
}

void qn_planes_split(enum qins_dtype dtype, const void *src, size_t n, uint8_t *planes)
{
    bool turn = is_turned(dtype);
    switch (qins_dtype_size(dtype)) {
    case 2:
        turn ? split_16(src, n, planes, 1) : split_16(src, n, planes, 0);
        break;
    case 4:
        turn ? split_32(src, n, planes, 1) : split_32(src, n, planes, 0);
        break;
    case 8:
        turn ? split_64(src, n, planes, 1) : split_64(src, n, planes, 0);
        break;
    default:
        memcpy(planes, src, n);
        break;
    }
}

void qn_planes_merge(enum qins_dtype dtype, const uint8_t *planes, size_t n, void *dst)
{
    bool turn = is_turned(dtype);
    switch (qins_dtype_size(dtype)) {
    case 2:
        turn ? merge_16(planes, n, dst, 1) : merge_16(planes, n, dst, 0);
        break;
    case 4:
        turn ? merge_32(planes, n, dst, 1) : merge_32(planes, n, dst, 0);
        break;
    case 8:
        turn ? merge_64(planes, n, dst, 1) : merge_64(planes, n, dst, 0);
        break;
    default:
        memcpy(dst, planes, n);
        break;
    }
}
