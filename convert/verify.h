/* Checks an archive, alone or against the checkpoint that it was made from. */
#ifndef QINS_CONVERT_VERIFY_H
#define QINS_CONVERT_VERIFY_H

#include "core/json.h"
#include "core/thread.h"

/* ARCHIVE alone: structure, whole-file hash, and every chunk decodes as its plan line says;
 * damage is QINS_ERR_FORMAT. With AGAINST (may be NULL) also: the same tensors with the same
 * types and shapes, source fingerprints, lossless tensors bit-equal, every quantised code what
 * the stored parameters make of the source value; where that does not hold, QINS_ERR_CHECK with
 * the first tensors named. A transport is no part of that: it has to be sound, and its tensors are
 * not looked for in AGAINST. Quality figures are reported, not judged. *report (schema
 * qins/verify/1; may be NULL) is set on QINS_OK and on QINS_ERR_CHECK and belongs to the
 * caller. */
enum qins_status qn_verify(const char *archive, const char *against, unsigned threads,
                           const struct qn_monitor *monitor, json_t **report,
                           struct qins_error *err);

#endif
