#include "formats/safetensors.h"

#include "core/bytes.h"
#include "formats/limits.h"

#include <stdlib.h>

enum { PREFIX_SIZE = 8 };

struct entry {
    const char *name;
    const char *dtype;
    const json_t *shape;
    uint64_t begin, end; /* in the data section */
};

enum qins_status qn_safetensors_create(struct qn_safetensors **out,
                                       const struct qn_checkpoint_ops *ops, const char *path,
                                       size_t n_files, struct qins_error *err)
{
    struct qn_safetensors *s = calloc(1, sizeof *s);
    struct qn_file *files = calloc(n_files, sizeof *files);
    enum qins_status st = QINS_ERR_MEMORY;
    if (s && files)
        st = qn_checkpoint_base_init(&s->base, ops, path, err);
    else
        qn_fail_memory(err);
    if (st != QINS_OK) {
        free(s);
        free(files);
        return st;
    }
    for (size_t i = 0; i < n_files; i++)
        files[i].fd = -1;
    s->files = files;
    s->n_files = n_files;
    *out = s;
    return QINS_OK;
}

void qn_safetensors_destroy(struct qn_checkpoint *ck)
{
    struct qn_safetensors *s = (struct qn_safetensors *)ck;
    for (size_t i = 0; i < s->n_files; i++)
        qn_file_close(&s->files[i]);
    free(s->files);
    qn_checkpoint_base_finish(&s->base);
    free(s);
}

enum qins_status qn_safetensors_read(struct qn_checkpoint *ck, size_t tensor, uint64_t offset,
                                     void *dst, size_t size, struct qins_error *err)
{
    struct qn_safetensors *s = (struct qn_safetensors *)ck;
    const struct qn_tensor *t = &ck->tensors.items[tensor];
    return qn_file_read(&s->files[t->where[0]], t->where[1] + offset, dst, size, err);
}

static enum qins_status parse_entry(const char *name, const json_t *value, struct entry *e,
                                    struct qins_error *err)
{
    const json_t *dtype = json_object_get(value, "dtype");
    const json_t *shape = json_object_get(value, "shape");
    const json_t *range = json_object_get(value, "data_offsets");
    if (!json_is_string(dtype) || !json_is_array(shape))
        return qn_fail(err, QINS_ERR_FORMAT, "its header entry has no dtype string or shape list");
    if (json_array_size(range) != 2 || !qn_json_u64(json_array_get(range, 0), &e->begin) ||
        !qn_json_u64(json_array_get(range, 1), &e->end) || e->begin > e->end)
        return qn_fail(err, QINS_ERR_FORMAT,
                       "data_offsets is not a pair of ascending non-negative integers");
    e->name = name;
    e->dtype = json_string_value(dtype);
    e->shape = shape;
    return QINS_OK;
}

static int by_place(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    if (x->begin != y->begin)
        return x->begin < y->begin ? -1 : 1;
    return strcmp(x->name, y->name);
}

static enum qins_status add_tensor(struct qn_safetensors *s, size_t file_index,
                                   const struct entry *e, uint64_t data_begin,
                                   struct qins_error *err)
{
    uint64_t shape[QINS_MAX_RANK];
    uint64_t data_size = s->files[file_index].size - data_begin;
    size_t rank = json_array_size(e->shape);
    struct qn_tensor *t;
    if (rank > QINS_MAX_RANK)
        return qn_fail(err, QINS_ERR_FORMAT, "rank %zu is above %d", rank, QINS_MAX_RANK);
    for (size_t i = 0; i < rank; i++)
        if (!qn_json_u64(json_array_get(e->shape, i), &shape[i]))
            return qn_fail(err, QINS_ERR_FORMAT, "its shape holds no non-negative integer at %zu",
                           i);
    if (!qn_type_name_valid(e->dtype, strlen(e->dtype)))
        return qn_fail(err, QINS_ERR_FORMAT, "its dtype is no type name");
    if (e->end > data_size)
        return qn_fail(err, QINS_ERR_FORMAT, "its data ends %llu bytes past the end of the file",
                       (unsigned long long)(e->end - data_size));

    enum qins_dtype dtype = qn_dtype_from_name(e->dtype);
    enum qins_status st = qn_tensor_list_add(&s->base.tensors, e->name, strlen(e->name), dtype,
                                             e->dtype, (unsigned)rank, shape, &t, err);
    if (st != QINS_OK)
        return st;
    uint64_t size = e->end - e->begin;
    if (dtype == QINS_DTYPE_INVALID)
        t->n_bytes = size;
    else if (t->n_bytes != size)
        return qn_fail(err, QINS_ERR_FORMAT,
                       "data_offsets spans %llu bytes, its shape and type take %llu",
                       (unsigned long long)size, (unsigned long long)t->n_bytes);
    /* Empty tensors may stand anywhere, even inside another one's data; a common place for all
     * of them keeps them out of the overlap check. */
    t->where[0] = file_index;
    t->where[1] = size ? data_begin + e->begin : 0;
    return QINS_OK;
}

static enum qins_status check_metadata(const json_t *metadata, struct qins_error *err)
{
    const char *key;
    json_t *value;
    if (!json_is_object(metadata))
        return qn_fail(err, QINS_ERR_FORMAT, "__metadata__ is not an object");
    json_object_foreach((json_t *)metadata, key, value)
    {
        if (!json_is_string(value))
            return qn_fail(err, QINS_ERR_FORMAT, "__metadata__ holds something else than strings");
    }
    return QINS_OK;
}

