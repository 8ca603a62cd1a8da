/* tans for AVX-512 with VBMI and VBMI2: 64 states of one byte a register, tables in registers. */
#include "core/bytes.h"
#include "formats/codec/kernels_list.h"

#include <immintrin.h>

enum {
    CHAINS = QN_TANS_VECTOR / 64, /* independent, so that one waits while others work */
    CHAIN_STREAMS = 64 / QN_TANS_LANES,
};

#define UNROLL _Pragma("GCC unroll 4")

/* 128 entries of one byte. */
struct table {
    __m512i low, high;
};

static inline struct table load_table(const uint8_t *p)
{
    return (struct table){_mm512_loadu_si512(p), _mm512_loadu_si512(p + 64)};
}

static inline __m512i look_up(struct table t, __m512i index)
{
    return _mm512_permutex2var_epi8(t.low, index, t.high);
}

/* For 0 ... 7 bits that many ones. */
static inline __m512i low_masks(void)
{
    return _mm512_broadcast_i32x4(
        _mm_setr_epi8(0, 1, 3, 7, 15, 31, 63, 127, -1, 0, 0, 0, 0, 0, 0, 0));
}

/* Raw bits: 8 K bytes become 64 bytes of K bits. */
struct raw {
    __m512i bytes;  /* of the eight bytes that hold those of lane j / 8, which one j is to have */
    __m512i shifts; /* of lane j % 8 in them */
    __m512i mask;
};

static inline struct raw make_raw(unsigned k)
{
    uint8_t bytes[64], shifts[64];
    for (unsigned j = 0; j < 64; j++) {
        bytes[j] = (uint8_t)((j >> 3) * k + (j & 7));
        shifts[j] = (uint8_t)((j & 7) * k);
    }
    return (struct raw){_mm512_loadu_si512(bytes), _mm512_loadu_si512(shifts),
                        _mm512_set1_epi8((char)((1u << k) - 1))};
}

static inline __m512i add_raw(struct raw r, const uint8_t *src, __m512i symbols)
{
    const __m512i windows = _mm512_permutexvar_epi8(r.bytes, _mm512_loadu_si512(src)),
                  bits = _mm512_multishift_epi64_epi8(r.shifts, windows);
    return _mm512_ternarylogic_epi64(symbols, bits, r.mask, 0xf8); /* symbols | (bits & mask) */
}

/* Eight bytes to the lowest ones of words. */
static inline __m512i load_words(const uint8_t *p)
{
    return _mm512_cvtepu8_epi64(_mm_loadl_epi64((const __m128i *)(const void *)p));
}

static inline void store_words(uint8_t *p, __m512i words)
{
    _mm_storel_epi64((__m128i *)(void *)p, _mm512_cvtepi64_epi8(words));
}

/* One loop for each choice of what there is besides states. Eight lanes share a word, whose lowest
 * byte is the one that their stream's next bit is in; the others are filled as they are needed. */
__attribute__((always_inline)) static inline void
decode_steps(struct qn_tans_decoder *d, size_t steps, bool has_raw, bool has_escapes)
{
    const struct table symbols = load_table(d->symbol), counts = load_table(d->bits),
                       bases = load_table(d->base);
    const __m512i masks = low_masks(), ones = _mm512_set1_epi8(1), seven = _mm512_set1_epi8(7),
                  escape = _mm512_set1_epi8((char)d->escape);
    const __m512i spread7 = _mm512_broadcast_i32x4(
                      _mm_setr_epi8(7, 7, 7, 7, 7, 7, 7, 7, 15, 15, 15, 15, 15, 15, 15, 15)),
                  spread0 = _mm512_broadcast_i32x4(
                      _mm_setr_epi8(0, 0, 0, 0, 0, 0, 0, 0, 8, 8, 8, 8, 8, 8, 8, 8)),
                  /* Byte 1 ... 7 is needed if that many bits are used. Byte 0 is there. */
        needed = _mm512_set1_epi64(0x3830282018100840), byte_bits = _mm512_set1_epi64(0x38);
    const struct raw raw = make_raw(has_raw ? d->k : 1);
    __m512i state[CHAINS], used[CHAINS], word[CHAINS];
    const uint8_t *src = d->src, *raw_src = d->raw, *escapes = d->escapes;
    uint8_t *dst = d->dst;
    UNROLL for (size_t c = 0; c < CHAINS; c++)
    {
        state[c] = _mm512_loadu_si512(d->state + 64 * c);
        used[c] = _mm512_shuffle_epi8(load_words(d->used + CHAIN_STREAMS * c), spread0);
        word[c] = load_words(d->byte + CHAIN_STREAMS * c);
    }
    for (; steps > 0; steps--) {
        UNROLL for (size_t c = 0; c < CHAINS; c++)
        {
            const __m512i n = look_up(counts, state[c]);
            __m512i out = look_up(symbols, state[c]);
            /* In byte j the number of bits of lanes 0 ... j. */
            const __m512i sums = _mm512_mullo_epi64(n, ones),
                          total = _mm512_add_epi8(_mm512_shuffle_epi8(sums, spread7), used[c]);
            const __mmask64 fresh = _mm512_cmpge_epu8_mask(total, needed);
            word[c] = _mm512_mask_expand_epi8(word[c], fresh, _mm512_loadu_si512(src));
            src += _mm_popcnt_u64(fresh);
            const __m512i offsets = _mm512_add_epi8(sums, _mm512_sub_epi8(used[c], n)),
                          bits = _mm512_and_si512(_mm512_multishift_epi64_epi8(offsets, word[c]),
                                                  _mm512_shuffle_epi8(masks, n));
            state[c] = _mm512_add_epi8(look_up(bases, state[c]), bits);
            word[c] = _mm512_srlv_epi64(word[c], _mm512_and_si512(total, byte_bits));
            used[c] = _mm512_and_si512(total, seven);
            if (has_escapes) {
                const __mmask64 at = _mm512_cmpeq_epi8_mask(out, escape);
                out = _mm512_mask_expand_epi8(out, at, _mm512_loadu_si512(escapes));
                escapes += _mm_popcnt_u64(at);
            }
            if (has_raw) {
                out = add_raw(raw, raw_src, out);
                raw_src += 8 * (size_t)d->k;
            }
            _mm512_storeu_si512(dst, out);
            dst += 64;
        }
    }
    UNROLL for (size_t c = 0; c < CHAINS; c++)
    {
        _mm512_storeu_si512(d->state + 64 * c, state[c]);
        store_words(d->used + CHAIN_STREAMS * c, used[c]);
        store_words(d->byte + CHAIN_STREAMS * c, word[c]);
    }
    d->src = src;
    d->raw = raw_src;
    d->escapes = escapes;
    d->dst = dst;
}

