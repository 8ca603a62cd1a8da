"""Rounding with error feedback against GPTQ's recursion in float64 numpy, and what it brings."""
import json
import os
import pathlib
import tempfile
import unittest

import h5py
import numpy as np

import model_fixtures
import support

EXAMPLES = support.SOURCE_ROOT / "examples"
DAMPING = 0.1  # QN_FEEDBACK_DAMPING
F = np.float32


def table(levels, kappa):
    """Values of levels 0 ... N for a scale of 1."""
    t = np.arange(levels + 1) / levels
    return (t / (1 + float(F(kappa)) * (1 - t))).astype(F).astype(float)


def position(x, scale, levels, kappa):
    """N t: where in the levels a magnitude lies, clamped. SCALE > 0, arrays alike."""
    u = np.minimum(np.abs(x) / scale, 1)
    return levels * (1 + kappa) * u / (1 + kappa * u)


def nearest(x, scale, levels, kappa):
    used = np.where(scale > 0, scale, 1)
    level = np.floor(position(x, used, levels, kappa) + 0.5).astype(int)
    return np.where(scale > 0, np.copysign(1, x) * used * table(levels, kappa)[level], 0.0)


def unit_factor(gram, order):
    """Rows U[j] / U[j][j] of H^-1 = U^T U, H damped and in ORDER; by numpy's own inverse."""
    n = len(gram)
    h = np.array(gram)
    mean = np.trace(gram) / n
    dead = np.diag(gram) == 0
    h[dead, dead] = mean if mean > 0 else 1
    h = (h + DAMPING * mean * np.eye(n))[np.ix_(order, order)]
    u = np.linalg.cholesky(np.linalg.inv(h)).T
    return u / np.diag(u)[:, None]


class Reference:
    """Values by GPTQ's recursion, and how far each stood from a border between two levels when it
    was rounded, in levels."""

    def __init__(self, w, scales, levels, kappa, factor, order):
        self.values, self.margin = np.zeros(w.shape), np.zeros(w.shape)
        v = np.array(w, float)
        for j, c in enumerate(order):
            x, scale = v[:, c].copy(), scales[:, c]
            self.values[:, c] = nearest(x, scale, levels, kappa)
            where = position(x, np.where(scale > 0, scale, 1), levels, kappa)
            self.margin[:, c] = np.abs(where - np.floor(where) - 0.5)
            v[:, order[j + 1:]] -= np.outer(x - self.values[:, c], factor[j, j + 1:])


def weighted_error(d, gram):
    return float(np.sum((d @ gram) * d))


def group_scales(w, group):
    """Of each element, as the archive has them with --clip 1: float32 maxima."""
    scales = np.zeros(w.shape)
    for begin in range(0, w.shape[1], group):
        part = np.abs(w[:, begin:begin + group]).max(axis=1, keepdims=True)
        scales[:, begin:begin + group] = part
    return scales


def activations(rng, rows, n):
    """Channels that go together, of very different sizes."""
    mix = rng.normal(size=(n, n)) / np.sqrt(n) + np.eye(n)
    return (rng.normal(size=(rows, n)) @ mix * np.exp(rng.normal(size=n))).astype(F)


class Folder(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="qins-feedback-")
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def path(self, name):
        return self.folder / name

    def write(self, name, tensors):
        path = self.path(name)
        support.write_safetensors(path, {n: ("F32", a.shape, [a.astype("<f4").tobytes()])
                                         for n, a in tensors.items()})
        return path

    def calibrate(self, rows):
        """A calibration file with the Gram matrices of ROWS: name -> array."""
        out = self.path("calibration.h5")
        support.run_qins("calibrate", "--activations", self.write("rows.safetensors", rows),
                         "--gram", "-o", out, "--quiet", check=0)
        return out

    def gram(self, calibration, name):
        """Gram matrix and order of rounding."""
        with h5py.File(calibration) as f:
            point = f[f"points/{name}:input"]
            squares = point["sums"][2, 0]
            return point["gram"][()], np.argsort(-squares, kind="stable")

    def convert(self, source, *options, out="a.qins", **more):
        archive = self.path(out)
        done = support.run_qins("convert", source, "-o", archive, *options, check=0, **more)
        self.notes = done.stderr
        return archive

    def values(self, archive):
        out = self.path("restored.safetensors")
        support.run_qins("restore", archive, "-o", out, "--quiet", check=0)
        return support.read_safetensors(out)

    def rounding(self, archive):
        """name -> rounding, of what is quantised."""
        done = support.run_qins("inspect", archive, "--json", check=0)
        return {t["name"]: t.get("rounding")
                for t in json.loads(done.stdout)["tensors"]}


