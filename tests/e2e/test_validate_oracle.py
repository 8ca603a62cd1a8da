"""qins validate's figures of positions and of weights against numpy: KL, overlaps, sampled
distributions, quantiles and standard errors from the logits it saves, tensors from what it restores."""
import json
import math
import pathlib
import tempfile
import unittest

import numpy as np

import model_fixtures as fixtures
import support

TEXT = support.SOURCE_ROOT / "examples" / "kjv-heldout.txt"
QUANTILES = {"p0_1": 0.001, "p1": 0.01, "p5": 0.05, "p10": 0.1, "p50": 0.5, "p90": 0.9, "p95": 0.95,
             "p99": 0.99, "p99_9": 0.999}
TEMPERATURE, TOP_P = 0.7, 0.9
LEAST_WINDOWS = 10
SHAPES = [0.0] + [0.125 * math.sqrt(2.0) ** i for i in range(26)]  # of kappa


def log_softmax(x):
    x = x - x.max(axis=1, keepdims=True)
    return x - np.log(np.exp(x).sum(axis=1, keepdims=True))


def kl(log_p, log_q):
    return (np.exp(log_p) * (log_p - log_q)).sum(axis=1)


def by_likelihood(logits):
    return np.argsort(-logits, axis=1, kind="stable")


def sampled(logits):
    """Distributions after temperature, then top-p: the fewest likeliest that make it up."""
    p = np.exp(log_softmax(logits / TEMPERATURE))
    order = by_likelihood(logits)
    ordered = np.take_along_axis(p, order, axis=1)
    ordered[np.cumsum(ordered, axis=1) - ordered >= TOP_P] = 0.0
    kept = np.zeros_like(p)
    np.put_along_axis(kept, order, ordered, axis=1)
    return kept / kept.sum(axis=1, keepdims=True)


def batches(x, windows):
    """Window means, or positions, along the first axis."""
    return x.reshape(windows, -1, *x.shape[1:]).mean(axis=1) if windows >= LEAST_WINDOWS else x


def error_of_mean(x, windows):
    b = batches(x, windows)
    return b.std(ddof=1) / math.sqrt(len(b))


def error_of(function, moments, windows):
    """The delta method with a numeric gradient: FUNCTION of the means of columns."""
    means = moments.mean(axis=0)
    gradient = np.empty(len(means))
    for i, step in enumerate(1e-6 * np.maximum(np.abs(means), 1e-3)):
        shift = np.zeros(len(means))
        shift[i] = step
        gradient[i] = (function(means + shift) - function(means - shift)) / (2.0 * step)
    b = batches(moments, windows)
    covariance = np.atleast_2d(np.cov(b, rowvar=False)) / len(b)
    return math.sqrt(gradient @ covariance @ gradient)


def correlation(m):
    x, y, xx, yy, xy = m
    return (xy - x * y) / math.sqrt((xx - x * x) * (yy - y * y))


FOLDER = tempfile.TemporaryDirectory(prefix="qins-oracle-")


def setUpModule():
    unittest.addModuleCleanup(FOLDER.cleanup)
    Oracle.text.write_bytes(TEXT.read_bytes()[:1500])
    support.run_qins("convert", support.MODEL, "-o", Oracle.archive, "--bits", "4", "--group", "row",
                     "--clip", "1", check=0)


class Oracle(unittest.TestCase):
    dir = pathlib.Path(FOLDER.name)
    text, archive = dir / "text.txt", dir / "four.qins"

    def report(self, *arguments):
        report = json.loads(support.run_qins("validate", *arguments, "--json", check=0).stdout)
        support.validate(report, "validation")
        return report

    def validate(self, *arguments):
        return self.report(support.MODEL, *arguments, "--text", self.text)["tests"]

    def near(self, value, expected, within=1e-6):
        self.assertLessEqual(abs(value - expected), within * max(1e-3, abs(expected)),
                             f"{value} is not {expected}")


