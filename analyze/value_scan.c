#include "analyze/value_scan.h"

#include "core/bytes.h"
#include "core/tensor.h"
#include "formats/codec/planes.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>

enum { TILE = QN_MOMENTS_TILE, OCTAVE_SHIFT = 23 };

/* What a float type's patterns consist of. */
struct float_fields {
    unsigned mantissa_bits, exponent_mask;
};

static struct float_fields fields_of(enum qins_dtype dtype)
{
    switch (dtype) {
    case QINS_F64:
        return (struct float_fields){52, 0x7ff};
    case QINS_F16:
        return (struct float_fields){10, 0x1f};
    case QINS_F8_E4M3:
        return (struct float_fields){3, 0xf};
    case QINS_F8_E5M2:
        return (struct float_fields){2, 0x1f};
    default: /* those whose exponents are those of their float32 patterns */
        return (struct float_fields){0, 0};
    }
}

enum qins_status qn_value_scan_init(struct qn_value_scan *s, enum qins_dtype dtype, bool brief,
                                    atomic_bool *many_values, struct qins_error *err)
{
    *s = (struct qn_value_scan){.dtype = dtype,
                                .brief = brief,
                                .first_bad = UINT64_MAX,
                                .fits_f32 = true,
                                .fits_f16 = true,
                                .many_values = many_values};
    s->patterns = calloc(QN_PATTERN_CELLS, sizeof *s->patterns);
    return s->patterns ? QINS_OK : qn_fail_memory(err);
}

void qn_value_scan_finish(struct qn_value_scan *s)
{
    qn_value_set_finish(&s->values);
    free(s->patterns);
    s->patterns = NULL;
}

static uint64_t load_element(const uint8_t *p, size_t size)
{
    switch (size) {
    case 1:
        return *p;
    case 2:
        return qn_load16(p);
    case 4:
        return qn_load32(p);
    default:
        return qn_load64(p);
    }
}

/* Zeros, +0 alone, and elements equal to the one before, in a tile. TURN is 1 for types with a
 * sign of zero, else 0, and constant. */
struct tile_counts {
    uint32_t zeros, plus_zeros, equal;
};

#define DEFINE_COUNT(BITS, TYPE)                                                                   \
    static inline void count_##BITS(const uint8_t *src, size_t n, unsigned turn,                   \
                                    struct tile_counts *out)                                       \
    {                                                                                              \
        uint32_t zeros = 0, plus = 0, equal = 0;                                                   \
        for (size_t i = 0; i < n; i++) {                                                           \
            TYPE v;                                                                                \
            memcpy(&v, src + i * sizeof v, sizeof v);                                              \
            zeros += (TYPE)(v << turn) == 0;                                                       \
            plus += v == 0;                                                                        \
        }                                                                                          \
        for (size_t i = 1; i < n; i++) {                                                           \
            TYPE a, b;                                                                             \
            memcpy(&a, src + (i - 1) * sizeof a, sizeof a);                                        \
            memcpy(&b, src + i * sizeof b, sizeof b);                                              \
            equal += a == b;                                                                       \
        }                                                                                          \
        *out = (struct tile_counts){zeros, plus, equal};                                           \
    }

DEFINE_COUNT(8, uint8_t)
DEFINE_COUNT(16, uint16_t)
DEFINE_COUNT(32, uint32_t)
DEFINE_COUNT(64, uint64_t)

static void count_tile(enum qins_dtype dtype, const uint8_t *src, size_t n, struct tile_counts *out)
{
    bool turn = qn_dtype_is_float(dtype);
    switch (qins_dtype_size(dtype)) {
    case 1:
        turn ? count_8(src, n, 1, out) : count_8(src, n, 0, out);
        break;
    case 2:
        turn ? count_16(src, n, 1, out) : count_16(src, n, 0, out);
        break;
    case 4:
        turn ? count_32(src, n, 1, out) : count_32(src, n, 0, out);
        break;
    default:
        turn ? count_64(src, n, 1, out) : count_64(src, n, 0, out);
        break;
    }
}

#define WIDEN(TYPE)                                                                                \
    for (size_t i = 0; i < n; i++) {                                                               \
        TYPE v;                                                                                    \
        memcpy(&v, src + i * sizeof v, sizeof v);                                                  \
        d[i] = (double)v;                                                                          \
    }                                                                                              \
    break

