/* Folders as the Hugging Face hub keeps them: sharded safetensors with an index, one safetensors
 * file, or one file of another format that qins reads, with config and tokenizer beside it. */
#include "core/bytes.h"
#include "core/folder.h"
#include "formats/limits.h"
#include "formats/safetensors.h"

#include <errno.h>
#include <stdlib.h>

/* Indexes of the largest public models are some 10 MB. */
enum { MAX_INDEX = 256 << 20 }; /* bytes */

struct names {
    char **items;
    size_t count, capacity;
};

static void names_finish(struct names *n)
{
    for (size_t i = 0; i < n->count; i++)
        free(n->items[i]);
    free(n->items);
    *n = (struct names){0};
}

static enum qins_status names_add(struct names *n, const char *name, struct qins_error *err)
{
    if (n->count == n->capacity) {
        size_t capacity = n->capacity ? n->capacity * 2 : 32;
        char **items = realloc(n->items, capacity * sizeof *items);
        if (!items)
            return qn_fail_memory(err);
        n->items = items;
        n->capacity = capacity;
    }
    n->items[n->count] = qn_strdup(name, err);
    return n->items[n->count] ? (n->count++, QINS_OK) : QINS_ERR_MEMORY;
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void names_sort_unique(struct names *n)
{
    size_t kept = 0;
    if (n->count)
        qsort(n->items, n->count, sizeof *n->items, by_text);
    for (size_t i = 0; i < n->count; i++) {
        if (kept && strcmp(n->items[kept - 1], n->items[i]) == 0)
            free(n->items[i]);
        else
            n->items[kept++] = n->items[i];
    }
    n->count = kept;
}

/* The folder's entries that are not folders themselves, sorted. */
static enum qins_status list_files(const char *path, struct names *out, struct qins_error *err)
{
    enum qins_status st = QINS_OK;
    DIR *dir = opendir(path);
    if (!dir)
        return qn_fail_errno(err, path, "cannot open the folder");
    for (const char *name = ""; st == QINS_OK;) {
        st = qn_folder_next(dir, path, &name, err);
        if (st != QINS_OK || !name)
            break;
        char *file = qn_path_join(path, name, err);
        if (!file)
            st = QINS_ERR_MEMORY;
        else if (!qn_is_directory(file))
            st = names_add(out, name, err);
        free(file);
    }
    closedir(dir);
    names_sort_unique(out);
    return st;
}

/* What may hold the weights, best first. A pattern that begins with '*' stands for the one file
 * with that ending. */
static const char *const candidates[] = {
    "model.safetensors.index.json",
    "*.safetensors.index.json",
    "model.safetensors",
    "*.safetensors",
    "pytorch_model.bin",
    "*.bin.index.json",
    "*.pt",
    "*.pth",
    "*.bin",
    "*.gguf",
    "*.h5",
    "*.hdf5",
    "*.npz",
};

static bool is_other_use(const char *name)
{
    return strcmp(name, "tokenizer.bin") == 0 || strcmp(name, "training_args.bin") == 0;
}

static bool matches(const char *pattern, const char *name)
{
    if (*pattern != '*')
        return strcmp(pattern, name) == 0;
    return qn_has_suffix(name, pattern + 1) && !is_other_use(name);
}

static enum qins_status choose(const struct names *files, const char **out, struct qins_error *err)
{
    for (size_t c = 0; c < sizeof candidates / sizeof *candidates; c++) {
        size_t found = 0;
        for (size_t i = 0; i < files->count; i++)
            if (matches(candidates[c], files->items[i])) {
                *out = files->items[i];
                found++;
            }
        if (found == 1)
            return QINS_OK;
        if (found > 1)
            return qn_fail(err, QINS_ERR_UNSUPPORTED,
                           "the folder holds %zu files %s and no index that joins them; name one",
                           found, candidates[c]);
    }
    return qn_fail(err, QINS_ERR_UNSUPPORTED, "the folder holds no checkpoint that qins knows");
}

static enum qins_status open_single(struct qn_checkpoint **out, const char *dir, const char *name,
                                    const struct qn_monitor *monitor, struct qins_error *err)
{
    struct qn_checkpoint *ck = NULL;
    char *path = qn_path_join(dir, name, err);
    if (!path)
        return QINS_ERR_MEMORY;
    enum qins_status st = qn_checkpoint_open(&ck, path, monitor, err);
    free(path);
    if (st == QINS_OK)
        st = qn_attach_model_files(&ck->attachments, dir, err); /* its reader may not */
    if (st != QINS_OK) {
        qn_checkpoint_destroy(ck);
        return st;
    }
    *out = ck;
    return QINS_OK;
}

static bool is_plain_name(const char *name)
{
    return *name && !strchr(name, '/') && strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
}

static enum qins_status list_shards(const json_t *map, struct names *out, struct qins_error *err)
{
    enum qins_status st = QINS_OK;
    const char *tensor;
    json_t *shard;
    json_object_foreach((json_t *)map, tensor, shard)
    {
        if (!json_is_string(shard) || !is_plain_name(json_string_value(shard)))
            return qn_fail_at(err, QINS_ERR_FORMAT, NULL, tensor, QN_NO_OFFSET,
                              "the index gives it no plain file name");
        /* Runs of tensors in one shard are the rule; the sort below removes the rest. */
        if (out->count == 0 || strcmp(out->items[out->count - 1], json_string_value(shard)) != 0)
            st = names_add(out, json_string_value(shard), err);
        if (st != QINS_OK)
            return st;
    }
    names_sort_unique(out);
    return QINS_OK;
}

static enum qins_status open_shards(struct qn_safetensors *s, const char *dir,
                                    const struct names *shards, struct qins_error *err)
{
    for (size_t i = 0; i < shards->count; i++) {
        char *path = qn_path_join(dir, shards->items[i], err);
        if (!path)
            return QINS_ERR_MEMORY;
        bool there;
        enum qins_status st = qn_find_regular(path, &there, err);
        if (st == QINS_OK && !there)
            st = qn_fail(err, QINS_ERR_FORMAT, "shard '%s' of the index is missing",
                         shards->items[i]);
        if (st == QINS_OK)
            st = qn_checkpoint_add_file(&s->base, path, NULL, err);
        if (st == QINS_OK)
            st = qn_file_open(&s->files[i], path, err);
        free(path);
        if (st != QINS_OK)
            return st;
    }
    return QINS_OK;
}

/* Keeps those of the tensors from FIRST on that the index places in SHARD, and takes their
 * names off MAP. The index is the authority: what it does not list is not part of the model. */
static void keep_indexed(struct qn_tensor_list *list, size_t first, json_t *map, const char *shard,
                         const struct qn_monitor *monitor)
{
    size_t kept = first;
    for (size_t i = first; i < list->count; i++) {
        struct qn_tensor *t = &list->items[i];
        const char *place = json_string_value(json_object_get(map, t->name));
        if (place && strcmp(place, shard) == 0) {
            json_object_del(map, t->name);
            list->items[kept++] = *t;
            continue;
        }
        qn_notice(monitor, "tensor '%s' of shard '%s' is left out: the index does not list it",
                  t->name, shard);
        free(t->name);
    }
    list->count = kept;
}

static enum qins_status read_shards(struct qn_safetensors *s, const struct names *shards,
                                    json_t *map, const struct qn_monitor *monitor,
                                    struct qins_error *err)
{
    bool attached = false;
    enum qins_status st = QINS_OK;
    for (size_t i = 0; i < shards->count && st == QINS_OK; i++) {
        size_t first = s->base.tensors.count;
        json_t *metadata = NULL;
        st = qn_safetensors_parse(s, i, &metadata, err);
        if (st == QINS_OK)
            keep_indexed(&s->base.tensors, first, map, shards->items[i], monitor);
        /* Shards repeat the same metadata; the first one's stands for all. */
        if (st == QINS_OK && metadata && !attached) {
            st = qn_safetensors_attach_metadata(s, metadata, err);
            attached = true;
        }
        json_decref(metadata);
    }
    if (st != QINS_OK)
        return st;
    void *missing = json_object_iter(map);
    if (missing)
        return qn_fail_at(err, QINS_ERR_FORMAT, NULL, json_object_iter_key(missing), QN_NO_OFFSET,
                          "the index places it in shard '%s', which does not hold it",
                          json_string_value(json_object_iter_value(missing)));
    return qn_tensor_list_check_overlap(&s->base.tensors, err);
}

static enum qins_status open_sharded(struct qn_checkpoint **out, const char *dir,
                                     const json_t *index, const struct qn_monitor *monitor,
                                     struct qins_error *err)
{
    json_t *map = json_object_get(index, "weight_map");
    struct qn_safetensors *s = NULL;
    struct names shards = {0};
    if (!json_is_object(map) || json_object_size(map) == 0)
        return qn_fail(err, QINS_ERR_FORMAT, "the index has no weight_map object");
    enum qins_status st = list_shards(map, &shards, err);
    if (st == QINS_OK)
        st = qn_safetensors_create(&s, &qn_hf_folder_ops, dir, shards.count, err);
    if (st == QINS_OK)
        st = open_shards(s, dir, &shards, err);
    if (st == QINS_OK)
        st = read_shards(s, &shards, map, monitor, err);
    if (st == QINS_OK)
        st = qn_attach_model_files(&s->base.attachments, dir, err);
    names_finish(&shards);
    if (st == QINS_OK)
        *out = &s->base;
    else if (s)
        qn_safetensors_destroy(&s->base);
    return st;
}

static enum qins_status open_index(struct qn_checkpoint **out, const char *dir, const char *name,
                                   const struct qn_monitor *monitor, struct qins_error *err)
{
    struct qn_buf text = {0};
    json_t *index = NULL;
    char *path = qn_path_join(dir, name, err);
    if (!path)
        return QINS_ERR_MEMORY;
    struct qn_file_stamp stamp;
    enum qins_status st = qn_buf_reserve(&text, 1, err);
    if (st == QINS_OK)
        st = qn_file_look(path, &stamp, err);
    if (st == QINS_OK)
        st = qn_read_whole(path, MAX_INDEX, &text, err);
    if (st == QINS_OK) {
        struct qins_error detail;
        index = qn_json_parse(text.data, text.size, 0, &detail);
        st = index ? open_sharded(out, dir, index, monitor, err) : detail.status;
        if (!index && err)
            *err = detail;
    }
    if (st == QINS_OK)
        st = qn_checkpoint_add_file(*out, path, &stamp, err);
    qn_error_in_file(err, st, path);
    json_decref(index);
    qn_buf_finish(&text);
    free(path);
    return st;
}

static enum qins_status open_folder(struct qn_checkpoint **out, const char *path,
                                    const struct qn_monitor *monitor, struct qins_error *err)
{
    struct names files = {0};
    const char *name = NULL;
    enum qins_status st = list_files(path, &files, err);
    if (st == QINS_OK)
        st = choose(&files, &name, err);
    if (st == QINS_OK && qn_has_suffix(name, ".bin.index.json"))
        st = qn_fail(err, QINS_ERR_UNSUPPORTED,
                     "the folder holds a torch checkpoint in shards ('%s'), which qins does not "
                     "join; save it as safetensors, or convert its shards one by one",
                     name);
    else if (st == QINS_OK)
        st = qn_has_suffix(name, ".json") ? open_index(out, path, name, monitor, err)
                                          : open_single(out, path, name, monitor, err);
    names_finish(&files);
    return qn_error_in_file(err, st, path);
}

static bool probe(const struct qn_probe *p)
{
    return p->is_directory;
}

const struct qn_checkpoint_ops qn_hf_folder_ops = {
    .format = "huggingface",
    .probe = probe,
    .open = open_folder,
    .read = qn_safetensors_read,
    .destroy = qn_safetensors_destroy,
};

const struct qn_limit qn_hf_folder_limits[] = {
    {"folder", "index", MAX_INDEX, "bytes", "memory that the JSON takes"},
    {0},
};
