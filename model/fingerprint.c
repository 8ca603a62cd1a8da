#include "core/bytes.h"
#include "formats/archive/chunk_map.h"
#include "model/source.h"
#include "model/weights.h"

#include <stdlib.h>
#include <string.h>

static void add_number(struct qn_hasher *h, uint64_t value)
{
    uint8_t bytes[8];
    qn_store64(bytes, value);
    qn_hasher_add(h, bytes, sizeof bytes);
}

enum qins_status qn_source_fingerprint(const struct qn_source *s,
                                       const struct qn_digest *fingerprints, struct qn_digest *out,
                                       struct qins_error *err)
{
    struct qn_hasher *h = qn_hasher_create();
    if (!h)
        return qn_fail_memory(err);
    for (size_t i = 0; i < s->n_tensors; i++) {
        const struct qn_tensor *t = s->tensors[i].tensor;
        const char *type = qins_dtype_name(t->dtype);
        qn_hasher_add(h, t->name, strlen(t->name) + 1);
        qn_hasher_add(h, type, strlen(type) + 1);
        add_number(h, t->rank);
        for (unsigned k = 0; k < t->rank; k++)
            add_number(h, t->shape[k]);
        qn_hasher_add(h, fingerprints[i].bytes, sizeof fingerprints[i].bytes);
    }
    *out = qn_hasher_digest(h);
    qn_hasher_destroy(h);
    return QINS_OK;
}

struct slot {
    struct qn_source_work work;
    struct qn_buf data;
    struct qn_digest leaf;
};

struct run {
    const struct qn_source *source;
    const struct qn_source_sweep *sweep;
    const struct qn_monitor *monitor;
    struct qn_layout *layouts; /* of each tensor */
    struct qn_chunk_map map;   /* tensors that are not read have no chunks here */
    struct slot *slots;
    struct qn_fingerprint fingerprint; /* of the tensor whose chunks come by */
    struct qn_digest *fingerprints;
    uint64_t done, total; /* bytes */
};

static bool wanted(const struct run *r, size_t index)
{
    const struct qn_source_sweep *w = r->sweep;
    return w && w->wanted(w->ctx, index);
}

static uint64_t count_chunks(const void *ctx, size_t index)
{
    const struct run *r = ctx;
    return r->source->checkpoint || wanted(r, index) ? r->layouts[index].n_chunks : 0;
}

static enum qins_status work_chunk(struct run *r, size_t index, uint64_t chunk, struct slot *slot,
                                   struct qins_error *err)
{
    const struct qn_source_sweep *w = r->sweep;
    bool use = wanted(r, index);
    size_t size = qins_dtype_size(qn_source_read_type(r->source, index));
    enum qins_status st = QINS_OK;
    uint64_t first, count;
    qn_layout_chunk(&r->layouts[index], chunk, &first, &count);
    void *data = use ? w->place(w->ctx, index, first) : NULL;
    if (!data) {
        st = qn_buf_reserve(&slot->data, (size_t)count * size, err);
        data = slot->data.data;
    }
    if (st == QINS_OK)
        st = qn_source_read(r->source, index, first, count, &slot->work, data, err);
    if (st == QINS_OK && r->source->checkpoint)
        slot->leaf = qn_hash128(data, (size_t)count * size);
    if (st == QINS_OK && use)
        st = w->use(w->ctx, index, first, count, data, err);
    return st;
}

static enum qins_status work(void *ctx, unsigned slot, uint64_t item, struct qins_error *err)
{
    struct run *r = ctx;
    size_t index;
    uint64_t chunk;
    qn_chunk_map_find(&r->map, item, &index, &chunk);
    enum qins_status st = work_chunk(r, index, chunk, &r->slots[slot], err);
    qn_error_in_file(err, st, r->source->path);
    return qn_error_in_tensor(err, st, r->source->tensors[index].tensor->name);
}

static enum qins_status emit(void *ctx, unsigned slot, uint64_t item, struct qins_error *err)
{
    struct run *r = ctx;
    size_t index;
    uint64_t chunk, first, count;
    enum qins_status st = QINS_OK;
    qn_chunk_map_find(&r->map, item, &index, &chunk);
    qn_layout_chunk(&r->layouts[index], chunk, &first, &count);
    if (r->source->checkpoint) {
        st = qn_fingerprint_add(&r->fingerprint, &r->slots[slot].leaf, err);
        if (st == QINS_OK && chunk + 1 == r->layouts[index].n_chunks)
            r->fingerprints[index] = qn_fingerprint_finish(&r->fingerprint);
    }
    r->done += count * qins_dtype_size(r->source->tensors[index].tensor->dtype);
    qn_progress(r->monitor, r->sweep ? r->sweep->what : "reading", r->done, r->total);
    return st;
}

