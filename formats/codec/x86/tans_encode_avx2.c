/* The encoder of tans for AVX2: 32 states a register, tables of 16 entries that add up by exclusive
 * or; the bits of eight lanes are joined by multiplications, the words of four streams at once. */
#include "formats/codec/kernels_list.h"
#include "formats/codec/x86/tables_avx2.h"

enum {
    WIDTH = 32,
    VECTORS = QN_TANS_VECTOR / WIDTH,
    WORDS = WIDTH / 8,
    HALF = 128, /* of the symbols */
};

/* The slices of a table of 128 bytes that differ from the one before, and where they begin. */
struct slices {
    size_t count;
    __m256i slice[QN_TABLE_SLICES], begin[QN_TABLE_SLICES];
};

struct tables {
    unsigned k;                                   /* symbols >> k have one entry each */
    struct slices entry_low, entry_high;          /* of symbols >> k, from 0 and from 128 on */
    struct qn_table most_bits, threshold, offset; /* of entries */
    struct qn_table next;                         /* of places */
};

static void find_slices(const uint8_t p[HALF], struct slices *t)
{
    struct qn_table all;
    qn_table_init(&all, p);
    t->count = 0;
    for (size_t s = 0; s < QN_TABLE_SLICES; s++)
        if (!_mm_testz_si128(all.slice[s], all.slice[s])) {
            t->slice[t->count] = _mm256_broadcastsi128_si256(all.slice[s]);
            t->begin[t->count++] = _mm256_set1_epi8((char)(16 * s));
        }
}

/* K so that each 2^K symbols have one entry, as they have where K raw bits are stored. */
static unsigned find_raw_bits(const struct qn_tans_encoder *e)
{
    unsigned k = 0;
    for (bool same = true; same && k < 7; k += same)
        for (size_t s = 0; same && s < sizeof e->entry; s += (size_t)2 << k)
            same = e->entry[s] == e->entry[s + ((size_t)1 << k)];
    return k;
}

static void make_tables(const struct qn_tans_encoder *e, struct tables *t)
{
    uint8_t entry[2 * HALF];
    t->k = find_raw_bits(e);
    for (size_t s = 0; s < sizeof entry; s++)
        entry[s] = e->entry[s << t->k < sizeof entry ? s << t->k : sizeof entry - 1];
    find_slices(entry, &t->entry_low);
    find_slices(entry + HALF, &t->entry_high);
    if (t->k > 0)
        t->entry_high.count = 0; /* nothing is looked up there */
    qn_table_init(&t->most_bits, e->most_bits);
    qn_table_init(&t->threshold, e->threshold);
    qn_table_init(&t->offset, e->offset);
    qn_table_init(&t->next, e->next);
}

/* Slices that entries take, a power of two. */
static size_t count_slices(const struct qn_tans_encoder *e)
{
    unsigned most = 0;
    size_t slices = 1;
    for (size_t s = 0; s < sizeof e->entry; s++)
        most = e->entry[s] > most ? e->entry[s] : most;
    while (most >= 16 * slices)
        slices *= 2;
    return slices;
}

static inline __m256i look_up_slices(const struct slices *t, __m256i index, __m256i found)
{
    for (size_t s = 0; s < t->count; s++)
        found = _mm256_xor_si256(
            found, _mm256_shuffle_epi8(t->slice[s], _mm256_subs_epi8(index, t->begin[s])));
    return found;
}

