/* What an interrupted validation has done: results of items (windows, prompts, tensors) of tests as
 * bytes, in memory and, where a file is given, on disk, framed and hashed, so that a later run goes
 * on behind them. Items of a test are 0, 1, 2, … in this order, without gaps.
 *
 * The file is a head, then frames; little-endian, hashes are XXH3-64:
 *     head   "QINSVAL\0", version (4 bytes), 0 (4), job (16), hash of these 32
 *     frame  "QJRN", 0 (4), test (32, padded with NUL), body bytes (8), hash of the body (8),
 *            hash of these 56, body
 * It is read on the machine that wrote it: bodies are structures of memory, whose sizes are part of
 * the job. */
#ifndef QINS_ANALYZE_JOURNAL_H
#define QINS_ANALYZE_JOURNAL_H

#include "core/hash.h"
#include "core/thread.h"

enum { QN_JOURNAL_TESTS = 32 }; /* at most, in one journal */

struct qn_journal;

/* PATH NULL: in memory alone. A file of another JOB (of the models, texts, options, version and
 * record sizes) is begun anew, with a notice; a torn or damaged end is cut off, one that is none of
 * qins's making is QINS_ERR_USAGE. RESUME false: begun anew. The file is locked. */
enum qins_status qn_journal_open(struct qn_journal **out, const char *path, bool resume,
                                 const struct qn_digest *job, const struct qn_monitor *monitor,
                                 struct qins_error *err);
/* The same for a part, which goes on in any case: a journal of another job is left as it is,
 * QINS_ERR_USAGE. */
enum qins_status qn_journal_continue(struct qn_journal **out, const char *path,
                                     const struct qn_digest *job, struct qins_error *err);
/* A journal that nobody writes any more, of any *JOB: QINS_ERR_FORMAT, naming the offset, unless
 * all of it is whole. */
enum qins_status qn_journal_read(struct qn_journal **out, const char *path, struct qn_digest *job,
                                 struct qins_error *err);
/* How many items of TEST the file PATH has, which nobody writes any more. Frames' heads alone are
 * looked at, so it is cheap and a changed body does not show: QINS_ERR_FORMAT where the file is no
 * journal or does not end with a whole frame. */
enum qins_status qn_journal_look(const char *path, const char *test, uint64_t *count,
                                 struct qins_error *err);
/* Syncs the file and renames it to PATH, beside it; then the journal is in memory alone. */
enum qins_status qn_journal_publish(struct qn_journal *j, const char *path, struct qins_error *err);
/* Leaves the file, but for one without a single item; accepts NULL. */
void qn_journal_close(struct qn_journal *j);

/* Items of TEST (static text of at most 31 bytes) that are there. */
uint64_t qn_journal_count(const struct qn_journal *j, const char *test);
/* The number of tests that have items, and the name of each; it lives as long as the journal. */
size_t qn_journal_tests(const struct qn_journal *j);
const char *qn_journal_test(const struct qn_journal *j, size_t number);
/* Of all tests together. */
uint64_t qn_journal_total(const struct qn_journal *j);
/* Bytes of an item that is there; they live as long as the journal and are 8-byte aligned. Of a
 * file they may be anything of any size. */
const void *qn_journal_get(const struct qn_journal *j, const char *test, uint64_t item,
                           size_t *size);
/* Appends item qn_journal_count(). From one thread. It is on disk when this returns (written;
 * synced now and then). After a failure nothing was appended. */
enum qins_status qn_journal_add(struct qn_journal *j, const char *test, const void *data,
                                size_t size, struct qins_error *err);

#endif
