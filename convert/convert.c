#include "convert/convert.h"

#include "convert/batch.h"
#include "convert/lines.h"
#include "convert/report.h"
#include "convert/sources.h"
#include "core/bytes.h"
#include "core/file.h"
#include "formats/archive/reader.h"
#include "formats/archive/spool.h"
#include "formats/archive/writer.h"
#include "formats/transport_archive.h"
#include "model/weights.h"

#include <stdlib.h>
#include <string.h>

enum {
    BATCH_TENSORS = 512,    /* descriptions held at a time, about 1 KiB each */
    BATCH_BYTES = 64 << 20, /* of source: what should still be cached at the second look */
    BATCH_BLOCKS = 8192,    /* about as large as tensors */
};

struct conversion {
    const char *path, *out;
    const struct qn_convert_options *options;
    const struct qn_monitor *monitor;
    struct qn_checkpoint *source;
    struct qn_transport transport;  /* that it carries; without layers where there is none */
    struct qn_digest source_digest; /* when it was opened */
    bool source_changed;
    struct qn_lines lines;
    struct qn_archive_writer *writer;
    struct qn_spool *spool;
    struct qn_spool_state state; /* how far an earlier run got */
    struct qn_encoder encoder;
    double begun, encoded, ended; /* seconds */
};

static void add_options(struct qn_hasher *h, const struct qn_plan_options *p)
{
    char text[160];
    snprintf(text, sizeof text, "%s %d %u %d %d %d %llu %a %a %d", qins_version(), p->lossless,
             p->bits, (int)p->codec, p->group_given, (int)p->group_kind,
             (unsigned long long)p->group, (double)p->kappa, (double)p->clip, (int)p->grid);
    qn_hasher_add(h, text, strlen(text));
}

enum qins_status qn_convert_digest(const struct qn_checkpoint *ck,
                                   const struct qn_convert_options *options, struct qn_digest *out,
                                   struct qins_error *err)
{
    struct qn_digest source;
    struct qn_hasher *h = qn_hasher_create();
    if (!h)
        return qn_fail_memory(err);
    enum qins_status st = qn_source_digest(ck, &source, err);
    if (st == QINS_OK) {
        qn_hasher_add(h, source.bytes, sizeof source.bytes);
        add_options(h, &options->plan);
        st = qn_lines_digest(h, options, err);
    }
    if (st == QINS_OK)
        *out = qn_hasher_digest(h);
    qn_hasher_destroy(h);
    return st;
}

static enum qins_status open_sink(struct conversion *c, struct qins_error *err)
{
    struct qn_inputs inputs = {.checkpoint = c->source};
    char *part = qn_format(err, "%s.part", c->out);
    struct qn_digest job;
    enum qins_status st = part ? QINS_OK : QINS_ERR_MEMORY;
    if (st == QINS_OK && c->options->resume) {
        st = qn_refuse_input(&inputs, part, err);
        if (st == QINS_OK)
            st = qn_convert_digest(c->source, c->options, &job, err);
        if (st == QINS_OK)
            st = qn_spool_open(&c->spool, part, &job, true, c->monitor, &c->state, err);
    } else if (st == QINS_OK) {
        if (qn_exists(part))
            qn_notice(c->monitor, "%s is left of an earlier run; --resume would continue it", part);
        st = qn_archive_writer_create(&c->writer, c->out, c->source->ops->format, err);
    }
    free(part);
    return st;
}

/* The unit for tensor INDEX, planned, and its bytes if it has no more than one element. */
static enum qins_status init_unit(struct conversion *c, size_t index, struct qn_unit *u,
                                  struct qins_error *err)
{
    const struct qn_tensor *t = &c->source->tensors.items[index];
    *u = (struct qn_unit){.index = index, .t = {.tensor = *t}};
    qn_layout_init(&u->t.layout, t->rank, t->shape);
    enum qins_status st = qn_lines_get(&c->lines, index, &u->t, err);
    if (st == QINS_OK && t->rank == 0)
        return qn_checkpoint_read(c->source, index, 0, u->t.inline_data, (size_t)t->n_bytes, err);
    return st;
}

