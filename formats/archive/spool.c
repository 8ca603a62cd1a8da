#include "formats/archive/spool.h"

#include "core/bytes.h"
#include "formats/archive/spool_frame.h"

#include <stdlib.h>
#include <unistd.h>

struct qn_spool {
    struct qn_sink sink; /* must be first */
    struct qn_file file; /* its size is the end of the last whole frame */
    struct qn_spool_track track;
    struct qn_part_info part; /* its own copy, which track.part is; zero for the whole model */
    const struct qn_monitor *monitor;
    uint64_t first; /* offset of the first frame behind head and PART */
};

static struct qn_spool *spool_of(struct qn_sink *s)
{
    return (struct qn_spool *)(void *)s;
}

static enum qins_status append(struct qn_spool *s, struct qn_spool_frame f, const void *body,
                               struct qins_error *err)
{
    enum qins_status st = qn_spool_frame_append(&s->file, &f, body, err);
    if (st == QINS_OK)
        qn_spool_track_link(&s->track, &f);
    return st;
}

static enum qins_status spool_begin(struct qn_sink *sink, const struct qn_archive_tensor *t,
                                    struct qins_error *err)
{
    struct qn_spool *s = spool_of(sink);
    struct qn_archive_tensor copy;
    struct qn_spool_frame f = {.type = QN_FRAME_BEGIN};
    json_t *j = qn_archive_tensor_to_json(t);
    char *text = j ? qn_json_dump(j, JSON_COMPACT | JSON_REAL_PRECISION(9)) : NULL;
    enum qins_status st = qn_archive_tensor_copy(&copy, t, err);
    if (st == QINS_OK && !text)
        st = qn_fail_memory(err);
    if (st == QINS_OK && text && strlen(text) > QN_MAX_DESCRIPTION)
        st = qn_fail_at(err, QINS_ERR_UNSUPPORTED, NULL, t->tensor.name, QN_NO_OFFSET,
                        "its description exceeds 8 MiB");
    if (st != QINS_OK || !text) {
        qn_archive_tensor_finish(&copy);
        goto done;
    }
    qn_layout_init(&copy.layout, copy.tensor.rank, copy.tensor.shape);
    f.note.number = qn_spool_track_first_chunk(&s->track);
    f.size = strlen(text);
    st = qn_spool_track_begin(&s->track, &copy, f.note.number, err);
    if (st == QINS_OK)
        st = append(s, f, text, err);
    else
        qn_archive_tensor_finish(&copy);
done:
    free(text);
    json_decref(j);
    return st;
}

static enum qins_status spool_chunk(struct qn_sink *sink, const void *payload, size_t size,
                                    const struct qn_digest *leaf, struct qins_error *err)
{
    struct qn_spool *s = spool_of(sink);
    struct qn_spool_frame f = {.type = QN_FRAME_CHUNK, .note.leaf = *leaf, .size = size};
    enum qins_status st = qn_spool_track_chunk(&s->track, size, err);
    return st == QINS_OK ? append(s, f, payload, err) : st;
}

static enum qins_status spool_end(struct qn_sink *sink, struct qins_error *err)
{
    struct qn_spool *s = spool_of(sink);
    struct qn_spool_frame f = {.type = qn_spool_track_end_type(&s->track)};
    enum qins_status st = qn_spool_track_end(&s->track, f.type, err);
    return st == QINS_OK ? append(s, f, "", err) : st;
}

/* The file anew, with nothing but what stands before all frames of tensors. */
static enum qins_status begin_file(struct qn_spool *s, const struct qn_work_head *head,
                                   struct qins_error *err)
{
    struct qn_spool_frame f = {.type = QN_FRAME_PART};
    enum qins_status st = qn_work_file_begin(&s->file, head, err);
    s->first = s->file.size;
    if (st != QINS_OK || !s->part.shard.count)
        return st;
    char *text = qn_part_info_to_text(&s->part, err);
    if (!text)
        return QINS_ERR_MEMORY;
    f.size = strlen(text);
    s->track = (struct qn_spool_track){.part = &s->part};
    st = append(s, f, text, err);
    s->first = s->file.size;
    free(text);
    return st;
}

static enum qins_status another_job(const struct qn_spool *s, struct qins_error *err)
{
    return qn_fail_at(err, QINS_ERR_USAGE, s->file.path, NULL, QN_NO_OFFSET,
                      "is the unfinished work of another conversion: remove it to start anew");
}

/* The PART frame that is there; *FOUND is false where none is whole. */
static enum qins_status resume_part(struct qn_spool *s, bool *found, struct qins_error *err)
{
    struct qn_part_info there = {.complete = false};
    struct qn_buf body = {0};
    struct qn_spool_frame f = {0};
    enum qins_status st = qn_spool_frame_read(&s->file, QN_WORK_HEAD_SIZE, &f, &body, err);
    if (st == QINS_OK && f.type == QN_FRAME_PART)
        st = qn_part_info_from_text(body.data, body.size, &there, err);
    *found = st == QINS_OK && f.type == QN_FRAME_PART;
    if (*found) {
        there.job = s->part.job;
        if (!qn_part_same(&there, &s->part))
            st = another_job(s, err);
        s->track.part = &s->part;
        s->first = QN_WORK_HEAD_SIZE + QN_SPOOL_FRAME_SIZE + f.size;
        qn_spool_track_link(&s->track, &f);
    }
    qn_part_info_finish(&there);
    qn_buf_finish(&body);
    return st == QINS_ERR_FORMAT ? QINS_OK : st;
}

/* Finds out how far the spool got, and cuts off what is behind its last whole frame. A frame that
 * is damaged or makes no sense ends it: everything from there on is dropped. */
