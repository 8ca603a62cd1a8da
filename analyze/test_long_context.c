#include "analyze/continuation_report.h"
#include "analyze/divergence.h"
#include "analyze/long_windows.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MODEL, CANDIDATE };
enum {
    LENGTHS = 3,           /* a quarter, a half and all of the context */
    LEAST_LENGTH = 16,     /* tokens of a window whose eighths are to say something */
    WINDOWS = 10,          /* of a length at most: what a standard error from windows needs */
    MOST_TOKENS = 1 << 16, /* of all windows of a length, but for the first one */
    PROMPTS = 4,           /* of a length at most */
    CONTINUED = 256,       /* tokens behind each, at most */
    QUARTERS = 4           /* early and late: 64 of 256 tokens */
};

static const struct qn_stability_bars bars = {.match = 0.95,
                                              .drift = -0.05,
                                              .late = 0.90,
                                              .source =
                                                  "implementation-roadmap.md, Phase 1, test E"};

static const char note[] =
    "Judged is \"text\": both models read the held-out text, and at each position it is asked "
    "whether the candidate's likeliest token is the model's; early is the first quarter of a "
    "window, late the last. \"continuation\" is greedy behind a prompt that fills the rest of the "
    "length, free-running (each continues its own text: nothing but chance matches behind the "
    "first difference) and teacher-forced (the candidate reads the model's).";

/* Windows of one length, and what continues their beginnings. */
struct length {
    size_t tokens;
    uint64_t text_windows, windows;      /* that the text has; that are run */
    const char *text_test, *greedy_test; /* of the journal */
};

/* In the journal they are told apart by their place among the lengths. */
static const char *const text_tests[LENGTHS] = {"long-text-quarter", "long-text-half",
                                                "long-text-whole"};
static const char *const greedy_tests[LENGTHS] = {"long-greedy-quarter", "long-greedy-half",
                                                  "long-greedy-whole"};

static enum qins_status make_prompts(const struct qn_validation *v, const struct length *l,
                                     struct qn_continuation_job *job,
                                     struct qn_continuation_prompt *prompts, struct qins_error *err)
{
    const size_t n = l->tokens - job->tokens;
    for (job->n = 0; job->n < PROMPTS && job->n < l->windows; job->n++) {
        struct qn_continuation_prompt *p = &prompts[job->n];
        const uint64_t most = l->windows < PROMPTS ? l->windows : PROMPTS;
        const uint64_t window = qn_spread_evenly(job->n, most, l->text_windows);
        p->n = n;
        p->ids = malloc(n * sizeof *p->ids);
        if (!p->ids)
            return qn_fail_memory(err);
        memcpy(p->ids, v->corpus.ids.data + window * l->tokens, n * sizeof *p->ids);
        snprintf(p->kind, sizeof p->kind, "%s", "text");
    }
    return QINS_OK;
}

static enum qins_status add_continuation(struct qn_validation *v, const struct length *l,
                                         json_t **j, struct qins_error *err)
{
    struct qn_continuation_prompt *prompts = calloc(PROMPTS, sizeof *prompts);
    struct qn_continuation_job job = {.test = l->greedy_test,
                                      .what = "greedy, long context",
                                      .prompts = prompts,
                                      .positions = l->tokens,
                                      .tokens =
                                          l->tokens / 2 < CONTINUED ? l->tokens / 2 : CONTINUED};
    json_t *part = json_object();
    if (v->options->tokens && v->options->tokens < job.tokens)
        job.tokens = v->options->tokens;
    enum qins_status st = prompts ? make_prompts(v, l, &job, prompts, err) : qn_fail_memory(err);
    qn_json_put(&part, "prompt_tokens", json_integer((json_int_t)(l->tokens - job.tokens)));
    qn_json_put(&part, "tokens", json_integer((json_int_t)job.tokens));
    if (st == QINS_OK)
        st = qn_continue_prompts(v, &job, err);
    if (st == QINS_OK)
        st = qn_continuation_report(v, &job, QUARTERS, &bars, &part, NULL, err);
    qn_json_put(j, "continuation", part);
    qn_continuation_prompts_free(prompts, PROMPTS);
    return st;
}

