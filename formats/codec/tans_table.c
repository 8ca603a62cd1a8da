#include "core/bytes.h"
#include "formats/codec/tans.h"

#include <string.h>

enum {
    STATES = QN_TANS_STATES,
    MAX_K = 5,                   /* more raw bits than that never paid on weights */
    LOG_ONE = QN_TANS_COST_BITS, /* fixed-point bits of log2_table */
    KEY_BITS = 40,       /* of the places of states in the table; 3 * 511^2 < 2^20 comes on top */
    USUAL_DIVISOR = 362, /* of thresholds: where a class's own state costs what an escape costs */
};

/* Classes of at most n / divisor symbols are escaped, 0: none. The best threshold depends on how
 * many bits tell the escaped classes apart. */
static const unsigned divisors[] = {0, 1024, 600, 450, 300, 256, 200, 150};

/* round(65536 * log2(i)) */
static const uint32_t log2_table[STATES + 1] = {
    0,      0,      65536,  103872, 131072, 152170, 169408, 183983, 196608, 207744, 217706, 226717,
    234944, 242512, 249519, 256042, 262144, 267876, 273280, 278392, 283242, 287855, 292253, 296456,
    300480, 304340, 308048, 311616, 315055, 318373, 321578, 324678, 327680, 330589, 333412, 336153,
    338816, 341407, 343928, 346384, 348778, 351113, 353391, 355616, 357789, 359914, 361992, 364026,
    366016, 367966, 369876, 371748, 373584, 375385, 377152, 378887, 380591, 382264, 383909, 385525,
    387114, 388677, 390214, 391727, 393216, 394682, 396125, 397547, 398948, 400328, 401689, 403030,
    404352, 405656, 406943, 408212, 409464, 410700, 411920, 413125, 414314, 415488, 416649, 417795,
    418927, 420046, 421152, 422245, 423325, 424394, 425450, 426495, 427528, 428550, 429562, 430562,
    431552, 432532, 433502, 434462, 435412, 436353, 437284, 438206, 439120, 440025, 440921, 441809,
    442688, 443560, 444423, 445279, 446127, 446967, 447800, 448626, 449445, 450256, 451061, 451859,
    452650, 453435, 454213, 454985, 455750, 456510, 457263, 458010, 458752,
};

/* Bits that Q symbols of one entry gain by its (f + 1)-th state. */
static uint64_t gain(uint64_t q, unsigned f)
{
    return q * (log2_table[f + 1] - log2_table[f]);
}

/* Counts f[e] >= 1 with the sum STATES that minimise the sum of -q[e] log2 f[e]. The sum is
 * concave, so moves of one state at a time from about the right place end in the optimum. */
static void normalise(const uint64_t *q, unsigned entries, uint64_t total, uint8_t *f)
{
    unsigned sum = 0;
    for (unsigned e = 0; e < entries; e++) {
        uint64_t share = (q[e] * STATES + total / 2) / total;
        unsigned most = STATES - entries + 1;
        f[e] = (uint8_t)(share < 1 ? 1 : share > most ? most : share);
        sum += f[e];
    }
    for (;;) {
        unsigned up = entries, down = entries;
        uint64_t most = 0, least = UINT64_MAX;
        for (unsigned e = 0; e < entries; e++) {
            uint64_t more = f[e] < STATES ? gain(q[e], f[e]) : 0;
            uint64_t less = f[e] > 1 ? gain(q[e], f[e] - 1u) : UINT64_MAX;
            if (up == entries || more > most) {
                up = e;
                most = more;
            }
            if (less < least) {
                down = e;
                least = less;
            }
        }
        if (sum == STATES && (entries == 1 || most <= least))
            return;
        if (sum <= STATES) {
            f[up]++;
            sum++;
        }
        if (sum > STATES) {
            f[down]--;
            sum--;
        }
    }
}

/* Splits classes by THRESHOLD and gives them states; false if there are too many. *cost: bits,
 * in fixed point. */
