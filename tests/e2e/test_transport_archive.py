"""Transports inside archives: convert --transport, and what the other verbs make of such archives.
Planes as numpy quantises them, arrays as h5py sees them, archives that were edited and sealed again."""
import json
import os
import pathlib
import struct
import tempfile
import unittest
import zlib

import support

PLUGIN_DIR = pathlib.Path(os.environ.get("QINS_PLUGIN_DIR", support.BUILD_ROOT))
SANITIZED = os.environ.get("QINS_SANITIZER", "none") != "none"
os.environ["HDF5_PLUGIN_PATH"] = str(PLUGIN_DIR)  # libhdf5 reads it when it starts

import h5py  # noqa: E402
import numpy as np  # noqa: E402

from archive_oracle import archive_chunks, decode, expected  # noqa: E402
from test_analyze import copy_two_layers  # noqa: E402
from test_archive_h5py import Hashes  # noqa: E402

MODEL = support.MODEL  # under sanitizers its first layers
CALIBRATION_TEXT = support.SOURCE_ROOT / "examples" / "kjv-calibration.txt"
HELDOUT = support.SOURCE_ROOT / "examples" / "kjv-heldout.txt"
PREFIX, ATTACHMENT = "qins.transport.", "qins.transport.json"
V0 = "model.layers.0.self_attn.v_proj.weight"
LAYERS = support.less(6, 2)


def report_of(test, verb, *arguments, check=0):
    done = support.run_qins(verb, *arguments, "--json", check=check)
    report = json.loads(done.stdout)
    schema = {"validate": "validation"}.get(verb, verb)
    support.validate(report, schema)
    return report


def arrays_of(path):
    found = {}
    with h5py.File(path) as f:
        f.visititems(lambda name, o: found.__setitem__(name, o[()])
                     if isinstance(o, h5py.Dataset) else None)
    found.pop("meta")
    return found


def same_predictions(report):
    """Of a validation, all that running the same model again has to repeat."""
    test = report["tests"]["perplexity"]
    figures = {k: v for k, v in test["candidate"].items() if k not in ("seconds", "tokens_per_s")}
    return figures, test["kl"], test["difference"]


class Archive:
    """An archive's description, to be changed and sealed again: new parts go behind the old."""

    def __init__(self, path):
        self.data = bytearray(path.read_bytes())
        at, size = struct.unpack_from("<QQ", self.data, 24)
        self.manifest = json.loads(zlib.decompress(self.data[at:at + size]))

    def tensors(self):
        return {t["name"]: t for t in self.manifest["tensors"]}

    def file(self):
        return next(f for f in self.manifest["files"] if f["name"] == ATTACHMENT)

    def description(self):
        f = self.file()
        return json.loads(self.data[f["offset"]:f["offset"] + f["size"]])

    def append(self, part):
        self.data += part
        return len(self.data) - len(part)

    def describe(self, description):
        text = description if isinstance(description, bytes) else json.dumps(description).encode()
        self.file().update(offset=self.append(text), size=len(text),
                           xxh3_64=f"{Hashes().h64(text):016x}")

    def save(self, path):
        hashes, packed = Hashes(), zlib.compress(json.dumps(self.manifest).encode())
        struct.pack_into("<QQQ", self.data, 24, self.append(packed), len(packed),
                         hashes.h64(packed))
        struct.pack_into("<Q", self.data, 16, len(self.data))
        self.data[72:88] = hashes.h128(self.data[512:])
        struct.pack_into("<Q", self.data, 504, hashes.h64(self.data[:504]))
        path.write_bytes(self.data)


class Folder(unittest.TestCase):
    """One folder for all: most of the time goes into what stands there."""
    dir = None

    @classmethod
    def setUpClass(cls):
        if Folder.dir:
            return
        folder = tempfile.TemporaryDirectory(prefix="qins-transport-archive-")
        unittest.addModuleCleanup(folder.cleanup)
        Folder.dir = pathlib.Path(folder.name)
        if SANITIZED:
            global MODEL
            MODEL = cls.dir / "model"
            copy_two_layers(MODEL)
        calibration = cls.dir / "calibration.h5"
        support.run_qins("calibrate", MODEL, "--text", CALIBRATION_TEXT, "--tokens", 3000,
                         "--context", 64, "--keep-rows", 400, "-o", calibration, check=0)
        for name, arguments in {"split": ["--layers", "v_proj,down_proj", "--order", 3],
                                "ridge": ["--method", "ridge", "--order", 2],
                                "planes": ["--order", 2, "--materialize"]}.items():
            support.run_qins("transport", MODEL, "--calibration", calibration, "--kappa", 1,
                             "--clip", 1, *arguments, "-o", cls.dir / f"{name}.h5", check=0)
            support.run_qins("convert", MODEL, "--transport", cls.dir / f"{name}.h5", "--lossless",
                             "-o", cls.dir / f"{name}.qins", check=0)
        support.run_qins("convert", MODEL, "--lossless", "-o", cls.dir / "plain.qins", check=0)
        Folder.text = cls.dir / "text.txt"
        cls.text.write_text(HELDOUT.read_text()[:support.less(2000, 600)])

    def validate(self, *arguments):
        return report_of(self, "validate", *arguments, "--text", self.text, "--context", 64, "--tests",
                         "perplexity")


