/* The tables of the CPU levels; model/kernels.c hands them out. */
#ifndef QINS_MODEL_KERNELS_TABLES_H
#define QINS_MODEL_KERNELS_TABLES_H

#include "model/kernels.h"

extern const struct qn_kernels qn_kernels_c;
#if defined(__x86_64__)
extern const struct qn_kernels qn_kernels_avx2, qn_kernels_avx512;
#endif

#endif