static bool make_counts(const uint64_t *classes, size_t n, uint64_t threshold, unsigned k,
                        struct qn_tans_model *m, uint64_t *q, uint64_t *cost)
{
    uint64_t escaped = 0;
    unsigned coded = 0;
    m->k = k;
    m->escapes = 0;
    for (unsigned c = 0; c < 256u >> k; c++) {
        if (classes[c] > threshold) {
            if (coded == STATES)
                return false;
            m->class_of[coded] = (uint8_t)c;
            q[coded++] = classes[c];
        } else if (classes[c] > 0) {
            m->escaped[m->escapes++] = (uint8_t)c;
            escaped += classes[c];
        }
    }
    if (coded == 0 || m->escapes == 1 || (m->escapes > 0 && coded == STATES))
        return false;
    m->entries = coded + (m->escapes > 0);
    if (m->escapes > 0)
        q[coded] = escaped;
    normalise(q, m->entries, n, m->count);
    *cost = ((uint64_t)n * (k + QN_TANS_LOG) + escaped * qn_tans_log2_ceil(m->escapes)) << LOG_ONE;
    for (unsigned e = 0; e < m->entries; e++)
        *cost -= q[e] * log2_table[m->count[e]];
    return true;
}

/* Where the f states of an entry with Q symbols are best put: at (x + 1/2 - 1 / (12 x + 6)) / q
 * for x = f ... 2 f - 1, which is close to 1 / (q ln(1 + 1 / x)). */
static void order_states(struct qn_tans_model *m, const uint64_t *q, uint64_t *keys)
{
    unsigned used = 0;
    for (unsigned e = 0; e < m->entries; e++) {
        for (unsigned x = m->count[e]; x < 2u * m->count[e]; x++) {
            uint64_t y = 2 * x + 1, key = ((3 * y * y - 1) << KEY_BITS) / (y * q[e]);
            unsigned at = used++;
            for (; at > 0 && keys[at - 1] > key; at--) {
                keys[at] = keys[at - 1];
                m->table[at] = m->table[at - 1];
            }
            keys[at] = key;
            m->table[at] = (uint8_t)e;
        }
    }
}

struct search {
    const uint64_t *classes;
    size_t n;
    struct qn_tans_model *best, *candidate;
    uint64_t cost, best_q[STATES];
    bool tried[MAX_K + 1][257]; /* by k, with so many classes that are not escaped */
};

static void try_threshold(struct search *s, unsigned k, unsigned divisor)
{
    const uint64_t threshold = divisor ? s->n / divisor : 0;
    uint64_t q[STATES], cost;
    unsigned coded = 0;
    for (unsigned c = 0; c < 256u >> k; c++)
        coded += s->classes[c] > threshold;
    if (s->tried[k][coded])
        return;
    s->tried[k][coded] = true;
    if (!make_counts(s->classes, s->n, threshold, k, s->candidate, q, &cost) || cost >= s->cost)
        return;
    s->cost = cost;
    *s->best = *s->candidate;
    s->best->cost = cost;
    memcpy(s->best_q, q, sizeof q);
}

static void count_classes(const uint32_t counts[256], unsigned k, uint64_t classes[256])
{
    memset(classes, 0, 256 * sizeof *classes);
    for (unsigned s = 0; s < 256; s++)
        classes[s >> k] += counts[s];
}

void qn_tans_choose(const uint32_t counts[256], size_t n, struct qn_tans_model *out,
                    struct qn_tans_model_work *work)
{
    uint64_t classes[256];
    struct search s = {.classes = classes,
                       .n = n,
                       .best = out,
                       .candidate = &work->candidate,
                       .cost = (uint64_t)n * 8 << LOG_ONE};
    /* What every stream allows: all bits raw. */
    *out = (struct qn_tans_model){.k = 8, .entries = 1, .cost = s.cost, .count = {STATES}};
    /* A symbol costs its raw bits at least. */
    for (unsigned k = 0; k <= MAX_K && (uint64_t)n * k << LOG_ONE < s.cost; k++) {
        count_classes(counts, k, classes);
        try_threshold(&s, k, USUAL_DIVISOR);
        try_threshold(&s, k, 0);
    }
    if (out->k == 8)
        return;
    count_classes(counts, out->k, classes);
    for (size_t i = 0; i < sizeof divisors / sizeof *divisors; i++)
        try_threshold(&s, out->k, divisors[i]);
    order_states(out, s.best_q, work->keys);
}

