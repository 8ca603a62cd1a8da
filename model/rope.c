#include "model/rope.h"

#include "core/bytes.h"

#include <math.h>
#include <stdlib.h>

/* Meta's rule for Llama 3.1, as in Hugging Face's modeling_rope_utils.py
 * (_compute_llama3_parameters): wavelengths below original / high_freq_factor stay, those above
 * original / low_freq_factor are stretched by the factor, between them it goes over linearly. */
static double scale_llama3(const struct qn_rope_config *c, double frequency)
{
    const double pi = 3.14159265358979323846;
    double original = (double)c->original_positions, wavelength = 2.0 * pi / frequency;
    if (wavelength < original / c->high_freq_factor)
        return frequency;
    if (wavelength > original / c->low_freq_factor)
        return frequency / c->factor;
    double share =
        (original / wavelength - c->low_freq_factor) / (c->high_freq_factor - c->low_freq_factor);
    return (1.0 - share) * frequency / c->factor + share * frequency;
}

/* Frequencies of Su et al., "RoFormer" (arXiv 2104.09864), section 3.2.2: theta^(-2i/dims). */
static double scaled_frequency(const struct qn_rope_config *c, size_t positions, unsigned i)
{
    double frequency = pow(c->theta, -2.0 * (double)i / (double)c->dims);
    switch (c->scaling) {
    case QN_SCALING_LINEAR:
        frequency /= c->factor;
        break;
    case QN_SCALING_LLAMA3:
        frequency = scale_llama3(c, frequency);
        break;
    case QN_SCALING_LONGROPE: /* _compute_longrope_parameters of the same file */
        frequency /=
            (double)(positions > c->original_positions ? c->long_factor[i] : c->short_factor[i]);
        break;
    case QN_SCALING_NONE:
        break;
    }
    return frequency;
}

enum qins_status qn_rope_init(struct qn_rope_table *t, const struct qn_rope_config *config,
                              size_t positions, struct qins_error *err)
{
    uint64_t bytes = 0;
    *t = (struct qn_rope_table){.magnitude = 1.0, .half = config->dims / 2, .capacity = positions};
    if (config->scaling == QN_SCALING_LONGROPE)
        t->magnitude = config->attention_factor;
    for (unsigned i = 0; i < t->half; i++)
        t->frequency[i] = scaled_frequency(config, positions, i);
    if (!qn_mul_u64(positions, 2 * t->half * sizeof *t->values, &bytes))
        return qn_fail_memory(err);
    /* Large blocks of calloc are pages that do not exist before they are written. */
    t->values = calloc(bytes > 0 ? bytes : 1, 1);
    return t->values ? QINS_OK : qn_fail_memory(err);
}

void qn_rope_finish(struct qn_rope_table *t)
{
    free(t->values);
    *t = (struct qn_rope_table){0};
}

void qn_rope_fill(struct qn_rope_table *t, size_t positions)
{
    for (; t->filled < positions; t->filled++) {
        float *row = t->values + t->filled * 2 * t->half;
        for (size_t i = 0; i < t->half; i++) {
            double angle = (double)t->filled * t->frequency[i];
            row[i] = (float)(cos(angle) * t->magnitude);
            row[t->half + i] = (float)(sin(angle) * t->magnitude);
        }
    }
}