class RoundTrip(Folder):
    def test_runs_as_with_the_file(self):
        for name in ("split", "ridge", "planes"):
            with self.subTest(name):
                archive = self.dir / f"{name}.qins"
                given = self.validate(MODEL, "--transport", self.dir / f"{name}.h5")
                carried = self.validate(MODEL, archive)
                self.assertEqual(same_predictions(given), same_predictions(carried))
                self.assertGreater(carried["tests"]["perplexity"]["candidate"]["compute"]["encodes"], 0)
                self.assertEqual([carried[k].get("native") for k in ("model", "candidate")],
                                 [None, True])
        done = support.run_qins("generate", archive, "--prompt", "In the beginning", "--temperature",
                                0, "--tokens", 20, "--json", check=0)
        self.assertIn(f"{archive} carries a transport: {LAYERS} of its layers run natively",
                      done.stderr)
        self.assertTrue(json.loads(done.stdout)["native"])
        alone = support.run_qins("generate", MODEL, "--transport", self.dir / "planes.h5",
                                 "--prompt", "In the beginning", "--temperature", 0, "--tokens", 20,
                                 "--json", check=0)
        self.assertEqual(json.loads(done.stdout)["ids"], json.loads(alone.stdout)["ids"])

    def test_file_replaces_what_is_carried(self):
        given = self.validate(MODEL, "--transport", self.dir / "ridge.h5")
        both = self.validate(MODEL, self.dir / "split.qins", "--transport", self.dir / "ridge.h5")
        self.assertEqual(same_predictions(given), same_predictions(both))

    def test_no_part_of_the_model(self):
        archive, plain = self.dir / "split.qins", self.dir / "plain.qins"
        for against in ([], ["--against", MODEL]):
            report = report_of(self, "verify", archive, *against)
            self.assertTrue(report["ok"])
            marked = [t for t in report["tensors"] if t.get("transport")]
            self.assertEqual([t["name"] for t in marked],
                             [f"{PREFIX}inputs/{i}/coefficients" for i in range(2 * LAYERS)])
            self.assertTrue(all(t["ok"] and t["exact"] is None for t in marked))
        self.assertIn("sound, a transport's",
                      support.run_qins("verify", archive, "--against", MODEL, check=0).stdout)
        restored = [self.dir / "with.safetensors", self.dir / "without.safetensors"]
        for source, out in zip((archive, plain), restored):
            support.run_qins("restore", source, "-o", out, check=0)
        self.assertEqual(restored[0].read_bytes(), restored[1].read_bytes())
        rows = []
        for source in (MODEL, archive):
            out = self.dir / "rows.h5"
            support.run_qins("calibrate", source, "--text", self.text, "--tokens", 300, "--context",
                             64, "--keep-rows", 50, "-o", out, check=0)
            with h5py.File(out) as f:
                self.assertIn("fingerprint", f["meta"][()].tobytes().decode())
            found = arrays_of(out)
            rows.append({k: v.tobytes() for k, v in found.items() if "rows" in k})
        self.assertTrue(rows[0])
        self.assertEqual(rows[0], rows[1])

    def test_inspect(self):
        path = self.dir / "split.qins"
        report = report_of(self, "inspect", path)
        own = [t for t in report["tensors"] if "transport" not in t]
        carried = [t for t in report["tensors"] if t.get("transport")]
        self.assertEqual(report["tensors"], own + carried)
        self.assertEqual(report["transport"], {
            "tensors": 2 * LAYERS, "coded_bytes": sum(t["coded_bytes"] for t in carried)})
        self.assertTrue(all(t["content"] == "lossless" for t in carried))
        weights = sum(t["elements"] for t in own)
        self.assertEqual(report["float_elements"], weights)
        self.assertAlmostEqual(report["bits_per_weight"], 8 * path.stat().st_size / weights)
        self.assertIn("are a transport's", support.run_qins("inspect", path, check=0).stdout)
        self.assertIsNone(report_of(self, "inspect", self.dir / "plain.qins")["transport"])

    @unittest.skipIf(SANITIZED, "python3 is not built with the sanitizer that the plugin wants")
    def test_h5py(self):
        for name in ("split", "ridge"):
            wanted = arrays_of(self.dir / f"{name}.h5")
            with h5py.File(self.dir / f"{name}.qins") as f:
                found = {k[len(PREFIX):].replace("%2F", "/"): d[()] for k, d in f["tensors"].items()
                         if k.startswith(PREFIX)}
                meta = json.loads(f["qins/files"][ATTACHMENT][()].tobytes())
            self.assertEqual(wanted.keys(), found.keys())
            for key, values in wanted.items():
                np.testing.assert_array_equal(values, found[key])
            with h5py.File(self.dir / f"{name}.h5") as f:
                self.assertEqual(meta, {**json.loads(f["meta"][()].tobytes()), "study": None})


