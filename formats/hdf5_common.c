#include "formats/hdf5_common.h"

#include <stdlib.h>
#include <string.h>

static hid_t small_float(size_t size, size_t sign, size_t exponent_bits, size_t mantissa_bits,
                         size_t bias)
{
    hid_t type = H5Tcopy(H5T_IEEE_F32LE);
    if (type >= 0 &&
        (H5Tset_fields(type, sign, mantissa_bits, exponent_bits, 0, mantissa_bits) < 0 ||
         H5Tset_size(type, size) < 0 || H5Tset_ebias(type, bias) < 0)) {
        H5Tclose(type);
        type = H5I_INVALID_HID;
    }
    return type;
}

/* As h5py writes numpy.bool_. */
static hid_t boolean(void)
{
    static const int8_t no = 0, yes = 1;
    hid_t type = H5Tenum_create(H5T_STD_I8LE);
    if (type >= 0 &&
        (H5Tenum_insert(type, "FALSE", &no) < 0 || H5Tenum_insert(type, "TRUE", &yes) < 0)) {
        H5Tclose(type);
        type = H5I_INVALID_HID;
    }
    return type;
}

hid_t qn_hdf5_type(enum qins_dtype dtype)
{
    switch (dtype) {
    case QINS_F64:
        return H5Tcopy(H5T_IEEE_F64LE);
    case QINS_F32:
        return H5Tcopy(H5T_IEEE_F32LE);
    case QINS_F16:
        return small_float(2, 15, 5, 10, 15);
    case QINS_BF16:
        return small_float(2, 15, 8, 7, 127);
    case QINS_F8_E5M2:
        return small_float(1, 7, 5, 2, 15);
    case QINS_I64:
        return H5Tcopy(H5T_STD_I64LE);
    case QINS_I32:
        return H5Tcopy(H5T_STD_I32LE);
    case QINS_I16:
        return H5Tcopy(H5T_STD_I16LE);
    case QINS_I8:
        return H5Tcopy(H5T_STD_I8LE);
    case QINS_U64:
        return H5Tcopy(H5T_STD_U64LE);
    case QINS_U32:
        return H5Tcopy(H5T_STD_U32LE);
    case QINS_U16:
        return H5Tcopy(H5T_STD_U16LE);
    case QINS_U8:
        return H5Tcopy(H5T_STD_U8LE);
    case QINS_BOOL:
        return boolean();
    default:
        return H5I_INVALID_HID;
    }
}

char *qn_hdf5_encode_name(const char *name, struct qins_error *err)
{
    static const char digits[] = "0123456789ABCDEF";
    bool itself = strcmp(name, ".") == 0;
    char *encoded = malloc(3 * strlen(name) + 1), *p = encoded;
    if (!encoded) {
        qn_fail_memory(err);
        return NULL;
    }
    for (const char *q = name; *q; q++) {
        if (*q != '/' && *q != '%' && !itself) {
            *p++ = *q;
            continue;
        }
        *p++ = '%';
        *p++ = digits[(unsigned char)*q >> 4];
        *p++ = digits[(unsigned char)*q & 15];
    }
    *p = '\0';
    return encoded;
}
