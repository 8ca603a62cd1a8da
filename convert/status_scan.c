#include "convert/status_scan.h"

#include "analyze/validate.h"
#include "convert/status.h"
#include "core/buf.h"
#include "core/file.h"
#include "core/folder.h"
#include "core/work_file.h"
#include "formats/archive/part.h"
#include "formats/archive/userblock.h"
#include "formats/calibration.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>

static const char hdf5_magic[QN_WORK_MAGIC_SIZE] = {(char)0x89, 'H',  'D',  'F',
                                                    '\r',       '\n', 0x1a, '\n'};

static enum qn_work_kind kind_of(const struct qn_work_head *head)
{
    static const struct {
        const char magic[QN_WORK_MAGIC_SIZE];
        enum qn_work_kind kind;
    } kinds[] = {{"QINSPRT", QN_WORK_CONVERT},
                 {"QINSCAL", QN_WORK_CALIBRATE},
                 {"QINSVAL", QN_WORK_VALIDATE}};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (memcmp(head->bytes, kinds[i].magic, sizeof kinds[i].magic) == 0)
            return kinds[i].kind;
    return memcmp(head->bytes, hdf5_magic, sizeof hdf5_magic) == 0 ? QN_WORK_CALIBRATE
                                                                   : QN_WORK_OTHER;
}

/* Whether ST says something of what is in a file; else the file could not be read. */
static bool tells(enum qins_status st)
{
    return st != QINS_ERR_IO && st != QINS_ERR_MEMORY;
}

/* What a part of a conversion says of itself. QINS_ERR_FORMAT where something of it is not whole.
 */
static enum qins_status read_part(struct qn_status_part *p, struct qins_error *err)
{
    struct qn_part_info info = {0};
    enum qins_status st = qn_part_read_info(p->path, p->work, &info, err);
    bool whole = st == QINS_OK;
    if (whole) {
        free(p->source);
        p->source = info.source;
        info.source = NULL;
        p->source_digest = info.source_digest;
        p->counts = true;
        p->chunks = qn_part_chunks(&info);
        p->chunks_done = info.chunks_done;
        whole = p->work ? !info.torn : info.complete;
        qn_part_info_finish(&info);
    }
    if (!whole && !p->work)
        p->state = QN_PART_DAMAGED;
    return st == QINS_OK && !whole ? QINS_ERR_FORMAT : st;
}

/* What a finished part of a calibration says of itself. */
static enum qins_status read_calibration(struct qn_status_part *p, struct qins_error *err)
{
    struct qn_calibration_part part;
    const enum qins_status st = qn_calibration_read_part(p->path, &part, err);
    p->has_job = st == QINS_OK;
    if (p->has_job)
        p->job = part.job;
    return st;
}

/* A part of calibrate or validate that has its final name. */
static enum qins_status judge_finished(struct qn_status_part *p, struct qins_error *err)
{
    enum qins_status st = QINS_OK;
    if (p->kind == QN_WORK_CALIBRATE)
        st = read_calibration(p, err);
    else if (p->kind == QN_WORK_VALIDATE)
        st = qn_validate_look_at_part(p->path, err);
    if (st == QINS_OK && p->has_job && p->kind != QN_WORK_OTHER)
        p->state = QN_PART_DONE;
    return st;
}

/* Work in progress: running or interrupted. */
static void judge_work(struct qn_status_part *p, enum qn_work_holder holder)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    const bool fresh = now.tv_sec - p->changed.tv_sec < QN_STATUS_HEARTBEAT;
    p->state = holder == QN_WORK_HELD || (holder == QN_WORK_UNKNOWN && fresh) ? QN_PART_RUNNING
                                                                              : QN_PART_INTERRUPTED;
}

/* Whether the archive is whole, as far as its head and its size tell. */
static enum qins_status judge_archive(struct qn_status_part *p, struct qins_error *err)
{
    struct qn_file f;
    struct qn_userblock u;
    uint8_t head[QN_USERBLOCK_SIZE];
    enum qins_status st = qn_file_open(&f, p->path, err);
    const bool long_enough = st == QINS_OK && f.size >= sizeof head;
    if (long_enough)
        st = qn_file_read(&f, 0, head, sizeof head, err);
    if (long_enough && st == QINS_OK)
        st = qn_userblock_unpack(head, sizeof head, f.size, &u, err);
    p->state = long_enough && st == QINS_OK ? QN_PART_DONE : QN_PART_DAMAGED;
    p->kind = QN_WORK_CONVERT;
    qn_file_close(&f);
    return st;
}

/* QINS_ERR_FORMAT and the like: it is damaged, and *p says so. */
static enum qins_status judge(struct qn_status_part *p, struct qins_error *err)
{
    struct qn_work_head head = {{0}};
    enum qn_work_holder holder = QN_WORK_UNKNOWN;
    if (p->finished)
        return judge_archive(p, err);
    p->state = QN_PART_DAMAGED;
    enum qins_status st = qn_work_file_look(p->path, &holder, &head, err);
    if (st != QINS_OK)
        return st;
    p->kind = kind_of(&head);
    /* Of a calibration in progress it is the part's own, which no other part has. */
    p->has_job = qn_work_head_intact(&head) && p->kind != QN_WORK_CALIBRATE;
    if (p->has_job)
        memcpy(p->job.bytes, head.bytes + QN_WORK_JOB_AT, sizeof p->job.bytes);
    if (p->work)
        judge_work(p, holder);
    else
        st = judge_finished(p, err);
    return p->kind == QN_WORK_CONVERT && p->shard.count > 0 ? read_part(p, err) : st;
}

