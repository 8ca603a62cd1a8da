/* Kernels for AVX-512 F, BW, DQ and VL: 16 lanes are one register. */
#include "model/kernels_tables.h"

#include <immintrin.h>

typedef __m512 vf;
typedef __m512i vi;
typedef __mmask16 vm;
typedef __m512d vd;

/* 16 sums and what goes into them, in 32 registers. */
enum { ATTEND_VECTORS = 2, ATTEND_TILE = 8, GEMV_ROWS = 8 };

static inline vm first_lanes(size_t n)
{
    return (vm)((1U << n) - 1);
}

static inline vf vf_set1(float a)
{
    return _mm512_set1_ps(a);
}

static inline vf vf_load(const float *p)
{
    return _mm512_loadu_ps(p);
}

static inline void vf_store(float *p, vf a)
{
    _mm512_storeu_ps(p, a);
}

static inline vf vf_load_part(const float *p, size_t n)
{
    return _mm512_maskz_loadu_ps(first_lanes(n), p);
}

static inline void vf_store_part(float *p, vf a, size_t n)
{
    _mm512_mask_storeu_ps(p, first_lanes(n), a);
}

static inline vf vf_add(vf a, vf b)
{
    return _mm512_add_ps(a, b);
}

static inline vf vf_sub(vf a, vf b)
{
    return _mm512_sub_ps(a, b);
}

static inline vf vf_mul(vf a, vf b)
{
    return _mm512_mul_ps(a, b);
}

static inline vf vf_div(vf a, vf b)
{
    return _mm512_div_ps(a, b);
}

static inline vf vf_fma(vf a, vf b, vf c)
{
    return _mm512_fmadd_ps(a, b, c);
}

static inline vi vf_bits(vf a)
{
    return _mm512_castps_si512(a);
}

static inline vf vi_as_float(vi a)
{
    return _mm512_castsi512_ps(a);
}

static inline vf vf_select(vm m, vf yes, vf no)
{
    return _mm512_mask_blend_ps(m, no, yes);
}

static inline vf vf_min(vf a, vf b)
{
    return _mm512_min_ps(a, b);
}

static inline vf vf_max(vf a, vf b)
{
    return _mm512_max_ps(a, b);
}

static inline vm vf_lt(vf a, vf b)
{
    return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ);
}

static inline vm vf_eq(vf a, vf b)
{
    return _mm512_cmp_ps_mask(a, b, _CMP_EQ_OQ);
}

static inline vi vi_set1(int32_t a)
{
    return _mm512_set1_epi32(a);
}

static inline vi vi_lanes(void)
{
    return _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
}

static inline vi vi_add(vi a, vi b)
{
    return _mm512_add_epi32(a, b);
}

static inline vi vi_and(vi a, vi b)
{
    return _mm512_and_si512(a, b);
}

static inline vi vi_or(vi a, vi b)
{
    return _mm512_or_si512(a, b);
}

static inline vi vi_shift_right(vi a, unsigned n)
{
    return _mm512_srli_epi32(a, n);
}

static inline vm vi_gt(vi a, vi b)
{
    return _mm512_cmpgt_epi32_mask(a, b);
}

static inline vm vm_and(vm a, vm b)
{
    return (vm)(a & b);
}

/* the first but for the second */
static inline vm vm_without(vm a, vm b)
{
    return (vm)(a & ~b);
}

static inline bool vm_any(vm a)
{
    return a != 0;
}

/* a, or 0 where the mask is not set */
static inline vi vi_keep(vm m, vi a)
{
    return _mm512_maskz_mov_epi32(m, a);
}

static inline vi vi_select(vm m, vi yes, vi no)
{
    return _mm512_mask_blend_epi32(m, no, yes);
}

static inline vi vi_count(vi sum, vm m)
{
    return _mm512_mask_add_epi32(sum, m, sum, _mm512_set1_epi32(1));
}

static inline void vi_store(int32_t *p, vi a)
{
    _mm512_storeu_si512(p, a);
}

static inline float vf_sum(vf a)
{
    __m256 b = _mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
    __m128 c = _mm_add_ps(_mm256_castps256_ps128(b), _mm256_extractf128_ps(b, 1));
    c = _mm_add_ps(c, _mm_movehl_ps(c, c));
    return _mm_cvtss_f32(_mm_add_ss(c, _mm_movehdup_ps(c)));
}

/* p 2^n, n whole and -150 <= n <= 129, rounded once */
static inline vf vf_scale(vf p, vf n)
{
    return _mm512_scalef_ps(p, n);
}

/* the same for n in -126 … 127 */
static inline vf vf_scale_normal(vf p, vf n)
{
    return _mm512_scalef_ps(p, n);
}

static inline vf vf_load16(enum qins_dtype dtype, const void *p, size_t n)
{
    __m256i half = n >= 16 ? _mm256_loadu_si256(p) : _mm256_maskz_loadu_epi16(first_lanes(n), p);
    if (dtype == QINS_F16)
        return _mm512_cvtph_ps(half);
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
}

static inline vd vd_set1(double a)
{
    return _mm512_set1_pd(a);
}

static inline vd vd_load(const double *p)
{
    return _mm512_loadu_pd(p);
}

static inline void vd_store(double *p, vd a)
{
    _mm512_storeu_pd(p, a);
}

static inline vd vd_low(vf a)
{
    return _mm512_cvtps_pd(_mm512_castps512_ps256(a));
}

static inline vd vd_high(vf a)
{
    return _mm512_cvtps_pd(_mm512_extractf32x8_ps(a, 1));
}

static inline vd vd_add(vd a, vd b)
{
    return _mm512_add_pd(a, b);
}

static inline vd vd_sub(vd a, vd b)
{
    return _mm512_sub_pd(a, b);
}

static inline vd vd_fma(vd a, vd b, vd c)
{
    return _mm512_fmadd_pd(a, b, c);
}

static inline double vd_sum(vd a)
{
    __m256d b = _mm256_add_pd(_mm512_castpd512_pd256(a), _mm512_extractf64x4_pd(a, 1));
    __m128d c = _mm_add_pd(_mm256_castpd256_pd128(b), _mm256_extractf128_pd(b, 1));
    return _mm_cvtsd_f64(_mm_add_sd(c, _mm_unpackhi_pd(c, c)));
}

#define QN_KERNEL_TABLE qn_kernels_avx512
#include "model/kernels_template.h"
