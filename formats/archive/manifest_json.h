/* The parts of the manifest that manifest.c puts together: JSON of one attached file. That of
 * one tensor is in manifest.h. And what the manifest's JSON shares with that of plans. */
#ifndef QINS_FORMATS_ARCHIVE_MANIFEST_JSON_H
#define QINS_FORMATS_ARCHIVE_MANIFEST_JSON_H

#include "formats/archive/manifest.h"

/* NULL when out of memory. */
json_t *qn_archive_file_to_json(const struct qn_archive_file *f);
/* On success out->name is a string of J. False if J is no such object. */
bool qn_archive_file_from_json(const json_t *j, struct qn_archive_file *out);

/* By enum qn_rounding and enum qn_class. */
enum { QN_ROUNDINGS = 2, QN_CLASSES = 3 };
extern const char *const qn_rounding_names[QN_ROUNDINGS], *const qn_class_names[QN_CLASSES];

/* Index of the string J in NAMES, or -1. */
int qn_json_choice(const json_t *j, const char *const *names, int n);
/* A number that is a float between LOW and HIGH, which nine digits may write a little outside. */
bool qn_json_float_between(const json_t *j, float low, float high, float *out);
/* A string of fewer than SIZE bytes. */
bool qn_json_short_text(const json_t *j, char *out, size_t size);
/* Name, dtype and shape of a tensor, under these keys; QINS_ERR_FORMAT calls the file WHAT. On
 * success out->name is the caller's. */
enum qins_status qn_json_description(const json_t *j, const char *what, struct qn_tensor *out,
                                     struct qins_error *err);
json_t *qn_json_shape(const struct qn_tensor *t); /* NULL when out of memory */

#endif
