/* Prints the study of every tensor of a checkpoint or archive as one JSON object by name, for
 * comparison with an oracle: study_tool PATH THREADS [CALIBRATION] [u ...] */
#include "analyze/study.h"
#include "core/json.h"

#include <stdio.h>
#include <stdlib.h>

enum { BYTES = 8 };

static json_t *reals(const double *x, size_t n)
{
    json_t *a = json_array();
    for (size_t i = 0; i < n; i++)
        json_array_append_new(a, qn_json_real(x[i]));
    return a;
}

static json_t *statistics_to_json(const struct qn_statistics *s, enum qins_dtype dtype)
{
    const struct {
        const char *name;
        uint64_t value;
    } counts[] = {
        {"n", s->n},
        {"n_nan", s->n_nan},
        {"n_infinite", s->n_infinite},
        {"zeros", s->zeros},
        {"negative_zeros", s->negative_zeros},
        {"near_zeros", s->near_zeros},
        {"zero_runs", s->zero_runs},
        {"longest_zero_run", s->longest_zero_run},
        {"equal_neighbours", s->equal_neighbours},
        {"rows", s->rows},
        {"duplicate_rows", s->duplicate_rows},
        {"zero_rows", s->zero_rows},
        {"compared_rows", s->compared_rows},
        {"element_bytes", s->element_bytes},
        {"distinct_values", s->distinct_values},
    };
    const struct {
        const char *name;
        double value;
    } figures[] = {
        {"min", s->min},           {"max", s->max},
        {"abs_max", s->abs_max},   {"mean", s->mean},
        {"mean_abs", s->mean_abs}, {"rms", s->rms},
        {"variance", s->variance}, {"skewness", s->skewness},
        {"kurtosis", s->kurtosis}, {"exponent_entropy_bits", s->exponent_entropy_bits},
    };
    char remark[256];
    json_t *j = json_object();
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
        qn_json_put(&j, counts[i].name, json_integer((json_int_t)counts[i].value));
    for (size_t i = 0; i < sizeof figures / sizeof *figures; i++)
        qn_json_put(&j, figures[i].name, qn_json_real(figures[i].value));
    qn_json_put(&j, "byte_entropy_bits", reals(s->byte_entropy_bits, BYTES));
    qn_json_put(&j, "fits_dtype", json_string(qins_dtype_name(s->fits_dtype)));
    qn_json_put(&j, "remark", json_string(qn_statistics_remark(s, dtype, remark, sizeof remark)));
    return j;
}

static json_t *density_to_json(const struct qn_density *d, const double *u, size_t n)
{
    json_t *j = json_object(), *at = json_array();
    double bins[9];
    for (size_t i = 0; i < n; i++) {
        struct qn_cumulative c;
        qn_density_at(d, u[i], &c);
        const double all[] = {c.count[0], c.count[1],    c.error[0],    c.error[1],
                              c.error[2], c.weighted[0], c.weighted[1], c.weighted[2]};
        json_array_append_new(at, reals(all, sizeof all / sizeof *all));
    }
    qn_density_histogram(d, sizeof bins / sizeof *bins, bins);
    qn_json_put(&j, "count", json_integer((json_int_t)qn_density_count(d)));
    qn_json_put(&j, "zeros", json_integer((json_int_t)qn_density_zeros(d)));
    qn_json_put(&j, "groups", json_integer((json_int_t)qn_density_groups(d)));
    qn_json_put(&j, "at", at);
    qn_json_put(&j, "histogram", reals(bins, sizeof bins / sizeof *bins));
    return j;
}

static json_t *study_to_json(const struct qn_tensor_study *s, const double *u, size_t n)
{
    json_t *j = json_object(), *densities = json_object();
    for (int g = 0; g < QN_GRANULARITIES; g++)
        if (s->density[g])
            qn_json_put(&densities, qn_granularity_name((enum qn_granularity)g),
                        density_to_json(s->density[g], u, n));
    qn_json_put(&j, "statistics", statistics_to_json(&s->statistics, s->tensor->dtype));
    qn_json_put(&j, "density", densities);
    qn_json_put(&j, "weighted", json_boolean(s->weighted));
    qn_json_put(&j, "first_bad", qn_json_real(s->first_bad));
    return j;
}

static enum qins_status study_all(const struct qn_source *source,
                                  const struct qn_study_options *options, const double *u, size_t n,
                                  struct qins_error *err)
{
    enum qins_status st = QINS_OK;
    json_t *all = json_object();
    for (size_t i = 0; i < source->n_tensors && st == QINS_OK; i++) {
        struct qn_tensor_study s;
        st = qn_study_tensor(source, i, options, 0, 0, NULL, &s, err);
        if (st == QINS_OK)
            qn_json_put(&all, source->tensors[i].tensor->name, study_to_json(&s, u, n));
        qn_tensor_study_finish(&s);
    }
    if (st == QINS_OK)
        json_dumpf(all, stdout, JSON_REAL_PRECISION(17));
    json_decref(all);
    return st;
}

int main(int argc, char **argv)
{
    struct qins_error err = {0};
    struct qn_source *source = NULL;
    struct qn_calibration_file file = {0};
    size_t n = argc > 4 ? (size_t)argc - 4 : 0;
    double *u = calloc(n + 1, sizeof *u);
    if (argc < 4 || !u) {
        free(u);
        return 2;
    }
    struct qn_study_options options = {.threads = (unsigned)strtoul(argv[2], NULL, 10)};
    for (size_t i = 0; i < n; i++)
        u[i] = strtod(argv[4 + i], NULL);
    enum qins_status st = qn_source_open(&source, argv[1], NULL, &err);
    if (st == QINS_OK && argv[3][0]) {
        st = qn_calibration_open(&file, argv[3], QN_CALIBRATION_WHOLE, NULL, &err);
        options.calibration = &file.c;
    }
    if (st == QINS_OK)
        st = study_all(source, &options, u, n, &err);
    if (st != QINS_OK)
        fprintf(stderr, "%s\n", err.message);
    if (options.calibration)
        qn_calibration_close(&file);
    qn_source_destroy(source);
    free(u);
    return st == QINS_OK ? 0 : 1;
}
