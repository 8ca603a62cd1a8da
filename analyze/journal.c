#include "analyze/journal.h"

#include "core/bytes.h"
#include "core/clock.h"
#include "core/work_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* Offsets in a frame, in bytes (core/work_file.h). */
enum {
    FRAME_TEST = 8,
    FRAME_BODY_SIZE = 40,
    FRAME_SIZE = 64,

    NAME_SIZE = FRAME_BODY_SIZE - FRAME_TEST,
};

enum { JOURNAL_VERSION = 1, HEAD_JOB = 16 /* offset */ };

/* A crash of the system loses no more than this. */
static const double sync_seconds = 10.0;

static const char head_magic[QN_WORK_MAGIC_SIZE] = "QINSVAL";
static const struct qn_work_frame frame_format = {
    {'Q', 'J', 'R', 'N'}, FRAME_SIZE, FRAME_BODY_SIZE, "the journal"};

struct record {
    void *data;
    size_t size;
};

/* Items of one test. */
struct track {
    char name[NAME_SIZE];
    struct record *records;
    size_t n, capacity;
};

struct qn_journal {
    struct qn_file file; /* fd -1: in memory alone; its size is where the next frame goes */
    bool mine;           /* the file is a journal, not somebody else's */
    struct track tracks[QN_JOURNAL_TESTS];
    size_t n_tracks;
    double synced;
};

/* The number of the track of TEST, or n_tracks. */
static size_t find_track(const struct qn_journal *j, const char *test)
{
    size_t i = 0;
    while (i < j->n_tracks && strcmp(j->tracks[i].name, test) != 0)
        i++;
    return i;
}

static enum qins_status too_many(struct qins_error *err)
{
    return qn_fail(err, QINS_ERR_FORMAT, "a journal of more than %d tests", QN_JOURNAL_TESTS);
}

/* Appends to memory a copy of SIZE bytes; there is room for another test, or it has a track. */
static enum qins_status keep(struct qn_journal *j, const char *test, const void *data, size_t size,
                             struct qins_error *err)
{
    const size_t number = find_track(j, test);
    struct track *t = &j->tracks[number];
    if (number == j->n_tracks) {
        snprintf(t->name, sizeof t->name, "%s", test);
        j->n_tracks++;
    }
    if (t->n == t->capacity) {
        const size_t capacity = t->capacity ? 2 * t->capacity : 64;
        struct record *grown = realloc(t->records, capacity * sizeof *grown);
        if (!grown)
            return qn_fail_memory(err);
        t->records = grown;
        t->capacity = capacity;
    }
    void *copy = malloc(size ? size : 1);
    if (!copy)
        return qn_fail_memory(err);
    if (size)
        memcpy(copy, data, size);
    t->records[t->n++] = (struct record){copy, size};
    return QINS_OK;
}

/* Reads whole frames up to *END, where one is not or the file ends; QINS_ERR_FORMAT for the former.
 */
static enum qins_status read_frames(struct qn_journal *j, uint64_t *end, struct qins_error *err)
{
    struct qn_buf body = {0};
    uint8_t head[FRAME_SIZE];
    const char *test = (const char *)head + FRAME_TEST;
    uint64_t at = QN_WORK_HEAD_SIZE;
    enum qins_status st = QINS_OK;
    while (st == QINS_OK && at < j->file.size) {
        st = qn_work_file_read(&j->file, &frame_format, at, head, &body, err);
        if (st == QINS_OK && !memchr(test, 0, NAME_SIZE))
            st = qn_fail(err, QINS_ERR_FORMAT, "a test's name has no end");
        if (st == QINS_OK && find_track(j, test) == QN_JOURNAL_TESTS)
            st = too_many(err);
        if (st == QINS_OK)
            st = keep(j, test, body.data, body.size, err);
        if (st == QINS_OK)
            at += FRAME_SIZE + body.size;
    }
    qn_buf_finish(&body);
    *end = at;
    return st;
}

/* Reads whole frames and cuts off what is behind them. */
static enum qins_status resume_frames(struct qn_journal *j, struct qins_error *err)
{
    uint64_t end;
    enum qins_status st = read_frames(j, &end, err);
    if (st != QINS_OK && st != QINS_ERR_FORMAT)
        return st;
    return end < j->file.size ? qn_work_file_cut(&j->file, end, err) : QINS_OK;
}

