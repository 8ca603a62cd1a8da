#include "formats/archive/spool.h"

#include "core/bytes.h"
#include "core/work_file.h"

#include <stdlib.h>
#include <unistd.h>

/* Offsets in a frame, in bytes (core/work_file.h). */
enum { FRAME_TYPE = 4, FRAME_BODY_SIZE = 8, FRAME_LEAF = 16, FRAME_SIZE = 48 };

enum frame_type {
    FRAME_BEGIN = 1, /* body: the tensor as JSON, as in the manifest */
    FRAME_CHUNK = 2, /* body: the payload; the head holds the digest of its source bytes */
    FRAME_END = 3,   /* no body */
};

enum { SPOOL_VERSION = 1, MAX_DESCRIPTION = 8 << 20 /* bytes of a FRAME_BEGIN */ };

static const char head_magic[QN_WORK_MAGIC_SIZE] = "QINSPRT";
static const struct qn_work_frame frame_format = {
    {'Q', 'F', 'R', 'M'}, FRAME_SIZE, FRAME_BODY_SIZE, "the spool"};

struct qn_spool {
    struct qn_sink sink; /* must be first */
    struct qn_file file; /* its size is the end of the last whole frame */
    struct qn_spool_state state;
    const struct qn_monitor *monitor;
};

struct frame {
    enum frame_type type;
    struct qn_digest leaf;
    size_t size; /* of the body */
};

static struct qn_spool *spool_of(struct qn_sink *s)
{
    return (struct qn_spool *)(void *)s;
}

static enum qins_status out_of_order(struct qins_error *err)
{
    return qn_fail(err, QINS_ERR_FORMAT, "a frame of the spool is out of order");
}

/* The three steps of a state; begin takes over T's name and blocks when it succeeds. */
static enum qins_status state_begin(struct qn_spool_state *s, const struct qn_archive_tensor *t,
                                    struct qins_error *err)
{
    if (s->tensor_open)
        return out_of_order(err);
    s->tensor_open = true;
    s->chunks_done = 0;
    s->open_tensor = *t;
    return QINS_OK;
}

static enum qins_status state_chunk(struct qn_spool_state *s, struct qins_error *err)
{
    if (!s->tensor_open || s->chunks_done == s->open_tensor.layout.n_chunks)
        return out_of_order(err);
    s->chunks_done++;
    return QINS_OK;
}

static void state_finish(struct qn_spool_state *s)
{
    qn_archive_tensor_finish(&s->open_tensor);
    s->open_tensor = (struct qn_archive_tensor){0};
    s->tensor_open = false;
    s->chunks_done = 0;
}

static enum qins_status state_end(struct qn_spool_state *s, struct qins_error *err)
{
    if (!s->tensor_open || s->chunks_done != s->open_tensor.layout.n_chunks)
        return out_of_order(err);
    state_finish(s);
    s->tensors_done++;
    return QINS_OK;
}

static enum qins_status append_frame(struct qn_spool *s, const struct frame *f, const void *body,
                                     struct qins_error *err)
{
    uint8_t head[FRAME_SIZE] = {0};
    qn_store32(head + FRAME_TYPE, (uint32_t)f->type);
    memcpy(head + FRAME_LEAF, f->leaf.bytes, sizeof f->leaf.bytes);
    return qn_work_file_append(&s->file, &frame_format, head, body, f->size, err);
}

