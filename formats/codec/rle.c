#include "formats/codec/rle.h"

#include "core/bytes.h"
#include "formats/codec/histogram.h"
#include "formats/codec/huffman.h"
#include "formats/codec/kernels.h"

#include <string.h>

enum {
    MAX_SYMBOLS = QN_HUFFMAN_MAX_SYMBOLS,
    ESCAPE = 255,    /* a count byte that more bytes follow */
    MAX_COUNT = 5,   /* bytes of a count: the escape and four of seven bits */
    MAX_HEADER = 32, /* the symbol and six sizes of at most five bytes */
    MASKS = 64,      /* words of 64 symbols that are looked at in one call */
    WILD = 32,       /* bytes copied or set at once, beyond the run's own end */
};

/* The three byte streams: lengths of literal runs, lengths of runs of the symbol less one, and
 * the symbols between the runs. */
enum part { GAPS, RUNS, LITERALS, PARTS };

struct parts {
    uint8_t symbol;
    struct {
        const uint8_t *data;
        size_t size;
    } part[PARTS];
};

struct work {
    struct qn_histogram_work histogram;
    uint32_t counts[256];
};

/* Each gap or run but the first and the last belongs to a pair of at least two symbols; longer
 * counts take more bytes only where they cover more symbols. */
static size_t max_counts(size_t n)
{
    return n / 2 + (size_t)2 * MAX_COUNT;
}

static size_t max_part(enum part p, size_t n)
{
    return p == LITERALS ? n : max_counts(n);
}

size_t qn_rle_bound(size_t n)
{
    return n > MAX_SYMBOLS ? 0 : MAX_HEADER + 2 * max_counts(n) + n;
}

static size_t align8(size_t n)
{
    return (n + 7) / 8 * 8;
}

/* Scratch: the parts with room for wild copies, then what Huffman or the histogram needs. */
static size_t parts_scratch(size_t n)
{
    return align8(2 * (max_counts(n) + WILD) + n + WILD);
}

size_t qn_rle_scratch(size_t n)
{
    size_t huffman = qn_huffman_scratch(n);
    return parts_scratch(n) + (huffman > sizeof(struct work) ? huffman : sizeof(struct work));
}

static void part_buffers(void *scratch, size_t n, uint8_t *buffers[PARTS])
{
    buffers[GAPS] = scratch;
    buffers[RUNS] = buffers[GAPS] + max_counts(n) + WILD;
    buffers[LITERALS] = buffers[RUNS] + max_counts(n) + WILD;
}

static uint8_t *put_leb128(uint8_t *p, size_t value)
{
    for (; value >= 128; value >>= 7)
        *p++ = (uint8_t)(value | 128);
    *p++ = (uint8_t)value;
    return p;
}

/* At most five bytes; clears *ok if there are more or the source ends. */
static size_t get_leb128(const uint8_t **p, const uint8_t *end, bool *ok)
{
    size_t value = 0;
    for (unsigned shift = 0; shift < 35; shift += 7) {
        if (*p == end)
            break;
        uint8_t b = *(*p)++;
        value |= (size_t)(b & 127) << shift;
        if (b < 128)
            return value;
    }
    *ok = false;
    return 0;
}

static inline uint8_t *put_count(uint8_t *p, size_t count)
{
    if (count < ESCAPE) {
        *p++ = (uint8_t)count;
        return p;
    }
    *p++ = ESCAPE;
    return put_leb128(p, count - ESCAPE);
}

static inline size_t get_count(const uint8_t **p, const uint8_t *end, bool *ok)
{
    if (*p == end) {
        *ok = false;
        return 0;
    }
    uint8_t b = *(*p)++;
    return b < ESCAPE ? b : ESCAPE + get_leb128(p, end, ok);
}

static uint8_t most_frequent(const uint8_t *src, size_t n, struct work *w)
{
    unsigned best = 0;
    qn_histogram(src, n, w->counts, &w->histogram);
    for (unsigned s = 1; s < 256; s++)
        best = w->counts[s] > w->counts[best] ? s : best;
    return (uint8_t)best;
}

struct splitter {
    const uint8_t *src;
    size_t n, start; /* of the run or gap under way */
    uint8_t *out[PARTS];
};

