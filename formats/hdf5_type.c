#include "formats/hdf5_serve.h"

#include <stdio.h>
#include <string.h>

struct float_fields {
    size_t size, sign, exponent, exponent_bits, mantissa, mantissa_bits, bias;
};

/* The formats that are carried bit by bit (IEEE 754, bfloat16, OCP E5M2). E4M3 is none of them:
 * HDF5 has no way to say that a format lacks infinities. */
static const struct {
    enum qins_dtype dtype;
    struct float_fields fields;
} exact_floats[] = {
    {QINS_F64, {8, 63, 52, 11, 0, 52, 1023}}, {QINS_F32, {4, 31, 23, 8, 0, 23, 127}},
    {QINS_F16, {2, 15, 10, 5, 0, 10, 15}},    {QINS_BF16, {2, 15, 7, 8, 0, 7, 127}},
    {QINS_F8_E5M2, {1, 7, 2, 5, 0, 2, 15}},
};

static bool same_fields(const struct float_fields *a, const struct float_fields *b)
{
    return memcmp(a, b, sizeof *a) == 0;
}

static void set_foreign(struct qn_hdf5_type *out, const char *kind, size_t bits)
{
    snprintf(out->foreign, sizeof out->foreign, "%s%zu", kind, bits);
}

/* False for VAX and mixed orders. */
static bool byte_order(hid_t type, bool *swap)
{
    H5T_order_t order = H5Tget_order(type);
    *swap = order == H5T_ORDER_BE;
    return order == H5T_ORDER_LE || order == H5T_ORDER_BE;
}

/* Every value of a format with an implied leading one, no more bits in each field, and the usual
 * bias, is a value of the wider format too, subnormals included. */
static bool fits(const struct float_fields *f, size_t exponent_bits, size_t mantissa_bits)
{
    return f->exponent_bits >= 2 && f->exponent_bits <= exponent_bits &&
           f->mantissa_bits <= mantissa_bits &&
           f->bias == ((size_t)1 << (f->exponent_bits - 1)) - 1;
}

static void classify_float(hid_t type, struct qn_hdf5_type *out)
{
    struct float_fields f = {.size = H5Tget_size(type), .bias = H5Tget_ebias(type)};
    bool plain = H5Tget_fields(type, &f.sign, &f.exponent, &f.exponent_bits, &f.mantissa,
                               &f.mantissa_bits) >= 0 &&
                 H5Tget_norm(type) == H5T_NORM_IMPLIED && byte_order(type, &out->swap);
    size_t precision = H5Tget_precision(type);
    for (size_t i = 0; plain && i < sizeof exact_floats / sizeof *exact_floats; i++)
        if (same_fields(&f, &exact_floats[i].fields) && precision == f.size * 8) {
            out->dtype = exact_floats[i].dtype;
            return;
        }
    out->swap = false;
    plain = plain && f.size <= sizeof(double);
    if (plain && fits(&f, 8, 23)) {
        out->dtype = QINS_F32;
        out->convert_to = H5T_IEEE_F32LE;
    } else if (plain && fits(&f, 11, 52)) {
        out->dtype = QINS_F64;
        out->convert_to = H5T_IEEE_F64LE;
    } else {
        set_foreign(out, "HDF5 float", precision);
    }
}

/* The id of a predefined type is a variable of libhdf5's, so this is no static table. */
static hid_t standard_integer(size_t size, bool is_signed)
{
    switch (size) {
    case 1:
        return is_signed ? H5T_STD_I8LE : H5T_STD_U8LE;
    case 2:
        return is_signed ? H5T_STD_I16LE : H5T_STD_U16LE;
    case 4:
        return is_signed ? H5T_STD_I32LE : H5T_STD_U32LE;
    default:
        return is_signed ? H5T_STD_I64LE : H5T_STD_U64LE;
    }
}

/* Integers with unused bits are widened to whole bytes: 12 bits in 2 bytes become I16. */
static void classify_integer(hid_t type, struct qn_hdf5_type *out)
{
    static const enum qins_dtype types[2][4] = {{QINS_U8, QINS_U16, QINS_U32, QINS_U64},
                                                {QINS_I8, QINS_I16, QINS_I32, QINS_I64}};
    size_t size = H5Tget_size(type), precision = H5Tget_precision(type), wide = 1;
    bool is_signed = H5Tget_sign(type) == H5T_SGN_2;
    unsigned log = 0;
    while (wide < size && wide < 8) {
        wide *= 2;
        log++;
    }
    if (size == 0 || size > 8 || precision > 64 || !byte_order(type, &out->swap)) {
        set_foreign(out, is_signed ? "HDF5 int" : "HDF5 uint", precision);
        return;
    }
    out->dtype = types[is_signed][log];
    if (size != wide || precision != size * 8) {
        out->swap = false;
        out->convert_to = standard_integer(wide, is_signed);
    }
}

/* As h5py does, whole bytes of bits are taken for an unsigned integer; PyTables has booleans so. */
static void classify_bits(hid_t type, struct qn_hdf5_type *out)
{
    classify_integer(type, out);
    if (out->convert_to < 0 && out->dtype != QINS_DTYPE_INVALID)
        return;
    *out = (struct qn_hdf5_type){.convert_to = H5I_INVALID_HID, .refusal = "bit fields"};
}

static bool has_member(hid_t type, unsigned index, const char *name, int8_t value)
{
    int8_t v = -1;
    char *member = H5Tget_member_name(type, index);
    bool same = member && strcmp(member, name) == 0 && H5Tget_member_value(type, index, &v) >= 0 &&
                v == value;
    H5free_memory(member);
    return same;
}

/* h5py's boolean; other enumerations are carried as their integers. */
static void classify_enum(hid_t type, struct qn_hdf5_type *out)
{
    hid_t base = H5Tget_super(type);
    if (base >= 0 && H5Tget_class(base) == H5T_INTEGER)
        classify_integer(base, out);
    else
        out->refusal = "an enumeration";
    if (H5Tget_size(type) == 1 && H5Tget_nmembers(type) == 2 && has_member(type, 0, "FALSE", 0) &&
        has_member(type, 1, "TRUE", 1))
        out->dtype = QINS_BOOL;
    if (out->convert_to >= 0) {
        out->dtype = QINS_DTYPE_INVALID;
        out->refusal = "an enumeration over an integer with unused bits";
    }
    if (base >= 0)
        H5Tclose(base);
}

void qn_hdf5_classify(hid_t type, struct qn_hdf5_type *out)
{
    *out = (struct qn_hdf5_type){.dtype = QINS_DTYPE_INVALID, .convert_to = H5I_INVALID_HID};
    switch (H5Tget_class(type)) {
    case H5T_INTEGER:
        classify_integer(type, out);
        break;
    case H5T_FLOAT:
        classify_float(type, out);
        break;
    case H5T_ENUM:
        classify_enum(type, out);
        break;
    case H5T_STRING:
        out->refusal = "text";
        break;
    case H5T_COMPOUND:
        out->refusal = "a compound type";
        break;
    case H5T_VLEN:
        out->refusal = "sequences of variable length";
        break;
    case H5T_ARRAY:
        out->refusal = "an array type";
        break;
    case H5T_REFERENCE:
        out->refusal = "references";
        break;
    case H5T_OPAQUE:
        out->refusal = "opaque bytes";
        break;
    case H5T_BITFIELD:
        classify_bits(type, out);
        break;
    default:
        out->refusal = "a type that is no number";
        break;
    }
}
