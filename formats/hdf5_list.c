/* Runs in the child only: walks the groups of a file. */
#include "core/bytes.h"
#include "formats/hdf5_serve.h"
#include "formats/limits.h"

#include <stdlib.h>

enum {
    MAX_DEPTH = 64,      /* groups within groups */
    MAX_PATH = 65535,    /* bytes, as a tensor's name */
    MIN_LINK_BYTES = 12, /* the smallest link message of the format, name of one byte */
};

/* Open-addressing set of object addresses. */
struct address_set {
    haddr_t *slots;
    size_t count, capacity; /* capacity is a power of two */
};

struct walk {
    hid_t file;
    uint64_t file_size, links_left;
    struct qn_hdf5_sender *out;
    struct qn_hdf5_places *places;
    struct address_set groups;
    char *path; /* MAX_PATH + 1 bytes; without a final '/' */
    size_t path_size;
    haddr_t group; /* the one being walked */
    unsigned depth;
    uint32_t left_out; /* attributes */
    struct qins_error *err;
    enum qins_status status;
};

static enum qins_status walk_group(struct walk *w, hid_t group, haddr_t address);

void qn_hdf5_places_finish(struct qn_hdf5_places *p)
{
    for (size_t i = 0; i < p->count; i++)
        free(p->items[i].name);
    free(p->items);
    *p = (struct qn_hdf5_places){0};
}

static size_t slot_of(const struct address_set *s, haddr_t address)
{
    size_t i = (size_t)((address * 0x9e3779b97f4a7c15u) >> 32) & (s->capacity - 1);
    while (s->slots[i] != HADDR_UNDEF && s->slots[i] != address)
        i = (i + 1) & (s->capacity - 1);
    return i;
}

static enum qins_status set_grow(struct address_set *s, struct qins_error *err)
{
    size_t capacity = s->capacity ? s->capacity * 2 : 64;
    haddr_t *slots = malloc(capacity * sizeof *slots);
    if (!slots)
        return qn_fail_memory(err);
    struct address_set bigger = {slots, s->count, capacity};
    for (size_t i = 0; i < bigger.capacity; i++)
        bigger.slots[i] = HADDR_UNDEF;
    for (size_t i = 0; i < s->capacity; i++)
        if (s->slots[i] != HADDR_UNDEF)
            bigger.slots[slot_of(&bigger, s->slots[i])] = s->slots[i];
    free(s->slots);
    *s = bigger;
    return QINS_OK;
}

static enum qins_status set_add(struct address_set *s, haddr_t address, bool *is_new,
                                struct qins_error *err)
{
    enum qins_status st = QINS_OK;
    if (2 * (s->count + 1) > s->capacity)
        st = set_grow(s, err);
    if (st != QINS_OK || !s->slots)
        return st;
    size_t i = slot_of(s, address);
    *is_new = s->slots[i] == HADDR_UNDEF;
    s->count += *is_new;
    s->slots[i] = address;
    return QINS_OK;
}

static const char *shown_path(const struct walk *w)
{
    return w->path_size ? w->path : "/";
}

static enum qins_status notice(struct walk *w, const char *why)
{
    struct qn_buf text = {0};
    uint8_t head[4];
    const char *path = shown_path(w);
    size_t n = strlen(path);
    qn_store32(head, (uint32_t)n);
    enum qins_status st = qn_buf_append(&text, path, n, w->err);
    if (st == QINS_OK)
        st = qn_buf_append(&text, why, strlen(why), w->err);
    if (st == QINS_OK)
        st = qn_hdf5_send(w->out, QN_HDF5_NOTICE, head, sizeof head, text.data, text.size, w->err);
    qn_buf_finish(&text);
    return st;
}

static enum qins_status remember(struct walk *w, const char *name, haddr_t address)
{
    struct qn_hdf5_places *p = w->places;
    if (p->count == p->capacity) {
        size_t capacity = p->capacity ? p->capacity * 2 : 64;
        struct qn_hdf5_place *items = realloc(p->items, capacity * sizeof *items);
        if (!items)
            return qn_fail_memory(w->err);
        p->items = items;
        p->capacity = capacity;
    }
    struct qn_hdf5_place place = {w->group, address, qn_strdup(name, w->err)};
    if (!place.name)
        return QINS_ERR_MEMORY;
    p->items[p->count++] = place;
    return QINS_OK;
}

