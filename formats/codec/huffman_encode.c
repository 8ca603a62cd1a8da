#include "core/bytes.h"
#include "formats/codec/histogram.h"
#include "formats/codec/huffman.h"

#include <string.h>

enum {
    MAX_STREAMS = QN_HUFFMAN_STREAMS,
    BURST = 4,       /* symbols a flush: 7 bits left over + 4 * 12 <= 58 */
    BURST_BYTES = 6, /* of output at most */
};

struct encode_work {
    uint64_t codes[256]; /* code in the top bits, length in the low six */
    uint32_t counts[MAX_STREAMS][256], total[256];
    struct qn_histogram_work histogram;
    struct qn_huffman_lengths_work lengths;
};

/* Bits enter ACC from the top, so that the oldest of NB bits is bit 64 - NB. */
struct lane {
    const uint8_t *src, *src_end;
    uint8_t *dst, *dst_end;
    uint64_t acc, nb;
};

size_t qn_huffman_bound(size_t n)
{
    /* No optimal code for 256 symbols takes more than 8 bits a symbol. */
    return n > QN_HUFFMAN_MAX_SYMBOLS
               ? 0
               : n + 3 + QN_HUFFMAN_LENGTHS_MAX + (size_t)3 * (MAX_STREAMS - 1) + MAX_STREAMS;
}

/* Appends BURST codes and writes the whole bytes. The entries' low six bits go into ACC and NB
 * as they are: in ACC they lie below the bits that are written, in NB the code above them is cut
 * off. */
static inline void put_burst(struct lane *l, const uint64_t *codes)
{
    uint64_t acc = l->acc, nb = l->nb;
    for (int i = 0; i < BURST; i++) {
        uint64_t e = codes[l->src[i]];
        acc = acc >> (e & 63) | e;
        nb += e;
    }
    nb &= 63;
    qn_store64(l->dst, acc >> (64 - nb));
    l->acc = acc;
    l->nb = nb & 7;
    l->dst += nb >> 3;
    l->src += BURST;
}

/* Bursts that a lane can make without a look at its bounds. */
static size_t safe_bursts(const struct lane *l)
{
    size_t room = (size_t)(l->dst_end - l->dst);
    size_t in = (size_t)(l->src_end - l->src) / BURST;
    size_t out = room < 8 ? 0 : (room - 8) / BURST_BYTES + 1;
    return in < out ? in : out;
}

/* Two streams at a time: one alone waits for its own shifts. */
static void put_pair(struct lane *a, struct lane *b, const uint64_t *codes)
{
    struct lane x = *a, y = *b;
    for (;;) {
        size_t n = safe_bursts(&x), m = safe_bursts(&y);
        n = m < n ? m : n;
        if (n == 0)
            break;
        for (; n > 0; n--) {
            put_burst(&x, codes);
            put_burst(&y, codes);
        }
    }
    *a = x;
    *b = y;
}

static void put_tail(struct lane *l, const uint64_t *codes)
{
    for (size_t n; (n = safe_bursts(l)) > 0;) {
        for (; n > 0; n--)
            put_burst(l, codes);
    }
    for (; l->src < l->src_end; l->src++) {
        uint64_t e = codes[*l->src];
        l->acc = l->acc >> (e & 63) | e;
        for (l->nb += e & 63; l->nb >= 8; l->nb -= 8)
            *l->dst++ = (uint8_t)(l->acc >> (64 - l->nb));
    }
    if (l->nb > 0)
        *l->dst++ = (uint8_t)(l->acc >> (64 - l->nb));
}

static size_t stream_size(const uint32_t counts[256], const uint8_t lengths[256])
{
    uint64_t bits = 0;
    for (size_t s = 0; s < 256; s++)
        bits += (uint64_t)counts[s] * lengths[s];
    return (size_t)qn_div_up(bits, 8);
}

