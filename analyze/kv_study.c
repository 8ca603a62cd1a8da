#include "analyze/kv_study.h"

#include "formats/codec/bitpack.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* A thread's. */
struct slot {
    struct qn_code_counts *across, *along;
    uint16_t *codes, *column;
    float *values;
    uint8_t *symbols, *coded;
    void *scratch, *coder;
};

struct job {
    const struct qn_kv_file *file;
    struct qn_kv_figures *figures;
    struct slot *slots;
    size_t page_values, capacity,
        coder_scratch; /* capacity: bytes of a page or of its codes, at most */
};

unsigned qn_kv_levels(const struct qn_kv_layout *l)
{
    return (1U << (l->bits - 1)) - 1;
}

static size_t token_values(const struct qn_kv_layout *l)
{
    return (size_t)l->heads * l->head_dim;
}

static void finish_slot(struct slot *s)
{
    free(s->codes);
    free(s->column);
    free(s->values);
    free(s->symbols);
    free(s->coded);
    free(s->scratch);
    free(s->coder);
}

static enum qins_status init_slot(const struct job *j, struct slot *s, struct qins_error *err)
{
    const size_t n = j->page_values;
    s->codes = malloc(n * sizeof *s->codes);
    s->column = malloc(j->file->layout.tokens * sizeof *s->column);
    s->values = malloc(n * sizeof *s->values);
    s->symbols = malloc(n);
    s->coded = malloc(j->capacity);
    s->scratch = malloc(qn_kv_scratch(&j->file->layout));
    s->coder = malloc(j->coder_scratch);
    return s->codes && s->column && s->values && s->symbols && s->coded && s->scratch && s->coder
               ? QINS_OK
               : qn_fail_memory(err);
}

static void count_codes(const struct qn_kv_layout *l, struct slot *s)
{
    const size_t row = token_values(l);
    for (size_t i = 0; i < l->tokens; i++)
        qn_code_counts_add(s->across, s->codes + i * row, row);
    for (size_t c = 0; c < row; c++) {
        for (size_t i = 0; i < l->tokens; i++)
            s->column[i] = s->codes[i * row + c];
        qn_code_counts_add(s->along, s->column, l->tokens);
    }
}

static void add_values(struct qn_kv_figures *out, const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const double v = (double)x[i];
        out->zeros += v == 0.0 ? 1.0 : 0.0;
        out->sum += v;
        out->magnitudes += fabs(v);
        out->squares += v * v;
        out->min = fmin(out->min, v);
        out->max = fmax(out->max, v);
    }
}

static void encode_codes(const struct job *j, struct slot *s, struct qn_kv_figures *out)
{
    const size_t n = j->page_values, packed = qn_bitpack_size(n, j->file->layout.bits),
                 rest = qn_kv_packed_size(&j->file->layout) - packed;
    for (size_t i = 0; i < n; i++)
        s->symbols[i] = (uint8_t)s->codes[i];
    for (int id = 0; id < QN_CODEC_COUNT; id++) {
        const struct qn_codec *codec = qn_codec((enum qn_codec_id)id);
        size_t size = packed;
        if (codec) {
            size = codec->encode(s->symbols, n, s->coded, j->capacity, s->coder);
            size = size > 0 ? size : n; /* as they are */
        }
        out->coded[id] += rest + size;
    }
}

static enum qins_status study_page(const struct job *j, const uint8_t *page, size_t size,
                                   struct slot *s, struct qn_kv_figures *out,
                                   struct qins_error *err)
{
    const struct qn_kv_layout *l = &j->file->layout;
    enum qins_status st = qn_kv_codes(l, page, size, s->codes, NULL, s->scratch, err);
    if (st == QINS_OK)
        st = qn_kv_decode(l, page, size, s->values, (size_t)l->tokens * l->head_dim, s->scratch,
                          err);
    if (st != QINS_OK)
        return st;
    size_t recoded = size;
    if (!qn_kv_is_recoded(page, size))
        st = qn_kv_recode(l, page, s->coded, &recoded, s->scratch, err);
    if (st != QINS_OK)
        return st;
    count_codes(l, s);
    add_values(out, s->values, j->page_values);
    encode_codes(j, s, out);
    out->pages++;
    out->old_pages += qn_kv_is_recoded(page, size);
    out->held += size;
    out->recoded += recoded;
    return QINS_OK;
}

