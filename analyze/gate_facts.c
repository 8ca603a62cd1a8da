/* Reports that contradict themselves, or one another about one archive. */
#include "analyze/gate_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Of reports' twelve digits, after a quotient or two. */
static const double same_within = 1e-6;

/* Lists of expressions by names, of FILE; NULL: it has none. */
static const json_t *facts_of(const struct qn_gate_job *job, size_t file)
{
    const json_t *list = json_object_get(job->spec, "identities");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *j = json_array_get(list, i);
        if (strcmp(json_string_value(json_object_get(j, "schema")),
                   job->evidence.files[file].schema) == 0)
            return json_object_get(j, "facts");
    }
    return NULL;
}

static bool number(const struct qn_gate_job *job, size_t file, const json_t *expr, double *out)
{
    char why[QN_REASON_BYTES];
    struct qn_figure f;
    if (!expr || !qn_gate_figure(job, (int)file, expr, &f, why) || f.kind != QN_FIGURE_NUMBER)
        return false;
    *out = f.number;
    return true;
}

/* Gates that rest on reports A or B. */
static void note(struct qn_gate_job *job, size_t a, size_t b, const char *text)
{
    for (size_t i = 0; i < job->n_gates; i++) {
        struct qn_gate_result *g = &job->gates[i];
        for (size_t k = 0; k < g->n && !g->contradiction; k++)
            if (g->verdicts[k].file == (int)a || g->verdicts[k].file == (int)b)
                g->contradiction = text;
    }
}

/* What OF_A of report A and OF_B of report B say, both about NAME. */
static enum qins_status compare(struct qn_gate_job *job, const char *name, size_t a,
                                const json_t *of_a, size_t b, const json_t *of_b,
                                struct qins_error *err)
{
    const struct qn_evidence_file *files = job->evidence.files;
    double x, y;
    if (!number(job, a, of_a, &x) || !number(job, b, of_b, &y) ||
        fabs(x - y) <= same_within * fmax(fabs(x), fabs(y)))
        return QINS_OK;
    const char *first = files[a].path, *second = a == b ? "the same report" : files[b].path;
    char *text =
        qn_format(err, "%s: %.6g by %.*s, %.6g by %.*s", name, x, qn_utf8_cut(first, QN_GATE_PATH),
                  first, y, qn_utf8_cut(second, QN_GATE_PATH), second);
    json_t *told = text ? qn_json_text(text) : NULL;
    if (told)
        note(job, a, b, json_string_value(told)); /* "contradictions" keeps it */
    qn_json_append(&job->contradictions, told);
    free(text);
    return job->contradictions ? QINS_OK : qn_fail_memory(err);
}

/* A with itself, and with B where that is another report about the same archive. */
static enum qins_status compare_reports(struct qn_gate_job *job, size_t a, size_t b,
                                        struct qins_error *err)
{
    const char *name;
    json_t *list;
    enum qins_status st = QINS_OK;
    json_object_foreach((json_t *)(uintptr_t)facts_of(job, a), name, list)
    {
        const json_t *first = json_array_get(list, 0),
                     *other = json_object_get(facts_of(job, b), name);
        if (a != b && st == QINS_OK)
            st = compare(job, name, a, first, b, json_array_get(other, 0), err);
        for (size_t i = 1; a == b && i < json_array_size(list) && st == QINS_OK; i++)
            st = compare(job, name, a, first, a, json_array_get(list, i), err);
    }
    return st;
}

enum qins_status qn_gates_find_contradictions(struct qn_gate_job *job, struct qins_error *err)
{
    enum qins_status st = QINS_OK;
    for (size_t a = 0; a < job->evidence.n && st == QINS_OK; a++) {
        if (!qn_gate_uses(job, a) || !facts_of(job, a))
            continue;
        const char *archive = qn_gate_identity(job, (int)a, "archive");
        st = compare_reports(job, a, a, err);
        for (size_t b = a + 1; b < job->evidence.n && archive && st == QINS_OK; b++) {
            const char *other =
                qn_gate_uses(job, b) ? qn_gate_identity(job, (int)b, "archive") : NULL;
            if (other && strcmp(archive, other) == 0)
                st = compare_reports(job, a, b, err);
        }
        if (st == QINS_OK)
            st = qn_gates_check_steps(job, err);
    }
    return st;
}