class Quantised(Folder):
    def check_planes(self, archive, transport, lines):
        """Planes are what numpy makes of the transport's; LINES: by layer, keys of the manifest."""
        arrays, stored = arrays_of(transport), archive_chunks(archive)
        for i in range(LAYERS):
            t, payloads = stored[f"{PREFIX}layers/{i}/planes"]
            wanted = {"content": "qins", "levels": 127, "codec": "bitpack", "group": "block",
                      "group_size": 128, **lines.get(i, {})}
            self.assertEqual(wanted, {k: t.get(k) for k in wanted})
            values, _ = decode(payloads)
            x = arrays[f"layers/{i}/planes"]
            rows = x.reshape(x.shape[0], -1)
            if t["content"] == "qins":
                rows = expected(rows, t["levels"], t["kappa"], t["clip"],
                                {"block": t.get("group_size"), "tensor": None}[t["group"]])
            np.testing.assert_array_equal(values.reshape(rows.shape), rows)

    def test_options(self):
        for name in ("ridge", "planes"):
            out = self.dir / f"{name}8.qins"
            support.run_qins("convert", MODEL, "--transport", self.dir / f"{name}.h5", "-o", out,
                             check=0)
            self.check_planes(out, self.dir / f"{name}.h5", {})
            self.assertTrue(report_of(self, "verify", out, "--against", MODEL)["ok"])
        support.run_qins("convert", MODEL, "--transport", self.dir / "ridge.h5", "-o", out, "--bits",
                         4, "--group", "tensor", "--codec", "zstd", check=0)
        self.check_planes(out, self.dir / "ridge.h5", {i: {
            "levels": 7, "group": "tensor", "group_size": None, "codec": "zstd"}
            for i in range(LAYERS)})
        with self.subTest("coefficients"):
            support.run_qins("convert", MODEL, "--transport", self.dir / "split.h5", "-o", out,
                             "--bits", 4, check=0)
            report = report_of(self, "inspect", out)
            self.assertEqual({t["content"] for t in report["tensors"] if t.get("transport")},
                             {"lossless"})
        plain = self.validate(MODEL, self.dir / "ridge.qins")["tests"]["perplexity"]
        quantised = self.validate(MODEL, self.dir / "ridge8.qins")["tests"]["perplexity"]
        ratio = quantised["candidate"]["perplexity"] / plain["candidate"]["perplexity"]
        self.assertLess(abs(ratio - 1), 0.01)
        self.assertNotEqual(ratio, 1)

    def test_plan(self):
        plan_file, out = self.dir / "plan.json", self.dir / "planned.qins"
        made = support.run_qins("plan", MODEL, "-o", plan_file, check=0)
        self.assertTrue(plan_file.exists(), made.stdout)
        plan = json.loads(plan_file.read_text())
        lines = {t["name"]: t for t in plan["tensors"]}
        line = {"levels": 31, "kappa": 0.5, "clip": 0.9, "group": "row", "codec": "zstd",
                "rounding": "nearest", "blocks": []}
        for i in range(LAYERS):
            lines[V0.replace("0", str(i))].update(line)
        v = [lines[V0.replace("0", str(i))] for i in range(LAYERS)]
        for one in v:
            one.pop("bits", None)
        edits = [{"blocks": [{"row_begin": 0, "row_end": 20, "levels": 7},
                             {"row_begin": 20, "row_end": 64, "levels": 63}]},
                 {"group": "tensor"}, {"group": 32, "codec": "bitpack"},
                 {"levels": None, "kappa": None, "clip": None, "group": None, "rounding": None,
                  "codec": "store"}]
        for line, edit in zip(v, edits):
            line.update(edit)
        plan_file.write_text(json.dumps(plan))
        support.run_qins("convert", MODEL, "--transport", self.dir / "ridge.h5", "--plan", plan_file,
                         "-o", out, check=0)
        common = {"levels": 31, "codec": "zstd"}
        self.check_planes(out, self.dir / "ridge.h5", {
            0: {**common, "levels": 63}, 1: {**common, "group": "tensor", "group_size": None},
            2: {**common, "group_size": 32, "codec": "bitpack"}, 4: common, 5: common,
            3: {"content": "lossless", "codec": "store", "levels": None, "group": None,
                "group_size": None}})
        self.assertTrue(report_of(self, "verify", out, "--against", MODEL)["ok"])


