#include "bench/streams_bench.h"

#include "bench/setup.h"
#include "bench/stream_goals.h"
#include "bench/stream_run.h"
#include "bench/streams.h"
#include "core/clock.h"

#include <stdlib.h>
#include <string.h>

enum {
    DEFAULT_MEBI = 32,
    DEFAULT_CHUNK_KIBI = 512, /* as archives have it: formats/archive/layout.c */
};

/* A benchmark of some of the streams. */
static const struct family {
    const char *name, *wrong_stream;
    bool weights; /* those of weights, which are kept bit for bit */
    unsigned ways, rounds;
} families[] = {
    {"coders", "streams are a to f, with commas between, not '%s'", false, QN_STREAM_PLACE, 15},
    {"lossless", "streams are BF16, F16, F32, with commas between, not '%s'", true, QN_STREAM_WAYS,
     5},
};
enum { CODERS, LOSSLESS };

static bool belongs(const struct family *f, const struct qn_stream *s)
{
    return (s->dtype != QINS_U8) == f->weights;
}

static enum qins_status check_streams(const struct family *f, const char *list,
                                      struct qins_error *err)
{
    for (const char *p = list; p; p = strchr(p, ',')) {
        p += p != list;
        const size_t n = strcspn(p, ",");
        size_t s = 0;
        while (s < qn_n_streams &&
               !(belongs(f, &qn_streams[s]) && strlen(qn_streams[s].name) == n &&
                 memcmp(qn_streams[s].name, p, n) == 0))
            s++;
        if (s == qn_n_streams)
            return qn_fail(err, QINS_ERR_USAGE, f->wrong_stream, list);
    }
    return QINS_OK;
}

static json_t *stream_report(const struct qn_stream *s, const struct qn_stream_run *r)
{
    json_t *j = json_object();
    qn_json_put(&j, "name", json_string(s->name));
    qn_json_put(&j, "description", json_string(s->what));
    qn_json_put(&j, "entropy_bits", qn_json_real(s->entropy));
    qn_json_put(&j, "coders", qn_stream_run_report(r));
    return j;
}

static enum qins_status measure(struct qn_stream_run *r, const struct qn_stream *stream,
                                const struct qn_bench_options *o, json_t **streams,
                                struct qins_error *err)
{
    const size_t width = qins_dtype_size(stream->dtype);
    const size_t mebi = o->mebi ? o->mebi : DEFAULT_MEBI;
    const size_t kibi = o->chunk_kibi ? o->chunk_kibi : DEFAULT_CHUNK_KIBI;
    r->arena.width = width;
    r->arena.n = (mebi << 20) * width;
    r->arena.chunk = (kibi << 10) * width;
    enum qins_status st = qn_stream_coders_init(&r->coders, stream->dtype, r->arena.chunk,
                                                o->coders, o->peers, o->n_peers, err);
    if (st == QINS_OK)
        st = qn_stream_run_prepare(r, err);
    if (st == QINS_OK) {
        stream->fill(r->arena.symbols, r->arena.n / width, 1);
        st = qn_stream_run_measure(r, stream->name, o->monitor, err);
    }
    if (st == QINS_OK)
        qn_json_append(streams, stream_report(stream, r));
    qn_stream_run_finish(r);
    return st;
}

static json_t *report_of(const struct family *f, const struct qn_stream_run *r, size_t symbols,
                         size_t chunk, json_t *streams, double begun)
{
    json_t *j = qn_report_begin("qins/bench/1");
    qn_json_put(&j, "benchmark", json_string(f->name));
    qn_json_put(&j, "machine", qn_bench_machine(&r->harness));
    qn_json_put(&j, "rounds", json_integer(r->harness.rounds));
    qn_json_put(&j, "symbols", json_integer((json_int_t)symbols));
    qn_json_put(&j, "chunk_symbols", json_integer((json_int_t)chunk));
    json_t *goals = qn_stream_goals(streams, symbols);
    qn_json_put(&j, "streams", streams);
    qn_json_put(&j, "goals", goals);
    qn_json_put(&j, "seconds", qn_json_real(qn_seconds() - begun));
    return j;
}

static enum qins_status run_family(const struct family *f, const struct qn_bench_options *o,
                                   json_t **report, struct qins_error *err)
{
    const double begun = qn_seconds();
    size_t symbols = 0, chunk = 0;
    enum qins_status st = check_streams(f, o->streams, err);
    struct qn_stream_run *r = st == QINS_OK ? calloc(1, sizeof *r) : NULL;
    *report = NULL;
    if (!r)
        return st == QINS_OK ? qn_fail_memory(err) : st;
    json_t *streams = json_array();
    r->ways = f->ways;
    st = qn_harness_init(&r->harness, 1, err);
    r->harness.rounds = o->rounds ? o->rounds : f->rounds;
    for (size_t i = 0; i < qn_n_streams && st == QINS_OK; i++)
        if (belongs(f, &qn_streams[i]) && qn_stream_listed(o->streams, qn_streams[i].name)) {
            st = measure(r, &qn_streams[i], o, &streams, err);
            symbols = r->arena.n / r->arena.width;
            chunk = r->arena.chunk / r->arena.width;
        }
    if (st == QINS_OK) {
        *report = report_of(f, r, symbols, chunk, streams, begun);
        st = *report ? QINS_OK : qn_fail_memory(err);
    } else {
        json_decref(streams);
    }
    qn_harness_finish(&r->harness);
    free(r);
    return st;
}

enum qins_status qn_bench_streams(const struct qn_bench_options *options, json_t **report,
                                  struct qins_error *err)
{
    return run_family(&families[CODERS], options, report, err);
}

enum qins_status qn_bench_lossless(const struct qn_bench_options *options, json_t **report,
                                   struct qins_error *err)
{
    return run_family(&families[LOSSLESS], options, report, err);
}
