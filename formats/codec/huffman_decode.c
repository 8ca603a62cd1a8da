#include "core/bytes.h"
#include "formats/codec/huffman.h"

#include <string.h>

enum {
    LIMIT = QN_HUFFMAN_LIMIT,
    STREAMS = QN_HUFFMAN_STREAMS,
    MASK = (1 << LIMIT) - 1,
    BURST = 4,                    /* table look-ups a refill, which brings at least 56 bits */
    BURST_BYTES = 6,              /* the input moves at most 4 * 12 + 7 bits */
    TRIPLE_BYTES = 3 * BURST + 1, /* output that a burst of triple look-ups may touch */
    MIN_TRIPLE = 1 << 14,         /* symbols that pay for the larger table */
    MAX_TRIPLE_BITS = 6,          /* mean code length up to which it is faster (measured) */
};

/* Inner loops over lanes must become straight code: the lanes' bits then live in registers and
 * their look-ups overlap. */
#define UNROLL _Pragma("GCC unroll 8")

/* One stream: its next bit, counted from the payload's first byte, and its output. */
struct lane {
    uint64_t pos;
    uint8_t *op, *op_end;
};

static void fill_single(const uint8_t lengths[256], uint16_t *table)
{
    uint16_t codes[256];
    qn_huffman_codes(lengths, codes);
    for (unsigned s = 0; s < 256; s++) {
        if (lengths[s] == 0)
            continue;
        uint16_t entry = (uint16_t)(lengths[s] | s << 8);
        for (unsigned i = codes[s]; i <= MASK; i += 1u << lengths[s])
            table[i] = entry;
    }
}

/* As many whole codes as the index holds, up to three. The bits above the index are unknown, so
 * a code counts only if it ends within it. */
static void fill_triple(struct qn_huffman_tables *t)
{
    for (unsigned i = 0; i <= MASK; i++) {
        unsigned a = t->single[i], used = a & 63;
        unsigned b = t->single[i >> used], two = used + (b & 63);
        unsigned c = t->single[two <= LIMIT ? i >> two : 0], three = two + (c & 63);
        uint32_t symbols = a >> 8 | (b >> 8) << 8 | (c >> 8) << 16;
        unsigned n = 1u + (two <= LIMIT) + (three <= LIMIT);
        used = n == 1 ? used : n == 2 ? two : three;
        t->triple[i] = used | n << 6 | symbols << 8;
    }
}

/* At least 56 bits from bit POS on, then a one: its place tells how many were shifted out. */
static inline uint64_t refill(const uint8_t *src, uint64_t pos)
{
    return (qn_load64(src + (pos >> 3)) | (uint64_t)1 << 63) >> (pos & 7);
}

static inline uint64_t advance(uint64_t pos, uint64_t bits)
{
    return (pos & ~(uint64_t)7) + (unsigned)__builtin_clzll(bits);
}

static inline void burst_single(const uint8_t *src, const uint16_t *table, uint64_t *pos,
                                uint8_t *const *op, size_t at, size_t lanes)
{
    uint64_t bits[STREAMS];
    UNROLL for (size_t k = 0; k < lanes; k++) bits[k] = refill(src, pos[k]);
    UNROLL for (size_t i = at; i < at + BURST; i++)
    {
        UNROLL for (size_t k = 0; k < lanes; k++)
        {
            unsigned e = table[bits[k] & MASK];
            bits[k] >>= e & 63;
            op[k][i] = (uint8_t)(e >> 8);
        }
    }
    UNROLL for (size_t k = 0; k < lanes; k++) pos[k] = advance(pos[k], bits[k]);
}

static inline void burst_triple(const uint8_t *src, const uint32_t *table, uint64_t *pos,
                                uint8_t **op, size_t lanes)
{
    uint64_t bits[STREAMS];
    UNROLL for (size_t k = 0; k < lanes; k++) bits[k] = refill(src, pos[k]);
    UNROLL for (size_t i = 0; i < BURST; i++)
    {
        UNROLL for (size_t k = 0; k < lanes; k++)
        {
            uint32_t e = table[bits[k] & MASK];
            bits[k] >>= e & 63;
            qn_store32(op[k], e >> 8);
            op[k] += e >> 6 & 3;
        }
    }
    UNROLL for (size_t k = 0; k < lanes; k++) pos[k] = advance(pos[k], bits[k]);
}

/* Bursts that a lane can make without a look at its bounds. */
static inline size_t safe_bursts(const struct lane *l, size_t src_size, size_t output)
{
    size_t at = (size_t)(l->pos >> 3);
    if (src_size < 8 || at > src_size - 8)
        return 0;
    size_t in = (src_size - 8 - at) / BURST_BYTES + 1, out = (size_t)(l->op_end - l->op) / output;
    return in < out ? in : out;
}

static size_t min_bursts(const struct lane *lanes, size_t src_size, size_t output)
{
    size_t n = SIZE_MAX;
    for (size_t k = 0; k < STREAMS; k++) {
        size_t m = safe_bursts(&lanes[k], src_size, output);
        n = m < n ? m : n;
    }
    return n;
}