void qn_tans_decode_avx512(struct qn_tans_decoder *d, size_t steps)
{
    QN_TANS_SPECIALISE(d, decode_steps, d, steps);
}

/* Tables of an encoder in registers. */
struct encode_tables {
    struct table entry_low, entry_high; /* of symbols below 128 and from there on */
    struct table most_bits, threshold, offset, next;
    __m512i lane_shifts;
};

static inline struct encode_tables load_encode_tables(const struct qn_tans_encoder *e)
{
    return (struct encode_tables){load_table(e->entry),
                                  load_table(e->entry + 128),
                                  load_table(e->most_bits),
                                  load_table(e->threshold),
                                  load_table(e->offset),
                                  load_table(e->next),
                                  _mm512_set1_epi64(0x3830282018100800)};
}

/* The low N bits of each byte of VALUES, joined in each word; *total: the number of its bits. One
 * of two neighbours is moved up by a multiplication that adds the other one. */
static inline __m512i join(__m512i values, __m512i n, __m512i *total)
{
    const __m512i powers = _mm512_broadcast_i32x4(
        _mm_setr_epi8(1, 2, 4, 8, 16, 32, 64, (char)128, 0, 0, 0, 0, 0, 0, 0, 0));
    const __m512i by_two = _mm512_shuffle_epi8(powers, _mm512_slli_epi16(n, 8)),
                  twos = _mm512_maddubs_epi16(by_two, values),
                  n_of_two = _mm512_maddubs_epi16(n, _mm512_set1_epi8(1));
    const __m512i one = _mm512_set1_epi16(1),
                  by_four = _mm512_sllv_epi16(one, _mm512_slli_epi32(n_of_two, 16)),
                  fours = _mm512_madd_epi16(twos, by_four),
                  n_of_four = _mm512_madd_epi16(n_of_two, one);
    const __m512i low = _mm512_set1_epi64(0xffffffff),
                  upper = _mm512_sllv_epi64(_mm512_srli_epi64(fours, 32),
                                            _mm512_and_si512(n_of_four, low));
    *total = _mm512_sad_epu8(n, _mm512_setzero_si512());
    return _mm512_ternarylogic_epi64(fours, low, upper, 0xea); /* (fours & low) | upper */
}

static inline __m512i look_up_entries(const struct encode_tables *t, __m512i symbols)
{
    return _mm512_mask_mov_epi8(look_up(t->entry_low, symbols), _mm512_movepi8_mask(symbols),
                                look_up(t->entry_high, symbols));
}

/* Those bytes of V that AT says to the bytes before TO; returns where they begin. What is below
 * them is written as well, 64 bytes in all: masked stores are slow. */
static inline uint8_t *put_before(__mmask64 at, __m512i v, uint8_t *to)
{
    static const uint8_t turns[128] = {
#define TURN(x) (x), (x) + 1, (x) + 2, (x) + 3, (x) + 4, (x) + 5, (x) + 6, (x) + 7
        TURN(0), TURN(8), TURN(16), TURN(24), TURN(32), TURN(40), TURN(48), TURN(56),
        TURN(0), TURN(8), TURN(16), TURN(24), TURN(32), TURN(40), TURN(48), TURN(56),
#undef TURN
    };
    const size_t count = (size_t)_mm_popcnt_u64(at);
    const __m512i bytes = _mm512_maskz_compress_epi8(at, v);
    _mm512_storeu_si512(to - 64, _mm512_permutexvar_epi8(_mm512_loadu_si512(turns + count), bytes));
    return to - count;
}

