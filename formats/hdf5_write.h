/* The parts of the HDF5 writer that know paths and attributes. */
#ifndef QINS_FORMATS_HDF5_WRITE_H
#define QINS_FORMATS_HDF5_WRITE_H

#include "formats/hdf5_error.h"

#include "core/json.h"
#include "formats/checkpoint.h"

/* The path at which tensor NAME is stored, on the heap: what PATHS ("hdf5.paths", may be NULL)
 * says, else NAME in the root group with '/' and '%' as %2F and %25. */
char *qn_hdf5_path_for(const json_t *paths, const char *name, struct qins_error *err);

/* True for "/a/b": absolute, UTF-8, no empty component, none that is ".", at most 64 deep. */
bool qn_hdf5_is_path(const char *path);

/* Makes the groups and text attributes that the attachments "hdf5.attributes" and "keras.*"
 * describe. CREATION is a link creation list that makes missing groups. */
enum qins_status qn_hdf5_write_attributes(hid_t file, hid_t creation,
                                          const struct qn_attachment_list *attachments,
                                          struct qins_error *err);

/* The attachment NAME as JSON object into *out; NULL there if there is none. */
enum qins_status qn_hdf5_load_json(const struct qn_attachment_list *attachments, const char *name,
                                   json_t **out, struct qins_error *err);

#endif
