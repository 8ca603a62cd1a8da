/* Transports: linear layers of a model that take coded inputs, in memory and as an HDF5 file.
 * docs/transport-format.md says what is stored how, docs/transport.md what it is for.
 *
 * The input of a layer is coded on a grid (formats/codec/quant.h, one scale): x becomes a sign and
 * a level l = 0 … N, t = l / N, and planes of features are looked up by code, sgn(0) = +1:
 *     powers   sgn t, sgn t^2, … sgn t^order
 *     sign     sgn, a plane behind the powers
 *     z        sgn (1 - kappa t / (1 + kappa)), the QINS value itself, alone
 * The layer's output is then one product for each plane, W_k phi_k, and no decoding. */
#ifndef QINS_FORMATS_TRANSPORT_H
#define QINS_FORMATS_TRANSPORT_H

#include "core/hash.h"
#include "core/json.h"
#include "formats/archive/manifest.h" /* the names of a transport's tensors */
#include "formats/calibration.h"

#include <float.h>

#define QN_TRANSPORT_SCHEMA "qins/transport-weights/1"

enum { QN_TRANSPORT_ORDER = 4, QN_TRANSPORT_PLANES = QN_TRANSPORT_ORDER + 1 };

enum qn_transport_method {
    QN_JACOBIAN_LITERAL, /* W' = J_D W J_E^-1 as the formula was printed; feature z */
    QN_JACOBIAN_TANGENT, /* W' = J_E(y) W J_D(z), affine about the mean; feature z */
    QN_SPLIT,            /* W_k = W diag(c_k), least squares channel by channel; powers */
    QN_RIDGE,            /* planes from all channels jointly; powers */
    QN_DECODE,           /* x is decoded before the product: what the others are measured against;
                            kappa 0 is INT. No planes */
    QN_TRANSPORT_METHODS,
};
const char *qn_transport_method_name(enum qn_transport_method m); /* "jacobian-literal", … */
/* QN_TRANSPORT_METHODS for a name that is none. */
enum qn_transport_method qn_transport_method_of(const char *name);
/* Its feature is z, and its outputs may have an end. */
bool qn_transport_is_jacobian(enum qn_transport_method m);
/* W_k = W diag(c_k): of QN_SPLIT and the Jacobians. */
bool qn_transport_has_coefficients(enum qn_transport_method m);

/* Which linear layer of a block. */
enum qn_projection {
    QN_PROJECTION_V,
    QN_PROJECTION_O,
    QN_PROJECTION_DOWN,
    QN_PROJECTION_GATE,
    QN_PROJECTION_UP,
    QN_PROJECTION_Q,
    QN_PROJECTION_K,
    QN_PROJECTIONS
};
const char *qn_projection_name(enum qn_projection p);  /* "v_proj", "o_proj", "down_proj", … */
enum qn_projection qn_projection_of(const char *name); /* QN_PROJECTIONS for a name that is none */

/* The input of one layer or of several that share it: coded once. */
struct qn_transport_input {
    char *name; /* of the tap point, as calibrations have it */
    uint32_t channels;
    enum qn_transport_method method;
    uint32_t order;      /* 1 … QN_TRANSPORT_ORDER; 1 for the Jacobians, 0 for QN_DECODE */
    bool sign_plane;     /* QN_SPLIT only */
    uint32_t levels;     /* N */
    float kappa, scale;  /* scale > 0, or 0: every input is 0 */
    float *coefficients; /* [planes][channels] of W_k = W diag(c_k), the scale included; NULL for
                            QN_RIDGE and QN_DECODE */
};

struct qn_transport_layer {
    char *tensor; /* the weight's name, of a fused one too */
    enum qn_projection projection;
    uint32_t layer, expert; /* expert 0 where there are none */
    uint32_t input;         /* number in the transport's inputs */
    uint32_t out;           /* rows */
    float *planes; /* [out][planes][channels], so that a row of all is one row of a product; of
                      QN_RIDGE always, else where they were materialised; or NULL */
    /* Of the Jacobians: y = D(output_scale * (sum W_k phi_k) + output_offset), each NULL for 1 and
     * 0; D is left out where output_alpha is 0. |z| is clamped to [output_floor, 1]. */
    float *output_scale, *output_offset; /* [out] */
    float output_alpha, output_floor;
};

