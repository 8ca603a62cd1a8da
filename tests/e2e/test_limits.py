"""Small files that ask for much: each ends with exit code 3 and one line, within the memory and the
time that docs/limits.md gives for a file of its size. The bounds on both are the system's:
RLIMIT_DATA and RLIMIT_CPU, so that no peak between two looks can hide."""
import io
import json
import math
import os
import pathlib
import re
import resource
import struct
import subprocess
import unittest
import zipfile
import zlib

import h5py
import numpy as np

import support
from test_memory import anonymous_bytes

FLOOR_BYTES, BYTES_A_BYTE = 96 << 20, 96      # docs/limits.md
FLOOR_SECONDS, SECONDS_A_MEGABYTE = 2, 2
PLAIN = support.SANITIZER == "none"           # what a sanitizer takes counts otherwise
MEGA = support.less(1 << 20, 1 << 16)


def bounds(path):
    size = sum(p.stat().st_size for p in ([path] if path.is_file() else path.iterdir()))
    return FLOOR_BYTES + BYTES_A_BYTE * size, FLOOR_SECONDS + SECONDS_A_MEGABYTE * size / 1e6


def run(path, *arguments):
    """(exit code, stderr, seconds of processors, peak of anonymous bytes as far as it was seen)."""
    memory, seconds = bounds(path)

    def limit():
        resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
        resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(seconds), math.ceil(seconds) + 1))
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    process = subprocess.Popen([str(support.PROGRAM), *map(str, arguments)], text=True,
                               stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                               preexec_fn=limit if PLAIN else None)
    peak, errors = 0, ""
    while True:
        peak = max(peak, anonymous_bytes(process.pid))
        try:
            errors = process.communicate(timeout=0.005)[1]
            break
        except subprocess.TimeoutExpired:
            pass
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (process.returncode, errors,
            after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, peak)


def safetensors(text, data=b""):
    return struct.pack("<Q", len(text)) + text + data


