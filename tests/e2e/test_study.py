"""Statistics and densities of tensors against numpy in float64."""
import json
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import numpy as np

import support

TOOL = support.BUILD_ROOT / "tests" / "tools" / "study_tool"
F = np.float32
KEPT = 1 << 17  # elements up to which densities are exact
PEAK = """import resource, subprocess, sys
subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, check=True)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"""
BOUNDS = [1e-9, 1e-6, 3.3e-5, 0.00071, 0.0123, 0.0625, 0.2, 0.3456789, 0.5, 0.77, 0.9995, 1.0]
GROUPS = {"tensor": None, "row": 0, "128": 128, "32": 32}


def study(path, threads=1, calibration="", bounds=BOUNDS):
    done = subprocess.run([TOOL, path, str(threads), calibration, *map(repr, bounds)],
                          capture_output=True, text=True, timeout=100)
    if done.returncode != 0:
        raise AssertionError(done.stderr)
    return done.stdout


def save(path, arrays):
    names = {"float32": "F32", "float16": "F16", "float64": "F64", "int64": "I64", "int32": "I32",
             "uint8": "U8", "uint16": "BF16"}
    support.write_safetensors(path, {
        name: (names[a.dtype.name], a.shape, [np.ascontiguousarray(a).tobytes()])
        for name, a in arrays.items()})


def widen(a):
    """Values of an array as save() takes it; uint16 are BF16."""
    return (a.astype(np.uint32) << 16).view(F) if a.dtype == np.uint16 else a


def to_bf16(x):
    return (np.asarray(x, F).view(np.uint32) >> 16).astype(np.uint16)


def entropy(values):
    p = np.unique(values, return_counts=True)[1] / len(values)
    return float(-(p * np.log2(p)).sum())


def runs_of(flags):
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flags.astype(np.int8), [0]])))
    return edges[1::2] - edges[::2]


def rotated_bytes(a):
    """Bytes of each element, most significant first, floats rotated left by one."""
    size, kind = a.dtype.itemsize, a.dtype.kind
    bits = a.reshape(-1).view(f"<u{size}")
    if kind == "f" or a.dtype == np.uint16:
        bits = (bits << np.array(1, bits.dtype)) | (bits >> np.array(8 * size - 1, bits.dtype))
    return bits.view(np.uint8).reshape(-1, size)[:, ::-1]


