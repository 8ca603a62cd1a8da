/* Paths into a report: `tests.perplexity.kl.mean`, `tensors[].cosine`,
 * `tensors[class=cold].numel`, `tensors[0].name`, `methods[@chosen].order`, `coded_bits.*`,
 * `$.model` (docs/gates.md). */
#ifndef QINS_ANALYZE_GATE_PATH_H
#define QINS_ANALYZE_GATE_PATH_H

#include "core/json.h"

enum {
    QN_PATH_STEPS = 24,
    QN_PATH_BYTES = 512,
    QN_REASON_BYTES = 320,
};

enum qn_path_kind {
    QN_PATH_KEY,     /* .name */
    QN_PATH_MEMBERS, /* .*: the values of an object */
    QN_PATH_EACH,    /* [] */
    QN_PATH_AT,      /* [3] */
    QN_PATH_CHOSEN,  /* [@key]: at the number under key beside the list */
    QN_PATH_FILTER,  /* [key=value] */
};

struct qn_path_step {
    enum qn_path_kind kind;
    char comparison[3];       /* of a filter: = != < <= > >= */
    const char *name, *value; /* within the text; not NUL-terminated */
    size_t n_name, n_value;
    size_t index;
    size_t end; /* of the step in the text */
};

struct qn_path {
    const char *text; /* that of qn_path_parse() */
    bool root;        /* begins with '$': at the report, not at the element */
    bool many;        /* may name several values */
    struct qn_path_step steps[QN_PATH_STEPS];
    size_t n;
};

/* What a review may still take: hostile gates shall not take forever. */
struct qn_steps {
    uint64_t left;
    bool memory_short; /* none are left because memory was short */
};
/* Nothing that is found from now on holds. */
void qn_steps_end_for_memory(struct qn_steps *steps);

struct qn_path_found {
    const json_t **values; /* borrowed from the report */
    size_t n, capacity;
    struct qn_steps *steps;
    char why[QN_REASON_BYTES]; /* where there is no value */
};

/* QINS_ERR_FORMAT, naming the place in the text, for what is no path. */
enum qins_status qn_path_parse(const char *text, struct qn_path *path, struct qins_error *err);
/* All values that PATH names, from FROM on. False, with why, where a key or an element is missing
 * or no steps are left. An empty list has no values: true. */
bool qn_path_find(const struct qn_path *path, const json_t *from, struct qn_path_found *found);
void qn_path_found_finish(struct qn_path_found *found);

#endif
