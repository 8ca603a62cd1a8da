/* Dumps of V pages: the input is the description up to the first NUL, then what the datasets hold,
 * one after the other, in the order of the layers. */
#include "core/json.h"
#include "formats/kv_file.h"
#include "tests/fuzz/described_fuzzing.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MAX_BYTES = 1 << 20, MAX_LAYERS = 64 };

/* The datasets that a file of this description has. */
static void list_datasets(const uint8_t *text, size_t size, struct qn_tensor_list *list)
{
    static const struct {
        const char *name;
        enum qins_dtype dtype;
    } columns[] = {
        {"offset", QINS_U64}, {"size", QINS_U32}, {"sequence", QINS_U32}, {"page", QINS_U32}};
    json_t *j = qn_json_parse(text, size, 0, NULL), *paths = json_object();
    const json_t *layers = json_object_get(j, "layers");
    uint64_t left = MAX_BYTES, pages = 0, bytes = 0;
    must(paths != NULL);
    for (size_t i = 0; i < json_array_size(layers) && i < MAX_LAYERS; i++) {
        const json_t *layer = json_array_get(layers, i);
        char path[48];
        if (!qn_json_u64(json_object_get(layer, "pages"), &pages) ||
            !qn_json_u64(json_object_get(layer, "bytes"), &bytes) || bytes > left ||
            pages > left / sizeof(struct qn_kv_place))
            break;
        left -= bytes;
        snprintf(path, sizeof path, "/layers/%zu/bytes", i);
        must(qn_described_add(list, paths, path, QINS_U8, 1, &bytes, NULL) == QINS_OK);
        for (size_t c = 0; c < sizeof columns / sizeof *columns; c++) {
            snprintf(path, sizeof path, "/layers/%zu/%s", i, columns[c].name);
            must(qn_described_add(list, paths, path, columns[c].dtype, 1, &pages, NULL) == QINS_OK);
        }
    }
    json_decref(paths);
    json_decref(j);
}

/* A page that is there is put again, shorter and as it was; what is none is refused. */
static void put_again(struct qn_kv_file *f, uint32_t layer, const struct qn_kv_place *p,
                      const uint8_t *page)
{
    const size_t size = (size_t)p->size;
    struct qins_error err;
    must(qn_kv_file_put(f, layer, p->sequence, p->page, page, QN_KV_HEADER, &err) == QINS_OK);
    must(qn_kv_file_put(f, layer, p->sequence, p->page, page, size, &err) == QINS_OK);
    must(qn_kv_file_put(f, f->n_layers, p->sequence, p->page, page, size, &err) != QINS_OK);
    must(qn_kv_file_put(f, layer, p->sequence, p->page, page, QN_KV_HEADER - 1, &err) != QINS_OK);
}

/* Pages that were read can be put into another dump, in another order; those that decode do so
 * again. */
static void use(const struct qn_kv_file *f)
{
    const size_t n = (size_t)f->layout.tokens * f->layout.heads * f->layout.head_dim;
    struct qn_kv_file copy;
    must(qn_kv_file_init(&copy, &f->layout, f->n_layers, NULL) == QINS_OK);
    float *v = malloc(n * sizeof *v);
    void *scratch = malloc(qn_kv_scratch(&f->layout));
    must(v && scratch);
    for (uint32_t i = 0; i < f->n_layers; i++)
        for (size_t k = f->layers[i].n_places; k-- > 0;) {
            const struct qn_kv_place *p = &f->layers[i].places[k];
            const uint8_t *page = qn_kv_file_page(&f->layers[i], p);
            struct qins_error err = {0};
            must(qn_kv_file_put(&copy, i, p->sequence, p->page, page, (size_t)p->size, NULL) ==
                 QINS_OK);
            put_again(&copy, i, p, page);
            if (qn_kv_decode(&f->layout, page, (size_t)p->size, v,
                             (size_t)f->layout.tokens * f->layout.head_dim, scratch,
                             &err) != QINS_OK)
                must(err.message[0] != '\0');
        }
    for (uint32_t i = 0; i < f->n_layers; i++)
        for (size_t k = 0; k < f->layers[i].n_places; k++) {
            const struct qn_kv_place *p = &f->layers[i].places[k], *q = &copy.layers[i].places[k];
            must(p->sequence == q->sequence && p->page == q->page && p->size == q->size);
            must(memcmp(qn_kv_file_page(&f->layers[i], p), qn_kv_file_page(&copy.layers[i], q),
                        (size_t)p->size) == 0);
        }
    free(v);
    free(scratch);
    qn_kv_file_finish(&copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *end = size ? memchr(data, 0, size) : NULL;
    const size_t meta_size = end ? (size_t)(end - data) : size;
    struct qn_tensor_list list = {0};
    struct qn_kv_file f;
    struct qins_error err = {0};
    if (!end)
        return 0;
    list_datasets(data, meta_size, &list);
    struct qn_checkpoint *ck = pretend(data, meta_size, size, &list, true);
    if (qn_kv_file_load(&f, ck, &err) == QINS_OK)
        use(&f);
    else
        must(err.message[0] != '\0');
    qn_kv_file_finish(&f);
    qn_checkpoint_destroy(ck);
    qn_tensor_list_finish(&list);
    return 0;
}
