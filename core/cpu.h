/* What this processor can do, in the three steps for which kernels are written. */
#ifndef QINS_CORE_CPU_H
#define QINS_CORE_CPU_H

#include <stdbool.h>

enum qn_cpu_level {
    QN_CPU_C,      /* what every processor of the build's target can do */
    QN_CPU_AVX2,   /* AVX2, FMA, F16C, BMI2 */
    QN_CPU_AVX512, /* AVX-512 F, BW, DQ and VL on top */
};

/* The highest level that processor and operating system support, or less where the environment
 * variable QINS_CPU says c, avx2 or avx512. Found once; thread-safe. */
enum qn_cpu_level qn_cpu_level(void);
/* For measurements: the whole process goes on with the kernels of LEVEL, until the next call.
 * False, and nothing changed, where qn_cpu_level() was less at first. No other thread runs a
 * kernel. */
bool qn_cpu_use(enum qn_cpu_level level);
/* The highest level that this build has kernels for. */
enum qn_cpu_level qn_cpu_level_built(void);
/* "c", "avx2", "avx512" */
const char *qn_cpu_level_name(enum qn_cpu_level level);

/* At QN_CPU_AVX512: whether AVX-512's permutations of bytes are there too (VBMI and VBMI2), which
 * processors before Ice Lake and Zen 4 lack. False at lower levels. */
bool qn_cpu_has_vbmi(void);
/* The same of sums of products of bytes (VNNI). */
bool qn_cpu_has_vnni(void);

#endif