/* Whether NAME ends like qn_output_create()'s: ".tmp-XXXXXX". */
static bool is_temporary(const char *name)
{
    enum { RANDOM = 6, SUFFIX = 5 + RANDOM };
    const size_t n = strlen(name);
    return n > SUFFIX && memcmp(name + n - SUFFIX, ".tmp-", SUFFIX - RANDOM) == 0;
}

/* Whether NAME is of work that status tells of; *length is that of its output's name. */
static bool classify(const char *name, struct qn_status_part *p, size_t *length)
{
    size_t n = strlen(name);
    char whole[NAME_MAX + 1];
    p->work = qn_has_suffix(name, ".part") && n > 5;
    n -= p->work ? 5 : 0;
    snprintf(whole, sizeof whole, "%.*s", (int)n, name);
    if (qn_shard_of_path(whole, &p->shard, length))
        return true;
    *length = n;
    p->finished = !p->work && qn_has_suffix(name, ".qins");
    return p->work || p->finished;
}

static enum qins_status add(struct qn_status_files *out, const struct qn_status_part *p,
                            struct qins_error *err)
{
    if (out->n == QN_STATUS_MOST)
        return qn_fail(err, QINS_ERR_UNSUPPORTED, "the folder has more than %d files of work",
                       QN_STATUS_MOST);
    if (out->n == out->capacity) {
        const size_t capacity = out->capacity ? out->capacity * 2 : 64;
        struct qn_status_part *items = realloc(out->items, capacity * sizeof *items);
        if (!items)
            return qn_fail_memory(err);
        out->items = items;
        out->capacity = capacity;
    }
    out->items[out->n++] = *p;
    return QINS_OK;
}

static void finish_part(struct qn_status_part *p)
{
    free(p->output);
    free(p->path);
    free(p->source);
}

/* All that is to be known of P. *THERE is false where the file has vanished meanwhile, or may be
 * anybody's. */
static enum qins_status study(struct qn_status_part *p, bool *there, struct qins_error *err)
{
    enum { TRIES = 4 };
    enum qins_status st = judge(p, err);
    bool same = false;
    /* It may have been cut or replaced while it was looked at: what two looks agree on is so. */
    for (int i = 1; i < TRIES && st != QINS_OK && tells(st) && !same; i++) {
        const enum qn_part_state state = p->state;
        const uint64_t chunks = p->chunks_done;
        st = judge(p, err);
        same = p->state == state && p->chunks_done == chunks;
    }
    if (tells(st))
        st = QINS_OK;
    if (st == QINS_ERR_IO && qn_find_regular(p->path, there, NULL) == QINS_OK && !*there)
        return QINS_OK;
    *there = p->shard.count > 0 || p->kind != QN_WORK_OTHER;
    return st;
}

static enum qins_status look_at(const char *dir, const char *name, struct qn_status_files *out,
                                struct qins_error *err)
{
    struct qn_status_part p = {.kind = QN_WORK_OTHER};
    struct stat info;
    size_t length = 0;
    const bool temporary = is_temporary(name);
    if (!temporary && !classify(name, &p, &length))
        return QINS_OK;
    p.path = qn_path_join(dir, name, err);
    bool there = false;
    enum qins_status st = p.path ? qn_look_at(p.path, &info, &there, err) : QINS_ERR_MEMORY;
    there = there && S_ISREG(info.st_mode);
    if (st == QINS_OK && there && temporary) {
        out->leftovers++;
        out->leftover_bytes += (uint64_t)info.st_size;
        there = false;
    }
    if (st == QINS_OK && there) {
        p.output = qn_strndup(p.path, strlen(p.path) - strlen(name) + length, err);
        p.bytes = (uint64_t)info.st_size;
        p.changed = info.st_mtim;
        st = p.output ? study(&p, &there, err) : QINS_ERR_MEMORY;
    }
    if (st == QINS_OK && there)
        st = add(out, &p, err);
    if (st != QINS_OK || !there)
        finish_part(&p);
    return st;
}

static int by_place(const void *a, const void *b)
{
    const struct qn_status_part *p = a, *q = b;
    const int text = strcmp(p->output, q->output);
    if (text != 0)
        return text;
    if (p->shard.count != q->shard.count)
        return p->shard.count < q->shard.count ? -1 : 1;
    if (p->shard.index != q->shard.index)
        return p->shard.index < q->shard.index ? -1 : 1;
    return p->work - q->work;
}

enum qins_status qn_status_scan(const char *dir, struct qn_status_files *out,
                                struct qins_error *err)
{
    *out = (struct qn_status_files){0};
    DIR *d = opendir(dir);
    if (!d)
        return qn_fail_errno(err, dir, "cannot open");
    const char *name = "";
    enum qins_status st = QINS_OK;
    while (st == QINS_OK && name) {
        st = qn_folder_next(d, dir, &name, err);
        if (st == QINS_OK && name)
            st = look_at(dir, name, out, err);
    }
    closedir(d);
    if (out->n > 1)
        qsort(out->items, out->n, sizeof *out->items, by_place);
    return st;
}

void qn_status_files_finish(struct qn_status_files *files)
{
    for (size_t i = 0; i < files->n; i++)
        finish_part(&files->items[i]);
    free(files->items);
    *files = (struct qn_status_files){0};
}
