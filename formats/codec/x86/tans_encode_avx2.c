/* The encoder of tans for AVX2 and BMI2: 32 states a register, tables of 16 entries that add up by
 * exclusive or; the bits of eight lanes are joined by PEXT. */
#include "formats/codec/kernels_list.h"
#include "formats/codec/x86/tables_avx2.h"

enum {
    WIDTH = 32,
    VECTORS = QN_TANS_VECTOR / WIDTH,
    WORDS = WIDTH / 8,
    FEW = 32, /* entries whose tables are short */
};

struct tables {
    struct qn_table entry_low, entry_high; /* of symbols, or of pairs of symbols: the first alone */
    struct qn_table most_bits, threshold, offset; /* of entries */
    struct qn_table next;                         /* of places */
};

/* Whether symbols 2 i and 2 i + 1 are of one entry, as all are where raw bits are stored. */
static bool are_paired(const struct qn_tans_encoder *e)
{
    bool same = true;
    for (size_t s = 0; s < sizeof e->entry; s += 2)
        same = same && e->entry[s] == e->entry[s + 1];
    return same;
}

static bool are_few(const struct qn_tans_encoder *e)
{
    unsigned most = 0;
    for (size_t s = 0; s < sizeof e->entry; s++)
        most = e->entry[s] > most ? e->entry[s] : most;
    return most < FEW;
}

static void make_tables(const struct qn_tans_encoder *e, bool paired, struct tables *t)
{
    uint8_t of_pairs[QN_TANS_STATES];
    for (size_t s = 0; s < sizeof of_pairs; s++)
        of_pairs[s] = e->entry[2 * s];
    qn_table_init(&t->entry_low, paired ? of_pairs : e->entry);
    qn_table_init(&t->entry_high, e->entry + QN_TANS_STATES);
    qn_table_init(&t->most_bits, e->most_bits);
    qn_table_init(&t->threshold, e->threshold);
    qn_table_init(&t->offset, e->offset);
    qn_table_init(&t->next, e->next);
}

static inline __m256i look_up_entries(const struct tables *t, __m256i symbols, bool paired)
{
    if (paired)
        return qn_table_find(
            &t->entry_low, QN_TABLE_SLICES,
            _mm256_and_si256(_mm256_srli_epi16(symbols, 1), _mm256_set1_epi8(127)));
    return _mm256_xor_si256(
        qn_table_find(&t->entry_low, QN_TABLE_SLICES, symbols),
        qn_table_find(&t->entry_high, QN_TABLE_SLICES,
                      _mm256_xor_si256(symbols, _mm256_set1_epi8((char)QN_TANS_STATES))));
}

/* X >> N of each byte: by a multiplication by 2^(7 - N). */
static inline __m256i shift_bytes(__m256i x, __m256i n)
{
    const __m256i powers = _mm256_broadcastsi128_si256(
                      _mm_setr_epi8((char)128, 64, 32, 16, 8, 4, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0)),
                  low = _mm256_set1_epi16(255), by = _mm256_shuffle_epi8(powers, n);
    const __m256i even = _mm256_srli_epi16(
                      _mm256_mullo_epi16(_mm256_and_si256(x, low), _mm256_and_si256(by, low)), 7),
                  odd = _mm256_slli_epi16(
                      _mm256_mullo_epi16(_mm256_srli_epi16(x, 8), _mm256_srli_epi16(by, 8)), 1);
    return _mm256_or_si256(even, _mm256_andnot_si256(low, odd));
}

/* Moves X (states + 128); gives the number of bits as that many ones. */
static inline __m256i move(const struct tables *t, __m256i entry, __m256i x, size_t slices,
                           __m256i *masks)
{
    const __m256i low_masks = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(0, 1, 3, 7, 15, 31, 63, 127, -1, 0, 0, 0, 0, 0, 0, 0));
    const __m256i threshold = qn_table_find(&t->threshold, slices, entry),
                  less = _mm256_cmpeq_epi8(_mm256_max_epu8(x, threshold), threshold), /* <= */
        n = _mm256_add_epi8(qn_table_find(&t->most_bits, slices, entry), less);
    const __m256i place =
        _mm256_add_epi8(shift_bytes(x, n), qn_table_find(&t->offset, slices, entry));
    *masks = _mm256_shuffle_epi8(low_masks, n);
    return _mm256_or_si256(qn_table_find(&t->next, QN_TABLE_SLICES, place),
                           _mm256_set1_epi8((char)QN_TANS_STATES));
}

