#include "convert/merge.h"

#include "convert/merge_parts.h"
#include "convert/sources.h"
#include "core/bytes.h"
#include "core/clock.h"
#include "core/file.h"
#include "core/folder.h"
#include "core/kept.h"
#include "formats/archive/writer.h"

#include <math.h>
#include <stdlib.h>
#include <unistd.h>

/* An archive in the making. */
struct output {
    struct qn_archive_writer *writer;
    char *path;
    uint64_t bytes;
    struct qn_digest hash;
    uint64_t tensors;
};

struct merge {
    struct qn_sink sink; /* must be first: hands on to the last output */
    const char *out;
    const struct qn_merge_options *options;
    const struct qn_monitor *monitor;
    struct qn_merge_parts parts;
    size_t part; /* that is being read */
    struct qn_part_join join;
    struct qn_attachment_list attachments;
    struct output *outputs;
    size_t n_outputs;                        /* one, or at most one a part */
    size_t output_part;                      /* part for which the last output is */
    json_t *weight_map;                      /* with an index */
    uint64_t done;                           /* bytes of parts */
    uint64_t input_bytes, elements, tensors; /* elements: of the model's own float tensors */
    double begun, ended;                     /* seconds */
};

static struct merge *merge_of(struct qn_sink *s)
{
    return (struct merge *)(void *)s;
}

static struct output *last_output(struct merge *m)
{
    return &m->outputs[m->n_outputs - 1];
}

/* Bytes of OUT that are the stem of its archives' names. */
static int stem_length(const char *out)
{
    static const char *const suffixes[] = {".json", ".qins"};
    size_t n = strlen(out);
    for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes; i++) {
        const size_t length = strlen(suffixes[i]);
        if (n > length && out[n - length - 1] != '/' &&
            memcmp(out + n - length, suffixes[i], length) == 0)
            n -= length;
    }
    return (int)n;
}

static enum qins_status refuse_parts(const struct merge *m, const char *path,
                                     struct qins_error *err)
{
    enum qins_status st = QINS_OK;
    for (size_t i = 0; i < m->parts.n && st == QINS_OK; i++)
        st = qn_refuse_input(&(struct qn_inputs){.file = m->parts.items[i].path}, path, err);
    return st;
}

/* The one archive, or that of the part which is being read. */
static enum qins_status add_output(struct merge *m, struct qins_error *err)
{
    const struct qn_shard shard = {(unsigned)m->part + 1, (unsigned)m->parts.n};
    struct output *o = &m->outputs[m->n_outputs++];
    o->path = m->options->index ? qn_format(err, "%.*s-%05u-of-%05u.qins", stem_length(m->out),
                                            m->out, shard.index, shard.count)
                                : qn_strdup(m->out, err);
    m->output_part = m->part;
    if (!o->path)
        return QINS_ERR_MEMORY;
    enum qins_status st = refuse_parts(m, o->path, err);
    if (st == QINS_OK)
        st = qn_archive_writer_create(&o->writer, o->path, m->parts.items[0].info.source_format,
                                      err);
    if (st == QINS_OK)
        qn_archive_writer_use(o->writer, m->options->threads, m->monitor);
    return st;
}

/* All but the name. */
static enum qins_status seal_last(struct merge *m, struct qins_error *err)
{
    struct output *o = last_output(m);
    const bool first = m->n_outputs == 1;
    return qn_archive_writer_seal(o->writer, first ? &m->attachments : NULL, &o->bytes, &o->hash,
                                  err);
}

static enum qins_status map_tensor(struct merge *m, const char *name, struct qins_error *err)
{
    json_t *file = qn_json_text(qn_path_base(last_output(m)->path));
    if (!file || json_object_get(m->weight_map, name)) {
        json_decref(file);
        return file ? qn_fail_at(err, QINS_ERR_FORMAT, m->parts.items[m->part].path, name,
                                 QN_NO_OFFSET, "two tensors have this name")
                    : qn_fail_memory(err);
    }
    return json_object_set_new(m->weight_map, name, file) == 0 ? QINS_OK : qn_fail_memory(err);
}

