#include "formats/codec/kernels_list.h"
#include "formats/codec/planes_plain.h"

void qn_split_planes_c(unsigned size, bool turn, const uint8_t *src, size_t n,
                       uint8_t *const *planes)
{
    qn_split_planes_from(size, turn, src, 0, n, planes);
}

void qn_merge_planes_c(unsigned size, bool turn, const uint8_t *const *planes, size_t n,
                       uint8_t *dst)
{
    qn_merge_planes_from(size, turn, planes, 0, n, dst);
}
