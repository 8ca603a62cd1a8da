/* config.json, generation_config.json and the header of llama2.c files; what is accepted must keep
 * the promises of model/config.h, and describe a model that can be laid out. */
#include "core/bytes.h"
#include "model/synthetic.h"
#include "model/taps.h"

#include <math.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool promise)
{
    if (!promise)
        abort();
}

static bool is_extent(uint32_t n)
{
    return n >= 1 && n <= 1 << 24;
}

static void check_rope(const struct qn_model_config *c)
{
    const struct qn_rope_config *r = &c->rope;
    if (c->arch->rope == QN_ROPE_NONE)
        return;
    require(r->dims >= 2 && r->dims % 2 == 0 && r->dims <= c->head_dim && r->dims <= QN_MAX_ROTARY);
    require(r->theta >= 1 && isfinite(r->theta));
    require(r->attention_factor > 0 && isfinite(r->attention_factor));
    require(r->scaling == QN_SCALING_NONE || r->scaling == QN_SCALING_LONGROPE || r->factor > 0);
    require(r->scaling < QN_SCALING_LLAMA3 || r->original_positions > 0);
    for (unsigned i = 0; r->scaling == QN_SCALING_LONGROPE && i < r->dims / 2; i++)
        require(r->short_factor[i] > 0 && r->long_factor[i] > 0);
}

static void check_promises(const struct qn_model_config *c)
{
    require(c->arch && is_extent(c->hidden) && is_extent(c->vocab) && is_extent(c->max_positions));
    require(is_extent(c->n_heads) && is_extent(c->n_kv_heads) && is_extent(c->head_dim));
    require(is_extent(c->intermediate));
    require(c->n_layers >= 1 && c->n_layers <= 4096 && c->n_heads % c->n_kv_heads == 0);
    require((uint64_t)c->n_heads * c->head_dim <= INT32_MAX);
    require(c->experts_per_token <= c->n_experts && c->n_eos <= QN_MAX_EOS);
    require(c->norm_eps >= 0 && c->norm_eps <= 1 && c->attention_scale > 0);
    require(c->bos >= -1 && c->bos < c->vocab);
    require(c->sliding_from < c->n_layers);
    for (unsigned i = 0; i < c->n_eos; i++)
        require(c->eos[i] < c->vocab);
    check_rope(c);
}

/* An upper bound of a model's elements that cannot overflow. */
static double elements(const struct qn_model_config *c)
{
    double heads = ((double)c->n_heads + c->n_kv_heads) * c->head_dim + c->intermediate;
    return (double)c->hidden * (2.0 * c->vocab + c->max_positions) +
           (double)c->n_layers * (1 + c->n_experts) * (heads + 2) * 4 * c->hidden;
}

static void lay_out(const struct qn_model_config *c)
{
    struct qn_model *m = NULL;
    struct qn_tap_list taps;
    if (elements(c) > 1e5)
        return;
    require(qn_model_create_random(&m, c, QINS_F16, 1, NULL) == QINS_OK);
    require(qn_taps_init(&taps, m, NULL) == QINS_OK);
    require(taps.n >= 5 * (size_t)c->n_layers);
    qn_taps_finish(&taps);
    qn_model_destroy(m);
}

static void find(const char *config, const char *name, const uint8_t *data, size_t size)
{
    struct qn_attachment_list files = {0};
    struct qn_model_config c;
    if (qn_attachment_add(&files, "config.json", config, strlen(config), NULL) != QINS_OK ||
        qn_attachment_add(&files, name, data, size, NULL) != QINS_OK)
        abort();
    if (qn_config_find(&files, &c, NULL) == QINS_OK) {
        check_promises(&c);
        lay_out(&c);
    }
    qn_attachment_list_finish(&files);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char small[] = "{\"model_type\":\"gpt2\",\"n_embd\":4,\"n_head\":2,\"n_layer\":1,"
                                "\"n_positions\":8,\"vocab_size\":9}";
    struct qn_model_config c;
    struct qins_error err;
    enum qins_status st = qn_config_parse(data, size, &c, &err);
    require(st == QINS_OK || (err.status == st && err.message[0] != '\0'));
    if (st == QINS_OK) {
        check_promises(&c);
        lay_out(&c);
    }
    find(small, "generation_config.json", data, size);
    find("", "llama2c.header", data, size);
    return 0;
}
