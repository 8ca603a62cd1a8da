"""qins transport: what it writes against numpy, which layers, options, errors in one line."""
import json
import math
import pathlib
import tempfile
import unittest

import numpy as np

import model_fixtures
import support
from calibration_fixtures import MODEL, TEXT, h5py, load, point_datasets

V2 = "model.layers.2.self_attn.v_proj.weight"
Q2_INPUT = "model.layers.2.self_attn.q_proj.weight:input"
DOWN2 = "model.layers.2.mlp.down_proj.weight"
ROWS = 200 if support.SANITIZER == "thread" else support.less(500, 300)
METHODS = ["jacobian-literal", "jacobian-tangent", "split", "ridge", "decode"]


def same(a, b):
    """Whether JSON values differ by no more than digits that were not written."""
    if isinstance(a, dict) and isinstance(b, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(same, a, b))
    return math.isclose(a, b, rel_tol=1e-10) if isinstance(a, float) else a == b


def forbid(text):
    raise AssertionError(f"{text} in JSON")


@unittest.skipUnless(h5py, "no h5py")
class Folder(support.Folder):
    calibration = None  # of all

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        if Folder.calibration:
            return
        folder = tempfile.TemporaryDirectory(prefix="qins-transport-")
        unittest.addModuleCleanup(folder.cleanup)
        Folder.calibration = pathlib.Path(folder.name) / "calibration.h5"
        support.run_qins("calibrate", MODEL, "--text", TEXT, "--tokens", support.less(5000, 2000),
                         "--context", 64, "--keep-rows", ROWS, "-o", cls.calibration, check=0)

    def transport(self, *arguments, name="t", model=MODEL, calibration=None):
        """The report, which is checked and is what stands in the file; arrays, by name."""
        out = self.dir / f"{name}.h5"
        done = support.run_qins("transport", model, "--calibration",
                                calibration or self.calibration, *arguments, "-o", out, "--json",
                                check=0)
        report = json.loads(done.stdout, parse_constant=forbid)
        support.validate(report, "transport")
        beside = json.loads(out.with_suffix(".json").read_text(), parse_constant=forbid)
        meta, arrays = load(out)
        self.assertTrue(same(meta["study"], beside))
        self.assertTrue(same({k: report[k] for k in beside}, beside))
        for key, values in arrays.items():
            self.assertTrue(np.isfinite(values).all(), key)
        return report, meta, arrays

    def fails(self, code, *arguments, model=MODEL, calibration=None):
        out = self.dir / "never.h5"
        done = support.run_qins("transport", model, "--calibration",
                                calibration or self.calibration, "-o", out, *arguments, check=code)
        lines = done.stderr.splitlines()
        self.assertEqual(len(lines), 1, done.stderr)
        self.assertFalse(out.exists())
        self.assertFalse(out.with_suffix(".json").exists())
        return lines[0]

    def parts(self, point, calibration=None):
        """Kept rows of a point: to fit, to select, to test."""
        _, data = load(calibration or self.calibration)
        of_point = point_datasets(data, point)
        part = data["rows/part"][of_point["row_index"]]
        return [of_point["rows"][part == i].astype(np.float64) for i in range(3)]


def line(layer, **wanted):
    """The first line of a layer's methods with these values."""
    for one in layer["methods"]:
        if all(one[key] == value for key, value in wanted.items()):
            return one
    raise AssertionError(f"no line {wanted}")


def errors(w, x, native):
    """mean |dy| / mean |y|, and of squares."""
    y, dy = x @ w.T, (native - x) @ w.T
    return np.abs(dy).sum() / np.abs(y).sum(), (dy ** 2).sum() / (y ** 2).sum()


def features(x, item):
    """sgn and t of inputs, which are coded in float32 as docs/transport-format.md has it."""
    one, n = np.float32(1), item["levels"]
    kappa, scale = np.float32(item["kappa"]), np.float32(item["scale"])
    u = np.minimum(np.abs(x.astype(np.float32)) / scale, one)
    level = np.floor(np.float32(n) * (one + kappa) * u / (one + kappa * u) + np.float32(0.5))
    return np.where(x < 0, -1, 1), np.minimum(level, n).astype(np.float64) / n


