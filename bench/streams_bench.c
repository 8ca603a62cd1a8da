#include "bench/streams_bench.h"

#include "bench/setup.h"
#include "bench/stream_coders.h"
#include "bench/stream_goals.h"
#include "bench/streams.h"
#include "core/clock.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum {
    DEFAULT_ROUNDS = 15,
    DEFAULT_MEBI = 32,
    DEFAULT_CHUNK_KIBI = 512, /* as archives have it: formats/archive/layout.c */
    HUGE_PAGE = 2 << 20,
    GUARD = 64,
    GUARD_BYTE = 0xa5,
    CANDIDATES = 2 * QN_STREAM_MAX_CODERS
};

struct arena {
    size_t n, chunk, stride; /* symbols, and of a chunk; bytes for each coded chunk */
    uint8_t *symbols, *decoded, *coded;
    size_t *sizes; /* of the chunks of the coder whose turn it is */
};

struct coding {
    struct qn_stream_coder *coder;
    const struct arena *arena;
    const char *stream;
    size_t coded; /* bytes, of all chunks */
};

struct measuring {
    struct qn_harness harness;
    struct arena arena;
    struct qn_stream_coders coders;
    struct coding codings[QN_STREAM_MAX_CODERS];
    struct qn_bench_candidate candidates[CANDIDATES]; /* encoding and decoding, in turns */
};

static size_t chunk_size(const struct arena *a, size_t at)
{
    return a->n - at < a->chunk ? a->n - at : a->chunk;
}

static void use_level(const struct qn_stream_coder *c)
{
    if (c->level != QN_STREAM_NO_LEVEL)
        qn_cpu_use((enum qn_cpu_level)c->level);
}

/* A peer is somebody else's; ours and the libraries' must not fail. */
static enum qins_status failed(const struct coding *c, const char *what, size_t chunk,
                               struct qins_error *err)
{
    return qn_fail_at(err, c->coder->file ? QINS_ERR_UNSUPPORTED : QINS_ERR_CHECK, c->coder->file,
                      NULL, QN_NO_OFFSET, "%s %s chunk %zu of stream %s", c->coder->name, what,
                      chunk, c->stream);
}

