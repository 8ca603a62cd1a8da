/* One tensor of the report. */
#include "analyze/report_build.h"
#include "analyze/report_tables.h"
#include "formats/archive/manifest_json.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Elements that are encoded, or quantised as block formats, to check predictions: larger tensors
 * are sampled. */
static const uint64_t sample_elements = 1 << 20;

enum { CHOSEN_BITS = 8, COMPONENT_SIZE = 64 };

/* All that is found out about a tensor. */
struct findings {
    struct qn_tensor_study study;
    struct qn_candidate_list fixed, coded;
    struct qn_comparison comparison;
    bool compared;
    struct qn_reference_line references[QN_BLOCK_FORMATS];
    struct qn_extra_table extra;
    bool has_extra;
    struct qn_true_sizes true_sizes;
    bool encoded;
};

static void finish(struct findings *f)
{
    qn_tensor_study_finish(&f->study);
    qn_candidate_list_finish(&f->fixed);
    qn_candidate_list_finish(&f->coded);
    qn_comparison_finish(&f->comparison);
}

static enum qins_status find_out(struct qn_report_builder *b, const struct qn_source *source,
                                 size_t index, struct findings *f, struct qins_error *err)
{
    const struct qn_study_options o = {.calibration = b->has_calibration ? &b->calibration.c : NULL,
                                       .threads = b->options->threads};
    enum qins_status st =
        qn_study_tensor(source, index, &o, b->done, b->total, b->monitor, &f->study, err);
    if (st != QINS_OK || !f->study.density[qn_report_granularity(&f->study)])
        return st;
    st = qn_candidates_fixed(&f->study, &f->fixed, err);
    if (st == QINS_OK)
        st = qn_candidates_coded(&f->study, &f->coded, err);
    if (st == QINS_OK)
        st = qn_compare(&f->study, &f->fixed, &f->coded, &f->comparison, err);
    f->compared = st == QINS_OK;
    if (st != QINS_OK || !qn_report_is_matrix(f->study.tensor))
        return st;
    st = qn_extra_compression(&f->study, &f->extra, err);
    f->has_extra = st == QINS_OK;
    if (st == QINS_OK)
        st = qn_reference_lines(source, index, &f->study, sample_elements, f->references, err);
    const struct qn_fixed_comparison *eight =
        qn_report_fixed(&f->comparison, qn_report_granularity(&f->study), CHOSEN_BITS);
    if (st == QINS_OK && eight) {
        st = qn_encode_check(source, index, &f->study,
                             &eight->best[QN_CONTENDER_QINS][QN_MEASURE_SQUARED], sample_elements,
                             &f->true_sizes, err);
        f->encoded = st == QINS_OK;
    }
    return st;
}

static enum qins_status add_histogram(struct qn_report_builder *b, const char *group,
                                      const struct qn_tensor_study *s, struct qins_error *err)
{
    double counts[QN_HISTOGRAM_CELLS] = {0};
    float table[QN_HISTOGRAM_CELLS * (1 + QN_GRANULARITIES)];
    char heads[64] = "u";
    size_t used = 1;
    const size_t width = 1 + QN_GRANULARITIES;
    for (size_t i = 0; i < QN_HISTOGRAM_CELLS; i++)
        table[i * width] = (float)((2.0 * (double)i + 1.0) / QN_HISTOGRAM_CELLS - 1.0);
    for (int g = 0; g < QN_GRANULARITIES; g++) {
        /* Rows no longer than a block are blocks: the density before this one. */
        if (s->density[g])
            qn_density_histogram(s->density[g], QN_HISTOGRAM_CELLS, counts);
        for (size_t i = 0; i < QN_HISTOGRAM_CELLS; i++)
            table[i * width + 1 + (size_t)g] = (float)counts[i];
        used += (size_t)snprintf(heads + used, sizeof heads - used, " %s",
                                 qn_granularity_name((enum qn_granularity)g));
    }
    return qn_curves_add(&b->curves, group, "histogram", heads, QN_HISTOGRAM_CELLS, width, table,
                         err);
}

