/* The files of a folder as parts of outputs: what `qins status` is made of. */
#ifndef QINS_CONVERT_STATUS_SCAN_H
#define QINS_CONVERT_STATUS_SCAN_H

#include "core/error.h"
#include "core/hash.h"
#include "core/shard.h"

#include <stdint.h>
#include <time.h>

enum qn_work_kind { QN_WORK_CONVERT, QN_WORK_CALIBRATE, QN_WORK_VALIDATE, QN_WORK_OTHER };

enum qn_part_state {
    QN_PART_MISSING, /* or waiting for its turn: the two cannot be told apart */
    QN_PART_INTERRUPTED,
    QN_PART_RUNNING,
    QN_PART_DONE,
    QN_PART_STALE,   /* of another job than the newest part, or of another source than is there
                        (convert's) */
    QN_PART_DAMAGED, /* none of qins's making, cut short, or its head is damaged */
    QN_PART_STATES,
};

/* A file that was found. */
struct qn_status_part {
    struct qn_shard shard; /* count 0: work of a run that is not cut */
    char *output;          /* the output's path; heap, as the next */
    char *path;
    char *source; /* as told to the run, or NULL where it is not known */
    enum qn_work_kind kind;
    enum qn_part_state state;
    bool work;     /* in progress, or was: a .part */
    bool has_job;  /* job is known, */
    bool counts;   /* and how many chunks, */
    bool finished; /* not a part: an archive, whole by its head and size */
    struct qn_digest job, source_digest;
    uint64_t bytes, chunks, chunks_done;
    struct timespec changed;
};

struct qn_status_files {
    struct qn_status_part *items; /* by output, then count, index, and work behind what is done */
    size_t n, capacity;
    size_t
        leftovers; /* temporary files of outputs that were never finished, or are being written */
    uint64_t leftover_bytes;
};

/* QINS_ERR_IO where DIR or a file of work in it cannot be read, QINS_ERR_UNSUPPORTED beyond
 * QN_STATUS_MOST files. *out is to be finished either way. Files that vanish meanwhile are passed
 * over. */
enum qins_status qn_status_scan(const char *dir, struct qn_status_files *out,
                                struct qins_error *err);
void qn_status_files_finish(struct qn_status_files *files);

#endif
