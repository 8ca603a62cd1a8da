#include "formats/hdf5_write.h"

#include "core/buf.h"
#include "formats/hdf5_common.h"

#include <stdlib.h>
#include <string.h>

/* An attribute in the object header of the old format must stay under 64 KiB. */
enum { MAX_DEPTH = 64, MAX_PATH = 65535, MAX_COMPACT = 60000 };

bool qn_hdf5_is_path(const char *path)
{
    size_t n = strlen(path), depth = 0;
    if (n < 2 || n > MAX_PATH || !qn_utf8_valid(path, n))
        return false;
    for (const char *p = path; *p; depth++) {
        if (*p != '/')
            return false;
        size_t part = strcspn(p + 1, "/");
        if (part == 0 || (part == 1 && p[1] == '.'))
            return false;
        p += 1 + part;
    }
    return depth <= MAX_DEPTH;
}

char *qn_hdf5_path_for(const json_t *paths, const char *name, struct qins_error *err)
{
    const json_t *value = paths ? json_object_get(paths, name) : NULL;
    if (!value) {
        char *encoded = qn_hdf5_encode_name(name, err);
        char *path = encoded ? qn_format(err, "/%s", encoded) : NULL;
        free(encoded);
        return path;
    }
    if (json_is_string(value) && qn_hdf5_is_path(json_string_value(value)))
        return qn_strdup(json_string_value(value), err);
    qn_fail_at(err, QINS_ERR_FORMAT, NULL, name, QN_NO_OFFSET,
               "the path that 'hdf5.paths' gives is no HDF5 path");
    return NULL;
}

enum qins_status qn_hdf5_load_json(const struct qn_attachment_list *attachments, const char *name,
                                   json_t **out, struct qins_error *err)
{
    struct qins_error detail = {0};
    const struct qn_attachment *a = attachments ? qn_attachment_find(attachments, name) : NULL;
    *out = NULL;
    if (!a)
        return QINS_OK;
    json_t *value = qn_json_parse(a->data, a->size, 0, &detail);
    if (value && !json_is_object(value)) {
        json_decref(value);
        value = NULL;
        qn_fail(&detail, QINS_ERR_FORMAT, "it is no JSON object");
    }
    *out = value;
    return value ? QINS_OK
                 : qn_fail(err, detail.status, "attached file '%s': %s", name, detail.message);
}

static hid_t text_type(size_t size)
{
    hid_t type = H5Tcopy(H5T_C_S1);
    if (type >= 0 && (H5Tset_size(type, size) < 0 || H5Tset_cset(type, H5T_CSET_UTF8) < 0 ||
                      (size != H5T_VARIABLE && H5Tset_strpad(type, H5T_STR_NULLPAD) < 0))) {
        H5Tclose(type);
        type = H5I_INVALID_HID;
    }
    return type;
}

