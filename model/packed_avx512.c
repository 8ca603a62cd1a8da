/* With AVX-512 VBMI and VNNI: digits by permutations of bytes, four products a lane at once. */
#include "formats/codec/x86/spread_avx512.h"
#include "model/packed_tables.h"

enum {
    OFFSETS = 2 * QN_PACKED_LANES, /* of a block */
    STEP_BYTES = 128,              /* of inputs: 64 high digits, 64 low ones */
    PREFETCH = 16 << 10, /* bytes ahead into the second-level cache [measured: 21 to 26 GB/s] */
};

#define INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 8")

/* Weights' digits are bytes plus 128, so each lane's sum is too large by what its inputs' digits
 * and those 128s make: SUM of what counts always, REST of Vl Xl. */
static void add_offsets(__m512i high, __m512i low, __m512i *sum, __m512i *rest)
{
    const __m512i bias = _mm512_set1_epi8((char)128), zero = _mm512_setzero_si512();
    const __m512i h = _mm512_dpbusd_epi32(zero, bias, high),
                  l = _mm512_dpbusd_epi32(zero, bias, low);
    *sum =
        _mm512_sub_epi32(*sum, _mm512_add_epi32(_mm512_slli_epi32(h, 8), _mm512_add_epi32(h, l)));
    *rest = _mm512_sub_epi32(*rest, l);
}

/* 64 numbers to their digits. */
static void split(const int16_t *x, __m512i *high, __m512i *low)
{
    const __m512i round = _mm512_set1_epi16(128);
    const __m512i a = _mm512_loadu_si512(x), b = _mm512_loadu_si512(x + 32);
    const __m512i ha = _mm512_srai_epi16(_mm512_add_epi16(a, round), 8),
                  hb = _mm512_srai_epi16(_mm512_add_epi16(b, round), 8);
    *high = _mm512_inserti64x4(_mm512_castsi256_si512(_mm512_cvtepi16_epi8(ha)),
                               _mm512_cvtepi16_epi8(hb), 1);
    *low = _mm512_inserti64x4(_mm512_castsi256_si512(_mm512_cvtepi16_epi8(a)),
                              _mm512_cvtepi16_epi8(b), 1);
}

static void prepare(struct qn_packed_input *p, const float *x)
{
    int16_t fixed[QN_PACKED_MAX_BLOCK];
    uint8_t *to = p->planes;
    for (size_t begin = 0, b = 0; begin < p->in; begin += p->block, b++) {
        const size_t n = (size_t)qn_min_u64(p->block, p->in - begin);
        __m512i sum = _mm512_setzero_si512(), rest = sum, high, low;
        qn_packed_quantise(p, b, x + begin, n, fixed);
        for (size_t i = 0; i < n; i += QN_PACKED_STEP, to += STEP_BYTES) {
            split(fixed + i, &high, &low);
            add_offsets(high, low, &sum, &rest);
            _mm512_storeu_si512(to, high);
            _mm512_storeu_si512(to + 64, low);
        }
        _mm512_storeu_si512(p->offsets + b * OFFSETS, sum);
        _mm512_storeu_si512(p->offsets + b * OFFSETS + QN_PACKED_LANES, rest);
    }
}

/* How codes of some number of bits become digits. */
struct decoder {
    __m512i high[2], low[2], middle;
    struct qn_spread spread;
    unsigned shift;
};

INLINE void decoder_init(struct decoder *d, const struct qn_packed_table *t, unsigned bits)
{
    const uint8_t(*bytes)[128] = bits == 8 ? t->level_bytes : t->code_bytes;
    for (size_t k = 0; k < 2; k++) {
        d->high[k] = _mm512_loadu_si512(bytes[0] + 64 * k);
        d->low[k] = _mm512_loadu_si512(bytes[1] + 64 * k);
    }
    d->middle = _mm512_set1_epi8((char)t->levels);
    d->shift = 0;
    d->spread = qn_spread_bytes_init(t->bits, 0);
}

INLINE void decoder_shift(struct decoder *d, const struct qn_packed_table *t, unsigned shift)
{
    if (shift != d->shift)
        d->spread = qn_spread_bytes_init(t->bits, shift);
    d->shift = shift;
}

/* BITS is 8, 7, 6 or, for anything less, 5. Of 8 bits the level's digits are looked up and negated
 * where the code lies below the middle; fewer bits find their code's in the table, which does not
 * look at the bits above. */
