#include "convert/conversion.h"
#include "convert/sources.h"
#include "core/bytes.h"
#include "core/file.h"
#include "core/folder.h"

#include <math.h>
#include <stdlib.h>

/* A part, and where it stands. */
struct part_run {
    struct qn_conversion *c;
    struct qn_part_info info; /* its texts are others' */
    char *path, *work;        /* finished, and while it is made */
    bool there;               /* it was finished before */
    uint64_t resumed_chunks;  /* by earlier runs */
};

static enum qins_status init_part(struct part_run *p, struct qins_error *err)
{
    struct qn_conversion *c = p->c;
    const struct qn_shard *shard = &c->options->shard;
    const struct qn_inputs inputs = {.checkpoint = c->source};
    p->info = (struct qn_part_info){
        .shard = *shard,
        .source_digest = c->source_digest,
        .range = c->range,
        .attachments = shard->index == 1 ? c->source->attachments.count : 0,
        .source = (char *)(uintptr_t)c->path,
        .source_format = (char *)(uintptr_t)c->source->ops->format,
        .output = (char *)(uintptr_t)c->out,
        .version = (char *)(uintptr_t)qins_version(),
    };
    enum qins_status st = qn_convert_digest(c->source, c->options, &p->info.job, err);
    if (st != QINS_OK)
        return st;
    p->path = qn_shard_path(c->out, shard, err);
    p->work = p->path ? qn_format(err, "%s.part", p->path) : NULL;
    if (!p->work)
        return QINS_ERR_MEMORY;
    st = qn_refuse_input(&inputs, p->path, err);
    return st == QINS_OK ? qn_refuse_input(&inputs, p->work, err) : st;
}

/* Sets p->there. What stands under the part's name is never written over. */
static enum qins_status look_for_part(struct part_run *p, struct qins_error *err)
{
    struct qn_part_info found = {.complete = false};
    struct stat info;
    enum qins_status st = qn_look_at(p->path, &info, &p->there, err);
    if (!p->there)
        return st;
    st = qn_part_read_info(p->path, false, &found, err);
    if (st == QINS_ERR_FORMAT)
        return qn_fail_at(err, QINS_ERR_USAGE, p->path, NULL, QN_NO_OFFSET,
                          "is in the way of the part and is none, or a damaged one: move or remove "
                          "it");
    if (st == QINS_OK && !qn_part_same(&found, &p->info))
        st = qn_fail_at(err, QINS_ERR_USAGE, p->path, NULL, QN_NO_OFFSET,
                        "is a part of another conversion: its source or options differ; move or "
                        "remove it");
    else if (st == QINS_OK && !found.complete)
        st = qn_fail_at(err, QINS_ERR_USAGE, p->path, NULL, QN_NO_OFFSET,
                        "is not complete: it was cut short; remove it to make it anew");
    if (st == QINS_OK) {
        qn_notice(p->c->monitor, "%s is there already", p->path);
        p->info.tensors_done = found.tensors_done;
        p->info.part_bytes = found.part_bytes;
    }
    qn_part_info_finish(&found);
    return st;
}

/* Chunks of the range that the spool holds. */
static uint64_t chunks_there(const struct qn_conversion *c)
{
    uint64_t n = 0;
    for (size_t i = 0; i < c->state.tensors_done + c->state.tensor_open; i++) {
        const struct qn_tensor *t = &c->source->tensors.items[c->range.begin.tensor + i];
        struct qn_layout l;
        qn_layout_init(&l, t->rank, t->shape);
        const bool open = i == c->state.tensors_done;
        const bool last = c->range.begin.tensor + i == c->range.end.tensor;
        n += open ? c->state.chunks_done : last ? c->range.end.chunk : l.n_chunks;
    }
    return n - (n ? c->range.begin.chunk : 0);
}

static enum qins_status make_part(struct part_run *p, struct qins_error *err)
{
    struct qn_conversion *c = p->c;
    enum qins_status st =
        qn_spool_open_part(&c->spool, p->work, &p->info, c->monitor, &c->state, err);
    if (st != QINS_OK)
        return st;
    st = look_for_part(p,
                       err); /* another process may have finished it before this one got the lock */
    if (st == QINS_OK && !p->there) {
        p->resumed_chunks = chunks_there(c);
        st = qn_spool_attach(c->spool, &c->source->attachments, err);
        if (st == QINS_OK)
            st = qn_conversion_encode(c, qn_spool_sink(c->spool), err);
        if (st == QINS_OK)
            st = qn_check_stop(c->monitor, err);
        if (st == QINS_OK)
            st = qn_conversion_check_unchanged(c, err);
        if (st == QINS_OK)
            st = qn_spool_complete(c->spool, p->path, err);
        if (st == QINS_ERR_INTERRUPTED && !c->source_changed)
            st = qn_fail(err, st, "interrupted; go on with the same command");
        qn_encoder_finish(&c->encoder);
    }
    qn_spool_destroy(c->spool, p->there || c->source_changed);
    c->spool = NULL;
    return st;
}

static enum qins_status report_part(struct part_run *p, json_t **report, struct qins_error *err)
{
    const struct qn_conversion *c = p->c;
    const double seconds = c->ended - c->begun;
    struct qn_part_info made = {.complete = false};
    enum qins_status st = qn_part_read_info(p->path, false, &made, err);
    if (st != QINS_OK)
        return st;
    json_t *j = qn_report_begin("qins/convert-part/1");
    qn_json_put(&j, "input", qn_json_text(c->path));
    qn_json_put(&j, "output", qn_json_text(c->out));
    qn_json_put(&j, "part_path", qn_json_text(p->path));
    qn_json_put(&j, "part", json_integer(p->info.shard.index));
    qn_json_put(&j, "parts", json_integer(p->info.shard.count));
    qn_json_put(&j, "was_there", json_boolean(p->there));
    qn_json_put(&j, "input_bytes", json_integer((json_int_t)c->range.input_bytes));
    qn_json_put(&j, "part_bytes", json_integer((json_int_t)made.part_bytes));
    qn_json_put(&j, "tensors", json_integer((json_int_t)made.tensors_done));
    qn_json_put(&j, "chunks", json_integer((json_int_t)qn_part_chunks(&made)));
    qn_json_put(&j, "resumed_chunks", json_integer((json_int_t)p->resumed_chunks));
    qn_json_put(&j, "threads", json_integer(c->options->threads));
    qn_json_put(&j, "seconds", qn_json_real(seconds));
    qn_json_put(&j, "mb_per_s",
                qn_json_real(p->there ? NAN : 1e-6 * (double)c->range.input_bytes / seconds));
    qn_part_info_finish(&made);
    *report = j;
    return j ? QINS_OK : qn_fail_memory(err);
}

enum qins_status qn_conversion_run_part(struct qn_conversion *c, json_t **report,
                                        struct qins_error *err)
{
    struct part_run p = {.c = c};
    c->begun = qn_seconds();
    enum qins_status st = init_part(&p, err);
    if (st == QINS_OK)
        st = look_for_part(&p, err);
    if (st == QINS_OK && !p.there)
        st = make_part(&p, err);
    c->ended = qn_seconds();
    if (st == QINS_OK && report)
        st = report_part(&p, report, err);
    free(p.path);
    free(p.work);
    return st;
}