static void candidate_row(const struct qn_candidate *c, bool coded, const struct findings *f,
                          float *row)
{
    const double bits = 8.0 / (double)f->study.tensor->n_elements;
    row[QN_COLUMN_SET] = coded ? 1.0F : 0.0F;
    row[QN_COLUMN_GRANULARITY] = (float)(int)c->granularity;
    row[QN_COLUMN_LEVELS] = (float)c->levels;
    row[QN_COLUMN_KAPPA] = c->kappa;
    row[QN_COLUMN_CLIP] = c->clip;
    row[QN_COLUMN_ENTROPY_BITS] = (float)c->entropy_bits;
    row[QN_COLUMN_PACKED_BITS] = (float)((double)c->packed_bytes * bits);
    row[QN_COLUMN_HUFFMAN_BITS] = (float)((double)c->huffman_bytes * bits);
    row[QN_COLUMN_SQNR_DB] = (float)c->sqnr_db;
    double weighted = c->weighted_error > 0.0 && c->error > 0.0
                          ? c->sqnr_db /* of an unweighted study */
                          : (double)NAN;
    if (f->study.weighted) {
        struct qn_cumulative all;
        qn_density_at(f->study.density[c->granularity], 1.0, &all);
        weighted = qn_report_decibels(all.weighted[2], c->weighted_error);
    }
    row[QN_COLUMN_WEIGHTED_SQNR_DB] = (float)weighted;
    row[QN_COLUMN_P50_REL_ERROR] = (float)c->p50_rel_error;
    row[QN_COLUMN_P90_REL_ERROR] = (float)c->p90_rel_error;
    row[QN_COLUMN_P99_REL_ERROR] = (float)c->p99_rel_error;
    row[QN_COLUMN_TANS_BITS] = (float)((double)c->tans_bytes * bits);
}

static enum qins_status add_candidates(struct qn_report_builder *b, const char *group,
                                       const struct findings *f, struct qins_error *err)
{
    const size_t rows = f->fixed.count + f->coded.count;
    float *table = rows ? calloc(rows, QN_TABLE_COLUMNS * sizeof *table) : NULL;
    if (!table)
        return rows ? qn_fail_memory(err) : QINS_OK;
    for (size_t i = 0; i < rows; i++) {
        const bool coded = i >= f->fixed.count;
        candidate_row(coded ? &f->coded.items[i - f->fixed.count] : &f->fixed.items[i], coded, f,
                      table + i * QN_TABLE_COLUMNS);
    }
    enum qins_status st = qn_curves_add(&b->curves, group, "candidates", QN_TABLE_HEADS, rows,
                                        QN_TABLE_COLUMNS, table, err);
    free(table);
    return st;
}

/* What the contenders reach at equal coded rates. */
static enum qins_status add_coded_rates(struct qn_report_builder *b, const char *group,
                                        const struct qn_comparison *c, struct qins_error *err)
{
    float *table = calloc(c->n_coded + 1, QN_RATE_COLUMNS * sizeof *table);
    if (!table)
        return qn_fail_memory(err);
    for (size_t i = 0; i < c->n_coded; i++) {
        const struct qn_rate_comparison *r = &c->coded[i];
        float *row = table + i * QN_RATE_COLUMNS;
        size_t column = 2;
        row[0] = (float)(int)r->granularity;
        row[1] = (float)r->bits;
        for (int m = 0; m < QN_MEASURES; m++) {
            row[column++] = (float)r->value[QN_CONTENDER_QINS][m];
            row[column++] = (float)r->value[QN_CONTENDER_INT_CLIP][m];
            row[column++] = (float)r->any[m];
        }
    }
    enum qins_status st = c->n_coded
                              ? qn_curves_add(&b->curves, group, "coded_rates", QN_RATE_HEADS,
                                              c->n_coded, QN_RATE_COLUMNS, table, err)
                              : QINS_OK;
    free(table);
    return st;
}

