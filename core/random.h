/* SplitMix64: Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA
 * 2014, with the constants of Stafford's mixer 13. Any seed will do, it is fast, and it yields the
 * same numbers everywhere. Not for secrets. */
#ifndef QINS_CORE_RANDOM_H
#define QINS_CORE_RANDOM_H

#include <stdint.h>

/* The generator's finaliser: a bijection that spreads every bit over all others. */
static inline uint64_t qn_mix64(uint64_t z)
{
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ z >> 27) * 0x94d049bb133111ebULL;
    return z ^ z >> 31;
}

/* The next of 2^64 numbers; *STATE begins as the seed. */
static inline uint64_t qn_random_u64(uint64_t *state)
{
    return qn_mix64(*state += 0x9e3779b97f4a7c15ULL);
}

#endif
