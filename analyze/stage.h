/* A folder beside the final place, where something is made until it is whole. */
#ifndef QINS_ANALYZE_STAGE_H
#define QINS_ANALYZE_STAGE_H

#include "core/error.h"

struct qn_stage {
    char *path; /* the folder's */
    int fd;     /* holds its lock while this process lives; -1 where there is no folder */
};

/* Makes DIR/NAME.tmp-XXXXXX, after removing those that a run of this user left that was killed:
 * they hold a file .qins-stage, and nobody has locked them. DIR must be there. *S is for
 * qn_stage_finish() either way. */
enum qins_status qn_stage_init(struct qn_stage *s, const char *dir, const char *name,
                               struct qins_error *err);
/* Removes the folder with all that is in it. */
void qn_stage_finish(struct qn_stage *s);

/* Where a program of others failed to do WHAT in the stage: QINS_ERR_IO if that was for want of
 * space, as good as anybody can tell. */
enum qins_status qn_stage_check_space(const struct qn_stage *s, const char *what,
                                      struct qins_error *err);

/* Moves file NAME of the stage, where there is one, to DIR, in place of one there. */
enum qins_status qn_stage_move(const struct qn_stage *s, const char *dir, const char *name,
                               struct qins_error *err);

#endif
