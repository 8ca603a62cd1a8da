/* What this program is made of and can do here, for `qins --version`. */
#ifndef QINS_CONVERT_FEATURES_H
#define QINS_CONVERT_FEATURES_H

#include "core/json.h"

/* docs/schemas/version.schema.json. Loads OpenBLAS, where it is installed (qn_linalg_init()). NULL
 * without memory. */
json_t *qn_features(void);

#endif
