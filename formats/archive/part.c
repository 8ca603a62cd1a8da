#include "formats/archive/part.h"

#include "core/bytes.h"
#include "core/json.h"
#include "formats/archive/spool_frame.h"

#include <stdlib.h>

#define SCHEMA "qins/part/1"

void qn_part_info_finish(struct qn_part_info *p)
{
    free(p->source);
    free(p->source_format);
    free(p->output);
    free(p->version);
    *p = (struct qn_part_info){0};
}

void qn_part_join_finish(struct qn_part_join *j)
{
    qn_buf_finish(&j->description);
    *j = (struct qn_part_join){0};
}

enum qins_status qn_part_info_copy(struct qn_part_info *to, const struct qn_part_info *from,
                                   struct qins_error *err)
{
    *to = *from;
    to->source = qn_strdup(from->source, err);
    to->source_format = qn_strdup(from->source_format, err);
    to->output = qn_strdup(from->output, err);
    to->version = qn_strdup(from->version, err);
    if (to->source && to->source_format && to->output && to->version)
        return QINS_OK;
    qn_part_info_finish(to);
    return QINS_ERR_MEMORY;
}

static bool same_place(const struct qn_part_place *a, const struct qn_part_place *b)
{
    return a->tensor == b->tensor && a->chunk == b->chunk;
}

bool qn_part_same(const struct qn_part_info *a, const struct qn_part_info *b)
{
    return a->shard.index == b->shard.index && a->shard.count == b->shard.count &&
           memcmp(&a->job, &b->job, sizeof a->job) == 0 &&
           memcmp(&a->source_digest, &b->source_digest, sizeof a->source_digest) == 0 &&
           same_place(&a->range.begin, &b->range.begin) &&
           same_place(&a->range.end, &b->range.end) &&
           a->range.first_chunk == b->range.first_chunk &&
           a->range.end_chunk == b->range.end_chunk && a->attachments == b->attachments;
}

static json_t *place_to_json(const struct qn_part_place *p, uint64_t chunk)
{
    json_t *j = json_object();
    qn_json_put(&j, "tensor", json_integer((json_int_t)p->tensor));
    qn_json_put(&j, "tensor_chunk", json_integer((json_int_t)p->chunk));
    qn_json_put(&j, "chunk", json_integer((json_int_t)chunk));
    return j;
}

char *qn_part_info_to_text(const struct qn_part_info *p, struct qins_error *err)
{
    const struct qn_part_range *r = &p->range;
    json_t *j = qn_report_begin(SCHEMA);
    qn_json_put(&j, "part", json_integer(p->shard.index));
    qn_json_put(&j, "parts", json_integer(p->shard.count));
    qn_json_put(&j, "begin", place_to_json(&r->begin, r->first_chunk));
    qn_json_put(&j, "end", place_to_json(&r->end, r->end_chunk));
    qn_json_put(&j, "input_bytes", json_integer((json_int_t)r->input_bytes));
    qn_json_put(&j, "attachments", json_integer((json_int_t)p->attachments));
    qn_json_put(&j, "source", qn_json_text(p->source));
    qn_json_put(&j, "source_format", qn_json_text(p->source_format));
    qn_json_put(&j, "source_digest", qn_json_digest(&p->source_digest));
    qn_json_put(&j, "output", qn_json_text(p->output));
    char *text = j ? qn_json_dump(j, JSON_COMPACT) : NULL;
    json_decref(j);
    if (!text)
        qn_fail_memory(err);
    return text;
}

static enum qins_status bad(const char *key, struct qins_error *err)
{
    return qn_fail(err, QINS_ERR_FORMAT, "its record of the part has no good '%s'", key);
}

static bool place_from_json(const json_t *j, struct qn_part_place *p, uint64_t *chunk)
{
    return qn_json_u64(json_object_get(j, "tensor"), &p->tensor) &&
           qn_json_u64(json_object_get(j, "tensor_chunk"), &p->chunk) &&
           qn_json_u64(json_object_get(j, "chunk"), chunk);
}

