/* The HDF5 filter of chunk payloads, decode only, without any libhdf5 call: libh5qins.so and
 * qins itself share it. */
#ifndef QINS_FORMATS_ARCHIVE_FILTER_H
#define QINS_FORMATS_ARCHIVE_FILTER_H

#include <stddef.h>

/* In the range 256 … 511 that HDF5 leaves for testing; to be registered with The HDF Group. */
#define QN_FILTER_ID   477
#define QN_FILTER_NAME "qins"

/* Client data of the filter, in this order. */
enum {
    QN_FILTER_VERSION,        /* QN_ARCHIVE_VERSION */
    QN_FILTER_ELEMENT_SIZE,   /* bytes of the dataset's (the view) type */
    QN_FILTER_CHUNK_ELEMENTS, /* elements of a whole HDF5 chunk, at most QN_CHUNK_MAX */
    QN_FILTER_VALUES,         /* how many there are */
};

/* The direction of a call, H5Z_FLAG_REVERSE. */
#define QN_FILTER_READING 0x0100u

/* An H5Z_func_t. *BUF comes from malloc() and is replaced by one of QN_FILTER_CHUNK_ELEMENTS
 * elements, zero behind those of the payload; returns their size in bytes. Returns 0 and leaves
 * everything as it was on any failure, and always when asked to encode. */
size_t qn_filter(unsigned flags, size_t n_values, const unsigned values[], size_t size,
                 size_t *buf_size, void **buf);

#endif
