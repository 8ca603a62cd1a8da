/* Whether two models would be sampled alike: their distributions at every position of a text. */
#include "analyze/sampling_report.h"
#include "analyze/validate_job.h"

static enum qins_status run(struct qn_validation *v, json_t **result, struct qins_error *err)
{
    struct qn_positions p;
    *result = NULL;
    enum qins_status st = qn_validation_positions(v, &p, err);
    return st == QINS_OK ? qn_sampling_report(&p, result, err) : st;
}

const struct qn_validate_test qn_test_sampling = {
    .name = "sampling", .compares = true, .run = run, .collect = qn_validation_collect};
