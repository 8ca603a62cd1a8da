#include "analyze/evidence.h"

#include "analyze/limits.h"
#include "core/file.h"
#include "core/folder.h"

#include <stdlib.h>
#include <string.h>

enum {
    MAX_DEPTH = 8,         /* of folders */
    MAX_FILES = 4096,      /* *.json, evidence or not */
    MAX_ENTRIES = 1 << 16, /* of a folder */
};
/* An entropy_analysis.json of a model of 70e9 weights is some 20 MB. */
enum { MAX_FILE = 1 << 28, MAX_TOTAL = 1 << 30 }; /* bytes */

/* Gates and reviews of them are no evidence. */
static const char ours[] = "qins/", not_these[] = "qins/gate";
static const char suffix[] = ".json";

struct walk {
    struct qn_evidence *e;
    const struct qn_monitor *monitor;
    size_t seen; /* *.json files */
};

/* Takes over TEXT. */
static enum qins_status add_note(struct qn_evidence *e, char *text, struct qins_error *err)
{
    if (!text)
        return QINS_ERR_MEMORY;
    qn_json_append(&e->notes, qn_json_text(text));
    free(text);
    return e->notes ? QINS_OK : qn_fail_memory(err);
}

static const struct qn_evidence_file *same_bytes(const struct qn_evidence *e,
                                                 const struct qn_digest *d)
{
    for (size_t i = 0; i < e->n; i++)
        if (memcmp(&e->files[i].digest, d, sizeof *d) == 0)
            return &e->files[i];
    return NULL;
}

/* Takes over REPORT. */
static enum qins_status add(struct qn_evidence *e, const char *path, json_t *report,
                            const struct qn_digest *digest, uint64_t bytes, struct qins_error *err)
{
    if (e->n == e->capacity) {
        const size_t capacity = e->capacity ? 2 * e->capacity : 16;
        struct qn_evidence_file *grown = realloc(e->files, capacity * sizeof *grown);
        if (!grown) {
            json_decref(report);
            return qn_fail_memory(err);
        }
        e->files = grown;
        e->capacity = capacity;
    }
    struct qn_evidence_file *f = &e->files[e->n];
    *f = (struct qn_evidence_file){.path = qn_strdup(path, err),
                                   .schema = json_string_value(json_object_get(report, "schema")),
                                   .report = report,
                                   .digest = *digest,
                                   .bytes = bytes};
    e->n++;
    return f->path ? QINS_OK : QINS_ERR_MEMORY;
}

static enum qins_status take_text(struct qn_evidence *e, const char *path, const struct qn_buf *b,
                                  struct qins_error *err)
{
    const struct qn_digest digest = qn_hash128(b->data, b->size);
    const struct qn_evidence_file *twin = same_bytes(e, &digest);
    if (twin)
        return add_note(e, qn_format(err, "%s is a copy of %s", path, twin->path), err);
    json_t *report = qn_json_parse(b->data, b->size, 0, err);
    if (!report)
        return qn_error_in_file(err, err ? err->status : QINS_ERR_FORMAT, path);
    const char *schema = json_string_value(json_object_get(report, "schema"));
    if (schema && strncmp(schema, ours, sizeof ours - 1) == 0 &&
        strncmp(schema, not_these, sizeof not_these - 1) != 0)
        return add(e, path, report, &digest, b->size, err);
    json_decref(report);
    return QINS_OK;
}

