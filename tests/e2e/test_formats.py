"""Every format and type through the program: files of independent writers are converted
losslessly, verified and restored, and what comes back is compared with what numpy, h5py or torch
made of the source. At the end a table, in Markdown, of what was tried."""
import collections
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest
import urllib.parse
import zipfile
import zlib

os.environ["HDF5_PLUGIN_PATH"] = "/nonexistent"

import h5py  # noqa: E402
import numpy as np  # noqa: E402

import fixtures_hdf5  # noqa: E402
import fixtures_safetensors_gguf as fixtures  # noqa: E402
from support import less, main, run_qins  # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent
DTYPES = ("F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2", "I64", "I32", "I16", "I8", "U64",
          "U32", "U16", "U8", "BOOL")
GGUF_NAMES = {number: name for name, number in fixtures.GGML_IDS.items()}


def shape_text(shape):
    return "x".join(map(str, shape)) or "scalar"


def summary(dtype, shape, data):
    return dtype, shape_text(shape), zlib.crc32(data)


def numpy_summary(array):
    dtype = fixtures_hdf5.NAMES[array.dtype.str[1:]]
    return summary(dtype, array.shape, array.astype(array.dtype.newbyteorder("<")).tobytes("C"))


def read_description(path):
    """name -> summary() of what can be converted."""
    result = {}
    for text in path.read_text(encoding="utf-8").splitlines():
        crc, dtype, shape, name = text.split(" ", 3)
        if dtype != "?":
            result[name] = dtype, shape, int(crc, 16)
    return result


def describe_hdf5(path):
    """name -> summary(), by h5py; escaped links and groups become names again."""
    result = {}

    def visit(group, prefix):
        for link in group:
            item, name = group[link], prefix + urllib.parse.unquote(link)
            if isinstance(item, h5py.Group):
                visit(item, name + ".")
                continue
            crc, dtype, shape, _ = fixtures_hdf5.describe_dataset(name, item).split(" ", 3)
            result[name] = dtype, shape, int(crc, 16)

    with h5py.File(path, "r") as f:
        visit(f, "")
    return result


def e4m3_as_f16(data):
    """OCP FP8 specification, table 2: exponent bias 7, NaN where all bits but the sign are set."""
    bits = np.frombuffer(data, "u1").astype("i4")
    exponent, mantissa = bits >> 3 & 15, bits & 7
    value = np.where(exponent == 0, np.ldexp(mantissa / 8.0, -6),
                     np.ldexp(1 + mantissa / 8.0, exponent - 7))
    value = np.where(bits & 127 == 127, np.nan, value)
    return np.where(bits >> 7 == 1, -value, value).astype("<f2")


def hdf5_form(dtype, shape, data):
    """What a tensor is in a restored HDF5 file, which has no E4M3; NaN as h5py's own F16 NaN."""
    if dtype != "F8_E4M3":
        return summary(dtype, shape, data)
    return summary("F16", shape, e4m3_as_f16(data).tobytes())