/* Curves of the tensor that comes next, and the key that says where they are. */
static enum qins_status add_curves(struct qn_report_builder *b, const struct findings *f,
                                   json_t **j, struct qins_error *err)
{
    char group[32];
    if (!f->compared)
        return QINS_OK;
    snprintf(group, sizeof group, "/tensors/%04zu", json_array_size(b->tensors));
    enum qins_status st = add_histogram(b, group, &f->study, err);
    if (st == QINS_OK)
        st = add_candidates(b, group, f, err);
    if (st == QINS_OK)
        st = add_coded_rates(b, group, &f->comparison, err);
    if (st == QINS_OK)
        st = qn_curves_label(&b->curves, group, f->study.tensor->name, err);
    qn_json_put(j, "curves", json_string(group));
    return st;
}

/* The granularity of a plan's line, where densities know it. */
static bool plan_granularity(const struct qn_plan_line *line, const struct qn_tensor_study *s,
                             enum qn_granularity *out)
{
    uint64_t group = line->group_kind == QN_GROUP_TENSOR ? 0
                     : line->group_kind == QN_GROUP_ROW  ? s->layout.row_length
                                                         : line->group;
    for (int g = 0; g < QN_GRANULARITIES; g++) {
        uint64_t own = qn_granularity_group((enum qn_granularity)g, s->layout.row_length);
        if (s->density[g] && own == group) {
            *out = (enum qn_granularity)g;
            return true;
        }
    }
    return false;
}

/* The line of the plan: its words and, where a density predicts them, its figures. */
static json_t *chosen_by_plan(const struct qn_plan_tensor *t, const struct findings *f)
{
    const struct qn_plan_line *line = &t->line;
    const double n = (double)f->study.tensor->n_elements;
    struct qn_candidate c = {.levels = line->levels, .kappa = line->kappa, .clip = line->clip};
    double bits = 8.0 * t->predicted_bytes / n, db = NAN;
    json_t *j = json_object();
    qn_json_put(&j, "from", json_string("plan"));
    qn_plan_line_put(&j, line);
    if (f->compared && line->content == QN_CONTENT_QINS && t->n_blocks == 0 && c.kappa >= 0.0f &&
        c.clip > 0.0f && plan_granularity(line, &f->study, &c.granularity)) {
        qn_predict(&f->study, &c, QN_PREDICT_ERROR | QN_PREDICT_RATE);
        qn_json_put(&j, "granularity", json_string(qn_granularity_name(c.granularity)));
        qn_json_put(&j, "entropy_bits", qn_json_real(c.entropy_bits));
        db = c.sqnr_db;
        const uint64_t bytes = qn_candidate_bytes(&c, line->codec);
        if (isnan(bits))
            bits = 8.0 * (double)(bytes ? bytes : c.huffman_bytes) / n;
    }
    if (f->compared && t->predicted_error > 0.0) {
        const double rms = f->study.statistics.rms;
        db = qn_report_decibels(rms * rms * n, t->predicted_error);
    }
    qn_json_put(&j, "sqnr_db", qn_json_real(db));
    qn_json_put(&j, "bits_per_weight", qn_json_real(bits));
    qn_json_put(&j, "sensitivity", qn_json_real(t->sensitivity));
    qn_json_put(&j, "blocks", qn_plan_blocks_to_json(t->blocks, t->n_blocks));
    return j;
}

