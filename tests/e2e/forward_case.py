"""Running models in tests: logits by way of forward_tool, and how they are compared.

The measure is the largest difference of two logits, divided by the largest absolute logit."""
import pathlib
import subprocess
import tempfile
import unittest

import numpy as np

from support import BUILD_ROOT

FORWARD = BUILD_ROOT / "tests" / "tools" / "forward_tool"
TOLERANCE = 1e-5  # float32 leaves about 1e-6 in models as small as those of the tests


def difference(a, b):
    return float(np.abs(a - b).max() / np.abs(b).max())


class ForwardCase(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.dir = pathlib.Path(temporary.name)

    def run_tool(self, model, ids, *options):
        np.save(self.dir / "ids.npy", np.asarray(ids))
        return subprocess.run([FORWARD, model, self.dir / "ids.npy", self.dir / "logits.npy",
                               *map(str, options)], capture_output=True, text=True, timeout=100)

    def forward(self, model, ids, *options):
        done = self.run_tool(model, ids, *options)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return np.load(self.dir / "logits.npy")

    def assert_close(self, ours, reference, limit=TOLERANCE):
        self.assertEqual(ours.shape, reference.shape)
        self.assertLessEqual(difference(ours, reference), limit)

    def assert_same(self, a, b):
        self.assertEqual(a.tobytes(), b.tobytes(),
                         f"not the same bits, {difference(a, b):.2g} apart")
