/* What the fuzz targets of files of work in progress share (core/work_file.h): a file in memory
 * whose hashes are right. */
#ifndef QINS_TESTS_WORK_FILE_FUZZING_H
#define QINS_TESTS_WORK_FILE_FUZZING_H

#include "core/bytes.h"
#include "core/hash.h"
#include "tests/unit/archive_reseal.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The job of every such file. */
static const struct qn_digest fuzz_job;

/* Puts right the hashes of the head and of frames of FRAME bytes with the size of their body at
 * SIZE_AT, and the job. */
static void fuzz_reseal(uint8_t *p, size_t size, size_t frame, size_t size_at)
{
    const size_t head = 40;
    if (size < head)
        return;
    memcpy(p + 16, fuzz_job.bytes, sizeof fuzz_job.bytes);
    qn_store64(p + 32, qn_hash64(p, 32));
    for (size_t at = head; size - at >= frame;) {
        uint8_t *const f = p + at;
        const uint64_t n = qn_load64(f + size_at);
        if (n > size - at - frame)
            break;
        qn_store64(f + frame - 16, qn_hash64(f + frame, (size_t)n));
        qn_store64(f + frame - 8, qn_hash64(f, frame - 8));
        at += frame + (size_t)n;
    }
}

/* Makes FILE, a zeroed one at first, hold DATA so put right, and by AND_THEN (may be NULL), too.
 * Returns its path, which is the same every time. */
static inline const char *fuzz_work_file_in(struct test_memory_file *file, const uint8_t *data,
                                            size_t size, size_t frame, size_t size_at,
                                            void (*and_then)(uint8_t *image, size_t size))
{
    uint8_t *image = malloc(size + 1);
    if (!image || (!file->path[0] && !test_memory_file_open(file)))
        abort();
    if (size)
        memcpy(image, data, size);
    fuzz_reseal(image, size, frame, size_at);
    if (and_then)
        and_then(image, size);
    if (!test_memory_file_set(file, image, size))
        abort();
    free(image);
    return file->path;
}

/* The same with one file for all. */
static inline const char *fuzz_work_file(const uint8_t *data, size_t size, size_t frame,
                                         size_t size_at)
{
    static struct test_memory_file file;
    return fuzz_work_file_in(&file, data, size, frame, size_at, NULL);
}

#endif
