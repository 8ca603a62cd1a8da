/* What the fuzz targets of checkpoint readers share. */
#ifndef QINS_TESTS_CHECKPOINT_FUZZING_H
#define QINS_TESTS_CHECKPOINT_FUZZING_H

#include "core/bytes.h"
#include "formats/checkpoint.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A file in memory with the input's bytes; PATH opens it. Ends the process if the system has no
 * room for it. */
static inline int fuzz_file(const uint8_t *data, size_t size, char path[32])
{
    int fd = memfd_create("fuzz", MFD_CLOEXEC);
    if (fd < 0 || (size && write(fd, data, size) != (ssize_t)size))
        abort();
    snprintf(path, 32, "/proc/self/fd/%d", fd);
    return fd;
}

/* Reads the first and the last elements of every tensor, 64 KiB in all. */
static inline void fuzz_touch(struct qn_checkpoint *ck)
{
    uint8_t buf[256];
    struct qins_error err;
    size_t budget = 65536;
    for (size_t i = 0; i < ck->tensors.count && budget >= 2 * sizeof buf; i++) {
        const struct qn_tensor *t = &ck->tensors.items[i];
        size_t element = qins_dtype_size(t->dtype);
        if (!element || !t->n_bytes)
            continue;
        size_t n = (size_t)qn_min_u64(t->n_bytes, sizeof buf / element * element);
        ck->ops->read(ck, i, 0, buf, n, &err);
        ck->ops->read(ck, i, t->n_bytes - n, buf, n, &err);
        budget -= 2 * sizeof buf;
    }
}

/* Whether OPS takes PATH for its own. */
static inline bool fuzz_probe(const struct qn_checkpoint_ops *ops, const char *path)
{
    uint8_t head[4096];
    struct stat status;
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &status))
        abort();
    const ssize_t n = S_ISDIR(status.st_mode) ? 0 : pread(fd, head, sizeof head, 0);
    const struct qn_probe p = {path, S_ISDIR(status.st_mode), head, n < 0 ? 0 : (size_t)n,
                               (uint64_t)status.st_size};
    close(fd);
    return ops->probe(&p);
}

/* Probes the input, opens it with OPS whatever came of that, and touches what it holds; NULL if it
 * is refused, as it is where two tensors share a name. */
static inline struct qn_checkpoint *fuzz_open(const struct qn_checkpoint_ops *ops, const char *path)
{
    struct qn_checkpoint *ck = NULL;
    struct qins_error err = {0};
    char line[256];
    fuzz_probe(ops, path);
    enum qins_status st = ops->open(&ck, path, NULL, &err);
    if (st == QINS_OK)
        st = qn_tensor_list_check_unique(&ck->tensors, &err);
    if (st == QINS_OK) {
        fuzz_touch(ck);
        return ck;
    }
    /* A refusal has a status and a message. */
    if (err.status != st || !err.message[0])
        abort();
    qins_error_format(&err, line, sizeof line);
    if (ck)
        ops->destroy(ck);
    return NULL;
}

#endif
