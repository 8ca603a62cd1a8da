"""qins analyze --transport: planes and grids against numpy, counts, curves, pictures, the page."""
import json
import pathlib
import shutil
import tempfile
import unittest
import xml.etree.ElementTree

import h5py
import numpy as np

import support
from test_analyze import DRAWN, TEXT, copy_two_layers, entropy, load, quantise, sqnr

TOKENS = 700
PICTURES = ["transport-decodes", "transport-error", "transport-error-1", "transport-error-2",
            "transport-layers", "transport-map-1", "transport-map-2"]


class AnalyzeTransport(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.scratch = tempfile.TemporaryDirectory(prefix="qins-analyze-transport-")
        cls.root = pathlib.Path(cls.scratch.name)
        (cls.root / "text").write_text(TEXT)
        cls.model, cls.calibration = cls.root / "model", cls.root / "a.h5"
        cls.transport, cls.study = cls.root / "t.h5", cls.root / "study"
        copy_two_layers(cls.model)
        support.run_qins("calibrate", cls.model, "--text", cls.root / "text", "--tokens", TOKENS,
                         "--context", 64, "--keep-rows", TOKENS, "-o", cls.calibration, check=0)
        support.run_qins("transport", cls.model, "--calibration", cls.calibration, "--layers",
                         "v_proj,down_proj", "--clip", "0.85", "-o", cls.transport, check=0)
        support.run_qins("analyze", cls.model, "--calibration", cls.calibration, "--transport",
                         cls.transport, "-o", cls.study, check=0, env=cls.environment())
        cls.report = load(cls.study)
        cls.section = cls.report["transport"]

    @classmethod
    def tearDownClass(cls):
        cls.scratch.cleanup()

    @classmethod
    def environment(cls):
        return None if DRAWN else support.without_gnuplot(cls.root)

    def inputs(self):
        """Those of the file: coefficients [planes][channels] beside what the report says."""
        with h5py.File(self.transport) as f:
            return [(item, f[f"inputs/{i}/coefficients"][()])
                    for i, item in enumerate(self.section["inputs"])]

    def test_planes_by_direct_quantisation(self):
        weights = support.read_safetensors(self.model / "model.safetensors")
        planes = {(t["layer"], t["component"], t["plane"]): t for t in self.report["tensors"]
                  if t["kind"] == "transport"}
        inputs, seen = self.inputs(), 0
        for layer in self.section["layers"]:
            _, c = inputs[layer["input"]]
            for k in range(len(c)):
                x = (weights[layer["tensor"]] * c[k]).astype(np.float64)
                tensor = planes[layer["layer"], f"transported {layer['projection']}", k + 1]
                self.assertIn(layer["tensor"], tensor["name"])
                self.assertEqual(tensor["shape"], list(x.shape))
                self.assertAlmostEqual(tensor["statistics"]["rms"] / np.sqrt((x ** 2).mean()), 1,
                                       places=6)
                best = next(r for r in tensor["fixed_rates"] if r["bits"] == 8)["qins"]
                codes, values = quantise(x, np.abs(x).max(axis=1, keepdims=True), 127,
                                         best["kappa"], best["clip"])
                self.assertAlmostEqual(best["sqnr_db"], sqnr(x, values), delta=0.05)
                self.assertAlmostEqual(best["entropy_bits"], entropy(codes), delta=0.005)
                self.assertIn("huffman", tensor["encoded"]["bits_by_coder"])
                seen += 1
        self.assertEqual(seen, len(planes))
        kinds = {k["kind"]: k for k in self.report["kinds"]}
        self.assertTrue(kinds["transported v_proj"]["transport"])
        self.assertFalse(kinds["v_proj"]["transport"])

    def test_inputs_on_their_grid(self):
        seen = 0
        with h5py.File(self.calibration) as f:
            for tensor in self.report["tensors"]:
                grid = tensor.get("transport")
                if not grid:
                    continue
                x = f["points"][tensor["name"]]["rows"][()].astype(np.float64)
                self.assertEqual(x.size, tensor["numel"])
                item = self.section["inputs"][grid["input"]]
                self.assertEqual((item["name"], item["kappa"]), (tensor["name"], grid["kappa"]))
                codes, values = quantise(x, grid["scale"], grid["levels"], grid["kappa"], 1.0)
                self.assertAlmostEqual(grid["sqnr_db"], sqnr(x, values), delta=0.4)
                excess = grid["entropy_bits"] - entropy(codes)
                self.assertTrue(-0.01 < excess < 0.1, (tensor["name"], excess))
                self.assertAlmostEqual(grid["clipped_share"], (np.abs(x) > grid["scale"]).mean(),
                                       delta=2e-4)
                seen += 1
        self.assertEqual(seen, len(self.section["inputs"]))

    def test_stages_are_what_validate_counts(self):
        stages = self.section["stages"]
        self.assertEqual([s["stage"] for s in stages],
                         ["one v_proj", "every v_proj", "and every down_proj"])
        planes = [self.section["inputs"][layer["input"]]["planes"]
                  for layer in self.section["layers"]]
        for stage in stages:
            a, b, n = stage["pattern_a"], stage["pattern_b"], stage["layers"]
            self.assertEqual((a["decodes"], b["decodes"], a["plane_products"]), (n, 0, 0))
            self.assertEqual((a["encodes"], b["encodes"], a["products"] - b["products"]), (n, n, n))
        self.assertEqual([s["layers"] for s in stages], [1, 2, 4])
        self.assertEqual(stages[-1]["pattern_b"]["plane_products"], sum(planes))
        done = support.run_qins("validate", self.model, "--transport", self.transport, "--text",
                                self.root / "text", "--context", 64, "--tests", "perplexity", "--json",
                                check=0)
        counted = json.loads(done.stdout)["tests"]["perplexity"]["candidate"]["compute"]
        for key, value in stages[-1]["pattern_b"].items():
            if key != "products":  # logits are computed in pieces
                self.assertEqual(counted["per_forward"][key], value, key)

    def test_section_and_curves(self):
        self.assertTrue(self.section["calibration_matches"])
        self.assertEqual(self.section["study"],
                         json.loads(self.transport.with_suffix(".json").read_text()))
        with h5py.File(self.study / "entropy_analysis.h5") as f:
            for item, c in self.inputs():
                group = f[item["curves"]]
                self.assertEqual(group.attrs["name"], item["name"])
                np.testing.assert_array_equal(group["coefficients"][()], c.T)

    def test_sums_of_the_model_are_its_own(self):
        other = self.root / "plain"
        support.run_qins("analyze", self.model, "--calibration", self.calibration, "-o", other,
                         check=0, env=support.without_gnuplot(self.root))
        plain = load(other)
        self.assertIsNone(plain["transport"])
        for key in ("model", "sizes", "comparison", "extra_compression", "access"):
            self.assertEqual(self.report[key], plain[key], key)

    def test_page(self):
        page = (self.study / "index.html").read_text()
        for shown in ("Native compute", "Two findings.", "precision hypothesis",
                      "ordinary hardware", "4 layers on 4 coded"):
            self.assertIn(shown, page)
        squared = "squared_error_test"
        ratios = []
        for layer in self.section["study"]["layers"]:
            lines = [m for m in layer["methods"] if m["method"] == "decode"]
            best = next(m for m in lines if m["choice"] == "best")
            clip = next(m for m in lines if m["choice"] == "order" and m["kappa"] == 0)
            ratios.append(best[squared] / clip[squared])
        self.assertIn(f"{np.exp(np.log(ratios).mean()):.2f} ×", page)

    def test_pictures_come_and_go(self):
        folder = self.root / "copy"
        shutil.copytree(self.study, folder)
        report = json.loads((folder / "entropy_analysis.json").read_text())
        report["tensors"] = report["tensors"][:3]  # the others' pictures are drawn like these
        (folder / "entropy_analysis.json").write_text(json.dumps(report))
        plots, kinds = folder / "plots", "transport-*" + (".svg" if DRAWN else ".gp")

        def replot():
            support.run_qins("analyze", "--replot", folder, check=0, env=self.environment())
            return sorted(p.stem for p in plots.glob(kinds))

        for name in PICTURES if DRAWN else ():
            xml.etree.ElementTree.parse(plots / f"{name}.svg")
            self.assertTrue((plots / f"{name}.png").stat().st_size > 0)
        self.assertEqual(sorted(p.stem for p in plots.glob(kinds)), PICTURES)
        for path in plots.glob(kinds):
            path.unlink()
        self.assertEqual(replot(), PICTURES)
        report["transport"]["study"] = {"layers": [3, {"methods": 4, "curves": [None, {}]}]}
        report["transport"]["stages"] = "none"
        (folder / "entropy_analysis.json").write_text(json.dumps(report))
        self.assertEqual(replot(), PICTURES[-2:])
        report["transport"] = None
        (folder / "entropy_analysis.json").write_text(json.dumps(report))
        self.assertEqual(replot(), [])
        self.assertEqual(list(plots.glob("transport-*")), [])
        self.assertNotIn("Native compute", (folder / "index.html").read_text())

    def test_refusals(self):
        out = self.root / "never"
        for code, arguments in (
                (3, [support.MODEL, "--transport", self.transport]),
                (3, [self.model, "--transport", self.calibration]),
                (4, [self.model, "--transport", self.root / "none.h5"])):
            done = support.run_qins("analyze", *arguments, "-o", out, check=code)
            self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
            self.assertFalse(out.exists())
        done = support.run_qins("analyze", "--replot", self.study, "--transport", self.transport,
                                check=2)
        self.assertIn("--transport", done.stderr)


if __name__ == "__main__":
    support.main()
