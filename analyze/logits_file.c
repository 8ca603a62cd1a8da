#include "analyze/logits_file.h"

#include "core/bytes.h"
#include "core/file.h"
#include "formats/npy_header.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/statvfs.h>
#include <unistd.h>

enum { MODEL, CANDIDATE, NEXT, N_FILES = QN_LOGITS_FILES };

/* From here on a user would like to know before it is written. */
static const uint64_t much = (uint64_t)1 << 30;

const char *const qn_logits_files[QN_LOGITS_FILES] = {"model.npy", "candidate.npy", "next.npy"};

struct qn_logits_file {
    struct qn_output files[N_FILES];
    bool open[N_FILES];
    char *made;             /* the folder, where it was not there; */
    size_t header[N_FILES]; /* bytes before the data */
    uint32_t vocab;
    pthread_mutex_t lock;
    struct qins_error failed; /* the first failure; status QINS_OK: none */
};

static enum qins_status check_room(const char *dir, uint64_t positions, uint32_t vocab,
                                   unsigned models, const struct qn_monitor *monitor,
                                   struct qins_error *err)
{
    uint64_t row = (uint64_t)models * vocab + 1, bytes;
    struct statvfs fs;
    if (!qn_mul_u64(row * sizeof(float), positions, &bytes))
        bytes = UINT64_MAX;
    if (statvfs(dir, &fs) != 0)
        return qn_fail_errno(err, dir, "cannot look for room");
    const uint64_t room = (uint64_t)fs.f_bavail * fs.f_frsize;
    if (bytes > room)
        return qn_fail_at(err, QINS_ERR_IO, dir, NULL, QN_NO_OFFSET,
                          "logits take %.3g GiB, there is room for %.3g",
                          (double)bytes / (double)much, (double)room / (double)much);
    if (bytes >= much)
        qn_notice(monitor, "%s: logits take %.1f GiB", dir, (double)bytes / (double)much);
    return QINS_OK;
}

static enum qins_status create(struct qn_logits_file *f, int which, const char *dir,
                               uint64_t positions, struct qins_error *err)
{
    const uint64_t shape[] = {positions, f->vocab};
    struct qn_buf header = {0};
    char *path = qn_path_join(dir, qn_logits_files[which], err);
    enum qins_status st = path ? QINS_OK : QINS_ERR_MEMORY;
    if (st == QINS_OK)
        st = qn_npy_header_write(&header, which == NEXT ? QINS_U32 : QINS_F32,
                                 which == NEXT ? 1 : 2, shape, err);
    if (st == QINS_OK)
        st = qn_output_create(&f->files[which], path, err);
    f->open[which] = st == QINS_OK;
    f->header[which] = header.size;
    if (st == QINS_OK)
        st = qn_output_write(&f->files[which], header.data, header.size, err);
    qn_buf_finish(&header);
    free(path);
    return st;
}

enum qins_status qn_logits_file_create(struct qn_logits_file **out, const char *dir,
                                       uint64_t positions, uint32_t vocab, bool candidate,
                                       const struct qn_monitor *monitor, struct qins_error *err)
{
    struct qn_logits_file *f = calloc(1, sizeof *f);
    *out = NULL;
    if (!f)
        return qn_fail_memory(err);
    f->vocab = vocab;
    pthread_mutex_init(&f->lock, NULL);
    if (!qn_exists(dir) && !(f->made = qn_strdup(dir, err))) {
        qn_logits_file_destroy(f);
        return QINS_ERR_MEMORY;
    }
    enum qins_status st = qn_make_directories(dir, err);
    if (st == QINS_OK)
        st = check_room(dir, positions, vocab, 1 + candidate, monitor, err);
    for (int i = 0; i < N_FILES && st == QINS_OK; i++)
        if (i != CANDIDATE || candidate)
            st = create(f, i, dir, positions, err);
    if (st == QINS_OK)
        *out = f;
    else
        qn_logits_file_destroy(f);
    return st;
}

static enum qins_status put(struct qn_logits_file *f, int which, uint64_t at, const void *data,
                            size_t size, struct qins_error *err)
{
    return f->open[which]
               ? qn_output_write_at(&f->files[which], f->header[which] + at * size, data, size, err)
               : QINS_OK;
}

void qn_logits_file_put(struct qn_logits_file *f, uint64_t at, const float *const logits[2],
                        uint32_t next)
{
    struct qins_error err = {.offset = QN_NO_OFFSET};
    const size_t row = f->vocab * sizeof(float);
    enum qins_status st = put(f, MODEL, at, logits[MODEL], row, &err);
    if (st == QINS_OK)
        st = put(f, CANDIDATE, at, logits[CANDIDATE], row, &err);
    if (st == QINS_OK)
        st = put(f, NEXT, at, &next, sizeof next, &err);
    if (st == QINS_OK)
        return;
    pthread_mutex_lock(&f->lock);
    if (f->failed.status == QINS_OK)
        f->failed = err;
    pthread_mutex_unlock(&f->lock);
}

enum qins_status qn_logits_file_check(struct qn_logits_file *f, struct qins_error *err)
{
    pthread_mutex_lock(&f->lock);
    const struct qins_error failed = f->failed;
    pthread_mutex_unlock(&f->lock);
    if (failed.status != QINS_OK && err)
        *err = failed;
    return failed.status;
}

enum qins_status qn_logits_file_commit(struct qn_logits_file *f, struct qins_error *err)
{
    enum qins_status st = qn_logits_file_check(f, err);
    for (int i = 0; i < N_FILES && st == QINS_OK; i++) {
        if (f->open[i]) {
            f->open[i] = false;
            st = qn_output_commit(&f->files[i], err);
        }
    }
    return st;
}

void qn_logits_file_destroy(struct qn_logits_file *f)
{
    if (!f)
        return;
    for (int i = 0; i < N_FILES; i++)
        if (f->open[i])
            qn_output_abandon(&f->files[i]);
    if (f->made)
        rmdir(f->made); /* fails where there is something in it */
    free(f->made);
    pthread_mutex_destroy(&f->lock);
    free(f);
}