/* Without a plan: 8 bits a code, the best shape. */
static json_t *chosen_by_default(const struct findings *f)
{
    const struct qn_fixed_comparison *c =
        qn_report_fixed(&f->comparison, qn_report_granularity(&f->study), CHOSEN_BITS);
    const struct qn_candidate *best = c ? &c->best[QN_CONTENDER_QINS][QN_MEASURE_SQUARED] : NULL;
    const uint64_t n = f->study.tensor->n_elements;
    json_t *j = best ? qn_report_candidate(best, n) : json_null();
    if (!best)
        return j;
    qn_json_put(&j, "from", json_string("8 bits"));
    qn_json_put(&j, "bits", json_integer(CHOSEN_BITS));
    qn_json_put(&j, "codec", json_string("bitpack"));
    qn_json_put(&j, "bits_per_weight", qn_json_real(8.0 * (double)best->packed_bytes / (double)n));
    return j;
}

/* The share of rows in hot blocks; NaN without blocks. */
static double hot_rows(const struct qn_plan_tensor *planned)
{
    double hot = 0.0, all = 0.0;
    for (size_t i = 0; planned && i < planned->n_blocks; i++) {
        const struct qn_plan_block *b = &planned->blocks[i];
        const double rows = (double)(b->row_end - b->row_begin);
        all += rows;
        hot += b->line.access_class == QN_CLASS_HOT ? rows : 0.0;
    }
    return all > 0.0 ? hot / all : (double)NAN;
}

/* Of a tensor of several blocks, the class of most rows. */
static const char *class_of(const struct qn_plan_tensor *planned, double touches)
{
    const double hot = hot_rows(planned);
    if (planned && planned->n_blocks > 0 &&
        planned->blocks[0].line.access_class != QN_CLASS_UNKNOWN)
        return qn_class_name(hot >= 0.5 ? QN_CLASS_HOT : QN_CLASS_COLD);
    if (planned)
        return qn_class_name(planned->line.access_class);
    if (isnan(touches))
        return qn_class_name(QN_CLASS_UNKNOWN);
    return qn_class_name(touches <= QN_COLD_TOUCHES ? QN_CLASS_COLD : QN_CLASS_HOT);
}

static json_t *describe(const struct qn_report_builder *b, const struct qn_tensor *t,
                        const struct qn_plan_tensor *planned)
{
    const bool foreign = t->dtype == QINS_DTYPE_INVALID;
    char component[COMPONENT_SIZE];
    long layer;
    double touches = qn_report_touches(b, t->name);
    if (isnan(touches) && planned && planned->line.access_frequency >= 0.0)
        touches = planned->line.access_frequency;
    qn_report_component(t->name, &layer, component, sizeof component);
    json_t *j = json_object();
    qn_json_put(&j, "name", json_string(t->name));
    qn_json_put(&j, "kind", json_string("weight"));
    qn_json_put(&j, "component", qn_json_text(component));
    qn_json_put(&j, "layer", layer >= 0 ? json_integer(layer) : json_null());
    qn_json_put(&j, "dtype", json_string(foreign ? t->foreign_type : qins_dtype_name(t->dtype)));
    qn_json_put(&j, "shape", qn_json_shape(t));
    qn_json_put(&j, "numel", json_integer((json_int_t)t->n_elements));
    qn_json_put(&j, "source_bytes", json_integer((json_int_t)t->n_bytes));
    qn_json_put(&j, "access_frequency", qn_json_real(touches));
    qn_json_put(&j, "class", json_string(class_of(planned, touches)));
    if (planned && planned->n_blocks > 0)
        qn_json_put(&j, "hot_row_share", qn_json_real(hot_rows(planned)));
    return j;
}

static json_t *or_null(bool there, json_t *value)
{
    return there ? value : json_null();
}