static enum qins_status encode_all(void *ctx, struct qins_error *err)
{
    struct coding *c = ctx;
    const struct arena *a = c->arena;
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

static bool decode_chunk(const struct coding *c, size_t i)
{
    const struct arena *a = c->arena;
    const size_t at = i * a->chunk;
    return c->coder->engine->decode(c->coder, a->coded + i * a->stride, a->sizes[i],
                                    a->decoded + at, chunk_size(a, at));
}

static enum qins_status decode_all(void *ctx, struct qins_error *err)
{
    const struct coding *c = ctx;
    const struct arena *a = c->arena;
    use_level(c->coder);
    for (size_t i = 0; i * a->chunk < a->n; i++)
        if (!decode_chunk(c, i))
            return failed(c, "cannot decode", i, err);
    return QINS_OK;
}

static enum qins_status copy_all(void *ctx, struct qins_error *err)
{
    const struct coding *c = ctx;
    const struct arena *a = c->arena;
    (void)err;
    for (size_t at = 0; at < a->n; at += a->chunk)
        memcpy(a->decoded + at, a->symbols + at, chunk_size(a, at));
    return QINS_OK;
}

/* Before it is timed: the symbols come back. Chunks are decoded from the last one on, so that what
 * is written behind a chunk is seen. */
static enum qins_status check(struct coding *c, struct qins_error *err)
{
    const struct arena *a = c->arena;
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
        if (!decode_chunk(c, i))
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

/* In huge pages where the system has them: what is timed is coders, not the walks through page
 * tables that small ones take, above all in virtual machines. */
static uint8_t *allocate(size_t size)
{
    const size_t whole = (size + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE;
    uint8_t *p = aligned_alloc(HUGE_PAGE, whole);
    if (p)
        (void)madvise(p, whole, MADV_HUGEPAGE);
    return p;
}

static enum qins_status arena_init(struct measuring *m, struct qins_error *err)
{
    struct arena *a = &m->arena;
    const size_t chunks = (a->n + a->chunk - 1) / a->chunk;
    for (size_t i = 0; i < m->coders.n; i++) {
        struct qn_stream_coder *c = &m->coders.list[i];
        const size_t bound = c->engine->bound(c, a->chunk);
        if (bound == 0 || bound / 4 > a->chunk + GUARD)
            return qn_fail_at(err, QINS_ERR_UNSUPPORTED, c->file, NULL, QN_NO_OFFSET,
                              "%s cannot bound the size of %zu coded symbols", c->name, a->chunk);
        a->stride = bound > a->stride ? bound : a->stride;
    }
    a->symbols = allocate(a->n);
    a->decoded = allocate(a->n + GUARD);
    a->coded = allocate(chunks * a->stride);
    a->sizes = malloc(chunks * sizeof *a->sizes);
    return a->symbols && a->decoded && a->coded && a->sizes ? QINS_OK : qn_fail_memory(err);
}

static size_t list_candidates(struct measuring *m, const char *stream)
{
    size_t n = 0;
    for (size_t i = 0; i < m->coders.n; i++) {
        struct coding *c = &m->codings[i];
        *c = (struct coding){.coder = &m->coders.list[i], .arena = &m->arena, .stream = stream};
        const struct qn_bench_candidate common = {
            .name = c->coder->name, .threads = 1, .tokens = m->arena.n, .ctx = c};
        const bool copies = c->coder->engine->copies;
        m->candidates[n] = common;
        m->candidates[n++].run = copies ? copy_all : encode_all;
        m->candidates[n] = common;
        m->candidates[n++].run = copies ? copy_all : decode_all;
    }
    return n;
}

/* The coding of NAME on LEVEL, or -1. */
static long find(const struct measuring *m, const char *name, int level)
{
    for (size_t i = 0; i < m->coders.n; i++)
        if (m->coders.list[i].level == level && !m->coders.list[i].file &&
            strcmp(m->coders.list[i].name, name) == 0)
            return (long)i;
    return -1;
}

/* Of candidate AT's speed to that of coding TO, encoding and decoding alike; null where there is no
 * such coding or it is the same. */
static json_t *ratio(const struct measuring *m, size_t at, long to)
{
    if (to < 0 || at / 2 == (size_t)to)
        return json_null();
    return qn_bench_spread(
        qn_speed_ratio(&m->candidates[at], &m->candidates[2 * (size_t)to + at % 2], QN_CLOCK_CPU));
}

static struct qn_spread gigabytes(const struct qn_bench_candidate *c)
{
    const struct qn_spread v = qn_speed(c, QN_CLOCK_CPU);
    return (struct qn_spread){v.median / 1e9, v.low / 1e9, v.high / 1e9};
}

static json_t *text(const char *s)
{
    return s ? qn_json_text(s) : json_null();
}

static json_t *coding_report(const struct measuring *m, size_t i)
{
    const struct coding *c = &m->codings[i];
    const struct qn_stream_coder *coder = c->coder;
    const long copy = find(m, QN_STREAM_COPY, QN_STREAM_NO_LEVEL),
               library = find(m, QN_STREAM_LIBRARY, QN_STREAM_NO_LEVEL),
               portable = coder->level > QN_CPU_C ? find(m, coder->name, QN_CPU_C) : -1;
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
    qn_json_put(&j, "bits_per_symbol", qn_json_real(8.0 * (double)c->coded / (double)m->arena.n));
    qn_json_put(&j, "encode_gb_per_s",
                copies ? json_null() : qn_bench_spread(gigabytes(&m->candidates[2 * i])));
    qn_json_put(&j, "decode_gb_per_s", qn_bench_spread(gigabytes(&m->candidates[2 * i + 1])));
    qn_json_put(&j, "decode_over_memcpy", ratio(m, 2 * i + 1, copy));
    qn_json_put(&j, "encode_over_libzstd", copies ? json_null() : ratio(m, 2 * i, library));
    qn_json_put(&j, "decode_over_libzstd", ratio(m, 2 * i + 1, library));
    qn_json_put(&j, "encode_over_c", ratio(m, 2 * i, portable));
    qn_json_put(&j, "decode_over_c", ratio(m, 2 * i + 1, portable));
    return j;
}

static enum qins_status measure_stream(struct measuring *m, const struct qn_stream *stream,
                                       const struct qn_monitor *monitor, json_t *streams,
                                       struct qins_error *err)
{
    enum qins_status st = QINS_OK;
    const size_t n = list_candidates(m, stream->name);
    stream->fill(m->arena.symbols, m->arena.n, 1);
    for (size_t i = 0; i < m->coders.n && st == QINS_OK; i++) {
        st = qn_check_stop(monitor, err);
        if (st == QINS_OK)
            st = check(&m->codings[i], err);
    }
    if (st == QINS_OK)
        st = qn_measure(&m->harness, m->candidates, n, 0.0, monitor, err);
    if (st != QINS_OK)
        return st;
    json_t *j = json_object(), *coders = json_array();
    bool ok = true;
    for (size_t i = 0; i < m->coders.n; i++)
        ok = json_array_append_new(coders, coding_report(m, i)) == 0 && ok;
    qn_json_put(&j, "name", json_string(stream->name));
    qn_json_put(&j, "description", json_string(stream->what));
    qn_json_put(&j, "entropy_bits", qn_json_real(stream->entropy));
    qn_json_put(&j, "coders", coders);
    return ok && json_array_append_new(streams, j) == 0 ? QINS_OK : qn_fail_memory(err);
}

static enum qins_status report_of(struct measuring *m, json_t *streams, double begun, json_t **out,
                                  struct qins_error *err)
{
    json_t *j = qn_report_begin("qins/bench/1");
    qn_cpu_use(m->coders.most);
    qn_json_put(&j, "benchmark", json_string("coders"));
    qn_json_put(&j, "machine", qn_bench_machine(&m->harness));
    qn_json_put(&j, "rounds", json_integer(m->harness.rounds));
    qn_json_put(&j, "symbols", json_integer((json_int_t)m->arena.n));
    qn_json_put(&j, "chunk_symbols", json_integer((json_int_t)m->arena.chunk));
    qn_json_put(&j, "streams", json_incref(streams));
    qn_json_put(&j, "goals", qn_stream_goals(streams));
    qn_json_put(&j, "seconds", qn_json_real(qn_seconds() - begun));
    *out = j;
    return j ? QINS_OK : qn_fail_memory(err);
}

static void measuring_finish(struct measuring *m)
{
    qn_stream_coders_finish(&m->coders);
    qn_harness_finish(&m->harness);
    free(m->arena.symbols);
    free(m->arena.decoded);
    free(m->arena.coded);
    free(m->arena.sizes);
    free(m);
}

static enum qins_status check_streams(const char *list, struct qins_error *err)
{
    for (const char *p = list; p; p = strchr(p, ',')) {
        p += p != list;
        size_t s = 0;
        while (s < qn_n_streams && (p[0] != qn_streams[s].name[0] || (p[1] && p[1] != ',')))
            s++;
        if (s == qn_n_streams)
            return qn_fail(err, QINS_ERR_USAGE, "streams are a to f, with commas between, not '%s'",
                           list);
    }
    return QINS_OK;
}

enum qins_status qn_bench_streams(const struct qn_bench_options *o, json_t **report,
                                  struct qins_error *err)
{
    const double begun = qn_seconds();
    enum qins_status st = check_streams(o->streams, err);
    struct measuring *m = st == QINS_OK ? calloc(1, sizeof *m) : NULL;
    json_t *streams = json_array();
    if (st != QINS_OK || !m || !streams) {
        free(m);
        json_decref(streams);
        return st != QINS_OK ? st : qn_fail_memory(err);
    }
    m->arena.n = (size_t)(o->mebi ? o->mebi : DEFAULT_MEBI) << 20;
    m->arena.chunk = (size_t)(o->chunk_kibi ? o->chunk_kibi : DEFAULT_CHUNK_KIBI) << 10;
    st = qn_stream_coders_init(&m->coders, m->arena.chunk, o->coders, o->peers, o->n_peers, err);
    if (st == QINS_OK)
        st = qn_harness_init(&m->harness, 1, err);
    m->harness.rounds = o->rounds ? o->rounds : DEFAULT_ROUNDS;
    if (st == QINS_OK)
        st = arena_init(m, err);
    for (size_t i = 0; i < qn_n_streams && st == QINS_OK; i++)
        if (qn_stream_listed(o->streams, qn_streams[i].name))
            st = measure_stream(m, &qn_streams[i], o->monitor, streams, err);
    if (st == QINS_OK)
        st = report_of(m, streams, begun, report, err);
    json_decref(streams);
    measuring_finish(m);
    return st;
}
