/* Test-only: predictions from densities, block formats and the real encoder, for oracles written in
 * Python.
 *   candidate_tool predict VALUES ROWS ROW_LENGTH [WEIGHTS]
 *   candidate_tool encode VALUES ROWS ROW_LENGTH
 *   candidate_tool search VALUES ROWS ROW_LENGTH [WEIGHTS]
 *   candidate_tool table VALUES ROWS ROW_LENGTH
 *   candidate_tool format VALUES ROWS ROW_LENGTH
 *   candidate_tool true VALUES ROWS ROW_LENGTH CHECKPOINT
 * VALUES is a file of float32, WEIGHTS one of float64, a channel each. The first three read lines
 * "GRANULARITY LEVELS KAPPA CLIP" (in search, -1 means free) and answer each with a line of
 * figures; table writes all candidates, format the error of each block format, true what
 * the only tensor of CHECKPOINT, which has VALUES, is really coded to. */
#include "analyze/block_formats.h"
#include "analyze/candidates.h"
#include "analyze/encode_check.h"
#include "core/clock.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct input {
    struct qn_tensor tensor;
    struct qn_buf values, weights;
    struct qn_tensor_study study;
    bool studied;
    const char *checkpoint;
};

static enum qins_status load(const char *path, struct qn_buf *out, struct qins_error *err)
{
    uint8_t block[65536];
    size_t got;
    enum qins_status st = QINS_OK;
    FILE *f = fopen(path, "rb");
    if (!f)
        return qn_fail_errno(err, path, "open");
    while (st == QINS_OK && (got = fread(block, 1, sizeof block, f)) > 0)
        st = qn_buf_append(out, block, got, err);
    fclose(f);
    return st;
}

static enum qins_status prepare(struct input *in, int argc, char **argv, struct qins_error *err)
{
    static char name[] = "values";
    const uint64_t rows = strtoull(argv[3], NULL, 10), length = strtoull(argv[4], NULL, 10);
    enum qins_status st = load(argv[2], &in->values, err);
    if (argc > 5 && strcmp(argv[1], "true") == 0)
        in->checkpoint = argv[5];
    else if (st == QINS_OK && argc > 5)
        st = load(argv[5], &in->weights, err);
    if (st != QINS_OK)
        return st;
    in->tensor = (struct qn_tensor){.name = name,
                                    .dtype = QINS_F32,
                                    .rank = 2,
                                    .shape = {rows, length},
                                    .n_elements = rows * length,
                                    .n_bytes = 4 * rows * length};
    if (in->values.size != in->tensor.n_bytes ||
        (in->weights.size && in->weights.size != sizeof(double) * length))
        return qn_fail(err, QINS_ERR_USAGE, "sizes differ");
    return QINS_OK;
}

static enum qins_status study(struct input *in, struct qins_error *err)
{
    const double *weights = (const double *)(const void *)in->weights.data;
    enum qins_status st = qn_study_values(&in->tensor, (const float *)(const void *)in->values.data,
                                          weights, &in->study, err);
    in->studied = st == QINS_OK;
    return st;
}

static bool next_candidate(struct qn_candidate *c)
{
    char name[16];
    unsigned levels;
    float kappa, clip;
    if (scanf("%15s %u %f %f", name, &levels, &kappa, &clip) != 4)
        return false;
    *c = (struct qn_candidate){.levels = levels, .kappa = kappa, .clip = clip};
    while ((int)c->granularity < QN_GRANULARITIES - 1 &&
           strcmp(name, qn_granularity_name(c->granularity)) != 0)
        c->granularity++;
    return true;
}

static void print_candidate(const struct qn_candidate *c)
{
    printf("%s %u %.9g %.9g %.17g %.17g %.17g %.17g %.17g %.17g %.17g %llu %llu %llu\n",
           qn_granularity_name(c->granularity), c->levels, (double)c->kappa, (double)c->clip,
           c->error, c->weighted_error, c->sqnr_db, c->p50_rel_error, c->p90_rel_error,
           c->p99_rel_error, c->entropy_bits, (unsigned long long)c->packed_bytes,
           (unsigned long long)c->huffman_bytes, (unsigned long long)c->tans_bytes);
}

static enum qins_status predict(struct input *in, struct qins_error *err)
{
    struct qn_candidate c;
    enum qins_status st = study(in, err);
    while (st == QINS_OK && next_candidate(&c)) {
        if (in->study.density[c.granularity])
            qn_predict(&in->study, &c, QN_PREDICT_ALL);
        print_candidate(&c);
    }
    return st;
}

static enum qins_status search(struct input *in, struct qins_error *err)
{
    struct qn_candidate c;
    enum qins_status st = study(in, err);
    while (st == QINS_OK && next_candidate(&c)) {
        qn_candidate_search(&in->study, &c, in->study.weighted);
        qn_predict(&in->study, &c, QN_PREDICT_ALL);
        print_candidate(&c);
    }
    return st;
}