/* The first unit of a resumed run goes on as its record says. */
static enum qins_status adopt_open_tensor(struct conversion *c, struct qn_unit *u,
                                          struct qins_error *err)
{
    const struct qn_archive_tensor *open = &c->state.open_tensor;
    if (strcmp(open->tensor.name, u->t.tensor.name) != 0 ||
        open->tensor.dtype != u->t.tensor.dtype || open->layout.n_chunks != u->t.layout.n_chunks ||
        c->state.chunks_done > open->layout.n_chunks)
        return qn_fail_at(err, QINS_ERR_FORMAT, c->out, u->t.tensor.name, QN_NO_OFFSET,
                          "the .part file does not fit the source; remove it");
    struct qn_archive_tensor own;
    enum qins_status st = qn_archive_tensor_copy(&own, open, err);
    if (st != QINS_OK)
        return st;
    free(own.tensor.name);
    own.tensor.name = u->t.tensor.name;
    free(u->t.blocks);
    u->t = own;
    u->chunks_done = c->state.chunks_done;
    u->settled = u->begun = true;
    uint64_t first = u->t.tensor.n_elements, count;
    if (u->chunks_done < u->t.layout.n_chunks)
        qn_layout_chunk(&u->t.layout, u->chunks_done, &first, &count);
    c->encoder.done += first * qins_dtype_size(u->t.tensor.dtype);
    return QINS_OK;
}

static void skip_done(struct conversion *c)
{
    const struct qn_tensor_list *list = &c->source->tensors;
    for (size_t i = 0; i < c->state.tensors_done && i < list->count; i++)
        c->encoder.done += list->items[i].n_bytes;
}

/* A batch and its units. */
struct load {
    struct qn_batch batch;
    struct qn_unit *units; /* room for BATCH_TENSORS */
    size_t n;
};

/* Units from tensor *NEXT on, as many as make a batch. */
static enum qins_status fill_load(struct conversion *c, size_t *next, bool *open, struct load *l,
                                  struct qins_error *err)
{
    size_t count = c->source->tensors.count, blocks = 0;
    uint64_t bytes = 0;
    enum qins_status st = QINS_OK;
    while (st == QINS_OK && l->n < BATCH_TENSORS && *next < count && bytes < BATCH_BYTES &&
           blocks < BATCH_BLOCKS) {
        struct qn_unit *u = &l->units[l->n];
        bytes += c->source->tensors.items[*next].n_bytes;
        st = init_unit(c, *next, u, err);
        ++l->n;
        ++*next;
        if (st == QINS_OK && *open)
            st = adopt_open_tensor(c, u, err);
        *open = false;
        blocks += u->t.n_blocks;
    }
    return st == QINS_OK ? qn_batch_init(&l->batch, l->units, l->n, err) : st;
}

static void empty_load(struct load *l)
{
    qn_batch_finish(&l->batch);
    for (size_t i = 0; i < l->n; i++)
        free(l->units[i].t.blocks);
    l->n = 0;
}

static struct qn_batch *batch_of(struct load *l)
{
    return l->n ? &l->batch : NULL;
}

/* Each load passes through three flights: load K is in the places K, K + 1 and K + 2 of LOADS. */
static enum qins_status encode_loads(struct conversion *c, struct load loads[3], size_t next,
                                     struct qins_error *err)
{
    const size_t count = c->source->tensors.count;
    bool open = c->state.tensor_open;
    enum qins_status st = QINS_OK;
    for (size_t k = 0; st == QINS_OK; k++) {
        struct load *first = &loads[k % 3], *second = &loads[(k + 2) % 3],
                    *third = &loads[(k + 1) % 3];
        if (next < count)
            st = fill_load(c, &next, &open, first, err);
        if (first->n + second->n + third->n == 0)
            break;
        if (st == QINS_OK)
            st = qn_encode_flight(&c->encoder, batch_of(third), batch_of(second), batch_of(first),
                                  err);
        empty_load(third);
    }
    return st;
}