/* A tile as float64, and as float32 where it is not that already. */
static void widen_tile(enum qins_dtype dtype, const uint8_t *src, size_t n, float *x, double *d)
{
    if (qn_dtype_is_quantisable(dtype)) {
        if ((const void *)x != (const void *)src)
            qn_to_f32(dtype, src, x, n);
        for (size_t i = 0; i < n; i++)
            d[i] = (double)x[i];
        return;
    }
    switch (dtype) {
    case QINS_F64:
        WIDEN(double);
    case QINS_I64:
        WIDEN(int64_t);
    case QINS_I32:
        WIDEN(int32_t);
    case QINS_I16:
        WIDEN(int16_t);
    case QINS_I8:
        WIDEN(int8_t);
    case QINS_U64:
        WIDEN(uint64_t);
    case QINS_U32:
        WIDEN(uint32_t);
    case QINS_U16:
        WIDEN(uint16_t);
    default:
        WIDEN(uint8_t);
    }
    for (size_t i = 0; i < n; i++)
        x[i] = (float)d[i];
}

/* Runs of zeros: `trailing` is the one that is still open, which counts as a run already. */
static void scan_runs(struct qn_value_scan *s, const double *d, size_t n, bool any)
{
    uint64_t run = s->trailing, runs = 0, longest = s->longest_zero_run;
    size_t begin = 0;
    if (!any) {
        s->trailing = 0;
        return;
    }
    if (s->leading == s->n) {
        while (begin < n && d[begin] == 0.0)
            begin++;
        s->leading += begin;
    }
    for (size_t i = 0; i < n; i++) {
        uint64_t zero = d[i] == 0.0;
        runs += zero & (run == 0);
        run = zero ? run + 1 : 0;
        longest = run > longest ? run : longest;
    }
    s->trailing = run;
    s->zero_runs += runs;
    s->longest_zero_run = longest;
}

/* Elements as numbers of which equal values have one: patterns, of either zero 0. */
static void value_keys(const struct qn_value_scan *s, const uint8_t *src, const float *x,
                       const double *d, uint64_t *keys, size_t n)
{
    size_t size = qins_dtype_size(s->dtype);
    if (qn_dtype_is_quantisable(s->dtype))
        for (size_t i = 0; i < n; i++)
            keys[i] = qn_float_bits(x[i]);
    else
        for (size_t i = 0; i < n; i++)
            keys[i] = load_element(src + i * size, size);
    for (size_t i = 0; i < n; i++)
        keys[i] = d[i] == 0.0 ? 0 : keys[i];
}

static enum qins_status add_values(struct qn_value_scan *s, const uint8_t *src, const float *x,
                                   const double *d, size_t n, bool finite, struct qins_error *err)
{
    uint64_t keys[TILE];
    enum qins_status st = QINS_OK;
    if (s->brief || s->values.many || atomic_load_explicit(s->many_values, memory_order_relaxed))
        return QINS_OK;
    value_keys(s, src, x, d, keys, n);
    for (size_t i = 0; i < n && st == QINS_OK; i++)
        if ((finite || fabs(d[i]) <= DBL_MAX) && (i == 0 || keys[i] != keys[i - 1] || !finite))
            st = qn_value_set_note(&s->values, keys[i], err);
    if (s->values.many)
        atomic_store_explicit(s->many_values, true, memory_order_relaxed);
    return st;
}

/* Bytes and patterns of F32. */
static void count_patterns_f32(struct qn_value_scan *s, const float *restrict x, size_t n)
{
    uint32_t *restrict patterns = s->patterns;
    uint32_t(*restrict low)[256] = s->low[0], (*restrict middle)[256] = s->low[1];
    for (size_t i = 0; i < n; i++) {
        uint32_t v = qn_float_bits(x[i]), turned = v << 1 | v >> 31;
        patterns[v >> QN_PATTERN_SHIFT]++;
        low[i % QN_LOW_TABLES][turned & 255]++;
        middle[i % QN_LOW_TABLES][turned >> 8 & 255]++;
    }
}

static void count_patterns(struct qn_value_scan *s, const float *restrict x, size_t n)
{
    uint32_t *restrict patterns = s->patterns;
    for (size_t i = 0; i < n; i++)
        patterns[qn_float_bits(x[i]) >> QN_PATTERN_SHIFT]++;
}

/* Where the patterns of a chunk are. To look at the whole table costs little beside a large one. */
static void mark_octaves(struct qn_value_scan *s, const float *x, size_t n)
{
    if (n > QN_PATTERN_CELLS / 8)
        memset(s->octaves, 1, sizeof s->octaves);
    else
        for (size_t i = 0; i < n; i++)
            s->octaves[qn_float_bits(x[i]) >> OCTAVE_SHIFT] = 1;
}

