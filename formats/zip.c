#include "formats/zip.h"

#include "core/bytes.h"
#include "core/file.h"
#include "formats/limits.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>
#include <zip.h>
#include <zlib.h>

/* UNPACKED_FLOOR bytes are always allowed. */
enum { UNPACKED_FLOOR = 1 << 30, UNPACKED_RATIO = 200, PIECE = 64 << 10 };
enum { LOCAL_HEADER = 30 }; /* bytes without name and extra field: APPNOTE.TXT 4.3.7 */

/* Where an entry's bytes can be read in place. */
enum place { IN_LIBZIP, IN_FILE, IN_SCRATCH };

/* What is known of the CRC-32 of an entry that is read in place. */
enum crc_state { CRC_UNCHECKED, CRC_IN_CHECK, CRC_GOOD, CRC_BAD };

struct entry {
    const char *name; /* libzip's */
    uint64_t size;    /* unpacked, bytes */
    uint64_t packed;  /* bytes in the archive */
    uint64_t begin;   /* of its bytes in the archive; UINT64_MAX: not known */
    uint64_t at;      /* offset in the file or in the scratch file */
    uint32_t crc;
    enum place place;
    enum crc_state crc_state;
};

struct qn_zip {
    struct qn_file file, scratch;
    zip_t *handle;
    zip_error_t error;    /* of the source below */
    uint64_t position;    /* of libzip in the file */
    uint64_t first_read;  /* where libzip's first read since this was UINT64_MAX began */
    enum qins_status bad; /* how our own read failed, if it did */
    int bad_errno;        /* where that is QINS_ERR_IO */
    pthread_mutex_t lock; /* guards all above but `file`, and the entries from `at` on */
    pthread_cond_t checked;
    struct entry *entries;
    size_t count;
    size_t *by_name; /* entry numbers, sorted */
};

static zip_int64_t source_read(struct qn_zip *z, void *dst, uint64_t size)
{
    uint64_t n = qn_min_u64(size, z->file.size - z->position);
    if (z->first_read == UINT64_MAX)
        z->first_read = z->position;
    z->bad = qn_file_read(&z->file, z->position, dst, (size_t)n, NULL);
    if (z->bad != QINS_OK) {
        z->bad_errno = errno;
        zip_error_set(&z->error, ZIP_ER_READ, 0);
        return -1;
    }
    z->position += n;
    return (zip_int64_t)n;
}

static zip_int64_t source_stat(struct qn_zip *z, void *data, uint64_t size)
{
    zip_stat_t *stat = ZIP_SOURCE_GET_ARGS(zip_stat_t, data, size, &z->error);
    if (!stat)
        return -1;
    zip_stat_init(stat);
    stat->size = z->file.size;
    stat->valid = ZIP_STAT_SIZE;
    return sizeof *stat;
}

static zip_int64_t source_seek(struct qn_zip *z, void *data, uint64_t size)
{
    zip_int64_t p =
        zip_source_seek_compute_offset(z->position, z->file.size, data, size, &z->error);
    if (p < 0)
        return -1;
    z->position = (uint64_t)p;
    return 0;
}

/* libzip reads through this, so that one descriptor serves it and our own preads, and so that we
 * see where it reads. */
static zip_int64_t source(void *ctx, void *data, zip_uint64_t size, zip_source_cmd_t command)
{
    struct qn_zip *z = ctx;
    switch (command) {
    case ZIP_SOURCE_OPEN:
        z->position = 0;
        return 0;
    case ZIP_SOURCE_READ:
        return source_read(z, data, size);
    case ZIP_SOURCE_STAT:
        return source_stat(z, data, size);
    case ZIP_SOURCE_ERROR:
        return zip_error_to_data(&z->error, data, size);
    case ZIP_SOURCE_SEEK:
        return source_seek(z, data, size);
    case ZIP_SOURCE_TELL:
        return (zip_int64_t)z->position;
    case ZIP_SOURCE_SUPPORTS:
        return zip_source_make_command_bitmap(
            ZIP_SOURCE_OPEN, ZIP_SOURCE_READ, ZIP_SOURCE_CLOSE, ZIP_SOURCE_STAT, ZIP_SOURCE_ERROR,
            ZIP_SOURCE_FREE, ZIP_SOURCE_SEEK, ZIP_SOURCE_TELL, ZIP_SOURCE_SUPPORTS, -1);
    case ZIP_SOURCE_CLOSE:
    case ZIP_SOURCE_FREE:
        return 0;
    default:
        zip_error_set(&z->error, ZIP_ER_OPNOTSUPP, 0);
        return -1;
    }
}

