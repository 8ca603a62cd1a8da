/* What an archive takes, exactly, without writing it: for a plan that must meet a size. */
#ifndef QINS_CONVERT_PLAN_SIZE_H
#define QINS_CONVERT_PLAN_SIZE_H

#include "formats/plan.h"
#include "model/source.h"

/* Bytes of an archive of SOURCE, a checkpoint, coded as PLAN says, without the payloads of its
 * chunks: HDF5's structures, chunk table, manifest, attachments. By way of an archive with empty
 * payloads in a temporary folder; the manifest's size is right to a few bytes, as hashes are not
 * yet known. */
enum qins_status qn_plan_overhead(const struct qn_source *source, const struct qn_plan *plan,
                                  double *bytes, struct qins_error *err);

/* Bytes of the payloads of tensor INDEX, lossless. */
enum qins_status qn_lossless_bytes(const struct qn_source *source, size_t index,
                                   enum qn_codec_id codec, double *bytes, struct qins_error *err);

#endif
