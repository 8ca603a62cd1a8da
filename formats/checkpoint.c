#include "formats/checkpoint.h"

#include "core/bytes.h"
#include "formats/archive/reader.h"

#include <stdlib.h>
#include <string.h>

enum { HEAD_SIZE = 4096 };

/* Formats with a magic number come first; those recognised by structure alone, last. */
static const struct qn_checkpoint_ops *const formats[] = {
    &qn_hf_folder_ops, &qn_gguf_ops, &qn_hdf5_ops,        &qn_npy_ops,
    &qn_torch_ops,     &qn_npz_ops,  &qn_safetensors_ops, &qn_llama2c_ops,
};

const char *qn_checkpoint_format(size_t i)
{
    return i < sizeof formats / sizeof(const struct qn_checkpoint_ops *) ? formats[i]->format
                                                                         : NULL;
}

enum qins_status qn_checkpoint_base_init(struct qn_checkpoint *ck,
                                         const struct qn_checkpoint_ops *ops, const char *path,
                                         struct qins_error *err)
{
    *ck = (struct qn_checkpoint){.ops = ops};
    ck->path = qn_strdup(path, err);
    if (!ck->path)
        return QINS_ERR_MEMORY;
    enum qins_status st =
        qn_is_directory(path) ? QINS_OK : qn_checkpoint_add_file(ck, path, NULL, err);
    if (st != QINS_OK)
        qn_checkpoint_base_finish(ck);
    return st;
}

enum qins_status qn_checkpoint_add_file(struct qn_checkpoint *ck, const char *path,
                                        const struct qn_file_stamp *stamp, struct qins_error *err)
{
    struct qn_checkpoint_file *files = realloc(ck->files, (ck->n_files + 1) * sizeof *files);
    if (!files)
        return qn_fail_memory(err);
    ck->files = files;
    struct qn_checkpoint_file *f = &files[ck->n_files];
    f->path = qn_strdup(path, err);
    if (!f->path)
        return QINS_ERR_MEMORY;
    ck->n_files++;
    if (!stamp)
        return qn_file_look(path, &f->stamp, err);
    f->stamp = *stamp;
    return QINS_OK;
}

void qn_checkpoint_base_finish(struct qn_checkpoint *ck)
{
    qn_tensor_list_finish(&ck->tensors);
    qn_attachment_list_finish(&ck->attachments);
    for (size_t i = 0; i < ck->n_files; i++)
        free(ck->files[i].path);
    free(ck->files);
    ck->files = NULL;
    ck->n_files = 0;
    free(ck->path);
    ck->path = NULL;
}

static const struct qn_checkpoint_ops *find_format(const struct qn_probe *p)
{
    for (size_t i = 0; i < sizeof formats / sizeof formats[0]; i++)
        if (formats[i]->probe(p))
            return formats[i];
        else if (p->err->status != QINS_OK)
            break;
    return NULL;
}

static enum qins_status identify(const char *path, const struct qn_checkpoint_ops **ops,
                                 struct qins_error *err)
{
    uint8_t head[HEAD_SIZE];
    struct qins_error failure = {.status = QINS_OK};
    struct qn_probe p = {
        .path = path, .is_directory = qn_is_directory(path), .head = head, .err = &failure};
    if (!p.is_directory) {
        struct qn_file f;
        enum qins_status st = qn_file_open(&f, path, err);
        if (st != QINS_OK)
            return st;
        p.file_size = f.size;
        p.head_size = (size_t)qn_min_u64(f.size, sizeof head);
        st = qn_file_read(&f, 0, head, p.head_size, err);
        qn_file_close(&f);
        if (st != QINS_OK)
            return st;
    }
    *ops = find_format(&p);
    if (failure.status != QINS_OK && err)
        *err = failure;
    if (failure.status != QINS_OK)
        return failure.status;
    if (!*ops)
        return qn_fail_at(err, QINS_ERR_UNSUPPORTED, path, NULL, QN_NO_OFFSET, "%s",
                          p.is_directory ? "the folder holds no checkpoint that qins knows"
                          : qn_is_archive(head, p.head_size)
                              ? "is an archive, not a checkpoint; restore makes one of it"
                              : "not a checkpoint format that qins knows");
    return QINS_OK;
}

/* For the formats whose readers know nothing of models' files. */
static enum qins_status attach_files_beside(struct qn_checkpoint *ck, struct qins_error *err)
{
    if (ck->ops != &qn_npz_ops && ck->ops != &qn_hdf5_ops)
        return QINS_OK;
    char *dir = qn_path_dir(ck->path, err);
    enum qins_status st = dir ? qn_attach_model_files(&ck->attachments, dir, err) : QINS_ERR_MEMORY;
    free(dir);
    return st;
}

enum qins_status qn_checkpoint_open(struct qn_checkpoint **out, const char *path,
                                    const struct qn_monitor *monitor, struct qins_error *err)
{
    const struct qn_checkpoint_ops *ops = NULL;
    struct qn_checkpoint *ck = NULL;
    enum qins_status st = identify(path, &ops, err);
    if (st == QINS_OK)
        st = ops->open(&ck, path, monitor, err);
    if (st == QINS_OK)
        st = qn_tensor_list_check_unique(&ck->tensors, err);
    if (st == QINS_OK)
        st = attach_files_beside(ck, err);
    if (st != QINS_OK) {
        qn_checkpoint_destroy(ck);
        return qn_error_in_file(err, st, path);
    }
    *out = ck;
    return QINS_OK;
}

enum qins_status qn_checkpoint_read(struct qn_checkpoint *ck, size_t tensor, uint64_t offset,
                                    void *dst, size_t size, struct qins_error *err)
{
    const struct qn_tensor *t = &ck->tensors.items[tensor];
    if (t->dtype == QINS_DTYPE_INVALID)
        return qn_fail_at(err, QINS_ERR_UNSUPPORTED, ck->path, t->name, QN_NO_OFFSET,
                          "its type %s cannot be converted", t->foreign_type);
    if (offset > t->n_bytes || size > t->n_bytes - offset)
        return qn_fail_at(err, QINS_ERR_USAGE, ck->path, t->name, QN_NO_OFFSET,
                          "a range outside the tensor was asked for");
    enum qins_status st = size ? ck->ops->read(ck, tensor, offset, dst, size, err) : QINS_OK;
    if (st != QINS_OK) {
        qn_error_in_file(err, st, ck->path);
        qn_error_in_tensor(err, st, t->name);
    }
    return st;
}

enum qins_status qn_checkpoint_check_unchanged(const struct qn_checkpoint *ck, bool *changed,
                                               struct qins_error *err)
{
    struct qn_file_stamp now;
    enum qins_status st = QINS_OK;
    for (size_t i = 0; i < ck->n_files && st == QINS_OK; i++) {
        const struct qn_checkpoint_file *f = &ck->files[i];
        st = qn_file_look(f->path, &now, err);
        if (st != QINS_OK || memcmp(&now, &f->stamp, sizeof now) == 0)
            continue;
        if (changed)
            *changed = true;
        st = qn_fail_at(err, QINS_ERR_IO, f->path, NULL, QN_NO_OFFSET,
                        "the source changed while it was read");
    }
    return st;
}

void qn_checkpoint_destroy(struct qn_checkpoint *ck)
{
    if (ck)
        ck->ops->destroy(ck);
}