class Oracle(Folder):
    SHAPES = {"plain": (300, 64), "odd": (70, 172), "wide": (24, 384), "one": (4096, 1),
              "rank_one": (64, 96), "dead": (64, 100), "alone": (64, 65)}

    def setUp(self):
        super().setUp()
        rng = np.random.default_rng(7)
        rows = {n: activations(rng, 500, shape[1]) for n, shape in self.SHAPES.items()}
        rows["rank_one"] = np.outer(rng.normal(size=40), rng.normal(size=96)).astype(F)
        rows["dead"][:, ::9] = 0
        rows["alone"] = (np.eye(65) * (1 + np.arange(65))).astype(F)  # channels apart
        self.rows = rows
        self.w = {n: rng.standard_t(5, size=shape).astype(F) for n, shape in self.SHAPES.items()}
        self.w["plain"][11] = 0
        self.w["odd"][3, :100] = 0
        self.source = self.write("w.safetensors", self.w)
        self.calibration = self.calibrate(rows)

    def check(self, name, values, group, levels, kappa):
        """Rows agree up to a first difference, which lies at a border between two levels."""
        w = self.w[name].astype(float)
        gram, order = self.gram(self.calibration, name)
        scales = group_scales(w, group)
        r = Reference(w, scales, levels, kappa, unit_factor(gram, order), order)
        self.assertTrue(np.isfinite(values).all())
        differs = np.abs(values - r.values) > 1e-5 * scales
        strayed = np.nonzero(differs.any(axis=1))[0]
        for row in strayed:
            first = order[np.argmax(differs[row, order])]
            self.assertLess(r.margin[row, first], 1e-3, (name, row, first))
        self.assertLessEqual(len(strayed), max(2, 0.05 * len(w)), name)
        error = weighted_error(values - w, gram)
        without = weighted_error(nearest(w, scales, levels, kappa) - w, gram)
        # Of many levels, one row that strays is much of what little error a matrix of rank one has.
        share = 1.01 if levels < 1000 else 1.05
        self.assertLessEqual(error, share * weighted_error(r.values - w, gram) + 1e-9 * without)
        return error / without if without > 0 else 1

    @unittest.skipIf(support.SANITIZER == "thread", "nothing that threads do")
    def test_same_codes(self):
        for bits, kappa, group in ((4, 0, "row"), (3, 1.5, "row"), (6, 3, "row"), (5, 0, 32),
                                   (12, 0, "row"), (2, 0, "row")):
            with self.subTest(bits=bits, kappa=kappa, group=group):
                archive = self.convert(self.source, "--calibration", self.calibration,
                                       "--rounding", "feedback", "--bits", bits, "--kappa", kappa,
                                       "--clip", 1, "--group", group, "--codec", "huffman",
                                       out=f"{bits}.qins")
                values = self.values(archive)
                for name, w in self.w.items():
                    size = w.shape[1] if group == "row" else group
                    ratio = self.check(name, values[name].astype(float), size,
                                       2**(bits - 1) - 1, kappa)
                    if name in ("one", "alone"):
                        self.assertAlmostEqual(ratio, 1, places=3)
                    else:
                        self.assertLess(ratio, 0.97, name)
                self.assertFalse(values["plain"][11].any())

    @unittest.skipIf(support.SANITIZER == "thread", "nothing that threads do")
    def test_one_scale_for_a_tensor(self):
        archive = self.convert(self.source, "--calibration", self.calibration, "--rounding",
                               "feedback", "--bits", 5, "--kappa", 0, "--clip", 1, "--group",
                               "tensor")
        values = self.values(archive)["plain"].astype(float)
        w = self.w["plain"].astype(float)
        gram, order = self.gram(self.calibration, "plain")
        scales = np.full(w.shape, np.abs(w).max())
        r = Reference(w, scales, 15, 0, unit_factor(gram, order), order)
        same = np.abs(values - r.values) < 1e-5 * scales
        self.assertGreater(same.all(axis=1).mean(), 0.95)

    def test_same_bytes_whatever_threads_and_processor(self):
        options = ["--calibration", self.calibration, "--rounding", "feedback", "--bits", 4]
        first = self.convert(self.source, *options, "--threads", 1, out="1.qins").read_bytes()
        for threads, level in ((3, "avx512"), (1, "avx2"), (2, "c")):
            env = dict(os.environ, QINS_CPU=level)
            again = self.convert(self.source, *options, "--threads", threads, env=env)
            self.assertEqual(again.read_bytes(), first, level)

    def test_verify_against_source(self):
        archive = self.convert(self.source, "--calibration", self.calibration, "--bits", 4)
        support.run_qins("verify", archive, "--against", self.source, check=0)


