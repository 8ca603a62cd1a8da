/* Dumps of V pages in memory. */
#include "formats/kv_file.h"

#include <stdlib.h>
#include <string.h>

enum qins_status qn_kv_file_init(struct qn_kv_file *f, const struct qn_kv_layout *layout,
                                 uint32_t n_layers, struct qins_error *err)
{
    *f = (struct qn_kv_file){.layout = *layout};
    if (!qn_kv_layout_valid(layout))
        return qn_fail(err, QINS_ERR_FORMAT, "the layout of its pages is out of range");
    if (n_layers < 1 || n_layers > QN_KV_MAX_LAYERS)
        return qn_fail(err, QINS_ERR_FORMAT, "its number of layers is out of range");
    f->layers = calloc(n_layers, sizeof *f->layers);
    if (!f->layers)
        return qn_fail_memory(err);
    f->n_layers = n_layers;
    return QINS_OK;
}

static int compare(const struct qn_kv_place *p, uint32_t sequence, uint32_t page)
{
    if (p->sequence != sequence)
        return p->sequence < sequence ? -1 : 1;
    return (p->page > page) - (p->page < page);
}

/* Where the page is, or is to be. Pages mostly come in order: the end is looked at first. */
static size_t place_of(const struct qn_kv_layer *l, uint32_t sequence, uint32_t page, bool *found)
{
    size_t begin = 0, end = l->n_places;
    *found = false;
    if (end > 0 && compare(&l->places[end - 1], sequence, page) < 0)
        return end;
    while (begin < end) {
        const size_t middle = begin + (end - begin) / 2;
        const int order = compare(&l->places[middle], sequence, page);
        if (order == 0) {
            *found = true;
            return middle;
        }
        if (order < 0)
            begin = middle + 1;
        else
            end = middle;
    }
    return begin;
}

static enum qins_status make_room(struct qn_kv_layer *l, struct qins_error *err)
{
    if (l->n_places < l->capacity)
        return QINS_OK;
    const size_t capacity = l->capacity ? 2 * l->capacity : 64;
    struct qn_kv_place *places = realloc(l->places, capacity * sizeof *places);
    if (!places)
        return qn_fail_memory(err);
    l->places = places;
    l->capacity = capacity;
    return QINS_OK;
}

enum qins_status qn_kv_file_put(struct qn_kv_file *f, uint32_t layer, uint32_t sequence,
                                uint32_t page, const uint8_t *bytes, size_t size,
                                struct qins_error *err)
{
    bool found;
    if (layer >= f->n_layers)
        return qn_fail(err, QINS_ERR_FORMAT, "there is no layer %u", layer);
    if (size < QN_KV_HEADER || size > qn_kv_packed_size(&f->layout))
        return qn_fail(err, QINS_ERR_FORMAT, "a page of %zu bytes is none of this layout", size);
    struct qn_kv_layer *l = &f->layers[layer];
    const size_t at = place_of(l, sequence, page, &found);
    if (found && size <= l->places[at].size) {
        memcpy(l->bytes.data + l->places[at].offset, bytes, size);
        l->places[at].size = size;
        return QINS_OK;
    }
    const uint64_t offset = l->bytes.size;
    enum qins_status st = found ? QINS_OK : make_room(l, err);
    if (st == QINS_OK)
        st = qn_buf_append(&l->bytes, bytes, size, err);
    if (st != QINS_OK)
        return st;
    if (!found) {
        memmove(l->places + at + 1, l->places + at, (l->n_places - at) * sizeof *l->places);
        l->n_places++;
    }
    l->places[at] = (struct qn_kv_place){offset, size, sequence, page};
    return QINS_OK;
}

void qn_kv_file_finish(struct qn_kv_file *f)
{
    for (uint32_t i = 0; i < f->n_layers; i++) {
        qn_buf_finish(&f->layers[i].bytes);
        free(f->layers[i].places);
    }
    free(f->layers);
    *f = (struct qn_kv_file){0};
}
