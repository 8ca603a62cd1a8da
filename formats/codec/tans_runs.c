/* tans for symbols of which one comes in runs: what stands between runs, and lengths, coded apart.
 */
#include "formats/codec/tans_runs.h"

#include "core/bytes.h"
#include "formats/codec/kernels.h"

#include <string.h>

enum {
    HEAD_SIZE = 22,
    LONGEST = 255, /* a byte of a length: so many, and the length goes on */
    /* Bytes that are copied at once; loops over them cost what is guessed wrong of their number. */
    BLOCK = 32,
    SHORT_BLOCK = 16,
    SHORT_GAP = 8, /* a mean up to that is for short blocks: 17 % faster, runs of 14 */
    SLACK = 256,   /* behind values: a gap below LONGEST in whole blocks */
    /* Symbols that stay in the first cache while gaps are put among them. */
    PIECE = 1 << 14,
    MIN_SYMBOLS = 1 << 12, /* where a mode with three tables may pay */
    MIN_INTERLEAVED = 1 << 12,
    HEADS_SIZE = 1000, /* of three parts, about: for the choice */
};

static size_t max_lengths(size_t n)
{
    return n / 4 + 1;
}

size_t qn_tans_runs_room(size_t n)
{
    return (n / 64 + 2) * sizeof(uint64_t) + n + SLACK + 2 * max_lengths(n);
}

static void place(struct qn_tans_parts *p, size_t n, void *room)
{
    p->masks = room;
    p->bytes[QN_TANS_VALUES] = (uint8_t *)(p->masks + n / 64 + 2);
    p->bytes[QN_TANS_GAPS] = p->bytes[QN_TANS_VALUES] + n + SLACK;
    p->bytes[QN_TANS_RUNS] = p->bytes[QN_TANS_GAPS] + max_lengths(n);
}

/* N rounded up to blocks, one at least. */
static inline void copy_blocks(uint8_t *dst, const uint8_t *src, size_t n, size_t block)
{
    memcpy(dst, src, block);
    for (size_t i = block; i < n; i += block)
        memcpy(dst + i, src + i, block);
}

static inline void fill_blocks(uint8_t *dst, const uint8_t block[BLOCK], size_t n)
{
    memcpy(dst, block, BLOCK);
    for (size_t i = BLOCK; i < n; i += BLOCK)
        memcpy(dst + i, block, BLOCK);
}

/* Encoding. */

/* Sets masks to where runs of two and more of SYMBOL are; returns how many runs. */
static size_t find_runs(const uint8_t *src, size_t n, uint8_t symbol, uint64_t *masks)
{
    const size_t words = (n + 63) / 64;
    uint64_t before = 0, run_before = 0;
    size_t runs = 0;
    qn_codec_kernels()->match(src, n, symbol, masks);
    masks[words] = 0;
    for (size_t i = 0; i < words; i++) {
        const uint64_t z = masks[i];
        const uint64_t run = z & ((z << 1 | before >> 63) | (z >> 1 | masks[i + 1] << 63));
        runs += (size_t)__builtin_popcountll(run & ~(run << 1 | run_before >> 63));
        before = z;
        masks[i] = run_before = run;
    }
    return runs;
}

static inline void put_length(struct qn_tans_parts *p, unsigned part, size_t length)
{
    for (; length >= LONGEST; length -= LONGEST)
        p->bytes[part][p->count[part]++] = LONGEST;
    p->bytes[part][p->count[part]++] = (uint8_t)length;
}

/* What is not in runs, to values; SRC may be read up to N. */
static inline void put_gap(struct qn_tans_parts *p, const uint8_t *src, size_t begin, size_t end,
                           size_t n)
{
    uint8_t *dst = p->bytes[QN_TANS_VALUES] + p->count[QN_TANS_VALUES];
    put_length(p, QN_TANS_GAPS, end - begin);
    p->count[QN_TANS_VALUES] += end - begin;
    if (n - end >= BLOCK)
        copy_blocks(dst, src + begin, end - begin, BLOCK);
    else
        memcpy(dst, src + begin, end - begin);
}

static void split(const uint8_t *src, size_t n, struct qn_tans_parts *p)
{
    size_t last = 0;
    bool in_run = false;
    uint64_t before = 0;
    memset(p->count, 0, sizeof p->count);
    for (size_t i = 0; i < (n + 63) / 64; i++) {
        const uint64_t mask = p->masks[i];
        for (uint64_t turns = mask ^ (mask << 1 | before >> 63); turns != 0; turns &= turns - 1) {
            const size_t at = i * 64 + (size_t)__builtin_ctzll(turns);
            if (at == n)
                break;
            if (in_run)
                put_length(p, QN_TANS_RUNS, at - last);
            else
                put_gap(p, src, last, at, n);
            in_run = !in_run;
            last = at;
        }
        before = mask;
    }
    if (in_run)
        put_length(p, QN_TANS_RUNS, n - last);
    else
        put_gap(p, src, last, n, n);
}

