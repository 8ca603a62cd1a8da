#include "analyze/continuation_report.h"
#include "analyze/divergence.h"
#include "analyze/prompts.h"
#include "analyze/validate_report.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MODEL, CANDIDATE };
enum {
    DEFAULT_TOKENS = 1000,
    TEXT_PROMPTS = 10,       /* cut from the text */
    TEXT_PROMPT_TOKENS = 64, /* of each of them, at most */
    THIRDS = 3               /* early and late are the first and the last third */
};

static const struct qn_stability_bars bars = {.match = 0.95,
                                              .drift = -0.02,
                                              .late = NAN,
                                              .source =
                                                  "implementation-roadmap.md, Phase 1, test B"};

static const char note[] =
    "Free-running: model and candidate each continue their own text. Behind the first position "
    "where they choose differently they continue two different texts, and what still matches "
    "matches by chance: the figure says above all when the first difference came, and its drift is "
    "negative wherever one came. Teacher-forced: the candidate reads the model's continuation and "
    "its likeliest token at each position is compared with the model's; each position counts by "
    "itself, so this is the rate of differences, and its drift shows whether they become more.";

/* Prompts of one origin. */
struct group {
    struct qn_continuation_prompt *prompts;
    size_t n;
    const char *source;
    struct qn_digest digest;
};

static enum qins_status encode(const struct qn_validation *v, const struct qn_prompt *p,
                               size_t number, struct qn_continuation_prompt *out,
                               struct qins_error *err)
{
    const uint32_t vocab = v->models[MODEL]->config.vocab;
    const size_t most = qn_continuation_context(v) / 2;
    struct qn_ids ids = {0};
    enum qins_status st =
        qn_tokenizer_encode(v->tokenizer, p->text, p->size, QN_ENCODE_TEMPLATE, &ids, err);
    if (st == QINS_OK && ids.count == 0)
        st = qn_fail(err, QINS_ERR_FORMAT, "prompt %zu has no tokens", number);
    for (size_t i = 0; i < ids.count && st == QINS_OK; i++)
        if (ids.data[i] >= vocab)
            st = qn_fail(err, QINS_ERR_FORMAT,
                         "the tokenizer makes token %u of prompt %zu, the model has %u",
                         ids.data[i], number, vocab);
    if (st == QINS_OK) {
        const size_t cut = ids.count > most ? ids.count - most : 0;
        snprintf(out->kind, sizeof out->kind, "%s", p->kind);
        out->n = ids.count - cut;
        memmove(ids.data, ids.data + cut, out->n * sizeof *ids.data);
        out->ids = ids.data; /* and no longer of ids */
        return QINS_OK;
    }
    qn_ids_finish(&ids);
    return st;
}

static enum qins_status read_prompts(const struct qn_validation *v, struct group *g,
                                     struct qins_error *err)
{
    const char *path = v->options->prompts;
    struct qn_prompts p;
    enum qins_status st = qn_prompts_read(&p, path, err);
    g->source = path ? path : "shipped";
    g->digest = p.digest;
    g->prompts = st == QINS_OK ? calloc(p.n, sizeof *g->prompts) : NULL;
    if (st == QINS_OK && !g->prompts)
        st = qn_fail_memory(err);
    for (size_t i = 0; g->prompts && i < p.n && st == QINS_OK; i++) {
        st = encode(v, &p.prompts[i], i, &g->prompts[i], err);
        g->n++;
    }
    if (path)
        st = qn_error_in_file(err, st, path);
    qn_prompts_finish(&p);
    return st;
}

/* Evenly spread over the text. */
static enum qins_status cut_prompts(const struct qn_validation *v, struct group *g,
                                    struct qins_error *err)
{
    const struct qn_ids *text = &v->corpus.ids;
    size_t tokens = qn_continuation_context(v) / 2 < TEXT_PROMPT_TOKENS
                        ? qn_continuation_context(v) / 2
                        : TEXT_PROMPT_TOKENS;
    tokens = tokens < text->count ? tokens : text->count;
    g->source = QN_PROMPTS_TEXT;
    g->digest = v->corpus.text_digest;
    g->prompts = calloc(TEXT_PROMPTS, sizeof *g->prompts);
    if (!g->prompts)
        return qn_fail_memory(err);
    for (g->n = 0; g->n < TEXT_PROMPTS; g->n++) {
        struct qn_continuation_prompt *p = &g->prompts[g->n];
        const uint64_t at = qn_spread_evenly(g->n, TEXT_PROMPTS, text->count - tokens + 1);
        p->ids = malloc(tokens * sizeof *p->ids);
        if (!p->ids)
            return qn_fail_memory(err);
        memcpy(p->ids, text->data + at, tokens * sizeof *p->ids);
        p->n = tokens;
        snprintf(p->kind, sizeof p->kind, "%s", "text");
    }
    return QINS_OK;
}

