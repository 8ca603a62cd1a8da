"""HDF5 files for the tests, written by h5py, and descriptions of what numpy sees in them.

`make DIR` writes the files, `describe FILE OUT` describes a file by h5py and numpy alone. A
description has a line for each tensor, in the order of link names: crc32 of the canonical bytes
(little-endian, row-major), dtype, shape, name.
"""
import os
import sys
import zlib

import h5py
import numpy as np
from h5py import h5d, h5f, h5p, h5s, h5t

NAMES = {"f8": "F64", "f4": "F32", "f2": "F16", "i8": "I64", "i4": "I32", "i2": "I16", "i1": "I8",
         "u8": "U64", "u4": "U32", "u2": "U16", "u1": "U8", "b1": "BOOL"}


def small_float(size, exponent_bits, mantissa_bits, bias):
    """A float type that HDF5 has no name for."""
    t = (h5t.IEEE_F64LE if size == 8 else h5t.IEEE_F32LE).copy()
    t.set_fields(size * 8 - 1, mantissa_bits, exponent_bits, 0, mantissa_bits)
    t.set_size(size)
    t.set_ebias(bias)
    return t


BF16 = small_float(2, 8, 7, 127)
E5M2 = small_float(1, 5, 2, 15)
ODD16 = small_float(2, 6, 9, 31)   # 1-6-9: every value fits F32
ODD64 = small_float(8, 11, 52, 1022)  # a bias that no IEEE format has


def write_raw(group, name, type_id, raw):
    """Bytes RAW (an array) as elements of TYPE_ID, unconverted."""
    space = h5s.create_simple(raw.shape)
    h5d.create(group.id, name.encode(), type_id, space).write(h5s.ALL, h5s.ALL, raw, type_id)


def line(name, dtype, shape, data):
    text = "x".join(map(str, shape)) or "scalar"
    return f"{zlib.crc32(data):08x} {dtype} {text} {name}\n"


def same_float(t, fields, bias):
    return t.get_fields() == fields and t.get_ebias() == bias


def describe_dataset(name, d):
    """None for what is no tensor."""
    t = d.id.get_type()
    if isinstance(t, h5t.TypeFloatID) and t.get_size() <= 2 and not same_float(
            t, (15, 10, 5, 0, 10), 15):
        raw = np.empty(d.shape, f"<u{t.get_size()}")
        dtype = {2: "BF16", 1: "F8_E5M2"}[t.get_size()] \
            if t.get_ebias() in (127, 15) else None
        if dtype:
            d.id.read(h5s.ALL, h5s.ALL, raw, t)
            return line(name, dtype, d.shape, raw.tobytes())
    if d.shape is None or d.dtype.kind not in "fiub":
        return None
    a = np.asarray(d[()])
    a = a.astype(a.dtype.newbyteorder("<"))
    return line(name, NAMES[a.dtype.str[1:]], a.shape, np.ascontiguousarray(a).tobytes())


def describe(path, out):
    lines = []

    def visit(group, prefix):
        for name in sorted(group, key=str.encode):
            item = group[name]
            full = f"{prefix}.{name}" if prefix else name
            if isinstance(item, h5py.Group):
                visit(item, full)
            elif isinstance(item, h5py.Dataset):
                lines.append(describe_dataset(full, item))

    with h5py.File(path, "r") as f:
        visit(f, "")
    with open(out, "w", encoding="utf-8") as f:
        f.write("".join(filter(None, lines)))


def random_array(rng, dtype, shape):
    dt = np.dtype(dtype)
    raw = rng.integers(0, 256, int(np.prod(shape, dtype=int)) * dt.itemsize, dtype="u1")
    return raw.view(dt).reshape(shape) if dt.kind != "b" else (raw[:int(np.prod(shape))] & 1
                                                               ).astype("?").reshape(shape)


