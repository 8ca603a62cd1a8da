#include "core/bytes.h"
#include "formats/codec/kernels.h"
#include "formats/codec/tans.h"

#include <string.h>

enum { LANES = QN_TANS_LANES, STREAMS = QN_TANS_STREAMS };

/* Room for the end of the bytes and zeros behind them, which kernels may read. */
enum { END_ROOM = 4096 };

/* What a payload holds, checked against its size. */
struct layout {
    struct qn_tans_model model;
    size_t src_size, n;
    uint32_t escaped;
    size_t streams, lanes; /* lanes: those that have a symbol */
    size_t first_states, offsets, escapes, raw, merged;
};

struct decode_work {
    struct layout layout;
    struct qn_tans_decoder decoder;
    const uint8_t *end, *readable;    /* of the merged streams, and of what may be read */
    size_t done, steps;               /* symbols; steps that the kernel may still do */
    uint8_t is_first[QN_TANS_STATES]; /* of its entry */
    uint8_t end_bytes[END_ROOM];
    uint8_t escapes[];
};

size_t qn_tans_decode_scratch(size_t n)
{
    return sizeof(struct decode_work) + n + QN_TANS_MARGIN;
}

/* Whether the bits from BITS on in the byte that they end in are zero. */
static bool is_padded(const uint8_t *src, uint64_t bits)
{
    return (bits & 7) == 0 || src[bits >> 3] >> (bits & 7) == 0;
}

/* Sections from AT, the end of the model, on. */
static bool read_layout(const uint8_t *src, size_t at, unsigned flags, struct layout *l)
{
    const bool coded = l->model.entries > 1;
    l->streams = (flags & QN_TANS_INTERLEAVED) != 0 ? STREAMS : 1;
    if (l->streams > 1 ? !coded || l->n < QN_TANS_MIN_INTERLEAVED
                       : coded && l->n > QN_TANS_MAX_SINGLE)
        return false;
    l->lanes = l->n < l->streams * LANES ? l->n : l->streams * LANES;
    const uint64_t state_bits = coded ? l->lanes * QN_TANS_LOG : 0,
                   offset_bits = coded ? l->streams * QN_TANS_OFFSET_BITS : 0,
                   escape_bits = (uint64_t)l->escaped * qn_tans_log2_ceil(l->model.escapes),
                   raw_bits = (uint64_t)l->n * l->model.k;
    l->first_states = at;
    l->offsets = l->first_states + qn_div_up(state_bits, 8);
    l->escapes = l->offsets + qn_div_up(offset_bits, 8);
    l->raw = l->escapes + qn_div_up(escape_bits, 8);
    l->merged = l->raw + qn_div_up(raw_bits, 8);
    return (coded ? l->merged + l->streams <= l->src_size : l->merged == l->src_size) &&
           is_padded(src + l->first_states, state_bits) &&
           is_padded(src + l->offsets, offset_bits) && is_padded(src + l->escapes, escape_bits) &&
           is_padded(src + l->raw, raw_bits);
}

/* The list of escapes as classes shifted up. */
static bool read_escapes(const uint8_t *src, const struct layout *l, uint8_t *out)
{
    const unsigned width = qn_tans_log2_ceil(l->model.escapes), mask = (1u << width) - 1;
    const uint8_t *p = src + l->escapes;
    uint64_t acc = 0;
    unsigned have = 0;
    for (size_t i = 0; i < l->escaped; i++) {
        for (; have < width; have += 8)
            acc |= (uint64_t)*p++ << have;
        unsigned rank = (unsigned)acc & mask;
        acc >>= width;
        have -= width;
        if (rank >= l->model.escapes)
            return false;
        out[i] = (uint8_t)(l->model.escaped[rank] << l->model.k);
    }
    memset(out + l->escaped, 0, QN_TANS_MARGIN);
    return true;
}