static enum qins_status send_tensor(struct walk *w, const struct qn_hdf5_type *type, hid_t space,
                                    int rank)
{
    hsize_t dims[H5S_MAX_RANK];
    uint8_t head[3 + 8 * H5S_MAX_RANK + sizeof type->foreign];
    size_t n = type->dtype == QINS_DTYPE_INVALID ? strlen(type->foreign) : 0, at = 3;
    if (rank < 0 || rank > H5S_MAX_RANK ||
        (rank > 0 && H5Sget_simple_extent_dims(space, dims, NULL) < 0))
        return qn_hdf5_fail(w->err, QINS_ERR_FORMAT, "the shape cannot be read");
    head[0] = (uint8_t)type->dtype;
    head[1] = (uint8_t)rank;
    head[2] = (uint8_t)n;
    for (int i = 0; i < rank; i++, at += 8)
        qn_store64(head + at, dims[i]);
    memcpy(head + at, type->foreign, n);
    return qn_hdf5_send(w->out, QN_HDF5_TENSOR, head, at + n, w->path, w->path_size, w->err);
}

static enum qins_status visit_numbers(struct walk *w, hid_t dataset, const char *name,
                                      haddr_t address, const struct qn_hdf5_type *type, hid_t space)
{
    enum qins_status st = send_tensor(w, type, space, H5Sget_simple_extent_ndims(space));
    if (st == QINS_OK)
        st = remember(w, name, address);
    if (st == QINS_OK)
        st = qn_hdf5_list_attributes(dataset, w->path, w->file_size, w->out, &w->left_out, w->err);
    return st;
}

/* The layout is checked before the space is asked for, because a virtual dataset would open its
 * sources to know its extent. */
static enum qins_status visit_dataset(struct walk *w, hid_t dataset, const char *name,
                                      haddr_t address)
{
    struct qn_hdf5_type type;
    hid_t id = H5Dget_type(dataset), space = -1;
    enum qins_status st = qn_hdf5_check_layout(dataset, id, -1, w->file_size, w->err);
    if (st == QINS_OK && (space = H5Dget_space(dataset)) < 0)
        st = qn_hdf5_fail(w->err, QINS_ERR_FORMAT, "the shape cannot be read");
    if (st == QINS_OK) {
        qn_hdf5_classify(id, &type);
        if (type.refusal)
            st = notice(w, type.refusal);
        else if (H5Sget_simple_extent_type(space) == H5S_NULL)
            st = notice(w, "it has no extent");
        else if ((st = qn_hdf5_check_layout(dataset, id, space, w->file_size, w->err)) == QINS_OK)
            st = visit_numbers(w, dataset, name, address, &type, space);
    }
    if (space >= 0)
        H5Sclose(space);
    if (id >= 0)
        H5Tclose(id);
    return st;
}

static enum qins_status visit_object(struct walk *w, const char *name, haddr_t address)
{
    hid_t object = H5Oopen_by_addr(w->file, address);
    if (object < 0)
        return qn_hdf5_fail(w->err, QINS_ERR_FORMAT, "the object cannot be opened");
    H5I_type_t kind = H5Iget_type(object);
    enum qins_status st = QINS_OK;
    if (kind == H5I_GROUP)
        st = walk_group(w, object, address);
    else if (kind == H5I_DATASET)
        st = visit_dataset(w, object, name, address);
    else
        st = notice(w, "a named type");
    H5Oclose(object);
    return st;
}

static enum qins_status visit_link(struct walk *w, const char *name, const H5L_info_t *info)
{
    if (info->type == H5L_TYPE_HARD)
        return visit_object(w, name, info->u.address);
    return qn_fail(w->err, QINS_ERR_UNSUPPORTED, "%s, which qins does not follow",
                   info->type == H5L_TYPE_SOFT       ? "it is a soft link"
                   : info->type == H5L_TYPE_EXTERNAL ? "it is an external link to another file"
                                                     : "it is a link of a user-defined kind");
}

/* Names the object in an error of the child: the parent has no other way to learn it. */
static enum qins_status name_failure(struct walk *w, enum qins_status st)
{
    struct qins_error e = *w->err;
    if (st == QINS_OK || e.tensor[0])
        return st;
    st = qn_fail(w->err, st, "'%.200s': %.280s", shown_path(w), e.message);
    return qn_error_in_tensor(w->err, st, shown_path(w));
}

