"""qins transport against transport_reference.py: what numpy makes of the same kept rows, from the
formulas alone, must be what is stored and what the report tells, for one layer of each method."""
import unittest

import numpy as np

import support
import transport_reference as reference
from calibration_fixtures import MODEL, TEXT, h5py, load, point_datasets

V, O, DOWN = ("model.layers.1.self_attn.v_proj.weight", "model.layers.1.self_attn.o_proj.weight",
              "model.layers.4.mlp.down_proj.weight")
TOLERANCE = 1e-5
SMALL = 1e-3
# Arguments, and the layer: v_proj is not square, o_proj is.
KINDS = {
    "split": (["--method", "split"], DOWN),
    "split, 6 bits": (["--method", "split", "--order", "2", "--bits", "6"], V),
    "sign plane": (["--method", "split", "--order", "3", "--sign-plane"], V),
    "ridge": (["--method", "ridge", "--order", "2"], V),
    "decode": (["--method", "decode"], V),
    "literal": (["--method", "jacobian-literal", "--kappa", "1"], V),
    "literal, square": (["--method", "jacobian-literal", "--kappa", "1"], O),
    "tangent": (["--method", "jacobian-tangent", "--kappa", "3"], DOWN),
}


def grid(line, bits):
    """What the reference wants of a line's choice."""
    return {"levels": 2 ** (bits - 1) - 1, "kappa": line["kappa"], "clip": line["clip"]}


class Layer:
    """Rows and weights of one layer."""

    def __init__(self, calibration, name, point):
        datasets = point_datasets(calibration, point)
        part = calibration["rows/part"][datasets["row_index"]]
        self.fit, self.select, self.test = (datasets["rows"][part == i] for i in range(3))
        self.abs_max = max(np.abs(datasets["min"]).max(), np.abs(datasets["max"]).max())
        self.w = support.read_safetensors(MODEL / "model.safetensors")[name].astype(np.float64)

    def native(self, line, bits):
        """The method of a report's line, fitted anew."""
        more = {"order": line["order"]} if line["method"] in ("split", "ridge") else {}
        if line["method"] == "ridge":
            more["ridge"] = line["ridge"]
        if line["method"] == "jacobian-literal":
            more["output_decoded"] = line["output_decoded"]
        return reference.make(line["method"], self.w, self.fit, self.abs_max,
                              sign_plane=line["sign_plane"], **grid(line, bits), **more)

    def errors(self, native, rows):
        return reference.errors(rows.astype(np.float64) @ self.w.T, native(rows))


