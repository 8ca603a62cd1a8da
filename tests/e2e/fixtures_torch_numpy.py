"""Writes torch, NumPy and llama2.c files (with a second argument "llama" only the last) into a
folder, each FILE with FILE.txt that says what a reader must find: "crc32 dtype shape name" for
every tensor, row-major and little-endian. What cannot be converted has dtype "?" and the crc of
nothing."""
import collections
import io
import pathlib
import struct
import sys
import zipfile
import zlib

import numpy as np

import support

try:
    import torch
except ImportError:  # then the tests skip what takes torch to write
    torch = None

OUT = pathlib.Path(sys.argv[1])
rng = np.random.default_rng(5)

NUMPY_NAMES = {"f8": "F64", "f4": "F32", "f2": "F16", "i8": "I64", "i4": "I32", "i2": "I16",
               "i1": "I8", "u8": "U64", "u4": "U32", "u2": "U16", "u1": "U8", "b1": "BOOL"}
TORCH_NAMES = {"float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16",
               "int64": "I64", "int32": "I32", "int16": "I16", "int8": "I8", "uint8": "U8",
               "bool": "BOOL"}


def line(data, dtype, shape, name):
    extents = "x".join(map(str, shape)) if shape else "scalar"
    return f"{zlib.crc32(data):08x} {dtype} {extents} {name}\n"


def describe_numpy(array, name):
    dtype = NUMPY_NAMES.get(array.dtype.str[1:], "?")
    if dtype == "?":
        return line(b"", "?", array.shape, name)
    little = array.astype(array.dtype.newbyteorder("<"))
    return line(little.tobytes(order="C"), dtype, array.shape, name)


def describe_torch(value, name=""):
    """Every tensor in VALUE, in order, under dotted names."""
    if isinstance(value, torch.Tensor):
        dtype = TORCH_NAMES.get(str(value.dtype)[len("torch."):], "?")
        data = b""
        if dtype == "BF16":
            data = value.detach().contiguous().view(torch.int16).numpy().tobytes()
        elif dtype != "?":
            data = value.detach().contiguous().numpy().tobytes()
        return line(data, dtype, value.shape, name or "tensor")
    items = ()
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, (list, tuple)):
        items = enumerate(value)
    return "".join(describe_torch(v, f"{name}.{k}" if name else str(k)) for k, v in items)


def count_leaves(value):
    """What is neither tensor nor container; a set counts as one."""
    if isinstance(value, dict):
        return sum(map(count_leaves, value.values()))
    if isinstance(value, (list, tuple)):
        return sum(map(count_leaves, value))
    return not isinstance(value, torch.Tensor)


def write_text(path, text):
    (OUT / f"{path}.txt").write_text(text)


def save_torch(path, value, **options):
    torch.save(value, OUT / path, **options)
    write_text(path, describe_torch(value))
    write_text(f"{path}.skipped", str(count_leaves(value)))


def random_tensor(dtype, *shape):
    """Random bits, NaN payloads and infinities included."""
    n = int(np.prod(shape, dtype=np.int64))
    if dtype == torch.bool:
        return torch.from_numpy(rng.integers(0, 2, n).astype(bool).reshape(shape))
    size = torch.empty(0, dtype=dtype).element_size()
    bits = torch.from_numpy(rng.integers(0, 256, n * size).astype(np.uint8))
    return bits.view(dtype).reshape(shape)


def torch_dtypes():
    value = collections.OrderedDict()
    for name in TORCH_NAMES:
        dtype = getattr(torch, name)
        value[name] = random_tensor(dtype, 3, 5)
        value[name + "_t"] = random_tensor(dtype, 3, 5).t()
        value[name + "_scalar"] = random_tensor(dtype, 1)[0]
        value[name + "_empty"] = torch.empty((3, 0, 2), dtype=dtype)
    value["complex64"] = torch.ones(2, 2, dtype=torch.complex64)
    value["complex128"] = torch.ones(3, dtype=torch.complex128)
    save_torch("dtypes.pt", value)


