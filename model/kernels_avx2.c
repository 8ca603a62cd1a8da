/* Kernels for AVX2, FMA and F16C: 16 lanes are a pair of registers. */
#include "model/kernels_tables.h"

#include <immintrin.h>

typedef struct {
    __m256 a, b;
} vf;
typedef struct {
    __m256i a, b;
} vi;
typedef vi vm; /* -1 or 0 a lane */
typedef struct {
    __m256d a, b;
} vd;

/* 8 registers of sums and what goes into them, in 16 registers. */
enum { ATTEND_VECTORS = 1, ATTEND_TILE = 4, GEMV_ROWS = 4 };

/* Both halves of a vector by one intrinsic. */
#define BOTH1(type, f, x)                                                                          \
    (type)                                                                                         \
    {                                                                                              \
        f((x).a), f((x).b)                                                                         \
    }
#define BOTH2(type, f, x, y)                                                                       \
    (type)                                                                                         \
    {                                                                                              \
        f((x).a, (y).a), f((x).b, (y).b)                                                           \
    }
#define BOTH3(type, f, x, y, z)                                                                    \
    (type)                                                                                         \
    {                                                                                              \
        f((x).a, (y).a, (z).a), f((x).b, (y).b, (z).b)                                             \
    }

static inline vf vf_set1(float x)
{
    return (vf){_mm256_set1_ps(x), _mm256_set1_ps(x)};
}

static inline vf vf_load(const float *p)
{
    return (vf){_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)};
}

static inline void vf_store(float *p, vf x)
{
    _mm256_storeu_ps(p, x.a);
    _mm256_storeu_ps(p + 8, x.b);
}

static inline vi vi_set1(int32_t x)
{
    return (vi){_mm256_set1_epi32(x), _mm256_set1_epi32(x)};
}

static inline vi vi_lanes(void)
{
    return (vi){_mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7),
                _mm256_setr_epi32(8, 9, 10, 11, 12, 13, 14, 15)};
}

static inline vm vi_gt(vi x, vi y)
{
    return BOTH2(vm, _mm256_cmpgt_epi32, x, y);
}

static inline vm first_lanes(size_t n)
{
    return vi_gt(vi_set1((int32_t)n), vi_lanes());
}

static inline vf vf_load_part(const float *p, size_t n)
{
    vm m = first_lanes(n);
    /* The second half begins behind a row of less than 8. */
    __m256 low = _mm256_maskload_ps(p, m.a);
    return (vf){low, n > 8 ? _mm256_maskload_ps(p + 8, m.b) : _mm256_setzero_ps()};
}

static inline void vf_store_part(float *p, vf x, size_t n)
{
    vm m = first_lanes(n);
    _mm256_maskstore_ps(p, m.a, x.a);
    if (n > 8)
        _mm256_maskstore_ps(p + 8, m.b, x.b);
}

static inline vf vf_add(vf x, vf y)
{
    return BOTH2(vf, _mm256_add_ps, x, y);
}

static inline vf vf_sub(vf x, vf y)
{
    return BOTH2(vf, _mm256_sub_ps, x, y);
}

static inline vf vf_mul(vf x, vf y)
{
    return BOTH2(vf, _mm256_mul_ps, x, y);
}

static inline vf vf_div(vf x, vf y)
{
    return BOTH2(vf, _mm256_div_ps, x, y);
}

static inline vf vf_fma(vf x, vf y, vf z)
{
    return BOTH3(vf, _mm256_fmadd_ps, x, y, z);
}

static inline vi vf_bits(vf x)
{
    return BOTH1(vi, _mm256_castps_si256, x);
}

static inline vf vi_as_float(vi x)
{
    return BOTH1(vf, _mm256_castsi256_ps, x);
}

static inline vf vf_select(vm m, vf yes, vf no)
{
    vf f = vi_as_float(m);
    return BOTH3(vf, _mm256_blendv_ps, no, yes, f);
}

static inline vf vf_min(vf x, vf y)
{
    return BOTH2(vf, _mm256_min_ps, x, y);
}

static inline vf vf_max(vf x, vf y)
{
    return BOTH2(vf, _mm256_max_ps, x, y);
}

static inline vm vf_lt(vf x, vf y)
{
    vf m = {_mm256_cmp_ps(x.a, y.a, _CMP_LT_OQ), _mm256_cmp_ps(x.b, y.b, _CMP_LT_OQ)};
    return vf_bits(m);
}

static inline vm vf_eq(vf x, vf y)
{
    vf m = {_mm256_cmp_ps(x.a, y.a, _CMP_EQ_OQ), _mm256_cmp_ps(x.b, y.b, _CMP_EQ_OQ)};
    return vf_bits(m);
}

static inline vi vi_add(vi x, vi y)
{
    return BOTH2(vi, _mm256_add_epi32, x, y);
}

static inline vi vi_and(vi x, vi y)
{
    return BOTH2(vi, _mm256_and_si256, x, y);
}