static enum qins_status encode_all(struct conversion *c, struct qins_error *err)
{
    struct load loads[3] = {{.n = 0}};
    struct qn_unit *units = malloc((size_t)3 * BATCH_TENSORS * sizeof *units);
    if (!units)
        return qn_fail_memory(err);
    for (size_t i = 0; i < 3; i++)
        loads[i].units = units + i * BATCH_TENSORS;
    enum qins_status st = QINS_OK;
    if (c->state.tensors_done > c->source->tensors.count)
        st = qn_fail_at(err, QINS_ERR_FORMAT, c->out, NULL, QN_NO_OFFSET,
                        "the .part file holds more tensors than the source; remove it");
    skip_done(c);
    if (st == QINS_OK)
        st = encode_loads(c, loads, c->state.tensors_done, err);
    for (size_t i = 0; i < 3; i++)
        empty_load(&loads[i]);
    free(units);
    return st;
}

/* All of the source has been read: was it one and the same thing all the while? */
static enum qins_status check_unchanged(struct conversion *c, struct qins_error *err)
{
    struct qn_digest now;
    enum qins_status st = qn_source_digest(c->source, &now, err);
    if (st != QINS_OK)
        return st;
    c->source_changed = memcmp(now.bytes, c->source_digest.bytes, sizeof now.bytes) != 0;
    if (c->source_changed)
        return qn_fail_at(err, QINS_ERR_IO, c->path, NULL, QN_NO_OFFSET,
                          "the source changed while it was read");
    return QINS_OK;
}

static enum qins_status assemble(struct conversion *c, struct qins_error *err)
{
    enum qins_status st = QINS_OK;
    if (c->spool) {
        st = qn_archive_writer_create(&c->writer, c->out, c->source->ops->format, err);
        if (st == QINS_OK)
            st = qn_spool_replay(c->spool, qn_archive_writer_sink(c->writer), err);
    }
    if (st == QINS_OK)
        st = qn_check_stop(c->monitor, err);
    if (st == QINS_OK)
        st = check_unchanged(c, err);
    if (st == QINS_OK) {
        qn_archive_writer_use(c->writer, c->options->threads, c->monitor);
        st = qn_archive_writer_commit(c->writer, &c->source->attachments, NULL, err);
    }
    return st;
}

static enum qins_status run(struct conversion *c, struct qins_error *err)
{
    enum qins_status st = open_sink(c, err);
    if (st != QINS_OK)
        return st;
    struct qn_sink *sink = c->spool ? qn_spool_sink(c->spool) : qn_archive_writer_sink(c->writer);
    st = qn_encoder_init(&c->encoder, c->source, sink, c->monitor, c->options->threads, err);
    c->encoder.feedback = c->lines.feedback;
    c->begun = qn_seconds();
    if (st == QINS_OK)
        st = encode_all(c, err);
    c->encoded = qn_seconds();
    if (st == QINS_OK)
        st = assemble(c, err);
    c->ended = qn_seconds();
    if (st == QINS_ERR_INTERRUPTED && c->spool && !c->source_changed)
        st = qn_fail(err, st, "interrupted; go on with the same command");
    qn_encoder_finish(&c->encoder);
    qn_archive_writer_destroy(c->writer);
    qn_spool_destroy(c->spool, st == QINS_OK || c->source_changed); /* of no use then */
    return st;
}

/* A plan that was edited may take more than it was made for; it is carried out all the same. */
static void compare_with_target(const struct conversion *c, json_t **j)
{
    const json_t *budget = json_object_get(c->lines.plan.summary, "budget");
    const json_t *size = json_object_get(budget, "target_size_bytes");
    const double target = json_number_value(size);
    const double bytes = json_number_value(json_object_get(*j, "archive_bytes"));
    const double weights = json_number_value(json_object_get(*j, "float_elements"));
    if (!json_is_number(size))
        return;
    qn_json_put(j, "plan_target_bytes", qn_json_real(target));
    if (bytes > target && weights > 0.0)
        qn_notice(c->monitor,
                  "the archive takes %.0f bytes (%.3f bits a weight), over the plan's target of "
                  "%.0f (%.3f)",
                  bytes, 8.0 * bytes / weights, target, 8.0 * target / weights);
}

