/* The datasets of a calibration file, as its writer and its reader both need them. */
#ifndef QINS_FORMATS_CALIBRATION_LAYOUT_H
#define QINS_FORMATS_CALIBRATION_LAYOUT_H

#include "formats/calibration.h"

/* A dataset. Those with DATA are as many bytes in memory as its tensor says, the point's or the
 * calibration's; others are computed (MEAN), columns of a table (KEPT, SENSITIVITY) or come by rows
 * (LARGE). */
enum qn_dataset_kind {
    QN_DATASET_MEMORY,
    QN_DATASET_MEAN,
    QN_DATASET_KEPT,
    QN_DATASET_SENSITIVITY,
    QN_DATASET_LARGE,
};

struct qn_dataset {
    enum qn_dataset_kind kind;
    unsigned which; /* enum qn_sum of a mean; column of a table; enum qn_large */
    size_t point;
    void *data;
};

/* tensors.items[i] describes items[i]; names are paths with dots for slashes, as the reader of
 * HDF5 gives them. /meta is not among them. */
struct qn_calibration_layout {
    struct qn_tensor_list tensors;
    struct qn_dataset *items;
    size_t capacity;
    json_t *paths; /* name -> path */
};

/* C and its figures, which items point at, must outlive *l. To be finished even on failure, which
 * is QINS_ERR_MEMORY only. */
enum qins_status qn_calibration_layout_init(struct qn_calibration_layout *l,
                                            const struct qn_calibration *c, struct qins_error *err);
void qn_calibration_layout_finish(struct qn_calibration_layout *l);

/* Columns of the table of kept rows. */
enum qn_kept_column {
    QN_KEPT_PRIORITY,
    QN_KEPT_WINDOW,
    QN_KEPT_POSITION,
    QN_KEPT_TOKEN,
    QN_KEPT_PART,
    QN_KEPT_COLUMNS,
};
/* Column WHICH of ROW as little-endian bytes at P, and back; returns its size. */
size_t qn_kept_store(const struct qn_kept_row *row, unsigned which, uint8_t *p);
size_t qn_kept_load(struct qn_kept_row *row, unsigned which, const uint8_t *p);

/* Columns of the table of sensitivities, and the same of them. */
enum qn_sensitivity_column {
    QN_SENSITIVITY_ERROR,
    QN_SENSITIVITY_KL,
    QN_SENSITIVITY_STANDARD_ERROR,
    QN_SENSITIVITY_LEVELS,
    QN_SENSITIVITY_COLUMNS,
};
size_t qn_sensitivity_store(const struct qn_sensitivity *row, unsigned which, uint8_t *p);
size_t qn_sensitivity_load(struct qn_sensitivity *row, unsigned which, const uint8_t *p);

#endif
