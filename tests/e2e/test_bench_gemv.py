"""`qins bench gemv`: that it runs, and that its report is valid and right where that is no matter of time."""
import json
import pathlib
import tempfile
import unittest

import support

CODINGS = ["8 bits", "6 bits", "tans"]


class Gemv(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        with tempfile.TemporaryDirectory(prefix="qins-gemv-") as folder:
            saved = pathlib.Path(folder) / "gemv.json"
            done = support.run_qins("bench", "gemv", "--mebi", "1", "--rounds", "1", "--threads", "3",
                                    "--json", "--save", saved, check=0)
            cls.report = json.loads(done.stdout)
            assert json.loads(saved.read_text()) == cls.report

    def test_report(self):
        report = self.report
        support.validate(report, "bench")
        self.assertEqual((report["benchmark"], report["threads"], report["rounds"]), ("gemv", 3, 1))
        self.assertEqual((report["matrix_rows"], report["matrix_columns"]), (256, 4096))
        keys = [(p["name"], p["weights"], p["threads"], p["rows"]) for p in report["products"]]
        wanted = set()
        for threads in (1, 3):
            for rows in (1, 4, 16):
                wanted |= {("fused", w, threads, rows) for w in CODINGS}
                wanted.add(("fp32", "float32", threads, rows))
            wanted |= {(name, w, threads, 1) for name in ("separate", "in turn") for w in CODINGS}
            wanted |= {(name, "8 bits", threads, 1) for name in ("read", "memcpy")}
        self.assertEqual(len(keys), len(set(keys)))
        self.assertEqual(set(keys), wanted)
        for c in report["comparisons"]:
            self.assertEqual(c["of"]["name"], "fused")
            self.assertEqual((c["of"]["threads"], c["of"]["rows"]), (c["to"]["threads"], c["to"]["rows"]))
        # 1 MiB of codes says nothing of what is read from memory.
        self.assertFalse(report["beyond_last_cache"])
        goals = [(c["to"]["name"], c["goal"]) for c in report["comparisons"] if c["goal"]]
        self.assertEqual(sorted(goals), [("fp32", 3.5)] * 2 + [("separate", 2)] * 6)
        self.assertEqual({c["met"] for c in report["comparisons"]}, {None})

    def test_bytes(self):
        weights = 256 * 4096
        for p in self.report["products"]:
            least, most = {"float32": (32, 32), "8 bits": (8, 8.1), "6 bits": (6, 6.1),
                           "tans": (6.9, 7.3)}[p["weights"]]
            bits = 8 * p["bytes"] / weights - (32 if p["name"] == "separate" else 0)
            self.assertTrue(least <= bits <= most, p)

    def test_error(self):
        errors = self.report["errors"]
        self.assertEqual([(e["weights"], e["inputs"]) for e in errors],
                         [(w, i) for w in CODINGS for i in ("normal", "outliers")])
        for e in errors:
            self.assertLess(e["relative_error"], 3e-4)
            self.assertLessEqual(e["relative_error"], e["max_relative_error"])
        self.assertEqual(self.report["max_relative_error"], max(e["max_relative_error"] for e in errors))
        self.assertLess(self.report["max_relative_error"], 1e-3)

    def test_table(self):
        text = support.run_qins("bench", "gemv", "--mebi", "1", "--rounds", "1", check=0).stdout
        self.assertIn("256 x 4096 weights", text)
        self.assertIn("8 bits, inputs outliers", text)
        self.assertIn("3.50: not judged", text)

    def test_usage(self):
        for arguments in (["model"], ["--tokens", "16"], ["--mebi", "0"], ["--threads", "1"]):
            done = support.run_qins("bench", "gemv", *arguments, check=2)
            self.assertEqual(len(done.stderr.splitlines()), 1)


if __name__ == "__main__":
    support.main()
