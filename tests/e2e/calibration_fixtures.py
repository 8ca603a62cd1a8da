"""What the tests of qins calibrate share: running it, reading its files, figures from rows."""
import json
import shutil
import unittest

import numpy as np

import support

try:
    import h5py
except ImportError:
    h5py = None
try:
    import reference_tokenizer
except ImportError:  # python3-regex
    reference_tokenizer = None

MODEL = support.MODEL
TEXT = support.SOURCE_ROOT / "examples" / "kjv-heldout.txt"
ALL = 1 << 20  # rows to keep: every one
CONTEXT = 64


def bible_ids(n):
    """Ids of the text by the reference tokenizer, or made-up ones without it."""
    if not reference_tokenizer:
        return np.random.default_rng(5).zipf(1.3, 4 * n).clip(1, 2048)[:n] - 1
    root = json.loads((MODEL / "tokenizer.json").read_text())["model"]
    merges = [tuple(m.split(" ")) if isinstance(m, str) else tuple(m) for m in root["merges"]]
    peer = reference_tokenizer.ByteLevel(root["vocab"], merges, reference_tokenizer.GPT2)
    return np.array(peer.encode(TEXT.read_text()[:6 * n])[:n])


def load(path):
    """meta, and every dataset by its path."""
    found = {}
    with h5py.File(path, "r") as f:
        f.visititems(lambda name, o: found.__setitem__(name, o[()])
                     if isinstance(o, h5py.Dataset) else None)
    return json.loads(found.pop("meta").tobytes()), found


def cells(x):
    """The histogram of docs/calibration-format.md."""
    bits = np.abs(np.asarray(x, np.float32)).view(np.uint32).ravel()
    return np.bincount(bits[bits > 0] >> 18, minlength=0x1fe0)


def point_datasets(data, name):
    prefix = "points/" + name.replace("%", "%25").replace("/", "%2F") + "/"
    return {k[len(prefix):]: v for k, v in data.items() if k.startswith(prefix)}


@unittest.skipUnless(h5py, "no h5py")
class Folder(support.Folder):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.ids = bible_ids(1500)
        cls.ids_file = cls.save_ids("ids", cls.ids)
        cls.short = cls.dir / "short.txt"
        cls.short.write_bytes(TEXT.read_bytes()[:6000])

    @classmethod
    def save_ids(cls, name, values):
        path = cls.dir / f"{name}.npy"
        np.save(path, np.array(values, np.int64))
        return path

    def calibrate(self, *arguments, name=None, check=0, **options):
        """The path of the file and the report."""
        out = self.dir / ((name or self.id().rsplit(".", 1)[-1]) + ".h5")
        done = support.run_qins("calibrate", *arguments, "-o", out, "--json", check=check,
                                **options)
        if check:
            return out, done.stderr
        report = json.loads(done.stdout)
        support.validate(report, "calibrate")
        self.assertEqual(report["output_bytes"], out.stat().st_size)
        return out, report

    def check_refused(self, good, changes):
        """GOOD, each time with one change made to its HDF5, is refused in one line."""
        bad = self.dir / "bad.h5"
        for i, change in enumerate(changes):
            with self.subTest(i):
                shutil.copy(good, bad)
                with h5py.File(bad, "r+") as f:
                    change(f)
                done = support.run_qins("calibrate", "--merge", good, bad, "-o", self.dir / "x.h5",
                                        check=3)
                self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
                self.assertIn("bad.h5", done.stderr)

    def check_against_rows(self, data, name, rows, gram=False):
        """The figures of one point against ROWS, all of them."""
        d = point_datasets(data, name)
        wide = rows.astype(np.float64)
        for figure, values in (("mean", wide), ("mean_abs", np.abs(wide)),
                               ("second_moment", wide * wide)):
            want = values.mean(axis=0)
            np.testing.assert_allclose(d[figure], want, rtol=1e-12,
                                       atol=1e-13 * np.abs(values).mean(), err_msg=name + figure)
        np.testing.assert_array_equal(d["min"], rows.min(axis=0))
        np.testing.assert_array_equal(d["max"], rows.max(axis=0))
        np.testing.assert_array_equal(d["abs_histogram"], cells(rows))
        np.testing.assert_array_equal(d["sign_counts"],
                                      [(rows < 0).sum(), (rows == 0).sum(), (rows > 0).sum()])
        if gram:
            want = wide.T @ wide
            np.testing.assert_allclose(d["gram"], want, rtol=1e-12, atol=1e-13 * want.max())
            np.testing.assert_array_equal(d["gram"], d["gram"].T)