static inline vi vi_or(vi x, vi y)
{
    return BOTH2(vi, _mm256_or_si256, x, y);
}

static inline vi vi_shift_right(vi x, int n)
{
    return (vi){_mm256_srli_epi32(x.a, n), _mm256_srli_epi32(x.b, n)};
}

static inline vm vm_and(vm x, vm y)
{
    return vi_and(x, y);
}

/* the first but for the second */
static inline vm vm_without(vm x, vm y)
{
    return BOTH2(vm, _mm256_andnot_si256, y, x);
}

static inline bool vm_any(vm x)
{
    return _mm256_movemask_epi8(_mm256_or_si256(x.a, x.b)) != 0;
}

/* x, or 0 where the mask is not set */
static inline vi vi_keep(vm m, vi x)
{
    return vi_and(m, x);
}

static inline vi vi_select(vm m, vi yes, vi no)
{
    return BOTH3(vi, _mm256_blendv_epi8, no, yes, m);
}

static inline vi vi_count(vi sum, vm m)
{
    return BOTH2(vi, _mm256_sub_epi32, sum, m);
}

static inline void vi_store(int32_t *p, vi x)
{
    _mm256_storeu_si256((__m256i_u *)p, x.a);
    _mm256_storeu_si256((__m256i_u *)(p + 8), x.b);
}

static inline float vf_sum(vf x)
{
    __m256 b = _mm256_add_ps(x.a, x.b);
    __m128 c = _mm_add_ps(_mm256_castps256_ps128(b), _mm256_extractf128_ps(b, 1));
    c = _mm_add_ps(c, _mm_movehl_ps(c, c));
    return _mm_cvtss_f32(_mm_add_ss(c, _mm_movehdup_ps(c)));
}

static inline __m256 power_of_two(__m256i n)
{
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(n, _mm256_set1_epi32(127)), 23));
}

static inline __m256 scale_half(__m256 p, __m256 n)
{
    __m256i k = _mm256_cvtps_epi32(n), half = _mm256_srai_epi32(k, 1);
    p = _mm256_mul_ps(p, power_of_two(half));
    return _mm256_mul_ps(p, power_of_two(_mm256_sub_epi32(k, half)));
}

/* p 2^n, n whole and -150 <= n <= 129, rounded once */
static inline vf vf_scale(vf p, vf n)
{
    return BOTH2(vf, scale_half, p, n);
}

/* the same for n in -126 … 127 */
static inline vf vf_scale_normal(vf p, vf n)
{
    return (vf){_mm256_mul_ps(p.a, power_of_two(_mm256_cvtps_epi32(n.a))),
                _mm256_mul_ps(p.b, power_of_two(_mm256_cvtps_epi32(n.b)))};
}

static inline __m256 widen_half(enum qins_dtype dtype, __m128i x)
{
    if (dtype == QINS_F16)
        return _mm256_cvtph_ps(x);
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(x), 16));
}

static inline vf vf_load16(enum qins_dtype dtype, const void *p, size_t n)
{
    __m128i x[2] = {0};
    if (n >= 16)
        __builtin_memcpy(x, p, sizeof x);
    else
        __builtin_memcpy(x, p, n * sizeof(uint16_t));
    return (vf){widen_half(dtype, x[0]), widen_half(dtype, x[1])};
}

static inline vd vd_set1(double x)
{
    return (vd){_mm256_set1_pd(x), _mm256_set1_pd(x)};
}

static inline vd vd_load(const double *p)
{
    return (vd){_mm256_loadu_pd(p), _mm256_loadu_pd(p + 4)};
}

static inline void vd_store(double *p, vd x)
{
    _mm256_storeu_pd(p, x.a);
    _mm256_storeu_pd(p + 4, x.b);
}

static inline vd widen_eight(__m256 x)
{
    return (vd){_mm256_cvtps_pd(_mm256_castps256_ps128(x)),
                _mm256_cvtps_pd(_mm256_extractf128_ps(x, 1))};
}

static inline vd vd_low(vf x)
{
    return widen_eight(x.a);
}

static inline vd vd_high(vf x)
{
    return widen_eight(x.b);
}

static inline vd vd_add(vd x, vd y)
{
    return BOTH2(vd, _mm256_add_pd, x, y);
}

static inline vd vd_sub(vd x, vd y)
{
    return BOTH2(vd, _mm256_sub_pd, x, y);
}

static inline vd vd_fma(vd x, vd y, vd z)
{
    return BOTH3(vd, _mm256_fmadd_pd, x, y, z);
}

static inline double vd_sum(vd x)
{
    __m256d b = _mm256_add_pd(x.a, x.b);
    __m128d c = _mm_add_pd(_mm256_castpd256_pd128(b), _mm256_extractf128_pd(b, 1));
    return _mm_cvtsd_f64(_mm_add_sd(c, _mm_unpackhi_pd(c, c)));
}

#define QN_KERNEL_TABLE qn_kernels_avx2
#include "model/kernels_template.h"
