/* The keys of config.json: what each means, where it goes, and what holds where it is absent. */
#ifndef QINS_MODEL_CONFIG_KEYS_H
#define QINS_MODEL_CONFIG_KEYS_H

#include "core/json.h"
#include "model/arch.h"

/* A config while it is being read: the values that decide it but do not appear in it. */
struct qn_config_draft {
    struct qn_model_config c;
    double rotary_part; /* of each head */
    bool attention_bias, scale_attention, use_window;
    uint32_t original_positions;                                /* at the top level; 0: none */
    const json_t *rope_scaling, *rope_parameters, *layer_types; /* NULL: absent or null */
};

enum qn_key_kind {
    QN_KEY_COUNT,         /* uint32_t in min … max */
    QN_KEY_COUNT_OR_NULL, /* null is 0 */
    QN_KEY_REAL,          /* double in min … max */
    QN_KEY_FLAG,          /* bool */
    QN_KEY_ACTIVATION,    /* enum qn_activation by its name */
    QN_KEY_BOS,           /* a token or null */
    QN_KEY_EOS,           /* a token, several, or null */
    QN_KEY_VALUE,         /* const json_t *, for later */
    /* Values with an effect are refused; these have none: */
    QN_KEY_FALSE, /* false or null */
    QN_KEY_TRUE,  /* true or null */
    QN_KEY_ONE,   /* 1 or null */
    QN_KEY_EMPTY, /* null, {} or [] */
};

struct qn_config_key {
    const char *name;
    unsigned archs; /* bits of qn_config_arch_bit() */
    enum qn_key_kind kind;
    size_t field;    /* offset in struct qn_config_draft */
    double fallback; /* where the key is absent; NAN: it must be there */
    double min, max;
};

/* Ends with a name of NULL. Where several keys share a field, all that are there must agree. */
extern const struct qn_config_key qn_config_keys[];
enum { QN_CONFIG_KEYS_MAX = 128 }; /* rows of the table */

unsigned qn_config_arch_bit(const struct qn_arch *arch);
/* Whether a key is known to have no influence on the result, whatever its value. */
bool qn_config_key_is_inert(const char *name);

/* A number of config.json in min … max; false where VALUE is anything else. */
bool qn_config_real(const json_t *value, double min, double max, double *out);
/* The same for whole numbers, which may be written as reals. */
bool qn_config_count(const json_t *value, double min, double max, uint32_t *out);

/* Adds what VALUE, of an eos_token_id, names: a token, a list of tokens, or null (or NULL). */
enum qins_status qn_config_eos(struct qn_model_config *c, const json_t *value,
                               struct qins_error *err);
/* Drops tokens beyond the vocabulary, which the model can neither read nor produce. */
void qn_config_drop_tokens(struct qn_model_config *c);

/* Fills d->c.rope from rope_scaling or rope_parameters; all else is known by then. */
enum qins_status qn_config_rope(struct qn_config_draft *d, struct qins_error *err);
/* Checks that extents agree, and what the header promises of them. */
enum qins_status qn_config_check(const struct qn_model_config *c, struct qins_error *err);
/* From the header of a llama2.c file. */
enum qins_status qn_config_llama2c(const void *header, size_t size, struct qn_model_config *out,
                                   struct qins_error *err);

#endif
