/* Runs in the child only: text attributes of an object. */
#include "core/bytes.h"
#include "formats/hdf5_serve.h"
#include "formats/limits.h"

#include <stdlib.h>

struct attributes {
    const char *path;
    uint64_t file_size, left; /* attributes that a file of its size may still hold */
    struct qn_hdf5_sender *out;
    uint32_t *left_out;
    struct qins_error *err;
    enum qins_status status;
};

/* The smallest attribute message of the format. */
enum { MIN_ATTRIBUTE_BYTES = 24, MAX_STRINGS = 1 << 20 };

/* Appends one string of at most SIZE bytes, ended and padded as PADDING says; false if it is no
 * clean UTF-8. */
static bool append_string(struct qn_buf *b, const char *text, size_t size, H5T_str_t padding,
                          struct qins_error *err)
{
    uint8_t head[4];
    size_t n = strnlen(text, size);
    while (padding == H5T_STR_SPACEPAD && n > 0 && text[n - 1] == ' ')
        n--;
    qn_store32(head, (uint32_t)n);
    return n <= QN_HDF5_MAX_TEXT && qn_utf8_valid(text, n) &&
           qn_buf_append(b, head, sizeof head, err) == QINS_OK &&
           qn_buf_append(b, text, n, err) == QINS_OK;
}

static bool append_fixed(struct qn_buf *b, hid_t attribute, hid_t type, size_t count,
                         struct qins_error *err)
{
    size_t size = H5Tget_size(type);
    char *data = size && size <= QN_HDF5_MAX_TEXT / count ? malloc(size * count) : NULL;
    bool good = data && H5Aread(attribute, type, data) >= 0;
    for (size_t i = 0; i < count && good; i++)
        good = append_string(b, data + i * size, size, H5Tget_strpad(type), err);
    free(data);
    return good;
}

static bool append_variable(struct qn_buf *b, hid_t attribute, hid_t type, hid_t space,
                            size_t count, struct qins_error *err)
{
    char **data = calloc(count, sizeof *data);
    bool read = data && H5Aread(attribute, type, data) >= 0, good = read;
    for (size_t i = 0; i < count && good; i++)
        good = b->size <= QN_HDF5_MAX_TEXT &&
               append_string(b, data[i] ? data[i] : "", SIZE_MAX, H5T_STR_NULLTERM, err);
    if (read)
        H5Dvlen_reclaim(type, space, H5P_DEFAULT, data);
    free(data);
    return good;
}

static enum qins_status send_text(struct attributes *a, const char *name, bool is_array,
                                  size_t count, const struct qn_buf *strings)
{
    size_t n = strlen(name), m = strlen(a->path);
    struct qn_buf head = {0};
    uint8_t fixed[12] = {is_array, 0};
    qn_store16(fixed + 2, (uint16_t)n);
    qn_store32(fixed + 4, (uint32_t)count);
    qn_store32(fixed + 8, (uint32_t)m);
    enum qins_status st = qn_buf_append(&head, fixed, sizeof fixed, a->err);
    if (st == QINS_OK)
        st = qn_buf_append(&head, a->path, m, a->err);
    if (st == QINS_OK)
        st = qn_buf_append(&head, name, n, a->err);
    if (st == QINS_OK)
        st = qn_hdf5_send(a->out, QN_HDF5_TEXT, head.data, head.size, strings->data, strings->size,
                          a->err);
    qn_buf_finish(&head);
    return st;
}

/* Elements of a scalar or a list, or -1. A list without elements is text whatever its type:
 * Keras writes an empty list of names as one of floats. */
static hssize_t text_count(hid_t type, hid_t space, uint64_t file_size)
{
    hsize_t extent = 1;
    int rank = H5Sget_simple_extent_ndims(space);
    if (H5Sget_simple_extent_type(space) == H5S_NULL || rank < 0 || rank > 1 ||
        (rank == 1 && H5Sget_simple_extent_dims(space, &extent, NULL) < 0))
        return -1;
    if (extent != 0 && H5Tget_class(type) != H5T_STRING)
        return -1;
    return extent > MAX_STRINGS || extent > file_size ? -1 : (hssize_t)extent;
}

static enum qins_status visit(struct attributes *a, hid_t attribute, const char *name)
{
    struct qn_buf strings = {0};
    hid_t type = H5Aget_type(attribute), space = H5Aget_space(attribute);
    enum qins_status st = QINS_OK;
    hssize_t count = type < 0 || space < 0 ? -1 : text_count(type, space, a->file_size);
    bool good = count >= 0 && strlen(name) <= UINT16_MAX && qn_utf8_valid(name, strlen(name));
    if (good && count > 0 && H5Tis_variable_str(type) > 0)
        good = append_variable(&strings, attribute, type, space, (size_t)count, a->err);
    else if (good && count > 0)
        good = append_fixed(&strings, attribute, type, (size_t)count, a->err);
    if (good && strings.size <= QN_HDF5_MAX_TEXT)
        st = send_text(a, name, H5Sget_simple_extent_ndims(space) == 1, (size_t)count, &strings);
    else
        ++*a->left_out;
    if (space >= 0)
        H5Sclose(space);
    if (type >= 0)
        H5Tclose(type);
    qn_buf_finish(&strings);
    return st;
}

static herr_t on_attribute(hid_t object, const char *name, const H5A_info_t *info, void *ctx)
{
    struct attributes *a = ctx;
    (void)info;
    if (a->left-- == 0) {
        a->status =
            qn_fail(a->err, QINS_ERR_FORMAT, "more attributes than a file of its size can hold");
        return -1;
    }
    hid_t attribute = H5Aopen(object, name, H5P_DEFAULT);
    if (attribute < 0) {
        a->status = qn_hdf5_fail(a->err, QINS_ERR_FORMAT, "an attribute cannot be opened");
        return -1;
    }
    a->status = visit(a, attribute, name);
    H5Aclose(attribute);
    return a->status == QINS_OK ? 0 : -1;
}

enum qins_status qn_hdf5_list_attributes(hid_t object, const char *path, uint64_t file_size,
                                         struct qn_hdf5_sender *out, uint32_t *left_out,
                                         struct qins_error *err)
{
    struct attributes a = {path, file_size, file_size / MIN_ATTRIBUTE_BYTES + 1, out, left_out,
                           err,  QINS_OK};
    if (H5Aiterate2(object, H5_INDEX_NAME, H5_ITER_INC, NULL, on_attribute, &a) < 0 &&
        a.status == QINS_OK)
        a.status = qn_hdf5_fail(err, QINS_ERR_FORMAT, "its attributes cannot be listed");
    return a.status;
}

const struct qn_limit qn_hdf5_attribute_limits[] = {
    {"hdf5", "strings", MAX_STRINGS, "strings", "memory for an attribute"},
    {0},
};
