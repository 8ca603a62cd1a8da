/* What the parts of the gate engine share. */
#ifndef QINS_ANALYZE_GATE_INTERNAL_H
#define QINS_ANALYZE_GATE_INTERNAL_H

#include "analyze/evidence.h"
#include "analyze/gate.h"
#include "analyze/gate_expr.h"
#include "core/buf.h"
#include "core/tensor.h"

#define QN_GATES_SCHEMA  "qins/gates/1"
#define QN_REVIEW_SCHEMA "qins/gate_review/1"

enum {
    QN_GATES_MAX = 64, /* gates, criteria of one, things to ship, rules of a list */
    QN_GATE_SELECTORS = 256,
    QN_GATE_TEXT = 2000,      /* bytes of a text */
    QN_GATE_FILLED = 1 << 14, /* of one with figures in it */
    QN_GATE_REASON = 1024,    /* bytes of why a criterion was not judged */
    QN_GATE_PATH = 400,       /* of a path that is told */
    QN_NO_FILE = -1,
};

enum qn_gate_status { QN_GATE_PASS, QN_GATE_FAIL, QN_GATE_NOT_RUN, QN_GATE_BLOCKED };
extern const char *const qn_gate_status_names[];
/* What reports may be about; NULL ends it. */
extern const char *const qn_gate_identities[];

/* What a criterion, or a figure beside it, came to. */
struct qn_verdict {
    enum qn_gate_status status;
    bool known; /* there is a figure */
    struct qn_figure figure;
    int file; /* of the evidence, or QN_NO_FILE */
    char reason[QN_GATE_REASON];
};

/* The one report that a selector means. */
struct qn_selected {
    int file; /* or QN_NO_FILE */
    char reason[QN_GATE_REASON];
};

struct qn_gate_result {
    const json_t *spec;
    const json_t *criteria;      /* of it */
    struct qn_verdict *verdicts; /* one a criterion */
    size_t n;
    enum qn_gate_status status, alone;
    json_t *blocked_by;        /* ids */
    const char *contradiction; /* the first in its evidence, of "contradictions"; NULL: none */
};

struct qn_gate_job {
    const struct qn_monitor *monitor;
    struct qn_steps *steps; /* of all expressions together */
    json_t *spec;           /* checked */
    struct qn_digest spec_digest;
    const char *spec_path; /* NULL: the shipped one */
    struct qn_evidence evidence;
    struct qn_selected *selected; /* in the order of "selectors" */
    struct qn_gate_result *gates;
    size_t n_gates;
    json_t *conflicts, *contradictions; /* texts */
};

void qn_gate_job_finish(struct qn_gate_job *job);

/* Every shape, name, reference, path and operator of gates; QINS_ERR_FORMAT names the place. */
enum qins_status qn_gates_check(const json_t *spec, struct qins_error *err);

/* Selects evidence, evaluates criteria, refuses mixed evidence, and decides on statuses.
 * QINS_ERR_FORMAT when that takes more steps than a review may. */
enum qins_status qn_gates_judge(struct qn_gate_job *job, struct qins_error *err);
/* Whether the review was stopped, memory is short, or no steps are left: then nothing that was
 * found holds. */
enum qins_status qn_gates_check_steps(const struct qn_gate_job *job, struct qins_error *err);
/* Evaluates EXPR on evidence FILE. */
bool qn_gate_figure(const struct qn_gate_job *job, int file, const json_t *expr,
                    struct qn_figure *out, char *why);
/* Criteria whose evidence is about different models, or within a gate about different archives or
 * transports, are not run. */
enum qins_status qn_gates_refuse_mixed(struct qn_gate_job *job, struct qins_error *err);
/* Fills "contradictions": of reports that are used, where "facts" of identities differ within one,
 * or between two about one archive. Gates that rest on such reports do not pass. */
enum qins_status qn_gates_find_contradictions(struct qn_gate_job *job, struct qins_error *err);
/* What report FILE says that it is about, KIND being of qn_gate_identities, or the name of it
 * ("text_name"); NULL: nothing. */
const char *qn_gate_identity(const struct qn_gate_job *job, int file, const char *kind);
/* Whether ID is among what it says: of texts it may name several. */
bool qn_gate_is_about(const struct qn_gate_job *job, int file, const char *kind, const char *id);
/* How the reports of gate G differ in what "settings" of identities name: a list of at most one
 * text; NULL when out of memory. */
json_t *qn_gate_settings_notes(const struct qn_gate_job *job, const struct qn_gate_result *g);
/* Whether a criterion is about report FILE. */
bool qn_gate_uses(const struct qn_gate_job *job, size_t file);
/* Place of the selector in "selectors". */
size_t qn_gate_selector(const struct qn_gate_job *job, const char *name);

/* Texts for people: heap, NULL when out of memory. BAR (may be NULL) has the comparison that the
 * rounded figure must not seem to contradict. */
char *qn_gate_figure_text(const struct qn_figure *f, const char *unit, const json_t *bar,
                          struct qins_error *err);
char *qn_gate_bar_text(const json_t *object, const char *unit, struct qins_error *err);
/* The command that makes such evidence, with the options that made FILE (or QN_NO_FILE); "" where
 * nothing can. */
char *qn_gate_command(const struct qn_gate_job *job, const json_t *criterion, int file,
                      struct qins_error *err);
/* TEXT with names in the place of words of commands, where all reports agree on them. */
char *qn_gate_name_words(const struct qn_gate_job *job, const char *text, struct qins_error *err);
/* The decision of GATE, or of the review (NULL), with figures put in: the first whose rules hold; a
 * review without any has that of the gate that decides it. *CHOSEN has its fallback and source;
 * NULL: there is none. */
char *qn_gate_decide(const struct qn_gate_job *job, const struct qn_gate_result *gate,
                     const json_t **chosen, struct qins_error *err);
/* Rules (a list; all hold) on results; UNBLOCKED: or hold but for gates that are shut by others
 * before them. */
bool qn_gate_rules_hold(const struct qn_gate_job *job, const struct qn_gate_result *gate,
                        const json_t *rules, bool unblocked);
/* {criterion} and {gate/criterion} in TEXT become figures. */
char *qn_gate_fill(const struct qn_gate_job *job, const struct qn_gate_result *gate,
                   const char *text, struct qins_error *err);

/* The report but for what is about earlier ones. */
json_t *qn_gate_report(const struct qn_gate_job *job, struct qins_error *err);
/* Adds "previous", "number", "history", and to criteria "previous". OUTPUT (or NULL): where the
 * review is going to be. */
enum qins_status qn_gate_add_history(json_t *review, const char *previous, const char *output,
                                     struct qins_error *err);

#endif