class Positions(Oracle):
    def check_distribution(self, figures, x, windows):
        self.near(figures["mean"], x.mean())
        self.near(figures["standard_error"], error_of_mean(x, windows))
        self.near(figures["max"], x.max())
        for name, q in QUANTILES.items():
            self.near(figures["quantiles"][name], np.quantile(x, q))

    def check_sampling(self, figures, logits, following, windows):
        log_p = [log_softmax(x) for x in logits]
        each = [sampled(x) for x in logits]
        rows = np.arange(len(following))
        self.check_distribution(figures["kl"]["model_candidate"], kl(*log_p), windows)
        self.check_distribution(figures["kl"]["candidate_model"], kl(*log_p[::-1]), windows)
        self.check_distribution(figures["total_variation"],
                                0.5 * np.abs(each[0] - each[1]).sum(axis=1), windows)
        change = each[1][rows, following] - each[0][rows, following]
        self.near(figures["mean_delta_p"]["value"], change.mean())
        self.near(figures["mean_delta_p"]["standard_error"], error_of_mean(change, windows))
        self.near(figures["rms_delta_p"]["value"], math.sqrt((change ** 2).mean()))
        self.near(figures["rms_delta_p"]["standard_error"],
                  error_of(lambda m: math.sqrt(m[0]), change[:, None] ** 2, windows))
        order = [by_likelihood(x) for x in logits]
        for figure in figures["top_k"]:
            k = figure["k"]
            shares = np.array([len(set(a[:k]) & set(b[:k])) / k for a, b in zip(*order)])
            self.near(figure["overlap"], shares.mean())
            self.near(figure["standard_error"], error_of_mean(shares, windows))
        for name, value in (("kl_mean", kl(*log_p).mean()), ("top10_overlap", shares.mean())):
            self.near(figures["thresholds"][name]["value"], value)
        self.assertEqual(figures["passed"], bool(kl(*log_p).mean() < 0.1 and shares.mean() >= 0.97))

    def check_perplexity(self, figures, logits, following, windows):
        rows = np.arange(len(following))
        x, y = (-log_softmax(z)[rows, following] for z in logits)
        for who, loss in (("model", x), ("candidate", y)):
            self.near(figures[who]["perplexity"], math.exp(loss.mean()))
            self.near(figures[who]["mean_nll_standard_error"], error_of_mean(loss, windows))
            self.near(figures[who]["perplexity_standard_error"],
                      math.exp(loss.mean()) * error_of_mean(loss, windows))
        d, both = figures["difference"], np.stack([x, y], axis=1)
        self.near(d["mean_nll"], (y - x).mean())
        self.near(d["standard_error"], error_of_mean(y - x, windows))
        for name, function in (("perplexity_ratio", lambda m: math.exp(m[1] - m[0])),
                               ("perplexity", lambda m: math.exp(m[1]) - math.exp(m[0]))):
            self.near(d[name], function(both.mean(axis=0)))
            self.near(d[f"{name}_standard_error"], error_of(function, both, windows), 1e-5)
        moments = np.stack([x, y, x * x, y * y, x * y], axis=1)
        self.near(d["correlation"], np.corrcoef(x, y)[0, 1])
        self.near(d["correlation_standard_error"], error_of(correlation, moments, windows), 1e-4)
        self.check_distribution(figures["kl"], kl(*(log_softmax(z) for z in logits)), windows)
        p, q = np.exp(-x), np.exp(-y)
        self.check_distribution(figures["delta_p_percent"], 100.0 * (q - p), windows)

    def check_all(self, context):
        folder = self.dir / f"logits-{context}"
        tests = self.validate(self.archive, "--tests", "sampling,perplexity", "--context", context,
                              "--save-logits", folder)
        logits = [np.load(folder / f"{who}.npy").astype(np.float64) for who in ("model", "candidate")]
        following = np.load(folder / "next.npy")
        windows = tests["sampling"]["windows"]
        self.assertEqual(tests["sampling"]["tokens"], len(following))
        self.assertEqual(len(following), windows * context)
        by = "windows" if windows >= LEAST_WINDOWS else "tokens"
        self.assertEqual(tests["sampling"]["errors_by"], by)
        self.check_sampling(tests["sampling"], logits, following, windows)
        self.check_perplexity(tests["perplexity"], logits, following, windows)
        return by

    @unittest.skipIf(support.SANITIZER != "none", "the other one takes the same paths")
    def test_errors_by_windows(self):
        self.assertEqual(self.check_all(16), "windows")

    def test_errors_by_tokens(self):
        self.assertEqual(self.check_all(100), "tokens")


