/* Journals of validations whose frames have the right hashes: what is read, is read again. And the
 * same as the one part of a validation, which makes a report. */
#include "analyze/journal.h"
#include "analyze/validate.h"
#include "tests/fuzz/work_file_fuzzing.h"

/* Bytes of a frame (analyze/journal.h). */
enum { FRAME = 64, BODY_SIZE_AT = 40 };

static void merge(const char *path)
{
    struct qins_error err = {.status = QINS_OK};
    json_t *report = NULL;
    const bool good = qn_validate_merge(&path, 1, NULL, &report, &err) == QINS_OK;
    if (good != (report != NULL) || good != (err.message[0] == '\0'))
        abort();
    /* What can be joined does not look cut short. */
    if (qn_validate_look_at_part(path, NULL) != QINS_OK && good)
        abort();
    json_decref(report);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const tests[] = {"windows", "nll", "a"};
    static bool looked; /* a lock is waited for, some tenths of a second */
    const char *path = fuzz_work_file(data, size, FRAME, BODY_SIZE_AT);
    struct qn_journal *j = NULL;
    merge(path);
    if (qn_journal_open(&j, path, true, &fuzz_job, NULL, NULL) != QINS_OK)
        return 0;
    struct qn_journal *other = NULL;
    if ((!looked && qn_journal_open(&other, path, true, &fuzz_job, NULL, NULL) == QINS_OK) ||
        qn_journal_open(&other, "/dev/null", true, &fuzz_job, NULL, NULL) == QINS_OK)
        abort(); /* it is locked, and that is no file */
    looked = true;
    const uint64_t total = qn_journal_total(j);
    uint64_t sum = 0;
    for (size_t i = 0; i < sizeof tests / sizeof *tests; i++) {
        for (uint64_t k = 0; k < qn_journal_count(j, tests[i]); k++) {
            size_t n;
            const void *item = qn_journal_get(j, tests[i], k, &n);
            sum += qn_hash64(item, n);
        }
    }
    /* a file may be full of other tests */
    const bool added = qn_journal_add(j, "a", &sum, sizeof sum, NULL) == QINS_OK;
    qn_journal_close(j);
    if (sum == 1 || qn_journal_open(&j, path, true, &fuzz_job, NULL, NULL) != QINS_OK ||
        qn_journal_total(j) != total + added)
        abort();
    qn_journal_close(j);
    return 0;
}
