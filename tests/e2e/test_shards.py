"""convert --shard and merge: parts made apart, in any order, killed and begun again, put together to the
bytes of a single run; parts that do not belong together; archives with an index, as h5py sees them."""
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import time
import unittest

import support

PLUGIN_DIR = pathlib.Path(os.environ.get("QINS_PLUGIN_DIR", support.BUILD_ROOT))
os.environ["HDF5_PLUGIN_PATH"] = str(PLUGIN_DIR)  # libhdf5 reads it when it starts

import h5py  # noqa: E402
import numpy as np  # noqa: E402

from test_analyze import copy_two_layers  # noqa: E402

SLURM = {"SLURM_ARRAY_TASK_MIN": "10", "SLURM_ARRAY_TASK_STEP": "5", "SLURM_ARRAY_TASK_COUNT": "3"}
TEXT = support.SOURCE_ROOT / "examples" / "kjv-calibration.txt"


def part_path(out, i, n):
    return pathlib.Path(f"{out}-{i:05}-of-{n:05}")


class Folder(support.Folder):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        rng = np.random.default_rng(3)
        big = (rng.standard_normal((support.less(1500, 900), 2048)) * 0.05).astype("<f4")
        half = (rng.laplace(size=(1100, 1024)) * 0.1).astype("<f4")
        cls.source = cls.dir / "mixed.safetensors"
        support.write_safetensors(cls.source, {
            "aa_empty": ("F32", (0, 9), []),
            "b_scalar": ("F32", (), [np.float32(2.5).tobytes()]),
            "big": ("F32", big.shape, [big.tobytes()]),
            "bytes": ("U8", (1 << 21,), [rng.integers(0, 9, 1 << 21, "u1").tobytes()]),
            "d_scalar": ("BF16", (), [b"\x80\x3f"]),
            "double": ("F64", (30, 4), [rng.standard_normal(120).tobytes()]),
            "e_empty": ("I64", (0,), []),
            "half": ("BF16", half.shape, [(half.view("<u4") >> 16).astype("<u2").tobytes()]),
            "ids": ("I32", (5,), [np.arange(5, dtype="<i4").tobytes()]),
            "norm": ("F32", (2048,), [big[0].tobytes()]),
            "tall": ("F32", (70000, 8), [big.ravel()[:560000].tobytes()]),
            "z_empty": ("F32", (3, 0), []),
        })
        cls.big_shape = big.shape

    def convert(self, source, out, *options, check=0, **more):
        return support.run_qins("convert", source, "-o", out, *options, "--quiet", check=check,
                                **more)

    def make_parts(self, source, out, n, *options):
        numbers = list(range(1, n + 1))
        random.Random(n).shuffle(numbers)
        for i in numbers:
            self.convert(source, out, *options, "--shard", f"{i}/{n}")
        parts = [part_path(out, i, n) for i in range(1, n + 1)]
        self.assertEqual(sorted(out.parent.glob(f"{out.name}-*")), parts)
        return parts

    def refused(self, code, *words, arguments):
        done = support.run_qins(*arguments, check=code)
        self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
        for word in words:
            self.assertIn(str(word), done.stderr)