static inline void end_gap(struct splitter *s, size_t end)
{
    size_t length = end - s->start;
    s->out[GAPS] = put_count(s->out[GAPS], length);
    if (length <= WILD && s->n - s->start >= WILD)
        memcpy(s->out[LITERALS], s->src + s->start, WILD);
    else
        memcpy(s->out[LITERALS], s->src + s->start, length);
    s->out[LITERALS] += length;
    s->start = end;
}

static inline void end_run(struct splitter *s, size_t end)
{
    s->out[RUNS] = put_count(s->out[RUNS], end - s->start - 1);
    s->start = end;
}

static void split(const uint8_t *src, size_t n, uint8_t *const buffers[PARTS], struct parts *parts)
{
    struct splitter s = {src, n, 0, {buffers[GAPS], buffers[RUNS], buffers[LITERALS]}};
    uint64_t masks[MASKS];
    const size_t span = sizeof masks * 8;
    bool in_run = false;
    for (size_t base = 0; base < n; base += 64) {
        const size_t left = n - base, word = base / 64 % MASKS;
        if (word == 0)
            qn_codec_kernels()->match(src + base, left < span ? left : span, parts->symbol, masks);
        uint64_t turns = masks[word] ^ (masks[word] << 1 | in_run);
        if (left < 64)
            turns &= ((uint64_t)1 << left) - 1;
        for (; turns != 0; turns &= turns - 1, in_run = !in_run) {
            size_t at = base + (size_t)__builtin_ctzll(turns);
            if (in_run)
                end_run(&s, at);
            else
                end_gap(&s, at);
        }
    }
    if (in_run)
        end_run(&s, n);
    else
        end_gap(&s, n);
    for (unsigned p = 0; p < PARTS; p++) {
        parts->part[p].data = buffers[p];
        parts->part[p].size = (size_t)(s.out[p] - buffers[p]);
    }
}

/* Reverses split; false unless the three streams are used up exactly and make N symbols. */
static bool join(const struct parts *parts, uint8_t *dst, size_t n)
{
    const uint8_t *gap = parts->part[GAPS].data, *gap_end = gap + parts->part[GAPS].size;
    const uint8_t *run = parts->part[RUNS].data, *run_end = run + parts->part[RUNS].size;
    const uint8_t *literal = parts->part[LITERALS].data;
    size_t literals = parts->part[LITERALS].size, at = 0;
    bool ok = memchr(literal, parts->symbol, literals) == NULL;
    while (ok && at < n) {
        size_t length = get_count(&gap, gap_end, &ok);
        if (!ok || length > n - at || length > literals || (length == 0 && at > 0))
            return false;
        if (length <= WILD && n - at >= WILD && literals >= WILD)
            memcpy(dst + at, literal, WILD);
        else
            memcpy(dst + at, literal, length);
        at += length;
        literal += length;
        literals -= length;
        if (at == n)
            break;
        length = get_count(&run, run_end, &ok) + 1;
        if (length > n - at)
            return false;
        if (length <= WILD && n - at >= WILD)
            memset(dst + at, parts->symbol, WILD);
        else
            memset(dst + at, parts->symbol, length);
        at += length;
    }
    return ok && gap == gap_end && run == run_end && literals == 0;
}

static void find_parts(const uint8_t *src, size_t n, void *scratch, struct parts *parts)
{
    uint8_t *buffers[PARTS];
    struct work *w = (void *)((uint8_t *)scratch + parts_scratch(n));
    part_buffers(scratch, n, buffers);
    parts->symbol = most_frequent(src, n, w);
    split(src, n, buffers, parts);
}

size_t qn_rle_encode(const uint8_t *src, size_t n, uint8_t *dst, size_t capacity, void *scratch)
{
    struct parts parts;
    uint8_t header[MAX_HEADER], *p = header;
    if (n == 0 || n > MAX_SYMBOLS)
        return 0;
    find_parts(src, n, scratch, &parts);
    *p++ = parts.symbol;
    p = put_leb128(p, parts.part[GAPS].size);
    p = put_leb128(p, parts.part[RUNS].size);
    size_t header_size = (size_t)(p - header), size = header_size;
    for (unsigned i = 0; i < PARTS; i++)
        size += parts.part[i].size;
    if (size > capacity)
        return 0;
    memcpy(dst, header, header_size);
    dst += header_size;
    for (unsigned i = 0; i < PARTS; i++) {
        memcpy(dst, parts.part[i].data, parts.part[i].size);
        dst += parts.part[i].size;
    }
    return size;
}

