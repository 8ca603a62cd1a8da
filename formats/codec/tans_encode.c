#include "core/bytes.h"
#include "formats/codec/kernels_list.h"
#include "formats/codec/tans.h"

#include <string.h>

enum {
    LANES = QN_TANS_LANES,
    STREAMS = QN_TANS_STREAMS,
    NO_RANK = 255, /* rank of what is not escaped; the largest true one, of 256 classes, is 254 */
};

struct encode_work {
    struct qn_tans_encoder encoder;
    struct qn_tans_model model;
    uint8_t first[128]; /* state of each entry */
    uint8_t rank[256];  /* of each symbol's class among the escaped ones */
    uint8_t buffer[];   /* the merged streams, then escaped symbols */
};

static size_t merged_room(size_t n, size_t streams)
{
    const size_t vector = streams > 1 ? QN_TANS_VECTOR : LANES;
    return QN_TANS_MARGIN + (n / vector + 1) * streams * QN_TANS_STEP_BYTES + streams;
}

size_t qn_tans_encode_scratch(size_t n)
{
    /* One stream takes no more room than many. */
    return sizeof(struct encode_work) + merged_room(n, STREAMS) + QN_TANS_MARGIN + n;
}

static void fill_tables(struct encode_work *w)
{
    const struct qn_tans_model *m = &w->model;
    struct qn_tans_encoder *e = &w->encoder;
    const unsigned coded = m->entries - (m->escapes > 0);
    uint8_t next[128];
    e->has_escapes = m->escapes > 0;
    e->escape = (uint8_t)(m->entries - 1);
    memset(e->entry, (int)(m->entries - 1), sizeof e->entry);
    memset(w->rank, NO_RANK, sizeof w->rank);
    for (unsigned s = 0; s < coded << m->k; s++)
        e->entry[m->class_of[s >> m->k] << m->k | (s & ((1u << m->k) - 1))] = (uint8_t)(s >> m->k);
    for (unsigned s = 0; s < m->escapes << m->k; s++)
        w->rank[m->escaped[s >> m->k] << m->k | (s & ((1u << m->k) - 1))] = (uint8_t)(s >> m->k);
    for (unsigned i = 0, at = 0; i < m->entries; at += m->count[i++]) {
        const unsigned f = m->count[i], most = (unsigned)__builtin_clz(f) - (31 - QN_TANS_LOG);
        e->most_bits[i] = (uint8_t)most;
        e->threshold[i] = (uint8_t)((f << most) - 1);
        e->offset[i] = (uint8_t)(at - f);
        next[i] = (uint8_t)at;
    }
    for (unsigned s = QN_TANS_STATES; s-- > 0;) /* downwards: the first one stays */
        w->first[m->table[s]] = (uint8_t)s;
    for (unsigned s = 0; s < QN_TANS_STATES; s++)
        e->next[next[m->table[s]]++] = (uint8_t)s;
}

/* In portable C bits to be written stay at the top of acc[], where they are stored from. */
static void raise_bits(struct qn_tans_encoder *e)
{
    for (size_t q = 0; q < e->streams; q++)
        e->acc[q] <<= 64 - e->pending[q];
}

static void lower_bits(struct qn_tans_encoder *e)
{
    for (size_t q = 0; q < e->streams; q++)
        e->acc[q] >>= 64 - e->pending[q];
}

/* SIZE bits, up to 56, at the top of BITS, below those that the stream has. A byte is written when
 * the bit below it comes. */
static inline void put(struct qn_tans_encoder *e, size_t q, uint64_t bits, unsigned size)
{
    const uint64_t pending = e->pending[q], all = e->acc[q] | bits >> pending,
                   whole = pending + size - 1;
    qn_store64(e->out - 8, all);
    e->acc[q] = all << (whole & ~(uint64_t)7);
    e->out -= whole >> 3;
    e->pending[q] = (whole & 7) + 1;
}

/* What a symbol does to a state: in one load all that move() needs. */
struct step {
    uint32_t bits;  /* added to state + 128, its upper half is the number of bits */
    uint8_t offset; /* as in struct qn_tans_encoder */
    bool is_escaped;
};