def torch_views():
    base = random_tensor(torch.float32, 40, 60)
    conv = random_tensor(torch.float16, 6, 5, 4, 3)
    big = random_tensor(torch.int64, 300, 700)
    vector = random_tensor(torch.int32, 9)
    save_torch("views.pt", {
        "base": base, "transposed": base.t(), "rows": base[7:20], "columns": base[:, 11:17],
        "steps": base[::3, ::7], "column": base[:, 9], "diagonal": base.diagonal(3),
        "expanded": vector.expand(5, 9), "expanded_inside": vector[:, None].expand(9, 4),
        "expanded_scalar": vector[2].expand(3, 4, 2), "windows": vector.unfold(0, 4, 1),
        "permuted": conv.permute(3, 1, 0, 2), "permuted_part": conv[1:4, :, ::2].permute(2, 3, 0, 1),
        "channels_last": conv.contiguous(memory_format=torch.channels_last),
        "big": big, "big_t": big.t(), "big_steps": big[::2, ::5].t(), "big_column": big[:, 600],
        "ones": base[:1, :1].expand(1, 1), "empty_view": base[3:3, ::2],
    })


def torch_nested(path="nested.pt", **options):
    torch.manual_seed(1)
    model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.LayerNorm(3), torch.nn.Linear(3, 2))
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(2, 4)).sum().backward()
    optimizer.step()
    tied = random_tensor(torch.float32, 2, 3)
    save_torch(path, {
        "model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 3,
        "loss": 0.25, "huge": 1 << 90, "negative": -(1 << 40), "note": "Zürich", "raw": b"\0\1",
        "none": None, "flags": (True, False), "shape": torch.Size([2, 3]),
        "device": torch.device("cpu"), "dtype": torch.bfloat16, "set": {1, 2},
        "frozen": frozenset([4]), "complex": 1 + 2j, "array": bytearray(b"xy"),
        "list": [tied, {"deep": [tied[0], torch.tensor(7)]}, (tied,)], "tied": tied,
        "parameter": torch.nn.Parameter(random_tensor(torch.float32, 2, 2)), 5: tied.t(),
        "Größe": torch.ones(1),
    }, **options)


def rezip(source, path, change=None, method=zipfile.ZIP_STORED):
    """A copy of a torch file with entries changed or compressed."""
    with zipfile.ZipFile(OUT / source) as old, zipfile.ZipFile(OUT / path, "w", method) as new:
        for name in old.namelist():
            data = old.read(name)
            new.writestr(name, change(name, data) if change else data)


def torch_odd():
    save_torch("tensor.pt", random_tensor(torch.bfloat16, 4, 4).t())
    for protocol in 3, 4, 5:
        torch_nested(f"protocol{protocol}.pt", pickle_protocol=protocol)
    torch.save({"a": torch.ones(2)}, OUT / "legacy.pt", _use_new_zipfile_serialization=False)
    torch.save({"a": torch.ones(2), "path": pathlib.PurePosixPath("x")}, OUT / "global.pt")
    torch.save({(1, 2): torch.ones(2)}, OUT / "tuple_key.pt")
    rezip("nested.pt", "deflated.pt", method=zipfile.ZIP_DEFLATED)
    write_text("deflated.pt", (OUT / "nested.pt.txt").read_text())

    value = {"a": random_tensor(torch.float32, 3, 4), "b": random_tensor(torch.float32, 5)}
    torch.save(value, OUT / "swapped.pt")
    with zipfile.ZipFile(OUT / "swapped.pt") as old, \
            zipfile.ZipFile(OUT / "big_endian.pt", "w") as new:
        for name in old.namelist():
            data = old.read(name)
            new.writestr(name, np.frombuffer(data, "<u4").byteswap().tobytes()
                         if "/data/" in name else data)
        new.writestr("swapped/byteorder", "big")
    write_text("big_endian.pt", describe_torch(value))