class Itself(Oracle):
    def numbers(self, part):
        for value in part.values() if isinstance(part, dict) else part:
            if isinstance(value, (dict, list)):
                yield from self.numbers(value)
            else:
                yield value

    def test_nothing_differs(self):
        names = support.less("consistency,sampling,perplexity", "sampling,perplexity")
        tests = self.validate(support.MODEL, "--tests", names, "--context", "64")
        sampling, perplexity = tests["sampling"], tests["perplexity"]
        for name in ("kl", "total_variation", "mean_delta_p", "rms_delta_p"):
            self.assertEqual({*self.numbers(sampling[name])}, {0.0}, name)
        self.assertEqual([(f["overlap"], f["standard_error"]) for f in sampling["top_k"]],
                         [(1.0, 0.0)] * 10)
        d = perplexity["difference"]
        self.assertEqual((d["perplexity_ratio"], d["correlation"]), (1.0, 1.0))
        self.assertEqual({v for k, v in d.items() if k not in ("perplexity_ratio", "correlation")}, {0.0})
        self.assertEqual({v for v in self.numbers(perplexity["delta_p_percent"])}, {0.0})
        self.assertEqual(perplexity["kl"]["max"], 0.0)
        self.assertEqual(perplexity["kl"]["same_top1"], 1.0)
        for tensor in tests.get("consistency", {"tensors": ()})["tensors"]:
            self.assertEqual((tensor["changed"], tensor["max_abs_error"], tensor["max_rel_error"],
                              tensor["cosine"], tensor["sqnr_db"]), (0, 0.0, 0.0, 1.0, None))
        self.assertTrue(all(part["passed"] for part in tests.values()))


def quantised(w, bits, kappa):
    """The quantiser as DESIGN's formulae have it, in binary64, one scale a row."""
    n = 2 ** (bits - 1) - 1
    scale = np.abs(w).max(axis=1, keepdims=True)
    u = np.abs(w) / np.where(scale > 0.0, scale, 1.0)
    t = np.rint(n * (1.0 + kappa) * u / (1.0 + kappa * u)) / n
    return np.sign(w) * scale * t / (1.0 + kappa * (1.0 - t))


def p99(w, decoded):
    return np.quantile(np.abs(w - decoded) / (np.abs(w) + 1e-8), 0.99)