@unittest.skipIf(support.SANITIZER != "none", "minutes of arithmetic, on paths of test_transport")
@unittest.skipUnless(h5py, "no h5py")
class Oracle(support.Folder):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        path = cls.dir / "calibration.h5"
        support.run_qins("calibrate", MODEL, "--text", TEXT, "--tokens", 5000, "--context", 64,
                         "--keep-rows", 500, "-o", path, check=0)
        cls.meta, cls.calibration = load(path)
        cls.points = {tensor: point["name"] for point in cls.meta["points"]
                      for tensor in point["tensors"] if point["name"].endswith(":input")}

    def transport(self, name, arguments):
        out = self.dir / "t.h5"
        support.run_qins("transport", MODEL, "--calibration", self.dir / "calibration.h5",
                         "--layers", name, *arguments, "-o", out, check=0)
        meta, arrays = load(out)
        return meta, arrays, Layer(self.calibration, name, self.points[name])

    def assert_close(self, got, want, what):
        """Each value; small ones as a share of the largest of their plane."""
        axes = tuple(i for i in range(want.ndim) if i != want.ndim - 2)
        largest = np.abs(want).max(axis=axes, keepdims=True)
        off = np.abs(got - want) / np.maximum(np.abs(want), SMALL * largest)
        self.assertLess(off.max(), TOLERANCE, what)

    def check_errors(self, layer, line, bits):
        native = layer.native(line, bits)
        for rows, part in ((layer.select, "select"), (layer.test, "test")):
            relative, squared = layer.errors(native, rows)
            for key, want in (("relative", relative), ("squared", squared)):
                self.assertLess(abs(line[f"{key}_error_{part}"] / want - 1), TOLERANCE, line)

    def expected_arrays(self, layer, item, line):
        """What is stored of a fit, by its name in the file."""
        method, w = line["method"], layer.w
        fit = (layer.fit, layer.abs_max)
        own = grid(line, line["bits"])
        if method == "split":
            return {"inputs/0/coefficients": reference.split_coefficients(
                *fit, line["order"], sign_plane=line["sign_plane"], **own)}
        if method == "ridge":
            whole = reference.ridge_map(*fit, line["order"], ridge=line["ridge"], **own)
            planes = (w @ whole.T).reshape(len(w), line["order"], w.shape[1])
            return {"layers/0/planes": planes}
        if method == "decode":
            return {}
        alpha = item["kappa"] / item["scale"]
        mean = layer.fit.mean(axis=0, dtype=np.float64)
        j_d = -(1 + alpha * np.abs(mean)) ** 2 / alpha  # D' at E(mean), and 1 / E' there
        if method == "jacobian-literal":
            square = w.shape[0] == w.shape[1]
            found = {"inputs/0/coefficients": j_d[None] if square else j_d[None] ** 2}
            return {**found, "layers/0/output_scale": j_d} if square else found
        y = layer.fit.astype(np.float64) @ w.T
        y_alpha, y_mean = item["kappa"] / np.abs(y).max(), y.mean(axis=0)
        j_e = -y_alpha / (1 + y_alpha * np.abs(y_mean)) ** 2
        at_spot = w @ (j_d * reference.encode(mean, alpha))
        return {"inputs/0/coefficients": j_d[None], "layers/0/output_scale": j_e,
                "layers/0/output_offset": reference.encode(y_mean, y_alpha) - j_e * at_spot}

    def test_what_is_stored(self):
        for kind, (arguments, name) in KINDS.items():
            with self.subTest(kind):
                meta, arrays, layer = self.transport(name, arguments)
                told = meta["study"]["layers"][0]
                line, item = told["methods"][told["chosen"]], meta["inputs"][0]
                self.assertEqual(line["method"], item["method"])
                self.assertEqual(line["method"], arguments[1])
                expected = self.expected_arrays(layer, item, line)
                self.assertEqual(set(expected), set(arrays))
                for array, want in expected.items():
                    self.assertEqual(arrays[array].shape, want.shape)
                    self.assert_close(arrays[array], want, array)
                self.check_errors(layer, line, line["bits"])

    def test_every_line_of_the_study(self):
        for name in (V, O):
            meta, _, layer = self.transport(name, ["--method", "all", "--order", "3"])
            told = meta["study"]["layers"][0]
            y = np.abs(layer.test.astype(np.float64) @ layer.w.T).mean()
            self.assertLess(abs(told["mean_abs_output_test"] / y - 1), TOLERANCE)
            for line in told["methods"]:
                with self.subTest(name, line=line):
                    if not line["fallback"]:
                        self.check_errors(layer, line, line["bits"])

    def test_curves(self):
        """Of every order, at the largest scale."""
        meta, _, layer = self.transport(V, ["--method", "split"])
        told = meta["study"]["layers"][0]
        for curve in told["curves"]:
            if curve["clip"] != "max":
                continue
            for kappa, relative in list(zip(curve["kappa"], curve["relative_error_test"]))[::3]:
                with self.subTest(curve["method"], order=curve["order"], kappa=kappa):
                    line = {**curve, "kappa": kappa, "clip": 1}
                    native = layer.native(line, 8)
                    want, _ = layer.errors(native, layer.test)
                    self.assertLess(abs(relative / want - 1), TOLERANCE)


if __name__ == "__main__":
    support.main()
