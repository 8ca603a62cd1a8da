/* A text or a table of rows cut into windows, and the rows that a calibration keeps of them. */
#ifndef QINS_CONVERT_WINDOWS_H
#define QINS_CONVERT_WINDOWS_H

#include "formats/calibration.h"

struct qn_window {
    uint64_t first; /* token or row */
    uint32_t n;     /* >= 1 */
    uint64_t hash;  /* of seed and contents */
};

struct qn_windows {
    struct qn_window *items;
    size_t n;
    struct qn_kept_row *kept; /* by priority */
    uint32_t n_kept;
    size_t *kept_window; /* [n_kept]: its window's number */
    uint32_t *order;     /* [n_kept]: numbers of kept rows by window and position */
    size_t *first;       /* [n + 1]: those of window w are order[first[w]] … */
};

/* What is cut. */
struct qn_window_source {
    const uint32_t *ids; /* tokens, or NULL: rows captured elsewhere */
    const size_t *begin; /* [n_parts + 1]: no window crosses from one part into the next */
    size_t n_parts;
    struct qn_digest digest; /* of the rows, where there are no ids */
};

/* Windows of O->context; the last of a part is what is left over. Keeps the O->keep_rows rows of
 * lowest priority, a hash of O->seed, the window's contents and the position, so that the rows
 * kept of two texts together are among those kept of each. */
enum qins_status qn_windows_init(struct qn_windows *w, const struct qn_window_source *source,
                                 const struct qn_calibration_options *o, struct qins_error *err);
/* Leaves windows [BEGIN, END) and the rows kept of them: of the rows kept of all windows, so that
 * those of the pieces of a text together are those of the text. */
void qn_windows_restrict(struct qn_windows *w, size_t begin, size_t end);
void qn_windows_finish(struct qn_windows *w); /* a zeroed one is accepted */

/* Orders by priority, then by window and position. */
int qn_kept_compare(const struct qn_kept_row *a, const struct qn_kept_row *b);

#endif
