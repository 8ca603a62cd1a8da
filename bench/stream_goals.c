#include "bench/stream_goals.h"

#include "bench/stream_coders.h"

#include <math.h>
#include <string.h>

/* For streams of this many symbols the goals were set; less may fit in a cache. */
enum { JUDGED_SYMBOLS = 32 << 20 };

/* Which number of a coder is looked at. */
enum figure { DECODE, DECODE_SHARE, DECODE_PLACE, ENCODE, BITS, RATIO, N_FIGURES };

static const struct {
    const char *key, *unit;
    bool spread; /* its median */
    bool at_least;
} figures[N_FIGURES] = {
    [DECODE] = {"decode_gb_per_s", "decode GB/s", true, true},
    [DECODE_SHARE] = {"decode_over_memcpy", "decode over memcpy", true, true},
    [DECODE_PLACE] = {"decode_to_one_place_gb_per_s", "decode GB/s, one place", true, true},
    [ENCODE] = {"encode_gb_per_s", "encode GB/s", true, true},
    [BITS] = {"bits_per_symbol", "bits a symbol", false, false},
    [RATIO] = {"ratio", "ratio", false, true},
};

static const struct goal {
    const char *stream;
    enum qn_cpu_level level;
    enum figure figure;
    double value;
} goals[] = {
    {"a", QN_CPU_AVX512, DECODE, 11.0},
    {"b", QN_CPU_AVX512, DECODE, 10.5},
    {"c", QN_CPU_AVX512, DECODE, 11.0},
    {"d", QN_CPU_AVX512, DECODE, 12.0},
    {"a", QN_CPU_AVX512, DECODE_SHARE, 0.5},
    {"b", QN_CPU_AVX512, DECODE_SHARE, 0.5},
    {"c", QN_CPU_AVX512, DECODE_SHARE, 0.5},
    {"d", QN_CPU_AVX512, DECODE_SHARE, 0.5},
    {"a", QN_CPU_AVX2, DECODE, 4.0},
    {"b", QN_CPU_AVX2, DECODE, 4.0},
    {"c", QN_CPU_AVX2, DECODE, 4.0},
    {"d", QN_CPU_AVX2, DECODE, 4.0},
    {"a", QN_CPU_C, DECODE, 1.0},
    {"b", QN_CPU_C, DECODE, 1.0},
    {"c", QN_CPU_C, DECODE, 1.0},
    {"d", QN_CPU_C, DECODE, 1.0},
    {"a", QN_CPU_AVX512, ENCODE, 2.2},
    {"b", QN_CPU_AVX512, ENCODE, 2.2},
    {"c", QN_CPU_AVX512, ENCODE, 2.2},
    {"d", QN_CPU_AVX512, ENCODE, 2.2},
    {"a", QN_CPU_C, BITS, 7.142},
    {"b", QN_CPU_C, BITS, 7.606},
    {"c", QN_CPU_C, BITS, 5.581},
    {"d", QN_CPU_C, BITS, 3.540},
    {"e", QN_CPU_C, RATIO, 3.36},
    {"e", QN_CPU_AVX512, DECODE, 3.0},
    {"BF16", QN_CPU_C, RATIO, 1.512},
    {"F32", QN_CPU_C, RATIO, 1.203},
    {"BF16", QN_CPU_AVX512, DECODE, 9.0},
    {"F32", QN_CPU_AVX512, DECODE, 12.0},
    {"BF16", QN_CPU_AVX512, DECODE_PLACE, 9.0},
    {"F32", QN_CPU_AVX512, DECODE_PLACE, 12.0},
    {"BF16", QN_CPU_AVX512, ENCODE, 2.2},
    {"F32", QN_CPU_AVX512, ENCODE, 2.2},
};

static const json_t *find_coder(const json_t *streams, const struct goal *g)
{
    const json_t *stream, *coder;
    size_t i, k;
    json_array_foreach(streams, i, stream)
    {
        if (strcmp(json_string_value(json_object_get(stream, "name")), g->stream) != 0)
            continue;
        json_array_foreach(json_object_get(stream, "coders"), k, coder)
        {
            const char *name = json_string_value(json_object_get(coder, "coder"));
            const char *level = json_string_value(json_object_get(coder, "cpu_level"));
            if (strcmp(name, QN_STREAM_GOAL) == 0 && level &&
                strcmp(level, qn_cpu_level_name(g->level)) == 0)
                return coder;
        }
    }
    return NULL;
}

static json_t *goal_report(const struct goal *g, const json_t *coder, bool judged)
{
    const json_t *figure = json_object_get(coder, figures[g->figure].key);
    const double value =
        json_number_value(figures[g->figure].spread ? json_object_get(figure, "value") : figure);
    const bool sizes = g->figure == BITS || g->figure == RATIO; /* every level makes the same */
    json_t *j = json_object();
    qn_json_put(&j, "stream", json_string(g->stream));
    qn_json_put(&j, "coder", json_string(QN_STREAM_GOAL));
    qn_json_put(&j, "cpu_level", sizes ? json_null() : json_string(qn_cpu_level_name(g->level)));
    qn_json_put(&j, "unit", json_string(figures[g->figure].unit));
    qn_json_put(&j, "at_least", json_boolean(figures[g->figure].at_least));
    qn_json_put(&j, "value", qn_json_real(value));
    qn_json_put(&j, "goal", qn_json_real(g->value));
    qn_json_put(
        &j, "met",
        judged ? json_boolean(figures[g->figure].at_least ? value >= g->value : value <= g->value)
               : json_null());
    return j;
}

json_t *qn_stream_goals(const json_t *streams, size_t symbols)
{
    json_t *list = json_array();
    for (size_t i = 0; i < sizeof goals / sizeof *goals; i++) {
        const json_t *coder = find_coder(streams, &goals[i]);
        if (coder)
            qn_json_append(&list, goal_report(&goals[i], coder, symbols >= JUDGED_SYMBOLS));
    }
    return list;
}
