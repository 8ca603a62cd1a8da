"""What is predicted from histograms against a direct re-encoding: errors and entropies by numpy, which
quantises with the formulas of docs/chunk-payload.md on its own, sizes by the real encoder."""
import subprocess
import tempfile
import unittest
from pathlib import Path

import numpy as np

import support

TOOL = support.BUILD_ROOT / "tests" / "tools" / "candidate_tool"
F = np.float32
GRANULARITIES = ("tensor", "row", "128", "32")
# What the project asks of predictions: bits a code, dB, share of bytes.
ENTROPY, SQNR, BYTES = 0.005, 0.05, 0.005
# Bits a code: what the coder tans makes of codes that are nearly all the same depends on their order.
FEW_BITS = 1 / 64


def table(levels, kappa):
    t = np.arange(levels + 1) / levels
    return (t / (1.0 + float(F(kappa)) * (1.0 - t))).astype(F)


def scales_of(x, granularity):
    if granularity == "tensor":
        return np.full_like(x, np.abs(x).max())
    width = x.shape[1] if granularity == "row" else int(granularity)
    scales = np.empty_like(x)
    for begin in range(0, x.shape[1], width):
        part = np.abs(x[:, begin:begin + width])
        scales[:, begin:begin + width] = part.max(axis=1, keepdims=True)
    return scales


def encode(x, scales, levels, kappa, clip):
    """Codes, and the values that they stand for."""
    one, kappa = F(1), F(kappa)
    scales = F(clip) * scales
    with np.errstate(all="ignore"):
        u = np.minimum(np.abs(x) / scales, one)
        level = (F(levels) * (one + kappa) * u / (one + kappa * u) + F(0.5)).astype(np.int32)
    level = np.where(scales > 0, np.minimum(level, levels), 0)
    sign = np.where(np.signbit(x), -1, 1)
    return levels + sign * level, sign.astype(F) * (scales * table(levels, kappa)[level])


def entropy(codes):
    share = np.bincount(codes.ravel())
    share = share[share > 0] / codes.size
    return float(-(share * np.log2(share)).sum())


def decibels(signal, error):
    return 10 * np.log10(signal / error) if error > 0 else np.inf


class Prediction:
    """A line of the tool's output."""

    def __init__(self, line):
        words = line.split()
        self.granularity, self.levels = words[0], int(words[1])
        self.kappa, self.clip = float(words[2]), float(words[3])
        (self.error, self.weighted, self.sqnr, self.p50, self.p90, self.p99,
         self.entropy) = map(float, words[4:11])
        self.packed, self.huffman, self.tans = map(int, words[11:14])