struct qn_transport {
    struct qn_digest model, calibration; /* of the checkpoint; of the whole calibration file */
    struct qn_transport_input *inputs;
    size_t n_inputs;
    struct qn_transport_layer *layers; /* in order of execution */
    size_t n_layers;
    json_t *study; /* the report of the fit (docs/schemas/transport.schema.json), kept as it is; or
                      NULL */
};

/* Planes of features of an input: order, one more with a sign plane, 0 for QN_DECODE. */
unsigned qn_transport_planes(const struct qn_transport_input *in);
/* X as a transport's float32: what is beyond their range becomes the last of it, so that no plane
 * is infinite; a NaN stays one. */
static inline float qn_transport_narrow(double x)
{
    return x > (double)FLT_MAX ? FLT_MAX : x < -(double)FLT_MAX ? -FLT_MAX : (float)x;
}
/* Element of W diag(c_k): the product is made in double, where it is exact, and narrowed. */
static inline float qn_transport_product(float w, float c)
{
    return qn_transport_narrow((double)w * (double)c);
}
/* TABLE[planes][2 N + 1]: the features by code; of QN_DECODE one plane, the decoded values. */
enum qins_status qn_transport_features(const struct qn_transport_input *in, float *table,
                                       struct qins_error *err);

void qn_transport_finish(struct qn_transport *t); /* a zeroed one is accepted */
/* QINS_ERR_FORMAT, naming what is wrong, unless numbers are in range and finite, names unique, and
 * layers fit their inputs. */
enum qins_status qn_transport_check(const struct qn_transport *t, struct qins_error *err);
/* The same of all but the arrays, which need not be there. */
enum qins_status qn_transport_check_figures(const struct qn_transport *t, struct qins_error *err);

/* The description, /meta of the file; NULL when out of memory. Arrays are not in it. */
json_t *qn_transport_to_json(const struct qn_transport *t);
/* Trusts nothing. Arrays are allocated, and 0, to be filled by whoever has them, and then
 * qn_transport_check() is to be asked again. MAX_BYTES bounds what they take. *T is zeroed or
 * valid, to be finished. */
enum qins_status qn_transport_from_json(const void *text, size_t size, uint64_t max_bytes,
                                        struct qn_transport *t, struct qins_error *err);

/* The arrays of a transport, float32, for whoever stores them:
 *     for (size_t at = 0; qn_transport_array(t, &at, &array);)
 * Their names are "inputs/0/coefficients", "layers/3/planes", "layers/3/output_scale",
 * "layers/3/output_offset". Numbers of inputs are those of a transport that was checked. */
struct qn_transport_array {
    char name[64];
    unsigned rank;
    uint64_t shape[3];
    float **data;
};
enum { QN_LAYER_ARRAYS = 3 }; /* at most, of a layer */
bool qn_transport_array(struct qn_transport *t, size_t *at, struct qn_transport_array *out);
uint64_t qn_transport_array_elements(const struct qn_transport_array *a);

/* Writes PATH, which appears complete or not at all. The bytes depend on the transport alone. A
 * study that would make /meta longer than QN_MAX_META (formats/described.h) is left out. */
enum qins_status qn_transport_write(struct qn_transport *t, const char *path,
                                    const struct qn_monitor *monitor, struct qins_error *err);
/* The file may come from anybody: libhdf5 parses it in a process of its own, everything is
 * checked. Before threads start. */
enum qins_status qn_transport_read(struct qn_transport *t, const char *path,
                                   const struct qn_monitor *monitor, struct qins_error *err);
/* The same of a checkpoint that was opened otherwise and stays the caller's. */
enum qins_status qn_transport_load(struct qn_transport *t, struct qn_checkpoint *ck,
                                   struct qins_error *err);

#endif
