/* A checkpoint with a transport behind it, as convert reads it. */
#include "formats/transport_archive.h"

#include <stdlib.h>
#include <string.h>

struct carrier {
    struct qn_checkpoint base;
    struct qn_checkpoint_ops ops; /* with the model's format */
    struct qn_checkpoint *model;  /* its attachments were moved to the base */
    const float **arrays;         /* of the tensors behind the model's */
};

static enum qins_status read_carrier(struct qn_checkpoint *ck, size_t tensor, uint64_t offset,
                                     void *dst, size_t size, struct qins_error *err)
{
    const struct carrier *c = (const struct carrier *)ck;
    const size_t own = c->model->tensors.count;
    if (tensor < own)
        return qn_checkpoint_read(c->model, tensor, offset, dst, size, err);
    memcpy(dst, (const uint8_t *)c->arrays[tensor - own] + offset, size);
    return QINS_OK;
}

static void destroy_carrier(struct qn_checkpoint *ck)
{
    struct carrier *c = (struct carrier *)ck;
    qn_checkpoint_base_finish(&c->base);
    qn_checkpoint_destroy(c->model);
    free(c->arrays);
    free(c);
}

size_t qn_transport_planes_of(const struct qn_transport *t, const char *name)
{
    static const char before[] = QN_TRANSPORT_PREFIX "layers/";
    char *end = NULL;
    if (strncmp(name, before, sizeof before - 1) != 0)
        return SIZE_MAX;
    const unsigned long i = strtoul(name + sizeof before - 1, &end, 10);
    return strcmp(end, "/planes") == 0 && i < t->n_layers ? i : SIZE_MAX;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The layers' tensors are the model's. */
static enum qins_status check_names(const struct qn_tensor_list *list, const struct qn_transport *t,
                                    const char *file, struct qins_error *err)
{
    enum qins_status st = QINS_OK;
    const char **names = calloc(list->count + 1, sizeof *names);
    if (!names)
        return qn_fail_memory(err);
    for (size_t i = 0; i < list->count; i++)
        names[i] = list->items[i].name;
    qsort(names, list->count, sizeof *names, compare_names);
    for (size_t i = 0; i < t->n_layers && st == QINS_OK; i++) {
        const char *name = t->layers[i].tensor;
        if (!bsearch(&name, names, list->count, sizeof *names, compare_names))
            st = qn_fail_at(err, QINS_ERR_FORMAT, file, name, QN_NO_OFFSET,
                            "the model has no such tensor");
    }
    free(names);
    return st;
}

static enum qins_status add_model(struct carrier *c, const struct qn_checkpoint *model,
                                  struct qins_error *err)
{
    enum qins_status st = QINS_OK;
    for (size_t i = 0; i < model->tensors.count && st == QINS_OK; i++) {
        const struct qn_tensor *t = &model->tensors.items[i];
        st = qn_tensor_list_add(&c->base.tensors, t->name, strlen(t->name), t->dtype,
                                t->foreign_type, t->rank, t->shape, NULL, err);
    }
    for (size_t i = 0; i < model->n_files && st == QINS_OK; i++)
        st = qn_checkpoint_add_file(&c->base, model->files[i].path, &model->files[i].stamp, err);
    return st;
}

static enum qins_status add_arrays(struct carrier *c, struct qn_transport *t,
                                   struct qins_error *err)
{
    struct qn_transport_array a;
    char name[sizeof QN_TRANSPORT_PREFIX + sizeof a.name];
    enum qins_status st = QINS_OK;
    size_t n = 0;
    c->arrays = calloc(t->n_inputs + QN_LAYER_ARRAYS * t->n_layers + 1, sizeof *c->arrays);
    if (!c->arrays)
        return qn_fail_memory(err);
    for (size_t at = 0; st == QINS_OK && qn_transport_array(t, &at, &a);) {
        snprintf(name, sizeof name, QN_TRANSPORT_PREFIX "%s", a.name);
        st = qn_tensor_list_add(&c->base.tensors, name, strlen(name), QINS_F32, NULL, a.rank,
                                a.shape, NULL, err);
        c->arrays[n++] = *a.data;
    }
    return st;
}

/* The study is of the fit, and much longer than the rest. */
static enum qins_status add_description(struct qn_attachment_list *list,
                                        const struct qn_transport *t, struct qins_error *err)
{
    struct qn_transport bare = *t;
    bare.study = NULL;
    json_t *j = qn_transport_to_json(&bare);
    char *text = j ? qn_json_dump(j, JSON_COMPACT) : NULL;
    enum qins_status st =
        text ? qn_attachment_add(list, QN_TRANSPORT_ATTACHMENT, text, strlen(text), err)
             : qn_fail_memory(err);
    free(text);
    json_decref(j);
    return st;
}

enum qins_status qn_transport_carry(struct qn_checkpoint **ck, struct qn_transport *t,
                                    const char *file, struct qins_error *err)
{
    struct qn_checkpoint *model = *ck;
    enum qins_status st = qn_error_in_file(err, qn_transport_check(t, err), file);
    if (st == QINS_OK)
        st = check_names(&model->tensors, t, file, err);
    struct carrier *c = st == QINS_OK ? calloc(1, sizeof *c) : NULL;
    if (!c)
        return st == QINS_OK ? qn_fail_memory(err) : st;
    c->ops = (struct qn_checkpoint_ops){
        .format = model->ops->format, .read = read_carrier, .destroy = destroy_carrier};
    st = qn_checkpoint_base_init(&c->base, &c->ops, file, err);
    if (st == QINS_OK) {
        free(c->base.path);
        c->base.path = qn_strdup(model->path, err);
        st = c->base.path ? QINS_OK : QINS_ERR_MEMORY;
    }
    if (st == QINS_OK)
        st = add_model(c, model, err);
    if (st == QINS_OK)
        st = add_arrays(c, t, err);
    if (st == QINS_OK)
        st = add_description(&model->attachments, t, err);
    if (st != QINS_OK) {
        c->ops.destroy(&c->base);
        return st;
    }
    c->base.attachments = model->attachments;
    model->attachments = (struct qn_attachment_list){0};
    c->model = model;
    *ck = &c->base;
    return QINS_OK;
}
