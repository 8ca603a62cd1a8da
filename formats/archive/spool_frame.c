#include "formats/archive/spool_frame.h"

#include "core/bytes.h"
#include "formats/limits.h"

#include <stdlib.h>

/* Offsets in a frame, in bytes (core/work_file.h). */
enum { FRAME_TYPE = 4, FRAME_BODY_SIZE = 8, FRAME_NOTE = 16, FRAME_HASH = 40 };

static const struct qn_work_frame frame_format = {
    {'Q', 'F', 'R', 'M'}, QN_SPOOL_FRAME_SIZE, FRAME_BODY_SIZE, "the spool"};

struct qn_work_head qn_spool_head(uint32_t version, const struct qn_digest *job)
{
    static const char magic[QN_WORK_MAGIC_SIZE] = "QINSPRT";
    return qn_work_head(magic, version, job);
}

enum qins_status qn_spool_frame_append(struct qn_file *file, struct qn_spool_frame *f,
                                       const void *body, struct qins_error *err)
{
    uint8_t head[QN_SPOOL_FRAME_SIZE] = {0};
    qn_store32(head + FRAME_TYPE, (uint32_t)f->type);
    memcpy(head + FRAME_NOTE, f->note.leaf.bytes, sizeof f->note.leaf.bytes);
    enum qins_status st = qn_work_file_append(file, &frame_format, head, body, f->size, err);
    f->hash = qn_load64(head + FRAME_HASH);
    return st;
}

static void take_head(const uint8_t *head, struct qn_spool_frame *f)
{
    f->type = (enum qn_spool_frame_type)qn_load32(head + FRAME_TYPE);
    memcpy(f->note.leaf.bytes, head + FRAME_NOTE, sizeof f->note.leaf.bytes);
    f->size = (size_t)qn_load64(head + FRAME_BODY_SIZE);
    f->hash = qn_load64(head + FRAME_HASH);
}

enum qins_status qn_spool_frame_read(const struct qn_file *file, uint64_t at,
                                     struct qn_spool_frame *f, struct qn_buf *body,
                                     struct qins_error *err)
{
    uint8_t head[QN_SPOOL_FRAME_SIZE];
    enum qins_status st = qn_work_file_read(file, &frame_format, at, head, body, err);
    if (st == QINS_OK)
        take_head(head, f);
    return st;
}

enum qins_status qn_spool_frame_read_head(const struct qn_file *file, uint64_t at,
                                          struct qn_spool_frame *f, struct qins_error *err)
{
    uint8_t head[QN_SPOOL_FRAME_SIZE];
    uint64_t size = 0;
    enum qins_status st = qn_work_file_read_head(file, &frame_format, at, head, &size, err);
    if (st == QINS_OK)
        take_head(head, f);
    return st;
}

static enum qins_status out_of_order(struct qins_error *err)
{
    return qn_fail(err, QINS_ERR_FORMAT, "a frame of the spool is out of order");
}

/* The number of the next tensor, or of the open one, in the model. */
static uint64_t tensor_index(const struct qn_spool_track *k)
{
    return (k->part ? k->part->range.begin.tensor : 0) + k->state.tensors_done;
}

static bool is_cut(const struct qn_spool_track *k)
{
    return k->part && k->part->range.end.chunk && tensor_index(k) == k->part->range.end.tensor;
}

uint64_t qn_spool_track_first_chunk(const struct qn_spool_track *k)
{
    return k->part && k->state.tensors_done == 0 ? k->part->range.begin.chunk : 0;
}

enum qn_spool_frame_type qn_spool_track_end_type(const struct qn_spool_track *k)
{
    return is_cut(k) ? QN_FRAME_CUT : QN_FRAME_END;
}

/* Behind the open tensor's last chunk of the range. */
static uint64_t end_chunk(const struct qn_spool_track *k)
{
    return is_cut(k) ? k->part->range.end.chunk : k->state.open_tensor.layout.n_chunks;
}

/* Whether all tensors of the range are done; false without a part, which has no such range. */
static bool at_end(const struct qn_spool_track *k)
{
    if (!k->part || k->state.tensor_open)
        return false;
    const struct qn_part_place *begin = &k->part->range.begin, *end = &k->part->range.end;
    bool empty = begin->tensor == end->tensor && begin->chunk == end->chunk;
    return empty || tensor_index(k) == end->tensor + (end->chunk > 0);
}

