/* With AVX2: digits by tables of 16 bytes, products of words. */
#include "formats/codec/x86/spread_avx2.h"
#include "model/packed_tables.h"

enum { HALF_STEP = QN_PACKED_STEP / 2, PREFETCH = 4 << 10 /* bytes */ };

#define INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 8")

/* Half a step's inputs: those of even codes, then of odd ones, and their high digits. Words of
 * weights' digits come out of bytes that way, and the products of codes 4j … 4j + 3 in lane j. */
struct half_step {
    int16_t even[16], odd[16], high_even[16], high_odd[16];
};
_Static_assert(2 * sizeof(struct half_step) == QN_PACKED_PLANES, "a step of inputs");

static void prepare(struct qn_packed_input *p, const float *x)
{
    int16_t fixed[QN_PACKED_MAX_BLOCK];
    struct half_step *to = (struct half_step *)(void *)p->planes;
    for (size_t begin = 0, b = 0; begin < p->in; begin += p->block, b++) {
        const size_t n = (size_t)qn_min_u64(p->block, p->in - begin);
        const size_t halves = 2 * qn_packed_steps(n);
        qn_packed_quantise(p, b, x + begin, n, fixed);
        for (size_t i = 0; i < halves; i++, to++)
            for (size_t k = 0; k < 16; k++) {
                to->even[k] = fixed[i * HALF_STEP + 2 * k];
                to->odd[k] = fixed[i * HALF_STEP + 2 * k + 1];
                to->high_even[k] = qn_packed_high(to->even[k]);
                to->high_odd[k] = qn_packed_high(to->odd[k]);
            }
    }
}

/* How codes of some number of bits become digits. */
struct decoder {
    __m256i mask, middle;
    struct qn_spread4 fours[4];
    const struct qn_packed_table *table;
    unsigned shift;
};

static void decoder_shift(struct decoder *d, unsigned shift)
{
    d->shift = shift;
    for (unsigned k = 0; k < 4; k++)
        d->fours[k] = qn_spread4_init(d->table->bits, shift + 4 * k * d->table->bits);
}

static void decoder_init(struct decoder *d, const struct qn_packed_table *t)
{
    d->table = t;
    d->mask = _mm256_set1_epi32((1 << t->bits) - 1);
    d->middle = _mm256_set1_epi8((char)t->levels);
    decoder_shift(d, 0);
}

INLINE __m256i load(const void *p)
{
    return _mm256_loadu_si256(p);
}

/* 32 codes, 16 of which lie in 2 · bits bytes. */
INLINE __m256i unpack(const struct decoder *d, const uint8_t *src)
{
    const unsigned bits = d->table->bits;
    if (bits == 8)
        return load(src);
    const __m256i halves = qn_load_halves(src, src + (size_t)2 * bits);
    __m256i v[4];
    UNROLL for (unsigned k = 0; k < 4; k++) v[k] = qn_spread4(&d->fours[k], halves, d->mask);
    return _mm256_packus_epi16(_mm256_packus_epi32(v[0], v[1]), _mm256_packus_epi32(v[2], v[3]));
}

INLINE __m256i table(const uint8_t t[16])
{
    return _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(const void *)t));
}

struct digits {
    __m256i high, low;
};

/* The digits of 32 codes. A level's are the exclusive or of the steps up to its 16; those above
 * read an index below 0, which gives 0. TABLES: 16 levels each. */
INLINE struct digits look_up(const struct decoder *d, unsigned tables, __m256i codes)
{
    const __m256i distance = _mm256_sub_epi8(codes, d->middle);
    __m256i level = _mm256_abs_epi8(distance);
    __m256i high = _mm256_shuffle_epi8(table(d->table->level_steps[0][0]), level),
            low = _mm256_shuffle_epi8(table(d->table->level_steps[1][0]), level);
    UNROLL for (unsigned t = 1; t < tables; t++)
    {
        level = _mm256_sub_epi8(level, _mm256_set1_epi8(16));
        high =
            _mm256_xor_si256(high, _mm256_shuffle_epi8(table(d->table->level_steps[0][t]), level));
        low = _mm256_xor_si256(low, _mm256_shuffle_epi8(table(d->table->level_steps[1][t]), level));
    }
    return (struct digits){_mm256_sign_epi8(high, distance), _mm256_sign_epi8(low, distance)};
}