class SameBytes(Folder):
    """Merged archives are those of a single run."""

    def compare(self, source, counts, *options):
        plain = self.dir / "plain.qins"
        self.convert(source, plain, *options)
        want = plain.read_bytes()
        for n in counts:
            with self.subTest(options=options, n=n):
                folder = self.dir / "parts"
                folder.mkdir()
                out = folder / "m.qins"
                parts = self.make_parts(source, out, n, *options)
                random.Random(n).shuffle(parts)
                support.run_qins("merge", *parts, "-o", out, "--quiet", check=0)
                self.assertTrue(out.read_bytes() == want, "archives differ")
                self.assertEqual(len(list(folder.iterdir())), n + 1)
                shutil.rmtree(folder)

    def test_counts(self):
        self.compare(self.source, support.less((1, 2, 3, 8, 50), (3,)))

    def test_codings(self):
        for options in (["--bits", "6", "--codec", "huffman", "--group", "tensor", "--kappa", "auto",
                         "--clip", "auto"],
                        ["--bits", "5", "--codec", "tans", "--group", "64", "--kappa", "auto"],
                        ["--lossless", "--codec", "zstd"], ["--grid", "seed", "--bits", "4"]):
            self.compare(self.source, (support.less(7, 3),), *options)

    def test_plan(self):
        rows, width = self.big_shape
        entry = {"name": "big", "dtype": "F32", "shape": [rows, width], "class": "unknown",
                 "levels": 31, "codec": "huffman", "kappa": None, "clip": None, "group": "tensor",
                 "reason": "as the test wants it",
                 "blocks": [{"row_begin": 0, "row_end": 300, "levels": 127},
                            {"row_begin": 300, "row_end": rows - 7, "group": 128, "kappa": 0.5},
                            {"row_begin": rows - 7, "row_end": rows, "clip": 0.8}]}
        plan = self.dir / "plan.json"
        support.run_qins("plan", self.source, "-o", plan, "--quiet", check=0)
        made = json.loads(plan.read_text())
        made["tensors"] = [entry if t["name"] == "big" else t for t in made["tensors"]]
        plan.write_text(json.dumps(made))
        self.compare(self.source, (4,), "--plan", plan)

    def test_model(self):
        self.compare(support.MODEL, support.less((3, 200), (2,)), "--bits", "6", "--kappa", "auto")

    @unittest.skipIf(support.SANITIZER == "thread", "threads do no more than elsewhere")
    def test_calibrated(self):
        """Feedback rounding, and a transport, whose tensors follow the model's."""
        model = self.dir / "two"
        copy_two_layers(model)
        calibration, transport = self.dir / "c.h5", self.dir / "t.h5"
        support.run_qins("calibrate", model, "--text", TEXT, "--tokens", 2000, "--context", 64,
                         "--gram", "--keep-rows", 400, "-o", calibration, "--quiet", check=0)
        support.run_qins("transport", model, "--calibration", calibration, "--kappa", 1, "--clip", 1,
                         "--order", 2, "--materialize", "-o", transport, "--quiet", check=0)
        self.compare(model, (3,), "--calibration", calibration, "--bits", "4", "--transport",
                     transport)


