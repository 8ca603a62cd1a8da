#include "policy/policy.h"

#include "policy/builtin.h"
#include "policy/policy_json.h"

#include <stdlib.h>
#include <string.h>

enum qins_status qn_policy_parse(const void *text, size_t size, struct qn_policy *out,
                                 struct qins_error *err)
{
    *out = (struct qn_policy){0};
    json_t *j = qn_json_parse(text, size, 0, err);
    if (!j)
        return err && err->status != QINS_OK ? err->status : QINS_ERR_FORMAT;
    enum qins_status st = qn_policy_from_json(j, out, err);
    out->fingerprint = qn_hash128(text, size);
    json_decref(j);
    if (st != QINS_OK)
        qn_policy_finish(out);
    return st;
}

enum qins_status qn_policy_builtin(const char *name, struct qn_policy *out, struct qins_error *err)
{
    *out = (struct qn_policy){0};
    if (strcmp(name, "default") == 0)
        return qn_policy_parse(qn_policy_default_json, qn_policy_default_json_size, out, err);
    if (strcmp(name, "archive") == 0)
        return qn_policy_parse(qn_policy_archive_json, qn_policy_archive_json_size, out, err);
    return qn_fail(err, QINS_ERR_USAGE,
                   "no policy is called \"%s\"; \"default\" and \"archive\" are", name);
}

void qn_policy_finish(struct qn_policy *p)
{
    for (size_t i = 0; i < p->n_rules; i++) {
        struct qn_policy_rule *r = &p->rules[i];
        for (size_t k = 0; k < r->n_globs; k++)
            free(r->globs[k]);
        free(r->globs);
        free(r->name);
    }
    free(p->rules);
    free(p->name);
    *p = (struct qn_policy){0};
}

const struct qn_policy_rule *qn_policy_match(const struct qn_policy *p, const char *name)
{
    for (size_t i = 0; i < p->n_rules; i++)
        for (size_t k = 0; k < p->rules[i].n_globs; k++)
            if (qn_glob_match(p->rules[i].globs[k], name))
                return &p->rules[i];
    return NULL;
}