bool qn_rle_decode(const uint8_t *src, size_t src_size, uint8_t *dst, size_t n, void *scratch)
{
    (void)scratch;
    const uint8_t *end = src + src_size;
    struct parts parts;
    bool ok = true;
    if (n == 0 || n > MAX_SYMBOLS || src_size == 0)
        return false;
    parts.symbol = *src++;
    parts.part[GAPS].size = get_leb128(&src, end, &ok);
    parts.part[RUNS].size = get_leb128(&src, end, &ok);
    size_t left = (size_t)(end - src);
    if (!ok || parts.part[GAPS].size > left || parts.part[RUNS].size > left - parts.part[GAPS].size)
        return false;
    parts.part[GAPS].data = src;
    parts.part[RUNS].data = src += parts.part[GAPS].size;
    parts.part[LITERALS].data = src += parts.part[RUNS].size;
    parts.part[LITERALS].size = (size_t)(end - src);
    return join(&parts, dst, n);
}

/* Writes a part behind *P: its number of symbols, its coded size in as many bytes, its coded
 * bytes. A coded size equal to the number of symbols means stored. False if it does not fit. */
static bool put_part(const uint8_t *data, size_t size, uint8_t **p, const uint8_t *end,
                     void *huffman_scratch)
{
    uint8_t sizes[2 * MAX_COUNT];
    size_t digits = (size_t)(put_leb128(sizes, size) - sizes), coded = 0;
    size_t left = (size_t)(end - *p);
    if (left < 2 * digits)
        return false;
    uint8_t *at = *p + 2 * digits;
    left -= 2 * digits;
    if (size > 1)
        coded =
            qn_huffman_encode(data, size, at, left < size - 1 ? left : size - 1, huffman_scratch);
    if (coded == 0) {
        if (left < size)
            return false;
        memcpy(at, data, size);
        coded = size;
    }
    for (size_t i = 0; i < digits; i++)
        sizes[digits + i] = (uint8_t)((coded >> 7 * i & 127) | (i + 1 < digits ? 128 : 0));
    memcpy(*p, sizes, 2 * digits);
    *p = at + coded;
    return true;
}

size_t qn_rle_huffman_encode(const uint8_t *src, size_t n, uint8_t *dst, size_t capacity,
                             void *scratch)
{
    struct parts parts;
    uint8_t *p = dst, *end = dst + capacity;
    if (n == 0 || n > MAX_SYMBOLS || capacity == 0)
        return 0;
    find_parts(src, n, scratch, &parts);
    *p++ = parts.symbol;
    for (unsigned i = 0; i < PARTS; i++) {
        if (!put_part(parts.part[i].data, parts.part[i].size, &p, end,
                      (uint8_t *)scratch + parts_scratch(n)))
            return 0;
    }
    return (size_t)(p - dst);
}

bool qn_rle_huffman_decode(const uint8_t *src, size_t src_size, uint8_t *dst, size_t n,
                           void *scratch)
{
    const uint8_t *end = src + src_size;
    uint8_t *buffers[PARTS];
    struct parts parts;
    bool ok = true;
    if (n == 0 || n > MAX_SYMBOLS || src_size == 0)
        return false;
    part_buffers(scratch, n, buffers);
    parts.symbol = *src++;
    for (unsigned i = 0; i < PARTS; i++) {
        size_t size = get_leb128(&src, end, &ok), coded = get_leb128(&src, end, &ok);
        if (!ok || size > max_part((enum part)i, n) || coded > size || coded > (size_t)(end - src))
            return false;
        parts.part[i].size = size;
        parts.part[i].data = coded == size ? src : buffers[i];
        if (coded < size &&
            !qn_huffman_decode(src, coded, buffers[i], size, (uint8_t *)scratch + parts_scratch(n)))
            return false;
        src += coded;
    }
    return src == end && join(&parts, dst, n);
}
