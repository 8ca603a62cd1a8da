#include "formats/torch_walk.h"

#include "core/bytes.h"
#include "formats/limits.h"
#include "formats/strided.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { MAX_DEPTH = 100, MAX_NAME = 1024, MAX_KEY = 255, STEPS_A_CELL = 4, FREE_STEPS = 1024 };
/* torch writes 100-200 bytes of pickle a tensor; packed, no less than TENSOR_BYTES. */
enum { MAX_TENSORS = 1 << 20, FREE_TENSORS = 1024, TENSOR_BYTES = 8 };
enum { MAX_NAME_BYTES = 64 << 20 };

enum scalar {
    FLOAT64,
    FLOAT32,
    FLOAT16,
    BFLOAT16,
    FLOAT8_E4M3FN,
    FLOAT8_E5M2,
    INT64,
    INT32,
    INT16,
    INT8,
    UINT64,
    UINT32,
    UINT16,
    UINT8,
    BOOL,
    COMPLEX32,
    COMPLEX64,
    COMPLEX128,
    QINT8,
    QUINT8,
    QINT32,
    QUINT4X2,
    QUINT2X4,
    FLOAT8_E4M3FNUZ,
    FLOAT8_E5M2FNUZ,
    UNTYPED,
    SCALAR_COUNT,
};

static const struct {
    const char *name; /* torch's */
    enum qins_dtype dtype;
} scalars[SCALAR_COUNT] = {
    [FLOAT64] = {"float64", QINS_F64},
    [FLOAT32] = {"float32", QINS_F32},
    [FLOAT16] = {"float16", QINS_F16},
    [BFLOAT16] = {"bfloat16", QINS_BF16},
    [FLOAT8_E4M3FN] = {"float8_e4m3fn", QINS_F8_E4M3},
    [FLOAT8_E5M2] = {"float8_e5m2", QINS_F8_E5M2},
    [INT64] = {"int64", QINS_I64},
    [INT32] = {"int32", QINS_I32},
    [INT16] = {"int16", QINS_I16},
    [INT8] = {"int8", QINS_I8},
    [UINT64] = {"uint64", QINS_U64},
    [UINT32] = {"uint32", QINS_U32},
    [UINT16] = {"uint16", QINS_U16},
    [UINT8] = {"uint8", QINS_U8},
    [BOOL] = {"bool", QINS_BOOL},
    [COMPLEX32] = {"complex32", QINS_DTYPE_INVALID},
    [COMPLEX64] = {"complex64", QINS_DTYPE_INVALID},
    [COMPLEX128] = {"complex128", QINS_DTYPE_INVALID},
    [QINT8] = {"qint8", QINS_DTYPE_INVALID},
    [QUINT8] = {"quint8", QINS_DTYPE_INVALID},
    [QINT32] = {"qint32", QINS_DTYPE_INVALID},
    [QUINT4X2] = {"quint4x2", QINS_DTYPE_INVALID},
    [QUINT2X4] = {"quint2x4", QINS_DTYPE_INVALID},
    [FLOAT8_E4M3FNUZ] = {"float8_e4m3fnuz", QINS_DTYPE_INVALID},
    [FLOAT8_E5M2FNUZ] = {"float8_e5m2fnuz", QINS_DTYPE_INVALID},
    [UNTYPED] = {"untyped", QINS_DTYPE_INVALID},
};

/* Meanings of the globals; of the last two, the scalar is added. */
enum { OTHER, TENSOR, TENSOR_V3, PARAMETER, STORAGE = 0x100, DTYPE = 0x200, SCALAR_MASK = 0xff };