static void fill_steps(const struct qn_tans_encoder *e, struct step steps[256])
{
    for (unsigned s = 0; s < 256; s++) {
        const unsigned entry = e->entry[s];
        steps[s].bits = ((uint32_t)e->most_bits[entry] << 16) - (e->threshold[entry] + 1u);
        steps[s].offset = e->offset[entry];
        steps[s].is_escaped = e->has_escapes && entry == e->escape;
    }
}

/* Moves a lane from its state over a symbol; returns the bits, whose number goes to *bits. */
static inline unsigned move(const struct qn_tans_encoder *e, const struct step *step,
                            uint8_t *state, unsigned *bits)
{
    const unsigned x = *state + QN_TANS_STATES;
    *bits = (x + step->bits) >> 16;
    *state = e->next[(uint8_t)((x >> *bits) + step->offset)];
    return x & ((1u << *bits) - 1);
}

/* What a symbol of some entry does to each state, in one load: in the lowest six bits the number of
 * bits, above them the next state, then a flag; at the top the bits themselves. So words of bits,
 * their sizes and the number of escapes add up without taking it apart. */
enum { NEXT_AT = 8, FLAG_AT = 20, SIZE_MASK = 63, FLAGS_MASK = 15 };
#define BITS_MASK ((uint64_t)UINT32_MAX << 32)

struct transitions {
    const uint64_t *row[256]; /* of each symbol */
    uint64_t of[QN_TANS_STATES * 128];
};

static void fill_transitions(const struct qn_tans_encoder *e, struct transitions *t)
{
    unsigned entries = 0;
    for (unsigned s = 0; s < 256; s++) {
        t->row[s] = t->of + (size_t)e->entry[s] * QN_TANS_STATES;
        entries = e->entry[s] >= entries ? e->entry[s] + 1u : entries;
    }
    for (unsigned i = 0; i < entries; i++) {
        const uint64_t flag = e->has_escapes && i == e->escape ? (uint64_t)1 << FLAG_AT : 0;
        for (unsigned x = QN_TANS_STATES; x < 2 * QN_TANS_STATES; x++) {
            const unsigned bits = e->most_bits[i] - (x <= e->threshold[i]);
            const uint64_t next = e->next[(uint8_t)((x >> bits) + e->offset[i])];
            t->of[i * QN_TANS_STATES + x - QN_TANS_STATES] =
                (uint64_t)x << 1 << (63 - bits) | flag | next << NEXT_AT | bits;
        }
    }
}

/* Moves four lanes; returns their bits at the top, and adds up what else there is in *sum. */
static inline uint64_t move_four(const struct transitions *t, const uint8_t *src, uint8_t *state,
                                 uint64_t *sum)
{
    uint64_t acc = 0, all = 0;
#pragma GCC unroll 4
    for (unsigned j = 0; j < LANES / 2; j++) {
        const uint64_t step = t->row[src[j]][state[j]];
        acc = acc >> (step & SIZE_MASK) | step;
        all += step;
        state[j] = (uint8_t)(step >> NEXT_AT);
    }
    *sum = all;
    return acc;
}

/* The bits of eight lanes, at the top, and how many they are. */
struct word {
    uint64_t bits;
    unsigned size;
    bool is_escaped; /* one of them or more */
};

static inline struct word move_by_table(const struct transitions *t, const uint8_t *src,
                                        uint8_t *state)
{
    uint64_t sums[2];
    const uint64_t low = move_four(t, src, state, &sums[0]),
                   high = move_four(t, src + LANES / 2, state + LANES / 2, &sums[1]);
    const unsigned more = sums[1] & SIZE_MASK;
    return (struct word){(high & BITS_MASK) | (low & BITS_MASK) >> more,
                         (sums[0] & SIZE_MASK) + more,
                         ((sums[0] + sums[1]) >> FLAG_AT & FLAGS_MASK) != 0};
}

static inline struct word move_singly(const struct qn_tans_encoder *e, const struct step *table,
                                      const uint8_t *src, uint8_t *state)
{
    struct word w = {0};
    for (unsigned j = LANES; j-- > 0;) {
        const struct step *step = &table[src[j]];
        unsigned bits, v = move(e, step, &state[j], &bits);
        w.bits = w.bits << bits | v;
        w.size += bits;
        w.is_escaped |= step->is_escaped;
    }
    w.bits = w.bits << 1 << (63 - w.size);
    return w;
}

