/* Checkpoint readers behind one const vtable.
 *
 * A reader parses a file's description when it is opened and yields tensor bytes on request,
 * always canonical: little-endian, row-major, contiguous, whatever the file holds. read() is
 * thread-safe. Nothing in a file is trusted: sizes are checked against the file before use. */
#ifndef QINS_FORMATS_CHECKPOINT_H
#define QINS_FORMATS_CHECKPOINT_H

#include "core/file.h"
#include "core/tensor.h"
#include "core/thread.h"

/* A small file that belongs to the model (config.json, tokenizer.json, ...) or a piece of the
 * container that restore needs ("gguf.metadata"). Carried into the archive unchanged. */
struct qn_attachment {
    char *name; /* no '/', at most 255 bytes; reserved for qins: names that begin with '.' */
    uint8_t *data;
    size_t size;
    char *path; /* of the file that it was read from; NULL for a piece of a container */
};

struct qn_attachment_list {
    struct qn_attachment *items;
    size_t count, capacity;
};

void qn_attachment_list_finish(struct qn_attachment_list *list);
/* Copies NAME and DATA. Refuses bad or duplicate names with QINS_ERR_FORMAT. */
enum qins_status qn_attachment_add(struct qn_attachment_list *list, const char *name,
                                   const void *data, size_t size, struct qins_error *err);
const struct qn_attachment *qn_attachment_find(const struct qn_attachment_list *list,
                                               const char *name);

struct qn_checkpoint;

/* What probe() may look at. */
struct qn_probe {
    const char *path;
    bool is_directory;
    const uint8_t *head; /* first bytes of a file */
    size_t head_size;    /* up to 4096 */
    uint64_t file_size;
    struct qins_error *err; /* a probe that cannot look fills it, and says false */
};

struct qn_checkpoint_ops {
    const char *format; /* "safetensors", "gguf", ... */
    bool (*probe)(const struct qn_probe *p);
    /* On success *out is a heap object whose first member is struct qn_checkpoint, with ops set
     * and tensors filled. MONITOR (may be NULL) takes notices of what is skipped. */
    enum qins_status (*open)(struct qn_checkpoint **out, const char *path,
                             const struct qn_monitor *monitor, struct qins_error *err);
    /* SIZE bytes of tensor TENSOR from byte OFFSET of its canonical form; both are multiples of
     * its element size, and OFFSET + SIZE <= n_bytes (the caller checks). */
    enum qins_status (*read)(struct qn_checkpoint *ck, size_t tensor, uint64_t offset, void *dst,
                             size_t size, struct qins_error *err);
    void (*destroy)(struct qn_checkpoint *ck); /* frees everything, base included */
};

/* A file that a checkpoint is read from, and what it was like before its first byte was read. */
struct qn_checkpoint_file {
    char *path;
    struct qn_file_stamp stamp;
};

struct qn_checkpoint {
    const struct qn_checkpoint_ops *ops;
    char *path;
    struct qn_tensor_list tensors; /* order of the file, or of names where the file has none */
    struct qn_attachment_list attachments;
    struct qn_checkpoint_file *files; /* opened for it; those of attachments are not among them */
    size_t n_files;
};

/* The name of the I-th format, in the order in which they are tried; NULL behind the last one. */
const char *qn_checkpoint_format(size_t i);
/* Finds the format by content, opens, and checks that names are unique. */
enum qins_status qn_checkpoint_open(struct qn_checkpoint **out, const char *path,
                                    const struct qn_monitor *monitor, struct qins_error *err);
/* Checks the range, then reads; errors name file and tensor. */
enum qins_status qn_checkpoint_read(struct qn_checkpoint *ck, size_t tensor, uint64_t offset,
                                    void *dst, size_t size, struct qins_error *err);
/* QINS_ERR_IO, naming the file, where one of `files` is not what it was before it was read, and
 * *CHANGED then (which may be NULL); and where that cannot be told. What was read until now is of
 * one and the same state of each file otherwise. */
enum qins_status qn_checkpoint_check_unchanged(const struct qn_checkpoint *ck, bool *changed,
                                               struct qins_error *err);
void qn_checkpoint_destroy(struct qn_checkpoint *ck); /* accepts NULL */

/* For readers: free and set the base members. PATH, unless it is a folder, is the first of
 * `files`; a reader that opens others adds them before it reads of them, or with the stamp that
 * they had then (NULL: that of now). */
enum qins_status qn_checkpoint_base_init(struct qn_checkpoint *ck,
                                         const struct qn_checkpoint_ops *ops, const char *path,
                                         struct qins_error *err);
void qn_checkpoint_base_finish(struct qn_checkpoint *ck);
enum qins_status qn_checkpoint_add_file(struct qn_checkpoint *ck, const char *path,
                                        const struct qn_file_stamp *stamp, struct qins_error *err);

/* Adds those of config.json, generation_config.json, tokenizer.json, tokenizer_config.json,
 * tokenizer.model, tokenizer.bin, special_tokens_map.json, added_tokens.json, vocab.json,
 * merges.txt, chat_template.jinja that DIR holds as regular files (each at most 64 MiB) and that
 * LIST does not have yet. */
enum qins_status qn_attach_model_files(struct qn_attachment_list *list, const char *dir,
                                       struct qins_error *err);

/* True for the names above. */
bool qn_is_model_file(const char *name);

extern const struct qn_checkpoint_ops qn_safetensors_ops, qn_hf_folder_ops, qn_gguf_ops,
    qn_torch_ops, qn_npy_ops, qn_npz_ops, qn_hdf5_ops, qn_llama2c_ops;

#endif
