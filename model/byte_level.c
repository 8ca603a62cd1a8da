#include "model/byte_level.h"

#include "model/utf8.h"

/* Bytes without a printable form: 0-32, 127-160 and 173, 68 in all. */
enum { FIRST_STAND_IN = 0x100, N_STAND_INS = 68 };

size_t qn_byte_level_put(uint8_t byte, uint8_t out[4])
{
    uint32_t code = byte;
    if (byte <= 32)
        code = FIRST_STAND_IN + byte;
    else if (byte >= 127 && byte <= 160)
        code = FIRST_STAND_IN + 33u + (byte - 127u);
    else if (byte == 173)
        code = FIRST_STAND_IN + N_STAND_INS - 1;
    return qn_utf8_put(code, out);
}

int qn_byte_level_get(uint32_t code)
{
    if (code >= FIRST_STAND_IN) {
        uint32_t k = code - FIRST_STAND_IN;
        if (k >= N_STAND_INS)
            return -1;
        if (k <= 32)
            return (int)k;
        return k == N_STAND_INS - 1 ? 173 : (int)(k - 33 + 127);
    }
    return code <= 32 || (code >= 127 && code <= 160) || code == 173 ? -1 : (int)code;
}