def fill(f, rng):
    """Every element type and layout; random bits, so NaN payloads too."""
    types = f.create_group("types")
    for code in ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8"):
        for order in "<>":
            types[f"{code}{'le' if order == '<' else 'be'}"] = random_array(
                rng, order + code, (3, 5))
    types["bool"] = random_array(rng, "?", (4, 3))
    types.create_dataset("enum", data=rng.integers(0, 3, (6,)).astype("i2"),
                         dtype=h5py.enum_dtype({"A": 0, "B": 1, "C": 2}, basetype="i2"))
    write_raw(types, "bits", h5t.STD_B16BE, random_array(rng, ">u2", (3,)))
    write_raw(types, "bf16", BF16, random_array(rng, "<u2", (4, 6)))
    write_raw(types, "e5m2", E5M2, random_array(rng, "u1", (9,)))

    layouts = f.create_group("layouts")
    plist = h5p.create(h5p.DATASET_CREATE)
    plist.set_layout(h5d.COMPACT)
    compact = h5d.create(layouts.id, b"compact", h5t.IEEE_F32BE, h5s.create_simple((2, 2)), plist)
    compact.write(h5s.ALL, h5s.ALL, np.arange(4, dtype="<f4").reshape(2, 2))
    data = random_array(rng, "<f4", (37, 5, 11))
    layouts.create_dataset("chunked", data=data, chunks=(8, 2, 4))
    layouts.create_dataset("gzip", data=data, chunks=(8, 2, 4), compression="gzip", shuffle=True,
                           fletcher32=True)
    layouts.create_dataset("gzip_be", data=data.astype(">f4"), chunks=(1, 5, 11),
                           compression="gzip")
    layouts.create_dataset("unwritten", (6, 7), "<f4", fillvalue=2.5)
    layouts.create_dataset("sparse", (64, 64), "<i2", chunks=(8, 8), fillvalue=-3)[9:20, 30:33] = 7
    layouts.create_dataset("resizable", data=data[:3], chunks=(2, 2, 2), maxshape=(None, None, 11))

    shapes = f.create_group("shapes")
    shapes["scalar"] = np.float32(1.5)
    shapes["empty"] = np.zeros((3, 0, 2), "f4")
    shapes["rank6"] = random_array(rng, "<i2", (2, 3, 2, 2, 3, 2))
    f["größe/層.0"] = np.arange(5, dtype="i4")
    f["50%"] = np.arange(3, dtype="f4")
    f.create_group("no/weights/here")


def fill_odd(f):
    """What is no tensor, each once."""
    f["text"] = "hello"
    f["texts"] = np.array([b"ab", b"c"])
    f.create_dataset("vlen", (2,), h5py.vlen_dtype("f4"))
    f["compound"] = np.zeros(2, [("r", "f8"), ("i", "f8")])
    f["opaque"] = np.zeros(2, "V5")
    f.create_dataset("reference", (1,), h5py.ref_dtype)
    f.create_dataset("array", (2,), np.dtype(("f4", (3,))))
    f["null"] = h5py.Empty("f4")
    f["type"] = np.dtype("f4")
    f["kept"] = np.arange(3, dtype="f4")
    f.attrs["number"] = 3


def fill_keras(f):
    f.attrs["model_config"] = '{"class_name": "Model"}'
    f.attrs["keras_version"] = b"2.0"
    weights = f.create_group("model_weights")
    weights.attrs["layer_names"] = [b"conv", b"activation"]
    weights.create_group("activation").attrs["weight_names"] = []
    conv = weights.create_group("conv")
    conv.attrs["weight_names"] = [b"conv/kernel:0", b"conv/bias:0"]
    conv["conv/kernel:0"] = np.arange(24, dtype="f4").reshape(2, 3, 4)
    conv["conv/bias:0"] = np.arange(4, dtype="f4")


def make_refused(path):
    def file(name):
        return h5py.File(os.path.join(path, name + ".h5"), "w")

    with file("soft") as f:
        f["a"] = np.zeros(2)
        f["b"] = h5py.SoftLink("/a")
    with file("external_link") as f:
        f["g/b"] = h5py.ExternalLink("all.h5", "/types")
    with file("external_storage") as f:
        f.create_dataset("a", (4,), "f4", external=[("/etc/passwd", 0, 16)])
    with file("virtual") as f:
        layout = h5py.VirtualLayout((4,), "f4")
        layout[:] = h5py.VirtualSource("all.h5", "shapes/x", (4,))
        f.create_virtual_dataset("v", layout)
    with file("deep") as f:
        f["/".join("g" * 70)] = np.zeros(2)
    with file("collide") as f:
        f["a/b"] = np.zeros(2)
        f["a.b"] = np.ones(2)
    with file("huge") as f:
        f.create_dataset("a", (1 << 30, 1 << 28), "f4")
    with file("bomb") as f:
        f.create_dataset("a", (1 << 20, 1 << 20), "f4", chunks=(1024, 1024), compression="gzip")
    with file("big_chunk") as f:
        f.create_dataset("a", (1 << 28,), "f4", chunks=(1 << 27,))
    with file("float128") as f:
        f["a"] = np.zeros(2, "g")
    with file("lzf") as f:  # a filter that h5py has and libhdf5 has not
        f["a"] = np.arange(3, dtype="f4")
        f.create_dataset("b", data=np.zeros((8, 8), "f4"), chunks=(4, 4), compression="lzf")
    with file("odd_bias") as f:
        write_raw(f, "a", ODD64, np.zeros(2, "<u8"))