/* Scalars and empty tensors have no chunks, an archive knows its fingerprints. */
static enum qins_status known_fingerprint(struct run *r, size_t index, struct qins_error *err)
{
    const struct qn_source *s = r->source;
    const struct qn_tensor *t = s->tensors[index].tensor;
    uint8_t data[sizeof(double)];
    enum qins_status st = QINS_OK;
    if (t->dtype == QINS_DTYPE_INVALID)
        return qn_fail_at(err, QINS_ERR_UNSUPPORTED, s->path, t->name, QN_NO_OFFSET,
                          "its type %s cannot be read", t->foreign_type);
    qn_layout_init(&r->layouts[index], t->rank, t->shape);
    if (s->archive) {
        r->fingerprints[index] = s->archive->manifest.tensors[s->tensors[index].number].fingerprint;
        return QINS_OK;
    }
    if (r->layouts[index].n_chunks > 0)
        return QINS_OK;
    if (t->rank == 0) {
        st = qn_checkpoint_read(s->checkpoint, s->tensors[index].number, 0, data,
                                (size_t)t->n_bytes, err);
        struct qn_digest leaf = qn_hash128(data, st == QINS_OK ? (size_t)t->n_bytes : 0);
        if (st == QINS_OK)
            st = qn_fingerprint_add(&r->fingerprint, &leaf, err);
    }
    r->fingerprints[index] = qn_fingerprint_finish(&r->fingerprint);
    return st;
}

static enum qins_status sweep_chunks(struct run *r, unsigned threads, struct qins_error *err)
{
    struct qn_ordered job = {.work = work,
                             .emit = emit,
                             .ctx = r,
                             .threads = threads > 0 ? threads : 1,
                             .slots = threads > 0 ? threads : 1,
                             .end = qn_chunk_map_total(&r->map),
                             .monitor = r->monitor};
    for (size_t i = 0; i < r->source->n_tensors; i++)
        if (count_chunks(r, i) > 0)
            r->total += r->source->tensors[i].tensor->n_bytes;
    r->slots = calloc(job.slots, sizeof *r->slots);
    enum qins_status st = r->slots ? qn_run_ordered(&job, err) : qn_fail_memory(err);
    for (unsigned i = 0; r->slots && i < job.slots; i++) {
        qn_source_work_finish(&r->slots[i].work);
        qn_buf_finish(&r->slots[i].data);
    }
    free(r->slots);
    return st;
}

enum qins_status qn_source_run(const struct qn_source *s, const struct qn_source_sweep *sweep,
                               unsigned threads, const struct qn_monitor *monitor,
                               struct qn_digest *fingerprint, struct qins_error *err)
{
    struct run r = {.source = s, .sweep = sweep, .monitor = monitor};
    enum qins_status st = QINS_OK;
    r.layouts = calloc(s->n_tensors + 1, sizeof *r.layouts);
    r.fingerprints = calloc(s->n_tensors + 1, sizeof *r.fingerprints);
    if (!r.layouts || !r.fingerprints) {
        st = qn_fail_memory(err);
        goto done;
    }
    for (size_t i = 0; i < s->n_tensors && st == QINS_OK; i++)
        st = known_fingerprint(&r, i, err);
    if (st == QINS_OK)
        st = qn_chunk_map_init(&r.map, s->n_tensors, count_chunks, &r, err);
    if (st == QINS_OK)
        st = sweep_chunks(&r, threads, err);
    if (st == QINS_OK)
        st = qn_source_check_unchanged(s, err);
    if (st == QINS_OK)
        st = qn_source_fingerprint(s, r.fingerprints, fingerprint, err);
done:
    qn_fingerprint_finish(&r.fingerprint);
    qn_chunk_map_finish(&r.map);
    free(r.layouts);
    free(r.fingerprints);
    return st;
}

enum qins_status qn_model_fingerprint(const char *path, unsigned threads,
                                      const struct qn_monitor *monitor, struct qn_digest *out,
                                      struct qins_error *err)
{
    struct qn_source *s = NULL;
    enum qins_status st = qn_source_open(&s, path, monitor, err);
    if (st == QINS_OK)
        st = qn_source_run(s, NULL, threads, monitor, out, err);
    qn_source_destroy(s);
    return st;
}
