/* Work cut into N parts that are done apart, and how their files are called. All functions are
 * thread-safe, qn_shard_parse() as far as the environment is not changed meanwhile. */
#ifndef QINS_CORE_SHARD_H
#define QINS_CORE_SHARD_H

#include "core/error.h"

#include <stdint.h>

enum { QN_MAX_SHARDS = 99999 };

/* Part INDEX, from 1 on, of COUNT; COUNT 0: the work is not cut. */
struct qn_shard {
    unsigned index, count;
};

/* "I/N", or "slurm": what the variables of a Slurm job array say, I = (SLURM_ARRAY_TASK_ID -
 * SLURM_ARRAY_TASK_MIN) / SLURM_ARRAY_TASK_STEP + 1 and N = SLURM_ARRAY_TASK_COUNT (a step that is
 * not told is 1). QINS_ERR_USAGE where it is neither, a variable is missing or no number, or
 * 1 <= I <= N <= QN_MAX_SHARDS does not hold. */
enum qins_status qn_shard_parse(const char *text, struct qn_shard *out, struct qins_error *err);

/* The part's piece of TOTAL units, [*BEGIN, *END): cut K is floor(TOTAL * K / N), so that pieces
 * of all parts follow each other from 0 to TOTAL. All of it where the work is not cut. */
void qn_shard_range(const struct qn_shard *s, uint64_t total, uint64_t *begin, uint64_t *end);

/* The file of a part of OUT: "OUT-00003-of-00008"; heap. */
char *qn_shard_path(const char *out, const struct qn_shard *s, struct qins_error *err);
/* Whether PATH is such a name; *STEM is the length of OUT. Either output may be NULL. */
bool qn_shard_of_path(const char *path, struct qn_shard *s, size_t *stem);

/* Whether N files, called NAMES, are all parts of one work, each once: QINS_ERR_USAGE where they
 * are of different numbers of parts, or a part is missing or there twice. ORDER[N] gets the number
 * of the file of each part, from part 1 on. */
enum qins_status qn_shard_order(const struct qn_shard *parts, const char *const *names, size_t n,
                                size_t *order, struct qins_error *err);

#endif
