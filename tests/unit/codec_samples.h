/* Weights to test the quantiser and the chunk coder with. */
#ifndef QINS_TESTS_CODEC_SAMPLES_H
#define QINS_TESTS_CODEC_SAMPLES_H

#include "tests/unit/testing.h"

#include <math.h>

enum sample_law { SAMPLE_GAUSSIAN, SAMPLE_LAPLACE, SAMPLE_STUDENT_T5 };

/* On (0, 1). */
static inline double sample_uniform(uint64_t *state)
{
    return ((double)(test_random(state) >> 11) + 0.5) * 0x1p-53;
}

static inline double sample_normal(uint64_t *state)
{
    double radius = sqrt(-2.0 * log(sample_uniform(state)));
    return radius * cos(6.283185307179586 * sample_uniform(state));
}

static inline float sample_value(enum sample_law law, uint64_t *state)
{
    double x = sample_normal(state), squares = 0.0;
    switch (law) {
    case SAMPLE_GAUSSIAN:
        break;
    case SAMPLE_LAPLACE:
        x = -log(sample_uniform(state)) * (x < 0.0 ? -1.0 : 1.0);
        break;
    case SAMPLE_STUDENT_T5:
        for (int i = 0; i < 5; i++) {
            double y = sample_normal(state);
            squares += y * y;
        }
        x /= sqrt(squares / 5.0);
        break;
    }
    return (float)x;
}

static inline void sample_fill(enum sample_law law, float sigma, float *x, size_t n)
{
    uint64_t state = 1234567 + (uint64_t)law;
    for (size_t i = 0; i < n; i++)
        x[i] = sigma * sample_value(law, &state);
}

/* Signal to quantisation noise, dB. */
static inline double sample_sqnr(const float *x, const float *y, size_t n)
{
    double signal = 0.0, noise = 0.0;
    for (size_t i = 0; i < n; i++) {
        double d = (double)x[i] - (double)y[i];
        signal += (double)x[i] * (double)x[i];
        noise += d * d;
    }
    return 10.0 * log10(signal / noise);
}

#endif
