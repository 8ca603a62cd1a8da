/* Manifests of batches; what is taken has all that a job needs. */
#include "convert/jobs.h"

#include "tests/unit/archive_reseal.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* As many jobs as a file. */
static void load(const uint8_t *data, size_t size, size_t n)
{
    static struct test_memory_file file = {.fd = -1};
    struct qn_jobs jobs;
    if ((file.fd < 0 && !test_memory_file_open(&file)) ||
        !test_memory_file_set(&file, data, size) ||
        qn_jobs_load(file.path, &jobs, NULL) != QINS_OK || jobs.n != n)
        abort();
    qn_jobs_finish(&jobs);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct qn_jobs jobs;
    if (qn_jobs_parse(data, size, &jobs, NULL) == QINS_OK) {
        for (size_t i = 0; i < jobs.n; i++) {
            const struct qn_job *job = &jobs.items[i];
            const struct qn_command *convert = &job->steps[QN_JOB_CONVERT];
            if (!job->name || !job->model || !job->output || job->shards == 0 || convert->n < 5)
                abort();
        }
        load(data, size, jobs.n);
    }
    qn_jobs_finish(&jobs);
    /* No such file: what a path adds to the above. */
    (void)qn_jobs_load("/nonexistent/jobs.json", &jobs, NULL);
    qn_jobs_finish(&jobs);
    return 0;
}