/* What is done with a journal that is there. */
enum found {
    ANEW,
    RESUME,      /* one of another job is begun anew */
    RESUME_ONLY, /* one of another job is refused */
};

static enum qins_status open_file(struct qn_journal *j, const char *path, enum found what,
                                  const struct qn_digest *job, const struct qn_monitor *monitor,
                                  struct qins_error *err)
{
    const struct qn_work_head head = qn_work_head(head_magic, JOURNAL_VERSION, job);
    struct qn_work_head found;
    enum qins_status st = qn_work_file_open(&j->file, path, err);
    if (st == QINS_OK)
        st = qn_work_file_head(&j->file, &found, err);
    if (st != QINS_OK)
        return st;
    if (what != ANEW && memcmp(&found, &head, sizeof found) == 0) {
        j->mine = true;
        return resume_frames(j, err);
    }
    if (what == RESUME_ONLY && memcmp(&found, head_magic, sizeof head_magic) == 0 &&
        qn_work_head_intact(&found))
        return qn_fail_at(err, QINS_ERR_USAGE, path, NULL, QN_NO_OFFSET,
                          "is work in progress of another job: other models, texts or options, or "
                          "another version of qins; remove it");
    if (what == RESUME && memcmp(&found, head_magic, sizeof head_magic) == 0)
        qn_notice(monitor, "%s is of another validation: begun anew", path);
    st = qn_work_file_begin(&j->file, &head, err);
    j->mine = st == QINS_OK;
    return st;
}

static struct qn_journal *create(struct qins_error *err)
{
    struct qn_journal *j = calloc(1, sizeof *j);
    if (!j) {
        qn_fail_memory(err);
        return NULL;
    }
    j->file.fd = -1;
    j->synced = qn_seconds();
    return j;
}

/* J, or nothing where ST is a failure. */
static enum qins_status hand_out(struct qn_journal *j, enum qins_status st, struct qn_journal **out)
{
    *out = NULL;
    if (st == QINS_OK)
        *out = j;
    else
        qn_journal_close(j);
    return st;
}

enum qins_status qn_journal_open(struct qn_journal **out, const char *path, bool resume,
                                 const struct qn_digest *job, const struct qn_monitor *monitor,
                                 struct qins_error *err)
{
    struct qn_journal *j = create(err);
    enum qins_status st = j ? QINS_OK : QINS_ERR_MEMORY;
    if (st == QINS_OK && path)
        st = open_file(j, path, resume ? RESUME : ANEW, job, monitor, err);
    return hand_out(j, st, out);
}

enum qins_status qn_journal_continue(struct qn_journal **out, const char *path,
                                     const struct qn_digest *job, struct qins_error *err)
{
    struct qn_journal *j = create(err);
    return hand_out(j, j ? open_file(j, path, RESUME_ONLY, job, NULL, err) : QINS_ERR_MEMORY, out);
}

/* Opens the journal PATH, of any *JOB, to read it. F is to be closed even on failure. */
static enum qins_status open_to_read(struct qn_file *f, const char *path, struct qn_digest *job,
                                     struct qins_error *err)
{
    struct qn_work_head found;
    enum qins_status st = qn_file_open(f, path, err);
    if (st == QINS_OK)
        st = qn_work_file_head(f, &found, err);
    if (st != QINS_OK)
        return st;
    memcpy(job->bytes, found.bytes + HEAD_JOB, sizeof job->bytes);
    const struct qn_work_head head = qn_work_head(head_magic, JOURNAL_VERSION, job);
    return memcmp(&found, &head, sizeof found) == 0
               ? QINS_OK
               : qn_fail_at(err, QINS_ERR_FORMAT, path, NULL, QN_NO_OFFSET,
                            "it is no journal of a validation, or of another version");
}

static enum qins_status read_file(struct qn_journal *j, const char *path, struct qn_digest *job,
                                  struct qins_error *err)
{
    uint64_t end;
    const enum qins_status st = open_to_read(&j->file, path, job, err);
    return st == QINS_OK ? qn_error_in_file(err, read_frames(j, &end, err), path) : st;
}

