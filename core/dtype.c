#include "core/bytes.h"
#include "core/tensor.h"

static const struct qn_dtype_info dtypes[QINS_DTYPE_COUNT] = {
    [QINS_F64] = {"F64", 8, QN_KIND_FLOAT, QINS_F64},
    [QINS_F32] = {"F32", 4, QN_KIND_FLOAT, QINS_F32},
    [QINS_F16] = {"F16", 2, QN_KIND_FLOAT, QINS_F32},
    [QINS_BF16] = {"BF16", 2, QN_KIND_FLOAT, QINS_F32},
    [QINS_F8_E4M3] = {"F8_E4M3", 1, QN_KIND_FLOAT, QINS_F32},
    [QINS_F8_E5M2] = {"F8_E5M2", 1, QN_KIND_FLOAT, QINS_F32},
    [QINS_I64] = {"I64", 8, QN_KIND_INT, QINS_I64},
    [QINS_I32] = {"I32", 4, QN_KIND_INT, QINS_I32},
    [QINS_I16] = {"I16", 2, QN_KIND_INT, QINS_I16},
    [QINS_I8] = {"I8", 1, QN_KIND_INT, QINS_I8},
    [QINS_U64] = {"U64", 8, QN_KIND_UINT, QINS_U64},
    [QINS_U32] = {"U32", 4, QN_KIND_UINT, QINS_U32},
    [QINS_U16] = {"U16", 2, QN_KIND_UINT, QINS_U16},
    [QINS_U8] = {"U8", 1, QN_KIND_UINT, QINS_U8},
    [QINS_BOOL] = {"BOOL", 1, QN_KIND_BOOL, QINS_BOOL},
};

const struct qn_dtype_info *qn_dtype(enum qins_dtype dtype)
{
    unsigned i = (unsigned)dtype;
    return i > 0 && i < QINS_DTYPE_COUNT ? &dtypes[i] : NULL;
}

enum qins_dtype qn_dtype_from_name(const char *name)
{
    for (unsigned i = 1; i < QINS_DTYPE_COUNT; i++)
        if (strcmp(dtypes[i].name, name) == 0)
            return (enum qins_dtype)i;
    return QINS_DTYPE_INVALID;
}

size_t qins_dtype_size(enum qins_dtype dtype)
{
    const struct qn_dtype_info *info = qn_dtype(dtype);
    return info ? info->size : 0;
}

const char *qins_dtype_name(enum qins_dtype dtype)
{
    const struct qn_dtype_info *info = qn_dtype(dtype);
    return info ? info->name : "?";
}

/* An IEEE-like binary format narrower than float32. `finite` formats (OCP E4M3) have no
 * infinity: only the all-ones mantissa of the top exponent is NaN. */
struct narrow {
    unsigned exp_bits, man_bits;
    bool finite;
};

static const struct narrow f16_format = {5, 10, false};
static const struct narrow e4m3_format = {4, 3, true};
static const struct narrow e5m2_format = {5, 2, false};

/* Branch-free, so that loops over it vectorise: the bits, moved to where float32 has them, are
 * the value times 2^-rebias, subnormals included, and a power of two multiplies exactly. */
static inline uint32_t widen(uint32_t v, unsigned exp_bits, unsigned man_bits, uint32_t special)
{
    unsigned width = exp_bits + man_bits, shift = 23 - man_bits;
    unsigned rebias = 127 - ((1u << (exp_bits - 1)) - 1);
    uint32_t sign = v >> width << 31, abs = (v & ((1u << width) - 1)) << shift;
    float scale = qn_float_from_bits((127 + rebias) << 23);
    uint32_t finite = qn_float_bits(qn_float_from_bits(abs) * scale);
    uint32_t other = 0x7f800000u | (abs & 0x7fffffu);
    return sign | (abs >= special << shift ? other : finite);
}

static uint32_t narrow_nan(const struct narrow *f, uint32_t man)
{
    uint32_t man_mask = (1u << f->man_bits) - 1, exp_mask = (1u << f->exp_bits) - 1;
    uint32_t payload = f->finite ? man_mask : man >> (23 - f->man_bits);
    return exp_mask << f->man_bits | (payload ? payload : 1);
}

