"""Bits a weight of whole archives at the RMSE of llama.cpp's formats, on Gaussian weights."""
import json
import subprocess
import tempfile
import unittest
from pathlib import Path

import numpy as np

import support

TOOL = support.BUILD_ROOT / "tests" / "tools" / "candidate_tool"
ROWS, LENGTH = 1024, 4096
CODERS = {"huffman": 12, "tans": 13}  # columns of predictions
# What the project asks for, everything in the file included.
MOST_BITS = {"Q8_0": 7.86, "Q6_K": 6.14, "Q5_K": 5.10, "Q4_K": 4.12}


class EqualError(unittest.TestCase):
    def tool(self, command, lines=()):
        done = subprocess.run([str(TOOL), command, str(self.folder / "values"), str(ROWS),
                               str(LENGTH)], input="".join(line + "\n" for line in lines),
                              capture_output=True, text=True, timeout=120, check=True)
        return [line.split() for line in done.stdout.splitlines()]

    def smallest(self, x, error):
        """The smallest uniform grid under a coder with at most that error, as predicted: its bytes,
        coder, granularity, N and clip. A step of sqrt(12 error / n) has it but for what is cut
        off, at any N."""
        most = {"tensor": np.abs(x).max(), "row": np.abs(x).max(axis=1).mean()}
        step = np.sqrt(12 * error / x.size)
        lines = [f"{group} {n} 0 {n * step * share / reach:.6f}"
                 for group, reach in most.items() for n in range(1, 400)
                 for share in np.arange(0.985, 1.003, 0.001)
                 if 0.6 < n * step * share / reach <= 1]
        return min((int(p[column]), coder, p[0], int(p[1]), float(p[3]))
                   for p in self.tool("predict", lines) if float(p[4]) <= error
                   for coder, column in CODERS.items())

    def test_archive_bits(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        x = (np.random.default_rng(8).standard_normal((ROWS, LENGTH)) * 0.02).astype("<f4")
        x.tofile(self.folder / "values")
        support.write_safetensors(self.folder / "in.safetensors",
                                  {"w": ("F32", x.shape, [x.tobytes()])})
        errors = {line[0]: float(line[3]) for line in self.tool("format")}
        for name, most in MOST_BITS.items():
            size, coder, group, levels, clip = self.smallest(x, errors[name])
            plan = {"schema": "qins/plan/1", "tensors": [
                {"name": "w", "dtype": "F32", "shape": list(x.shape), "class": "cold",
                 "levels": levels, "kappa": 0, "clip": clip, "group": group,
                 "codec": coder}]}
            (self.folder / "plan.json").write_text(json.dumps(plan))
            archive, restored = self.folder / "out.qins", self.folder / "back.safetensors"
            support.run_qins("convert", self.folder / "in.safetensors", "-o", archive, "--plan",
                             self.folder / "plan.json", "--quiet", check=0)
            support.run_qins("restore", archive, "-o", restored, "--quiet", check=0)
            y = support.read_safetensors(restored)["w"]
            error = float(((y.astype(np.float64) - x)**2).sum())
            bits = 8 * archive.stat().st_size / x.size
            where = f"{name}: {bits:.4f} bits by {coder}, N {levels}, clip {clip:.3f}, scale of a {group}"
            print(where, f"rmse {np.sqrt(error / x.size):.4e} / "
                         f"{np.sqrt(errors[name] / x.size):.4e}")
            self.assertLessEqual(error, errors[name], where)
            self.assertLessEqual(bits, most, where)
            self.assertLess(abs(archive.stat().st_size / size - 1), 0.005, where)
            archive.unlink()
            restored.unlink()


if __name__ == "__main__":
    support.main()
