/* Errors of libhdf5 as ours. Include this before any other header that includes <hdf5.h>: it
 * selects the 1.10 API where the library is newer. */
#ifndef QINS_FORMATS_HDF5_ERROR_H
#define QINS_FORMATS_HDF5_ERROR_H

#define H5_USE_110_API
#include "core/error.h"

#include <hdf5.h>

/* Fills *err with WHAT and the innermost message of libhdf5's error stack. */
enum qins_status qn_hdf5_fail(struct qins_error *err, enum qins_status status, const char *what);

#endif
