/* Transports inside archives: docs/archive-format.md, "Transport". */
#ifndef QINS_FORMATS_TRANSPORT_ARCHIVE_H
#define QINS_FORMATS_TRANSPORT_ARCHIVE_H

#include "formats/archive/reader.h"
#include "formats/transport.h"

/* The number of the layer whose planes are the tensor NAME of an archive, or SIZE_MAX: it is
 * another array, or none. */
size_t qn_transport_planes_of(const struct qn_transport *t, const char *name);

/* Makes of *CK a checkpoint that has the transport's arrays as float32 tensors behind its own, its
 * description (without the study) as an attachment, and FILE among its files. On success it owns
 * what *CK was, and *T has to outlive it; on failure all is as it was. QINS_ERR_FORMAT where *T is
 * not sound or one of its layers' tensors is not in *CK. */
enum qins_status qn_transport_carry(struct qn_checkpoint **ck, struct qn_transport *t,
                                    const char *file, struct qins_error *err);

/* Whether the archive has any part of a transport. */
bool qn_archive_has_transport(const struct qn_archive *a);
/* Reads it: *T is the caller's, to be finished in any case, and was checked. QINS_ERR_FORMAT where
 * tensors and description do not fit each other. What an archive's description can make this
 * allocate is bounded by the tensors, and these by their chunks. */
enum qins_status qn_transport_from_archive(struct qn_transport *t, const struct qn_archive *a,
                                           struct qins_error *err);

#endif
