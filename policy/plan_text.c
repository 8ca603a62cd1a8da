/* What a plan says of its choices: lines with reasons, and the tables of what was considered. */
#include "policy/planner.h"

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

static double bits_of(const struct qn_planned *item, double bytes)
{
    return item->elements ? 8.0 * bytes / (double)item->elements : 0.0;
}

/* Appends to a line; what does not fit as a whole is left out. */
QN_PRINTF(3, 4)
static void say(char *text, size_t size, const char *format, ...)
{
    size_t used = strlen(text);
    va_list args;
    va_start(args, format);
    int n = vsnprintf(text + used, size - used, format, args);
    va_end(args);
    if (n < 0 || (size_t)n >= size - used)
        text[used] = '\0';
}

static void say_class(const struct qn_planned *item, const struct qn_policy *p, char *text,
                      size_t size)
{
    bool given = item->rule &&
                 (item->rule->treatment == QN_TREAT_HOT || item->rule->treatment == QN_TREAT_COLD);
    say(text, size, "%s",
        item->access_class == QN_CLASS_UNKNOWN ? "no calibration, class unknown"
                                               : qn_class_name(item->access_class));
    if (given)
        say(text, size, ", says the policy's rule");
    else if (item->touches >= 0.0 && p->nothing_hot)
        say(text, size, ", as all is under policy %s", p->name);
    if (item->touches < 0.0)
        return;
    if (item->head && item->looked_up)
        say(text, size, ": an embedding that is also the head, read whole for each token");
    else if (item->looked_up)
        say(text, size, ": its %llu rows share %.3g touches a token",
            (unsigned long long)(item->row_end - item->row_begin), item->touches);
    else
        say(text, size, ": %.3g touch%s a token", item->touches, item->touches == 1.0 ? "" : "es");
}

/* The fewest bytes of another coder at no more error than that of the chosen one, or infinity. */
static double at_equal_error(const struct qn_planned *item, enum qn_codec_id codec)
{
    double best = INFINITY, cost = item->codings[item->chosen].cost;
    for (size_t i = 0; i < item->n_codings; i++) {
        const struct qn_coding *c = &item->codings[i];
        if (c->codec == codec && c->cost <= cost && c->bytes < best)
            best = c->bytes;
    }
    return best;
}

/* The coder of codes as they come, other than that of the chosen one, that makes it smallest at no
 * more error; QN_CODEC_COUNT where there is none. */
static enum qn_codec_id rival(const struct qn_planned *item, double *bytes)
{
    enum qn_codec_id best = QN_CODEC_COUNT;
    *bytes = INFINITY;
    for (int i = 0; i < QN_COUNTED_CODERS; i++) {
        const double other = at_equal_error(item, qn_counted_coders[i]);
        if (qn_counted_coders[i] != item->codings[item->chosen].codec && other < *bytes) {
            best = qn_counted_coders[i];
            *bytes = other;
        }
    }
    return best;
}

/* Decoded float32 bytes a nanosecond. */
static double decode_rate(const struct qn_costs *costs, enum qn_codec_id codec)
{
    return sizeof(float) / costs->decode_ns[codec];
}

static void say_coding(const struct qn_planned *item, const struct qn_policy *p,
                       const struct qn_costs *costs, char *text, size_t size)
{
    const struct qn_coding *c = &item->codings[item->chosen];
    const bool packed = c->codec == QN_CODEC_BITPACK;
    const bool timed = c->decode_ns > 0.0 && !p->nothing_hot;
    const double budget = 100.0 * p->hot_decode_overhead;
    const double as_packed = at_equal_error(item, QN_CODEC_BITPACK);
    double coded;
    const enum qn_codec_id other = rival(item, &coded);
    if (packed) {
        say(text, size, "; %.2f bits packed", bits_of(item, c->bytes));
        if (other != QN_CODEC_COUNT)
            say(text, size, " vs %.2f by %s at equal error", bits_of(item, coded),
                qn_codec_name(other));
        if (timed && coded < c->bytes)
            say(text, size,
                ", whose decode at %.1f GB/s is worth more elsewhere in the %g %% budget",
                decode_rate(costs, other), budget);
    } else {
        say(text, size, "; %.2f bits by %s", bits_of(item, c->bytes), qn_codec_name(c->codec));
        if (other != QN_CODEC_COUNT)
            say(text, size, ", %.2f by %s", bits_of(item, coded), qn_codec_name(other));
        if (isfinite(as_packed))
            say(text, size, " vs %.2f packed at equal error", bits_of(item, as_packed));
        say(text, size, "; decode %.1f GB/s", decode_rate(costs, c->codec));
        if (timed)
            say(text, size, " is inside the %g %% budget", budget);
    }
    if (item->rule)
        say(text, size, " (%s)", item->rule->name);
}

