/* Sources of symbols to test coders with: what weights give, and what tables and forms are made
 * for. */
#ifndef QINS_TESTS_SYMBOL_SOURCES_H
#define QINS_TESTS_SYMBOL_SOURCES_H

#include "tests/unit/testing.h"

enum symbol_source {
    SYMBOLS_GAUSSIAN, /* sigma about 34 */
    SYMBOLS_NARROW,   /* sigma about 4: raw bits do not pay */
    SYMBOLS_UNIFORM,
    SYMBOLS_CONSTANT,
    SYMBOLS_EVEN, /* two symbols alike */
    SYMBOLS_RARE, /* two symbols, one of them far below a state's share */
    SYMBOLS_SPARSE,
    SYMBOLS_MANY_RARE, /* up to 255 escaped classes */
    SYMBOLS_TOP_BITS,  /* multiples of 16 */
    SYMBOLS_GEOMETRIC,
    SYMBOLS_IN_RUNS, /* of zeros, 14 long in the mean, 6 apart */
    SYMBOLS_LONG_RUNS,
    SYMBOLS_HALF, /* 128 alike: tans takes seven bits of each, the most that it can */
    SYMBOL_SOURCES,
};

static inline uint8_t symbol_gaussian(uint64_t *random)
{
    int sum = 0;
    for (int i = 0; i < 12; i++)
        sum += (int)(test_random(random) >> 40 & 0xfff);
    return (uint8_t)((sum - 24570) / 120);
}

static inline uint8_t symbol_of(enum symbol_source source, uint64_t *random, bool *in_run)
{
    switch (source) {
    case SYMBOLS_GAUSSIAN:
        return symbol_gaussian(random);
    case SYMBOLS_NARROW:
        return (uint8_t)((int8_t)symbol_gaussian(random) / 8);
    case SYMBOLS_CONSTANT:
        return 201;
    case SYMBOLS_EVEN:
        return test_random(random) >> 63 == 0 ? 255 : 0;
    case SYMBOLS_RARE:
        return test_random(random) >> 53 == 0 ? 9 : 8;
    case SYMBOLS_SPARSE:
        return test_random(random) >> 62 == 0 ? symbol_gaussian(random) : 0;
    case SYMBOLS_MANY_RARE:
        return test_random(random) >> 58 == 0 ? (uint8_t)(test_random(random) >> 33) : 128;
    case SYMBOLS_TOP_BITS:
        return (uint8_t)(symbol_gaussian(random) & 0xf0);
    case SYMBOLS_GEOMETRIC:
        return (uint8_t)(120 - __builtin_clzll(test_random(random) | 1));
    case SYMBOLS_IN_RUNS:
        *in_run = (test_random(random) >> 32) % (*in_run ? 14 : 6) == 0 ? !*in_run : *in_run;
        return *in_run ? 0 : symbol_gaussian(random);
    case SYMBOLS_LONG_RUNS:
        *in_run = (test_random(random) >> 32) % 700 == 0 ? !*in_run : *in_run;
        return *in_run ? 77 : (uint8_t)(test_random(random) >> 33);
    case SYMBOLS_HALF:
        return (uint8_t)(test_random(random) >> 33 & 127);
    case SYMBOLS_UNIFORM:
    case SYMBOL_SOURCES:
        break;
    }
    return (uint8_t)(test_random(random) >> 33);
}

/* The same N symbols at every call. */
static inline void symbols_fill(enum symbol_source source, uint8_t *dst, size_t n)
{
    uint64_t random = 0x9e3779b97f4a7c15ULL + source + n * 1000003;
    bool in_run = false;
    for (size_t i = 0; i < n; i++)
        dst[i] = symbol_of(source, &random, &in_run);
}

#endif