@unittest.skipIf(support.SANITIZER == "thread", "threads do no more than in Threads")
class Study(Folder):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.report, cls.meta, cls.arrays = cls.transport(
            cls(), "--layers", support.less(f"{V2},{DOWN2}", V2), "--method", "all", name="study")
        cls.weights = support.read_safetensors(MODEL / "model.safetensors")

    def test_every_method_is_there(self):
        for layer in self.report["layers"]:
            for method in METHODS:
                best = line(layer, method=method, choice="best")
                for key in ("relative_error_select", "relative_error_test"):
                    self.assertTrue(math.isfinite(best[key]), (method, key))
            for order in range(1, 5):
                for sign_plane in (False, True):
                    line(layer, method="split", order=order, sign_plane=sign_plane, choice="order")
                    for kappa in (1, 3):
                        line(layer, method="split", order=order, sign_plane=sign_plane,
                             kappa=kappa, clip=1, choice="fixed")
            for decoded in (True, False):
                line(layer, method="jacobian-literal", output_decoded=decoded)

    def test_what_is_better_than_what(self):
        for layer in self.report["layers"]:
            chosen = layer["methods"][layer["chosen"]]
            split = line(layer, method="split", choice="best")
            ridge = line(layer, method="ridge", choice="best")
            for key in ("relative_error_select", "squared_error_select"):
                self.assertLessEqual(ridge[key], split[key])
                self.assertLessEqual(chosen[key], split[key])
            for method in ("jacobian-literal", "jacobian-tangent"):
                self.assertGreater(line(layer, method=method, choice="best")["relative_error_test"],
                                   10 * split["relative_error_test"])
            clipped = line(layer, method="decode", kappa=0, choice="order")
            largest = line(layer, method="decode", kappa=0, clip=1, choice="fixed")
            self.assertLessEqual(clipped["squared_error_select"], largest["squared_error_select"])
            for order, kappa in ((3, 1), (4, 3)):
                decoded = line(layer, method="decode", kappa=kappa, clip=1, choice="fixed")
                native = line(layer, method="split", order=order, kappa=kappa, clip=1,
                              sign_plane=False, choice="fixed")
                self.assertLess(native["relative_error_test"],
                                1.5 * decoded["relative_error_test"])

    def test_curves(self):
        for layer in self.report["layers"]:
            curves = {(c["method"], c["order"], c["sign_plane"], c["output_decoded"], c["clip"]): c
                      for c in layer["curves"]}
            self.assertEqual(len(curves), len(layer["curves"]))
            for kind in [("decode", 0)] + [("split", k) for k in range(1, 5)]:
                for clip in ("max", "best"):
                    c = curves[(*kind, False, None, clip)]
                    self.assertEqual(c["kappa"], self.report["settings"]["kappas"])
                    self.assertNotIn(None, c["relative_error_test"])
                    if clip == "max":
                        self.assertEqual(set(c["clip_used"]), {1})
            at = self.report["settings"]["kappas"].index(3)
            by_order = [curves["split", k, False, None, "max"]["relative_error_test"][at]
                        for k in range(1, 5)]
            self.assertEqual(by_order, sorted(by_order, reverse=True))
            fixed = line(layer, method="split", order=4, kappa=3, clip=1, sign_plane=False)
            self.assertEqual(by_order[3], fixed["relative_error_test"])
            self.assertIn(("ridge", 4, False, None, "best"), curves)
            self.assertIsNone(curves["jacobian-tangent", 1, False, None, "max"]
                              ["relative_error_test"][0])

    def test_decoding_is_as_numpy_has_it(self):
        layer = self.report["layers"][0]
        self.assertEqual(layer["name"], V2)
        _, select, test = self.parts(Q2_INPUT)
        w = self.weights[V2].astype(np.float64)
        most = self.report["inputs"][0]["abs_max"]
        for one in layer["methods"]:
            if one["method"] != "decode":
                continue
            item = {"levels": 127, "kappa": one["kappa"],
                    "scale": np.float32(one["clip"]) * np.float32(most)}
            for x, part in ((select, "select"), (test, "test")):
                sign, t = features(x, item)
                native = sign * float(item["scale"]) * t / (1 + item["kappa"] * (1 - t))
                relative, squared = errors(w, x, native)
                self.assertAlmostEqual(one[f"relative_error_{part}"] / relative, 1, delta=1e-5)
                self.assertAlmostEqual(one[f"squared_error_{part}"] / squared, 1, delta=1e-5)

    def test_what_is_stored_has_these_errors(self):
        for index, (layer, item) in enumerate(zip(self.report["layers"], self.meta["inputs"])):
            chosen = layer["methods"][layer["chosen"]]
            self.assertEqual((item["method"], item["order"], item["kappa"]),
                             (chosen["method"], chosen["order"], chosen["kappa"]))
            _, _, test = self.parts(item["name"])
            w = self.weights[layer["name"]].astype(np.float64)
            sign, t = features(test, item)
            phi = np.stack([sign * t ** k for k in range(1, item["order"] + 1)])
            y = test @ w.T
            if item["method"] == "split":
                native = np.einsum("knj,kj->nj", phi, self.arrays[f"inputs/{index}/coefficients"])
                dy = (native - test) @ w.T
            else:
                planes = self.arrays[f"layers/{index}/planes"].astype(np.float64)
                dy = np.einsum("knj,okj->no", phi, planes) - y
            relative = np.abs(dy).sum() / np.abs(y).sum()
            self.assertAlmostEqual(chosen["relative_error_test"] / relative, 1, delta=1e-5)
            self.assertAlmostEqual(layer["mean_abs_output_test"] / np.abs(y).mean(), 1, delta=1e-5)


