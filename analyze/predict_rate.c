#include "analyze/predict.h"

#include "analyze/logarithm.h"
#include "formats/codec/bitpack.h"
#include "formats/codec/chunk_layout.h"
#include "formats/codec/rate.h"

#include <math.h>
#include <string.h>

static double rounded(double x)
{
    return floor(x + 0.5);
}

/* Elements of a sign at or below the bound of level L, SHARE of all; whole, so that few elements in
 * many levels are as uneven as they are. */
static double whole_below(const struct qn_prediction *p, unsigned l, int sign, double share)
{
    return rounded(share * p->below[l].sign[sign]);
}

/* Order-0 entropy of the codes of the whole tensor. */
static double code_entropy(const struct qn_prediction *p, double n)
{
    double sum = 0.0, zeros = n;
    for (int sign = 0; sign < 2; sign++) {
        double from = whole_below(p, 0, sign, 1.0);
        zeros -= whole_below(p, p->levels, sign, 1.0) - from;
        for (unsigned l = 1; l <= p->levels; l++) {
            double to = whole_below(p, l, sign, 1.0), count = to - from;
            if (count > 0.0)
                sum += count * qn_log2(count);
            from = to;
        }
    }
    if (zeros > 0.0)
        sum += zeros * qn_log2(zeros);
    /* A count c that has the variance v adds v / (2 c ln 2) to the mean of c log2 c. */
    static const double half_of_log2_e = 0x1.71547652b82fep-1;
    double entropy = qn_log2(n) - (sum + half_of_log2_e * p->unevenness) / n;
    return entropy > 0.0 ? entropy : 0.0;
}

/* Counts of the codes of N elements, SHARE of all; they sum to N. */
static void share_counts(struct qn_prediction *p, uint32_t n, double share)
{
    const unsigned levels = p->levels;
    double room = (double)n, total = 0.0;
    memset(p->counts, 0, sizeof p->counts);
    for (int sign = 0; sign < 2; sign++) {
        double all = whole_below(p, levels, sign, share);
        all = all < room ? all : room;
        double from = fmin(whole_below(p, 0, sign, share), all);
        room -= all;
        for (unsigned l = 1; l <= levels; l++) {
            double to = fmin(whole_below(p, l, sign, share), all);
            p->counts[sign == 0 ? levels + l : levels - l] = (uint32_t)(to - from);
            total += to - from;
            from = to;
        }
    }
    p->counts[levels] = n - (uint32_t)total;
}

/* Bytes that the Huffman coder makes of N symbols (huffman_encode.c). */
static size_t huffman_size(const uint32_t counts[256], size_t n,
                           struct qn_huffman_lengths_work *work)
{
    uint8_t lengths[256], table[QN_HUFFMAN_LENGTHS_MAX];
    if (qn_huffman_lengths(counts, lengths, work) == 1)
        return 2;
    unsigned first = 0, last = 255;
    while (lengths[first] == 0)
        first++;
    while (lengths[last] == 0)
        last--;
    uint64_t bits = 0;
    for (unsigned s = first; s <= last; s++)
        bits += (uint64_t)counts[s] * lengths[s];
    size_t streams = qn_huffman_streams(n), header = 3 + 3 * (streams - 1);
    /* Each stream ends in a byte of its own, half empty on average. */
    return header + qn_huffman_write_lengths(lengths, first, last, table) +
           (size_t)((bits + 4 * streams + 7) / 8);
}

/* Counts of the codes' high parts, RAW low bits apart. */
static void count_symbols(const struct qn_prediction *p, unsigned raw, uint32_t symbols[256])
{
    memset(symbols, 0, 256 * sizeof *symbols);
    for (unsigned code = 0; code <= 2 * p->levels; code++)
        symbols[code >> raw] += p->counts[code];
}

struct sizes {
    size_t huffman, tans;
};

/* The codes of a chunk as the encoder writes them (chunk_encode.c), in at most LIMIT bytes. */
static struct sizes coded_sizes(struct qn_prediction *p, uint32_t n, double share, size_t limit)
{
    const unsigned bits = qn_code_bits(p->levels), least = qn_least_raw_bits(bits);
    uint32_t symbols[256];
    share_counts(p, n, share);
    memcpy(p->merged, p->counts, sizeof p->merged);
    const unsigned raw = qn_choose_raw_bits(p->merged, bits, n);
    count_symbols(p, raw, symbols);
    const size_t huffman = qn_bitpack_size(n, raw) + huffman_size(symbols, n, &p->lengths);
    count_symbols(p, least, symbols);
    const size_t tans = qn_bitpack_size(n, least) + qn_tans_size(symbols, n, &p->tans);
    return (struct sizes){huffman < limit ? huffman : limit, tans < limit ? tans : limit};
}

/* Chunks of N elements each. */
static void add_chunks(const struct qn_tensor_study *s, struct qn_prediction *p,
                       struct qn_candidate *c, uint64_t chunks, uint64_t n)
{
    const struct qn_chunk_params params = {
        .content = QN_CONTENT_QINS,
        .tensor_scale = c->granularity == QN_PER_TENSOR ? 1.0f : 0.0f,
        .row_length = s->layout.row_length,
        .group = qn_granularity_group(c->granularity, s->layout.row_length)};
    struct qn_groups groups = qn_chunk_groups(&params, (uint32_t)n);
    size_t fixed = QN_CHUNK_HEADER_SIZE + 4 * (size_t)qn_groups_count(&groups);
    size_t packed = qn_bitpack_size(n, qn_code_bits(c->levels));
    size_t stored = qn_codes_stored_size(c->levels, n);
    double share = (double)n / (double)qn_density_count(p->density);
    struct sizes coded = coded_sizes(p, (uint32_t)n, share, packed < stored ? packed : stored);
    c->packed_bytes += chunks * (fixed + packed);
    c->huffman_bytes += chunks * (fixed + coded.huffman);
    c->tans_bytes += chunks * (fixed + coded.tans);
}

void qn_predict_rate(const struct qn_tensor_study *s, struct qn_prediction *p,
                     struct qn_candidate *c)
{
    const struct qn_layout *l = &s->layout;
    c->entropy_bits = code_entropy(p, (double)qn_density_count(p->density));
    c->packed_bytes = c->huffman_bytes = c->tans_bytes = 0;
    uint64_t whole = l->chunks_per_outer - 1, rest = l->split - whole * l->step;
    if (whole > 0 && rest == l->step)
        whole++, rest = 0;
    if (whole > 0)
        add_chunks(s, p, c, whole * l->outer, l->step * l->inner);
    if (rest > 0)
        add_chunks(s, p, c, l->outer, rest * l->inner);
}