static enum qins_status resume(struct qn_spool *s, const struct qn_work_head *head,
                               struct qins_error *err)
{
    const struct qn_spool_target nobody = {.monitor = s->monitor, .what = "checking"};
    struct qn_work_head found;
    bool started = true;
    enum qins_status st = qn_work_file_head(&s->file, &found, err);
    if (st != QINS_OK)
        return st;
    if (!qn_work_head_intact(&found))
        return begin_file(s, head, err);
    if (memcmp(&found, head, sizeof found) != 0)
        return another_job(s, err);
    s->first = QN_WORK_HEAD_SIZE;
    if (s->part.shard.count)
        st = resume_part(s, &started, err);
    if (st == QINS_OK && !started)
        return begin_file(s, head, err);
    uint64_t end = s->first;
    if (st == QINS_OK)
        st = qn_spool_scan(&s->file, &s->track, &nobody, &end, err);
    if (st != QINS_OK && st != QINS_ERR_FORMAT)
        return st;
    return qn_work_file_cut(&s->file, end, err);
}

static enum qins_status open_spool(struct qn_spool **out, const char *path,
                                   const struct qn_work_head *head, const struct qn_part_info *part,
                                   bool resume_it, const struct qn_monitor *monitor,
                                   struct qn_spool_state *state, struct qins_error *err)
{
    struct qn_spool *s = calloc(1, sizeof *s);
    *out = NULL;
    if (!s)
        return qn_fail_memory(err);
    s->sink = (struct qn_sink){spool_begin, spool_chunk, spool_end};
    s->monitor = monitor;
    enum qins_status st = qn_work_file_open(&s->file, path, err);
    if (st == QINS_OK && part)
        st = qn_part_info_copy(&s->part, part, err);
    if (st == QINS_OK)
        st = resume_it ? resume(s, head, err) : begin_file(s, head, err);
    if (st == QINS_OK) {
        *out = s;
        *state = s->track.state;
    } else {
        qn_spool_destroy(s, false);
    }
    return st;
}

enum qins_status qn_spool_open(struct qn_spool **out, const char *path, const struct qn_digest *job,
                               bool resume_it, const struct qn_monitor *monitor,
                               struct qn_spool_state *state, struct qins_error *err)
{
    const struct qn_work_head head = qn_spool_head(QN_SPOOL_VERSION, job);
    return open_spool(out, path, &head, NULL, resume_it, monitor, state, err);
}

enum qins_status qn_spool_open_part(struct qn_spool **out, const char *path,
                                    const struct qn_part_info *part,
                                    const struct qn_monitor *monitor, struct qn_spool_state *state,
                                    struct qins_error *err)
{
    const struct qn_work_head head = qn_spool_head(QN_PART_VERSION, &part->job);
    return open_spool(out, path, &head, part, true, monitor, state, err);
}

struct qn_sink *qn_spool_sink(struct qn_spool *s)
{
    return &s->sink;
}

static enum qins_status append_attachment(struct qn_spool *s, const struct qn_attachment *a,
                                          struct qins_error *err)
{
    struct qn_buf body = {0};
    struct qn_spool_frame f = {.type = QN_FRAME_ATTACHMENT, .note.number = strlen(a->name)};
    enum qins_status st = qn_buf_append(&body, a->name, strlen(a->name), err);
    if (st == QINS_OK)
        st = qn_buf_append(&body, a->data, a->size, err);
    if (st == QINS_OK)
        st = qn_spool_track_attachment(&s->track, err);
    f.size = body.size;
    if (st == QINS_OK)
        st = append(s, f, body.data, err);
    qn_buf_finish(&body);
    return st;
}

enum qins_status qn_spool_attach(struct qn_spool *s, const struct qn_attachment_list *list,
                                 struct qins_error *err)
{
    enum qins_status st = QINS_OK;
    for (size_t i = (size_t)s->track.attachments; i < s->part.attachments && st == QINS_OK; i++)
        st = append_attachment(s, &list->items[i], err);
    return st;
}

enum qins_status qn_spool_complete(struct qn_spool *s, const char *path, struct qins_error *err)
{
    uint8_t body[QN_COMPLETE_SIZE];
    struct qn_spool_frame f = {.type = QN_FRAME_COMPLETE, .size = sizeof body};
    enum qins_status st = QINS_OK;
    if (!s->track.complete) {
        st = qn_spool_track_complete(&s->track, body, err);
        if (st == QINS_OK)
            st = append(s, f, body, err);
    }
    return st == QINS_OK ? qn_publish(s->file.fd, s->file.path, path, err) : st;
}

enum qins_status qn_spool_replay(struct qn_spool *s, struct qn_sink *to, struct qins_error *err)
{
    const struct qn_spool_target target = {.to = to, .monitor = s->monitor, .what = "assembling"};
    struct qn_spool_track track = {.part = s->track.part};
    uint64_t at = s->first;
    enum qins_status st = qn_spool_scan(&s->file, &track, &target, &at, err);
    if (st == QINS_OK && track.state.tensor_open)
        st = qn_fail(err, QINS_ERR_FORMAT, "the spool ends within a tensor");
    qn_spool_track_finish(&track);
    return qn_error_in_file(err, st, s->file.path);
}

void qn_spool_destroy(struct qn_spool *s, bool remove)
{
    if (!s)
        return;
    qn_spool_track_finish(&s->track);
    qn_part_info_finish(&s->part);
    if (remove && s->file.fd >= 0)
        unlink(s->file.path);
    qn_file_close(&s->file); /* and the lock with it */
    free(s);
}