INLINE __m256i even(__m256i bytes)
{
    return _mm256_srai_epi16(_mm256_slli_epi16(bytes, 8), 8);
}

INLINE __m256i odd(__m256i bytes)
{
    return _mm256_srai_epi16(bytes, 8);
}

/* The same as words. */
struct words {
    __m256i high_even, high_odd, low_even, low_odd;
};

INLINE struct words widen(struct digits d)
{
    return (struct words){even(d.high), odd(d.high), even(d.low), odd(d.low)};
}

INLINE __m256i add_products(__m256i sum, const struct words *w, const struct half_step *x)
{
    const __m256i a = _mm256_madd_epi16(w->high_even, load(x->even)),
                  b = _mm256_madd_epi16(w->high_odd, load(x->odd)),
                  c = _mm256_madd_epi16(w->low_even, load(x->high_even)),
                  d = _mm256_madd_epi16(w->low_odd, load(x->high_odd));
    return _mm256_add_epi32(sum, _mm256_add_epi32(_mm256_add_epi32(a, b), _mm256_add_epi32(c, d)));
}

INLINE __m256i low_digits(const int16_t *x, const int16_t *high)
{
    return _mm256_sub_epi16(load(x), _mm256_slli_epi16(load(high), 8));
}

/* Vl Xl. */
INLINE __m256i add_rest(__m256i sum, const struct words *w, const struct half_step *x)
{
    const __m256i a = _mm256_madd_epi16(w->low_even, low_digits(x->even, x->high_even)),
                  b = _mm256_madd_epi16(w->low_odd, low_digits(x->odd, x->high_odd));
    return _mm256_add_epi32(sum, _mm256_add_epi32(a, b));
}

/* What lanes have summed for one row of inputs: 0 … 7 and 8 … 15. */
struct lanes {
    __m256i sum[2], rest[2];
    __m256 f[2];
};

INLINE __m256 group_scales(const struct qn_packed_rows *w, const float *scales, size_t at,
                           unsigned half)
{
    if (w->group >= QN_PACKED_STEP)
        return _mm256_set1_ps(scales[at / w->group]);
    const float *s = scales + (at + (size_t)HALF_STEP * half) / w->group;
    return w->group == 32 ? _mm256_set1_ps(*s)
                          : _mm256_setr_ps(s[0], s[0], s[0], s[0], s[1], s[1], s[1], s[1]);
}

INLINE void end_block(struct lanes *l, const struct qn_packed_rows *w,
                      const struct qn_packed_input *p, const float *scales, size_t block)
{
    for (unsigned half = 0; half < 2; half++) {
        const __m256i sum = _mm256_add_epi32(l->sum[half], _mm256_srai_epi32(l->rest[half], 8));
        __m256 scale = _mm256_set1_ps(p->scales[block]);
        if (w->group < w->in)
            scale = _mm256_mul_ps(scale, group_scales(w, scales, block * p->block, half));
        l->f[half] = _mm256_add_ps(l->f[half], _mm256_mul_ps(_mm256_cvtepi32_ps(sum), scale));
        l->sum[half] = l->rest[half] = _mm256_setzero_si256();
    }
}

/* In the order of qn_packed_kernels_c. */
INLINE float add_lanes(const struct lanes *l)
{
    const __m256 a = _mm256_add_ps(l->f[0], l->f[1]);
    const __m128 b = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    const __m128 c = _mm_add_ps(b, _mm_movehl_ps(b, b));
    return _mm_cvtss_f32(_mm_add_ss(c, _mm_shuffle_ps(c, c, 1)));
}

