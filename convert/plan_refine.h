#ifndef QINS_CONVERT_PLAN_REFINE_H
#define QINS_CONVERT_PLAN_REFINE_H

#include "convert/plan_work.h"

/* Where there are at most QN_FEW_ITEMS items, to be rounded to nearest: adds to each the codings
 * next to the chosen one, so many steps AN_OCTAVE. Choices are to be made again. */
enum qins_status qn_plan_refine(struct qn_plan_work *w, const enum qn_rounding *roundings,
                                unsigned an_octave, struct qins_error *err);

#endif