static enum qins_status merge_begin(struct qn_sink *s, const struct qn_archive_tensor *t,
                                    struct qins_error *err)
{
    struct merge *m = merge_of(s);
    enum qins_status st = QINS_OK;
    if (m->options->index && m->output_part != m->part) {
        st = seal_last(m, err);
        if (st == QINS_OK)
            st = add_output(m, err);
    }
    if (st == QINS_OK && m->options->index)
        st = map_tensor(m, t->tensor.name, err);
    if (st != QINS_OK)
        return st;
    struct output *o = last_output(m);
    struct qn_sink *to = qn_archive_writer_sink(o->writer);
    o->tensors++;
    m->tensors++;
    m->input_bytes += t->tensor.n_bytes;
    if (qn_dtype_is_float(t->tensor.dtype) && !qn_is_transport_tensor(t->tensor.name))
        m->elements += t->tensor.n_elements;
    return to->begin(to, t, err);
}

static enum qins_status merge_chunk(struct qn_sink *s, const void *payload, size_t size,
                                    const struct qn_digest *leaf, struct qins_error *err)
{
    struct merge *m = merge_of(s);
    struct qn_sink *to = qn_archive_writer_sink(last_output(m)->writer);
    enum qins_status st = qn_check_stop(m->monitor, err);
    if (st == QINS_OK)
        st = to->chunk(to, payload, size, leaf, err);
    m->done += size;
    qn_progress(m->monitor, "merging", qn_min_u64(m->done, m->parts.bytes), m->parts.bytes);
    return st;
}

static enum qins_status merge_end(struct qn_sink *s, struct qins_error *err)
{
    struct qn_sink *to = qn_archive_writer_sink(last_output(merge_of(s))->writer);
    return to->end(to, err);
}

static enum qins_status replay_parts(struct merge *m, struct qins_error *err)
{
    enum qins_status st = add_output(m, err);
    for (m->part = 0; m->part < m->parts.n && st == QINS_OK; m->part++) {
        const struct qn_merge_part *p = &m->parts.items[m->part];
        st = qn_part_replay(p->path, &p->info, &m->join, &m->sink, &m->attachments, err);
        m->done += p->info.part_bytes - qn_min_u64(p->info.part_bytes, m->done);
    }
    if (st == QINS_OK && m->join.open)
        st = qn_fail(err, QINS_ERR_FORMAT, "the last part ends within a tensor");
    if (st == QINS_OK)
        st = qn_check_stop(m->monitor, err);
    return st == QINS_OK ? seal_last(m, err) : st;
}

/* Sums over the outputs, and what each is, with names as in the index. */
static json_t *list_outputs(const struct merge *m, uint64_t *bytes)
{
    json_t *list = json_array();
    *bytes = 0;
    for (size_t i = 0; i < m->n_outputs; i++) {
        const struct output *o = &m->outputs[i];
        json_t *j = json_object();
        qn_json_put(&j, "file", qn_json_text(qn_path_base(o->path)));
        qn_json_put(&j, "bytes", json_integer((json_int_t)o->bytes));
        qn_json_put(&j, "archive_hash", qn_json_digest(&o->hash));
        qn_json_put(&j, "tensors", json_integer((json_int_t)o->tensors));
        qn_json_append(&list, j);
        *bytes += o->bytes;
    }
    return list;
}

/* What OUT is to hold where it is an index. */
static enum qins_status write_index(const struct merge *m, struct qn_output *o,
                                    struct qins_error *err)
{
    uint64_t bytes;
    json_t *archives = list_outputs(m, &bytes), *j = qn_report_begin("qins/index/1");
    qn_json_put(&j, "source_format", json_string(m->parts.items[0].info.source_format));
    qn_json_put(&j, "input_bytes", json_integer((json_int_t)m->input_bytes));
    qn_json_put(&j, "archive_bytes", json_integer((json_int_t)bytes));
    qn_json_put(&j, "archives", archives);
    qn_json_put(&j, "weight_map", json_incref(m->weight_map));
    enum qins_status st = j ? qn_json_write(o, j, err) : qn_fail_memory(err);
    json_decref(j);
    return st;
}

/* Gives the archives and INDEX their names. An index never stands beside archives that are not
 * those which it tells of: the one that is there goes first, and merges of other parts into the
 * same names wait for each other. KEPT has room for all. */
