#include "formats/codec/kernels_list.h"
#include "formats/codec/planes_plain.h"
#include "formats/codec/x86/spread_avx512.h"

/* Byte i is 2i (+ 1), of two registers. */
static inline __m512i evens(unsigned odd)
{
    uint8_t index[64];
    for (unsigned i = 0; i < 64; i++)
        index[i] = (uint8_t)(2 * i + odd);
    return _mm512_loadu_si512(index);
}

/* Byte i is from + i / 2, of the second register where i is odd. */
static inline __m512i both(unsigned from)
{
    uint8_t index[64];
    for (unsigned i = 0; i < 64; i++)
        index[i] = (uint8_t)(from + i / 2 + 64 * (i & 1));
    return _mm512_loadu_si512(index);
}

/* Byte k of elements of four bytes to the place k · 16 of the register, or back. */
static inline __m512i fours(bool back)
{
    uint8_t index[64];
    for (unsigned i = 0; i < 64; i++)
        index[back ? 4 * (i % 16) + i / 16 : i] = (uint8_t)(back ? i : 4 * (i % 16) + i / 16);
    return _mm512_loadu_si512(index);
}

/* Quarter k of register m becomes quarter m of register k. */
static inline void transpose_quarters(__m512i z[4])
{
    const __m512i a = _mm512_shuffle_i32x4(z[0], z[1], 0x44),
                  b = _mm512_shuffle_i32x4(z[0], z[1], 0xee),
                  c = _mm512_shuffle_i32x4(z[2], z[3], 0x44),
                  d = _mm512_shuffle_i32x4(z[2], z[3], 0xee);
    z[0] = _mm512_shuffle_i32x4(a, c, 0x88);
    z[1] = _mm512_shuffle_i32x4(a, c, 0xdd);
    z[2] = _mm512_shuffle_i32x4(b, d, 0x88);
    z[3] = _mm512_shuffle_i32x4(b, d, 0xdd);
}

/* Loads and stores of LANES; masks cost a store several cycles [measured], so whole registers go
 * without. */
static inline __m512i load8(const uint8_t *p, __mmask64 lanes)
{
    return lanes == ~0ULL ? _mm512_loadu_si512(p) : _mm512_maskz_loadu_epi8(lanes, p);
}

static inline void store8(uint8_t *p, __mmask64 lanes, __m512i v)
{
    if (lanes == ~0ULL)
        _mm512_storeu_si512(p, v);
    else
        _mm512_mask_storeu_epi8(p, lanes, v);
}

/* Those of a register that begins SKIP bytes into what is left. */
static inline __mmask64 lanes_from(size_t bytes, size_t skip)
{
    return bytes > skip ? qn_lanes64(bytes - skip) : 0;
}

static void split2(const uint8_t *src, size_t n, uint8_t *const *planes, bool turn)
{
    const __m512i low = evens(0), high = evens(1);
    for (size_t i = 0; i < n; i += 64) {
        const __mmask64 lanes = qn_lanes64(n - i);
        const size_t bytes = 2 * (n - i);
        __m512i a = load8(src + 2 * i, lanes_from(bytes, 0)), b = a;
        if (bytes > 64)
            b = load8(src + 2 * i + 64, lanes_from(bytes, 64));
        if (turn) {
            a = _mm512_shldi_epi16(a, a, 1);
            b = _mm512_shldi_epi16(b, b, 1);
        }
        if (planes[0])
            store8(planes[0] + i, lanes, _mm512_permutex2var_epi8(a, low, b));
        if (planes[1])
            store8(planes[1] + i, lanes, _mm512_permutex2var_epi8(a, high, b));
    }
}

static void merge2(const uint8_t *const *planes, size_t n, uint8_t *dst, bool turn)
{
    const __m512i first = both(0), second = both(32);
    for (size_t i = 0; i < n; i += 64) {
        const __mmask64 lanes = qn_lanes64(n - i);
        const __m512i low = load8(planes[0] + i, lanes);
        const __m512i high = load8(planes[1] + i, lanes);
        __m512i a = _mm512_permutex2var_epi8(low, first, high);
        __m512i b = _mm512_permutex2var_epi8(low, second, high);
        if (turn) {
            a = _mm512_shrdi_epi16(a, a, 1);
            b = _mm512_shrdi_epi16(b, b, 1);
        }
        const size_t bytes = 2 * (n - i);
        store8(dst + 2 * i, lanes_from(bytes, 0), a);
        if (bytes > 64)
            store8(dst + 2 * i + 64, lanes_from(bytes, 64), b);
    }
}

static void split4(const uint8_t *src, size_t n, uint8_t *const *planes, bool turn)
{
    const __m512i order = fours(false);
    for (size_t i = 0; i < n; i += 64) {
        const __mmask64 lanes = qn_lanes64(n - i);
        __m512i z[4];
        for (size_t m = 0; m < 4; m++) {
            const __mmask64 quarter = lanes_from(4 * (n - i), 64 * m);
            z[m] = quarter ? load8(src + 4 * (i + 16 * m), quarter) : _mm512_setzero_si512();
            if (turn)
                z[m] = _mm512_rol_epi32(z[m], 1);
            z[m] = _mm512_permutexvar_epi8(order, z[m]);
        }
        transpose_quarters(z);
        for (size_t k = 0; k < 4; k++)
            if (planes[k])
                store8(planes[k] + i, lanes, z[k]);
    }
}

static void merge4(const uint8_t *const *planes, size_t n, uint8_t *dst, bool turn)
{
    const __m512i order = fours(true);
    for (size_t i = 0; i < n; i += 64) {
        const __mmask64 lanes = qn_lanes64(n - i);
        __m512i z[4];
        for (size_t k = 0; k < 4; k++)
            z[k] = load8(planes[k] + i, lanes);
        transpose_quarters(z);
        for (size_t m = 0; m < 4; m++) {
            const __mmask64 quarter = lanes_from(4 * (n - i), 64 * m);
            z[m] = _mm512_permutexvar_epi8(order, z[m]);
            if (turn)
                z[m] = _mm512_ror_epi32(z[m], 1);
            if (quarter)
                store8(dst + 4 * (i + 16 * m), quarter, z[m]);
        }
    }
}

void qn_split_planes_avx512(unsigned size, bool turn, const uint8_t *src, size_t n,
                            uint8_t *const *planes)
{
    if (size == 2)
        split2(src, n, planes, turn);
    else if (size == 4)
        split4(src, n, planes, turn);
    else
        qn_split_planes_from(size, turn, src, 0, n, planes);
}

void qn_merge_planes_avx512(unsigned size, bool turn, const uint8_t *const *planes, size_t n,
                            uint8_t *dst)
{
    if (size == 2)
        merge2(planes, n, dst, turn);
    else if (size == 4)
        merge4(planes, n, dst, turn);
    else
        qn_merge_planes_from(size, turn, planes, 0, n, dst);
}

void qn_match_avx512(const uint8_t *src, size_t n, uint8_t symbol, uint64_t *masks)
{
    const __m512i wanted = _mm512_set1_epi8((char)symbol);
    for (size_t i = 0; i < n; i += 64) {
        const __mmask64 lanes = qn_lanes64(n - i);
        const __m512i v = _mm512_maskz_loadu_epi8(lanes, src + i);
        masks[i / 64] = _mm512_mask_cmpeq_epi8_mask(lanes, v, wanted);
    }
}
