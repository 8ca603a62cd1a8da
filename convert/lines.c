#include "convert/lines.h"

#include "convert/sources.h"
#include "formats/transport_archive.h"
#include "model/weights.h"

#include <stdlib.h>
#include <string.h>

static bool plan_uses_feedback(const struct qn_plan_tensor *t)
{
    return qn_plan_feeds_back(&t->line, t->blocks, t->n_blocks);
}

/* The first tensor of the plan that asks for feedback, or NULL. */
static const struct qn_plan_tensor *first_with_feedback(const struct qn_plan *p)
{
    for (size_t i = 0; i < p->count; i++)
        if (plan_uses_feedback(&p->tensors[i]))
            return &p->tensors[i];
    return NULL;
}

/* A calibration that was made from a model is of this one, all of which is read to tell, unless a
 * transport of it did. */
static enum qins_status check_model(const struct qn_lines *l, const char *path,
                                    const struct qn_monitor *monitor, struct qins_error *err)
{
    const struct qn_calibration *c = l->feedback ? qn_feedback_calibration(l->feedback) : NULL;
    struct qn_digest model;
    if (c && !c->model_name) /* rows captured elsewhere */
        c = NULL;
    if (!c)
        return QINS_OK;
    enum qins_status st = QINS_OK;
    if (l->transport)
        model = l->transport->model;
    else
        st = qn_model_fingerprint(path, l->options->threads, monitor, &model, err);
    return st == QINS_OK ? qn_calibration_check_model(c, l->options->calibration, &model, path, err)
                         : st;
}

static const char *obstacle(const struct qn_lines *l, const struct qn_tensor *t)
{
    return t->rank < 2 ? "it is no matrix" : qn_feedback_obstacle(l->feedback, t);
}

/* A plan means what it says: what it wants to be fed back must be possible. */
static enum qins_status check_planned(const struct qn_lines *l, const struct qn_checkpoint *ck,
                                      struct qins_error *err)
{
    for (size_t i = 0; i < l->own; i++) {
        const struct qn_tensor *t = &ck->tensors.items[i];
        const struct qn_plan_tensor *p = qn_plan_at(&l->plan, i, t->name);
        const char *why = plan_uses_feedback(p) ? obstacle(l, t) : NULL;
        if (why)
            return qn_fail_at(err, QINS_ERR_FORMAT, l->options->plan_file, t->name, QN_NO_OFFSET,
                              "the plan wants it rounded with feedback: %s", why);
    }
    return QINS_OK;
}

/* Without a plan: what can be is rounded with feedback, the rest is named. */
static void notice_others(const struct qn_lines *l, const struct qn_checkpoint *ck,
                          const struct qn_monitor *monitor)
{
    const struct qn_tensor *first = NULL;
    size_t n = 0;
    for (size_t i = 0; i < l->own; i++) {
        const struct qn_tensor *t = &ck->tensors.items[i];
        struct qn_plan_line line;
        qn_default_plan(t, &l->options->plan, &line);
        if (line.content != QN_CONTENT_QINS || !obstacle(l, t))
            continue;
        first = first ? first : t;
        n++;
    }
    if (n == 1)
        qn_notice(monitor, "'%s' is rounded to nearest: %s", first->name, obstacle(l, first));
    else if (n > 1)
        qn_notice(monitor, "'%s' and %zu more are rounded to nearest: %s", first->name, n - 1,
                  obstacle(l, first));
}

static enum qins_status open_plan(struct qn_lines *l, const struct qn_checkpoint *ck,
                                  bool *feedback, struct qins_error *err)
{
    const char *file = l->options->plan_file;
    const struct qn_tensor_list own = {.items = ck->tensors.items, .count = l->own};
    enum qins_status st = qn_plan_load(file, &l->plan, err);
    if (st == QINS_OK)
        st = qn_plan_check(&l->plan, file, &own, err);
    if (st != QINS_OK)
        return st;
    const struct qn_plan_tensor *wants = first_with_feedback(&l->plan);
    *feedback = wants != NULL;
    if (wants && !l->options->calibration)
        return qn_fail_at(err, QINS_ERR_USAGE, file, wants->name, QN_NO_OFFSET,
                          "the plan wants it rounded with feedback, which needs a calibration");
    return QINS_OK;
}

enum qins_status qn_lines_open(struct qn_lines *l, const char *path, const struct qn_checkpoint *ck,
                               const struct qn_transport *transport,
                               const struct qn_convert_options *options,
                               const struct qn_monitor *monitor, struct qins_error *err)
{
    bool feedback =
        !options->plan_file && !options->plan.lossless && options->rounding == QN_ROUND_FEEDBACK;
    enum qins_status st = QINS_OK;
    *l = (struct qn_lines){.options = options, .transport = transport, .own = ck->tensors.count};
    while (transport && l->own > 0 && qn_is_transport_tensor(ck->tensors.items[l->own - 1].name))
        l->own--;
    if (options->plan_file)
        st = open_plan(l, ck, &feedback, err);
    else if (feedback && !options->calibration)
        st = qn_fail(err, QINS_ERR_USAGE, "rounding with feedback needs a calibration");
    else if (feedback && options->plan.grid != QN_GRID_QINS)
        st = qn_fail(err, QINS_ERR_USAGE, "the seed grid is not rounded with feedback");
    if (st == QINS_OK && feedback)
        st = qn_feedback_open(&l->feedback, options->calibration, ck, monitor, err);
    if (st == QINS_OK)
        st = check_model(l, path, monitor, err);
    if (st != QINS_OK || !feedback)
        return st;
    if (options->plan_file)
        return check_planned(l, ck, err);
    notice_others(l, ck, monitor);
    return QINS_OK;
}

