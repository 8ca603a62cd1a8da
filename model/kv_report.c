#include "model/kv_report.h"

#include <math.h>

static double ratio(double a, double b)
{
    return b > 0.0 ? a / b : (double)NAN;
}

static double milliseconds(double seconds, uint64_t pages)
{
    return ratio(1e3 * seconds, (double)pages);
}

static void put_count(json_t **j, const char *key, uint64_t value)
{
    qn_json_put(j, key, json_integer((json_int_t)value));
}

static void put_real(json_t **j, const char *key, double value)
{
    qn_json_put(j, key, qn_json_real(value));
}

static void put_layout(json_t **j, const struct qn_model_config *config,
                       const struct qn_kv_options *kv)
{
    struct qn_kv_layout l;
    if (qn_kv_layout_init(&l, config->n_kv_heads, config->head_dim, kv->bits, kv->page_bytes,
                          NULL) != QINS_OK)
        return;
    const uint64_t values = (uint64_t)l.tokens * l.heads * l.head_dim;
    put_count(j, "bits", l.bits);
    put_real(j, "kappa", (double)l.kappa);
    put_count(j, "page_bytes", values * sizeof(float));
    put_count(j, "page_tokens", l.tokens);
    qn_json_put(j, "recent_pages",
                kv->recent == UINT32_MAX
                    ? json_null()
                    : json_integer(kv->recent ? kv->recent : QN_KV_DEFAULT_RECENT));
}

json_t *qn_kv_report(const struct qn_model_config *config, const struct qn_kv_options *kv,
                     const struct qn_kv_counts *c)
{
    const double f16 = sizeof(uint16_t);
    json_t *j = json_object();
    put_layout(&j, config, kv);
    put_count(&j, "sequences", c->sequences);
    put_count(&j, "tokens", c->tokens);
    put_count(&j, "pages", c->packed_pages);
    put_count(&j, "packed_bytes", c->packed_bytes);
    put_count(&j, "packed_values", c->packed_values);
    put_real(&j, "ratio_f16", ratio(f16 * (double)c->packed_values, (double)c->packed_bytes));
    put_real(&j, "ratio_f32", ratio(2.0 * f16 * (double)c->packed_values, (double)c->packed_bytes));
    put_count(&j, "old_pages", c->old_pages);
    put_count(&j, "old_bytes", c->old_bytes);
    put_count(&j, "old_values", c->old_values);
    put_real(&j, "old_ratio_f16", ratio(f16 * (double)c->old_values, (double)c->old_bytes));
    put_count(&j, "open_bytes", c->open_bytes);
    put_count(&j, "held_bytes", c->held_bytes);
    put_count(&j, "held_values", c->values);
    put_count(&j, "f16_bytes", c->f16_bytes);
    put_count(&j, "f32_bytes", c->f32_bytes);
    put_real(&j, "held_ratio_f16", ratio((double)c->f16_bytes, (double)c->held_bytes));
    put_real(&j, "mean_held_ratio_f16", ratio(c->grown_f16_bytes, c->grown_held_bytes));
    put_count(&j, "work_bytes", c->work_bytes);
    put_count(&j, "encoded", c->encoded);
    put_count(&j, "decoded", c->decoded);
    put_count(&j, "recoded", c->recoded);
    put_real(&j, "encode_ms_per_page", milliseconds(c->encode_seconds, c->encoded));
    put_real(&j, "max_encode_ms", 1e3 * c->max_encode_seconds);
    put_real(&j, "decode_ms_per_page", milliseconds(c->decode_seconds, c->decoded));
    put_real(&j, "max_decode_ms", 1e3 * c->max_decode_seconds);
    put_real(&j, "recode_ms_per_page", milliseconds(c->recode_seconds, c->recoded));
    put_real(&j, "encode_seconds", c->encode_seconds);
    put_real(&j, "decode_seconds", c->decode_seconds);
    return j;
}
