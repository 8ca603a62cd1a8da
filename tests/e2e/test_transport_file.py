"""Transport files (docs/transport-format.md) by h5py and numpy alone: what is stored makes the
outputs whose errors the report tells. And files that must be refused."""
import json
import shutil
import unittest

import numpy as np

import calibration_fixtures as fixtures
import support

try:
    import h5py
except ImportError:
    h5py = None

V, DOWN = "model.layers.1.self_attn.v_proj.weight", "model.layers.0.mlp.down_proj.weight"
KINDS = {  # arguments, planes of features
    "split": (["--method", "split", "--order", "3"], 3),
    "sign plane": (["--method", "split", "--order", "2", "--sign-plane", "--materialize"], 3),
    "ridge": (["--method", "ridge", "--order", "2"], 2),
    "decode": (["--method", "decode"], 0),
    "literal": (["--method", "jacobian-literal"], 1),
    "tangent": (["--method", "jacobian-tangent"], 1),
}
if support.SANITIZER != "none":  # each takes seconds; others are fitted in test_transport.py
    KINDS = {kind: KINDS[kind] for kind in ("split", "ridge", "decode")}


def encode(x, levels, kappa, scale):
    """Codes, in float32 as the page says."""
    f = np.float32
    u = np.minimum(np.abs(x) / f(scale), f(1))
    q = (f(levels) * (f(1) + f(kappa)) * u) / (f(1) + f(kappa) * u)
    level = np.minimum((q + f(0.5)).astype(np.int64), levels)
    return np.where(np.signbit(x), levels - level, levels + level)


def features(meta, codes):
    """[planes][rows][channels] in float64; of decode the values."""
    n, kappa = meta["levels"], meta["kappa"]
    sign, t = np.where(codes >= n, 1.0, -1.0), np.abs(codes - n) / n
    if meta["method"] == "decode":
        return [meta["scale"] * sign * t / (1 + kappa * (1 - t))]
    if meta["method"].startswith("jacobian"):
        return [sign * (1 - kappa * t / (1 + kappa))]
    return [sign * t ** k for k in range(1, meta["order"] + 1)] + [sign] * meta["sign_plane"]


def outputs(layer, arrays, weights, phi):
    """A layer's native outputs, without bias. ARRAYS: of the layer, and its input's coefficients."""
    if "planes" in arrays:
        planes = np.moveaxis(arrays["planes"].astype(np.float64), 1, 0)
    elif "coefficients" in arrays:
        planes = [weights * c for c in arrays["coefficients"].astype(np.float64)]
    else:  # decode
        planes = [weights]
    y = sum(f @ p.T for f, p in zip(phi, planes, strict=True))
    y = y * arrays.get("output_scale", 1.0) + arrays.get("output_offset", 0.0)
    if layer["output_alpha"] > 0:
        size = np.clip(np.abs(y), layer["output_floor"], 1)
        y = np.where(y < 0, -1, 1) * (1 - size) / (layer["output_alpha"] * size)
    return y


