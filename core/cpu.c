#include "core/cpu.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#if defined(__x86_64__)
#include <cpuid.h>
#endif

static const char *const level_names[] = {"c", "avx2", "avx512"};

const char *qn_cpu_level_name(enum qn_cpu_level level)
{
    return level_names[level];
}

enum qn_cpu_level qn_cpu_level_built(void)
{
#if defined(__x86_64__)
    return QN_CPU_AVX512;
#else
    return QN_CPU_C;
#endif
}

#if defined(__x86_64__)
/* By CPUID itself: not every compiler's __builtin_cpu_supports knows the name. */
static bool has_f16c(void)
{
    unsigned a, b, c, d;
    return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C);
}
#endif

static enum qn_cpu_level detect(void)
{
#if defined(__x86_64__)
    __builtin_cpu_init();
    bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c() &&
                __builtin_cpu_supports("bmi2");
    bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                  __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    if (avx2)
        return avx512 ? QN_CPU_AVX512 : QN_CPU_AVX2;
#endif
    return QN_CPU_C;
}

/* QINS_CPU may only take away. */
static enum qn_cpu_level limit(enum qn_cpu_level found)
{
    const char *wish = getenv("QINS_CPU");
    for (int level = QN_CPU_C; wish && level < (int)found; level++)
        if (strcmp(wish, level_names[level]) == 0)
            return (enum qn_cpu_level)level;
    return found;
}

/* Threads that race in what follows store the same value. */
static atomic_int in_use = -1;

static enum qn_cpu_level most(void)
{
    static atomic_int known = -1;
    int level = atomic_load_explicit(&known, memory_order_relaxed);
    if (level < 0) {
        level = (int)limit(detect());
        atomic_store_explicit(&known, level, memory_order_relaxed);
    }
    return (enum qn_cpu_level)level;
}

enum qn_cpu_level qn_cpu_level(void)
{
    int level = atomic_load_explicit(&in_use, memory_order_relaxed);
    if (level < 0) {
        level = (int)most();
        atomic_store_explicit(&in_use, level, memory_order_relaxed);
    }
    return (enum qn_cpu_level)level;
}

bool qn_cpu_use(enum qn_cpu_level level)
{
    if (level > most())
        return false;
    atomic_store_explicit(&in_use, (int)level, memory_order_relaxed);
    return true;
}

bool qn_cpu_has_vbmi(void)
{
#if defined(__x86_64__)
    return qn_cpu_level() >= QN_CPU_AVX512 && __builtin_cpu_supports("avx512vbmi") &&
           __builtin_cpu_supports("avx512vbmi2");
#else
    return false;
#endif
}

bool qn_cpu_has_vnni(void)
{
#if defined(__x86_64__)
    return qn_cpu_level() >= QN_CPU_AVX512 && __builtin_cpu_supports("avx512vnni");
#else
    return false;
#endif
}
