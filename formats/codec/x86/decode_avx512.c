#include "formats/codec/kernels_list.h"
#include "formats/codec/x86/spread_avx512.h"

/* The bytes of the float32 of up to 128 levels, in registers. */
struct tables {
    __m512i low[4], high[4];
};

/* Outputs from here on may pass the caches: below, what they cost at their ends is not earned. */
enum { STREAM_FLOATS = 4096 };

static inline struct tables load_tables(const struct qn_code_decoder *d)
{
    struct tables t;
    for (unsigned k = 0; k < 4; k++) {
        t.low[k] = _mm512_loadu_si512(d->bytes[k]);
        t.high[k] = _mm512_loadu_si512(d->bytes[k] + 64);
    }
    return t;
}

/* The floats of 64 codes, 16 in each of four registers: the four bytes of each by level, then the
 * sign, then bytes to words to floats. These joins work on four neighbours in each quarter of a
 * register, so the codes are put in that order first. */
static inline void look_up(const struct tables *t, __m512i codes, __m512i middle, __m512i f[4])
{
    const __m512i quarters =
        _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    const __m512i d = _mm512_sub_epi8(_mm512_permutexvar_epi32(quarters, codes), middle);
    const __m512i level = _mm512_abs_epi8(d);
    __m512i b[4];
    for (unsigned k = 0; k < 4; k++)
        b[k] = _mm512_permutex2var_epi8(t->low[k], level, t->high[k]);
    const __m512i sign = _mm512_and_si512(d, _mm512_set1_epi8((char)0x80));
    b[3] = _mm512_or_si512(b[3], sign);
    const __m512i low01 = _mm512_unpacklo_epi8(b[0], b[1]),
                  low23 = _mm512_unpacklo_epi8(b[2], b[3]);
    const __m512i high01 = _mm512_unpackhi_epi8(b[0], b[1]),
                  high23 = _mm512_unpackhi_epi8(b[2], b[3]);
    f[0] = _mm512_unpacklo_epi16(low01, low23);
    f[1] = _mm512_unpackhi_epi16(low01, low23);
    f[2] = _mm512_unpacklo_epi16(high01, high23);
    f[3] = _mm512_unpackhi_epi16(high01, high23);
}

/* Most groups of a chunk lie within the range that is known. */
static inline void widen_range(struct qn_code_range *range, __m512i least, __m512i most)
{
    const __m512i low = _mm512_set1_epi8((char)(range->least < 255 ? range->least : 255)),
                  high = _mm512_set1_epi8((char)range->most);
    if (range->least <= 255 && !_mm512_cmplt_epu8_mask(least, low) &&
        !_mm512_cmpgt_epu8_mask(most, high))
        return;
    uint8_t l[64], m[64];
    _mm512_storeu_si512(l, least);
    _mm512_storeu_si512(m, most);
    for (size_t i = 0; i < 64; i++) {
        range->least = l[i] < range->least ? l[i] : range->least;
        range->most = m[i] > range->most ? m[i] : range->most;
    }
}

/* Codes of up to 8 bits. STREAM: X lies on a line of the cache. */
static inline __attribute__((always_inline)) void
decode_bytes(const struct qn_code_decoder *d, size_t first, size_t n, float factor, float *x,
             struct qn_code_range *range, bool stream)
{
    const struct tables t = load_tables(d);
    const uint8_t *src = d->data + first * d->bits / 8, *end = d->data + d->size;
    const struct qn_spread s = qn_spread_bytes_init(d->bits, (unsigned)(first * d->bits % 8));
    const __m512i middle = _mm512_set1_epi8((char)d->grid->levels);
    const __m512 scale = _mm512_set1_ps(factor);
    const size_t step = (size_t)8 * d->bits; /* bytes of 64 codes */
    __m512i least = _mm512_set1_epi8(-1), most = _mm512_setzero_si512(), f[4];
    size_t i = 0;
    for (; n - i >= 64; i += 64, src += step) {
        const __m512i codes = qn_spread_bytes(&s, qn_load_up_to(src, end));
        least = _mm512_min_epu8(least, codes);
        most = _mm512_max_epu8(most, codes);
        look_up(&t, codes, middle, f);
        for (unsigned k = 0; k < 4; k++) {
            const __m512 v = _mm512_mul_ps(_mm512_castsi512_ps(f[k]), scale);
            if (stream)
                _mm512_stream_ps(x + i + (size_t)16 * k, v);
            else
                _mm512_storeu_ps(x + i + (size_t)16 * k, v);
        }
    }
    if (i < n) {
        const __mmask64 lanes = qn_lanes64(n - i);
        const __m512i codes = qn_spread_bytes(&s, qn_load_up_to(src, end));
        least = _mm512_mask_min_epu8(least, lanes, least, codes);
        most = _mm512_mask_max_epu8(most, lanes, most, codes);
        look_up(&t, codes, middle, f);
        for (unsigned k = 0; k < 4; k++)
            _mm512_mask_storeu_ps(x + i + (size_t)16 * k, (__mmask16)(lanes >> 16 * k),
                                  _mm512_mul_ps(_mm512_castsi512_ps(f[k]), scale));
    }
    widen_range(range, least, most);
}

void qn_decode_avx512(const struct qn_code_decoder *d, size_t first, size_t n, float factor,
                      float *x, struct qn_code_range *range)
{
    if (n == 0)
        return;
    if (d->bits > 8 || d->grid->levels >= QN_BYTE_LEVELS) {
        qn_decode_blocks(d, first, n, factor, x, range, qn_unpack_avx512, qn_range_avx512);
        return;
    }
    if (!d->stream || n < STREAM_FLOATS) {
        decode_bytes(d, first, n, factor, x, range, false);
        return;
    }
    const size_t head = (64 - (uintptr_t)x % 64) % 64 / sizeof *x;
    if (head > 0)
        decode_bytes(d, first, head, factor, x, range, false);
    decode_bytes(d, first + head, n - head, factor, x + head, range, true);
    _mm_sfence();
}
