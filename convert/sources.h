/* The files that a command reads: so that none of them is overwritten, and so that a resumed run
 * knows whether they changed. */
#ifndef QINS_CONVERT_SOURCES_H
#define QINS_CONVERT_SOURCES_H

#include "core/hash.h"
#include "formats/checkpoint.h"

struct qn_inputs {
    const struct qn_checkpoint *checkpoint; /* or NULL */
    const char *file;                       /* one more, or NULL */
};

/* QINS_ERR_USAGE if OUTPUT names a file that the checkpoint was read from, one that is attached
 * to it, or the other one, under whatever name. */
enum qins_status qn_refuse_input(const struct qn_inputs *in, const char *output,
                                 struct qins_error *err);

/* The same for commands that run a model: OUTPUT is none of the files of the checkpoint, folder or
 * archive MODEL, and none of FILES[n_files], which may be NULL each. */
enum qins_status qn_refuse_model_input(const char *model, const char *const *files, size_t n_files,
                                       const char *output, struct qins_error *err);

/* Adds name, size and times of change of a file. */
enum qins_status qn_source_add_file(struct qn_hasher *h, const char *file, struct qins_error *err);

/* QINS_ERR_UNSUPPORTED, naming tensor and type, where the checkpoint has a tensor that can be
 * listed but not converted, or one whose name only a transport's may have. */
enum qins_status qn_check_types(const struct qn_checkpoint *ck, struct qins_error *err);

/* Digest of name, size and times of change of the files that the checkpoint was opened
 * from, as they were before they were read, and of the tensors and attached files that were found
 * in them. */
enum qins_status qn_source_digest(const struct qn_checkpoint *ck, struct qn_digest *out,
                                  struct qins_error *err);

#endif