static enum qins_status spool_begin(struct qn_sink *sink, const struct qn_archive_tensor *t,
                                    struct qins_error *err)
{
    struct qn_spool *s = spool_of(sink);
    struct qn_archive_tensor copy;
    json_t *j = qn_archive_tensor_to_json(t);
    char *text = j ? json_dumps(j, JSON_COMPACT | JSON_REAL_PRECISION(9)) : NULL;
    enum qins_status st = qn_archive_tensor_copy(&copy, t, err);
    if (st == QINS_OK && !text)
        st = qn_fail_memory(err);
    if (st == QINS_OK && text && strlen(text) > MAX_DESCRIPTION)
        st = qn_fail_at(err, QINS_ERR_UNSUPPORTED, NULL, t->tensor.name, QN_NO_OFFSET,
                        "its description exceeds 8 MiB");
    if (st != QINS_OK || !text)
        goto done;
    qn_layout_init(&copy.layout, copy.tensor.rank, copy.tensor.shape);
    st = s->state.tensor_open ? out_of_order(err) : QINS_OK;
    if (st == QINS_OK)
        st = append_frame(s, &(struct frame){.type = FRAME_BEGIN, .size = strlen(text)}, text, err);
    if (st == QINS_OK)
        st = state_begin(&s->state, &copy, err);
done:
    if (st != QINS_OK)
        qn_archive_tensor_finish(&copy);
    free(text);
    json_decref(j);
    return st;
}

static enum qins_status spool_chunk(struct qn_sink *sink, const void *payload, size_t size,
                                    const struct qn_digest *leaf, struct qins_error *err)
{
    struct qn_spool *s = spool_of(sink);
    struct frame f = {FRAME_CHUNK, *leaf, size};
    enum qins_status st = state_chunk(&s->state, err);
    return st == QINS_OK ? append_frame(s, &f, payload, err) : st;
}

static enum qins_status spool_end(struct qn_sink *sink, struct qins_error *err)
{
    struct qn_spool *s = spool_of(sink);
    enum qins_status st = state_end(&s->state, err);
    return st == QINS_OK ? append_frame(s, &(struct frame){.type = FRAME_END}, "", err) : st;
}

/* The frame at AT and its body, which replaces what is in *body. QINS_ERR_FORMAT: there is no
 * whole frame. */
static enum qins_status read_frame(const struct qn_spool *s, uint64_t at, struct frame *f,
                                   struct qn_buf *body, struct qins_error *err)
{
    uint8_t head[FRAME_SIZE];
    enum qins_status st = qn_work_file_read(&s->file, &frame_format, at, head, body, err);
    if (st != QINS_OK)
        return st;
    f->type = (enum frame_type)qn_load32(head + FRAME_TYPE);
    memcpy(f->leaf.bytes, head + FRAME_LEAF, sizeof f->leaf.bytes);
    f->size = body->size;
    return QINS_OK;
}

static enum qins_status apply_begin(struct qn_spool_state *state, const struct qn_buf *body,
                                    struct qins_error *err)
{
    struct qn_archive_tensor t;
    if (body->size > MAX_DESCRIPTION)
        return qn_fail(err, QINS_ERR_FORMAT, "a tensor's description is too long");
    json_t *j = qn_json_parse(body->data, body->size, 0, err);
    if (!j)
        return err ? err->status : QINS_ERR_FORMAT;
    enum qins_status st = qn_archive_tensor_from_json(j, &t, err);
    json_decref(j);
    if (st != QINS_OK)
        return st;
    st = state_begin(state, &t, err);
    if (st != QINS_OK)
        qn_archive_tensor_finish(&t);
    return st;
}

/* Advances STATE by one frame and hands it on to TO, if that is not NULL. */
static enum qins_status apply_frame(struct qn_spool_state *state, const struct frame *f,
                                    const struct qn_buf *body, struct qn_sink *to,
                                    struct qins_error *err)
{
    enum qins_status st;
    switch (f->type) {
    case FRAME_BEGIN:
        st = apply_begin(state, body, err);
        return st == QINS_OK && to ? to->begin(to, &state->open_tensor, err) : st;
    case FRAME_CHUNK:
        st = f->size < QN_CHUNK_HEADER_SIZE ? out_of_order(err) : state_chunk(state, err);
        return st == QINS_OK && to ? to->chunk(to, body->data, body->size, &f->leaf, err) : st;
    case FRAME_END:
        st = f->size ? out_of_order(err) : state_end(state, err);
        return st == QINS_OK && to ? to->end(to, err) : st;
    default:
        return qn_fail(err, QINS_ERR_FORMAT, "the spool holds a frame of unknown type");
    }
}

