#include "convert/report.h"

#include "formats/plan.h"
#include "formats/transport_archive.h"

#include <math.h>

static json_t *integer(uint64_t value)
{
    return value <= INT64_MAX ? json_integer((json_int_t)value) : json_real((double)value);
}

/* name, dtype, shape, elements, bytes: the same for checkpoints and archives. */
static json_t *tensor_report(const struct qn_tensor *t)
{
    json_t *j = json_object(), *shape = json_array();
    for (unsigned i = 0; i < t->rank && shape; i++)
        if (json_array_append_new(shape, integer(t->shape[i])) != 0) {
            json_decref(shape);
            shape = NULL;
        }
    bool foreign = t->dtype == QINS_DTYPE_INVALID;
    qn_json_put(&j, "name", json_string(t->name));
    qn_json_put(&j, "dtype", json_string(foreign ? t->foreign_type : qins_dtype_name(t->dtype)));
    qn_json_put(&j, "shape", shape);
    qn_json_put(&j, "elements", integer(t->n_elements));
    qn_json_put(&j, "bytes", foreign ? json_null() : integer(t->n_bytes));
    return j;
}

/* As in a plan file, and what lossless means there said outright. */
static void put_plan(json_t **j, const struct qn_archive_tensor *t)
{
    static const char *const contents[] = {"lossless", "qins", "seed"};
    qn_json_put(j, "content", json_string(contents[t->plan.content]));
    qn_plan_line_put(j, &t->plan);
    qn_json_put(j, "blocks", qn_plan_blocks_to_json(t->blocks, t->n_blocks));
}

void qn_put_archive_hash(json_t **report, const struct qn_archive *a)
{
    qn_json_put(report, "archive_hash", qn_json_digest(&a->body_hash));
}

uint64_t qn_archive_tensor_bytes(const struct qn_archive *a, size_t index)
{
    const struct qn_archive_tensor *t = &a->manifest.tensors[index];
    uint64_t bytes = t->tensor.rank == 0 ? t->tensor.n_bytes : 0;
    for (uint64_t i = 0; i < t->layout.n_chunks; i++)
        bytes += a->chunks[t->first_chunk + i].size;
    return bytes;
}

static double per_element(uint64_t bytes, uint64_t n)
{
    return n ? 8.0 * (double)bytes / (double)n : NAN;
}

static json_t *archive_tensor_report(const struct qn_archive *a, size_t index)
{
    const struct qn_archive_tensor *t = &a->manifest.tensors[index];
    uint64_t coded = qn_archive_tensor_bytes(a, index);
    json_t *j = tensor_report(&t->tensor);
    if (qn_is_transport_tensor(t->tensor.name))
        qn_json_put(&j, "transport", json_true());
    qn_json_put(&j, "coded_bytes", integer(coded));
    qn_json_put(&j, "coded_bits_per_element",
                qn_json_real(per_element(coded, t->tensor.n_elements)));
    put_plan(&j, t);
    return j;
}

static json_t *attachment_report(const char *name, uint64_t size)
{
    json_t *j = json_object();
    qn_json_put(&j, "name", json_string(name));
    qn_json_put(&j, "bytes", integer(size));
    return j;
}

/* What a transport takes in the archive, null where there is none. */
static json_t *transport_report(const struct qn_archive *a)
{
    const size_t own = qn_manifest_own_tensors(&a->manifest);
    uint64_t coded = 0;
    if (!qn_archive_has_transport(a))
        return json_null();
    for (size_t i = own; i < a->manifest.n_tensors; i++)
        coded += qn_archive_tensor_bytes(a, i);
    json_t *j = json_object();
    qn_json_put(&j, "tensors", integer(a->manifest.n_tensors - own));
    qn_json_put(&j, "coded_bytes", integer(coded));
    return j;
}

json_t *qn_archive_report(const struct qn_archive *a, const char *schema)
{
    json_t *j = qn_report_begin(schema), *tensors = json_array(), *files = json_array();
    uint64_t input = 0;
    for (size_t i = 0; i < a->manifest.n_tensors; i++) {
        qn_json_append(&tensors, archive_tensor_report(a, i));
        input += a->manifest.tensors[i].tensor.n_bytes;
    }
    for (size_t i = 0; i < a->manifest.n_files; i++)
        qn_json_append(&files,
                       attachment_report(a->manifest.files[i].name, a->manifest.files[i].size));
    qn_json_put(&j, "source_format", json_string(a->manifest.source_format));
    qn_json_put(&j, "input_bytes", integer(input));
    qn_json_put(&j, "archive_bytes", integer(a->file.size));
    qn_json_put(&j, "float_elements", integer(qn_archive_float_elements(a)));
    qn_json_put(&j, "bits_per_weight", qn_json_real(qn_archive_bits_per_weight(a)));
    qn_json_put(&j, "transport", transport_report(a));
    qn_json_put(&j, "attachments", files);
    qn_json_put(&j, "tensors", tensors);
    return j;
}

static json_t *checkpoint_report(const struct qn_checkpoint *ck)
{
    json_t *j = qn_report_begin("qins/inspect/1"), *tensors = json_array(), *files = json_array();
    uint64_t bytes = 0;
    for (size_t i = 0; i < ck->tensors.count; i++) {
        qn_json_append(&tensors, tensor_report(&ck->tensors.items[i]));
        bytes += ck->tensors.items[i].n_bytes;
    }
    for (size_t i = 0; i < ck->attachments.count; i++)
        qn_json_append(&files, attachment_report(ck->attachments.items[i].name,
                                                 ck->attachments.items[i].size));
    qn_json_put(&j, "kind", json_string("checkpoint"));
    qn_json_put(&j, "path", qn_json_text(ck->path));
    qn_json_put(&j, "source_format", json_string(ck->ops->format));
    qn_json_put(&j, "input_bytes", integer(bytes));
    qn_json_put(&j, "attachments", files);
    qn_json_put(&j, "tensors", tensors);
    return j;
}

static enum qins_status inspect_archive(const char *path, json_t **report, struct qins_error *err)
{
    struct qn_archive *a = NULL;
    enum qins_status st = qn_archive_open(&a, path, err);
    if (st == QINS_OK) {
        *report = qn_archive_report(a, "qins/inspect/1");
        qn_json_put(report, "kind", json_string("archive"));
        qn_json_put(report, "path", qn_json_text(path));
    }
    qn_archive_destroy(a);
    return st;
}

enum qins_status qn_inspect(const char *path, const struct qn_monitor *monitor, json_t **report,
                            struct qins_error *err)
{
    struct qn_checkpoint *ck = NULL;
    bool is_archive = false;
    enum qins_status st = qn_path_is_archive(path, &is_archive, err);
    *report = NULL;
    if (st == QINS_OK && is_archive) {
        st = inspect_archive(path, report, err);
    } else if (st == QINS_OK) {
        st = qn_checkpoint_open(&ck, path, monitor, err);
        if (st == QINS_OK)
            *report = checkpoint_report(ck);
        qn_checkpoint_destroy(ck);
    }
    if (st == QINS_OK && !*report)
        st = qn_fail_memory(err);
    return st;
}