/* TRANSITIONS or, where that is NULL, TABLE. */
__attribute__((always_inline)) static inline void
encode_steps(struct qn_tans_encoder *e, size_t steps, const struct transitions *transitions,
             const struct step *table)
{
    const uint8_t *src = e->src + steps * LANES * e->streams;
    raise_bits(e);
    for (; steps > 0; steps--) {
        for (size_t q = e->streams; q-- > 0;) {
            src -= LANES;
            uint8_t *state = e->state + q * LANES;
            const struct word w = transitions ? move_by_table(transitions, src, state)
                                              : move_singly(e, table, src, state);
            put(e, q, w.bits, w.size);
            for (unsigned j = LANES; w.is_escaped && j-- > 0;)
                if (e->entry[src[j]] == e->escape)
                    *--e->escaped = src[j];
        }
    }
    lower_bits(e);
}

/* Symbols that pay for a table of transitions. */
enum { MIN_TRANSITIONS = 1 << 16 };

static void encode_many(struct qn_tans_encoder *e, size_t steps)
{
    struct transitions t;
    fill_transitions(e, &t);
    encode_steps(e, steps, &t, NULL);
}

void qn_tans_encode_c(struct qn_tans_encoder *e, size_t steps)
{
    struct step table[256];
    if (steps * LANES * e->streams >= MIN_TRANSITIONS) {
        encode_many(e, steps);
        return;
    }
    fill_steps(e, table);
    encode_steps(e, steps, NULL, table);
}

/* The last symbols, each the first of its lane to be coded, and those before them up to a whole
 * step. Returns the steps that are left. */
static size_t encode_tail(struct encode_work *w, const uint8_t *src, size_t n)
{
    struct qn_tans_encoder *e = &w->encoder;
    const size_t vector = (size_t)e->streams * LANES, rest = n < vector ? 0 : n - vector;
    struct step table[256];
    fill_steps(e, table);
    size_t i = n;
    raise_bits(e);
    while (i > rest || (i & (vector - 1)) != 0) {
        i--;
        uint8_t *state = &e->state[i & (vector - 1)];
        if (i >= rest) {
            *state = w->first[e->entry[src[i]]];
        } else {
            unsigned bits, v = move(e, &table[src[i]], state, &bits);
            put(e, (i & (vector - 1)) / LANES, (uint64_t)v << 1 << (63 - bits), bits);
        }
        if (table[src[i]].is_escaped)
            *--e->escaped = src[i];
    }
    lower_bits(e);
    return i / vector;
}

/* ESCAPED: the number of symbols of escaped classes. They end up behind the streams' buffers. */
static void encode_states(struct encode_work *w, const uint8_t *src, size_t n, size_t escaped)
{
    struct qn_tans_encoder *e = &w->encoder;
    for (size_t q = 0; q < e->streams; q++) { /* one bit ends each stream */
        e->acc[q] = 0;
        e->pending[q] = 1;
    }
    e->src = src;
    e->out = w->buffer + merged_room(n, e->streams);
    e->escaped = e->out + QN_TANS_MARGIN + escaped;
    const size_t steps = encode_tail(w, src, n);
    if (e->streams == STREAMS)
        qn_codec_kernels()->tans_encode(e, steps);
    else
        qn_tans_encode_c(e, steps);
}

/* The first byte of each stream; its bits in front are padding, their numbers go to OFFSETS. */
static void finish_streams(struct qn_tans_encoder *e, uint8_t offsets[STREAMS])
{
    for (size_t q = e->streams; q-- > 0;) {
        offsets[q] = (uint8_t)(8 - e->pending[q]);
        *--e->out = (uint8_t)(e->acc[q] << offsets[q]);
    }
}

/* The COUNT fields of WIDTH bits that VALUES or, if there is RANK, their ranks are. */
static uint8_t *put_fields(const uint8_t *values, const uint8_t *rank, size_t count, unsigned width,
                           uint8_t *p)
{
    unsigned acc = 0, have = 0;
    for (size_t i = 0; i < count; i++) {
        acc |= (unsigned)(rank ? rank[values[i]] : values[i]) << have;
        for (have += width; have >= 8; have -= 8, acc >>= 8)
            *p++ = (uint8_t)acc;
    }
    if (have > 0)
        *p++ = (uint8_t)acc;
    return p;
}

