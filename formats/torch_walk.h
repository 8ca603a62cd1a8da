/* From the objects of a torch pickle to a list of tensors. */
#ifndef QINS_FORMATS_TORCH_WALK_H
#define QINS_FORMATS_TORCH_WALK_H

#include "core/tensor.h"
#include "formats/pickle.h"
#include "formats/zip.h"

/* What torch's pickles may name: containers, the functions that rebuild tensors, storage
 * classes, dtypes, and a few harmless values. */
extern const struct qn_pickle_table qn_torch_globals;

/* How one tensor lies in its storage. */
struct qn_torch_view {
    size_t entry;     /* of the archive: the storage */
    uint64_t base;    /* elements */
    uint64_t *stride; /* elements, one an axis; heap */
    bool negate;      /* the tensor's values are those stored with the sign flipped; a float */
};

struct qn_torch_view_list {
    struct qn_torch_view *items; /* one a tensor */
    size_t count, capacity;
};

void qn_torch_view_list_finish(struct qn_torch_view_list *list);

/* Lists the tensors under the root of PICKLE, in its order, under dotted names; a tensor that
 * is the root itself is called "tensor". ROOT (the archive's top folder) leads to the storages
 * "ROOT/data/KEY". Every view that can be read was checked to lie inside its storage, and the
 * storage to have its size. *skipped counts leaves that are no tensors. Depth, steps and the
 * memory for names are bounded, so shared and cyclic objects do no harm. Errors name the
 * tensor. */
enum qins_status qn_torch_walk(const struct qn_pickle *pickle, const struct qn_zip *zip,
                               const char *root, struct qn_tensor_list *tensors,
                               struct qn_torch_view_list *views, uint64_t *skipped,
                               struct qins_error *err);

#endif
