/* Pages of V caches in a file (`--dump-kv`; docs/kv-format.md): HDF5, one group a layer, the pages
 * of all sequences one after the other as bytes with a table of where they are. */
#ifndef QINS_FORMATS_KV_FILE_H
#define QINS_FORMATS_KV_FILE_H

#include "core/buf.h"
#include "core/hash.h"
#include "core/thread.h"
#include "formats/checkpoint.h"
#include "formats/kv_page.h"

#define QN_KV_SCHEMA "qins/kv-pages/1"

enum { QN_KV_MAX_LAYERS = 4096 }; /* as of models (model/config.h) */

struct qn_kv_place {
    uint64_t offset, size;   /* bytes of a page within the layer's */
    uint32_t sequence, page; /* which window of the text, and which page of it */
};

struct qn_kv_layer {
    struct qn_buf bytes;
    struct qn_kv_place *places; /* sequence by sequence, page by page; bytes may have gaps */
    size_t n_places, capacity;
};

struct qn_kv_file {
    struct qn_kv_layout layout;
    struct qn_digest model, text; /* fingerprints */
    struct qn_kv_layer *layers;
    uint32_t n_layers;
};

/* QINS_ERR_FORMAT for a layout or a number of layers out of range. */
enum qins_status qn_kv_file_init(struct qn_kv_file *f, const struct qn_kv_layout *layout,
                                 uint32_t n_layers, struct qins_error *err);
/* Adds a page, or takes the place of the same page that is there already (when it became old).
 * QINS_ERR_FORMAT for a size that no page has, or a layer that there is not. */
enum qins_status qn_kv_file_put(struct qn_kv_file *f, uint32_t layer, uint32_t sequence,
                                uint32_t page, const uint8_t *bytes, size_t size,
                                struct qins_error *err);
/* Atomically; the bytes depend on the pages alone, not on their order. QINS_ERR_USAGE where a layer
 * has no page. */
enum qins_status qn_kv_file_write(const struct qn_kv_file *f, const char *path,
                                  struct qins_error *err);
/* Everything is checked but the pages' insides, which decode on their own (hashed). Hostile files
 * end in QINS_ERR_FORMAT; memory is bounded by the file's size. */
enum qins_status qn_kv_file_read(struct qn_kv_file *f, const char *path,
                                 const struct qn_monitor *monitor, struct qins_error *err);
/* The same of a checkpoint that was opened otherwise and stays the caller's. */
enum qins_status qn_kv_file_load(struct qn_kv_file *f, struct qn_checkpoint *ck,
                                 struct qins_error *err);
void qn_kv_file_finish(struct qn_kv_file *f); /* a zeroed one is accepted */

/* The page at PLACE of layer L. */
static inline const uint8_t *qn_kv_file_page(const struct qn_kv_layer *l,
                                             const struct qn_kv_place *place)
{
    return l->bytes.data + place->offset;
}

#endif