def handmade_torch(path, body, storages, root="m"):
    """A torch file whose data.pkl is BODY between PROTO 2 and STOP."""
    with zipfile.ZipFile(OUT / path, "w") as z:
        z.writestr(f"{root}/data.pkl", b"\x80\x02" + body + b".")
        for key, data in storages.items():
            z.writestr(f"{root}/data/{key}", data)


def text(s):
    return b"X" + struct.pack("<I", len(s)) + s.encode()


def integer(i):
    return b"\x8a\x08" + struct.pack("<q", i)


def tensor_call(function, cls, key, numel, offset, shape, strides, more=b""):
    def tuple_of(values):
        return b"(" + b"".join(map(integer, values)) + b"t"
    module, name = cls.rsplit(".", 1)
    return (b"ctorch._utils\n" + function.encode() + b"\n((" + text("storage") +
            b"c" + module.encode() + b"\n" + name.encode() + b"\n" + text(key) + text("cpu") +
            integer(numel) + b"tQ" + integer(offset) + tuple_of(shape) + tuple_of(strides) + more +
            b"tR")


def torch_handmade():
    """What this torch does not write: newer dtypes over untyped storages, and lies."""
    later = b"\x89ccollections\nOrderedDict\n)R"
    data = bytes(rng.integers(0, 256, 48, dtype=np.uint8))
    body, lines = b"}(", ""
    for dtype, name, size in (("uint16", "U16", 2), ("uint32", "U32", 4), ("uint64", "U64", 8),
                              ("float8_e4m3fn", "F8_E4M3", 1), ("float8_e5m2", "F8_E5M2", 1),
                              ("float8_e4m3fnuz", "?", 1), ("float32", "F32", 4)):
        body += text(dtype) + tensor_call("_rebuild_tensor_v3", "torch.storage.UntypedStorage", "0",
                                          48, 1, (2, 2), (2, 1),
                                          later + b"ctorch\n" + dtype.encode() + b"\n")
        lines += line(b"" if name == "?" else data[size:5 * size], name, (2, 2), dtype)
    body += text("v1") + tensor_call("_rebuild_tensor", "torch.FloatStorage", "0", 12, 0, (12,), (1,))
    lines += line(data, "F32", (12,), "v1")
    handmade_torch("untyped.pt", body + b"u", {"0": data})
    write_text("untyped.pt", lines)

    def lie(path, *arguments, storages={"0": data}):
        handmade_torch(path, b"}" + text("x") + tensor_call("_rebuild_tensor_v2", *arguments,
                                                            more=later) + b"s", storages)
    lie("outside.pt", "torch.FloatStorage", "0", 12, 0, (3, 4), (5, 1))
    lie("overflow.pt", "torch.FloatStorage", "0", 12, 0, (1 << 40, 4), (1 << 40, 1))
    lie("huge.pt", "torch.FloatStorage", "0", 12, 0, (1 << 62, 1 << 62), (0, 0))
    lie("expanded.pt", "torch.FloatStorage", "0", 12, 0, (1 << 40, 2), (0, 1))
    lie("negative.pt", "torch.FloatStorage", "0", 12, 11, (4,), (-1,))
    lie("numel.pt", "torch.FloatStorage", "0", 13, 0, (3,), (1,))
    lie("absent.pt", "torch.FloatStorage", "1", 12, 0, (3,), (1,))
    # Views such as z.conj().imag, whose values are negated when they are read (torch 2.0 on).
    negated, lines = b"}(", ""
    for cls, dtype, code in (("Float", "F32", "f4"), ("Double", "F64", "f8"), ("Half", "F16", "f2")):
        array = np.frombuffer(data, "<" + code)[1:5].reshape(2, 2)
        for flag, stride, view in ((b"\x88", (2, 1), -array), (b"\x88", (1, 2), -array.T),
                                   (b"\x89", (2, 1), array)):
            name = f"{cls}{len(lines)}"
            negated += text(name) + tensor_call(
                "_rebuild_tensor_v2", f"torch.{cls}Storage", "0", 48 // array.itemsize, 1, (2, 2),
                stride, later + b"}(" + text("neg") + flag + text("conj") + b"\x89u")
            lines += line(view.tobytes(), dtype, (2, 2), name)
    handmade_torch("negated.pt", negated + b"u", {"0": data})
    write_text("negated.pt", lines)
    handmade_torch("negated_integers.pt", b"}" + text("x") + tensor_call(
        "_rebuild_tensor_v2", "torch.IntStorage", "0", 12, 0, (3,), (1,),
        later + b"}" + text("neg") + b"\x88s") + b"s", {"0": data})
    for path, metadata in (("metadata.pt", text("zero") + b"\x88"), ("metadata_type.pt", b"K\1N"),
                           ("conjugate.pt", text("conj") + b"\x88")):
        handmade_torch(path, b"}" + text("x") + tensor_call(
            "_rebuild_tensor_v2", "torch.FloatStorage", "0", 12, 0, (3,), (1,),
            later + b"}(" + metadata + b"u") + b"s", {"0": data})
    # 60 Mi times None, in 61 KB; one tensor many times; and a pickle that packs well but not so.
    with zipfile.ZipFile(OUT / "many.pt", "w", zipfile.ZIP_DEFLATED) as z:
        z.writestr("m/data.pkl", b"\x80\2](" + b"N" * (60 << 20) + b"e.")
    with zipfile.ZipFile(OUT / "objects.pt", "w", zipfile.ZIP_DEFLATED) as z:
        z.writestr("m/data.pkl", b"\x80\2](" + b"N" * (1 << 20) + b"e.")
    with zipfile.ZipFile(OUT / "shared.pt", "w", zipfile.ZIP_DEFLATED) as z:
        z.writestr("m/data.pkl", b"\x80\2](" + tensor_call(
            "_rebuild_tensor_v2", "torch.FloatStorage", "0", 12, 0, (3,), (1,), later) + b"q\0" +
            b"h\0" * 100000 + b"e.")
        z.writestr("m/data/0", data)
    with zipfile.ZipFile(OUT / "no_crc.pt", "w") as z:
        z.writestr("m/data.pkl", b"\x80\2}" + text("x") + tensor_call(
            "_rebuild_tensor_v2", "torch.FloatStorage", "0", 12, 0, (12,), (1,), later) + b"s.")
        z.writestr("m/data/0", data)
    stored = (OUT / "no_crc.pt").read_bytes()
    damaged = bytearray(stored)
    damaged[stored.index(data) + 40] ^= 1
    (OUT / "damaged.pt").write_bytes(damaged)
    patched("no_crc.pt", stored, b"PK\3\4", 14, bytes(4))
    patched("no_crc.pt", (OUT / "no_crc.pt").read_bytes(), b"PK\1\2", 16, bytes(4))
    write_text("no_crc.pt", line(data, "F32", (12,), "x"))
    lie("rank.pt", "torch.FloatStorage", "0", 12, 0, (1,) * 40, (1,) * 40)
    tensor = tensor_call("_rebuild_tensor_v2", "torch.FloatStorage", "0", 12, 0, (3,), (1,), later)
    handmade_torch("duplicate.pt", b"}(" + text("x") + tensor + text("x") + tensor + b"u", {"0": data})
    handmade_torch("cycle.pt", b"]q\0h\0a", {})
    bomb = b"]q\0" + b"".join(b"](h%ch%ceq%c" % (i, i, i + 1) for i in range(60))
    handmade_torch("bomb.pt", bomb, {})
    handmade_torch("deep.pt", b"]" * 5000 + b"a" * 4999, {})