class Threads(Folder):
    @unittest.skipIf(support.SANITIZER.startswith("address"), "takes long, and runs under TSan")
    def test_threads_do_not_matter(self):
        more = ("--layers", f"{V2},model.layers.1.mlp.{{gate,up}}*", "--method", "all",
                "--planes", 2)
        made = []
        for threads in support.less((1, 3), (3,)):
            self.transport(*more, "--threads", threads, name=f"threads{threads}")
            made.append([(self.dir / f"threads{threads}.{suffix}").read_bytes()
                         for suffix in ("h5", "json")])
        self.assertEqual(made[0], made[-1])


@unittest.skipIf(support.SANITIZER == "thread", "threads do no more than in Threads")
class Options(Folder):
    def test_what_is_given_is_not_searched(self):
        report, meta, _ = self.transport("--layers", V2, "--kappa", 2.5, "--clip", 0.9, "--order",
                                         3, "--bits", 7)
        item = meta["inputs"][0]
        self.assertEqual((item["kappa"], item["order"], item["levels"]), (2.5, 3, 63))
        self.assertAlmostEqual(item["scale"], 0.9 * report["inputs"][0]["abs_max"], places=5)
        chosen = report["layers"][0]["methods"][report["layers"][0]["chosen"]]
        self.assertEqual((chosen["kappa"], chosen["clip"], chosen["bits"]), (2.5, 0.9, 7))

    def test_planes(self):
        report, meta, arrays = self.transport("--layers", V2, "--planes", 2)
        self.assertEqual((meta["inputs"][0]["order"], arrays["inputs/0/coefficients"].shape),
                         (2, (2, 128)))
        self.assertEqual(list(arrays), ["inputs/0/coefficients"])
        _, meta, arrays = self.transport("--layers", V2, "--sign-plane", "--planes", 3)
        self.assertEqual((meta["inputs"][0]["order"], arrays["inputs/0/coefficients"].shape),
                         (2, (3, 128)))
        _, _, arrays = self.transport("--layers", V2, "--materialize", "--order", 2)
        w = support.read_safetensors(MODEL / "model.safetensors")[V2]
        c = arrays["inputs/0/coefficients"]
        np.testing.assert_allclose(arrays["layers/0/planes"], w[:, None, :] * c[None], rtol=1e-6)

    def test_methods(self):
        for method in support.less(METHODS, ["ridge"]):  # a study has all
            report, meta, _ = self.transport("--layers", V2, "--method", method, name=method)
            stored = meta["inputs"][0]["method"]
            if report["inputs"][0]["fallback"]:
                self.assertEqual((method, stored), ("ridge", "split"))
            else:
                self.assertEqual(stored, method)

    def test_layers(self):
        everything = [f"model.layers.{i}.{n}.weight" for i in range(6) for n in (
            "self_attn.v_proj", "self_attn.o_proj", "mlp.gate_proj", "mlp.up_proj",
            "mlp.down_proj")]
        cases = (
            ("model.layers.{0,3}.mlp.{gate,up}_proj.weight,model.layers.3.self_attn.v*",
             everything[2:4] + everything[15:16] + everything[17:19], 3),
            (f"{V2},model.layers.2.self_attn.q*", [V2.replace("v_", "q_"), V2], 1),
            (None, everything[::5], 6))
        for text, names, inputs in cases[:support.less(3, 2)]:
            more = ("--layers", text) if text else ()
            report, meta, _ = self.transport(*more, "--method", "decode", "--kappa", 1)
            self.assertEqual([l["name"] for l in report["layers"]], names)
            self.assertEqual([l["tensor"] for l in meta["layers"]], names)
            self.assertEqual(len(meta["inputs"]), inputs)

    def test_table(self):
        done = support.run_qins("transport", MODEL, "--calibration", self.calibration, "--layers",
                                V2, "-o", self.dir / "table.h5", check=0)
        self.assertIn(V2, done.stdout)
        self.assertIn("INT8, clipped", done.stdout)
        self.assertIn("1 layer on 1 input,", done.stdout)


