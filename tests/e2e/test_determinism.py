"""The same archive, byte for byte, whatever threads, compiler or interruption."""
import os
import pathlib
import signal
import subprocess
import time
import unittest

import numpy as np

import support

OTHER_BUILD = os.environ.get("QINS_OTHER_BUILD")
# QINS_CPU below the best level, which runs take by themselves. Kernels know nothing of threads.
CPU_LEVELS = ["c", "avx2"] if support.SANITIZER != "thread" else []
OPTIONS = [
    [],
    ["--lossless"],
    ["--bits", "4", "--codec", "huffman", "--group", "64"],
    ["--bits", "6", "--codec", "rle-huffman", "--group", "tensor", "--kappa", "1.5"],
    ["--bits", "12", "--codec", "zstd", "--clip", "auto"],
    ["--bits", "3", "--codec", "rle", "--clip", "0.8"],
    ["--grid", "seed", "--codec", "huffman"],
    ["--bits", "8", "--codec", "tans"],
    ["--bits", "10", "--codec", "tans", "--group", "64"],
]
# Under sanitizers, where what is coded does not matter: test_two_threads has run all of them.
SOME = support.less(OPTIONS, OPTIONS[:3])


class Determinism(support.Folder):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.one_thread = {}
        rng = np.random.default_rng(11)
        heavy = rng.standard_t(3, (support.less(1000, 300), 700)).astype("<f4")
        half = rng.standard_normal((support.less(500, 150), 1024)).astype("<f2")
        bf16 = (rng.standard_normal((support.less(682, 200), 1536)).astype("<f4").view("<u4") >>
                16).astype("<u2")
        runs = rng.standard_normal((341, 512)).astype("<f4")
        runs *= np.repeat(rng.random(runs.size // 16) < 0.3, 16).reshape(runs.shape)
        row = 1200000  # more than one chunk
        cls.source = cls.dir / "source.safetensors"
        support.write_safetensors(cls.source, {
            "a.weight": ("F32", heavy.shape, [heavy.tobytes()]),
            "b.weight": ("F16", half.shape, [half.tobytes()]),
            "c.weight": ("BF16", bf16.shape, [bf16.tobytes()]),
            "d.weight": ("F32", runs.shape, [runs.tobytes()]),
            "embed.weight": ("F32", (1, row),
                             [rng.standard_normal(row).astype("<f4").tobytes()]),
            "norm.weight": ("F32", (700,), [heavy[0].tobytes()]),
            "ids": ("I64", (5000,), [rng.integers(-9, 9, 5000).astype("<i8").tobytes()]),
            "empty": ("F32", (0, 4), [b""]),
            "scalar": ("F32", (), [np.float32(-0.0).tobytes()]),
        })

    def convert(self, name, *options, program=support.PROGRAM, env=None):
        out = self.dir / name
        support.run_qins("convert", self.source, "-o", out, *options, check=0, program=program,
                         env=env)
        data = out.read_bytes()
        out.unlink()
        return data

    def by_one_thread(self, options):
        key = tuple(options)
        if key not in self.one_thread:
            self.one_thread[key] = self.convert("one.qins", *options, "--threads", "1")
        return self.one_thread[key]

    def compare(self, *other, among=OPTIONS, **others):
        for options in among:
            with self.subTest(options=options):
                same = self.convert("other.qins", *options, *other,
                                    **others) == self.by_one_thread(options)
                self.assertTrue(same, "archives differ")

    def test_two_threads(self):
        self.compare("--threads", "2")

    def test_more_threads_than_processors(self):
        self.compare("--threads", "7", among=SOME)

    def test_twice_under_other_circumstances(self):
        """Another name, folder, locale, time zone and environment leave no trace."""
        for options in OPTIONS[:2]:
            one = self.by_one_thread(options)
            deeper = self.dir / "deeper"
            deeper.mkdir(exist_ok=True)
            out = deeper / "another name.qins"
            support.run_qins("convert", self.source, "-o", out, *options, check=0, cwd=deeper,
                             env=dict(os.environ, LC_ALL="C", TZ="Asia/Tokyo", HOME="/"))
            self.assertTrue(out.read_bytes() == one)

    def test_resumable_runs(self):
        self.compare("--resume", "--threads", "2", among=SOME)

    def kill_after(self, seconds, out, *options):
        """True if the kill hit a run that had something in its spool."""
        process = subprocess.Popen(
            [str(support.PROGRAM), "convert", str(self.source), "-o", str(out), "--resume",
             *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(seconds)
        process.send_signal(signal.SIGKILL)
        killed = process.wait() == -signal.SIGKILL
        part = pathlib.Path(f"{out}.part")
        return killed and part.exists() and part.stat().st_size > 0 and not out.exists()

    def test_killed_and_resumed(self):
        for options in OPTIONS[:3]:
            with self.subTest(options=options):
                begin = time.monotonic()
                one = self.convert("one.qins", *options)
                seconds = time.monotonic() - begin
                out = self.dir / "resumed.qins"
                hits = 0
                for share in (0.2, 0.5, 0.4, 0.3):
                    hits += self.kill_after(seconds * share, out, *options)
                for attempt in range(60):  # a busy machine: other moments until one was right
                    if hits:
                        break
                    for path in out, pathlib.Path(f"{out}.part"):
                        path.unlink(missing_ok=True)
                    hits += self.kill_after(seconds * (1 + attempt % 20) / 20, out, *options)
                self.assertGreater(hits, 0, "no kill hit a run that had begun its spool")
                support.run_qins("convert", self.source, "-o", out, "--resume", *options, check=0)
                self.assertTrue(out.read_bytes() == one, "archives differ")
                out.unlink()

    def test_cpu_levels(self):
        """Kernels of lower levels than this processor's best make the same archives."""
        for level in CPU_LEVELS:
            self.compare(env=dict(os.environ, QINS_CPU=level))

    def test_cpu_levels_restore_the_same(self):
        for options in OPTIONS:
            with self.subTest(options=options):
                archive, out = self.dir / "levels.qins", self.dir / "levels.safetensors"
                archive.write_bytes(self.by_one_thread(options))
                restored = set()
                for level in [None, *CPU_LEVELS]:
                    env = dict(os.environ, QINS_CPU=level) if level else None
                    support.run_qins("restore", archive, "-o", out, check=0, env=env)
                    restored.add(out.read_bytes())
                    support.run_qins("verify", archive, "--against", self.source, check=0, env=env)
                self.assertEqual(len(restored), 1, "restored files differ")

    def test_cpu_levels_plan_the_same(self):
        plans, reports = set(), set()
        for level in [None, *CPU_LEVELS]:
            out = self.dir / "levels.json"
            env = dict(os.environ, QINS_CPU=level) if level else None
            report = support.run_qins("plan", self.source, "--target-bits", "5", "-o", out,
                                      "--json", check=0, env=env).stdout
            plans.add(out.read_bytes())
            reports.add(report)
        self.assertEqual((len(plans), len(reports)), (1, 1), "plans differ")

    @unittest.skipUnless(OTHER_BUILD, "QINS_OTHER_BUILD names no second build")
    def test_other_compiler(self):
        self.compare(program=pathlib.Path(OTHER_BUILD) / "cli" / "qins")

    @unittest.skipUnless(OTHER_BUILD, "QINS_OTHER_BUILD names no second build")
    def test_other_compiler_restores_the_same(self):
        for options in OPTIONS:
            archive = self.dir / "both.qins"
            archive.write_bytes(self.by_one_thread(options))
            restored = []
            for program in (support.PROGRAM, pathlib.Path(OTHER_BUILD) / "cli" / "qins"):
                out = self.dir / "both.safetensors"
                support.run_qins("restore", archive, "-o", out, check=0, program=program)
                restored.append(out.read_bytes())
            self.assertTrue(restored[0] == restored[1])


if __name__ == "__main__":
    support.main()