static enum qins_status push_name(struct walk *w, const char *name)
{
    size_t n = strlen(name);
    if (n == 0 || strchr(name, '/') || strcmp(name, ".") == 0 || !qn_utf8_valid(name, n))
        return qn_fail(w->err, QINS_ERR_FORMAT, "a link in it has an impossible name");
    if (n + 1 > MAX_PATH - w->path_size)
        return qn_fail(w->err, QINS_ERR_FORMAT, "a path in it is too long");
    w->path[w->path_size++] = '/';
    memcpy(w->path + w->path_size, name, n + 1);
    w->path_size += n;
    return QINS_OK;
}

static herr_t on_link(hid_t group, const char *name, const H5L_info_t *info, void *ctx)
{
    struct walk *w = ctx;
    size_t old = w->path_size;
    (void)group;
    if (w->links_left-- == 0)
        w->status = qn_fail(w->err, QINS_ERR_FORMAT, "more links than a file of its size can hold");
    else
        w->status = push_name(w, name);
    if (w->status == QINS_OK)
        w->status = visit_link(w, name, info);
    w->status = name_failure(w, w->status);
    w->path_size = old;
    w->path[old] = '\0';
    return w->status == QINS_OK ? 0 : -1;
}

static enum qins_status walk_group(struct walk *w, hid_t group, haddr_t address)
{
    bool is_new = false;
    haddr_t outer = w->group;
    enum qins_status st = set_add(&w->groups, address, &is_new, w->err);
    if (st == QINS_OK && !is_new)
        return notice(w, "another name of a group that is listed already");
    if (st == QINS_OK && w->depth >= MAX_DEPTH)
        st = qn_fail(w->err, QINS_ERR_FORMAT, "groups are nested more than %d deep", MAX_DEPTH);
    if (st == QINS_OK)
        st = qn_hdf5_send(w->out, QN_HDF5_GROUP, NULL, 0, shown_path(w), strlen(shown_path(w)),
                          w->err);
    if (st == QINS_OK)
        st = qn_hdf5_list_attributes(group, shown_path(w), w->file_size, w->out, &w->left_out,
                                     w->err);
    if (st != QINS_OK)
        return st;
    w->depth++;
    w->group = address;
    if (H5Literate(group, H5_INDEX_NAME, H5_ITER_INC, NULL, on_link, w) < 0)
        st = w->status != QINS_OK
                 ? w->status
                 : qn_hdf5_fail(w->err, QINS_ERR_FORMAT, "the group cannot be listed");
    w->depth--;
    w->group = outer;
    return st;
}

enum qins_status qn_hdf5_list(hid_t file, uint64_t file_size, struct qn_hdf5_sender *out,
                              struct qn_hdf5_places *places, struct qins_error *err)
{
    struct walk w = {.file = file,
                     .file_size = file_size,
                     .links_left = file_size / MIN_LINK_BYTES + 1,
                     .out = out,
                     .places = places,
                     .path = calloc(1, MAX_PATH + 1),
                     .err = err};
    hid_t root = H5Gopen2(file, "/", H5P_DEFAULT);
    H5O_info_t info = {.addr = HADDR_UNDEF};
    uint8_t end[8];
    enum qins_status st = w.path ? QINS_OK : qn_fail_memory(err);
    if (st == QINS_OK && (root < 0 || H5Oget_info2(root, &info, H5O_INFO_BASIC) < 0))
        st = qn_hdf5_fail(err, QINS_ERR_FORMAT, "the root group cannot be opened");
    if (st == QINS_OK)
        st = walk_group(&w, root, info.addr);
    if (st == QINS_OK) {
        qn_store32(end, (uint32_t)places->count);
        qn_store32(end + 4, w.left_out);
        st = qn_hdf5_send(out, QN_HDF5_END, end, sizeof end, NULL, 0, err);
    }
    if (root >= 0)
        H5Gclose(root);
    free(w.groups.slots);
    free(w.path);
    return st;
}

const struct qn_limit qn_hdf5_list_limits[] = {
    {"hdf5", "group_depth", MAX_DEPTH, "levels", "the stack, from nested groups"},
    {"hdf5", "path", MAX_PATH, "bytes", "names made of groups"},
    {0},
};
