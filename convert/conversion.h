/* A conversion under way: what convert.c, loads.c and convert_part.c share. */
#ifndef QINS_CONVERT_CONVERSION_H
#define QINS_CONVERT_CONVERSION_H

#include "convert/batch.h"
#include "convert/lines.h"
#include "convert/shard_cut.h"
#include "formats/archive/spool.h"
#include "formats/archive/writer.h"

struct qn_conversion {
    const char *path, *out;
    const struct qn_convert_options *options;
    const struct qn_monitor *monitor;
    struct qn_checkpoint *source;
    struct qn_transport transport;  /* that it carries; without layers where there is none */
    struct qn_digest source_digest; /* when it was opened */
    bool source_changed;
    struct qn_lines lines;
    struct qn_part_range range;       /* what is to be encoded */
    struct qn_archive_writer *writer; /* of the whole model */
    struct qn_spool *spool;           /* or NULL */
    struct qn_spool_state state;      /* how far an earlier run got */
    struct qn_encoder encoder;
    double begun, encoded, ended; /* seconds */
};

/* Encodes the range, from where an earlier run left it, into SINK. The caller finishes c->encoder,
 * on failure, too. */
enum qins_status qn_conversion_encode(struct qn_conversion *c, struct qn_sink *sink,
                                      struct qins_error *err);

/* All of the source has been read: QINS_ERR_IO, and c->source_changed, where it was not one and the
 * same thing all the while. */
enum qins_status qn_conversion_check_unchanged(struct qn_conversion *c, struct qins_error *err);

/* Makes the part of c->options->shard, or finds it made; *report (schema qins/convert-part/1) may
 * be NULL. */
enum qins_status qn_conversion_run_part(struct qn_conversion *c, json_t **report,
                                        struct qins_error *err);

#endif