def patched(path, data, signature, offset, value):
    """DATA with VALUE written at OFFSET of every record that begins with SIGNATURE."""
    data, at = bytearray(data), -1
    while (at := data.find(signature, at + 1)) >= 0:
        data[at + offset:at + offset + len(value)] = value
    (OUT / path).write_bytes(data)


def zip_lies():
    """Archives of one array "a" (APPNOTE.TXT 4.3: local header PK34, directory entry PK12)."""
    array, buffers = np.arange(1000, dtype="<f4"), {}
    for name, save in ("stored", np.savez), ("packed", np.savez_compressed):
        buffers[name] = io.BytesIO()
        save(buffers[name], a=array)
        buffers[name] = buffers[name].getvalue()
    stored, packed = buffers["stored"], buffers["packed"]
    local, entry = b"PK\3\4", b"PK\1\2"
    patched("encrypted.npz", stored, entry, 8, b"\1\0")
    patched("bomb.npz", packed, entry, 24, b"\xff\xff\xff\xfe")
    patched("short.npz", packed, entry, 24, struct.pack("<I", 4100))
    patched("two_sizes.npz", stored, entry, 24, struct.pack("<I", 4000))
    patched("far.npz", stored, entry, 42, struct.pack("<I", 4000))
    patched("method.npz", stored, entry, 10, struct.pack("<H", 12))
    damaged = bytearray(stored)
    damaged[2000] ^= 1
    (OUT / "damaged.npz").write_bytes(damaged)
    damaged = bytearray(packed)
    damaged[-200] ^= 1
    (OUT / "damaged_packed.npz").write_bytes(damaged)
    (OUT / "cut.npz").write_bytes(stored[:-30])
    with zipfile.ZipFile(OUT / "other.npz", "w") as z:
        z.writestr("readme", "x")
    # A directory entry of b.npy that names the data of a.npy, in a file large enough for both.
    buffer = io.BytesIO()
    np.savez(buffer, a=array, b=array)
    both = buffer.getvalue()
    at = both.rindex(entry)
    patched("same_data.npz", both[:at] + both[at:at + 42] + bytes(4) + both[at + 46:], b"none", 0, b"")
    # A second directory entry, under another name, for the same data; and one under the same.
    at, end = stored.index(entry), stored.index(b"PK\5\6")
    for path, name in ("overlap.npz", b"b.npy"), ("twice.npz", b"a.npy"):
        one = stored[at:end]
        two = one[:46] + name + one[51:]
        tail = bytearray(stored[end:])
        tail[8:10] = tail[10:12] = b"\2\0"
        tail[12:16] = struct.pack("<I", 2 * len(one))
        if path == "twice.npz":  # without data, so that sizes add up
            one, two = (x[:20] + bytes(8) + x[28:] for x in (one, two))
        (OUT / path).write_bytes(stored[:at] + one + two + tail)