static void set_group(enum qn_granularity g, uint64_t row_length, struct qn_plan_line *line)
{
    line->group_kind = g == QN_PER_TENSOR ? QN_GROUP_TENSOR
                       : g == QN_PER_ROW  ? QN_GROUP_ROW
                                          : QN_GROUP_BLOCK;
    line->group = line->group_kind == QN_GROUP_BLOCK ? qn_granularity_group(g, row_length) : 0;
}

void qn_plan_line_of(const struct qn_planned *item, const struct qn_policy *p,
                     const struct qn_costs *costs, enum qn_rounding rounding,
                     struct qn_plan_line *line)
{
    const struct qn_coding *c = &item->codings[item->chosen];
    *line = (struct qn_plan_line){
        .content = QN_CONTENT_QINS,
        .codec = c->codec,
        .levels = c->candidate.levels,
        .kappa = c->candidate.kappa,
        .clip = c->candidate.clip,
        .rounding = rounding,
        .access_class = item->access_class,
        .access_frequency = item->touches,
    };
    set_group(c->candidate.granularity, item->row_length, line);
    say_class(item, p, line->reason, sizeof line->reason);
    say_coding(item, p, costs, line->reason, sizeof line->reason);
}

static json_t *coding_to_json(const struct qn_planned *item, size_t index)
{
    const struct qn_coding *c = &item->codings[index];
    json_t *j = json_object();
    qn_json_put(&j, "codec", json_string(qn_codec_name(c->codec)));
    qn_json_put(&j, "bits", json_integer(qn_code_bits(c->candidate.levels)));
    qn_json_put(&j, "levels", json_integer(c->candidate.levels));
    qn_json_put(&j, "group", json_string(qn_granularity_name(c->candidate.granularity)));
    qn_json_put(&j, "kappa", qn_json_real((double)c->candidate.kappa));
    qn_json_put(&j, "clip", qn_json_real((double)c->candidate.clip));
    qn_json_put(&j, "bytes", json_integer((json_int_t)c->bytes));
    qn_json_put(&j, "bits_per_weight", qn_json_real(bits_of(item, c->bytes)));
    qn_json_put(&j, "sqnr_db", qn_json_real(c->candidate.sqnr_db));
    qn_json_put(&j, "cost", qn_json_real(c->cost));
    qn_json_put(&j, "decode_ns_per_token", qn_json_real(c->decode_ns));
    qn_json_put(&j, "chosen", json_boolean(index == item->chosen));
    return j;
}

/* Appends the hull's corners among codings BEGIN ... END - 1, which are of one coder, and the
 * chosen one, by bytes. */
static bool append_hull(const struct qn_planned *item, size_t begin, size_t end, json_t *list)
{
    size_t n = end - begin, *hull = calloc(n + 1, sizeof *hull);
    double *x = calloc(n + 1, sizeof *x), *y = calloc(n + 1, sizeof *y);
    bool good = hull && x && y;
    for (size_t i = 0; good && i < n; i++) {
        x[i] = item->codings[begin + i].bytes;
        y[i] = item->codings[begin + i].cost;
    }
    size_t kept = good ? qn_convex_hull(x, y, n, hull) : 0, next = 0;
    for (size_t i = begin; good && i < end; i++) {
        bool corner = next < kept && hull[next] == i - begin;
        next += corner;
        if (corner || i == item->chosen)
            good = json_array_append_new(list, coding_to_json(item, i)) == 0;
    }
    free(hull);
    free(x);
    free(y);
    return good;
}

json_t *qn_plan_candidates(const struct qn_planned *item)
{
    json_t *j = json_object(), *list = json_array();
    bool good = list != NULL;
    for (size_t begin = 0, end; good && begin < item->n_codings; begin = end) {
        for (end = begin;
             end < item->n_codings && item->codings[end].codec == item->codings[begin].codec;)
            end++;
        good = append_hull(item, begin, end, list);
    }
    if (!good) {
        json_decref(list);
        list = NULL;
    }
    qn_json_put(&j, "row_begin", json_integer((json_int_t)item->row_begin));
    qn_json_put(&j, "row_end", json_integer((json_int_t)item->row_end));
    qn_json_put(&j, "codings", list);
    return j;
}
