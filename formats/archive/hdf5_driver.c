#include "formats/archive/hdf5_driver.h"

#include "core/error.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#if H5_VERSION_GE(1, 13, 0)
#include <H5FDdevelop.h>
#endif

struct driver_file {
    H5FD_t base; /* libhdf5's; must be first */
    struct qn_hdf5_channel *channel;
    haddr_t eoa, eof; /* end of what is allocated, end of what is written */
};

struct driver_info {
    struct qn_hdf5_channel *channel;
};

enum { DRIVER_NUMBER = 477 }; /* of 256 … 511, "for testing"; used by libhdf5 >= 1.13.2 only */

static struct driver_file *driver_file(const H5FD_t *base)
{
    return (struct driver_file *)(uintptr_t)base;
}

static H5FD_t *driver_open(const char *name, unsigned flags, hid_t fapl, haddr_t maxaddr)
{
    const struct driver_info *info = H5Pget_driver_info(fapl);
    struct driver_file *f = info ? calloc(1, sizeof *f) : NULL;
    (void)name;
    (void)flags;
    (void)maxaddr;
    if (!f) {
        if (info)
            info->channel->error = ENOMEM;
        return NULL;
    }
    f->channel = info->channel;
    return &f->base;
}

static herr_t driver_close(H5FD_t *base)
{
    free(driver_file(base));
    return 0;
}

/* Neither sieving nor aggregation of raw data: each raw write is one write here. */
static herr_t driver_query(const H5FD_t *base, unsigned long *flags)
{
    (void)base;
    *flags = H5FD_FEAT_AGGREGATE_METADATA | H5FD_FEAT_ACCUMULATE_METADATA;
    return 0;
}

static haddr_t driver_get_eoa(const H5FD_t *base, H5FD_mem_t type)
{
    (void)type;
    return driver_file(base)->eoa;
}

static herr_t driver_set_eoa(H5FD_t *base, H5FD_mem_t type, haddr_t address)
{
    (void)type;
    driver_file(base)->eoa = address;
    return 0;
}

static haddr_t driver_get_eof(const H5FD_t *base, H5FD_mem_t type)
{
    (void)type;
    return driver_file(base)->eof;
}

/* Bytes that were never written, or were dropped, read as zero. */
static herr_t driver_read(H5FD_t *base, H5FD_mem_t type, hid_t dxpl, haddr_t address, size_t size,
                          void *buffer)
{
    struct qn_hdf5_channel *c = driver_file(base)->channel;
    uint8_t *p = buffer;
    (void)type;
    (void)dxpl;
    while (size > 0) {
        ssize_t n = pread(c->fd, p, size, (off_t)address);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && c->error == 0)
            c->error = errno;
        if (n <= 0) {
            memset(p, 0, size);
            break;
        }
        p += n;
        address += (haddr_t)n;
        size -= (size_t)n;
    }
    return 0;
}

static void note_raw(struct qn_hdf5_channel *c, haddr_t address, size_t size)
{
    if (c->raw_size == 0)
        c->raw_offset = address;
    else if (c->raw_offset + c->raw_size != address)
        c->raw_gap = 1;
    c->raw_size += size;
}

static herr_t driver_write(H5FD_t *base, H5FD_mem_t type, hid_t dxpl, haddr_t address, size_t size,
                           const void *buffer)
{
    struct driver_file *f = driver_file(base);
    struct qn_hdf5_channel *c = f->channel;
    const uint8_t *p = buffer;
    (void)dxpl;
    if (type == H5FD_MEM_DRAW)
        note_raw(c, address, size);
    if (address + size > f->eof)
        f->eof = address + size;
    while (size > 0 && c->error == 0) {
        ssize_t n = pwrite(c->fd, p, size, (off_t)address);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            c->error = n < 0 ? errno : EIO;
            break;
        }
        p += n;
        address += (haddr_t)n;
        size -= (size_t)n;
    }
    return 0;
}

static herr_t driver_truncate(H5FD_t *base, hid_t dxpl, hbool_t closing)
{
    struct driver_file *f = driver_file(base);
    (void)dxpl;
    (void)closing;
    if (f->eof == f->eoa)
        return 0;
    if (f->channel->error == 0 && ftruncate(f->channel->fd, (off_t)f->eoa) != 0)
        f->channel->error = errno;
    f->eof = f->eoa;
    return 0;
}

static const H5FD_class_t driver_class = {
#ifdef H5FD_CLASS_VERSION
    .version = H5FD_CLASS_VERSION,
    .value = (H5FD_class_value_t)DRIVER_NUMBER,
#endif
    .name = "qins",
    .maxaddr = ((haddr_t)1 << 62) - 1,
    .fc_degree = H5F_CLOSE_STRONG,
    .fapl_size = sizeof(struct driver_info),
    .open = driver_open,
    .close = driver_close,
    .query = driver_query,
    .get_eoa = driver_get_eoa,
    .set_eoa = driver_set_eoa,
    .get_eof = driver_get_eof,
    .read = driver_read,
    .write = driver_write,
    .truncate = driver_truncate,
    .fl_map = H5FD_FLMAP_DICHOTOMY,
};

hid_t qn_hdf5_driver_select(hid_t fapl, struct qn_hdf5_channel *channel)
{
    struct driver_info info = {channel};
    hid_t driver = H5FDregister(&driver_class);
    if (driver >= 0 && H5Pset_driver(fapl, driver, &info) < 0) {
        H5FDunregister(driver);
        driver = H5I_INVALID_HID;
    }
    return driver;
}
