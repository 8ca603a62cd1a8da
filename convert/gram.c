#include "convert/gram.h"

#include "core/linalg.h"

#include <stdlib.h>
#include <string.h>

/* 512 KiB of float64: a block's product stays in a second-level cache while it is added. */
enum { BLOCK = 256 };

static uint32_t extent(uint32_t n, uint32_t block)
{
    return n - block * BLOCK < BLOCK ? n - block * BLOCK : BLOCK;
}

/* Elements before block (i, j), i <= j, in order of j, then i: all blocks of a column of blocks
 * are as wide as it. */
static size_t block_offset(uint32_t n, uint32_t i, uint32_t j)
{
    const size_t before = (size_t)BLOCK * BLOCK * ((size_t)j * (j + 1) / 2);
    return before + (size_t)i * BLOCK * extent(n, j);
}

static uint32_t block_count(uint32_t n)
{
    return (n + BLOCK - 1) / BLOCK;
}

static size_t elements(uint32_t n)
{
    const uint32_t last = block_count(n) - 1;
    return block_offset(n, last, last) + (size_t)extent(n, last) * extent(n, last);
}

uint64_t qn_gram_bytes(uint32_t n)
{
    return (uint64_t)elements(n) * (sizeof(double) + sizeof(float));
}

enum qins_status qn_gram_check(const char *point, uint32_t n, struct qins_error *err)
{
    const uint64_t bytes = qn_gram_bytes(n);
    if (bytes <= QN_GRAM_MOST)
        return QINS_OK;
    return qn_fail_at(err, QINS_ERR_UNSUPPORTED, NULL, point, QN_NO_OFFSET,
                      "the Gram matrix of its %u channels would take %llu bytes of memory, more "
                      "than the %llu that are allowed; leave out --gram",
                      (unsigned)n, (unsigned long long)bytes, (unsigned long long)QN_GRAM_MOST);
}

enum qins_status qn_gram_init(struct qn_gram *g, uint32_t n, struct qins_error *err)
{
    *g = (struct qn_gram){.n = n};
    g->high = calloc(elements(n), sizeof *g->high);
    g->low = calloc(elements(n), sizeof *g->low);
    return g->high && g->low ? QINS_OK : qn_fail_memory(err);
}

void qn_gram_finish(struct qn_gram *g)
{
    free(g->high);
    free(g->low);
    *g = (struct qn_gram){0};
}

enum qins_status qn_gram_scratch_init(struct qn_gram_scratch *s, unsigned threads,
                                      struct qins_error *err)
{
    *s = (struct qn_gram_scratch){0};
    s->blocks = calloc((size_t)threads * BLOCK * BLOCK, sizeof *s->blocks);
    return s->blocks ? QINS_OK : qn_fail_memory(err);
}

void qn_gram_scratch_finish(struct qn_gram_scratch *s)
{
    free(s->rows);
    free(s->blocks);
    *s = (struct qn_gram_scratch){0};
}

struct product {
    struct qn_gram *g;
    const struct qn_gram_scratch *s;
    size_t rows;
};

/* *HIGH + *LOW += X + X_LOW, as qn_sum_add() in formats/calibration.h with a shorter LOW. */
static inline void add_one(double *high, float *low, double x, float x_low)
{
    double s = *high + x, t = s - *high;
    double e = (*high - (s - t)) + (x - t);
    e += (double)*low + (double)x_low;
    *high = s + e;
    *low = (float)(e - (*high - s));
}

static void add_item(void *ctx, unsigned worker, size_t item)
{
    const struct product *p = ctx;
    const uint32_t n = p->g->n;
    uint32_t j = 0;
    while ((size_t)(j + 1) * (j + 2) / 2 <= item)
        j++;
    const uint32_t i = (uint32_t)(item - (size_t)j * (j + 1) / 2);
    const uint32_t height = extent(n, i), width = extent(n, j);
    const size_t at = block_offset(n, i, j), size = (size_t)height * width;
    double *block = p->s->blocks + (size_t)worker * BLOCK * BLOCK;
    const double *left = p->s->rows + (size_t)i * BLOCK, *right = p->s->rows + (size_t)j * BLOCK;
    if (i == j) {
        memset(block, 0, size * sizeof *block);
        qn_dsyrk_upper(width, p->rows, right, n, block, width);
    } else {
        qn_dgemm(true, false, height, width, p->rows, 1.0, left, n, right, n, 0.0, block, width);
    }
    for (size_t k = 0; k < size; k++)
        add_one(&p->g->high[at + k], &p->g->low[at + k], block[k], 0.0F);
}

bool qn_gram_add(struct qn_gram *g, struct qn_pool *pool, struct qn_gram_scratch *s, const float *x,
                 size_t rows, size_t stride)
{
    const size_t want = rows * g->n, blocks = block_count(g->n);
    if (want > s->capacity) {
        free(s->rows);
        s->capacity = 0;
        s->rows = malloc(want * sizeof *s->rows);
        if (!s->rows)
            return false;
        s->capacity = want;
    }
    for (size_t r = 0; r < rows; r++)
        for (size_t i = 0; i < g->n; i++)
            s->rows[r * g->n + i] = (double)x[r * stride + i];
    struct product p = {g, s, rows};
    qn_pool_run(pool, blocks * (blocks + 1) / 2, add_item, &p);
    return true;
}

/* Where element (I, J) lies, I <= J. */
static size_t place(const struct qn_gram *g, uint32_t i, uint32_t j)
{
    const size_t width = extent(g->n, j / BLOCK);
    return block_offset(g->n, i / BLOCK, j / BLOCK) + (i % BLOCK) * width + j % BLOCK;
}

void qn_gram_read(const struct qn_gram *g, enum qn_large what, uint64_t first, uint64_t count,
                  void *dst)
{
    double *high = dst;
    float *low = dst;
    for (uint64_t k = first; k < first + count; k++) {
        const uint32_t i = (uint32_t)k;
        for (uint32_t j = 0; what == QN_LARGE_GRAM && j < g->n; j++)
            *high++ = g->high[j < i ? place(g, j, i) : place(g, i, j)];
        for (uint32_t j = i; what == QN_LARGE_GRAM_LOW && j < g->n; j++)
            *low++ = g->low[place(g, i, j)];
    }
}

void qn_gram_add_row(struct qn_gram *g, uint32_t i, const double *high, const float *low)
{
    for (uint32_t j = i; j < g->n; j++) {
        const size_t at = place(g, i, j);
        add_one(&g->high[at], &g->low[at], high[j - i], low[j - i]);
    }
}
