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
        "empty": end(0),
        "refused": record(7, struct.pack("<I", 4) + b"'/b': it is a soft link"),
        "wrong_count": tensor(14, (4,), b"/y") + end(7),
        "overflow": tensor(2, (1 << 40, 1 << 40), b"/y") + end(1),
        "not_utf8": record(1, b"/\xff\xfe"),
    }
    for name, data in seeds.items():
        (folder / name).write_bytes(data)


files(ROOT / "hdf5")
conversations(ROOT / "hdf5_protocol")
