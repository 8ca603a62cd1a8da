/* A model's weights in memory, in the type in which they were stored. */
#ifndef QINS_MODEL_WEIGHTS_H
#define QINS_MODEL_WEIGHTS_H

#include "core/hash.h"
#include "model/arch.h"

/* A linear layer's weight: y[out] = W[out][in] x[in] + bias. */
struct qn_matrix {
    const char *name;      /* of the tensor, "….weight"; NULL: the layer has none */
    const void *data;      /* row-major, 64-byte aligned */
    enum qins_dtype dtype; /* F32, F16 or BF16 */
    size_t out, in;
    size_t stride;                         /* elements from one row to the next */
    bool transposed;                       /* data is [in][out], stride >= out */
    const float *bias;                     /* [out] or NULL */
    const struct qn_native_matrix *native; /* of model/native.h; or NULL, the ordinary thing */
    const struct qn_packed *packed;        /* of model/packed.h, data is NULL then; or NULL */
};

struct qn_norm {
    const char *name;           /* of the weight */
    const float *weight, *bias; /* bias may be NULL */
};

struct qn_mlp {
    struct qn_matrix gate, up, gate_up, down; /* gate and up, or gate_up (gate's rows first) */
};

struct qn_layer {
    struct qn_norm attn_norm, mlp_norm, q_norm, k_norm;
    struct qn_matrix q, k, v, qkv, o; /* q, k, v, or qkv */
    struct qn_matrix router;
    struct qn_mlp *mlp; /* one, or n_experts of them */
};

/* Of an archive as a whole. */
struct qn_archive_figures {
    struct qn_digest hash; /* of its body, as the user block has it */
    uint64_t bytes;
    double bits_per_weight; /* as qn_archive_bits_per_weight() */
};

/* Of a model whose matrices are multiplied as their archive codes them. */
struct qn_fused_figures {
    bool on;
    uint64_t matrices, decoded; /* that are coded in memory; that had to be decoded */
    uint64_t coded_bytes;       /* of the former; part of weight_bytes */
};

/* Read-only once it is open: any number of sessions may share it. */
struct qn_model {
    char *path;     /* where it was read from, or what it is */
    bool synthetic; /* there is no such file */
    struct qn_model_config config;
    struct qn_matrix embedding; /* rows are looked up; as `head` where they are tied */
    struct qn_matrix positions; /* name NULL where there are none */
    struct qn_matrix head;
    struct qn_norm final_norm;
    struct qn_layer *layers;
    struct qn_attachment_list files;   /* config, tokenizer, … */
    struct qn_digest fingerprint;      /* names, types, shapes and bytes of the source's tensors */
    struct qn_archive_figures archive; /* bytes 0: it was opened from a checkpoint */
    uint64_t n_parameters, weight_bytes; /* bytes: what weights take in memory */
    struct qn_fused_figures fused;
    void *storage;            /* what all the pointers point into; private */
    struct qn_fused *coded;   /* of model/fused.h, or NULL; the model's */
    struct qn_native *native; /* layers on coded inputs (model/native.h), or NULL; the model's */
};

/* Opens a checkpoint of any format, a Hugging Face folder or a .qins archive and loads the
 * weights: F32, F16 and BF16 as they stand, F64 rounded to F32, F8 widened to BF16; an archive's
 * quantised tensors decode to F32. Every tensor that the architecture needs must be there with
 * the right shape (QINS_ERR_FORMAT, naming it); what is left over is noted, unless it is known
 * to mean nothing (rotary_emb.inv_freq, attn.bias masks). The fingerprint of an archive is that
 * of the checkpoint it was made from; where it carries a transport, the model goes native
 * (model/native.h) and MONITOR takes a notice of it. THREADS read and decode. */
enum qins_status qn_model_open(struct qn_model **out, const char *path, unsigned threads,
                               const struct qn_monitor *monitor, struct qins_error *err);
/* The model itself: a transport in its archive is passed over. */
enum qins_status qn_model_open_plain(struct qn_model **out, const char *path, unsigned threads,
                                     const struct qn_monitor *monitor, struct qins_error *err);
/* An archive's model with its matrices as they are coded (model/packed.h): linear layers, their
 * tables of embeddings and the head. What the kernels cannot take so (transposed weights, rows over
 * several chunks, lossless coding) is decoded as above, which m->fused counts and MONITOR notices.
 * QINS_ERR_UNSUPPORTED for a checkpoint, and for an archive that carries a transport. */
enum qins_status qn_model_open_fused(struct qn_model **out, const char *path, unsigned threads,
                                     const struct qn_monitor *monitor, struct qins_error *err);
void qn_model_destroy(struct qn_model *m); /* accepts NULL */

/* Whether qn_model_open() has a model to run at PATH: config, names, types and shapes of the
 * tensors. Fails as it does, but reads no weights. *FITS: whether the machine has memory for them;
 * where not, *ERR says so. */
enum qins_status qn_model_check(const char *path, struct qn_model_config *config, bool *fits,
                                struct qins_error *err);

/* The fingerprint alone, without loading: the XXH3-128 of a list, sorted by name, of each
 * tensor's name, type, shape and fingerprint (formats/archive/manifest.h). */
enum qins_status qn_model_fingerprint(const char *path, unsigned threads,
                                      const struct qn_monitor *monitor, struct qn_digest *out,
                                      struct qins_error *err);

#endif