class Case(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def tool(self, command, x, lines, weights=None, checkpoint=None):
        values = self.folder / "values"
        np.ascontiguousarray(x, F).tofile(values)
        arguments = [str(TOOL), command, str(values), str(x.shape[0]), str(x.shape[1])]
        if weights is not None:
            arguments.append(str(self.folder / "weights"))
            np.ascontiguousarray(weights, np.float64).tofile(arguments[-1])
        if checkpoint is not None:
            arguments.append(str(checkpoint))
        done = subprocess.run(arguments, input="".join(line + "\n" for line in lines),
                              capture_output=True, text=True, timeout=240)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout.splitlines()

    def predictions(self, x, candidates, weights=None, command="predict"):
        """CANDIDATES: (granularity, levels, kappa, clip)."""
        lines = [" ".join(map(str, c)) for c in candidates]
        return [Prediction(line) for line in self.tool(command, x, lines, weights)]

    def compare(self, name, x, candidates, runs=False):
        """Predicted and real figures; of codes with RUNS tans may make less than counts tell."""
        x = np.ascontiguousarray(x, F)
        candidates = [c for c in candidates if not c[0].isdigit() or int(c[0]) < x.shape[1]]
        lines = [" ".join(map(str, c)) for c in candidates]
        sizes = [tuple(map(int, line.split())) for line in self.tool("encode", x, lines)]
        scales = {g: scales_of(x, g) for g in {c[0] for c in candidates}}
        wide = x.astype(np.float64)
        signal = float((wide**2).sum())
        for c, p, (packed, *coded) in zip(candidates, self.predictions(x, candidates), sizes):
            codes, values = encode(x, scales[c[0]], *c[1:])
            where = f"{name} {x.shape}, {c}"
            error = float(((wide - values)**2).sum())
            self.assertAlmostEqual(p.sqnr, decibels(signal, error), delta=SQNR, msg=where)
            self.assertAlmostEqual(p.entropy, entropy(codes), delta=ENTROPY, msg=where)
            self.assertEqual(p.packed, packed, where)
            for predicted, real, least in zip((p.huffman, p.tans), coded, (0, FEW_BITS / 8 * x.size)):
                if not (runs and least and real < predicted):
                    self.assertAlmostEqual(predicted, real, delta=max(BYTES * real, least),
                                           msg=where)


def candidates(*grids):
    return [(g, *grid) for g in GRANULARITIES for grid in grids]


EVERY = candidates((1, 0, 0.5), (7, 0, 1), (7, 1, 0.8), (31, 3, 1), (127, 0, 1), (127, 1.5, 0.9),
                   (500, 20, 1), (2047, 0, 1), (2047, 3, 0.7))
SOME = candidates((7, 1, 0.9), (127, 1.5, 1), (1700, 0, 1))


class Synthetic(Case):
    def test_distributions(self):
        rng = np.random.default_rng(1)
        for name, draw in (("gaussian", rng.standard_normal), ("laplace", lambda n: rng.laplace(
                size=n)), ("t5", lambda n: rng.standard_t(5, size=n))):
            self.compare(name, draw((64, 64)), EVERY)
            if support.SANITIZER == "none" or name == "laplace":
                self.compare(name, draw((200, 1000)), support.less(EVERY, SOME))
                self.compare(name, draw((160, 4096)), SOME)

    def test_odd(self):
        rng = np.random.default_rng(2)
        x = rng.standard_normal((64, 256)).astype(F)
        outlier, sparse, steps = x.copy(), x.copy(), np.round(x * 30)
        outlier[3, 5] = 1e8
        sparse[np.abs(x) < 1] = 0
        sparse[7] = 0
        self.compare("outlier", outlier, [c for c in EVERY if c[0] == "tensor"])
        # Beside 1e8 the others' errors are 14 digits down.
        for p in self.predictions(outlier, EVERY):
            _, values = encode(outlier, scales_of(outlier, p.granularity), p.levels, p.kappa,
                               p.clip)
            error = float(((outlier.astype(np.float64) - values)**2).sum())
            self.assertTrue(0.25 * error < p.error < 4 * error or p.levels > 1000,
                            f"{vars(p)} {error}")
        self.compare("sparse", sparse, EVERY, runs=True)
        # A bound of uniform levels may fall on a value itself: 2 l + 1 over 2 N.
        self.compare("whole numbers", steps, [(g, n, 0, 1) for g in ("tensor", "row")
                                              for n in (7, 31, 127)])
        self.compare("scales of rows", x * np.exp2(rng.integers(-20, 20, (64, 1))), EVERY,
                     runs=True)

    def test_weights(self):
        rng = np.random.default_rng(3)
        weights = rng.gamma(0.3, size=512)
        for rows in support.less((64, 1000), (64,)):
            x = (rng.standard_normal((rows, 512)) / np.sqrt(weights + 0.05)).astype(F)
            signal = float((weights * x.astype(np.float64)**2).sum())
            for p in self.predictions(x, SOME, weights):
                _, values = encode(x, scales_of(x, p.granularity), p.levels, p.kappa, p.clip)
                error = float((weights * (x.astype(np.float64) - values)**2).sum())
                self.assertAlmostEqual(decibels(signal, p.weighted), decibels(signal, error),
                                       delta=SQNR, msg=f"{rows} {p.granularity} {p.levels}")

    def test_relative_error(self):
        rng = np.random.default_rng(4)
        for x in (rng.standard_normal((100, 4096)), rng.laplace(size=(100, 4096)))[
                :support.less(2, 1)]:
            x = x.astype(F)
            for p in self.predictions(x, support.less(EVERY, SOME)):
                _, values = encode(x, scales_of(x, p.granularity), p.levels, p.kappa, p.clip)
                error = np.abs(x.astype(np.float64) - values) / np.abs(x)
                for got, want in zip((p.p50, p.p90, p.p99), np.quantile(error, (0.5, 0.9, 0.99))):
                    self.assertAlmostEqual(got / want, 1.0, delta=0.02,
                                           msg=f"{p.granularity} {p.levels} {p.kappa} {p.clip}")

    def test_search(self):
        """No candidate of a dense grid is more than 0.05 dB better than what is chosen."""
        rng = np.random.default_rng(5)
        for x in (rng.standard_normal((128, 1024)), rng.laplace(size=(300, 1024)),
                  rng.standard_t(3, size=(128, 1024)))[:support.less(3, 1)]:
            cases = [(granularity, levels) for granularity in ("tensor", "row", "32")
                     for levels in support.less((1, 3, 15, 31, 127, 511, 2047), (1, 31, 2047))]
            found = self.predictions(x, [(*case, -1, -1) for case in cases], command="search")
            grid = [(kappa, clip) for kappa in (0, 0.5, 1, 2, 4, 8, 16, 32)
                    for clip in 0.9**np.arange(0, 40, 2)]
            tried = self.predictions(x, [(*case, *point) for case in cases for point in grid])
            for i, choice in enumerate(found):
                best = max(tried[i * len(grid):(i + 1) * len(grid)], key=lambda p: p.sqnr)
                self.assertGreater(choice.sqnr, best.sqnr - 0.05, f"{vars(choice)}, {vars(best)}")


def legacy_matrices(path):
    """Those of a llama2.c checkpoint."""
    words = np.fromfile(path, "<i4", 7)
    dim, hidden, layers, heads, kv_heads, vocab = map(int, words[:6])
    data, at = np.fromfile(path, "<f4", offset=28), 0
    kv = dim // heads * kv_heads
    for name, count, rows, columns in (
            ("embedding", 1, abs(vocab), dim), ("norm", layers, 1, dim), ("q", layers, dim, dim),
            ("k", layers, kv, dim), ("v", layers, kv, dim), ("o", layers, dim, dim),
            ("norm", layers, 1, dim), ("gate", layers, hidden, dim), ("down", layers, dim, hidden),
            ("up", layers, hidden, dim)):
        for layer in range(count):
            if rows > 1:
                yield f"{name} {layer}", data[at:at + rows * columns].reshape(rows, columns)
            at += rows * columns


@unittest.skipUnless(support.SANITIZER == "none", "arithmetic that is done on synthetic tensors, too")
class Models(Case):
    def safetensors(self, folder):
        for path in sorted(folder.glob("*.safetensors")):
            for name, x in support.read_safetensors(path).items():
                if x.ndim == 2:
                    self.compare(name, x, SOME)

    def test_example(self):
        self.safetensors(support.MODEL)

    def test_shared(self):
        models = support.SHARED / "models"
        if not models.is_dir():
            self.skipTest("no shared models")
        self.safetensors(models / "mix-6m")
        for path in (models / "stories260k").glob("*.bin"):
            if path.name != "tokenizer.bin":
                for name, x in legacy_matrices(path):
                    self.compare(name, x, SOME)


def block_error(x, name):
    """Summed squared error of Q8_0 and Q4_0, by their published definitions."""
    blocks = x.reshape(-1, 32)
    if name == "Q8_0":
        d = np.abs(blocks).max(axis=1, keepdims=True) / F(127)
        q = blocks / d
        q = np.trunc(q + np.copysign(F(0.5), q))
    else:
        peak = np.take_along_axis(blocks, np.abs(blocks).argmax(axis=1)[:, None], axis=1)
        d = peak / F(-8)
        q = np.clip(np.floor(blocks / d + F(8.5)), 0, 15) - 8
    values = d.astype(np.float16).astype(F) * q
    return float(((values.astype(np.float64) - blocks)**2).sum())


def run_entropy(codes, zero):
    """Bits a code of literals and runs of ZERO in rows, each run's length as its number of bits and
    those bits."""
    kinds, literals, sizes = [0, 0], [], []
    for row in codes:
        edges = np.flatnonzero(np.diff(np.concatenate(([0], row == zero, [0]))))
        lengths = edges[1::2] - edges[::2]
        sizes += [int(length).bit_length() - 1 for length in lengths]
        literals.append(row[row != zero])
        kinds[0] += literals[-1].size
        kinds[1] += lengths.size
    literals, sizes = np.concatenate(literals), np.array(sizes, int)
    bits = sizes.sum() + literals.size * entropy(literals) + sizes.size * entropy(sizes)
    total = sum(kinds)
    bits -= sum(k * np.log2(k / total) for k in kinds if k)
    return bits / codes.size


class TrueSizes(Case):
    def check(self, x, candidates):
        checkpoint = self.folder / "x.safetensors"
        support.write_safetensors(checkpoint, {"x": ("F32", x.shape, [x.tobytes()])})
        lines = [" ".join(map(str, c)) for c in candidates]
        sizes = [tuple(map(int, line.split())) for line in self.tool("encode", x, lines)]
        figures = self.tool("true", x, lines, checkpoint=checkpoint)
        for c, line, (packed, huffman, tans) in zip(candidates, figures, sizes):
            words = line.split()
            order0, order1, runs, zeros, error = map(float, words[1:6])
            codes, values = encode(x, scales_of(x, c[0]), *c[1:])
            self.assertEqual(int(words[0]), x.size)
            self.assertAlmostEqual(order0, entropy(codes), places=9)
            self.assertLessEqual(order1, order0)
            self.assertAlmostEqual(zeros, np.mean(codes == c[1]), places=12)
            self.assertAlmostEqual(runs, run_entropy(codes, c[1]), places=9)
            want = float(((x.astype(np.float64) - values)**2).sum())
            self.assertAlmostEqual(error, want, delta=1e-6 * want)
            self.assertEqual([int(words[i]) for i in (7, 8, 12)], [packed, huffman, tans])
            yield order0, order1, list(map(int, words[6:]))
        formats = [line.split() for line in figures[len(candidates):]]
        for (name, rmse, _, fits), line in zip(formats, self.tool("format", x, [])):
            if fits == "1":
                self.assertAlmostEqual(float(rmse)**2 * x.size / float(line.split()[3]), 1,
                                       places=9, msg=name)

    def test_independent(self):
        x = np.random.default_rng(7).standard_normal((300, 2048)).astype(F)
        for order0, order1, _ in self.check(x, [("row", 127, 1.5, 1), ("tensor", 7, 0, 1),
                                                ("32", 500, 0, 1)]):
            self.assertLess(order0 - order1, 0.003)

    def test_dependent(self):
        """Each code's magnitude is likely to be that of the one before: order 1 is far below; long
        runs of zeros are what rle-huffman is for."""
        rng = np.random.default_rng(8)
        x = np.repeat(rng.integers(1, 8, 60000), 5) * rng.choice((-1, 1), 300000)
        x[np.repeat(rng.random(6000) < 0.7, 50)] = 0
        x = x.reshape(300, 1000).astype(F)
        (order0, order1, sizes), = self.check(x, [("tensor", 7, 0, 1)])
        self.assertLess(order1, order0 - 0.3)
        self.assertLess(sizes[4], sizes[2])


class BlockFormats(Case):
    def test_errors(self):
        x = np.random.default_rng(6).standard_normal((256, 4096)).astype(F)
        bits = {}
        for line in self.tool("format", x, []):
            name, block, size, error = line.split()
            bits[name] = 8 * int(size) / int(block)
            error = float(error)
            if name in ("Q8_0", "Q4_0"):
                self.assertAlmostEqual(error / block_error(x, name), 1.0, delta=1e-5)
            else:
                # The rate at which a uniform grid and an ideal coder have this error on Gaussian
                # weights, as measured for llama.cpp's own quantisers.
                rate = 0.5 * np.log2(2 * np.pi * np.e) - 0.5 * np.log2(12 * error / x.size)
                self.assertAlmostEqual(rate, {"Q6_K": 6.07, "Q5_K": 5.05, "Q4_K": 4.06}[name],
                                       delta=0.02, msg=name)
        self.assertEqual(bits, {"Q8_0": 8.5, "Q6_K": 6.5625, "Q5_K": 5.5, "Q4_K": 4.5,
                                "Q4_0": 4.5})


if __name__ == "__main__":
    support.main()
