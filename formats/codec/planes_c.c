#include "formats/codec/kernels_list.h"

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

/* The loop for one size, with and without the turn. */
#define CALL(function, ...) (turn ? function(__VA_ARGS__, 1) : function(__VA_ARGS__, 0))

void qn_split_planes_c(unsigned size, bool turn, const uint8_t *src, size_t n, uint8_t *planes)
{
    if (size == 2)
        CALL(split_16, src, n, planes);
    else if (size == 4)
        CALL(split_32, src, n, planes);
    else
        CALL(split_64, src, n, planes);
}

void qn_merge_planes_c(unsigned size, bool turn, const uint8_t *planes, size_t n, uint8_t *dst)
{
    if (size == 2)
        CALL(merge_16, planes, n, dst);
    else if (size == 4)
        CALL(merge_32, planes, n, dst);
    else
        CALL(merge_64, planes, n, dst);
}
