#include "analyze/report_curves.h"

#include "analyze/report_json.h"
#include "core/file.h"
#include "formats/tensor_writer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Numbers of a table; far more than any that is written here. */
enum { MAX_NUMBERS = 1 << 24, PIECE_BYTES = 1 << 20 };

static enum qins_status set_attribute(struct qn_curves *c, const char *path, const char *name,
                                      json_t *value, struct qins_error *err)
{
    json_t *object = json_object_get(c->attributes, path);
    if (!object) {
        object = json_object();
        if (json_object_set_new(c->attributes, path, object) != 0) {
            json_decref(value);
            return qn_fail_memory(err);
        }
    }
    return json_object_set_new(object, name, value) == 0 ? QINS_OK : qn_fail_memory(err);
}

enum qins_status qn_curves_init(struct qn_curves *c, struct qins_error *err)
{
    *c = (struct qn_curves){.fd = -1};
    c->paths = json_object();
    c->attributes = json_object();
    if (!c->paths || !c->attributes)
        return qn_fail_memory(err);
    enum qins_status st = set_attribute(c, "/", "schema", json_string(QN_ENTROPY_SCHEMA), err);
    if (st == QINS_OK)
        st = set_attribute(c, "/", "qins_version", json_string(qins_version()), err);
    if (st != QINS_OK)
        return st;
    c->fd = qn_scratch_file(err);
    return c->fd >= 0 ? QINS_OK : QINS_ERR_IO;
}

void qn_curves_finish(struct qn_curves *c)
{
    qn_tensor_list_finish(&c->tensors);
    json_decref(c->paths);
    json_decref(c->attributes);
    if (c->fd >= 0)
        close(c->fd);
    *c = (struct qn_curves){.fd = -1};
}

/* "/a/b" as the reader of HDF5 names it: "a.b"; heap. */
static char *name_of_path(const char *path, struct qins_error *err)
{
    char *name = qn_strdup(path + 1, err);
    for (char *p = name; p && *p; p++)
        if (*p == '/')
            *p = '.';
    return name;
}

static enum qins_status append(int fd, const void *data, size_t size, struct qins_error *err)
{
    const char *p = data;
    while (size > 0) {
        ssize_t n = write(fd, p, size);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return qn_fail_errno(err, NULL, "write to a temporary file");
        p += n;
        size -= (size_t)n;
    }
    return QINS_OK;
}

enum qins_status qn_curves_label(struct qn_curves *c, const char *group, const char *text,
                                 struct qins_error *err)
{
    return set_attribute(c, group, "name", qn_json_text(text), err);
}

enum qins_status qn_curves_add(struct qn_curves *c, const char *group, const char *name,
                               const char *heads, size_t rows, size_t columns, const float *data,
                               struct qins_error *err)
{
    const uint64_t shape[2] = {rows, columns};
    char *path = qn_format(err, "%s/%s", group, name);
    char *key = path ? name_of_path(path, err) : NULL;
    enum qins_status st = key ? QINS_OK : QINS_ERR_MEMORY;
    if (st == QINS_OK)
        st = qn_tensor_list_add(&c->tensors, key, strlen(key), QINS_F32, NULL, 2, shape, NULL, err);
    if (st == QINS_OK && json_object_set_new(c->paths, key, json_string(path)) != 0)
        st = qn_fail_memory(err);
    if (st == QINS_OK)
        st = set_attribute(c, path, "columns", json_string(heads), err);
    if (st == QINS_OK)
        st = append(c->fd, data, rows * columns * sizeof *data, err);
    free(key);
    free(path);
    return st;
}

static enum qins_status attach(struct qn_attachment_list *list, const char *name, const json_t *j,
                               struct qins_error *err)
{
    char *text = qn_json_dump(j, JSON_COMPACT);
    enum qins_status st =
        text ? qn_attachment_add(list, name, text, strlen(text), err) : qn_fail_memory(err);
    free(text);
    return st;
}

