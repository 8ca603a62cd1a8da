/* Counts of bytes, for each level that includes this with LEVEL(name) defined, and PAIRS, the
 * member of the work in which pairs are counted, and is compiled for it. No include guard.
 *
 * A count is a load and a store, and processors store once a cycle. So where there are many bytes,
 * pairs of them are counted in one table of 2^16, and its rows and columns added up; not where one
 * symbol is frequent, whose pair would wait for its own last store. [measured on Zen 4: 3.6 GB/s
 * for single bytes, 3.9 ... 5.4 for pairs, but 1.6 for pairs where 70 % are zeros; on Zen 3 single
 * bytes 3.1 GB/s, pairs in 16 bits 2.7 to 3.4, in 32 bits 3.2 to 5.1] */

#include "core/bytes.h"
#include "formats/codec/kernels_list.h"
#include "formats/codec/level.h"

enum {
    SAMPLE = 2048,         /* bytes that tell whether one symbol is frequent ... */
    FREQUENT = SAMPLE / 2, /* ... which is this often */
    IS_SHORT = sizeof((struct qn_histogram_work){0}.PAIRS[0]) == sizeof(uint16_t),
    /* Bytes behind a sample; the table has 2^16 cells, to be cleared and added up. */
    PAIRS_WORTH = IS_SHORT ? 1 << 16 : 1 << 18,
    MAX_PAIRS = IS_SHORT ? UINT16_MAX & ~3 : 1 << 30, /* as many as a cell can count */
};

/* Adds N bytes, a multiple of eight. */
static void LEVEL(count_bytes)(const uint8_t *src, size_t n, struct qn_histogram_work *work)
{
    uint32_t(*t)[256] = work->table;
    for (size_t i = 0; i < n; i += 8) {
        const uint64_t w = qn_load64(src + i);
        t[0][w & 255]++;
        t[1][w >> 8 & 255]++;
        t[2][w >> 16 & 255]++;
        t[3][w >> 24 & 255]++;
        t[4][w >> 32 & 255]++;
        t[5][w >> 40 & 255]++;
        t[6][w >> 48 & 255]++;
        t[7][w >> 56]++;
    }
}

/* Adds N bytes, a multiple of eight, at most 2 * MAX_PAIRS. */
static void LEVEL(count_pairs)(const uint8_t *src, size_t n, struct qn_histogram_work *work)
{
    __typeof__(&work->PAIRS[0]) pairs = work->PAIRS;
    memset(pairs, 0, sizeof work->PAIRS);
    for (size_t i = 0; i < n; i += 8) {
        const uint64_t w = qn_load64(src + i);
        pairs[w & 0xffff]++;
        pairs[w >> 16 & 0xffff]++;
        pairs[w >> 32 & 0xffff]++;
        pairs[w >> 48]++;
    }
    for (size_t high = 0; high < 256; high++) {
        const __typeof__(*pairs) *row = pairs + 256 * high;
        uint32_t sum = 0;
        for (size_t low = 0; low < 256; low++) {
            sum += row[low];
            work->table[0][low] += row[low];
        }
        work->table[1][high] += sum;
    }
}

static bool LEVEL(is_frequent)(const struct qn_histogram_work *work)
{
    bool found = false;
    for (size_t v = 0; v < 256; v++) {
        uint32_t sum = 0;
        for (size_t t = 0; t < QN_HISTOGRAM_TABLES; t++)
            sum += work->table[t][v];
        found = found || sum >= FREQUENT;
    }
    return found;
}

void LEVEL(qn_histogram)(const uint8_t *src, size_t n, uint32_t counts[256],
                         struct qn_histogram_work *work)
{
    memset(work->table, 0, sizeof work->table);
    size_t i = 0;
    if (n >= PAIRS_WORTH) {
        LEVEL(count_bytes)(src, SAMPLE, work);
        i = SAMPLE;
        for (const bool pairs = !LEVEL(is_frequent)(work); pairs && n - i >= PAIRS_WORTH;) {
            const size_t some = qn_min_u64(n - i, 2 * (size_t)MAX_PAIRS) & ~(size_t)7;
            LEVEL(count_pairs)(src + i, some, work);
            i += some;
        }
    }
    LEVEL(count_bytes)(src + i, (n - i) & ~(size_t)7, work);
    for (i += (n - i) & ~(size_t)7; i < n; i++)
        work->table[0][src[i]]++;
    for (size_t v = 0; v < 256; v++) {
        counts[v] = 0;
        for (size_t t = 0; t < QN_HISTOGRAM_TABLES; t++)
            counts[v] += work->table[t][v];
    }
}
