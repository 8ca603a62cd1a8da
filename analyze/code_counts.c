#include "analyze/code_counts.h"

#include "analyze/logarithm.h"
#include "formats/codec/quant.h"

#include <stdlib.h>

enum {
    CODES = 2 * QN_MAX_LEVELS + 2,
    CLASS_BITS = 8, /* leading bits of a code, at most, by which pairs of codes are counted */
    CONTEXTS = 1 << CLASS_BITS,
    PAIR_ELEMENTS = 16, /* for each pair of classes, at least */
    RUNS = 65,          /* run lengths by their number of bits */
};

struct qn_code_counts {
    unsigned levels, shift; /* of a code to its class */
    uint64_t code[CODES];
    uint64_t pair[CONTEXTS][CONTEXTS], context[CONTEXTS]; /* of the codes' leading bits */
    uint64_t class[CONTEXTS];                             /* of codes that have one before them */
    uint64_t runs[RUNS], literals;                        /* runs of zero codes; other codes */
    uint64_t run_bits;                                    /* of lengths, below their leading one */
    uint64_t total, pairs;
};

/* Bits of a code that are left out of its class: so many pairs of classes that each has elements
 * enough. */
static unsigned class_shift(unsigned code_bits, uint64_t elements)
{
    unsigned class_bits = 1;
    while (class_bits < CLASS_BITS && elements >> (2 * class_bits + 2) >= PAIR_ELEMENTS)
        class_bits++;
    return code_bits > class_bits ? code_bits - class_bits : 0;
}

enum qins_status qn_code_counts_create(struct qn_code_counts **out, unsigned levels,
                                       uint64_t elements, struct qins_error *err)
{
    struct qn_code_counts *c = calloc(1, sizeof *c);
    *out = c;
    if (!c)
        return qn_fail_memory(err);
    c->levels = levels;
    c->shift = class_shift(qn_code_bits(levels), elements);
    return QINS_OK;
}

void qn_code_counts_destroy(struct qn_code_counts *c)
{
    free(c);
}

static double entropy_sum(const uint64_t *counts, size_t n, uint64_t total)
{
    double sum = 0.0;
    for (size_t i = 0; i < n; i++)
        if (counts[i] > 0)
            sum += (double)counts[i] * (qn_log2((double)total) - qn_log2((double)counts[i]));
    return sum;
}

static void count_run(struct qn_code_counts *c, uint64_t length)
{
    if (length == 0)
        return;
    unsigned bits = 63 - (unsigned)__builtin_clzll(length);
    c->runs[bits]++;
    c->run_bits += bits;
}

void qn_code_counts_add(struct qn_code_counts *c, const uint16_t *codes, size_t n)
{
    uint64_t run = 0;
    for (size_t i = 0; i < n; i++) {
        unsigned code = codes[i], class = code >> c->shift;
        c->code[code]++;
        if (i > 0) {
            unsigned before = (unsigned)codes[i - 1] >> c->shift;
            c->pair[before][class]++;
            c->context[before]++;
            c->class[class]++;
            c->pairs++;
        }
        if (code == c->levels) {
            run++;
            continue;
        }
        count_run(c, run);
        run = 0;
        c->literals++;
    }
    count_run(c, run);
    c->total += n;
}

static double used(const uint64_t *counts, size_t n)
{
    double sum = 0.0;
    for (size_t i = 0; i < n; i++)
        sum += counts[i] > 0 ? 1.0 : 0.0;
    return sum;
}

static double chance_bits(const struct qn_code_counts *c)
{
    static const double half_of_log2_e = 0x1.71547652b82fep-1;
    double cells = used(&c->pair[0][0], (size_t)CONTEXTS * CONTEXTS);
    double excess = cells - used(c->context, CONTEXTS) - used(c->class, CONTEXTS) + 1.0;
    return excess > 0.0 ? half_of_log2_e * excess : 0.0;
}

void qn_code_counts_sum_up(const struct qn_code_counts *c, struct qn_code_figures *out)
{
    const double n = (double)c->total, pairs = (double)c->pairs;
    *out = (struct qn_code_figures){.codes = c->total};
    if (c->total == 0)
        return;
    double coded = entropy_sum(c->code, CODES, c->total), joint = 0.0, runs = 0.0;
    uint64_t n_runs = 0;
    out->entropy_bits = coded / n;
    out->zero_share = (double)c->code[c->levels] / n;
    for (size_t i = 0; i < CONTEXTS; i++)
        joint += c->context[i] ? entropy_sum(c->pair[i], CONTEXTS, c->context[i]) : 0.0;
    /* What the class before tells of a class, less what it would seem to tell by chance (Miller
     * 1955, "Note on the bias of information estimates"); low bits are taken to be independent. */
    double gain = 0.0;
    if (c->pairs > 0)
        gain = (entropy_sum(c->class, CONTEXTS, c->pairs) - joint - chance_bits(c)) / pairs;
    out->order1_bits = out->entropy_bits - (gain > 0.0 ? gain : 0.0);
    /* A stream of literals and runs, each run's length as its number of bits and those bits. */
    for (size_t i = 0; i < RUNS; i++)
        n_runs += c->runs[i];
    uint64_t zeros = c->code[c->levels];
    double literals = coded - (zeros ? (double)zeros * (qn_log2(n) - qn_log2((double)zeros)) : 0.0);
    if (c->literals > 0)
        literals -= (double)c->literals * (qn_log2(n) - qn_log2((double)c->literals));
    const uint64_t kinds[2] = {c->literals, n_runs};
    runs = literals + entropy_sum(kinds, 2, c->literals + n_runs) +
           (n_runs ? entropy_sum(c->runs, RUNS, n_runs) : 0.0) + (double)c->run_bits;
    out->run_bits = runs / n;
}