/* Goes over all frames, which is called WHAT to the monitor. A frame that is damaged or makes no
 * sense ends the scan of a spool that is being opened (TO is NULL): everything from there on is
 * dropped. */
static enum qins_status scan(struct qn_spool *s, const char *what, struct qn_spool_state *state,
                             struct qn_sink *to, uint64_t *reached, struct qins_error *err)
{
    struct qn_buf body = {0};
    enum qins_status st = QINS_OK;
    uint64_t at = QN_WORK_HEAD_SIZE;
    while (st == QINS_OK && at < s->file.size) {
        struct frame f = {0};
        st = qn_check_stop(s->monitor, err);
        if (st == QINS_OK)
            st = read_frame(s, at, &f, &body, err);
        if (st == QINS_OK)
            st = apply_frame(state, &f, &body, to, err);
        if (st != QINS_OK)
            break;
        at += FRAME_SIZE + f.size;
        qn_progress(s->monitor, what, at, s->file.size);
    }
    *reached = at;
    qn_buf_finish(&body);
    return st;
}

/* Finds out how far the spool got, and cuts off what is behind its last whole frame. */
static enum qins_status resume(struct qn_spool *s, const struct qn_work_head *head,
                               struct qins_error *err)
{
    struct qn_work_head found;
    uint64_t end = 0;
    enum qins_status st = qn_work_file_head(&s->file, &found, err);
    if (st != QINS_OK)
        return st;
    if (!qn_work_head_intact(&found))
        return qn_work_file_begin(&s->file, head, err);
    if (memcmp(&found, head, sizeof found) != 0)
        return qn_fail_at(err, QINS_ERR_USAGE, s->file.path, NULL, QN_NO_OFFSET,
                          "is the unfinished work of another conversion: remove it to start anew");
    st = scan(s, "checking", &s->state, NULL, &end, err);
    if (st != QINS_OK && st != QINS_ERR_FORMAT)
        return st;
    return qn_work_file_cut(&s->file, end, err);
}

enum qins_status qn_spool_open(struct qn_spool **out, const char *path, const struct qn_digest *job,
                               bool resume_it, const struct qn_monitor *monitor,
                               struct qn_spool_state *state, struct qins_error *err)
{
    const struct qn_work_head head = qn_work_head(head_magic, SPOOL_VERSION, job);
    struct qn_spool *s = calloc(1, sizeof *s);
    *out = NULL;
    if (!s)
        return qn_fail_memory(err);
    s->sink = (struct qn_sink){spool_begin, spool_chunk, spool_end};
    s->monitor = monitor;
    enum qins_status st = qn_work_file_open(&s->file, path, err);
    if (st == QINS_OK)
        st = resume_it ? resume(s, &head, err) : qn_work_file_begin(&s->file, &head, err);
    if (st == QINS_OK) {
        *out = s;
        *state = s->state;
    } else {
        qn_spool_destroy(s, false);
    }
    return st;
}

struct qn_sink *qn_spool_sink(struct qn_spool *s)
{
    return &s->sink;
}

enum qins_status qn_spool_replay(struct qn_spool *s, struct qn_sink *to, struct qins_error *err)
{
    struct qn_spool_state state = {0};
    uint64_t reached;
    enum qins_status st = scan(s, "assembling", &state, to, &reached, err);
    if (st == QINS_OK && state.tensor_open)
        st = out_of_order(err);
    state_finish(&state);
    return qn_error_in_file(err, st, s->file.path);
}

void qn_spool_destroy(struct qn_spool *s, bool remove)
{
    if (!s)
        return;
    state_finish(&s->state);
    if (remove && s->file.fd >= 0)
        unlink(s->file.path);
    qn_file_close(&s->file); /* and the lock with it */
    free(s);
}
