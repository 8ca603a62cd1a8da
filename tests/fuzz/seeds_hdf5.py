"""Seeds of the targets hdf5 (small files by h5py) and hdf5_protocol (conversations by hand)."""
import pathlib
import struct
import sys

import h5py
import numpy as np

ROOT = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent / "corpus")


def files(folder):
    folder.mkdir(parents=True, exist_ok=True)
    with h5py.File(folder / "plain.h5", "w") as f:
        f["a/b"] = np.arange(3, dtype="f4")
        f.attrs["model_config"] = np.bytes_(b"{}")
    with h5py.File(folder / "latest.h5", "w", libver="latest") as f:
        f.create_dataset("c", data=np.arange(64, dtype=">f8"), chunks=(16,), compression="gzip",
                         shuffle=True, fletcher32=True)
        f["t"] = np.array([True, False])
    with h5py.File(folder / "cycle.h5", "w", libver="latest") as f:
        f["g/up"] = f["/"]
        f["g/soft"] = np.zeros(2, "f2")
        f["g"].attrs["names"] = np.array([b"a", b"bc"])
    with h5py.File(folder / "odd.h5", "w", libver="latest") as f:
        f["s"] = np.bytes_(b"text")
        f["v"] = np.zeros(2, [("r", "f4"), ("i", "f4")])
        f["n"] = h5py.Empty("f4")
    with h5py.File(folder / "external.h5", "w", libver="latest") as f:
        f["e"] = h5py.ExternalLink("other.h5", "/x")


def changed(base, **fields):
    """A copy of a type with other fields."""
    t = base.copy()
    for name, value in fields.items():
        getattr(t, "set_" + name)(*value if isinstance(value, tuple) else (value,))
    return t


def types(folder):
    """A dataset of each type that qins tells from others, by the low-level interface."""
    h5t = h5py.h5t
    f32, i16, i64 = h5t.IEEE_F32LE, h5t.STD_I16LE, h5t.STD_I64LE
    wide = changed(i64, size=16)
    enum, boolean = h5t.enum_create(h5t.STD_I8LE), h5t.enum_create(h5t.STD_I8LE)
    enum.enum_insert(b"A", 3)
    boolean.enum_insert(b"FALSE", 0)
    boolean.enum_insert(b"TRUE", 1)
    narrow = h5t.enum_create(changed(i16, precision=12))
    narrow.enum_insert(b"A", 3)
    kinds = {
        "i8": h5t.STD_I8LE, "u16be": h5t.STD_U16BE, "u32": h5t.STD_U32LE, "i12": changed(i16, precision=12),
        "u24": changed(h5t.STD_U32LE, precision=24, size=3), "u5": changed(h5t.STD_U8LE, precision=5),
        "i40": changed(i64, precision=40, size=5), "i128": wide,
        "f16": h5t.IEEE_F16LE, "f24": changed(f32, fields=(23, 15, 8, 0, 15), precision=24),
        "f48": changed(h5t.IEEE_F64LE, fields=(47, 36, 11, 0, 36), precision=48),
        "long": changed(h5t.IEEE_F64LE, size=16), "enum": enum, "bool": boolean, "narrow": narrow,
        "bits": h5t.STD_B8LE, "ref": h5t.STD_REF_OBJ,
        "opaque": h5t.create(h5t.OPAQUE, 3), "array": h5t.array_create(f32, (2,)),
        "vlen": h5t.vlen_create(f32),
    }
    access = h5py.h5p.create(h5py.h5p.FILE_ACCESS)
    access.set_libver_bounds(h5py.h5f.LIBVER_LATEST, h5py.h5f.LIBVER_LATEST)
    f = h5py.h5f.create(str(folder / "types.h5").encode(), fapl=access)
    space = h5py.h5s.create_simple((2,))
    for name, kind in kinds.items():
        h5py.h5d.create(f, name.encode(), kind, space)
    f.close()


def layouts(folder):
    with h5py.File(folder / "elsewhere.h5", "w", libver="latest") as f:
        f.create_dataset("other", (3,), "f4", external=[("/nowhere", 0, 12)])
    with h5py.File(folder / "virtual.h5", "w", libver="latest") as f:
        layout = h5py.VirtualLayout((2,), "f4")
        layout[:] = h5py.VirtualSource("nowhere.h5", "x", (2,))
        f.create_virtual_dataset("virtual", layout)
    with h5py.File(folder / "layouts.h5", "w", libver="latest") as f:
        f.create_dataset("filter", (4,), "u1", chunks=(4,))
        compact = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        compact.set_layout(h5py.h5d.COMPACT)
        h5py.h5d.create(f.id, b"compact", h5py.h5t.IEEE_F32LE, h5py.h5s.create_simple((2,)), compact)
        f.create_dataset("grid", data=np.arange(35, dtype="i2").reshape(5, 7), chunks=(2, 3))
        f.attrs["varying"] = ["a", "bc"]
        f.attrs["number"] = 3
        f.attrs.create("fixed", np.array([b"ab  ", b"c"], "S4"))
        unknown = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        unknown.set_chunk((4,))
        unknown.set_filter(478, h5py.h5z.FLAG_OPTIONAL, ())
        d = h5py.h5d.create(f.id, b"unknown", h5py.h5t.STD_U8LE, h5py.h5s.create_simple((4,)), unknown)
        d.write_direct_chunk((0,), b"abcd")


def record(kind, payload):
    return struct.pack("<II", kind, len(payload)) + payload


def tensor(dtype, shape, path, foreign=b""):
    return record(2, struct.pack(f"<BBB{len(shape)}Q", dtype, len(shape), len(foreign), *shape)
                  + foreign + path)


def text(path, name, strings, is_array):
    payload = struct.pack("<BBHII", is_array, 0, len(name), len(strings), len(path)) + path + name
    for s in strings:
        payload += struct.pack("<I", len(s)) + s
    return record(3, payload)


def notice(path, why):
    return record(4, struct.pack("<I", len(path)) + path + why)


def end(count, left_out=0):
    return record(5, struct.pack("<II", count, left_out))


def conversations(folder):
    folder.mkdir(parents=True, exist_ok=True)
    group = record(1, b"/a")
    two = group + tensor(2, (2, 3), b"/a/b") + tensor(0, (2,), b"/x", b"HDF5 float80")
    texts = text(b"/", b"model_config", [b"{}"], 0) + text(b"/a", b"names", [b"b", b""], 1)
    seeds = {
        "reads": two + texts + notice(b"/t", b"text") + end(2, 1) + record(6, bytes(24)),
        "fails": tensor(14, (4,), b"/y") + end(1) + record(7, struct.pack("<I", 3) + b"damaged"),
        "memory": record(7, struct.pack("<I", 6) + b"no memory"),
        "empty": end(0),
        "refused": record(7, struct.pack("<I", 4) + b"'/b': it is a soft link"),
        "wrong_count": tensor(14, (4,), b"/y") + end(7),
        "overflow": tensor(2, (1 << 40, 1 << 40), b"/y") + end(1),
        "not_utf8": record(1, b"/\xff\xfe"),
    }
    for name, data in seeds.items():
        (folder / name).write_bytes(data)


files(ROOT / "hdf5")
types(ROOT / "hdf5")
layouts(ROOT / "hdf5")
conversations(ROOT / "hdf5_protocol")
