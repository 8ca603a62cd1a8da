#include "tests/fuzz/mutate.h"

uint64_t mutate_number(struct mutate_random *r, uint64_t old)
{
    switch (mutate_below(r, 8)) {
    case 0:
        return old + 1 + mutate_below(r, 8);
    case 1:
        return old - 1 - mutate_below(r, 8);
    case 2:
        return old * 2;
    case 3:
        return old / 2;
    case 4: /* around a power of two */
        return (UINT64_C(1) << mutate_below(r, 64)) + mutate_below(r, 3) - 1;
    case 5:
        return mutate_below(r, 4);
    case 6:
        return mutate_below(r, 65536);
    default:
        return old ^ UINT64_C(1) << mutate_below(r, 64);
    }
}

void mutate_append(struct qn_buf *b, const void *data, size_t size)
{
    if (size > 0 && qn_buf_append(b, data, size, NULL) != QINS_OK)
        abort();
}

size_t mutate_deliver(struct qn_buf *b, uint8_t *data, size_t max_size)
{
    const size_t size = b->size <= max_size ? b->size : 0;
    if (size > 0)
        memcpy(data, b->data, size);
    qn_buf_finish(b);
    return size;
}