static void count_streams(const uint8_t *src, size_t n, size_t streams, struct encode_work *w)
{
    size_t length = qn_huffman_stream_length(n);
    memset(w->total, 0, sizeof w->total);
    for (size_t k = 0; k < streams; k++) {
        size_t begin = k * length, end = k + 1 < streams ? begin + length : n;
        qn_histogram(src + begin, end - begin, w->counts[k], &w->histogram);
        for (size_t s = 0; s < 256; s++)
            w->total[s] += w->counts[k][s];
    }
}

static size_t put_header(uint8_t *dst, size_t streams, const uint8_t lengths[256])
{
    unsigned first = 0, last = 255;
    while (lengths[first] == 0)
        first++;
    while (lengths[last] == 0)
        last--;
    dst[0] = (uint8_t)streams;
    dst[1] = (uint8_t)first;
    dst[2] = (uint8_t)last;
    return 3 + qn_huffman_write_lengths(lengths, first, last, dst + 3);
}

static void put_streams(const uint8_t *src, size_t n, size_t streams, const size_t *sizes,
                        uint8_t *dst, const uint64_t *codes)
{
    size_t length = qn_huffman_stream_length(n);
    struct lane lanes[MAX_STREAMS] = {{0}};
    for (size_t k = 0; k < streams; k++) {
        lanes[k].src = src + k * length;
        lanes[k].src_end = k + 1 < streams ? lanes[k].src + length : src + n;
        lanes[k].dst = dst;
        lanes[k].dst_end = dst += sizes[k];
    }
    if (streams == MAX_STREAMS) {
        for (size_t k = 0; k < MAX_STREAMS; k += 2)
            put_pair(&lanes[k], &lanes[k + 1], codes);
    }
    for (size_t k = 0; k < streams; k++)
        put_tail(&lanes[k], codes);
}

size_t qn_huffman_scratch(size_t n)
{
    (void)n;
    size_t encode = sizeof(struct encode_work), decode = sizeof(struct qn_huffman_tables);
    return encode > decode ? encode : decode;
}

size_t qn_huffman_encode(const uint8_t *src, size_t n, uint8_t *dst, size_t capacity, void *scratch)
{
    return qn_huffman_encode_streams(src, n, qn_huffman_streams(n), dst, capacity, scratch);
}

size_t qn_huffman_encode_streams(const uint8_t *src, size_t n, size_t streams, uint8_t *dst,
                                 size_t capacity, void *scratch)
{
    struct encode_work *w = scratch;
    size_t sizes[MAX_STREAMS];
    uint8_t lengths[256], header[3 + QN_HUFFMAN_LENGTHS_MAX];
    uint16_t codes[256];
    if (n == 0 || n > QN_HUFFMAN_MAX_SYMBOLS || capacity < 2)
        return 0;
    count_streams(src, n, streams, w);
    if (qn_huffman_lengths(w->total, lengths, &w->lengths) == 1) {
        dst[0] = 0;
        dst[1] = src[0];
        return 2;
    }
    /* The size is known before anything is written. */
    size_t header_size = put_header(header, streams, lengths);
    size_t size = header_size + 3 * (streams - 1);
    for (size_t k = 0; k < streams; k++)
        size += sizes[k] = stream_size(w->counts[k], lengths);
    if (size > capacity)
        return 0;
    qn_huffman_codes(lengths, codes);
    for (size_t s = 0; s < 256; s++)
        w->codes[s] = lengths[s] == 0 ? 0 : (uint64_t)codes[s] << (64 - lengths[s]) | lengths[s];
    memcpy(dst, header, header_size);
    uint8_t *p = dst + header_size;
    for (size_t k = 0; k + 1 < streams; k++, p += 3) {
        qn_store16(p, (uint16_t)sizes[k]);
        p[2] = (uint8_t)(sizes[k] >> 16);
    }
    put_streams(src, n, streams, sizes, p, w->codes);
    return size;
}
