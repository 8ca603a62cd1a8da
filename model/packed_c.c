/* For any processor: the compiler's vectors of 16 bytes, and registers of 8 to spread codes in. */
#include <stdint.h>

enum { LANES = 4 };

/* Where halves, quarters and eighths of the codes of a register are, before they are spread. */
struct unpacker {
    unsigned shift;
    uint64_t four, two, one;
};

#include "model/packed_floats.h"

typedef uint8_t v16 __attribute__((vector_size(16)));
typedef uint64_t v2 __attribute__((vector_size(16)));

static void unpacker_init(struct unpacker *u, unsigned bits, unsigned shift)
{
    u->shift = shift;
    u->four = ((uint64_t)1 << 4 * bits) - 1;
    u->two = (((uint64_t)1 << 2 * bits) - 1) * 0x0000000100000001u;
    u->one = (((uint64_t)1 << bits) - 1) * 0x0001000100010001u;
}

/* Eight codes to a byte each. */
INLINE uint64_t spread(const struct unpacker *u, unsigned bits, const uint8_t *src)
{
    uint64_t codes = qn_load64(src);
    if (bits == 8)
        return codes;
    codes >>= u->shift;
    codes = (codes & u->four) | (codes >> 4 * bits & u->four) << 32;
    codes = (codes & u->two) | (codes >> 2 * bits & u->two) << 16;
    return (codes & u->one) | (codes >> bits & u->one) << 8;
}

/* The lower and the upper halves of registers, byte by byte in turns. */
#define LOW(a, b)                                                                                  \
    __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23)
#define HIGH(a, b)                                                                                 \
    __builtin_shufflevector(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31)
/* The same by two bytes. */
#define LOW_PAIRS(a, b)                                                                            \
    __builtin_shufflevector(a, b, 0, 1, 16, 17, 2, 3, 18, 19, 4, 5, 20, 21, 6, 7, 22, 23)
#define HIGH_PAIRS(a, b)                                                                           \
    __builtin_shufflevector(a, b, 8, 9, 24, 25, 10, 11, 26, 27, 12, 13, 28, 29, 14, 15, 30, 31)

INLINE void unpack(const struct unpacker *u, unsigned bits, const uint8_t *src, vf codes[VECTORS])
{
    const v16 zero = {0};
    const v16 bytes = (v16)(v2){spread(u, bits, src), spread(u, bits, src + bits)};
    const v16 low = LOW(bytes, zero), high = HIGH(bytes, zero);
    codes[0] = __builtin_convertvector((vi)LOW_PAIRS(low, zero), vf);
    codes[1] = __builtin_convertvector((vi)HIGH_PAIRS(low, zero), vf);
    codes[2] = __builtin_convertvector((vi)LOW_PAIRS(high, zero), vf);
    codes[3] = __builtin_convertvector((vi)HIGH_PAIRS(high, zero), vf);
}

const struct qn_packed_kernels qn_packed_kernels_c = {
    .few_rows = 8, .prepare = prepare, .multiply = multiply};
