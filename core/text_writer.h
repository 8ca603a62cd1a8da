/* A text made by stdio's functions in memory. Not open_memstream(): where that lacks memory it
 * drops what was to be written, and neither ferror() nor fclose() tells. */
#ifndef QINS_CORE_TEXT_WRITER_H
#define QINS_CORE_TEXT_WRITER_H

#include "core/buf.h"

#include <stdio.h>

struct qn_text_writer {
    FILE *to; /* for fprintf() and the like; between _init() and _finish() only */
    struct qn_buf text;
    /* Of what was written so far. Who cannot make what is to be written sets both: then there is
     * no text in the end. */
    enum qins_status status;
    struct qins_error error;
};

/* *W must stay where it is. After a failure to is NULL and qn_text_writer_finish() harmless. */
enum qins_status qn_text_writer_init(struct qn_text_writer *w, struct qins_error *err);
/* The text, ended by NUL, on the heap; NULL, and *ERR says why, where any of it was lost. *SIZE,
 * which may be NULL: its bytes without the NUL. */
char *qn_text_writer_finish(struct qn_text_writer *w, size_t *size, struct qins_error *err);

#endif