def make_odd_numbers(path):
    """Numbers that libhdf5 has to convert; what numpy expects is written beside."""
    rng = np.random.default_rng(5)
    lines = []
    with h5py.File(path, "w") as f:
        t = h5t.STD_I16LE.copy()
        t.set_precision(12)
        raw = rng.integers(0, 4096, 50).astype("<u2")
        write_raw(f, "i12", t, raw)
        signed = ((raw.astype("i4") ^ 0x800) - 0x800).astype("<i2")
        lines.append(line("i12", "I16", (50,), signed.tobytes()))
        every = np.arange(65536, dtype="<u4")
        sign, exponent, mantissa = every >> 15, every >> 9 & 63, every & 511
        good = exponent < 63  # infinities and NaN apart
        value = np.where(exponent == 0, np.ldexp(mantissa / 512.0, -30),
                         np.ldexp(1 + mantissa / 512.0, exponent.astype("i4") - 31))
        value = np.where(sign == 1, -value, value).astype("<f4")[good]
        write_raw(f, "odd16", ODD16, every[good].astype("<u2"))
        lines.append(line("odd16", "F32", value.shape, value.tobytes()))
    with open(path + ".expect", "w", encoding="utf-8") as f:
        f.write("".join(lines))


def make(path):
    rng = np.random.default_rng(1)
    for name, options in (("all", {}), ("latest", {"libver": "latest"}),
                          ("behind_block", {"userblock_size": 2048})):
        with h5py.File(os.path.join(path, name + ".h5"), "w", **options) as f:
            fill(f, rng)
    with h5py.File(os.path.join(path, "odd.h5"), "w") as f:
        fill_odd(f)
    with h5py.File(os.path.join(path, "keras.h5"), "w") as f:
        fill_keras(f)
    with h5py.File(os.path.join(path, "cycle.h5"), "w") as f:
        f["g/x"] = np.arange(3, dtype="f4")
        f["g/up"] = f["/"]
        f["g/self"] = f["g"]
    with h5py.File(os.path.join(path, "twice.h5"), "w") as f:
        f["a"] = np.arange(3, dtype="f4")
        f["b"] = f["a"]
    with h5py.File(os.path.join(path, "wide.h5"), "w") as f:
        f.create_dataset("w", data=rng.standard_normal((1500, 1050), dtype="f4"),
                         chunks=(64, 64), compression="gzip", compression_opts=1)
    for name in ("all", "latest", "behind_block", "odd", "keras", "twice", "wide"):
        file = os.path.join(path, name + ".h5")
        describe(file, file + ".expect")
    make_odd_numbers(os.path.join(path, "converted.h5"))
    make_refused(path)


def attributes(path):
    """Text attributes of every object: (path, name) -> text or list of texts."""
    found = {}

    def text(value):
        return value.decode() if isinstance(value, bytes) else str(value)

    def visit(name, item):
        for key, value in item.attrs.items():
            found["/" + name, key] = text(value) if np.isscalar(value) else list(map(text, value))

    with h5py.File(path, "r") as f:
        visit("", f)
        f.visititems(visit)
    return found


def same_attributes(a, b):
    assert attributes(a) == attributes(b), (attributes(a), attributes(b))


def strange_names(path):
    with h5py.File(path, "r") as f:
        assert set(f) == {"a%2Fb", "a%252Fb", "%2E", "..", "\u00fc.x"}, set(f)
        assert f["a%252Fb"].dtype == np.dtype("f2") and list(f["a%252Fb"]) == [448, 2 ** -9]
        assert list(f["a%2Fb"]) == [0x7e, 1]


if __name__ == "__main__":
    {"make": make, "describe": describe, "same_attributes": same_attributes,
     "strange_names": strange_names}[sys.argv[1]](*sys.argv[2:])
