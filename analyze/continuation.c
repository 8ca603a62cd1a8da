#include "analyze/continuation.h"

#include "analyze/divergence.h"
#include "core/linalg.h"
#include "model/generate.h"
#include "model/kernels.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MODEL, CANDIDATE };

/* A journal item begins with this; tokens follow: the model's, those forced, the candidate's. */
struct head {
    double mean_kl, max_kl;
    struct qn_digest prompt;
    uint32_t n[QN_PREDICTORS];
    uint32_t ended[QN_PREDICTORS];
};

/* What a thread continues a prompt with. */
struct slot {
    struct qn_session *sessions[QN_PREDICTORS];
    float *logits[QN_PREDICTORS]; /* [vocab] */
    struct head head;
    uint32_t *ids[QN_PREDICTORS], *forced; /* [tokens] */
    uint8_t *item;                         /* as it goes into the journal */
};

struct work {
    struct qn_validation *v;
    const struct qn_continuation_job *job;
    struct slot *slots;
    unsigned n_slots;
};

size_t qn_continuation_context(const struct qn_validation *v)
{
    const uint32_t a = v->models[MODEL]->config.max_positions,
                   b = v->models[CANDIDATE]->config.max_positions;
    return a < b ? a : b;
}

struct qn_digest qn_continuation_digest(const struct qn_continuation_prompt *p)
{
    return qn_hash128(p->ids, p->n * sizeof *p->ids);
}

void qn_continuation_prompts_free(struct qn_continuation_prompt *p, size_t n)
{
    for (size_t i = 0; p && i < n; i++)
        free(p[i].ids);
    free(p);
}

/* Tokens that a prompt's continuation has at most. */
static size_t room(const struct qn_continuation_job *job, size_t item)
{
    const size_t left = job->positions - job->prompts[item].n;
    return job->tokens < left ? job->tokens : left;
}

/* Logits behind the last token that was run, and the likeliest token. */
static enum qins_status predict(const struct work *w, struct slot *s, int who, uint32_t *likeliest,
                                struct qins_error *err)
{
    const struct qn_model *m = w->v->models[who];
    struct qn_session *session = s->sessions[who];
    qn_session_logits(session, qn_session_last_batch(session) - 1, 1, s->logits[who]);
    if (!isfinite(qn_kernels()->log_sum_exp(s->logits[who], m->config.vocab))) {
        char where[64];
        snprintf(where, sizeof where, "at position %zu of a continuation",
                 qn_session_position(session) - 1);
        return qn_model_not_finite(m, where, err);
    }
    *likeliest = (uint32_t)qn_kernels()->argmax(s->logits[who], m->config.vocab);
    return QINS_OK;
}

static enum qins_status run_tokens(const struct work *w, struct slot *s, int who,
                                   const uint32_t *ids, size_t n, struct qins_error *err)
{
    return qn_session_forward(s->sessions[who], ids, n, w->v->monitor, err);
}

/* The model goes on by itself, the candidate reads what it writes. */
static enum qins_status continue_both(const struct work *w, struct slot *s, size_t item,
                                      struct qins_error *err)
{
    const struct qn_continuation_prompt *prompt = &w->job->prompts[item];
    const struct qn_model *m = w->v->models[MODEL];
    const size_t most = room(w->job, item);
    double sum = 0.0;
    uint32_t i = 0;
    enum qins_status st = QINS_OK;
    for (int who = 0; who < QN_PREDICTORS && st == QINS_OK; who++) {
        qn_session_reset(s->sessions[who]);
        st = run_tokens(w, s, who, prompt->ids, prompt->n, err);
    }
    while (st == QINS_OK) {
        st = predict(w, s, MODEL, &s->ids[MODEL][i], err);
        if (st == QINS_OK)
            st = predict(w, s, CANDIDATE, &s->forced[i], err);
        if (st != QINS_OK)
            return st;
        const double kl =
            qn_kl_of_logits(s->logits[MODEL], qn_log_sum_exp(s->logits[MODEL], m->config.vocab),
                            s->logits[CANDIDATE], m->config.vocab);
        sum += kl;
        s->head.max_kl = kl > s->head.max_kl ? kl : s->head.max_kl;
        s->head.ended[MODEL] = qn_ends_text(m, s->ids[MODEL][i]);
        if (++i == most || s->head.ended[MODEL])
            break;
        for (int who = 0; who < QN_PREDICTORS && st == QINS_OK; who++)
            st = run_tokens(w, s, who, &s->ids[MODEL][i - 1], 1, err);
    }
    s->head.n[MODEL] = i;
    s->head.mean_kl = sum / i;
    return st;
}

