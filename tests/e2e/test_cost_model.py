"""docs/cost-model.md shows what tests/studies/cost_model.py makes, and its simulation without faults is
what stands on paper."""
import json
import pathlib
import subprocess
import sys
import unittest

import support

sys.path.insert(0, str(support.SOURCE_ROOT / "tests" / "studies"))
import cost_model


class CostModel(support.Folder):
    def run_study(self, *options):
        subprocess.run([sys.executable, str(pathlib.Path(cost_model.__file__)), "-o", str(self.dir),
                        "--check", *options], check=True, capture_output=True)
        return json.loads((self.dir / "cost_model.json").read_text())

    def test_page(self):
        page = (support.SOURCE_ROOT / "docs" / "cost-model.md").read_text()
        for options in ([], ["--scale", "16", "--bandwidth", "50"]):
            report = self.run_study(*options)
            self.assertIn((self.dir / "cost_model.md").read_text(), page)
            self.assertGreater(report["source_bytes"], 1.4e12)

    def test_shards(self):
        """Cuts of bytes at chunks: none is off its place by more than a chunk."""
        chunks = [3, 5, 2, 7, 1, 1, 9, 4, 4, 4]
        for n in range(1, 20):
            sizes = cost_model.shards_of(chunks, n)
            self.assertEqual(sum(sizes), sum(chunks))
            ends = [sum(sizes[:k + 1]) for k in range(n)]
            for k, end in enumerate(ends):
                want = sum(chunks) * (k + 1) / n
                self.assertTrue(want <= end < want + max(chunks), (n, k, end, want))

    def test_one_by_hand(self):
        """Two tasks of 10 GB on a link of 1 GB/s each, a file system of 1 GB/s: 20 s; of 4 GB/s: 10 s."""
        rates = {"node_bytes_per_s": 1e9}
        step = ("convert", True, 20e9, 0, 2.0)
        for bandwidth, seconds in ((1e9, 20), (4e9, 10)):
            self.assertAlmostEqual(cost_model.on_paper(step, 2, bandwidth, rates), seconds)
            self.assertAlmostEqual(cost_model.simulate(step, [0.5, 0.5], bandwidth, rates, None, False),
                                   seconds)


if __name__ == "__main__":
    support.main()
