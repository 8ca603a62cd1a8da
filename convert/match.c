#include "convert/match.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct named {
    const char *name;
    size_t index;
    bool used;
};

static int compare(const void *a, const void *b)
{
    return strcmp(((const struct named *)a)->name, ((const struct named *)b)->name);
}

static void describe(const struct qn_tensor *mine, const struct qn_tensor *source, char *out,
                     size_t size)
{
    char a[256], b[256];
    if (mine->dtype != source->dtype)
        snprintf(out, size, "%s in the archive, %s in the source", qins_dtype_name(mine->dtype),
                 source->dtype ? qins_dtype_name(source->dtype) : source->foreign_type);
    else if (mine->rank != source->rank ||
             memcmp(mine->shape, source->shape, mine->rank * sizeof *mine->shape) != 0)
        snprintf(out, size, "shape %.60s in the archive, %.60s in the source",
                 qn_shape_format(mine->rank, mine->shape, a, sizeof a),
                 qn_shape_format(source->rank, source->shape, b, sizeof b));
}

enum qins_status qn_match_tensors(const struct qn_manifest *m, const struct qn_tensor_list *list,
                                  struct qn_match *out, size_t *extra, struct qins_error *err)
{
    struct named *names = calloc(list->count + 1, sizeof *names);
    if (!names)
        return qn_fail_memory(err);
    for (size_t i = 0; i < list->count; i++)
        names[i] = (struct named){list->items[i].name, i, false};
    qsort(names, list->count, sizeof *names, compare);
    for (size_t i = 0; i < m->n_tensors; i++) {
        const struct qn_tensor *t = &m->tensors[i].tensor;
        struct named key = {.name = t->name};
        struct named *found = bsearch(&key, names, list->count, sizeof *names, compare);
        out[i] = (struct qn_match){.source = QN_NO_TENSOR};
        if (!found && qn_is_transport_tensor(t->name))
            continue;
        if (!found) {
            snprintf(out[i].problem, sizeof out[i].problem, "missing in the source");
            continue;
        }
        found->used = true;
        out[i].source = found->index;
        describe(t, &list->items[found->index], out[i].problem, sizeof out[i].problem);
    }
    *extra = QN_NO_TENSOR;
    for (size_t i = 0; i < list->count; i++)
        if (!names[i].used && names[i].index < *extra)
            *extra = names[i].index;
    free(names);
    return QINS_OK;
}
