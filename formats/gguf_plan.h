/* How a list of tensors becomes a GGUF file: its keys, and what is done to each tensor. */
#ifndef QINS_FORMATS_GGUF_PLAN_H
#define QINS_FORMATS_GGUF_PLAN_H

#include "core/json.h"
#include "formats/gguf.h"

/* A growing key section. The first failure sticks: later calls do nothing, so that a run of
 * puts is checked once, by STATUS. */
struct qn_gguf_keys_out {
    struct qn_buf buf;
    uint64_t count;
    enum qins_status status;
    struct qins_error *err;
};

void qn_gguf_put_u32(struct qn_gguf_keys_out *k, const char *key, uint32_t value);
void qn_gguf_put_f32(struct qn_gguf_keys_out *k, const char *key, float value);
void qn_gguf_put_bool(struct qn_gguf_keys_out *k, const char *key, bool value);
void qn_gguf_put_string(struct qn_gguf_keys_out *k, const char *key, const char *text, size_t size);
/* The head of an array key; COUNT calls of the fitting qn_gguf_add_ function follow. */
void qn_gguf_put_array(struct qn_gguf_keys_out *k, const char *key, enum qn_gguf_value type,
                       uint64_t count);
void qn_gguf_add_string(struct qn_gguf_keys_out *k, const char *text, size_t size);
void qn_gguf_add_u32(struct qn_gguf_keys_out *k, uint32_t value);
void qn_gguf_add_f32(struct qn_gguf_keys_out *k, float value);

/* One tensor of the source and what becomes of it. */
struct qn_gguf_item {
    char *name;
    enum qins_dtype dtype; /* written type: the source's, or F32 */
    uint32_t heads;        /* > 0: rows are reordered for ggml's rope, with this many heads */
    bool skip;             /* not written */
    uint64_t n_bytes, offset;
};

struct qn_gguf_plan {
    struct qn_gguf_keys_out keys;
    uint32_t version, alignment;
    struct qn_gguf_item *items; /* as many as the source list has */
    size_t count;
    float *rope_factors; /* data of an added tensor rope_freqs.weight, or NULL */
    uint32_t n_rope_factors;
};

/* Plans for the tensors LIST: keys from the attachment "gguf.metadata" unchanged; or names, keys
 * and vocabulary as llama.cpp wants them where config.json and the tensors' names are those of
 * a llama-family model; or a plain container whose general.description says so. Refuses types
 * and ranks that GGUF lacks. *plan is to be finished also after a failure. */
enum qins_status qn_gguf_plan_init(struct qn_gguf_plan *plan, const struct qn_tensor_list *list,
                                   const struct qn_attachment_list *attachments,
                                   struct qins_error *err);
void qn_gguf_plan_finish(struct qn_gguf_plan *plan);

/* Tries the llama mapping on a plan whose items carry the source's names. *MAPPED tells whether
 * it applies; if not, REASON (SIZE bytes) tells why and the plan's keys are unchanged, but the
 * items may hold changes. */
enum qins_status qn_gguf_plan_llama(struct qn_gguf_plan *plan, const struct qn_tensor_list *list,
                                    const struct qn_attachment_list *attachments, bool *mapped,
                                    char *reason, size_t size, struct qins_error *err);

/* The tokenizer keys from tokenizer.json, N_VOCAB tokens; a vocabulary that cannot be expressed
 * becomes tokenizer.ggml.model "no_vocab". CONFIG is config.json. Failures go to k->status. */
void qn_gguf_put_vocabulary(struct qn_gguf_keys_out *k,
                            const struct qn_attachment_list *attachments, const json_t *config,
                            uint32_t n_vocab);

/* A JSON attachment, or NULL where it is absent or no valid JSON; the caller's to json_decref. */
enum qins_status qn_gguf_attached_json(const struct qn_attachment_list *attachments,
                                       const char *name, json_t **out, struct qins_error *err);

#endif