/* The SIZE bytes at *AT of the temporary file, to tensor INDEX. */
static enum qins_status copy(const struct qn_curves *c, struct qn_tensor_writer *w, size_t index,
                             uint64_t *at, void *piece, struct qins_error *err)
{
    uint64_t left = c->tensors.items[index].n_bytes;
    while (left > 0) {
        size_t size = left < PIECE_BYTES ? (size_t)left : PIECE_BYTES;
        ssize_t n = pread(c->fd, piece, size, (off_t)*at);
        if (n < 0 && errno == EINTR)
            continue;
        n -= n % (ssize_t)sizeof(float);
        if (n <= 0)
            return qn_fail_errno(err, NULL, "read from a temporary file");
        enum qins_status st = w->ops->write(w, index, piece, (size_t)n, err);
        if (st != QINS_OK)
            return st;
        *at += (uint64_t)n;
        left -= (uint64_t)n;
    }
    return QINS_OK;
}

enum qins_status qn_curves_write(const struct qn_curves *c, const char *path,
                                 const struct qn_monitor *monitor, struct qins_error *err)
{
    struct qn_attachment_list attachments = {0};
    struct qn_tensor_writer *w = NULL;
    uint64_t at = 0;
    void *piece = malloc(PIECE_BYTES);
    enum qins_status st = piece ? QINS_OK : qn_fail_memory(err);
    if (st == QINS_OK)
        st = attach(&attachments, "hdf5.paths", c->paths, err);
    if (st == QINS_OK)
        st = attach(&attachments, "hdf5.attributes", c->attributes, err);
    if (st == QINS_OK)
        st = qn_hdf5_writer_ops.create(&w, path, &c->tensors, &attachments, err);
    for (size_t i = 0; i < c->tensors.count && st == QINS_OK; i++) {
        st = qn_check_stop(monitor, err);
        if (st == QINS_OK)
            st = copy(c, w, i, &at, piece, err);
    }
    if (st == QINS_OK)
        st = w->ops->commit(w, err);
    if (w)
        w->ops->destroy(w);
    qn_attachment_list_finish(&attachments);
    free(piece);
    return st;
}

void qn_table_finish(struct qn_table *t)
{
    free(t->data);
    *t = (struct qn_table){0};
}

static bool is_table(const struct qn_tensor *t, size_t min_columns)
{
    return t->dtype == QINS_F32 && t->rank == 2 && t->shape[1] >= min_columns &&
           t->n_elements > 0 && t->n_elements <= MAX_NUMBERS;
}

/* From checked tensor INDEX. */
static enum qins_status read_table(struct qn_checkpoint *ck, size_t index, struct qn_table *out,
                                   struct qins_error *err)
{
    const struct qn_tensor *t = &ck->tensors.items[index];
    const size_t n = (size_t)t->n_elements;
    float *raw = malloc(n * sizeof *raw);
    out->data = malloc(n * sizeof *out->data);
    const bool room = raw && out->data;
    enum qins_status st =
        room ? qn_checkpoint_read(ck, index, 0, raw, n * sizeof *raw, err) : qn_fail_memory(err);
    for (size_t i = 0; room && i < n && st == QINS_OK; i++)
        out->data[i] = raw[i];
    out->rows = (size_t)t->shape[0];
    out->columns = (size_t)t->shape[1];
    free(raw);
    if (st != QINS_OK)
        qn_table_finish(out);
    return st;
}

enum qins_status qn_table_read(struct qn_checkpoint *ck, const char *group, const char *name,
                               size_t min_columns, struct qn_table *out, struct qins_error *err)
{
    *out = (struct qn_table){0};
    char *path = qn_format(err, "%s/%s", group, name);
    char *key = path ? name_of_path(path, err) : NULL;
    enum qins_status st = key ? QINS_OK : QINS_ERR_MEMORY;
    for (size_t i = 0; st == QINS_OK && ck && i < ck->tensors.count; i++)
        if (strcmp(ck->tensors.items[i].name, key) == 0) {
            if (is_table(&ck->tensors.items[i], min_columns))
                st = read_table(ck, i, out, err);
            break;
        }
    free(key);
    free(path);
    return st;
}
