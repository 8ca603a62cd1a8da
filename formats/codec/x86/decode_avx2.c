#include "formats/codec/kernels_list.h"
#include "formats/codec/x86/spread_avx2.h"

#include <string.h>

enum {
    STREAM_FLOATS = 4096,              /* outputs from here on may pass the caches */
    MOST_LEVELS = 16 * QN_STEP_TABLES, /* eight tables for 128 are slower than loads [measured] */
    HALF = 16,                         /* bytes */
    CODES = 256,                       /* of eight bits */
    PAIRED_FLOATS = 1024,              /* outputs from here on are worth tables of pairs */
};

static inline __m256i table(const uint8_t t[16])
{
    return _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(const void *)t));
}

/* 32 codes of up to 8 bits, the first at bit SHIFT of SRC; 16 of them lie in 2 · bits bytes. */
struct spread32 {
    struct qn_spread4 fours[4];
    __m256i mask;
    unsigned bits;
};

static inline struct spread32 spread32_init(unsigned bits, unsigned shift)
{
    struct spread32 s = {.mask = _mm256_set1_epi32((1 << bits) - 1), .bits = bits};
    for (unsigned k = 0; k < 4; k++)
        s.fours[k] = qn_spread4_init(bits, shift + 4 * k * bits);
    return s;
}

static inline __m256i spread32(const struct spread32 *s, const uint8_t *src)
{
    if (s->bits == 8)
        return _mm256_loadu_si256((const __m256i *)(const void *)src);
    const __m256i halves = qn_load_halves(src, src + (size_t)2 * s->bits);
    __m256i v[4];
    for (unsigned k = 0; k < 4; k++)
        v[k] = qn_spread4(&s->fours[k], halves, s->mask);
    return _mm256_packus_epi16(_mm256_packus_epi32(v[0], v[1]), _mm256_packus_epi32(v[2], v[3]));
}

/* The floats of 32 codes, eight in each of four registers: the four bytes of each by level, then
 * the sign, then bytes to words to floats. A level's byte is the exclusive or of the steps up to
 * its 16; those above read an index below 0, which gives 0. The joins work on four neighbours in
 * each half of a register, so the codes are put in that order first. TABLES: 16 levels each. */
static inline __attribute__((always_inline)) void look_up(const struct qn_code_decoder *d,
                                                          unsigned tables, __m256i codes,
                                                          __m256i middle, __m256i f[4])
{
    const __m256i halves = _mm256_setr_epi32(0, 2, 4, 6, 1, 3, 5, 7);
    const __m256i distance = _mm256_sub_epi8(_mm256_permutevar8x32_epi32(codes, halves), middle);
    __m256i level = _mm256_abs_epi8(distance), b[4];
    for (unsigned k = 0; k < 4; k++)
        b[k] = _mm256_shuffle_epi8(table(d->steps[k][0]), level);
    for (unsigned t = 1; t < tables; t++) {
        level = _mm256_sub_epi8(level, _mm256_set1_epi8(16));
        for (unsigned k = 0; k < 4; k++)
            b[k] = _mm256_xor_si256(b[k], _mm256_shuffle_epi8(table(d->steps[k][t]), level));
    }
    b[3] = _mm256_or_si256(b[3], _mm256_and_si256(distance, _mm256_set1_epi8((char)0x80)));
    const __m256i low01 = _mm256_unpacklo_epi8(b[0], b[1]),
                  low23 = _mm256_unpacklo_epi8(b[2], b[3]);
    const __m256i high01 = _mm256_unpackhi_epi8(b[0], b[1]),
                  high23 = _mm256_unpackhi_epi8(b[2], b[3]);
    f[0] = _mm256_unpacklo_epi16(low01, low23);
    f[1] = _mm256_unpackhi_epi16(low01, low23);
    f[2] = _mm256_unpacklo_epi16(high01, high23);
    f[3] = _mm256_unpackhi_epi16(high01, high23);
}

/* Most groups of a chunk lie within the range that is known. */
static inline void widen_range(struct qn_code_range *range, __m256i least, __m256i most)
{
    const __m256i low = _mm256_set1_epi8((char)(range->least < 255 ? range->least : 255)),
                  high = _mm256_set1_epi8((char)range->most);
    const __m256i inside = _mm256_and_si256(_mm256_cmpeq_epi8(_mm256_min_epu8(least, low), low),
                                            _mm256_cmpeq_epi8(_mm256_max_epu8(most, high), high));
    if (_mm256_movemask_epi8(inside) == -1 && range->least <= 255)
        return;
    uint8_t l[32], m[32];
    _mm256_storeu_si256((__m256i *)(void *)l, least);
    _mm256_storeu_si256((__m256i *)(void *)m, most);
    for (size_t i = 0; i < 32; i++) {
        range->least = l[i] < range->least ? l[i] : range->least;
        range->most = m[i] > range->most ? m[i] : range->most;
    }
}

