/* What an archive says of itself: the manifest, in memory and as JSON. The JSON form, the user
 * block and the chunk table are specified in docs/archive-format.md. */
#ifndef QINS_FORMATS_ARCHIVE_MANIFEST_H
#define QINS_FORMATS_ARCHIVE_MANIFEST_H

#include "core/hash.h"
#include "core/json.h"
#include "formats/archive/layout.h"
#include "formats/checkpoint.h"
#include "formats/codec/chunk.h"

enum qn_group_kind { QN_GROUP_TENSOR, QN_GROUP_ROW, QN_GROUP_BLOCK };

/* How often weights are used, from measured counts; unknown without a calibration. */
enum qn_class { QN_CLASS_UNKNOWN, QN_CLASS_HOT, QN_CLASS_COLD };
const char *qn_class_name(enum qn_class c); /* "unknown", "hot", "cold" */

/* One line of a plan: how one tensor is coded, and why. */
struct qn_plan_line {
    enum qn_content content;
    enum qn_codec_id codec;
    unsigned levels;   /* N; 0 for lossless */
    float kappa, clip; /* as used; during planning < 0 means "search" */
    enum qn_group_kind group_kind;
    uint64_t group; /* elements, QN_GROUP_BLOCK only */
    enum qn_rounding rounding;
    enum qn_class access_class;
    double access_frequency; /* touches a token; < 0: unknown */
    char reason[256];        /* in words, UTF-8, one line */
};

/* A run of rows (slices of axis 0) with a coding of its own. */
struct qn_plan_block {
    uint64_t row_begin, row_end;
    struct qn_plan_line line;
    float tensor_scale; /* QN_GROUP_TENSOR: the block's one scale, clip included */
};

/* Of one tensor: what an 8 MiB description holds, whatever the reasons. */
enum { QN_MAX_BLOCKS = 4096 };

struct qn_archive_tensor {
    struct qn_tensor tensor;      /* name, source dtype, rank, shape, n_elements, n_bytes;
                                     the name belongs to the manifest */
    struct qn_plan_line plan;     /* where there are blocks: that of the one with most rows */
    float tensor_scale;           /* QN_GROUP_TENSOR: the one scale, clip included */
    struct qn_plan_block *blocks; /* n_blocks of them, ascending, covering all rows, or NULL: `plan`
                                     goes for all; the manifest's */
    size_t n_blocks;
    struct qn_digest fingerprint; /* of the source bytes, qn_fingerprint_* */
    struct qn_layout layout;
    uint64_t first_chunk;   /* row of the chunk table */
    uint8_t inline_data[8]; /* rank 0: the n_bytes source bytes */
};

/* Where a file attached to the archive stands. */
struct qn_archive_file {
    char *name;
    uint64_t offset, size; /* bytes from the start of the archive */
    uint64_t hash;         /* XXH3-64 */
};

struct qn_manifest {
    char *source_format; /* "safetensors", ... */
    struct qn_archive_tensor *tensors;
    size_t n_tensors, tensor_capacity;
    struct qn_archive_file *files;
    size_t n_files, file_capacity;
};

void qn_manifest_finish(struct qn_manifest *m);

/* A transport (formats/transport.h) in an archive: its arrays are tensors of such names behind the
 * model's own, its description is an attachment. They are no part of the model: its fingerprint,
 * restored files and comparisons with its checkpoint leave them out. */
#define QN_TRANSPORT_PREFIX     "qins.transport."
#define QN_TRANSPORT_ATTACHMENT "qins.transport.json"
bool qn_is_transport_tensor(const char *name);
/* How many tensors are the model's own; they come first. */
size_t qn_manifest_own_tensors(const struct qn_manifest *m);

/* Copies *T, name and blocks included, and fills layout and first_chunk. */
enum qins_status qn_manifest_add(struct qn_manifest *m, const struct qn_archive_tensor *t,
                                 struct qins_error *err);
enum qins_status qn_manifest_add_file(struct qn_manifest *m, const struct qn_archive_file *f,
                                      struct qins_error *err);
uint64_t qn_manifest_chunks(const struct qn_manifest *m); /* total over tensors */

/* Whether N blocks follow each other, from row 0 on, up to ROWS. */
bool qn_blocks_cover(const struct qn_plan_block *blocks, size_t n, uint64_t rows);
/* Whether any of what LINE codes, or else its N blocks where there are some, is rounded with
 * feedback. */
bool qn_plan_feeds_back(const struct qn_plan_line *line, const struct qn_plan_block *blocks,
                        size_t n);
/* Whether any of it is quantised. */
bool qn_archive_tensor_is_quantised(const struct qn_archive_tensor *t);
/* Copies *FROM, its name and blocks included. */
enum qins_status qn_archive_tensor_copy(struct qn_archive_tensor *to,
                                        const struct qn_archive_tensor *from,
                                        struct qins_error *err);
/* Frees a tensor's own name and blocks; a zeroed one is accepted. */
void qn_archive_tensor_finish(struct qn_archive_tensor *t);

/* A run of elements of one coding. */
struct qn_part {
    uint64_t first, count;           /* elements of the tensor */
    const struct qn_plan_line *line; /* how they are coded */
    float tensor_scale;              /* with QN_GROUP_TENSOR */
};
/* The part of elements [P->first + P->count, END) that comes first; begin with the first element
 * and count 0. False at the end. */
bool qn_next_part(const struct qn_archive_tensor *t, uint64_t end, struct qn_part *p);

/* One tensor as JSON and back (used by spool frames too). from_json trusts nothing and fills
 * layout, not first_chunk; on success *out is the caller's, to be finished. */
json_t *qn_archive_tensor_to_json(const struct qn_archive_tensor *t);
enum qins_status qn_archive_tensor_from_json(const json_t *j, struct qn_archive_tensor *out,
                                             struct qins_error *err);

/* The whole manifest as zlib-compressed JSON and back. */
enum qins_status qn_manifest_pack(const struct qn_manifest *m, struct qn_buf *out,
                                  struct qins_error *err);
enum qins_status qn_manifest_unpack(const void *data, size_t size, struct qn_manifest *out,
                                    struct qins_error *err);

/* Source fingerprint of a tensor: XXH3-128 over the concatenated XXH3-128 digests of the source
 * bytes of its chunks in order (the layout's, whatever the coding); for rank 0 over its bytes
 * as one leaf, for an empty tensor over no leaf. */
struct qn_fingerprint {
    struct qn_buf leaves;
};
enum qins_status qn_fingerprint_add(struct qn_fingerprint *f, const struct qn_digest *leaf,
                                    struct qins_error *err);
struct qn_digest qn_fingerprint_finish(struct qn_fingerprint *f); /* frees and resets */

#endif
