/* tans for AVX2 and BMI2: states of one byte, 32 a register; a window of bits goes to its eight
 * lanes by PDEP. Look-ups keep the vector units busy and windows the others, so the windows of two
 * registers are read in the same turn in which the next two are looked up. */
#include "formats/codec/kernels_list.h"
#include "formats/codec/x86/tables_avx2.h"

enum {
    WIDTH = 32,
    WORDS = WIDTH / 8,
    VECTORS = QN_TANS_VECTOR / WIDTH,
    PAIR_STREAMS = 2 * WORDS, /* of two registers */
};

struct tables {
    struct qn_table symbols;
    struct qn_table moves; /* base << 1 | 1 << bits: base has no bits there */
};

/* The move of all lanes, in memory between its two halves: what vectors write is read by words, and
 * what words write by vectors much later, when it has reached the cache. Each stream has a word, so
 * that nothing has to be widened. */
struct move {
    _Alignas(WIDTH) uint8_t bases[QN_TANS_VECTOR];
    uint8_t masks[QN_TANS_VECTOR];   /* numbers of bits, as that many ones */
    uint64_t bits[QN_TANS_STREAMS];  /* that come to the bases */
    uint64_t byte[QN_TANS_STREAMS];  /* in which the next bit is ... */
    uint64_t used[QN_TANS_STREAMS];  /* ... and the bits below it */
    uint64_t next[QN_TANS_STREAMS];  /* used[] after the move ... */
    uint64_t shift[QN_TANS_STREAMS]; /* ... whose byte is so many bits on ... */
    uint64_t whole[QN_TANS_STREAMS]; /* ... and so many bytes */
};

/* Raw bits of 32 symbols: those of eight lie in k bytes, of which each takes two at most. */
struct raw {
    __m256i even, odd; /* indices of the two bytes of every other symbol, and of those between */
    /* Factors: a product's upper word has the bits lowest, its lower word in the high byte. */
    __m256i even_by, odd_by;
    __m256i mask;
    size_t k;
};

static struct raw raw_init(size_t k)
{
    uint8_t even[WIDTH], odd[WIDTH];
    uint16_t even_by[WIDTH / 2], odd_by[WIDTH / 2];
    for (size_t i = 0; i < WIDTH / 2; i++) {
        const size_t pair = i % 8 * 2, e = pair * k, o = (pair + 1) * k;
        even[2 * i] = (uint8_t)(e % 8 > 0 ? e / 8 : e / 8 - 1); /* below the first byte: zero */
        even[2 * i + 1] = (uint8_t)(even[2 * i] + 1);
        even_by[i] = (uint16_t)(1u << (e % 8 > 0 ? 16 - e % 8 : 8));
        odd[2 * i] = (uint8_t)(o / 8);
        odd[2 * i + 1] = (uint8_t)(o / 8 + 1);
        odd_by[i] = (uint16_t)(1u << (8 - o % 8));
    }
    return (struct raw){.even = _mm256_loadu_si256((const __m256i *)(const void *)even),
                        .odd = _mm256_loadu_si256((const __m256i *)(const void *)odd),
                        .even_by = _mm256_loadu_si256((const __m256i *)(const void *)even_by),
                        .odd_by = _mm256_loadu_si256((const __m256i *)(const void *)odd_by),
                        .mask = _mm256_set1_epi8((char)((1 << k) - 1)),
                        .k = k};
}

static inline __m256i take_raw(const struct raw *r, const uint8_t **src)
{
    const uint8_t *low = *src, *high = low + 2 * r->k;
    const __m256i bytes = _mm256_inserti128_si256(
        _mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)(const void *)low)),
        _mm_loadu_si128((const __m128i *)(const void *)high), 1);
    const __m256i even = _mm256_mulhi_epu16(_mm256_shuffle_epi8(bytes, r->even), r->even_by),
                  odd = _mm256_mullo_epi16(_mm256_shuffle_epi8(bytes, r->odd), r->odd_by);
    *src += WORDS * r->k;
    return _mm256_and_si256(_mm256_blendv_epi8(even, odd, _mm256_set1_epi16((short)0xff00)),
                            r->mask);
}

