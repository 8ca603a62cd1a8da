/* Targets whose input ends in a chunk's payload: FUZZ_FRONT bytes go before it. */
#include "tests/fuzz/mutate.h"

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed)
{
    struct mutate_random r = mutate_seed(seed);
    size_t now = 0;
    if (size > FUZZ_FRONT && max_size > size && !mutate_once_in(&r, 4))
        now = mutate_payload(data + FUZZ_FRONT, size - FUZZ_FRONT, max_size - FUZZ_FRONT, &r);
    return now ? FUZZ_FRONT + now : LLVMFuzzerMutate(data, size, max_size);
}