static enum qins_status fail_zip(const struct qn_zip *z, zip_error_t *error, const char *entry,
                                 struct qins_error *err)
{
    enum qins_status st = z->bad != QINS_OK ? z->bad : QINS_ERR_FORMAT;
    errno = z->bad_errno;
    if (z->bad == QINS_ERR_IO)
        return qn_fail_errno(err, z->file.path, "read");
    if (z->bad == QINS_OK && zip_error_code_zip(error) == ZIP_ER_MEMORY)
        return qn_error_in_file(err, qn_fail_memory(err), z->file.path);
    return qn_fail_at(err, st, z->file.path, NULL, QN_NO_OFFSET, "ZIP %s%s%s: %s",
                      entry ? "entry '" : "archive", entry ? entry : "", entry ? "'" : "",
                      zip_error_strerror(error));
}

static enum qins_status fail_entry(const struct qn_zip *z, const struct entry *e,
                                   enum qins_status st, const char *what, struct qins_error *err)
{
    return qn_fail_at(err, st, z->file.path, NULL, QN_NO_OFFSET, "ZIP entry '%s' %s", e->name,
                      what);
}

static enum qins_status open_handle(struct qn_zip *z, struct qins_error *err)
{
    zip_error_t error;
    zip_error_init(&error);
    enum qins_status st = QINS_OK;
    zip_source_t *s = zip_source_function_create(source, z, &error);
    if (s)
        z->handle = zip_open_from_source(s, ZIP_RDONLY, &error);
    if (!z->handle) {
        if (s)
            zip_source_free(s);
        st = fail_zip(z, &error, NULL, err);
    }
    zip_error_fini(&error);
    return st;
}

/* Finds where an entry lies: libzip, which has parsed and checked the headers, is made to read
 * the first byte, and our source sees where. */
static enum qins_status locate(struct qn_zip *z, size_t i, bool stored, struct qins_error *err)
{
    struct entry *e = &z->entries[i];
    uint8_t byte, again;
    zip_file_t *f = zip_fopen_index(z->handle, i, 0);
    if (!f)
        return fail_zip(z, zip_get_error(z->handle), e->name, err);
    enum qins_status st = QINS_OK;
    z->first_read = UINT64_MAX;
    /* Damage of a compressed entry shows when it is unpacked. */
    if (zip_fread(f, &byte, 1) != 1 && stored)
        st = fail_zip(z, zip_file_get_error(f), e->name, err);
    zip_fclose(f);
    e->begin = z->first_read;
    if (st != QINS_OK || e->begin == UINT64_MAX)
        return st;
    if (e->begin > z->file.size || e->packed > z->file.size - e->begin)
        return fail_entry(z, e, QINS_ERR_FORMAT, "reaches past the end of the file", err);
    if (!stored)
        return QINS_OK;
    st = qn_file_read(&z->file, e->begin, &again, 1, err);
    /* A libzip that reads otherwise than thought is left to do all the reading itself. */
    if (st == QINS_OK && z->position == e->begin + 1 && byte == again) {
        e->at = e->begin;
        e->place = IN_FILE;
    }
    return st;
}

uint64_t qn_zip_limit(const struct qn_zip *z)
{
    uint64_t limit;
    if (!qn_mul_u64(z->file.size, UNPACKED_RATIO, &limit))
        return UINT64_MAX;
    return limit > UNPACKED_FLOOR ? limit : UNPACKED_FLOOR;
}

struct totals {
    uint64_t packed, unpacked; /* bytes; unpacked only of compressed entries */
};

static enum qins_status check_entry(struct qn_zip *z, struct entry *e, const zip_stat_t *s,
                                    struct totals *sum, struct qins_error *err)
{
    const zip_uint64_t need = ZIP_STAT_NAME | ZIP_STAT_SIZE | ZIP_STAT_COMP_SIZE |
                              ZIP_STAT_COMP_METHOD | ZIP_STAT_ENCRYPTION_METHOD | ZIP_STAT_CRC;
    if ((s->valid & need) != need)
        return fail_entry(z, e, QINS_ERR_FORMAT, "is not fully described", err);
    if (s->encryption_method != ZIP_EM_NONE)
        return fail_entry(z, e, QINS_ERR_UNSUPPORTED, "is encrypted", err);
    if (s->comp_method != ZIP_CM_STORE && s->comp_method != ZIP_CM_DEFLATE)
        return fail_entry(z, e, QINS_ERR_UNSUPPORTED, "is compressed otherwise than by deflate",
                          err);
    bool stored = s->comp_method == ZIP_CM_STORE;
    if (stored && s->size != s->comp_size)
        return fail_entry(z, e, QINS_ERR_FORMAT, "is stored but has two sizes", err);
    if (!qn_add_u64(sum->packed, s->comp_size, &sum->packed) || sum->packed > z->file.size)
        return fail_entry(z, e, QINS_ERR_FORMAT,
                          "brings the entries' sizes above the size of the file", err);
    if (!stored &&
        (!qn_add_u64(sum->unpacked, s->size, &sum->unpacked) || sum->unpacked > qn_zip_limit(z)))
        return fail_entry(z, e, QINS_ERR_UNSUPPORTED,
                          "unpacks to more than qins allows of a file of this size", err);
    e->size = s->size;
    e->packed = s->comp_size;
    e->begin = UINT64_MAX;
    e->crc = s->crc;
    return QINS_OK;
}