static void fill_tables(struct decode_work *w)
{
    const struct qn_tans_model *m = &w->layout.model;
    struct qn_tans_decoder *d = &w->decoder;
    uint8_t next[128], value[128];
    memcpy(next, m->count, sizeof next);
    for (unsigned e = 0; e < m->entries; e++)
        value[e] = (uint8_t)(m->class_of[e] << m->k);
    if (m->escapes > 0)
        value[m->entries - 1] = (uint8_t)(m->escaped[0] << m->k);
    for (size_t s = 0; s < QN_TANS_STATES; s++) {
        const unsigned e = m->table[s], x = next[e]++;
        const unsigned bits = (unsigned)__builtin_clz(x) - (31 - QN_TANS_LOG);
        w->is_first[s] = x == m->count[e];
        d->symbol[s] = value[e];
        d->bits[s] = (uint8_t)bits;
        d->base[s] = (uint8_t)((x << bits) - QN_TANS_STATES);
    }
    d->k = m->k;
    d->has_escapes = m->escapes > 0;
    d->escape = d->has_escapes ? value[m->entries - 1] : 0;
}

/* COUNT fields of WIDTH <= 7 bits. */
static void read_fields(const uint8_t *src, size_t count, unsigned width, uint8_t *out)
{
    for (size_t i = 0, at = 0; i < count; i++, at += width) {
        unsigned v = src[at >> 3] >> (at & 7);
        if ((at & 7) + width > 8)
            v |= (unsigned)src[(at >> 3) + 1] << (8 - (at & 7));
        out[i] = (uint8_t)(v & ((1u << width) - 1));
    }
}

/* First states and the first byte of each stream; false if what is before its bits is not zero. */
static bool begin_streams(const uint8_t *src, const struct layout *l, struct qn_tans_decoder *d)
{
    read_fields(src + l->first_states, l->lanes, QN_TANS_LOG, d->state);
    read_fields(src + l->offsets, l->streams, QN_TANS_OFFSET_BITS, d->used);
    memcpy(d->byte, src + l->merged, l->streams);
    d->src = src + l->merged + l->streams;
    d->raw = src + l->raw;
    d->streams = (unsigned)l->streams;
    bool ok = true;
    for (size_t q = 0; q < l->streams; q++)
        ok = ok && (d->byte[q] & ((1u << d->used[q]) - 1)) == 0;
    return ok;
}

/* What a state means, in one load: the number of bits, their mask, the symbol, the base. */
struct move {
    uint8_t bits, mask, symbol, base;
};

static inline bool has_byte(uint64_t w, uint8_t byte)
{
    const uint64_t ones = 0x0101010101010101, x = w ^ byte * ones;
    return ((x - ones) & ~x & ones << 7) != 0;
}

static inline uint64_t put_escapes(uint64_t symbols, uint8_t escape, const uint8_t **escapes)
{
    for (unsigned j = 0; j < LANES; j++)
        if ((uint8_t)(symbols >> 8 * j) == escape)
            symbols ^= (uint64_t)(*(*escapes)++ ^ escape) << 8 * j;
    return symbols;
}

/* One loop for each choice of what there is besides states; locals, which bytes that are written
 * cannot be taken to change. */
__attribute__((always_inline)) static inline void
decode_portably(struct qn_tans_decoder *d, size_t steps, bool has_raw, bool has_escapes)
{
    struct move moves[QN_TANS_STATES];
    uint8_t states[QN_TANS_VECTOR], byte[STREAMS], used[STREAMS];
    const size_t streams = d->streams;
    const unsigned k = d->k;
    const uint8_t escape = d->escape, *src = d->src, *raw = d->raw, *escapes = d->escapes;
    uint8_t *dst = d->dst;
    for (size_t s = 0; s < QN_TANS_STATES; s++)
        moves[s] =
            (struct move){d->bits[s], (uint8_t)((1u << d->bits[s]) - 1), d->symbol[s], d->base[s]};
    memcpy(states, d->state, sizeof states);
    memcpy(byte, d->byte, sizeof byte);
    memcpy(used, d->used, sizeof used);
    for (; steps > 0; steps--) {
        for (size_t q = 0; q < streams; q++, dst += LANES) {
            uint8_t *state = states + q * LANES;
            const uint64_t bytes = qn_load64(src) << 8 | byte[q];
            uint64_t window = bytes >> used[q], out = 0;
            unsigned position = used[q];
#pragma GCC unroll 8
            for (unsigned j = 0; j < LANES; j++) {
                const struct move m = moves[state[j]];
                state[j] = (uint8_t)(m.base + (m.mask & window));
                window >>= m.bits;
                position += m.bits;
                out |= (uint64_t)m.symbol << 8 * j;
            }
            src += position >> 3;
            byte[q] = (uint8_t)(bytes >> (position & ~7u));
            used[q] = position & 7;
            if (has_escapes && has_byte(out, escape))
                out = put_escapes(out, escape, &escapes);
            if (has_raw) {
                out |= qn_tans_spread(qn_load64(raw), k);
                raw += k;
            }
            qn_store64(dst, out);
        }
    }
    memcpy(d->state, states, sizeof states);
    memcpy(d->byte, byte, sizeof byte);
    memcpy(d->used, used, sizeof used);
    d->src = src;
    d->raw = raw;
    d->escapes = escapes;
    d->dst = dst;
}

