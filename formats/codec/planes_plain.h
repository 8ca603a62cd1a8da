/* Byte planes element by element, from element FROM on: the portable kernel, and what vectors leave
 * at the end. */
#ifndef QINS_FORMATS_CODEC_PLANES_PLAIN_H
#define QINS_FORMATS_CODEC_PLANES_PLAIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Functions for elements of SIZE bytes that are BITS wide. Callers pass TURN as a constant, so that
 * each loop is compiled without the test. Planes are split off one at a time: a store to one might
 * else change another for all that a compiler knows, and it makes no vectors. */
#define DEFINE_PLANES(BITS, SIZE, TYPE)                                                            \
    static inline void split_##BITS(const uint8_t *restrict src, size_t from, size_t n,            \
                                    unsigned shift, uint8_t *restrict plane, unsigned turn)        \
    {                                                                                              \
        for (size_t i = from; i < n; i++) {                                                        \
            TYPE v;                                                                                \
            memcpy(&v, src + i * (SIZE), SIZE);                                                    \
            if (turn)                                                                              \
                v = (TYPE)(v << 1 | v >> ((BITS)-1));                                              \
            plane[i] = (uint8_t)(v >> shift);                                                      \
        }                                                                                          \
    }                                                                                              \
    static inline void merge_##BITS(const uint8_t *const *planes, size_t from, size_t n,           \
                                    uint8_t *restrict dst, unsigned turn)                          \
    {                                                                                              \
        for (size_t i = from; i < n; i++) {                                                        \
            TYPE v = 0;                                                                            \
            for (size_t k = 0; k < (SIZE); k++)                                                    \
                v = (TYPE)(v | (TYPE)((TYPE)planes[k][i] << (8 * k)));                             \
            if (turn)                                                                              \
                v = (TYPE)(v >> 1 | v << ((BITS)-1));                                              \
            memcpy(dst + i * (SIZE), &v, SIZE);                                                    \
        }                                                                                          \
    }

DEFINE_PLANES(16, 2, uint16_t)
DEFINE_PLANES(32, 4, uint32_t)
DEFINE_PLANES(64, 8, uint64_t)

/* The loop for one size, with and without the turn. */
#define QN_PLANES_CALL(function, ...) (turn ? function(__VA_ARGS__, 1) : function(__VA_ARGS__, 0))

static inline void qn_split_planes_from(unsigned size, bool turn, const uint8_t *src, size_t from,
                                        size_t n, uint8_t *const *planes)
{
    enum { BLOCK = 2048 }; /* elements that stay in the first cache for all planes */
    for (size_t end = from; from < n; from = end) {
        end = n - from < BLOCK ? n : from + BLOCK;
        for (unsigned k = 0; k < size; k++) {
            if (!planes[k])
                continue;
            if (size == 2)
                QN_PLANES_CALL(split_16, src, from, end, 8 * k, planes[k]);
            else if (size == 4)
                QN_PLANES_CALL(split_32, src, from, end, 8 * k, planes[k]);
            else
                QN_PLANES_CALL(split_64, src, from, end, 8 * k, planes[k]);
        }
    }
}

static inline void qn_merge_planes_from(unsigned size, bool turn, const uint8_t *const *planes,
                                        size_t from, size_t n, uint8_t *dst)
{
    if (size == 2)
        QN_PLANES_CALL(merge_16, planes, from, n, dst);
    else if (size == 4)
        QN_PLANES_CALL(merge_32, planes, from, n, dst);
    else
        QN_PLANES_CALL(merge_64, planes, from, n, dst);
}

#endif