static enum qins_status make_report(const struct conversion *c, json_t **report,
                                    struct qins_error *err)
{
    struct qn_archive *a = NULL;
    enum qins_status st = qn_archive_open(&a, c->out, err);
    if (st != QINS_OK)
        return st;
    double seconds = c->ended - c->begun;
    uint64_t input = 0;
    json_t *j = qn_archive_report(a, "qins/convert/1");
    for (size_t i = 0; i < c->source->tensors.count; i++)
        input += c->source->tensors.items[i].n_bytes;
    qn_put_archive_hash(&j, a);
    qn_json_put(&j, "input", qn_json_text(c->path));
    qn_json_put(&j, "output", qn_json_text(c->out));
    qn_json_put(&j, "threads", json_integer(c->options->threads));
    qn_json_put(&j, "seconds", qn_json_real(seconds));
    qn_json_put(&j, "commit_seconds", qn_json_real(c->ended - c->encoded));
    qn_json_put(&j, "mb_per_s", qn_json_real(1e-6 * (double)input / seconds));
    compare_with_target(c, &j);
    qn_archive_destroy(a);
    *report = j;
    return j ? QINS_OK : qn_fail_memory(err);
}

/* The output may be neither plan nor calibration; nor transport, which is among the source's files.
 */
static enum qins_status refuse_options(const struct qn_convert_options *options, const char *out,
                                       struct qins_error *err)
{
    enum qins_status st =
        qn_refuse_input(&(struct qn_inputs){.file = options->plan_file}, out, err);
    if (st == QINS_OK)
        st = qn_refuse_input(&(struct qn_inputs){.file = options->calibration}, out, err);
    return st;
}

/* The source carries the transport from now on, if it is this model's. */
static enum qins_status load_transport(struct conversion *c, struct qins_error *err)
{
    const char *file = c->options->transport;
    struct qn_digest model;
    enum qins_status st = qn_transport_read(&c->transport, file, c->monitor, err);
    if (st == QINS_OK)
        st = qn_model_fingerprint(c->path, c->options->threads, c->monitor, &model, err);
    if (st == QINS_OK && memcmp(&c->transport.model, &model, sizeof model) != 0)
        st = qn_fail_at(err, QINS_ERR_UNSUPPORTED, file, NULL, QN_NO_OFFSET,
                        "it was made for another model than %s: fingerprints differ", c->path);
    if (st == QINS_OK)
        st = qn_transport_carry(&c->source, &c->transport, file, err);
    return st;
}

enum qins_status qn_convert(const char *path, const char *out,
                            const struct qn_convert_options *options,
                            const struct qn_monitor *monitor, json_t **report,
                            struct qins_error *err)
{
    struct conversion c = {.path = path, .out = out, .options = options, .monitor = monitor};
    enum qins_status st = qn_plan_options_check(&options->plan, err);
    if (st == QINS_OK && qn_path_is_archive(path))
        st = qn_fail_at(err, QINS_ERR_UNSUPPORTED, path, NULL, QN_NO_OFFSET,
                        "is an archive already; restore it first to convert it anew");
    if (st == QINS_OK)
        st = qn_checkpoint_open(&c.source, path, monitor, err);
    if (st == QINS_OK)
        st = qn_check_types(c.source, err);
    if (st == QINS_OK && options->transport)
        st = load_transport(&c, err);
    struct qn_inputs inputs = {.checkpoint = c.source};
    if (st == QINS_OK)
        st = qn_refuse_input(&inputs, out, err);
    if (st == QINS_OK)
        st = qn_source_digest(c.source, &c.source_digest, err);
    if (st == QINS_OK)
        st = refuse_options(options, out, err);
    if (st == QINS_OK)
        st = qn_lines_open(&c.lines, path, c.source, options->transport ? &c.transport : NULL,
                           options, monitor, err);
    if (st == QINS_OK)
        st = run(&c, err);
    if (st == QINS_OK && report)
        st = make_report(&c, report, err);
    qn_lines_close(&c.lines);
    qn_checkpoint_destroy(c.source);
    qn_transport_finish(&c.transport);
    return st;
}