void qn_tans_pack_c(const uint8_t *src, size_t groups, unsigned k, uint8_t *dst)
{
    for (; groups > 0; groups--, src += LANES, dst += k)
        qn_store64(dst, qn_tans_gather(qn_load64(src), k));
}

static uint8_t *put_raw(const uint8_t *src, size_t n, unsigned k, uint8_t *p)
{
    const size_t groups = n < 9 * (size_t)LANES ? 0 : n / LANES - 8; /* 8 bytes or more follow */
    qn_codec_kernels()->tans_pack(src, groups, k, p);
    src += groups * LANES;
    p += groups * k;
    n -= groups * LANES;
    while (n > 0) {
        const size_t some = n < LANES ? n : LANES, bytes = qn_div_up(some * k, 8);
        uint64_t symbols = 0;
        memcpy(&symbols, src, some);
        symbols = qn_tans_gather(symbols, k);
        memcpy(p, &symbols, bytes);
        p += bytes;
        src += some;
        n -= some;
    }
    return p;
}

static uint32_t count_escaped(const struct encode_work *w, const uint32_t counts[256])
{
    uint32_t sum = 0;
    for (unsigned s = 0; s < 256; s++)
        sum += w->rank[s] == NO_RANK ? 0 : counts[s];
    return sum;
}

/* Symbols as they are: k = 8. */
static size_t store(const uint8_t *src, size_t n, uint8_t *dst, size_t capacity)
{
    if (n + 2 > capacity)
        return 0;
    dst[0] = 8;
    dst[1] = 1;
    memcpy(dst + 2, src, n);
    return n + 2;
}

static size_t encode_model(struct encode_work *w, const uint32_t counts[256], const uint8_t *src,
                           size_t n, uint8_t *dst, size_t capacity)
{
    const struct qn_tans_model *m = &w->model;
    const bool coded = m->entries > 1;
    uint8_t head[QN_TANS_MODEL_MAX], offsets[STREAMS];
    const size_t streams = w->encoder.streams;
    const size_t lanes = n < streams * LANES ? n : streams * LANES;
    size_t merged = 0;
    fill_tables(w);
    const uint32_t escaped = count_escaped(w, counts);
    const size_t head_size =
        qn_tans_write_model(m, streams > 1 ? QN_TANS_INTERLEAVED : 0, escaped, head);
    size_t size = head_size + qn_div_up((uint64_t)n * m->k, 8) +
                  qn_div_up((uint64_t)escaped * qn_tans_log2_ceil(m->escapes), 8);
    if (coded) {
        size += qn_div_up(lanes * QN_TANS_LOG, 8) + qn_div_up(streams * QN_TANS_OFFSET_BITS, 8);
        if (size > capacity)
            return 0;
        encode_states(w, src, n, escaped);
        finish_streams(&w->encoder, offsets);
        merged = (size_t)(w->buffer + merged_room(n, streams) - w->encoder.out);
    }
    if (size + merged > capacity)
        return 0;
    memcpy(dst, head, head_size);
    uint8_t *p = dst + head_size;
    if (coded) {
        p = put_fields(w->encoder.state, NULL, lanes, QN_TANS_LOG, p);
        p = put_fields(offsets, NULL, streams, QN_TANS_OFFSET_BITS, p);
    }
    if (escaped > 0)
        p = put_fields(w->encoder.escaped, w->rank, escaped, qn_tans_log2_ceil(m->escapes), p);
    if (m->k > 0)
        p = put_raw(src, n, m->k, p);
    if (merged > 0)
        memcpy(p, w->encoder.out, merged);
    return (size_t)(p - dst) + merged;
}

size_t qn_tans_encode_plain(const uint32_t counts[256], const struct qn_tans_model *model,
                            size_t interleaved, const uint8_t *src, size_t n, uint8_t *dst,
                            size_t capacity, void *scratch)
{
    struct encode_work *w = scratch;
    const size_t limit = capacity < n + 1 ? capacity : n + 1;
    w->model = *model;
    w->encoder.streams = qn_tans_stream_count(n, interleaved, model->entries);
    size_t size = model->k == 8 ? 0 : encode_model(w, counts, src, n, dst, limit);
    return size > 0 ? size : store(src, n, dst, capacity);
}
