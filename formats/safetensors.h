/* Safetensors files: what the single-file and the folder reader share.
 *
 * A file is an 8-byte little-endian length, a JSON header of that many bytes and the data
 * section (https://github.com/huggingface/safetensors, "Format"). */
#ifndef QINS_FORMATS_SAFETENSORS_H
#define QINS_FORMATS_SAFETENSORS_H

#include "core/file.h"
#include "core/json.h"
#include "formats/checkpoint.h"

/* The reference implementation's limit on the header, in bytes. */
#define QN_SAFETENSORS_MAX_HEADER 100000000u

/* Name of the attachment that carries the header's __metadata__ object as compact JSON. */
#define QN_SAFETENSORS_METADATA "safetensors.metadata"

/* A checkpoint over one file or the shards of a folder: where[0] of a tensor is the index into
 * files, where[1] the position of its data in that file (0 if it has none). */
struct qn_safetensors {
    struct qn_checkpoint base;
    struct qn_file *files;
    size_t n_files;
};

/* Heap object with N_FILES closed files and the base set up. */
enum qins_status qn_safetensors_create(struct qn_safetensors **out,
                                       const struct qn_checkpoint_ops *ops, const char *path,
                                       size_t n_files, struct qins_error *err);

/* Reads the header of the open file FILE_INDEX and appends its tensors in the order of their
 * data (ties by name). *METADATA (may be NULL) receives the __metadata__ object, owned by the
 * caller, or NULL. Errors name the file. */
enum qins_status qn_safetensors_parse(struct qn_safetensors *s, size_t file_index,
                                      json_t **metadata, struct qins_error *err);

/* Attaches METADATA (may be NULL: nothing is done). */
enum qins_status qn_safetensors_attach_metadata(struct qn_safetensors *s, const json_t *metadata,
                                                struct qins_error *err);

/* read() and destroy() of struct qn_checkpoint_ops. */
enum qins_status qn_safetensors_read(struct qn_checkpoint *ck, size_t tensor, uint64_t offset,
                                     void *dst, size_t size, struct qins_error *err);
void qn_safetensors_destroy(struct qn_checkpoint *ck);

#endif
