#include "formats/codec/huffman.h"

#include <string.h>

enum { LIMIT = QN_HUFFMAN_LIMIT };

/* Present symbols by ascending count, equal counts by symbol: count << 8 | symbol. Stable
 * byte-wise radix sort: no data-dependent branches. Returns the number of symbols and leaves
 * them in keys[0]. */
static unsigned sort_symbols(const uint32_t counts[256], uint64_t keys[2][256])
{
    unsigned m = 0;
    uint32_t all = 0;
    for (unsigned s = 0; s < 256; s++) {
        keys[0][m] = (uint64_t)counts[s] << 8 | s;
        m += counts[s] != 0;
        all |= counts[s];
    }
    for (unsigned shift = 8; shift < 40 && all >> (shift - 8) != 0; shift += 8) {
        unsigned at[256] = {0}, sum = 0;
        for (unsigned i = 0; i < m; i++)
            at[keys[0][i] >> shift & 255]++;
        for (unsigned v = 0; v < 256; v++) {
            unsigned c = at[v];
            at[v] = sum;
            sum += c;
        }
        for (unsigned i = 0; i < m; i++)
            keys[1][at[keys[0][i] >> shift & 255]++] = keys[0][i];
        memcpy(keys[0], keys[1], m * sizeof keys[0][0]);
    }
    return m;
}

/* One level of package-merge: leaves and the pairs of the level below, ascending, a leaf before
 * a package of the same weight. Returns the number of items. */
static size_t merge_level(const uint64_t *keys, size_t m, const uint64_t *below, size_t n_below,
                          uint64_t *weights, uint8_t *is_leaf)
{
    size_t leaf = 0, package = 0, n = 0, packages = n_below / 2;
    while (leaf < m && package < packages) {
        uint64_t a = keys[leaf] >> 8, b = below[2 * package] + below[2 * package + 1];
        bool take = a <= b;
        weights[n] = take ? a : b;
        is_leaf[n++] = take;
        leaf += take;
        package += !take;
    }
    for (; leaf < m; leaf++, n++) {
        weights[n] = keys[leaf] >> 8;
        is_leaf[n] = 1;
    }
    for (; package < packages; package++, n++) {
        weights[n] = below[2 * package] + below[2 * package + 1];
        is_leaf[n] = 0;
    }
    return n;
}

/* Package-merge: Larmore and Hirschberg, "A fast algorithm for optimal length-limited Huffman
 * codes", J. ACM 37 (1990). */
unsigned qn_huffman_lengths(const uint32_t counts[256], uint8_t lengths[256],
                            struct qn_huffman_lengths_work *work)
{
    unsigned m = sort_symbols(counts, work->keys);
    size_t n = 0;
    memset(lengths, 0, 256);
    if (m == 1) {
        lengths[work->keys[0][0] & 255] = 1;
        return m;
    }
    for (unsigned level = 0; level < LIMIT; level++)
        n = merge_level(work->keys[0], m, work->weights[(level + 1) & 1], n,
                        work->weights[level & 1], work->is_leaf[level]);
    /* The cheapest 2m - 2 items of the last level are the code; each leaf among them, and among
     * the items of its packages on the levels below, is one bit of its symbol. */
    unsigned take = 2 * m - 2;
    for (unsigned level = LIMIT; level-- > 0;) {
        unsigned leaves = 0;
        for (unsigned i = 0; i < take; i++)
            leaves += work->is_leaf[level][i];
        for (unsigned i = 0; i < leaves; i++)
            lengths[work->keys[0][i] & 255]++;
        take = 2 * (take - leaves);
    }
    return m;
}

void qn_huffman_codes(const uint8_t lengths[256], uint16_t codes[256])
{
    unsigned count[LIMIT + 1] = {0}, next[LIMIT + 1], code = 0;
    for (unsigned s = 0; s < 256; s++)
        count[lengths[s]]++;
    count[0] = 0;
    for (unsigned l = 1; l <= LIMIT; l++) {
        code = (code + count[l - 1]) << 1;
        next[l] = code;
    }
    for (unsigned s = 0; s < 256; s++) {
        unsigned reversed = 0, l = lengths[s];
        if (l != 0) {
            unsigned c = next[l]++;
            for (unsigned i = 0; i < l; i++)
                reversed |= (c >> i & 1) << (l - 1 - i);
        }
        codes[s] = (uint16_t)reversed;
    }
}