/* Where the streams are; pending bits less one. */
struct streams {
    uint64_t acc[QN_TANS_STREAMS], pending[QN_TANS_STREAMS];
    uint8_t *out;
};

static inline void put(struct streams *s, size_t q, uint64_t states, uint64_t mask)
{
    const uint64_t n = (uint64_t)_mm_popcnt_u64(mask), size = s->pending[q] + n,
                   acc = s->acc[q] << n | _pext_u64(states, mask);
    const uint64_t bytes = acc << (63 - size);
    s->acc[q] = acc;
    s->pending[q] = size & 7;
    memcpy(s->out - sizeof bytes, &bytes, sizeof bytes);
    s->out -= size >> 3;
}

/* The last of them first. */
static inline uint8_t *list_escaped(uint32_t at, const uint8_t *src, uint8_t *to)
{
    while (at != 0) {
        const unsigned last = 31 - (unsigned)__builtin_clz(at);
        *--to = src[last];
        at ^= (uint32_t)1 << last;
    }
    return to;
}

__attribute__((always_inline)) static inline void
encode_steps(struct qn_tans_encoder *e, const struct tables *t, size_t steps, bool paired, bool few)
{
    const __m256i escape = _mm256_set1_epi8((char)e->escape),
                  top = _mm256_set1_epi8((char)QN_TANS_STATES);
    const size_t slices = few ? FEW / 16 : QN_TABLE_SLICES;
    const bool has_escapes = e->has_escapes;
    uint8_t *escaped = e->escaped;
    struct streams streams = {.out = e->out};
    __m256i x[VECTORS];
    for (size_t v = 0; v < VECTORS; v++)
        x[v] = _mm256_or_si256(
            top, _mm256_loadu_si256((const __m256i *)(const void *)(e->state + WIDTH * v)));
    for (size_t q = 0; q < QN_TANS_STREAMS; q++) {
        streams.acc[q] = e->acc[q];
        streams.pending[q] = e->pending[q] - 1;
    }
    for (const uint8_t *src = e->src + steps * QN_TANS_VECTOR; steps > 0; steps--) {
        for (size_t v = VECTORS; v-- > 0;) {
            src -= WIDTH;
            const __m256i symbols = _mm256_loadu_si256((const __m256i *)(const void *)src),
                          entries = look_up_entries(t, symbols, paired), before = x[v];
            if (has_escapes)
                escaped =
                    list_escaped((uint32_t)_mm256_movemask_epi8(_mm256_cmpeq_epi8(entries, escape)),
                                 src, escaped);
            __m256i masks;
            x[v] = move(t, entries, before, slices, &masks);
            const size_t q = v * WORDS;
            put(&streams, q + 3, (uint64_t)_mm256_extract_epi64(before, 3),
                (uint64_t)_mm256_extract_epi64(masks, 3));
            put(&streams, q + 2, (uint64_t)_mm256_extract_epi64(before, 2),
                (uint64_t)_mm256_extract_epi64(masks, 2));
            put(&streams, q + 1, (uint64_t)_mm256_extract_epi64(before, 1),
                (uint64_t)_mm256_extract_epi64(masks, 1));
            put(&streams, q, (uint64_t)_mm256_extract_epi64(before, 0),
                (uint64_t)_mm256_extract_epi64(masks, 0));
        }
    }
    for (size_t v = 0; v < VECTORS; v++)
        _mm256_storeu_si256((__m256i *)(void *)(e->state + WIDTH * v),
                            _mm256_andnot_si256(top, x[v]));
    for (size_t q = 0; q < QN_TANS_STREAMS; q++) {
        e->acc[q] = streams.acc[q];
        e->pending[q] = streams.pending[q] + 1;
    }
    e->out = streams.out;
    e->escaped = escaped;
}

void qn_tans_encode_avx2(struct qn_tans_encoder *e, size_t steps)
{
    struct tables t;
    const bool paired = are_paired(e), few = are_few(e);
    make_tables(e, paired, &t);
    if (paired && few)
        encode_steps(e, &t, steps, true, true);
    else if (paired)
        encode_steps(e, &t, steps, true, false);
    else if (few)
        encode_steps(e, &t, steps, false, true);
    else
        encode_steps(e, &t, steps, false, false);
}