INLINE void decode(const struct decoder *d, unsigned bits, const uint8_t *src, __m512i *high,
                   __m512i *low)
{
    const __m512i packed = _mm512_loadu_si512(src), zero = _mm512_setzero_si512();
    if (bits == 8) {
        const __m512i distance = _mm512_sub_epi8(packed, d->middle);
        const __m512i level = _mm512_abs_epi8(distance);
        const __mmask64 below = _mm512_cmplt_epu8_mask(packed, d->middle);
        const __m512i h = _mm512_permutex2var_epi8(d->high[0], level, d->high[1]),
                      l = _mm512_permutex2var_epi8(d->low[0], level, d->low[1]);
        *high = _mm512_mask_sub_epi8(h, below, zero, h);
        *low = _mm512_mask_sub_epi8(l, below, zero, l);
        return;
    }
    const __m512i windows = _mm512_permutexvar_epi8(d->spread.bytes, packed);
    __m512i codes = _mm512_multishift_epi64_epi8(d->spread.shifts, windows);
    if (bits == 5)
        codes = _mm512_and_si512(codes, d->spread.mask);
    if (bits == 7) {
        *high = _mm512_permutex2var_epi8(d->high[0], codes, d->high[1]);
        *low = _mm512_permutex2var_epi8(d->low[0], codes, d->low[1]);
    } else {
        *high = _mm512_permutexvar_epi8(codes, d->high[0]);
        *low = _mm512_permutexvar_epi8(codes, d->low[0]);
    }
}

/* The weights' scales of a block that begins at input AT, in each lane. */
INLINE __m512 group_scales(const struct qn_packed_rows *w, const float *scales, size_t at)
{
    const __m512i lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    if (w->group >= QN_PACKED_STEP)
        return _mm512_set1_ps(scales[at / w->group]);
    const __m512i index = _mm512_srli_epi32(lane, w->group == 32 ? 3 : 2);
    return _mm512_permutexvar_ps(index, _mm512_loadu_ps(scales + at / w->group));
}

/* In the order of qn_packed_kernels_c. */
INLINE float add_lanes(__m512 f)
{
    const __m256 a = _mm256_add_ps(_mm512_castps512_ps256(f), _mm512_extractf32x8_ps(f, 1));
    const __m128 b = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    const __m128 c = _mm_add_ps(b, _mm_movehl_ps(b, b));
    return _mm_cvtss_f32(_mm_add_ss(c, _mm_shuffle_ps(c, c, 1)));
}

/* What lanes have summed for one row of inputs. */
struct lanes {
    __m512i high, middle, low, rest; /* Vh Xh; Vh Xl; Vl Xh; Vl Xl */
    __m512 f;
};

INLINE void begin_block(struct lanes *l, const struct qn_packed_input *p, size_t block)
{
    l->high = l->low = _mm512_setzero_si512();
    l->middle = _mm512_loadu_si512(p->offsets + block * OFFSETS);
    l->rest = _mm512_loadu_si512(p->offsets + block * OFFSETS + QN_PACKED_LANES);
}

INLINE void end_block(struct lanes *l, const struct qn_packed_rows *w,
                      const struct qn_packed_input *p, const float *scales, size_t block,
                      bool exact)
{
    __m512i sum =
        _mm512_add_epi32(_mm512_slli_epi32(l->high, 8), _mm512_add_epi32(l->middle, l->low));
    if (exact)
        sum = _mm512_add_epi32(sum, _mm512_and_si512(_mm512_srai_epi32(l->rest, 8),
                                                     _mm512_set1_epi32(p->exact[block])));
    __m512 scale = _mm512_set1_ps(p->scales[block]);
    if (w->group < w->in)
        scale = _mm512_mul_ps(scale, group_scales(w, scales, block * p->block));
    l->f = _mm512_add_ps(l->f, _mm512_mul_ps(_mm512_cvtepi32_ps(sum), scale));
}

INLINE void add_products(struct lanes *l, __m512i high, __m512i low, const uint8_t *x, bool exact)
{
    const __m512i xh = _mm512_loadu_si512(x), xl = _mm512_loadu_si512(x + 64);
    l->high = _mm512_dpbusd_epi32(l->high, high, xh);
    l->middle = _mm512_dpbusd_epi32(l->middle, high, xl);
    l->low = _mm512_dpbusd_epi32(l->low, low, xh);
    if (exact)
        l->rest = _mm512_dpbusd_epi32(l->rest, low, xl);
}

/* What a row of codes and N rows of inputs need to know of each other. */
struct row {
    const struct qn_packed_rows *w;
    const struct decoder *d;
    const uint8_t *src;
    const float *scales;
    const struct qn_packed_input *inputs;
};

