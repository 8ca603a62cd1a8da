/* Pictures of generation: how often two models' next tokens agree, by position. */
#include "analyze/plot_assets.h"
#include "analyze/report_json.h"
#include "analyze/review_parts.h"

#include <math.h>
#include <string.h>

enum { MAX_WINDOWS = 4096 };

/* Mean and standard error over the prompts that reach a window. */
struct spread {
    double sum, squares;
    size_t n;
};

static struct spread spread_of(const json_t *prompts, const char *mode, size_t window)
{
    struct spread s = {0};
    const json_t *prompt;
    size_t i;
    json_array_foreach(prompts, i, prompt)
    {
        const double share =
            qn_review_at(json_object_get(json_object_get(prompt, mode), "windows"), window);
        if (isnan(share))
            continue;
        s.sum += share;
        s.squares += share * share;
        s.n++;
    }
    return s;
}

/* Whether PROMPT's continuation fills WINDOW of so many TOKENS. */
static bool fills(const json_t *prompt, size_t window, double tokens)
{
    return !(qn_report_number(prompt, "tokens") < ((double)window + 1.0) * tokens);
}

/* Half of the prompts, or more, fill it: the others' parts of windows are noise. */
static bool is_filled(const json_t *prompts, size_t window, double tokens)
{
    const json_t *prompt;
    size_t i, n = 0;
    json_array_foreach(prompts, i, prompt)
    {
        n += fills(prompt, window, tokens);
    }
    return 2 * n >= json_array_size(prompts);
}

static double standard_error(const struct spread *s)
{
    const double n = (double)s->n, mean = s->sum / n;
    return s->n > 1 ? sqrt(fmax(s->squares / n - mean * mean, 0.0) / (n - 1.0)) : 0.0;
}

/* The means of GROUP in MODE: middle of the window, per cent, lower and upper end of one standard
 * error. *LEAST: of what is shown. */
static void put_means(struct qn_plotter *p, const json_t *group, const char *mode, double window,
                      double *least)
{
    const json_t *windows = json_object_get(json_object_get(group, mode), "windows");
    size_t rows = 0;
    for (size_t i = 0; i < json_array_size(windows) && i < MAX_WINDOWS; i++) {
        const double mean = 100.0 * qn_review_at(windows, i);
        const struct spread s = spread_of(json_object_get(group, "prompts"), mode, i);
        const double error = s.n > 0 ? 100.0 * standard_error(&s) : 0.0;
        if (isnan(mean) || !is_filled(json_object_get(group, "prompts"), i, window))
            continue;
        qn_plot_number(p, ((double)i + 0.5) * window);
        qn_plot_number(p, mean);
        qn_plot_number(p, fmax(mean - error, 0.0));
        qn_plot_number(p, fmin(mean + error, 100.0));
        qn_plot_end_row(p);
        *least = fmin(*least, mean - error);
        rows++;
    }
    qn_plot_end_block(p, rows, 4);
}

/* Each prompt's own curve. */
static void put_prompts(struct qn_plotter *p, const json_t *group, const char *mode, double window,
                        double *least)
{
    const json_t *prompt;
    size_t i, rows = 0;
    json_array_foreach(json_object_get(group, "prompts"), i, prompt)
    {
        const json_t *windows = json_object_get(json_object_get(prompt, mode), "windows");
        for (size_t k = 0; k < json_array_size(windows) && k < MAX_WINDOWS; k++) {
            const double share = qn_review_at(windows, k);
            if (isnan(share) || !fills(prompt, k, window))
                continue;
            qn_plot_number(p, ((double)k + 0.5) * window);
            qn_plot_number(p, 100.0 * share);
            qn_plot_end_row(p);
            *least = fmin(*least, 100.0 * share);
            rows++;
        }
        qn_plot_end_row(p);
    }
    qn_plot_end_block(p, rows, 2);
}

static double bar_of(const json_t *test, const char *name, double otherwise)
{
    const double bar =
        qn_report_number(json_object_get(json_object_get(test, "thresholds"), name), "bar");
    return isnan(bar) ? otherwise : bar;
}

/* The most windows that either of MODES has. */
static size_t windows_of(const json_t *test, const char *const modes[2])
{
    size_t most = 0;
    for (int m = 0; m < 2; m++) {
        const size_t n =
            json_array_size(json_object_get(json_object_get(test, modes[m]), "windows"));
        most = n > most ? n : most;
    }
    return most < MAX_WINDOWS ? most : MAX_WINDOWS;
}

