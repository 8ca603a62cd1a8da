"""Archives as other programs see them: h5py, h5dump and h5repack with the filter plugin, and a
reader of the file's own index written from docs/archive-format.md."""
import ctypes
import json
import math
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import unittest
import zlib
from pathlib import Path

import support

PLUGIN_DIR = Path(os.environ.get("QINS_PLUGIN_DIR", support.BUILD_ROOT))
PLUGIN = PLUGIN_DIR / "libh5qins.so"
FIXTURE = support.BUILD_ROOT / "tests" / "tools" / "archive_fixture"
SANITIZED = os.environ.get("QINS_SANITIZER", "none") != "none"
os.environ["HDF5_PLUGIN_PATH"] = str(PLUGIN_DIR)  # libhdf5 reads it when it starts

import h5py  # noqa: E402
import numpy  # noqa: E402

NUMPY = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2",
         "I8": "<i1", "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "<u1", "BOOL": "?"}
FLOATS = ("F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2")


def link_name(name):
    return "%2E" if name == "." else name.replace("%", "%25").replace("/", "%2F")


def make_fixture(folder, **variables):
    subprocess.run([str(FIXTURE), str(folder)], check=True, env={**os.environ, **variables})


def widen(source_dtype, data):
    """Source bytes as the view type, by numpy alone; None where numpy has no such type."""
    if source_dtype == "BF16":
        return (numpy.frombuffer(data, "<u2").astype("<u4") << 16).tobytes()
    if source_dtype == "F8_E5M2":  # the upper half of a binary16
        return (numpy.frombuffer(data, "<u1").astype("<u2") << 8).view("<f2").astype("<f4").tobytes()
    if source_dtype == "F16":
        return numpy.frombuffer(data, "<f2").astype("<f4").tobytes()
    return data if source_dtype in NUMPY else None


class Hashes:
    """XXH3 of the system's library."""

    class Pair(ctypes.Structure):
        _fields_ = [("low", ctypes.c_uint64), ("high", ctypes.c_uint64)]

    def __init__(self):
        lib = ctypes.CDLL("libxxhash.so.0")
        self.lib64, self.lib128 = lib.XXH3_64bits, lib.XXH3_128bits
        self.lib64.restype, self.lib128.restype = ctypes.c_uint64, Hashes.Pair
        self.lib64.argtypes = self.lib128.argtypes = [ctypes.c_char_p, ctypes.c_size_t]

    def h64(self, data):
        return self.lib64(bytes(data), len(data))

    def h128(self, data):
        pair = self.lib128(bytes(data), len(data))
        return struct.pack(">QQ", pair.high, pair.low)


