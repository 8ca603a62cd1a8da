/* What a plan is made from. */
#include "convert/plan_work.h"
#include "convert/sources.h"

#include "core/file.h"
#include "formats/archive/reader.h"
#include "policy/defaults.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_JSON = 1 << 24 /* bytes of a policy or a table of costs */ };

/* Added to the count of each token: what a short text has no use for is not useless. [measured: on
 * held-out text of kjv-1.7m KL is flat within 2 % from 1 to 5] */
#define PSEUDO_COUNT 2.0

static enum qins_status read_policy(const char *path, struct qn_policy *out, struct qins_error *err)
{
    struct qn_buf text = {0};
    if (!path || strcmp(path, "default") == 0 || strcmp(path, "archive") == 0)
        return qn_policy_builtin(path ? path : "default", out, err);
    if (!qn_exists(path))
        return qn_fail_at(err, QINS_ERR_IO, path, NULL, QN_NO_OFFSET,
                          "there is no such file, and the policies that ship are 'default' and "
                          "'archive'");
    enum qins_status st = qn_read_whole(path, MOST_JSON, &text, err);
    if (st == QINS_OK)
        st = qn_error_in_file(err, qn_policy_parse(text.data, text.size, out, err), path);
    qn_buf_finish(&text);
    return st;
}

static enum qins_status read_costs(const char *path, struct qn_costs *out, struct qins_error *err)
{
    struct qn_buf text = {0};
    if (!path)
        return qn_costs_default(out, err);
    enum qins_status st = qn_read_whole(path, MOST_JSON, &text, err);
    if (st == QINS_OK)
        st = qn_error_in_file(err, qn_costs_parse(text.data, text.size, out, err), path);
    qn_buf_finish(&text);
    return st;
}

/* A calibration of captured activations may know of no model. */
static enum qins_status check_model(struct qn_plan_work *w, struct qins_error *err)
{
    struct qn_digest fingerprint;
    if (!w->calibration || !w->calibration->model_name)
        return QINS_OK;
    enum qins_status st =
        qn_source_run(w->source, NULL, w->options->threads, w->monitor, &fingerprint, err);
    return st == QINS_OK ? qn_calibration_check_model(w->calibration, w->options->calibration,
                                                      &fingerprint, w->path, err)
                         : st;
}

static enum qins_status index_tensors(struct qn_plan_work *w, struct qins_error *err)
{
    size_t n = w->source->n_tensors;
    w->indices = calloc(n + 1, sizeof *w->indices);
    if (!w->indices)
        return qn_fail_memory(err);
    for (size_t i = 0; i < n; i++)
        w->indices[w->source->tensors[i].number] = i;
    return QINS_OK;
}

/* X^(3/4). Of an embedding's rows the rarer tell more: what an error in one does to the model grows
 * with its token's count to the power 0.77, of kjv-1.7m [measured, blocks of counts 28 times
 * apart]. */
static double three_quarters(double x)
{
    double root = sqrt(x);
    return root * sqrt(root);
}

/* An error in a row of an embedding matters by how often its token is read; one in a row of the
 * head, by the variance of its probability and, for what few windows tell little of, by how often
 * it was read. */
static enum qins_status weigh_rows(struct qn_plan_work *w, struct qins_error *err)
{
    const struct qn_calibration *c = w->calibration;
    const uint32_t vocab = w->measured && c->access.embedding ? c->access.vocab : 0;
    double total = PSEUDO_COUNT * vocab;
    if (vocab == 0)
        return QINS_OK;
    w->lookup_importance = calloc(vocab, sizeof(double));
    w->head_importance = calloc(vocab, sizeof(double));
    if (!w->lookup_importance || !w->head_importance)
        return qn_fail_memory(err);
    for (uint32_t i = 0; i < vocab; i++)
        total += (double)c->access.embedding[i];
    for (uint32_t i = 0; i < vocab; i++) {
        double share = ((double)c->access.embedding[i] + PSEUDO_COUNT) / total;
        w->lookup_importance[i] = three_quarters(share);
        w->head_importance[i] = share + (c->n_head_rows == vocab ? c->head_variance[i] : 0.0);
    }
    return QINS_OK;
}