static enum qins_status list_entries(struct qn_zip *z, struct qins_error *err)
{
    struct totals sum = {0, 0};
    zip_int64_t n = zip_get_num_entries(z->handle, 0);
    z->entries = calloc(n > 0 ? (size_t)n : 1, sizeof *z->entries);
    if (!z->entries)
        return qn_fail_memory(err);
    for (zip_int64_t i = 0; i < n; i++) {
        struct entry *e = &z->entries[i];
        zip_stat_t s;
        zip_stat_init(&s);
        e->name = zip_get_name(z->handle, (zip_uint64_t)i, ZIP_FL_ENC_RAW);
        if (!e->name || zip_stat_index(z->handle, (zip_uint64_t)i, ZIP_FL_ENC_RAW, &s) != 0)
            return fail_zip(z, zip_get_error(z->handle), e->name, err);
        enum qins_status st = check_entry(z, e, &s, &sum, err);
        if (st == QINS_OK && e->packed > 0)
            st = locate(z, (size_t)i, s.comp_method == ZIP_CM_STORE, err);
        if (st != QINS_OK)
            return st;
        z->count++;
    }
    return QINS_OK;
}

static int compare_places(const void *a, const void *b, void *ctx)
{
    const struct entry *entries = ctx;
    const struct entry *x = &entries[*(const size_t *)a], *y = &entries[*(const size_t *)b];
    return (x->begin > y->begin) - (x->begin < y->begin);
}

/* An entry's data, with the smallest local header before them, is its own. ORDER has room for a
 * number of each entry. */
static enum qins_status check_overlap(const struct qn_zip *z, size_t *order, struct qins_error *err)
{
    size_t n = 0;
    for (size_t i = 0; i < z->count; i++)
        if (z->entries[i].begin != UINT64_MAX)
            order[n++] = i;
    qsort_r(order, n, sizeof *order, compare_places, z->entries);
    for (size_t i = 1; i < n; i++) {
        const struct entry *before = &z->entries[order[i - 1]], *e = &z->entries[order[i]];
        uint64_t gap = e->begin - before->begin;
        if (gap < before->packed || gap - before->packed < LOCAL_HEADER)
            return fail_entry(z, e, QINS_ERR_FORMAT, "overlaps another one", err);
    }
    return QINS_OK;
}

static int compare_names(const void *a, const void *b, void *ctx)
{
    const struct entry *entries = ctx;
    const size_t *x = a, *y = b;
    return strcmp(entries[*x].name, entries[*y].name);
}

static enum qins_status sort_names(struct qn_zip *z, struct qins_error *err)
{
    for (size_t i = 0; i < z->count; i++)
        z->by_name[i] = i;
    qsort_r(z->by_name, z->count, sizeof *z->by_name, compare_names, z->entries);
    for (size_t i = 1; i < z->count; i++)
        if (compare_names(&z->by_name[i - 1], &z->by_name[i], z->entries) == 0)
            return fail_entry(z, &z->entries[z->by_name[i]], QINS_ERR_FORMAT, "is there twice",
                              err);
    return QINS_OK;
}

static enum qins_status sort_entries(struct qn_zip *z, struct qins_error *err)
{
    z->by_name = calloc(z->count + 1, sizeof *z->by_name);
    if (!z->by_name)
        return qn_fail_memory(err);
    enum qins_status st = check_overlap(z, z->by_name, err);
    return st == QINS_OK ? sort_names(z, err) : st;
}

enum qins_status qn_zip_open(struct qn_zip **out, const char *path, struct qins_error *err)
{
    struct qn_zip *z = calloc(1, sizeof *z);
    if (!z)
        return qn_fail_memory(err);
    z->scratch.fd = -1;
    zip_error_init(&z->error);
    pthread_mutex_init(&z->lock, NULL);
    pthread_cond_init(&z->checked, NULL);
    enum qins_status st = qn_file_open(&z->file, path, err);
    if (st == QINS_OK)
        st = open_handle(z, err);
    if (st == QINS_OK)
        st = list_entries(z, err);
    if (st == QINS_OK)
        st = sort_entries(z, err);
    if (st != QINS_OK) {
        qn_zip_close(z);
        return qn_error_in_file(err, st, path);
    }
    *out = z;
    return QINS_OK;
}