static void run_single(struct lane lanes[STREAMS], const uint8_t *src, size_t src_size,
                       const uint16_t *table)
{
    for (size_t n; (n = min_bursts(lanes, src_size, BURST)) > 0;) {
        uint64_t pos[STREAMS];
        uint8_t *op[STREAMS];
        for (size_t k = 0; k < STREAMS; k++) {
            pos[k] = lanes[k].pos;
            op[k] = lanes[k].op;
        }
        for (size_t at = 0; at < n * BURST; at += BURST)
            burst_single(src, table, pos, op, at, STREAMS);
        for (size_t k = 0; k < STREAMS; k++) {
            lanes[k].pos = pos[k];
            lanes[k].op += n * BURST;
        }
    }
}

static void run_triple(struct lane lanes[STREAMS], const uint8_t *src, size_t src_size,
                       const uint32_t *table)
{
    for (size_t n; (n = min_bursts(lanes, src_size, TRIPLE_BYTES)) > 0;) {
        uint64_t pos[STREAMS];
        uint8_t *op[STREAMS];
        for (size_t k = 0; k < STREAMS; k++) {
            pos[k] = lanes[k].pos;
            op[k] = lanes[k].op;
        }
        for (; n > 0; n--) {
            UNROLL for (size_t k = 0; k < STREAMS; k += 4)
                burst_triple(src, table, pos + k, op + k, 4);
        }
        for (size_t k = 0; k < STREAMS; k++) {
            lanes[k].pos = pos[k];
            lanes[k].op = op[k];
        }
    }
}

/* The next LIMIT bits, zeros past the end. */
static unsigned peek(const uint8_t *src, size_t src_size, uint64_t pos)
{
    size_t at = (size_t)(pos >> 3);
    unsigned bits = 0;
    for (size_t i = 0; i < 3 && at + i < src_size; i++)
        bits |= (unsigned)src[at + i] << (8 * i);
    return bits >> (pos & 7) & MASK;
}

static void run_tail(struct lane *l, const uint8_t *src, size_t src_size, const uint16_t *table)
{
    for (size_t n; (n = safe_bursts(l, src_size, BURST)) > 0;) {
        for (; n > 0; n--, l->op += BURST)
            burst_single(src, table, &l->pos, &l->op, 0, 1);
    }
    while (l->op < l->op_end) {
        unsigned e = table[peek(src, src_size, l->pos)];
        l->pos += e & 63;
        *l->op++ = (uint8_t)(e >> 8);
    }
}

/* Whether a stream of bytes BEGIN ... END - 1 was used up to its last byte, rest zero. */
static bool is_consumed(const uint8_t *src, size_t end, uint64_t pos)
{
    return (pos + 7) >> 3 == end && ((pos & 7) == 0 || src[end - 1] >> (pos & 7) == 0);
}

/* Reads the table of stream sizes, advances *POS past it, and sets the end of each stream. */
static bool read_ends(const uint8_t *src, size_t src_size, size_t *pos, size_t streams,
                      size_t ends[STREAMS])
{
    size_t table = 3 * (streams - 1);
    if (src_size - *pos < table)
        return false;
    size_t at = *pos + table;
    for (size_t k = 0; k + 1 < streams; k++, *pos += 3) {
        size_t size = qn_load16(src + *pos) | (size_t)src[*pos + 2] << 16;
        if (size > src_size - at)
            return false;
        ends[k] = at += size;
    }
    ends[streams - 1] = src_size;
    return true;
}

static bool decode_streams(const uint8_t *src, size_t src_size, size_t begin, size_t streams,
                           uint8_t *dst, size_t n, struct qn_huffman_tables *t)
{
    size_t ends[STREAMS], at = begin;
    size_t length = qn_huffman_stream_length(n);
    struct lane lanes[STREAMS] = {{0}};
    if (!read_ends(src, src_size, &at, streams, ends))
        return false;
    for (size_t k = 0; k < streams; k++) {
        lanes[k].pos = (uint64_t)(k == 0 ? at : ends[k - 1]) * 8;
        lanes[k].op = dst + k * length;
        lanes[k].op_end = k + 1 < streams ? lanes[k].op + length : dst + n;
    }
    if (streams == STREAMS) {
        if (n >= MIN_TRIPLE && (src_size - at) * 8 <= n * MAX_TRIPLE_BITS) {
            fill_triple(t);
            run_triple(lanes, src, src_size, t->triple);
        }
        run_single(lanes, src, src_size, t->single);
    }
    bool ok = true;
    for (size_t k = 0; k < streams; k++) {
        run_tail(&lanes[k], src, src_size, t->single);
        ok = ok && is_consumed(src, ends[k], lanes[k].pos);
    }
    return ok;
}

bool qn_huffman_decode(const uint8_t *src, size_t src_size, uint8_t *dst, size_t n, void *scratch)
{
    struct qn_huffman_tables *t = scratch;
    uint8_t lengths[256];
    size_t used;
    if (n == 0 || n > QN_HUFFMAN_MAX_SYMBOLS || src_size < 2)
        return false;
    if (src[0] == 0) {
        memset(dst, src[1], n);
        return src_size == 2;
    }
    size_t streams = src[0];
    if ((streams != 1 && streams != STREAMS) || (streams > 1 && n < QN_HUFFMAN_MIN_INTERLEAVED) ||
        src_size < 3 || src[1] >= src[2] ||
        !qn_huffman_read_lengths(src + 3, src_size - 3, src[1], src[2], lengths, &used))
        return false;
    fill_single(lengths, t->single);
    return decode_streams(src, src_size, 3 + used, streams, dst, n, t);
}
