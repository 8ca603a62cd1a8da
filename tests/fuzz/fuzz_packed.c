/* Matrices that stay as an archive's chunk has them. The first byte: bit 0 for one whose rows are
 * looked up, bit 1 puts the payload's size right; then the elements of a row (16 bits; 0: as the
 * header says), then a payload, whose hashes are put right. What is taken must be decoded as
 * chunks are and its products must be near those of the decoded weights, on every CPU level. */
#include "core/bytes.h"
#include "core/hash.h"
#include "core/linalg.h"
#include "tests/unit/packed_checking.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum {
    MAX_ELEMENTS = 1 << 13, /* keeps a run short */
    MOST_INPUTS = 20,       /* rows of them */
    AT_HASHED = 8,          /* docs/chunk-payload.md */
    AT_CONTENT = 13,
    AT_SIZE = 20,
};

static void require(bool holds)
{
    if (!holds)
        __builtin_trap();
}

static void *allocate(size_t size)
{
    void *p = malloc(size ? size : 1);
    require(p != NULL);
    return p;
}

/* Hashes of the whole and of the parts of a chunk of blocks. */
static void fix_hashes(uint8_t *payload, size_t size)
{
    const bool blocks = payload[AT_CONTENT] == QN_CONTENT_BLOCKS;
    for (size_t at = QN_CHUNK_HEADER_SIZE; blocks && size - at >= QN_CHUNK_HEADER_SIZE;) {
        uint8_t *part = payload + at;
        const size_t part_size = qn_load32(part + AT_SIZE);
        if (part_size < QN_CHUNK_HEADER_SIZE || part_size > size - at)
            break;
        qn_store64(part, qn_hash64(part + AT_HASHED, part_size - AT_HASHED));
        at += part_size;
    }
    qn_store64(payload, qn_hash64(payload + AT_HASHED, size - AT_HASHED));
}

struct trial {
    const uint8_t *payload;
    size_t size;
    struct qn_chunk_header header;
    struct qn_packed packed;
    size_t n_runs;
    void **rooms;
    struct qn_chunk_work work;
};

/* Parts of the payload that packed matrices can be made of; 0: not all of them are such. */
static size_t count_runs(const struct trial *t, size_t in)
{
    struct qn_part_walk walk;
    struct qins_error err;
    bool more = true;
    enum qins_status st;
    size_t n = 0;
    qn_part_walk_init(&walk, &t->header, t->payload);
    while ((st = qn_part_next(&walk, &more, &err)) == QINS_OK && more) {
        if (!qn_packed_takes(&walk.part, in))
            return 0;
        n++;
    }
    return st == QINS_OK ? n : 0;
}

static enum qins_status add_runs(struct trial *t, size_t in, bool looked_up)
{
    struct qn_part_walk walk;
    struct qins_error err;
    bool more = true;
    enum qins_status st = QINS_OK;
    qn_part_walk_init(&walk, &t->header, t->payload);
    for (size_t i = 0; st == QINS_OK && i < t->n_runs; i++) {
        require(qn_part_next(&walk, &more, &err) == QINS_OK && more);
        t->rooms[i] = aligned_alloc(QN_PACKED_ALIGNMENT, qn_packed_room(&walk.part, looked_up));
        require(t->rooms[i] != NULL);
        st = qn_packed_add(&t->packed, i, walk.first / in, walk.payload,
                           (size_t)walk.part.info.payload_size, t->rooms[i], &t->work, &err);
    }
    return st == QINS_OK ? qn_packed_seal(&t->packed, &err) : st;
}

static bool same(const float *a, const float *b, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (qn_float_bits(a[i]) != qn_float_bits(b[i]) && !(isnan(a[i]) && isnan(b[i])))
            return false;
    return true;
}

/* Those of portable C and of AVX2 yield the same bits. */
static bool by_float_kernels(const struct qn_packed *p, size_t n)
{
    for (size_t i = 0; i < p->n_runs; i++)
        if (!p->runs[i].fixed)
            return false;
    return !qn_packed_kernels()->fixed && n <= qn_packed_kernels()->few_rows &&
           n <= qn_packed_kernels_of(QN_CPU_C)->few_rows;
}

