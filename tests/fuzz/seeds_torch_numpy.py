"""Makes the seed corpora of the targets torch, pickle, npz, npy and llama2c."""
import collections
import io
import pathlib
import struct
import zipfile

import numpy as np
import torch

CORPUS = pathlib.Path(__file__).resolve().parent / "corpus"


def seed(target, name, data):
    folder = CORPUS / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)


def torch_bytes(value, **options):
    buffer = io.BytesIO()
    torch.save(value, buffer, **options)
    return buffer.getvalue()


def repacked(data, method):
    """The same entries without torch's padding, stored or deflated."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w", method) as new:
        for name in old.namelist():
            new.writestr(zipfile.ZipInfo(name), old.read(name), method)
    return out.getvalue()


def pickle_of(data):
    with zipfile.ZipFile(io.BytesIO(data)) as z:
        return next(z.read(n) for n in z.namelist() if n.endswith("data.pkl"))


def torch_seeds():
    base = torch.arange(16, dtype=torch.float32)
    grid = base.reshape(4, 4)
    values = {
        "plain": {"w": grid, "b": base[:4]},
        "views": {"t": grid.t(), "s": grid[1:, ::2], "e": base[2].expand(3, 2), "c": grid[:, 1],
                  "w": base.unfold(0, 4, 2), "n": base[:0]},
        "nested": {"model": collections.OrderedDict(a=base.half(), b=[base.long()[:8], (base,)]),
                   "step": 3, 5: {"x": torch.nn.Parameter(base[:2])}, "note": "a", "set": {1},
                   "shape": torch.Size([2]), "dtype": torch.bfloat16, "dev": torch.device("cpu")},
    }
    for name, value in values.items():
        data = torch_bytes(value)
        seed("pickle", name, pickle_of(data))
        seed("pickle", f"{name}4", pickle_of(torch_bytes(value, pickle_protocol=4)))
        seed("torch", f"{name}.pt", repacked(data, zipfile.ZIP_STORED))
        seed("torch", f"{name}_packed.pt", repacked(data, zipfile.ZIP_DEFLATED))
    seed("torch", "as_saved.pt", torch_bytes({"w": torch.ones(2, 2)}))
    seed("torch", "legacy.pt", torch_bytes({"w": torch.ones(2)},
                                           _use_new_zipfile_serialization=False))
    seed("pickle", "unknown_global", b"\x80\x02cos\nsystem\nX\2\0\0\0ls\x85R.")
    seed("pickle", "cycle", b"\x80\x02]q\0h\0a.")
    seed("pickle", "bomb", b"\x80\x02]q\0" + b"".join(
        b"](h%ch%ceq%c" % (i, i, i + 1) for i in range(40)) + b".")
    seed("pickle", "deep", b"\x80\x02" + b"]" * 300 + b"a" * 299 + b".")
    for name, shape, stride in (("overflow_strides", (1 << 40, 4), (1 << 40, 1)),
                                ("huge_shape", (1 << 62, 1 << 62), (0, 0)),
                                ("expanded", (1 << 20, 4), (0, 1))):
        def numbers(values):
            return b"".join(b"\x8a\x08" + struct.pack("<q", v) for v in values)
        seed("pickle", name, b"\x80\x02}X\1\0\0\0xctorch._utils\n_rebuild_tensor_v3\n(("
             b"X\7\0\0\0storagectorch.storage\nUntypedStorage\nX\1\0\0\0\x30X\3\0\0\0cpuK\x40tQK\0" +
             numbers(shape) + b"\x86" + numbers(stride) + b"\x86\x89N" + b"ctorch\nuint16\ntRs.")


def numpy_seeds():
    arrays = {"f4": np.arange(6, dtype="<f4").reshape(2, 3), "be": np.arange(4, dtype=">i2"),
              "fortran": np.asfortranarray(np.arange(24, dtype="<u2").reshape(2, 3, 4)),
              "scalar": np.float64(1.5), "empty": np.zeros((3, 0), "f2"),
              "complex": np.ones(2, "c8"), "opaque": np.zeros(2, "V2"),
              "fields": np.zeros(2, [("a", "<f4"), ("b", "<i4", (2,))])}
    for name, array in arrays.items():
        buffer = io.BytesIO()
        np.save(buffer, array)
        seed("npy", f"{name}.npy", buffer.getvalue())
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, arrays["f4"], (2, 0))
    seed("npy", "version2.npy", buffer.getvalue())
    header = b"{'descr':'<f4','fortran_order':True,'shape':(4294967296,4294967296),}"
    seed("npy", "huge.npy", b"\x93NUMPY\1\0" + struct.pack("<H", len(header)) + header)
    for name, save in ("plain", np.savez), ("packed", np.savez_compressed):
        buffer = io.BytesIO()
        save(buffer, **{k: arrays[k] for k in ("f4", "be", "fortran", "empty", "opaque")})
        seed("npz", f"{name}.npz", buffer.getvalue())
    buffer = io.BytesIO()
    np.savez_compressed(buffer, zeros=np.zeros(1 << 20, "u1"))
    data = bytearray(buffer.getvalue())
    seed("npz", "zeros.npz", bytes(data))
    at = data.index(b"PK\1\2")
    data[at + 24:at + 28] = b"\xff\xff\xff\xfe"
    seed("npz", "bomb.npz", bytes(data))


def llama_seeds():
    def size(dim, hidden, layers, heads, kv, vocab, positions):
        head = dim // heads
        layer = 2 * dim + 2 * dim * dim + 2 * kv * head * dim + 3 * dim * hidden
        return vocab * dim + layers * layer + dim, positions * head
    config = (4, 6, 2, 2, 1, 5, 3)
    weights, tables = size(*config)
    seed("llama2c", "tied.bin", struct.pack("<7i", *config) + bytes(4 * (weights + tables)))
    seed("llama2c", "untied.bin", struct.pack("<7i", *config[:5], -5, 3) +
         bytes(4 * (weights + tables + 20)))
    seed("llama2c", "v1.bin", struct.pack("<Ii7iB", 0x616b3432, 1, *config, 1).ljust(256, b"\0") +
         bytes(4 * weights))
    seed("llama2c", "v2.bin", struct.pack("<Ii7iBi", 0x616b3432, 2, *config, 1, 4).ljust(256, b"\0"))
    seed("llama2c", "overflow.bin", struct.pack("<7i", *[2 ** 31 - 2] * 5, 2 ** 31 - 1, 2 ** 31 - 1))


torch_seeds()
numpy_seeds()
llama_seeds()