enum qins_status qn_spool_track_begin(struct qn_spool_track *k, const struct qn_archive_tensor *t,
                                      uint64_t first_chunk, struct qins_error *err)
{
    const uint64_t n = t->layout.n_chunks;
    if (k->state.tensor_open || k->complete || at_end(k) ||
        (k->part && k->attachments != k->part->attachments) ||
        first_chunk != qn_spool_track_first_chunk(k) || (first_chunk && first_chunk >= n) ||
        (is_cut(k) && (k->part->range.end.chunk >= n || k->part->range.end.chunk <= first_chunk)))
        return out_of_order(err);
    k->state.tensor_open = true;
    k->state.chunks_done = first_chunk;
    k->state.open_tensor = *t;
    return QINS_OK;
}

enum qins_status qn_spool_track_chunk(struct qn_spool_track *k, size_t size, struct qins_error *err)
{
    if (!k->state.tensor_open || k->state.chunks_done == end_chunk(k) ||
        size < QN_CHUNK_HEADER_SIZE)
        return out_of_order(err);
    k->state.chunks_done++;
    k->chunks++;
    k->payload_bytes += size;
    return QINS_OK;
}

void qn_spool_track_finish(struct qn_spool_track *k)
{
    qn_archive_tensor_finish(&k->state.open_tensor);
    k->state.open_tensor = (struct qn_archive_tensor){0};
    k->state.tensor_open = false;
    k->state.chunks_done = 0;
}

enum qins_status qn_spool_track_end(struct qn_spool_track *k, enum qn_spool_frame_type type,
                                    struct qins_error *err)
{
    if (!k->state.tensor_open || k->state.chunks_done != end_chunk(k) ||
        type != qn_spool_track_end_type(k))
        return out_of_order(err);
    qn_spool_track_finish(k);
    k->state.tensors_done++;
    return QINS_OK;
}

enum qins_status qn_spool_track_attachment(struct qn_spool_track *k, struct qins_error *err)
{
    if (!k->part || k->state.tensor_open || k->state.tensors_done || k->complete ||
        k->attachments == k->part->attachments)
        return out_of_order(err);
    k->attachments++;
    return QINS_OK;
}

enum qins_status qn_spool_track_complete(struct qn_spool_track *k, uint8_t body[QN_COMPLETE_SIZE],
                                         struct qins_error *err)
{
    if (!at_end(k) || k->complete || k->attachments != k->part->attachments ||
        k->chunks != qn_part_chunks(k->part))
        return out_of_order(err);
    qn_store64(body, k->state.tensors_done);
    qn_store64(body + 8, k->chunks);
    qn_store64(body + 16, k->payload_bytes);
    qn_store64(body + 24, k->chain);
    k->complete = true;
    return QINS_OK;
}

void qn_spool_track_link(struct qn_spool_track *k, const struct qn_spool_frame *f)
{
    uint64_t both[2] = {k->chain, f->hash};
    k->chain = qn_hash64(both, sizeof both);
}

/* The tensor that the part before began, or a new one? */
static enum qins_status hand_on_begin(const struct qn_spool_track *k, const struct qn_buf *body,
                                      uint64_t first_chunk, const struct qn_spool_target *target,
                                      struct qins_error *err)
{
    struct qn_part_join *join = target->join;
    enum qins_status st = QINS_OK;
    if ((first_chunk != 0) != (join && join->open))
        return out_of_order(err);
    if (first_chunk) {
        if (join->description.size == body->size &&
            memcmp(join->description.data, body->data, body->size) == 0)
            return QINS_OK;
        return qn_fail_at(err, QINS_ERR_FORMAT, NULL, k->state.open_tensor.tensor.name,
                          QN_NO_OFFSET, "it is not coded as the part before says");
    }
    if (join) {
        join->description.size = 0;
        st = qn_buf_append(&join->description, body->data, body->size, err);
        join->open = true;
    }
    return st == QINS_OK && target->to ? target->to->begin(target->to, &k->state.open_tensor, err)
                                       : st;
}

static enum qins_status apply_begin(struct qn_spool_track *k, const struct qn_spool_frame *f,
                                    const struct qn_buf *body, const struct qn_spool_target *target,
                                    struct qins_error *err)
{
    struct qn_archive_tensor t;
    if (body->size > QN_MAX_DESCRIPTION)
        return qn_fail(err, QINS_ERR_FORMAT, "a tensor's description is too long");
    json_t *j = qn_json_parse(body->data, body->size, 0, err);
    if (!j)
        return err ? err->status : QINS_ERR_FORMAT;
    enum qins_status st = qn_archive_tensor_from_json(j, &t, err);
    json_decref(j);
    if (st != QINS_OK)
        return st;
    st = qn_spool_track_begin(k, &t, f->note.number, err);
    if (st != QINS_OK)
        qn_archive_tensor_finish(&t);
    else if (target->to || target->join)
        st = hand_on_begin(k, body, f->note.number, target, err);
    return st;
}