static const struct qn_pickle_global globals[] = {
    {"collections", "OrderedDict", QN_PICKLE_CALL_DICT, OTHER},
    {"torch._utils", "_rebuild_tensor", QN_PICKLE_CALL_NODE, TENSOR},
    {"torch._utils", "_rebuild_tensor_v2", QN_PICKLE_CALL_NODE, TENSOR},
    {"torch._utils", "_rebuild_tensor_v3", QN_PICKLE_CALL_NODE, TENSOR_V3},
    {"torch._utils", "_rebuild_parameter", QN_PICKLE_CALL_NODE, PARAMETER},
    {"torch._utils", "_rebuild_parameter_with_state", QN_PICKLE_CALL_NODE, PARAMETER},
    {"torch", "Size", QN_PICKLE_CALL_FIRST, OTHER},
    {"torch", "device", QN_PICKLE_CALL_OPAQUE, OTHER},
    {"builtins", "set", QN_PICKLE_CALL_OPAQUE, OTHER},
    {"builtins", "frozenset", QN_PICKLE_CALL_OPAQUE, OTHER},
    {"builtins", "complex", QN_PICKLE_CALL_OPAQUE, OTHER},
    {"builtins", "bytearray", QN_PICKLE_CALL_OPAQUE, OTHER},
    {"__builtin__", "set", QN_PICKLE_CALL_OPAQUE, OTHER},
    {"__builtin__", "frozenset", QN_PICKLE_CALL_OPAQUE, OTHER},
    {"__builtin__", "complex", QN_PICKLE_CALL_OPAQUE, OTHER},
    {"__builtin__", "bytearray", QN_PICKLE_CALL_OPAQUE, OTHER},
    {"_codecs", "encode", QN_PICKLE_CALL_OPAQUE, OTHER}, /* bytes, in protocol 2 */
    {"torch", "DoubleStorage", QN_PICKLE_NO_CALL, STORAGE + FLOAT64},
    {"torch", "FloatStorage", QN_PICKLE_NO_CALL, STORAGE + FLOAT32},
    {"torch", "HalfStorage", QN_PICKLE_NO_CALL, STORAGE + FLOAT16},
    {"torch", "BFloat16Storage", QN_PICKLE_NO_CALL, STORAGE + BFLOAT16},
    {"torch", "LongStorage", QN_PICKLE_NO_CALL, STORAGE + INT64},
    {"torch", "IntStorage", QN_PICKLE_NO_CALL, STORAGE + INT32},
    {"torch", "ShortStorage", QN_PICKLE_NO_CALL, STORAGE + INT16},
    {"torch", "CharStorage", QN_PICKLE_NO_CALL, STORAGE + INT8},
    {"torch", "ByteStorage", QN_PICKLE_NO_CALL, STORAGE + UINT8},
    {"torch", "BoolStorage", QN_PICKLE_NO_CALL, STORAGE + BOOL},
    {"torch", "ComplexFloatStorage", QN_PICKLE_NO_CALL, STORAGE + COMPLEX64},
    {"torch", "ComplexDoubleStorage", QN_PICKLE_NO_CALL, STORAGE + COMPLEX128},
    {"torch", "QInt8Storage", QN_PICKLE_NO_CALL, STORAGE + QINT8},
    {"torch", "QUInt8Storage", QN_PICKLE_NO_CALL, STORAGE + QUINT8},
    {"torch", "QInt32Storage", QN_PICKLE_NO_CALL, STORAGE + QINT32},
    {"torch", "QUInt4x2Storage", QN_PICKLE_NO_CALL, STORAGE + QUINT4X2},
    {"torch", "QUInt2x4Storage", QN_PICKLE_NO_CALL, STORAGE + QUINT2X4},
    {"torch", "UntypedStorage", QN_PICKLE_NO_CALL, STORAGE + UNTYPED},
    {"torch.storage", "UntypedStorage", QN_PICKLE_NO_CALL, STORAGE + UNTYPED},
    {"torch.storage", "_UntypedStorage", QN_PICKLE_NO_CALL, STORAGE + UNTYPED},
    {"torch.storage", "TypedStorage", QN_PICKLE_NO_CALL, STORAGE + UNTYPED},
    {"torch.storage", "_TypedStorage", QN_PICKLE_NO_CALL, STORAGE + UNTYPED},
    {"torch", "float64", QN_PICKLE_NO_CALL, DTYPE + FLOAT64},
    {"torch", "float32", QN_PICKLE_NO_CALL, DTYPE + FLOAT32},
    {"torch", "float16", QN_PICKLE_NO_CALL, DTYPE + FLOAT16},
    {"torch", "bfloat16", QN_PICKLE_NO_CALL, DTYPE + BFLOAT16},
    {"torch", "float8_e4m3fn", QN_PICKLE_NO_CALL, DTYPE + FLOAT8_E4M3FN},
    {"torch", "float8_e5m2", QN_PICKLE_NO_CALL, DTYPE + FLOAT8_E5M2},
    {"torch", "float8_e4m3fnuz", QN_PICKLE_NO_CALL, DTYPE + FLOAT8_E4M3FNUZ},
    {"torch", "float8_e5m2fnuz", QN_PICKLE_NO_CALL, DTYPE + FLOAT8_E5M2FNUZ},
    {"torch", "int64", QN_PICKLE_NO_CALL, DTYPE + INT64},
    {"torch", "int32", QN_PICKLE_NO_CALL, DTYPE + INT32},
    {"torch", "int16", QN_PICKLE_NO_CALL, DTYPE + INT16},
    {"torch", "int8", QN_PICKLE_NO_CALL, DTYPE + INT8},
    {"torch", "uint64", QN_PICKLE_NO_CALL, DTYPE + UINT64},
    {"torch", "uint32", QN_PICKLE_NO_CALL, DTYPE + UINT32},
    {"torch", "uint16", QN_PICKLE_NO_CALL, DTYPE + UINT16},
    {"torch", "uint8", QN_PICKLE_NO_CALL, DTYPE + UINT8},
    {"torch", "bool", QN_PICKLE_NO_CALL, DTYPE + BOOL},
    {"torch", "complex32", QN_PICKLE_NO_CALL, DTYPE + COMPLEX32},
    {"torch", "complex64", QN_PICKLE_NO_CALL, DTYPE + COMPLEX64},
    {"torch", "complex128", QN_PICKLE_NO_CALL, DTYPE + COMPLEX128},
};