class Weights(Oracle):
    @staticmethod
    def restore(archive, path):
        support.run_qins("restore", archive, "-o", path, "--dtype", "f32", check=0)
        return support.read_safetensors(path)

    def check_tensors(self, figures, model, candidate):
        by_name = {t["name"]: t for t in figures["tensors"]}
        self.assertEqual(set(by_name), set(model))
        for name, t in by_name.items():
            x, y = model[name].astype(np.float64), candidate[name].astype(np.float64)
            self.assertEqual(t["elements"], x.size)
            self.assertEqual(t["changed"], int((x != y).sum()))
            self.near(t["max_abs_error"], np.abs(x - y).max())
            self.near(t["cosine"], (x * y).sum() / math.sqrt((x * x).sum() * (y * y).sum()))
            if t["changed"]:
                self.near(t["sqnr_db"], 10.0 * math.log10((x * x).sum() / ((x - y) ** 2).sum()))
            relative = np.abs(x - y) / (np.abs(x) + 1e-8)
            for key, q in (("p50_rel_error", 0.5), ("p99_rel_error", 0.99)):
                nearest = np.quantile(relative, q, method="inverted_cdf")
                self.near(t[key], nearest, 0.01)  # half a cell of the histogram
            self.assertEqual(t["passed"], t["cosine"] >= 0.9999 and t["p99_rel_error"] <= 0.03)
        judged = figures["tensors"]
        self.assertEqual(figures["exact_tensors"], sum(t["changed"] == 0 for t in judged))
        self.assertEqual(figures["worst"]["cosine"]["value"], min(t["cosine"] for t in judged))
        self.assertEqual(figures["worst"]["p99_rel_error"]["value"],
                         max(t["p99_rel_error"] for t in judged))
        self.assertEqual(figures["passed"], all(t["passed"] for t in judged))
        return by_name

    def test_tensors(self):
        figures = self.validate(self.archive, "--tests", "consistency", "--context", "64")["consistency"]
        model = {name: x for path in sorted(support.MODEL.glob("*.safetensors"))
                 for name, x in support.read_safetensors(path).items()}
        by_name = self.check_tensors(figures, model,
                                     self.restore(self.archive, self.dir / "restored.safetensors"))
        layer = by_name["model.layers.3.self_attn.v_proj.weight"]
        self.assertEqual((layer["component"], layer["layer"]), ("v_proj", 3))
        self.check_modes(figures, model)

    def test_architectures(self):
        """Every weight that a model has, each once, whatever its architecture."""
        ids = self.dir / "ids.npy"
        np.save(ids, fixtures.random_ids(40))
        kinds = support.less([k for k in fixtures.CONFIGS if k != "llama2c"], ["gpt2", "mixtral"])
        for i, kind in enumerate(kinds):
            with self.subTest(kind):
                folder, archive = self.dir / kind, self.dir / f"{kind}.qins"
                config, tensors = fixtures.make(kind)
                model = fixtures.write_folder(folder, config, tensors, ("F32", "BF16")[i % 2])
                support.run_qins("convert", folder, "-o", archive, "--bits", "9", check=0)
                report = self.report(folder, archive, "--ids", ids, "--context", "8", "--tests",
                                     "consistency")
                figures = report["tests"]["consistency"]
                self.check_tensors(figures, model,
                                   self.restore(archive, self.dir / f"{kind}.safetensors"))
                self.assertEqual(sum(t["elements"] for t in figures["tensors"]),
                                 report["model"]["parameters"])

    def check_modes(self, figures, model):
        modes = {(m["kappa_for"], m["bits"]): m for m in figures["modes"]}
        self.assertEqual((modes[None, None]["min_cosine"], modes[None, None]["max_p99_rel_error"]), (1.0, 0.0))
        # The archive was made so: four bits, one scale a row, no clip, kappa for the squared error.
        four = modes["squared_error", 4]
        self.near(four["min_cosine"], figures["worst"]["cosine"]["value"])
        self.near(four["max_p99_rel_error"], figures["worst"]["p99_rel_error"]["value"])
        # Of kappa for the relative error no shape of the grid is much better on the worst matrix.
        matrices = [w.astype(np.float64) for w in model.values() if w.ndim == 2]
        best = max(min(p99(w, quantised(w, 9, kappa)) for kappa in SHAPES[8:]) for w in matrices[:12])
        nine = modes["relative_error", 9]["max_p99_rel_error"]
        self.assertGreater(nine, 0.99 * best)
        self.assertLess(nine, 1.2 * best)
        for choice in ("squared_error", "relative_error"):
            met = [b for b in range(4, 13) if all(modes[choice, c]["passed"] for c in range(b, 13))]
            self.assertEqual(figures["bars_met_from_bits"][choice], min(met, default=None))

    def test_own_weights(self):
        folder, ids = self.dir / "own", self.dir / "own.npy"
        fixtures.write_folder(folder, *fixtures.make("llama"))
        np.save(ids, fixtures.random_ids(40))
        figures = self.report(folder, "--kv-cache", "8", "--ids", ids, "--context", "8", "--tests",
                              "consistency")["tests"]["consistency"]
        self.assertIsNone(figures["passed"])
        self.assertIn("own", figures["note"])
        self.assertNotIn("tensors", figures)


if __name__ == "__main__":
    support.main()
