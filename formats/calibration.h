/* A calibration: what goes through a model's layers while it reads a text, in memory and as an
 * HDF5 file. docs/calibration-format.md says what each figure is and how it is stored. */
#ifndef QINS_FORMATS_CALIBRATION_H
#define QINS_FORMATS_CALIBRATION_H

#include "core/hash.h"
#include "core/json.h"
#include "core/shard.h"
#include "formats/checkpoint.h"

#define QN_CALIBRATION_SCHEMA "qins/calibration/1"

enum {
    QN_CALIBRATION_CELLS = 0x1fe0, /* of a histogram of |x|: bits >> 18 of the float32 pattern */
    QN_POINT_TENSORS = 3,          /* at most, that see a point */
};

/* What the rows of a point are. */
enum qn_tap_kind {
    QN_TAP_ATTENTION, /* input of q, k, v */
    QN_TAP_VALUE,     /* output of the V projection, bias included */
    QN_TAP_O,         /* input of o */
    QN_TAP_MLP,       /* input of gate and up, of an expert's where there are experts */
    QN_TAP_ROUTER,    /* input of the router */
    QN_TAP_DOWN,      /* input of down */
    QN_TAP_HEAD,      /* input of the output head */
    QN_TAP_CAPTURED,  /* captured elsewhere */
    QN_TAP_KINDS,
};
const char *qn_tap_kind_name(enum qn_tap_kind kind);

/* Sums of x, |x| and x², over all rows. */
enum qn_sum { QN_SUM, QN_SUM_ABS, QN_SUM_SQUARES, QN_SUM_COUNT };

/* In place of a layer or an expert. */
#define QN_POINT_NONE UINT32_MAX

struct qn_calibration_point {
    char *name;
    enum qn_tap_kind kind;
    uint32_t layer, expert; /* QN_POINT_NONE where it has none */
    uint32_t channels;
    char *tensors[QN_POINT_TENSORS]; /* weights that see it; NULL ends */
    uint64_t rows;
    /* [QN_SUM_COUNT][2][channels]: the sum rounded to float64, and what it lacks (double-double).
     * Sums of sums then do not depend on how a text was cut. */
    double *sums;
    float *min, *max;    /* [channels]; 0 where there were no rows */
    uint64_t *histogram; /* [QN_CALIBRATION_CELLS], of |x|, zero apart */
    uint64_t signs[3];   /* values below, at and above zero */
    bool gram;           /* has a Gram matrix */
    uint32_t *kept;      /* [n_kept]: which of the calibration's kept rows it has, ascending */
    uint32_t n_kept;
};

/* Which of the parts of the kept rows a row belongs to; rows of a window go together. */
enum qn_row_part { QN_ROWS_FIT, QN_ROWS_SELECT, QN_ROWS_TEST };

struct qn_kept_row {
    uint64_t priority; /* hash of seed, window and position: the lowest are kept */
    uint64_t window;   /* hash of seed and window */
    uint32_t position; /* in its window */
    uint32_t token;    /* 0 for rows captured elsewhere */
    uint8_t part;      /* enum qn_row_part */
};

struct qn_calibration_options {
    uint32_t context;   /* tokens of a window */
    uint32_t keep_rows; /* at most, of each point */
    uint64_t seed;
    bool gram;
};

/* How often weights were used. */
struct qn_access {
    char **tensors;
    uint64_t *touches; /* tokens that each tensor took part in */
    uint32_t n_tensors;
    uint64_t *embedding;                 /* [vocab]: how often each row was looked up */
    uint64_t *experts;                   /* [n_layers][n_experts]: tokens routed to each */
    uint32_t vocab, n_layers, n_experts; /* the latter 0 without a mixture */
};

/* What quantising one tensor alone did to the model: mean KL on calibration windows, and the
 * squared error that did it. Its sensitivity g is kl / error. */
struct qn_sensitivity {
    char *tensor;
    double error;          /* sum of squared errors */
    double kl;             /* mean, nats */
    double standard_error; /* of kl; 0 where it is unknown */
    uint32_t levels;       /* the grid's, uniform (kappa 0), one scale */
    bool joined;           /* only in a part: measured together with the one before it; kl and
                              standard_error of each are those of all of them */
};

/* A calibration that is not finished holds this; docs/calibration-format.md, "Unfinished files".
 */