const struct qn_pickle_table qn_torch_globals = {globals, sizeof globals / sizeof *globals};

struct walker {
    const struct qn_pickle *pickle;
    const struct qn_zip *zip;
    const char *root;
    struct qn_tensor_list *tensors;
    struct qn_torch_view_list *views;
    struct qins_error *err;
    char name[MAX_NAME + 1]; /* of the object at work, not terminated */
    size_t name_size;        /* MAX_NAME + 1: too long */
    uint64_t name_bytes;     /* of all tensors so far */
    uint64_t data_bytes;     /* of all tensors so far */
    uint64_t steps, skipped;
    unsigned unnamed; /* > 0 below a key that can be no part of a name */
};

/* A tensor as its pickle describes it. */
struct description {
    const struct qn_pickle_node *storage; /* the persistent id, a tuple */
    enum scalar storage_scalar, scalar;
    uint64_t base, numel; /* elements; bytes for an untyped storage */
    unsigned rank;
    uint64_t shape[QINS_MAX_RANK], stride[QINS_MAX_RANK];
    bool negate;
};

void qn_torch_view_list_finish(struct qn_torch_view_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        free(list->items[i].stride);
    free(list->items);
    *list = (struct qn_torch_view_list){0};
}

static enum qins_status fail(struct walker *w, enum qins_status st, const char *what)
{
    char name[MAX_NAME + 1];
    size_t n = w->name_size < MAX_NAME ? w->name_size : MAX_NAME;
    memcpy(name, w->name, n);
    name[n] = '\0';
    return qn_fail_at(w->err, st, NULL, name, QN_NO_OFFSET, "%s", what);
}

static enum qins_status malformed(struct walker *w)
{
    return fail(w, QINS_ERR_FORMAT, "the pickle describes the tensor in a way torch does not");
}

/* The scalar of a storage class or dtype (KIND: STORAGE or DTYPE), or SCALAR_COUNT. */
static enum scalar scalar_of(const struct qn_pickle_node *n, int kind)
{
    if (!n || n->type != QN_PICKLE_GLOBAL || !(globals[n->global].meaning & kind))
        return SCALAR_COUNT;
    return (enum scalar)(globals[n->global].meaning & SCALAR_MASK);
}

static bool natural(const struct qn_pickle_node *n, uint64_t *out)
{
    if (!n || n->type != QN_PICKLE_INT || n->as.integer < 0)
        return false;
    *out = (uint64_t)n->as.integer;
    return true;
}