static enum qins_status study_pages(const struct job *j, uint32_t layer, struct slot *s,
                                    struct qn_kv_figures *out, struct qins_error *err)
{
    const struct qn_kv_layer *pages = &j->file->layers[layer];
    enum qins_status st = QINS_OK;
    for (size_t i = 0; i < pages->n_places && st == QINS_OK; i++) {
        const struct qn_kv_place *p = &pages->places[i];
        char name[64];
        st = study_page(j, qn_kv_file_page(pages, p), (size_t)p->size, s, out, err);
        if (st == QINS_OK)
            continue;
        snprintf(name, sizeof name, "page %u of sequence %u in layer %u", p->page, p->sequence,
                 layer);
        qn_error_in_tensor(err, st, name);
    }
    return st;
}

static enum qins_status study_layer(void *ctx, unsigned slot, uint64_t item, struct qins_error *err)
{
    struct job *j = ctx;
    struct slot *s = &j->slots[slot];
    const struct qn_kv_layout *l = &j->file->layout;
    struct qn_kv_figures *out = &j->figures[item];
    *out = (struct qn_kv_figures){.min = INFINITY, .max = -INFINITY};
    out->values = (uint64_t)j->file->layers[item].n_places * j->page_values;
    enum qins_status st = s->codes ? QINS_OK : init_slot(j, s, err);
    if (st == QINS_OK)
        st = qn_code_counts_create(&s->across, qn_kv_levels(l), out->values, err);
    if (st == QINS_OK)
        st = qn_code_counts_create(&s->along, qn_kv_levels(l), out->values, err);
    if (st == QINS_OK)
        st = study_pages(j, (uint32_t)item, s, out, err);
    if (st == QINS_OK) {
        struct qn_code_figures along;
        qn_code_counts_sum_up(s->across, &out->across);
        qn_code_counts_sum_up(s->along, &along);
        out->order1_time_bits = l->tokens > 1 ? along.order1_bits : (double)NAN;
        out->header_bytes = out->pages * QN_KV_HEADER;
        out->scale_bytes = out->pages * l->tokens * qn_kv_groups(l);
    }
    qn_code_counts_destroy(s->across);
    qn_code_counts_destroy(s->along);
    s->across = s->along = NULL;
    return st;
}

enum qins_status qn_kv_study(const struct qn_kv_file *f, unsigned threads,
                             const struct qn_monitor *monitor, struct qn_kv_figures *figures,
                             struct qins_error *err)
{
    struct job j = {.file = f,
                    .figures = figures,
                    .page_values = token_values(&f->layout) * f->layout.tokens,
                    .capacity = qn_kv_packed_size(&f->layout)};
    const unsigned slots = threads > 0 ? threads : 1;
    const struct qn_ordered order = {.work = study_layer,
                                     .ctx = &j,
                                     .threads = slots,
                                     .slots = slots,
                                     .end = f->n_layers,
                                     .monitor = monitor};
    for (int id = 0; id < QN_CODEC_COUNT; id++) {
        const struct qn_codec *codec = qn_codec((enum qn_codec_id)id);
        const size_t bound = codec ? codec->bound(j.page_values) : 0,
                     scratch = codec ? codec->scratch(j.page_values) : 0;
        j.capacity = bound > j.capacity ? bound : j.capacity;
        j.coder_scratch = scratch > j.coder_scratch ? scratch : j.coder_scratch;
    }
    j.slots = calloc(slots, sizeof *j.slots);
    enum qins_status st = j.slots ? qn_run_ordered(&order, err) : qn_fail_memory(err);
    for (unsigned i = 0; j.slots && i < slots; i++)
        finish_slot(&j.slots[i]);
    free(j.slots);
    return st;
}

void qn_kv_figures_sum_up(const struct qn_kv_figures *layers, size_t n, struct qn_kv_figures *out)
{
    *out = (struct qn_kv_figures){.min = INFINITY, .max = -INFINITY};
    for (size_t i = 0; i < n; i++)
        out->values += layers[i].values;
    for (size_t i = 0; i < n; i++) {
        const struct qn_kv_figures *s = &layers[i];
        const double share = (double)s->values / (double)out->values;
        out->across.codes += s->across.codes;
        out->across.entropy_bits += share * s->across.entropy_bits;
        out->across.order1_bits += share * s->across.order1_bits;
        out->across.run_bits += share * s->across.run_bits;
        out->across.zero_share += share * s->across.zero_share;
        out->order1_time_bits += share * s->order1_time_bits;
        out->pages += s->pages;
        out->old_pages += s->old_pages;
        out->header_bytes += s->header_bytes;
        out->scale_bytes += s->scale_bytes;
        for (int id = 0; id < QN_CODEC_COUNT; id++)
            out->coded[id] += s->coded[id];
        out->recoded += s->recoded;
        out->held += s->held;
        out->zeros += s->zeros;
        out->sum += s->sum;
        out->magnitudes += s->magnitudes;
        out->squares += s->squares;
        out->min = fmin(out->min, s->min);
        out->max = fmax(out->max, s->max);
    }
}