enum qins_status qn_journal_look(const char *path, const char *test, uint64_t *count,
                                 struct qins_error *err)
{
    struct qn_file f;
    struct qn_digest job;
    uint8_t head[FRAME_SIZE];
    const char *name = (const char *)head + FRAME_TEST;
    uint64_t body = 0;
    enum qins_status st = open_to_read(&f, path, &job, err);
    *count = 0;
    for (uint64_t at = QN_WORK_HEAD_SIZE; st == QINS_OK && at < f.size; at += FRAME_SIZE + body) {
        st = qn_work_file_read_head(&f, &frame_format, at, head, &body, err);
        *count += st == QINS_OK && strncmp(name, test, NAME_SIZE) == 0;
    }
    qn_file_close(&f);
    return st;
}

enum qins_status qn_journal_read(struct qn_journal **out, const char *path, struct qn_digest *job,
                                 struct qins_error *err)
{
    struct qn_journal *j = create(err);
    const enum qins_status st = j ? read_file(j, path, job, err) : QINS_ERR_MEMORY;
    if (j)
        qn_file_close(&j->file);
    return hand_out(j, st, out);
}

enum qins_status qn_journal_publish(struct qn_journal *j, const char *path, struct qins_error *err)
{
    enum qins_status st = qn_publish(j->file.fd, j->file.path, path, err);
    if (st == QINS_OK)
        qn_file_close(&j->file);
    return st;
}

void qn_journal_close(struct qn_journal *j)
{
    if (!j)
        return;
    for (size_t i = 0; i < j->n_tracks; i++) {
        for (size_t k = 0; k < j->tracks[i].n; k++)
            free(j->tracks[i].records[k].data);
        free(j->tracks[i].records);
    }
    if (j->file.fd >= 0 && (j->file.size == 0 || (j->mine && j->file.size == QN_WORK_HEAD_SIZE)))
        unlink(j->file.path);
    else if (j->file.fd >= 0)
        fdatasync(j->file.fd); /* what is lost if it fails is done again */
    qn_file_close(&j->file);
    free(j);
}

uint64_t qn_journal_count(const struct qn_journal *j, const char *test)
{
    const size_t number = find_track(j, test);
    return number < j->n_tracks ? j->tracks[number].n : 0;
}

size_t qn_journal_tests(const struct qn_journal *j)
{
    return j->n_tracks;
}

const char *qn_journal_test(const struct qn_journal *j, size_t number)
{
    return j->tracks[number].name;
}

uint64_t qn_journal_total(const struct qn_journal *j)
{
    uint64_t total = 0;
    for (size_t i = 0; i < j->n_tracks; i++)
        total += j->tracks[i].n;
    return total;
}

const void *qn_journal_get(const struct qn_journal *j, const char *test, uint64_t item,
                           size_t *size)
{
    const struct record *r = &j->tracks[find_track(j, test)].records[item];
    *size = r->size;
    return r->data;
}

static enum qins_status append_frame(struct qn_journal *j, const char *test, const void *data,
                                     size_t size, struct qins_error *err)
{
    uint8_t head[FRAME_SIZE] = {0};
    snprintf((char *)head + FRAME_TEST, NAME_SIZE, "%s", test);
    return qn_work_file_append(&j->file, &frame_format, head, data, size, err);
}

enum qins_status qn_journal_add(struct qn_journal *j, const char *test, const void *data,
                                size_t size, struct qins_error *err)
{
    enum qins_status st = QINS_OK;
    if (find_track(j, test) == QN_JOURNAL_TESTS)
        return too_many(err);
    if (j->file.fd >= 0) {
        const uint64_t end = j->file.size;
        st = append_frame(j, test, data, size, err);
        if (st != QINS_OK)
            (void)!ftruncate(j->file.fd, (off_t)end); /* a torn end is cut off later, too */
    }
    if (st == QINS_OK)
        st = keep(j, test, data, size, err);
    if (st == QINS_OK && j->file.fd >= 0 && qn_seconds() - j->synced > sync_seconds) {
        fdatasync(j->file.fd);
        j->synced = qn_seconds();
    }
    return st;
}
