/* What all of qins' HDF5 files share: element types and names of datasets. */
#ifndef QINS_FORMATS_HDF5_COMMON_H
#define QINS_FORMATS_HDF5_COMMON_H

#include "core/tensor.h"
#include "formats/hdf5_error.h"

/* The file type of DTYPE, little-endian, an id to be closed with H5Tclose(); negative on failure.
 * Booleans are h5py's enumeration; BF16 and E5M2 are floats of our own description. HDF5 has no
 * float format without infinities, so F8_E4M3 has no type. */
hid_t qn_hdf5_type(enum qins_dtype dtype);

/* NAME as one component of a path, on the heap: '/' and '%', which a path gives a meaning, become
 * %2F and %25, and a lone ".", the group itself, %2E. */
char *qn_hdf5_encode_name(const char *name, struct qins_error *err);

#endif