/* The mode is worth a look where there are clearly fewer runs than chance makes. */
static bool is_promising(size_t n, uint64_t of_symbol, size_t runs)
{
    const uint64_t by_chance = of_symbol * of_symbol / n * (n - of_symbol) / n;
    return runs > 0 && runs < n / 16 && of_symbol < n && runs * (uint64_t)8 < by_chance * 7;
}

static bool choose_models(struct qn_tans_runs_work *w, uint64_t limit)
{
    uint64_t cost = (uint64_t)HEADS_SIZE * 8 << QN_TANS_COST_BITS;
    for (unsigned i = 0; i < QN_TANS_PARTS; i++) {
        const size_t count = w->parts.count[i];
        if (count == 0)
            return false;
        qn_histogram(w->parts.bytes[i], count, w->counts[i], &w->histogram);
        qn_tans_choose(w->counts[i], count, &w->model[i], &w->model_work);
        cost += w->model[i].cost;
    }
    return cost < limit;
}

size_t qn_tans_encode_runs(const uint32_t counts[256], uint64_t limit, const uint8_t *src, size_t n,
                           uint8_t *dst, size_t capacity, struct qn_tans_runs_work *w, void *room,
                           void *scratch)
{
    unsigned symbol = 0;
    for (unsigned s = 1; s < 256; s++)
        symbol = counts[s] > counts[symbol] ? s : symbol;
    if (n < MIN_SYMBOLS || counts[symbol] < n / 4 || capacity < HEAD_SIZE)
        return 0;
    place(&w->parts, n, room);
    const size_t runs = find_runs(src, n, (uint8_t)symbol, w->parts.masks);
    if (!is_promising(n, counts[symbol], runs))
        return 0;
    split(src, n, &w->parts);
    if (!choose_models(w, limit))
        return 0;
    dst[0] = QN_TANS_HAS_RUNS;
    dst[1] = (uint8_t)symbol;
    size_t size = HEAD_SIZE;
    for (unsigned i = 0; i < QN_TANS_PARTS; i++) {
        const size_t part =
            qn_tans_encode_plain(w->counts[i], &w->model[i], MIN_INTERLEAVED, w->parts.bytes[i],
                                 w->parts.count[i], dst + size, capacity - size, scratch);
        if (part == 0)
            return 0;
        qn_store32(dst + 2 + 8 * (size_t)i, (uint32_t)w->parts.count[i]);
        if (i + 1 < QN_TANS_PARTS)
            qn_store32(dst + 6 + 8 * (size_t)i, (uint32_t)part);
        size += part;
    }
    return size;
}

/* Decoding. */

static bool decode_part(const uint8_t *src, size_t size, uint8_t *dst, size_t n, void *scratch)
{
    return qn_tans_begin_plain(src, size, n, scratch) && qn_tans_next_plain(scratch, dst, n) &&
           qn_tans_end_plain(scratch);
}

bool qn_tans_begin_runs(const uint8_t *src, size_t src_size, size_t n, struct qn_tans_runs *r,
                        void *room, void *scratch)
{
    struct qn_tans_parts *p = &r->parts;
    if (src_size < HEAD_SIZE || src[0] != QN_TANS_HAS_RUNS)
        return false;
    place(p, n, room);
    size_t at = HEAD_SIZE;
    for (unsigned i = 0; i < QN_TANS_PARTS; i++) {
        const size_t most = i == QN_TANS_VALUES ? n : max_lengths(n);
        const size_t count = qn_load32(src + 2 + 8 * (size_t)i);
        const size_t size =
            i + 1 < QN_TANS_PARTS ? qn_load32(src + 6 + 8 * (size_t)i) : src_size - at;
        if (count == 0 || count > most || size > src_size - at ||
            !decode_part(src + at, size, p->bytes[i], count, scratch))
            return false;
        p->count[i] = count;
        r->next[i] = p->bytes[i];
        r->end[i] = p->bytes[i] + count;
        at += size;
    }
    memset(p->bytes[QN_TANS_VALUES] + p->count[QN_TANS_VALUES], 0, SLACK);
    r->has_short_gaps = p->count[QN_TANS_VALUES] <= (uint64_t)SHORT_GAP * p->count[QN_TANS_GAPS];
    r->symbol = src[1];
    r->part = QN_TANS_RUNS; /* so that the first length is that of a gap */
    r->length = 0;
    r->is_whole = true;
    r->left = n;
    return true;
}