static bool naturals(const struct walker *w, const struct qn_pickle_node *n, uint64_t *out)
{
    if (!n || n->type != QN_PICKLE_TUPLE || n->size > QINS_MAX_RANK)
        return false;
    for (uint32_t i = 0; i < n->size; i++)
        if (!natural(qn_pickle_item(w->pickle, n, i), &out[i]))
            return false;
    return true;
}

/* torch/_utils.py: _rebuild_tensor_v2(storage, storage_offset, size, stride, requires_grad,
 * backward_hooks), and in v3 a dtype after these. torch/serialization.py: the persistent id is
 * ('storage', class, key, location, numel). */
static bool describe(const struct walker *w, const struct qn_pickle_node *call,
                     struct description *d)
{
    const struct qn_pickle *p = w->pickle;
    const struct qn_pickle_node *persistent = qn_pickle_item(p, call, 0);
    const struct qn_pickle_node *size = qn_pickle_item(p, call, 2);
    const struct qn_pickle_node *stride = qn_pickle_item(p, call, 3);
    if (!persistent || persistent->type != QN_PICKLE_PERSISTENT)
        return false;
    d->storage = qn_pickle_item(p, persistent, 0);
    if (!d->storage || d->storage->type != QN_PICKLE_TUPLE || d->storage->size < 5 ||
        !natural(qn_pickle_item(p, d->storage, 4), &d->numel))
        return false;
    if (!natural(qn_pickle_item(p, call, 1), &d->base) || !naturals(w, size, d->shape) ||
        !naturals(w, stride, d->stride) || size->size != stride->size)
        return false;
    d->rank = size->size;
    d->storage_scalar = scalar_of(qn_pickle_item(p, d->storage, 1), STORAGE);
    d->scalar = d->storage_scalar;
    if (globals[call->global].meaning == TENSOR_V3)
        d->scalar = scalar_of(qn_pickle_item(p, call, 6), DTYPE);
    return d->storage_scalar < SCALAR_COUNT && d->scalar < SCALAR_COUNT;
}

/* The last argument of v2 and v3, which plain tensors lack: torch.imag(z.conj()) is the
 * imaginary part's storage and {'neg': True} (torch/_utils.py, set_tensor_metadata). Complex
 * tensors, whose 'conj' it also says, are never read. */
static enum qins_status read_metadata(struct walker *w, const struct qn_pickle_node *call,
                                      struct description *d)
{
    const struct qn_pickle *p = w->pickle;
    bool v3 = globals[call->global].meaning == TENSOR_V3;
    const struct qn_pickle_node *metadata = qn_pickle_item(p, call, v3 ? 7 : 6);
    enum qins_dtype dtype = scalars[d->scalar].dtype;
    d->negate = false;
    if (!metadata || metadata->type == QN_PICKLE_NONE || dtype == QINS_DTYPE_INVALID)
        return QINS_OK;
    if (metadata->type != QN_PICKLE_DICT)
        return malformed(w);
    uint32_t cell = metadata->as.cells.first;
    for (uint32_t i = 0; i < metadata->size; i += 2) {
        const struct qn_pickle_node *key = &p->nodes[p->cells[cell].node];
        cell = p->cells[cell].next;
        const struct qn_pickle_node *value = &p->nodes[p->cells[cell].node];
        cell = p->cells[cell].next;
        bool neg = qn_pickle_is_text(key, "neg");
        if ((!neg && !qn_pickle_is_text(key, "conj")) || value->type != QN_PICKLE_BOOL ||
            (value->as.integer && !(neg && qn_dtype_is_float(dtype))))
            return fail(w, QINS_ERR_UNSUPPORTED,
                        "the pickle gives the tensor metadata that qins does not know");
        if (neg)
            d->negate = value->as.integer != 0;
    }
    return QINS_OK;
}

/* The storage's entry in the archive, with its size checked. */
static enum qins_status find_storage(struct walker *w, const struct description *d, size_t *entry)
{
    const struct qn_pickle_node *key = qn_pickle_item(w->pickle, d->storage, 2);
    if (!key || key->type != QN_PICKLE_TEXT || key->size > MAX_KEY)
        return malformed(w);
    char *path =
        qn_format(w->err, "%s/data/%.*s", w->root, (int)key->size, (const char *)key->as.bytes);
    if (!path)
        return QINS_ERR_MEMORY;
    *entry = qn_zip_find(w->zip, path);
    free(path);
    if (*entry == SIZE_MAX)
        return fail(w, QINS_ERR_FORMAT, "its storage is not in the archive");
    uint64_t bytes;
    size_t width = qins_dtype_size(scalars[d->storage_scalar].dtype);
    if (!qn_mul_u64(d->numel, width ? width : 1, &bytes) || bytes != qn_zip_size(w->zip, *entry))
        return fail(w, QINS_ERR_FORMAT, "its storage's size is not what the pickle says");
    return QINS_OK;
}

