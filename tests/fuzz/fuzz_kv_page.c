/* Byte 0 picks a layout. What follows is a page: decoded as it is and with its hash put right; what
 * decodes must do so again after it was coded anew. Then it is V, to be coded and decoded. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/bytes.h"
#include "core/hash.h"
#include "formats/kv_page.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A code for whole pages of a few hundred bytes, and Huffman's eight streams for the last. */
static const struct qn_kv_layout layouts[] = {{2, 32, 4, 8, 0.25F}, {2, 32, 4, 6, 0.25F},
                                              {2, 64, 3, 6, 1.0F},  {3, 5, 7, 8, 0.0F},
                                              {1, 1, 1, 6, 3.0F},   {2, 32, 160, 6, 0.25F}};
enum { N_LAYOUTS = sizeof layouts / sizeof *layouts, AT_HASHED = 8 };

struct work {
    const struct qn_kv_layout *l;
    size_t values, head_stride;
    float *v;
    uint8_t *page;
    uint16_t *codes;
    void *scratch;
};

static void check(bool ok)
{
    if (!ok)
        abort();
}

static void *take(size_t size)
{
    void *p = malloc(size > 0 ? size : 1);
    check(p != NULL);
    return p;
}

static bool decode(struct work *w, const uint8_t *page, size_t size)
{
    struct qins_error err;
    const bool ok =
        qn_kv_decode(w->l, page, size, w->v, w->head_stride, w->scratch, &err) == QINS_OK;
    check(ok == (qn_kv_codes(w->l, page, size, w->codes, NULL, w->scratch, &err) == QINS_OK));
    for (size_t i = 0; ok && i < w->values; i++)
        check(isfinite(w->v[i]));
    return ok;
}

/* A bit-packed page that decodes to w->v. */
static void recode(struct work *w, const uint8_t *packed)
{
    struct qins_error err;
    float *first = take(w->values * sizeof *first);
    size_t size = 0;
    memcpy(first, w->v, w->values * sizeof *first);
    check(qn_kv_recode(w->l, packed, w->page, &size, w->scratch, &err) == QINS_OK);
    check(size <= qn_kv_packed_size(w->l) && decode(w, w->page, size));
    check(memcmp(first, w->v, w->values * sizeof *first) == 0);
    free(first);
}

static void read_page(struct work *w, const uint8_t *data, size_t size)
{
    uint8_t *page = take(size);
    memcpy(page, data, size);
    decode(w, page, size);
    if (size > AT_HASHED) {
        qn_store64(page, qn_hash64(page + AT_HASHED, size - AT_HASHED));
        if (decode(w, page, size) && !qn_kv_is_recoded(page, size))
            recode(w, page);
    }
    free(page);
}

static void write_page(struct work *w, const uint8_t *data, size_t size)
{
    struct qins_error err;
    const size_t n = w->values * sizeof *w->v;
    uint8_t *page = take(qn_kv_packed_size(w->l));
    memset(w->v, 0, n);
    memcpy(w->v, data, size < n ? size : n);
    if (qn_kv_encode(w->l, w->v, w->head_stride, page, w->scratch, &err) == QINS_OK) {
        check(decode(w, page, qn_kv_packed_size(w->l)));
        recode(w, page);
    }
    free(page);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    const struct qn_kv_layout *l = &layouts[data[0] % N_LAYOUTS];
    const size_t values = (size_t)l->tokens * l->heads * l->head_dim;
    check(qn_kv_layout_valid(l));
    struct work w = {.l = l,
                     .values = values,
                     .head_stride = (size_t)l->tokens * l->head_dim,
                     .v = take(values * sizeof(float)),
                     .page = take(qn_kv_packed_size(l)),
                     .codes = take(values * sizeof(uint16_t)),
                     .scratch = take(qn_kv_scratch(l))};
    read_page(&w, data + 1, size - 1);
    write_page(&w, data + 1, size - 1);
    free(w.scratch);
    free(w.codes);
    free(w.page);
    free(w.v);
    return 0;
}