enum qins_status qn_plan_work_open(struct qn_plan_work *w, struct qins_error *err)
{
    const struct qn_plan_job_options *o = w->options;
    enum qins_status st = read_policy(o->policy, &w->policy, err);
    if (st == QINS_OK)
        st = read_costs(o->costs, &w->costs, err);
    bool is_archive = false;
    if (st == QINS_OK)
        st = qn_path_is_archive(w->path, &is_archive, err);
    if (st == QINS_OK && is_archive)
        st = qn_fail_at(err, QINS_ERR_UNSUPPORTED, w->path, NULL, QN_NO_OFFSET,
                        "is an archive; a plan is made for a checkpoint");
    if (st == QINS_OK)
        st = qn_source_open(&w->source, w->path, w->monitor, err);
    if (st == QINS_OK)
        st = qn_check_types(w->source->checkpoint, err);
    if (st == QINS_OK)
        st = index_tensors(w, err);
    if (st == QINS_OK && o->calibration) {
        st = qn_feedback_open(&w->feedback, o->calibration, w->source->checkpoint, w->monitor, err);
        w->calibration = st == QINS_OK ? qn_feedback_calibration(w->feedback) : NULL;
    }
    if (st == QINS_OK)
        st = check_model(w, err);
    w->measured = w->calibration && w->calibration->n_sensitivities > 0;
    return st == QINS_OK ? weigh_rows(w, err) : st;
}

void qn_plan_work_finish(struct qn_plan_work *w)
{
    for (size_t i = 0; i < w->n_items; i++)
        qn_planned_finish(&w->items[i]);
    for (size_t i = 0; i < QN_FEW_ITEMS; i++)
        qn_tensor_study_finish(&w->kept[i]);
    free(w->items);
    free(w->indices);
    free(w->lookup_importance);
    free(w->head_importance);
    qn_policy_finish(&w->policy);
    qn_feedback_close(w->feedback);
    qn_source_destroy(w->source);
}

static bool is_head(const struct qn_calibration *c, const struct qn_tensor *t)
{
    for (size_t i = 0; i < c->n_points; i++) {
        const struct qn_calibration_point *p = &c->points[i];
        for (int k = 0; p->kind == QN_TAP_HEAD && k < QN_POINT_TENSORS && p->tensors[k]; k++)
            if (strcmp(p->tensors[k], t->name) == 0)
                return true;
    }
    return qn_role_of(t->name) == QN_ROLE_HEAD;
}

void qn_plan_access(const struct qn_plan_work *w, const struct qn_tensor *t,
                    struct qn_tensor_access *out)
{
    const struct qn_calibration *c = w->calibration;
    uint64_t touches = 0; /* of what the model has no use for */
    *out = (struct qn_tensor_access){.touches = -1.0};
    out->looked_up = qn_role_of(t->name) == QN_ROLE_EMBEDDING;
    if (!c || !c->has_access || c->tokens == 0)
        return;
    qn_calibration_touches(c, t->name, &touches);
    out->touches = (double)touches / (double)c->tokens;
    out->tokens = c->tokens;
    out->head = is_head(c, t);
    if (!c->access.embedding || t->rank != 2 || t->shape[0] != c->access.vocab)
        return;
    out->counts = c->access.embedding;
    out->n_counts = c->access.vocab;
    out->importance = out->head ? w->head_importance : w->lookup_importance;
}

double qn_plan_sensitivity(const struct qn_plan_work *w, const char *name)
{
    for (size_t i = 0; w->measured && i < w->calibration->n_sensitivities; i++) {
        const struct qn_sensitivity *s = &w->calibration->sensitivities[i];
        if (strcmp(s->tensor, name) == 0)
            return s->error > 0.0 && s->kl > 0.0 ? s->kl / s->error : -1.0;
    }
    return -1.0;
}