static enum qins_status plot_autoregressive(struct qn_plotter *p, const struct qn_review *r,
                                            size_t file, const json_t *test, struct qins_error *err)
{
    static const char *const modes[] = {"teacher_forced", "free_running"};
    static const double seeds_bar = 0.95;
    struct qn_plot plot = {
        .caption = "Share of equal greedy tokens by windows of the continuation: mean of the "
                   "prompts with one standard error, and each prompt, thin. Above, both models see "
                   "the FP32 model's tokens; below, each goes on with its own, so that after one "
                   "different token the texts part and agree only by chance. The last windows are "
                   "left out "
                   "where fewer than half of the prompts fill them.",
        .alt = "share of equal tokens by position",
        .tensor = -1};
    const struct qn_evidence_file *f = &r->evidence->files[file];
    const json_t *text = json_object_get(test, "text");
    double window = qn_report_number(test, "window"), least[2] = {100.0, 100.0}, unused = 100.0;
    if (!(window > 0.0) ||
        json_array_size(json_object_get(json_object_get(test, modes[0]), "windows")) == 0)
        return QINS_OK;
    qn_review_plot_name(QN_REVIEW_AUTOREGRESSIVE, file, plot.name, sizeof plot.name);
    enum qins_status st = qn_plot_begin(p, plot.name, err);
    if (st != QINS_OK)
        return st;
    qn_review_plot_label(p, r, f);
    qn_plot_end_row(p);
    qn_plot_end_block(p, 1, 1);
    for (int m = 0; m < 2; m++) {
        put_means(p, test, modes[m], window, &least[m]);
        put_means(p, text, modes[m], window, &least[m]);
        put_prompts(p, test, modes[m], window, m ? &unused : &least[m]);
    }
    return qn_plot_end(p, &plot, 1, qn_asset_review_generation_gp, err,
                       "bar = %.9g\nlow = %.9g\nfrom_text = %d\nprompts = %zu\nend = %.9g\n",
                       100.0 * bar_of(test, "match", seeds_bar), fmax(least[0], 0.0),
                       json_is_object(text), json_array_size(json_object_get(test, "prompts")),
                       window * (double)windows_of(test, modes));
}

/* A curve a length, its name on top: middle of the eighth, per cent, one standard error. */
static enum qins_status plot_long_context(struct qn_plotter *p, size_t file, const json_t *test,
                                          struct qins_error *err)
{
    static const double seeds_bar = 0.95, seeds_late = 0.90;
    struct qn_plot plot = {
        .caption = "Share of equal likeliest next tokens by position in the context, both models "
                   "fed the text, for several lengths; one standard error.",
        .alt = "share of equal tokens by position in long contexts",
        .tensor = -1};
    const json_t *length, *part;
    size_t i, k, curves = 0;
    qn_review_plot_name(QN_REVIEW_LONG_CONTEXT, file, plot.name, sizeof plot.name);
    enum qins_status st = qn_plot_begin(p, plot.name, err);
    if (st != QINS_OK)
        return st;
    json_array_foreach(json_object_get(test, "lengths"), i, length)
    {
        const json_t *parts = json_object_get(json_object_get(length, "text"), "eighths");
        char name[32];
        if (json_array_size(parts) == 0 || curves == QN_REVIEW_SERIES)
            continue;
        snprintf(name, sizeof name, "%.0f tokens", qn_report_number(length, "tokens"));
        qn_plot_text(p, name);
        qn_plot_end_row(p);
        json_array_foreach(parts, k, part)
        {
            qn_plot_number(p,
                           0.5 * (qn_report_number(part, "begin") + qn_report_number(part, "end")));
            qn_plot_number(p, 100.0 * qn_report_number(part, "match"));
            qn_plot_number(p, 100.0 * fmax(qn_report_number(part, "match_standard_error"), 0.0));
            qn_plot_end_row(p);
        }
        qn_plot_end_block(p, k, 3);
        curves++;
    }
    return qn_plot_end(p, &plot, curves, qn_asset_review_context_gp, err,
                       "curves = %zu\nbar = %.9g\nlate = %.9g\n", curves,
                       100.0 * bar_of(test, "match", seeds_bar),
                       100.0 * bar_of(test, "late", seeds_late));
}

enum qins_status qn_review_plot_generation(struct qn_plotter *p, const struct qn_review *r,
                                           struct qins_error *err)
{
    enum qins_status st = QINS_OK;
    size_t generations = 0, contexts = 0;
    for (size_t i = 0; i < r->evidence->n && st == QINS_OK; i++) {
        const struct qn_evidence_file *f = &r->evidence->files[i];
        const json_t *generation = qn_review_test(f, "autoregressive"),
                     *context = qn_review_test(f, "long_context");
        if (generation && qn_review_draws(r, i, generations++))
            st = plot_autoregressive(p, r, i, generation, err);
        if (st == QINS_OK && context && qn_review_draws(r, i, contexts++))
            st = plot_long_context(p, i, context, err);
    }
    return st;
}
