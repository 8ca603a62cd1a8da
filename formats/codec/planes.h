/* Byte planes of elements, the form in which lossless chunks are coded. Kernels: no allocation.
 *
 * An element of SIZE bytes is split into SIZE planes; plane k holds byte k of every element,
 * plane SIZE - 1 being the most significant. F64, F32, F16 and BF16 elements are rotated left
 * by one bit first: the sign becomes the lowest bit, and the top plane holds exponent bits
 * alone, which is what an entropy coder can use. */
#ifndef QINS_FORMATS_CODEC_PLANES_H
#define QINS_FORMATS_CODEC_PLANES_H

#include "core/tensor.h"

enum { QN_MAX_PLANES = 8 };

/* The N bytes of each plane of N elements of DTYPE, and back. SRC and DST hold n * size bytes,
 * which need not be aligned and do not overlap any plane. Split leaves out planes that are NULL.
 * DTYPE is valid. */
void qn_planes_split(enum qins_dtype dtype, const void *src, size_t n, uint8_t *const *planes);
void qn_planes_merge(enum qins_dtype dtype, const uint8_t *const *planes, size_t n, void *dst);

#endif
