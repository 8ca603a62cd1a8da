/* Factors for feedback rounding (formats/codec/feedback.h), made of a calibration's Gram matrices.
 *
 * For a point with Gram matrix G of n channels, columns are rounded in ORDER: of falling second
 * moment, equal ones by number, which lowers the error more than the order in which they stand
 * (GPTQ's "activation order"). H = G + lambda I with lambda = QN_FEEDBACK_DAMPING times the mean
 * diagonal of G; channels whose diagonal is 0 have that mean (or 1) there and no part in others'
 * errors. docs/feedback-rounding.md gives the figures behind both choices. */
#ifndef QINS_CONVERT_FEEDBACK_H
#define QINS_CONVERT_FEEDBACK_H

#include "formats/calibration.h"
#include "formats/codec/feedback.h"

#define QN_FEEDBACK_DAMPING 0.1

struct qn_feedback_source;

/* Opens the calibration PATH; before threads start, since HDF5 is read by a forked child. MODEL
 * (may be NULL) is what it is for: its config says whether weights are stored transposed. */
enum qins_status qn_feedback_open(struct qn_feedback_source **out, const char *path,
                                  const struct qn_checkpoint *model,
                                  const struct qn_monitor *monitor, struct qins_error *err);
void qn_feedback_close(struct qn_feedback_source *s); /* accepts NULL; all factors came back */

const struct qn_calibration *qn_feedback_calibration(const struct qn_feedback_source *s);

/* Why T cannot be rounded with feedback, in words, or NULL: it can. Cheap; thread-safe. */
const char *qn_feedback_obstacle(const struct qn_feedback_source *s, const struct qn_tensor *t);

/* The factor for T, which has no obstacle; to be released. Tensors that see the same point share
 * one; the last used is kept, and 64 MiB of others. Each takes 4 n² bytes, 12 n² while it is made,
 * and n³/3 multiplications. Thread-safe: one is made at a time, and only who needs another
 * that is not there yet waits for it.
 * QINS_ERR_FORMAT where the matrix is none of real rows (not finite, not positive). */
enum qins_status qn_feedback_acquire(struct qn_feedback_source *s, const struct qn_tensor *t,
                                     const struct qn_feedback **out, struct qins_error *err);
void qn_feedback_release(struct qn_feedback_source *s,
                         const struct qn_feedback *f); /* accepts a NULL f */

/* Predicted ratio of tr((W - W') G (W - W')^T) with feedback to that of rounding to nearest, for
 * rounding errors of one variance everywhere: with H = L D L^T in the order of rounding, L's
 * inverse F (rows as the factor's), sum(D) - lambda |F|² over tr(G). For lambda = 0 this is the
 * tr(D) / tr(H) of LDLQ (Chee et al. 2023, section 3). Makes the factor. */
enum qins_status qn_feedback_gain(struct qn_feedback_source *s, const struct qn_tensor *t,
                                  double *gain, struct qins_error *err);

/* How much more the values are that are rounded, and how much larger the plain error becomes: with
 * rounding errors of variance v everywhere, what a column takes from those before it has the
 * variance *spread times v on average, and the mean squared error is 1 + *spread times v:
 * |F|² / n - 1. Makes the factor. */
enum qins_status qn_feedback_spread(struct qn_feedback_source *s, const struct qn_tensor *t,
                                    double *spread, struct qins_error *err);

#endif
