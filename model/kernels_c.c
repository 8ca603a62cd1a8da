/* Kernels for any processor: the compiler's vector extension, cut to what the target has. */
#include "model/kernels_tables.h"

#include <string.h>

typedef float vf __attribute__((vector_size(64)));
typedef int32_t vi __attribute__((vector_size(64)));
typedef uint32_t vu __attribute__((vector_size(64)));
typedef vi vm; /* -1 or 0 a lane */
typedef double vd __attribute__((vector_size(64)));
typedef float vf8 __attribute__((vector_size(32)));

enum { ATTEND_VECTORS = 1, ATTEND_TILE = 2, GEMV_ROWS = 2 };

static inline vf vf_set1(float a)
{
    return a - (vf){0};
}

static inline vf vf_load(const float *p)
{
    vf a;
    memcpy(&a, p, sizeof a);
    return a;
}

static inline void vf_store(float *p, vf a)
{
    memcpy(p, &a, sizeof a);
}

static inline vf vf_load_part(const float *p, size_t n)
{
    vf a = {0};
    memcpy(&a, p, n * sizeof *p);
    return a;
}

static inline void vf_store_part(float *p, vf a, size_t n)
{
    memcpy(p, &a, n * sizeof *p);
}

static inline vf vf_add(vf a, vf b)
{
    return a + b;
}

static inline vf vf_sub(vf a, vf b)
{
    return a - b;
}

static inline vf vf_mul(vf a, vf b)
{
    return a * b;
}

static inline vf vf_div(vf a, vf b)
{
    return a / b;
}

static inline vf vf_fma(vf a, vf b, vf c)
{
    return a * b + c;
}

static inline vi vf_bits(vf a)
{
    return (vi)a;
}

static inline vf vi_as_float(vi a)
{
    return (vf)a;
}

static inline vf vf_select(vm m, vf yes, vf no)
{
    return (vf)((m & (vi)yes) | (~m & (vi)no));
}

static inline vf vf_min(vf a, vf b)
{
    return vf_select(a < b, a, b);
}

static inline vf vf_max(vf a, vf b)
{
    return vf_select(a > b, a, b);
}

static inline vm vf_lt(vf a, vf b)
{
    return a < b;
}

static inline vm vf_eq(vf a, vf b)
{
    return a == b;
}

static inline vi vi_set1(int32_t a)
{
    return a - (vi){0};
}

static inline vi vi_lanes(void)
{
    return (vi){0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
}

static inline vi vi_add(vi a, vi b)
{
    return a + b;
}

static inline vi vi_and(vi a, vi b)
{
    return a & b;
}

static inline vi vi_or(vi a, vi b)
{
    return a | b;
}

static inline vi vi_shift_right(vi a, int n)
{
    return (vi)((vu)a >> (uint32_t)n);
}

static inline vm vi_gt(vi a, vi b)
{
    return a > b;
}

static inline vm vm_and(vm a, vm b)
{
    return a & b;
}

/* the first but for the second */
static inline vm vm_without(vm a, vm b)
{
    return a & ~b;
}

static inline bool vm_any(vm a)
{
    int32_t any = 0;
    for (int i = 0; i < 16; i++)
        any |= a[i];
    return any != 0;
}

/* a, or 0 where the mask is not set */
static inline vi vi_keep(vm m, vi a)
{
    return m & a;
}

static inline vi vi_select(vm m, vi yes, vi no)
{
    return (m & yes) | (~m & no);
}

static inline vi vi_count(vi sum, vm m)
{
    return sum - m;
}

static inline void vi_store(int32_t *p, vi a)
{
    memcpy(p, &a, sizeof a);
}

static inline float vf_sum(vf a)
{
    float s[16];
    vf_store(s, a);
    for (int half = 8; half > 0; half /= 2)
        for (int i = 0; i < half; i++)
            s[i] += s[i + half];
    return s[0];
}

/* p 2^n, n whole and -150 <= n <= 129, rounded once */
static inline vf vf_scale(vf p, vf n)
{
    vi k = __builtin_convertvector(n, vi), half = k >> 1;
    return p * (vf)((half + 127) << 23) * (vf)((k - half + 127) << 23);
}

/* the same for n in -126 … 127 */
static inline vf vf_scale_normal(vf p, vf n)
{
    return p * (vf)((__builtin_convertvector(n, vi) + 127) << 23);
}

static inline vf vf_widen(enum qins_dtype dtype, vi wide)
{
    if (dtype == QINS_BF16)
        return (vf)(wide << 16);
    /* As a float32 with 5 bits of exponent whose bias is 112 too small; subnormals come out
     * right because the product is exact. */
    vi low = wide & 0x7fff, sign = (wide & 0x8000) << 16;
    vf value = (vf)(low << 13) * 0x1p112F;
    vi special = (vi)(low >= 0x7c00) & 0x7f800000;
    return (vf)((vi)value | special | sign);
}

static inline vf vf_load16(enum qins_dtype dtype, const void *p, size_t n)
{
    uint16_t half[16] = {0};
    memcpy(half, p, n < 16 ? n * sizeof *half : sizeof half);
    vi wide;
    for (int i = 0; i < 16; i++)
        wide[i] = half[i];
    return vf_widen(dtype, wide);
}

static inline vd vd_set1(double a)
{
    return a - (vd){0};
}

static inline vd vd_load(const double *p)
{
    vd a;
    memcpy(&a, p, sizeof a);
    return a;
}

static inline void vd_store(double *p, vd a)
{
    memcpy(p, &a, sizeof a);
}

static inline vd vd_low(vf a)
{
    vf8 low;
    memcpy(&low, &a, sizeof low);
    return __builtin_convertvector(low, vd);
}

static inline vd vd_high(vf a)
{
    vf8 high;
    memcpy(&high, (const char *)&a + sizeof high, sizeof high);
    return __builtin_convertvector(high, vd);
}

static inline vd vd_add(vd a, vd b)
{
    return a + b;
}

static inline vd vd_sub(vd a, vd b)
{
    return a - b;
}

/* a b + c, where a b is exact: the same as a fused one */
static inline vd vd_fma(vd a, vd b, vd c)
{
    return a * b + c;
}

static inline double vd_sum(vd a)
{
    double s[8];
    vd_store(s, a);
    for (int half = 4; half > 0; half /= 2)
        for (int i = 0; i < half; i++)
            s[i] += s[i + half];
    return s[0];
}

#define QN_KERNEL_TABLE qn_kernels_c
#include "model/kernels_template.h"
