/* `qins transport`: layers of a model that compute on coded inputs, fitted to a calibration. */
#ifndef QINS_CONVERT_TRANSPORT_H
#define QINS_CONVERT_TRANSPORT_H

#include "convert/transport_fit.h"
#include "core/thread.h"

struct qn_transport_options {
    const char *layers; /* roles ("v_proj,o_proj"), "all" (v, o, down, gate, up), globs of weights'
                           names, with commas between; NULL: v_proj */
    enum qn_transport_method method; /* QN_TRANSPORT_METHODS: "all": split or ridge, whichever has
                                        the lower error on select rows; the others are studied */
    unsigned order;                  /* 0: searched, up to max_order */
    unsigned max_order;              /* the budget of planes; 0: QN_TRANSPORT_ORDER */
    bool sign_plane;
    unsigned bits; /* 6 … 8, of a coded input; 0: 8 */
    float kappa;   /* < 0: searched */
    float clip;    /* < 0: searched over qn_transport_clips */
    bool materialize;
    unsigned threads;
};

/* Shares of the largest input that are tried as scale (DESIGN 2.5), and shapes. */
enum { QN_TRANSPORT_CLIPS = 10, QN_TRANSPORT_KAPPAS = 14 };
extern const float qn_transport_clips[QN_TRANSPORT_CLIPS];
extern const float qn_transport_kappas[QN_TRANSPORT_KAPPAS];

/* Fits the layers of MODEL to CALIBRATION's kept rows and writes OUT (HDF5) and, beside it, the
 * report as OUT without its ".h5" and with ".json" (docs/schemas/transport.schema.json). Everything
 * is chosen on select rows and reported on test rows. QINS_ERR_UNSUPPORTED where the calibration is
 * another model's or keeps no rows (and says how to make one), where fewer than 16 of any part;
 * QINS_ERR_USAGE for layers that there are not. *report belongs to the caller. */
enum qins_status qn_transport_make(const char *model, const char *calibration, const char *out,
                                   const struct qn_transport_options *options,
                                   const struct qn_monitor *monitor, json_t **report,
                                   struct qins_error *err);

#endif
