"""qins analyze: the report against numpy, its curves, plots, and what is done with odd tensors."""
import json
import os
import pathlib
import shutil
import tempfile
import unittest
import xml.etree.ElementTree

import h5py
import numpy as np

from support import (MODEL, SANITIZER, SOURCE_ROOT, main, read_safetensors, run_qins, validate,
                     without_gnuplot, write_safetensors)

GNUPLOT = shutil.which("gnuplot")
# Under sanitizers some pictures do: gnuplot takes most of the time, and draws the same.
DRAWN = GNUPLOT and SANITIZER == "none"
# Words that hardly repeat, so that activations are as many different values.
TEXT = (SOURCE_ROOT / "LICENSE").read_text()
ODD_NAMES = ['a "quoted" name', "back`touch pwned`tick", "$(touch pwned)", "@foo", "pct %s %n",
             "slash/in/name", "back\\slash\\n", "uni çödé 漢字 🙂", "_under_^caret_{brace}",
             "<script>alert(1)</script>", "&amp; & 'single'", "tab\tand\nnewline",
             '"; set output "x', "# comment", "-", "NaN", "1.5e3", " ", "..", "x" * 300,
             "\u202ereversed", "\x01"]


def copy_two_layers(folder):
    """The example model with its first two layers: less to draw."""
    shutil.copytree(MODEL, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    config = json.loads((folder / "config.json").read_text())
    config["num_hidden_layers"] = 2
    (folder / "config.json").write_text(json.dumps(config))
    tensors = read_safetensors(MODEL / "model.safetensors")
    write_safetensors(folder / "model.safetensors", {
        name: ("F32", a.shape, [a.tobytes()]) for name, a in tensors.items()
        if ".layers." not in name or int(name.split(".")[2]) < 2})


def load(folder):
    with open(folder / "entropy_analysis.json") as f:
        report = json.load(f)
    validate(report, "entropy_analysis")
    return report


def quantise(x, scale, levels, kappa, clip):
    """Codes and values by the definition in docs/analysis.md, in float64."""
    s = scale * clip
    u = np.minimum(np.abs(x) / np.where(s > 0, s, 1), 1.0)
    level = np.rint(levels * (1 + kappa) * u / (1 + kappa * u))
    t = level / levels
    return (np.sign(x) * level).astype(int), np.sign(x) * s * t / (1 + kappa * (1 - t))


def entropy(codes):
    p = np.unique(codes, return_counts=True)[1] / codes.size
    return float(-(p * np.log2(p)).sum())


def sqnr(x, y):
    return float(10 * np.log10((x ** 2).sum() / ((x - y) ** 2).sum()))


class Analyze(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.scratch = tempfile.TemporaryDirectory(prefix="qins-analyze-")
        cls.root = pathlib.Path(cls.scratch.name)
        (cls.root / "text").write_text(TEXT)
        cls.model = cls.root / "model"
        copy_two_layers(cls.model)
        run_qins("calibrate", cls.model, "--text", cls.root / "text", "--tokens", 512, "--keep-rows",
                 512, "-o", cls.root / "a.h5", check=0)
        run_qins("convert", cls.model, "-o", cls.root / "m.qins", check=0)
        cls.study = cls.root / "deep" / "study"
        cls.done = run_qins("analyze", cls.model, "--calibration", cls.root / "a.h5", "--archive",
                            cls.root / "m.qins", "-o", cls.study, check=0,
                            env=None if DRAWN else without_gnuplot(cls.root))
        cls.report = load(cls.study)
        cls.by_name = {t["name"]: t for t in cls.report["tensors"]}

    @classmethod
    def tearDownClass(cls):
        cls.scratch.cleanup()

    def test_what_it_is_about(self):
        """Model and archive as every other report names them, so that gates can tell them apart."""
        verified = json.loads(run_qins("verify", self.root / "m.qins", "--json", check=0).stdout)
        self.assertEqual(self.report["archive"]["archive_hash"], verified["archive_hash"])
        with h5py.File(self.root / "a.h5") as f:
            calibrated = json.loads(bytes(f["meta"][()]))
        self.assertEqual(self.report["model"]["fingerprint"], calibrated["model"]["fingerprint"])

    def test_figures_by_direct_quantisation(self):
        weights = read_safetensors(self.model / "model.safetensors")
        for name in ("model.layers.0.mlp.up_proj.weight", "model.layers.1.self_attn.q_proj.weight"):
            x = weights[name].astype(np.float64)
            scale = np.abs(x).max(axis=1, keepdims=True)
            tensor = self.by_name[name]
            for row in tensor["fixed_rates"]:
                for grid in ("qins", "int_absmax", "int_clip"):
                    best, levels = row[grid], 2 ** (row["bits"] - 1) - 1
                    codes, values = quantise(x, scale, levels, best["kappa"], best["clip"])
                    self.assertAlmostEqual(best["sqnr_db"], sqnr(x, values), delta=0.05)
                    self.assertAlmostEqual(best["entropy_bits"], entropy(codes), delta=0.005)
                key = str(row["bits"])
                self.assertEqual(tensor["entropy_bits"][key], row["qins"]["entropy_bits"])
                self.assertEqual(tensor["coded_bits"][key]["bitpack"], row["qins"]["packed_bits"])
            self.assertEqual(tensor["numel"], x.size)
            self.assertAlmostEqual(tensor["statistics"]["rms"], np.sqrt((x ** 2).mean()), places=6)
            self.assertEqual(tensor["access_frequency"], 1)
            self.assertEqual(tensor["class"], "hot")

    def test_the_finding(self):
        at8 = next(r for r in self.report["comparison"]["fixed"] if r["bits"] == 8)
        self.assertGreater(at8["gain_over_clip_db"]["mean"], 0.5)
        coded = [r["gain_db"]["mean"] for r in self.report["comparison"]["coded"]
                 if 6 <= r["bits"] <= 9]
        self.assertLess(max(coded), -0.2)
        self.assertIn("better</b> than INT at its best clip",
                      (self.study / "index.html").read_text())

    def test_activations_by_their_kept_rows(self):
        seen = 0
        with h5py.File(self.root / "a.h5") as f:
            for name, point in f["points"].items():
                tensor = self.by_name.get(name)
                if tensor is None or "rows" not in point:
                    continue
                x = point["rows"][()].astype(np.float64)
                if x.size != tensor["numel"]:
                    continue
                best = tensor["chosen"]
                codes, values = quantise(x, np.abs(x).max(), best["levels"], best["kappa"],
                                         best["clip"])
                self.assertAlmostEqual(best["sqnr_db"], sqnr(x, values), delta=0.3, msg=name)
                # A histogram of |x| takes signs as independent of magnitudes: a bound from above.
                excess = tensor["entropy_bits"]["8"] - entropy(codes)
                self.assertTrue(-0.01 < excess < 0.1, (name, excess))
                self.assertEqual(tensor["kind"], "activation")
                seen += 1
        self.assertGreater(seen, 10)

    def test_curves(self):
        with h5py.File(self.study / "entropy_analysis.h5") as f:
            self.assertEqual(f.attrs["schema"], self.report["schema"])
            for tensor in self.report["tensors"]:
                if "curves" not in tensor:
                    continue
                group = f[tensor["curves"]]
                self.assertEqual(group.attrs["name"], tensor["name"])
                histogram = group["histogram"]
                self.assertEqual(histogram.attrs["columns"].split()[0], "u")
                np.testing.assert_allclose(histogram[:, 1:].sum(axis=0), tensor["numel"], rtol=1e-5)
                columns = group["candidates"].attrs["columns"].split()
                table = group["candidates"][()]
                at = {c: table[:, i] for i, c in enumerate(columns)}
                self.assertEqual(table.shape[1], len(columns))
                best = max(at["sqnr_db"][np.isfinite(at["sqnr_db"])])
                self.assertGreaterEqual(best, tensor["chosen"]["sqnr_db"] - 1e-3)
            rows = f["access/embedding_rows"][:, 0]
        self.assertEqual(rows.sum(), self.report["access"]["tokens"])
        self.assertEqual(int((rows > 0).sum()), self.report["access"]["embedding"]["touched_rows"])

    def test_sizes(self):
        sizes = {s["stage"]: s["bytes"] for s in self.report["sizes"]}
        self.assertEqual(sizes["archive"], (self.root / "m.qins").stat().st_size)
        self.assertEqual(sizes["32-bit floats"], 4 * self.report["model"]["float_elements"])
        self.assertLess(sizes["8-bit QINS, packed"], sizes["archive"])
        self.assertIn("archived_bits", self.by_name["lm_head.weight"])

    def check_pictures(self, folder, names, drawn=GNUPLOT):
        for name in names:
            for suffix in (".gp", ".dat"):
                self.assertTrue((folder / (name + suffix)).exists(), name + suffix)
            if drawn:
                xml.etree.ElementTree.parse(folder / (name + ".svg"))
                self.assertEqual((folder / (name + ".png")).read_bytes()[:4], b"\x89PNG")

    def test_pictures(self):
        self.check_pictures(self.study / "plots",
                            ["int-vs-qins", "rate-distortion", "waterfall", "coded-size",
                             "entropy-by-layer", "entropy-by-kind", "access-map",
                             "access-frequency", "tensor-0000", "tensor-0010"], DRAWN)
        if DRAWN:
            self.assertEqual(self.done.stderr, "")
        page = (self.study / "index.html").read_text()
        self.assertIn("<h1>model</h1>", page)
        self.assertNotIn("http:", page)
        self.assertNotIn("https:", page)

    def test_replot_after_an_edit(self):
        folder = self.root / "edited"
        shutil.copytree(self.study, folder)
        path = folder / "entropy_analysis.json"
        report = json.loads(path.read_text())
        report["tensors"][1]["name"] = "renamed <by hand>"
        report["tensors"][2] = {"name": "nothing else", "hull": 7, "statistics": "none"}
        del report["comparison"]["fixed"][3]
        report["tensors"] = report["tensors"][:10]
        path.write_text(json.dumps(report))
        run_qins("analyze", "--replot", folder, check=0)
        page = (folder / "index.html").read_text()
        self.assertIn("renamed &lt;by hand&gt;", page)
        self.assertNotIn("renamed <by hand>", page)
        self.assertFalse((folder / "plots" / "tensor-0022.gp").exists())
        self.check_pictures(folder / "plots", ["tensor-0001", "int-vs-qins"])
        self.assertEqual([p for p in folder.iterdir() if "tmp" in p.name], [])
        for text in ("{", "[]", "{}", '{"schema": "qins/entropy_analysis/1", "tensors": 3}',
                     '{"schema": "qins/entropy_analysis/1", "tensors": [{}]}'):
            path.write_text(text)
            done = run_qins("analyze", "--replot", folder, check=3)
            self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)
        (folder / "entropy_analysis.h5").write_bytes(b"\x89HDF\r\n\x1a\nnonsense")
        shutil.copy(self.study / "entropy_analysis.json", path)
        run_qins("analyze", "--replot", folder, check=3)

    def test_commands(self):
        run_qins("analyze", check=2)
        run_qins("analyze", self.model, check=2)
        run_qins("analyze", "--replot", self.study, "-o", self.root / "x", check=2)
        run_qins("analyze", "--replot", self.root / "missing", check=4)
        model = self.model
        for inside in (model, model / "study"):
            done = run_qins("analyze", model, "-o", inside, check=2)
            self.assertIn("inside an input", done.stderr)
        run_qins("analyze", model, "-o", self.root / "text", check=4)
        same = self.root / "same"
        same.mkdir()
        shutil.copy(self.root / "a.h5", same / "entropy_analysis.h5")
        run_qins("analyze", model, "--calibration", same / "entropy_analysis.h5", "-o", same,
                 check=2)

    def test_other_models_files_are_refused(self):
        random = np.random.default_rng(7)
        other = self.root / "other.safetensors"
        write_safetensors(other, {"lm_head.weight": ("F32", (64, 64), [
            random.standard_normal((64, 64)).astype("<f4").tobytes()])})
        run_qins("plan", other, "-o", self.root / "other.json", check=0)
        run_qins("convert", other, "-o", self.root / "other.qins", check=0)
        for option, name in (("--plan", "other.json"), ("--archive", "other.qins")):
            done = run_qins("analyze", self.model, option, self.root / name, "-o",
                            self.root / "refused", check=3)
            self.assertIn("of another model", done.stderr)
        self.assertFalse((self.root / "refused").exists())

    def test_without_gnuplot(self):
        folder = self.root / "bare"
        write_safetensors(self.root / "small.safetensors", {
            "w": ("F32", (64, 64), [np.random.default_rng(5).standard_normal((64, 64))
                                    .astype("<f4").tobytes()])})
        done = run_qins("analyze", self.root / "small.safetensors", "-o", folder, check=0,
                        env={**os.environ, "PATH": str(self.root)})
        self.assertIn("gnuplot is not installed", done.stderr)
        self.assertEqual(list((folder / "plots").glob("*.svg")), [])
        self.assertIn("<td class=\"name\">w</td>", (folder / "index.html").read_text())
        load(folder)


class Odd(unittest.TestCase):
    def setUp(self):
        self.scratch = tempfile.TemporaryDirectory(prefix="qins-analyze-")
        self.root = pathlib.Path(self.scratch.name)
        random = np.random.default_rng(1)

        def normal(*shape):
            return (random.standard_normal(shape) * 0.02).astype("<f4")

        def put(a, at, value):
            a[at] = value
            return a
        arrays = {"constant": np.full((64, 64), 0.5, "<f4"), "zeros": np.zeros((64, 128), "<f4"),
                  "one nan": put(normal(64, 128), (3, 5), np.nan),
                  "one infinity": put(normal(64, 128), (3, 5), np.inf),
                  "outlier": put(normal(64, 128), (7, 9), 1e8),
                  "integers": random.integers(-100, 100, (40, 40)), "scalar": np.array(3.5, "<f4"),
                  "bytes": random.integers(0, 255, 100).astype("u1"),
                  "empty": np.zeros((0, 17), "<f4"), "row": normal(1, 5000),
                  "column": normal(5000, 1), "one": np.array([1.5], "<f4"), "tiny": normal(2, 2),
                  "double": normal(30, 200).astype("<f8"), "half": normal(64, 128).astype("<f2"),
                  "narrow": (normal(64, 128).view("<u4") & 0xffff0000).view("<f4"),
                  "huge": (normal(64, 64).astype("<f8") * 1e39).astype("<f4"),
                  "subnormal": np.full((64, 64), 1e-42, "<f4")}
        arrays.update({name: normal(64, 64) for name in ODD_NAMES})
        names = {"<f4": "F32", "<f2": "F16", "<f8": "F64", "<i8": "I64", "|u1": "U8"}
        write_safetensors(self.root / "odd.safetensors", {
            name: (names[a.dtype.str], a.shape, [a.tobytes()]) for name, a in arrays.items()})

    def tearDown(self):
        self.scratch.cleanup()

    def test_odd_tensors_and_names(self):
        folder = self.root / "out"
        done = run_qins("analyze", "odd.safetensors", "-o", "out", check=0, cwd=self.root,
                        env=None if DRAWN else without_gnuplot(self.root))
        if DRAWN:
            self.assertEqual(done.stderr, "")
        tensors = {t["name"]: t for t in load(folder)["tensors"]}
        self.assertTrue(set(ODD_NAMES) <= set(tensors))
        self.assertEqual(tensors["one nan"]["statistics"]["nan"], 1)
        self.assertIn("no finite number", tensors["one nan"]["remarks"][0])
        self.assertIsNone(tensors["one nan"]["chosen"])
        for name, word in (("constant", "equal"), ("zeros", "zero"), ("outlier", "outlier"),
                           ("narrow", "BF16")):
            self.assertTrue(any(word in r for r in tensors[name]["remarks"]), name)
        for name in ("integers", "bytes", "empty", "scalar"):
            self.assertNotIn("curves", tensors[name])
        self.assertEqual(tensors["scalar"]["shape"], [])
        self.assertFalse((self.root / "pwned").exists() or (folder / "plots" / "pwned").exists())
        self.assertFalse((folder / "plots" / "x").exists())
        page = (folder / "index.html").read_text()
        self.assertNotIn("<script>alert", page)
        self.assertIn("&lt;script&gt;alert(1)&lt;/script&gt;", page)
        for path in sorted((folder / "plots").glob("*.gp")):
            self.assertNotRegex(path.read_text(), "alert|pwned|quoted|漢字")
        for path in (folder / "plots").glob("*.svg"):
            xml.etree.ElementTree.parse(path)


if __name__ == "__main__":
    main()
