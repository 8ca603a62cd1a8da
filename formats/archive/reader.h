/* Reads archives without libhdf5: user block, manifest and chunk table are found by offset, and
 * chunks are read with pread. Thread-safe after opening. */
#ifndef QINS_FORMATS_ARCHIVE_READER_H
#define QINS_FORMATS_ARCHIVE_READER_H

#include "core/file.h"
#include "core/thread.h"
#include "formats/archive/manifest.h"

struct qn_chunk_entry {
    uint64_t offset, size; /* bytes, from the start of the file */
    uint64_t hash;         /* XXH3-64 of the payload */
};

struct qn_archive {
    struct qn_file file;
    struct qn_digest body_hash; /* as the user block has it */
    struct qn_manifest manifest;
    struct qn_chunk_entry *chunks; /* qn_manifest_chunks() of them */
};

/* True if HEAD (>= 16 bytes) begins with the user block's magic. */
bool qn_is_archive(const void *head, size_t size);
/* *YES: PATH is a file that begins like an archive. Fails where that cannot be told: QINS_ERR_IO,
 * QINS_ERR_MEMORY. */
enum qins_status qn_path_is_archive(const char *path, bool *yes, struct qins_error *err);

/* Checks the user block, its own hash, the file's length, the manifest and every offset. The
 * whole-file hash is qn_archive_check_hash()'s affair. */
enum qins_status qn_archive_open(struct qn_archive **out, const char *path, struct qins_error *err);
void qn_archive_destroy(struct qn_archive *a); /* accepts NULL */

/* Reads the whole file and compares with the user block's hash: QINS_ERR_FORMAT if it differs
 * ("... what h5repack or an editor made of an archive is no longer one"). */
enum qins_status qn_archive_check_hash(const struct qn_archive *a, unsigned threads,
                                       const struct qn_monitor *monitor, struct qins_error *err);

/* Appends the payload of chunk CHUNK of tensor TENSOR to *out, after clearing it, and checks it
 * against the chunk table. */
enum qins_status qn_archive_payload(const struct qn_archive *a, size_t tensor, uint64_t chunk,
                                    struct qn_buf *out, struct qins_error *err);

/* Decodes COUNT elements from element FIRST into DST; VIEW as in qn_chunk_decode(). WORK and
 * PAYLOAD are the caller's reusable buffers. */
enum qins_status qn_archive_decode(const struct qn_archive *a, size_t tensor, uint64_t first,
                                   uint64_t count, bool view, struct qn_chunk_work *work,
                                   struct qn_buf *payload, void *dst, struct qins_error *err);

/* Contents of an attached file appended to *out, hash checked. */
enum qins_status qn_archive_file_read(const struct qn_archive *a, size_t file, struct qn_buf *out,
                                      struct qins_error *err);
/* All of them, added to *files; errors name the archive. */
enum qins_status qn_archive_read_files(const struct qn_archive *a, struct qn_attachment_list *files,
                                       struct qins_error *err);

/* Elements of the model's own float tensors, and 8 * size of the archive, all that is in it, /
 * that; NaN where there are none. */
uint64_t qn_archive_float_elements(const struct qn_archive *a);
double qn_archive_bits_per_weight(const struct qn_archive *a);

#endif