static enum qins_status add_text(struct qn_validation *v, const struct length *l,
                                 struct qn_stability *found, json_t **j, struct qins_error *err)
{
    const struct qn_long_windows windows = {
        .test = l->text_test, .context = l->tokens, .of = l->text_windows, .windows = l->windows};
    json_t *part = NULL, *passed;
    enum qins_status st = qn_long_windows_run(v, &windows, err);
    if (st == QINS_OK)
        st = qn_long_windows_report(v, &windows, found, &part, err);
    if (st != QINS_OK)
        return st;
    qn_json_put(&part, "thresholds", qn_stability_thresholds(found, &bars, &passed));
    qn_json_put(j, "passed", json_incref(passed));
    qn_json_put(&part, "passed", passed);
    qn_json_put(j, "text", part);
    return QINS_OK;
}

/* Whether there is nothing to be said about a length. *REASON: why; NULL where memory is short. */
static bool is_left_out(const struct qn_validation *v, const struct length *l, size_t shorter,
                        json_t **reason)
{
    *reason = NULL;
    if (l->tokens < LEAST_LENGTH)
        *reason = json_sprintf("it is shorter than %d tokens", LEAST_LENGTH);
    else if (l->tokens <= shorter)
        *reason = json_sprintf("it is no longer than the length before");
    else if (l->windows == 0)
        *reason = json_sprintf("the text has %zu tokens, a window and the token behind it need %zu",
                               v->corpus.ids.count, l->tokens + 1);
    else
        return false;
    return true;
}

static double least(double a, double b)
{
    return isnan(a) || b < a ? b : a;
}

/* WORST takes what is lower of each figure. */
static enum qins_status add_length(struct qn_validation *v, const struct length *l, size_t shorter,
                                   json_t **lengths, struct qn_stability *worst,
                                   struct qins_error *err)
{
    json_t *j = json_object(), *reason;
    struct qn_stability found;
    enum qins_status st = QINS_OK;
    qn_json_put(&j, "tokens", json_integer((json_int_t)l->tokens));
    if (is_left_out(v, l, shorter, &reason)) {
        qn_json_put(&j, "skipped", reason);
    } else {
        qn_json_put(&j, "windows", json_integer((json_int_t)l->windows));
        qn_json_put(&j, "text_windows", json_integer((json_int_t)l->text_windows));
        st = add_text(v, l, &found, &j, err);
        if (st == QINS_OK)
            st = add_continuation(v, l, &j, err);
        if (st == QINS_OK)
            *worst = (struct qn_stability){.match = least(worst->match, found.match),
                                           .drift = least(worst->drift, found.drift),
                                           .late = least(worst->late, found.late)};
    }
    qn_json_append(lengths, j);
    return st;
}

/* That a length is worth. */
static uint64_t most_windows(size_t tokens)
{
    uint64_t n = WINDOWS;
    while (n > 1 && n * tokens > MOST_TOKENS)
        n--;
    return n;
}

static enum qins_status run_lengths(struct qn_validation *v, json_t **j, struct qins_error *err)
{
    struct qn_stability worst = {NAN, NAN, NAN};
    json_t *lengths = json_array(), *passed;
    const size_t context = qn_continuation_context(v), text = v->corpus.ids.count;
    enum qins_status st = QINS_OK;
    size_t shorter = 0;
    for (int i = 0; i < LENGTHS && st == QINS_OK; i++) {
        struct length l = {.tokens = context >> (LENGTHS - 1 - i),
                           .text_test = text_tests[i],
                           .greedy_test = greedy_tests[i]};
        l.text_windows = l.tokens > 0 && text > 0 ? (text - 1) / l.tokens : 0;
        l.windows = most_windows(l.tokens);
        if (l.text_windows < l.windows)
            l.windows = l.text_windows;
        st = add_length(v, &l, shorter, &lengths, &worst, err);
        shorter = l.tokens;
    }
    qn_json_put(j, "judged", json_string("text"));
    qn_json_put(j, "note", json_string(note));
    if (isnan(worst.match)) {
        qn_json_put(j, "passed", json_null());
    } else {
        qn_json_put(j, "thresholds", qn_stability_thresholds(&worst, &bars, &passed));
        qn_json_put(j, "passed", passed);
    }
    qn_json_put(j, "lengths", lengths);
    return st;
}

static enum qins_status run(struct qn_validation *v, json_t **result, struct qins_error *err)
{
    json_t *j = json_object();
    const enum qins_status st = run_lengths(v, &j, err);
    return qn_validation_end(st, j, result, err);
}

const struct qn_validate_test qn_test_long_context = {
    .name = "long-context", .compares = true, .run = run};