/* A row of codes by N rows of inputs. */
INLINE void multiply_row(const struct qn_packed_rows *w, const struct decoder *d, unsigned tables,
                         const uint8_t *src, const float *scales,
                         const struct qn_packed_input *inputs, size_t n, float *y, size_t y_stride)
{
    const size_t steps = qn_packed_steps(w->in), per_block = inputs[0].block / QN_PACKED_STEP;
    const size_t half_bytes = (size_t)4 * w->table->bits;
    struct lanes l[QN_PACKED_MAX_ROWS];
    UNROLL for (size_t k = 0; k < n; k++) l[k] = (struct lanes){0};
    for (size_t s = 0, block = 0; s < steps; block++) {
        const size_t end = s + per_block < steps ? s + per_block : steps;
        for (; s < end; s++) {
            _mm_prefetch((const char *)src + PREFETCH, _MM_HINT_T0);
            UNROLL for (size_t half = 0; half < 2; half++, src += half_bytes)
            {
                const struct words words = widen(look_up(d, tables, unpack(d, src)));
                UNROLL for (size_t k = 0; k < n; k++)
                {
                    const struct half_step *x =
                        (const struct half_step *)(const void *)inputs[k].planes;
                    l[k].sum[half] = add_products(l[k].sum[half], &words, x + 2 * s + half);
                    if (inputs[k].exact[block])
                        l[k].rest[half] = add_rest(l[k].rest[half], &words, x + 2 * s + half);
                }
            }
        }
        UNROLL for (size_t k = 0; k < n; k++) end_block(&l[k], w, &inputs[k], scales, block);
    }
    UNROLL for (size_t k = 0; k < n; k++) y[k * y_stride] =
        w->group < w->in ? add_lanes(&l[k]) : add_lanes(&l[k]) * scales[0];
}

INLINE void multiply_rows(const struct qn_packed_rows *w, unsigned tables,
                          const struct qn_packed_input *inputs, size_t n, float *y, size_t y_stride)
{
    struct decoder d;
    decoder_init(&d, w->table);
    for (size_t r = 0; r < w->rows; r++) {
        const size_t at = (w->first + r * w->in) * w->table->bits;
        if (at % 8 != d.shift)
            decoder_shift(&d, (unsigned)(at % 8));
        multiply_row(w, &d, tables, w->codes + at / 8, w->scales + r * w->row_scales, inputs, n,
                     y + r, y_stride);
    }
}

/* One loop for each number of tables and of inputs that is a power of two. */
#define ROWS(tables, n)                                                                            \
    static void rows_##tables##_##n(const struct qn_packed_rows *w,                                \
                                    const struct qn_packed_input *inputs, float *y,                \
                                    size_t y_stride)                                               \
    {                                                                                              \
        multiply_rows(w, tables, inputs, n, y, y_stride);                                          \
    }
#define ALL_ROWS(tables) ROWS(tables, 1) ROWS(tables, 2) ROWS(tables, 4)
ALL_ROWS(1)
ALL_ROWS(2)
ALL_ROWS(4)
ALL_ROWS(8)

typedef void rows_fn(const struct qn_packed_rows *w, const struct qn_packed_input *inputs, float *y,
                     size_t y_stride);
static rows_fn *const rows_of[4][3] = {{rows_1_1, rows_1_2, rows_1_4},
                                       {rows_2_1, rows_2_2, rows_2_4},
                                       {rows_4_1, rows_4_2, rows_4_4},
                                       {rows_8_1, rows_8_2, rows_8_4}};

static void multiply(const struct qn_packed_rows *w, const struct qn_packed_input *inputs, size_t n,
                     float *y, size_t y_stride)
{
    const unsigned kind = w->table->bits <= 5 ? 0 : w->table->bits - 5;
    for (size_t k = 0; k < n;) {
        size_t power = 2;
        while ((size_t)1 << power > n - k)
            power--;
        rows_of[kind][power](w, inputs + k, y + k * y_stride, y_stride);
        k += (size_t)1 << power;
    }
}

const struct qn_packed_kernels qn_packed_kernels_avx2 = {prepare, multiply};
