/* Taking figures out of the description of a file (formats/described.h). Where one is missing, of
 * another type or out of bounds: QINS_ERR_FORMAT, which names KEY, and *out is as it was. */
#ifndef QINS_FORMATS_DESCRIBED_JSON_H
#define QINS_FORMATS_DESCRIBED_JSON_H

#include "core/json.h"

/* That error. */
enum qins_status qn_described_bad(struct qins_error *err, const char *key);

/* Member KEY of J, from MIN (0) to MAX. */
enum qins_status qn_described_u64(const json_t *j, const char *key, uint64_t max, uint64_t *out,
                                  struct qins_error *err);
enum qins_status qn_described_u32(const json_t *j, const char *key, uint32_t min, uint32_t max,
                                  uint32_t *out, struct qins_error *err);
enum qins_status qn_described_bool(const json_t *j, const char *key, bool *out,
                                   struct qins_error *err);
/* VALUE itself, which KEY is the name of. */
enum qins_status qn_described_digest(const json_t *value, const char *key, struct qn_digest *out,
                                     struct qins_error *err);

#endif