class Runs(Folder):
    def test_same_bytes(self):
        options = ["--transport", self.dir / "ridge.h5", "--bits", "6", "--codec", "huffman"]
        wanted = None
        for more in (["--threads", 1], ["--threads", 4], ["--resume"]):
            out = self.dir / "same.qins"
            support.run_qins("convert", MODEL, *options, *more, "-o", out, check=0)
            wanted = wanted or out.read_bytes()
            self.assertEqual(out.read_bytes(), wanted, more)

    def test_resumed(self):
        """A spool that holds the first tensors, and one that goes to the middle of the transport's."""
        options = ["--transport", self.dir / "planes.h5", "--resume"]
        out, part = self.dir / "resumed.qins", self.dir / "resumed.qins.part"
        # Where a finished spool stays, because the archive cannot be written: a folder is there.
        out.mkdir()
        support.run_qins("convert", MODEL, *options, "-o", out, check=4)
        self.assertTrue(part.exists())
        out.rmdir()
        whole = part.read_bytes()
        plain = self.dir / "unresumed.qins"
        support.run_qins("convert", MODEL, *options[:2], "-o", plain, check=0)
        for share in (0.3, 0.97, 0.999, 1):
            part.write_bytes(whole[:int(share * len(whole))])
            support.run_qins("convert", MODEL, *options, "-o", out, check=0)
            self.assertEqual(out.read_bytes(), plain.read_bytes(), share)
            out.unlink()
        # Another transport is another job.
        part.write_bytes(whole)
        done = support.run_qins("convert", MODEL, "--transport", self.dir / "ridge.h5", "--resume",
                                "-o", out, check=2)
        self.assertIn(str(part), done.stderr)


