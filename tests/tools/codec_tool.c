/* Test-only: the quantiser, the shape search and the chunk coder as a filter, standard input to
 * standard output, for oracles written in Python. Float parameters are the hexadecimal digits
 * of their binary32 form. */
#include "core/bytes.h"
#include "formats/codec/chunk.h"
#include "formats/codec/search.h"

#include <stdio.h>
#include <stdlib.h>

static unsigned long long number(char **argv, int index)
{
    return strtoull(argv[index], NULL, 10);
}

static float binary32(char **argv, int index)
{
    return qn_float_from_bits((uint32_t)strtoul(argv[index], NULL, 16));
}

static enum qins_status read_input(struct qn_buf *in, struct qins_error *err)
{
    uint8_t block[65536];
    size_t got;
    enum qins_status st = QINS_OK;
    while (st == QINS_OK && (got = fread(block, 1, sizeof block, stdin)) > 0)
        st = qn_buf_append(in, block, got, err);
    return st;
}

/* A command: ARGV from its first parameter on. */
typedef enum qins_status command_fn(char **argv, const struct qn_buf *in, struct qn_buf *out,
                                    struct qins_error *err);

/* KIND LEVELS KAPPA SCALE: floats to codes */
static enum qins_status quantise(char **argv, const struct qn_buf *in, struct qn_buf *out,
                                 struct qins_error *err)
{
    struct qn_grid g;
    if (!qn_grid_init(&g, (enum qn_grid_kind)number(argv, 0), (unsigned)number(argv, 1),
                      binary32(argv, 2)))
        return qn_fail(err, QINS_ERR_USAGE, "bad grid");
    enum qins_status st = qn_buf_append_zeros(out, in->size / 2, err);
    if (st == QINS_OK)
        qn_quantise(&g, binary32(argv, 3), (const float *)(const void *)in->data, in->size / 4,
                    (uint16_t *)(void *)out->data);
    return st;
}

/* KIND LEVELS KAPPA SCALE: codes to floats */
static enum qins_status dequantise(char **argv, const struct qn_buf *in, struct qn_buf *out,
                                   struct qins_error *err)
{
    struct qn_grid g;
    if (!qn_grid_init(&g, (enum qn_grid_kind)number(argv, 0), (unsigned)number(argv, 1),
                      binary32(argv, 2)))
        return qn_fail(err, QINS_ERR_USAGE, "bad grid");
    enum qins_status st = qn_buf_append_zeros(out, in->size * 2, err);
    if (st == QINS_OK)
        qn_dequantise(&g, binary32(argv, 3), (const uint16_t *)(const void *)in->data, in->size / 2,
                      (float *)(void *)out->data);
    return st;
}

/* LEVELS KAPPA CLIP GROUP: floats to predicted error, chosen kappa and clip, error of these */
static enum qins_status search(char **argv, const struct qn_buf *in, struct qn_buf *out,
                               struct qins_error *err)
{
    static struct qn_hist h;
    const unsigned levels = (unsigned)number(argv, 0);
    const float *x = (const float *)(const void *)in->data, kappa = binary32(argv, 1),
                clip = binary32(argv, 2);
    size_t n = in->size / 4, group = (size_t)number(argv, 3);
    for (size_t i = 0; group > 0 && i < n; i += group) {
        bool finite = true;
        size_t size = n - i < group ? n - i : group;
        qn_hist_add(&h, qn_abs_max(x + i, size, &finite), x + i, size);
    }
    struct qn_shape_choice c = qn_search_shape(&h, levels, kappa, clip);
    double figures[4] = {kappa < 0.0f || clip < 0.0f ? 0.0
                                                     : qn_predict_error(&h, levels, kappa, clip),
                         (double)c.kappa, (double)c.clip, c.squared_error};
    return qn_buf_append(out, figures, sizeof figures, err);
}

/* CONTENT DTYPE CODEC LEVELS KAPPA CLIP TENSOR_SCALE ROW_LENGTH GROUP: elements to a payload */
static enum qins_status encode(char **argv, const struct qn_buf *in, struct qn_buf *out,
                               struct qins_error *err)
{
    struct qn_chunk_work work = {0};
    struct qn_chunk_params p = {
        .content = (enum qn_content)number(argv, 0),
        .dtype = qn_dtype_from_name(argv[1]),
        .codec = qn_codec_from_name(argv[2]),
        .levels = (unsigned)number(argv, 3),
        .kappa = binary32(argv, 4),
        .clip = binary32(argv, 5),
        .tensor_scale = binary32(argv, 6),
        .row_length = number(argv, 7),
        .group = number(argv, 8),
    };
    if (p.dtype == QINS_DTYPE_INVALID)
        return qn_fail(err, QINS_ERR_USAGE, "no such type");
    enum qins_status st =
        qn_chunk_encode(&p, in->data, in->size / qins_dtype_size(p.dtype), &work, out, err);
    qn_chunk_work_finish(&work);
    return st;
}

/* DTYPE N VIEW: a payload to elements */
static enum qins_status decode(char **argv, const struct qn_buf *in, struct qn_buf *out,
                               struct qins_error *err)
{
    struct qn_chunk_work work = {0};
    const enum qins_dtype dtype = qn_dtype_from_name(argv[0]);
    const bool view = number(argv, 2) != 0;
    if (dtype == QINS_DTYPE_INVALID)
        return qn_fail(err, QINS_ERR_USAGE, "no such type");
    size_t n = (size_t)number(argv, 1),
           width = qins_dtype_size(view ? qn_dtype(dtype)->view : dtype);
    enum qins_status st = qn_buf_append_zeros(out, n * width, err);
    if (st == QINS_OK)
        st = qn_chunk_decode(in->data, in->size, dtype, n, view, &work, out->data, err);
    qn_chunk_work_finish(&work);
    return st;
}

static const struct command {
    const char *name;
    int n_parameters;
    command_fn *run;
} commands[] = {
    {"quantise", 4, quantise}, {"dequantise", 4, dequantise}, {"search", 4, search},
    {"encode", 9, encode},     {"decode", 3, decode},
};

int main(int argc, char **argv)
{
    struct qn_buf in = {0}, out = {0};
    struct qins_error err = {0};
    enum qins_status st = qn_fail(&err, QINS_ERR_USAGE, "no such command");
    for (size_t i = 0; argc >= 2 && i < sizeof commands / sizeof *commands; i++) {
        if (strcmp(argv[1], commands[i].name) != 0 || argc != 2 + commands[i].n_parameters)
            continue;
        st = read_input(&in, &err);
        if (st == QINS_OK)
            st = commands[i].run(argv + 2, &in, &out, &err);
    }
    if (st == QINS_OK && fwrite(out.data, 1, out.size, stdout) != out.size)
        st = qn_fail_errno(&err, "standard output", "write");
    if (st != QINS_OK)
        fprintf(stderr, "%d %lld %s\n", (int)st, (long long)err.offset, err.message);
    qn_buf_finish(&in);
    qn_buf_finish(&out);
    return (int)st;
}
