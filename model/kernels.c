#include "model/kernels_tables.h"

const struct qn_kernels *qn_kernels_of(enum qn_cpu_level level)
{
    if (level > qn_cpu_level())
        return NULL;
    switch (level) {
#if defined(__x86_64__)
    case QN_CPU_AVX512:
        return &qn_kernels_avx512;
    case QN_CPU_AVX2:
        return &qn_kernels_avx2;
#endif
    default:
        return &qn_kernels_c;
    }
}

const struct qn_kernels *qn_kernels(void)
{
    return qn_kernels_of(qn_cpu_level());
}