class Refusals(Folder):
    def refused(self, code, *arguments):
        out = self.dir / "never.qins"
        done = support.run_qins(*arguments, "-o", out, check=code)
        lines = done.stderr.splitlines()
        self.assertEqual(len(lines), 1, done.stderr)
        self.assertFalse(out.exists())
        return lines[0]

    def test_of_another_model(self):
        other = self.dir / "other"
        other.mkdir()
        for path in MODEL.iterdir():
            data = bytearray(path.read_bytes())
            if path.suffix == ".safetensors":
                data[-1] ^= 1
            (other / path.name).write_bytes(data)
        transport = self.dir / "split.h5"
        line = self.refused(3, "convert", other, "--transport", transport)
        for text in (str(other), str(transport), "another model"):
            self.assertIn(text, line)

    def test_inputs(self):
        transport = self.dir / "output.h5"
        data = (self.dir / "split.h5").read_bytes()
        transport.write_bytes(data)
        done = support.run_qins("convert", MODEL, "--transport", transport, "-o", transport, check=2)
        self.assertIn("is an input", done.stderr)
        self.assertEqual(transport.read_bytes(), data)
        self.refused(3, "convert", MODEL, "--transport", MODEL / "model.safetensors")
        self.refused(4, "convert", MODEL, "--transport", self.dir / "absent.h5")
        named = self.dir / "named.safetensors"
        support.write_safetensors(named, {PREFIX + "x": ("F32", (2,), [bytes(8)])})
        self.assertIn(PREFIX + "x", self.refused(3, "convert", named))
        done = support.run_qins("generate", self.dir / "ridge.qins", "--prompt", "a", "--fused", check=3)
        self.assertIn("does not go with the transport", done.stderr)
        self.assertEqual((done.stderr.count("\n"), done.stdout), (1, ""))

    def check_edit(self, edit, name="ridge", verify=3):
        """EDIT(archive, description) changes either; the hashes are right again afterwards."""
        archive, out = Archive(self.dir / f"{name}.qins"), self.dir / "edited.qins"
        description = archive.description()
        text = edit(archive, description)
        if any(f["name"] == ATTACHMENT for f in archive.manifest["files"]):
            archive.describe(description if text is None else text)
        archive.save(out)
        done = support.run_qins("verify", out, check=verify)
        lines = done.stderr.splitlines()
        self.assertEqual(len(lines), 1 if verify else 0, done.stderr)
        done = support.run_qins("validate", out, "--text", self.text, check=3)
        lines = [line for line in done.stderr.splitlines() if "note: " not in line]
        self.assertEqual(len(lines), 1, done.stderr)
        self.assertIn(str(out), lines[0])
        return lines[0]

    def test_harmless_edit(self):
        """What seals archives again makes sound ones."""
        archive, out = Archive(self.dir / "ridge.qins"), self.dir / "edited.qins"
        archive.describe(archive.description())
        archive.save(out)
        support.run_qins("verify", out, "--against", MODEL, check=0)
        self.assertEqual(same_predictions(self.validate(MODEL, out)),
                         same_predictions(self.validate(MODEL, self.dir / "ridge.qins")))

    def test_descriptions(self):
        def set_input(key, value):
            return lambda _, d: d["inputs"][0].__setitem__(key, value)

        def set_layer(key, value):
            return lambda _, d: d["layers"][1].__setitem__(key, value)

        edits = {
            "kappa": set_input("kappa", -1), "scale": set_input("scale", 1e300),
            "order": set_input("order", 5), "levels": set_input("levels", 1 << 40),
            "channels": set_input("channels", 129), "many channels": set_input("channels", 1 << 24),
            "method": set_input("method", "split"), "sign": set_input("sign_plane", True),
            "input": set_layer("input", LAYERS), "out": set_layer("out", 1 << 24),
            "planes": set_layer("planes", False), "scales": set_layer("output_scale", True),
            "twice": set_layer("layer", 0), "alpha": set_layer("output_alpha", 1),
            "schema": lambda _, d: d.__setitem__("schema", "qins/transport-weights/2"),
            "no JSON": lambda *_: b"{", "empty": lambda *_: b"", "deep": lambda *_: b"[" * 100000,
            "fewer": lambda _, d: d["layers"].pop(),
            "none": lambda _, d: d.update(inputs=[], layers=[]),
        }
        for name, edit in edits.items():
            with self.subTest(name):
                self.check_edit(edit)

    def test_not_of_the_model(self):
        """What only the model can tell."""
        edits = {
            "fingerprint": (lambda _, d: d.__setitem__("model_fingerprint", "0" * 32),
                            "another model"),
            "layer": (lambda _, d: d["layers"][-1].__setitem__("layer", LAYERS),
                      "the model has none"),
            "tensor": (lambda _, d: d["layers"][0].__setitem__("tensor", "lm_head.weight"),
                       "in another tensor"),
            "projection": (lambda _, d: d["layers"][0].__setitem__("projection", "q_proj"),
                           "another"),
            "point": (lambda _, d: d["inputs"][0].__setitem__("name", "elsewhere"), "its input"),
        }
        for name, (edit, text) in edits.items():
            with self.subTest(name):
                self.assertIn(text, self.check_edit(edit, verify=0))

    def test_tensors(self):
        def renamed(archive, _):
            archive.tensors()[PREFIX + "layers/0/planes"]["name"] = PREFIX + "layers/0/plane"

        def own(archive, _):
            archive.tensors()[PREFIX + "layers/0/planes"]["name"] = "model.extra"

        def reshaped(archive, _):
            archive.tensors()[PREFIX + "layers/0/planes"]["shape"] = [64, 128, 2]

        def swapped(archive, _):
            a, b = (archive.tensors()[f"{PREFIX}layers/{i}/planes"] for i in range(2))
            a["name"], b["name"] = b["name"], a["name"]

        def undescribed(archive, _):
            archive.manifest["files"].remove(archive.file())

        def unnamed(archive, _):
            for t in archive.manifest["tensors"]:
                t["name"] = t["name"].replace(PREFIX, "other.")

        for edit in (renamed, own, reshaped, swapped, undescribed, unnamed):
            with self.subTest(edit.__name__):
                self.check_edit(edit)


if __name__ == "__main__":
    support.main()
