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

/* Calls VISIT for PATH if it is a file, or for each file of the folder in order of names. */
static enum qins_status each_file(const char *path,
                                  enum qins_status (*visit)(void *ctx, const char *file,
                                                            struct qins_error *err),
                                  void *ctx, struct qins_error *err)
{
    struct dirent **entries = NULL;
    enum qins_status st = QINS_OK;
    if (!qn_is_directory(path))
        return visit(ctx, path, err);
    int n = scandir(path, &entries, is_input, alphasort);
    if (n < 0)
        st = qn_fail_errno(err, path, "cannot list the folder");
    for (int i = 0; i < n; i++) {
        char *file = st == QINS_OK ? qn_path_join(path, entries[i]->d_name, err) : NULL;
        if (st == QINS_OK)
            st = file ? visit(ctx, file, err) : QINS_ERR_MEMORY;
        free(file);
        free(entries[i]);
    }
    free(entries);
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

struct digest_context {
    struct qn_hasher *hasher;
    const char *path; /* of the checkpoint */
};

/* Of a folder the shards and their index; its small files are attached and hashed as such. */
static enum qins_status add_file(void *ctx, const char *file, struct qins_error *err)
{
    const struct digest_context *c = ctx;
    struct stat info;
    if (strcmp(file, c->path) != 0 && !strstr(qn_path_base(file), ".safetensors"))
        return QINS_OK;
    if (stat(file, &info) != 0)
        return qn_fail_errno(err, file, "cannot look at");
    int64_t figures[3] = {(int64_t)info.st_size, (int64_t)info.st_mtim.tv_sec,
                          (int64_t)info.st_mtim.tv_nsec};
    add_text(c->hasher, qn_path_base(file));
    qn_hasher_add(c->hasher, figures, sizeof figures);
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
    struct digest_context c = {h, ck->path};
    add_description(h, ck);
    enum qins_status st = each_file(ck->path, add_file, &c, err);
    if (st == QINS_OK)
        *out = qn_hasher_digest(h);
    qn_hasher_destroy(h);
    return st;
}
