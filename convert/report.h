/* JSON reports on checkpoints and archives, as documented under docs/schemas/. A NULL result
 * means out of memory. */
#ifndef QINS_CONVERT_REPORT_H
#define QINS_CONVERT_REPORT_H

#include "core/json.h"
#include "formats/archive/manifest_json.h"
#include "formats/archive/reader.h"

/* What an archive holds: source_format, input_bytes, archive_bytes, float_elements,
 * bits_per_weight, attachments and tensors with their plan and coded_bytes. */
json_t *qn_archive_report(const struct qn_archive *a, const char *schema);

/* "archive_hash": what the user block says is the hash of the archive's body, in hex. */
void qn_put_archive_hash(json_t **report, const struct qn_archive *a);

/* Coded bytes of tensor INDEX: payloads, or its bytes in the manifest. */
uint64_t qn_archive_tensor_bytes(const struct qn_archive *a, size_t index);

/* The report of `qins inspect` (schema qins/inspect/1) on an archive or a checkpoint. */
enum qins_status qn_inspect(const char *path, const struct qn_monitor *monitor, json_t **report,
                            struct qins_error *err);

#endif
