"""A plan is better than fixed formats: kjv-1.7m at 4.5 bits a weight, on a part of the held-out
text. docs/plan-quality.md has the whole study."""
import os
import pathlib
import sys
import tempfile
import unittest

import support

sys.path.insert(0, str(support.SOURCE_ROOT / "tests" / "studies"))
import plan_quality  # noqa: E402

TARGET = 4.5
CALIBRATION_TOKENS = 20_000
# The best uniform choices of at most 4.9 bits that the study found, under zstd: bits, kappa, group,
# clip.
STRONG = ((5, None, "tensor", 1.0), (5, 1.25, "tensor", 0.9), (5, 0.75, "tensor", 0.8))


@unittest.skipIf(os.environ.get("QINS_SANITIZER", "none") != "none",
                 "half a minute of arithmetic that other tests run sanitized")
class PlanQuality(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory(prefix="qins-plan-quality-")
        cls.addClassCleanup(folder.cleanup)
        text = pathlib.Path(folder.name) / "text.txt"
        whole = (support.SOURCE_ROOT / "examples" / "kjv-heldout.txt").read_bytes()
        text.write_bytes(whole[:len(whole) // 5])
        cls.study = plan_quality.Study(
            support.MODEL, support.SOURCE_ROOT / "examples" / "kjv-calibration.txt", text,
            folder.name, tokens=CALIBRATION_TOKENS)
        cls.plan = cls.study.calibrate(TARGET)
        cls.bits, cls.kl, _ = cls.study.measure(cls.plan)

    def test_size(self):
        self.assertLessEqual(self.bits, TARGET)
        self.assertGreater(self.bits, TARGET * 0.995)

    def test_uniform_choices(self):
        for choice in STRONG:
            bits, kl, _ = self.study.measure(self.study.uniform(*choice, "zstd"))
            self.assertLessEqual(bits, TARGET + plan_quality.SLACK, choice)
            self.assertGreater(bits, TARGET, choice)
            self.assertLess(self.kl, kl, choice)

    def test_equal_sqnr(self):
        bits, kl, _ = self.study.measure(self.study.equal_sqnr(TARGET))
        self.assertAlmostEqual(bits, TARGET, delta=0.01)
        self.assertLess(self.kl, 0.75 * kl)

    def test_feedback(self):
        bits, kl, _ = self.study.measure(self.study.plan(TARGET, "feedback"))
        self.assertLessEqual(bits, TARGET)
        self.assertLess(kl, 0.88 * self.kl)


if __name__ == "__main__":
    support.main()
