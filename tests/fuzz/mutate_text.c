/* Targets whose input is JSON, to the end or up to a NUL. */
#include "tests/fuzz/mutate.h"

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed)
{
    struct mutate_random r = mutate_seed(seed);
    const uint8_t *end = size ? memchr(data, 0, size) : NULL;
    const size_t text_size = end ? (size_t)(end - data) : size, tail_size = size - text_size;
    struct qn_buf tail = {0};
    size_t now = 0;
    if (tail_size >= max_size || mutate_once_in(&r, 4))
        return LLVMFuzzerMutate(data, size, max_size);
    mutate_append(&tail, data + text_size, tail_size);
    if (tail_size > 1 && mutate_once_in(&r, 4)) {
        now = text_size;
        tail.size = 1 + LLVMFuzzerMutate(tail.data + 1, tail_size - 1, tail_size - 1);
    } else {
        now = mutate_json(data, text_size, max_size - tail_size, &r);
    }
    if (now > 0 && tail.size > 0) {
        memcpy(data + now, tail.data, tail.size);
        now += tail.size;
    }
    qn_buf_finish(&tail);
    return now ? now : LLVMFuzzerMutate(data, size, max_size);
}