/* Whole registers of 32 codes as long as reads stay inside; returns how many codes that were. */
static inline __attribute__((always_inline)) size_t
decode_bytes(const struct qn_code_decoder *d, unsigned tables, size_t first, size_t n, float factor,
             float *x, struct qn_code_range *range, bool stream)
{
    const uint8_t *src = d->data + first * d->bits / 8, *end = d->data + d->size;
    const struct spread32 s = spread32_init(d->bits, (unsigned)(first * d->bits % 8));
    const size_t reach = (size_t)2 * d->bits + HALF; /* what one register may read */
    const __m256i middle = _mm256_set1_epi8((char)d->grid->levels);
    const __m256 scale = _mm256_set1_ps(factor);
    __m256i least = _mm256_set1_epi8(-1), most = _mm256_setzero_si256(), f[4];
    size_t i = 0;
    for (; n - i >= 32 && (size_t)(end - src) >= reach; i += 32, src += (size_t)4 * d->bits) {
        const __m256i codes = spread32(&s, src);
        least = _mm256_min_epu8(least, codes);
        most = _mm256_max_epu8(most, codes);
        look_up(d, tables, codes, middle, f);
        for (unsigned k = 0; k < 4; k++) {
            const __m256 v = _mm256_mul_ps(_mm256_castsi256_ps(f[k]), scale);
            if (stream)
                _mm256_stream_ps(x + i + (size_t)8 * k, v);
            else
                _mm256_storeu_ps(x + i + (size_t)8 * k, v);
        }
    }
    if (i > 0)
        widen_range(range, least, most);
    return i;
}

/* One loop for each number of tables, with and without streaming. */
static size_t decode_registers(const struct qn_code_decoder *d, size_t first, size_t n,
                               float factor, float *x, struct qn_code_range *range, bool stream)
{
#define LOOP(tables)                                                                               \
    (stream ? decode_bytes(d, tables, first, n, factor, x, range, true)                            \
            : decode_bytes(d, tables, first, n, factor, x, range, false))
    if (d->grid->levels < 16)
        return LOOP(1);
    return d->grid->levels < 32 ? LOOP(2) : LOOP(4);
#undef LOOP
}

/* The value of each code of eight bits, as the first and as the second of two. */
struct pair_tables {
    uint64_t low[CODES], high[CODES];
};

static void fill_pair_tables(const struct qn_grid *g, float factor, struct pair_tables *t)
{
    const size_t codes = (size_t)2 * g->levels + 1;
    for (size_t c = 0; c < CODES; c++) {
        const float value = c < codes ? factor * g->value[c] : 0;
        uint32_t bits;
        memcpy(&bits, &value, sizeof bits);
        t->low[c] = bits;
        t->high[c] = (uint64_t)bits << 32;
    }
}

/* The codes come from one register, two by two. Compilers would rather shift out each by itself,
 * which takes more operations; bytes loaded one by one take more loads [a quarter slower]. */
static inline __attribute__((always_inline)) void
decode_eight(const struct pair_tables *t, const uint8_t *src, float *x, bool stream)
{
    uint64_t codes;
    memcpy(&codes, src, sizeof codes);
#pragma GCC unroll 4
    for (size_t i = 0; i < 8; i += 2, codes >>= 16) {
        __asm__("" : "+Q"(codes));
        const uint64_t two = t->low[(uint8_t)codes] | t->high[(uint8_t)(codes >> 8)];
        if (stream)
            _mm_stream_si64((long long *)(void *)(x + i), (long long)two);
        else
            memcpy(x + i, &two, sizeof two);
    }
}

/* Codes of eight bits, by two loads and one store for two of them; whole registers of codes. */
static inline __attribute__((always_inline)) size_t
decode_pairs(const struct qn_code_decoder *d, size_t first, size_t n, float factor, float *x,
             struct qn_code_range *range, bool stream)
{
    struct pair_tables t;
    const uint8_t *src = d->data + first;
    __m256i least = _mm256_set1_epi8(-1), most = _mm256_setzero_si256();
    size_t i = 0;
    fill_pair_tables(d->grid, factor, &t);
    for (; n - i >= 32; i += 32) {
        const __m256i codes = _mm256_loadu_si256((const __m256i *)(const void *)(src + i));
        least = _mm256_min_epu8(least, codes);
        most = _mm256_max_epu8(most, codes);
        for (size_t k = 0; k < 32; k += 8)
            decode_eight(&t, src + i + k, x + i + k, stream);
    }
    widen_range(range, least, most);
    return i;
}

void qn_decode_avx2(const struct qn_code_decoder *d, size_t first, size_t n, float factor, float *x,
                    struct qn_code_range *range)
{
    const bool paired = d->bits == 8 && d->grid->levels >= MOST_LEVELS && n >= PAIRED_FLOATS;
    if (d->bits > 8 || (d->grid->levels >= MOST_LEVELS && !paired)) {
        qn_decode_blocks(d, first, n, factor, x, range, qn_unpack_avx2, qn_range_avx2);
        return;
    }
    const bool stream = d->stream && n >= STREAM_FLOATS;
    size_t done = 0;
    if (stream) {
        done = (32 - (uintptr_t)x % 32) % 32 / sizeof *x;
        qn_decode_c(d, first, done, factor, x, range);
    }
    if (paired)
        done += stream ? decode_pairs(d, first + done, n - done, factor, x + done, range, true)
                       : decode_pairs(d, first + done, n - done, factor, x + done, range, false);
    else
        done += decode_registers(d, first + done, n - done, factor, x + done, range, stream);
    if (stream)
        _mm_sfence();
    qn_decode_c(d, first + done, n - done, factor, x + done, range);
}