static uint32_t narrow(const struct narrow *f, uint32_t v)
{
    uint32_t sign = v >> 31 << (f->exp_bits + f->man_bits), abs = v & 0x7fffffffu;
    uint32_t exp_mask = (1u << f->exp_bits) - 1, bias = exp_mask >> 1;
    uint32_t man_mask = (1u << f->man_bits) - 1;
    if (abs > 0x7f800000u)
        return sign | narrow_nan(f, abs & 0x7fffffu);

    int exp = (int)(abs >> 23) - 127 + (int)bias;
    uint32_t man = (abs & 0x7fffffu) | (abs >> 23 ? 0x800000u : 0);
    unsigned shift = 23 - f->man_bits;
    if (exp < 1) { /* subnormal in the narrow format */
        unsigned extra = (unsigned)(1 - exp);
        shift = extra > 24 ? 31 : shift + extra;
        if (shift > 31)
            shift = 31;
        exp = 1;
    }
    uint32_t kept = man >> shift, rest = man & ((1u << shift) - 1), half = 1u << (shift - 1);
    kept += rest > half || (rest == half && (kept & 1));
    /* The hidden bit carries into the exponent by plain addition. */
    uint64_t code = ((uint64_t)(exp - 1) << f->man_bits) + kept;
    uint32_t top = (exp_mask << f->man_bits) | (f->finite ? man_mask : 0);
    return sign | (code >= top ? top : (uint32_t)code);
}

static uint16_t f32_to_bf16(uint32_t v)
{
    if ((v & 0x7fffffffu) > 0x7f800000u) {
        uint32_t top = v >> 16;
        return (uint16_t)(top & 0x7f ? top : top | 1);
    }
    return (uint16_t)((v + 0x7fffu + (v >> 16 & 1)) >> 16);
}

void qn_to_f32(enum qins_dtype dtype, const void *src, float *dst, size_t n)
{
    const uint8_t *p = src;
    switch (dtype) {
    case QINS_F32:
        memcpy(dst, p, n * 4); /* little-endian hosts only: meson.build checks */
        break;
    case QINS_BF16:
        for (size_t i = 0; i < n; i++)
            dst[i] = qn_float_from_bits((uint32_t)qn_load16(p + 2 * i) << 16);
        break;
    case QINS_F16:
        for (size_t i = 0; i < n; i++)
            dst[i] = qn_float_from_bits(widen(qn_load16(p + 2 * i), 5, 10, 0x7c00));
        break;
    case QINS_F8_E4M3:
        for (size_t i = 0; i < n; i++)
            dst[i] = qn_float_from_bits(widen(p[i], 4, 3, 0x7f));
        break;
    default: /* F8_E5M2 */
        for (size_t i = 0; i < n; i++)
            dst[i] = qn_float_from_bits(widen(p[i], 5, 2, 0x7c));
        break;
    }
}

void qn_from_f32(enum qins_dtype dtype, const float *src, void *dst, size_t n)
{
    uint8_t *p = dst;
    switch (dtype) {
    case QINS_F64:
        for (size_t i = 0; i < n; i++) {
            double d = src[i];
            memcpy(p + 8 * i, &d, 8);
        }
        break;
    case QINS_F32:
        memcpy(p, src, n * 4);
        break;
    case QINS_BF16:
        for (size_t i = 0; i < n; i++)
            qn_store16(p + 2 * i, f32_to_bf16(qn_float_bits(src[i])));
        break;
    case QINS_F16:
        for (size_t i = 0; i < n; i++)
            qn_store16(p + 2 * i, (uint16_t)narrow(&f16_format, qn_float_bits(src[i])));
        break;
    default:
        for (size_t i = 0; i < n; i++)
            p[i] = (uint8_t)narrow(dtype == QINS_F8_E4M3 ? &e4m3_format : &e5m2_format,
                                   qn_float_bits(src[i]));
        break;
    }
}
