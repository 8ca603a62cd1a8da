/* Reading ZIP archives that nobody vouches for (torch and npz files), over libzip.
 *
 * Refused: encrypted entries, methods other than store and deflate, two entries of one name,
 * entries that overlap in the file, and compressed entries that claim to unpack to more than
 * qn_zip_limit() together.
 *
 * A stored entry is read in place by pread. A compressed one is unpacked once, when first read,
 * into an unlinked temporary file. Either way the CRC-32 of the whole entry is checked once, when
 * qn_zip_read() first comes to it; a stored entry's field of 0 means that the writer left it out
 * (docs/formats.md). */
#ifndef QINS_FORMATS_ZIP_H
#define QINS_FORMATS_ZIP_H

#include "core/buf.h"

struct qn_zip;

/* *out belongs to the caller. Errors name the file. */
enum qins_status qn_zip_open(struct qn_zip **out, const char *path, struct qins_error *err);
void qn_zip_close(struct qn_zip *z); /* accepts NULL */

/* True for the signature of a ZIP file's first entry. */
bool qn_zip_has_magic(const uint8_t *head, size_t head_size);

/* What qins allows data of this archive to unfold to: max(1 GiB, 200 times the file), bytes. */
uint64_t qn_zip_limit(const struct qn_zip *z);

size_t qn_zip_count(const struct qn_zip *z);
/* Bytes as they stand in the file, NUL-terminated; alive until close. In the file's order. */
const char *qn_zip_name(const struct qn_zip *z, size_t entry);
uint64_t qn_zip_size(const struct qn_zip *z, size_t entry);        /* unpacked, bytes */
uint64_t qn_zip_packed_size(const struct qn_zip *z, size_t entry); /* bytes in the file */
uint64_t qn_zip_file_size(const struct qn_zip *z);
/* SIZE_MAX if there is no such entry. */
size_t qn_zip_find(const struct qn_zip *z, const char *name);

/* The first LIMIT bytes of an entry, or all if it is shorter, appended to *out without unpacking
 * more than that; the CRC-32 is checked if it is all. Thread-safe. */
enum qins_status qn_zip_head(struct qn_zip *z, size_t entry, size_t limit, struct qn_buf *out,
                             struct qins_error *err);

/* SIZE unpacked bytes of an entry from OFFSET on. Thread-safe. */
enum qins_status qn_zip_read(struct qn_zip *z, size_t entry, uint64_t offset, void *dst,
                             size_t size, struct qins_error *err);

#endif