@unittest.skipUnless(h5py, "no h5py")
class Files(fixtures.Folder):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.rows = cls.dir / "rows.h5"
        support.run_qins("calibrate", support.MODEL, "--ids", cls.ids_file, "--context", "32",
                         "--keep-rows", support.less(600, 300), "-o", cls.rows, check=0)
        _, cls.calibration = fixtures.load(cls.rows)
        cls.made = {}

    def transport(self, kind, *more):
        """The path of the file, which is made once."""
        out = self.dir / (kind.replace(" ", "-") + "".join(more) + ".h5")
        if out not in self.made:
            done = support.run_qins("transport", support.MODEL, "--calibration", self.rows,
                                    "--layers", f"{V},{DOWN}", *KINDS[kind][0], *more, "-o", out,
                                    "--json", check=0)
            self.made[out] = json.loads(done.stdout)
        return out

    def points(self, name):
        """Rows of the test part at a point."""
        data = fixtures.point_datasets(self.calibration, name)
        return data["rows"][self.calibration["rows/part"][data["row_index"]] == 2]

    def check_layer(self, meta, data, number):
        layer = meta["layers"][number]
        source = meta["inputs"][layer["input"]]
        arrays = {k.rsplit("/", 1)[1]: v for k, v in data.items()
                  if k.startswith(f"layers/{number}/")}
        self.assertEqual({k for k in ("planes", "output_scale", "output_offset") if layer[k]},
                         set(arrays))
        coefficients = data.get(f"inputs/{layer['input']}/coefficients")
        if coefficients is not None:
            arrays["coefficients"] = coefficients
        x = self.points(source["name"])
        weights = support.read_safetensors(support.MODEL / "model.safetensors")[layer["tensor"]]
        self.assertEqual(weights.shape, (layer["out"], source["channels"]))
        codes = encode(x, source["levels"], source["kappa"], source["scale"])
        native = outputs(layer, arrays, weights.astype(np.float64), features(source, codes))
        y = x.astype(np.float64) @ weights.T.astype(np.float64)
        told = meta["study"]["layers"][number]
        line = told["methods"][told["chosen"]]
        self.assertEqual(told["name"], layer["tensor"])
        self.assertEqual(line["method"], source["method"])
        want = np.abs(native - y).mean() / np.abs(y).mean()
        self.assertLess(abs(line["relative_error_test"] - want), 2e-5 * want, layer["tensor"])

    def test_every_method(self):
        for kind, (_, planes) in KINDS.items():
            with self.subTest(kind):
                path = self.transport(kind)
                meta, data = fixtures.load(path)
                report = json.loads(path.with_suffix(".json").read_text())
                support.validate(self.made[path], "transport")
                support.validate(report, "transport")
                self.assertEqual(meta["schema"], "qins/transport-weights/1")
                self.assertEqual([(l["tensor"], l["projection"], l["layer"], l["expert"])
                                  for l in meta["layers"]],
                                 [(DOWN, "down_proj", 0, 0), (V, "v_proj", 1, 0)])
                for name, array in data.items():
                    self.assertEqual(array.dtype, np.dtype("<f4"), name)
                    if "output" not in name:
                        self.assertIn(planes, array.shape, name)
                for number in range(2):
                    self.check_layer(meta, data, number)
                # Twelve digits in the one, all in the other.
                for here, there in zip(meta["study"]["layers"], report["layers"]):
                    self.assertEqual(here["chosen"], there["chosen"])
                    for a, b in zip(here["methods"], there["methods"]):
                        self.assertAlmostEqual(a["relative_error_test"], b["relative_error_test"])

    @unittest.skipIf(support.SANITIZER != "none", "test_transport.py has threads under TSan")
    def test_same_bytes(self):
        one = self.transport("split", "--threads", "1").read_bytes()
        self.assertEqual(one, self.transport("split", "--threads", "3").read_bytes())

    def test_refused(self):
        good = self.transport("split")
        bad = self.dir / "bad.h5"

        def meta(edit):
            def change(f):
                text = json.loads(f["meta"][()].tobytes())
                edit(text)
                del f["meta"]
                f["meta"] = np.frombuffer(json.dumps(text).encode(), np.uint8)
            return change

        def replace(name, make):
            def change(f):
                old = f[name][()]
                del f[name]
                f[name] = make(old)
            return change

        def not_finite(f):
            f["inputs/0/coefficients"][1, 2] = np.nan

        c = "inputs/0/coefficients"
        changes = {
            "finite": not_finite,
            "missing": lambda f: f.__delitem__("inputs/1/coefficients"),
            "type or shape": replace(c, lambda a: a.astype(np.float64)),
            "its type": replace(c, lambda a: a[:, :-1]),
            "JSON": replace("meta", lambda a: a[:-1]),
            "no /meta": lambda f: f.__delitem__("meta"),
            "kind": meta(lambda m: m.update(schema="qins/calibration/1")),
            "'kappa'": meta(lambda m: m["inputs"][0].update(kappa="3")),
            "hold": meta(lambda m: m["inputs"][0].update(channels=1 << 24)),
            "model": meta(lambda m: m.update(model_fingerprint="0" * 32)),
            "v_proj": meta(lambda m: m["layers"][1].update(out=1)),
            "twice": meta(lambda m: m["inputs"][0].update(name=m["inputs"][1]["name"])),
        }
        run = ["generate", support.MODEL, "--prompt", "In", "--tokens", "1", "--transport"]
        support.run_qins(*run, good, check=0)
        for what, change in changes.items():
            with self.subTest(what):
                shutil.copy(good, bad)
                with h5py.File(bad, "r+") as f:
                    change(f)
                done = support.run_qins(*run, bad, check=3)
                self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
                self.assertIn(what, done.stderr)
                self.assertIn("bad.h5", done.stderr)


if __name__ == "__main__":
    support.main()