static bool put(hid_t object, const char *name, hid_t type, hid_t space, const void *data)
{
    hid_t a = H5Acreate2(object, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
    bool good = a >= 0 && (!data || H5Awrite(a, type, data) >= 0);
    if (a >= 0)
        H5Aclose(a);
    return good;
}

static bool put_scalar(hid_t object, const char *name, const char *text)
{
    hid_t type = text_type(H5T_VARIABLE), space = H5Screate(H5S_SCALAR);
    bool good = type >= 0 && space >= 0 && put(object, name, type, space, &text);
    if (space >= 0)
        H5Sclose(space);
    if (type >= 0)
        H5Tclose(type);
    return good;
}

/* Fixed lengths, as Keras has them, where they fit into an object header. */
static bool put_list(hid_t object, const char *name, const json_t *list)
{
    size_t count = json_array_size(list), width = 1;
    for (size_t i = 0; i < count; i++) {
        size_t n = json_string_length(json_array_get(list, i));
        width = n > width ? n : width;
    }
    bool fixed = count == 0 || width <= MAX_COMPACT / count;
    size_t step = fixed ? width : sizeof(const char *);
    char *data = calloc(count + 1, step);
    for (size_t i = 0; i < count && data; i++) {
        const json_t *item = json_array_get(list, i);
        const char *text = json_string_value(item);
        if (fixed)
            memcpy(data + i * step, text, json_string_length(item));
        else
            memcpy(data + i * step, &text, sizeof(const char *));
    }
    hsize_t extent = count;
    hid_t type = text_type(fixed ? width : H5T_VARIABLE);
    hid_t space = H5Screate_simple(1, &extent, NULL);
    bool good =
        data && type >= 0 && space >= 0 && put(object, name, type, space, count ? data : NULL);
    if (space >= 0)
        H5Sclose(space);
    if (type >= 0)
        H5Tclose(type);
    free(data);
    return good;
}

static bool is_text_list(const json_t *value)
{
    for (size_t i = 0; i < json_array_size(value); i++)
        if (!json_is_string(json_array_get(value, i)))
            return false;
    return json_is_array(value);
}

static enum qins_status write_object(hid_t object, const char *path, json_t *attributes,
                                     struct qins_error *err)
{
    const char *name;
    json_t *value;
    json_object_foreach(attributes, name, value)
    {
        bool good = json_is_string(value) ? put_scalar(object, name, json_string_value(value))
                                          : is_text_list(value) && put_list(object, name, value);
        if (!good) {
            H5Eclear2(H5E_DEFAULT);
            return qn_fail(err, QINS_ERR_UNSUPPORTED,
                           "attribute '%.100s' of '%.200s' cannot be written", name, path);
        }
    }
    return QINS_OK;
}

static enum qins_status write_described(hid_t file, hid_t creation, const json_t *all,
                                        struct qins_error *err)
{
    const char *path;
    json_t *attributes;
    enum qins_status st = QINS_OK;
    json_object_foreach((json_t *)(uintptr_t)all, path, attributes)
    {
        bool root = strcmp(path, "/") == 0;
        if ((!root && !qn_hdf5_is_path(path)) || !json_is_object(attributes))
            return qn_fail(err, QINS_ERR_FORMAT, "'hdf5.attributes' names an impossible path");
        hid_t object = H5Oopen(file, path, H5P_DEFAULT);
        if (object < 0)
            object = H5Gcreate2(file, path, creation, H5P_DEFAULT, H5P_DEFAULT);
        if (object < 0)
            return qn_hdf5_fail(err, QINS_ERR_FORMAT,
                                "a group of 'hdf5.attributes' cannot be made");
        st = write_object(object, path, attributes, err);
        H5Oclose(object);
        if (st != QINS_OK)
            return st;
    }
    return QINS_OK;
}

static enum qins_status write_keras(hid_t file, const struct qn_attachment_list *attachments,
                                    struct qins_error *err)
{
    static const char prefix[] = "keras.";
    enum qins_status st = QINS_OK;
    for (size_t i = 0; attachments && i < attachments->count && st == QINS_OK; i++) {
        const struct qn_attachment *a = &attachments->items[i];
        const char *name = a->name + sizeof prefix - 1;
        if (strncmp(a->name, prefix, sizeof prefix - 1) != 0 || !*name)
            continue;
        char *text = qn_strndup(a->data, a->size, err);
        if (!text)
            return QINS_ERR_MEMORY;
        if (!qn_utf8_valid(text, strlen(text)) || !put_scalar(file, name, text))
            st = qn_fail(err, QINS_ERR_UNSUPPORTED, "attached file '%.200s' cannot be written",
                         a->name);
        free(text);
    }
    return st;
}

enum qins_status qn_hdf5_write_attributes(hid_t file, hid_t creation,
                                          const struct qn_attachment_list *attachments,
                                          struct qins_error *err)
{
    json_t *all = NULL;
    enum qins_status st = qn_hdf5_load_json(attachments, "hdf5.attributes", &all, err);
    if (st == QINS_OK && all)
        st = write_described(file, creation, all, err);
    if (st == QINS_OK)
        st = write_keras(file, attachments, err);
    json_decref(all);
    return st;
}