static void describe(const struct group *g, json_t **j)
{
    json_t *kinds = json_object();
    for (size_t i = 0; i < g->n; i++)
        qn_count_name(&kinds, g->prompts[i].kind);
    qn_json_put(j, "source", qn_json_text(g->source));
    qn_json_put(j, "fingerprint", qn_json_digest(&g->digest));
    qn_json_put(j, "kinds", kinds);
}

static enum qins_status run_group(struct qn_validation *v, const char *test, const struct group *g,
                                  json_t **j, struct qins_error *err)
{
    struct qn_continuation_job job = {
        .test = test, .what = "greedy", .prompts = g->prompts, .n = g->n};
    job.tokens = v->options->tokens ? v->options->tokens : DEFAULT_TOKENS;
    for (size_t i = 0; i < g->n; i++)
        if (g->prompts[i].n + job.tokens > job.positions)
            job.positions = g->prompts[i].n + job.tokens;
    if (job.positions > qn_continuation_context(v))
        job.positions = qn_continuation_context(v);
    describe(g, j);
    enum qins_status st = qn_continue_prompts(v, &job, err);
    return st == QINS_OK ? qn_continuation_report(v, &job, THIRDS, &bars, j, NULL, err) : st;
}

/* Makes a group and runs it; one cut from the text has its own items in the journal. */
static enum qins_status add_group(struct qn_validation *v, bool from_text, json_t **j,
                                  struct qins_error *err)
{
    struct group g = {0};
    enum qins_status st = (from_text ? cut_prompts : read_prompts)(v, &g, err);
    if (st == QINS_OK)
        st = run_group(v, from_text ? "autoregressive-text" : "autoregressive", &g, j, err);
    qn_continuation_prompts_free(g.prompts, g.n);
    return st;
}

static void begin_report(const struct qn_validation *v, json_t **j)
{
    const uint32_t tokens = v->options->tokens ? v->options->tokens : DEFAULT_TOKENS;
    qn_json_put(j, "judged", json_string("free_running"));
    qn_json_put(j, "note", json_string(note));
    qn_json_put(j, "tokens", json_integer(tokens));
    qn_json_put(j, "window", json_integer(QN_MATCH_WINDOW));
    if (!v->tokenizer)
        qn_json_put(j, "source_note",
                    json_string("ids were given and no tokenizer: the prompts are cut from them"));
}

/* "passed" and "thresholds" are those of what is judged. */
static void judge(json_t **j)
{
    const json_t *judged = json_object_get(*j, "free_running");
    qn_json_put(j, "passed", json_incref(json_object_get(judged, "passed")));
    qn_json_put(j, "thresholds", json_incref(json_object_get(judged, "thresholds")));
}

static enum qins_status run(struct qn_validation *v, json_t **result, struct qins_error *err)
{
    const char *prompts = v->options->prompts;
    const bool text_alone = !v->tokenizer || (prompts && strcmp(prompts, QN_PROMPTS_TEXT) == 0);
    json_t *j = json_object();
    enum qins_status st = QINS_OK;
    if (qn_continuation_context(v) < 2) {
        qn_json_put(&j, "skipped", json_string("the context has no room for a continuation"));
    } else {
        begin_report(v, &j);
        st = add_group(v, text_alone, &j, err);
        judge(&j);
        if (st == QINS_OK && !text_alone && !prompts) {
            json_t *text = json_object();
            st = add_group(v, true, &text, err);
            qn_json_put(&j, "text", text);
        }
    }
    return qn_validation_end(st, j, result, err);
}

const struct qn_validate_test qn_test_autoregressive = {
    .name = "autoregressive", .compares = true, .run = run};
