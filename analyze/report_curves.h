/* entropy_analysis.h5: histograms and curves, numbers in tables; the file has the report's schema
 * and version as attributes. While a study runs they wait in an unlinked temporary file, so that
 * memory does not grow with the model. */
#ifndef QINS_ANALYZE_REPORT_CURVES_H
#define QINS_ANALYZE_REPORT_CURVES_H

#include "core/json.h"
#include "formats/checkpoint.h"

struct qn_curves {
    struct qn_tensor_list tensors; /* names as the reader of HDF5 gives them: dots for slashes */
    json_t *paths;                 /* name -> path */
    json_t *attributes;            /* path -> {name: text} */
    int fd;                        /* the bytes of all, in their order */
};

enum qins_status qn_curves_init(struct qn_curves *c, struct qins_error *err);
void qn_curves_finish(struct qn_curves *c);

/* A table of ROWS by COLUMNS float32 at GROUP/NAME ("/tensors/0007/histogram"), whose attribute
 * "columns" lists HEADS with spaces between. The data is copied. */
enum qins_status qn_curves_add(struct qn_curves *c, const char *group, const char *name,
                               const char *heads, size_t rows, size_t columns, const float *data,
                               struct qins_error *err);
/* The attribute "name" of a group. */
enum qins_status qn_curves_label(struct qn_curves *c, const char *group, const char *text,
                                 struct qins_error *err);
enum qins_status qn_curves_write(const struct qn_curves *c, const char *path,
                                 const struct qn_monitor *monitor, struct qins_error *err);

/* A table that was read. */
struct qn_table {
    double *data; /* [rows][columns], heap; NULL where there is none */
    size_t rows, columns;
};
void qn_table_finish(struct qn_table *t);

/* Reads GROUP/NAME from a file that anybody may have made: an empty table where there is none, or
 * one that is no table of at least MIN_COLUMNS columns of finite size. CK may be NULL. */
enum qins_status qn_table_read(struct qn_checkpoint *ck, const char *group, const char *name,
                               size_t min_columns, struct qn_table *out, struct qins_error *err);

#endif
