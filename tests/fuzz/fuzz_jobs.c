/* Manifests of batches; what is taken has all that a job needs. */
#include "convert/jobs.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct qn_jobs jobs;
    if (qn_jobs_parse(data, size, &jobs, NULL) == QINS_OK)
        for (size_t i = 0; i < jobs.n; i++) {
            const struct qn_job *job = &jobs.items[i];
            const struct qn_command *convert = &job->steps[QN_JOB_CONVERT];
            if (!job->name || !job->model || !job->output || job->shards == 0 || convert->n < 5)
                abort();
        }
    qn_jobs_finish(&jobs);
    /* No such file: what a path adds to the above. */
    (void)qn_jobs_load("/nonexistent/jobs.json", &jobs, NULL);
    qn_jobs_finish(&jobs);
    return 0;
}
