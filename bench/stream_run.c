#include "bench/stream_run.h"

#include "bench/setup.h"
#include "model/weights_plan.h"

#include <stdlib.h>
#include <string.h>

enum {
    GUARD = 64,
    GUARD_BYTE = 0xa5,
    MAX_EXPANSION = 4, /* that a coder may ask room for */
};

static size_t chunk_size(const struct qn_stream_arena *a, size_t at)
{
    return a->n - at < a->chunk ? a->n - at : a->chunk;
}

static void use_level(const struct qn_stream_coder *c)
{
    if (c->level != QN_STREAM_NO_LEVEL)
        qn_cpu_use((enum qn_cpu_level)c->level);
}

/* A peer is somebody else's; ours and the libraries' must not fail. */
static enum qins_status failed(const struct qn_stream_coding *c, const char *what, size_t chunk,
                               struct qins_error *err)
{
    return qn_fail_at(err, c->coder->file ? QINS_ERR_UNSUPPORTED : QINS_ERR_CHECK, c->coder->file,
                      NULL, QN_NO_OFFSET, "%s %s chunk %zu of stream %s", c->coder->name, what,
                      chunk, c->stream);
}

static enum qins_status encode_all(void *ctx, struct qins_error *err)
{
    struct qn_stream_coding *c = ctx;
    const struct qn_stream_arena *a = c->arena;
    c->coded = 0;
    use_level(c->coder);
    for (size_t at = 0, i = 0; at < a->n; at += a->chunk, i++) {
        a->sizes[i] = c->coder->engine->encode(c->coder, a->symbols + at, chunk_size(a, at),
                                               a->coded + i * a->stride, a->stride);
        if (a->sizes[i] == 0)
            return failed(c, "cannot code", i, err);
        c->coded += a->sizes[i];
    }
    return QINS_OK;
}

static bool decode_chunk(const struct qn_stream_coding *c, size_t i, uint8_t *dst)
{
    const struct qn_stream_arena *a = c->arena;
    return c->coder->engine->decode(c->coder, a->coded + i * a->stride, a->sizes[i], dst,
                                    chunk_size(a, i * a->chunk));
}

static enum qins_status decode_to(const struct qn_stream_coding *c, bool one_place,
                                  struct qins_error *err)
{
    const struct qn_stream_arena *a = c->arena;
    use_level(c->coder);
    for (size_t i = 0; i * a->chunk < a->n; i++)
        if (!decode_chunk(c, i, a->decoded + (one_place ? 0 : i * a->chunk)))
            return failed(c, "cannot decode", i, err);
    return QINS_OK;
}

static enum qins_status decode_all(void *ctx, struct qins_error *err)
{
    return decode_to(ctx, false, err);
}

static enum qins_status decode_to_one_place(void *ctx, struct qins_error *err)
{
    return decode_to(ctx, true, err);
}

static void copy_to(const struct qn_stream_coding *c, bool one_place)
{
    const struct qn_stream_arena *a = c->arena;
    for (size_t at = 0; at < a->n; at += a->chunk)
        memcpy(a->decoded + (one_place ? 0 : at), a->symbols + at, chunk_size(a, at));
}

static enum qins_status copy_all(void *ctx, struct qins_error *err)
{
    (void)err;
    copy_to(ctx, false);
    return QINS_OK;
}

static enum qins_status copy_to_one_place(void *ctx, struct qins_error *err)
{
    (void)err;
    copy_to(ctx, true);
    return QINS_OK;
}

/* Before it is timed: the symbols come back. Chunks are decoded from the last one on, so that what
 * is written behind a chunk is seen. */