struct qn_calibration_progress {
    bool unfinished;
    struct qn_digest job; /* of all that decides the result */
    uint32_t pass;        /* from 0 */
    uint64_t windows;     /* of this pass that are done */
};

/* Of a calibration of some windows of a text, which is joined with the others before it is used. */
struct qn_calibration_part {
    struct qn_shard shard; /* count 0: it is a whole one */
    struct qn_digest job;  /* of all that decides the result, the same in all parts */
    uint64_t windows;      /* of all parts together */
};

struct qn_calibration {
    char *model_name;         /* NULL where no model is known */
    struct qn_digest model;   /* of the checkpoint */
    bool has_archive;         /* the model was an archive */
    struct qn_digest archive; /* its body's */
    bool has_tokenizer;
    struct qn_digest tokenizer;
    struct qn_digest *texts;
    size_t n_texts;
    struct qn_calibration_options options;
    uint64_t tokens, windows;
    struct qn_calibration_progress progress;
    struct qn_calibration_part part;
    struct qn_calibration_point *points;
    size_t n_points, point_capacity;
    struct qn_kept_row *kept; /* by priority */
    uint32_t n_kept;
    bool has_access;
    struct qn_access access;
    struct qn_sensitivity *sensitivities; /* [n_sensitivities]; none: not measured */
    size_t n_sensitivities;
    uint64_t sensitivity_tokens; /* each was measured on */
    /* [n_head_rows], with sensitivities: mean of p (1 - p) over those tokens, p the probability of
     * the token of that number. An error of the head's row makes a KL in proportion to it. */
    double *head_variance;
    uint32_t n_head_rows;
};

/* Tokens that TENSOR took part in; false where nothing is known of it. */
bool qn_calibration_touches(const struct qn_calibration *c, const char *tensor, uint64_t *touches);

void qn_calibration_finish(struct qn_calibration *c); /* a zeroed one is accepted */

/* Bytes of the figures of a point. */
uint64_t qn_point_bytes(uint64_t channels);
/* Appends a point without rows, layer and expert: copies NAME and the first N of TENSORS,
 * allocates the figures. *out (may be NULL) is valid until the next call. */
enum qins_status qn_calibration_add_point(struct qn_calibration *c, const char *name,
                                          enum qn_tap_kind kind, uint32_t channels,
                                          const char *const *tensors, size_t n,
                                          struct qn_calibration_point **out,
                                          struct qins_error *err);
enum qins_status qn_calibration_add_text(struct qn_calibration *c, const struct qn_digest *text,
                                         struct qins_error *err);
/* Room for touches and the other counts, all 0; the names are copied. */
enum qins_status qn_access_init(struct qn_access *a, const char *const *tensors, size_t n,
                                uint32_t vocab, uint32_t n_layers, uint32_t n_experts,
                                struct qins_error *err);

/* (*sum, *low) += x + x_low, rounded once; |*low| stays below half an ulp of *sum (Dekker 1971,
 * "A floating-point technique for extending the available precision"; Knuth's two-sum). */
static inline void qn_sum_add(double *sum, double *low, double x, double x_low)
{
    double s = *sum + x, t = s - *sum;
    double e = (*sum - (s - t)) + (x - t);
    e += *low + x_low;
    *sum = s + e;
    *low = e - (*sum - s);
}

static inline double *qn_point_sum(const struct qn_calibration_point *p, enum qn_sum which)
{
    return p->sums + (size_t)which * 2 * p->channels;
}
static inline double *qn_point_sum_low(const struct qn_calibration_point *p, enum qn_sum which)
{
    return qn_point_sum(p, which) + p->channels;
}

/* FROM's figures onto INTO's, a point of as many channels; not Gram and kept rows. */
void qn_point_add(struct qn_calibration_point *into, const struct qn_calibration_point *from);
/* What FROM counted onto INTO, of the same shape. */
void qn_access_add(struct qn_access *into, const struct qn_access *from);

/* The first point of that name, or that tensor NAME sees (of the kinds that are inputs); NULL. */
const struct qn_calibration_point *qn_calibration_find(const struct qn_calibration *c,
                                                       const char *name);

/* QINS_OK where both are of the same model, in the same archive if any, and the same tokenizer and
 * have the same options and points; else STATUS, naming the difference: fingerprints, and the
 * files A_NAME and B_NAME. */
