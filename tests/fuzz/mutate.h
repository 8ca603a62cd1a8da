/* What the structure-aware mutators of the fuzz targets share (docs/fuzzing.md). Each works in
 * place on SIZE bytes in room for MAX and returns the new size, or 0 where the bytes are not of its
 * kind or the outcome has no room; the caller then leaves it to LLVMFuzzerMutate. The same bytes
 * and seed yield the same outcome. Nothing here is thread-safe. */
#ifndef QINS_TESTS_MUTATE_H
#define QINS_TESTS_MUTATE_H

#include "core/buf.h"
#include "core/bytes.h"

#include <stdlib.h>

/* libFuzzer's: any bytes from any. */
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);
/* What each mutate_*.c that stands for a target defines. */
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed);

struct mutate_random {
    uint64_t state;
};

static inline struct mutate_random mutate_seed(unsigned seed)
{
    return (struct mutate_random){seed * 0x9e3779b97f4a7c15U + 0x2545f4914f6cdd1dU};
}

static inline uint64_t mutate_next(struct mutate_random *r)
{
    r->state ^= r->state << 13;
    r->state ^= r->state >> 7;
    r->state ^= r->state << 17;
    return r->state * 0x2545f4914f6cdd1dU;
}

/* 0 … N - 1; 0 where N is 0. */
static inline size_t mutate_below(struct mutate_random *r, size_t n)
{
    return n ? (size_t)((mutate_next(r) >> 11) % n) : 0;
}

/* True once in N. */
static inline bool mutate_once_in(struct mutate_random *r, size_t n)
{
    return mutate_below(r, n) == 0;
}

/* A number such as sizes, counts and offsets are wrong with, near OLD or at a border. */
uint64_t mutate_number(struct mutate_random *r, uint64_t old);

/* Edits of JSON text that leave it JSON: values and keys changed, moved, copied, left out. */
size_t mutate_json(uint8_t *text, size_t size, size_t max_size, struct mutate_random *r);

/* Edits of a chunk's payload (docs/chunk-payload.md): a field of a header, a section, a part left
 * out or doubled; sizes and hashes are put right but now and then. */
size_t mutate_payload(uint8_t *payload, size_t size, size_t max_size, struct mutate_random *r);

/* Edits of a pickle by whole opcodes, with operands that fit them. */
size_t mutate_pickle(uint8_t *data, size_t size, size_t max_size, struct mutate_random *r);

/* Buffers of a mutator: memory that lacks ends the program. */
void mutate_append(struct qn_buf *b, const void *data, size_t size);

/* DATA becomes what B holds if that fits, whose size is returned; B is finished. */
size_t mutate_deliver(struct qn_buf *b, uint8_t *data, size_t max_size);

#endif