/* Bytes of all chunks under CODEC. */
static enum qins_status encoded_size(const struct input *in, const struct qn_candidate *c,
                                     enum qn_codec_id codec, uint64_t *bytes,
                                     struct qins_error *err)
{
    const float *x = (const float *)(const void *)in->values.data;
    const uint64_t row = in->tensor.shape[1], group = qn_granularity_group(c->granularity, row);
    bool finite = true, whole = c->granularity == QN_PER_TENSOR;
    struct qn_layout layout;
    struct qn_chunk_work work = {0};
    struct qn_buf out = {0};
    enum qins_status st = QINS_OK;
    qn_layout_init(&layout, in->tensor.rank, in->tensor.shape);
    struct qn_chunk_params p = {.content = QN_CONTENT_QINS,
                                .dtype = QINS_F32,
                                .codec = codec,
                                .levels = c->levels,
                                .kappa = c->kappa,
                                .clip = c->clip,
                                .row_length = row,
                                .group = whole ? row : group};
    if (whole)
        p.tensor_scale = c->clip * qn_abs_max(x, (size_t)in->tensor.n_elements, &finite);
    for (uint64_t i = 0; st == QINS_OK && i < layout.n_chunks; i++) {
        uint64_t first, count;
        qn_layout_chunk(&layout, i, &first, &count);
        st = qn_chunk_encode(&p, x + first, (size_t)count, &work, &out, err);
    }
    *bytes = out.size;
    qn_buf_finish(&out);
    qn_chunk_work_finish(&work);
    return st;
}

static const enum qn_codec_id coders[] = {QN_CODEC_BITPACK, QN_CODEC_HUFFMAN, QN_CODEC_TANS};

static enum qins_status encode(struct input *in, struct qins_error *err)
{
    struct qn_candidate c;
    enum qins_status st = QINS_OK;
    while (st == QINS_OK && next_candidate(&c)) {
        for (size_t i = 0; st == QINS_OK && i < sizeof coders / sizeof *coders; i++) {
            uint64_t bytes = 0;
            st = encoded_size(in, &c, coders[i], &bytes, err);
            printf("%llu%c", (unsigned long long)bytes, coders[i] == QN_CODEC_TANS ? '\n' : ' ');
        }
    }
    return st;
}

static enum qins_status table(struct input *in, struct qins_error *err)
{
    struct qn_candidate_list list = {0};
    double begin = qn_seconds();
    enum qins_status st = study(in, err);
    double middle = qn_seconds();
    if (st == QINS_OK)
        st = qn_candidates_fixed(&in->study, &list, err);
    if (st == QINS_OK)
        st = qn_candidates_coded(&in->study, &list, err);
    double end = qn_seconds();
    for (size_t i = 0; st == QINS_OK && i < list.count; i++)
        print_candidate(&list.items[i]);
    fprintf(stderr, "study %.4f s, %zu candidates %.4f s\n", middle - begin, list.count,
            end - middle);
    qn_candidate_list_finish(&list);
    return st;
}

static enum qins_status format(struct input *in, struct qins_error *err)
{
    (void)err;
    const float *x = (const float *)(const void *)in->values.data;
    for (int f = 0; f < QN_BLOCK_FORMATS; f++) {
        const struct qn_block_format_info *info = qn_block_format((enum qn_block_format)f);
        printf(
            "%s %u %u %.17g\n", info->name, info->block, info->bytes,
            qn_block_format_error((enum qn_block_format)f, x, (size_t)in->tensor.n_elements, NULL));
    }
    return QINS_OK;
}

static enum qins_status true_sizes(struct input *in, struct qins_error *err)
{
    struct qn_candidate c;
    struct qn_source *source = NULL;
    struct qn_reference_line lines[QN_BLOCK_FORMATS];
    enum qins_status st = study(in, err);
    if (st == QINS_OK)
        st = qn_source_open(&source, in->checkpoint ? in->checkpoint : "", NULL, err);
    while (st == QINS_OK && next_candidate(&c)) {
        struct qn_true_sizes t;
        st = qn_encode_check(source, 0, &in->study, &c, 0, &t, err);
        printf("%llu %.17g %.17g %.17g %.17g %.17g", (unsigned long long)t.elements, t.entropy_bits,
               t.order1_bits, t.run_bits, t.zero_share, t.error);
        for (int id = 0; id < QN_CODEC_COUNT; id++)
            printf(" %llu", (unsigned long long)t.bytes[id]);
        printf("\n");
    }
    if (st == QINS_OK)
        st = qn_reference_lines(source, 0, &in->study, 0, lines, err);
    for (int f = 0; st == QINS_OK && f < QN_BLOCK_FORMATS; f++)
        printf("%s %.17g %.17g %d\n", qn_block_format(lines[f].format)->name, lines[f].rmse,
               lines[f].sqnr_db, lines[f].fits);
    qn_source_destroy(source);
    return st;
}

static const struct command {
    const char *name;
    enum qins_status (*run)(struct input *in, struct qins_error *err);
} commands[] = {
    {"predict", predict}, {"search", search}, {"encode", encode},
    {"table", table},     {"format", format}, {"true", true_sizes},
};

int main(int argc, char **argv)
{
    struct input in = {0};
    struct qins_error err = {0};
    enum qins_status st = qn_fail(&err, QINS_ERR_USAGE, "no such command");
    for (size_t i = 0; argc >= 5 && i < sizeof commands / sizeof *commands; i++) {
        if (strcmp(argv[1], commands[i].name) != 0)
            continue;
        st = prepare(&in, argc, argv, &err);
        if (st == QINS_OK)
            st = commands[i].run(&in, &err);
    }
    if (st != QINS_OK)
        fprintf(stderr, "%d %s\n", (int)st, err.message);
    if (in.studied)
        qn_tensor_study_finish(&in.study);
    qn_buf_finish(&in.values);
    qn_buf_finish(&in.weights);
    return (int)st;
}
