/* Products of packed weights and inputs: one table of kernels for each CPU level. They neither
 * allocate nor fail.
 *
 * A step is QN_PACKED_STEP codes. Products are summed in QN_PACKED_LANES lanes, which at the end
 * are added in halves. There are two kinds:
 *
 * Float kernels, portable C and AVX2: code 16 i + j is of lane j. A weight is computed from its
 * level, by a division unless the grid is even (model/packed_floats.h), products are float32.
 * Lanes' sums of a group of weights are multiplied by its scale and added to those of the row. No
 * operation is fused and all are in this order, so both levels yield the same bits.
 *
 * Fixed-point kernels, AVX-512: a weight of level l is the number V = 256 Vh + Vl nearest to
 * QN_PACKED_UNIT · T[l], with the code's sign; an input of a block is X = 256 Xh + Xl nearest to
 * x * QN_PACKED_UNIT / m, m the block's largest magnitude. All digits are bytes. Of VX / 256 the
 * kernels sum Vh X + Vl Xh as integers. What is left, Vl Xl / 256, is noise of 1e-4 of a product,
 * but where one input stands far out and the others have few digits: it is summed there too and
 * added to the rest with its fraction cut off. Codes 4j ... 4j + 3 of a step are of lane j; after a
 * block the lanes' integers become floats, are multiplied by the block's scale and added to the
 * lanes' floats, each operation rounded.
 *
 * So products of one matrix differ between AVX-512 and the rest by about 1e-4 of what they come
 * to. On one machine they depend neither on the number of threads nor on the other rows of inputs.
 */
#ifndef QINS_MODEL_PACKED_KERNELS_H
#define QINS_MODEL_PACKED_KERNELS_H

#include "core/cpu.h"
#include "formats/codec/quant.h"

/* Beyond it, pole - l loses too many digits: up to here at most 1.6e-5 of a weight. */
#define QN_PACKED_MAX_KAPPA 256.0f

enum {
    QN_PACKED_STEP = 64,
    QN_PACKED_LANES = 16,
    QN_PACKED_MAX_BLOCK = 256, /* inputs: sums of so many products fit 32 bits */
    QN_PACKED_UNIT = 32639,    /* 127 · 256 + 127 */
    QN_PACKED_MARGIN = 128,    /* bytes behind codes that kernels may read, whatever they hold */
    QN_PACKED_PLANES = 256,    /* bytes of a step of inputs, whatever the kernels make of them */
    QN_PACKED_MAX_ROWS = 8,    /* of inputs, that one call takes */
    QN_PACKED_MAX_FEW = 16,    /* few_rows of any level */
};

/* A grid of up to 8 bits: numbers of the float kernels, digits of the others, 0 for what is no
 * code. */
struct qn_packed_table {
    unsigned levels, bits;
    float pole, unit;            /* T[l] = unit l / (pole - l), up to rounding */
    int8_t high[256], low[256];  /* by code */
    uint8_t code_bytes[2][128];  /* high and low, plus 128, by code: up to 7 bits */
    uint8_t level_bytes[2][128]; /* the same by level */
    bool even;                   /* levels are equidistant: T[l] = unit l */
};
/* False if the grid has more than 8 bits, is no QINS grid or steeper than QN_PACKED_MAX_KAPPA: T is
 * zeros then. *noise is the mean square of the
 * error of V / QN_PACKED_UNIT over the levels, each as often as COUNTS of codes says, over the
 * mean square of T. */
bool qn_packed_table_init(struct qn_packed_table *t, const struct qn_grid *g);
double qn_packed_noise(const struct qn_packed_table *t, const struct qn_grid *g,
                       const uint32_t *counts);

/* Rows of codes that follow each other without gaps. */
struct qn_packed_rows {
    const struct qn_packed_table *table;
    const uint8_t *codes; /* table->bits each, least significant bit first; with the margin */
    size_t first;         /* code of the first row's first element */
    size_t rows, in;
    const float *scales; /* of the first row; QN_PACKED_LANES readable finite ones behind */
    size_t row_scales;   /* scales from one row to the next; 0: one for all */
    size_t group;        /* inputs a scale: as qn_packed_block() wants, or in and more */
};

/* Inputs that share a scale where weights have groups of GROUP, 0 where the kernels cannot. */
size_t qn_packed_block(size_t in, size_t group);

/* One row of inputs as the kernels want it. */
struct qn_packed_input {
    size_t in, block;
    uint8_t *planes; /* QN_PACKED_PLANES a step; what is in there, a level's kernels know */
    /* Of fixed-point kernels: */
    int32_t *offsets; /* 2 * QN_PACKED_LANES a block: what the digits' 128s add up to */
    int32_t *exact;   /* of a block: -1 where Vl Xl is summed, else 0 */
    float *scales;    /* of a block; NaN where an input of it is not finite */
};
/* Bytes that one takes, a multiple of 64, and pointers into them; MEMORY is aligned to 64. */
size_t qn_packed_input_size(size_t in, size_t block);
void qn_packed_input_place(struct qn_packed_input *p, size_t in, size_t block, void *memory);

struct qn_packed_kernels {
    bool fixed;      /* fixed-point kernels, else float ones */
    size_t few_rows; /* of inputs: for more, panels are faster [measured] */
    /* Where an input is not finite, so is no product of its block (row, for float kernels): NaN. */
    void (*prepare)(struct qn_packed_input *p, const float *x);
    /* y[k * y_stride + r] = row r · inputs[k], r < w->rows, k < n <= QN_PACKED_MAX_ROWS. All
     * inputs have w->in elements and the block of w->group. */
    void (*multiply)(const struct qn_packed_rows *w, const struct qn_packed_input *inputs, size_t n,
                     float *y, size_t y_stride);
};

/* The best table for qn_cpu_level(). */
const struct qn_packed_kernels *qn_packed_kernels(void);
/* That of one level; NULL if this build or processor has it not. AVX-512 takes VBMI and VNNI. */
const struct qn_packed_kernels *qn_packed_kernels_of(enum qn_cpu_level level);

#endif
