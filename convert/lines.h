/* How each tensor of a conversion is coded: by a plan file, or by the options alone. */
#ifndef QINS_CONVERT_LINES_H
#define QINS_CONVERT_LINES_H

#include "convert/convert.h"
#include "convert/feedback.h"
#include "formats/plan.h"
#include "formats/transport.h"

struct qn_lines {
    const struct qn_convert_options *options;
    struct qn_plan plan;                  /* where there is a plan file */
    struct qn_feedback_source *feedback;  /* where a line may need it */
    const struct qn_transport *transport; /* that the checkpoint carries, or NULL; the caller's */
    size_t own;                           /* tensors of the model; the transport's follow */
};

/* Loads and checks plan and calibration, for CK, which was opened from PATH and may carry a
 * TRANSPORT, of this model; before threads start. QINS_ERR_FORMAT, naming the tensor, where the
 * plan does not fit; QINS_ERR_USAGE where a calibration is missing; QINS_ERR_UNSUPPORTED where it
 * is another model's.
 */
enum qins_status qn_lines_open(struct qn_lines *l, const char *path, const struct qn_checkpoint *ck,
                               const struct qn_transport *transport,
                               const struct qn_convert_options *options,
                               const struct qn_monitor *monitor, struct qins_error *err);
void qn_lines_close(struct qn_lines *l); /* a zeroed one is accepted */

/* Line and blocks for tensor INDEX of the checkpoint, which *OUT describes; the blocks are the
 * caller's. Planes of a transport are coded as the weight is that they were made of: its levels,
 * codec and group, rounded to nearest, with kappa and clip of their own, and a scale for a row of
 * each plane where it has one for a row. The transport's other arrays are lossless. */
enum qins_status qn_lines_get(const struct qn_lines *l, size_t index, struct qn_archive_tensor *out,
                              struct qins_error *err);

/* Adds all that decides the lines, and the transport's file. */
enum qins_status qn_lines_digest(struct qn_hasher *h, const struct qn_convert_options *options,
                                 struct qins_error *err);

#endif
