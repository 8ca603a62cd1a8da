#ifndef QINS_CORE_CLOCK_H
#define QINS_CORE_CLOCK_H

/* Seconds from a clock that never goes back. */
double qn_seconds(void);

#endif