@unittest.skipIf(support.SANITIZER != "none", "arithmetic, which Oracle runs sanitized")
class Model(Folder):
    TOKENS = 16384

    def setUp(self):
        super().setUp()
        self.calibration = self.path("calibration.h5")
        support.run_qins("calibrate", support.MODEL, "--text", EXAMPLES / "kjv-calibration.txt",
                         "--tokens", self.TOKENS, "--gram", "-o", self.calibration, check=0)
        self.text = self.path("heldout.txt")
        self.text.write_bytes((EXAMPLES / "kjv-heldout.txt").read_bytes()[:15000])

    def kl(self, archive):
        done = support.run_qins("validate", support.MODEL, archive, "--text", self.text, "--tests",
                                "perplexity", "--json", check=0)
        return json.loads(done.stdout)["tests"]["perplexity"]["kl"]["mean"]

    def test_divergence_and_prediction(self):
        """Codes of 5 bits take some 4.8 when coded. The embedding, which is only looked up, stays
        as it is; what each matrix gains is what its factor says beforehand."""
        options = ["--bits", 5, "--kappa", 0, "--clip", 1, "--codec", "huffman"]
        near = self.convert(support.MODEL, *options, out="nearest.qins")
        fed = self.convert(support.MODEL, *options, "--calibration", self.calibration,
                           "--rounding", "feedback", out="feedback.qins")
        self.assertIn("model.embed_tokens.weight", self.notes)
        self.assertLess(abs(fed.stat().st_size / near.stat().st_size - 1), 0.005)
        self.assertLess(self.kl(fed), 0.88 * self.kl(near))

        w = support.read_safetensors(support.MODEL / "model.safetensors")
        values = {"near": self.values(near), "fed": self.values(fed)}
        name = "model.embed_tokens.weight"
        np.testing.assert_array_equal(values["near"][name], values["fed"][name])
        with h5py.File(self.calibration) as f:
            points = json.loads(f["meta"][()].tobytes())["points"]
        checked = 0
        for point in points:
            if point["kind"] == "value":
                continue
            gram, order = self.gram(self.calibration, point["tensors"][0])
            factor = unit_factor(gram, order)
            ordered = gram[np.ix_(order, order)]
            predicted = np.trace(factor @ ordered @ factor.T) / np.trace(gram)
            for name in point["tensors"]:
                error = {k: weighted_error(v[name].astype(float) - w[name], gram)
                         for k, v in values.items()}
                self.assertLess(abs(error["fed"] / error["near"] / predicted - 1), 0.15, name)
                checked += 1
        self.assertEqual(checked, 43)


class Transposed(Folder):
    def test_conv1d(self):
        """GPT-2's [in][out] weights are rounded to nearest, square ones too; its head, which is
        the embedding, is no Conv1D."""
        config, tensors = model_fixtures.make("gpt2", n_embd=64, vocab_size=128)
        model, ids = self.path("gpt2"), self.path("ids.npy")
        model_fixtures.write_folder(model, config, tensors)
        np.save(ids, np.arange(600) * 7 % 128)
        calibration = self.path("gpt2.h5")
        support.run_qins("calibrate", model, "--ids", ids, "--gram", "-o", calibration, check=0)
        archive = self.convert(model, "--bits", 4, "--calibration", calibration, "--rounding",
                               "feedback")
        rounding = self.rounding(archive)
        head = [n for n, r in rounding.items() if r == "feedback"]
        self.assertEqual([n.rsplit(".", 2)[-2] for n in head], ["wte"])
        # Both tables' and each of 3 layers' 4 matrices, but for the head.
        self.assertRegex(self.notes, "and 12 more are rounded to nearest")


if __name__ == "__main__":
    support.main()
