/* A virtual file driver for libhdf5 that writes one open descriptor. It tells where raw data
 * came to lie, and it keeps the first error to itself: libhdf5 1.10 that fails to flush a file
 * can neither close it nor leave the process cleanly, so after an error it is allowed to go on
 * and everything it writes is dropped. */
#ifndef QINS_FORMATS_ARCHIVE_HDF5_DRIVER_H
#define QINS_FORMATS_ARCHIVE_HDF5_DRIVER_H

#include <hdf5.h>
#include <stdint.h>

/* Alive as long as the file that uses it. */
struct qn_hdf5_channel {
    int fd;    /* open for reading and writing; belongs to the caller */
    int error; /* errno of the first failure; from then on nothing is written */
    /* The raw data written since the caller last set raw_size to 0: one run of bytes, from the
     * file's start; raw_gap is set if it was several. */
    uint64_t raw_offset, raw_size;
    int raw_gap;
};

/* Registers the driver and selects it in file access property list FAPL. Returns the driver's
 * id, to be given to H5FDunregister() after the file is closed, or a negative number. */
hid_t qn_hdf5_driver_select(hid_t fapl, struct qn_hdf5_channel *channel);

#endif