def numpy_files():
    arrays = {}
    for code in NUMPY_NAMES:
        for order in "<>":
            dtype = np.dtype(order + code)
            data = rng.integers(0, 2 if code == "b1" else 256, 6 * 5 * 4 * dtype.itemsize)
            array = data.astype(np.uint8).view(dtype).reshape(6, 5, 4)
            name = code + ("le" if order == "<" else "be")
            arrays[name] = array
            arrays[name + "_f"] = np.asfortranarray(array)
            arrays[name + "_0d"] = array[1, 2, 3]
            arrays[name + "_empty"] = array[:, :0]
            arrays[name + "_1d"] = array[0, :, 0]
    arrays["f4_big_f"] = np.asfortranarray(rng.standard_normal((500, 301)).astype("<f4"))
    arrays["complex"] = np.ones(3, "<c8")
    arrays["text"] = np.array(["ab", "c"])
    arrays["fields"] = np.zeros(2, [("a", "<f4"), ("b]'", "<i4", (2,))])
    arrays["times"] = np.zeros(2, "M8[25s]")
    arrays["opaque"] = np.zeros((2, 3), "V2")
    for name, array in arrays.items():
        np.save(OUT / f"{name}.npy", array)
        write_text(f"{name}.npy", describe_numpy(np.asarray(array), name))
    (OUT / "npy.list").write_text("".join(f"{name}.npy\n" for name in arrays))
    lines = "".join(describe_numpy(np.asarray(a), n) for n, a in arrays.items())
    for path, save in ("plain.npz", np.savez), ("packed.npz", np.savez_compressed):
        save(OUT / path, **arrays)
        write_text(path, lines)
    objects = np.array([None, 1], dtype=object)
    np.save(OUT / "objects.npy", objects, allow_pickle=True)
    write_text("objects.npy", describe_numpy(objects, "objects"))
    for version in (1, 0), (2, 0), (3, 0):
        buffer = io.BytesIO()
        np.lib.format.write_array(buffer, arrays["f4le"], version)
        (OUT / f"version{version[0]}.npy").write_bytes(buffer.getvalue())
        write_text(f"version{version[0]}.npy", describe_numpy(arrays["f4le"], f"version{version[0]}"))