static enum qins_status check_extent(struct walker *w, const struct description *d,
                                     size_t element_size, size_t entry)
{
    struct qn_strided v = {d->rank, d->shape, d->stride, d->base, element_size};
    uint64_t bytes;
    if (!qn_strided_extent(&v, &bytes) || bytes > qn_zip_size(w->zip, entry))
        return fail(w, QINS_ERR_FORMAT, "its shape and strides reach outside its storage");
    return QINS_OK;
}

static enum qins_status add_view(struct walker *w, const struct description *d, size_t entry)
{
    struct qn_torch_view_list *list = w->views;
    if (list->count == list->capacity) {
        size_t capacity = list->capacity ? list->capacity * 2 : 64;
        struct qn_torch_view *items = realloc(list->items, capacity * sizeof *items);
        if (!items)
            return qn_fail_memory(w->err);
        list->items = items;
        list->capacity = capacity;
    }
    struct qn_torch_view view = {entry, d->base, calloc(d->rank + 1, sizeof(uint64_t)), d->negate};
    if (!view.stride)
        return qn_fail_memory(w->err);
    memcpy(view.stride, d->stride, d->rank * sizeof(uint64_t));
    list->items[list->count++] = view;
    return QINS_OK;
}

static enum qins_status check_place(struct walker *w)
{
    if (w->unnamed)
        return fail(w, QINS_ERR_UNSUPPORTED,
                    "a tensor stands under a key that is neither text nor an integer");
    if (w->name_size > MAX_NAME)
        return fail(w, QINS_ERR_UNSUPPORTED, "a tensor's dotted name is longer than 1024 bytes");
    w->name_bytes += w->name_size;
    if (w->name_bytes > MAX_NAME_BYTES || w->tensors->count >= MAX_TENSORS ||
        w->tensors->count >= FREE_TENSORS + qn_zip_file_size(w->zip) / TENSOR_BYTES)
        return fail(w, QINS_ERR_UNSUPPORTED, "there are more tensors than qins lists");
    return QINS_OK;
}

static enum qins_status add_tensor(struct walker *w, const struct qn_pickle_node *call)
{
    struct description d;
    struct qn_tensor *t = NULL;
    size_t entry = SIZE_MAX;
    if (!describe(w, call, &d))
        return malformed(w);
    enum qins_status st = check_place(w);
    if (st == QINS_OK)
        st = read_metadata(w, call, &d);
    const char *name = w->name_size ? w->name : "tensor";
    if (st == QINS_OK)
        st = qn_tensor_list_add(w->tensors, name, w->name_size ? w->name_size : strlen(name),
                                scalars[d.scalar].dtype, scalars[d.scalar].name, d.rank, d.shape,
                                &t, w->err);
    if (st == QINS_OK && t->dtype != QINS_DTYPE_INVALID && t->n_elements > 0) {
        st = find_storage(w, &d, &entry);
        if (st == QINS_OK)
            st = check_extent(w, &d, qins_dtype_size(t->dtype), entry);
    }
    /* A stride of 0 makes any size of a small storage, and storages can be shared. */
    if (st == QINS_OK && (!qn_add_u64(w->data_bytes, t->n_bytes, &w->data_bytes) ||
                          w->data_bytes > qn_zip_limit(w->zip)))
        st = fail(w, QINS_ERR_UNSUPPORTED,
                  "the tensors unfold to more than qins allows of a file of this size");
    return st == QINS_OK ? add_view(w, &d, entry) : st;
}

