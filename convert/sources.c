#include "convert/sources.h"

#include "convert/report.h"
#include "core/file.h"
#include "formats/archive/manifest.h"

#include <string.h>

static enum qins_status refuse_same(const char *file, const char *output, struct qins_error *err)
{
    if (file && qn_same_file(file, output))
        return qn_fail_at(err, QINS_ERR_USAGE, output, NULL, QN_NO_OFFSET,
                          "the output is an input (%s); choose another name", file);
    return QINS_OK;
}

enum qins_status qn_refuse_input(const struct qn_inputs *in, const char *output,
                                 struct qins_error *err)
{
    const struct qn_checkpoint *ck = in->checkpoint;
    enum qins_status st = refuse_same(in->file, output, err);
    for (size_t i = 0; ck && i < ck->n_files && st == QINS_OK; i++)
        st = refuse_same(ck->files[i].path, output, err);
    for (size_t i = 0; ck && i < ck->attachments.count && st == QINS_OK; i++)
        st = refuse_same(ck->attachments.items[i].path, output, err);
    return st;
}

enum qins_status qn_refuse_model_input(const char *model, const char *const *files, size_t n_files,
                                       const char *output, struct qins_error *err)
{
    struct qn_checkpoint *ck = NULL;
    struct qn_inputs in = {0};
    enum qins_status st = QINS_OK;
    if (!qn_exists(output))
        return QINS_OK;
    for (size_t i = 0; i < n_files && st == QINS_OK; i++)
        st = refuse_same(files[i], output, err);
    if (st == QINS_OK)
        st = refuse_same(model, output, err);
    bool is_archive = false;
    if (st == QINS_OK)
        st = qn_path_is_archive(model, &is_archive, err);
    if (st == QINS_OK && !is_archive)
        st = qn_checkpoint_open(&ck, model, NULL, err);
    in.checkpoint = ck;
    if (st == QINS_OK)
        st = qn_refuse_input(&in, output, err);
    qn_checkpoint_destroy(ck);
    return st;
}

static void add_text(struct qn_hasher *h, const char *text)
{
    qn_hasher_add(h, text, strlen(text) + 1);
}

static void add_stamp(struct qn_hasher *h, const char *file, const struct qn_file_stamp *stamp)
{
    add_text(h, qn_path_base(file));
    qn_hasher_add(h, stamp->figures, sizeof stamp->figures);
}

enum qins_status qn_source_add_file(struct qn_hasher *h, const char *file, struct qins_error *err)
{
    struct qn_file_stamp stamp;
    enum qins_status st = qn_file_look(file, &stamp, err);
    if (st == QINS_OK)
        add_stamp(h, file, &stamp);
    return st;
}

static void add_description(struct qn_hasher *h, const struct qn_checkpoint *ck)
{
    add_text(h, ck->ops->format);
    for (size_t i = 0; i < ck->tensors.count; i++) {
        const struct qn_tensor *t = &ck->tensors.items[i];
        uint64_t figures[2] = {(uint64_t)t->dtype, t->rank};
        add_text(h, t->name);
        qn_hasher_add(h, figures, sizeof figures);
        qn_hasher_add(h, t->shape, t->rank * sizeof *t->shape);
    }
    for (size_t i = 0; i < ck->attachments.count; i++) {
        const struct qn_attachment *a = &ck->attachments.items[i];
        struct qn_digest d = qn_hash128(a->data, a->size);
        add_text(h, a->name);
        qn_hasher_add(h, d.bytes, sizeof d.bytes);
    }
}

enum qins_status qn_check_types(const struct qn_checkpoint *ck, struct qins_error *err)
{
    for (size_t i = 0; i < ck->tensors.count; i++) {
        const struct qn_tensor *t = &ck->tensors.items[i];
        if (t->dtype == QINS_DTYPE_INVALID)
            return qn_fail_at(err, QINS_ERR_UNSUPPORTED, ck->path, t->name, QN_NO_OFFSET,
                              "its type %s cannot be converted", t->foreign_type);
        if (qn_is_transport_tensor(t->name))
            return qn_fail_at(err, QINS_ERR_UNSUPPORTED, ck->path, t->name, QN_NO_OFFSET,
                              "names that begin with '" QN_TRANSPORT_PREFIX
                              "' are those of transports in archives");
    }
    return QINS_OK;
}

enum qins_status qn_source_digest(const struct qn_checkpoint *ck, struct qn_digest *out,
                                  struct qins_error *err)
{
    struct qn_hasher *h = qn_hasher_create();
    if (!h)
        return qn_fail_memory(err);
    add_description(h, ck);
    for (size_t i = 0; i < ck->n_files; i++)
        add_stamp(h, ck->files[i].path, &ck->files[i].stamp);
    *out = qn_hasher_digest(h);
    qn_hasher_destroy(h);
    return QINS_OK;
}