static enum qins_status apply_end(struct qn_spool_track *k, const struct qn_spool_frame *f,
                                  const struct qn_spool_target *target, struct qins_error *err)
{
    enum qins_status st = f->size ? out_of_order(err) : qn_spool_track_end(k, f->type, err);
    if (st != QINS_OK || f->type == QN_FRAME_CUT)
        return st;
    if (target->join)
        target->join->open = false;
    return target->to ? target->to->end(target->to, err) : QINS_OK;
}

static enum qins_status apply_attachment(struct qn_spool_track *k, const struct qn_spool_frame *f,
                                         const struct qn_buf *body,
                                         const struct qn_spool_target *target,
                                         struct qins_error *err)
{
    const uint64_t n = f->note.number;
    if (n > body->size || memchr(body->data, 0, (size_t)n))
        return qn_fail(err, QINS_ERR_FORMAT, "the name of an attached file is damaged");
    enum qins_status st = qn_spool_track_attachment(k, err);
    char *name = st == QINS_OK ? qn_strndup(body->data, (size_t)n, err) : NULL;
    if (st == QINS_OK && !name)
        st = QINS_ERR_MEMORY;
    if (st == QINS_OK && target->attachments)
        st = qn_attachment_add(target->attachments, name, body->data + n, body->size - (size_t)n,
                               err);
    free(name);
    return st;
}

static enum qins_status apply_complete(struct qn_spool_track *k, const struct qn_buf *body,
                                       struct qins_error *err)
{
    uint8_t want[QN_COMPLETE_SIZE];
    enum qins_status st = qn_spool_track_complete(k, want, err);
    if (st != QINS_OK)
        return st;
    k->complete = body->size == sizeof want && memcmp(body->data, want, sizeof want) == 0;
    return k->complete ? QINS_OK
                       : qn_fail(err, QINS_ERR_FORMAT,
                                 "its frames are not those that its last one tells of");
}

enum qins_status qn_spool_apply(struct qn_spool_track *k, const struct qn_spool_frame *f,
                                const struct qn_buf *body, const struct qn_spool_target *target,
                                struct qins_error *err)
{
    enum qins_status st;
    switch (f->type) {
    case QN_FRAME_BEGIN:
        st = apply_begin(k, f, body, target, err);
        break;
    case QN_FRAME_CHUNK:
        st = qn_spool_track_chunk(k, f->size, err);
        if (st == QINS_OK && target->to)
            st = target->to->chunk(target->to, body->data, body->size, &f->note.leaf, err);
        break;
    case QN_FRAME_END:
    case QN_FRAME_CUT:
        st = apply_end(k, f, target, err);
        break;
    case QN_FRAME_ATTACHMENT:
        st = apply_attachment(k, f, body, target, err);
        break;
    case QN_FRAME_COMPLETE:
        st = apply_complete(k, body, err);
        break;
    case QN_FRAME_PART:
        st = out_of_order(err);
        break;
    default:
        st = qn_fail(err, QINS_ERR_FORMAT, "the spool holds a frame of unknown type");
    }
    if (st == QINS_OK)
        qn_spool_track_link(k, f);
    return st;
}

enum qins_status qn_spool_scan(const struct qn_file *file, struct qn_spool_track *k,
                               const struct qn_spool_target *target, uint64_t *at,
                               struct qins_error *err)
{
    struct qn_buf body = {0};
    enum qins_status st = QINS_OK;
    while (st == QINS_OK && *at < file->size) {
        struct qn_spool_frame f = {0};
        st = qn_check_stop(target->monitor, err);
        if (st == QINS_OK)
            st = qn_spool_frame_read(file, *at, &f, &body, err);
        if (st == QINS_OK)
            st = qn_spool_apply(k, &f, &body, target, err);
        if (st != QINS_OK)
            break;
        *at += QN_SPOOL_FRAME_SIZE + f.size;
        qn_progress(target->monitor, target->what, *at, file->size);
    }
    qn_buf_finish(&body);
    return st;
}

const struct qn_limit qn_spool_limits[] = {
    {"spool", "description", QN_MAX_DESCRIPTION, "bytes", "memory that a tensor's JSON takes"},
    {"spool", "part_record", QN_MAX_PART_RECORD, "bytes", "memory that a part's JSON takes"},
    {0},
};
