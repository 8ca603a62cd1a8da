/* A transport out of an archive. */
#include "formats/transport_archive.h"

#include "core/bytes.h"

#include <stdlib.h>
#include <string.h>

struct reading {
    const struct qn_archive *archive;
    size_t own; /* tensors of the model; the transport's follow */
    struct qn_chunk_work work;
    struct qn_buf payload;
};

static size_t find_description(const struct qn_manifest *m)
{
    size_t i = 0;
    while (i < m->n_files && strcmp(m->files[i].name, QN_TRANSPORT_ATTACHMENT) != 0)
        i++;
    return i;
}

bool qn_archive_has_transport(const struct qn_archive *a)
{
    const struct qn_manifest *m = &a->manifest;
    return qn_manifest_own_tensors(m) < m->n_tensors || find_description(m) < m->n_files;
}

/* Bytes of the transport's tensors, none of which may claim chunks that others have, too. */
static enum qins_status count_bytes(const struct reading *r, uint64_t *bytes,
                                    struct qins_error *err)
{
    const struct qn_manifest *m = &r->archive->manifest;
    uint64_t coded = 0;
    *bytes = 0;
    for (size_t i = r->own; i < m->n_tensors; i++) {
        const struct qn_archive_tensor *t = &m->tensors[i];
        if (!qn_add_u64(*bytes, t->tensor.n_bytes, bytes))
            return qn_fail(err, QINS_ERR_FORMAT, "the size of the transport overflows");
        for (uint64_t k = 0; k < t->layout.n_chunks; k++)
            if (!qn_add_u64(coded, r->archive->chunks[t->first_chunk + k].size, &coded) ||
                coded > r->archive->file.size)
                return qn_fail(err, QINS_ERR_FORMAT,
                               "the chunks claim more bytes than the archive has");
    }
    return QINS_OK;
}

static enum qins_status describe(struct reading *r, struct qn_transport *t, struct qins_error *err)
{
    const struct qn_manifest *m = &r->archive->manifest;
    const size_t file = find_description(m);
    struct qn_buf text = {0};
    uint64_t bytes;
    if (file == m->n_files)
        return qn_fail(err, QINS_ERR_FORMAT,
                       "there are tensors of a transport, and no " QN_TRANSPORT_ATTACHMENT
                       " describes them");
    enum qins_status st = count_bytes(r, &bytes, err);
    if (st == QINS_OK)
        st = qn_archive_file_read(r->archive, file, &text, err);
    if (st == QINS_OK) {
        st = qn_transport_from_json(text.data, text.size, bytes, t, err);
        if (st != QINS_OK && err)
            err->offset = QN_NO_OFFSET; /* it counts in the text */
    }
    qn_buf_finish(&text);
    return st;
}

static enum qins_status read_array(struct reading *r, const struct qn_archive_tensor *t,
                                   const struct qn_transport_array *a, struct qins_error *err)
{
    const size_t prefix = strlen(QN_TRANSPORT_PREFIX);
    if (strcmp(t->tensor.name + prefix, a->name) != 0)
        return qn_fail_at(err, QINS_ERR_FORMAT, NULL, t->tensor.name, QN_NO_OFFSET,
                          "the transport's description has '%s' in its place", a->name);
    if (t->tensor.dtype != QINS_F32 || t->tensor.rank != a->rank ||
        memcmp(t->tensor.shape, a->shape, a->rank * sizeof *a->shape) != 0)
        return qn_fail_at(err, QINS_ERR_FORMAT, NULL, t->tensor.name, QN_NO_OFFSET,
                          "its type or shape is not the one described");
    return qn_archive_decode(r->archive, (size_t)(t - r->archive->manifest.tensors), 0,
                             t->tensor.n_elements, true, &r->work, &r->payload, *a->data, err);
}

/* They stand in the order of the description. */
static enum qins_status read_arrays(struct reading *r, struct qn_transport *t,
                                    struct qins_error *err)
{
    const struct qn_manifest *m = &r->archive->manifest;
    struct qn_transport_array a;
    size_t tensor = r->own;
    enum qins_status st = QINS_OK;
    for (size_t at = 0; st == QINS_OK && qn_transport_array(t, &at, &a); tensor++)
        st = tensor < m->n_tensors
                 ? read_array(r, &m->tensors[tensor], &a, err)
                 : qn_fail(err, QINS_ERR_FORMAT, "the transport's '%s' is missing", a.name);
    if (st == QINS_OK && tensor < m->n_tensors)
        st = qn_fail_at(err, QINS_ERR_FORMAT, NULL, m->tensors[tensor].tensor.name, QN_NO_OFFSET,
                        "the transport's description does not know it");
    return st;
}

enum qins_status qn_transport_from_archive(struct qn_transport *t, const struct qn_archive *a,
                                           struct qins_error *err)
{
    struct reading r = {.archive = a, .own = qn_manifest_own_tensors(&a->manifest)};
    *t = (struct qn_transport){0};
    enum qins_status st = describe(&r, t, err);
    if (st == QINS_OK)
        st = read_arrays(&r, t, err);
    if (st == QINS_OK)
        st = qn_transport_check(t, err);
    qn_buf_finish(&r.payload);
    qn_chunk_work_finish(&r.work);
    return qn_error_in_file(err, st, a->file.path);
}