def chunk_ranges(shape):
    """(first element, elements) of each chunk, as the format's page says."""
    if not shape or 0 in shape:
        return []
    axis = 0
    while math.prod(shape[axis + 1:]) > 1048576:
        axis += 1
    inner, outer, extent = math.prod(shape[axis + 1:]), math.prod(shape[:axis]), shape[axis]
    most = max(1, 524288 // inner)
    step = -(-extent // -(-extent // most))
    if inner == 1 and step < extent:
        step = min(-(-step // 256) * 256, extent)
    return [((o * extent + i) * inner, (min(i + step, extent) - i) * inner)
            for o in range(outer) for i in range(0, extent, step)]


class Archive(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = Path(tempfile.mkdtemp(prefix="qins-test-"))
        make_fixture(cls.folder)
        cls.path = cls.folder / "samples.qins"
        cls.tensors = json.loads((cls.folder / "samples.json").read_text())

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.folder)

    def bytes_of(self, i, kind):
        return (self.folder / f"{i}.{kind}").read_bytes()

    def check_with_h5py(self, path):
        with h5py.File(path, "r") as f:
            self.assertEqual(len(f["tensors"]), len(self.tensors))
            for i, t in enumerate(self.tensors):
                d = f["tensors"][link_name(t["name"])]
                self.assertEqual(list(d.shape), t["shape"], t["name"])
                self.assertEqual(d.dtype, numpy.dtype(NUMPY[t["dtype"]]), t["name"])
                if 0 not in t["shape"]:
                    self.assertEqual(d[()].tobytes(), self.bytes_of(i, "view"), t["name"])

    @unittest.skipIf(SANITIZED, "a sanitized plugin does not load into a plain program")
    def test_h5py(self):
        self.check_with_h5py(self.path)

    def test_lossless_values(self):
        checked = 0
        for i, t in enumerate(self.tensors):
            want = widen(t["source_dtype"], self.bytes_of(i, "source"))
            if t["lossless"] and want is not None:
                self.assertEqual(self.bytes_of(i, "view"), want, t["name"])
                checked += 1
        self.assertGreater(checked, 20)

    def test_attached_files(self):
        with h5py.File(self.path, "r") as f:
            self.assertEqual(f["qins/files/config.json"][()].tobytes(), b'{"a": 1}\n')

    @unittest.skipIf(SANITIZED, "a sanitized plugin does not load into a plain program")
    def test_h5dump(self):
        out = self.folder / "dump"
        for i, t in enumerate(self.tensors):
            if t["source_dtype"] not in FLOATS or 0 in t["shape"]:
                continue
            subprocess.run(["h5dump", "-d", "/tensors/" + link_name(t["name"]), "-b", "LE",
                            "-o", str(out), str(self.path)], check=True, capture_output=True)
            self.assertEqual(out.read_bytes(), self.bytes_of(i, "view"), t["name"])

    def test_without_plugin(self):
        done = subprocess.run(["h5dump", "-d", "/tensors/f32", str(self.path)],
                              capture_output=True, text=True,
                              env={**os.environ, "HDF5_PLUGIN_PATH": "/nonexistent"})
        self.assertNotEqual(done.returncode, 0)

    def check_no_archive(self, path):
        """What h5repack makes is no archive any more, by length or by hash."""
        data = path.read_bytes()
        body = Hashes().h128(data[512:])
        length, = struct.unpack_from("<Q", data, 16)
        self.assertTrue(length != len(data) or data[72:88] != body)

    @unittest.skipIf(SANITIZED, "a sanitized plugin does not load into a plain program")
    def test_h5repack(self):
        out = self.folder / "repacked.h5"
        subprocess.run(["h5repack", "-m", "1", "-f", "GZIP=6", str(self.path), str(out)], check=True)
        self.check_no_archive(out)
        code = ("import sys, h5py\nwith h5py.File(sys.argv[1], 'r') as f:\n"
                "    sys.stdout.buffer.write(f['tensors/rows'][()].tobytes())")
        done = subprocess.run([sys.executable, "-c", code, str(out)], check=True,
                              capture_output=True,
                              env={**os.environ, "HDF5_PLUGIN_PATH": "/nonexistent"})
        rows = [t["name"] for t in self.tensors].index("rows")
        self.assertEqual(done.stdout, self.bytes_of(rows, "view"))
        self.check_with_h5py(out)

    @unittest.skipIf(SANITIZED, "a sanitized plugin does not load into a plain program")
    def test_h5repack_plain(self):
        out = self.folder / "small.h5"
        subprocess.run(["h5repack", "-f", "GZIP=6", str(self.folder / "small.qins"), str(out)],
                       check=True)
        self.check_no_archive(out)
        with h5py.File(self.folder / "small.qins", "r") as a, h5py.File(out, "r") as b:
            for name in a["tensors"]:
                self.assertEqual(a["tensors"][name][()].tobytes(), b["tensors"][name][()].tobytes())

    def test_plugin_symbols(self):
        def symbols(which):
            lines = subprocess.run(["nm", "-D", which, str(PLUGIN)], check=True, text=True,
                                   capture_output=True).stdout.splitlines()
            return [line.split()[-1] for line in lines]
        self.assertEqual([s for s in symbols("--undefined-only") if s.startswith("H5")], [])
        if not SANITIZED:
            self.assertEqual(sorted(symbols("--defined-only")),
                             ["H5PLget_plugin_info", "H5PLget_plugin_type"])

    def test_same_bytes_whatever_memory_holds(self):
        """libhdf5 must not write what it found in fresh memory, nor find the plugin."""
        want = self.path.read_bytes()
        for variables in ({"MALLOC_PERTURB_": "90", "HDF5_PLUGIN_PATH": "/nonexistent"},
                          {"MALLOC_PERTURB_": "165", "TZ": "Asia/Tokyo"}):
            with tempfile.TemporaryDirectory(prefix="qins-test-") as folder:
                make_fixture(folder, **variables)
                self.assertEqual((Path(folder) / "samples.qins").read_bytes(), want)

    def test_second_reader(self):
        data, hashes = self.path.read_bytes(), Hashes()
        (magic, version, flags, length, m_offset, m_size, m_hash, c_offset, n_chunks, c_hash,
         body) = struct.unpack_from("<8sIIQQQQQQQ16s", data)
        self.assertEqual((magic, version, flags, length), (b"QINSARC\0", 1, 0, len(data)))
        self.assertEqual(data[88:504], bytes(416))
        self.assertEqual(struct.unpack_from("<Q", data, 504)[0], hashes.h64(data[:504]))
        self.assertEqual(body, hashes.h128(data[512:]))
        packed, table = data[m_offset:m_offset + m_size], data[c_offset:c_offset + 24 * n_chunks]
        self.assertEqual((hashes.h64(packed), hashes.h64(table)), (m_hash, c_hash))
        for offset, size, digest in struct.iter_unpack("<QQQ", table):
            self.assertEqual(hashes.h64(data[offset:offset + size]), digest)
        manifest = json.loads(zlib.decompress(packed))
        self.assertEqual(manifest["schema"], "qins-archive-manifest-1")
        n = 0
        for i, (t, want) in enumerate(zip(manifest["tensors"], self.tensors, strict=True)):
            self.assertEqual((t["name"], t["dtype"], t["shape"]),
                             (want["name"], want["source_dtype"], want["shape"]))
            source, chunks = self.bytes_of(i, "source"), chunk_ranges(t["shape"])
            n += len(chunks)
            if not t["shape"]:
                self.assertEqual(bytes.fromhex(t["data"]), source)
                chunks = [(0, 1)]
            elements = max(1, math.prod(t["shape"]))
            width = len(source) // elements
            leaves = b"".join(hashes.h128(source[a * width:(a + b) * width]) for a, b in chunks)
            self.assertEqual(t["fingerprint"], hashes.h128(leaves).hex(), t["name"])
        self.assertEqual(n, n_chunks)
        for f in manifest["files"]:
            digest = hashes.h64(data[f["offset"]:f["offset"] + f["size"]])
            self.assertEqual(f["xxh3_64"], f"{digest:016x}")


@unittest.skipIf(SANITIZED, "a sanitized plugin does not load into a plain program")
class Program(unittest.TestCase):
    """Archives of the model that ships with the project, as the program makes them."""

    CODINGS = ([], ["--bits", "6", "--codec", "huffman"], ["--lossless"])

    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="qins-test-")
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.archive = self.folder / "m.qins"

    def convert(self, options, **variables):
        support.run_qins("convert", support.MODEL, "-o", self.archive, "--quiet", *options, check=0,
                         env={**os.environ, **variables})

    def restored(self):
        """name -> the float tensor that the program restores."""
        out = self.folder / "m.safetensors"
        support.run_qins("restore", self.archive, "-o", out, "--quiet", check=0)
        return {k: v for k, v in support.read_safetensors(out).items() if v.dtype.kind == "f"}

    def test_h5py_equals_restore(self):
        for options in self.CODINGS:
            with self.subTest(options=options):
                self.convert(options)
                restored = self.restored()
                self.assertGreater(len(restored), 40)
                with h5py.File(self.archive, "r") as f:
                    for name, want in restored.items():
                        got = f["tensors"][link_name(name)][()]
                        self.assertEqual((got.dtype, got.shape), (want.dtype, want.shape), name)
                        self.assertEqual(got.tobytes(), want.tobytes(), name)

    def test_h5dump_equals_restore(self):
        for options in self.CODINGS:
            with self.subTest(options=options):
                self.convert(options)
                name, want = max(self.restored().items(), key=lambda item: item[1].size)
                out = self.folder / "dump"
                subprocess.run(["h5dump", "-d", "/tensors/" + link_name(name), "-b", "LE", "-o",
                                str(out), str(self.archive)], check=True, capture_output=True)
                self.assertEqual(out.read_bytes(), want.tobytes(), name)

    def test_verify_knows_what_h5repack_made(self):
        self.convert([])
        out = self.folder / "repacked.qins"
        subprocess.run(["h5repack", "-f", "GZIP=6", str(self.archive), str(out)], check=True)
        done = support.run_qins("verify", out, check=3)
        self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)
        self.assertRegex(done.stderr, "rewritten by another program .*h5repack")

    def test_convert_beside_the_plugin(self):
        """A plugin that libhdf5 could load into the program changes nothing."""
        for options in self.CODINGS:
            self.convert(options, HDF5_PLUGIN_PATH="/nonexistent")
            want = self.archive.read_bytes()
            self.convert(options, HDF5_PLUGIN_PATH=str(PLUGIN_DIR))
            self.assertTrue(self.archive.read_bytes() == want, options)


if __name__ == "__main__":
    support.main()