@unittest.skipIf(support.SANITIZER == "thread", "nothing that threads do")
class Errors(Folder):
    def test_usage(self):
        for arguments in (("--layers", "w_proj"), ("--layers", "v_proj,model.layers.9.*"),
                          ("--layers", "v_proj,,o_proj"), ("--layers", "[a"), ("--method", "best"),
                          ("--bits", 9), ("--bits", 5), ("--order", 5), ("--order", 0),
                          ("--planes", 0), ("--order", 2, "--planes", 3), ("--kappa", "nan"),
                          ("--clip", 0), ("--clip", 1.5), ("--kappa", -2), ("--kappa", 65537),
                          ("--method", "jacobian-literal", "--planes", 2),
                          ("--method", "decode", "--planes", 2),
                          ("--method", "jacobian-tangent", "--kappa", 0),
                          ("--planes", 1, "--sign-plane"),
                          ("--planes", 1, "--sign-plane", "--method", "all"),
                          ("--method", "ridge", "--sign-plane"),
                          ("--method", "decode", "--order", 2),
                          ("another",)):
            with self.subTest(arguments=arguments):
                self.fails(2, *arguments)
        self.assertIn("w_proj", self.fails(2, "--layers", "w_proj"))
        self.assertIn("'--clip 0.005': 'auto' or a number from 0.01 to 1",
                      self.fails(2, "--clip", 0.005))
        self.assertIn("'--kappa 70000': 'auto' or a number from 0 to 65536",
                      self.fails(2, "--kappa", 70000))
        self.assertIn("'--planes' of 2 or more", self.fails(2, "--planes", 1, "--sign-plane"))
        support.run_qins("transport", MODEL, "-o", self.dir / "never.h5", check=2)

    def test_inputs_stay(self):
        before = self.calibration.read_bytes()
        json_twin = self.dir / "twin.json"
        json_twin.write_bytes(before)
        for calibration, out in ((self.calibration, self.calibration),
                                 (json_twin, self.dir / "twin.h5")):
            support.run_qins("transport", MODEL, "--calibration", calibration, "--layers", V2, "-o",
                             out, check=2)
        self.assertEqual(self.calibration.read_bytes(), before)
        self.assertEqual(json_twin.read_bytes(), before)

    def refused(self, code, out):
        done = support.run_qins("transport", MODEL, "--calibration", self.calibration, "--layers",
                                V2, "-o", out, check=code)
        self.assertIn(str(out.with_suffix(".json")), done.stderr)
        self.assertEqual(list(out.parent.glob("*.tmp-*")), [])

    def test_reports_that_cannot_be_written(self):
        taken = self.dir / "taken.json"
        taken.mkdir()
        self.refused(4, taken.with_suffix(".h5"))
        self.assertFalse(taken.with_suffix(".h5").exists())
        for text in ('{"schema": "qins/plan/1"}', "[1]", "a note", ""):
            own = self.dir / "own.json"
            own.write_text(text)
            self.refused(2, own.with_suffix(".h5"))
            self.assertEqual(own.read_text(), text)
            self.assertFalse(own.with_suffix(".h5").exists())

    def test_a_transport_replaces_an_earlier_one(self):
        more = ("--layers", V2, "--method", "decode")
        for kappa in (1, 2):
            report, meta, _ = self.transport(*more, "--kappa", kappa, name="twice")
            self.assertEqual(meta["inputs"][0]["kappa"], kappa)
        self.assertEqual(list(self.dir.glob("*.tmp-*")), [])

    def calibrate(self, name, *arguments, model=MODEL):
        out = self.dir / f"{name}.h5"
        support.run_qins("calibrate", model, *arguments, "-o", out, check=0)
        return out

    def test_calibrations_that_do_not_do(self):
        text = ("--text", TEXT, "--tokens", 640, "--context", 64)
        none = self.calibrate("none", *text)
        self.assertIn("qins calibrate MODEL --text FILE --keep-rows 2048",
                      self.fails(3, calibration=none))
        few = self.calibrate("few", *text, "--keep-rows", 30)
        message = self.fails(3, calibration=few)
        self.assertIn("too few rows were kept", message)
        self.assertIn("--keep-rows", message)
        config, tensors = model_fixtures.make("llama")
        folder = self.dir / "other"
        model_fixtures.write_folder(folder, config, tensors)
        self.assertIn(str(folder), self.fails(3, model=folder))
        self.fails(3, calibration=MODEL / "model.safetensors")
        self.fails(4, calibration=self.dir / "nowhere.h5")
        self.fails(4, model=self.dir / "nowhere")


