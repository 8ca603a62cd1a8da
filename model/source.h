/* The tensors and files of a model, whether they stand in a checkpoint or in an archive. */
#ifndef QINS_MODEL_SOURCE_H
#define QINS_MODEL_SOURCE_H

#include "formats/archive/reader.h"

struct qn_source_tensor {
    const struct qn_tensor *tensor;
    size_t number; /* in the checkpoint or archive */
};

struct qn_source {
    char *path;
    const char *format;               /* "safetensors", …: of the checkpoint, once or now */
    struct qn_checkpoint *checkpoint; /* this */
    struct qn_archive *archive;       /* or that, */
    const float *const *values; /* or float32 values in memory, of each tensor by its number */
    struct qn_attachment_list files;
    size_t n_tensors;
    struct qn_source_tensor *tensors; /* sorted by name */
};

/* What read() needs of its own: one for each thread, zero-initialised is empty. */
struct qn_source_work {
    struct qn_buf payload;
    struct qn_chunk_work chunk;
};
void qn_source_work_finish(struct qn_source_work *w);

/* Opens a checkpoint of any format, a Hugging Face folder or an archive, of which a transport's
 * tensors are left out. An archive's chunks may not claim more bytes than its file has, so that
 * what it decodes to is really in it. */
enum qins_status qn_source_open(struct qn_source **out, const char *path,
                                const struct qn_monitor *monitor, struct qins_error *err);
void qn_source_destroy(struct qn_source *s); /* accepts NULL */

/* As qn_checkpoint_check_unchanged(); what an archive yields is checked by its hashes. */
enum qins_status qn_source_check_unchanged(const struct qn_source *s, struct qins_error *err);

/* Index of the tensor of that name, or SIZE_MAX. */
size_t qn_source_find(const struct qn_source *s, const char *name);

/* The type in which read() yields tensor INDEX: the source's, or F32 where an archive holds it
 * quantised. */
enum qins_dtype qn_source_read_type(const struct qn_source *s, size_t index);

/* Whether an archive holds any of tensor INDEX quantised. */
bool qn_source_is_quantised(const struct qn_source *s, size_t index);

/* COUNT elements of tensor INDEX from element FIRST on. Thread-safe. */
enum qins_status qn_source_read(const struct qn_source *s, size_t index, uint64_t first,
                                uint64_t count, struct qn_source_work *work, void *dst,
                                struct qins_error *err);

/* The XXH3-128 of the sorted list of tensors: of each its name and the name of its type, both with
 * their NUL, rank and extents as 64-bit little-endian numbers, and its fingerprint. FINGERPRINTS
 * has one for each tensor of the source. */
enum qins_status qn_source_fingerprint(const struct qn_source *s,
                                       const struct qn_digest *fingerprints, struct qn_digest *out,
                                       struct qins_error *err);

/* A sweep over all chunks of a source, for the fingerprints and for whoever wants the values. */
struct qn_source_sweep {
    /* Whether tensor INDEX is wanted, or NULL: none is. A checkpoint is read in any case. */
    bool (*wanted)(void *ctx, size_t index);
    /* Where to put elements FIRST … FIRST + COUNT - 1, as read() yields them, or NULL: a buffer
     * of the sweep. */
    void *(*place)(void *ctx, size_t index, uint64_t first);
    /* They are at DATA. From any thread. */
    enum qins_status (*use)(void *ctx, size_t index, uint64_t first, uint64_t count,
                            const void *data, struct qins_error *err);
    void *ctx;
    const char *what; /* is done: a verb phrase for the progress */
};

/* Runs it on THREADS and yields the fingerprint of the whole. */
enum qins_status qn_source_run(const struct qn_source *s, const struct qn_source_sweep *sweep,
                               unsigned threads, const struct qn_monitor *monitor,
                               struct qn_digest *fingerprint, struct qins_error *err);

#endif
