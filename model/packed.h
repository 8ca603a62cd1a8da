/* A matrix that stays as an archive has it, its codes packed or entropy-coded, and is multiplied
 * in that form: rows are decoded a cache's worth at a time, never to memory.
 *
 * Codes of up to 8 bits on the QINS grid go through the kernels of model/packed_kernels.h, which
 * decode in registers. What these cannot do (seed grid, wider codes, groups that cut across blocks,
 * grids too steep) is decoded to float32 panels and multiplied there. Lossless content is not
 * taken. Products differ between AVX-512 and other CPU levels, as said there. */
#ifndef QINS_MODEL_PACKED_H
#define QINS_MODEL_PACKED_H

#include "core/pool.h"
#include "formats/codec/chunk_layout.h"
#include "formats/codec/kernels.h"
#include "model/packed_kernels.h"

#include <pthread.h>

enum {
    QN_PACKED_ALIGNMENT = 64, /* bytes; of rooms */
    QN_PACKED_MAX_IN = 1 << 17,
    /* Of matrices that share them. Plans take kappa from a short list; a hostile archive may give
     * each row its own, and a table is hundreds of times what a row takes in a file. */
    QN_PACKED_MAX_GRIDS = 1024,
    QN_PACKED_GRID_LISTS = 256, /* to find them by */
};

/* Codes of one grid; private to model/packed*.c. */
struct qn_packed_grid {
    struct qn_packed_grid *next;
    struct qn_grid grid;
    struct qn_packed_table packed, bytes; /* for codes as they are packed, and one to a byte */
    struct qn_code_decoder decoder;       /* its data left open */
};

/* The grids of matrices, each once. */
struct qn_packed_grids {
    pthread_mutex_t lock;
    struct qn_packed_grid *lists[QN_PACKED_GRID_LISTS];
    size_t n, users; /* matrices that have it */
};

/* Consecutive rows from one payload: a plain chunk, or one part of QN_CONTENT_BLOCKS. */
struct qn_packed_run {
    size_t first, rows;
    enum qn_codec_id codec; /* BITPACK; else TANS or HUFFMAN: a symbol is a code */
    bool fixed;             /* goes through the kernels that decode in registers */
    const uint8_t *data;    /* QN_PACKED_MARGIN readable bytes are behind it */
    size_t size;            /* bytes */
    const float *scales;
    size_t row_scales, group; /* as struct qn_packed_rows has them */
    const struct qn_packed_grid *grid;
};

/* What a thread does at a time: rows of a run. */
struct qn_packed_item {
    const struct qn_packed_run *run;
    size_t first, rows; /* of the run */
};

/* Read-only once it is sealed: any number of threads may multiply by it. */
struct qn_packed {
    size_t out, in;
    bool looked_up; /* rows are read one at a time: qn_packed_rows() */
    struct qn_packed_run *runs;
    size_t n_runs;
    struct qn_packed_grids *grids;
    size_t block;                 /* inputs that share a scale; 0: no run goes through kernels */
    struct qn_packed_item *items; /* made by qn_packed_seal() */
    size_t n_items;
    uint64_t bytes; /* codes and scales */
};

/* Whether a run can be made of a payload with this header (that has passed qn_chunk_parse(), and
 * is none of QN_CONTENT_BLOCKS) that begins at a row's beginning, for rows of IN elements: it has
 * codes and whole rows, with scales of rows, of groups within rows or of the whole payload, and IN
 * is at most QN_PACKED_MAX_IN. */
bool qn_packed_takes(const struct qn_chunk_header *h, size_t in);
/* Bytes of memory that its run wants, a multiple of QN_PACKED_ALIGNMENT. LOOKED_UP as below. */
size_t qn_packed_room(const struct qn_chunk_header *h, bool looked_up);

/* For OUT x IN elements in N_RUNS runs. LOOKED_UP: of a table whose rows are read one at a time;
 * coded symbols of such are decoded here, once. Finish it whatever the result. */
enum qins_status qn_packed_init(struct qn_packed *p, size_t out, size_t in, bool looked_up,
                                size_t n_runs, struct qins_error *err);
/* P has the grids of OTHER as well, both initialised and neither with runs. From one thread. */
void qn_packed_share_grids(struct qn_packed *p, const struct qn_packed *other);
/* Bytes of the tables of P and of those that share them. */
uint64_t qn_packed_grid_bytes(const struct qn_packed *p);
/* Run INDEX of rows FIRST …: PAYLOAD of SIZE bytes, checked in full (hash, streams, codes, scales),
 * so that products cannot fail. Its bytes go to ROOM (aligned, qn_packed_room() bytes, which
 * outlive P); PAYLOAD is not kept. Threads may add different runs at once. QINS_ERR_UNSUPPORTED
 * for what qn_packed_takes() does not and for more than QN_PACKED_MAX_GRIDS grids,
 * QINS_ERR_FORMAT for damage. */
enum qins_status qn_packed_add(struct qn_packed *p, size_t index, size_t first, const void *payload,
                               size_t size, void *room, struct qn_chunk_work *work,
                               struct qins_error *err);
/* After all runs: QINS_ERR_FORMAT unless they are the matrix's rows, each once and in order. */
enum qins_status qn_packed_seal(struct qn_packed *p, struct qins_error *err);
/* Accepts a zeroed one; the rooms are the caller's. From one thread, where grids are shared. */
void qn_packed_finish(struct qn_packed *p);

/* Rows FIRST … FIRST + N - 1, decoded into DST[n][in]. SCRATCH holds qn_packed_scratch() floats;
 * NULL will do where rows are looked up. */
void qn_packed_rows(const struct qn_packed *p, size_t first, size_t n, float *dst, float *scratch);

/* For qn_linear(), whose contract holds: Y = X P^T + BIAS. Few rows of X go through the kernels
 * that decode in registers, many through panels and OpenBLAS. SCRATCH as there. */
void qn_packed_multiply(struct qn_pool *pool, const struct qn_packed *p, const float *bias,
                        const float *x, size_t rows, size_t x_stride, float *y, size_t y_stride,
                        float *scratch);
size_t qn_packed_scratch(void); /* floats a thread */

#endif