/* The candidate goes on by itself. Until it differs it has read the same as before, in the same
 * steps, so that it need not run again where it never did. */
static enum qins_status continue_candidate(const struct work *w, struct slot *s, size_t item,
                                           struct qins_error *err)
{
    const struct qn_continuation_prompt *prompt = &w->job->prompts[item];
    const struct qn_model *m = w->v->models[CANDIDATE];
    const size_t most = room(w->job, item), n = s->head.n[MODEL];
    const bool at_end = n == most || qn_ends_text(m, s->ids[MODEL][n - 1]);
    uint32_t i = 0;
    enum qins_status st = QINS_OK;
    if (at_end && memcmp(s->ids[MODEL], s->forced, n * sizeof *s->forced) == 0) {
        memcpy(s->ids[CANDIDATE], s->ids[MODEL], n * sizeof *s->forced);
        s->head.n[CANDIDATE] = s->head.n[MODEL];
        s->head.ended[CANDIDATE] = qn_ends_text(m, s->ids[MODEL][n - 1]);
        return QINS_OK;
    }
    qn_session_reset(s->sessions[CANDIDATE]);
    st = run_tokens(w, s, CANDIDATE, prompt->ids, prompt->n, err);
    while (st == QINS_OK) {
        st = predict(w, s, CANDIDATE, &s->ids[CANDIDATE][i], err);
        if (st != QINS_OK)
            break;
        s->head.ended[CANDIDATE] = qn_ends_text(m, s->ids[CANDIDATE][i]);
        if (++i == most || s->head.ended[CANDIDATE])
            break;
        st = run_tokens(w, s, CANDIDATE, &s->ids[CANDIDATE][i - 1], 1, err);
    }
    s->head.n[CANDIDATE] = i;
    return st;
}

static enum qins_status continue_prompt(void *ctx, unsigned slot, uint64_t item,
                                        struct qins_error *err)
{
    const struct work *w = ctx;
    struct slot *s = &w->slots[slot];
    s->head = (struct head){.prompt = qn_continuation_digest(&w->job->prompts[item])};
    enum qins_status st = continue_both(w, s, (size_t)item, err);
    return st == QINS_OK ? continue_candidate(w, s, (size_t)item, err) : st;
}

static enum qins_status emit(void *ctx, unsigned slot, uint64_t item, struct qins_error *err)
{
    const struct work *w = ctx;
    struct slot *s = &w->slots[slot];
    const struct {
        const void *data;
        size_t size;
    } parts[] = {
        {&s->head, sizeof s->head},
        {s->ids[MODEL], s->head.n[MODEL] * sizeof **s->ids},
        {s->forced, s->head.n[MODEL] * sizeof *s->forced},
        {s->ids[CANDIDATE], s->head.n[CANDIDATE] * sizeof **s->ids},
    };
    size_t size = 0;
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        memcpy(s->item + size, parts[i].data, parts[i].size);
        size += parts[i].size;
    }
    enum qins_status st = qn_journal_add(w->v->journal, w->job->test, s->item, size, err);
    qn_progress_of(w->v->monitor, w->job->what, "prompts", item + 1, w->job->n);
    return st;
}

