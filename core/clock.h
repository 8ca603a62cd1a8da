#ifndef QINS_CORE_CLOCK_H
#define QINS_CORE_CLOCK_H

/* Seconds from a clock that never goes back. */
double qn_seconds(void);
/* Of processors that all threads of the process took: what other processes do to it hardly counts.
 */
double qn_cpu_seconds(void);

#endif