/* Four-bit escapes after the prefix 11; the values 1 ... LIMIT are lengths. */
enum { ESCAPE_ABSENT = 0, ESCAPE_RUN = 15, MIN_RUN = 3, MAX_RUN = 256 };

struct bits {
    uint8_t *p;
    uint32_t acc;
    unsigned n;
};

static void put_bits(struct bits *b, unsigned value, unsigned n)
{
    b->acc |= value << b->n;
    b->n += n;
    for (; b->n >= 8; b->n -= 8, b->acc >>= 8)
        *b->p++ = (uint8_t)b->acc;
}

static void put_escape(struct bits *b, unsigned value)
{
    put_bits(b, 3 | value << 2, 6);
}

size_t qn_huffman_write_lengths(const uint8_t lengths[256], unsigned first, unsigned last,
                                uint8_t *dst)
{
    struct bits b = {dst, 0, 0};
    unsigned previous = LIMIT;
    for (unsigned s = first; s <= last; s++) {
        unsigned l = lengths[s], run = 0;
        while (s + run <= last && lengths[s + run] == 0)
            run++;
        if (run >= MIN_RUN) {
            put_escape(&b, ESCAPE_RUN);
            put_bits(&b, run - 1, 8);
            s += run - 1;
            continue;
        }
        if (l == 0)
            put_escape(&b, ESCAPE_ABSENT);
        else if (l == previous)
            put_bits(&b, 0, 1);
        else if (l == previous + 1 || l + 1 == previous)
            put_bits(&b, l > previous ? 1 : 5, 3);
        else
            put_escape(&b, l);
        if (l != 0)
            previous = l;
    }
    if (b.n > 0)
        put_bits(&b, 0, 8 - b.n);
    return (size_t)(b.p - dst);
}

struct bit_cursor {
    const uint8_t *src;
    size_t size, pos; /* bytes, bits */
    bool bad;
};

static unsigned get_bits(struct bit_cursor *c, unsigned n)
{
    unsigned value = 0;
    for (unsigned i = 0; i < n; i++, c->pos++) {
        if (c->pos / 8 >= c->size) {
            c->bad = true;
            return 0;
        }
        value |= (unsigned)(c->src[c->pos / 8] >> (c->pos % 8) & 1) << i;
    }
    return value;
}

/* One symbol's length, or 0 with *absent set to a number of absent symbols. */
static unsigned get_length(struct bit_cursor *c, unsigned previous, unsigned *absent)
{
    *absent = 0;
    if (get_bits(c, 1) == 0)
        return previous;
    if (get_bits(c, 1) == 0)
        return get_bits(c, 1) == 0 ? previous + 1 : previous - 1;
    unsigned v = get_bits(c, 4);
    if (v == ESCAPE_RUN)
        *absent = get_bits(c, 8) + 1;
    else if (v == ESCAPE_ABSENT)
        *absent = 1;
    return *absent > 0 ? 0 : v;
}

bool qn_huffman_read_lengths(const uint8_t *src, size_t size, unsigned first, unsigned last,
                             uint8_t lengths[256], size_t *used)
{
    struct bit_cursor c = {src, size, 0, false};
    unsigned previous = LIMIT, kraft = 0, absent;
    memset(lengths, 0, 256);
    for (unsigned s = first; s <= last && !c.bad; s++) {
        unsigned l = get_length(&c, previous, &absent);
        if (absent > 0) {
            /* The first and the last symbol are present by definition. */
            if (s == first || absent > last - s)
                return false;
            s += absent - 1;
            continue;
        }
        if (l == 0 || l > LIMIT)
            return false;
        lengths[s] = (uint8_t)l;
        kraft += 1u << (LIMIT - l);
        previous = l;
    }
    if (!c.bad && c.pos % 8 != 0 && get_bits(&c, 8 - (unsigned)(c.pos % 8)) != 0)
        return false;
    *used = c.pos / 8;
    return !c.bad && kraft == 1u << LIMIT;
}
