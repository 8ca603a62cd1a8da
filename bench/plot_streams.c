/* A picture of decoding speed against coded size. */
#include "analyze/plot.h"
#include "analyze/plot_assets.h"
#include "bench/stream_coders.h"
#include "bench/streams_bench.h"
#include "core/file.h"

#include <math.h>
#include <string.h>

/* What the axes must hold. */
struct bounds {
    double slowest, fastest, least, most;
};

static double speed_of(const json_t *coder, const char *which)
{
    return json_number_value(json_object_get(json_object_get(coder, "decode_gb_per_s"), which));
}

static bool same(const json_t *a, const json_t *b, const char *key)
{
    const char *x = json_string_value(json_object_get(a, key));
    const char *y = json_string_value(json_object_get(b, key));
    return x && y ? strcmp(x, y) == 0 : x == y;
}

/* Whether CODER is its stream's fastest of that name. */
static bool is_fastest(const json_t *stream, const json_t *coder)
{
    const json_t *other;
    size_t i;
    json_array_foreach(json_object_get(stream, "coders"), i, other)
    {
        if (same(coder, other, "coder") && same(coder, other, "file") &&
            speed_of(other, "value") > speed_of(coder, "value"))
            return false;
    }
    return true;
}

static size_t put_streams(struct qn_plotter *p, const json_t *streams)
{
    const json_t *s;
    size_t i;
    json_array_foreach(streams, i, s)
    {
        qn_plot_number(p, json_number_value(json_object_get(s, "entropy_bits")));
        qn_plot_text(p, json_string_value(json_object_get(s, "name")));
        qn_plot_end_row(p);
    }
    qn_plot_end_block(p, i, 2);
    return i;
}

/* What is drawn of CODER in all streams, on its fastest level or on the others. */
static void put_coder(struct qn_plotter *p, const json_t *streams, const json_t *coder,
                      bool fastest, struct bounds *b)
{
    const json_t *s, *c;
    size_t i, k, rows = 0;
    if (fastest) {
        qn_plot_name(p, json_string_value(json_object_get(coder, "coder")));
        qn_plot_end_row(p);
    }
    json_array_foreach(streams, i, s)
    {
        json_array_foreach(json_object_get(s, "coders"), k, c)
        {
            if (!same(c, coder, "coder") || !same(c, coder, "file") || is_fastest(s, c) != fastest)
                continue;
            const double bits = json_number_value(json_object_get(c, "bits_per_symbol"));
            qn_plot_number(p, bits);
            qn_plot_number(p, speed_of(c, "value"));
            qn_plot_number(p, speed_of(c, "low"));
            qn_plot_number(p, speed_of(c, "high"));
            qn_plot_end_row(p);
            rows++;
            b->slowest = fmin(b->slowest, speed_of(c, "low"));
            b->fastest = fmax(b->fastest, speed_of(c, "high"));
            b->least = fmin(b->least, bits);
            b->most = fmax(b->most, bits);
        }
    }
    qn_plot_end_block(p, rows, 4);
}

/* Whether an entry of FIRST before entry AT is the same coder on another level. */
static bool seen(const json_t *first, size_t at)
{
    for (size_t i = 0; i < at; i++)
        if (same(json_array_get(first, i), json_array_get(first, at), "coder") &&
            same(json_array_get(first, i), json_array_get(first, at), "file"))
            return true;
    return false;
}

/* The coder that has goals is the first, for the colour that stands out. */
static size_t put_coders(struct qn_plotter *p, const json_t *streams, struct bounds *b)
{
    const json_t *first = json_object_get(json_array_get(streams, 0), "coders"), *c;
    size_t i, n = 0;
    for (int pass = 0; pass < 2; pass++)
        json_array_foreach(first, i, c)
        {
            const char *name = json_string_value(json_object_get(c, "coder"));
            if (strcmp(name, QN_STREAM_COPY) == 0 || seen(first, i) ||
                (strcmp(name, QN_STREAM_GOAL) == 0) != (pass == 0))
                continue;
            put_coder(p, streams, c, true, b);
            put_coder(p, streams, c, false, b);
            n++;
        }
    return n;
}

/* Its mean speed in all streams. */
static double copy_speed(const json_t *streams)
{
    const json_t *s, *c;
    double sum = 0.0;
    size_t i, k;
    json_array_foreach(streams, i, s)
    {
        json_array_foreach(json_object_get(s, "coders"), k, c)
        {
            if (strcmp(json_string_value(json_object_get(c, "coder")), QN_STREAM_COPY) == 0)
                sum += speed_of(c, "value");
        }
    }
    return sum / (double)json_array_size(streams);
}

static enum qins_status describe(struct qn_plotter *p, const json_t *streams,
                                 struct qins_error *err)
{
    struct bounds b = {.slowest = INFINITY, .least = INFINITY};
    const struct qn_plot plot = {
        .name = "bench-coders",
        .caption = "Decoding speed against coded size on symbol streams, one core. Large: the "
                   "fastest CPU level; small: the others; dashed: the entropy of each stream.",
        .alt = "decoding speed of coders against bits a symbol",
        .tensor = -1};
    enum qins_status st = qn_plot_begin(p, plot.name, err);
    if (st != QINS_OK)
        return st;
    put_streams(p, streams);
    const size_t coders = put_coders(p, streams, &b);
    return qn_plot_end(p, &plot, coders, qn_asset_bench_coders_gp, err,
                       "coders = %zu\ncopy = %.7g\nslowest = %.7g\nfastest = %.7g\n"
                       "least = %.7g\nmost = %.7g\n",
                       coders, copy_speed(streams), b.slowest, b.fastest, b.least, b.most);
}

enum qins_status qn_bench_plot_streams(const json_t *report, const char *dir,
                                       const struct qn_monitor *monitor, struct qins_error *err)
{
    struct qn_plotter p;
    enum qins_status st = qn_make_directories(dir, err);
    if (st != QINS_OK)
        return st;
    st = qn_plotter_init(&p, dir, err);
    if (st == QINS_OK)
        st = describe(&p, json_object_get(report, "streams"), err);
    if (st == QINS_OK)
        st = qn_plotter_draw(&p, monitor, err);
    if (st == QINS_OK)
        st = qn_plotter_place(&p, err);
    qn_plotter_finish(&p);
    return st;
}