static void write_bits(uint8_t *dst, size_t at, unsigned value, unsigned bits)
{
    for (unsigned i = 0; i < bits; i++)
        dst[(at + i) / 8] |= (uint8_t)((value >> i & 1) << ((at + i) & 7));
}

size_t qn_tans_write_model(const struct qn_tans_model *m, unsigned flags, uint32_t escaped,
                           uint8_t dst[QN_TANS_MODEL_MAX])
{
    size_t map = qn_div_up(256u >> m->k, 8), at = 1;
    unsigned width = qn_tans_log2_ceil(m->entries);
    memset(dst, 0, QN_TANS_MODEL_MAX);
    dst[0] = (uint8_t)(m->k | flags | (m->escapes > 0 ? QN_TANS_HAS_ESCAPES : 0u));
    for (unsigned e = 0; e < m->entries - (m->escapes > 0); e++)
        write_bits(dst + at, m->class_of[e], 1, 1);
    at += map;
    if (m->escapes > 0) {
        for (unsigned i = 0; i < m->escapes; i++)
            write_bits(dst + at, m->escaped[i], 1, 1);
        qn_store32(dst + at + map, escaped);
        at += map + 4;
    }
    for (size_t i = 0; i < STATES; i++)
        write_bits(dst + at, i * width, m->table[i], width);
    return at + STATES / 8 * (size_t)width;
}

/* The set bits of a map of CLASSES bits, of which LIMIT may be set; their number, LIMIT + 1 for
 * more. */
static unsigned read_map(const uint8_t *src, unsigned classes, uint8_t *members, unsigned limit)
{
    unsigned n = 0;
    for (unsigned c = 0; c < classes; c++) {
        if ((src[c / 8] >> (c & 7) & 1) == 0)
            continue;
        if (n == limit)
            return limit + 1;
        members[n++] = (uint8_t)c;
    }
    return n;
}

static bool read_table(const uint8_t *src, struct qn_tans_model *m)
{
    unsigned width = qn_tans_log2_ceil(m->entries), have = 0, acc = 0;
    memset(m->count, 0, sizeof m->count);
    for (size_t i = 0; i < STATES; i++) {
        for (; have < width; have += 8)
            acc |= (unsigned)*src++ << have;
        unsigned e = acc & ((1u << width) - 1);
        acc >>= width;
        have -= width;
        if (e >= m->entries)
            return false;
        m->table[i] = (uint8_t)e;
        m->count[e]++;
    }
    for (unsigned e = 0; e < m->entries; e++)
        if (m->count[e] == 0)
            return false;
    return true;
}

/* A map smaller than a byte has padding. */
static bool is_padded(uint8_t map, unsigned classes)
{
    return classes >= 8 || map >> classes == 0;
}

size_t qn_tans_read_model(const uint8_t *src, size_t size, struct qn_tans_model *m, unsigned *flags,
                          uint32_t *escaped)
{
    if (size < 2 || (src[0] & 15) > 8 || src[0] >> 6 != 0)
        return 0;
    m->k = src[0] & 15;
    m->escapes = 0;
    *flags = src[0] & ~15u;
    *escaped = 0;
    const bool has_escapes = (*flags & QN_TANS_HAS_ESCAPES) != 0;
    const unsigned classes = 256u >> m->k;
    const size_t map = qn_div_up(classes, 8), head = 1 + map + (has_escapes ? map + 4 : 0);
    if (size < head || !is_padded(src[1], classes))
        return 0;
    m->entries = read_map(src + 1, classes, m->class_of, STATES - has_escapes);
    if (m->entries == 0 || m->entries > STATES - (unsigned)has_escapes)
        return 0;
    if (has_escapes) {
        const uint8_t *other = src + 1 + map;
        for (size_t i = 0; i < map; i++)
            if ((src[1 + i] & other[i]) != 0)
                return 0;
        m->escapes = read_map(other, classes, m->escaped, 255);
        *escaped = qn_load32(other + map);
        m->entries++;
        if (!is_padded(*other, classes) || m->escapes < 2)
            return 0;
    }
    const size_t table = STATES / 8 * (size_t)qn_tans_log2_ceil(m->entries);
    return size - head >= table && read_table(src + head, m) ? head + table : 0;
}
