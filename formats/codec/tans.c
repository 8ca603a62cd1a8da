/* tans: the choice between its modes. */
#include "formats/codec/tans.h"

#include <string.h>

#include "core/bytes.h"
#include "formats/codec/tans_runs.h"

/* The scratch of either direction, what a plain coder needs and then room for runs behind it. */
struct decode_work {
    bool has_runs;
    struct qn_tans_runs runs;
    uint64_t plain[];
};

struct encode_work {
    struct qn_tans_model model;
    struct qn_tans_model_work model_work;
    struct qn_tans_runs_work runs;
    uint64_t plain[];
};

static size_t words(size_t bytes)
{
    return (size_t)qn_div_up(bytes, sizeof(uint64_t));
}

size_t qn_tans_bound(size_t n)
{
    return n > QN_TANS_MAX_SYMBOLS ? 0 : n + 2; /* k = 8 */
}

size_t qn_tans_scratch(size_t n)
{
    const size_t encode = sizeof(struct encode_work) + 8 * words(qn_tans_encode_scratch(n)),
                 decode = sizeof(struct decode_work) + 8 * words(qn_tans_decode_scratch(n));
    return (encode > decode ? encode : decode) + qn_tans_runs_room(n);
}

size_t qn_tans_encode_counted(const uint32_t counts[256], const uint8_t *src, size_t n,
                              uint8_t *dst, size_t capacity, void *scratch)
{
    struct encode_work *w = scratch;
    if (n == 0 || n > QN_TANS_MAX_SYMBOLS)
        return 0;
    qn_tans_choose(counts, n, &w->model, &w->model_work);
    /* Runs make decoding slower: they are to save a share worth having. */
    const uint64_t limit = w->model.cost - w->model.cost / 32;
    size_t size =
        qn_tans_encode_runs(counts, limit, src, n, dst, capacity < n ? capacity : n, &w->runs,
                            w->plain + words(qn_tans_encode_scratch(n)), w->plain);
    if (size == 0)
        size = qn_tans_encode_plain(counts, &w->model, QN_TANS_WORTH_INTERLEAVING, src, n, dst,
                                    capacity, w->plain);
    return size;
}

size_t qn_tans_encode(const uint8_t *src, size_t n, uint8_t *dst, size_t capacity, void *scratch)
{
    struct encode_work *w = scratch;
    uint32_t counts[256];
    if (n == 0 || n > QN_TANS_MAX_SYMBOLS)
        return 0;
    qn_histogram(src, n, counts, &w->runs.histogram);
    return qn_tans_encode_counted(counts, src, n, dst, capacity, scratch);
}

bool qn_tans_begin(const uint8_t *src, size_t src_size, size_t n, void *scratch)
{
    struct decode_work *w = scratch;
    if (n == 0 || n > QN_TANS_MAX_SYMBOLS || src_size == 0)
        return false;
    w->has_runs = (src[0] & QN_TANS_HAS_RUNS) != 0;
    return w->has_runs ? qn_tans_begin_runs(src, src_size, n, &w->runs,
                                            w->plain + words(qn_tans_decode_scratch(n)), w->plain)
                       : qn_tans_begin_plain(src, src_size, n, w->plain);
}

bool qn_tans_next(void *scratch, uint8_t *dst, size_t n)
{
    struct decode_work *w = scratch;
    return w->has_runs ? qn_tans_next_runs(&w->runs, dst, n) : qn_tans_next_plain(w->plain, dst, n);
}

bool qn_tans_end(void *scratch)
{
    struct decode_work *w = scratch;
    return w->has_runs ? qn_tans_end_runs(&w->runs) : qn_tans_end_plain(w->plain);
}

bool qn_tans_decode(const uint8_t *src, size_t src_size, uint8_t *dst, size_t n, void *scratch)
{
    return qn_tans_begin(src, src_size, n, scratch) && qn_tans_next(scratch, dst, n) &&
           qn_tans_end(scratch);
}
