/* Limits of the readers of files, for qins --limits. Each table ends with an entry without a name.
 */
#ifndef QINS_FORMATS_LIMITS_H
#define QINS_FORMATS_LIMITS_H

#include "core/limit.h"

extern const struct qn_limit qn_archive_limits[];
extern const struct qn_limit qn_attachment_limits[];
extern const struct qn_limit qn_described_limits[];
extern const struct qn_limit qn_gguf_keys_limits[];
extern const struct qn_limit qn_gguf_limits[];
extern const struct qn_limit qn_hdf5_attribute_limits[];
extern const struct qn_limit qn_hdf5_child_limits[];
extern const struct qn_limit qn_hdf5_list_limits[];
extern const struct qn_limit qn_hdf5_listing_limits[];
extern const struct qn_limit qn_hdf5_read_limits[];
extern const struct qn_limit qn_hf_folder_limits[];
extern const struct qn_limit qn_llama2c_limits[];
extern const struct qn_limit qn_npy_limits[];
extern const struct qn_limit qn_pickle_limits[];
extern const struct qn_limit qn_plan_limits[];
extern const struct qn_limit qn_safetensors_limits[];
extern const struct qn_limit qn_spool_limits[];
extern const struct qn_limit qn_torch_limits[];
extern const struct qn_limit qn_torch_walk_limits[];
extern const struct qn_limit qn_zip_limits[];

#endif