static inline __m256i load(const void *p)
{
    return _mm256_load_si256(p);
}

static inline void store(void *p, __m256i x)
{
    _mm256_store_si256(p, x);
}

/* What register V of MOVES says of its streams. */
static inline void begin_move(struct move *m, size_t v, __m256i moves)
{
    const size_t q = v * WORDS;
    const __m256i ones = _mm256_broadcastsi128_si256(
                      _mm_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4)),
                  nibble = _mm256_set1_epi8(15);
    const __m256i below = _mm256_add_epi8(moves, _mm256_set1_epi8(-1)),
                  masks = _mm256_andnot_si256(moves, below);
    const __m256i sizes = _mm256_add_epi8(
        _mm256_shuffle_epi8(ones, _mm256_and_si256(masks, nibble)),
        _mm256_shuffle_epi8(ones, _mm256_and_si256(_mm256_srli_epi16(masks, 4), nibble)));
    const __m256i used = load(m->next + q),
                  bits = _mm256_add_epi64(used, _mm256_sad_epu8(sizes, _mm256_setzero_si256()));
    /* No bit crosses to the next byte: the lowest one of each is clear. */
    store(m->bases + v * WIDTH, _mm256_srli_epi16(_mm256_and_si256(moves, below), 1));
    store(m->masks + v * WIDTH, masks);
    store(m->used + q, used);
    store(m->next + q, _mm256_and_si256(bits, _mm256_set1_epi64x(7)));
    store(m->shift + q, _mm256_and_si256(bits, _mm256_set1_epi64x(0x38)));
    store(m->whole + q, _mm256_srli_epi64(bits, 3));
}

/* Reads the bits of the streams FIRST on, those of two registers. BYTE_BITS: 8, in a register; a
 * constant is put into one again for each window. */
__attribute__((always_inline)) static inline const uint8_t *
end_move(struct move *m, size_t first, const uint8_t *src, unsigned byte_bits)
{
#pragma GCC unroll 8
    for (size_t q = first; q < first + PAIR_STREAMS; q++) {
        uint64_t window, mask;
        memcpy(&window, src, sizeof window);
        memcpy(&mask, m->masks + q * 8, sizeof mask);
        window = window << byte_bits | m->byte[q];
        m->bits[q] = _pdep_u64(window >> m->used[q], mask);
        const uint8_t byte = (uint8_t)(window >> m->shift[q]);
        memcpy(&m->byte[q], &byte, 1);
        src += m->whole[q];
    }
    return src;
}

/* As qn_table_find(), two registers in two tables, as each slice has to be loaded. */
static inline void look_up(const struct tables *t, __m256i states[2], __m256i symbols[2],
                           __m256i moves[2])
{
    const __m256i slice = _mm256_set1_epi8(16);
    for (size_t v = 0; v < 2; v++)
        symbols[v] = moves[v] = _mm256_setzero_si256();
#pragma GCC unroll 8
    for (size_t s = 0; s < QN_TABLE_SLICES; s++) {
        const __m256i of_symbols = _mm256_broadcastsi128_si256(t->symbols.slice[s]),
                      of_moves = _mm256_broadcastsi128_si256(t->moves.slice[s]);
#pragma GCC unroll 2
        for (size_t v = 0; v < 2; v++) {
            symbols[v] = _mm256_xor_si256(symbols[v], _mm256_shuffle_epi8(of_symbols, states[v]));
            moves[v] = _mm256_xor_si256(moves[v], _mm256_shuffle_epi8(of_moves, states[v]));
            states[v] = _mm256_subs_epi8(states[v], slice);
            __asm__("" : "+x"(symbols[v]), "+x"(moves[v]));
        }
    }
}

/* In place of the classes of 64 symbols; the raw bits stay. */
static inline const uint8_t *put_escapes(uint64_t at, const uint8_t *escapes, uint8_t raw_mask,
                                         uint8_t *dst)
{
    for (; at != 0; at &= at - 1) {
        uint8_t *to = dst + __builtin_ctzll(at);
        *to = (uint8_t)((*to & raw_mask) | *escapes++);
    }
    return escapes;
}

