#include "core/bytes.h"
#include "formats/codec/tans.h"

#include <string.h>

enum {
    STATES = QN_TANS_STATES,
    /* Symbols after which the shares of states have settled, and over how many the bits are then
     * averaged; the second pair where one entry has most symbols, so that states go round and
     * round. [measured: within 0.1 % of 512 symbols] */
    SETTLING = 8,
    AVERAGED = 16,
    SLOW_SETTLING = 32,
    SLOW_AVERAGED = 96,
};

/* Where a state is come to from: any of 2^bits states from base on. */
struct origin {
    unsigned base, bits;
    double share; /* of the state's entry among symbols */
};

static unsigned symbol(const uint8_t *classes, unsigned i, unsigned k)
{
    return (unsigned)classes[i >> k] << k | (i & ((1u << k) - 1));
}

/* Symbols of each entry. */
static void count_entries(const struct qn_tans_model *m, const uint32_t counts[256],
                          uint64_t entries[128])
{
    const unsigned coded = m->entries - (m->escapes > 0);
    memset(entries, 0, 128 * sizeof *entries);
    for (unsigned i = 0; i < coded << m->k; i++)
        entries[i >> m->k] += counts[symbol(m->class_of, i, m->k)];
    for (unsigned i = 0; i < m->escapes << m->k; i++)
        entries[coded] += counts[symbol(m->escaped, i, m->k)];
}

/* Bits of one symbol; SHARES of the states move on. */
static double step(const struct origin origins[STATES], double shares[STATES])
{
    double below[STATES + 1], bits = 0.0;
    below[0] = 0.0;
    for (unsigned s = 0; s < STATES; s++)
        below[s + 1] = below[s] + shares[s];
    for (unsigned s = 0; s < STATES; s++) {
        const struct origin *o = &origins[s];
        shares[s] = o->share * (below[o->base + (1u << o->bits)] - below[o->base]);
        bits += shares[s] * o->bits;
    }
    return bits;
}

/* Bits of the states of one of N symbols, in the mean, if symbols are independent. */
static double mean_bits(const struct qn_tans_model *m, const uint64_t entries[128], size_t n)
{
    struct origin origins[STATES];
    double shares[STATES], sum = 0.0;
    uint8_t seen[128] = {0};
    bool slow = false;
    for (unsigned s = 0; s < STATES; s++) {
        const unsigned e = m->table[s], x = m->count[e] + (unsigned)seen[e]++;
        const unsigned bits = (unsigned)__builtin_clz(x) - (31 - QN_TANS_LOG);
        origins[s] = (struct origin){(x << bits) - STATES, bits, (double)entries[e] / (double)n};
        shares[s] = 1.0 / STATES;
        slow = slow || m->count[e] > STATES / 2;
    }
    const unsigned settling = slow ? SLOW_SETTLING : SETTLING;
    const unsigned averaged = slow ? SLOW_AVERAGED : AVERAGED;
    for (unsigned i = 0; i < settling + averaged; i++) {
        const double bits = step(origins, shares);
        sum += i < settling ? 0.0 : bits;
    }
    return sum / averaged;
}

size_t qn_tans_size(const uint32_t counts[256], size_t n, struct qn_tans_size_work *work)
{
    struct qn_tans_model *m = &work->model;
    uint8_t head[QN_TANS_MODEL_MAX];
    uint64_t entries[128];
    qn_tans_choose(counts, n, m, &work->choice);
    if (m->k == 8)
        return n + 2;
    count_entries(m, counts, entries);
    const uint64_t escaped = m->escapes > 0 ? entries[m->entries - 1] : 0;
    size_t size = qn_tans_write_model(m, 0, (uint32_t)escaped, head);
    size +=
        qn_div_up((uint64_t)n * m->k, 8) + qn_div_up(escaped * qn_tans_log2_ceil(m->escapes), 8);
    if (m->entries > 1) {
        const size_t streams = qn_tans_stream_count(n, QN_TANS_WORTH_INTERLEAVING, m->entries),
                     most = streams * QN_TANS_LANES;
        const size_t lanes = n < most ? n : most;
        /* The last symbol of a lane is its first state; streams end with a bit of their own and
         * begin with a byte of their own, half empty in the mean. */
        const double bits = mean_bits(m, entries, n) * (double)(n - lanes) + 4.5 * (double)streams;
        size += qn_div_up(lanes * QN_TANS_LOG, 8) + qn_div_up(streams * QN_TANS_OFFSET_BITS, 8) +
                (size_t)(bits / 8.0 + 0.5);
    }
    return size < n + 2 ? size : n + 2;
}