static enum qins_status collect(const json_t *header, struct entry *entries, size_t *count,
                                struct qins_error *err)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)header, key, value)
    {
        enum qins_status st;
        if (strcmp(key, "__metadata__") == 0) {
            st = check_metadata(value, err);
        } else {
            st = parse_entry(key, value, &entries[(*count)++], err);
            qn_error_in_tensor(err, st, key);
        }
        if (st != QINS_OK)
            return st;
    }
    return QINS_OK;
}

static enum qins_status read_header(const struct qn_file *f, json_t **header, uint64_t *data_begin,
                                    struct qins_error *err)
{
    uint8_t prefix[PREFIX_SIZE];
    struct qn_buf text = {0};
    enum qins_status st = qn_file_read(f, 0, prefix, sizeof prefix, err);
    if (st != QINS_OK)
        return st;
    uint64_t length = qn_load64(prefix);
    if (length > QN_SAFETENSORS_MAX_HEADER || length > f->size - PREFIX_SIZE)
        return qn_fail_at(err, QINS_ERR_FORMAT, NULL, NULL, 0,
                          "the header's length, %llu bytes, is above what the %s allows",
                          (unsigned long long)length,
                          length > QN_SAFETENSORS_MAX_HEADER ? "format" : "file's size");
    st = qn_buf_reserve(&text, (size_t)length + 1, err);
    if (st == QINS_OK)
        st = qn_file_read(f, PREFIX_SIZE, text.data, (size_t)length, err);
    if (st == QINS_OK) {
        *header = qn_json_parse(text.data, (size_t)length, PREFIX_SIZE, err);
        if (!*header)
            st = err ? err->status : QINS_ERR_FORMAT;
        else if (!json_is_object(*header))
            st = qn_fail_at(err, QINS_ERR_FORMAT, NULL, NULL, PREFIX_SIZE,
                            "the header is not a JSON object");
    }
    *data_begin = PREFIX_SIZE + length;
    qn_buf_finish(&text);
    return st;
}

enum qins_status qn_safetensors_parse(struct qn_safetensors *s, size_t file_index,
                                      json_t **metadata, struct qins_error *err)
{
    const struct qn_file *f = &s->files[file_index];
    json_t *header = NULL;
    struct entry *entries = NULL;
    uint64_t data_begin = 0;
    size_t count = 0;
    if (metadata)
        *metadata = NULL;

    enum qins_status st = read_header(f, &header, &data_begin, err);
    if (st != QINS_OK)
        goto done;
    entries = calloc(json_object_size(header) + 1, sizeof *entries);
    if (!entries) {
        st = qn_fail_memory(err);
        goto done;
    }
    st = collect(header, entries, &count, err);
    if (st != QINS_OK)
        goto done;
    qsort(entries, count, sizeof *entries, by_place);
    for (size_t i = 0; i < count && st == QINS_OK; i++) {
        st = add_tensor(s, file_index, &entries[i], data_begin, err);
        qn_error_in_tensor(err, st, entries[i].name);
    }
    if (st == QINS_OK && metadata)
        *metadata = json_incref(json_object_get(header, "__metadata__"));
done:
    free(entries);
    json_decref(header);
    return qn_error_in_file(err, st, f->path);
}

enum qins_status qn_safetensors_attach_metadata(struct qn_safetensors *s, const json_t *metadata,
                                                struct qins_error *err)
{
    if (!metadata)
        return QINS_OK;
    char *text = qn_json_dump(metadata, JSON_COMPACT);
    if (!text)
        return qn_fail_memory(err);
    enum qins_status st =
        qn_attachment_add(&s->base.attachments, QN_SAFETENSORS_METADATA, text, strlen(text), err);
    free(text);
    return st;
}

/* There is no magic number: a plausible length and the header's first byte must do, or the name,
 * so that a damaged file is told what is wrong with it. */
static bool probe(const struct qn_probe *p)
{
    if (p->is_directory)
        return false;
    if (qn_has_suffix(p->path, ".safetensors"))
        return true;
    if (p->head_size < PREFIX_SIZE + 2)
        return false;
    uint64_t length = qn_load64(p->head);
    return length >= 2 && length <= p->file_size - PREFIX_SIZE && p->head[PREFIX_SIZE] == '{';
}

static enum qins_status open_file(struct qn_checkpoint **out, const char *path,
                                  const struct qn_monitor *monitor, struct qins_error *err)
{
    struct qn_safetensors *s = NULL;
    json_t *metadata = NULL;
    char *dir = NULL;
    (void)monitor;
    enum qins_status st = qn_safetensors_create(&s, &qn_safetensors_ops, path, 1, err);
    if (st != QINS_OK)
        return st;
    st = qn_file_open(&s->files[0], path, err);
    if (st == QINS_OK)
        st = qn_safetensors_parse(s, 0, &metadata, err);
    if (st == QINS_OK)
        st = qn_tensor_list_check_overlap(&s->base.tensors, err);
    if (st == QINS_OK)
        st = qn_safetensors_attach_metadata(s, metadata, err);
    if (st == QINS_OK) {
        dir = qn_path_dir(path, err);
        st = dir ? qn_attach_model_files(&s->base.attachments, dir, err) : QINS_ERR_MEMORY;
    }
    free(dir);
    json_decref(metadata);
    if (st != QINS_OK) {
        qn_safetensors_destroy(&s->base);
        return qn_error_in_file(err, st, path);
    }
    *out = &s->base;
    return QINS_OK;
}

const struct qn_checkpoint_ops qn_safetensors_ops = {
    .format = "safetensors",
    .probe = probe,
    .open = open_file,
    .read = qn_safetensors_read,
    .destroy = qn_safetensors_destroy,
};

const struct qn_limit qn_safetensors_limits[] = {
    {"safetensors", "header", QN_SAFETENSORS_MAX_HEADER, "bytes", "memory that the JSON takes"},
    {0},
};
