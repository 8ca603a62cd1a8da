/* exp, tanh and erf over 16 lanes, for model/kernels_template.h. Polynomials are minimax fits
 * (weighted least squares after Lawson) of the function named, with the largest relative error
 * stated; rounding in float32 comes on top. NaN stays NaN: vf_min and vf_max yield their second
 * argument where either is one. */

#define POLY2(x, a, b)                vf_fma((x), vf_set1(b), vf_set1(a))
#define POLY3(x, a, b, c)             vf_fma((x), POLY2(x, b, c), vf_set1(a))
#define POLY4(x, a, b, c, d)          vf_fma((x), POLY3(x, b, c, d), vf_set1(a))
#define POLY5(x, a, b, c, d, e)       vf_fma((x), POLY4(x, b, c, d, e), vf_set1(a))
#define POLY6(x, a, b, c, d, e, f)    vf_fma((x), POLY5(x, b, c, d, e, f), vf_set1(a))
#define POLY7(x, a, b, c, d, e, f, g) vf_fma((x), POLY6(x, b, c, d, e, f, g), vf_set1(a))

/* Adding and taking away 1.5 * 2^23 rounds a float of magnitude below 2^22 to a whole number. */
#define ROUNDER 12582912.0F

/* Where float32's exp is infinite or 0 for certain. */
#define EXP_HIGH 89.0F
#define EXP_LOW  (-104.0F)

static inline vf v_exp(vf x)
{
    x = vf_max(vf_set1(EXP_LOW), vf_min(vf_set1(EXP_HIGH), x));
    vf n = vf_fma(x, vf_set1(0x1.715476p0F), vf_set1(ROUNDER)); /* 1 / ln 2 */
    n = vf_sub(n, vf_set1(ROUNDER));
    /* ln 2 in two parts, the first short enough for an exact product */
    vf r = vf_fma(n, vf_set1(-0x1.62e4p-1F), x);
    r = vf_fma(n, vf_set1(-0x1.7f7d1cp-20F), r);
    /* (e^r - 1 - r) / r² on ±ln 2 / 2, 3.1e-9 of e^r */
    vf q = POLY5(r, 4.99999934e-1F, 1.66665201e-1F, 4.1668394e-2F, 8.368781e-3F, 1.381446e-3F);
    vf p = vf_add(vf_fma(vf_mul(r, r), q, r), vf_set1(1.0F));
    return vf_scale(p, n);
}

/* 2^x for x <= 0, and 0 below 2^-126. */
static inline vf v_exp2_below(vf x)
{
    vf bounded = vf_max(vf_set1(-126.0F), x);
    vf n = vf_sub(vf_add(bounded, vf_set1(ROUNDER)), vf_set1(ROUNDER));
    vf f = vf_sub(bounded, n);
    /* (2^f - 1) / f on ±1/2, 9.1e-8 of 2^f */
    vf p =
        POLY6(f, 1.0F, 6.93146978e-1F, 2.40222421e-1F, 5.5507338e-2F, 9.671513e-3F, 1.326472e-3F);
    return vf_select(vf_lt(x, vf_set1(-126.0F)), vf_set1(0.0F), vf_scale_normal(p, n));
}

static inline vf v_abs(vf x)
{
    return vi_as_float(vi_and(vf_bits(x), vi_set1(INT32_MAX)));
}

/* |x| with the sign of y */
static inline vf v_copy_sign(vf x, vf y)
{
    return vi_as_float(vi_or(vf_bits(x), vi_and(vf_bits(y), vi_set1(INT32_MIN))));
}

static inline vf v_tanh(vf x)
{
    vf a = v_abs(x), u = vf_mul(x, x), one = vf_set1(1.0F);
    /* (tanh x - x) / x³ in x², |x| <= 0.625, 4.4e-9 of tanh x */
    vf q = POLY5(u, -3.33332819e-1F, 1.33314422e-1F, -5.3739712e-2F, 2.0639079e-2F, -5.704978e-3F);
    vf small = vf_fma(vf_mul(x, u), q, x);
    vf e = v_exp(vf_add(a, a));
    vf large = vf_sub(one, vf_div(vf_set1(2.0F), vf_add(e, one)));
    return vf_select(vf_lt(a, vf_set1(0.625F)), small, v_copy_sign(large, x));
}

static inline vf v_erf(vf x)
{
    vf a = v_abs(x), u = vf_mul(x, x);
    /* erf x / x - 1 in x², |x| <= 1, 1.2e-9 of erf x */
    vf q = POLY7(u, 1.283791657e-1F, -3.761262582e-1F, 1.128358515e-1F, -2.685381187e-2F,
                 5.18832756e-3F, -8.010192518e-4F, 7.853857698e-5F);
    vf small = vf_fma(x, q, x);
    /* -ln(1 - erf t) on 0.95 … 4, 1.4e-9 of erf t; from 3.92 on erf is 1 in float32 */
    vf t = vf_min(vf_set1(4.0F), a);
    vf l = POLY7(t, 2.447135872e-4F, 1.127474986F, 6.375170092e-1F, 1.036403253e-1F,
                 -2.208764208e-2F, 3.008537378e-3F, -1.924260771e-4F);
    vf large = vf_sub(vf_set1(1.0F), v_exp(vf_sub(vf_set1(0.0F), l)));
    return vf_select(vf_lt(a, vf_set1(1.0F)), small, v_copy_sign(large, x));
}
