#include "model/kv.h"

static double greater(double a, double b)
{
    return a > b ? a : b;
}

void qn_kv_counts_add(struct qn_kv_counts *into, const struct qn_kv_counts *from)
{
    into->sequences += from->sequences;
    into->tokens += from->tokens;
    into->values += from->values;
    into->packed_pages += from->packed_pages;
    into->packed_bytes += from->packed_bytes;
    into->packed_values += from->packed_values;
    into->old_pages += from->old_pages;
    into->old_bytes += from->old_bytes;
    into->old_values += from->old_values;
    into->open_bytes += from->open_bytes;
    into->held_bytes += from->held_bytes;
    into->f16_bytes += from->f16_bytes;
    into->f32_bytes += from->f32_bytes;
    into->grown_held_bytes += from->grown_held_bytes;
    into->grown_f16_bytes += from->grown_f16_bytes;
    if (from->work_bytes > into->work_bytes)
        into->work_bytes = from->work_bytes;
    into->encoded += from->encoded;
    into->decoded += from->decoded;
    into->recoded += from->recoded;
    into->encode_seconds += from->encode_seconds;
    into->decode_seconds += from->decode_seconds;
    into->recode_seconds += from->recode_seconds;
    into->max_encode_seconds = greater(into->max_encode_seconds, from->max_encode_seconds);
    into->max_decode_seconds = greater(into->max_decode_seconds, from->max_decode_seconds);
}
