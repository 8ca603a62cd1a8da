/* Reports that other verbs wrote, found in folders by their "schema". */
#ifndef QINS_ANALYZE_EVIDENCE_H
#define QINS_ANALYZE_EVIDENCE_H

#include "core/json.h"
#include "core/thread.h"

struct qn_evidence_file {
    char *path;         /* as it was given, and the way below */
    const char *schema; /* within the report */
    json_t *report;
    struct qn_digest digest; /* of the file's bytes */
    uint64_t bytes;
};

struct qn_evidence {
    struct qn_evidence_file *files; /* as given, within folders by name */
    size_t n, capacity;
    uint64_t bytes;
    json_t *notes; /* texts: copies that were left out, … */
};

/* Takes every *.json below PATHS[N] (folders, or single files) whose "schema" begins with "qins/";
 * other JSON (a model's config.json, gates, reviews) is passed over, hidden and linked folders too,
 * and files whose bytes were seen before. QINS_ERR_FORMAT, naming the file, for what is no JSON,
 * and beyond the limits on depth, number and size. *E is for qn_evidence_finish() either way. */
enum qins_status qn_evidence_load(struct qn_evidence *e, const char *const *paths, size_t n,
                                  const struct qn_monitor *monitor, struct qins_error *err);
void qn_evidence_finish(struct qn_evidence *e);

#endif
