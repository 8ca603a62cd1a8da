/* JSON by jansson, with our errors. */
#ifndef QINS_CORE_JSON_H
#define QINS_CORE_JSON_H

#include "core/error.h"
#include "core/hash.h"

#include <jansson.h>

/* Parses untrusted text: duplicate keys, invalid UTF-8, NUL in strings and trailing garbage
 * are refused; nesting is bounded by jansson (JSON_PARSER_MAX_DEPTH, 2048). Errors name byte
 * offsets relative to BASE_OFFSET (where the text starts in its file). The result belongs to
 * the caller (json_decref); NULL on failure. */
json_t *qn_json_parse(const void *text, size_t size, uint64_t base_offset, struct qins_error *err);

/* Bytes that parsing TEXT takes, within a fifth; at most 80 for each byte of it. */
uint64_t qn_json_memory(const void *text, size_t size);
/* Whether JSON that PACKED bytes of a file unfold to may be parsed: what is not packed always may.
 */
enum { QN_JSON_ALWAYS = 64 << 20, QN_JSON_PER_BYTE = 96 };
bool qn_json_fits(const void *text, size_t size, uint64_t packed);

/* Parses a file of at most LIMIT bytes. */
json_t *qn_json_load(const char *path, uint64_t limit, struct qins_error *err);

/* VALUE as text, with jansson's JSON_ flags; heap, NULL where memory is short. Not json_dumps(),
 * which loses parts of the text then and calls it a success. */
char *qn_json_dump(const json_t *value, size_t flags);

/* jansson's parser loses characters where it has no memory for them, or crashes. After this call,
 * which a program makes before its first thread, qn_json_parse() and qn_json_load() end there
 * instead, with QINS_ERR_MEMORY. It replaces jansson's allocation functions in the whole process,
 * so a library has no business calling it. */
void qn_json_watch_memory(void);

/* Writes VALUE, indented, keys in insertion order, with a final newline, atomically. Steals no
 * reference. */
enum qins_status qn_json_save(const char *path, const json_t *value, struct qins_error *err);

/* The same text at the end of O, for the caller to commit. */
struct qn_output;
enum qins_status qn_json_write(struct qn_output *o, const json_t *value, struct qins_error *err);

/* A non-negative integer that fits in 64 bits; jansson's integers are signed, so values above
 * INT64_MAX were already refused by the parser. */
bool qn_json_u64(const json_t *value, uint64_t *out);

/* A JSON real, or null where VALUE is not finite. */
json_t *qn_json_real(double value);

/* Any string as JSON: bytes that are no UTF-8 become '?'. */
json_t *qn_json_text(const char *text);

/* 32 hexadecimal digits. */
json_t *qn_json_digest(const struct qn_digest *d);
/* A string of exactly 2 SIZE hexadecimal digits, in lower case. */
bool qn_json_hex(const json_t *value, uint8_t *out, size_t size);

/* Sets KEY of the object *J and takes over VALUE. If either is NULL or memory is short, *J is
 * freed and becomes NULL, so that a caller checks once, at the end. */
void qn_json_put(json_t **j, const char *key, json_t *value);

/* The same for the end of the array *J. */
void qn_json_append(json_t **j, json_t *value);

/* A copy of a list or an object that shares what is in it; NULL where memory is short. Not
 * json_copy(), which leaves out what it has no memory for. */
json_t *qn_json_copy(const json_t *value);

/* {"schema": SCHEMA, "qins_version": ...} */
json_t *qn_report_begin(const char *schema);

#endif