enum qins_status qn_calibration_compare(const struct qn_calibration *a, const char *a_name,
                                        const struct qn_calibration *b, const char *b_name,
                                        enum qins_status status, struct qins_error *err);

/* QINS_ERR_UNSUPPORTED, naming both, unless C was made with the model of that fingerprint. */
enum qins_status qn_calibration_check_model(const struct qn_calibration *c, const char *file,
                                            const struct qn_digest *model, const char *model_path,
                                            struct qins_error *err);

/* The description, which /meta holds, as JSON; NULL when out of memory. */
json_t *qn_calibration_to_json(const struct qn_calibration *c);
/* Trusts nothing. Figures are allocated, and 0; *c is zeroed or valid, to be finished. MAX_BYTES
 * bounds what the figures may take. */
enum qins_status qn_calibration_from_json(const void *text, size_t size, uint64_t max_bytes,
                                          struct qn_calibration *c, struct qins_error *err);

/* What is too large to be held for all points at once comes by rows, as it is written. */
enum qn_large {
    QN_LARGE_GRAM,     /* float64 [channels][channels] */
    QN_LARGE_GRAM_LOW, /* float32, packed upper triangle: row i has channels - i elements */
    QN_LARGE_ROWS,     /* float32 [n_kept][channels] */
    QN_LARGE_COUNT,
};
/* Elements of COUNT rows from row FIRST. */
uint64_t qn_large_elements(const struct qn_calibration_point *p, enum qn_large what, uint64_t first,
                           uint64_t count);
uint64_t qn_large_rows(const struct qn_calibration_point *p, enum qn_large what);

struct qn_large_source {
    /* COUNT rows of point POINT from FIRST on into DST. Comes in order: of points, of WHAT, of
     * rows; each once. */
    enum qins_status (*read)(void *ctx, size_t point, enum qn_large what, uint64_t first,
                             uint64_t count, void *dst, struct qins_error *err);
    void *ctx;
};

/* Writes the file, which appears under PATH complete or not at all, also where MONITOR stops it.
 * SOURCE may be NULL where no point has a Gram matrix or rows. The bytes depend on the calibration
 * alone. */
enum qins_status qn_calibration_write(const struct qn_calibration *c, const char *path,
                                      const struct qn_large_source *source,
                                      const struct qn_monitor *monitor, struct qins_error *err);

/* A calibration file, its figures in memory. One thread at a time. */
struct qn_calibration_file {
    struct qn_calibration c;
    struct qn_checkpoint *ck;
    size_t (*large)[QN_LARGE_COUNT]; /* [n_points]: numbers of tensors in ck */
};

/* What may be read; anything else is QINS_ERR_UNSUPPORTED. */
enum qn_calibration_kinds {
    QN_CALIBRATION_WHOLE,     /* finished, and of all windows of its texts */
    QN_CALIBRATION_PARTS_TOO, /* finished */
    QN_CALIBRATION_ANY,       /* unfinished work, too */
};

/* The file may come from anybody: libhdf5 parses it in a process of its own, and every figure is
 * checked. */
enum qins_status qn_calibration_open(struct qn_calibration_file *f, const char *path,
                                     enum qn_calibration_kinds kinds,
                                     const struct qn_monitor *monitor, struct qins_error *err);
void qn_calibration_close(struct qn_calibration_file *f); /* a zeroed one is accepted */
/* What the finished part PATH says it is a part of. Its description is read, its figures are not:
 * QINS_ERR_FORMAT where it was cut off or describes nothing, QINS_ERR_UNSUPPORTED where it is
 * something else, a whole calibration too. */
enum qins_status qn_calibration_read_part(const char *path, struct qn_calibration_part *out,
                                          struct qins_error *err);
/* The same of an open file, which stays the caller's. */
enum qins_status qn_calibration_describe_part(struct qn_checkpoint *ck,
                                              struct qn_calibration_part *out,
                                              struct qins_error *err);
/* COUNT rows from FIRST on into DST; the caller's ranges are right. */
enum qins_status qn_calibration_read(struct qn_calibration_file *f, size_t point,
                                     enum qn_large what, uint64_t first, uint64_t count, void *dst,
                                     struct qins_error *err);

/* The same of a checkpoint that was opened otherwise and that F takes over, even on failure. */
enum qins_status qn_calibration_load(struct qn_calibration_file *f, struct qn_checkpoint *ck,
                                     enum qn_calibration_kinds kinds, struct qins_error *err);

#endif