/* As if the last two registers had a move without bits behind them. */
static inline void begin_streams(const struct qn_tans_decoder *d, struct move *m)
{
    const __m256i zero = _mm256_setzero_si256();
    for (size_t v = 0; v < VECTORS; v++) {
        store(m->bases + v * WIDTH,
              _mm256_loadu_si256((const __m256i *)(const void *)(d->state + v * WIDTH)));
        store(m->bits + v * WORDS, zero);
    }
    for (size_t v = VECTORS - 2; v < VECTORS; v++) {
        store(m->masks + v * WIDTH, zero);
        store(m->used + v * WORDS, zero);
        store(m->shift + v * WORDS, zero);
        store(m->whole + v * WORDS, zero);
    }
    for (size_t q = 0; q < QN_TANS_STREAMS; q++) {
        m->byte[q] = d->byte[q];
        m->next[q] = d->used[q];
    }
}

static inline void end_streams(const struct move *m, struct qn_tans_decoder *d)
{
    for (size_t v = 0; v < VECTORS; v++)
        _mm256_storeu_si256((__m256i *)(void *)(d->state + v * WIDTH),
                            _mm256_or_si256(load(m->bases + v * WIDTH), load(m->bits + v * WORDS)));
    for (size_t q = 0; q < QN_TANS_STREAMS; q++) {
        d->byte[q] = (uint8_t)m->byte[q];
        d->used[q] = (uint8_t)m->next[q];
    }
}

static inline uint64_t find(__m256i symbols, __m256i escape)
{
    return (uint32_t)_mm256_movemask_epi8(_mm256_cmpeq_epi8(symbols, escape));
}

__attribute__((always_inline)) static inline void decode_steps(struct qn_tans_decoder *d,
                                                               const struct tables *t, size_t steps,
                                                               bool has_raw, bool has_escapes)
{
    const __m256i escape = _mm256_set1_epi8((char)d->escape);
    const uint8_t raw_mask = (uint8_t)((1u << d->k) - 1);
    const struct raw r = has_raw ? raw_init(d->k) : (struct raw){.k = 0};
    const uint8_t *src = d->src, *raw = d->raw, *escapes = d->escapes;
    uint8_t *dst = d->dst;
    unsigned byte_bits = 8;
    __asm__("" : "+r"(byte_bits));
    size_t before = QN_TANS_STREAMS - PAIR_STREAMS; /* streams whose bits are to be read */
    struct move m;
    begin_streams(d, &m);
    for (size_t i = 0; i < steps * VECTORS; i += 2, dst += (size_t)2 * WIDTH) {
        const size_t v = i % VECTORS;
        const uint8_t *bits = (const uint8_t *)m.bits + v * WIDTH, *bases = m.bases + v * WIDTH;
        __m256i states[2] = {_mm256_or_si256(load(bits), load(bases)),
                             _mm256_or_si256(load(bits + WIDTH), load(bases + WIDTH))},
                symbols[2], moves[2];
        look_up(t, states, symbols, moves);
        begin_move(&m, v, moves[0]);
        begin_move(&m, v + 1, moves[1]);
        const uint64_t escaped =
            has_escapes ? find(symbols[1], escape) << 32 | find(symbols[0], escape) : 0;
        if (has_raw) {
            symbols[0] = _mm256_or_si256(symbols[0], take_raw(&r, &raw));
            symbols[1] = _mm256_or_si256(symbols[1], take_raw(&r, &raw));
        }
        _mm256_storeu_si256((__m256i *)(void *)dst, symbols[0]);
        _mm256_storeu_si256((__m256i *)(void *)(dst + WIDTH), symbols[1]);
        if (has_escapes)
            escapes = put_escapes(escaped, escapes, raw_mask, dst);
        src = end_move(&m, before, src, byte_bits);
        before = v * WORDS;
    }
    d->src = end_move(&m, before, src, byte_bits);
    d->raw = raw;
    d->escapes = escapes;
    d->dst = dst;
    end_streams(&m, d);
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
