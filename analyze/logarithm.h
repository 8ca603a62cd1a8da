/* A logarithm that is the same on every machine: figures made with it decide plans. */
#ifndef QINS_ANALYZE_LOGARITHM_H
#define QINS_ANALYZE_LOGARITHM_H

#include <math.h>
#include <stdint.h>
#include <string.h>

/* log2 of a positive, normal, finite X to within 1e-13: the series of 2 artanh(s), s = (m - 1) / (m
 * + 1), with the mantissa m between sqrt(1/2) and sqrt(2). */
static inline double qn_log2(double x)
{
    static const double root_two = 0x1.6a09e667f3bcdp+0, two_over_ln2 = 0x1.71547652b82fep+1;
    const uint64_t mantissa_mask = UINT64_C(0x000fffffffffffff), one = UINT64_C(1023) << 52;
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    double exponent = (double)((int64_t)(bits >> 52) - 1023), m;
    bits = (bits & mantissa_mask) | one;
    memcpy(&m, &bits, sizeof m);
    if (m > root_two) {
        m *= 0.5;
        exponent += 1.0;
    }
    double s = (m - 1.0) / (m + 1.0), q = s * s;
    double sum = 1.0 / 15.0;
    sum = sum * q + 1.0 / 13.0;
    sum = sum * q + 1.0 / 11.0;
    sum = sum * q + 1.0 / 9.0;
    sum = sum * q + 1.0 / 7.0;
    sum = sum * q + 1.0 / 5.0;
    sum = sum * q + 1.0 / 3.0;
    sum = sum * q + 1.0;
    return exponent + two_over_ln2 * (s * sum);
}

/* 10 log10 of X > 0. */
static inline double qn_decibels(double x)
{
    static const double ten_log10_of_2 = 0x1.8151824c7587fp+1;
    return ten_log10_of_2 * qn_log2(x);
}

/* Of sums of squares >= 0; infinite without error, 0 for an error of no signal. */
static inline double qn_sqnr_db(double signal, double error)
{
    return error > 0.0 ? (signal > 0.0 ? qn_decibels(signal / error) : 0.0) : (double)INFINITY;
}

#endif