static enum qins_status create_slot(const struct work *w, struct slot *s, struct qins_error *err)
{
    const size_t tokens = w->job->tokens;
    enum qins_status st = QINS_OK;
    s->forced = calloc(tokens, sizeof *s->forced);
    s->item = malloc(sizeof s->head + 3 * tokens * sizeof *s->forced);
    bool good = s->forced && s->item;
    for (int i = 0; i < QN_PREDICTORS; i++) {
        const size_t vocab = w->v->models[i]->config.vocab;
        good = good && (s->ids[i] = calloc(tokens, sizeof **s->ids)) != NULL;
        good = good && (s->logits[i] = calloc(vocab, sizeof **s->logits)) != NULL;
    }
    if (!good)
        return qn_fail_memory(err);
    for (int i = 0; i < QN_PREDICTORS && st == QINS_OK; i++) {
        const struct qn_session_options o = {.positions = w->job->positions, .kv = &w->v->kv[i]};
        st = qn_session_create(&s->sessions[i], w->v->models[i], &o, err);
    }
    return st;
}

/* Its sessions' counts go to the validation's. */
static void destroy_slot(const struct work *w, struct slot *s)
{
    for (int i = 0; i < QN_PREDICTORS; i++) {
        struct qn_compute_counts counts;
        struct qn_kv_counts kv;
        if (s->sessions[i]) {
            qn_session_counts(s->sessions[i], &counts);
            qn_compute_counts_add(&w->v->compute[i], &counts);
        }
        if (s->sessions[i] && i == CANDIDATE) {
            qn_session_kv_counts(s->sessions[i], &kv);
            qn_kv_counts_add(&w->v->kv_counts, &kv);
        }
        qn_session_destroy(s->sessions[i]);
        free(s->logits[i]);
        free(s->ids[i]);
    }
    free(s->forced);
    free(s->item);
}

enum qins_status qn_continue_prompts(struct qn_validation *v, const struct qn_continuation_job *job,
                                     struct qins_error *err)
{
    const uint64_t done = qn_journal_count(v->journal, job->test);
    struct work w = {.v = v, .job = job};
    if (done >= job->n)
        return QINS_OK;
    w.n_slots = v->options->threads;
    if (job->n - done < w.n_slots)
        w.n_slots = (unsigned)(job->n - done);
    if (w.n_slots < 1)
        w.n_slots = 1;
    enum qins_status st = qn_linalg_init(err); /* before there are threads */
    w.slots = calloc(w.n_slots, sizeof *w.slots);
    if (st == QINS_OK && !w.slots)
        st = qn_fail_memory(err);
    for (unsigned i = 0; w.slots && i < w.n_slots && st == QINS_OK; i++)
        st = create_slot(&w, &w.slots[i], err);
    const struct qn_ordered order = {continue_prompt, emit, &w,     w.n_slots,
                                     w.n_slots,       done, job->n, v->monitor};
    if (st == QINS_OK)
        st = qn_run_ordered(&order, err);
    for (unsigned i = 0; w.slots && i < w.n_slots; i++)
        destroy_slot(&w, &w.slots[i]);
    free(w.slots);
    return st;
}

enum qins_status qn_continuation_get(const struct qn_validation *v,
                                     const struct qn_continuation_job *job, size_t item,
                                     struct qn_continuation *out, struct qins_error *err)
{
    const struct qn_digest digest = qn_continuation_digest(&job->prompts[item]);
    const size_t most = room(job, item);
    size_t size = 0;
    const uint8_t *data = qn_journal_get(v->journal, job->test, item, &size);
    struct head h = {0};
    if (data && size >= sizeof h)
        memcpy(&h, data, sizeof h);
    if (h.n[MODEL] < 1 || h.n[CANDIDATE] < 1 || h.n[MODEL] > most || h.n[CANDIDATE] > most ||
        size != sizeof h + (2 * (size_t)h.n[MODEL] + h.n[CANDIDATE]) * sizeof(uint32_t) ||
        memcmp(&h.prompt, &digest, sizeof digest) != 0)
        return qn_validation_bad_item(v, job->test, item, err);
    const uint32_t *ids = (const void *)(data + sizeof h);
    *out = (struct qn_continuation){
        .n = {h.n[MODEL], h.n[CANDIDATE]},
        .ended = {h.ended[MODEL] != 0, h.ended[CANDIDATE] != 0},
        .ids = {ids, ids + 2 * (size_t)h.n[MODEL]},
        .forced = ids + h.n[MODEL],
        .mean_kl = h.mean_kl,
        .max_kl = h.max_kl,
    };
    return QINS_OK;
}
