#include "core/bytes.h"
#include "formats/codec/kernels.h"
#include "formats/codec/tans.h"

#include <string.h>

enum { LANES = QN_TANS_LANES, STREAMS = QN_TANS_STREAMS };

/* What a payload holds, checked against its size. */
struct layout {
    struct qn_tans_model model;
    size_t src_size, n;
    uint32_t escaped;
    size_t streams, lanes; /* lanes: those that have a symbol */
    size_t first_states, sizes, size_bytes;
    uint64_t end[STREAMS]; /* bit behind each stream */
    size_t streams_end;
    size_t escapes, raw;
};

struct decode_work {
    struct layout layout;
    struct qn_tans_decoder decoder;
    uint8_t is_first[QN_TANS_STATES]; /* of its entry */
    uint8_t escapes[];
};

size_t qn_tans_decode_scratch(size_t n)
{
    return sizeof(struct decode_work) + n + QN_TANS_ESCAPE_MARGIN;
}

/* Whether the bits from BITS on in the byte that they end in are zero. */
static bool is_padded(const uint8_t *src, uint64_t bits)
{
    return (bits & 7) == 0 || src[bits >> 3] >> (bits & 7) == 0;
}

static bool read_streams(const uint8_t *src, struct layout *l, struct qn_tans_decoder *d)
{
    uint64_t at = (uint64_t)l->streams_end * 8;
    for (size_t q = 0; q < l->streams; q++) {
        const uint8_t *p = src + l->sizes + q * l->size_bytes;
        uint64_t bits = qn_load16(p) | (l->size_bytes > 2 ? (uint64_t)p[2] << 16 : 0);
        uint64_t padding = -bits & 7;
        if (bits + padding > (uint64_t)l->src_size * 8 - at)
            return false;
        if (padding > 0 && (src[at >> 3] & ((1u << padding) - 1)) != 0)
            return false;
        d->pos[q] = at + padding;
        l->end[q] = at += bits + padding;
    }
    l->streams_end = (size_t)(at >> 3);
    return true;
}

