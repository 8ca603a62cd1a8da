#include "convert/convert.h"

#include "convert/conversion.h"
#include "convert/report.h"
#include "convert/sources.h"
#include "core/bytes.h"
#include "core/file.h"
#include "formats/archive/reader.h"
#include "formats/transport_archive.h"
#include "model/weights.h"

#include <stdlib.h>
#include <string.h>

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

static enum qins_status open_sink(struct qn_conversion *c, struct qins_error *err)
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

/* All of the source has been read: was it one and the same thing all the while? */
enum qins_status qn_conversion_check_unchanged(struct qn_conversion *c, struct qins_error *err)
{
    return qn_checkpoint_check_unchanged(c->source, &c->source_changed, err);
}

static enum qins_status assemble(struct qn_conversion *c, struct qins_error *err)
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
        st = qn_conversion_check_unchanged(c, err);
    if (st == QINS_OK) {
        qn_archive_writer_use(c->writer, c->options->threads, c->monitor);
        st = qn_archive_writer_commit(c->writer, &c->source->attachments, NULL, err);
    }
    return st;
}

/* A plan that was edited may take more than it was made for; it is carried out all the same. */
static void compare_with_target(const struct qn_conversion *c, json_t **j)
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

static enum qins_status make_report(const struct qn_conversion *c, json_t **report,
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

static enum qins_status run(struct qn_conversion *c, json_t **report, struct qins_error *err)
{
    enum qins_status st = open_sink(c, err);
    if (st != QINS_OK)
        return st;
    struct qn_sink *sink = c->spool ? qn_spool_sink(c->spool) : qn_archive_writer_sink(c->writer);
    c->begun = qn_seconds();
    st = qn_conversion_encode(c, sink, err);
    c->encoded = qn_seconds();
    if (st == QINS_OK)
        st = assemble(c, err);
    c->ended = qn_seconds();
    if (st == QINS_ERR_INTERRUPTED && c->spool && !c->source_changed)
        st = qn_fail(err, st, "interrupted; go on with the same command");
    qn_encoder_finish(&c->encoder);
    qn_archive_writer_destroy(c->writer);
    qn_spool_destroy(c->spool, st == QINS_OK || c->source_changed); /* of no use then */
    return st == QINS_OK && report ? make_report(c, report, err) : st;
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
static enum qins_status load_transport(struct qn_conversion *c, struct qins_error *err)
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
    struct qn_conversion c = {.path = path, .out = out, .options = options, .monitor = monitor};
    bool is_archive = false;
    enum qins_status st = qn_plan_options_check(&options->plan, err);
    if (st == QINS_OK)
        st = qn_path_is_archive(path, &is_archive, err);
    if (st == QINS_OK && is_archive)
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
        st = qn_shard_cut(&c.source->tensors, &options->shard, &c.range, err);
    if (st == QINS_OK)
        st = options->shard.count ? qn_conversion_run_part(&c, report, err) : run(&c, report, err);
    qn_lines_close(&c.lines);
    qn_checkpoint_destroy(c.source);
    qn_transport_finish(&c.transport);
    return st;
}