/* Whether the range goes forward, and begins with the model where the part is its first. */
static bool range_holds(const struct qn_part_info *p)
{
    const struct qn_part_place *begin = &p->range.begin, *end = &p->range.end;
    const uint64_t chunks = p->range.end_chunk - p->range.first_chunk;
    if (p->range.first_chunk > p->range.end_chunk || begin->tensor > end->tensor)
        return false;
    if (begin->tensor == end->tensor &&
        (begin->chunk > end->chunk || chunks != end->chunk - begin->chunk))
        return false;
    return p->shard.index > 1 || (!begin->tensor && !begin->chunk && !p->range.first_chunk);
}

static enum qins_status text_from_json(const json_t *j, const char *key, char **out,
                                       struct qins_error *err)
{
    const char *text = json_string_value(json_object_get(j, key));
    if (!text)
        return bad(key, err);
    *out = qn_strdup(text, err);
    return *out ? QINS_OK : QINS_ERR_MEMORY;
}

static enum qins_status info_from_json(const json_t *j, struct qn_part_info *p,
                                       struct qins_error *err)
{
    const char *schema = json_string_value(json_object_get(j, "schema"));
    struct qn_part_range *r = &p->range;
    uint64_t index, count;
    if (!schema || strcmp(schema, SCHEMA) != 0)
        return bad("schema", err);
    if (!qn_json_u64(json_object_get(j, "part"), &index) ||
        !qn_json_u64(json_object_get(j, "parts"), &count) || index < 1 || index > count ||
        count > QN_MAX_SHARDS)
        return bad("part", err);
    p->shard = (struct qn_shard){(unsigned)index, (unsigned)count};
    if (!place_from_json(json_object_get(j, "begin"), &r->begin, &r->first_chunk) ||
        !place_from_json(json_object_get(j, "end"), &r->end, &r->end_chunk) || !range_holds(p))
        return bad("begin' and 'end", err);
    if (!qn_json_u64(json_object_get(j, "input_bytes"), &r->input_bytes))
        return bad("input_bytes", err);
    if (!qn_json_u64(json_object_get(j, "attachments"), &p->attachments) ||
        (p->attachments && index != 1))
        return bad("attachments", err);
    if (!qn_json_hex(json_object_get(j, "source_digest"), p->source_digest.bytes,
                     sizeof p->source_digest.bytes))
        return bad("source_digest", err);
    enum qins_status st = text_from_json(j, "qins_version", &p->version, err);
    if (st == QINS_OK)
        st = text_from_json(j, "source", &p->source, err);
    if (st == QINS_OK)
        st = text_from_json(j, "source_format", &p->source_format, err);
    return st == QINS_OK ? text_from_json(j, "output", &p->output, err) : st;
}

enum qins_status qn_part_info_from_text(const void *text, size_t size, struct qn_part_info *out,
                                        struct qins_error *err)
{
    struct qn_part_info p = {.complete = false};
    if (size > QN_MAX_PART_RECORD)
        return qn_fail(err, QINS_ERR_FORMAT, "its record of the part is too long");
    json_t *j = qn_json_parse(text, size, 0, err);
    if (!j)
        return err ? err->status : QINS_ERR_FORMAT;
    enum qins_status st = info_from_json(j, &p, err);
    json_decref(j);
    if (st == QINS_OK)
        *out = p;
    else
        qn_part_info_finish(&p);
    return st;
}

/* Opens the file and reads head and first frame, which the chain of *K begins with; *AT is the end
 * of that frame. */
static enum qins_status open_part(const char *path, struct qn_file *file, struct qn_part_info *p,
                                  struct qn_spool_track *k, uint64_t *at, struct qins_error *err)
{
    struct qn_work_head found, want;
    struct qn_digest job;
    struct qn_buf body = {0};
    struct qn_spool_frame f;
    enum qins_status st = qn_file_open(file, path, err);
    if (st == QINS_OK)
        st = qn_work_file_head(file, &found, err);
    if (st != QINS_OK)
        return st;
    memcpy(&job, found.bytes + QN_WORK_JOB_AT, sizeof job);
    want = qn_spool_head(QN_PART_VERSION, &job);
    if (memcmp(&found, &want, sizeof found) != 0)
        return qn_fail(err, QINS_ERR_FORMAT, "is no part of an archive");
    st = qn_spool_frame_read(file, QN_WORK_HEAD_SIZE, &f, &body, err);
    if (st == QINS_OK && f.type != QN_FRAME_PART)
        st = qn_fail(err, QINS_ERR_FORMAT, "does not say which part it is");
    if (st == QINS_OK)
        st = qn_part_info_from_text(body.data, body.size, p, err);
    if (st == QINS_OK) {
        p->job = job;
        *at = QN_WORK_HEAD_SIZE + QN_SPOOL_FRAME_SIZE + f.size;
        k->part = p;
        qn_spool_track_link(k, &f);
    }
    qn_buf_finish(&body);
    return st;
}