def llama_shapes(dim, hidden, layers, heads, kv_heads, vocab, positions):
    head = dim // heads
    one = {"attention_norm": (dim,), "attention.wq": (dim, dim), "attention.wk": (kv_heads * head, dim),
           "attention.wv": (kv_heads * head, dim), "attention.wo": (dim, dim), "ffn_norm": (dim,),
           "feed_forward.w1": (hidden, dim), "feed_forward.w2": (dim, hidden),
           "feed_forward.w3": (hidden, dim)}
    runs = {k: [(f"layers.{i}.{k}.weight", s) for i in range(layers)] for k, s in one.items()}
    tables = [(f"freq_cis_{p}", (positions, head // 2)) for p in ("real", "imag")]
    token, norm = ("tok_embeddings.weight", (vocab, dim)), ("norm.weight", (dim,))
    output = ("output.weight", (vocab, dim))
    flat = [x for run in runs.values() for x in run]
    legacy = [token] + flat + [norm] + tables
    matrices = [x for k, run in runs.items() if "norm" not in k for x in run]
    version1 = runs["attention_norm"] + runs["ffn_norm"] + [norm, token] + matrices
    return legacy, version1, output


def describe_llama(data, shapes):
    lines, at = "", 0
    for name, shape in shapes:
        n = int(np.prod(shape)) * 4
        lines += line(data[at:at + n], "F32", shape, name)
        at += n
    assert at == len(data)
    return lines


def llama_files():
    config = (16, 24, 3, 4, 2, 11, 10)
    legacy, version1, output = llama_shapes(*config)
    for path, shapes, head in (
            ("tied.bin", legacy, struct.pack("<7i", *config)),
            ("untied.bin", legacy + [output], struct.pack("<7i", *config[:5], -11, 10)),
            ("v1_tied.bin", version1, struct.pack("<Ii7iB", 0x616b3432, 1, *config, 1)),
            ("v1_untied.bin", version1 + [output], struct.pack("<Ii7iB", 0x616b3432, 1, *config, 0))):
        if len(head) > 28:
            head = head.ljust(256, b"\0")
        data = rng.bytes(4 * sum(int(np.prod(s)) for _, s in shapes))
        (OUT / path).write_bytes(head + data)
        write_text(path, describe_llama(data, shapes))
    (OUT / "v2.bin").write_bytes(
        struct.pack("<Ii7iBi", 0x616b3432, 2, *config, 1, 64).ljust(256, b"\0") + bytes(4096))


def real_files():
    """The optional files of QINS_SHARED_DATA, through torch.load and a parse of our own."""
    models = support.SHARED / "models"
    checkpoint = models / "slm4096-torch" / "ckpt.pt"
    if torch and checkpoint.exists():
        write_text("ckpt.pt", describe_torch(torch.load(checkpoint, map_location="cpu")))
    stories = models / "stories260k" / "model.bin"
    if stories.exists():
        data = stories.read_bytes()
        config = struct.unpack("<7i", data[:28])
        legacy, _, output = llama_shapes(*config[:5], abs(config[5]), config[6])
        write_text("model.bin", describe_llama(data[28:], legacy + [output] * (config[5] < 0)))


if sys.argv[2:] != ["llama"]:
    if torch:
        torch_dtypes()
        torch_views()
        torch_nested()
        torch_odd()
    torch_handmade()
    numpy_files()
    zip_lies()
llama_files()
real_files()