static enum qins_status check(struct qn_stream_coding *c, struct qins_error *err)
{
    const struct qn_stream_arena *a = c->arena;
    if (c->coder->engine->copies) {
        c->coded = a->n;
        return QINS_OK;
    }
    if (c->coder->engine->prepare)
        c->coder->engine->prepare(c->coder, a->symbols, a->n);
    enum qins_status st = encode_all(c, err);
    memset(a->decoded, 0, a->n);
    memset(a->decoded + a->n, GUARD_BYTE, GUARD);
    for (size_t i = (a->n + a->chunk - 1) / a->chunk; i-- > 0 && st == QINS_OK;)
        if (!decode_chunk(c, i, a->decoded + i * a->chunk))
            st = failed(c, "cannot decode", i, err);
    for (size_t i = 0; i * a->chunk < a->n && st == QINS_OK; i++)
        if (memcmp(a->symbols + i * a->chunk, a->decoded + i * a->chunk,
                   chunk_size(a, i * a->chunk)) != 0)
            st = failed(c, "changes", i, err);
    for (size_t i = 0; i < GUARD && st == QINS_OK; i++)
        if (a->decoded[a->n + i] != GUARD_BYTE)
            st = failed(c, "writes behind", (a->n - 1) / a->chunk, err);
    return st;
}

static void free_buffers(struct qn_stream_arena *a)
{
    free(a->symbols);
    free(a->decoded);
    free(a->coded);
    free(a->sizes);
    a->symbols = a->decoded = a->coded = NULL;
    a->sizes = NULL;
}

enum qins_status qn_stream_run_prepare(struct qn_stream_run *r, struct qins_error *err)
{
    struct qn_stream_arena *a = &r->arena;
    const size_t chunks = (a->n + a->chunk - 1) / a->chunk;
    a->stride = 0;
    for (size_t i = 0; i < r->coders.n; i++) {
        struct qn_stream_coder *c = &r->coders.list[i];
        const size_t bound = c->engine->bound(c, a->chunk);
        if (bound == 0 || bound / MAX_EXPANSION > a->chunk + GUARD)
            return qn_fail_at(err, QINS_ERR_UNSUPPORTED, c->file, NULL, QN_NO_OFFSET,
                              "%s cannot bound the size of %zu coded symbols", c->name,
                              a->chunk / a->width);
        a->stride = bound > a->stride ? bound : a->stride;
    }
    /* In large pages: coders are timed, not the walks through tables of small ones. */
    a->symbols = qn_weights_block(a->n);
    a->decoded = qn_weights_block(a->n + GUARD);
    a->coded = qn_weights_block(chunks * a->stride);
    a->sizes = malloc(chunks * sizeof *a->sizes);
    return a->symbols && a->decoded && a->coded && a->sizes ? QINS_OK : qn_fail_memory(err);
}

void qn_stream_run_finish(struct qn_stream_run *r)
{
    qn_stream_coders_finish(&r->coders);
    free_buffers(&r->arena);
}

static size_t list_candidates(struct qn_stream_run *r, const char *stream)
{
    static enum qins_status (*const runs[2][QN_STREAM_WAYS])(void *, struct qins_error *) = {
        {encode_all, decode_all, decode_to_one_place}, {copy_all, copy_all, copy_to_one_place}};
    size_t n = 0;
    for (size_t i = 0; i < r->coders.n; i++) {
        struct qn_stream_coding *c = &r->codings[i];
        *c = (struct qn_stream_coding){
            .coder = &r->coders.list[i], .arena = &r->arena, .stream = stream};
        for (unsigned way = 0; way < r->ways; way++)
            r->candidates[n++] =
                (struct qn_bench_candidate){.name = c->coder->name,
                                            .threads = 1,
                                            .tokens = r->arena.n,
                                            .run = runs[c->coder->engine->copies][way],
                                            .ctx = c};
    }
    return n;
}

enum qins_status qn_stream_run_measure(struct qn_stream_run *r, const char *stream,
                                       const struct qn_monitor *monitor, struct qins_error *err)
{
    enum qins_status st = QINS_OK;
    const size_t n = list_candidates(r, stream);
    for (size_t i = 0; i < r->coders.n && st == QINS_OK; i++) {
        st = qn_check_stop(monitor, err);
        if (st == QINS_OK)
            st = check(&r->codings[i], err);
    }
    return st == QINS_OK ? qn_measure(&r->harness, r->candidates, n, 0.0, monitor, err) : st;
}