class Runs(Folder):
    def test_reports(self):
        out = self.dir / "r.qins"
        total = chunks = 0
        for i in (1, 2, 3):
            done = support.run_qins("convert", self.source, "-o", out, "--shard", f"{i}/3", "--json",
                                    check=0)
            report = json.loads(done.stdout)
            support.validate(report, "convert-part")
            self.assertEqual((report["part"], report["parts"], report["was_there"]), (i, 3, False))
            self.assertEqual(report["part_bytes"], part_path(out, i, 3).stat().st_size)
            total += report["input_bytes"]
            chunks += report["chunks"]
        self.assertEqual(total, 1500 * 2048 * 4 * self.big_shape[0] // 1500 + (1 << 21) + 4 + 2 + 960 +
                         1100 * 1024 * 2 + 20 + 8192 + 560000 * 4)
        done = support.run_qins("merge", *(part_path(out, i, 3) for i in (1, 2, 3)), "-o", out,
                                "--json", check=0)
        report = json.loads(done.stdout)
        support.validate(report, "merge")
        plain = json.loads(support.run_qins("convert", self.source, "-o", self.dir / "p.qins",
                                            "--json", check=0).stdout)
        for key in ("input_bytes", "archive_bytes", "archive_hash", "bits_per_weight",
                    "source_format"):
            self.assertEqual(report[key], plain[key], key)
        text = support.run_qins("convert", self.source, "-o", out, "--shard", "2/3", check=0)
        self.assertRegex(text.stdout, r"^part 2 of 3: .* there already\n$")
        self.assertIn("is there already", text.stderr)

    def test_slurm(self):
        out = self.dir / "s.qins"
        for task in ("10", "15", "20"):
            self.convert(self.source, out, "--shard", "slurm",
                         env={**os.environ, **SLURM, "SLURM_ARRAY_TASK_ID": task})
        self.assertEqual(sorted(self.dir.glob("s.qins-*")), [part_path(out, i, 3) for i in (1, 2, 3)])
        done = support.run_qins("convert", self.source, "-o", out, "--shard", "slurm", check=2,
                                env={k: v for k, v in os.environ.items() if "SLURM" not in k})
        self.assertIn("SLURM_ARRAY_TASK_ID", done.stderr)

    def test_there_already(self):
        out = self.dir / "t.qins"
        part = part_path(out, 2, 3)
        self.convert(self.source, out, "--shard", "2/3")
        good = part.stat().st_ino, part.read_bytes()
        self.convert(self.source, out, "--shard", "2/3")
        self.assertEqual((part.stat().st_ino, part.read_bytes()), good)
        self.refused(2, part, "another conversion", arguments=(
            "convert", self.source, "-o", out, "--shard", "2/3", "--bits", 5))
        part.write_bytes(good[1][:-1])
        self.refused(2, part, "cut short", arguments=(
            "convert", self.source, "-o", out, "--shard", "2/3"))
        part.write_text("somebody's letters")
        self.refused(2, part, "in the way", arguments=(
            "convert", self.source, "-o", out, "--shard", "2/3"))
        self.assertEqual(part.read_text(), "somebody's letters")
        self.assertEqual(list(self.dir.glob("t.qins-*")), [part])

    def test_unfinished_work_of_another(self):
        out = self.dir / "u.qins"
        self.convert(self.source, out, "--shard", "1/2")
        work = pathlib.Path(f"{part_path(out, 1, 2)}.part")
        part_path(out, 1, 2).rename(work)
        self.refused(2, work, arguments=("convert", self.source, "-o", out, "--shard", "1/2",
                                         "--bits", 5))
        self.convert(self.source, out, "--shard", "1/2")
        self.assertFalse(work.exists())

    def end_often(self, command, part, work):
        """How many of four runs that go on, one with the other's work, were ended by a signal."""
        ended, size = 0, 0
        for number in (signal.SIGKILL, signal.SIGINT, signal.SIGKILL, signal.SIGTERM):
            run = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
            until = time.monotonic() + 60
            while run.poll() is None and time.monotonic() < until and not (
                    work.exists() and work.stat().st_size > size + 100000):
                time.sleep(0.001)
            run.send_signal(number)
            error = run.communicate()[1].decode()
            ended += run.returncode != 0
            if run.returncode == 130:
                self.assertEqual(error, "qins: interrupted; go on with the same command\n")
            if part.exists():
                break
            size = work.stat().st_size
        return ended

    def test_killed(self):
        """By SIGKILL and SIGINT at many moments: work goes on, and the part is what it would have been."""
        source, out, plain = self.dir / "k.safetensors", self.dir / "k.qins", self.dir / "kp.qins"
        rows = support.less(6000, 2000)
        block = np.random.default_rng(2).standard_normal((rows, 1024)).astype("<f4").tobytes()
        support.write_safetensors(source, {f"m{i}": ("F32", (rows, 1024), [block]) for i in range(3)})
        options = ["--bits", "6", "--codec", "zstd", "--group", "tensor", "--kappa", "auto"]
        self.convert(source, plain, *options)
        part = part_path(out, 2, 2)
        work = pathlib.Path(f"{part}.part")
        self.convert(source, out, *options, "--shard", "1/2")
        command = [str(a) for a in (support.PROGRAM, "convert", source, "-o", out, *options, "--shard",
                                    "2/2", "--quiet")]
        for _ in range(10):  # the run may be over before the first signal comes
            ended = self.end_often(command, part, work)
            if ended:
                break
            part.unlink()
        self.assertGreater(ended, 0)
        report = json.loads(support.run_qins(*command[1:], "--json", check=0).stdout)
        if ended == 4:
            self.assertGreater(report["resumed_chunks"], 0)
        support.run_qins("merge", part_path(out, 1, 2), part, "-o", out, "--quiet", check=0)
        self.assertTrue(out.read_bytes() == plain.read_bytes(), "archives differ")

    def test_two_at_once(self):
        out = self.dir / "two.qins"
        runs = [subprocess.Popen([str(support.PROGRAM), "convert", str(self.source), "-o", str(out),
                                  "--shard", "1/2", "--codec", "zstd"], stdout=subprocess.DEVNULL,
                                 stderr=subprocess.PIPE, text=True) for _ in range(3)]
        ends = [(run.communicate()[1], run.returncode) for run in runs]
        self.assertIn(0, [code for _, code in ends])
        for error, code in ends:
            self.assertIn(code, (0, 4))
            if code == 4:
                self.assertIn("another process is working on it", error)
        self.assertEqual(list(self.dir.glob("two.qins-*")), [part_path(out, 1, 2)])