/* 64 entries: moves X (states + 128), gives eight words of bits and how many they have. */
static inline __m512i encode_vector(const struct encode_tables *t, __m512i entry, __m512i *x,
                                    __m512i *total)
{
    const __m512i most = look_up(t->most_bits, entry);
    const __mmask64 less = _mm512_cmple_epu8_mask(*x, look_up(t->threshold, entry));
    const __m512i n = _mm512_mask_sub_epi8(most, less, most, _mm512_set1_epi8(1));
    const __m512i tops =
        _mm512_broadcast_i32x4(_mm_setr_epi8(-1, 127, 63, 31, 15, 7, 3, 1, 0, 0, 0, 0, 0, 0, 0, 0));
    const __m512i shifts = _mm512_add_epi8(t->lane_shifts, n),
                  shifted = _mm512_and_si512(_mm512_multishift_epi64_epi8(shifts, *x),
                                             _mm512_shuffle_epi8(tops, n)),
                  place = _mm512_add_epi8(shifted, look_up(t->offset, entry));
    const __m512i bits = _mm512_and_si512(*x, _mm512_shuffle_epi8(low_masks(), n));
    *x = _mm512_or_si512(look_up(t->next, place), _mm512_set1_epi8((char)QN_TANS_STATES));
    return join(bits, n, total);
}

/* The whole bytes of words that have PENDING + 1 bits, all but the lowest ones, to the bytes before
 * TO; returns where they begin. */
static inline uint8_t *put_bytes(__m512i acc, __m512i pending, uint8_t *to)
{
    const __m512i aligned =
        _mm512_sllv_epi64(acc, _mm512_sub_epi64(_mm512_set1_epi64(63), pending));
    const __m512i bits = _mm512_shuffle_epi8(
        pending,
        _mm512_broadcast_i32x4(_mm_setr_epi8(0, 0, 0, 0, 0, 0, 0, 0, 8, 8, 8, 8, 8, 8, 8, 8)));
    const __mmask64 whole = _mm512_cmpge_epu8_mask(bits, _mm512_set1_epi64(0x0810182028303840));
    return put_before(whole, aligned, to);
}

__attribute__((always_inline)) static inline void encode_steps(struct qn_tans_encoder *e,
                                                               size_t steps, bool has_escapes)
{
    const struct encode_tables t = load_encode_tables(e);
    const __m512i top = _mm512_set1_epi8((char)QN_TANS_STATES);
    const __m512i escape = _mm512_set1_epi8((char)e->escape);
    const __m512i one = _mm512_set1_epi64(1), seven = _mm512_set1_epi64(7);
    uint8_t *escaped = e->escaped, *out = e->out;
    __m512i x[CHAINS], acc[CHAINS], pending[CHAINS]; /* less one */
    UNROLL for (size_t c = 0; c < CHAINS; c++)
    {
        x[c] = _mm512_or_si512(_mm512_loadu_si512(e->state + 64 * c), top);
        acc[c] = _mm512_loadu_si512(e->acc + CHAIN_STREAMS * c);
        pending[c] = _mm512_sub_epi64(_mm512_loadu_si512(e->pending + CHAIN_STREAMS * c), one);
    }
    for (const uint8_t *src = e->src + steps * QN_TANS_VECTOR; steps > 0; steps--) {
        src -= QN_TANS_VECTOR;
        UNROLL for (size_t i = 0; i < CHAINS; i++)
        {
            /* The last chain first: escaped symbols are listed in order. */
            const size_t c = CHAINS - 1 - i;
            const __m512i symbols = _mm512_loadu_si512(src + 64 * c),
                          entries = look_up_entries(&t, symbols);
            if (has_escapes)
                escaped = put_before(_mm512_cmpeq_epi8_mask(entries, escape), symbols, escaped);
            __m512i n;
            const __m512i words = encode_vector(&t, entries, &x[c], &n);
            acc[c] = _mm512_or_si512(_mm512_sllv_epi64(acc[c], n), words);
            pending[c] = _mm512_add_epi64(pending[c], n);
            out = put_bytes(acc[c], pending[c], out);
            pending[c] = _mm512_and_si512(pending[c], seven);
        }
    }
    UNROLL for (size_t c = 0; c < CHAINS; c++)
    {
        _mm512_storeu_si512(e->state + 64 * c, _mm512_andnot_si512(top, x[c]));
        _mm512_storeu_si512(e->acc + CHAIN_STREAMS * c, acc[c]);
        _mm512_storeu_si512(e->pending + CHAIN_STREAMS * c, _mm512_add_epi64(pending[c], one));
    }
    e->escaped = escaped;
    e->out = out;
}

void qn_tans_encode_avx512(struct qn_tans_encoder *e, size_t steps)
{
    if (e->has_escapes)
        encode_steps(e, steps, true);
    else
        encode_steps(e, steps, false);
}