/* The coding of NAME on LEVEL, or -1. */
static long find(const struct qn_stream_run *r, const char *name, int level)
{
    for (size_t i = 0; i < r->coders.n; i++)
        if (r->coders.list[i].level == level && !r->coders.list[i].file &&
            strcmp(r->coders.list[i].name, name) == 0)
            return (long)i;
    return -1;
}

static const struct qn_bench_candidate *candidate(const struct qn_stream_run *r, size_t coding,
                                                  enum qn_stream_way way)
{
    return &r->candidates[r->ways * coding + way];
}

/* Of a coding's speed to that of coding TO; null where there is no such one or it is the same. */
static json_t *ratio(const struct qn_stream_run *r, size_t of, long to, enum qn_stream_way way)
{
    if (to < 0 || of == (size_t)to)
        return json_null();
    return qn_bench_spread(
        qn_speed_ratio(candidate(r, of, way), candidate(r, (size_t)to, way), QN_CLOCK_CPU));
}

static json_t *gigabytes(const struct qn_bench_candidate *c)
{
    const struct qn_spread v = qn_speed(c, QN_CLOCK_CPU);
    return qn_bench_spread((struct qn_spread){v.median / 1e9, v.low / 1e9, v.high / 1e9});
}

static json_t *text(const char *s)
{
    return s ? qn_json_text(s) : json_null();
}

static json_t *coding_report(const struct qn_stream_run *r, size_t i)
{
    const struct qn_stream_coding *c = &r->codings[i];
    const struct qn_stream_coder *coder = c->coder;
    const long copy = find(r, QN_STREAM_COPY, QN_STREAM_NO_LEVEL),
               library = find(r, QN_STREAM_LIBRARY, QN_STREAM_NO_LEVEL),
               portable = coder->level > QN_CPU_C ? find(r, coder->name, QN_CPU_C) : -1;
    const bool copies = coder->engine->copies;
    json_t *j = json_object();
    qn_json_put(&j, "coder", qn_json_text(coder->name));
    qn_json_put(&j, "kind", json_string(coder->engine->kind));
    qn_json_put(&j, "version", text(coder->version));
    qn_json_put(&j, "file", text(coder->file));
    qn_json_put(&j, "cpu_level",
                text(coder->level == QN_STREAM_NO_LEVEL
                         ? NULL
                         : qn_cpu_level_name((enum qn_cpu_level)coder->level)));
    qn_json_put(&j, "coded_bytes", json_integer((json_int_t)c->coded));
    qn_json_put(&j, "bits_per_symbol",
                qn_json_real(8.0 * (double)(c->coded * r->arena.width) / (double)r->arena.n));
    qn_json_put(&j, "ratio", qn_json_real((double)r->arena.n / (double)c->coded));
    qn_json_put(&j, "encode_gb_per_s",
                copies ? json_null() : gigabytes(candidate(r, i, QN_STREAM_ENCODE)));
    qn_json_put(&j, "decode_gb_per_s", gigabytes(candidate(r, i, QN_STREAM_DECODE)));
    if (r->ways > QN_STREAM_PLACE)
        qn_json_put(&j, "decode_to_one_place_gb_per_s",
                    gigabytes(candidate(r, i, QN_STREAM_PLACE)));
    qn_json_put(&j, "decode_over_memcpy", ratio(r, i, copy, QN_STREAM_DECODE));
    qn_json_put(&j, "encode_over_libzstd",
                copies ? json_null() : ratio(r, i, library, QN_STREAM_ENCODE));
    qn_json_put(&j, "decode_over_libzstd", ratio(r, i, library, QN_STREAM_DECODE));
    qn_json_put(&j, "encode_over_c", ratio(r, i, portable, QN_STREAM_ENCODE));
    qn_json_put(&j, "decode_over_c", ratio(r, i, portable, QN_STREAM_DECODE));
    return j;
}

json_t *qn_stream_run_report(const struct qn_stream_run *r)
{
    json_t *list = json_array();
    for (size_t i = 0; i < r->coders.n; i++)
        qn_json_append(&list, coding_report(r, i));
    return list;
}
