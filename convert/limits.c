#include "convert/limits.h"

#include "analyze/limits.h"
#include "formats/limits.h"
#include "model/limits.h"
#include "policy/limits.h"

static const struct qn_limit *const tables[] = {
    qn_json_limits,
    qn_tensor_limits,
    qn_safetensors_limits,
    qn_hf_folder_limits,
    qn_attachment_limits,
    qn_gguf_limits,
    qn_gguf_keys_limits,
    qn_hdf5_child_limits,
    qn_hdf5_list_limits,
    qn_hdf5_listing_limits,
    qn_hdf5_read_limits,
    qn_hdf5_attribute_limits,
    qn_torch_limits,
    qn_pickle_limits,
    qn_torch_walk_limits,
    qn_zip_limits,
    qn_npy_limits,
    qn_llama2c_limits,
    qn_archive_limits,
    qn_spool_limits,
    qn_described_limits,
    qn_plan_limits,
    qn_policy_limits,
    qn_glob_limits,
    qn_config_limits,
    qn_tokenizer_limits,
    qn_tokenizer_json_limits,
    qn_tokenizer_parts_limits,
    qn_tokenizer_bin_limits,
    qn_pattern_limits,
    qn_normalize_limits,
    qn_corpus_limits,
    qn_gate_limits,
    qn_evidence_limits,
    qn_jobs_limits,
};
enum { N_TABLES = sizeof tables / sizeof(const struct qn_limit *) };

json_t *qn_limits_report(struct qins_error *err)
{
    json_t *report = qn_report_begin("qins/limits/1"), *list = json_array();
    for (size_t i = 0; list && i < N_TABLES; i++)
        for (const struct qn_limit *l = tables[i]; l->name; l++) {
            json_t *j = json_object();
            qn_json_put(&j, "area", json_string(l->area));
            qn_json_put(&j, "name", json_string(l->name));
            qn_json_put(&j, "value", json_integer((json_int_t)l->value));
            qn_json_put(&j, "unit", json_string(l->unit));
            qn_json_put(&j, "protects", json_string(l->protects));
            qn_json_append(&list, j);
        }
    qn_json_put(&report, "limits", list);
    if (!report)
        qn_fail_memory(err);
    return report;
}