def chunk_rows(x):
    """Rows of a tensor, cut where rows are longer than a chunk may be (formats/archive/layout.c)."""
    rows = x.reshape(1, -1) if x.ndim == 1 else x.reshape(len(x), -1)
    if x.ndim == 1 and x.size > 1 << 19:
        step = -(-x.size // -(-x.size // (1 << 19)))
        step = -(-step // 256) * 256
        return [x[i:i + step] for i in range(0, x.size, step)]
    if rows.shape[1] > 1 << 20:
        n = rows.shape[1]
        step = -(-n // -(-n // (1 << 19)))
        step = -(-step // 256) * 256
        return [row[i:i + step] for row in rows for i in range(0, n, step)]
    return list(rows)


def ratios(x, group):
    """u, s and x of every element, by groups of GROUP within rows; number of groups."""
    x = np.asarray(x, F)
    if group is None:
        scale = np.full(x.size, np.abs(x).max())
        return np.abs(x).reshape(-1).astype(np.float64) / float(scale[0] or 1), scale, 1
    rows = chunk_rows(x)
    length = max(len(r) for r in rows)
    group = group or length
    padded = [np.concatenate([r, np.zeros(-len(r) % group, F)]).reshape(-1, group) for r in rows]
    scales = [np.repeat(np.abs(p).max(axis=1), group)[:len(r)] for p, r in zip(padded, rows)]
    scale = np.concatenate(scales)
    flat = np.abs(x.reshape(-1))
    u = np.divide(flat, scale, out=np.zeros_like(flat), where=scale > 0)
    u = np.where(flat > 0, np.maximum(u.astype(np.float64), 1e-300), 0)  # a quotient may underflow
    return u, scale, sum(len(p) for p in padded)


class Sums:
    """Counts by sign and sums of s^2 u^k and h s^2 u^k of all 0 < u <= a bound."""

    def __init__(self, u, s, h, negative):
        take = np.flatnonzero(u > 0)
        take = take[np.argsort(u[take], kind="stable")]
        self.u, s2, h, negative = u[take], s[take].astype(np.float64) ** 2, h[take], negative[take]
        moments = [s2, s2 * self.u, s2 * self.u * self.u]
        self.table = np.zeros((8, len(take) + 1))
        for row, x in zip(self.table, [~negative, negative, *moments, *[h * m for m in moments]]):
            np.cumsum(x, out=row[1:])

    def until(self, bound):
        return self.table[:, np.searchsorted(self.u, bound, "right")].copy()


class Study(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.root = Path(cls.folder.name)

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def near(self, got, expected, tolerance, what):
        if expected is None or not np.isfinite(expected):
            self.assertIsNone(got, what)
            return
        self.assertIsNotNone(got, what)
        self.assertLessEqual(abs(got - expected), tolerance * max(1e-300, abs(expected)), what)

    def check_counts(self, a, got, what):
        x = widen(a).reshape(-1)
        size = a.dtype.itemsize
        bits, zero = a.reshape(-1).view(f"<u{size}"), x == 0
        runs = runs_of(zero)
        rows = a.reshape(len(a) if a.ndim > 1 else 1, -1) if a.ndim and a.size else None
        # numpy has one -0 in its integers as well: none
        expected = {"n": x.size, "zeros": zero.sum(), "element_bytes": size,
                    "negative_zeros": (zero & np.signbit(x)).sum() if x.dtype.kind == "f" else 0,
                    "zero_runs": len(runs), "longest_zero_run": runs.max(initial=0),
                    "equal_neighbours": (bits[1:] == bits[:-1]).sum(),
                    "n_nan": np.isnan(x).sum(), "n_infinite": np.isinf(x).sum()}
        if rows is not None:
            expected["rows"] = len(rows)
            expected["zero_rows"] = (widen(rows) == 0).all(axis=1).sum()
            expected["duplicate_rows"] = len(rows) - len({r.tobytes() for r in rows})
        finite = x[np.isfinite(x)]
        distinct = len(np.unique(finite))
        expected["distinct_values"] = distinct if distinct <= 65536 else 0
        for key, value in expected.items():
            self.assertEqual(got[key], value, f"{what}: {key}")

    def check_figures(self, a, got, what):
        x = widen(a).reshape(-1).astype(np.longdouble)
        x = x[np.isfinite(x)]
        names = ["min", "max", "abs_max", "mean", "mean_abs", "rms", "variance", "skewness",
                 "kurtosis"]
        if x.size == 0:
            for name in names:
                self.assertIsNone(got[name], f"{what}: {name}")
            return
        mean, d = x.mean(), x - x.mean()
        variance = (d * d).mean()
        spread = x.min() < x.max()
        with np.errstate(invalid="ignore", divide="ignore"):
            figures = [x.min(), x.max(), np.abs(x).max(), mean, np.abs(x).mean(),
                       np.sqrt((x * x).mean()), variance if spread else 0,
                       (d * d * d).mean() / variance ** 1.5 if spread else np.nan,
                       (d * d * d * d).mean() / variance ** 2 if spread else np.nan]
        for name, value in zip(names, figures):
            slack = 1e-9 * float(np.sqrt(variance)) if name in ("mean", "skewness") else 0
            if name == "skewness" and got[name] is not None:
                slack = 1e-9 * float(figures[8]) ** 0.75
            if got[name] is not None and abs(got[name] - value) <= slack:
                continue
            self.near(got[name], float(value), 1e-9, f"{what}: {name}")
        bound = np.abs(x).max() / 1024
        if not 1e-38 < bound < 1e38:  # cells of float32 patterns say little there
            return
        low, high = [(np.abs(x) <= bound * f).sum() for f in (0.999, 1.001)]
        self.assertTrue(low <= got["near_zeros"] <= high, f"{what}: near_zeros")

    def check_entropies(self, a, got, what):
        if a.size == 0:
            return
        planes = rotated_bytes(a)
        for k in range(planes.shape[1]):
            self.near(got["byte_entropy_bits"][k], entropy(planes[:, k]) + 1e-30, 1e-9 if
                      entropy(planes[:, k]) > 1e-6 else 1e30, f"{what}: byte {k}")
        x = widen(a).reshape(-1)
        if x.dtype.kind != "f":
            self.assertIsNone(got["exponent_entropy_bits"])
            return
        size = x.dtype.itemsize
        shift, mask = {2: (10, 31), 4: (23, 255), 8: (52, 2047)}[size]
        bits = x[np.isfinite(x)].view(f"<u{size}")
        if bits.size:
            exponents = (bits >> np.array(shift, bits.dtype)) & np.array(mask, bits.dtype)
            expected = entropy(exponents)
            self.assertLess(abs(got["exponent_entropy_bits"] - expected), 1e-9, what)

    def check_densities(self, a, tensor, h=None, what=""):
        x = widen(a)
        got = tensor["density"]
        with np.errstate(over="ignore"):
            finite = np.isfinite(x.astype(F)).all()
        if x.dtype.kind != "f" or x.ndim == 0 or x.size == 0 or not finite:
            self.assertEqual(got, {}, what)
            return
        x = x.astype(F)
        length = x.size if x.ndim == 1 else x.size // len(x)
        names = ["tensor", "row"] + ["128"] * (length > 128) + ["32"] * (length > 32)
        self.assertEqual(list(got), names, what)
        h = np.ones(x.size) if h is None else np.broadcast_to(h, x.shape).reshape(-1)
        negative = np.signbit(x).reshape(-1)
        fits = tensor["statistics"]["fits_dtype"] in ("BF16", "F16")
        for name in names:
            u, scale, groups = ratios(x, GROUPS[name])
            d = got[name]
            self.assertEqual((d["count"], d["zeros"], d["groups"]),
                             (x.size, int((x == 0).sum()), groups), f"{what}: {name}")
            self.assertAlmostEqual(sum(d["histogram"]), x.size, delta=1e-6 * x.size)
            exact = x.size <= KEPT or (fits and name == "tensor")
            cell = 0 if exact else 2.0 ** -9
            sums = Sums(u, scale, h, negative)
            for bound, at in zip(BOUNDS, d["at"]):
                least = 0 if exact or name == "tensor" else 1.01 * 2.0 ** -20
                low = sums.until(bound * (1 - cell) if bound < 1 else bound)
                high = sums.until(max(bound * (1 + cell), least))
                if 0 < bound < least:
                    low = np.zeros(8)
                if least:  # the lowest cell is taken as evenly filled from 0 on
                    bottom = sums.until(least)
                    spread = bottom[[2, 2, 5, 5]] * np.array([least, least ** 2] * 2)
                    high[[3, 4, 6, 7]] += spread
                    low[[3, 4, 6, 7]] -= spread
                slack = (2 * cell + 1e-6) * high + 1e-280 * high[2] + 1e-300
                slack[:2] = 1e-6 * high[:2]
                self.assertTrue(np.all(low - slack <= at) and np.all(at <= high + slack),
                                f"{what}: {name} at {bound}: {low} {at} {high}")

    def check(self, arrays, weights=None, name="model"):
        path = self.root / f"{name}.safetensors"
        save(path, arrays)
        one = study(path, support.less(1, 2))
        if support.SANITIZER == "none":
            self.assertEqual(one, study(path, 2))
        result = json.loads(one)
        self.assertEqual(set(result), set(arrays))
        for name, a in arrays.items():
            got = result[name]
            self.check_counts(a, got["statistics"], name)
            self.check_figures(a, got["statistics"], name)
            self.check_entropies(a, got["statistics"], name)
            self.check_densities(a, got, None, name)
            x = widen(a).reshape(-1)
            bad = np.flatnonzero(~np.isfinite(x))
            self.assertEqual(got["first_bad"], bad[0] if bad.size else -1, name)
        return result

    def test_distributions(self):
        rng = np.random.default_rng(1)
        sparse = rng.normal(size=(300, 513)) * (rng.random((300, 513)) > 0.7)
        sparse[7] = 0
        sparse[9, :100] = -0.0
        table = rng.normal(size=(700, 300)).astype(F)
        table[5::7] = table[3]
        result = self.check({
            "gauss": rng.normal(size=(200, 700)).astype(F),
            "small": rng.normal(size=(64, 200)).astype(F),
            "laplace": rng.laplace(size=(200, 777)).astype(F) * F(1e-3),
            "t5": rng.standard_t(5, size=(300, 512)).astype(F),
            "sparse": sparse.astype(F),
            "table": table,
            "vector": rng.normal(size=600000).astype(F),
            "three": rng.normal(size=(4, 96, 400)).astype(F),
            "narrow": widen(to_bf16(rng.normal(size=(150, 1024)))),
        })
        self.assertEqual(result["narrow"]["statistics"]["fits_dtype"], "BF16")
        self.assertIn("BF16 values stored as F32", result["narrow"]["statistics"]["remark"])
        self.assertEqual(result["gauss"]["statistics"]["fits_dtype"], "F32")
        self.assertEqual(result["table"]["statistics"]["duplicate_rows"], 100)

    def test_rows_of_several_chunks(self):
        rng = np.random.default_rng(2)
        wide = rng.normal(size=(2, 1050000)).astype(F)
        wide[1] = wide[0]
        result = self.check({"wide": wide, "blank": np.zeros((1, 1050000), np.uint8)}, name="wide")
        self.assertEqual(result["wide"]["statistics"]["duplicate_rows"], 1)
        self.assertEqual(result["blank"]["statistics"]["zero_rows"], 1)

    def test_types(self):
        rng = np.random.default_rng(3)
        x = rng.normal(size=(200, 700))
        half = (x * 1e-4).astype(np.float16)  # some below 2^-14
        levels = rng.integers(-100, 100, size=(200, 700))
        result = self.check({
            "bf16": to_bf16(x),
            "f16": half,
            "f64": x,
            "f64_of_f32": x.astype(F).astype(np.float64),
            "f64_wide": x[:, :3] * 1e70,
            "halves": half.astype(F),
            "eight_bits": (levels * F(0.0123)).astype(F),
            "i64": levels,
            "i32": rng.integers(-2**31, 2**31 - 1, size=(70, 30)).astype(np.int32),
            "u8": rng.integers(0, 255, size=3000).astype(np.uint8),
        }, name="types")
        fits = {name: t["statistics"]["fits_dtype"] for name, t in result.items()}
        self.assertEqual(fits, {"bf16": "BF16", "f16": "F16", "f64": "F64", "f64_of_f32": "F32",
                                "f64_wide": "F64", "halves": "F16", "eight_bits": "F32",
                                "i64": "I64", "i32": "I32", "u8": "U8"})
        self.assertIn("F32 values stored as F64", result["f64_of_f32"]["statistics"]["remark"])
        self.assertIn("different values", result["eight_bits"]["statistics"]["remark"])
        self.assertEqual(result["f16"]["statistics"]["remark"], "")

    def test_odd(self):
        rng = np.random.default_rng(4)
        x = rng.normal(size=(300, 500)).astype(F)
        nan, infinite, outlier = x.copy(), x.copy(), x.copy()
        nan[17, 3] = np.nan
        infinite[0, 0], infinite[299, 499] = -np.inf, np.inf
        outlier[150, 250] = 1e8
        result = self.check({
            "scalar": np.array(1.5, F),
            "empty": np.zeros((0, 4), F),
            "empty_rows": np.zeros((4, 0), F),
            "constant": np.full((300, 600), F(0.1)),
            "zeros": np.zeros((300, 600), F),
            "one_zero": np.zeros(1, F),
            "all_nan": np.full((3, 3), np.nan, F),
            "nan": nan,
            "infinite": infinite,
            "outlier": outlier,
            "column": x.reshape(-1, 1),
            "line": x.reshape(1, -1),
            "denormal": x[:200] * F(1e-42),
            "tiny": x * F(1e-28),
            "far_from_zero": (x + 1e6).astype(F),
            "largest": np.array([[3.4e38, -3.4e38, 1e-45, 0]], F),
            "name \"with\" `quotes`/\u00fc $(x)": x[:3],
        }, name="odd")
        self.assertGreater(result["outlier"]["statistics"]["kurtosis"], 1e5)
        self.assertEqual(result["constant"]["statistics"]["variance"], 0)

    @unittest.skipIf(support.SANITIZER != "none", "arithmetic as of made-up tensors")
    def test_models(self):
        paths = [support.MODEL] + [support.SHARED / "models" / name
                                   for name in ("stories260k", "tl-reverse")]
        for path in paths:
            if not path.exists():
                continue
            copy = self.root / "copy.safetensors"
            source = path / "stories260K.bin" if path.name == "stories260k" else path
            if source.is_dir():
                source = next(source.glob("*.safetensors"), source)
            if source.suffix != ".safetensors":
                continue
            arrays = {name: a.copy() for name, a in support.read_safetensors(source).items()
                      if a.dtype == F and ("lm_head" in name or ".layers.0." in name)}
            self.check(arrays, name="copy")

    @unittest.skipIf(support.SANITIZER != "none", "a sanitizer needs memory")
    def test_memory(self):
        rng = np.random.default_rng(6)
        block = rng.normal(size=1 << 20).astype(F).tobytes()
        path = self.root / "large.safetensors"
        for shape in ((24 << 10, 1 << 10), (24 << 20, 1)):
            support.write_safetensors(path, {"w": ("F32", shape, [block] * 24)})
            for threads in 1, 2:
                # A program's peak begins with that of the process that starts it: a small one.
                done = subprocess.run([sys.executable, "-c", PEAK, TOOL, path, str(threads), ""],
                                      capture_output=True, text=True, check=True)
                self.assertLess(int(done.stdout), (128 + 2 * 4 * threads) * 1e6 / 1024, shape)

    def test_calibration_weights(self):
        rng = np.random.default_rng(5)
        seen = rng.normal(size=(64, 96)) * rng.exponential(size=96)
        rows = self.root / "rows.safetensors"
        save(rows, {name: seen.astype(F) for name in ("plain", "turned", "large", "other",
                                                      "stack")})
        support.run_qins("calibrate", "--activations", rows, "-o", self.root / "c.h5", check=0)
        h = (seen.astype(F).astype(np.float64) ** 2).mean(axis=0)
        arrays = {
            "plain": rng.normal(size=(50, 96)).astype(F),
            "turned": rng.normal(size=(96, 50)).astype(F),
            "large": rng.normal(size=(2000, 96)).astype(F),
            "other": rng.normal(size=(50, 95)).astype(F),
            "stack": rng.normal(size=(30, 60, 96)).astype(F),
            "unknown": rng.normal(size=(50, 96)).astype(F),
        }
        path = self.root / "weighted.safetensors"
        save(path, arrays)
        result = json.loads(study(path, 2, str(self.root / "c.h5")))
        placed = {"plain": h, "turned": h[:, None], "large": h, "stack": h}
        for name, a in arrays.items():
            self.assertEqual(result[name]["weighted"], name in placed, name)
            self.check_densities(a, result[name], placed.get(name), name)


if __name__ == "__main__":
    support.main()