static void count_bytes(struct qn_value_scan *s, const uint8_t *src, size_t n)
{
    size_t size = qins_dtype_size(s->dtype);
    uint32_t counts[256];
    for (size_t begin = 0; begin < n; begin += QN_PLANE_TILE) {
        size_t part = n - begin < QN_PLANE_TILE ? n - begin : QN_PLANE_TILE;
        uint8_t *planes[QN_MAX_PLANES];
        for (size_t k = 0; k < size; k++)
            planes[k] = s->planes + k * part;
        qn_planes_split(s->dtype, src + begin * size, part, planes);
        for (size_t k = 0; k < size; k++) {
            qn_histogram(planes[k], part, counts, &s->histogram);
            for (size_t v = 0; v < 256; v++)
                s->bytes[k][v] += counts[v];
        }
    }
}

static void count_exponents(struct qn_value_scan *s, const uint8_t *src, const double *d, size_t n)
{
    struct float_fields f = fields_of(s->dtype);
    size_t size = qins_dtype_size(s->dtype);
    if (f.exponent_mask == 0)
        return;
    for (size_t i = 0; i < n; i++)
        if (fabs(d[i]) <= DBL_MAX)
            s->exponents[load_element(src + i * size, size) >> f.mantissa_bits & f.exponent_mask]++;
}

/* Which narrower types hold N finite values exactly. */
static void scan_fit(struct qn_value_scan *s, const float *x, const double *d, size_t n)
{
    static const float f16_max = 65504.0F, f16_steps = 0x1p24F; /* a half's least step is 2^-24 */
    uint32_t bits = 0, same = 1, f16 = 1;
    for (size_t i = 0; i < n; i++)
        bits |= qn_float_bits(x[i]);
    s->or_bits |= bits;
    if (s->dtype == QINS_F64) {
        for (size_t i = 0; i < n; i++)
            same &= (double)x[i] >= d[i] && (double)x[i] <= d[i];
        s->fits_f32 = s->fits_f32 && same;
    }
    s->fits_f16 = s->fits_f16 && !s->brief && (bits & ((1u << QN_PATTERN_SHIFT) - 1)) == 0;
    if (!s->fits_f16)
        return;
    for (size_t i = 0; i < n; i++) {
        float a = fabsf(x[i]);
        f16 &= a <= f16_max && (a >= 0x1p-14F || truncf(a * f16_steps) >= a * f16_steps);
    }
    s->fits_f16 = f16;
}

/* Leaves the finite values of a tile in D and X; returns how many. */
static size_t keep_finite(struct qn_value_scan *s, float *x, double *d, size_t n, uint64_t first)
{
    size_t kept = 0;
    for (size_t i = 0; i < n; i++) {
        if (fabs(d[i]) <= DBL_MAX) {
            d[kept] = d[i];
            x[kept++] = x[i];
            continue;
        }
        s->n_nan += isnan(d[i]) != 0;
        s->n_infinite += isinf(d[i]) != 0;
        if (first + i < s->first_bad)
            s->first_bad = first + i;
    }
    return kept;
}

static bool all_finite(const double *d, size_t n)
{
    uint32_t bad = 0;
    for (size_t i = 0; i < n; i++)
        bad |= !(fabs(d[i]) <= DBL_MAX);
    return bad == 0;
}

static enum qins_status add_tile(struct qn_value_scan *s, const uint8_t *src, float *x, size_t n,
                                 uint64_t first, struct qins_error *err)
{
    size_t size = qins_dtype_size(s->dtype);
    struct tile_counts counts;
    double d[TILE];
    count_tile(s->dtype, src, n, &counts);
    widen_tile(s->dtype, src, n, x, d);
    uint64_t begin_bits = load_element(src, size);
    if (s->n == 0)
        s->first_bits = begin_bits;
    s->equal_neighbours += counts.equal + (s->n > 0 && s->last_bits == begin_bits);
    s->last_bits = load_element(src + (n - 1) * size, size);
    s->zeros += counts.zeros;
    s->negative_zeros += counts.zeros - counts.plus_zeros;
    scan_runs(s, d, n, counts.zeros > 0);
    s->n += n;
    if (s->dtype == QINS_F32 && !s->brief)
        count_patterns_f32(s, x, n);
    else
        count_patterns(s, x, n);
    if (!s->brief)
        count_exponents(s, src, d, n);
    bool sound = all_finite(d, n);
    enum qins_status st = add_values(s, src, x, d, n, sound, err);
    const float *finite = x;
    float compact[TILE];
    if (!sound) {
        memcpy(compact, x, n * sizeof *compact);
        n = keep_finite(s, compact, d, n, first);
        finite = compact;
    }
    qn_central_moments_add(&s->moments, d, n);
    scan_fit(s, finite, d, n);
    return st;
}

