/* The target whose input is a pickle. */
#include "tests/fuzz/mutate.h"

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed)
{
    struct mutate_random r = mutate_seed(seed);
    const size_t now = mutate_once_in(&r, 5) ? 0 : mutate_pickle(data, size, max_size, &r);
    return now ? now : LLVMFuzzerMutate(data, size, max_size);
}
