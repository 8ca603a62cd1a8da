/* The plan where the user gives none: what a tensor's name, type and shape decide. Pure. */
#ifndef QINS_POLICY_DEFAULTS_H
#define QINS_POLICY_DEFAULTS_H

#include "formats/archive/manifest.h"

enum {
    QN_DEFAULT_BITS = 8,
    QN_MIN_BITS = 2,
    QN_MAX_BITS = 12,
    QN_MIN_QUANTISED = 4096, /* elements; a smaller tensor stays lossless */
    QN_MIN_ROW = 16,         /* elements; shorter rows would spend too much on their scales */
};

/* What the user may override; qn_plan_options_init() gives the defaults. */
struct qn_plan_options {
    bool lossless;          /* everything */
    unsigned bits;          /* QN_MIN_BITS ... QN_MAX_BITS */
    enum qn_codec_id codec; /* QN_CODEC_COUNT: bitpack for codes, huffman for lossless */
    bool group_given;       /* the next two are the user's word */
    enum qn_group_kind group_kind;
    uint64_t group;    /* elements, QN_GROUP_BLOCK only */
    float kappa, clip; /* < 0: searched */
    enum qn_grid_kind grid;
};

/* What a name says about a tensor's part in a model. */
enum qn_tensor_role { QN_ROLE_OTHER, QN_ROLE_NORM, QN_ROLE_BIAS, QN_ROLE_EMBEDDING, QN_ROLE_HEAD };

void qn_plan_options_init(struct qn_plan_options *o);
/* QINS_ERR_USAGE if the options are out of range or contradict each other. */
enum qins_status qn_plan_options_check(const struct qn_plan_options *o, struct qins_error *err);

enum qn_tensor_role qn_role_of(const char *name);

/* T needs name, dtype, rank, shape and n_elements; O has passed qn_plan_options_check(). kappa
 * and clip of the result are < 0 where they are to be searched. */
void qn_default_plan(const struct qn_tensor *t, const struct qn_plan_options *o,
                     struct qn_plan_line *out);

#endif