/* One block, its steps S ... END - 1. EXACT: of one of the inputs Vl Xl counts. */
INLINE void multiply_block(const struct row *r, unsigned bits, size_t n, struct lanes *l,
                           size_t block, size_t s, size_t end, bool exact)
{
    const size_t step_bytes = (size_t)8 * r->w->table->bits;
    const uint8_t *src = r->src + s * step_bytes;
    UNROLL for (size_t k = 0; k < n; k++) begin_block(&l[k], &r->inputs[k], block);
    for (; s < end; s++, src += step_bytes) {
        __m512i high, low;
        _mm_prefetch((const char *)src + PREFETCH, _MM_HINT_T1);
        decode(r->d, bits, src, &high, &low);
        UNROLL for (size_t k = 0; k < n; k++)
            add_products(&l[k], high, low, r->inputs[k].planes + s * STEP_BYTES, exact);
    }
    UNROLL for (size_t k = 0; k < n; k++)
        end_block(&l[k], r->w, &r->inputs[k], r->scales, block, exact);
}

INLINE void multiply_row(const struct row *r, unsigned bits, size_t n, float *y, size_t y_stride)
{
    const struct qn_packed_rows *w = r->w;
    const size_t steps = qn_packed_steps(w->in), per_block = r->inputs[0].block / QN_PACKED_STEP;
    struct lanes l[QN_PACKED_MAX_ROWS];
    UNROLL for (size_t k = 0; k < n; k++) l[k].f = _mm512_setzero_ps();
    for (size_t s = 0, block = 0; s < steps; s += per_block, block++) {
        const size_t end = s + per_block < steps ? s + per_block : steps;
        int32_t exact = 0;
        UNROLL for (size_t k = 0; k < n; k++) exact |= r->inputs[k].exact[block];
        if (exact)
            multiply_block(r, bits, n, l, block, s, end, true);
        else
            multiply_block(r, bits, n, l, block, s, end, false);
    }
    UNROLL for (size_t k = 0; k < n; k++) y[k * y_stride] =
        w->group < w->in ? add_lanes(l[k].f) : add_lanes(l[k].f) * r->scales[0];
}

INLINE void multiply_rows(const struct qn_packed_rows *w, unsigned bits,
                          const struct qn_packed_input *inputs, size_t n, float *y, size_t y_stride)
{
    struct decoder d;
    decoder_init(&d, w->table, bits);
    for (size_t r = 0; r < w->rows; r++) {
        const size_t at = (w->first + r * w->in) * w->table->bits;
        decoder_shift(&d, w->table, (unsigned)(at % 8));
        const struct row row = {w, &d, w->codes + at / 8, w->scales + r * w->row_scales, inputs};
        multiply_row(&row, bits, n, y + r, y_stride);
    }
}

/* One loop for each kind of codes and each number of inputs that is a power of two. */
#define ROWS(bits, n)                                                                              \
    static void rows_##bits##_##n(const struct qn_packed_rows *w,                                  \
                                  const struct qn_packed_input *inputs, float *y, size_t y_stride) \
    {                                                                                              \
        multiply_rows(w, bits, inputs, n, y, y_stride);                                            \
    }
#define ALL_ROWS(bits) ROWS(bits, 1) ROWS(bits, 2) ROWS(bits, 4) ROWS(bits, 8)
ALL_ROWS(5)
ALL_ROWS(6)
ALL_ROWS(7)
ALL_ROWS(8)

typedef void rows_fn(const struct qn_packed_rows *w, const struct qn_packed_input *inputs, float *y,
                     size_t y_stride);
static rows_fn *const rows_of[4][4] = {{rows_5_1, rows_5_2, rows_5_4, rows_5_8},
                                       {rows_6_1, rows_6_2, rows_6_4, rows_6_8},
                                       {rows_7_1, rows_7_2, rows_7_4, rows_7_8},
                                       {rows_8_1, rows_8_2, rows_8_4, rows_8_8}};

static void multiply(const struct qn_packed_rows *w, const struct qn_packed_input *inputs, size_t n,
                     float *y, size_t y_stride)
{
    const unsigned kind = w->table->bits < 5 ? 0 : w->table->bits - 5;
    for (size_t k = 0; k < n;) {
        size_t power = 3;
        while ((size_t)1 << power > n - k)
            power--;
        rows_of[kind][power](w, inputs + k, y + k * y_stride, y_stride);
        k += (size_t)1 << power;
    }
}

const struct qn_packed_kernels qn_packed_kernels_avx512 = {
    .fixed = true, .few_rows = 16, .prepare = prepare, .multiply = multiply};
