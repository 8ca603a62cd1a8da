/* Journals of validations whose frames have the right hashes: what is read, is read again. */
#include "analyze/journal.h"
#include "core/bytes.h"
#include "tests/unit/archive_reseal.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Offsets are those of analyze/journal.h. */
static void reseal(uint8_t *p, size_t size)
{
    if (size < 40)
        return;
    memset(p + 16, 0, 16);
    qn_store64(p + 32, qn_hash64(p, 32));
    for (size_t at = 40; size - at >= 64;) {
        uint64_t n = qn_load64(p + at + 40);
        if (n > size - at - 64)
            break;
        qn_store64(p + at + 48, qn_hash64(p + at + 64, (size_t)n));
        qn_store64(p + at + 56, qn_hash64(p + at, 56));
        at += 64 + (size_t)n;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct test_memory_file file = {.fd = -1};
    static const struct qn_digest job;
    static const char *const tests[] = {"windows", "nll", "a"};
    struct qn_journal *j = NULL;
    uint8_t *image = malloc(size + 1);
    if (!image || (file.fd < 0 && !test_memory_file_open(&file)))
        abort();
    if (size)
        memcpy(image, data, size);
    reseal(image, size);
    if (!test_memory_file_set(&file, image, size))
        abort();
    if (qn_journal_open(&j, file.path, true, &job, NULL, NULL) == QINS_OK) {
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
        if (sum == 1 || qn_journal_open(&j, file.path, true, &job, NULL, NULL) != QINS_OK ||
            qn_journal_total(j) != total + added)
            abort();
        qn_journal_close(j);
    }
    free(image);
    return 0;
}