static inline __m256i look_up_entries(const struct tables *t, __m256i symbols)
{
    const __m256i classes =
                      _mm256_and_si256(_mm256_srl_epi16(symbols, _mm_cvtsi32_si128((int)t->k)),
                                       _mm256_set1_epi8((char)(255 >> t->k))),
                  low = look_up_slices(&t->entry_low, classes, _mm256_setzero_si256());
    return look_up_slices(&t->entry_high, _mm256_xor_si256(classes, _mm256_set1_epi8((char)HALF)),
                          low);
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

/* The lowest N bits of each byte of X, joined in each word; *total: the number of its bits. One of
 * two bytes is moved up by a multiplication that adds the other one. */
static inline __m256i join(__m256i x, __m256i n, __m256i *total)
{
    const __m256i masks = _mm256_broadcastsi128_si256(
                      _mm_setr_epi8(0, 1, 3, 7, 15, 31, 63, 127, 0, 0, 0, 0, 0, 0, 0, 0)),
                  powers = _mm256_broadcastsi128_si256(
                      _mm_setr_epi8(1, 2, 4, 8, 16, 32, 64, (char)128, 0, 0, 0, 0, 0, 0, 0, 0));
    const __m256i ones = _mm256_and_si256(x, _mm256_shuffle_epi8(masks, n)),
                  by = _mm256_shuffle_epi8(powers, _mm256_slli_epi16(n, 8)),
                  twos = _mm256_maddubs_epi16(by, ones),
                  n_of_two = _mm256_maddubs_epi16(n, _mm256_set1_epi8(1));
    const __m256i low = _mm256_set1_epi32(0xffff), /* of two */
        fours = _mm256_or_si256(
            _mm256_and_si256(twos, low),
            _mm256_sllv_epi32(_mm256_srli_epi32(twos, 16), _mm256_and_si256(n_of_two, low))),
                  n_of_four = _mm256_madd_epi16(n_of_two, _mm256_set1_epi16(1));
    const __m256i lower = _mm256_set1_epi64x(0xffffffff); /* of four */
    *total = _mm256_sad_epu8(n, _mm256_setzero_si256());
    return _mm256_or_si256(
        _mm256_and_si256(fours, lower),
        _mm256_sllv_epi64(_mm256_srli_epi64(fours, 32), _mm256_and_si256(n_of_four, lower)));
}

/* Moves X (states + 128); gives the number of bits that are put for each. */
static inline __m256i move(const struct tables *t, __m256i entry, __m256i *x, size_t slices)
{
    const __m256i threshold = qn_table_find(&t->threshold, slices, entry),
                  less = _mm256_cmpeq_epi8(_mm256_max_epu8(*x, threshold), threshold), /* <= */
        n = _mm256_add_epi8(qn_table_find(&t->most_bits, slices, entry), less);
    const __m256i place =
        _mm256_add_epi8(shift_bytes(*x, n), qn_table_find(&t->offset, slices, entry));
    *x = _mm256_or_si256(qn_table_find(&t->next, QN_TABLE_SLICES, place),
                         _mm256_set1_epi8((char)QN_TANS_STATES));
    return n;
}

/* Writes the uppermost BYTES[] of each word, the last word's first; returns where they begin. What
 * is below them is written as well. */
static inline uint8_t *put_words(__m256i words, __m256i bytes, uint8_t *out)
{
    uint64_t count[WORDS];
    const __m128 low = _mm_castsi128_ps(_mm256_castsi256_si128(words)),
                 high = _mm_castsi128_ps(_mm256_extracti128_si256(words, 1));
    _mm256_storeu_si256((__m256i *)(void *)count, bytes);
    _mm_storeh_pi((__m64 *)(void *)(out - 8), high);
    out -= count[3];
    _mm_storel_pi((__m64 *)(void *)(out - 8), high);
    out -= count[2];
    _mm_storeh_pi((__m64 *)(void *)(out - 8), low);
    out -= count[1];
    _mm_storel_pi((__m64 *)(void *)(out - 8), low);
    return out - count[0];
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

static inline __m256i load(const void *p)
{
    return _mm256_loadu_si256(p);
}

static inline void store(void *p, __m256i v)
{
    _mm256_storeu_si256(p, v);
}

struct streams {
    __m256i x[VECTORS], acc[VECTORS], pending[VECTORS]; /* less one */
    uint8_t *out;
};

/* Puts the lowest N bits of X to the streams of register V. */
static inline void put(struct streams *s, size_t v, __m256i x, __m256i n)
{
    __m256i of_words;
    const __m256i words = join(x, n, &of_words),
                  acc = _mm256_or_si256(_mm256_sllv_epi64(s->acc[v], of_words), words),
                  size = _mm256_add_epi64(s->pending[v], of_words);
    s->acc[v] = acc;
    s->pending[v] = _mm256_and_si256(size, _mm256_set1_epi64x(7));
    s->out = put_words(_mm256_sllv_epi64(acc, _mm256_sub_epi64(_mm256_set1_epi64x(63), size)),
                       _mm256_srli_epi64(size, 3), s->out);
}

__attribute__((always_inline)) static inline void
encode_steps(struct qn_tans_encoder *e, const struct tables *t, size_t steps, size_t slices)
{
    const __m256i escape = _mm256_set1_epi8((char)e->escape),
                  top = _mm256_set1_epi8((char)QN_TANS_STATES), one = _mm256_set1_epi64x(1);
    const bool has_escapes = e->has_escapes;
    uint8_t *escaped = e->escaped;
    struct streams streams = {.out = e->out};
    for (size_t v = 0; v < VECTORS; v++) {
        streams.x[v] = _mm256_or_si256(top, load(e->state + WIDTH * v));
        streams.acc[v] = load(e->acc + WORDS * v);
        streams.pending[v] = _mm256_sub_epi64(load(e->pending + WORDS * v), one);
    }
    /* What is put is of the register before, LAST, with nothing to wait for: a register's chain of
     * operations is longer than what a processor looks ahead. At first no bits are put. */
    __m256i before = top, n = _mm256_setzero_si256();
    size_t last = 0;
    for (const uint8_t *src = e->src + steps * QN_TANS_VECTOR; steps > 0; steps--) {
        for (size_t v = VECTORS; v-- > 0;) {
            src -= WIDTH;
            const __m256i entries = look_up_entries(t, load(src));
            if (has_escapes)
                escaped =
                    list_escaped((uint32_t)_mm256_movemask_epi8(_mm256_cmpeq_epi8(entries, escape)),
                                 src, escaped);
            put(&streams, last, before, n);
            before = streams.x[v];
            n = move(t, entries, &streams.x[v], slices);
            last = v;
        }
    }
    put(&streams, last, before, n);
    for (size_t v = 0; v < VECTORS; v++) {
        store(e->state + WIDTH * v, _mm256_andnot_si256(top, streams.x[v]));
        store(e->acc + WORDS * v, streams.acc[v]);
        store(e->pending + WORDS * v, _mm256_add_epi64(streams.pending[v], one));
    }
    e->out = streams.out;
    e->escaped = escaped;
}

void qn_tans_encode_avx2(struct qn_tans_encoder *e, size_t steps)
{
    struct tables t;
    const size_t slices = count_slices(e);
    make_tables(e, &t);
    if (slices == 1)
        encode_steps(e, &t, steps, 1);
    else if (slices == 2)
        encode_steps(e, &t, steps, 2);
    else if (slices == 4)
        encode_steps(e, &t, steps, 4);
    else
        encode_steps(e, &t, steps, QN_TABLE_SLICES);
}