void qn_zip_close(struct qn_zip *z)
{
    if (!z)
        return;
    if (z->handle)
        zip_discard(z->handle);
    zip_error_fini(&z->error);
    pthread_mutex_destroy(&z->lock);
    pthread_cond_destroy(&z->checked);
    qn_file_close(&z->file);
    qn_file_close(&z->scratch);
    free(z->entries);
    free(z->by_name);
    free(z);
}

bool qn_zip_has_magic(const uint8_t *head, size_t head_size)
{
    return head_size >= 4 && memcmp(head, "PK\3\4", 4) == 0;
}

size_t qn_zip_count(const struct qn_zip *z)
{
    return z->count;
}

const char *qn_zip_name(const struct qn_zip *z, size_t entry)
{
    return z->entries[entry].name;
}

uint64_t qn_zip_size(const struct qn_zip *z, size_t entry)
{
    return z->entries[entry].size;
}

uint64_t qn_zip_packed_size(const struct qn_zip *z, size_t entry)
{
    return z->entries[entry].packed;
}

uint64_t qn_zip_file_size(const struct qn_zip *z)
{
    return z->file.size;
}

size_t qn_zip_find(const struct qn_zip *z, const char *name)
{
    size_t low = 0, high = z->count;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        int order = strcmp(z->entries[z->by_name[mid]].name, name);
        if (order == 0)
            return z->by_name[mid];
        if (order < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return SIZE_MAX;
}

/* Passes the first SIZE bytes of an entry on in pieces; with SIZE the entry's own, libzip's
 * check of the CRC comes with it. The lock is held. */
static enum qins_status stream(struct qn_zip *z, size_t i, uint64_t size,
                               enum qins_status (*take)(void *ctx, const void *data, size_t size,
                                                        struct qins_error *err),
                               void *ctx, struct qins_error *err)
{
    struct entry *e = &z->entries[i];
    enum qins_status st = QINS_OK;
    uint64_t left = size;
    uint8_t *piece = malloc(PIECE);
    zip_file_t *f = zip_fopen_index(z->handle, i, 0);
    if (!piece || !f) {
        st = piece ? fail_zip(z, zip_get_error(z->handle), e->name, err) : qn_fail_memory(err);
        goto done;
    }
    while (left > 0 && st == QINS_OK) {
        zip_int64_t n = zip_fread(f, piece, qn_min_u64(PIECE, left));
        if (n < 0)
            st = fail_zip(z, zip_file_get_error(f), e->name, err);
        else if (n == 0)
            st = fail_entry(z, e, QINS_ERR_FORMAT, "is shorter than it claims", err);
        else
            st = take(ctx, piece, (size_t)n, err);
        left -= n > 0 ? (uint64_t)n : 0;
    }
    if (st == QINS_OK && size == e->size) {
        zip_int64_t n = zip_fread(f, piece, 1);
        if (n < 0)
            st = fail_zip(z, zip_file_get_error(f), e->name, err);
        else if (n > 0)
            st = fail_entry(z, e, QINS_ERR_FORMAT, "is longer than it claims", err);
    }
done:
    if (f)
        zip_fclose(f);
    free(piece);
    return st;
}

static enum qins_status take_buffer(void *ctx, const void *data, size_t size,
                                    struct qins_error *err)
{
    return qn_buf_append(ctx, data, size, err);
}

static enum qins_status take_scratch(void *ctx, const void *data, size_t size,
                                     struct qins_error *err)
{
    struct qn_zip *z = ctx;
    const uint8_t *p = data;
    while (size > 0) {
        ssize_t n = pwrite(z->scratch.fd, p, size, (off_t)z->scratch.size);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return qn_fail_errno(err, z->file.path, "unpacking into a temporary file");
        p += n;
        size -= (size_t)n;
        z->scratch.size += (uint64_t)n;
    }
    return QINS_OK;
}

/* Unpacks the entry behind what the scratch file holds already. The lock is held. */
static enum qins_status unpack(struct qn_zip *z, size_t i, struct qins_error *err)
{
    struct entry *e = &z->entries[i];
    if (z->scratch.fd < 0) {
        if (!z->scratch.path)
            z->scratch.path = qn_strdup(z->file.path, err);
        z->scratch.fd = z->scratch.path ? qn_scratch_file(err) : -1;
        if (z->scratch.fd < 0)
            return err ? err->status : QINS_ERR_IO;
    }
    uint64_t at = z->scratch.size;
    enum qins_status st = stream(z, i, e->size, take_scratch, z, err);
    if (st != QINS_OK) {
        z->scratch.size = at;
        return st;
    }
    e->at = at;
    e->place = IN_SCRATCH;
    return QINS_OK;
}

static enum qins_status compute_crc(const struct qn_zip *z, const struct entry *e, uint32_t *crc,
                                    struct qins_error *err)
{
    uint8_t *piece = malloc(PIECE);
    enum qins_status st = piece ? QINS_OK : qn_fail_memory(err);
    *crc = 0;
    for (uint64_t at = 0; at < e->size && st == QINS_OK; at += PIECE) {
        size_t n = (size_t)qn_min_u64(PIECE, e->size - at);
        st = qn_file_read(&z->file, e->at + at, piece, n, err);
        if (st == QINS_OK)
            *crc = (uint32_t)crc32_z(*crc, piece, n);
    }
    free(piece);
    return st;
}

/* Checks a stored entry's CRC-32 once, by the first who comes; others wait. The lock is held, but
 * not while the entry is read. A field of 0 says nothing: torch leaves it so after
 * torch.serialization.set_crc32_options(False). */
static enum qins_status check_crc(struct qn_zip *z, struct entry *e, struct qins_error *err)
{
    enum qins_status st = QINS_OK;
    while (e->crc_state == CRC_IN_CHECK)
        pthread_cond_wait(&z->checked, &z->lock);
    if (e->crc == 0)
        e->crc_state = CRC_GOOD;
    if (e->crc_state == CRC_UNCHECKED) {
        uint32_t crc;
        e->crc_state = CRC_IN_CHECK;
        pthread_mutex_unlock(&z->lock);
        st = compute_crc(z, e, &crc, err);
        pthread_mutex_lock(&z->lock);
        e->crc_state = st != QINS_OK ? CRC_UNCHECKED : crc == e->crc ? CRC_GOOD : CRC_BAD;
        pthread_cond_broadcast(&z->checked);
    }
    if (e->crc_state == CRC_BAD)
        st = fail_entry(z, e, QINS_ERR_FORMAT, "does not have the CRC-32 that it should", err);
    return st;
}

/* Makes an entry fit to be read in place; *e is a copy of its description. */
static enum qins_status settle(struct qn_zip *z, size_t i, struct entry *e, struct qins_error *err)
{
    enum qins_status st = QINS_OK;
    pthread_mutex_lock(&z->lock);
    if (z->entries[i].place == IN_LIBZIP)
        st = unpack(z, i, err);
    else if (z->entries[i].place == IN_FILE)
        st = check_crc(z, &z->entries[i], err);
    *e = z->entries[i];
    pthread_mutex_unlock(&z->lock);
    return st;
}

enum qins_status qn_zip_head(struct qn_zip *z, size_t entry, size_t limit, struct qn_buf *out,
                             struct qins_error *err)
{
    enum qins_status st;
    const struct entry *e = &z->entries[entry];
    size_t size = (size_t)qn_min_u64(limit, e->size), before = out->size;
    if (size > 0 && size == e->size && size == e->packed) { /* libzip would not take a field of 0 */
        st = qn_buf_append_zeros(out, size, err);
        return st == QINS_OK ? qn_zip_read(z, entry, 0, out->data + before, size, err) : st;
    }
    pthread_mutex_lock(&z->lock);
    st = stream(z, entry, size, take_buffer, out, err);
    pthread_mutex_unlock(&z->lock);
    return st;
}

enum qins_status qn_zip_read(struct qn_zip *z, size_t entry, uint64_t offset, void *dst,
                             size_t size, struct qins_error *err)
{
    struct entry e = {0};
    if (size == 0)
        return QINS_OK;
    enum qins_status st = settle(z, entry, &e, err);
    if (st != QINS_OK)
        return st;
    if (offset > e.size || size > e.size - offset)
        return fail_entry(z, &e, QINS_ERR_FORMAT, "is shorter than what is sought in it", err);
    return qn_file_read(e.place == IN_FILE ? &z->file : &z->scratch, e.at + offset, dst, size, err);
}

const struct qn_limit qn_zip_limits[] = {
    {"zip", "unfolded_per_byte", UNPACKED_RATIO, "bytes",
     "bombs: data that a byte of file may unfold to"},
    {"zip", "unfolded_always", UNPACKED_FLOOR, "bytes", "the same, in a small file"},
    {0},
};