/* The tables of F32's lower bytes into `bytes`. */
static void fold_low(struct qn_value_scan *s)
{
    for (size_t k = 0; k < 2; k++)
        for (size_t t = 0; t < QN_LOW_TABLES; t++)
            for (size_t v = 0; v < 256; v++)
                s->bytes[k][v] += s->low[k][t][v];
    memset(s->low, 0, sizeof s->low);
}

enum qins_status qn_value_scan_add(struct qn_value_scan *s, const void *raw, float *x, size_t n,
                                   uint64_t first, struct qins_error *err)
{
    const uint8_t *src = raw;
    size_t size = qins_dtype_size(s->dtype);
    enum qins_status st = QINS_OK;
    for (size_t begin = 0; begin < n && st == QINS_OK; begin += TILE) {
        size_t part = n - begin < TILE ? n - begin : TILE;
        st = add_tile(s, src + begin * size, x + begin, part, first + begin, err);
    }
    mark_octaves(s, x, n);
    if (s->dtype != QINS_F32 && !s->brief)
        count_bytes(s, src, n);
    return st;
}

static void merge_runs(struct qn_value_scan *s, const struct qn_value_scan *from)
{
    bool joined = s->trailing > 0 && from->leading > 0;
    uint64_t across = s->trailing + from->leading;
    s->zero_runs += from->zero_runs - joined;
    if (from->longest_zero_run > s->longest_zero_run)
        s->longest_zero_run = from->longest_zero_run;
    if (across > s->longest_zero_run)
        s->longest_zero_run = across;
    if (s->leading == s->n)
        s->leading += from->leading;
    s->trailing = from->trailing == from->n ? s->trailing + from->n : from->trailing;
}

/* Moves FROM's patterns to PATTERNS. */
static void merge_patterns(struct qn_value_scan *s, uint64_t *patterns, struct qn_value_scan *from)
{
    enum { CELLS = QN_PATTERN_CELLS / QN_OCTAVES };
    for (size_t k = 0; k < QN_OCTAVES; k++) {
        uint32_t *cells = from->patterns + k * CELLS;
        if (!from->octaves[k])
            continue;
        s->octaves[k] = 1;
        for (size_t i = 0; i < CELLS; i++)
            patterns[k * CELLS + i] += cells[i];
        memset(cells, 0, CELLS * sizeof *cells);
    }
}

enum qins_status qn_value_scan_merge(struct qn_value_scan *s, uint64_t *patterns,
                                     struct qn_value_scan *from, struct qins_error *err)
{
    fold_low(from);
    if (from->n > 0) {
        s->equal_neighbours +=
            from->equal_neighbours + (s->n > 0 && s->last_bits == from->first_bits);
        if (s->n == 0)
            s->first_bits = from->first_bits;
        s->last_bits = from->last_bits;
        merge_runs(s, from);
    }
    s->n += from->n;
    s->n_nan += from->n_nan;
    s->n_infinite += from->n_infinite;
    s->zeros += from->zeros;
    s->negative_zeros += from->negative_zeros;
    s->first_bad = qn_min_u64(s->first_bad, from->first_bad);
    qn_central_moments_merge(&s->moments, &from->moments);
    for (size_t k = 0; k < 8; k++)
        for (size_t v = 0; v < 256; v++)
            s->bytes[k][v] += from->bytes[k][v];
    for (size_t k = 0; k < QN_EXPONENTS; k++)
        s->exponents[k] += from->exponents[k];
    s->or_bits |= from->or_bits;
    s->fits_f32 = s->fits_f32 && from->fits_f32;
    s->fits_f16 = s->fits_f16 && from->fits_f16;
    merge_patterns(s, patterns, from);
    enum qins_status st = qn_value_set_merge(&s->values, &from->values, err);
    /* Empty again, its memory kept. */
    struct qn_value_set values = from->values;
    uint32_t *kept = from->patterns;
    *from = (struct qn_value_scan){.dtype = s->dtype,
                                   .brief = s->brief,
                                   .first_bad = UINT64_MAX,
                                   .fits_f32 = true,
                                   .fits_f16 = true,
                                   .many_values = s->many_values,
                                   .values = values,
                                   .patterns = kept};
    return st;
}