class Formats(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory(prefix="qins-formats-")
        cls.addClassCleanup(folder.cleanup)
        cls.dir = pathlib.Path(folder.name)
        for name, script, arguments in (("numpy", "fixtures_torch_numpy.py", []),
                                        ("hdf5", "fixtures_hdf5.py", ["make"]),
                                        ("plain", "fixtures_safetensors_gguf.py", ["make"])):
            (cls.dir / name).mkdir()
            subprocess.run([sys.executable, str(HERE / script), *arguments, str(cls.dir / name)],
                           check=True)
        cls.write_subsets()
        cls.table = collections.defaultdict(lambda: collections.defaultdict(set))

    @classmethod
    def write_subsets(cls):
        """Files without the types that cannot be converted, and with only those of GGUF."""
        arrays = {p.stem: np.load(p) for p in sorted((cls.dir / "numpy").glob("??[lb]e*.npy"))}
        fits = {k: a for k, a in arrays.items() if a.dtype.kind in "fi"}
        for name, content in (("every", arrays), ("fits", fits)):
            np.savez(cls.dir / "numpy" / f"{name}_stored.npz", **content)
            np.savez_compressed(cls.dir / "numpy" / f"{name}_packed.npz", **content)
        tensors = fixtures.gguf_tensors()
        fixtures.write_safetensors(cls.dir / "plain" / "fits.safetensors", tensors)
        fixtures.write_sharded(cls.dir / "plain" / "fits", tensors)
        with h5py.File(cls.dir / "hdf5" / "fits.h5", "w") as f:
            for name, array in tensors.items():
                if isinstance(array, tuple):
                    fixtures_hdf5.write_raw(f, name, fixtures_hdf5.BF16, array[1])
                else:
                    f[name] = array
        fixtures_hdf5.describe(cls.dir / "hdf5" / "fits.h5", cls.dir / "hdf5" / "fits.h5.expect")
        (cls.dir / "plain" / "fits.safetensors.expect").write_text(
            fixtures.describe(str(cls.dir / "plain" / "fits.safetensors")), encoding="utf-8")

    @classmethod
    def tearDownClass(cls):
        """The table: which targets gave back every bit."""
        print("\nTensors' bytes after convert --lossless, verify --against and restore equal those "
              "of numpy: s in safetensors, h in HDF5, g in GGUF")
        print("| format | " + " | ".join(DTYPES) + " |")
        print("|---" * (len(DTYPES) + 1) + "|")
        for label, dtypes in cls.table.items():
            cells = ("".join(k for k in "shg" if k in dtypes[d]) or "–" for d in DTYPES)
            print(f"| {label} | " + " | ".join(cells) + " |", flush=True)

    def note(self, label, target, tensors):
        for dtype, _, _ in tensors.values():
            self.table[label][dtype].add(target)

    def round_trip(self, label, source, expected):
        archive = self.dir / "a.qins"
        run_qins("convert", source, "-o", archive, "--lossless", "--quiet", check=0)
        run_qins("verify", archive, "--against", source, "--quiet", check=0)
        out = {s: self.dir / f"out.{s}" for s in ("safetensors", "h5", "gguf")}
        for suffix in ("safetensors", "h5"):
            run_qins("restore", archive, "-o", out[suffix], "--quiet", check=0)
        tensors, _ = fixtures.read_safetensors(out["safetensors"])
        self.assertEqual({k: summary(*v) for k, v in tensors.items()}, expected)
        self.note(label, "s", tensors)
        self.assertEqual(describe_hdf5(out["h5"]),
                         {k: hdf5_form(*v) for k, v in tensors.items()})
        self.note(label, "h", tensors)
        fits = all(v[0] in fixtures.GGML_IDS and len(v[1]) <= 4 for v in tensors.values())
        done = run_qins("restore", archive, "-o", out["gguf"], "--quiet", check=0 if fits else 3)
        if fits:
            restored, _ = fixtures.read_gguf(out["gguf"])
            self.assertEqual({k: (GGUF_NAMES[v[0]], *v[1:]) for k, v in restored.items()}, tensors)
            self.note(label, "g", tensors)
        else:
            self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)

    def check(self, label, folder, files, suffix):
        for name in files:
            with self.subTest(file=name):
                source = self.dir / folder / name
                self.round_trip(label, source, read_description(
                    source.with_name(name + suffix)))

    def test_npy(self):
        codes = ("f8", "f4", "f2", "i8", "i4", "i2", "i1", "u8", "u4", "u2", "u1", "b1")
        for form, order in (("C order", ""), ("Fortran order", "_f")):
            for ends in ("le", "be"):
                # Of each file the reader runs sanitized in unit tests.
                some = codes if ends + order == "le" else less(codes, ("f8", "i2"))
                self.check(f".npy, {form}", "numpy", [f"{c}{ends}{order}.npy" for c in some],
                           ".txt")
        self.check(".npy, C order", "numpy", ["f4le_0d.npy", "i2be_empty.npy", "version1.npy",
                                              "version2.npy", "version3.npy"], ".txt")

    def test_npz(self):
        for label, kind in ("stored", "stored"), ("deflated", "packed"):
            for name in "every", "fits":
                with self.subTest(kind=kind, name=name):
                    path = self.dir / "numpy" / f"{name}_{kind}.npz"
                    with np.load(path) as arrays:
                        expected = {k: numpy_summary(a) for k, a in arrays.items()}
                    self.assertGreater(len(expected), 50)
                    self.round_trip(f".npz, {label}", path, expected)

    def test_torch(self):
        folder = self.dir / "numpy"
        if not (folder / "dtypes.pt").exists():
            self.skipTest("no torch to write the files with")
        import torch
        tensors = torch.load(folder / "dtypes.pt")
        tensors = {k: v for k, v in tensors.items() if not k.startswith("complex")}
        described = read_description(folder / "dtypes.pt.txt")
        fits = {k for k, v in described.items() if v[0] in fixtures.GGML_IDS}
        for names in set(tensors), fits:
            torch.save({k: v for k, v in tensors.items() if k in names}, folder / "subset.pt")
            self.round_trip(".pt", folder / "subset.pt",
                            {k: v for k, v in described.items() if k in names})
        self.check(".pt", "numpy", ["views.pt", "nested.pt", "protocol5.pt", "big_endian.pt"],
                   ".txt")
        self.check(".pt, deflated", "numpy", ["deflated.pt"], ".txt")

    def test_torch_of_later_versions(self):
        """By hand: this torch has none of these types. The one that qins refuses is made E4M3."""
        folder = self.dir / "numpy"
        with zipfile.ZipFile(folder / "untyped.pt") as old, \
                zipfile.ZipFile(folder / "later.pt", "w") as new:
            for name in old.namelist():
                new.writestr(name, old.read(name).replace(b"ctorch\nfloat8_e4m3fnuz\n",
                                                          b"ctorch\nfloat8_e4m3fn\n"))
        expected = read_description(folder / "untyped.pt.txt")
        expected["float8_e4m3fnuz"] = expected["float8_e4m3fn"]
        self.round_trip(".pt, untyped storages", folder / "later.pt", expected)

    def test_hdf5(self):
        self.check("HDF5", "hdf5", ["all.h5", "latest.h5", "behind_block.h5", "odd.h5", "wide.h5",
                                    "converted.h5", "fits.h5"], ".expect")
        self.check("Keras HDF5", "hdf5", ["keras.h5"], ".expect")

    def test_llama2c(self):
        self.check("llama2.c .bin", "numpy", ["tied.bin", "untied.bin"], ".txt")
        self.check("llama2.c .bin, version 1", "numpy", ["v1_tied.bin", "v1_untied.bin"], ".txt")

    def test_gguf(self):
        self.check("GGUF v2", "plain", ["aligned.gguf"], ".expect")
        self.check("GGUF v3", "plain", ["all.gguf"], ".expect")

    def test_safetensors(self):
        self.check("safetensors", "plain", ["all.safetensors", "nometa.safetensors",
                                          "fits.safetensors"], ".expect")

    def test_folder_of_shards(self):
        for folder, same in ("sharded", "all"), ("fits", "fits"):
            self.round_trip("HF folder with index", self.dir / "plain" / folder,
                            read_description(self.dir / "plain" / f"{same}.safetensors.expect"))


if __name__ == "__main__":
    main()