static enum qins_status put_figures(const struct findings *f, json_t **j, struct qins_error *err)
{
    const enum qn_granularity g = qn_report_granularity(&f->study);
    const uint64_t n = f->study.tensor->n_elements;
    json_t *hull = NULL;
    enum qins_status st = QINS_OK;
    if (f->compared)
        st = qn_report_hull(&f->fixed, &f->coded, n, &hull, err);
    qn_json_put(j, "granularity", f->compared ? json_string(qn_granularity_name(g)) : json_null());
    qn_json_put(j, "calibration_weighted", json_boolean(f->study.weighted));
    qn_json_put(j, "entropy_bits", qn_report_entropy_bits(&f->comparison, g));
    qn_json_put(j, "coded_bits",
                qn_report_coded_bits(&f->comparison, g, n, f->encoded ? &f->true_sizes : NULL));
    qn_json_put(j, "fixed_rates", qn_report_fixed_rates(&f->comparison, g, n));
    qn_json_put(j, "hull", f->compared && st == QINS_OK ? hull : json_array());
    qn_json_put(j, "references", f->has_extra ? qn_report_references(f->references) : json_array());
    qn_json_put(j, "extra_compression", f->has_extra ? qn_report_extra(&f->extra) : json_array());
    qn_json_put(j, "encoded", f->encoded ? qn_report_true_sizes(&f->true_sizes) : json_null());
    return st;
}

static void add_to_sums(struct qn_report_builder *b, const struct findings *f,
                        const struct qn_plan_tensor *planned)
{
    const struct qn_sum_input in = {.study = &f->study,
                                    .comparison = f->compared ? &f->comparison : NULL,
                                    .coded = &f->coded,
                                    .references = f->has_extra ? f->references : NULL};
    const double n = (double)f->study.tensor->n_elements, rms = f->study.statistics.rms;
    qn_report_sums_add(&b->sums, &in);
    if (f->has_extra)
        qn_extra_sum_add(b->extra, &f->extra, n, rms * rms * n);
    if (planned)
        b->plan_bytes += planned->predicted_bytes;
}

/* Takes J, what is known of the tensor before. */
static enum qins_status add(struct qn_report_builder *b, const struct qn_source *source,
                            size_t index, const struct qn_plan_tensor *planned, json_t *j,
                            struct qins_error *err)
{
    struct findings f = {0};
    const struct qn_tensor *t = source->tensors[index].tensor;
    enum qins_status st = QINS_OK;
    if (t->dtype != QINS_DTYPE_INVALID)
        st = find_out(b, source, index, &f, err);
    if (st == QINS_OK && !f.study.tensor)
        f.study.tensor = t; /* of a type that cannot be read */
    if (st == QINS_OK)
        st = add_curves(b, &f, &j, err);
    if (st == QINS_OK) {
        const bool known = f.study.statistics.n > 0;
        qn_json_put(&j, "statistics",
                    or_null(known, known ? qn_report_statistics(&f.study.statistics) : NULL));
        qn_json_put(&j, "remarks", known ? qn_report_remarks(&f.study) : json_array());
        st = put_figures(&f, &j, err);
    }
    if (st == QINS_OK) {
        qn_json_put(&j, "chosen", planned ? chosen_by_plan(planned, &f) : chosen_by_default(&f));
        if (source == b->source)
            add_to_sums(b, &f, planned);
        if (json_array_append_new(b->tensors, j) != 0)
            st = qn_fail_memory(err);
        j = NULL;
    }
    b->done += t->n_bytes;
    json_decref(j);
    finish(&f);
    return st == QINS_ERR_INTERRUPTED ? st : qn_error_in_tensor(err, st, t->name);
}

enum qins_status qn_report_add_tensor(struct qn_report_builder *b, size_t index,
                                      struct qins_error *err)
{
    const struct qn_tensor *t = b->source->tensors[index].tensor;
    const struct qn_plan_tensor *planned = b->has_plan ? qn_plan_find(&b->plan, t->name) : NULL;
    return add(b, b->source, index, planned, describe(b, t, planned), err);
}

enum qins_status qn_report_add_made(struct qn_report_builder *b, const struct qn_source *source,
                                    size_t index, json_t *described, struct qins_error *err)
{
    return add(b, source, index, NULL, described, err);
}
