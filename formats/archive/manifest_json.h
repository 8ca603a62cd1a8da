/* The parts of the manifest that manifest.c puts together: JSON of one attached file. That of
 * one tensor is in manifest.h. */
#ifndef QINS_FORMATS_ARCHIVE_MANIFEST_JSON_H
#define QINS_FORMATS_ARCHIVE_MANIFEST_JSON_H

#include "formats/archive/manifest.h"

/* NULL when out of memory. */
json_t *qn_archive_file_to_json(const struct qn_archive_file *f);
/* On success out->name is a string of J. False if J is no such object. */
bool qn_archive_file_from_json(const json_t *j, struct qn_archive_file *out);

#endif
