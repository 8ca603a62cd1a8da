#include "convert/sources.h"

#include "core/file.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* What qins itself writes beside a model is no part of it. */
static int is_input(const struct dirent *e)
{
    return e->d_name[0] != '.' && !strstr(e->d_name, ".qins");
}

/* The folder that PATH is, or that an index file stands in; NULL where PATH is alone. */
static enum qins_status folder_of(const char *path, char **dir, struct qins_error *err)
{
    *dir = NULL;
    if (qn_is_directory(path))
        *dir = qn_strdup(path, err);
    else if (qn_has_suffix(path, ".json"))
        *dir = qn_path_dir(path, err);
    else
        return QINS_OK;
    return *dir ? QINS_OK : QINS_ERR_MEMORY;
}

/* Calls VISIT for PATH if it is a file, and for each file of its folder in order of names. */
static enum qins_status each_file(const char *path,
                                  enum qins_status (*visit)(void *ctx, const char *file,
                                                            struct qins_error *err),
                                  void *ctx, struct qins_error *err)
{
    char *dir;
    struct dirent **entries = NULL;
    enum qins_status st = folder_of(path, &dir, err);
    if (st == QINS_OK && !qn_is_directory(path))
        st = visit(ctx, path, err);
    if (st != QINS_OK || !dir) {
        free(dir);
        return st;
    }
    int n = scandir(dir, &entries, is_input, alphasort);
    if (n < 0)
        st = qn_fail_errno(err, dir, "cannot list the folder");
    for (int i = 0; i < n; i++) {
        char *file = st == QINS_OK ? qn_path_join(dir, entries[i]->d_name, err) : NULL;
        if (st == QINS_OK)
            st = file ? visit(ctx, file, err) : QINS_ERR_MEMORY;
        free(file);
        free(entries[i]);
    }
    free(entries);
    free(dir);
    return st;
}

static enum qins_status refuse_same(void *ctx, const char *file, struct qins_error *err)
{
    const char *output = ctx;
    if (qn_same_file(file, output))
        return qn_fail_at(err, QINS_ERR_USAGE, output, NULL, QN_NO_OFFSET,
                          "the output is an input (%s); choose another name", file);
    return QINS_OK;
}

enum qins_status qn_refuse_input(const char *path, const char *output, struct qins_error *err)
{
    char *copy = qn_strdup(output, err);
    if (!copy)
        return QINS_ERR_MEMORY;
    enum qins_status st = each_file(path, refuse_same, copy, err);
    free(copy);
    return st;
}

static void add_text(struct qn_hasher *h, const char *text)
{
    qn_hasher_add(h, text, strlen(text) + 1);
}

static enum qins_status add_file(void *ctx, const char *file, struct qins_error *err)
{
    struct stat info;
    if (stat(file, &info) != 0)
        return qn_fail_errno(err, file, "cannot look at");
    int64_t figures[3] = {(int64_t)info.st_size, (int64_t)info.st_mtim.tv_sec,
                          (int64_t)info.st_mtim.tv_nsec};
    add_text(ctx, qn_path_base(file));
    qn_hasher_add(ctx, figures, sizeof figures);
    return QINS_OK;
}

static void add_description(struct qn_hasher *h, const struct qn_checkpoint *ck)
{
    add_text(h, ck->ops->format);
    for (size_t i = 0; i < ck->tensors.count; i++) {
        const struct qn_tensor *t = &ck->tensors.items[i];
        uint64_t figures[2] = {(uint64_t)t->dtype, t->rank};
        add_text(h, t->name);
        qn_hasher_add(h, figures, sizeof figures);
        qn_hasher_add(h, t->shape, t->rank * sizeof *t->shape);
    }
    for (size_t i = 0; i < ck->attachments.count; i++) {
        const struct qn_attachment *a = &ck->attachments.items[i];
        struct qn_digest d = qn_hash128(a->data, a->size);
        add_text(h, a->name);
        qn_hasher_add(h, d.bytes, sizeof d.bytes);
    }
}

enum qins_status qn_source_digest(const struct qn_checkpoint *ck, struct qn_digest *out,
                                  struct qins_error *err)
{
    struct qn_hasher *h = qn_hasher_create();
    if (!h)
        return qn_fail_memory(err);
    add_description(h, ck);
    enum qins_status st = each_file(ck->path, add_file, h, err);
    if (st == QINS_OK)
        *out = qn_hasher_digest(h);
    qn_hasher_destroy(h);
    return st;
}