/* The next length, or the part of it that its next byte tells. */
static bool next_length(struct qn_tans_runs *r)
{
    if (r->is_whole)
        r->part = r->part == QN_TANS_GAPS ? QN_TANS_RUNS : QN_TANS_GAPS;
    if (r->next[r->part] == r->end[r->part])
        return false;
    r->length = *r->next[r->part]++;
    r->is_whole = r->length != LONGEST;
    return true;
}

/* The place of the next piece, on its way to the first cache; addresses past the end do no harm. */
static inline void fetch_piece(const uint8_t *dst)
{
    __builtin_prefetch((const void *)((uintptr_t)dst + PIECE), 1);
}

/* Whole gaps each with the run behind it, as long as there is no need to look closely. Returns
 * where DST then is. Where gaps are short, the symbol of runs is there already, up to END: what was
 * copied past a gap is replaced. */
__attribute__((always_inline)) static inline uint8_t *
join_pairs(struct qn_tans_runs *r, uint8_t *dst, const uint8_t *end, bool has_short_gaps)
{
    const size_t block = has_short_gaps ? SHORT_BLOCK : BLOCK;
    const uint8_t *gap = r->next[QN_TANS_GAPS], *run = r->next[QN_TANS_RUNS],
                  *value = r->next[QN_TANS_VALUES];
    const size_t gaps = (size_t)(r->end[QN_TANS_GAPS] - gap),
                 runs = (size_t)(r->end[QN_TANS_RUNS] - run);
    const uint8_t *gap_end = gap + (gaps < runs ? gaps : runs);
    uint8_t fill[BLOCK];
    memset(fill, r->symbol, BLOCK);
    while (gap < gap_end && value <= r->end[QN_TANS_VALUES]) {
        const size_t of_gap = *gap, of_run = *run;
        if (of_gap == LONGEST || of_run == LONGEST || of_gap + of_run + block > (size_t)(end - dst))
            break;
        copy_blocks(dst, value, of_gap, block);
        value += of_gap;
        dst += of_gap;
        if (has_short_gaps) {
            memcpy(dst, fill, SHORT_BLOCK);
            fetch_piece(dst);
        } else {
            fill_blocks(dst, fill, of_run);
        }
        dst += of_run;
        gap++;
        run++;
    }
    r->next[QN_TANS_GAPS] = gap;
    r->next[QN_TANS_RUNS] = run;
    r->next[QN_TANS_VALUES] = value;
    return dst;
}

static bool next_piece(struct qn_tans_runs *r, uint8_t *dst, size_t n)
{
    uint8_t *end = dst + n;
    if (r->has_short_gaps)
        memset(dst, r->symbol, n);
    while (dst < end) {
        if (r->length == 0 && r->is_whole && r->part == QN_TANS_RUNS)
            dst =
                r->has_short_gaps ? join_pairs(r, dst, end, true) : join_pairs(r, dst, end, false);
        if (r->length == 0 && !next_length(r))
            return false;
        const size_t some = qn_min_u64(r->length, (size_t)(end - dst));
        if (r->part == QN_TANS_RUNS) {
            if (!r->has_short_gaps)
                memset(dst, r->symbol, some);
        } else {
            if (r->next[QN_TANS_VALUES] > r->end[QN_TANS_VALUES] ||
                some > (size_t)(r->end[QN_TANS_VALUES] - r->next[QN_TANS_VALUES]))
                return false;
            memcpy(dst, r->next[QN_TANS_VALUES], some);
            r->next[QN_TANS_VALUES] += some;
        }
        r->length -= some;
        dst += some;
    }
    return true;
}

bool qn_tans_next_runs(struct qn_tans_runs *r, uint8_t *dst, size_t n)
{
    bool ok = true;
    r->left -= n;
    for (size_t some; ok && n > 0; dst += some, n -= some) {
        some = qn_min_u64(n, PIECE);
        ok = next_piece(r, dst, some);
    }
    return ok;
}

bool qn_tans_end_runs(struct qn_tans_runs *r)
{
    /* The last length may have one byte more, of nothing. */
    bool ok = r->left == 0 && r->length == 0 && (r->is_whole || next_length(r)) && r->is_whole &&
              r->length == 0;
    for (unsigned i = 0; i < QN_TANS_PARTS; i++)
        ok = ok && r->next[i] == r->end[i];
    return ok;
}
