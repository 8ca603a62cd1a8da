/* tans for AVX2 and BMI2: states of one byte, 32 a register; a window of bits goes to its eight
 * lanes by PDEP. */
#include "formats/codec/kernels_list.h"
#include "formats/codec/x86/tables_avx2.h"

enum { WIDTH = 32, WORDS = WIDTH / 8 };

struct tables {
    struct qn_table symbols;
    struct qn_table moves; /* base << 1 | 1 << bits: base has no bits there */
};

/* Where the streams are. */
struct streams {
    const uint8_t *src;
    uint8_t byte[QN_TANS_STREAMS], used[QN_TANS_STREAMS];
};

/* Bits for the lanes of one word, from stream Q; MASK has each lane's number of ones. */
static inline uint64_t take_bits(struct streams *s, size_t q, uint64_t mask)
{
    uint64_t word;
    memcpy(&word, s->src, sizeof word);
    word = word << 8 | s->byte[q];
    const uint64_t bits = _pdep_u64(word >> s->used[q], mask);
    const uint64_t used = s->used[q] + (uint64_t)_mm_popcnt_u64(mask);
    s->src += used >> 3;
    s->byte[q] = (uint8_t)(word >> (used & 0x38));
    s->used[q] = used & 7;
    return bits;
}

static inline int64_t take_raw_word(const uint8_t *raw, uint64_t mask)
{
    uint64_t word;
    memcpy(&word, raw, sizeof word);
    return (int64_t)_pdep_u64(word, mask);
}

/* Words go to a vector by registers: a load would wait for their stores. */
static inline __m256i take_raw(const uint8_t *raw, size_t k, uint64_t mask)
{
    return _mm256_setr_epi64x(take_raw_word(raw, mask), take_raw_word(raw + k, mask),
                              take_raw_word(raw + 2 * k, mask), take_raw_word(raw + 3 * k, mask));
}

static inline __m256i next_states(__m256i moves, struct streams *s, size_t q)
{
    const __m256i lowest = _mm256_and_si256(moves, _mm256_sub_epi8(_mm256_setzero_si256(), moves));
    const __m256i masks = _mm256_add_epi8(lowest, _mm256_set1_epi8(-1));
    /* No bit crosses to the next byte: the lowest one of each is clear. */
    const __m256i bases = _mm256_srli_epi16(_mm256_xor_si256(moves, lowest), 1);
    uint64_t bits[WORDS];
    bits[0] = take_bits(s, q, (uint64_t)_mm256_extract_epi64(masks, 0));
    bits[1] = take_bits(s, q + 1, (uint64_t)_mm256_extract_epi64(masks, 1));
    bits[2] = take_bits(s, q + 2, (uint64_t)_mm256_extract_epi64(masks, 2));
    bits[3] = take_bits(s, q + 3, (uint64_t)_mm256_extract_epi64(masks, 3));
    return _mm256_or_si256(bases, _mm256_setr_epi64x((int64_t)bits[0], (int64_t)bits[1],
                                                     (int64_t)bits[2], (int64_t)bits[3]));
}

/* In place of classes; the raw bits stay. */
static inline const uint8_t *put_escapes(uint32_t at, const uint8_t *escapes, uint8_t raw_mask,
                                         uint8_t *dst)
{
    for (; at != 0; at &= at - 1) {
        uint8_t *to = dst + __builtin_ctz(at);
        *to = (uint8_t)((*to & raw_mask) | *escapes++);
    }
    return escapes;
}

__attribute__((always_inline)) static inline void decode_steps(struct qn_tans_decoder *d,
                                                               const struct tables *t, size_t steps,
                                                               bool has_raw, bool has_escapes)
{
    const __m256i escape = _mm256_set1_epi8((char)d->escape);
    const uint64_t raw_mask = 0x0101010101010101 * (((uint64_t)1 << d->k) - 1);
    const size_t k = d->k;
    const uint8_t *raw = d->raw, *escapes = d->escapes;
    uint8_t *dst = d->dst;
    /* Copies, which bytes that are written cannot be taken to change. */
    __m256i states[QN_TANS_VECTOR / WIDTH];
    struct streams streams = {.src = d->src};
    memcpy(states, d->state, sizeof states);
    memcpy(streams.byte, d->byte, sizeof streams.byte);
    memcpy(streams.used, d->used, sizeof streams.used);
    for (; steps > 0; steps--) {
        for (size_t v = 0; v < QN_TANS_VECTOR / WIDTH; v++) {
            __m256i out, moves;
            qn_table_find_both(&t->symbols, &t->moves, states[v], &out, &moves);
            states[v] = next_states(moves, &streams, v * WORDS);
            const __m256i escaped = _mm256_cmpeq_epi8(out, escape);
            if (has_raw) {
                out = _mm256_or_si256(out, take_raw(raw, k, raw_mask));
                raw += WORDS * k;
            }
            _mm256_storeu_si256((__m256i *)(void *)dst, out);
            if (has_escapes)
                escapes = put_escapes((uint32_t)_mm256_movemask_epi8(escaped), escapes,
                                      (uint8_t)raw_mask, dst);
            dst += WIDTH;
        }
    }
    memcpy(d->state, states, sizeof states);
    memcpy(d->byte, streams.byte, sizeof streams.byte);
    memcpy(d->used, streams.used, sizeof streams.used);
    d->src = streams.src;
    d->raw = raw;
    d->escapes = escapes;
    d->dst = dst;
}

void qn_tans_decode_avx2(struct qn_tans_decoder *d, size_t steps)
{
    struct tables t;
    uint8_t moves[QN_TANS_STATES];
    for (size_t s = 0; s < QN_TANS_STATES; s++)
        moves[s] = (uint8_t)(d->base[s] << 1 | 1u << d->bits[s]);
    qn_table_init(&t.symbols, d->symbol);
    qn_table_init(&t.moves, moves);
    QN_TANS_SPECIALISE(d, decode_steps, d, &t, steps);
}

void qn_tans_pack_avx2(const uint8_t *src, size_t groups, unsigned k, uint8_t *dst)
{
    const uint64_t mask = 0x0101010101010101 * (((uint64_t)1 << k) - 1);
    for (; groups > 0; groups--, src += QN_TANS_LANES, dst += k) {
        uint64_t word;
        memcpy(&word, src, sizeof word);
        word = _pext_u64(word, mask);
        memcpy(dst, &word, sizeof word);
    }
}