void qn_tans_decode_c(struct qn_tans_decoder *d, size_t steps)
{
    QN_TANS_SPECIALISE(d, decode_portably, d, steps);
}

/* Steps after which each lane moves on, and of which the raw bits are followed by enough bytes. */
static size_t whole_steps(const struct layout *l)
{
    const size_t vector = l->streams * LANES, raw_step = l->streams * l->model.k;
    size_t steps = l->n < 2 * vector ? 0 : l->n / vector - 1;
    if (raw_step > 0) {
        const size_t left = l->src_size - l->raw;
        steps = left < QN_TANS_MARGIN ? 0 : qn_min_u64(steps, (left - QN_TANS_MARGIN) / raw_step);
    }
    return steps;
}

/* Runs the kernel, the last steps on a copy of the last bytes. False if there are too few. */
static bool decode_steps(struct decode_work *w, size_t steps)
{
    struct qn_tans_decoder *d = &w->decoder;
    const size_t step_bytes = (size_t)d->streams * QN_TANS_STEP_BYTES;
    void (*kernel)(struct qn_tans_decoder *, size_t) =
        d->streams == STREAMS ? qn_codec_kernels()->tans_decode : qn_tans_decode_c;
    while (steps > 0 && d->src <= w->end) {
        const size_t room = (size_t)(w->readable - d->src);
        const size_t some = room < 8 ? 0 : qn_min_u64(steps, (room - 8) / step_bytes);
        if (some == 0) {
            const size_t left = (size_t)(w->end - d->src);
            memmove(w->end_bytes, d->src, left);
            memset(w->end_bytes + left, 0, END_ROOM - left);
            d->src = w->end_bytes;
            w->end = w->end_bytes + left;
            w->readable = w->end_bytes + END_ROOM;
            continue;
        }
        kernel(d, some);
        steps -= some;
    }
    return d->src <= w->end;
}

/* The next bits of stream Q, up to 7; false if there are no more. */
static bool take(struct qn_tans_decoder *d, size_t q, unsigned bits, const uint8_t *end,
                 unsigned *value)
{
    unsigned used = d->used[q] + bits, window = d->byte[q];
    if (used >= 8) {
        if (d->src == end)
            return false;
        d->byte[q] = *d->src++;
        window |= (unsigned)d->byte[q] << 8;
    }
    *value = window >> d->used[q] & ((1u << bits) - 1);
    d->used[q] = used & 7;
    return true;
}

/* The next N symbols one by one, without raw bits. False if there are too few escapes or bytes. */
static bool decode_singly(struct decode_work *w, size_t n)
{
    const struct layout *l = &w->layout;
    struct qn_tans_decoder *d = &w->decoder;
    const uint8_t *escapes_end = w->escapes + l->escaped;
    const size_t lanes = l->streams * LANES;
    for (size_t i = w->done; i < w->done + n; i++) {
        const size_t lane = i & (lanes - 1);
        const unsigned s = d->state[lane];
        uint8_t symbol = d->symbol[s];
        if (d->has_escapes && symbol == d->escape) {
            if (d->escapes >= escapes_end)
                return false;
            symbol = *d->escapes++;
        }
        *d->dst++ = symbol;
        if (i + lanes < l->n) {
            unsigned value;
            if (!take(d, lane / LANES, d->bits[s], w->end, &value))
                return false;
            d->state[lane] = (uint8_t)(d->base[s] + value);
        }
    }
    return true;
}