class Wrong(Folder):
    """Parts that do not make an archive: one line, the code, and an earlier archive as it was."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.out = cls.dir / "w.qins"
        cls.parts = [part_path(cls.out, i, 3) for i in (1, 2, 3)]
        for i in (1, 2, 3):
            support.run_qins("convert", cls.source, "-o", cls.out, "--shard", f"{i}/3", "--quiet",
                             check=0)
        cls.old = cls.dir / "old.qins"

    def merge(self, code, *words, parts, options=()):
        self.old.write_text("an earlier one")
        self.refused(code, *words, arguments=("merge", *options, *parts, "-o", self.old))
        self.assertEqual(self.old.read_text(), "an earlier one")
        self.assertEqual(list(self.dir.glob("old*")), [self.old])

    def test_numbers(self):
        one, two, three = self.parts
        for options in ([], ["--index"]):
            self.merge(2, "part 2 of 3 is missing", parts=(one, three), options=options)
            self.merge(2, "part 1 of 3 is missing, and 1 more", parts=(three,), options=options)
            self.merge(2, "part 3 of 3 is missing", parts=(one, two), options=options)
            self.merge(2, two, "are the same part, 2 of 3", parts=(one, two, two, three), options=options)
            self.merge(4, "no.such", parts=(one, two, self.dir / "no.such"), options=options)
            self.merge(3, self.source, "is no part", parts=(one, two, self.source), options=options)

    def test_others(self):
        one, two, three = self.parts
        other = self.dir / "other.qins"
        self.convert(self.source, other, "--shard", "3/3", "--bits", "5")
        self.merge(2, "other.qins", "another conversion", parts=(one, two, part_path(other, 3, 3)))
        part_path(other, 3, 3).unlink()
        self.convert(support.MODEL, other, "--shard", "3/3")
        self.merge(2, "other.qins", "another conversion", parts=(one, two, part_path(other, 3, 3)))
        self.convert(self.source, other, "--shard", "2/2")
        self.merge(2, "is one of 3 parts", "one of 2", parts=(one, two, part_path(other, 2, 2)))

    def test_output_is_an_input(self):
        good = self.parts[1].read_bytes()
        self.refused(2, self.parts[1], "is an input",
                     arguments=("merge", *self.parts, "-o", self.parts[1]))
        self.assertEqual(self.parts[1].read_bytes(), good)

    def test_damage(self):
        good = self.parts[1].read_bytes()
        rng = random.Random(1)
        places = [0, 9, 20, 50, 100, len(good) - 1, len(good) - 60, len(good) - 100]
        places += [rng.randrange(len(good)) for _ in range(support.less(12, 4))]
        for options in ([], ["--index"]):
            for at in places:
                for bad in (good[:at] + bytes([good[at] ^ 4]) + good[at + 1:], good[:at]):
                    broken = self.dir / "broken"
                    broken.write_bytes(bad)
                    if at in range(16, 32) and len(bad) == len(good):
                        continue  # its head is sealed: is_no_part below
                    self.merge(3, broken, parts=(self.parts[0], broken, self.parts[2]),
                               options=options)
            unfinished = self.dir / "b.part"
            unfinished.write_bytes(good[:len(good) // 2])
            self.merge(2, unfinished, "not complete yet",
                       parts=(self.parts[0], unfinished, self.parts[2]), options=options)
            longer = self.dir / "longer"
            longer.write_bytes(good + good[-80:])
            self.merge(3, longer, parts=(self.parts[0], longer, self.parts[2]), options=options)

    def test_folder_that_is_not_there(self):
        self.refused(4, "nowhere", arguments=("merge", *self.parts, "-o", self.dir / "nowhere" / "x"))


@unittest.skipIf(support.SANITIZER != "none", "h5py cannot load a plugin with a sanitizer")
class Index(Folder):
    def test_archives(self):
        plain = self.dir / "plain.qins"
        options = ["--bits", "6", "--codec", "tans"]
        self.convert(self.source, plain, *options)
        with h5py.File(plain) as f:
            want = {name: f["tensors"][name][()] for name in f["tensors"]}
        for n in (3, 40):
            out = self.dir / f"{n}.qins"
            parts = self.make_parts(self.source, out, n, *options)
            index = self.dir / f"i{n}.qins.json"
            done = support.run_qins("merge", "--index", *parts, "-o", index, "--json", check=0)
            report, made = json.loads(done.stdout), json.loads(index.read_text())
            support.validate(report, "merge")
            support.validate(made, "index")
            self.assertEqual(made["archives"], report["archives"])
            files = [self.dir / a["file"] for a in made["archives"]]
            self.assertEqual(sorted(self.dir.glob(f"i{n}-*")), files)
            self.assertEqual(files[0], self.dir / f"i{n}-00001-of-{n:05}.qins")
            self.assertEqual(list(made["weight_map"]), sorted(want))
            for archive, path in zip(made["archives"], files):
                verified = json.loads(support.run_qins("verify", path, "--json", check=0).stdout)
                self.assertEqual(archive["bytes"], path.stat().st_size)
                self.assertEqual(verified["archive_hash"], archive["archive_hash"])
                names = [k for k, v in made["weight_map"].items() if v == archive["file"]]
                self.assertEqual(len(names), archive["tensors"])
                with h5py.File(path) as f:
                    self.assertEqual(sorted(f["tensors"]), sorted(names))
                    for name in names:
                        np.testing.assert_array_equal(f["tensors"][name][()], want[name])

    def test_two_indexes_at_once(self):
        """An index stands beside its own archives, whichever of two merges was the last."""
        n, index = 8, self.dir / "at-once" / "i.json"
        index.parent.mkdir()
        jobs, wanted = [], []
        for bits in ("4", "6"):
            parts = self.make_parts(self.source, self.dir / f"at-once-{bits}.qins", n, "--bits", bits)
            jobs.append([str(support.PROGRAM), "merge", "--index", *map(str, parts), "-o", str(index), "--quiet"])
            subprocess.run(jobs[-1], check=True)
            wanted.append({p.name: p.read_bytes() for p in index.parent.iterdir()})
        self.assertEqual(*map(sorted, wanted))
        self.assertGreater(len(wanted[0]), 3)
        for _ in range(support.less(12, 4)):
            for run in [subprocess.Popen(job) for job in jobs + jobs]:
                self.assertEqual(run.wait(), 0)
            self.assertTrue({p.name: p.read_bytes() for p in index.parent.iterdir()} in wanted)

    def test_attachments(self):
        out, index = self.dir / "m.qins", self.dir / "m.json"
        parts = self.make_parts(support.MODEL, out, 2)
        support.run_qins("merge", "--index", *parts, "-o", index, "--quiet", check=0)
        kept = [{a["name"] for a in json.loads(support.run_qins("inspect", self.dir / a["file"], "--json",
                                                                check=0).stdout)["attachments"]}
                for a in json.loads(index.read_text())["archives"]]
        self.assertIn("config.json", kept[0])
        self.assertEqual(kept[1], set())


if __name__ == "__main__":
    support.main()
