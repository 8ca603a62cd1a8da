/* `qins status`: what stands in a folder of work that is done in parts. */
#ifndef QINS_CONVERT_STATUS_H
#define QINS_CONVERT_STATUS_H

#include "core/json.h"

enum {
    /* Seconds without a change after which work counts as interrupted where locks cannot tell. */
    QN_STATUS_HEARTBEAT = 120,
    QN_STATUS_MOST = 1 << 20, /* files of a folder that are looked at */
};

/* Looks at the files of DIR, not at those of folders in it: parts of convert, calibrate and
 * validate, work in progress, archives. Waits for no lock and reads of each file its head and its
 * last record alone, but the heads of all frames of work in progress and of parts of validate, and
 * the description in parts of calibrate: bytes that have changed elsewhere do not show. Memory
 * grows with the number of files, by some hundred bytes each, not with their sizes. *report (schema
 * qins/status/1) belongs to the caller; it is set on QINS_OK and on QINS_ERR_CHECK: something that
 * was begun is not complete. */
enum qins_status qn_status(const char *dir, json_t **report, struct qins_error *err);

#endif