void qn_lines_close(struct qn_lines *l)
{
    qn_plan_finish(&l->plan);
    qn_feedback_close(l->feedback);
    *l = (struct qn_lines){0};
}

/* The line of all rows, or else of the first block that has most of them. */
static const struct qn_plan_line *main_line(const struct qn_plan_tensor *p)
{
    const struct qn_plan_block *most = p->blocks;
    for (size_t i = 1; i < p->n_blocks; i++)
        if (p->blocks[i].row_end - p->blocks[i].row_begin > most->row_end - most->row_begin)
            most = &p->blocks[i];
    return most ? &most->line : &p->line;
}

static void transport_line(const struct qn_lines *l, const struct qn_tensor *t,
                           struct qn_plan_line *out)
{
    const struct qn_plan_options *options = &l->options->plan;
    const struct qn_plan_options lossless = {.lossless = true, .codec = options->codec};
    const size_t layer = qn_transport_planes_of(l->transport, t->name);
    char reason[sizeof out->reason];
    if (layer == SIZE_MAX) {
        qn_default_plan(t, &lossless, out);
        snprintf(out->reason, sizeof out->reason, "small figures of a transport: lossless");
        return;
    }
    qn_default_plan(t, options, out);
    snprintf(reason, sizeof reason, "%s", out->reason);
    if (l->options->plan_file) {
        const char *weight = l->transport->layers[layer].tensor;
        *out = *main_line(qn_plan_find(&l->plan, weight));
        out->rounding = QN_ROUND_NEAREST;
        if (out->content == QN_CONTENT_QINS)
            out->kappa = out->clip = -1.0F;
        snprintf(reason, sizeof reason, "coded as '%.150s' is", weight);
    }
    if (out->content == QN_CONTENT_QINS && out->group_kind == QN_GROUP_ROW) {
        out->group_kind = QN_GROUP_BLOCK; /* a row of the tensor is one of every plane */
        out->group = t->shape[2];
    }
    snprintf(out->reason, sizeof out->reason, "planes of a transport: %.220s", reason);
}

enum qins_status qn_lines_get(const struct qn_lines *l, size_t index, struct qn_archive_tensor *out,
                              struct qins_error *err)
{
    out->blocks = NULL;
    out->n_blocks = 0;
    if (index >= l->own) {
        transport_line(l, &out->tensor, &out->plan);
        return QINS_OK;
    }
    if (!l->options->plan_file) {
        qn_default_plan(&out->tensor, &l->options->plan, &out->plan);
        if (l->feedback && out->plan.content == QN_CONTENT_QINS && !obstacle(l, &out->tensor)) {
            out->plan.rounding = QN_ROUND_FEEDBACK;
            size_t used = strlen(out->plan.reason);
            snprintf(out->plan.reason + used, sizeof out->plan.reason - used,
                     ", rounded with feedback");
        }
        return QINS_OK;
    }
    const struct qn_plan_tensor *p = qn_plan_at(&l->plan, index, out->tensor.name);
    out->plan = p->line;
    if (p->n_blocks == 0)
        return QINS_OK;
    out->blocks = calloc(p->n_blocks, sizeof *out->blocks);
    if (!out->blocks)
        return qn_fail_memory(err);
    memcpy(out->blocks, p->blocks, p->n_blocks * sizeof *out->blocks);
    out->n_blocks = p->n_blocks;
    return QINS_OK;
}

static enum qins_status add_plan(struct qn_hasher *h, const char *file, struct qins_error *err)
{
    struct qn_plan plan;
    enum qins_status st = qn_plan_load(file, &plan, err);
    if (st != QINS_OK)
        return st;
    json_t *j = qn_plan_to_json(&plan);
    char *text = j ? qn_json_dump(j, JSON_COMPACT) : NULL;
    if (text)
        qn_hasher_add(h, text, strlen(text));
    else
        st = qn_fail_memory(err);
    free(text);
    json_decref(j);
    qn_plan_finish(&plan);
    return st;
}

enum qins_status qn_lines_digest(struct qn_hasher *h, const struct qn_convert_options *options,
                                 struct qins_error *err)
{
    const unsigned char given[] = {options->plan_file ? 1 : 0, options->calibration ? 1 : 0,
                                   options->rounding == QN_ROUND_FEEDBACK ? 1 : 0};
    enum qins_status st = QINS_OK;
    qn_hasher_add(h, given, sizeof given);
    if (options->plan_file)
        st = add_plan(h, options->plan_file, err);
    if (st == QINS_OK && options->calibration)
        st = qn_source_add_file(h, options->calibration, err);
    if (st == QINS_OK && options->transport)
        st = qn_source_add_file(h, options->transport, err);
    return st;
}
