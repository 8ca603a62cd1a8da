/* libh5qins.so: lets any HDF5 program read the tensors of an archive. It calls nothing of
 * libhdf5, so that it works with whatever copy the program brings. */
#include "formats/archive/filter.h"

#include <H5PLextern.h>

#define EXPORT __attribute__((visibility("default")))

static const H5Z_class2_t filter_class = {
    .version = H5Z_CLASS_T_VERS,
    .id = QN_FILTER_ID,
    .encoder_present = 0,
    .decoder_present = 1,
    .name = QN_FILTER_NAME,
    .filter = qn_filter,
};

_Static_assert(QN_FILTER_READING == H5Z_FLAG_REVERSE, "direction flag");

EXPORT H5PL_type_t H5PLget_plugin_type(void)
{
    return H5PL_TYPE_FILTER;
}

EXPORT const void *H5PLget_plugin_info(void)
{
    return &filter_class;
}
