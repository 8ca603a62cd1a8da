/* The parts that a merge was given, in order, after all that can be told without reading them
 * whole. */
#ifndef QINS_CONVERT_MERGE_PARTS_H
#define QINS_CONVERT_MERGE_PARTS_H

#include "formats/archive/part.h"

struct qn_merge_part {
    const char *path; /* the caller's */
    struct qn_part_info info;
};

struct qn_merge_parts {
    struct qn_merge_part *items; /* part I is items[I - 1] */
    size_t n;
    uint64_t bytes; /* of all files */
};

/* Errors are those of qn_merge(). */
enum qins_status qn_merge_parts_open(struct qn_merge_parts *p, const char *const *paths, size_t n,
                                     struct qins_error *err);
void qn_merge_parts_close(struct qn_merge_parts *p); /* a zeroed one is accepted */

#endif