def repeated(unit, size):
    return unit * (size // len(unit))


def entries(n, entry):
    return b"{" + b",".join(entry(i) for i in range(n)) + b"}"


def gguf(keys=b"", n_keys=0, n_tensors=0, rest=b""):
    return b"GGUF" + struct.pack("<IQQ", 3, n_tensors, n_keys) + keys + rest


def gguf_key(name, kind, value):
    return struct.pack("<Q", len(name)) + name + struct.pack("<I", kind) + value


def torch_file(pickle, compression=zipfile.ZIP_STORED):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as z:
        z.writestr("archive/data.pkl", pickle)
        z.writestr("archive/version", "3\n")
    return out.getvalue()


def doubling(levels):
    """A list of two times a list of two times ...: 2^LEVELS leaves."""
    text = b"\x80\x02]q\x00"
    for i in range(levels):
        text += b"](h" + bytes([i]) + b"h" + bytes([i]) + b"eq" + bytes([i + 1])
    return text + b"."


def npy(header):
    return b"\x93NUMPY\x02\x00" + struct.pack("<I", len(header)) + header


def npz_claiming(size):
    """A member that unpacks to 1 MiB and claims SIZE in both of its headers."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as z:
        z.writestr("x.npy", npy(b"{'descr': '|u1', 'fortran_order': False, 'shape': (%d,), }\n" % size)
                   + bytes(1 << 20))
    data = bytearray(out.getvalue())
    struct.pack_into("<I", data, 22, size)
    struct.pack_into("<I", data, data.index(b"PK\x01\x02") + 24, size)
    return bytes(data)


FILES = {  # name: content
    "objects.safetensors": safetensors(b'{"a":[' + repeated(b"{},", MEGA) + b"1]}"),
    "arrays.safetensors": safetensors(b'{"a":[' + repeated(b"[],", MEGA) + b"1]}"),
    "numbers.safetensors": safetensors(b'{"a":[' + repeated(b"1,", MEGA) + b"1]}"),
    "digits.safetensors": safetensors(b'{"a":' + b"9" * MEGA + b"}"),
    "fraction.safetensors": safetensors(b'{"a":0.' + b"9" * MEGA + b"}"),
    "exponent.safetensors": safetensors(b'{"a":1e' + b"9" * MEGA + b"}"),
    "deep.safetensors": safetensors(b"[" * MEGA),
    "deep-objects.safetensors": safetensors(repeated(b'{"a":', MEGA)),
    "escapes.safetensors": safetensors(b'{"a":"' + repeated(b"\\u00e9", MEGA) + b'"}'),
    "keys.safetensors": safetensors(entries(MEGA // 10, lambda i: b'"%x":1' % i)),
    "rank.safetensors": safetensors(
        b'{"a":{"dtype":"F32","shape":[' + repeated(b"1,", MEGA) + b'1],"data_offsets":[0,4]}}', b"1234"),
    "extent.safetensors": safetensors(
        b'{"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,4]}}', b"1234"),
    "empty-extent.safetensors": safetensors(
        b'{"a":{"dtype":"F32","shape":[0,9223372036854775807,9223372036854775807],"data_offsets":[0,4]}}',
        b"1234"),
    "length.safetensors": struct.pack("<Q", (1 << 63) - 1) + b"{}" * 100,
    "tensors.gguf": gguf(n_tensors=1 << 62),
    "keys.gguf": gguf(n_keys=1 << 62),
    "name.gguf": gguf(n_keys=1, keys=struct.pack("<Q", 1 << 62) + bytes(100)),
    "text.gguf": gguf(n_keys=1, keys=gguf_key(b"a", 8, struct.pack("<Q", 1 << 62))),
    "array.gguf": gguf(n_keys=1, keys=gguf_key(b"a", 9, struct.pack("<IQ", 4, 1 << 62))),
    "texts.gguf": gguf(n_keys=1, keys=gguf_key(
        b"a", 9, struct.pack("<IQ", 8, MEGA) + bytes(8 * MEGA // 8))),
    "nested.gguf": gguf(n_keys=1, keys=gguf_key(b"a", 9, struct.pack("<IQ", 9, 1) * 1000)),
    "lists.pt": torch_file(b"\x80\x02" + b"]" * MEGA + b"."),
    "packed-lists.pt": torch_file(b"\x80\x02" + b"]" * 16 * MEGA + b".", zipfile.ZIP_DEFLATED),
    "tuples.pt": torch_file(b"\x80\x02)" + b"\x85" * MEGA + b"."),
    "memo.pt": torch_file(b"\x80\x02]" + b"".join(
        b"r" + struct.pack("<I", 0xffffffff - i) for i in range(MEGA // 5)) + b"."),
    "doubling.pt": torch_file(doubling(200)),
    "itself.pt": torch_file(b"\x80\x02]q\x00h\x00a."),
    "long.pt": torch_file(b"\x80\x02\x8b" + struct.pack("<I", 0x7fffffff) + b"."),
    "frame.pt": torch_file(b"\x80\x04\x95" + struct.pack("<Q", 1 << 62) + b"."),
    "bytes.pt": torch_file(b"\x80\x04\x8e" + struct.pack("<Q", 1 << 62) + b"."),
    "header.npy": npy(b"(" * MEGA),
    "long-header.npy": b"\x93NUMPY\x02\x00" + struct.pack("<I", 0xffffffff),
    "rank.npy": npy(b"{'descr': '<f4', 'fortran_order': False, 'shape': (" +
                    repeated(b"1,", MEGA // 2) + b"), }\n"),
    "extent.npy": npy(b"{'descr': '<f4', 'fortran_order': False, 'shape': (4611686018427387904,), }\n"),
    "claims.npz": npz_claiming(0xfffffff0),
    "layers.bin": struct.pack("<7i", 64, 128, 1 << 30, 4, 4, 512, 512),
    "user-block.qins": b"QINSARC\0" + struct.pack("<II9Q", 1, 0, 512, 1 << 62, 1 << 62, 0, 512, 1 << 60,
                                                  0, 0, 0) + bytes(416 + 8),
}


SOUND = {"lists.pt": (0,)}  # the last of many lists is what the file holds


class Bounded(support.Folder):
    def check(self, name, path, *arguments, codes=(3,), words=""):
        code, errors, seconds, peak = run(path, *arguments)
        size = path.stat().st_size if path.is_file() else 0
        print(f"{name}: {size} bytes, {seconds:.2f} s, {peak / 1e6:.0f} MB, exit {code} "
              f"{errors[:90].strip()}", flush=True)
        self.assertIn(code, codes, errors)
        self.assertIn(words, errors)
        if code:
            self.assertEqual(len(errors.splitlines()), 1, errors)
            self.assertTrue(errors.startswith("qins: "), errors)
            self.assertNotRegex(errors, r"[Oo]ut of memory")
        if PLAIN:
            memory, most = bounds(path)
            self.assertLessEqual(seconds, most)
            self.assertLessEqual(peak, memory)

    def write(self, name, data):
        path = self.dir / name
        path.write_bytes(data)
        return path

    def test_checkpoints(self):
        for name, data in FILES.items():
            with self.subTest(name=name):
                path = self.write(name, data)
                self.check(name, path, "inspect", path, codes=SOUND.get(name, (3,)))
                path.unlink()

    def test_header_of_holes(self):
        """100 MB that a file system gives for nothing."""
        path = self.write("holes.safetensors", struct.pack("<Q", 100_000_000))
        os.truncate(path, 100_000_008)
        self.check("holes", path, "inspect", path)

    def test_many_tensors(self):
        """Sound, but nothing except descriptions."""
        n = MEGA // 60
        path = self.write("many.safetensors", safetensors(entries(
            n, lambda i: b'"t%d":{"dtype":"U8","shape":[1],"data_offsets":[%d,%d]}' % (i, i, i + 1)),
            bytes(n)))
        self.check("many tensors", path, "inspect", path, codes=(0,))
        out = self.dir / "many.qins"
        self.check("many tensors, convert", path, "convert", path, "-o", out, "--threads", 1, codes=(0,))
        self.check("many tensors, verify", out, "verify", out, "--threads", 1, codes=(0,))

    def test_hdf5(self):
        path = self.dir / "x.h5"
        for name, make in {
            "unwritten chunks": lambda f: f.create_dataset("w", (1 << 40,), "<f4", chunks=(1 << 20,)),
            "a large chunk": lambda f: f.create_dataset("w", (1 << 28,), "<f4", chunks=(1 << 27,)),
            "deep groups": lambda f: f.create_group("/".join("g" * 200)),
            "a group in itself": lambda f: f.__setitem__("a/b", f.create_group("a")),
            "packed zeros": lambda f: f.create_dataset("w", (1 << 31,), "u1", chunks=(1 << 18,),
                                                       compression="gzip")}.items():
            with self.subTest(name=name):
                with h5py.File(path, "w") as f:
                    make(f)
                # A second name of a group is left out with a notice.
                self.check(name, path, "inspect", path, codes=(0,) if "itself" in name else (3,))

    def reseal(self, data, manifest):
        """DATA, an archive, with another manifest behind it and sound hashes."""
        from test_archive_h5py import Hashes
        hashes, at = Hashes(), len(data)
        data = bytearray(data + manifest)
        struct.pack_into("<QQQ", data, 16, len(data), at, len(manifest))
        struct.pack_into("<Q", data, 40, hashes.h64(manifest))
        data[72:88] = hashes.h128(data[512:])
        struct.pack_into("<Q", data, 504, hashes.h64(data[:504]))
        return bytes(data)

    def test_archives(self):
        source, archive = self.dir / "s.safetensors", self.dir / "s.qins"
        support.write_safetensors(source, {"w": ("F32", (4, 64), [np.ones(256, "<f4").tobytes()])})
        support.run_qins("convert", source, "-o", archive, check=0)
        data = archive.read_bytes()
        at, size = struct.unpack_from("<QQ", data, 24)
        manifest = json.loads(zlib.decompress(data[at:at + size]))
        one = manifest["tensors"][0]

        def shaped(*shape):
            return json.dumps({**manifest, "tensors": [{**one, "shape": shape}]}).encode()
        # A MiB of JSON is what an archive of this size may inflate: small enough by itself.
        for name, text in {
                "objects": b"[" + repeated(b"{},", 1 << 20) + b"1]",
                "spaces": b" " * (256 << 20),
                "nested": b"[" * (1 << 20),
                "a wide tensor": shaped(1 << 40, 1 << 20),
                "overflow": shaped(1 << 40, 1 << 40),
                "many chunks": shaped(1 << 60)}.items():
            with self.subTest(name=name):
                bomb = self.write("bomb.qins", self.reseal(data, zlib.compress(text, 9)))
                self.check(f"archive, {name}", bomb, "inspect", bomb)
        # Packed to a sixtieth, each byte of JSON would take eighty: refused before it is parsed.
        rng = np.random.default_rng(1)
        noise = b"".join(b"[" + repeated(b"{},", 90) + b"%d]," % n for n in rng.integers(0, 10000, 60000))
        bomb = self.write("bomb.qins", self.reseal(data, zlib.compress(b"[" + noise + b"1]", 9)))
        self.check("archive, objects in noise", bomb, "verify", bomb, words="too much memory")

    def test_folders(self):
        folder = self.dir / "folder"
        folder.mkdir()
        (folder / "model.safetensors.index.json").write_bytes(
            b'{"weight_map":' + entries(MEGA // 20, lambda i: b'"%d":"%d.safetensors"' % (i, i)) + b"}")
        self.check("many shards", folder, "inspect", folder, codes=(3, 4))

    def test_settings(self):
        """JSON that a user may get from others: each is refused, in time."""
        model = self.write("m.safetensors", safetensors(  # the longest name that torch files may have
            b'{"%s":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}' % (b"a" * 1024), bytes(4)))
        deep = self.write("deep.json", b"[" * MEGA)
        glob = self.write("glob.json", json.dumps({
            **json.loads((support.SOURCE_ROOT / "policy/default.json").read_text()), "rules": [
            {"component": "x", "tensors": ["*a" * 120 + "b"], "treatment": "lossless"}] * 300}).encode())
        for name, *arguments in (
                ("deep plan", "convert", model, "-o", self.dir / "o.qins", "--plan", deep),
                ("deep policy", "plan", model, "--policy", deep, "-o", self.dir / "p.json"),
                ("globs", "plan", model, "--policy", glob, "-o", self.dir / "p.json",
                 "--target-bits", 8),
                ("deep gates", "gate", "--evidence", self.dir, "--gates", deep, "-o", self.dir / "g")):
            with self.subTest(name=name):
                self.check(name, deep if "deep" in name else glob, *arguments, codes=(0, 2, 3))

    def test_tokenizers(self):
        """Regular expressions that run away, normalizers that grow, tables with holes."""
        base = json.loads((support.MODEL / "tokenizer.json").read_text())
        text = self.write("text.txt", b"a" * MEGA + b"!")

        def with_pattern(pattern):
            return {**base, "normalizer": None, "pre_tokenizer": {
                "type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}}
        growing = {"type": "Replace", "pattern": {"String": "a"}, "content": "a" * 50}
        far = {**base, "model": {**base["model"], "vocab": {**base["model"]["vocab"], "zzz": (1 << 31)}}}
        for name, tokenizer in {
                "(a+)+$": with_pattern("(a+)+$"), "(a|aa)+$": with_pattern("(a|aa)+$"),
                "nested": with_pattern("(" * 2000 + "a" + ")" * 2000),
                "repeats": with_pattern("((a{1,999}){1,999}){1,999}"),
                "growing": {**base, "normalizer": {"type": "Sequence", "normalizers": [growing] * 6}},
                "sequences": {**base, "normalizer": {"type": "Sequence", "normalizers": [
                    {"type": "NFC"}] * 5000}},
                "a far id": far}.items():
            with self.subTest(name=name):
                path = self.write("tokenizer.json", json.dumps(tokenizer).encode())
                self.check(f"tokenizer, {name}", path, "validate", support.MODEL, "--tokenizer", path,
                           "--text", text, "--context", 64, "--threads", 1, "-o", self.dir / "v.json",
                           codes=(3,))


class Table(unittest.TestCase):
    def test_limits(self):
        done = support.run_qins("--limits", "--json", check=0)
        report = json.loads(done.stdout)
        support.validate(report, "limits")
        names = [(entry["area"], entry["name"]) for entry in report["limits"]]
        self.assertEqual(len(names), len(set(names)))
        lines = support.run_qins("--limits", check=0).stdout.splitlines()
        self.assertEqual(len(lines), len(names) + 1)
        page = (support.SOURCE_ROOT / "docs/limits.md").read_text()
        told = dict(re.findall(r"^\| `(\w+\.\w+)` \| ([\d ]+) \|", page, re.M))
        self.assertEqual({key: int(value.replace(" ", "")) for key, value in told.items()},
                         {f"{entry['area']}.{entry['name']}": entry["value"]
                          for entry in report["limits"]})
        support.run_qins("--limits", "--jso", check=2)


if __name__ == "__main__":
    support.main()