/* Appends ".TEXT" to the name; returns what the name's size was. */
static size_t enter(struct walker *w, const void *text, size_t size)
{
    size_t before = w->name_size;
    if (before > 0 && before < MAX_NAME)
        w->name[w->name_size++] = '.';
    if (w->name_size + size > MAX_NAME) {
        w->name_size = MAX_NAME + 1;
    } else {
        memcpy(w->name + w->name_size, text, size);
        w->name_size += size;
    }
    return before;
}

static enum qins_status walk(struct walker *w, const struct qn_pickle_node *n, unsigned depth);

static enum qins_status walk_numbered(struct walker *w, const struct qn_pickle_node *n,
                                      unsigned depth)
{
    enum qins_status st = QINS_OK;
    uint32_t cell = n->as.cells.first;
    for (uint32_t i = 0; i < n->size && st == QINS_OK; i++) {
        char number[16];
        int size = snprintf(number, sizeof number, "%" PRIu32, i);
        size_t before = enter(w, number, (size_t)size);
        st = walk(w, &w->pickle->nodes[w->pickle->cells[cell].node], depth);
        w->name_size = before;
        cell = w->pickle->cells[cell].next;
    }
    return st;
}

static enum qins_status walk_dict(struct walker *w, const struct qn_pickle_node *n, unsigned depth)
{
    const struct qn_pickle *p = w->pickle;
    enum qins_status st = QINS_OK;
    uint32_t cell = n->as.cells.first;
    for (uint32_t i = 0; i < n->size / 2 && st == QINS_OK; i++) {
        const struct qn_pickle_node *key = &p->nodes[p->cells[cell].node];
        cell = p->cells[cell].next;
        const struct qn_pickle_node *value = &p->nodes[p->cells[cell].node];
        cell = p->cells[cell].next;
        char number[24];
        size_t before = w->name_size;
        bool named = key->type == QN_PICKLE_TEXT || key->type == QN_PICKLE_INT;
        if (key->type == QN_PICKLE_TEXT)
            enter(w, key->as.bytes, key->size);
        else if (named)
            enter(w, number, (size_t)snprintf(number, sizeof number, "%" PRId64, key->as.integer));
        w->unnamed += !named;
        st = walk(w, value, depth);
        w->unnamed -= !named;
        w->name_size = before;
    }
    return st;
}

static enum qins_status walk(struct walker *w, const struct qn_pickle_node *n, unsigned depth)
{
    if (depth > MAX_DEPTH)
        return fail(w, QINS_ERR_UNSUPPORTED, "its objects are nested too deep, or hold themselves");
    if (w->steps++ > (uint64_t)STEPS_A_CELL * w->pickle->n_cells + FREE_STEPS)
        return fail(w, QINS_ERR_UNSUPPORTED, "its objects refer to each other too often");
    switch (n->type) {
    case QN_PICKLE_TUPLE:
    case QN_PICKLE_LIST:
        return walk_numbered(w, n, depth + 1);
    case QN_PICKLE_DICT:
        return walk_dict(w, n, depth + 1);
    case QN_PICKLE_CALL:
        if (globals[n->global].meaning != PARAMETER)
            return add_tensor(w, n);
        n = qn_pickle_item(w->pickle, n, 0);
        return n ? walk(w, n, depth + 1) : malformed(w);
    default:
        w->skipped++;
        return QINS_OK;
    }
}

enum qins_status qn_torch_walk(const struct qn_pickle *pickle, const struct qn_zip *zip,
                               const char *root, struct qn_tensor_list *tensors,
                               struct qn_torch_view_list *views, uint64_t *skipped,
                               struct qins_error *err)
{
    struct walker w = {
        .pickle = pickle, .zip = zip, .root = root, .tensors = tensors, .views = views, .err = err};
    enum qins_status st = walk(&w, &pickle->nodes[pickle->root], 0);
    *skipped = w.skipped;
    return st;
}

const struct qn_limit qn_torch_walk_limits[] = {
    {"torch", "depth", MAX_DEPTH, "levels", "the stack, from objects that hold themselves"},
    {"torch", "steps_per_cell", STEPS_A_CELL, "steps",
     "time, from objects that are held many times"},
    {"torch", "name", MAX_NAME, "bytes", "names made of keys"},
    {"torch", "all_names", MAX_NAME_BYTES, "bytes", "memory for names"},
    {"torch", "tensors", MAX_TENSORS, "tensors", "memory for descriptions"},
    {0},
};
