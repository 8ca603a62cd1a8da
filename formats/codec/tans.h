/* Tabled asymmetric numeral system of 128 states over bytes, made for 256 lanes in vector
 * registers. The bitstream: docs/bitstreams.md. No allocation, scratch from the caller (alignment
 * 8), hostile input accepted. */
#ifndef QINS_FORMATS_CODEC_TANS_H
#define QINS_FORMATS_CODEC_TANS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    /* Part of the format. */
    QN_TANS_LOG = 7,
    QN_TANS_STATES = 1 << QN_TANS_LOG,
    QN_TANS_LANES = 8, /* of a bitstream: 8 * 7 bits and an offset of 7 fit one 64-bit window */
    QN_TANS_OFFSET_BITS = 3,
    QN_TANS_STREAMS = 32,
    QN_TANS_VECTOR = QN_TANS_STREAMS * QN_TANS_LANES,     /* symbols a step */
    QN_TANS_STEP_BYTES = QN_TANS_LANES * QN_TANS_LOG / 8, /* of a bitstream, at most */
    QN_TANS_MIN_INTERLEAVED = 1024,
    QN_TANS_MAX_SINGLE = 1 << 20,
    QN_TANS_MAX_SYMBOLS = 1 << 26,
    QN_TANS_HAS_ESCAPES = 1 << 4, /* in the first byte, above k */
    QN_TANS_INTERLEAVED = 1 << 5,
    QN_TANS_HAS_RUNS = 1 << 6, /* alone: the parts have heads of their own */
    /* Below this many, 248 first states cost more than speed is worth. */
    QN_TANS_WORTH_INTERLEAVING = 1 << 15,
    /* Bytes that a kernel may read at once. */
    QN_TANS_MARGIN = 64,
};

/* The entries of struct qn_codec. */
size_t qn_tans_bound(size_t n);
size_t qn_tans_scratch(size_t n);
size_t qn_tans_encode(const uint8_t *src, size_t n, uint8_t *dst, size_t capacity, void *scratch);
bool qn_tans_decode(const uint8_t *src, size_t src_size, uint8_t *dst, size_t n, void *scratch);

/* The same in pieces: begin with what qn_tans_decode() takes, then the N symbols in order, as many
 * at a time as wanted, a multiple of QN_TANS_VECTOR each time but the last, then whether all was
 * right. After false nothing more is called. SRC must stay. */
bool qn_tans_begin(const uint8_t *src, size_t src_size, size_t n, void *scratch);
bool qn_tans_next(void *scratch, uint8_t *dst, size_t n);
bool qn_tans_end(void *scratch);

/* As qn_tans_encode(), for a caller that has the counts of the N symbols. */
size_t qn_tans_encode_counted(const uint32_t counts[256], const uint8_t *src, size_t n,
                              uint8_t *dst, size_t capacity, void *scratch);

/* What the parts share. */

enum { QN_TANS_COST_BITS = 16 }; /* a cost is in units of 2^-16 bits */

/* How a stream's symbols are coded. */
struct qn_tans_model {
    unsigned k, entries;
    unsigned escapes;              /* escaped classes */
    uint64_t cost;                 /* of all symbols' bits, if states were ideal */
    uint8_t class_of[128];         /* of each entry but that of the escapes */
    uint8_t escaped[256];          /* classes, ascending */
    uint8_t table[QN_TANS_STATES]; /* entry of each state */
    uint8_t count[128];            /* states of each entry */
};

struct qn_tans_model_work {
    uint64_t keys[QN_TANS_STATES];
    struct qn_tans_model candidate;
};

/* The mode without runs. A model chosen from COUNTS; INTERLEAVED symbols and more make
 * QN_TANS_STREAMS bitstreams. */
size_t qn_tans_encode_scratch(size_t n);
size_t qn_tans_encode_plain(const uint32_t counts[256], const struct qn_tans_model *model,
                            size_t interleaved, const uint8_t *src, size_t n, uint8_t *dst,
                            size_t capacity, void *scratch);
size_t qn_tans_decode_scratch(size_t n);
bool qn_tans_begin_plain(const uint8_t *src, size_t src_size, size_t n, void *scratch);
bool qn_tans_next_plain(void *scratch, uint8_t *dst, size_t n);
bool qn_tans_end_plain(void *scratch);

static inline unsigned qn_tans_log2_ceil(unsigned m)
{
    return m <= 1 ? 0 : 32 - (unsigned)__builtin_clz(m - 1);
}

/* A good model for N >= 1 symbols of these COUNTS. */
void qn_tans_choose(const uint32_t counts[256], size_t n, struct qn_tans_model *out,
                    struct qn_tans_model_work *work);

/* Streams that N symbols of a model with so many ENTRIES make, many from INTERLEAVED symbols on. */
static inline unsigned qn_tans_stream_count(size_t n, size_t interleaved, unsigned entries)
{
    return n < interleaved || entries == 1 ? 1 : QN_TANS_STREAMS;
}

struct qn_tans_size_work {
    struct qn_tans_model model;
    struct qn_tans_model_work choice;
};

/* Bytes that qn_tans_encode() makes of 1 <= N <= QN_TANS_MAX_SYMBOLS symbols with these COUNTS, to
 * about a thousandth: what states take depends on the symbols' order. Where that makes runs, and
 * the form with runs pays, this is only an upper bound. */