/* Sections from AT, the end of the model, on. */
static bool read_layout(const uint8_t *src, size_t at, unsigned flags, struct layout *l,
                        struct qn_tans_decoder *d)
{
    const bool coded = l->model.entries > 1;
    l->streams = (flags & QN_TANS_INTERLEAVED) != 0 ? STREAMS : 1;
    if (l->streams > 1 ? !coded || l->n < QN_TANS_MIN_INTERLEAVED
                       : coded && l->n > QN_TANS_MAX_SINGLE)
        return false;
    l->lanes = l->n < l->streams * LANES ? l->n : l->streams * LANES;
    l->first_states = l->streams_end = at;
    if (coded) {
        uint64_t bits = l->lanes * QN_TANS_LOG;
        l->size_bytes = qn_tans_size_bytes(l->n, l->streams);
        l->sizes = at + qn_div_up(bits, 8);
        l->streams_end = l->sizes + l->streams * l->size_bytes;
        if (l->streams_end > l->src_size || !is_padded(src + at, bits) || !read_streams(src, l, d))
            return false;
    }
    const uint64_t escape_bits = (uint64_t)l->escaped * qn_tans_log2_ceil(l->model.escapes),
                   raw_bits = (uint64_t)l->n * l->model.k;
    l->escapes = l->streams_end;
    l->raw = l->escapes + qn_div_up(escape_bits, 8);
    return l->raw + qn_div_up(raw_bits, 8) == l->src_size &&
           is_padded(src + l->escapes, escape_bits) && is_padded(src + l->raw, raw_bits);
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
    memset(out + l->escaped, 0, QN_TANS_ESCAPE_MARGIN);
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

static void read_states(const uint8_t *src, size_t lanes, uint8_t *state)
{
    for (size_t i = 0, at = 0; i < lanes; i++, at += QN_TANS_LOG) {
        unsigned v = src[at >> 3] >> (at & 7);
        if ((at & 7) > 1)
            v |= (unsigned)src[(at >> 3) + 1] << (8 - (at & 7));
        state[i] = v & (QN_TANS_STATES - 1);
    }
}

void qn_tans_decode_c(struct qn_tans_decoder *d, size_t steps)
{
    uint32_t table[QN_TANS_STATES];
    for (size_t s = 0; s < QN_TANS_STATES; s++)
        table[s] = d->bits[s] | (uint32_t)d->symbol[s] << 8 | (uint32_t)d->base[s] << 16;
    for (; steps > 0; steps--) {
        for (size_t q = 0; q < d->streams; q++, d->dst += LANES) {
            uint8_t *state = d->state + q * LANES;
            uint64_t window = qn_load64(d->src + (d->pos[q] >> 3)) >> (d->pos[q] & 7), out = 0;
            unsigned used = 0;
            for (unsigned j = 0; j < LANES; j++) {
                const uint32_t e = table[state[j]], bits = e & 0xff;
                state[j] = (uint8_t)((e >> 16) + (window & ((1u << bits) - 1)));
                window >>= bits;
                used += bits;
                out |= (uint64_t)(e >> 8 & 0xff) << (8 * j);
            }
            d->pos[q] += used;
            if (d->has_escapes) {
                qn_store64(d->dst, out);
                for (unsigned j = 0; j < LANES; j++)
                    if (d->dst[j] == d->escape)
                        d->dst[j] = *d->escapes++;
                out = qn_load64(d->dst);
            }
            if (d->k > 0) {
                out |= qn_tans_spread(qn_load64(d->raw), d->k);
                d->raw += d->k;
            }
            qn_store64(d->dst, out);
        }
    }
}

/* Steps of which all reads stay inside the payload and after which each lane moves on. */
static size_t safe_steps(const struct layout *l, const struct qn_tans_decoder *d, size_t done)
{
    const size_t vector = l->streams * LANES, left = l->n - done;
    uint64_t last = 0;
    for (size_t q = 0; q < l->streams; q++)
        last = d->pos[q] > last ? d->pos[q] : last;
    if (left < 2 * vector || l->src_size < 8 || last > (uint64_t)(l->src_size - 8) * 8)
        return 0;
    uint64_t steps = ((uint64_t)(l->src_size - 8) * 8 - last) / QN_TANS_STEP_BITS;
    steps = qn_min_u64(steps, left / vector - 1);
    if (d->k > 0) { /* the last eight symbols of a step read 8 bytes for k */
        const size_t raw_left = (size_t)(d->src + l->src_size - d->raw) + d->k;
        steps = raw_left < 8 ? 0 : qn_min_u64(steps, (raw_left - 8) / (l->streams * d->k));
    }
    return (size_t)steps;
}

/* Up to 7 bits, zeros past the end. */
static unsigned peek(const uint8_t *src, size_t size, uint64_t pos, unsigned bits)
{
    const size_t at = (size_t)(pos >> 3);
    unsigned v = at < size ? src[at] : 0;
    v |= at + 1 < size ? (unsigned)src[at + 1] << 8 : 0;
    return v >> (pos & 7) & ((1u << bits) - 1);
}

/* Symbols BEGIN ... n - 1, without raw bits. False if there are too few escapes. */
static bool decode_tail(struct decode_work *w, size_t begin)
{
    const struct layout *l = &w->layout;
    struct qn_tans_decoder *d = &w->decoder;
    const uint8_t *escapes_end = w->escapes + l->escaped;
    for (size_t i = begin; i < l->n; i++) {
        const size_t lane = i & (l->streams * LANES - 1);
        const unsigned s = d->state[lane], bits = d->bits[s];
        uint8_t symbol = d->symbol[s];
        if (d->has_escapes && symbol == d->escape) {
            if (d->escapes >= escapes_end)
                return false;
            symbol = *d->escapes++;
        }
        *d->dst++ = symbol;
        if (i + l->streams * LANES < l->n) {
            uint64_t *pos = &d->pos[lane / LANES];
            d->state[lane] = (uint8_t)(d->base[s] + peek(d->src, l->src_size, *pos, bits));
            *pos += bits;
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

static bool is_finished(const struct decode_work *w)
{
    const struct layout *l = &w->layout;
    bool ok = !w->decoder.has_escapes || w->decoder.escapes == w->escapes + l->escaped;
    for (size_t q = 0; q < l->streams; q++)
        ok = ok && w->decoder.pos[q] == l->end[q];
    for (size_t lane = 0; lane < l->lanes; lane++)
        ok = ok && w->is_first[w->decoder.state[lane]];
    return ok;
}

static bool decode_coded(const uint8_t *src, uint8_t *dst, struct decode_work *w)
{
    const struct layout *l = &w->layout;
    struct qn_tans_decoder *d = &w->decoder;
    void (*kernel)(struct qn_tans_decoder *, size_t) =
        l->streams == STREAMS ? qn_codec_kernels()->tans_decode : qn_tans_decode_c;
    size_t done = 0;
    if (d->has_escapes && !read_escapes(src, l, w->escapes))
        return false;
    fill_tables(w);
    read_states(src + l->first_states, l->lanes, d->state);
    d->src = src;
    d->raw = src + l->raw;
    d->escapes = w->escapes;
    d->dst = dst;
    d->streams = (unsigned)l->streams;
    for (size_t steps; (steps = safe_steps(l, d, done)) > 0;) {
        kernel(d, steps);
        done += steps * l->streams * LANES;
    }
    if (!decode_tail(w, done))
        return false;
    if (d->k > 0)
        add_raw(d->raw, (size_t)(src + l->src_size - d->raw), d->k, dst + done, l->n - done);
    return is_finished(w);
}

bool qn_tans_decode(const uint8_t *src, size_t src_size, uint8_t *dst, size_t n, void *scratch)
{
    struct decode_work *w = scratch;
    struct layout *l = &w->layout;
    unsigned flags;
    if (n == 0 || n > QN_TANS_MAX_SYMBOLS)
        return false;
    l->src_size = src_size;
    l->n = n;
    size_t at = qn_tans_read_model(src, src_size, &l->model, &flags, &l->escaped);
    const bool has_escapes = l->model.escapes > 0;
    if (at == 0 || (has_escapes && (l->escaped == 0 || l->escaped > n)) ||
        !read_layout(src, at, flags, l, &w->decoder))
        return false;
    w->decoder.has_escapes = has_escapes;
    if (l->model.entries > 1)
        return decode_coded(src, dst, w);
    memset(dst, (uint8_t)(l->model.class_of[0] << l->model.k), n);
    if (l->model.k > 0)
        add_raw(src + l->raw, src_size - l->raw, l->model.k, dst, n);
    return true;
}
