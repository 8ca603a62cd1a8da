/* What is taken from a file at most. The figures stand where they are used; a table of these beside
 * them lets qins --limits show them. */
#ifndef QINS_CORE_LIMIT_H
#define QINS_CORE_LIMIT_H

#include <stdint.h>

struct qn_limit {
    const char *area, *name; /* what kind of file, and what of it: AREA.NAME is unique */
    uint64_t value;
    const char *unit;
    const char *protects; /* what a larger one would cost */
};

/* Each table ends with an entry without a name. */
extern const struct qn_limit qn_json_limits[];
extern const struct qn_limit qn_tensor_limits[];

#endif