@unittest.skipIf(support.SANITIZER == "thread", "nothing that threads do")
class Oddities(Folder):
    """Rows captured elsewhere may be anything."""
    def of_rows(self, rows, name, context=16):
        path = self.dir / f"{name}.npz"
        model_fixtures.write_npz(path, {V2: rows.astype(np.float32)})
        out = self.dir / f"{name}.h5"
        support.run_qins("calibrate", MODEL, "--activations", path, "--context", context,
                         "--keep-rows", 600, "-o", out, check=0)
        return out

    def test_channels_that_are_dead_or_constant(self):
        rng = np.random.default_rng(4)
        rows = rng.standard_normal((600, 128)) * np.exp(rng.standard_normal(128))
        rows[:, 3] = 0
        rows[:, 7] = 2.5
        rows[:, 11] = -1e-30
        rows[:, 13] *= 1e-20
        calibration = self.of_rows(rows, "odd")
        report, meta, _ = self.transport("--layers", V2, "--method", "all",
                                         calibration=calibration, name="odd-t")
        self.assertEqual(report["inputs"][0]["dead_channels"], 1)
        self.assertLess(line(report["layers"][0], method="split",
                             choice="best")["relative_error_test"], 0.02)
        message = self.fails(3, "--layers", DOWN2, calibration=calibration)
        self.assertIn(DOWN2, message)
        self.assertIn("--layers", message)
        message = self.fails(3, "--layers", V2, calibration=self.of_rows(rows, "one", 600))
        self.assertIn("whole windows", message.lower())

    def test_inputs_that_are_all_zero_or_huge(self):
        rng = np.random.default_rng(5)
        inputs = (("zero", np.zeros((600, 128))),
                  ("huge", rng.standard_normal((600, 128)) * 1e34),
                  ("tiny", rng.standard_normal((600, 128)) * 1e-38),
                  ("outlier", np.where(rng.random((600, 128)) < 1e-4, 1e6,
                                       rng.standard_normal((600, 128)))))
        for name, rows in inputs[:support.less(4, 2)]:
            with self.subTest(name=name):
                report, _, _ = self.transport("--layers", V2, "--method", "all",
                                              calibration=self.of_rows(rows, name),
                                              name=f"{name}-t")
                split = line(report["layers"][0], method="split", choice="best")
                if name == "zero":
                    self.assertEqual(split["relative_error_test"], 0)

    def test_outliers_are_told(self):
        rng = np.random.default_rng(6)
        rows = rng.standard_normal((600, 128))
        rows[5, 7] = 1e8
        calibration = self.of_rows(rows, "lone")
        done = support.run_qins("transport", MODEL, "--calibration", calibration, "--layers", V2,
                                "-o", self.dir / "lone-t.h5", check=0)
        report = json.loads((self.dir / "lone-t.json").read_text())
        chosen = report["layers"][0]["methods"][report["layers"][0]["chosen"]]
        self.assertGreaterEqual(chosen["relative_error_select"], 0.5)
        told = [l for l in done.stderr.splitlines() if "outliers" in l]
        self.assertEqual(len(told), 1, done.stderr)
        self.assertIn(V2, told[0])
        self.assertIn(f"{100 * chosen['relative_error_select']:.3g} %", told[0])

    def test_what_is_no_number_is_not_chosen(self):
        rng = np.random.default_rng(7)
        rows = np.zeros((600, 128))
        rows[3] = rng.standard_normal(128)  # to fit; outputs of all others are 0
        report, _, _ = self.transport("--layers", V2, "--method", "all",
                                      calibration=self.of_rows(rows, "edge"), name="edge-t")
        methods = report["layers"][0]["methods"]
        self.assertEqual(methods[report["layers"][0]["chosen"]]["relative_error_select"], 0)
        self.assertGreater(max(one["relative_error_select"] for one in methods), 1e300)
        for one in methods:
            self.assertIsNotNone(one["relative_error_select"])
            self.assertIsNotNone(one["relative_error_test"])

    def test_experts_that_text_seldom_reaches(self):
        config, tensors = model_fixtures.make("mixtral")
        router = next(n for n in tensors if "gate.weight" in n and ".1." in n)
        tensors[router][0] = 0  # a logit of 0 while others are large of either sign
        tensors[router][1:] *= 8
        folder = self.dir / "moe"
        model_fixtures.write_folder(folder, config, tensors)
        np.save(self.dir / "ids.npy", model_fixtures.random_ids(900))
        calibration = self.dir / "moe.h5"
        support.run_qins("calibrate", folder, "--ids", self.dir / "ids.npy", "--context", 16,
                         "--keep-rows", 130, "-o", calibration, check=0)
        report, meta, _ = self.transport("--layers", "all", model=folder, calibration=calibration,
                                         name="moe-t")
        layers = config["num_hidden_layers"]
        experts = config["num_local_experts"]
        self.assertEqual(len(report["layers"]) + len(report["skipped"]),
                         layers * (2 + 3 * experts))
        self.assertTrue(report["skipped"])
        for one in report["skipped"]:
            self.assertIn("too few rows", one["reason"])
        self.assertEqual({l["expert"] for l in report["layers"] if l["projection"] == "v_proj"},
                         {0})


if __name__ == "__main__":
    support.main()