static void check_products(const struct qn_packed *p, const float *values, float *scratch)
{
    static const size_t counts[] = {1, 9, MOST_INPUTS};
    const enum qn_cpu_level most = qn_cpu_level();
    float *x = allocate(MOST_INPUTS * p->in * sizeof *x);
    float *y = allocate(MOST_INPUTS * p->out * sizeof *y);
    float *first = allocate(MOST_INPUTS * p->out * sizeof *first);
    for (size_t i = 0; i < MOST_INPUTS * p->in; i++)
        x[i] = (float)(i * 2654435761U % 2001) * 1e-3F - 1.0F;
    for (size_t c = 0; c < sizeof counts / sizeof *counts; c++)
        for (int level = QN_CPU_C; level <= QN_CPU_AVX512; level++) {
            const size_t n = counts[c];
            if (!qn_cpu_use((enum qn_cpu_level)level))
                continue;
            qn_packed_multiply(NULL, p, NULL, x, n, p->in, y, p->out, scratch);
            require(packed_products_hold(p, values, x, n, y));
            if (level == QN_CPU_C)
                memcpy(first, y, n * p->out * sizeof *y);
            require(!by_float_kernels(p, n) || same(first, y, n * p->out));
        }
    require(qn_cpu_use(most));
    free(x);
    free(y);
    free(first);
}

/* What has been taken. */
static void check_matrix(struct trial *t)
{
    const struct qn_packed *p = &t->packed;
    const size_t n = p->out * p->in;
    struct qins_error err;
    float *values = allocate(n * sizeof *values), *rows = allocate(n * sizeof *rows);
    float *scratch = allocate(qn_packed_scratch() * sizeof *scratch);
    require(qn_chunk_decode(t->payload, t->size, t->header.info.dtype, n, true, &t->work, values,
                            &err) == QINS_OK);
    qn_packed_rows(p, 0, p->out, rows, p->looked_up ? NULL : scratch);
    require(memcmp(rows, values, n * sizeof *rows) == 0);
    check_products(p, values, scratch);
    free(scratch);
    free(values);
    free(rows);
}

static void try_payload(struct trial *t, size_t in, bool looked_up)
{
    struct qins_error err;
    if (qn_chunk_parse(t->payload, t->size, &t->header, &err) != QINS_OK)
        return;
    const size_t n = t->header.info.n_elements;
    in = in ? in : t->header.groups.row_length;
    if (n > MAX_ELEMENTS || in == 0 || n % in != 0)
        return;
    t->n_runs = count_runs(t, in);
    if (t->n_runs == 0)
        return;
    t->rooms = calloc(t->n_runs, sizeof *t->rooms);
    require(t->rooms != NULL);
    require(qn_packed_init(&t->packed, n / in, in, looked_up, t->n_runs, &err) == QINS_OK);
    if (add_runs(t, in, looked_up) == QINS_OK)
        check_matrix(t);
    qn_packed_finish(&t->packed);
    for (size_t i = 0; i < t->n_runs; i++)
        free(t->rooms[i]);
    free(t->rooms);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    enum { FRONT = 3 };
    struct qins_error err;
    if (size < FRONT + QN_CHUNK_HEADER_SIZE)
        return 0;
    require(qn_linalg_init(&err) == QINS_OK);
    size -= FRONT;
    uint8_t *payload = allocate(size);
    memcpy(payload, data + FRONT, size);
    if (data[0] & 2)
        qn_store32(payload + AT_SIZE, (uint32_t)size);
    fix_hashes(payload, size);
    struct trial t = {.payload = payload, .size = size};
    try_payload(&t, qn_load16(data + 1), (data[0] & 1) != 0);
    qn_chunk_work_finish(&t.work);
    free(payload);
    return 0;
}