static enum qins_status take_file(struct walk *w, const char *path, struct qins_error *err)
{
    struct qn_evidence *e = w->e;
    struct qn_buf text = {0};
    if (++w->seen > MAX_FILES)
        return qn_fail_at(err, QINS_ERR_FORMAT, path, NULL, QN_NO_OFFSET,
                          "evidence: more than %d JSON files", MAX_FILES);
    enum qins_status st = qn_check_stop(w->monitor, err);
    if (st == QINS_OK)
        st = qn_read_whole(path, MAX_FILE, &text, err);
    if (st == QINS_OK && text.size > MAX_TOTAL - e->bytes)
        st = qn_fail_at(err, QINS_ERR_FORMAT, path, NULL, QN_NO_OFFSET,
                        "evidence: more than %u MiB of JSON files", (unsigned)(MAX_TOTAL >> 20));
    if (st == QINS_OK) {
        e->bytes += text.size;
        st = take_text(e, path, &text, err);
    }
    qn_buf_finish(&text);
    return st;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

struct names {
    char **of;
    size_t n, capacity;
};

static void names_finish(struct names *l)
{
    for (size_t i = 0; i < l->n; i++)
        free(l->of[i]);
    free(l->of);
}

static enum qins_status names_add(struct names *l, const char *dir, const char *name,
                                  struct qins_error *err)
{
    if (l->n == MAX_ENTRIES)
        return qn_fail_at(err, QINS_ERR_FORMAT, dir, NULL, QN_NO_OFFSET,
                          "evidence: more than %d files in a folder", MAX_ENTRIES);
    if (l->n == l->capacity) {
        const size_t capacity = l->capacity ? 2 * l->capacity : 64;
        char **grown = realloc(l->of, capacity * sizeof(char *));
        if (!grown)
            return qn_fail_memory(err);
        l->of = grown;
        l->capacity = capacity;
    }
    l->of[l->n] = qn_strdup(name, err);
    if (!l->of[l->n])
        return QINS_ERR_MEMORY;
    l->n++;
    return QINS_OK;
}

/* Names in DIR but hidden ones, sorted; *L is the caller's, also after a failure. */
static enum qins_status list(const char *dir, struct names *l, struct qins_error *err)
{
    enum qins_status st = QINS_OK;
    DIR *d = opendir(dir);
    if (!d)
        return qn_fail_errno(err, dir, "cannot open the folder");
    for (const char *name = ""; st == QINS_OK;) {
        st = qn_folder_next(d, dir, &name, err);
        if (st != QINS_OK || !name)
            break;
        if (name[0] != '.')
            st = names_add(l, dir, name, err);
    }
    closedir(d);
    if (l->n > 1)
        qsort(l->of, l->n, sizeof(char *), compare_names);
    return st;
}

static enum qins_status take_folder(struct walk *w, const char *dir, int depth,
                                    struct qins_error *err);

/* PATH in a folder at DEPTH; links to folders could lead in a circle. */
static enum qins_status take_entry(struct walk *w, const char *path, int depth,
                                   struct qins_error *err)
{
    enum qn_entry what;
    enum qins_status st = qn_find(path, false, &what, err);
    const bool linked = what == QN_ENTRY_LINK, named = qn_has_suffix(path, suffix);
    if (st == QINS_OK && linked && named)
        st = qn_find(path, true, &what, err);
    if (st != QINS_OK)
        return st;
    if (what == QN_ENTRY_FOLDER)
        return linked ? QINS_OK : take_folder(w, path, depth + 1, err);
    if (!named)
        return QINS_OK;
    if (what == QN_ENTRY_REGULAR)
        return take_file(w, path, err);
    return add_note(w->e, qn_format(err, "%s is no file that can be read: passed over", path), err);
}

/* The folder itself may be a link: somebody named it. */
static enum qins_status take_folder(struct walk *w, const char *dir, int depth,
                                    struct qins_error *err)
{
    struct names l = {0};
    if (depth > MAX_DEPTH)
        return qn_fail_at(err, QINS_ERR_FORMAT, dir, NULL, QN_NO_OFFSET,
                          "evidence: folders nest deeper than %d", MAX_DEPTH);
    enum qins_status st = list(dir, &l, err);
    for (size_t i = 0; i < l.n && st == QINS_OK; i++) {
        char *path = qn_path_join(dir, l.of[i], err);
        st = path ? take_entry(w, path, depth, err) : QINS_ERR_MEMORY;
        free(path);
    }
    names_finish(&l);
    return st;
}

enum qins_status qn_evidence_load(struct qn_evidence *e, const char *const *paths, size_t n,
                                  const struct qn_monitor *monitor, struct qins_error *err)
{
    struct walk w = {.e = e, .monitor = monitor};
    *e = (struct qn_evidence){.notes = json_array()};
    enum qins_status st = e->notes ? QINS_OK : qn_fail_memory(err);
    for (size_t i = 0; i < n && st == QINS_OK; i++) {
        enum qn_entry what;
        st = qn_find(paths[i], true, &what, err);
        if (st == QINS_OK)
            st = what == QN_ENTRY_FOLDER ? take_folder(&w, paths[i], 0, err)
                                         : take_file(&w, paths[i], err);
    }
    return st;
}

void qn_evidence_finish(struct qn_evidence *e)
{
    for (size_t i = 0; i < e->n; i++) {
        free(e->files[i].path);
        json_decref(e->files[i].report);
    }
    free(e->files);
    json_decref(e->notes);
    *e = (struct qn_evidence){0};
}

const struct qn_limit qn_evidence_limits[] = {
    {"evidence", "folder_depth", MAX_DEPTH, "levels", "the stack, from folders in folders"},
    {"evidence", "files", MAX_FILES, "files", "time"},
    {"evidence", "entries", MAX_ENTRIES, "entries", "memory for a folder's list"},
    {"evidence", "file", MAX_FILE, "bytes", "memory that the JSON takes"},
    {"evidence", "all_files", MAX_TOTAL, "bytes", "the same, of all files"},
    {0},
};
