/* A finer ladder around what was chosen, where few tensors leave nothing else to fill a budget. */
#include "convert/plan_refine.h"

#include "formats/codec/quant.h"

#include <math.h>
#include <stdlib.h>

enum {
    STEPS = 16, /* to either side */
    WAYS = 4,   /* of levels at a step: tails may be cut off */
    CODERS = 1 + QN_COUNTED_CODERS,
    FAMILIES = 2, /* around the chosen grid, and around a uniform one of its error */
};

struct refinement {
    const struct qn_tensor_study *study;
    struct qn_candidate base;
    unsigned least, most; /* bits */
    unsigned an_octave;   /* steps */
    struct qn_coding *codings;
    size_t n;
};

/* The grid of N levels whose steps are STEP of the largest magnitude. */
static void try_grid(struct refinement *r, double levels, double step)
{
    const double clip = levels * step;
    if (levels < QN_MIN_LEVELS || levels > QN_MAX_LEVELS || clip > 1.0)
        return;
    struct qn_candidate c = r->base;
    c.levels = (unsigned)levels;
    c.clip = (float)clip;
    const unsigned bits = qn_code_bits(c.levels);
    if (bits < r->least || bits > r->most)
        return;
    qn_predict(r->study, &c, QN_PREDICT_ERROR | QN_PREDICT_RATE);
    r->codings[r->n++] = (struct qn_coding){
        .candidate = c, .codec = QN_CODEC_BITPACK, .bytes = (double)c.packed_bytes};
    for (int i = 0; i < QN_COUNTED_CODERS; i++) {
        const enum qn_codec_id codec = qn_counted_coders[i];
        const uint64_t bytes = qn_candidate_bytes(&c, codec);
        if (bytes < c.packed_bytes)
            r->codings[r->n++] =
                (struct qn_coding){.candidate = c, .codec = codec, .bytes = (double)bytes};
    }
}

static void try_steps(struct refinement *r, double clip, double step)
{
    for (int i = -STEPS; i <= STEPS && step > 0.0; i++) {
        const double next = step * exp2((double)i / r->an_octave), below = floor(clip / next);
        try_grid(r, below, next);
        try_grid(r, below + 1.0, next);
        try_grid(r, floor(0.9 * below), next);
        try_grid(r, floor(0.8 * below), next);
    }
}

static enum qins_status refine(const struct qn_plan_work *w, struct qn_planned *item,
                               const struct qn_tensor_study *study, unsigned an_octave,
                               struct qins_error *err)
{
    const struct qn_policy_rule *rule = item->rule;
    struct refinement r = {
        .study = study,
        .an_octave = an_octave,
        .base = item->codings[item->chosen].candidate,
        .least = rule && rule->min_bits ? rule->min_bits : w->policy.min_bits,
        .most = rule && rule->max_bits ? rule->max_bits : w->policy.max_bits,
    };
    const bool uniform = r.base.granularity == QN_PER_TENSOR && r.base.kappa == 0.0F;
    r.codings = calloc((size_t)FAMILIES * (2 * STEPS + 1) * WAYS * CODERS, sizeof *r.codings);
    if (!r.codings)
        return qn_fail_memory(err);
    try_steps(&r, (double)r.base.clip, (double)r.base.clip / r.base.levels);
    if (!uniform && item->abs_max > 0.0) {
        /* A uniform grid of about the same error, step²/12. */
        const double step = sqrt(12.0 * r.base.error / (double)item->elements) / item->abs_max;
        r.base.granularity = QN_PER_TENSOR;
        r.base.kappa = 0.0F;
        try_steps(&r, 1.0, step);
    }
    enum qins_status st = QINS_OK;
    if (r.n > 0)
        st = qn_planned_add(item, &w->costs, r.codings, r.n, err);
    free(r.codings);
    return st;
}

enum qins_status qn_plan_refine(struct qn_plan_work *w, const enum qn_rounding *roundings,
                                unsigned an_octave, struct qins_error *err)
{
    enum qins_status st = QINS_OK;
    for (size_t i = 0; i < w->n_items && w->n_items <= QN_FEW_ITEMS && st == QINS_OK; i++)
        if (w->kept[i].tensor && roundings[w->items[i].tensor] != QN_ROUND_FEEDBACK)
            st = refine(w, &w->items[i], &w->kept[i], an_octave, err);
    return st;
}