/* Puts the raw bits of the N symbols at DST below their classes. */
static void add_raw(const uint8_t *raw, size_t size, unsigned k, uint8_t *dst, size_t n)
{
    for (; n > 0; dst += LANES) {
        const size_t some = n < LANES ? n : LANES, bytes = size < k ? size : k;
        uint64_t packed = 0, symbols = 0;
        memcpy(&packed, raw, bytes);
        memcpy(&symbols, dst, some);
        symbols |= qn_tans_spread(packed, k);
        memcpy(dst, &symbols, some);
        raw += bytes;
        size -= bytes;
        n -= some;
    }
}

/* Raw bits of the N symbols at DST; N is a multiple of eight, or all that are left. */
static void take_raw(struct decode_work *w, uint8_t *dst, size_t n)
{
    struct qn_tans_decoder *d = &w->decoder;
    const size_t bytes = qn_div_up(n * d->k, 8);
    if (d->k == 8)
        memcpy(dst, d->raw, n);
    else if (d->k > 0)
        add_raw(d->raw, bytes, d->k, dst, n);
    d->raw += bytes;
}

bool qn_tans_begin_plain(const uint8_t *src, size_t src_size, size_t n, void *scratch)
{
    struct decode_work *w = scratch;
    struct layout *l = &w->layout;
    struct qn_tans_decoder *d = &w->decoder;
    unsigned flags;
    if (n == 0 || n > QN_TANS_MAX_SYMBOLS)
        return false;
    l->src_size = src_size;
    l->n = n;
    w->done = 0;
    size_t at = qn_tans_read_model(src, src_size, &l->model, &flags, &l->escaped);
    d->has_escapes = l->model.escapes > 0;
    if (at == 0 || (d->has_escapes && (l->escaped == 0 || l->escaped > n)) ||
        !read_layout(src, at, flags, l))
        return false;
    d->k = l->model.k;
    d->raw = src + l->raw;
    if (l->model.entries == 1)
        return true;
    if ((d->has_escapes && !read_escapes(src, l, w->escapes)) || !begin_streams(src, l, d))
        return false;
    fill_tables(w);
    d->escapes = w->escapes;
    w->end = w->readable = src + src_size;
    w->steps = whole_steps(l);
    return true;
}

bool qn_tans_next_plain(void *scratch, uint8_t *dst, size_t n)
{
    struct decode_work *w = scratch;
    const struct layout *l = &w->layout;
    if (l->model.entries == 1) {
        memset(dst, (uint8_t)(l->model.class_of[0] << l->model.k), n);
        take_raw(w, dst, n);
        w->done += n;
        return true;
    }
    const size_t vector = l->streams * LANES, steps = qn_min_u64(w->steps, n / vector),
                 rest = n - steps * vector;
    w->decoder.dst = dst;
    w->steps -= steps;
    if (!decode_steps(w, steps))
        return false;
    w->done += steps * vector;
    if (!decode_singly(w, rest))
        return false;
    w->done += rest;
    take_raw(w, dst + steps * vector, rest);
    return true;
}

/* All escapes are used, all streams up to the bit that ends them, and lanes are where they began.
 */
bool qn_tans_end_plain(void *scratch)
{
    const struct decode_work *w = scratch;
    const struct layout *l = &w->layout;
    const struct qn_tans_decoder *d = &w->decoder;
    if (l->model.entries == 1)
        return w->done == l->n;
    bool ok = w->done == l->n && d->src == w->end &&
              (!d->has_escapes || d->escapes == w->escapes + l->escaped);
    for (size_t q = 0; q < l->streams; q++)
        ok = ok && d->used[q] == 7 && d->byte[q] >> 7 == 0;
    for (size_t lane = 0; lane < l->lanes; lane++)
        ok = ok && w->is_first[d->state[lane]];
    return ok;
}