/* Looks for the last frame where it would have to be. */
static enum qins_status read_end(const struct qn_file *file, uint64_t at, struct qn_part_info *p,
                                 struct qins_error *err)
{
    const uint64_t size = QN_SPOOL_FRAME_SIZE + QN_COMPLETE_SIZE;
    struct qn_buf body = {0};
    struct qn_spool_frame f = {0};
    if (file->size < at || file->size - at < size)
        return QINS_OK;
    enum qins_status st = qn_spool_frame_read(file, file->size - size, &f, &body, err);
    if (st == QINS_OK && f.type == QN_FRAME_COMPLETE && body.size == QN_COMPLETE_SIZE &&
        qn_load64(body.data + 8) == qn_part_chunks(p)) {
        p->complete = true;
        p->tensors_done = qn_load64(body.data);
        p->chunks_done = qn_part_chunks(p);
    }
    qn_buf_finish(&body);
    return st == QINS_ERR_FORMAT ? QINS_OK : st;
}

/* Counts what is there, up to the first frame that is not whole. */
static enum qins_status count_frames(const struct qn_file *file, uint64_t at,
                                     struct qn_part_info *p, struct qins_error *err)
{
    enum qins_status st = QINS_OK;
    while (st == QINS_OK && at < file->size) {
        struct qn_spool_frame f;
        st = qn_spool_frame_read_head(file, at, &f, err);
        if (st != QINS_OK)
            break;
        p->chunks_done += f.type == QN_FRAME_CHUNK;
        p->tensors_done += f.type == QN_FRAME_END || f.type == QN_FRAME_CUT;
        at += QN_SPOOL_FRAME_SIZE + f.size;
    }
    p->torn = st == QINS_ERR_FORMAT;
    return p->torn ? QINS_OK : st;
}

enum qins_status qn_part_read_info(const char *path, bool scan, struct qn_part_info *out,
                                   struct qins_error *err)
{
    struct qn_spool_track k = {.complete = false};
    struct qn_part_info p = {.complete = false};
    struct qn_file file;
    uint64_t at = 0;
    enum qins_status st = open_part(path, &file, &p, &k, &at, err);
    if (st == QINS_OK)
        st = read_end(&file, at, &p, err);
    if (st == QINS_OK && scan && !p.complete)
        st = count_frames(&file, at, &p, err);
    p.part_bytes = file.size;
    qn_file_close(&file);
    if (st == QINS_OK) {
        *out = p;
    } else {
        qn_part_info_finish(&p);
        qn_error_in_file(err, st, path);
    }
    return st;
}

enum qins_status qn_part_replay(const char *path, const struct qn_part_info *info,
                                struct qn_part_join *join, struct qn_sink *to,
                                struct qn_attachment_list *attachments, struct qins_error *err)
{
    const struct qn_spool_target target = {.to = to, .join = join, .attachments = attachments};
    struct qn_spool_track k = {.complete = false};
    struct qn_part_info p = {.complete = false};
    struct qn_file file;
    uint64_t at = 0;
    enum qins_status st = open_part(path, &file, &p, &k, &at, err);
    if (st == QINS_OK && !qn_part_same(&p, info))
        st = qn_fail(err, QINS_ERR_FORMAT, "it changed while it was read");
    if (st == QINS_OK)
        st = qn_spool_scan(&file, &k, &target, &at, err);
    if (st == QINS_OK && !k.complete)
        st = qn_fail(err, QINS_ERR_FORMAT, "it is not complete: its last frame is missing");
    if (st == QINS_ERR_FORMAT && err && err->offset == QN_NO_OFFSET && at)
        err->offset = (int64_t)at;
    qn_spool_track_finish(&k);
    qn_part_info_finish(&p);
    qn_file_close(&file);
    return qn_error_in_file(err, st, path);
}