size_t qn_tans_size(const uint32_t counts[256], size_t n, struct qn_tans_size_work *work);

enum { QN_TANS_MODEL_MAX = 1 + 32 + 32 + 4 + QN_TANS_STATES };
/* Serialised form, with FLAGS and the number of escaped symbols; returns its size. */
size_t qn_tans_write_model(const struct qn_tans_model *m, unsigned flags, uint32_t escaped,
                           uint8_t dst[QN_TANS_MODEL_MAX]);
/* Reverses that. Returns the size, 0 if the bytes are cut short or no model. */
size_t qn_tans_read_model(const uint8_t *src, size_t size, struct qn_tans_model *m, unsigned *flags,
                          uint32_t *escaped);

/* The lowest K bits of each byte of X, moved together into the lowest 8 * K; 1 <= K <= 8. */
static inline uint64_t qn_tans_gather(uint64_t x, unsigned k)
{
    uint64_t one = (((uint64_t)1 << k) - 1) * 0x0001000100010001,
             two = (((uint64_t)1 << 2 * k) - 1) * 0x0000000100000001,
             four = ((uint64_t)1 << 4 * k) - 1;
    x = (x & one) | (x >> 8 & one) << k;
    x = (x & two) | (x >> 16 & two) << 2 * k;
    return (x & four) | (x >> 32 & four) << 4 * k;
}

/* Reverses that; what stands above the lowest 8 * K bits of X is ignored. */
static inline uint64_t qn_tans_spread(uint64_t x, unsigned k)
{
    uint64_t one = (((uint64_t)1 << k) - 1) * 0x0001000100010001,
             two = (((uint64_t)1 << 2 * k) - 1) * 0x0000000100000001,
             four = ((uint64_t)1 << 4 * k) - 1;
    x = (x & four) | (x >> 4 * k & four) << 32;
    x = (x & two) | (x >> 2 * k & two) << 16;
    return (x & one) | (x >> k & one) << 8;
}

/* A decoder between two symbols that lane 0 begins. */
struct qn_tans_decoder {
    uint8_t symbol[QN_TANS_STATES]; /* class shifted up by k; of escapes some escaped class */
    uint8_t bits[QN_TANS_STATES];
    uint8_t base[QN_TANS_STATES];
    uint8_t state[QN_TANS_VECTOR];
    uint8_t byte[QN_TANS_STREAMS]; /* in which each stream's next bit is ... */
    uint8_t used[QN_TANS_STREAMS]; /* ... and the bits below it, 0 ... 7 */
    const uint8_t *src;            /* the streams' further bytes, merged */
    const uint8_t *raw;            /* of the next symbol */
    const uint8_t *escapes; /* classes shifted up by k, one byte each, from the next one on */
    uint8_t *dst;
    unsigned k, streams;
    bool has_escapes;
    uint8_t escape; /* symbol[] where there is one */
};

/* Kernels: STEPS times eight symbols of each stream, with the move to the next state. Nothing is
 * checked in them. The caller sees to it that STEP_BYTES * STEPS * streams + 8 bytes can be read at
 * src, and QN_TANS_MARGIN from the raw bits of any 64 symbols and past as many escapes as there are
 * symbols. All but that of plain C want QN_TANS_STREAMS streams. */
void qn_tans_decode_c(struct qn_tans_decoder *d, size_t steps);

/* FUNCTION(..., has_raw, has_escapes) with constants for what decoder D has. */
#define QN_TANS_SPECIALISE(d, function, ...)                                                       \
    do {                                                                                           \
        if ((d)->k > 0 && (d)->has_escapes)                                                        \
            function(__VA_ARGS__, true, true);                                                     \
        else if ((d)->k > 0)                                                                       \
            function(__VA_ARGS__, true, false);                                                    \
        else if ((d)->has_escapes)                                                                 \
            function(__VA_ARGS__, false, true);                                                    \
        else                                                                                       \
            function(__VA_ARGS__, false, false);                                                   \
    } while (0)

/* An encoder between two symbols; it goes backwards. */
struct qn_tans_encoder {
    uint8_t entry[256];           /* of each symbol */
    uint8_t most_bits[128];       /* of each entry */
    uint8_t threshold[128];       /* up to this state + 128, one bit less */
    uint8_t offset[128];          /* from x of an entry to a place in next[], modulo 256 */
    uint8_t next[QN_TANS_STATES]; /* states of entry 0, then of entry 1, ... */
    uint8_t state[QN_TANS_VECTOR];
    uint64_t acc[QN_TANS_STREAMS];     /* the last bits are the lowest pending[] of it ... */
    uint64_t pending[QN_TANS_STREAMS]; /* ... 1 ... 8, which are not yet written */
    uint8_t *out;                      /* the streams' bytes, merged; grows down */
    const uint8_t *src;                /* symbols that are not yet coded begin here */
    uint8_t *escaped;                  /* symbols of escaped classes from here on; grows down */
    unsigned streams;
    bool has_escapes;
    uint8_t escape; /* entry of escaped classes, if there are any */
};

/* Codes the STEPS * 8 * streams symbols at SRC, the last ones first. Below out are
 * STEP_BYTES * STEPS * streams free bytes, below ESCAPED as many as there are symbols of escaped
 * classes, and below these QN_TANS_MARGIN more each, which may be written. */
void qn_tans_encode_c(struct qn_tans_encoder *e, size_t steps);

#endif