static enum qins_status publish_together(struct merge *m, struct qn_output *index,
                                         struct qn_kept *kept, struct qins_error *err)
{
    int lock = -1;
    enum qins_status st = qn_output_seal(index, err);
    if (st == QINS_OK)
        st = qn_folder_lock(m->out, m->monitor, &lock, err);
    for (size_t i = 0; i < m->n_outputs && st == QINS_OK; i++)
        st = qn_keep(qn_archive_writer_output(m->outputs[i].writer), &kept[i], err);
    if (st == QINS_OK)
        st = qn_keep_away(index, &kept[m->n_outputs], err);
    for (size_t i = 0; i < m->n_outputs && st == QINS_OK; i++)
        st = qn_archive_writer_publish(m->outputs[i].writer, err);
    if (st == QINS_OK)
        st = qn_output_commit(index, err);
    for (size_t i = 0; i <= m->n_outputs; i++)
        if (st == QINS_OK)
            qn_kept_drop(&kept[i]);
        else
            qn_kept_restore(&kept[i]);
    if (lock >= 0)
        close(lock);
    return st;
}

static enum qins_status publish_indexed(struct merge *m, struct qins_error *err)
{
    struct qn_output index = {.fd = -1};
    struct qn_kept *kept = calloc(m->n_outputs + 1, sizeof *kept);
    enum qins_status st = refuse_parts(m, m->out, err);
    if (st == QINS_OK)
        st = qn_output_create(&index, m->out, err);
    if (st == QINS_OK)
        st = write_index(m, &index, err);
    if (st == QINS_OK)
        st = kept ? publish_together(m, &index, kept, err) : qn_fail_memory(err);
    qn_output_abandon(&index);
    free(kept);
    return st;
}

/* All outputs are whole: they get their names, the index last. */
static enum qins_status publish(struct merge *m, struct qins_error *err)
{
    return m->options->index ? publish_indexed(m, err)
                             : qn_archive_writer_publish(m->outputs[0].writer, err);
}

static enum qins_status make_report(const struct merge *m, json_t **report, struct qins_error *err)
{
    const double seconds = m->ended - m->begun;
    uint64_t bytes;
    json_t *archives = list_outputs(m, &bytes), *j = qn_report_begin("qins/merge/1");
    qn_json_put(&j, "output", qn_json_text(m->out));
    qn_json_put(&j, "index", json_boolean(m->options->index));
    qn_json_put(&j, "parts", json_integer((json_int_t)m->parts.n));
    qn_json_put(&j, "source_format", json_string(m->parts.items[0].info.source_format));
    qn_json_put(&j, "tensors", json_integer((json_int_t)m->tensors));
    qn_json_put(&j, "input_bytes", json_integer((json_int_t)m->input_bytes));
    qn_json_put(&j, "archive_bytes", json_integer((json_int_t)bytes));
    qn_json_put(&j, "archive_hash",
                m->options->index ? json_null() : qn_json_digest(&m->outputs[0].hash));
    qn_json_put(&j, "bits_per_weight",
                qn_json_real(m->elements ? 8.0 * (double)bytes / (double)m->elements : NAN));
    qn_json_put(&j, "archives", archives);
    qn_json_put(&j, "seconds", qn_json_real(seconds));
    qn_json_put(&j, "mb_per_s", qn_json_real(1e-6 * (double)m->parts.bytes / seconds));
    *report = j;
    return j ? QINS_OK : qn_fail_memory(err);
}

static void finish(struct merge *m)
{
    for (size_t i = 0; m->outputs && i < m->n_outputs; i++) {
        qn_archive_writer_destroy(m->outputs[i].writer);
        free(m->outputs[i].path);
    }
    free(m->outputs);
    json_decref(m->weight_map);
    qn_attachment_list_finish(&m->attachments);
    qn_part_join_finish(&m->join);
    qn_merge_parts_close(&m->parts);
}

/* With room for the outputs. */
static enum qins_status run(struct merge *m, json_t **report, struct qins_error *err)
{
    enum qins_status st = replay_parts(m, err);
    if (st == QINS_OK)
        st = publish(m, err);
    m->ended = qn_seconds();
    return st == QINS_OK && report ? make_report(m, report, err) : st;
}

enum qins_status qn_merge(const char *const *parts, size_t n_parts, const char *out,
                          const struct qn_merge_options *options, const struct qn_monitor *monitor,
                          json_t **report, struct qins_error *err)
{
    struct merge m = {.sink = {merge_begin, merge_chunk, merge_end},
                      .out = out,
                      .options = options,
                      .monitor = monitor,
                      .begun = qn_seconds()};
    enum qins_status st = qn_merge_parts_open(&m.parts, parts, n_parts, err);
    if (st == QINS_OK) {
        m.outputs = calloc(options->index ? m.parts.n : 1, sizeof *m.outputs);
        m.weight_map = json_object();
        st = m.outputs && m.weight_map ? run(&m, report, err) : qn_fail_memory(err);
    }
    finish(&m);
    return st;
}
